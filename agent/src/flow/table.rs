//! The bounded table of flows.
//!
//! The table stores and never judges: whoever calls [`FlowTable::observe`] passes a function that places and
//! judges. It is asked once per flow, for every reading of a flow that an exception touches (exceptions run out by
//! bytes and by date), and for every flow by [`FlowTable::rejudge`] when the policy or a database has changed.
//! Bytes are attributed to the verdict that was in force when they were observed; a later verdict never rewrites
//! a total.
//!
//! **When it is full**, closed flows leave first, then the ones idle the longest. When neither can be found, the
//! new flow gets no row: its readings are judged one by one, so it still raises alerts, and its bytes are in the
//! totals like any other, with a copy in [`FlowTable::overflow`] that says how much has no row. Invariant, tested
//! with generated input: bytes observed = sum of totals = rows + evicted + overflow.
//!
//! **Memory**: a row is at most 136 bytes on a 64-bit host (asserted below), and the hash map has 131,072 places
//! for up to 114,688 flows, which is the default: 17 MiB. Owners, locations and judgements are shared, not copied:
//! a location with its evidence (some 300 bytes) is kept once per network that a database tells apart, and so is a
//! judgement with its reason.

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use crate::{
    clock::KernelTime,
    flow::{
        FlowKey, Observation, Volume,
        class::{Class, OwnerClass, Place, Tally, Totals, VerdictClass},
        owners::Owners,
        shared::Shared,
    },
    geo::Located,
    policy::{Judgement, Verdict},
};

/// The price of a row, key included.
const MAX_ROW_BYTES: usize = 136;
const _: () = assert!(size_of::<(FlowKey, Flow)>() <= MAX_ROW_BYTES);

/// A search for rows to give up that found few is not repeated within this time: it reads the whole table.
const EVICTION_PAUSE: Duration = Duration::from_secs(1);

/// Bounds of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSettings {
    /// Rows at most.
    pub max_flows: usize,
    /// A flow without packets for this long leaves.
    pub idle_after: Duration,
    /// A full table gives up flows without packets for this long.
    pub pressed_idle_after: Duration,
    /// A closed flow stays visible for this long.
    pub closed_after: Duration,
}

impl Default for TableSettings {
    fn default() -> Self {
        Self {
            max_flows: 114_688,
            idle_after: Duration::from_secs(600),
            pressed_idle_after: Duration::from_secs(5),
            closed_after: Duration::from_secs(60),
        }
    }
}

/// A place and a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// Where it goes.
    pub located: Arc<Located>,
    /// Whether it may.
    pub judgement: Arc<Judgement>,
}

/// A reading with its place and verdict: the input of [`crate::alert`].
#[derive(Clone, Debug)]
pub struct Judged {
    /// The reading.
    pub observation: Observation,
    /// Place and verdict in force for it.
    pub assessment: Assessment,
    /// The flow was not in the table before.
    pub is_new: bool,
    /// Data had left on this flow before this reading. False when the flow has no row.
    pub had_payload: bool,
}

/// One flow's row.
#[derive(Clone, Debug)]
pub struct Flow {
    /// All bytes so far.
    pub total: Volume,
    /// Wire bytes of readings without payload.
    pub control_wire_bytes: u64,
    /// Wire bytes that left while the verdict was a violation.
    pub violating_wire_bytes: u64,
    /// First packet.
    pub first_seen: KernelTime,
    /// Latest reading with bytes.
    pub last_seen: KernelTime,
    /// Our address, if known.
    pub local: Option<IpAddr>,
    /// Our port in the latest reading.
    pub local_port: u16,
    /// Their port in the latest reading.
    pub remote_port: u16,
    /// Where it goes.
    pub located: Arc<Located>,
    /// Whether it may, as of now.
    pub judgement: Arc<Judgement>,
    /// A socket of it is older than the agent.
    pub pre_existing: bool,
    /// Its latest reading said the socket is gone.
    pub closed: bool,
}

/// What one row gives to another.
struct Given {
    volume: Volume,
    control_wire_bytes: u64,
    violating_wire_bytes: u64,
    first_seen: KernelTime,
}

/// A flow whose verdict or place changed.
#[derive(Clone, Debug)]
pub struct Rejudged {
    /// Which flow.
    pub key: FlowKey,
    /// Before.
    pub before: Assessment,
    /// From now on.
    pub after: Assessment,
}

