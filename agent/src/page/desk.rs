//! What the running agent says, asked at most once a second for all clients together.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::{SCHEMA, episodes::Standing, feed::Memory, history::Current};
use crate::{
    app::{
        coverage::CoverageView,
        overview::OverviewView,
        snapshot::{FlowsView, Query},
        status::MODE,
    },
    clock::WallTime,
    geo::embedded,
};

/// How old an answer may be.
const FRESH: Duration = Duration::from_millis(900);
/// Asking for coverage looks at every program and process: not every second.
const FRESH_COVERAGE: Duration = Duration::from_secs(3);
/// Flows that are shown: those with the most bytes.
pub(super) const MAX_FLOWS: u32 = 500;
/// An agent that does not answer within this time is not well.
const PATIENCE: Duration = Duration::from_secs(5);

/// One look at the running agent.
#[derive(Clone, Debug)]
pub struct Look {
    /// The largest flows, and what goes with the table.
    pub flows: FlowsView,
    /// What is covered; the latest one known, where it was not asked for.
    pub coverage: Option<CoverageView>,
    /// The rest.
    pub overview: OverviewView,
}

/// A look that is being taken; `None` when the agent is stopping.
pub type Looking<'a> = Pin<Box<dyn Future<Output = Option<Look>> + Send + 'a>>;

/// Whoever can be asked how the agent is.
pub trait Live: Send + Sync + 'static {
    /// Looks; with `coverage` also at what takes longer.
    fn look(&self, coverage: bool) -> Looking<'_>;
}

impl Live for mpsc::Sender<Query> {
    fn look(&self, coverage: bool) -> Looking<'_> {
        Box::pin(async move {
            let query = |reply| Query::Flows { limit: Some(MAX_FLOWS), reply };
            let flows = ask(self, query).await?;
            let overview = ask(self, Query::Overview).await?;
            let covered = if coverage { Some(ask(self, Query::Coverage).await?) } else { None };
            // Texts are made, and /proc is read, where nobody waits for it.
            tokio::task::spawn_blocking(move || Look {
                flows: flows.view(),
                coverage: covered.map(|covered| covered.view()),
                overview: overview.view(),
            })
            .await
            .ok()
        })
    }
}

async fn ask<T>(queries: &mpsc::Sender<Query>, query: impl FnOnce(oneshot::Sender<T>) -> Query) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    queries.send(query(reply)).await.ok()?;
    answer.await.ok()
}

/// See the module.
pub(super) struct Desk {
    live: Arc<dyn Live>,
    pub(super) memory: Arc<Memory>,
    latest: Mutex<Option<Latest>>,
}

struct Latest {
    taken: Instant,
    coverage_taken: Instant,
    look: Arc<Look>,
}

/// Answer to `/api/v1/status`.
#[derive(Debug, Serialize)]
pub(super) struct StatusView<'a> {
    pub(super) schema: u32,
    pub(super) version: &'static str,
    pub(super) time: &'a str,
    pub(super) started: &'a str,
    pub(super) host: &'a str,
    pub(super) state: &'static str,
    pub(super) mode: &'static str,
    pub(super) standing: Standing,
    pub(super) records_since: Option<i64>,
    pub(super) records_missed: u64,
    pub(super) trust: &'a str,
    pub(super) policy_hash: &'a str,
    #[serde(flatten)]
    pub(super) overview: &'a OverviewView,
    pub(super) totals: &'a crate::app::snapshot::VolumeRow,
    pub(super) rows: u64,
    pub(super) interfaces: &'a [crate::app::snapshot::InterfaceRow],
    pub(super) attribution: &'a crate::app::snapshot::AttributionRow,
    pub(super) losses: &'a [crate::app::snapshot::LossRow],
    pub(super) degraded: &'a [crate::app::snapshot::ConditionRow],
    pub(super) coverage: Option<&'a CoverageView>,
    pub(super) attributions: Vec<&'static str>,
}

impl Desk {
    pub(super) fn new(live: Arc<dyn Live>, memory: Arc<Memory>) -> Self {
        Self { live, memory, latest: Mutex::new(None) }
    }

