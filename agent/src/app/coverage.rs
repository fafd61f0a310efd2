//! The live statement: what is attached, what is seen, what is not, and whether the answer can be trusted.

use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt as _, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    App,
    minute::CAUSES,
    selftest::SelfTestView,
    snapshot::{AttributionRow, LossRow, SCHEMA, attribution_row},
    watch::place,
};
use crate::{
    clock::{Synchronized, WallTime},
    coverage::{
        findings::Subject,
        statement::{Reason, State, judge, of_condition, of_program},
    },
    probe::{Condition, programs},
};

/// The answer to `coverage`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct CoverageView {
    pub schema: u32,
    pub time: String,
    pub started: String,
    pub host: String,
    pub state: String,
    pub reasons: Vec<ReasonRow>,
    pub programs: Vec<ProgramRow>,
    pub interfaces: Vec<LinkRow>,
    pub attribution: AttributionRow,
    pub cgroup: CgroupRow,
    pub network_namespaces: NamespacesRow,
    pub losses: Vec<LossRow>,
    pub fill: Vec<FillRow>,
    pub databases: Vec<DatabaseRow>,
    pub clock: ClockRow,
    pub self_test: Option<SelfTestView>,
    pub pinned: bool,
}

/// Why the state is not better.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct ReasonRow {
    pub state: String,
    pub part: String,
    pub reason: String,
}

/// A program of the kernel side.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct ProgramRow {
    pub program: String,
    pub hook: String,
    pub purpose: String,
    pub state: String,
    pub place: Option<String>,
    pub since: Option<String>,
    pub reason: Option<String>,
}

/// An interface of the agent's network namespace.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct LinkRow {
    pub name: String,
    pub index: u32,
    pub edge: bool,
    pub why: String,
    pub unexplained_bytes: Option<i64>,
}

/// The cgroup whose sockets are observed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct CgroupRow {
    pub path: String,
    pub descendants: Option<u64>,
}

/// Why it was not as it should be.
fn failure(episode: &crate::coverage::findings::Episode) -> &str {
    episode.gap.as_ref().and_then(|gap| gap.failure.as_deref()).unwrap_or("no answer")
}

/// Network namespaces with processes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct NamespacesRow {
    pub watched: String,
    pub seen: u64,
    pub outside: u64,
}

/// How full something is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct FillRow {
    pub what: String,
    pub used: u64,
    pub capacity: u64,
}

/// A database that answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct DatabaseRow {
    pub name: String,
    pub kind: String,
    pub built: String,
    pub age_days: i64,
    pub sha256: String,
}

/// The wall clock.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct ClockRow {
    pub synchronized: Option<bool>,
    pub max_error_us: Option<u64>,
    pub steps: u64,
    pub last_step_ms: Option<i64>,
}

/// What the loop knows; the rest is read by the task that serves the client.
pub struct CoverageSnapshot {
    view: CoverageView,
    own_only: bool,
    cgroup: PathBuf,
}

impl CoverageSnapshot {
    /// The statement without what has to be read from /proc.
    pub(super) fn into_statement(self) -> CoverageView {
        self.view
    }

    /// The outward form. Reads /proc: not for the loop.
    pub fn view(mut self) -> CoverageView {
        let namespaces = network_namespaces();
        let seen = namespaces.len() as u64;
        self.view.network_namespaces.seen = seen;
        self.view.network_namespaces.outside = if self.own_only { seen.saturating_sub(1) } else { 0 };
        self.view.cgroup.descendants = descendants(&self.cgroup);
        self.view
    }
}

/// Inode numbers of the network namespaces that processes are in.
fn network_namespaces() -> BTreeSet<u64> {
    let Ok(processes) = fs::read_dir("/proc") else { return BTreeSet::new() };
    processes
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|entry| Some(fs::metadata(entry.path().join("ns/net")).ok()?.ino()))
        .collect()
}

/// cgroups below, as the kernel counts them.
fn descendants(cgroup: &std::path::Path) -> Option<u64> {
    let text = fs::read_to_string(cgroup.join("cgroup.stat")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("nr_descendants ")?.trim().parse().ok())
}

impl App {
    pub(super) fn coverage_snapshot(&mut self) -> CoverageSnapshot {
        let now = WallTime::now();
        let clock = Synchronized::now();
        let programs = self.program_rows();
        let reasons = self.reasons(&programs, clock);
        let losses = self.probe.losses().unwrap_or_default();
        let (slots, capacity) = self.probe.slot_use();
        let fill = |what: &str, used: u64, capacity: u64| FillRow { what: what.to_owned(), used, capacity };
        let view = CoverageView {
            schema: SCHEMA,
            time: now.to_string(),
            started: self.started.to_string(),
            host: self.origin.hostname.clone(),
            state: judge(&reasons).as_str().to_owned(),
            reasons: reasons
                .into_iter()
                .map(|reason| ReasonRow {
                    state: reason.state.as_str().to_owned(),
                    part: reason.part,
                    reason: reason.text,
                })
                .collect(),
            programs,
            interfaces: self.edges.link_rows(),
            attribution: attribution_row(self.edges.attribution, self.edges.owners.discards()),
            cgroup: CgroupRow { path: self.scope.cgroup.display().to_string(), descendants: None },
            network_namespaces: NamespacesRow {
                watched: if self.scope.own_only { "own" } else { "all" }.to_owned(),
                seen: 0,
                outside: 0,
            },
            losses: CAUSES
                .iter()
                .filter_map(|(cause, word)| {
                    let cell = losses.get(*cause as usize)?;
                    Some(LossRow { cause: (*word).to_owned(), events: cell.events, bytes: cell.bytes })
                })
                .collect(),
            fill: vec![
                fill("slots", slots.into(), capacity.into()),
                fill("flows", self.table.len() as u64, self.config.limits.max_flows.into()),
                fill("known destinations", self.known.len() as u64, super::observe::MAX_KNOWN as u64),
            ],
            databases: self
                .locator
                .databases()
                .map(|report| DatabaseRow {
                    name: report.id.name.to_string(),
                    kind: report.id.kind.to_string(),
                    built: report.id.built.to_string(),
                    age_days: report.age_days(now),
                    sha256: report.id.sha256.to_string(),
                })
                .collect(),
            clock: ClockRow {
                synchronized: clock.map(|clock| clock.is_synchronized),
                max_error_us: clock.map(|clock| clock.max_error_us),
                steps: self.clock_steps.count,
                last_step_ms: self.clock_steps.last_ms,
            },
            self_test: self.selftest.last.clone(),
            pinned: self.probe.is_pinned(),
        };
        CoverageSnapshot { view, own_only: self.scope.own_only, cgroup: self.scope.cgroup.clone() }
    }

