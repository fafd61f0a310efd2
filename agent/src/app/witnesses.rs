//! The witnesses, as the loop sees them: one that does not sign, or refuses to, becomes a finding.

use std::sync::Arc;

use super::App;
use crate::{
    clock::KernelTime,
    config::Config,
    coverage::findings::{Subject, Transition},
    ledger::{
        Ledger,
        witness::watch::{Standing, WitnessRow, Witnesses},
    },
};

/// See the module.
#[derive(Default)]
pub(super) struct Watched {
    witnesses: Option<Witnesses>,
}

impl Watched {
    /// Begins to offer checkpoints of the ledger.
    pub(super) fn start(&mut self, config: &Config, ledger: &Ledger) -> std::io::Result<()> {
        self.witnesses = Some(Witnesses::start(ledger.directory().to_owned(), config.witnesses.clone())?);
        Ok(())
    }

    /// The witnesses of another configuration.
    pub(super) fn settle(&self, config: &Config) {
        if let Some(witnesses) = &self.witnesses {
            witnesses.settle(config.witnesses.clone());
        }
    }

    /// How it stands with each.
    pub(super) fn rows(&self) -> Vec<WitnessRow> {
        self.standings().iter().map(Standing::row).collect()
    }

    fn standings(&self) -> Vec<Standing> {
        self.witnesses.as_ref().map(Witnesses::standings).unwrap_or_default()
    }

    /// The last checkpoint is written: offers it, and ends.
    pub(super) async fn stop(&mut self) {
        if let Some(witnesses) = self.witnesses.take() {
            witnesses.stop().await;
        }
    }
}

impl App {
    /// Once a second.
    pub(super) fn look_at_witnesses(&mut self) {
        let now = KernelTime::now();
        let mut transitions: Vec<Transition> = Vec::new();
        for standing in self.witnesses.standings() {
            let witness: Arc<str> = standing.name.as_str().into();
            let contradicted = Subject::Contradicted { witness: Arc::clone(&witness) };
            let unwitnessed = Subject::Unwitnessed { witness };
            if standing.is_well() {
                transitions.extend(self.findings.repaired(&contradicted, now, None));
                transitions.extend(self.findings.repaired(&unwitnessed, now, None));
                continue;
            }
            let Some((since, _, reason)) = standing.failing else { continue };
            if let Some(contradiction) = standing.contradiction {
                transitions.extend(self.findings.lost(contradicted, since, now, Some(contradiction)));
            } else if now.since(since) >= standing.alert_after {
                transitions.extend(self.findings.lost(unwitnessed, since, now, Some(reason)));
            }
        }
        // Open since before this agent or a reload, and nobody asks that witness any more.
        let is_configured = |name: &str| self.config.witnesses.iter().any(|known| known.witness.name == name);
        let dropped: Vec<Subject> = self
            .findings
            .open()
            .map(|episode| &episode.subject)
            .filter(|subject| {
                matches!(subject, Subject::Unwitnessed { .. } | Subject::Contradicted { .. })
                    && !is_configured(subject.place())
            })
            .cloned()
            .collect();
        for subject in dropped {
            transitions.extend(self.findings.dropped(&subject));
        }
        self.publish_coverage(transitions);
    }
}
