//! One sink at work: reads on, hands over, moves its cursor.
//!
//! | outcome | what follows |
//! |---|---|
//! | taken | refused ones among them to the dead-letter file, then the cursor moves and is synced |
//! | retry, or no answer in time | the same again, after a wait with full jitter that grows |
//! | refused, several | the first half of it alone |
//! | refused, a single one | to the dead-letter file, then the cursor moves |
//!
//! Everything that blocks (the ledger, the cursor, the dead-letter file) runs on threads for that.

use std::{io, sync::Arc, time::Duration};

use rand::Rng as _;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{
    cursor::{Cursor, CursorFile, Found},
    dead_letter::DeadLetters,
    deliver::{Deliver, Outcome, Rejected},
    reader::Reader,
    retry::Backoff,
    settings::SinkSettings,
    status::{Board, Notice, Range},
};
use crate::{
    clock::WallTime,
    ledger::{Entry, Page, Source},
};

/// Batches in a page: the next ones are in memory while one is on its way.
const PAGE_BATCHES: usize = 4;

/// A cursor that only passed what the sink does not want is written this often.
const SAVE_PASSED: Duration = Duration::from_secs(10);

/// After so many successes in a row a batch that was halved may double again.
const REGROW: u32 = 8;

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Go on.
    Run,
    /// Deliver what there is, and end with it or with the first failure.
    Drain,
    /// End.
    Stop,
}

/// Everything that a sink works with.
pub(super) struct Worker {
    pub(super) settings: SinkSettings,
    pub(super) source: Arc<dyn Source>,
    pub(super) cursor_file: CursorFile,
    pub(super) dead_letters: DeadLetters,
    pub(super) board: Board,
    pub(super) order: watch::Receiver<Order>,
}

/// There is nothing more to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Over;

struct Work<D> {
    deliver: D,
    settings: SinkSettings,
    source: Arc<dyn Source>,
    cursor_file: CursorFile,
    dead_letters: DeadLetters,
    board: Board,
    order: watch::Receiver<Order>,
    cursor: Cursor,
    reader: Reader,
    backoff: Backoff,
    /// Records in a batch, after refusals.
    limit: usize,
    successes: u32,
    /// When the cursor was last written, or was found to be as written.
    saved: Instant,
    is_saved: bool,
}

impl Worker {
    /// Delivers until told to end, or until the ledger has ended and everything is delivered.
    pub(super) async fn run<D: Deliver>(self, deliver: D) {
        let Self { settings, source, cursor_file, dead_letters, board, order } = self;
        let mut backoff = Backoff::new(settings.retry);
        let mut waiting = order.clone();
        let (cursor, found) = loop {
            let (file, source, start) = (cursor_file.clone(), Arc::clone(&source), settings.start);
            match blocking(move || file.load(&*source, start)).await {
                Ok(loaded) => break loaded,
                Err(error) => {
                    board.failed(&format!("reading the ledger: {error}"));
                    let wait = backoff.failed(None, random());
                    if pause(&mut waiting, wait).await.is_err() {
                        return;
                    }
                }
            }
        };
        backoff.succeeded();
        if let Found::Lost(reason) = &found {
            tracing::warn!(
                sink = settings.name,
                reason,
                next = cursor.next,
                "the cursor is worth nothing; begins anew"
            );
            let size = *source.size().borrow();
            if size > cursor.next {
                board.notice(Notice::CursorLost(Range {
                    first: cursor.next,
                    last: size - 1,
                    count: size - cursor.next,
                    reason: reason.clone(),
                }));
            }
        }
        tracing::info!(
            sink = settings.name,
            kind = settings.kind.as_str(),
            next = cursor.next,
            "sink delivers"
        );
        board.stands(cursor.next, cursor.dead_letters, cursor.skipped);
        let page = Page {
            entries: settings.batch.entries.saturating_mul(PAGE_BATCHES),
            bytes: settings.batch.bytes.saturating_mul(PAGE_BATCHES),
        };
        let reader = Reader::new(Arc::clone(&source), settings.selection.clone(), page, cursor.next);
        let limit = settings.batch.entries;
        let mut work = Work {
            deliver,
            settings,
            source,
            cursor_file,
            dead_letters,
            board,
            order,
            cursor,
            reader,
            backoff,
            limit,
            successes: 0,
            saved: Instant::now(),
            is_saved: found == Found::Resumed,
        };
        // A new sink has a place from now on, also when it ends before anything was delivered.
        work.save().await;
        while let Ok(batch) = work.next_batch().await {
            if work.hand_over(batch).await.is_err() {
                break;
            }
        }
        work.save().await;
    }
}

