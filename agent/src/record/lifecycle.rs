//! What happened to the agent itself, as OCSF Application Lifecycle (class 6002).
//!
//! OCSF knows start and stop; the rest is activity 99 (Other) under our own name. All of it is evidence: who reads
//! "nothing left" must also read that the agent was there, with which policy, and what it could not see.

use serde::Serialize;

use crate::{
    clock::ClockStep,
    record::{Context, Record, SCHEMA, finding::DatabaseExtra, human, ocsf},
};

const CLASS: ocsf::Class = ocsf::Class {
    category_uid: 6,
    category_name: "Application Activity",
    class_uid: 6002,
    class_name: "Application Lifecycle",
    profiles: &["host"],
};

/// What happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The agent watches from now on.
    Start {
        /// Hash of the policy in force.
        policy_hash: String,
        /// Names of the policies, in order.
        policies: Vec<String>,
        /// What the policy says, and the hash is made of: about, property, value.
        statements: Vec<[String; 3]>,
        /// The databases, in order.
        databases: Vec<DatabaseExtra>,
        /// What it cannot see on this host, in words.
        not_covered: Vec<String>,
        /// Counting had gone on without an agent; absent when it begins with this one.
        #[serde(skip_serializing_if = "Option::is_none")]
        resumed: Option<Resumed>,
    },
    /// The agent stops watching.
    Stop {
        /// Why.
        reason: String,
        /// Everything was written before the grace period ended.
        drained: bool,
        /// The kernel side goes on counting for the next agent.
        counting_continues: bool,
        /// Episodes that stay open for the next agent.
        open_episodes: u64,
    },
    /// Another policy is in force.
    PolicyChange {
        /// Hash before.
        before_hash: String,
        /// Hash from now on.
        after_hash: String,
        /// What differs, one line each.
        changes: Vec<String>,
        /// All that the policy says from now on: about, property, value.
        statements: Vec<[String; 3]>,
    },
    /// A policy file was refused; the one before stays in force.
    PolicyRejected {
        /// Hash of the policy that stays.
        policy_hash: String,
        /// All faults.
        faults: Vec<String>,
    },
    /// Another database answers.
    DatabaseChange {
        /// Before.
        #[serde(skip_serializing_if = "Option::is_none")]
        before: Option<DatabaseExtra>,
        /// From now on.
        after: DatabaseExtra,
    },
    /// A database file was refused; the one before stays.
    DatabaseRejected {
        /// File name.
        name: String,
        /// Why.
        reason: String,
    },
    /// A part does not do what it promises.
    Degraded {
        /// Which part.
        part: String,
        /// Why.
        reason: String,
    },
    /// It does again.
    Recovered {
        /// Which part.
        part: String,
        /// For how long it did not.
        degraded_ms: u64,
    },
    /// The wall clock jumped against the clock that only goes forward: times before and after do not fit together.
    ClockStep(ClockStep),
    /// Records are missing.
    Gap(Gap),
    /// Bytes are missing: for a time nobody counted, or what was counted is lost.
    CountingGap(CountingGap),
    /// Entries of the ledger are lost.
    LedgerGap(LedgerGap),
    /// Old entries are about to be removed from the ledger.
    Retention(Retained),
    /// What became of entries on their way to a receiver, or of the receiver.
    Delivery(Delivery),
    /// Another configuration is in force. What it says about policies is a policy change of its own.
    ConfigurationChange {
        /// What differs, one line each, without secrets.
        changes: Vec<String>,
        /// Sections whose changes take effect at the next start.
        after_restart: Vec<String>,
    },
}

impl Event {
    /// The words of all events, as records have them.
    pub const WORDS: [&str; 15] = [
        "start",
        "stop",
        "policy-change",
        "policy-rejected",
        "database-change",
        "database-rejected",
        "degraded",
        "recovered",
        "clock-step",
        "gap",
        "counting-gap",
        "ledger-gap",
        "retention",
        "delivery",
        "configuration-change",
    ];
}

/// Entries of the ledger that are lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LedgerGap {
    /// `rolled-back`, `damaged`, `head-lost` or `key-lost` for a whole ledger; `missing` for bundles of this one;
    /// `damaged-journal` for what was not signed yet.
    pub cause: &'static str,
    /// The ledger that they are of.
    pub origin: String,
    /// Index of the first.
    pub first_index: u64,
    /// How many; of a whole ledger, how many had been signed as far as is known.
    pub count: u64,
    /// The root that was signed with them, as in a checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Where what is left of them is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<String>,
    /// What was found, in words.
    pub detail: String,
}

