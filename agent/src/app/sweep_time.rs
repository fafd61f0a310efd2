//! How long sweeps take: the budget is a promise, and a busy machine must not hide it.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A time, or a time that passed: on the clock, and of this thread on a processor.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SweepTime {
    pub(super) wall: Duration,
    pub(super) processor: Duration,
}

impl SweepTime {
    pub(super) fn now() -> Self {
        let read = |clock| {
            let time = clock_gettime(clock);
            Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
        };
        Self { wall: read(ClockId::Monotonic), processor: read(ClockId::ThreadCPUTime) }
    }

    /// Since then.
    pub(super) fn passed(self) -> Self {
        let now = Self::now();
        Self {
            wall: now.wall.saturating_sub(self.wall),
            processor: now.processor.saturating_sub(self.processor),
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.wall += other.wall;
        self.processor += other.processor;
    }

    fn longest(self, other: Self) -> Self {
        Self { wall: self.wall.max(other.wall), processor: self.processor.max(other.processor) }
    }
}

/// The latest sweep, and the longest one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SweepTimes {
    /// With judging and alerting.
    pub(super) last: SweepTime,
    pub(super) longest: SweepTime,
    /// The part of it that reads the kernel's counters.
    pub(super) read_last: SweepTime,
    pub(super) read_longest: SweepTime,
}

impl SweepTimes {
    /// A sweep took so long, and so long of it went into reading.
    pub(super) fn took(&mut self, sweep: SweepTime, read: SweepTime) {
        (self.last, self.read_last) = (sweep, read);
        self.longest = self.longest.longest(sweep);
        self.read_longest = self.read_longest.longest(read);
    }
}