    /// Attached programs as they are at this moment, then those that are not attached anywhere.
    fn program_rows(&mut self) -> Vec<ProgramRow> {
        let mut rows: Vec<ProgramRow> = self
            .probe
            .attachments()
            .into_iter()
            .map(|attachment| ProgramRow {
                program: attachment.program.name.to_owned(),
                hook: attachment.program.hook.to_owned(),
                purpose: attachment.program.purpose.to_owned(),
                state: match attachment.condition {
                    Condition::Attached => "attached",
                    Condition::Unpinned => "unpinned",
                    Condition::Gone => "gone",
                }
                .to_owned(),
                place: Some(place(&attachment.at).to_string()),
                since: Some(attachment.since.to_string()),
                reason: None,
            })
            .collect();
        for status in self.probe.status() {
            let (state, reason) = match &status.state {
                programs::State::Attached => continue,
                programs::State::Loaded => ("loaded", "no interface of its kind".to_owned()),
                programs::State::NotNeeded(reason) => ("not needed", (*reason).to_owned()),
                programs::State::Refused(reason) => ("refused", reason.clone()),
            };
            rows.push(ProgramRow {
                program: status.program.name.to_owned(),
                hook: status.program.hook.to_owned(),
                purpose: status.program.purpose.to_owned(),
                state: state.to_owned(),
                place: None,
                since: None,
                reason: Some(reason),
            });
        }
        rows
    }

    fn reasons(&self, programs: &[ProgramRow], clock: Option<Synchronized>) -> Vec<Reason> {
        let mut reasons = Vec::new();
        let mut add = |state, part: &str, text: String| {
            reasons.push(Reason { state, part: part.to_owned(), text });
        };
        for row in programs {
            let Some(program) = programs::program(&row.program) else { continue };
            match row.state.as_str() {
                "gone" => {
                    let at = row.place.as_deref().unwrap_or_default();
                    add(of_program(program.required), program.name, format!("not attached at {at}"));
                }
                "unpinned" => {
                    add(State::Reduced, program.name, "it would not outlive the agent".to_owned());
                }
                "refused" => {
                    add(of_program(program.required), program.name, program.without.to_owned());
                }
                _ => {}
            }
        }
        for (part, reason) in &self.conditions {
            add(of_condition(part), part, reason.clone());
        }
        for episode in self.findings.open() {
            let subject = &episode.subject;
            let text = match subject {
                Subject::Bypass { interface } => {
                    format!("{} bytes left {interface} past every observer", episode.unseen.bytes)
                }
                Subject::Missing { interface } => {
                    format!("{} bytes that were seen did not leave {interface}", -episode.unseen.bytes)
                }
                Subject::Unwitnessed { witness } => {
                    format!("the witness {witness} has not signed: {}", failure(episode))
                }
                Subject::Contradicted { witness } => {
                    format!("the witness {witness} refuses this ledger: {}", failure(episode))
                }
                Subject::Doubtful { interface } => format!("{interface}: {}", failure(episode)),
                Subject::Undelivered { sink } => format!("{sink} has not got some records"),
                Subject::Unsent => {
                    format!("{} bytes of sockets did not leave, nobody says why", -episode.unseen.bytes)
                }
                Subject::Unattributed => {
                    format!("{} bytes left that the socket ledger does not have", episode.unseen.bytes)
                }
                // The kernel says why: they are counted too much, and told so.
                Subject::Discarded
                // Told above, as the state of the program.
                | Subject::Detached { .. }
                | Subject::Unpinned { .. }
                | Subject::Appeared { .. }
                | Subject::Renamed { .. } => continue,
            };
            // What left unseen, and what cannot be believed.
            let is_void = matches!(
                subject,
                Subject::Bypass { .. } | Subject::Unattributed | Subject::Contradicted { .. }
            );
            let state = if is_void { State::NotCovered } else { State::Reduced };
            add(state, subject.as_str(), format!("{text} (episode {})", episode.id));
        }
        if clock.is_some_and(|clock| !clock.is_synchronized) {
            let text = "the wall clock is not synchronized: times in records may be wrong";
            add(State::Reduced, "clock", text.to_owned());
        }
        reasons
    }

    /// The state of now as one word with its reasons, for the interval record.
    pub(super) fn statement(&mut self) -> (State, Vec<String>) {
        let programs = self.program_rows();
        let reasons = self.reasons(&programs, Synchronized::now());
        let texts = reasons.iter().map(|reason| format!("{}: {}", reason.part, reason.text)).collect();
        (judge(&reasons), texts)
    }
}
