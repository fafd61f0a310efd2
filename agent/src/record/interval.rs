//! One minute as OCSF Network Activity (class 4001, activity Traffic): what left, and whether that is all.
//!
//! Written also when nothing left: a missing minute must be a finding, not a quiet minute.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    clock::WallTime,
    flow::class::{Tally, Totals, VerdictClass},
    reconcile::{Comparison, Discards, Explained, TERMS, Term, attribution::Attribution},
    record::{
        Context, Loss, Record, SCHEMA,
        finding::{BytesExtra, PlaceExtra},
        human, ocsf,
    },
};

const CLASS: ocsf::Class = ocsf::Class {
    category_uid: 4,
    category_name: "Network Activity",
    class_uid: 4001,
    class_name: "Network Activity",
    profiles: &["host"],
};

/// What the app knows of an interval.
#[derive(Clone, Debug)]
pub struct Minute {
    /// Its begin.
    pub start: WallTime,
    /// Its end.
    pub end: WallTime,
    /// Bytes per class.
    pub totals: Totals,
    /// What was lost within the interval, by cause.
    pub losses: Vec<Loss>,
    /// Which parts of the promise held.
    pub coverage: Vec<Coverage>,
    /// The statement at the end: `covered`, `reduced` or `not covered`.
    pub state: &'static str,
    /// Why it is not better.
    pub reasons: Vec<String>,
    /// Network cards against our own count.
    pub interfaces: Vec<Interface>,
    /// What local sockets sent over the edge, against what has an owner.
    pub attribution: Attribution,
    /// What the kernel says it discarded between the two; none where it does not tell.
    pub discards: Option<Discards>,
    /// State of the flow table.
    pub flows: Flows,
    /// Hash of the policy in force at the end.
    pub policy_hash: String,
}

/// A part of what is watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Which part, such as `socket-ledger`.
    pub part: String,
    /// `full`, `reduced` or `none`.
    pub state: &'static str,
    /// What is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// A network card against our own count, within the interval: every term of the identity in `RECONCILIATION.md`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// The comparison; absent when a counter of the card began again within the interval.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub balance: Option<Balance>,
    /// Unexplained frame bytes since the card and we are compared; exact at rest.
    pub unexplained_bytes_total: i64,
    /// Times that a counter of the card began again, since then.
    pub counter_resets: u64,
}

/// Both sides, and what is between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Balance {
    /// Link-layer bytes the card says it sent.
    pub nic_bytes: u64,
    /// Frames the card says it sent.
    pub nic_packets: u64,
    /// Link-layer bytes we saw on their way to it.
    pub counted_bytes: u64,
    /// Frames we saw on their way to it.
    pub counted_packets: u64,
    /// The same by what sent them: the terms by name.
    pub terms: BTreeMap<&'static str, FramesExtra>,
    /// Buffers that the queue or the driver dropped after we counted them.
    pub dropped_packets: u64,
    /// `nic_bytes` minus `counted_bytes`.
    pub residual_bytes: i64,
    /// `nic_packets` minus `counted_packets`.
    pub residual_packets: i64,
    /// The parts of the residual that are known, in bytes, signed as in it.
    pub explained: ExplainedExtra,
    /// The rest of the residual: positive bytes left past us.
    pub unexplained_bytes: i64,
    /// The same in frames.
    pub unexplained_packets: i64,
    /// How far the rest may be above and below zero without meaning anything, in bytes.
    pub tolerance: ToleranceExtra,
    /// How the card counts large buffers: `segments`, `buffers` or `mixed`; absent until it has sent one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counting: Option<&'static str>,
}

/// Frames with their link header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FramesExtra {
    /// Bytes.
    pub bytes: u64,
    /// Frames.
    pub packets: u64,
}

/// What is known to make a difference, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExplainedExtra {
    /// The card counts a large buffer once.
    pub buffers: i64,
    /// The card counts checksums, padding or tags.
    pub framing: i64,
    /// Dropped behind us: an upper bound.
    pub dropped: i64,
}

