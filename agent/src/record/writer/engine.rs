//! What the writer does, step by step; the thread around it only waits.
//!
//! Every line enters the queue; the queue is then written from its front.
//! In good times it is empty again before anyone is answered. After an error the engine is *degraded*: records
//! stay in the queue, a retry is due after a time that doubles up to [`MAX_BACKOFF`], and when the disk takes
//! lines again the queue goes out in order, followed by a gap record if anything had to be dropped.

use std::time::Duration;

use crate::{
    clock::{Clock, KernelTime, WallTime},
    record::{
        Context, Line, Numbering, Origin, Record,
        lifecycle::{self, Event, Gap},
        writer::{queue::Queue, target::Target},
    },
};

/// Written and synced at once, in bytes: a large queue is accepted piece by piece.
const CHUNK_BYTES: usize = 1 << 20;

const MIN_BACKOFF: Duration = Duration::from_millis(250);
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Now, on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) kernel: KernelTime,
    pub(crate) wall: WallTime,
}

/// The disk does not take records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Degraded {
    /// Since when.
    pub since: WallTime,
    /// What the first failed attempt said.
    pub reason: String,
    /// Records that wait in memory.
    pub queued_records: usize,
    /// Their bytes.
    pub queued_bytes: usize,
    /// What was dropped so far.
    pub dropped: Gap,
}

/// How the writer is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Every record up to this number is durable, or counted in a gap.
    pub accepted_sequence: u64,
    /// The disk does not take records.
    pub degraded: Option<Degraded>,
    /// How often it did not, since the start: an outage may be over before anybody looks.
    pub outages: u64,
    /// The last of those that are over.
    pub last_outage: Option<Outage>,
}

/// A time in which the disk took no records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Since when.
    pub since: KernelTime,
    /// Until when.
    pub until: KernelTime,
    /// What the first failed attempt said.
    pub reason: String,
}

/// See the module.
pub(crate) struct Engine<T> {
    target: T,
    queue: Queue,
    origin: Origin,
    numbering: Numbering,
    /// The highest number that came in.
    sequence: u64,
    health: Health,
    gap: Gap,
    backoff: Duration,
    retry_at: Option<KernelTime>,
    degraded_since: KernelTime,
}

impl<T: Target> Engine<T> {
    /// Continues after `sequence`.
    pub(crate) fn new(target: T, origin: Origin, instance: &str, sequence: u64, max_bytes: usize) -> Self {
        let numbering = Numbering::new(&origin.host_uid, instance, sequence);
        Self {
            target,
            queue: Queue::new(max_bytes),
            origin,
            numbering,
            sequence,
            health: Health { accepted_sequence: sequence, ..Health::default() },
            gap: Gap::default(),
            backoff: MIN_BACKOFF,
            retry_at: None,
            degraded_since: KernelTime(0),
        }
    }

    /// Who gives numbers to records: the one for all of this file.
    pub(crate) fn numbering(&self) -> Numbering {
        self.numbering.clone()
    }

    /// Puts lines in the queue; returns them as one text, for a copy elsewhere.
    pub(crate) fn enqueue(&mut self, lines: Vec<Line>) -> Vec<u8> {
        let mut text = Vec::new();
        for line in lines {
            self.sequence = self.sequence.max(line.sequence);
            text.extend_from_slice(line.text.as_bytes());
            self.queue.push(line);
        }
        text
    }

    /// Writes what waits, unless a retry is not yet due. True when everything is accepted.
    pub(crate) fn flush(&mut self, now: Now) -> bool {
        if self.retry_at.is_some_and(|retry_at| now.kernel < retry_at) {
            self.queue.enforce_bound(&mut self.gap);
            self.refresh();
            return false;
        }
        match self.write_queue(now) {
            Ok(()) => {
                self.recover(now);
                true
            }
            Err(error) => {
                self.degrade(now, &error);
                false
            }
        }
    }

    /// When [`Self::flush`] should be called again although nothing came in.
    #[cfg(test)]
    pub(crate) const fn retry_at(&self) -> Option<KernelTime> {
        self.retry_at
    }

    /// When [`Self::tick`] should be called although nothing came in.
    pub(crate) fn due(&self) -> Option<KernelTime> {
        self.retry_at.into_iter().chain(self.target.due()).min()
    }

