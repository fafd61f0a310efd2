//! When to try again.

use std::time::Duration;

use super::settings::Retry;

/// Doublings after which the bound cannot grow any more, whatever the settings.
const MAX_DOUBLINGS: u32 = 32;

/// Failures in a row, and what follows from them.
///
/// Full jitter: the wait is uniform between zero and the bound. A receiver that comes back after an outage would
/// otherwise meet a whole fleet at the same moment.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    retry: Retry,
    failures: u32,
}

impl Backoff {
    pub(super) const fn new(retry: Retry) -> Self {
        Self { retry, failures: 0 }
    }

    /// Failures since the last success.
    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) const fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// How long to wait. `asked` is what the receiver wants: as long as that at least, but never longer than the
    /// longest bound, since a receiver must not be able to silence us. `random` is uniform in 0 to 1.
    pub(super) fn failed(&mut self, asked: Option<Duration>, random: f64) -> Duration {
        let bound = self.bound();
        self.failures = self.failures.saturating_add(1);
        let jittered = bound.mul_f64(random.clamp(0.0, 1.0));
        match asked {
            // The spread comes on top: whoever told everybody the same time wants to be asked later, not by
            // everybody at once.
            Some(asked) => (asked + jittered.min(asked / 10)).min(self.retry.longest),
            None => jittered,
        }
    }

    fn bound(&self) -> Duration {
        let factor = 1_u32.checked_shl(self.failures.min(MAX_DOUBLINGS)).unwrap_or(u32::MAX);
        self.retry.first.saturating_mul(factor).min(self.retry.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff() -> Backoff {
        Backoff::new(Retry { first: Duration::from_secs(1), longest: Duration::from_secs(60) })
    }

    #[test]
    fn the_bound_doubles_up_to_the_longest_and_begins_anew_after_a_success() {
        let mut backoff = backoff();
        let bounds: Vec<u64> = (0..8).map(|_| backoff.failed(None, 1.0).as_secs()).collect();
        assert_eq!(bounds, [1, 2, 4, 8, 16, 32, 60, 60]);
        for _ in 0..100 {
            assert_eq!(backoff.failed(None, 1.0).as_secs(), 60);
        }
        backoff.succeeded();
        assert_eq!(backoff.failed(None, 1.0).as_secs(), 1);
    }

    #[test]
    fn the_wait_is_anywhere_below_the_bound() {
        let mut backoff = backoff();
        assert_eq!(backoff.failed(None, 0.0), Duration::ZERO);
        assert_eq!(backoff.failed(None, 0.5), Duration::from_secs(1));
        assert_eq!(backoff.failed(None, 0.25), Duration::from_secs(1));
    }

    #[test]
    fn a_receiver_is_asked_later_but_cannot_silence_us() {
        let mut backoff = backoff();
        assert_eq!(backoff.failed(Some(Duration::from_secs(20)), 0.0), Duration::from_secs(20));
        assert!(backoff.failed(Some(Duration::from_secs(20)), 1.0) <= Duration::from_secs(22));
        assert_eq!(backoff.failed(Some(Duration::from_secs(86_400)), 0.5), Duration::from_secs(60));
    }
}