/// How far the rest may be from zero, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ToleranceExtra {
    /// Above: what was in flight at the beginning.
    pub over: u64,
    /// Below: what is in flight at the end.
    pub under: u64,
}

impl From<&Comparison> for Balance {
    fn from(comparison: &Comparison) -> Self {
        let counted = comparison.seen.total();
        let Explained { buffers, framing, dropped } = comparison.explained;
        let term = |term: &Term| {
            let amount = (term.of)(&comparison.seen);
            (term.name, FramesExtra { bytes: amount.bytes, packets: amount.frames })
        };
        Self {
            nic_bytes: comparison.nic.bytes,
            nic_packets: comparison.nic.frames,
            counted_bytes: counted.bytes,
            counted_packets: counted.frames,
            terms: TERMS.iter().map(term).collect(),
            dropped_packets: comparison.dropped,
            residual_bytes: comparison.residual.bytes,
            residual_packets: comparison.residual.frames,
            explained: ExplainedExtra {
                buffers: buffers.bytes,
                framing: framing.bytes,
                dropped: dropped.bytes,
            },
            unexplained_bytes: comparison.unexplained.bytes,
            unexplained_packets: comparison.unexplained.frames,
            tolerance: ToleranceExtra { over: comparison.over.bytes, under: comparison.under.bytes },
            counting: comparison.counting.as_str(),
        }
    }
}

/// The second identity of `RECONCILIATION.md`, for the whole host, in bytes of layer 3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AttributionExtra {
    /// What local sockets sent over the edge.
    pub socket: u64,
    /// The part with an owner.
    pub owned: u64,
    /// The part that the socket ledger has without a name.
    pub unnamed: u64,
    /// What the socket ledger has, and the kernel discarded before the edge.
    pub discarded: u64,
    /// Sockets of this host sent it to each other, and it never came to an edge; beside the identity.
    pub stayed: u64,
    /// What is left. Positive: it left without owner. Negative: it did not leave, and nobody says why, or it waits.
    pub rest: i64,
    /// What the kernel says it discarded, of the whole machine; absent where it does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discards: Option<DiscardsExtra>,
}

/// The kernel's counters of what it discarded before the edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DiscardsExtra {
    /// Packets that waited for a neighbour's address and had to make room.
    pub neighbour_packets: u64,
    /// Neighbours that did not answer: whatever waited for them is gone.
    pub neighbour_failures: u64,
    /// Packets that the IP layer of this network namespace could not hand on.
    pub output_packets: u64,
}

impl From<Discards> for DiscardsExtra {
    fn from(discards: Discards) -> Self {
        let Discards { neighbour_packets, neighbour_failures, output_packets } = discards;
        Self { neighbour_packets, neighbour_failures, output_packets }
    }
}

impl From<Attribution> for AttributionExtra {
    fn from(attribution: Attribution) -> Self {
        Self {
            socket: attribution.socket_bytes,
            owned: attribution.owned_bytes,
            unnamed: attribution.unnamed_bytes,
            discarded: attribution.discarded_bytes,
            stayed: attribution.stayed_bytes,
            rest: attribution.rest(),
            discards: None,
        }
    }
}

/// State of the flow table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Flows {
    /// Rows in use.
    pub rows: u64,
    /// Rows given up for newcomers since start.
    pub evicted: u64,
    /// Readings that found no row since start; their bytes are in the totals.
    pub overflowed_readings: u64,
    /// Open episodes.
    pub open_episodes: u64,
}

/// See the module.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are OCSF's")]
pub struct Interval {
    #[serde(flatten)]
    pub base: ocsf::Base,
    pub duration: i64,
    pub src_endpoint: ocsf::Endpoint,
    pub connection_info: ocsf::ConnectionInfo,
    pub traffic: ocsf::Traffic,
    pub unmapped: ocsf::Unmapped<Extra>,
}

