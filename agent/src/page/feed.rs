//! Follows the records from a week ago on, and remembers what the page shows of them.

use std::{
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
    ledger::{Page, Source},
};

/// Read at once: short enough that requests are answered in between.
const PAGE: Page = Page { entries: 256, bytes: 1 << 20 };
/// After a failed read.
const PAUSE: Duration = Duration::from_secs(5);
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
        if let Some(time) = record.get("time").and_then(Value::as_i64) {
            inner.since = Some(inner.since.map_or(time, |since| since.min(time)));
        }
        match record.get("class_uid").and_then(Value::as_u64) {
            Some(2004) if inner.episodes.take(&record, index) => {
                let revision = inner.episodes.revision();
                self.changes.send_modify(|changes| changes.episodes = revision);
            }
            Some(4001) => {
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
    let mut from = first_of_week(&*source);
    loop {
        let end = *size.borrow_and_update();
        while from < end {
            match source.read(from, PAGE) {
                Ok(entries) => {
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
                    tracing::warn!(%error, "the status page cannot read records");
                    tokio::time::sleep(PAUSE).await;
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
}