impl<D: Deliver> Work<D> {
    /// The next records that the sink wants; never empty.
    async fn next_batch(&mut self) -> Result<Vec<Entry>, Over> {
        let (entries, bytes) = (self.limit, self.settings.batch.bytes);
        loop {
            self.go_on()?;
            if let Err(error) = self.reader.fill().await {
                self.cannot_read(&error).await?;
                continue;
            }
            if self.reader.is_empty() {
                self.pass().await;
                if !self.reader.is_at_end() {
                    continue;
                }
                if *self.order.borrow() == Order::Drain {
                    return Err(Over);
                }
                let unsaved = !self.is_saved;
                let due = self.saved + SAVE_PASSED;
                tokio::select! {
                    more = self.reader.more() => more.map_err(|_| Over)?,
                    _ = self.order.changed() => {}
                    () = tokio::time::sleep_until(due), if unsaved => self.save().await,
                }
                continue;
            }
            self.board.waits(self.reader.oldest());
            if self.reader.is_full(entries, bytes) || self.settings.batch.linger.is_zero() {
                break;
            }
            if self.reader.is_at_end() {
                self.linger(entries, bytes).await;
                break;
            }
            // A page is on its way; what waits already may go.
            break;
        }
        Ok(self.reader.batch(entries, bytes))
    }

