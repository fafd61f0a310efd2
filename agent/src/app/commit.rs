//! Commits: the moment from which what was read, judged and recorded counts, whatever happens to the agent.
//!
//! Order of a turn: readings are taken, records made; then the commit; then what it frees is freed, and records
//! are handed on. Killed before the commit, the next agent reads the same bytes again and knows nothing of the
//! records. Killed after it, the next agent knows the readings, and owes the records.

use std::{borrow::Cow, collections::HashSet, sync::Arc, time::Duration};

use homeport_ebpf::loss::LossCell;

use super::{
    App,
    destinations::Destinations,
    edges::{SavedEdge, SavedEdges},
    run_state::{Ledger, Left, RunState},
    state::Mark,
    watch::Watch,
};
use crate::{
    clock::{KernelTime, WallTime},
    probe::{Committed, Origin, edge::Link},
    record::lifecycle::{CountingGap, Event, GapInterface, Resumed},
};

/// Commits between sweeps take at most this part of the time: an event may wait this many times the duration of
/// the commit before.
const PAUSE: u32 = 10;

/// The agent's side of a commit.
pub(super) struct Commits {
    /// None when nothing is pinned: nobody would go on from it.
    pub(super) file: Option<RunState>,
    not_before: KernelTime,
}

impl Commits {
    pub(super) const fn new(file: Option<RunState>) -> Self {
        Self { file, not_before: KernelTime(0) }
    }
}

/// What an agent before this one left, of this boot.
pub(super) fn committed(left: Option<&Left>) -> Option<Committed> {
    let ledger = &left?.ledger;
    Some(Committed { epoch: ledger.epoch, maps: ledger.maps, aside: ledger.aside })
}

impl App {
    /// When records wait for a commit that was put off.
    pub(super) fn next_commit(&self) -> Option<KernelTime> {
        self.outbox.is_staged().then_some(self.commits.not_before)
    }

    /// At the end of each turn of the loop.
    pub(super) fn commit_when_due(&mut self) {
        let now = KernelTime::now();
        let swept = std::mem::take(&mut self.swept);
        let due = self.outbox.is_staged() && now >= self.commits.not_before;
        if due || (swept && (self.outbox.is_staged() || self.probe.uncommitted().is_some())) {
            self.commit();
        }
    }

    /// Writes down everything, then lets go of what was kept for that.
    pub(super) fn commit(&mut self) {
        let started = KernelTime::now();
        match self.write_commit(started) {
            Ok(()) => self.recovered("restart-state"),
            Err(error) => {
                // A state that is out of date would be believed by the next agent. Without one it says that bytes
                // may be missing.
                if let Some(file) = &self.commits.file {
                    let _ = file.remove();
                }
                let reason = format!(
                    "{error}: if the agent is killed now, what was counted since the last interval record is lost"
                );
                self.degraded("restart-state", &reason);
            }
        }
        if let Err(error) = self.probe.committed() {
            self.degraded("kernel-maps", &error.to_string());
        }
        self.outbox.publish();
        let finished = KernelTime::now();
        let cost = finished.since(started).min(Duration::from_millis(100));
        self.commits.not_before = finished + cost * PAUSE;
        if std::mem::take(&mut self.save_state_due) {
            self.save_state();
        }
    }

    /// What is kept on disk, for the next boot: never ahead of what was committed.
    pub(super) fn save_state(&mut self) {
        let mark =
            Mark { boot: self.boot.to_string(), time: WallTime::now().0, pinned: self.probe.is_pinned() };
        let sequence = self.outbox.health().accepted_sequence;
        self.state.save(&self.exceptions, sequence, mark);
    }

    fn write_commit(&mut self, now: KernelTime) -> std::io::Result<()> {
        let Some(file) = &mut self.commits.file else { return Ok(()) };
        if self.owners.take_changed() {
            file.save_names(&self.owners.named())?;
        }
        let Committed { epoch, maps, aside } = self.probe.next_commit();
        let ledger = Ledger {
            boot: Cow::Borrowed(&self.boot),
            written: WallTime::now(),
            written_kernel: now,
            epoch,
            maps,
            aside,
            totals: Cow::Borrowed(self.table.interval()),
            interval_started: self.minute.started,
            interval_started_wall: self.minute.started_wall,
            losses_before: self.minute.losses_before.iter().map(|cell| (cell.events, cell.bytes)).collect(),
            edges: self.edges.save(),
            destinations: Cow::Borrowed(&self.edges.destinations),
            exceptions: self.exceptions.snapshot().map(|(id, used)| (Cow::Borrowed(id), used)).collect(),
            conditions: self
                .conditions
                .iter()
                .map(|(part, reason)| {
                    let since = self.condition_since.get(part).copied().unwrap_or(now);
                    (Cow::Borrowed(part.as_str()), Cow::Borrowed(reason.as_str()), since)
                })
                .collect(),
            well: self.watch.well(),
            sequence: self.outbox.last_sequence(),
            owed: self.outbox.owed(),
        };
        file.commit(&ledger, &self.episodes.snapshot(), &self.findings.snapshot())
    }