/// Entries that are removed because of their age, or for want of room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Retained {
    /// Index of the first entry that is kept.
    pub first_kept: u64,
    /// Index of the first one that is removed.
    pub first_removed: u64,
    /// How many are removed.
    pub count: u64,
    /// `ledger.retain_days`.
    pub retain_days: u32,
    /// `ledger.retain_bytes`.
    pub retain_bytes: u64,
}

/// What became of entries on their way to a receiver, or of the receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// Name of the sink.
    pub sink: String,
    /// What happened.
    pub outcome: DeliveryOutcome,
    /// Why, in words.
    pub reason: String,
    /// Index of the first entry that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_index: Option<u64>,
    /// Index of the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_index: Option<u64>,
    /// How many entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// What became of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryOutcome {
    /// The receiver takes nothing; what it misses waits in the ledger.
    Down,
    /// It does again.
    Up,
    /// It refused entries for good; they are in the dead-letter file.
    DeadLetter,
    /// Entries were removed from the ledger, or could not be read any more, before the receiver had them.
    Lost,
}

impl DeliveryOutcome {
    const fn activity(self) -> &'static str {
        match self {
            Self::Down => "Delivery Down",
            Self::Up => "Delivery Up",
            Self::DeadLetter => "Delivery Refused",
            Self::Lost => "Delivery Lost",
        }
    }
}

/// Counting had gone on without an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Resumed {
    /// How often state was committed since counting began.
    pub epoch: u64,
    /// From the last commit of the agent before to this start.
    pub away_ms: u64,
    /// Layer 3 bytes of local sockets that were counted in that time. They are in the next interval record.
    pub bytes: u64,
}

/// A time whose bytes are not in any record, or not all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CountingGap {
    /// `reboot`, `pins-lost`, `state-lost` or `not-pinned`.
    pub cause: &'static str,
    /// Since when bytes may be missing, milliseconds since 1970: as late as can be proven.
    pub from: i64,
    /// Until when.
    pub to: i64,
    /// What was found, in words.
    pub detail: String,
    /// When the host booted, if that is within the gap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub booted: Option<i64>,
    /// What the network cards have sent in that time (since the boot, if that is later).
    pub interfaces: Vec<GapInterface>,
}

/// A network card within a gap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GapInterface {
    /// Its name.
    pub name: String,
    /// Link-layer bytes that it says it sent.
    pub nic_bytes: u64,
}

/// Records that could not be written and no longer fit in memory. Their sequence numbers are missing in the file,
/// except for lines that a broken disk wrote, did not confirm, and did not let us take back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// Since when records could not be written, milliseconds since 1970.
    pub since: i64,
    /// Why.
    pub reason: String,
    /// Interval records dropped.
    pub intervals: u64,
    /// Updates of episodes dropped.
    pub updates: u64,
    /// Opens, closes and lifecycle records dropped.
    pub transitions: u64,
    /// Lowest sequence number dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_sequence: Option<u64>,
    /// Highest sequence number dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_sequence: Option<u64>,
}

impl Gap {
    /// Records dropped.
    pub const fn total(&self) -> u64 {
        self.intervals.saturating_add(self.updates).saturating_add(self.transitions)
    }
}

/// See the module.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are OCSF's")]
pub struct Lifecycle {
    #[serde(flatten)]
    pub base: ocsf::Base,
    pub app: ocsf::Product,
    pub unmapped: ocsf::Unmapped<Extra>,
}

impl Lifecycle {
    /// Whether it says that records are missing.
    pub const fn is_gap(&self) -> bool {
        matches!(self.unmapped.homeport.event, Event::Gap(_))
    }
}

