//! One edge interface over time.
//!
//! The two sides are read one after the other: our cells, the card, our cells again. A frame passes `tc` first, may
//! wait in the queue and in the ring of the card, and is counted by the card last. So at any time
//!
//! ```text
//!   card = tc + what went past us - what was dropped - what is in flight
//! ```
//!
//! What may be in flight is the tolerance: too much by what was in flight at the beginning, too little by what is at
//! the end. At rest it is zero and the comparison is exact; what is on its way at the end of one interval belongs to
//! the next. Findings compare since the last moment that was known to balance (the *anchor*), so that small
//! differences add up over intervals instead of hiding in each.

use serde::{Deserialize, Serialize};

use super::{
    Amount, Comparison, Counting, Difference, Limits, Seen,
    compare::{Point, compare},
    meter::{Meter, Step},
};

/// Bytes of the smallest frame of a large buffer, to bound the frames in a backlog given as bytes.
const SMALLEST_FRAME: u64 = 60;

/// What waits in the queue in front of the card, and what it has dropped since it exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Bytes that wait.
    pub backlog_bytes: u64,
    /// Buffers dropped.
    pub dropped: u64,
}

/// One look at both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// What the driver says it has sent.
    pub nic: Amount,
    /// Buffers that the driver, or the core before it, has dropped.
    pub nic_dropped: u64,
    /// The queue; none where it could not be read.
    pub queue: Option<Queue>,
    /// What `tc` had seen before the card was read.
    pub seen_before: Seen,
    /// And after.
    pub seen_after: Seen,
}

/// What an interval looked like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The interval; none when a counter began again within it, so that nothing can be said.
    pub interval: Option<Comparison>,
    /// Everything since the interface is compared.
    pub cumulative: Comparison,
    /// Beyond the tolerance, and not told in an earlier report.
    pub finding: Option<Comparison>,
}

/// See the module.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InterfaceLedger {
    limits: Limits,
    bytes: Meter,
    frames: Meter,
    nic_dropped: Meter,
    queue_dropped: Meter,
    /// What `tc` had seen at the first sample.
    first_seen: Seen,
    first: Point,
    now: Point,
    at_interval: Point,
    anchor: Point,
    counting: Counting,
    /// What `tc` had seen at the sample before the latest.
    seen_before: Seen,
    /// A counter began again since the last report.
    reset: bool,
    /// Times a counter began again.
    n_resets: u64,
}

impl InterfaceLedger {
    /// Begins with a sample.
    pub fn new(limits: Limits, sample: &Sample) -> Self {
        let queue = sample.queue.unwrap_or_default();
        // What was sent just before the first sample is not known; all that our cells have seen may be on its way.
        let in_flight = sample.seen_after.total().plus(backlog(queue));
        let first = Point { in_flight, ..Point::default() };
        Self {
            limits,
            bytes: Meter::at(sample.nic.bytes),
            frames: Meter::at(sample.nic.frames),
            nic_dropped: Meter::at(sample.nic_dropped),
            queue_dropped: Meter::at(queue.dropped),
            first_seen: sample.seen_after,
            first,
            now: first,
            at_interval: first,
            anchor: first,
            counting: Counting::Unknown,
            seen_before: Seen::default(),
            reset: false,
            n_resets: 0,
        }
    }

    /// Frames of the interface may have another length from now on.
    pub const fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Takes a sample, about once a second.
    ///
    /// In flight is at most what waits in the queue, and what passed `tc` since two samples ago: rings drain within
    /// milliseconds, but some drivers read the counters of their hardware only every second.
    pub fn observe(&mut self, sample: &Sample) {
        let seen = sample.seen_after.since(&self.first_seen);
        let recent = seen.total().since(self.now.seen.total());
        let cells_began_again = sample.seen_after.total().frames < self.first_seen.total().frames
            || seen.total().frames < self.now.seen.total().frames;
        let steps = [
            self.bytes.read(sample.nic.bytes, recent.bytes),
            self.frames.read(sample.nic.frames, recent.frames),
        ];
        let queue = sample.queue.unwrap_or_default();
        // A queue that is replaced begins again: what it dropped by then has been read a second ago.
        let _ = self.queue_dropped.read(queue.dropped, 0);
        let _ = self.nic_dropped.read(sample.nic_dropped, 0);
        let moved = sample.seen_after.total().since(sample.seen_before.total());
        let lately = seen.total().since(self.seen_before.total());
        self.seen_before = self.now.seen;
        self.now = Point {
            nic: Amount::new(self.bytes.total(), self.frames.total()),
            seen,
            dropped: self.nic_dropped.total().saturating_add(self.queue_dropped.total()),
            in_flight: lately.plus(moved).plus(backlog(queue)),
        };
        if steps.contains(&Step::Reset) || cells_began_again {
            self.begin_again(sample);
        } else if self.now.in_flight.bytes <= self.anchor.in_flight.bytes / 2 {
            self.settle();
        }
    }

    /// Counters that began again cannot be compared with what was before.
    fn begin_again(&mut self, sample: &Sample) {
        let (limits, counting, n_resets) = (self.limits, self.counting, self.n_resets);
        *self = Self::new(limits, sample);
        self.counting = counting;
        self.n_resets = n_resets + 1;
        self.reset = true;
    }

    /// At rest, or with much less in flight than at the anchor: if it balances, everything until here is settled.
    /// What the tolerance may have hidden so far is given up for a smaller one, so this must not happen at will.
    fn settle(&mut self) {
        let comparison = compare(&self.anchor, &self.now, self.limits, self.counting);
        if comparison.is_balanced() {
            self.counting = comparison.counting;
            self.anchor = self.now;
        }
    }

    /// Ends an interval with the latest sample.
    pub fn end_interval(&mut self) -> Report {
        let since_anchor = compare(&self.anchor, &self.now, self.limits, self.counting);
        let finding = (!since_anchor.is_balanced()).then_some(since_anchor);
        let report = Report {
            interval: (!self.reset)
                .then(|| compare(&self.at_interval, &self.now, self.limits, self.counting)),
            cumulative: self.cumulative(),
            finding,
        };
        if finding.is_some() {
            self.anchor = self.now;
        } else {
            self.counting = since_anchor.counting;
        }
        self.at_interval = self.now;
        self.reset = false;
        report
    }

    /// Everything since the interface is compared; exact at rest.
    pub fn cumulative(&self) -> Comparison {
        compare(&self.first, &self.now, self.limits, self.counting)
    }

    /// Nobody watched for a while, until the latest sample: what the card counted in that time belongs to the gap and
    /// is no finding of its own any more. Exact at rest.
    pub fn settle_gap(&mut self) -> Difference {
        let comparison = compare(&self.anchor, &self.now, self.limits, self.counting);
        self.anchor = self.now;
        comparison.unexplained
    }

    /// The interface came into being while we watched: everything its card had counted until the first sample, less
    /// what `tc` had seen by then.
    pub fn before_first(sample: &Sample) -> Difference {
        Difference::between(sample.nic, sample.seen_after.total())
    }

    /// Times a counter of the card began again.
    pub const fn n_resets(&self) -> u64 {
        self.n_resets
    }
}

const fn backlog(queue: Queue) -> Amount {
    Amount::new(queue.backlog_bytes, queue.backlog_bytes.div_ceil(SMALLEST_FRAME))
}

#[cfg(test)]
#[path = "interface_tests.rs"]
mod tests;
