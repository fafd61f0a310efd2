//! What comes next for a sink: read ahead of it, in pages, so that reading and delivering overlap.
//!
//! At most two pages are in memory, however far the sink is behind.

use std::{collections::VecDeque, io, sync::Arc};

use serde::Deserialize;
use tokio::{sync::watch, task::JoinHandle};

use super::select::{Selected, Selection};
use crate::{
    clock::WallTime,
    ledger::{Entry, Page, Source},
};

/// An entry that waits.
#[derive(Clone, Debug)]
struct Waiting {
    /// As it goes out.
    entry: Entry,
    /// As it stands in the ledger.
    original: Entry,
}

/// A page that was read.
#[derive(Debug)]
struct Turned {
    waiting: Vec<Waiting>,
    last: Entry,
}

/// See the module.
pub(super) struct Reader {
    source: Arc<dyn Source>,
    size: watch::Receiver<u64>,
    selection: Selection,
    page: Page,
    queue: VecDeque<Waiting>,
    /// Everything before it has been read.
    read_to: u64,
    /// The entry before it, where that was read.
    last: Option<Entry>,
    ahead: Option<JoinHandle<io::Result<Turned>>>,
}

impl Reader {
    pub(super) fn new(source: Arc<dyn Source>, selection: Selection, page: Page, from: u64) -> Self {
        let size = source.size();
        Self { source, size, selection, page, queue: VecDeque::new(), read_to: from, last: None, ahead: None }
    }

    /// Everything has been read that there is.
    pub(super) fn is_at_end(&self) -> bool {
        self.ahead.is_none() && self.read_to >= *self.size.borrow()
    }

    /// Nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Returns when the ledger has more. An error when it never will.
    pub(super) async fn more(&mut self) -> Result<(), watch::error::RecvError> {
        let read_to = self.read_to;
        self.size.wait_for(|size| *size > read_to).await.map(drop)
    }

    /// Takes the page that was read ahead, and lets the next one be read. Safe to drop at any await.
    ///
    /// # Errors
    ///
    /// As [`Source::read`].
    pub(super) async fn fill(&mut self) -> io::Result<()> {
        self.read_ahead();
        // While enough waits, the page may take its time.
        if let Some(ahead) = &mut self.ahead
            && (self.queue.is_empty() || ahead.is_finished())
        {
            let turned = ahead.await;
            self.ahead = None;
            let turned = turned.map_err(io::Error::other)??;
            self.read_to = turned.last.index + 1;
            self.last = Some(turned.last);
            self.queue.extend(turned.waiting);
            self.read_ahead();
        }
        Ok(())
    }

    fn read_ahead(&mut self) {
        let is_enough = self.queue.len() >= self.page.entries;
        if self.ahead.is_some() || is_enough || self.read_to >= *self.size.borrow() {
            return;
        }
        let (source, from, page) = (Arc::clone(&self.source), self.read_to, self.page);
        let selection = self.selection.clone();
        self.ahead = Some(tokio::task::spawn_blocking(move || turn(&*source, &selection, from, page)));
    }

    /// Goes on elsewhere: what was not kept any more is skipped.
    pub(super) fn skip_to(&mut self, index: u64) {
        self.queue.clear();
        self.ahead = None;
        self.read_to = index;
        self.last = None;
    }

    /// The first entries that wait, within limits; one at least, if any waits.
    pub(super) fn batch(&self, entries: usize, bytes: usize) -> Vec<Entry> {
        let mut batch: Vec<Entry> = Vec::new();
        let mut total = 0;
        for waiting in self.queue.iter().take(entries) {
            total += waiting.entry.record.len();
            if !batch.is_empty() && total > bytes {
                break;
            }
            batch.push(waiting.entry.clone());
        }
        batch
    }

    /// Whether a batch of this size would be full.
    pub(super) fn is_full(&self, entries: usize, bytes: usize) -> bool {
        self.queue.len() >= entries
            || self.queue.iter().map(|waiting| waiting.entry.record.len()).sum::<usize>() >= bytes
    }

    /// The first `count` are done: where to stand now, and the entry before that. `count` may be zero: then all
    /// that was read and not wanted is passed.
    pub(super) fn done(&mut self, count: usize) -> (u64, Option<Entry>) {
        let last = self.queue.drain(..count.min(self.queue.len())).next_back();
        match (self.queue.front(), last) {
            (None, _) => (self.read_to, self.last.clone()),
            (Some(_), Some(last)) => (last.original.index + 1, Some(last.original)),
            (Some(front), None) => (front.entry.index, None),
        }
    }

    /// The entry as it stands in the ledger, of those that wait.
    pub(super) fn original(&self, index: u64) -> Option<Entry> {
        self.queue.iter().find(|waiting| waiting.entry.index == index).map(|waiting| waiting.original.clone())
    }

    /// When the oldest one that waits was made.
    pub(super) fn oldest(&self) -> Option<WallTime> {
        self.queue.front().and_then(|waiting| logged_time(&waiting.entry))
    }
}

fn turn(source: &dyn Source, selection: &Selection, from: u64, page: Page) -> io::Result<Turned> {
    let entries = source.read(from, page)?;
    let Some(last) = entries.last().cloned() else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the ledger has entries and gave none"));
    };
    let waiting = entries
        .into_iter()
        .filter_map(|original| match selection.select(original.clone()) {
            Selected::Whole(entry) | Selected::Heartbeat(entry) => Some(Waiting { entry, original }),
            Selected::Passed => None,
        })
        .collect();
    Ok(Turned { waiting, last })
}

#[derive(Deserialize)]
struct Made {
    metadata: MadeMetadata,
}

#[derive(Deserialize)]
struct MadeMetadata {
    logged_time: i64,
}

/// When a record was made.
pub(super) fn logged_time(entry: &Entry) -> Option<WallTime> {
    let made: Made = serde_json::from_str(&entry.record).ok()?;
    Some(WallTime(made.metadata.logged_time.saturating_mul(1_000_000)))
}