    /// The latest look; `None` when the agent does not answer.
    pub(super) async fn look(&self) -> Option<Arc<Look>> {
        // Whoever comes while somebody asks waits for the same answer.
        let mut latest = self.latest.lock().await;
        let now = Instant::now();
        if let Some(latest) = &*latest
            && now.duration_since(latest.taken) < FRESH
        {
            return Some(Arc::clone(&latest.look));
        }
        let known = latest
            .as_ref()
            .filter(|latest| now.duration_since(latest.coverage_taken) < FRESH_COVERAGE)
            .and_then(|latest| Some((latest.coverage_taken, latest.look.coverage.clone()?)));
        let mut look = tokio::time::timeout(PATIENCE, self.live.look(known.is_none())).await.ok()??;
        let mut coverage_taken = now;
        if look.coverage.is_none()
            && let Some((taken, coverage)) = known
        {
            (coverage_taken, look.coverage) = (taken, Some(coverage));
        }
        let look = Arc::new(look);
        *latest = Some(Latest { taken: Instant::now(), coverage_taken, look: Arc::clone(&look) });
        Some(look)
    }

    /// What is being counted, for the history.
    pub(super) async fn current(&self) -> Current {
        self.look().await.map(|look| look.overview.current.clone()).unwrap_or_default()
    }

    /// `/api/v1/status` as text.
    pub(super) async fn status(&self) -> Option<String> {
        let look = self.look().await?;
        let standing = self.memory.standing(WallTime::now());
        let (records_since, records_missed) = {
            let inner = self.memory.look();
            (inner.since, inner.missed)
        };
        let trust = look.coverage.as_ref().map_or("not covered", |coverage| coverage.state.as_str());
        let flows = &look.flows;
        let view = StatusView {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            time: &flows.time,
            started: &flows.started,
            host: &flows.host,
            state: state(standing, trust),
            mode: MODE,
            standing,
            records_since,
            records_missed,
            trust,
            policy_hash: &flows.policy_hash,
            overview: &look.overview,
            totals: &flows.totals,
            rows: flows.rows,
            interfaces: &flows.interfaces,
            attribution: &flows.attribution,
            losses: &flows.losses,
            degraded: &flows.degraded,
            attributions: attributions(look.coverage.as_ref()),
            coverage: look.coverage.as_ref(),
        };
        serde_json::to_string(&view).ok()
    }
}

/// The one word. What has been seen to leave is certain, so it comes first; that nothing was seen means little while
/// bytes may leave uncounted. Reduced coverage still counts every byte: it is told beside the word.
fn state(standing: Standing, trust: &str) -> &'static str {
    match trust {
        _ if standing.violations > 0 => "violation",
        "covered" | "reduced" => "in-policy",
        _ => "degraded",
    }
}

/// Whom the data of the databases in use is from, as their licences ask to be told.
fn attributions(coverage: Option<&CoverageView>) -> Vec<&'static str> {
    let mut lines = Vec::new();
    for database in coverage.into_iter().flat_map(|coverage| &coverage.databases) {
        let kind = format!("{} {}", database.name, database.kind).to_lowercase();
        let line = match () {
            () if kind.contains("dbip") || kind.contains("db-ip") => embedded::ATTRIBUTION,
            () if kind.contains("geolite2") => {
                "This product includes GeoLite2 data created by MaxMind, available from https://www.maxmind.com"
            }
            () if kind.contains("ipinfo") => {
                "IP address data powered by IPinfo (https://ipinfo.io), CC BY-SA 4.0"
            }
            () => continue,
        };
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_to_leave_comes_before_what_may_not_be_seen() {
        let violation = Standing { violations: 1, ..Standing::default() };
        let none = Standing { open_attempts: 3, exceptions_in_use: 1, ..Standing::default() };
        for (standing, trust, expected) in [
            (none, "covered", "in-policy"),
            (none, "reduced", "in-policy"),
            (none, "not covered", "degraded"),
            (violation, "covered", "violation"),
            (violation, "not covered", "violation"),
        ] {
            assert_eq!(state(standing, trust), expected, "{trust}");
        }
    }
}