/// What happened to the table, counted since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableCounters {
    /// Flows that got a row.
    pub added_flows: u64,
    /// Flows that left closed or idle, without need.
    pub retired_flows: u64,
    /// Flows that left because the table was full.
    pub evicted_flows: u64,
    /// Readings of flows that got no row. A flow without a row counts with every reading: telling such flows
    /// apart would need the memory that is missing.
    pub overflowed_readings: u64,
}

/// [`FlowKey`] with a shared owner, compared by address.
#[derive(Debug)]
struct Key(FlowKey);

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (&self.0, &other.0);
        Arc::ptr_eq(&a.owner, &b.owner)
            && (a.remote, a.protocol, a.service_port, a.initiator, a.sensor)
                == (b.remote, b.protocol, b.service_port, b.initiator, b.sensor)
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let key = &self.0;
        (Arc::as_ptr(&key.owner) as usize).hash(state);
        (key.remote, key.protocol, key.service_port, key.initiator, key.sensor).hash(state);
    }
}

/// See the module.
#[derive(Debug)]
pub struct FlowTable {
    settings: TableSettings,
    flows: HashMap<Key, Flow>,
    owners: Owners,
    judgements: Shared<Judgement>,
    places: Shared<Located>,
    interval: Totals,
    totals: Totals,
    overflow: Totals,
    evicted: Tally,
    counters: TableCounters,
    no_eviction_before: KernelTime,
}

impl FlowTable {
    /// An empty table.
    pub fn new(settings: TableSettings) -> Self {
        Self {
            settings,
            flows: HashMap::new(),
            owners: Owners::new(),
            judgements: Shared::new(),
            places: Shared::new(),
            interval: Totals::default(),
            totals: Totals::default(),
            overflow: Totals::default(),
            evicted: Tally::default(),
            counters: TableCounters::default(),
            no_eviction_before: KernelTime(0),
        }
    }

    /// Counts one reading and says under which verdict it left.
    pub fn observe(
        &mut self,
        mut observation: Observation,
        assess: impl FnOnce(&Observation) -> Assessment,
    ) -> Judged {
        observation.key.owner = self.owners.share(&observation.key.owner);
        let key = Key(observation.key.clone());
        let (assessment, is_new, had_payload) = match self.flows.get(&key) {
            // What ends without a byte uses no exception up.
            Some(flow) if observation.volume.is_zero() || !touched_by_exception(&flow.judgement) => {
                let assessment =
                    Assessment { located: Arc::clone(&flow.located), judgement: Arc::clone(&flow.judgement) };
                (assessment, false, flow.total.payload_bytes > 0)
            }
            Some(flow) => {
                let had_payload = flow.total.payload_bytes > 0;
                (self.shared(assess(&observation)), false, had_payload)
            }
            None => (self.shared(assess(&observation)), true, false),
        };

        let class = Class {
            owner: OwnerClass::of(&observation.key.owner),
            place: Place::of(&assessment.located.location),
            verdict: VerdictClass::of(&assessment.judgement.verdict),
        };
        let counts = !observation.volume.is_zero() && observation.key.sensor.is_counted();
        if counts {
            self.interval.count(class.clone(), observation.volume);
            self.totals.count(class.clone(), observation.volume);
        }

        if is_new && !self.has_room(observation.seen) {
            self.counters.overflowed_readings += 1;
            if counts {
                self.overflow.count(class, observation.volume);
            }
            return Judged { observation, assessment, is_new, had_payload };
        }
        if is_new {
            self.counters.added_flows += 1;
            self.flows.insert(key, Flow::new(&observation, &assessment));
        } else if let Some(flow) = self.flows.get_mut(&key) {
            flow.add(&observation, &assessment);
        }
        if self.owners.wants_cleanup() {
            self.owners.keep_only(self.flows.keys().map(|key| &key.0.owner));
        }
        Judged { observation, assessment, is_new, had_payload }
    }