    /// Waits a little for more to come.
    async fn linger(&mut self, entries: usize, bytes: usize) {
        let until = Instant::now() + self.settings.batch.linger;
        while !self.reader.is_full(entries, bytes) && *self.order.borrow() == Order::Run {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                _ = self.order.changed() => return,
                more = self.reader.more() => {
                    // A ledger that has ended, or cannot be read now, is found out later.
                    if more.is_err() || self.reader.fill().await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Hands a batch over, once.
    async fn hand_over(&mut self, batch: Vec<Entry>) -> Result<(), Over> {
        let mut order = self.order.clone();
        let limit = self.settings.timeout;
        let outcome = tokio::select! {
            outcome = timeout(limit, self.deliver.deliver(&batch)) => outcome.unwrap_or_else(|_| Outcome::Retry {
                reason: format!("no answer within {} ms", limit.as_millis()),
                after: None,
            }),
            _ = order.wait_for(|order| *order == Order::Stop) => return Err(Over),
        };
        match outcome {
            Outcome::Taken { entries, rejected } if entries > 0 && entries <= batch.len() => {
                self.bury(&rejected).await?;
                self.taken(entries, rejected.len()).await
            }
            Outcome::Taken { entries, .. } => {
                let reason = format!("took {entries} of {} records", batch.len());
                self.again(&reason, None).await
            }
            Outcome::Retry { reason, after } => self.again(&reason, after).await,
            Outcome::Refused { reason } => match batch.as_slice() {
                [entry] => {
                    let rejected = [Rejected { index: entry.index, reason: reason.clone() }];
                    self.bury(&rejected).await?;
                    self.board.complained(&reason);
                    // What was wrong was that one.
                    self.limit = self.settings.batch.entries;
                    self.taken(1, 1).await
                }
                _ => {
                    self.board.complained(&reason);
                    self.limit = batch.len().div_ceil(2);
                    self.successes = 0;
                    Ok(())
                }
            },
        }
    }

    async fn taken(&mut self, entries: usize, refused: usize) -> Result<(), Over> {
        self.backoff.succeeded();
        self.successes += 1;
        if self.successes.is_multiple_of(REGROW) {
            self.limit = self.limit.saturating_mul(2).min(self.settings.batch.entries);
        }
        let (next, last) = self.reader.done(entries);
        self.cursor.move_to(next, last.as_ref());
        self.is_saved = false;
        self.save().await;
        self.board.succeeded((entries - refused.min(entries)) as u64);
        self.board.stands(self.cursor.next, self.cursor.dead_letters, self.cursor.skipped);
        self.board.waits(self.reader.oldest());
        if let Some(rate) = self.settings.max_per_sec {
            self.wait(Duration::from_secs_f64(entries as f64 / f64::from(rate))).await?;
        }
        Ok(())
    }

    async fn again(&mut self, reason: &str, after: Option<Duration>) -> Result<(), Over> {
        let first = self.backoff.failures() == 0;
        let wait = self.backoff.failed(after, random());
        self.board.failed(reason);
        let (sink, wait_ms) = (&self.settings.name, wait.as_millis() as u64);
        if first {
            tracing::warn!(sink, reason, wait_ms, "delivery failed; again until it succeeds");
        } else {
            tracing::debug!(
                sink,
                reason,
                wait_ms,
                failures = self.backoff.failures(),
                "delivery failed again"
            );
        }
        self.wait(wait).await
    }

    /// Puts refused entries aside. The cursor does not pass one before that is durable.
    async fn bury(&mut self, rejected: &[Rejected]) -> Result<(), Over> {
        let letters: Vec<(Entry, String)> = rejected
            .iter()
            .filter_map(|refused| Some((self.reader.original(refused.index)?, refused.reason.clone())))
            .collect();
        let (Some((first, _)), Some((last, reason))) = (letters.first(), letters.last()) else {
            return Ok(());
        };
        let range = Range {
            first: first.index,
            last: last.index,
            count: letters.len() as u64,
            reason: reason.clone(),
        };
        tracing::error!(
            sink = self.settings.name,
            first = range.first,
            count = range.count,
            reason = range.reason,
            "the receiver refuses records for good; they are in the dead-letter file"
        );
        loop {
            let (file, letters) = (self.dead_letters.clone(), letters.clone());
            match blocking(move || file.write(&letters, WallTime::now())).await {
                Ok(()) => break,
                Err(error) => self.again(&format!("writing the dead-letter file: {error}"), None).await?,
            }
        }
        self.cursor.dead_letters = self.cursor.dead_letters.saturating_add(range.count);
        self.board.notice(Notice::Refused(range));
        Ok(())
    }

    /// The ledger cannot be read where we are.
    async fn cannot_read(&mut self, error: &io::Error) -> Result<(), Over> {
        let first = self.source.first();
        if error.kind() != io::ErrorKind::NotFound || first <= self.cursor.next {
            return self.again(&format!("reading the ledger: {error}"), None).await;
        }
        let range = Range {
            first: self.cursor.next,
            last: first - 1,
            count: first - self.cursor.next,
            reason: "the ledger does not keep them any more".to_owned(),
        };
        tracing::error!(
            sink = self.settings.name,
            first = range.first,
            last = range.last,
            "entries were not delivered before retention took them"
        );
        self.cursor.skipped = self.cursor.skipped.saturating_add(range.count);
        self.cursor.move_to(first, None);
        self.reader.skip_to(first);
        self.is_saved = false;
        self.save().await;
        self.board.notice(Notice::Skipped(range));
        self.board.stands(self.cursor.next, self.cursor.dead_letters, self.cursor.skipped);
        Ok(())
    }

    /// Moves past what was read and not wanted.
    async fn pass(&mut self) {
        let (next, last) = self.reader.done(0);
        if next > self.cursor.next {
            self.cursor.move_to(next, last.as_ref());
            self.is_saved = false;
            self.board.stands(next, self.cursor.dead_letters, self.cursor.skipped);
        }
        self.board.waits(None);
        if !self.is_saved && self.saved.elapsed() >= SAVE_PASSED {
            self.save().await;
        }
    }

    /// Writes the cursor. One that cannot be written costs repetition after a restart, and nothing now.
    async fn save(&mut self) {
        if self.is_saved {
            return;
        }
        let (file, cursor) = (self.cursor_file.clone(), self.cursor.clone());
        match blocking(move || file.save(&cursor)).await {
            Ok(()) => self.is_saved = true,
            Err(error) => {
                let reason = format!("writing the cursor: {error}; a restart would deliver again");
                self.board.complained(&reason);
                tracing::error!(sink = self.settings.name, %error, "the cursor cannot be written");
            }
        }
        self.saved = Instant::now();
    }

    fn go_on(&self) -> Result<(), Over> {
        if *self.order.borrow() == Order::Stop { Err(Over) } else { Ok(()) }
    }

    async fn wait(&mut self, wait: Duration) -> Result<(), Over> {
        pause(&mut self.order, wait).await
    }
}

/// Waits; whoever should end does not wait.
pub(super) async fn pause(order: &mut watch::Receiver<Order>, wait: Duration) -> Result<(), Over> {
    tokio::select! {
        () = sleep(wait) => Ok(()),
        _ = order.wait_for(|order| *order != Order::Run) => Err(Over),
    }
}

pub(super) fn random() -> f64 {
    rand::rng().random()
}

/// Runs what blocks where it may.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