    /// Does what waits: what the disk did not take, and what the target does now and then.
    pub(crate) fn tick(&mut self, now: Now) {
        if self.retry_at.is_some_and(|retry_at| retry_at <= now.kernel) {
            self.flush(now);
        }
        self.target.tick(now);
        if self.enqueue_events(now) {
            self.flush(now);
        }
    }

    /// Opens the output again and tries at once: an operator who sends SIGHUP has often just made room.
    pub(crate) fn reopen(&mut self, now: Now) {
        self.target.reopen();
        self.retry_at = None;
        self.flush(now);
    }

    /// Last attempt before the end.
    pub(crate) fn finish(&mut self, now: Now) -> bool {
        self.retry_at = None;
        let is_accepted = self.flush(now);
        self.target.finish(now);
        is_accepted
    }

    pub(crate) const fn health(&self) -> &Health {
        &self.health
    }

    /// Starts degraded: the output could not be opened, and that may pass.
    pub(crate) fn degrade(&mut self, now: Now, error: &std::io::Error) {
        self.queue.enforce_bound(&mut self.gap);
        if self.health.degraded.is_none() {
            tracing::error!(%error, "records cannot be written; they wait in memory");
            self.backoff = MIN_BACKOFF;
            self.gap.since = now.wall.unix_millis();
            self.gap.reason = error.to_string();
            self.degraded_since = now.kernel;
            self.health.outages += 1;
            self.health.degraded = Some(Degraded {
                since: now.wall,
                reason: error.to_string(),
                queued_records: 0,
                queued_bytes: 0,
                dropped: Gap::default(),
            });
        }
        self.retry_at = Some(now.kernel + self.backoff);
        self.backoff = (self.backoff * 2).min(MAX_BACKOFF);
        self.refresh();
    }

    fn write_queue(&mut self, now: Now) -> std::io::Result<()> {
        while let Some((lines, count, last)) = self.queue.front(CHUNK_BYTES) {
            self.target.write(&lines)?;
            self.queue.written(count);
            self.health.accepted_sequence = self.health.accepted_sequence.max(last);
            if self.queue.len() == 0 && self.gap.total() > 0 {
                self.enqueue_gap(now);
            }
        }
        // Everything that waited may have been dropped.
        if self.gap.total() > 0 {
            self.enqueue_gap(now);
            return self.write_queue(now);
        }
        if self.enqueue_events(now) {
            return self.write_queue(now);
        }
        Ok(())
    }

    /// What the target has to say.
    fn enqueue_events(&mut self, now: Now) -> bool {
        let events = self.target.take_events();
        let is_any = !events.is_empty();
        for event in events {
            let line = self.numbering.line(self.record(event, now));
            self.enqueue(line.into_iter().collect());
        }
        is_any
    }

    fn record(&self, event: Event, now: Now) -> Record {
        let clock = Clock::with_epoch(WallTime(0));
        let context = Context { origin: &self.origin, clock: &clock, booted: None, now: now.wall };
        lifecycle::lifecycle(&context, event)
    }

    /// From here on the gap record is a record like any other; if it must wait, it waits in the queue.
    fn enqueue_gap(&mut self, now: Now) {
        let gap = std::mem::take(&mut self.gap);
        let record = self.record(Event::Gap(gap.clone()), now);
        // What is dropped from now on is another gap of the same outage.
        self.gap.since = gap.since;
        self.gap.reason = gap.reason;
        let line = self.numbering.line(record);
        self.enqueue(line.into_iter().collect());
    }

    fn recover(&mut self, now: Now) {
        if let Some(degraded) = self.health.degraded.take() {
            tracing::warn!(
                since = %degraded.since,
                dropped = degraded.dropped.total(),
                outage_seconds = now.wall.unix_seconds() - degraded.since.unix_seconds(),
                "records can be written again"
            );
            let (since, until) = (self.degraded_since, now.kernel);
            self.health.last_outage = Some(Outage { since, until, reason: degraded.reason });
        }
        self.gap = Gap::default();
        self.backoff = MIN_BACKOFF;
        self.retry_at = None;
        self.health.accepted_sequence = self.sequence;
    }

    fn refresh(&mut self) {
        if let Some(degraded) = &mut self.health.degraded {
            degraded.queued_records = self.queue.len();
            degraded.queued_bytes = self.queue.bytes();
            degraded.dropped = self.gap.clone();
        }
    }
}
