//! What the agent says about itself: the interval record, coverage, losses, and lasting conditions.

use homeport_ebpf::loss::{
    LOSS_ASIDE, LOSS_FLOW_RING, LOSS_HOST_RING, LOSS_INDEX, LOSS_INTERFACE, LOSS_OTHER_SOCKETS, LOSS_SLOTS,
    LOSS_STORAGE, LOSS_UNPARSED, LossCell,
};

use super::{
    App,
    edges::{Balanced, EndOfMinute},
    outbox::Told,
    reload::extra,
};
use crate::{
    clock::{Clock, ClockStep, KernelTime, WallTime},
    coverage::findings::Transition,
    ledger::Ledger,
    policy::{PolicySet, canonical::Statement},
    probe::programs::State,
    record::{
        Loss, coverage,
        interval::{Balance, Coverage, Flows, Interface, Minute, interval},
        lifecycle::{Event, lifecycle},
        writer::{Health, Outage},
    },
};

/// The interval that is being counted.
pub(super) struct MinuteState {
    pub(super) started: KernelTime,
    pub(super) started_wall: WallTime,
    pub(super) losses_before: Vec<LossCell>,
    dropped_before: u64,
    /// Losses within this interval so far, as findings carry them.
    pub(super) losses: Vec<Loss>,
}

impl MinuteState {
    pub(super) const fn new(started: KernelTime, started_wall: WallTime) -> Self {
        Self { started, started_wall, losses_before: Vec::new(), dropped_before: 0, losses: Vec::new() }
    }
}

/// Causes with the word of the record format, in the order of their numbers.
pub(super) const CAUSES: [(u32, &str); 9] = [
    (LOSS_UNPARSED, "unparsed-packets"),
    (LOSS_SLOTS, "slots-exhausted"),
    (LOSS_ASIDE, "destinations-exhausted"),
    (LOSS_STORAGE, "socket-storage-refused"),
    (LOSS_INDEX, "index-full"),
    (LOSS_FLOW_RING, "flow-events-dropped"),
    (LOSS_HOST_RING, "process-events-dropped"),
    (LOSS_INTERFACE, "interface-uncounted"),
    (LOSS_OTHER_SOCKETS, "other-sockets"),
];

/// What a policy says, as records have it.
pub(super) fn statements(policies: &PolicySet) -> Vec<[String; 3]> {
    let statement = |known: &Statement| [known.about.clone(), known.key.to_owned(), known.value.clone()];
    policies.statements().iter().map(statement).collect()
}

impl App {
    pub(super) fn record_start(&mut self) {
        let event = Event::Start {
            policy_hash: self.policies.hash().to_string(),
            policies: self.policies.policies().map(|policy| policy.name.to_string()).collect(),
            statements: statements(&self.policies),
            databases: self.locator.databases().map(|report| extra(&report.id)).collect(),
            not_covered: self
                .coverage()
                .into_iter()
                .filter(|coverage| coverage.state != "full")
                .map(|coverage| match coverage.detail {
                    Some(detail) => format!("{}: {detail}", coverage.part),
                    None => coverage.part,
                })
                .collect(),
            resumed: self.resumed.take(),
        };
        self.record_event(event);
    }

    pub(super) fn record_event(&mut self, event: Event) {
        let record = lifecycle(&self.context(), event);
        self.outbox.send(record, None);
    }

