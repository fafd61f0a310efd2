//! What metrics tell besides flows and coverage: episodes and sinks.

use std::collections::BTreeMap;

use super::App;
use crate::{
    ledger::{Ledger, Timing, witness::watch::WitnessRow},
    record::finding,
    sink::SinkRow,
};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Open episodes by kind and severity.
    pub episodes: BTreeMap<(&'static str, String), u64>,
    /// Open findings about coverage by subject.
    pub coverage_findings: BTreeMap<&'static str, u64>,
    /// Receivers of records.
    pub sinks: Vec<SinkRow>,
    /// Who signs how far the ledger has come.
    pub witnesses: Vec<WitnessRow>,
    /// Records that the disk has not taken yet.
    pub unwritten: u64,
    /// How long the ledger took to append and sync, if there is one.
    pub appends: Option<Timing>,
}

impl App {
    pub(super) fn figures(&self) -> Figures {
        let mut figures = Figures {
            sinks: self.delivery.rows(),
            witnesses: self.witnesses.rows(),
            unwritten: self.outbox.health().degraded.map_or(0, |degraded| degraded.queued_records as u64),
            appends: self.ledger.as_ref().map(Ledger::status).map(|status| status.appends),
            ..Figures::default()
        };
        for episode in self.episodes.open() {
            let severity = finding::severity(episode.level).1.to_lowercase();
            *figures.episodes.entry((episode.kind.as_str(), severity)).or_default() += 1;
        }
        for finding in self.findings.open() {
            *figures.coverage_findings.entry(finding.subject.as_str()).or_default() += 1;
        }
        figures
    }
}
