//! An episode's transition as OCSF Detection Finding (class 2004).
//!
//! `unmapped.homeport` ([`Extra`]) carries what OCSF has no field for: bytes, who opened, how well the owner is
//! known, and for each destination the complete evidence of its location, so that a later reader can judge again.

mod extra;

use serde::Serialize;

pub use extra::{BytesExtra, DatabaseExtra, Extra, PlaceExtra};

use crate::{
    alert::{Cause, CloseReason, Destination, Episode, Kind, Level, Transition, UpdateReason},
    flow::class::Place,
    geo::{DatabaseId, Location, Source},
    record::{Context, Loss, Origin, Record, ocsf, person},
};

/// `activity_id` of an opened episode.
pub const CREATE: u8 = 1;
/// `activity_id` of an episode that goes on.
pub const UPDATE: u8 = 2;
/// `activity_id` of an episode that is over.
pub const CLOSE: u8 = 3;

/// The kind of a finding about the agent's own datagram, as records have it.
pub const SELF_TEST: &str = "self-test";

pub(super) const CLASS: ocsf::Class = ocsf::Class {
    category_uid: 2,
    category_name: "Findings",
    class_uid: 2004,
    class_name: "Detection Finding",
    profiles: &["host", "security_control"],
};

/// See the module.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are OCSF's")]
pub struct Finding {
    #[serde(flatten)]
    pub base: ocsf::Base,
    pub status_id: u8,
    pub status: &'static str,
    /// True when the episode opens or becomes worse; never for use of an exception.
    pub is_alert: bool,
    pub confidence_id: u8,
    pub confidence: &'static str,
    pub action_id: u8,
    pub action: &'static str,
    pub disposition_id: u8,
    pub disposition: &'static str,
    pub finding_info: FindingInfo,
    pub policy: Policy,
    pub evidences: Vec<Evidence>,
    pub unmapped: ocsf::Unmapped<Extra>,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are OCSF's")]
pub struct FindingInfo {
    pub uid: String,
    pub title: String,
    pub desc: String,
    pub types: [&'static str; 1],
    pub first_seen_time: i64,
    pub last_seen_time: i64,
    pub analytic: Analytic,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
}

/// The rule.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are OCSF's")]
pub struct Analytic {
    pub type_id: u8,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub name: String,
    pub uid: String,
}

/// A name and a value.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are OCSF's")]
pub struct Tag {
    pub name: &'static str,
    pub value: String,
}

/// The policy. Its version is the hash over the effective policy set: equal versions judge equally.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are OCSF's")]
pub struct Policy {
    pub uid: String,
    pub name: String,
    pub version: String,
}

/// One destination. Process and container are those of the first offending flow and stand with the first one.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are OCSF's")]
pub struct Evidence {
    pub src_endpoint: ocsf::Endpoint,
    pub dst_endpoint: ocsf::Endpoint,
    pub connection_info: ocsf::ConnectionInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ocsf::Process>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<ocsf::Container>,
}

/// Builds the record of a transition.
pub fn finding(context: &Context<'_>, transition: &Transition, losses: Vec<Loss>) -> Record {
    let episode = transition.episode();
    let is_exception = episode.kind == Kind::Exception;
    let (activity, word, reason) = match transition {
        Transition::Open(_) => ((CREATE, "Create"), "open", None),
        Transition::Update(_, reason) => ((UPDATE, "Update"), "update", Some(reason.as_str())),
        Transition::Close(_, reason) => ((CLOSE, "Close"), "close", Some(reason.as_str())),
    };
    let is_new = matches!(transition, Transition::Open(_) | Transition::Update(_, UpdateReason::Escalated));
    let (status_id, status) = match transition {
        Transition::Open(_) => (1, "New"),
        Transition::Update(..) => (2, "In Progress"),
        // The agent stops, the transfer may go on: nothing is resolved.
        Transition::Close(_, CloseReason::AgentStop) => (2, "In Progress"),
        Transition::Close(..) => (4, "Resolved"),
    };
    let (confidence_id, confidence) = confidence(episode);
    let (disposition_id, disposition) = if is_exception { (17, "Logged") } else { (19, "Alert") };
    let first_seen = context.clock.wall_of(episode.first_seen);
    let last_seen = context.clock.wall_of(episode.last_seen);

    let mut base =
        ocsf::Base::new(context, CLASS, activity, severity(episode.level), person::line(context, transition));
    base.span(first_seen, last_seen);
    base.metadata.correlation_uid = Some(episode.id.to_string());
    let exception = episode.key.cause.exception().map(|id| id.to_string());
    Record::Finding(Box::new(Finding {
        base,
        status_id,
        status,
        is_alert: is_new && !is_exception,
        confidence_id,
        confidence,
        action_id: 3,
        action: "Observed",
        disposition_id,
        disposition,
        finding_info: FindingInfo {
            uid: episode.id.to_string(),
            title: person::title(context, episode),
            desc: episode.reason.to_string(),
            types: [episode.kind.as_str()],
            first_seen_time: first_seen.unix_millis(),
            last_seen_time: last_seen.unix_millis(),
            analytic: Analytic {
                type_id: 1,
                kind: "Rule",
                name: rule_name(&episode.key.cause),
                uid: format!("{}/{}", episode.policy.name, episode.key.cause.as_str()),
            },
            tags: exception.iter().map(|id| Tag { name: "exception", value: id.clone() }).collect(),
        },
        policy: Policy {
            uid: episode.policy.name.to_string(),
            name: episode.policy.name.to_string(),
            version: episode.policy.hash.to_string(),
        },
        evidences: evidences(context, episode),
        unmapped: ocsf::Unmapped { homeport: extra::extra(episode, word, reason, exception, losses) },
    }))
}

/// The record of a self-test: the same as that of a violation, but no alert, and no part of any statistics of them.
pub fn self_test(context: &Context<'_>, transition: &Transition, nonce: &str) -> Record {
    let mut record = finding(context, transition, Vec::new());
    if let Record::Finding(finding) = &mut record {
        let ocsf::Severity(id, word) = ocsf::Severity::INFORMATIONAL;
        (finding.base.severity_id, finding.base.severity) = (id, word);
        finding.base.message = format!("the self-test {nonce} came out as a finding");
        finding.is_alert = false;
        (finding.disposition_id, finding.disposition) = (17, "Logged");
        (finding.status_id, finding.status) = (4, "Resolved");
        finding.finding_info.title = "Self-test of the agent".to_owned();
        finding.finding_info.types = [SELF_TEST];
        finding.finding_info.tags = vec![Tag { name: "nonce", value: nonce.to_owned() }];
        finding.unmapped.homeport.kind = SELF_TEST;
    }
    record
}

fn evidences(context: &Context<'_>, episode: &Episode) -> Vec<Evidence> {
    let mut evidences: Vec<Evidence> = episode
        .destinations
        .iter()
        .map(|destination| Evidence {
            src_endpoint: source(context.origin, destination),
            dst_endpoint: recipient(destination),
            connection_info: ocsf::ConnectionInfo {
                protocol_name: Some(destination.protocol.to_string()),
                protocol_num: Some(destination.protocol.0),
                protocol_ver_id: Some(if destination.address.is_ipv4() { 4 } else { 6 }),
                ..ocsf::ConnectionInfo::outbound()
            },
            process: None,
            container: None,
        })
        .collect();
    if let Some(first) = evidences.first_mut() {
        first.process = process(context, episode);
        first.container =
            episode.owner.workload.container.as_ref().map(|id| ocsf::Container { uid: id.to_string() });
    }
    evidences
}

fn source(origin: &Origin, destination: &Destination) -> ocsf::Endpoint {
    ocsf::Endpoint {
        ip: destination.local.map(|local| local.to_string()),
        port: (destination.local_port != 0).then_some(destination.local_port),
        hostname: Some(origin.hostname.clone()),
        uid: Some(origin.host_uid.clone()),
        location: None,
        autonomous_system: None,
    }
}

fn recipient(destination: &Destination) -> ocsf::Endpoint {
    let evidence = &destination.located.evidence;
    ocsf::Endpoint {
        ip: Some(destination.address.to_string()),
        port: (destination.port != 0).then_some(destination.port),
        hostname: None,
        uid: None,
        location: destination.located.location.country().map(|country| ocsf::GeoLocation {
            country: country.to_string(),
            desc: match &destination.located.location {
                Location::Site { name, .. } => Some(format!("site {name}")),
                _ => None,
            },
            provider: match &evidence.source {
                Source::Database(database) => Some(format!("{} {}", database.name, date(database))),
                Source::Site | Source::Override(_) => Some("homeport configuration".to_owned()),
                Source::Anycast(_) | Source::SpecialRange(_) | Source::Nothing => None,
            },
        }),
        autonomous_system: evidence.autonomous_system.as_ref().map(|system| ocsf::AutonomousSystem {
            number: system.number,
            name: system.organization.as_deref().map(str::to_owned),
        }),
    }
}

fn process(context: &Context<'_>, episode: &Episode) -> Option<ocsf::Process> {
    let process = episode.owner.process()?;
    let name = process.exe.rsplit('/').next().unwrap_or(&process.exe).to_owned();
    let created_time = context.booted.map(|booted| {
        let start = i64::try_from(process.start_boot_ns).unwrap_or(i64::MAX);
        crate::clock::WallTime(booted.0.saturating_add(start)).unix_millis()
    });
    Some(ocsf::Process {
        pid: process.pid,
        uid: format!("{}-{}", process.pid, process.start_boot_ns),
        name: name.clone(),
        cmd_line: process.command_line.to_string(),
        created_time,
        file: ocsf::File { name, path: process.exe.to_string(), type_id: 1 },
        user: ocsf::User { uid: process.uid.to_string(), name: process.user.as_deref().map(str::to_owned) },
    })
}

pub(crate) const fn severity(level: Level) -> ocsf::Severity {
    match level {
        Level::Informational => ocsf::Severity::INFORMATIONAL,
        Level::Low => ocsf::Severity::LOW,
        Level::Medium => ocsf::Severity::MEDIUM,
        Level::High => ocsf::Severity::HIGH,
        Level::Critical => ocsf::Severity::CRITICAL,
    }
}

/// How sure the location is: what the operator wrote is high, one answer of databases medium, the rest low.
fn confidence(episode: &Episode) -> (u8, &'static str) {
    let first = episode.destinations.first().map(|destination| &destination.located);
    match (&episode.key.place, first.map(|located| &located.evidence.source)) {
        (Place::Site { .. }, _) | (_, Some(Source::Site | Source::Override(_))) => (3, "High"),
        (Place::Country(_) | Place::Private | Place::Local, _) => (2, "Medium"),
        (Place::Unknown | Place::Disputed | Place::Anycast | Place::Several, _) => (1, "Low"),
    }
}

fn rule_name(cause: &Cause) -> String {
    match cause.exception() {
        Some(id) => format!("{} ({id})", cause.as_str()),
        None => cause.as_str().to_owned(),
    }
}

fn date(database: &DatabaseId) -> String {
    database.built.to_string().chars().take(10).collect()
}
