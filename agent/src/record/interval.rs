//! One minute as OCSF Network Activity (class 4001, activity Traffic): what left, and whether that is all.
//!
//! Written also when nothing left: a missing minute must be a finding, not a quiet minute.

use serde::Serialize;

use crate::{
    clock::WallTime,
    flow::class::{Tally, Totals, VerdictClass},
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
    /// Network cards against our own count.
    pub interfaces: Vec<Interface>,
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

/// A network card against our own count, within the interval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Link-layer bytes the card says it sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nic_bytes: Option<u64>,
    /// Link-layer bytes we saw on their way to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted_bytes: Option<u64>,
    /// Packets the queue in front of the card dropped after we counted them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped_packets: Option<u64>,
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
    pub interfaces: Vec<InterfaceExtra>,
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

/// A network card against our own count.
#[derive(Clone, Debug, Serialize)]
pub struct InterfaceExtra {
    /// What was read.
    #[serde(flatten)]
    pub interface: Interface,
    /// `nic_bytes` minus `counted_bytes`, where both are known: positive means bytes went past us.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub residual_bytes: Option<i64>,
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
                interfaces: minute.interfaces.into_iter().map(InterfaceExtra::from).collect(),
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

/// What the cards sent and we did not see. Not known unless every card could be compared.
fn missed_bytes(interfaces: &[Interface]) -> Option<u64> {
    if interfaces.is_empty() {
        return None;
    }
    let mut missed: u64 = 0;
    for interface in interfaces {
        missed = missed.saturating_add(interface.nic_bytes?.saturating_sub(interface.counted_bytes?));
    }
    Some(missed)
}

impl From<Interface> for InterfaceExtra {
    fn from(interface: Interface) -> Self {
        let residual_bytes = match (interface.nic_bytes, interface.counted_bytes) {
            (Some(nic), Some(counted)) => {
                Some(i64::try_from(i128::from(nic) - i128::from(counted)).unwrap_or(i64::MAX))
            }
            _ => None,
        };
        Self { interface, residual_bytes }
    }
}
