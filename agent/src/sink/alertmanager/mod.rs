//! Prometheus Alertmanager, API v2: not a queue but a state that is kept in step.
//!
//! ```text
//!   ledger --> alerts: what is open, by its labels --> member: changes at once, everything every `resend`
//!                                                  \-> member
//! ```
//!
//! The state follows from the ledger alone: a snapshot of it lies with the cursor, and without one it is made anew by
//! reading the ledger from its begin. Every member of the cluster is served by a task of its own, so that one that
//! is dead delays no other. Alerts carry the time at which they end without us (three times `resend`), so a host
//! that dies does not fire for ever, and a member that comes back from the dead has all of them after one `resend`.

mod alerts;
mod member;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

use self::{
    alerts::{Alerts, Rules},
    member::Member,
};
use super::{
    cursor::{Cursor, Found},
    format::Speaker,
    retry::Backoff,
    settings::{AlertmanagerSettings, Start},
    status::{Notice, Range},
    worker::{Order, Worker, blocking, pause, random},
};
use crate::{
    clock::WallTime,
    ledger::{Entry, Page},
};

/// How much is read at once.
const PAGE: Page = Page { entries: 2_048, bytes: 4 << 20 };

/// The snapshot is written this often while something changes. It only shortens the reading at the next start.
const SAVE: Duration = Duration::from_secs(10);

/// What the reader of the ledger and the members share.
struct Shared {
    alerts: Mutex<Alerts>,
    /// The version of the alerts, for members that wait for a change.
    version: watch::Sender<u64>,
    /// How each member is.
    members: Mutex<Vec<Health>>,
    /// Refused for good, by index, with the reason.
    refused: Mutex<BTreeMap<u64, String>>,
}

impl Shared {
    fn alerts(&self) -> MutexGuard<'_, Alerts> {
        self.alerts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn members(&self) -> MutexGuard<'_, Vec<Health>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The member has this version. True when no member fails.
    fn acknowledge(&self, member: usize, version: u64) -> bool {
        let mut members = self.members();
        if let Some(health) = members.get_mut(member) {
            *health = Health { known: version, is_failing: false };
        }
        members.iter().all(|health| !health.is_failing)
    }

    fn failed(&self, member: usize) {
        if let Some(health) = self.members().get_mut(member) {
            health.is_failing = true;
        }
    }

    fn all_have(&self, version: u64) -> bool {
        self.members().iter().all(|health| health.known >= version)
    }

