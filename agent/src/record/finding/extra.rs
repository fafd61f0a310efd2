//! `unmapped.homeport` of a finding: what OCSF has no field for.

use std::net::IpAddr;

use serde::Serialize;

use crate::{
    alert::{Count, Destination, Episode},
    flow::{
        Volume,
        class::{OwnerClass, Place},
    },
    geo::{Answer, DatabaseId, Located, Source},
    record::{Loss, SCHEMA},
};

/// `unmapped.homeport` of a finding.
#[derive(Clone, Debug, Serialize)]
pub struct Extra {
    /// Version of this object.
    pub schema: u32,
    /// `transfer`, `attempt` or `exception`.
    pub kind: &'static str,
    /// `open`, `update` or `close`.
    pub transition: &'static str,
    /// Why it was updated or closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transition_reason: Option<&'static str>,
    /// Updates so far.
    pub updates: u32,
    /// `local`: we connected; `remote`: they connected and pull; `unknown`.
    pub initiator: &'static str,
    /// The rule that was broken, or `exception`, or `several`.
    pub rule: &'static str,
    /// The exception in use, exceeded or outlived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exception: Option<String>,
    /// Where it goes, as a group.
    pub place: PlaceExtra,
    /// Who sends.
    pub owner: OwnerExtra,
    /// How many processes took part.
    pub processes: CountExtra,
    /// How many destinations there were.
    pub destinations: CountExtra,
    /// The first destinations, in the order of `evidences`.
    pub destination_list: Vec<DestinationExtra>,
    /// Bytes to destinations beyond the list; absent when there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<BytesExtra>,
    /// Everything that left within the episode.
    pub bytes: BytesExtra,
    /// The part of `bytes` without any data: handshakes, acknowledgements, resets.
    pub control: BytesExtra,
    /// What left since the record before; equal to `bytes` in the first.
    pub bytes_since_last: BytesExtra,
    /// The policy that judged.
    pub policy: PolicyExtra,
    /// Why, in one sentence.
    pub reason: String,
    /// A socket is older than the agent: what left before the agent's start is not counted.
    pub pre_existing: bool,
    /// This episode collects what found no room of its own.
    pub catch_all: bool,
    /// What the agent lost since its start. Empty: nothing was lost.
    pub losses: Vec<Loss>,
}

/// A group of locations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlaceExtra {
    /// `country`, `site`, `private`, `local`, `unknown`, `disputed`, `anycast` or `several`.
    pub kind: &'static str,
    /// ISO 3166-1 alpha-2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Name of the site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
}

/// Who sends.
#[derive(Clone, Debug, Serialize)]
pub struct OwnerExtra {
    /// Unit or container, and the name of the executable: what episodes are grouped by.
    pub label: String,
    /// `process`, `kernel`, `forwarded`, `packet-socket` or `unowned`.
    pub class: &'static str,
    /// `exact`, `inherited`, `resolved` or `unknown`.
    pub quality: &'static str,
    /// systemd unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Container id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// cgroup2 path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// User who logged in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login_uid: Option<u32>,
}

/// A number that may be a lower bound.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CountExtra {
    /// The number.
    pub count: u32,
    /// There may be more.
    pub at_least: bool,
}

/// Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BytesExtra {
    /// Layer 3 bytes on the wire, retransmissions included.
    pub wire: u64,
    /// Layer 4 payload, retransmissions included.
    pub payload: u64,
    /// Packets on the wire.
    pub packets: u64,
}

/// One destination.
#[derive(Clone, Debug, Serialize)]
pub struct DestinationExtra {
    /// Its address.
    pub ip: String,
    /// What left for it.
    pub bytes: BytesExtra,
    /// Why we think it is there.
    pub geo: GeoExtra,
}

/// The evidence of a location.
#[derive(Clone, Debug, Serialize)]
pub struct GeoExtra {
    /// For people: `DE`, `site frankfurt (DE)`, `disputed (US, CA)`...
    pub location: String,
    /// The group.
    pub place: PlaceExtra,
    /// The address that was looked up.
    pub looked_up: String,
    /// How it was taken out of the destination's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<&'static str>,
    /// `site`, `override`, `special-range`, `anycast`, `database` or `nothing`.
    pub source: &'static str,
    /// The reason of an override, the name of a special range or anycast network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_detail: Option<String>,
    /// The deciding database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseExtra>,
    /// The prefix that matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Every database's answer.
    pub answers: Vec<AnswerExtra>,
}

/// A database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DatabaseExtra {
    /// File name, or the name of the embedded one.
    pub name: String,
    /// Its own type string.
    pub kind: String,
    /// When it was built, RFC 3339.
    pub built: String,
    /// SHA-256 of the file.
    pub sha256: String,
}

