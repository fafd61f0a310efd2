//! What the status page says besides flows and coverage: policies, exceptions, sites, receivers, and what is being
//! counted.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use super::{App, figures::Figures};
use crate::{
    clock::WallTime,
    flow::class::Totals,
    geo::CountryCode,
    ledger,
    page::history::{Current, PlaceKey, Sums},
    policy::{ExceptionUse as _, PolicySet, exception::ExceptionState, preset::Mode},
    sink,
};

/// What the loop knows, before it becomes text.
pub struct OverviewSnapshot {
    taken: WallTime,
    policies: Arc<PolicySet>,
    used: BTreeMap<Arc<str>, u64>,
    sites: Vec<SiteRow>,
    interval: Totals,
    interval_start: WallTime,
    interval_secs: u64,
    sinks: Vec<SinkRow>,
    ledger: Option<ledger::Status>,
    figures: Figures,
}

/// See the module.
#[derive(Clone, Debug, Default, Serialize)]
#[expect(missing_docs, reason = "documented in agent/docs/PAGE.md")]
pub struct OverviewView {
    pub policies: Vec<PolicyRow>,
    pub exceptions: Vec<ExceptionRow>,
    pub sites: Vec<SiteRow>,
    pub sinks: Vec<SinkRow>,
    pub checkpoint: Option<CheckpointRow>,
    pub interval_secs: u64,
    /// What is not in an interval record yet.
    #[serde(skip)]
    pub current: Current,
    /// For metrics only.
    #[serde(skip)]
    pub figures: Figures,
}

/// A policy as it takes effect.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "documented in agent/docs/PAGE.md")]
pub struct PolicyRow {
    pub name: String,
    pub applies_to: String,
    pub preset: Option<String>,
    /// `allow`: only what is listed; `deny`: everything but what is listed.
    pub lists: &'static str,
    pub approved: Vec<String>,
    pub denied: Vec<String>,
    pub also_approved: Vec<ListRow>,
    pub also_denied: Vec<ListRow>,
    pub from: Option<String>,
    pub until: Option<String>,
    pub in_force: bool,
}

/// Networks, sites or autonomous systems.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "documented in agent/docs/PAGE.md")]
pub struct ListRow {
    pub kind: &'static str,
    pub values: Vec<String>,
}

/// An exception, and how much of it is used.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "documented in agent/docs/PAGE.md")]
pub struct ExceptionRow {
    pub id: String,
    pub policy: Option<String>,
    pub approver: String,
    pub ticket: Option<String>,
    pub reason: String,
    pub expires: String,
    pub used_bytes: u64,
    pub max_bytes: Option<u64>,
    /// `not-started`, `active`, `near-limit`, `exceeded` or `expired`.
    pub state: &'static str,
}

/// One of the operator's own networks.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "documented in agent/docs/PAGE.md")]
pub struct SiteRow {
    pub name: String,
    pub country: String,
}

/// Whoever gets records.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "documented in agent/docs/PAGE.md")]
pub struct SinkRow {
    pub name: String,
    pub kind: String,
    pub lag_entries: u64,
    pub lag_seconds: Option<u64>,
    /// `ok`, `starting` or `retrying`.
    pub state: &'static str,
    pub last_error: Option<String>,
    /// Records that the receiver refused for good: they are kept beside the ledger.
    pub refused: u64,
    /// Records that retention removed before they were delivered.
    pub skipped: u64,
}

/// The latest signed statement about the ledger.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "documented in agent/docs/PAGE.md")]
pub struct CheckpointRow {
    pub time: String,
    pub size: u64,
    pub origin: String,
    /// Records in the ledger that it does not sign yet.
    pub unsigned: u64,
    /// Why it is the latest, when a newer one cannot be made; or what the ledger has lost.
    pub fault: Option<String>,
}

impl App {
    pub(super) fn overview_snapshot(&self) -> OverviewSnapshot {
        let site = |name: &str, country: CountryCode| SiteRow {
            name: name.to_owned(),
            country: country.to_string(),
        };
        OverviewSnapshot {
            taken: WallTime::now(),
            policies: Arc::clone(&self.policies),
            used: self
                .exceptions
                .snapshot()
                .map(|(id, _)| (id.into(), self.exceptions.used_bytes(id)))
                .collect(),
            sites: self.config.sites.iter().map(|known| site(&known.name, known.country)).collect(),
            interval: self.table.interval().clone(),
            interval_start: self.minute.started_wall,
            interval_secs: self.config.records.interval.as_secs(),
            sinks: std::iter::once(self.record_sink())
                .chain(self.delivery.rows().into_iter().filter(is_configured).map(SinkRow::from))
                .collect(),
            ledger: self.ledger.as_ref().map(ledger::Ledger::status),
            figures: self.figures(),
        }
    }

