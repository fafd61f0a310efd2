//! One episode: what is known of it, and how readings are added.

use std::{collections::HashSet, hash::Hash, net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    alert::{Cause, Kind, Level},
    clock::KernelTime,
    flow::{
        Initiator, Owner, Protocol, Volume,
        class::{Place, Tally},
        table::Judged,
    },
    geo::Located,
    policy::{Judgement, PolicyId},
};

/// Destinations an episode names one by one; the bytes of further ones are kept in one sum.
///
/// The record of an episode must stay below 64 KiB, and a destination with its location evidence takes up to
/// 1.5 KiB of it.
pub const MAX_DESTINATIONS: usize = 16;

/// Distinct things an episode counts exactly; beyond this the number is a lower bound.
///
/// With 4,096 open episodes that each see more than this, the sets take about 40 MiB at worst.
pub(super) const MAX_DISTINCT: usize = 256;

/// What makes two readings the same episode.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EpisodeKey {
    /// Name of the policy.
    pub policy: Arc<str>,
    /// [`Owner::label`]: unit and executable name, never a pid. `*` in the catch-all episode of a policy.
    pub owner_label: Arc<str>,
    /// Where to.
    pub place: Place,
    /// Who opened.
    pub initiator: Initiator,
    /// Why.
    pub cause: Cause,
}

impl EpisodeKey {
    pub(super) fn new(
        owner: &Owner,
        initiator: Initiator,
        located: &Located,
        judgement: &Judgement,
        cause: Cause,
    ) -> Self {
        Self {
            policy: Arc::clone(&judgement.policy.name),
            owner_label: owner.label().into(),
            place: Place::of(&located.location),
            initiator,
            cause,
        }
    }

    /// Where readings go when there is no room for their own episode.
    pub(super) fn catch_all(&self) -> Self {
        let cause = match &self.cause {
            Cause::Exception { .. } => Cause::Exception { id: "*".into() },
            Cause::Rule { .. } | Cause::Several => Cause::Several,
        };
        Self {
            policy: Arc::clone(&self.policy),
            owner_label: "*".into(),
            place: Place::Several,
            initiator: Initiator::Unknown,
            cause,
        }
    }

    /// True for the episode that collects what found no room.
    pub fn is_catch_all(&self) -> bool {
        self.place == Place::Several
    }
}

/// What makes episode ids of different hosts and boots different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Stable id of the host.
    pub host: Arc<str>,
    /// Id of this boot: kernel time starts again with each.
    pub boot: Arc<str>,
}

/// How many distinct ones, exact up to a bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// The number.
    pub value: u32,
    /// There may be more.
    pub at_least: bool,
}

/// One destination of an episode.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Destination {
    /// Its address.
    pub address: IpAddr,
    /// The port seen first; zero without ports.
    pub port: u16,
    /// Our address seen first, if known.
    pub local: Option<IpAddr>,
    /// Our port seen first.
    pub local_port: u16,
    /// IP protocol seen first.
    pub protocol: Protocol,
    /// Where it is.
    pub located: Arc<Located>,
    /// What left for it within this episode.
    pub volume: Volume,
}

/// A finding with a life: what it says at one moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Episode {
    /// Stable and unique: 32 hexadecimal digits of a hash over host, boot, key and first packet.
    pub id: Arc<str>,
    /// What groups it.
    pub key: EpisodeKey,
    /// What kind of finding.
    pub kind: Kind,
    /// The highest level so far.
    pub level: Level,
    /// The policy, with its hash, as of the latest reading.
    pub policy: Arc<PolicyId>,
    /// Why, as the policy put it for the reading that opened the episode or raised its level.
    pub reason: Arc<str>,
    /// Owner of the first offending flow.
    pub owner: Arc<Owner>,
    /// How many processes took part.
    pub n_processes: Count,
    /// The well-known port of the first offending flow.
    pub service_port: u16,
    /// The first [`MAX_DESTINATIONS`] destinations, in order of appearance.
    pub destinations: Vec<Destination>,
    /// How many destinations there were.
    pub n_destinations: Count,
    /// What left for destinations beyond those listed.
    pub elsewhere: Volume,
    /// Everything that left, and the part of it without data.
    pub tally: Tally,
    /// What left since the last transition.
    pub since_transition: Volume,
    /// First packet.
    pub first_seen: KernelTime,
    /// Latest reading with bytes.
    pub last_seen: KernelTime,
    /// Transitions so far that were updates.
    pub n_updates: u32,
    /// A socket of it is older than the agent: bytes before the agent's start are not in it.
    pub pre_existing: bool,
}

