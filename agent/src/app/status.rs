//! What an operator asks first: is anything out of policy, can that answer be trusted, and does anybody hear of it.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use super::{
    App,
    coverage::{DatabaseRow, ReasonRow},
    snapshot::{LedgerRow, SCHEMA, ledger_row},
};
use crate::{
    alert::Kind,
    clock::{Clock, WallTime},
    ledger::witness::watch::WitnessRow,
    record::finding,
    sink::SinkRow,
};

/// What the agent does about a violation; the word for status and page.
pub(crate) const MODE: &str = "alert";

/// Episodes that are listed; the others are counted.
const MAX_LISTED: usize = 20;

/// The answer to `status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct StatusView {
    pub schema: u32,
    pub time: String,
    pub started: String,
    pub version: String,
    pub host: String,
    pub mode: String,
    pub policies: Vec<String>,
    pub policy_hash: String,
    pub coverage: String,
    pub reasons: Vec<ReasonRow>,
    pub violations: u64,
    pub exceptions_in_use: u64,
    pub coverage_findings: u64,
    pub episodes: Vec<EpisodeRow>,
    #[serde(default)]
    pub ledger: Option<LedgerRow>,
    #[serde(default)]
    pub unwritten: Option<UnwrittenRow>,
    #[serde(default)]
    pub witnesses: Vec<WitnessRow>,
    pub sinks: Vec<SinkRow>,
    pub databases: Vec<DatabaseRow>,
}

/// Records that the disk does not take.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct UnwrittenRow {
    pub since: String,
    pub reason: String,
    pub records: u64,
    pub bytes: u64,
    pub dropped: u64,
}

/// An open episode.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct EpisodeRow {
    pub id: String,
    pub kind: String,
    pub severity: String,
    pub policy: String,
    pub owner: String,
    pub place: String,
    pub initiator: String,
    pub first_seen: String,
    pub last_seen: String,
    pub wire_bytes: u64,
}

impl App {
    pub(super) fn status_view(&mut self) -> StatusView {
        let now = WallTime::now();
        let coverage = self.coverage_snapshot().into_statement();
        let clock: Clock = self.clock;
        let (mut episodes, mut exceptions_in_use) = (Vec::new(), 0);
        for episode in self.episodes.open() {
            if episode.kind == Kind::Exception {
                exceptions_in_use += 1;
            } else {
                episodes.push(episode);
            }
        }
        let violations = episodes.len() as u64;
        episodes.sort_by_key(|episode| (Reverse(episode.level), Reverse(episode.tally.volume.wire_bytes)));
        let rows = episodes.into_iter().take(MAX_LISTED).map(|episode| EpisodeRow {
            id: episode.id.to_string(),
            kind: episode.kind.as_str().to_owned(),
            severity: finding::severity(episode.level).1.to_lowercase(),
            policy: episode.policy.name.to_string(),
            owner: episode.key.owner_label.to_string(),
            place: episode
                .key
                .place
                .country()
                .map_or_else(|| episode.key.place.kind().to_owned(), |code| code.to_string()),
            initiator: episode.key.initiator.as_str().to_owned(),
            first_seen: clock.wall_of(episode.first_seen).to_string(),
            last_seen: clock.wall_of(episode.last_seen).to_string(),
            wire_bytes: episode.tally.volume.wire_bytes,
        });
        StatusView {
            schema: SCHEMA,
            time: now.to_string(),
            started: self.started.to_string(),
            version: self.origin.version.clone(),
            host: self.origin.hostname.clone(),
            mode: MODE.to_owned(),
            policies: self.policies.policies().map(|policy| policy.name.to_string()).collect(),
            policy_hash: self.policies.hash().to_string(),
            coverage: coverage.state,
            reasons: coverage.reasons,
            violations,
            exceptions_in_use,
            coverage_findings: self.findings.open().count() as u64,
            episodes: rows.collect(),
            ledger: self.ledger.as_ref().map(|ledger| ledger_row(ledger.status())),
            unwritten: self.outbox.health().degraded.map(|degraded| UnwrittenRow {
                since: degraded.since.to_string(),
                reason: degraded.reason,
                records: degraded.queued_records as u64,
                bytes: degraded.queued_bytes as u64,
                dropped: degraded.dropped.total(),
            }),
            witnesses: self.witnesses.rows(),
            sinks: self.delivery.rows(),
            databases: coverage.databases,
        }
    }
}