    /// Writes the interval record, empty or not, and begins the next interval.
    pub(super) fn record_minute(&mut self, now: WallTime) {
        let counters = self.table.counters();
        let EndOfMinute { interfaces: balanced, attribution, discards, owners } = self.edges.end_minute();
        let span = (self.minute.started, KernelTime::now());
        for Balanced { name, report, .. } in &balanced {
            let transitions = self.findings.interval(name, report.finding.as_ref(), span);
            self.publish_coverage(transitions);
        }
        let transitions = self.findings.owners(&owners, span);
        self.publish_coverage(transitions);
        let interfaces = balanced
            .into_iter()
            .map(|Balanced { name, report, n_resets }| Interface {
                name: name.to_string(),
                balance: report.interval.as_ref().map(Balance::from),
                unexplained_bytes_total: report.cumulative.unexplained.bytes,
                counter_resets: n_resets,
            })
            .collect();
        let (state, reasons) = self.statement();
        let minute = Minute {
            start: self.minute.started_wall,
            end: now,
            totals: self.table.take_interval(),
            losses: std::mem::take(&mut self.minute.losses),
            coverage: self.coverage(),
            state: state.as_str(),
            reasons,
            interfaces,
            attribution,
            discards,
            flows: Flows {
                rows: self.table.len() as u64,
                evicted: counters.evicted_flows,
                overflowed_readings: counters.overflowed_readings,
                open_episodes: self.episodes.open().count() as u64,
            },
            policy_hash: self.policies.hash().to_string(),
        };
        let record = interval(&self.context(), minute);
        self.outbox.send(record, None);
        self.save_state_due = true;
        self.minute.losses_before = self.probe.losses().unwrap_or_default();
        self.minute.dropped_before = self.outbox.dropped();
        self.minute.started = KernelTime::now();
        self.minute.started_wall = now;
        // Policies with dates begin and end without anybody telling.
        if self.policies.policies().any(|policy| policy.from.is_some() || policy.until.is_some()) {
            self.judge_again(crate::alert::RejudgeCause::Policy);
        }
    }

    /// Turns transitions of findings about coverage into records, and into lines for people once they are durable.
    pub(super) fn publish_coverage(&mut self, transitions: impl IntoIterator<Item = Transition>) {
        for transition in transitions {
            let record = coverage::coverage(&self.context(), &transition);
            let line = coverage::line(&transition);
            self.outbox.send(
                record,
                Some(Told { line, paragraph: None, is_alert: transition.is_alert(), confirm: None }),
            );
        }
    }

    /// Which parts of the promise hold.
    pub(super) fn coverage(&self) -> Vec<Coverage> {
        let mut parts: Vec<Coverage> = self
            .probe
            .status()
            .iter()
            .filter_map(|status| {
                let (state, detail) = match &status.state {
                    State::Attached | State::Loaded => ("full", None),
                    State::NotNeeded(_) => return None,
                    State::Refused(reason) => {
                        ("reduced", Some(format!("{} ({reason})", status.program.without)))
                    }
                };
                Some(Coverage { part: status.program.name.to_owned(), state, detail })
            })
            .collect();
        if !self.probe.tells_sender() && !parts.iter().any(|part| part.part == "stamp_sender") {
            parts.push(Coverage {
                part: "stamp_sender".to_owned(),
                state: "reduced",
                detail: Some("switched off by host.exact_owners".to_owned()),
            });
        }
        parts.extend(self.conditions.iter().map(|(part, reason)| Coverage {
            part: part.clone(),
            state: "reduced",
            detail: Some(reason.clone()),
        }));
        parts
    }

    /// A part does not do what it promises. Told when it begins, and when the reason changes.
    pub(super) fn degraded(&mut self, part: &str, reason: &str) {
        if self.conditions.get(part).is_some_and(|known| known == reason) {
            return;
        }
        tracing::error!(part, "degraded: {reason}");
        self.conditions.insert(part.to_owned(), reason.to_owned());
        self.condition_since.entry(part.to_owned()).or_insert_with(KernelTime::now);
        self.record_event(Event::Degraded { part: part.to_owned(), reason: reason.to_owned() });
    }

    /// It does again.
    pub(super) fn recovered(&mut self, part: &str) {
        if self.conditions.remove(part).is_none() {
            return;
        }
        let since = self.condition_since.remove(part).unwrap_or_default();
        let degraded_ms = KernelTime::now().since(since).as_millis() as u64;
        tracing::info!(part, degraded_ms, "recovered");
        self.record_event(Event::Recovered { part: part.to_owned(), degraded_ms });
    }

    /// Takes the offset of the wall clock again, and tells when it has jumped.
    pub(super) fn look_at_clock(&mut self) {
        let clock = Clock::sample();
        if let Some(step) = self.clock_steps.look(self.clock, clock) {
            let ClockStep { by_ms, slept_ms } = step;
            tracing::warn!(by_ms, slept_ms, "the wall clock has jumped");
            self.clock = clock;
            self.record_event(Event::ClockStep(step));
        }
        self.clock = clock;
    }

