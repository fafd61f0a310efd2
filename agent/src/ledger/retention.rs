//! How long entries are kept.
//!
//! Whole bundles go, oldest first, whether every sink has had them or not: a receiver that is dead must not fill the
//! disk. Their hashes stay.

use serde::Deserialize;

use crate::{
    clock::WallTime,
    ledger::{
        Ledger,
        entry::{Page, Source as _},
        path::WIDTH,
    },
};

/// What is kept. Beyond either bound the oldest entries go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Entries of the last so many days.
    pub days: u32,
    /// So many bytes of entries and hashes.
    pub bytes: u64,
}

/// What is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pruning {
    /// Index of the first entry that is kept then.
    pub(crate) first: u64,
}

#[derive(Deserialize)]
struct Timed {
    /// Milliseconds since 1970.
    time: i64,
}

impl Retention {
    /// What is to go now. Looks at one bundle more than goes.
    pub(crate) fn due(&self, ledger: &Ledger, now: WallTime) -> Option<Pruning> {
        let status = ledger.status();
        let oldest_kept = now.unix_millis().saturating_sub(i64::from(self.days) * 86_400_000);
        let mut bytes = status.bytes;
        let mut first = status.first;
        // The bundle that is being filled stays.
        while (first / WIDTH + 1) * WIDTH <= status.size {
            let page = Page { entries: WIDTH as usize, bytes: usize::MAX };
            let (length, last) = match ledger.read(first, page) {
                Ok(entries) => {
                    let length: u64 = entries.iter().map(|entry| entry.record.len() as u64 + 2).sum();
                    let last =
                        entries.last().and_then(|last| serde_json::from_str::<Timed>(&last.record).ok());
                    (length, last.map(|last| last.time))
                }
                // What cannot be read has an age that nobody knows: it goes with its neighbours.
                Err(_) => (0, None),
            };
            let is_old = last.is_none_or(|time| time < oldest_kept);
            if !(is_old || bytes > self.bytes) {
                break;
            }
            bytes = bytes.saturating_sub(length);
            first = (first / WIDTH + 1) * WIDTH;
        }
        (first > status.first).then_some(Pruning { first })
    }
}