/// `unmapped.homeport` of a lifecycle record.
#[derive(Clone, Debug, Serialize)]
pub struct Extra {
    /// Version of this object.
    pub schema: u32,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// Builds the record of an event.
pub fn lifecycle(context: &Context<'_>, event: Event) -> Record {
    use ocsf::Severity;
    let other = |name| (99, name);
    let (activity, severity, message) = match &event {
        Event::Start { policy_hash, .. } => {
            let hash = policy_hash.get(..12).unwrap_or(policy_hash);
            ((3, "Start"), Severity::INFORMATIONAL, format!("homeport watches; policy {hash}"))
        }
        Event::Stop { reason, .. } => {
            ((4, "Stop"), Severity::INFORMATIONAL, format!("homeport stops: {reason}"))
        }
        Event::PolicyChange { changes, .. } => (
            other("Policy Change"),
            Severity::INFORMATIONAL,
            format!("another policy is in force: {}", human::counted(changes.len() as u64, "change")),
        ),
        Event::PolicyRejected { faults, .. } => (
            other("Policy Rejected"),
            Severity::MEDIUM,
            format!(
                "a policy was refused with {}; the one before stays in force",
                human::counted(faults.len() as u64, "fault")
            ),
        ),
        Event::DatabaseChange { after, .. } => (
            other("Database Change"),
            Severity::INFORMATIONAL,
            format!("database {} built {} answers", after.name, after.built),
        ),
        Event::DatabaseRejected { name, reason } => (
            other("Database Rejected"),
            Severity::MEDIUM,
            format!("database {name} was refused: {reason}; the one before stays"),
        ),
        Event::Degraded { part, reason } => {
            (other("Degraded"), Severity::HIGH, format!("{part} is degraded: {reason}"))
        }
        Event::Recovered { part, degraded_ms } => (
            other("Recovered"),
            Severity::INFORMATIONAL,
            format!("{part} works again after {} ms", human::number(*degraded_ms)),
        ),
        Event::CountingGap(gap) => (
            other("Counting Gap"),
            Severity::HIGH,
            format!(
                "bytes of {} s may be missing: {}",
                human::number(u64::try_from((gap.to - gap.from).max(0)).unwrap_or_default() / 1_000),
                gap.detail
            ),
        ),
        Event::ClockStep(step) if step.is_sleep() => (
            other("Clock Step"),
            Severity::INFORMATIONAL,
            format!("the host slept for {} ms", human::number(step.slept_ms.unsigned_abs())),
        ),
        Event::ClockStep(ClockStep { by_ms, slept_ms: 0 }) => {
            (other("Clock Step"), Severity::MEDIUM, format!("the wall clock jumped by {by_ms} ms"))
        }
        Event::ClockStep(ClockStep { by_ms, slept_ms }) => (
            other("Clock Step"),
            Severity::MEDIUM,
            format!("the wall clock jumped by {by_ms} ms, while the host slept for {slept_ms} ms"),
        ),
        Event::LedgerGap(gap) => {
            (other("Ledger Gap"), Severity::HIGH, format!("entries of the ledger are lost: {}", gap.detail))
        }
        Event::Retention(retained) => (
            other("Retention"),
            Severity::INFORMATIONAL,
            format!(
                "{} removed from the ledger; it begins with entry {}",
                human::counted(retained.count, "old record"),
                retained.first_kept
            ),
        ),
        Event::Delivery(delivery) => {
            let severity = match delivery.outcome {
                DeliveryOutcome::Up => Severity::INFORMATIONAL,
                DeliveryOutcome::Down => Severity::MEDIUM,
                DeliveryOutcome::DeadLetter | DeliveryOutcome::Lost => Severity::HIGH,
            };
            let Delivery { sink, reason, .. } = delivery;
            let message = match delivery.outcome {
                DeliveryOutcome::Up => format!("{sink} takes records again: {reason}"),
                DeliveryOutcome::Down => format!("{sink} takes no records: {reason}"),
                DeliveryOutcome::DeadLetter => format!("{sink} refused records: {reason}"),
                DeliveryOutcome::Lost => format!("{sink} will never have some records: {reason}"),
            };
            (other(delivery.outcome.activity()), severity, message)
        }
        Event::ConfigurationChange { changes, .. } => (
            other("Configuration Change"),
            Severity::INFORMATIONAL,
            format!("another configuration was read: {}", human::counted(changes.len() as u64, "change")),
        ),
        Event::Gap(gap) => (
            other("Gap"),
            Severity::HIGH,
            format!("{} could not be written and are lost", human::counted(gap.total(), "record")),
        ),
    };
    Record::Lifecycle(Box::new(Lifecycle {
        base: ocsf::Base::new(context, CLASS, activity, severity, message),
        app: ocsf::Product::of(context.origin),
        unmapped: ocsf::Unmapped { homeport: Extra { schema: SCHEMA, event } },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_its_word() {
        let source = include_str!("lifecycle.rs");
        let (_, source) = source.split_once("pub enum Event {").expect("the enum");
        let (source, _) = source.split_once("\n}").expect("its end");
        let variants = source.lines().filter_map(|line| {
            let name = line.strip_prefix("    ")?.split([' ', '(', ',']).next()?;
            name.starts_with(|letter: char| letter.is_ascii_uppercase()).then_some(name)
        });
        let words: Vec<String> = variants
            .map(|name| {
                let mut word = String::new();
                for letter in name.chars() {
                    if letter.is_ascii_uppercase() && !word.is_empty() {
                        word.push('-');
                    }
                    word.push(letter.to_ascii_lowercase());
                }
                word
            })
            .collect();
        assert_eq!(words, Event::WORDS);
    }
}
