//! Time, as three types that cannot be mixed up.
//!
//! The kernel stamps with `CLOCK_MONOTONIC` nanoseconds ([`KernelTime`]); logic that measures durations uses the
//! same clock; records carry UTC ([`WallTime`]). The only conversion is [`Clock::wall_of`], with an offset that
//! is taken again every sweep, so that a step of the wall clock moves later stamps and never a duration.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Nanoseconds of `CLOCK_MONOTONIC`, the clock of `bpf_ktime_get_ns`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KernelTime(pub u64);

impl KernelTime {
    /// Reads the clock.
    pub fn now() -> Self {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        Self(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }

    /// Time passed since `earlier`; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for KernelTime {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_nanos().min(u128::from(u64::MAX)) as u64))
    }
}

/// UTC, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WallTime(pub i64);

impl WallTime {
    /// Reads the clock.
    pub fn now() -> Self {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Self(time.tv_sec * 1_000_000_000 + time.tv_nsec)
    }

    /// The instant `seconds` after 1970.
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// Whole seconds since 1970.
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// Whole milliseconds since 1970, the unit of OCSF `*_time` fields.
    pub const fn unix_millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Whole days from `earlier` to `self`; negative when `earlier` is later.
    pub const fn days_since(self, earlier: Self) -> i64 {
        (self.unix_seconds() - earlier.unix_seconds()).div_euclid(86_400)
    }
}

/// RFC 3339 in UTC, with milliseconds.
impl std::fmt::Display for WallTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(time) => write!(f, "{time:.3}"),
            Err(_) => write!(f, "{} ns", self.0),
        }
    }
}

/// The offset between the two clocks, sampled once per sweep.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    offset_ns: i64,
    /// How long the host has been asleep since it booted: `CLOCK_MONOTONIC` stands still meanwhile.
    asleep_ns: i64,
}

impl Clock {
    /// Samples both clocks.
    pub fn sample() -> Self {
        let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let since_boot_ns = since_boot.tv_sec * 1_000_000_000 + since_boot.tv_nsec;
        let kernel = KernelTime::now();
        Self {
            offset_ns: WallTime::now().0.saturating_sub(kernel.0 as i64),
            asleep_ns: since_boot_ns.saturating_sub(kernel.0 as i64),
        }
    }

    /// A clock whose kernel time zero is the wall time `epoch`: for tests.
    pub const fn with_epoch(epoch: WallTime) -> Self {
        Self { offset_ns: epoch.0, asleep_ns: 0 }
    }

    /// UTC of a kernel time stamp.
    pub const fn wall_of(&self, kernel: KernelTime) -> WallTime {
        WallTime((kernel.0 as i64).saturating_add(self.offset_ns))
    }
}

/// One jump of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ClockStep {
    /// By how much, in milliseconds; positive: forward.
    pub by_ms: i64,
    /// How much of it the host slept through (suspend, hibernation): nobody has set the clock by that.
    pub slept_ms: i64,
}

impl ClockStep {
    /// Nobody has set the clock: it went on while the host slept.
    pub fn is_sleep(self) -> bool {
        (self.by_ms - self.slept_ms).abs() < ClockSteps::STEP_MS
    }
}

/// Jumps of the wall clock, seen from the clock that only goes forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockSteps {
    /// How many.
    pub count: u64,
    /// The latest, in milliseconds; positive: forward.
    pub last_ms: Option<i64>,
}

impl ClockSteps {
    /// A clock that is slewed runs at most 500 ppm off, half a millisecond between two sweeps; what is a thousand
    /// times that was set, or the host slept.
    const STEP_MS: i64 = 500;

    /// Compares two samples that were taken about a second apart; the jump, if there was one.
    pub fn look(&mut self, before: Clock, after: Clock) -> Option<ClockStep> {
        let by_ms = after.offset_ns.saturating_sub(before.offset_ns) / 1_000_000;
        let slept_ms = after.asleep_ns.saturating_sub(before.asleep_ns) / 1_000_000;
        // Whoever sets the clock back by as much as the host slept has set it, too.
        if by_ms.abs() < Self::STEP_MS && slept_ms < Self::STEP_MS {
            return None;
        }
        self.count += 1;
        self.last_ms = Some(by_ms);
        // The two clocks are read one after the other, so that they differ by microseconds without any sleep.
        Some(ClockStep { by_ms, slept_ms: slept_ms.max(0) })
    }
}

/// Whether somebody keeps the wall clock right (`adjtimex`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synchronized {
    /// Somebody does.
    pub is_synchronized: bool,
    /// How wrong it may be all the same, in microseconds.
    pub max_error_us: u64,
}

impl Synchronized {
    /// Asks the kernel; `None` when it does not say.
    pub fn now() -> Option<Self> {
        crate::probe::clock_discipline().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_has_jumped_and_one_that_drifts_has_not() {
        let mut steps = ClockSteps::default();
        let at = |ms: i64| Clock::with_epoch(WallTime(ms * 1_000_000));
        for (before, after, expected) in
            [(0, 1, None), (0, 499, None), (0, 500, Some(500)), (3_600_000, 0, Some(-3_600_000))]
        {
            let expected = expected.map(|by_ms| ClockStep { by_ms, slept_ms: 0 });
            assert_eq!(steps.look(at(before), at(after)), expected, "{before} -> {after}");
        }
        assert_eq!(steps, ClockSteps { count: 2, last_ms: Some(-3_600_000) });
    }

    #[test]
    fn a_host_that_slept_is_told_from_a_clock_that_was_set() {
        let at =
            |ms: i64, asleep_ms: i64| Clock { offset_ns: ms * 1_000_000, asleep_ns: asleep_ms * 1_000_000 };
        let mut steps = ClockSteps::default();
        for (by_ms, slept_ms, is_sleep) in
            [(60_000, 60_000, true), (60_000, 59_900, true), (90_000, 60_000, false), (0, 60_000, false)]
        {
            let step = steps.look(at(0, 0), at(by_ms, slept_ms)).expect("a step");
            assert_eq!(step, ClockStep { by_ms, slept_ms });
            assert_eq!(step.is_sleep(), is_sleep, "{by_ms} ms, asleep for {slept_ms}");
        }
    }

    #[test]
    fn clocks_that_are_read_one_after_the_other_make_no_step() {
        let mut steps = ClockSteps::default();
        assert_eq!(steps.look(Clock::sample(), Clock::sample()), None);
    }
}