    /// Moves part of a flow's volume to another: its owner turned out to be someone else. Totals keep the class
    /// under which the bytes were observed.
    pub fn move_volume(&mut self, from: &FlowKey, to: &FlowKey, volume: Volume) {
        let shared = |key: &FlowKey, owners: &mut Owners| {
            Key(FlowKey { owner: owners.share(&key.owner), ..key.clone() })
        };
        let (from, to) = (shared(from, &mut self.owners), shared(to, &mut self.owners));
        if from == to || !self.flows.contains_key(&to) {
            return;
        }
        let Some(source) = self.flows.get_mut(&from) else { return };
        let part = source.give(volume);
        if source.total.is_zero() {
            self.flows.remove(&from);
        }
        if let Some(target) = self.flows.get_mut(&to) {
            target.receive(part);
        }
    }

    /// Places and judges every flow again; returns those whose verdict or place changed.
    pub fn rejudge(&mut self, mut assess: impl FnMut(&FlowKey, &Flow) -> Assessment) -> Vec<Rejudged> {
        let mut changes = Vec::new();
        // The old ones go first, so that equal new ones are shared among themselves.
        (self.judgements, self.places) = (Shared::new(), Shared::new());
        for (key, flow) in &mut self.flows {
            let after = assess(&key.0, flow);
            let after = Assessment {
                located: self.places.share(after.located),
                judgement: self.judgements.share(after.judgement),
            };
            let before = Assessment {
                located: std::mem::replace(&mut flow.located, Arc::clone(&after.located)),
                judgement: std::mem::replace(&mut flow.judgement, Arc::clone(&after.judgement)),
            };
            if before.judgement.verdict != after.judgement.verdict
                || before.located.location != after.located.location
            {
                changes.push(Rejudged { key: key.0.clone(), before, after });
            }
        }
        changes
    }

    /// Lets closed and idle flows go. Reads the whole table: call it every few seconds, not per reading.
    pub fn retire(&mut self, now: KernelTime) {
        let settings = self.settings;
        let (evicted, counters) = (&mut self.evicted, &mut self.counters);
        self.flows.retain(|key, flow| {
            let quiet = now.since(flow.last_seen);
            let stays = quiet < settings.idle_after && !(flow.closed && quiet >= settings.closed_after);
            if !stays {
                counters.retired_flows += 1;
                if key.0.sensor.is_counted() {
                    evicted.add(flow.tally());
                }
            }
            stays
        });
    }

    /// Every flow with a row.
    pub fn iter(&self) -> impl Iterator<Item = (&FlowKey, &Flow)> {
        self.flows.iter().map(|(key, flow)| (&key.0, flow))
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Bytes per class since the last call, for the interval record.
    pub fn take_interval(&mut self) -> Totals {
        std::mem::take(&mut self.interval)
    }

    /// Bytes per class since the last [`Self::take_interval`].
    pub const fn interval(&self) -> &Totals {
        &self.interval
    }

    /// Goes on with an interval that an agent before this one began.
    pub fn restore_interval(&mut self, interval: Totals) {
        self.interval = interval;
    }

    /// Bytes per class since start.
    pub const fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The part of [`Self::totals`] whose flows found no row.
    pub const fn overflow(&self) -> &Totals {
        &self.overflow
    }

    /// The part of [`Self::totals`] whose flows have left the table.
    pub const fn evicted(&self) -> Tally {
        self.evicted
    }

    /// What happened so far.
    pub const fn counters(&self) -> TableCounters {
        self.counters
    }

    fn has_room(&mut self, now: KernelTime) -> bool {
        if self.flows.len() < self.settings.max_flows {
            return true;
        }
        if now < self.no_eviction_before {
            return false;
        }
        let quota = (self.settings.max_flows / 16).max(1);
        if self.evict(now, quota) < quota {
            // What little was found would soon be used up, and the search with it repeated.
            self.no_eviction_before = now + EVICTION_PAUSE;
        }
        self.flows.len() < self.settings.max_flows
    }

    /// Gives up to `quota` rows to newcomers: closed ones first, then the ones idle the longest. Returns how many.
    fn evict(&mut self, now: KernelTime, quota: usize) -> usize {
        let idle_after = self.settings.pressed_idle_after;
        let mut candidates: Vec<(bool, KernelTime)> = self
            .flows
            .values()
            .filter(|flow| flow.closed || now.since(flow.last_seen) >= idle_after)
            .map(|flow| (!flow.closed, flow.last_seen))
            .collect();
        if candidates.is_empty() {
            return 0;
        }
        let nth = quota.min(candidates.len()) - 1;
        let (_, &mut limit, _) = candidates.select_nth_unstable(nth);
        let (evicted, counters) = (&mut self.evicted, &mut self.counters);
        let mut left = quota;
        self.flows.retain(|key, flow| {
            let is_candidate = flow.closed || now.since(flow.last_seen) >= idle_after;
            if left == 0 || !is_candidate || (!flow.closed, flow.last_seen) > limit {
                return true;
            }
            left -= 1;
            counters.evicted_flows += 1;
            if key.0.sensor.is_counted() {
                evicted.add(flow.tally());
            }
            false
        });
        quota - left
    }

    fn shared(&mut self, assessment: Assessment) -> Assessment {
        Assessment {
            located: self.places.share(assessment.located),
            judgement: self.judgements.share(assessment.judgement),
        }
    }
}

impl Flow {
    fn new(observation: &Observation, assessment: &Assessment) -> Self {
        let mut flow = Self {
            total: Volume::default(),
            control_wire_bytes: 0,
            violating_wire_bytes: 0,
            first_seen: observation.first_seen,
            last_seen: observation.seen,
            local: observation.local,
            local_port: observation.local_port,
            remote_port: observation.remote_port,
            located: Arc::clone(&assessment.located),
            judgement: Arc::clone(&assessment.judgement),
            pre_existing: observation.pre_existing,
            closed: observation.closed,
        };
        flow.add(observation, assessment);
        flow
    }

