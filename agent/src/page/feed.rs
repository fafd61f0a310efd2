//! Follows the records from a week ago on, and remembers what the page shows of them.
//!
//! There are two sources. The ledger has everything, from before this start of the agent too, and what is in it can be
//! proven. The records of this run are there even while the disk takes nothing, when a violation must be on the page all
//! the same. Both are followed at once; a record counts once, whichever brings it first, and what the ledger adds then
//! is its place.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::sync::watch;

use super::{
    episodes::{Episodes, Standing},
    history::History,
};
use crate::{
    clock::WallTime,
    ledger::{Page, Source, path::WIDTH},
};

/// Read at once: short enough that requests are answered in between.
const PAGE: Page = Page { entries: 256, bytes: 1 << 20 };
/// After a failed read.
const PAUSE: Duration = Duration::from_secs(5);
/// Failed reads of one place, after which the page goes on behind it: a damaged bundle must not hide the later ones.
const TRIES: u32 = 3;
/// Numbers of records that are remembered because the ledger has not got them yet. With more, the disk has been
/// failing for long; should the ledger get the oldest all the same, their intervals are counted twice here.
const MAX_AHEAD: usize = 65_536;
/// What the longest range of the history needs.
const WEEK_MILLIS: i64 = 7 * 86_400 * 1_000;

/// What changed, by counting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Changes of episodes.
    pub(super) episodes: u64,
    /// Intervals counted.
    pub(super) intervals: u64,
}

/// What is remembered of the records.
#[derive(Debug, Default)]
pub(super) struct Memory {
    inner: Mutex<Inner>,
    changes: watch::Sender<Changes>,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) episodes: Episodes,
    pub(super) history: History,
    /// Records that were gone before they could be read.
    pub(super) missed: u64,
    /// Time of the first record that was read, in milliseconds since 1970.
    pub(super) since: Option<i64>,
    /// The highest number of a record that the ledger has brought.
    in_ledger: u64,
    /// Numbers of records that the ledger has not brought yet.
    ahead: BTreeSet<u64>,
}

impl Inner {
    /// Whether a record of this number is new; notes that it is known.
    fn is_new(&mut self, number: u64, from_ledger: bool) -> bool {
        if from_ledger {
            self.in_ledger = self.in_ledger.max(number);
            return !self.ahead.remove(&number);
        }
        if number <= self.in_ledger {
            return false;
        }
        if self.ahead.len() >= MAX_AHEAD {
            self.ahead.pop_first();
        }
        self.ahead.insert(number)
    }
}

impl Memory {
    pub(super) fn look(&self) -> MutexGuard<'_, Inner> {
        // A record that made its reader panic is missing; everything else is whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn changes(&self) -> watch::Receiver<Changes> {
        self.changes.subscribe()
    }

    /// How things stand over the last day.
    pub(super) fn standing(&self, now: WallTime) -> Standing {
        self.look().episodes.standing(now.unix_millis() - 86_400_000)
    }

    fn take(&self, index: Option<u64>, record: &str) {
        let Ok(record) = serde_json::from_str::<Value>(record) else {
            tracing::debug!(index, "a record is not JSON");
            return;
        };
        let mut inner = self.look();
        let number = record.pointer("/metadata/sequence").and_then(Value::as_u64);
        let is_new = number.is_none_or(|number| inner.is_new(number, index.is_some()));
        if let Some(time) = record.get("time").and_then(Value::as_i64) {
            inner.since = Some(inner.since.map_or(time, |since| since.min(time)));
        }
        match record.get("class_uid").and_then(Value::as_u64) {
            // Its text is shown already; from now on with its place in the ledger.
            Some(2004) if !is_new => inner.episodes.place(&record, index),
            Some(2004) if inner.episodes.take(&record, index) => {
                let revision = inner.episodes.revision();
                self.changes.send_modify(|changes| changes.episodes = revision);
            }
            Some(4001) if is_new => {
                inner.history.count(&record);
                self.changes.send_modify(|changes| changes.intervals += 1);
            }
            _ => {}
        }
    }
}

