//! The records as a report reads them: what it counts has to be there, what it only tells may be absent.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::statement::{Attribution, Bytes};

/// What every record has.
#[derive(Debug, Deserialize)]
pub(super) struct Line<T> {
    #[serde(default)]
    pub(super) message: String,
    #[serde(default)]
    pub(super) severity: String,
    pub(super) start_time: Option<i64>,
    pub(super) end_time: Option<i64>,
    pub(super) device: Option<Device>,
    pub(super) finding_info: Option<FindingInfo>,
    #[serde(default)]
    pub(super) evidences: Vec<Evidence>,
    pub(super) traffic: Option<Traffic>,
    pub(super) unmapped: Unmapped<T>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Unmapped<T> {
    pub(super) homeport: T,
}

#[derive(Debug, Deserialize)]
pub(super) struct Device {
    #[serde(default)]
    pub(super) hostname: String,
    #[serde(default)]
    pub(super) uid: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct FindingInfo {
    pub(super) uid: String,
    #[serde(default)]
    pub(super) title: String,
    pub(super) first_seen_time: i64,
    pub(super) last_seen_time: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Traffic {
    pub(super) bytes_missed: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Evidence {
    pub(super) process: Option<Process>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Process {
    #[serde(default)]
    pub(super) pid: u32,
    pub(super) cmd_line: Option<String>,
    pub(super) file: Option<File>,
    pub(super) user: Option<User>,
}

#[derive(Debug, Deserialize)]
pub(super) struct File {
    pub(super) path: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct User {
    pub(super) uid: Option<String>,
    pub(super) name: Option<String>,
}

/// A minute.
#[derive(Debug, Deserialize)]
pub(super) struct Interval {
    pub(super) bytes: Bytes,
    pub(super) control: Bytes,
    pub(super) classes: Vec<Class>,
    #[serde(default)]
    pub(super) losses: Vec<Loss>,
    pub(super) state: String,
    #[serde(default)]
    pub(super) reasons: Vec<String>,
    #[serde(default)]
    pub(super) interfaces: Vec<Interface>,
    #[serde(default)]
    pub(super) attribution: Attribution,
}

#[derive(Debug, Deserialize)]
pub(super) struct Class {
    pub(super) place: Place,
    pub(super) verdict: String,
    pub(super) rule: Option<String>,
    pub(super) bytes: Bytes,
    pub(super) control: Bytes,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct Place {
    pub(super) kind: String,
    pub(super) country: Option<String>,
    pub(super) site: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Loss {
    pub(super) cause: String,
    pub(super) count: u64,
    #[serde(default)]
    pub(super) bytes: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Interface {
    pub(super) name: String,
    /// Absent with the rest when a counter of the card began again.
    pub(super) nic_bytes: Option<u64>,
    #[serde(default)]
    pub(super) counted_bytes: u64,
    #[serde(default)]
    pub(super) dropped_packets: u64,
    #[serde(default)]
    pub(super) residual_bytes: i64,
    #[serde(default)]
    pub(super) explained: BTreeMap<String, i64>,
    #[serde(default)]
    pub(super) unexplained_bytes: i64,
}

/// A transition of an episode.
#[derive(Debug, Deserialize)]
pub(super) struct Finding {
    pub(super) transition: String,
    pub(super) initiator: String,
    pub(super) rule: String,
    pub(super) exception: Option<String>,
    pub(super) place: Place,
    pub(super) owner: Owner,
    pub(super) destinations: Count,
    #[serde(default)]
    pub(super) destination_list: Vec<Destination>,
    pub(super) bytes: Bytes,
    pub(super) bytes_since_last: Bytes,
    pub(super) policy: Policy,
    #[serde(default)]
    pub(super) reason: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Owner {
    pub(super) label: String,
    #[serde(default)]
    pub(super) quality: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Count {
    pub(super) count: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Destination {
    pub(super) ip: String,
    pub(super) bytes: Bytes,
    pub(super) geo: Geo,
}

#[derive(Debug, Deserialize)]
pub(super) struct Geo {
    #[serde(default)]
    pub(super) location: String,
    #[serde(default)]
    pub(super) source: String,
    pub(super) prefix: Option<String>,
    pub(super) database: Option<Database>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Database {
    pub(super) name: String,
    #[serde(default)]
    pub(super) kind: String,
    pub(super) built: String,
    #[serde(default)]
    pub(super) sha256: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Policy {
    pub(super) name: String,
}

/// A transition of a finding about coverage.
#[derive(Debug, Deserialize)]
pub(super) struct CoverageFinding {
    pub(super) subject: String,
    pub(super) transition: String,
    #[serde(default)]
    pub(super) place: String,
    pub(super) residual_bytes: Option<i64>,
    pub(super) certain_bytes: Option<i64>,
    pub(super) gap: Option<Gap>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Gap {
    pub(super) unobserved_bytes: Option<i64>,
}

/// What a report needs of what happened to the agent.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum Event {
    Start {
        policy_hash: String,
        #[serde(default)]
        policies: Vec<String>,
        #[serde(default)]
        statements: Vec<[String; 3]>,
        #[serde(default)]
        databases: Vec<Database>,
        #[serde(default)]
        not_covered: Vec<String>,
    },
    PolicyChange {
        before_hash: String,
        after_hash: String,
        #[serde(default)]
        changes: Vec<String>,
        #[serde(default)]
        statements: Vec<[String; 3]>,
    },
    PolicyRejected {
        policy_hash: String,
        #[serde(default)]
        faults: Vec<String>,
    },
    DatabaseChange {
        before: Option<Database>,
        after: Database,
    },
    CountingGap {
        from: i64,
        to: i64,
        #[serde(default)]
        detail: String,
    },
    /// All others are told with their message.
    #[serde(other)]
    Other,
}