    /// Goes on with what an agent before this one left on this boot. `written`: numbers of the last records that are
    /// on disk.
    pub(super) fn resume(&mut self, left: Left, written: &HashSet<u64>) {
        let Left { ledger, episodes, findings } = left;
        if let Some(file) = &self.commits.file {
            self.owners.restore(file.names());
        }
        self.table.restore_interval(ledger.totals.into_owned());
        self.minute.started = ledger.interval_started;
        self.minute.started_wall = ledger.interval_started_wall;
        if self.probe.is_resumed() {
            self.minute.losses_before = ledger
                .losses_before
                .iter()
                .map(|(events, bytes)| LossCell { events: *events, bytes: *bytes })
                .collect();
        }
        let exact = matches!(self.probe.origin(), Origin::Resumed { exact: true, .. });
        self.edges.restore(
            if exact { ledger.edges } else { SavedEdges::default() },
            if exact { ledger.destinations.into_owned() } else { Destinations::default() },
            ledger.written_kernel,
        );
        if exact {
            self.watch = Watch::resume(ledger.well);
        }
        self.exceptions.restore(ledger.exceptions.iter().map(|(id, used)| (Arc::from(&**id), *used)));
        for (part, reason, since) in ledger.conditions {
            self.condition_since.insert(part.clone().into_owned(), since);
            self.conditions.insert(part.into_owned(), reason.into_owned());
        }
        self.outbox.resume(ledger.owed, written);
        match episodes {
            Ok(episodes) => self.episodes.restore(episodes),
            Err(reason) => {
                tracing::error!(reason, "open episodes of the agent before cannot be read; they begin anew");
            }
        }
        match findings {
            Ok(findings) => self.findings.restore(findings),
            Err(reason) => {
                tracing::error!(reason, "open findings about coverage cannot be read; they begin anew");
            }
        }
        if let Origin::Resumed { exact: true, away, .. } = self.probe.origin() {
            let away_ms = self.born.since(ledger.written_kernel).as_millis() as u64;
            let resumed = Resumed { epoch: ledger.epoch, away_ms, bytes: away.wire_bytes };
            tracing::info!(
                epoch = resumed.epoch,
                away_ms,
                bytes = resumed.bytes,
                episodes = self.episodes.open().count(),
                "counting had gone on; nothing was missed"
            );
            self.resumed = Some(resumed);
        }
    }
}

/// What the last commit of this boot said.
pub(super) struct LastCommit {
    /// When.
    pub(super) time: WallTime,
    /// What the cards had sent, by index and name.
    pub(super) cards: Vec<SavedEdge>,
}

/// What is known of the time before this agent.
pub(super) struct Before {
    /// The last commit, when it is of this boot.
    pub(super) committed: Option<LastCommit>,
    /// Why the committed state cannot be read, if there is one.
    pub(super) unreadable: Option<String>,
    /// What the state on disk says.
    pub(super) mark: Option<Mark>,
    pub(super) boot: Arc<str>,
    pub(super) booted: Option<WallTime>,
}

impl Before {
    /// What may be missing, if anything may.
    pub(super) fn gap(&self, origin: &Origin, links: &[Link], now: WallTime) -> Option<CountingGap> {
        let is_same_boot = self.mark.as_ref().is_some_and(|mark| *mark.boot == *self.boot);
        let known = self.committed.as_ref().map(|commit| commit.time);
        let from = known.or_else(|| self.mark.as_ref().map(|mark| WallTime(mark.time)))?;
        let (cause, detail) = match origin {
            Origin::Resumed { exact: true, .. } => return None,
            Origin::Resumed { exact: false, .. } => {
                let why = self.unreadable.as_deref().unwrap_or("the state of the agent before is gone");
                ("state-lost", format!("{why}; counting itself had gone on"))
            }
            Origin::Unusable(reason) => ("pins-lost", reason.clone()),
            Origin::Fresh if !is_same_boot && known.is_none() => {
                ("reboot", "the host was booted, and counting began anew".to_owned())
            }
            Origin::Fresh if self.mark.as_ref().is_some_and(|mark| mark.pinned) || known.is_some() => {
                ("pins-lost", "the pinned maps are gone, and counting began anew".to_owned())
            }
            Origin::Fresh => {
                ("not-pinned", "counting ends with the agent, because nothing is pinned".to_owned())
            }
        };
        let sent = |link: &Link| {
            let cards = self.committed.iter().flat_map(|commit| &commit.cards);
            let earlier = cards.into_iter().find(|card| card.index == link.index && *card.name == *link.name);
            match earlier {
                Some(card) => Some(link.tx_bytes.saturating_sub(card.nic.bytes)),
                // Since the boot: all that a card has ever sent.
                None => (cause == "reboot").then_some(link.tx_bytes),
            }
        };
        Some(CountingGap {
            cause,
            from: from.unix_millis(),
            to: now.unix_millis(),
            detail,
            booted: (cause == "reboot").then(|| self.booted.map(WallTime::unix_millis)).flatten(),
            interfaces: links
                .iter()
                .filter(|link| !link.loopback)
                .filter_map(|link| Some(GapInterface { name: link.name.clone(), nic_bytes: sent(link)? }))
                .collect(),
        })
    }
}

impl App {
    /// Says what may be missing from the time before this agent.
    pub(super) fn record_gap(&mut self, before: &Before, links: &[Link]) {
        if let Some(gap) = before.gap(self.probe.origin(), links, WallTime::now()) {
            tracing::error!(
                cause = gap.cause,
                from = gap.from,
                to = gap.to,
                "bytes may be missing: {}",
                gap.detail
            );
            self.record_event(Event::CountingGap(gap));
        }
    }
}