    fn add(&mut self, observation: &Observation, assessment: &Assessment) {
        let volume = observation.volume;
        self.total.add(volume);
        if volume.payload_bytes == 0 {
            self.control_wire_bytes = self.control_wire_bytes.saturating_add(volume.wire_bytes);
        }
        if matches!(assessment.judgement.verdict, Verdict::Violation { .. }) {
            self.violating_wire_bytes = self.violating_wire_bytes.saturating_add(volume.wire_bytes);
        }
        if !volume.is_zero() {
            self.last_seen = self.last_seen.max(observation.seen);
        }
        self.first_seen = self.first_seen.min(observation.first_seen);
        self.local = observation.local.or(self.local);
        self.local_port = observation.local_port;
        self.remote_port = observation.remote_port;
        self.pre_existing |= observation.pre_existing;
        self.closed = observation.closed;
        self.located = Arc::clone(&assessment.located);
        self.judgement = Arc::clone(&assessment.judgement);
    }

    /// Gives up at most `volume`, and as much of what was counted apart.
    fn give(&mut self, volume: Volume) -> Given {
        let part = Volume {
            wire_bytes: volume.wire_bytes.min(self.total.wire_bytes),
            payload_bytes: volume.payload_bytes.min(self.total.payload_bytes),
            packets: volume.packets.min(self.total.packets),
        };
        self.total.wire_bytes -= part.wire_bytes;
        self.total.payload_bytes -= part.payload_bytes;
        self.total.packets -= part.packets;
        let take = |counter: &mut u64| {
            // Never more apart than there is in all.
            let taken = counter.saturating_sub(self.total.wire_bytes);
            *counter -= taken;
            taken
        };
        Given {
            volume: part,
            control_wire_bytes: take(&mut self.control_wire_bytes),
            violating_wire_bytes: take(&mut self.violating_wire_bytes),
            first_seen: self.first_seen,
        }
    }

    fn receive(&mut self, part: Given) {
        self.total.add(part.volume);
        self.control_wire_bytes = self.control_wire_bytes.saturating_add(part.control_wire_bytes);
        self.violating_wire_bytes = self.violating_wire_bytes.saturating_add(part.violating_wire_bytes);
        self.first_seen = self.first_seen.min(part.first_seen);
    }

    /// Packets of control readings are not kept per flow; only the bytes are.
    const fn tally(&self) -> Tally {
        Tally {
            volume: self.total,
            control: Volume { wire_bytes: self.control_wire_bytes, payload_bytes: 0, packets: 0 },
        }
    }
}

/// An exception runs out by bytes and by date, so its verdict holds for one reading only.
fn touched_by_exception(judgement: &Judgement) -> bool {
    match &judgement.verdict {
        Verdict::Approved => false,
        Verdict::Excepted { .. } => true,
        Verdict::Violation { exception, .. } => exception.is_some(),
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
