//! What a statement says. These types are its JSON: fields may come, none may change its meaning.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ledger::audit::Problem;

/// Version of the JSON.
pub(super) const SCHEMA: u32 = 1;

/// The residency statement for a period.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/REPORT.md")]
pub struct Statement {
    pub schema: u32,
    /// When it was made, by which version.
    pub made: String,
    pub version: String,
    pub hosts: Vec<Host>,
    pub period: Period,
    pub answer: Answer,
    pub proof: Proof,
    pub policies: Vec<PolicyRow>,
    pub policy_changes: Vec<PolicyChange>,
    pub totals: Totals,
    pub places: Vec<PlaceRow>,
    pub violations: Vec<EpisodeRow>,
    pub attempts: Vec<EpisodeRow>,
    pub exceptions: Vec<ExceptionRow>,
    pub coverage: Coverage,
    pub losses: Vec<LossRow>,
    pub interfaces: Vec<InterfaceRow>,
    pub attribution: Attribution,
    pub databases: Vec<DatabaseRow>,
    pub events: Vec<EventRow>,
    /// Findings of `homeport selftest`: proofs that the way from packet to record worked.
    pub self_tests: u64,
    pub limits: Vec<String>,
}

/// Whose traffic it is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/REPORT.md")]
pub struct Host {
    pub name: String,
    pub uid: String,
}

/// From when until when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/REPORT.md")]
pub struct Period {
    pub from: String,
    /// Not included.
    pub to: String,
    pub milliseconds: i64,
}

/// The one word, and the sentences that say how far it goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/REPORT.md")]
pub struct Answer {
    pub word: Word,
    pub sentences: Vec<String>,
}

/// See [`Answer`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// The ledger is not what was signed, or not all of it is there: the numbers prove nothing.
    #[default]
    NotProven,
    /// Data left against policy.
    OutOfPolicy,
    /// None did that was seen, but not all of the period was watched.
    InPolicyAsFarAsSeen,
    /// None did, and all of the period was watched.
    InPolicy,
}

/// Why the records can be believed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/REPORT.md")]
pub struct Proof {
    /// Every entry that is there is the one that was signed, and none is missing without another saying so.
    pub verified: bool,
    pub origin: Option<String>,
    pub key: Option<String>,
    /// The key came from whoever made the statement, not from the ledger itself.
    pub key_was_given: bool,
    /// Entries that the checkpoint signs, and the root over them.
    pub size: Option<u64>,
    pub root: Option<String>,
    pub witnessed: Option<Witnessed>,
    /// It is a bundle of evidence, taken at this time.
    pub bundle_made: Option<String>,
    /// Entries that were compared with what was signed.
    pub entries_checked: u64,
    /// Entries of the period.
    pub first_entry: Option<u64>,
    pub last_entry: Option<u64>,
    pub entries: u64,
    /// Entries that are no record that this version can read: they are in no number.
    pub unreadable: u64,
    /// Entries of the period that are there once more, unchanged, after a crash of the agent: counted once.
    pub repeated: u64,
    /// Records that the ledger itself says are missing.
    pub declared_missing: u64,
    pub wrong: u64,
    pub notes: u64,
    pub problems: Vec<Problem>,
}

/// Who has seen how much of the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/REPORT.md")]
pub struct Witnessed {
    pub size: u64,
    pub by: Vec<Witness>,
}

/// A witness of the policy that was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/REPORT.md")]
pub struct Witness {
    pub name: String,
    pub time: String,
}

/// A policy set that was in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/REPORT.md")]
pub struct PolicyRow {
    pub hash: String,
    /// Since when as the records say it; before the period, too.
    pub since: String,
    pub until: Option<String>,
    /// The entry that says so.
    pub entry: u64,
    pub names: Vec<String>,
    /// What it says: about, property, value. Empty when the record does not have it.
    pub says: Vec<[String; 3]>,
    /// What it says hashes to the hash that every record names.
    pub says_is_hashed: bool,
}

/// A policy was replaced, or was to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/REPORT.md")]
pub struct PolicyChange {
    pub time: String,
    pub entry: u64,
    /// False: it was refused, and the one before stayed.
    pub taken: bool,
    pub before: String,
    pub after: Option<String>,
    pub lines: Vec<String>,
}

/// Bytes of layer 3 on the wire, of layer 4 payload, and packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/REPORT.md")]
pub struct Bytes {
    pub wire: u64,
    pub payload: u64,
    pub packets: u64,
}

impl Bytes {
    pub(super) const fn add(&mut self, other: Self) {
        self.wire = self.wire.saturating_add(other.wire);
        self.payload = self.payload.saturating_add(other.payload);
        self.packets = self.packets.saturating_add(other.packets);
    }
}

/// Bytes, and the part of them without any data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/REPORT.md")]
pub struct Sum {
    pub bytes: Bytes,
    pub control: Bytes,
}

impl Sum {
    pub(super) const fn add(&mut self, bytes: Bytes, control: Bytes) {
        self.bytes.add(bytes);
        self.control.add(control);
    }

    /// Bytes of packets that carried data.
    pub const fn data(&self) -> u64 {
        self.bytes.wire.saturating_sub(self.control.wire)
    }
}

/// By verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/REPORT.md")]
pub struct Totals {
    pub intervals: u64,
    pub all: Sum,
    pub approved: Sum,
    pub excepted: Sum,
    pub violation: Sum,
    /// Frame bytes that cards sent and nobody saw; what is not known is not in it.
    pub missed_bytes: u64,
}