/// Follows until the source ends. `signed`: its indexes are places in a ledger, which a proof can be asked for.
pub(super) async fn follow(source: Arc<dyn Source>, signed: bool, memory: Arc<Memory>) {
    let mut size = source.size();
    // A ledger may be opened later, when the disk answers.
    if size.wait_for(|size| *size > 0).await.is_err() {
        return;
    }
    let mut from = first_of_week(&*source);
    let mut failures = 0;
    loop {
        let end = *size.borrow_and_update();
        while from < end {
            match source.read(from, PAGE) {
                Ok(entries) => {
                    failures = 0;
                    for entry in &entries {
                        memory.take(signed.then_some(entry.index), &entry.record);
                    }
                    from = entries.last().map_or(end, |entry| entry.index + 1);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let first = source.first().max(from + 1);
                    memory.look().missed += first - from;
                    from = first;
                }
                Err(error) => {
                    tracing::warn!(%error, from, "the status page cannot read records");
                    failures += 1;
                    if failures >= TRIES {
                        let next = ((from / WIDTH + 1) * WIDTH).min(end);
                        memory.look().missed += next - from;
                        (from, failures) = (next, 0);
                    } else {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
            tokio::task::yield_now().await;
        }
        if size.changed().await.is_err() {
            return;
        }
    }
}

/// The first record that is not older than a week, by bisection: records are in the order of their times, but for
/// jumps of the clock, which are small against a week.
fn first_of_week(source: &dyn Source) -> u64 {
    let limit = WallTime::now().unix_millis() - WEEK_MILLIS;
    let is_recent = |index| {
        let entries = source.read(index, Page { entries: 1, bytes: 0 }).ok()?;
        let record: Value = serde_json::from_str(&entries.first()?.record).ok()?;
        Some(record.get("time")?.as_i64()? >= limit)
    };
    let (mut low, mut high) = (source.first(), *source.size().borrow());
    while low < high {
        let middle = low + (high - low) / 2;
        // What cannot be read is not skipped: it is found again, and told, on the way.
        if is_recent(middle).unwrap_or(true) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::{super::ring::Ring, *};

    fn event(time: i64) -> String {
        serde_json::json!({"class_uid": 6002, "time": time}).to_string()
    }

    #[test]
    fn reading_begins_a_week_ago() {
        let now = WallTime::now().unix_millis();
        let ring = Ring::default();
        for age_days in [30, 20, 8, 6, 1, 0] {
            ring.push(&event(now - age_days * 86_400_000));
        }
        assert_eq!(first_of_week(&ring), 3);
        assert_eq!(first_of_week(&Ring::default()), 0);
    }

    #[tokio::test]
    async fn records_are_followed_and_nonsense_is_passed_over() {
        let ring = Arc::new(Ring::default());
        let memory = Arc::new(Memory::default());
        let mut changes = memory.changes();
        let task = tokio::spawn(follow(Arc::clone(&ring) as Arc<dyn Source>, true, Arc::clone(&memory)));
        ring.push("no record");
        let finding: Value =
            serde_json::from_str(include_str!("../record/golden/finding-open.json")).expect("a record");
        let mut finding = finding;
        finding["time"] = WallTime::now().unix_millis().into();
        ring.push(&finding.to_string());
        changes.wait_for(|changes| changes.episodes == 1).await.expect("the feed runs");
        let rows = memory.look().episodes.rows();
        let view = memory.look().episodes.get(&rows[0].id).expect("known");
        assert_eq!(view.entries.map(|entries| entries.first), Some(1));
        task.abort();
    }

    fn golden(text: &str, time: i64, number: u64) -> Value {
        let mut record: Value = serde_json::from_str(text).expect("a record");
        record["time"] = time.into();
        record["start_time"] = (time - 60_000).into();
        record["end_time"] = time.into();
        record["metadata"]["sequence"] = number.into();
        record
    }

    fn finding(time: i64, number: u64, transition: &str) -> String {
        let mut record = golden(include_str!("../record/golden/finding-open.json"), time, number);
        record["unmapped"]["homeport"]["transition"] = transition.into();
        record.to_string()
    }

    fn interval(time: i64, number: u64) -> String {
        golden(include_str!("../record/golden/interval.json"), time, number).to_string()
    }

    /// A week in the ledger, this run beside it: each in its own order, in both orders of who is read first.
    #[tokio::test]
    async fn what_the_ledger_has_and_what_this_run_said_is_counted_once_whoever_comes_first() {
        let now = WallTime::now().unix_millis();
        let hours_ago = |hours: i64| now - hours * 3_600_000;
        let before = [finding(hours_ago(30), 7, "open"), interval(hours_ago(30), 8)];
        let this_run = [finding(hours_ago(1), 9, "close"), interval(now, 10)];
        for run_first in [true, false] {
            let (ledger, run) = (Arc::new(Ring::default()), Arc::new(Ring::default()));
            before.iter().chain(&this_run).for_each(|record| ledger.push(record));
            // The last one is not in the ledger yet.
            run.push(&this_run[0]);
            run.push(&this_run[1]);
            run.push(&interval(now, 11));
            let memory = Arc::new(Memory::default());
            let mut changes = memory.changes();
            let mut sources = [(ledger, true), (run, false)];
            if run_first {
                sources.reverse();
            }
            let mut tasks = Vec::new();
            for (expected, (source, signed)) in [2, 3].into_iter().zip(sources) {
                tasks.push(tokio::spawn(follow(source, signed, Arc::clone(&memory))));
                changes.wait_for(|changes| changes.intervals == expected).await.expect("the feed runs");
                tokio::task::yield_now().await;
            }
            let inner = memory.look();
            let row = inner.episodes.rows().remove(0);
            assert!(!row.open, "the later record counts, run first: {run_first}");
            let entries = inner.episodes.get(&row.id).expect("known").entries.expect("in the ledger");
            assert_eq!((entries.first, entries.last), (0, 2), "run first: {run_first}");
            let week =
                inner.history.view(super::super::history::Range::Week, now / 1000, &Default::default());
            assert_eq!(week.buckets.iter().map(|bucket| bucket.recorded_secs).sum::<i64>(), 180);
            let expected = hours_ago(30);
            assert_eq!(inner.since, Some(expected));
            drop(inner);
            tasks.iter().for_each(tokio::task::JoinHandle::abort);
        }
    }

    /// Reads of the first bundle fail.
    struct Damaged(Ring);

    impl Source for Damaged {
        fn first(&self) -> u64 {
            0
        }
        fn size(&self) -> watch::Receiver<u64> {
            self.0.size()
        }
        fn read(&self, from: u64, page: Page) -> io::Result<Vec<crate::ledger::Entry>> {
            if from < WIDTH { Err(io::ErrorKind::InvalidData.into()) } else { self.0.read(from, page) }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_damaged_bundle_is_told_and_hides_nothing_behind_it() {
        let now = WallTime::now().unix_millis();
        let ring = Ring::default();
        for number in 0..=WIDTH {
            ring.push(&finding(now, number, "open"));
        }
        let memory = Arc::new(Memory::default());
        let mut changes = memory.changes();
        let task = tokio::spawn(follow(Arc::new(Damaged(ring)), true, Arc::clone(&memory)));
        changes.wait_for(|changes| changes.episodes == 1).await.expect("the feed runs");
        assert_eq!(memory.look().missed, WIDTH);
        task.abort();
    }
}