    /// An outage that came and went since the last look is on record, too.
    fn look_at_the_writer(&mut self) {
        let Health { degraded, outages, last_outage, .. } = self.outbox.health();
        let n_new = outages - std::mem::replace(&mut self.outages_seen, outages);
        match (degraded, last_outage) {
            (Some(degraded), _) => self.degraded("records", &degraded.reason),
            (None, Some(Outage { since, until, reason }))
                if n_new > 0 && !self.conditions.contains_key("records") =>
            {
                let reason = if n_new > 1 { format!("{reason} ({n_new} times in a second)") } else { reason };
                let degraded_ms = until.since(since).as_millis() as u64;
                tracing::error!(part = "records", degraded_ms, "degraded for a moment: {reason}");
                let part = "records".to_owned();
                self.record_event(Event::Degraded { part: part.clone(), reason });
                self.record_event(Event::Recovered { part, degraded_ms });
            }
            (None, _) => self.recovered("records"),
        }
    }

    /// Looks at everything that may be wrong for a while.
    pub(super) fn look_at_conditions(&mut self) {
        let losses = match self.probe.losses() {
            Ok(losses) => losses,
            Err(error) => return self.degraded("losses", &error.to_string()),
        };
        self.minute.losses = CAUSES
            .iter()
            .filter_map(|(cause, word)| {
                let now = losses.get(*cause as usize)?;
                let before = self.minute.losses_before.get(*cause as usize).copied().unwrap_or_default();
                let (events, bytes) =
                    (now.events - before.events.min(now.events), now.bytes - before.bytes.min(now.bytes));
                (events > 0).then_some(Loss {
                    cause: word,
                    count: events,
                    bytes: (bytes > 0).then_some(bytes),
                })
            })
            .collect();
        let dropped = self.outbox.dropped() - self.minute.dropped_before.min(self.outbox.dropped());
        if dropped > 0 {
            self.minute.losses.push(Loss { cause: "records-dropped", count: dropped, bytes: None });
        }
        let lost_bytes = |cause: &Loss| {
            matches!(
                cause.cause,
                "unparsed-packets" | "destinations-exhausted" | "slots-exhausted" | "other-sockets"
            )
        };
        match self.minute.losses.iter().find(|loss| lost_bytes(loss)) {
            Some(loss) => {
                let what = match loss.cause {
                    "slots-exhausted" => {
                        "more sockets than limits.max_sockets: bytes are counted per destination, without owner"
                    }
                    "destinations-exhausted" => {
                        "more destinations than the kernel side can keep: bytes are counted, without destination"
                    }
                    "other-sockets" => {
                        "sockets that are not of IP took bytes (AF_VSOCK and such): how many is counted, not where they go"
                    }
                    _ => "packets whose headers could not be read: bytes without destination",
                };
                self.degraded("accounting", what);
            }
            None => self.recovered("accounting"),
        }
        self.look_at_the_writer();
        if let Some(status) = self.ledger.as_ref().map(Ledger::status) {
            match status.fault {
                Some(fault) => self.degraded("ledger-checkpoint", &fault),
                None => self.recovered("ledger-checkpoint"),
            }
            match status.damage {
                Some(damage) => self.degraded("ledger", &damage),
                None => self.recovered("ledger"),
            }
        }
        let now = WallTime::now();
        let limit = i64::from(self.config.geo.stale_after_days.get());
        let warn = i64::from(self.config.geo.warn_after_days.get());
        let oldest =
            self.locator.databases().map(|report| (report.age_days(now), report.id.name.to_string())).max();
        match oldest {
            Some((days, name)) if days >= limit => {
                self.degraded("database-age", &format!("{name} is {days} days old, the limit is {limit}"));
            }
            Some((days, name)) if days >= warn => {
                if self.warned_age.insert(name.clone()) {
                    tracing::warn!(database = name, days, "the database is getting old: locations drift");
                }
                self.recovered("database-age");
            }
            Some(_) | None => self.recovered("database-age"),
        }
    }
}
