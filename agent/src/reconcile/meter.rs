//! A counter of somebody else, made to grow forever.

use serde::{Deserialize, Serialize};

/// Follows a counter that may wrap at 32 bits, or begin again at zero when a driver is reloaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meter {
    last: u64,
    total: u64,
}

/// What a reading was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The counter went on.
    Forward,
    /// It began again: what it counted in between is not known.
    Reset,
}

impl Meter {
    /// A meter that stands at zero where the counter stands at `first`.
    pub(super) const fn at(first: u64) -> Self {
        Self { last: first, total: 0 }
    }

    /// Takes a reading. `expected` is about how much must have been added, by another witness: a counter of 32 bits
    /// that has wrapped is told from one that was reset by it.
    pub(super) const fn read(&mut self, now: u64, expected: u64) -> Step {
        let last = self.last;
        self.last = now;
        if now >= last {
            self.total = self.total.saturating_add(now - last);
            return Step::Forward;
        }
        const WRAP: u64 = 1 << 32;
        if last < WRAP {
            let added = now + WRAP - last;
            // A wrap and a reset look alike; a reset would have to look like what was really sent, to a quarter.
            if added.abs_diff(expected) <= expected / 4 {
                self.total = self.total.saturating_add(added);
                return Step::Forward;
            }
        }
        self.total = self.total.saturating_add(now);
        Step::Reset
    }

    /// Everything counted since the first reading.
    pub(super) const fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_goes_on_wraps_or_begins_again() {
        const NEAR: u64 = (1 << 32) - 100;
        let cases = [
            // (first, then, expected) -> (step, total)
            ((1000, 1500, 500), (Step::Forward, 500)),
            ((1000, 1000, 0), (Step::Forward, 0)),
            ((NEAR, 400, 500), (Step::Forward, 500)),
            ((NEAR, 400, 480), (Step::Forward, 500)),
            // Wrapped by arithmetic, but next to nothing was sent: the driver was reloaded.
            ((5000, 400, 400), (Step::Reset, 400)),
            ((NEAR, 400, 10), (Step::Reset, 400)),
            // A counter of 64 bits does not wrap.
            ((1 << 40, 400, 500), (Step::Reset, 400)),
        ];
        for ((first, then, expected), outcome) in cases {
            let mut meter = Meter::at(first);
            assert_eq!((meter.read(then, expected), meter.total()), outcome, "{first} -> {then}");
        }
    }
}