    /// The ledger, the record file and the copy on standard output, as the receiver that is always there: all others
    /// are served from the ledger.
    fn record_sink(&self) -> SinkRow {
        let health = self.outbox.health();
        let waiting = self.outbox.last_sequence().saturating_sub(health.accepted_sequence);
        let ledger = self.ledger.as_ref().map(|ledger| ledger.directory());
        // Beside a ledger the file is a sink like others, with a row of its own.
        let place = ledger.or(self.config.records.file.as_deref());
        SinkRow {
            name: place.map_or_else(|| "standard output".to_owned(), |place| place.display().to_string()),
            kind: if ledger.is_some() { "ledger" } else { "records" }.to_owned(),
            lag_entries: waiting,
            lag_seconds: None,
            state: if health.degraded.is_some() { "retrying" } else { "ok" },
            last_error: health.degraded.map(|degraded| degraded.reason.to_string()),
            refused: 0,
            skipped: 0,
        }
    }
}

/// Others are only remembered.
fn is_configured(row: &sink::SinkRow) -> bool {
    row.state != "removed"
}

impl From<sink::SinkRow> for SinkRow {
    fn from(row: sink::SinkRow) -> Self {
        let state = match row.state.as_str() {
            "failing" => "retrying",
            "starting" => "starting",
            _ => "ok",
        };
        Self {
            name: row.name,
            kind: row.kind,
            lag_entries: row.behind_entries,
            lag_seconds: Some(row.behind_secs),
            state,
            // One that is over says nothing about now.
            last_error: row.last_error.filter(|_| state != "ok").map(|error| error.reason),
            refused: row.dead_letters,
            skipped: row.skipped,
        }
    }
}

fn checkpoint(status: ledger::Status) -> Option<CheckpointRow> {
    Some(CheckpointRow {
        time: status.checkpoint_time?.to_string(),
        size: status.checkpoint_size,
        origin: status.origin,
        unsigned: status.size.saturating_sub(status.checkpoint_size),
        fault: status.fault.or(status.damage),
    })
}

impl OverviewSnapshot {
    /// The outward form.
    pub fn view(self) -> OverviewView {
        let now = self.taken;
        OverviewView {
            policies: policies(&self.policies, now),
            exceptions: self.exceptions(),
            sites: self.sites,
            sinks: self.sinks,
            checkpoint: self.ledger.and_then(checkpoint),
            interval_secs: self.interval_secs,
            figures: self.figures,
            current: Current { start: self.interval_start.unix_seconds(), places: places(&self.interval) },
        }
    }

    fn exceptions(&self) -> Vec<ExceptionRow> {
        let row = |exception: &crate::policy::exception::Exception| {
            let used_bytes = self.used.get(&exception.id).copied().unwrap_or(0);
            let text = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
            ExceptionRow {
                id: exception.id.to_string(),
                policy: text(&exception.policy),
                approver: exception.approver.to_string(),
                ticket: text(&exception.ticket),
                reason: exception.reason.to_string(),
                expires: exception.expires.to_string(),
                used_bytes,
                max_bytes: exception.max_bytes,
                state: match exception.state(used_bytes, self.taken) {
                    ExceptionState::NotStarted => "not-started",
                    ExceptionState::Active { near_expiry, near_ceiling, .. }
                        if near_expiry || near_ceiling =>
                    {
                        "near-limit"
                    }
                    ExceptionState::Active { .. } => "active",
                    ExceptionState::Exceeded => "exceeded",
                    ExceptionState::Expired => "expired",
                },
            }
        };
        self.policies.exceptions().iter().map(row).collect()
    }
}

fn policies(policies: &PolicySet, now: WallTime) -> Vec<PolicyRow> {
    let codes = |codes: [&std::collections::BTreeSet<CountryCode>; 2]| {
        codes.into_iter().flatten().map(ToString::to_string).collect()
    };
    let lists = |lists: Vec<(&'static str, Vec<String>)>| {
        lists.into_iter().map(|(kind, values)| ListRow { kind, values }).collect()
    };
    policies
        .describe()
        .into_iter()
        .map(|policy| PolicyRow {
            name: policy.name.to_string(),
            approved: codes([&policy.approved_by_preset, &policy.approved_by_list]),
            denied: codes([&policy.denied_by_preset, &policy.denied_by_list]),
            lists: match policy.mode {
                Mode::Allow => "allow",
                Mode::Deny => "deny",
            },
            applies_to: policy.applies_to,
            preset: policy.preset.map(|preset| preset.name.to_string()),
            also_approved: lists(policy.also_approved),
            also_denied: lists(policy.also_denied),
            in_force: policy.from.is_none_or(|from| from <= now)
                && policy.until.is_none_or(|until| now < until),
            from: policy.from.map(|from| from.to_string()),
            until: policy.until.map(|until| until.to_string()),
        })
        .collect()
}

fn places(totals: &Totals) -> BTreeMap<PlaceKey, Sums> {
    let mut places: BTreeMap<PlaceKey, Sums> = BTreeMap::new();
    for (class, tally) in totals.iter() {
        let place = PlaceKey {
            kind: class.place.kind().to_owned(),
            country: class.place.country().map(|code| code.to_string()),
            site: match &class.place {
                crate::flow::class::Place::Site { name, .. } => Some(name.to_string()),
                _ => None,
            },
        };
        let sums = places.entry(place).or_default();
        sums.count(class.verdict.as_str(), tally.volume.wire_bytes, tally.control.wire_bytes);
    }
    places
}