/// What an open episode remembers beyond what it tells.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Distinct {
    processes: Bounded<(u32, u64)>,
    destinations: Bounded<IpAddr>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de> + Eq + Hash"))]
struct Bounded<T> {
    seen: HashSet<T>,
    at_least: bool,
}

impl<T> Default for Bounded<T> {
    fn default() -> Self {
        Self { seen: HashSet::new(), at_least: false }
    }
}

impl<T: Eq + Hash> Bounded<T> {
    fn add(&mut self, item: T) {
        if self.seen.len() < MAX_DISTINCT {
            self.seen.insert(item);
        } else if !self.seen.contains(&item) {
            self.at_least = true;
        }
    }

    fn count(&self) -> Count {
        Count { value: self.seen.len() as u32, at_least: self.at_least }
    }
}

impl Episode {
    pub(super) fn new(
        identity: &Identity,
        key: EpisodeKey,
        kind: Kind,
        level: Level,
        judged: &Judged,
    ) -> Self {
        let observation = &judged.observation;
        Self {
            id: id(identity, &key, observation.first_seen),
            key,
            kind,
            level,
            policy: Arc::clone(&judged.assessment.judgement.policy),
            reason: judged.assessment.judgement.sentence(observation.key.remote).into(),
            owner: Arc::clone(&observation.key.owner),
            n_processes: Count::default(),
            service_port: observation.key.service_port,
            destinations: Vec::new(),
            n_destinations: Count::default(),
            elsewhere: Volume::default(),
            tally: Tally::default(),
            since_transition: Volume::default(),
            first_seen: observation.first_seen,
            last_seen: observation.seen,
            n_updates: 0,
            pre_existing: false,
        }
    }

    /// Adds one reading.
    pub(super) fn add(&mut self, distinct: &mut Distinct, judged: &Judged) {
        let observation = &judged.observation;
        let volume = observation.volume;
        self.policy = Arc::clone(&judged.assessment.judgement.policy);
        self.tally.count(volume);
        self.since_transition.add(volume);
        self.first_seen = self.first_seen.min(observation.first_seen);
        if !volume.is_zero() {
            self.last_seen = self.last_seen.max(observation.seen);
        }
        self.pre_existing |= observation.pre_existing;
        if let Some(process) = observation.key.owner.process() {
            distinct.processes.add((process.pid, process.start_boot_ns));
            self.n_processes = distinct.processes.count();
        }

        let address = observation.key.remote;
        distinct.destinations.add(address);
        self.n_destinations = distinct.destinations.count();
        if let Some(known) = self.destinations.iter_mut().find(|known| known.address == address) {
            known.volume.add(volume);
        } else if self.destinations.len() < MAX_DESTINATIONS {
            self.destinations.push(Destination {
                address,
                port: observation.remote_port,
                local: observation.local,
                local_port: observation.local_port,
                protocol: observation.key.protocol,
                located: Arc::clone(&judged.assessment.located),
                volume,
            });
        } else {
            self.elsewhere.add(volume);
        }
    }

    /// Raises the level and takes the reason for it along; true when it was a raise.
    pub(super) fn raise(&mut self, level: Level, judged: &Judged) -> bool {
        if level <= self.level {
            return false;
        }
        self.level = level;
        let remote = judged.observation.key.remote;
        self.reason = judged.assessment.judgement.sentence(remote).into();
        true
    }
}

/// Hash of everything that tells one episode from another.
///
/// The first packet's time is part of it, so an episode that opens again under the same key is another one.
fn id(identity: &Identity, key: &EpisodeKey, first_seen: KernelTime) -> Arc<str> {
    let mut hash = Sha256::new();
    let exception = key.cause.exception().map_or("", |id| id);
    let parts: [&str; 8] = [
        &identity.host,
        &identity.boot,
        &key.policy,
        &key.owner_label,
        &key.place.to_string(),
        key.initiator.as_str(),
        key.cause.as_str(),
        exception,
    ];
    for part in parts {
        // The length goes first, so that no two lists of parts read the same.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.update(first_seen.0.to_be_bytes());
    let digest = hash.finalize();
    let mut text = String::with_capacity(32);
    for byte in digest.iter().take(16) {
        text.push_str(&format!("{byte:02x}"));
    }
    text.into()
}
