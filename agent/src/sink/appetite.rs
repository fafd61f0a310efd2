//! How much of a batch to hand over at once, for receivers that are too slow for all of it.
//!
//! An attempt that takes too long is dropped at an await, and the same batch would take too long again, for ever. So an
//! attempt counts as too large from its begin, until it ends: whoever is dropped tries half of it next time.

use crate::ledger::Entry;

/// Never less than one entry, never more than this in bytes of records.
const MOST: usize = 4 << 20;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Appetite {
    /// Bytes of records for the next attempt.
    bytes: usize,
    /// Bytes of records that this attempt may have.
    current: usize,
}

impl Appetite {
    pub(super) const fn new() -> Self {
        Self { bytes: MOST, current: MOST }
    }

    /// The part of a batch to try.
    pub(super) fn begin<'a>(&mut self, batch: &'a [Entry]) -> &'a [Entry] {
        self.current = self.bytes;
        let mut sum = 0_usize;
        let fits = batch.iter().take_while(|entry| {
            sum = sum.saturating_add(entry.record.len());
            sum <= self.current
        });
        let entries = fits.count().max(1).min(batch.len());
        let tried: usize = batch.iter().take(entries).map(|entry| entry.record.len()).sum();
        self.bytes = tried / 2;
        batch.get(..entries).unwrap_or(batch)
    }

    /// The attempt ended, and its size was no fault.
    pub(super) const fn failed(&mut self) {
        self.bytes = self.current;
    }

    /// The attempt ended well.
    pub(super) fn succeeded(&mut self) {
        self.bytes = self.current.saturating_mul(2).clamp(1 << 10, MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Vec<Entry> {
        (0..16).map(|index| Entry { index, record: "x".repeat(1_000).into() }).collect()
    }

    #[test]
    fn an_attempt_that_never_ends_is_half_as_large_next_time_and_at_least_one_entry() {
        let (mut appetite, batch) = (Appetite::new(), batch());
        let sizes: Vec<_> = (0..7).map(|_| appetite.begin(&batch).len()).collect();
        assert_eq!(sizes, [16, 8, 4, 2, 1, 1, 1]);
        appetite.succeeded();
        assert_eq!(appetite.begin(&batch).len(), 1);
        appetite.succeeded();
        assert_eq!(appetite.begin(&batch).len(), 2);
        appetite.failed();
        assert_eq!(appetite.begin(&batch).len(), 2);
    }
}
