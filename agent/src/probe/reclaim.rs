//! When slots that fell silent are taken back: a decision about numbers, without kernel or clock.
//!
//! A slot in use costs nothing as long as there are others, so silence is tolerated for [`IDLE_LIMIT`]. A socket
//! with many destinations (a resolver, a scanner, a peer-to-peer program) fills slots and leaves them silent; when
//! the reserve is used up, the slots silent the longest are taken back, down to [`MIN_IDLE_SECS`]. Taking one back loses
//! nothing: the next packet of its socket takes another, and an owner stays the owner. What finds no slot at all is
//! still counted per destination, but without owner, and that is what the reserve is there to prevent.
//!
//! **How large the reserve is.** A slot comes back one sweep after the decision, and the decision is made once per
//! sweep, so newcomers of three sweeps must find room: at least a quarter of all slots, and at most half of them, or
//! many sockets that send every few seconds would lose their slots to each other. With the default of 131,072 slots
//! that lasts for about 20,000 newcomers a second; the limit of two minutes alone allowed 1,100.

use std::time::Duration;

/// A slot that was silent for so long is taken back, even if its socket lives on.
pub(super) const IDLE_LIMIT: Duration = Duration::from_secs(120);
/// Under pressure a slot that was silent for so long may go. Shorter, and busy sockets would change slots all the time.
const MIN_IDLE_SECS: usize = 2;
/// Newcomers of so many sweeps must find a free slot.
const RESERVE_SWEEPS: u32 = 3;

const AGES: usize = IDLE_LIMIT.as_secs() as usize + 1;

/// What one sweep saw.
#[derive(Debug)]
pub(super) struct Pressure {
    /// Slots that may be taken back, by whole seconds of silence.
    silent: [u32; AGES],
    /// Slots that are in use and not yet on their way back.
    held: u32,
    /// Lives that began since the sweep before.
    begun: u32,
}

impl Default for Pressure {
    fn default() -> Self {
        Self { silent: [0; AGES], held: 0, begun: 0 }
    }
}

impl Pressure {
    /// A slot was read for the first time in its life.
    pub(super) const fn begun(&mut self) {
        self.begun += 1;
    }

    /// A slot stays in use.
    pub(super) const fn held(&mut self) {
        self.held += 1;
    }

    /// It does, and was silent for so long.
    pub(super) fn silent(&mut self, time: Duration) {
        let age = (time.as_secs() as usize).min(AGES - 1);
        self.silent[age] += 1;
    }

    /// How long a slot may be silent, out of `capacity` slots.
    pub(super) fn idle_limit(&self, capacity: u32) -> Duration {
        let reserve = self.begun.saturating_mul(RESERVE_SWEEPS).clamp(capacity / 4, capacity / 2);
        let free = capacity.saturating_sub(self.held);
        let Some(mut missing) = reserve.checked_sub(free).filter(|missing| *missing > 0) else {
            return IDLE_LIMIT;
        };
        for age in (MIN_IDLE_SECS + 1..AGES).rev() {
            missing = missing.saturating_sub(self.silent[age]);
            if missing == 0 {
                return Duration::from_secs(age as u64);
            }
        }
        Duration::from_secs(MIN_IDLE_SECS as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many slots of each age in seconds, and so many newcomers.
    fn limit(ages: &[(u64, u32)], begun: u32, capacity: u32) -> u64 {
        let mut pressure = Pressure { begun, ..Pressure::default() };
        for (seconds, count) in ages {
            for _ in 0..*count {
                pressure.held();
                pressure.silent(Duration::from_secs(*seconds));
            }
        }
        pressure.idle_limit(capacity).as_secs()
    }

    #[test]
    fn silence_is_tolerated_while_there_is_room() {
        assert_eq!(limit(&[], 0, 1_000), 120);
        assert_eq!(limit(&[(100, 750)], 0, 1_000), 120);
    }

    #[test]
    fn the_slots_silent_the_longest_go_first_and_only_as_many_as_needed() {
        assert_eq!(limit(&[(10, 300), (50, 300), (90, 200)], 0, 1_000), 90);
        assert_eq!(limit(&[(10, 300), (50, 600)], 0, 1_000), 50);
        assert_eq!(limit(&[(10, 600), (50, 100), (90, 100), (119, 199)], 0, 1_000), 90);
    }

    #[test]
    fn many_newcomers_make_the_reserve_larger() {
        assert_eq!(limit(&[(10, 600)], 100, 1_000), 120);
        assert_eq!(limit(&[(10, 600)], 150, 1_000), 10);
        // Not everything: slots that are in use serve better than free ones.
        assert_eq!(limit(&[(10, 500)], 1_000, 1_000), 120);
    }

    #[test]
    fn slots_that_are_busy_stay() {
        assert_eq!(limit(&[(0, 1_000)], 1_000, 1_000), 2);
        assert_eq!(limit(&[(1, 500), (2, 500)], 0, 1_000), 2);
    }

    #[test]
    fn silence_beyond_the_limit_is_no_reason_to_fail() {
        assert_eq!(limit(&[(10_000, 1_000)], 0, 1_000), 120);
        assert_eq!(limit(&[(10_000, 5_000)], u32::MAX, 1_000), 120);
        assert_eq!(limit(&[(0, 5_000)], u32::MAX, 1_000), 2);
    }
}