    fn refuse(&self, index: u64, reason: String) {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).insert(index, reason);
    }

    fn take_refused(&self) -> BTreeMap<u64, String> {
        std::mem::take(&mut self.refused.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How a member is.
#[derive(Clone, Copy, Debug, Default)]
struct Health {
    /// The version that it has.
    known: u64,
    is_failing: bool,
}

struct Follower {
    worker: Worker,
    shared: Arc<Shared>,
    cursor: Cursor,
    last: Option<Entry>,
    is_saved: bool,
}

/// Keeps the members in step until told to end.
pub(super) async fn run(worker: Worker, settings: AlertmanagerSettings, speaker: Speaker) {
    let mut order = worker.order.clone();
    let mut backoff = Backoff::new(worker.settings.retry);
    let (cursor, found) = loop {
        let (file, source) = (worker.cursor_file.clone(), Arc::clone(&worker.source));
        // Everything that is still open counts, however old.
        match blocking(move || file.load(&*source, Start::Oldest)).await {
            Ok(loaded) => break loaded,
            Err(error) => {
                worker.board.failed(&format!("reading the ledger: {error}"));
                if pause(&mut order, backoff.failed(None, random())).await.is_err() {
                    return;
                }
            }
        }
    };
    if let Found::Lost(reason) = &found {
        tracing::warn!(
            sink = worker.settings.name,
            reason,
            "the cursor is worth nothing; the ledger is read again"
        );
    }
    let rules = Rules {
        origin: speaker.origin,
        selection: worker.settings.selection.clone(),
        labels: settings.labels.clone(),
        lifetime: settings.resend * 3,
        heartbeat: settings.heartbeat,
    };
    let alerts = Alerts::restore(rules, cursor.state.clone());
    let (version, _) = watch::channel(alerts.version());
    let shared = Arc::new(Shared {
        alerts: Mutex::new(alerts),
        version,
        members: Mutex::new(vec![Health::default(); settings.urls.len()]),
        refused: Mutex::default(),
    });
    let mut sync = Follower { worker, shared, cursor, last: None, is_saved: found == Found::Resumed };
    sync.worker.board.stands(sync.cursor.next, sync.cursor.dead_letters, sync.cursor.skipped);
    // What closed long ago is not told: members come in when the state is that of now.
    if !sync.catch_up().await {
        return;
    }
    let mut members = JoinSet::new();
    let (order, orders) = watch::channel(Order::Run);
    for (number, url) in settings.urls.iter().enumerate() {
        let member =
            Member::new(number, url, &settings, &sync.worker, orders.clone(), Arc::clone(&sync.shared));
        members.spawn(member.run());
    }
    tracing::info!(
        sink = sync.worker.settings.name,
        members = settings.urls.len(),
        open = sync.shared.alerts().n_firing(),
        "sink keeps alerts in step"
    );
    sync.follow().await;
    sync.save().await;
    // What was read last is told, once, unless nobody may wait for that.
    let last = *sync.worker.order.borrow();
    order.send_replace(if last == Order::Stop { Order::Stop } else { Order::Drain });
    while members.join_next().await.is_some() {}
}

impl Follower {
    /// Reads until the end of the ledger. False when told to end before.
    async fn catch_up(&mut self) -> bool {
        let size = self.worker.source.size();
        let mut backoff = Backoff::new(self.worker.settings.retry);
        while self.cursor.next < *size.borrow() {
            if *self.worker.order.borrow() == Order::Stop {
                return false;
            }
            let (source, from) = (Arc::clone(&self.worker.source), self.cursor.next);
            match blocking(move || source.read(from, PAGE)).await {
                Ok(entries) if !entries.is_empty() => {
                    backoff.succeeded();
                    self.take(entries);
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && self.skip() => {}
                failed => {
                    let reason = failed.map_or_else(|error| error.to_string(), |_| "no entries".to_owned());
                    self.worker.board.failed(&format!("reading the ledger: {reason}"));
                    let wait = backoff.failed(None, random());
                    if pause(&mut self.worker.order, wait).await.is_err() {
                        return false;
                    }
                }
            }
        }
        true
    }

    fn take(&mut self, entries: Vec<Entry>) {
        let mut alerts = self.shared.alerts();
        for entry in &entries {
            alerts.take(entry);
        }
        let version = alerts.version();
        drop(alerts);
        self.shared.version.send_if_modified(|known| std::mem::replace(known, version) != version);
        if let Some(last) = entries.into_iter().next_back() {
            self.cursor.move_to(last.index + 1, Some(&last));
            self.last = Some(last);
            self.is_saved = false;
        }
    }

    /// Retention was faster. What is open is known from later records: an open episode is told every minute.
    fn skip(&mut self) -> bool {
        let first = self.worker.source.first();
        if first <= self.cursor.next {
            return false;
        }
        let count = first - self.cursor.next;
        self.worker.board.notice(Notice::Skipped(Range {
            first: self.cursor.next,
            last: first - 1,
            count,
            reason: "the ledger does not keep them any more".to_owned(),
        }));
        self.cursor.skipped = self.cursor.skipped.saturating_add(count);
        self.cursor.move_to(first, None);
        self.is_saved = false;
        true
    }

    async fn follow(&mut self) {
        let mut size = self.worker.source.size();
        let mut order = self.worker.order.clone();
        let mut tick = interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut saved = Instant::now();
        loop {
            let next = self.cursor.next;
            tokio::select! {
                // Entries before the order: what is in the ledger is told.
                biased;
                more = async { size.wait_for(|size| *size > next).await.map(drop) } => {
                    if more.is_err() {
                        return;
                    }
                    if !self.catch_up().await {
                        return;
                    }
                }
                _ = async { order.wait_for(|order| *order != Order::Run).await.map(drop) } => return,
                _ = tick.tick() => {}
            }
            self.report().await;
            if saved.elapsed() >= SAVE {
                self.save().await;
                saved = Instant::now();
            }
        }
    }

    /// Says where it stands: everything up to here is known to every member.
    async fn report(&mut self) {
        let version = self.shared.alerts().version();
        if self.shared.all_have(version) {
            let cursor = &self.cursor;
            self.worker.board.stands(cursor.next, cursor.dead_letters, cursor.skipped);
            self.worker.board.waits(None);
        } else if let Some(last) = &self.last {
            self.worker.board.waits(super::reader::logged_time(last));
        }
        for (index, reason) in self.shared.take_refused() {
            self.bury(index, reason).await;
        }
    }

    async fn bury(&mut self, index: u64, reason: String) {
        let (source, file) = (Arc::clone(&self.worker.source), self.worker.dead_letters.clone());
        let why = reason.clone();
        let written = blocking(move || {
            let entries = source.read(index, Page { entries: 1, bytes: 1 })?;
            let letters: Vec<_> = entries.into_iter().map(|entry| (entry, why.clone())).collect();
            file.write(&letters, WallTime::now())
        });
        if let Err(error) = written.await {
            tracing::error!(sink = self.worker.settings.name, index, %error, "the dead-letter file cannot be written");
        }
        self.cursor.dead_letters = self.cursor.dead_letters.saturating_add(1);
        self.is_saved = false;
        self.worker.board.complained(&reason);
        self.worker.board.notice(Notice::Refused(Range { first: index, last: index, count: 1, reason }));
    }

    async fn save(&mut self) {
        if self.is_saved {
            return;
        }
        self.cursor.state = self.shared.alerts().snapshot();
        let (file, cursor) = (self.worker.cursor_file.clone(), self.cursor.clone());
        match blocking(move || file.save(&cursor)).await {
            Ok(()) => self.is_saved = true,
            Err(error) => {
                self.worker.board.complained(&format!("writing the cursor: {error}"));
                tracing::error!(sink = self.worker.settings.name, %error, "the cursor cannot be written");
            }
        }
    }
}
