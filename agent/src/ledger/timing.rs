//! How long things take, counted in classes: what a histogram needs, whatever becomes of it.

use std::time::Duration;

/// Upper bounds of the classes, in microseconds; what takes longer is in one more. From what a flash disk with a cache
/// of its own takes for a sync to what a disk takes that is about to be given up.
const BOUNDS_US: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    counts: [u64; BOUNDS_US.len() + 1],
    total: Duration,
}

impl Timing {
    /// One more, which took so long.
    pub(crate) fn took(&mut self, time: Duration) {
        let class = BOUNDS_US.iter().position(|bound| time <= Duration::from_micros(*bound));
        if let Some(count) = self.counts.get_mut(class.unwrap_or(BOUNDS_US.len())) {
            *count += 1;
        }
        self.total = self.total.saturating_add(time);
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long all of them took together.
    pub const fn total(&self) -> Duration {
        self.total
    }

    /// The upper bound of each class in seconds, and how many are in it and in no class before it.
    pub fn classes(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = BOUNDS_US.iter().map(|bound| *bound as f64 / 1e6).chain([f64::INFINITY]);
        bounds.zip(self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_in_the_first_class_that_has_room_for_it() {
        let mut timing = Timing::default();
        for micros in [0, 500, 501, 10_000_000, 10_000_001] {
            timing.took(Duration::from_micros(micros));
        }
        let counted: Vec<_> = timing.classes().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(0.0005, 2), (0.001, 1), (10.0, 1), (f64::INFINITY, 1)]);
        assert_eq!((timing.count(), timing.total()), (5, Duration::from_micros(20_001_002)));
    }
}