/// A place that bytes left for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/REPORT.md")]
pub struct PlaceRow {
    pub kind: String,
    pub country: Option<String>,
    pub site: Option<String>,
    pub name: String,
    pub approved: Sum,
    pub excepted: Sum,
    pub violation: Sum,
    /// Wire bytes of violations by the rule that was broken.
    pub rules: BTreeMap<String, u64>,
}

impl PlaceRow {
    /// Everything that left for it.
    pub fn all(&self) -> Sum {
        let mut all = Sum::default();
        for sum in [self.approved, self.excepted, self.violation] {
            all.add(sum.bytes, sum.control);
        }
        all
    }
}

/// An episode: one owner, one place, one policy, from the first byte until quiet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/REPORT.md")]
pub struct EpisodeRow {
    pub id: String,
    pub title: String,
    pub severity: String,
    pub policy: String,
    pub rule: String,
    pub exception: Option<String>,
    pub reason: String,
    pub place: String,
    pub initiator: String,
    pub owner: String,
    pub owner_quality: String,
    pub executable: Option<String>,
    pub command_line: Option<String>,
    pub user: Option<String>,
    pub first_seen: String,
    pub last_seen: String,
    /// No record of the period says that it is over.
    pub open: bool,
    /// What left within the period, as its records count.
    pub in_period: Bytes,
    /// What left since it began, as its last record says.
    pub altogether: Bytes,
    pub n_destinations: u64,
    pub destinations: Vec<Destination>,
    pub records: u64,
    pub first_entry: u64,
    pub last_entry: u64,
}

/// One address, and why it is said to be there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/REPORT.md")]
pub struct Destination {
    pub ip: String,
    pub location: String,
    pub bytes: Bytes,
    pub source: String,
    pub prefix: Option<String>,
    pub database: Option<String>,
}

/// An exception that was used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/REPORT.md")]
pub struct ExceptionRow {
    pub id: String,
    /// Its properties as the policy in force says them: approver, ticket, expiry...
    pub says: Vec<[String; 2]>,
    pub in_period: Bytes,
    pub uses: Vec<EpisodeRow>,
}

/// How much of the period was watched.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/REPORT.md")]
pub struct Coverage {
    /// Milliseconds in which all that is promised held.
    pub covered_ms: i64,
    /// In which every byte was counted, but something else was missing.
    pub reduced_ms: i64,
    /// In which bytes may have left uncounted.
    pub not_covered_ms: i64,
    /// For which there is no record.
    pub unrecorded_ms: i64,
    /// `covered_ms` and `reduced_ms` of the period, in percent: time in which every byte was counted.
    pub counted_percent: f64,
    pub covered_percent: f64,
    /// Times without a record, or with bytes missing, the longest first.
    pub gaps: Vec<GapRow>,
    /// Why it was not better, with the number of intervals that say so.
    pub reasons: Vec<ReasonRow>,
    pub findings: Vec<CoverageRow>,
}

/// A time that was not watched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/REPORT.md")]
pub struct GapRow {
    pub from: String,
    pub to: String,
    pub milliseconds: i64,
    pub why: String,
}

/// Something that made coverage worse.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/REPORT.md")]
pub struct ReasonRow {
    pub reason: String,
    pub intervals: u64,
}

/// A finding about what could not be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/REPORT.md")]
pub struct CoverageRow {
    pub id: String,
    pub title: String,
    pub subject: String,
    pub place: String,
    pub severity: String,
    pub first_seen: String,
    pub last_seen: String,
    pub open: bool,
    /// Signed frame bytes that nothing explains; of them, certain.
    pub residual_bytes: Option<i64>,
    pub certain_bytes: Option<i64>,
    /// Bytes that were not observed in a time without watch.
    pub unobserved_bytes: Option<i64>,
    pub first_entry: u64,
    pub last_entry: u64,
}

/// What was lost, by cause.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/REPORT.md")]
pub struct LossRow {
    pub cause: String,
    pub count: u64,
    pub bytes: u64,
    pub means: String,
}

/// A network card against our own count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/REPORT.md")]
pub struct InterfaceRow {
    pub name: String,
    pub compared: u64,
    pub not_compared: u64,
    pub nic_bytes: u64,
    pub counted_bytes: u64,
    pub dropped_packets: u64,
    pub residual_bytes: i64,
    pub explained_bytes: i64,
    pub unexplained_bytes: i64,
}

/// What local sockets sent over the edge, against what has an owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/REPORT.md")]
pub struct Attribution {
    pub socket: u64,
    pub owned: u64,
    pub unnamed: u64,
    pub discarded: u64,
    // Records of earlier builds have none.
    #[serde(default)]
    pub stayed: u64,
    pub rest: i64,
}

/// A database that said where addresses are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/REPORT.md")]
pub struct DatabaseRow {
    pub name: String,
    pub kind: String,
    pub built: String,
    pub sha256: String,
    /// Since when as the records say it; before the period, too.
    pub since: String,
    pub until: Option<String>,
    pub entry: u64,
}

/// Something that happened to the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/REPORT.md")]
pub struct EventRow {
    pub time: String,
    pub entry: u64,
    pub event: String,
    pub severity: String,
    pub message: String,
}

impl Statement {
    /// The same, with every text such that no terminal and no reader is misled by it: names of programs, command lines
    /// and the like are chosen by whoever is watched.
    pub(super) fn harmless(&self) -> Self {
        // What was made from these types has their form.
        crate::record::harmless_copy(self).unwrap_or_default()
    }
}
