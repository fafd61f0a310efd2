//! The sinks, as the loop sees them: what happens at one becomes a record, and a finding where records do not arrive.
//!
//! Records about delivery are entries of the ledger like all others, and may be refused like all others. So that a
//! receiver that refuses everything does not make work for itself, each sink is told about once a minute at most.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::App;
use crate::{
    clock::{KernelTime, WallTime},
    config::Config,
    coverage::findings::Subject,
    ledger::Ledger,
    record::lifecycle::{Delivery as Delivered, DeliveryOutcome, Event},
    sink::{Notice, Place, SinkRow, Sinks, format::Speaker},
};

/// How often notices become records.
const TELL: Duration = Duration::from_secs(60);

/// A sink that fails for longer than this is down: shorter ones are restarts and hiccups.
const DOWN: Duration = Duration::from_secs(60);

/// A finding about records that did not arrive is over after this long without another one.
const QUIET: Duration = Duration::from_secs(3_600);

/// See the module.
#[derive(Default)]
pub(super) struct Delivery {
    sinks: Option<Sinks>,
    /// When notices are taken again.
    told: KernelTime,
    /// Sinks that are down and have been told of.
    down: HashMap<String, KernelTime>,
    /// Open findings, with the latest loss.
    lossy: HashMap<Subject, KernelTime>,
}

impl Delivery {
    /// How they are; none where nothing is delivered.
    pub(super) fn rows(&self) -> Vec<SinkRow> {
        self.sinks.as_ref().map(Sinks::rows).unwrap_or_default()
    }

    /// Starts delivering from the ledger.
    pub(super) fn start(&mut self, config: &Config, ledger: &Ledger, host_uid: &str) -> std::io::Result<()> {
        let directory = ledger.directory();
        let place = Place { cursors: directory.join("cursors"), dead_letters: directory.join("dead-letter") };
        // The ledger's own word counts; one that cannot be opened yet has none.
        let origin = Some(ledger.status().origin).filter(|origin| !origin.is_empty());
        let origin = origin.unwrap_or_else(|| config.ledger.origin_on(host_uid));
        let source = Arc::new(ledger.clone());
        self.sinks = Some(Sinks::start(source, place, Speaker { origin }, config.delivered_to())?);
        Ok(())
    }

    /// The sinks of another configuration.
    pub(super) fn settle(&self, config: &Config) {
        if let Some(sinks) = &self.sinks {
            sinks.settle(config.delivered_to());
        }
    }

    /// The last records are in the ledger: delivers them, if that is quick, and ends.
    pub(super) async fn stop(&mut self) {
        if let Some(sinks) = self.sinks.take() {
            sinks.stop().await;
        }
    }
}

impl App {
    /// Once a second.
    pub(super) fn look_at_sinks(&mut self) {
        let Some(sinks) = &self.delivery.sinks else {
            if !self.config.delivered_to().is_empty() {
                self.degraded("sinks", "sinks are not running: no ledger, or no room for their files");
            }
            return;
        };
        let now = KernelTime::now();
        let failing = sinks.failing();
        let notices = if now >= self.delivery.told { sinks.take_notices() } else { Vec::new() };
        if !notices.is_empty() {
            self.delivery.told = now + TELL;
        }
        for (sink, notice) in notices {
            self.tell_notice(sink, notice, now);
        }
        self.tell_down(&failing, now);
        // Open since before this agent: its quiet hour begins with it.
        for episode in self.findings.open() {
            if matches!(episode.subject, Subject::Undelivered { .. }) {
                self.delivery.lossy.entry(episode.subject.clone()).or_insert(now);
            }
        }
        let over: Vec<Subject> = self
            .delivery
            .lossy
            .extract_if(|_, latest| now.since(*latest) >= QUIET)
            .map(|(subject, _)| subject)
            .collect();
        for subject in over {
            let closed = self.findings.repaired(&subject, now, None);
            self.publish_coverage(closed);
        }
    }

    fn tell_notice(&mut self, sink: String, notice: Notice, now: KernelTime) {
        let (outcome, range, reason) = match notice {
            Notice::Refused(range) => (DeliveryOutcome::DeadLetter, range.clone(), range.reason),
            Notice::Skipped(range) => (DeliveryOutcome::Lost, range.clone(), range.reason),
            // Nothing is lost, it only comes again.
            Notice::CursorLost(range) => {
                let reason = format!("its cursor is worth nothing ({}); it begins anew", range.reason);
                (DeliveryOutcome::Up, range, reason)
            }
        };
        let is_loss = outcome != DeliveryOutcome::Up;
        self.record_event(Event::Delivery(Delivered {
            sink: sink.clone(),
            outcome,
            reason: reason.clone(),
            first_index: Some(range.first),
            last_index: Some(range.last),
            count: Some(range.count),
        }));
        if is_loss {
            let subject = Subject::Undelivered { sink: sink.into() };
            self.delivery.lossy.insert(subject.clone(), now);
            let opened = self.findings.lost(subject, now, now, Some(reason));
            self.publish_coverage(opened);
        }
    }

    fn tell_down(&mut self, failing: &[(String, WallTime, String)], now: KernelTime) {
        let wall = WallTime::now();
        for (sink, since, reason) in failing {
            let is_down = wall.0.saturating_sub(since.0) >= DOWN.as_nanos() as i64;
            if is_down && !self.delivery.down.contains_key(sink) {
                self.delivery.down.insert(sink.clone(), now);
                self.delivery_event(sink, DeliveryOutcome::Down, reason.clone());
            }
        }
        let up: Vec<(String, KernelTime)> = self
            .delivery
            .down
            .extract_if(|sink, _| !failing.iter().any(|(failing, ..)| failing == sink))
            .collect();
        for (sink, since) in up {
            let reason = format!("after {} s", now.since(since).as_secs() + DOWN.as_secs());
            self.delivery_event(&sink, DeliveryOutcome::Up, reason);
        }
    }

    fn delivery_event(&mut self, sink: &str, outcome: DeliveryOutcome, reason: String) {
        self.record_event(Event::Delivery(Delivered {
            sink: sink.to_owned(),
            outcome,
            reason,
            first_index: None,
            last_index: None,
            count: None,
        }));
    }
}