/// One database's answer.
#[derive(Clone, Debug, Serialize)]
pub struct AnswerExtra {
    /// Which.
    pub database: DatabaseExtra,
    /// Its country.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// The network of its record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Where the network is registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registered: Option<String>,
}

/// The policy that judged.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyExtra {
    /// Its name.
    pub name: String,
    /// The preset it is built on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<&'static str>,
    /// SHA-256 over the effective policy set.
    pub hash: String,
}

pub(super) fn extra(
    episode: &Episode,
    transition: &'static str,
    transition_reason: Option<&'static str>,
    exception: Option<String>,
    losses: Vec<Loss>,
) -> Extra {
    let owner = &episode.owner;
    Extra {
        schema: SCHEMA,
        kind: episode.kind.as_str(),
        transition,
        transition_reason,
        updates: episode.n_updates,
        initiator: episode.key.initiator.as_str(),
        rule: episode.key.cause.as_str(),
        exception,
        place: (&episode.key.place).into(),
        owner: OwnerExtra {
            label: episode.key.owner_label.to_string(),
            class: OwnerClass::of(owner).as_str(),
            quality: owner.quality.as_str(),
            unit: owner.workload.unit.as_deref().map(str::to_owned),
            container: owner.workload.container.as_deref().map(str::to_owned),
            cgroup: owner.workload.cgroup.as_deref().map(str::to_owned),
            login_uid: owner.process().and_then(|process| process.login_uid),
        },
        processes: episode.n_processes.into(),
        destinations: episode.n_destinations.into(),
        destination_list: episode.destinations.iter().map(DestinationExtra::from).collect(),
        elsewhere: (!episode.elsewhere.is_zero()).then(|| episode.elsewhere.into()),
        bytes: episode.tally.volume.into(),
        control: episode.tally.control.into(),
        bytes_since_last: episode.since_transition.into(),
        policy: PolicyExtra {
            name: episode.policy.name.to_string(),
            preset: episode.policy.preset,
            hash: episode.policy.hash.to_string(),
        },
        reason: episode.reason.to_string(),
        pre_existing: episode.pre_existing,
        catch_all: episode.key.is_catch_all(),
        losses,
    }
}

impl From<Volume> for BytesExtra {
    fn from(volume: Volume) -> Self {
        Self { wire: volume.wire_bytes, payload: volume.payload_bytes, packets: volume.packets }
    }
}

impl From<Count> for CountExtra {
    fn from(count: Count) -> Self {
        Self { count: count.value, at_least: count.at_least }
    }
}

impl From<&Place> for PlaceExtra {
    fn from(place: &Place) -> Self {
        Self {
            kind: place.kind(),
            country: place.country().map(|code| code.to_string()),
            site: match place {
                Place::Site { name, .. } => Some(name.to_string()),
                _ => None,
            },
        }
    }
}

impl From<&DatabaseId> for DatabaseExtra {
    fn from(database: &DatabaseId) -> Self {
        Self {
            name: database.name.to_string(),
            kind: database.kind.to_string(),
            built: database.built.to_string(),
            sha256: database.sha256.to_string(),
        }
    }
}

impl From<&Answer> for AnswerExtra {
    fn from(answer: &Answer) -> Self {
        Self {
            database: (&*answer.database).into(),
            country: answer.country.map(|code| code.to_string()),
            prefix: answer.prefix.map(|prefix| prefix.to_string()),
            registered: answer.registered.map(|code| code.to_string()),
        }
    }
}

impl From<&Destination> for DestinationExtra {
    fn from(destination: &Destination) -> Self {
        Self {
            ip: destination.address.to_string(),
            bytes: destination.volume.into(),
            geo: GeoExtra::new(&destination.located, destination.address),
        }
    }
}

impl GeoExtra {
    fn new(located: &Located, address: IpAddr) -> Self {
        let evidence = &located.evidence;
        let (source, source_detail) = match &evidence.source {
            Source::Site => ("site", None),
            Source::Override(reason) => ("override", Some(reason.to_string())),
            Source::SpecialRange(name) => ("special-range", Some((*name).to_owned())),
            Source::Anycast(name) => ("anycast", Some((*name).to_owned())),
            Source::Database(_) => ("database", None),
            Source::Nothing => ("nothing", None),
        };
        Self {
            location: located.location.to_string(),
            place: (&Place::of(&located.location)).into(),
            looked_up: evidence.looked_up(address).to_string(),
            via: evidence.via.map(|via| via.as_str()),
            source,
            source_detail,
            database: match &evidence.source {
                Source::Database(database) => Some((&**database).into()),
                _ => None,
            },
            prefix: evidence.prefix.map(|prefix| prefix.to_string()),
            answers: evidence.answers.iter().map(AnswerExtra::from).collect(),
        }
    }
}
