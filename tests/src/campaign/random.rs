//! Numbers that a seed repeats.

use std::time::{SystemTime, UNIX_EPOCH};

/// SplitMix64 (Steele, Lea, Flood 2014): ten lines, and every seed is a good one.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub const fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// A seed for a run that was given none.
    pub fn fresh_seed() -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Short enough to be typed again.
        (now.as_nanos() as u64 ^ u64::from(std::process::id()) << 20) % 1_000_000_000
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number of `range`, which must not be empty. The bias of the remainder is of no concern here.
    pub const fn within(&mut self, range: std::ops::RangeInclusive<u64>) -> u64 {
        let (first, last) = (*range.start(), *range.end());
        first + self.next() % (last - first + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_numbers() {
        let numbers = |seed| {
            let mut random = Random::from_seed(seed);
            [random.next(), random.next(), random.within(3..=5)]
        };
        assert_eq!(numbers(42), numbers(42));
        assert_ne!(numbers(42), numbers(43));
        let mut random = Random::from_seed(7);
        assert!((0..1000).all(|_| (3..=5).contains(&random.within(3..=5))));
    }
}
