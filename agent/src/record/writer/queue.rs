//! Records that wait for the disk, within a bound of bytes.
//!
//! Past the bound records are dropped, and counted for the gap record: intervals first, then updates of episodes
//! (the next update says it all again), then the rest, each the oldest first; but never a gap record, whose counts
//! would go with it. A tenth of the bound is freed at
//! once, so that a full queue is not searched for every record.

use std::collections::VecDeque;

use crate::record::{Line, Priority, lifecycle::Gap};

/// See the module.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: VecDeque<Line>,
    bytes: usize,
    max_bytes: usize,
}

impl Queue {
    pub(crate) const fn new(max_bytes: usize) -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, max_bytes }
    }

    pub(crate) fn push(&mut self, waiting: Line) {
        self.bytes += waiting.text.len();
        self.waiting.push_back(waiting);
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first lines, up to so many bytes but at least one line; their count, and the last sequence number.
    pub(crate) fn front(&self, max_bytes: usize) -> Option<(Vec<u8>, usize, u64)> {
        let mut lines = Vec::new();
        let mut last = None;
        let mut count = 0;
        for waiting in &self.waiting {
            if count > 0 && lines.len() + waiting.text.len() > max_bytes {
                break;
            }
            lines.extend_from_slice(waiting.text.as_bytes());
            last = Some(waiting.sequence);
            count += 1;
        }
        last.map(|last| (lines, count, last))
    }

    /// Forgets the first lines: they are written.
    pub(crate) fn written(&mut self, count: usize) {
        for waiting in self.waiting.drain(..count.min(self.waiting.len())) {
            self.bytes -= waiting.text.len();
        }
    }

    /// Drops what does not fit, and adds it to the gap.
    pub(crate) fn enforce_bound(&mut self, gap: &mut Gap) {
        if self.bytes <= self.max_bytes {
            return;
        }
        let goal = self.max_bytes - self.max_bytes / 10;
        for priority in [Priority::Interval, Priority::Update, Priority::Transition] {
            let bytes = &mut self.bytes;
            self.waiting.retain(|waiting| {
                if *bytes <= goal || waiting.priority != priority {
                    return true;
                }
                *bytes -= waiting.text.len();
                count(gap, waiting);
                false
            });
        }
    }
}

fn count(gap: &mut Gap, waiting: &Line) {
    match waiting.priority {
        Priority::Interval => gap.intervals += 1,
        Priority::Update => gap.updates += 1,
        Priority::Transition | Priority::Gap => gap.transitions += 1,
    }
    let first = gap.first_sequence.map_or(waiting.sequence, |first| first.min(waiting.sequence));
    let last = gap.last_sequence.map_or(waiting.sequence, |last| last.max(waiting.sequence));
    gap.first_sequence = Some(first);
    gap.last_sequence = Some(last);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(max_bytes: usize, priorities: &[Priority]) -> (Queue, Gap) {
        let mut queue = Queue::new(max_bytes);
        for (idx, priority) in priorities.iter().enumerate() {
            queue.push(Line { sequence: idx as u64, priority: *priority, text: "x".repeat(10) });
        }
        let mut gap = Gap::default();
        queue.enforce_bound(&mut gap);
        (queue, gap)
    }

    fn left(queue: &Queue) -> Vec<u64> {
        queue.waiting.iter().map(|waiting| waiting.sequence).collect()
    }

    #[test]
    fn intervals_go_first_then_updates_then_the_rest() {
        use Priority::{Interval as I, Transition as T, Update as U};
        let cases: [(usize, &[Priority], &[u64]); 5] = [
            (60, &[T, I, U, I, T, U], &[0, 1, 2, 3, 4, 5]),
            (55, &[T, I, U, I, T, U], &[0, 2, 3, 4, 5]),
            (35, &[T, I, U, I, T, U], &[0, 4, 5]),
            (22, &[T, I, U, I, T, U], &[0, 4]),
            (12, &[T, I, U, I, T, U], &[4]),
        ];
        for (max_bytes, priorities, expected) in cases {
            let (queue, gap) = queue(max_bytes, priorities);
            assert_eq!(left(&queue), expected, "bound {max_bytes}");
            assert_eq!(gap.total() as usize + queue.len(), priorities.len());
        }
    }

    #[test]
    fn a_gap_says_which_numbers_are_missing() {
        let (_, gap) = queue(20, &[Priority::Interval; 5]);
        assert_eq!((gap.intervals, gap.first_sequence, gap.last_sequence), (4, Some(0), Some(3)));
    }

    #[test]
    fn a_line_longer_than_the_chunk_is_taken_alone() {
        let (queue, _) = queue(1_000, &[Priority::Transition; 3]);
        assert_eq!(queue.front(4).map(|(lines, count, last)| (lines.len(), count, last)), Some((10, 1, 0)));
        assert_eq!(queue.front(25).map(|(lines, count, last)| (lines.len(), count, last)), Some((20, 2, 1)));
    }
}