/// `unmapped.homeport` of an interval.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the fields of `Minute`")]
pub struct Extra {
    pub schema: u32,
    pub bytes: BytesExtra,
    /// The part of `bytes` without any data.
    pub control: BytesExtra,
    pub classes: Vec<Cell>,
    pub losses: Vec<Loss>,
    pub coverage: Vec<Coverage>,
    pub state: &'static str,
    pub reasons: Vec<String>,
    pub interfaces: Vec<Interface>,
    pub attribution: AttributionExtra,
    pub flows: Flows,
    pub policy_hash: String,
}

/// Bytes of one class.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// `process`, `kernel`, `forwarded`, `packet-socket` or `unowned`.
    pub owner: &'static str,
    /// Where to.
    pub place: PlaceExtra,
    /// `approved`, `excepted` or `violation`.
    pub verdict: &'static str,
    /// The rule, if it is a violation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'static str>,
    /// Everything.
    pub bytes: BytesExtra,
    /// The part without any data.
    pub control: BytesExtra,
}

/// Builds the record of an interval.
pub fn interval(context: &Context<'_>, minute: Minute) -> Record {
    let Tally { volume, control } = minute.totals.sum();
    let violating: u64 = minute
        .totals
        .iter()
        .filter(|(class, _)| matches!(class.verdict, VerdictClass::Violation(_)))
        // Handshakes and resets towards a scanner are no data, and must not read like it.
        .map(|(_, tally)| tally.volume.wire_bytes.saturating_sub(tally.control.wire_bytes))
        .fold(0, u64::saturating_add);
    let message = format!(
        "{} left, {} of it data against policy",
        human::counted(volume.wire_bytes, "byte"),
        human::number(violating)
    );
    let activity = (6, "Traffic");
    let mut base = ocsf::Base::new(context, CLASS, activity, ocsf::Severity::INFORMATIONAL, message);
    base.span(minute.start, minute.end);
    let missed = missed_bytes(&minute.interfaces);
    Record::Interval(Box::new(Interval {
        base,
        duration: (minute.end.unix_millis() - minute.start.unix_millis()).max(0),
        src_endpoint: ocsf::Endpoint {
            hostname: Some(context.origin.hostname.clone()),
            uid: Some(context.origin.host_uid.clone()),
            ..ocsf::Endpoint::default()
        },
        connection_info: ocsf::ConnectionInfo::outbound(),
        traffic: ocsf::Traffic {
            bytes_out: volume.wire_bytes,
            packets_out: volume.packets,
            bytes_missed: missed,
        },
        unmapped: ocsf::Unmapped {
            homeport: Extra {
                schema: SCHEMA,
                bytes: volume.into(),
                control: control.into(),
                classes: cells(&minute.totals),
                losses: minute.losses,
                coverage: minute.coverage,
                state: minute.state,
                reasons: minute.reasons,
                interfaces: minute.interfaces,
                attribution: AttributionExtra {
                    discards: minute.discards.map(DiscardsExtra::from),
                    ..minute.attribution.into()
                },
                flows: minute.flows,
                policy_hash: minute.policy_hash,
            },
        },
    }))
}

fn cells(totals: &Totals) -> Vec<Cell> {
    totals
        .iter()
        .map(|(class, tally)| Cell {
            owner: class.owner.as_str(),
            place: (&class.place).into(),
            verdict: class.verdict.as_str(),
            rule: match class.verdict {
                VerdictClass::Violation(rule) => Some(rule.as_str()),
                VerdictClass::Approved | VerdictClass::Excepted => None,
            },
            bytes: tally.volume.into(),
            control: tally.control.into(),
        })
        .collect()
}

/// What the cards sent past us. Not known unless every card could be compared.
fn missed_bytes(interfaces: &[Interface]) -> Option<u64> {
    if interfaces.is_empty() {
        return None;
    }
    interfaces.iter().try_fold(0_u64, |missed, interface| {
        let unexplained = interface.balance.as_ref()?.unexplained_bytes;
        Some(missed.saturating_add(u64::try_from(unexplained).unwrap_or(0)))
    })
}
