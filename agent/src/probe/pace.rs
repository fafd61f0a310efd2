//! How often the reader of flow events lets itself be woken.
//!
//! The kernel wakes a reader that has caught up, at each event. For a first packet now and then that is what an alert
//! needs: it is read after microseconds. At thousands a second each wake-up costs more than the event (an interrupt,
//! and a task that takes the processor from whoever makes the connections). So a reader that is woken too often lets
//! events gather for a moment instead. The ring holds tens of thousands; its bound is not touched.

use std::time::Duration;

use crate::clock::KernelTime;

/// How long events gather. An alert of a host this busy comes that much later.
const GATHER: Duration = Duration::from_millis(1);
/// Wake-ups are counted over this long.
const WINDOW: Duration = Duration::from_millis(10);
/// Wake-ups in a window that are still no burden: 6,400 a second.
const MAX_WAKES: u32 = 64;
/// When no more events than this have gathered, waiting for each would be no burden either.
const CALM: usize = 6;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    window: KernelTime,
    wakes: u32,
    gathering: bool,
}

impl Pace {
    /// Woken at `now`, the reader has emptied the ring of so many events: how long it should stay away from it.
    pub fn after(&mut self, events: usize, now: KernelTime) -> Option<Duration> {
        if self.gathering {
            if events > CALM {
                return Some(GATHER);
            }
            *self = Self { window: now, wakes: 0, gathering: false };
            return None;
        }
        if now.since(self.window) >= WINDOW {
            (self.window, self.wakes) = (now, 0);
        }
        self.wakes += 1;
        self.gathering = self.wakes > MAX_WAKES;
        self.gathering.then_some(GATHER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events one after the other, this far apart; the pauses that were asked for, by when.
    fn pauses(pace: &mut Pace, start: KernelTime, apart: Duration, count: u32) -> Vec<KernelTime> {
        let mut pauses = Vec::new();
        let (mut away_until, mut gathered) = (start, 0);
        for idx in 0..count {
            let now = start + apart * idx;
            gathered += 1;
            if now < away_until {
                continue;
            }
            if let Some(pause) = pace.after(gathered, now) {
                away_until = now + pause;
                pauses.push(now);
            }
            gathered = 0;
        }
        pauses
    }

    #[test]
    fn events_now_and_then_are_read_at_once() {
        let mut pace = Pace::default();
        // 4,000 a second: a packet and the name of its sender, two thousand times.
        assert_eq!(pauses(&mut pace, KernelTime(1), Duration::from_micros(250), 40_000), []);
    }

    #[test]
    fn a_flood_is_read_a_thousand_times_a_second() {
        let mut pace = Pace::default();
        let pauses = pauses(&mut pace, KernelTime(1), Duration::from_micros(40), 25_000);
        assert!((900..=1_000).contains(&pauses.len()), "{}", pauses.len());
        // The first events of a burst are read at once.
        assert!(pauses[0] >= KernelTime(1) + Duration::from_micros(40) * MAX_WAKES);
    }

    #[test]
    fn after_a_flood_events_are_read_at_once_again() {
        let mut pace = Pace::default();
        pauses(&mut pace, KernelTime(1), Duration::from_micros(40), 25_000);
        // One event may still have to wait with those before it.
        let later = KernelTime(1) + Duration::from_secs(2);
        assert_eq!(pauses(&mut pace, later, Duration::from_millis(1), 1_000), []);
    }
}
