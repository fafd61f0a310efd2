//! Readings become observations, are judged, and become alerts.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use homeport_ebpf::{
    aside::{
        AsideKey, AsideValue, CLASS_CONTROL, CLASS_FORWARDED, CLASS_KERNEL, CLASS_OVERFLOW, CLASS_PACKET,
        CLASS_TIME_WAIT, CLASS_TUNNEL, ELSEWHERE, is_outside,
    },
    event::{FLOW_BYTES, FLOW_OWNER},
    slot::{INITIATOR_UNKNOWN, QUALITY_SENDER, WAY_DIRECT, WAY_TUNNEL},
};

use super::{App, outbox::Told, roles, stays::Fate, sweep_time::SweepTime};
use crate::{
    alert::{ExceptionLedger, Kind, Transition},
    clock::{KernelTime, WallTime},
    flow::{
        Actor, FlowKey, Initiator, Observation, Owner, Protocol, Quality, Sensor, Volume, Workload,
        table::Assessment,
    },
    geo::{Locate as _, locator::Locator},
    policy::{Judge as _, PolicySet, Subject, Verdict},
    probe::{Asides, Origin, ProbeError, Reading, address, links::Links},
    record::{finding, person},
};

/// How long the first payload of a socket waits for the name of the task that really sends it. The name is told
/// when the send call returns, microseconds after the packet; whatever has none by then (the kernel's own sockets,
/// senders blocked in one long call) is taken with the owner known so far.
const OWNER_GRACE: Duration = Duration::from_millis(5);

/// Destinations that the kernel side is told to be silent about. The map there is as large.
pub(super) const MAX_KNOWN: usize = 16_384;

/// What is left in a ring after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ring {
    /// Nothing, after so many events; the kernel tells when that changes.
    Empty { taken: usize },
    /// Perhaps something, of which the kernel will not tell again.
    More,
}

impl App {
    pub(super) fn take_host_events(&mut self) {
        while let Some(event) = self.probe.next_host_event() {
            self.owners.observe(&event);
        }
    }

    pub(super) fn take_flow_events(&mut self) -> Ring {
        /// Events taken before others get their turn: the sweep, signals, the watchdog.
        const TURN: usize = 4096;
        let now = KernelTime::now();
        for taken in 0..TURN {
            let Some(event) = self.probe.next_flow_event() else { return Ring::Empty { taken } };
            match event.kind {
                FLOW_BYTES => {
                    let exact = !self.probe.tells_sender()
                        || self.probe.owner_quality(event.slot, event.generation) == Some(QUALITY_SENDER);
                    if exact {
                        self.take_slot(event.slot, event.generation, now);
                    } else if self.waiting_slots.insert(event.slot) {
                        self.waiting.push_back((now + OWNER_GRACE, event.slot, event.generation));
                    }
                }
                FLOW_OWNER
                    if self.waiting_slots.remove(&event.slot)
                        || self.provisional.contains_key(&event.slot) =>
                {
                    self.take_slot(event.slot, event.generation, now);
                }
                _ => {}
            }
        }
        Ring::More
    }

    /// When the next slot has waited long enough.
    pub(super) fn next_wait(&self) -> Option<KernelTime> {
        self.waiting.front().map(|(due, _, _)| *due)
    }

    pub(super) fn take_waiting(&mut self, now: KernelTime) {
        while let Some(&(due, slot, generation)) = self.waiting.front()
            && due <= now
        {
            self.waiting.pop_front();
            if self.waiting_slots.remove(&slot) {
                self.take_slot(slot, generation, now);
            }
        }
    }

    fn take_slot(&mut self, slot: u32, generation: u32, now: KernelTime) {
        if self.waits_for_sweep(slot, generation) {
            return;
        }
        if let Some(reading) = self.probe.read_slot(slot, generation, now) {
            self.take_reading(&reading, now);
        }
    }

    /// Once a second: everything that grew, whatever was told or lost in between.
    pub(super) async fn sweep(&mut self, links: &Links) {
        self.take_host_events();
        let now = KernelTime::now();
        self.look_at_clock();
        let started = SweepTime::now();
        let mut reading_took = SweepTime::default();
        let socket_before = self.socket_bytes();
        let asides = self.sweep_slots(now, &mut reading_took);
        self.settle_stays(now);
        match asides {
            Ok(asides) => {
                self.take_asides(asides, now);
                self.recovered("kernel-maps");
            }
            Err(error) => self.degraded("kernel-maps", &error.to_string()),
        }
        let transitions = self.episodes.tick(now);
        self.publish(transitions);
        self.edges.destinations.retire();
        self.table.retire(now);
        self.owners.retire(now);
        if self.count_links(links).await {
            self.edges.look_at_owners(socket_before, crate::probe::discards::read().ok());
        }
        self.look_at_attachments(links).await;
        self.look_at_selftest(now);
        self.look_at_conditions();
        self.look_at_sinks();
        self.look_at_witnesses();
        self.sweeps.took(started.passed(), reading_took);
        if now.since(self.minute.started) >= self.config.records.interval {
            self.record_minute(WallTime::now());
        }
        self.swept = true;
    }

    /// Reads the kernel's counters and takes what grew, in portions: all readings of 100,000 flows at once would be
    /// the largest thing in memory.
    fn sweep_slots(&mut self, now: KernelTime, took: &mut SweepTime) -> Result<Asides, ProbeError> {
        let mut readings = std::mem::take(&mut self.readings);
        let mut next = Some(0);
        while let Some(from) = next {
            let waiting = &self.waiting_slots;
            let started = SweepTime::now();
            let result = self.probe.sweep(
                from,
                now,
                |slot| !waiting.contains(&slot),
                |reading| readings.push(reading),
            );
            took.add(started.passed());
            for reading in readings.drain(..) {
                self.take_or_put_aside(reading, now);
            }
            next = result;
        }
        self.readings = readings;
        let started = SweepTime::now();
        let asides = self.probe.sweep_asides()?;
        took.add(started.passed());
        Ok(asides)
    }

    pub(super) fn take_reading(&mut self, reading: &Reading, now: KernelTime) {
        let (hot, cold) = (&reading.hot, &reading.cold);
        let protocol = Protocol(hot.protocol);
        let remote = SocketAddr::new(address(hot.remote), port(protocol, hot.remote_port));
        let local = SocketAddr::new(address(cold.local), port(protocol, cold.local_port));
        let mut owner = self.owners.owner(&cold.owner, cold.quality, cold.socket_cgroup_id, protocol);
        let older = self.older.find(cold.cookie, protocol, (local, remote));
        let accepted = if older.is_none() && cold.initiator == INITIATOR_UNKNOWN {
            self.older.listener(cold.netns, protocol, local)
        } else {
            None
        };
        if cold.owner.pid == 0
            && let Some(socket) = older.or(accepted)
            && let Some(holder) = self.older.holder(socket).filter(|holder| holder.pid != 0)
        {
            match self.owners.resolved(holder, cold.socket_cgroup_id) {
                Some(resolved) => owner = resolved,
                None => self.older.forget_holder(socket),
            }
        }
        if reading.closed {
            self.older.forget(cold.cookie);
        }
        if matches!(protocol, Protocol::TCP | Protocol::UDP) {
            owner = self.owners.serving(owner, local.port(), remote.port());
        }
        let initiator = roles::initiator(
            cold.initiator,
            older.or(accepted).map(|socket| socket.initiator),
            protocol,
            (local, remote),
            &owner,
            &self.ephemeral_ports,
        );
        let service_port = roles::service_port(initiator, (local, remote), &self.ephemeral_ports);
        // What goes into a tunnel of this host is counted at the edge by its outer frames.
        let inner = self.is_wrapped(cold);
        let observation = Observation {
            key: FlowKey {
                owner,
                remote: remote.ip(),
                protocol,
                service_port,
                initiator,
                sensor: if inner { Sensor::Tunnel } else { Sensor::Socket },
            },
            local: (!local.ip().is_unspecified()).then(|| local.ip()),
            local_port: local.port(),
            remote_port: remote.port(),
            volume: reading.volume,
            // What an agent before this one left uncounted may be as old as the socket.
            first_seen: reading.since.unwrap_or(KernelTime(cold.first_ns)),
            seen: now,
            // What was counted from its first packet on has nothing missing, whichever agent was there.
            pre_existing: older.is_some() && self.is_new_to_us(cold.first_ns),
            closed: reading.closed,
        };
        let elsewhere = self.is_elsewhere(cold);
        // A card that is in another namespace is no edge of ours.
        let passes_edge = elsewhere
            && (cold.way != WAY_DIRECT || self.edges.destinations.has_forwarded(observation.key.remote));
        if inner || passes_edge {
            self.stays.has_outside(observation.volume.wire_bytes);
        }
        if elsewhere && !inner {
            self.edges.attributed_elsewhere(observation.key.remote, observation.volume);
        } else if !inner {
            let has_owner = observation.key.owner.actor != Actor::Unowned;
            self.edges.attributed(cold.ifindex, observation.volume.wire_bytes, has_owner);
        }
        if self.selftest.is_mine(&observation) {
            self.take_selftest(observation, now);
            return;
        }
        let (key, volume) = (observation.key.clone(), observation.volume);
        let approved = self.take_observation(observation, reading.resumed, now);
        if reading.drained {
            return;
        }
        self.probe.set_quiet(reading.slot, reading.generation, approved);
        self.correct_owner(reading, key, volume);
    }

    /// What was counted for a provisional owner belongs to the task that is now known to have sent it.
    ///
    /// On a busy machine a task may be interrupted between its packet and the end of its call, for longer than
    /// anybody should wait for a name.
    fn correct_owner(&mut self, reading: &Reading, key: FlowKey, volume: Volume) {
        if !self.probe.tells_sender() {
            return;
        }
        let earlier = match self.provisional.remove(&reading.slot) {
            Some((generation, key, volume)) if generation == reading.generation => Some((key, volume)),
            Some(_) | None => None,
        };
        if reading.cold.quality == QUALITY_SENDER {
            if let Some((from, volume)) = earlier {
                self.table.move_volume(&from, &key, volume);
            }
        } else if !reading.closed {
            let mut sum = earlier.map(|(_, volume)| volume).unwrap_or_default();
            sum.add(volume);
            self.provisional.insert(reading.slot, (reading.generation, key, sum));
        }
    }

    /// Whether nothing counted a socket before this agent, as far as can be known.
    fn is_new_to_us(&self, first_ns: u64) -> bool {
        match self.probe.origin() {
            // Its slot is new because the maps are.
            Origin::Resumed { replaced: true, .. } => false,
            Origin::Resumed { replaced: false, .. } => first_ns >= self.born.0,
            Origin::Fresh | Origin::Unusable(_) => true,
        }
    }

    /// Reads out what an agent with other maps has left, once all programs are ours.
    pub(super) async fn drain(&mut self) {
        if !self.probe.has_earlier() {
            return;
        }
        // The programs of the other side have ended by then.
        tokio::time::sleep(super::TURN).await;
        let now = KernelTime::now();
        let mut readings = Vec::new();
        let result = self.probe.drain(|reading| readings.push(reading));
        let mut bytes: u64 = readings.iter().map(|reading| reading.volume.wire_bytes).sum();
        for reading in readings {
            self.take_or_put_aside(reading, now);
        }
        self.settle_stays(now);
        match result {
            Ok(asides) => {
                let entries = asides.entries.iter();
                bytes = entries.fold(bytes, |sum, (_, value)| sum.saturating_add(value.wire_bytes));
                self.take_asides(asides, now);
                tracing::info!(bytes, "read out the maps of a build with another layout");
            }
            Err(error) => self.degraded("kernel-maps", &error.to_string()),
        }
        if let Some(resumed) = &mut self.resumed {
            resumed.bytes = resumed.bytes.saturating_add(bytes);
        }
    }

    /// Bytes without a slot. Forwarded ones last: they are compared with what sockets of other namespaces sent.
    fn take_asides(&mut self, asides: Asides, now: KernelTime) {
        let (forwarded, sent): (Vec<_>, Vec<_>) =
            asides.entries.into_iter().partition(|(key, _)| key.class == CLASS_FORWARDED);
        for (key, value) in sent.into_iter().chain(forwarded) {
            self.take_aside(&key, &value, now);
        }
    }

    /// Bytes without a slot: control packets, overflow, frames without a local socket.
    fn take_aside(&mut self, key: &AsideKey, value: &AsideValue, now: KernelTime) {
        let is_wrapped = match self.aside_fate(key) {
            Fate::Stayed => return self.edges.stayed(value.wire_bytes),
            Fate::Wrapped => true,
            Fate::Left => {
                key.way == WAY_TUNNEL || (key.ifindex != ELSEWHERE && self.edges.wraps(key.ifindex))
            }
        };
        let protocol = Protocol(key.protocol);
        let mut volume = Volume {
            wire_bytes: value.wire_bytes,
            payload_bytes: value.payload_bytes,
            packets: value.packets,
        };
        if key.class == CLASS_FORWARDED {
            let are_told = self.own_netns.is_some();
            volume = self.edges.destinations.unattributed(address(key.remote), volume, are_told);
            if volume.is_zero() {
                return;
            }
        }
        let socket = if is_wrapped { Sensor::Tunnel } else { Sensor::Socket };
        let (actor, sensor, initiator) = match key.class {
            CLASS_CONTROL | CLASS_TIME_WAIT if protocol == Protocol::TCP => {
                (Actor::Kernel("tcp".into()), socket, Initiator::Remote)
            }
            CLASS_TUNNEL => {
                (Actor::Kernel(tunnel_name(protocol).into()), Sensor::Interface, Initiator::Unknown)
            }
            CLASS_KERNEL => {
                let initiator =
                    if protocol == Protocol::TCP { Initiator::Remote } else { Initiator::Unknown };
                (kernel_actor(protocol), Sensor::Interface, initiator)
            }
            CLASS_FORWARDED => (Actor::Forwarded, Sensor::Interface, Initiator::Unknown),
            CLASS_PACKET => (Actor::PacketSocket, Sensor::Interface, Initiator::Unknown),
            CLASS_OVERFLOW => (Actor::Unowned, socket, Initiator::Unknown),
            _ => (Actor::Unowned, socket, Initiator::Unknown),
        };
        match key.class {
            _ if is_wrapped => {}
            CLASS_CONTROL | CLASS_OVERFLOW if key.ifindex == ELSEWHERE => {
                self.edges.attributed_elsewhere(address(key.remote), volume);
            }
            // Outer packets are in a term of their own.
            CLASS_KERNEL if is_outside(key.protocol) => {}
            CLASS_CONTROL | CLASS_KERNEL => self.edges.attributed(key.ifindex, volume.wire_bytes, true),
            CLASS_OVERFLOW => self.edges.attributed(key.ifindex, volume.wire_bytes, false),
            _ => {}
        }
        let owner = Owner { actor, workload: Workload::default(), quality: Quality::Unknown };
        let observation = Observation {
            key: FlowKey {
                owner: Arc::new(owner),
                remote: address(key.remote),
                protocol,
                service_port: 0,
                initiator,
                sensor,
            },
            local: None,
            local_port: 0,
            remote_port: 0,
            volume,
            first_seen: now,
            seen: now,
            pre_existing: false,
            closed: false,
        };
        self.take_observation(observation, false, now);
    }

    /// Counts, judges, alerts. Returns whether the flow is approved. `resumed`: an agent before this one knew it.
    fn take_observation(&mut self, observation: Observation, resumed: bool, now: KernelTime) -> bool {
        let (locator, policies, exceptions) = (&self.locator, &self.policies, &mut self.exceptions);
        let wall = WallTime::now();
        let remote = observation.key.remote;
        let mut judged = self.table.observe(observation, |observation| {
            let located = Arc::new(locator.locate(observation.key.remote));
            let subject = Subject {
                owner: &observation.key.owner,
                remote: observation.key.remote,
                located: &located,
                protocol: observation.key.protocol,
                local_port: observation.local_port,
                remote_port: observation.remote_port,
                initiator: observation.key.initiator,
            };
            let judgement = exceptions.judge(&**policies, &subject, observation.volume, wall);
            Assessment { located, judgement: Arc::new(judgement) }
        });
        // The row of the flow is new, but the conversation is not: its acknowledgements are no attempt to connect.
        judged.had_payload |= resumed;
        let approved = judged.assessment.judgement.verdict == Verdict::Approved;
        if approved {
            if judged.is_new {
                self.remember_known(remote, wall);
            }
        } else {
            let transition = self.episodes.observe(&judged, now);
            self.publish(transition);
        }
        approved
    }

    /// When every policy approves a destination for everybody, the kernel side need not tell of it.
    fn remember_known(&mut self, remote: IpAddr, now: WallTime) {
        if self.known.len() >= MAX_KNOWN || self.known.contains(&remote) {
            return;
        }
        let located = self.locator.locate(remote);
        let nobody = Owner::unowned();
        let subject = Subject {
            owner: &nobody,
            remote,
            located: &located,
            protocol: Protocol::TCP,
            local_port: 0,
            remote_port: 0,
            initiator: Initiator::Unknown,
        };
        let for_everybody = self.policies.policies().all(|policy| {
            let judgement = self.policies.judge_under(&policy.name, &subject, &self.exceptions, now);
            judgement.is_some_and(|judgement| judgement.verdict == Verdict::Approved)
        });
        if for_everybody {
            self.known.insert(remote);
            self.probe.know(remote);
        }
    }

    /// Turns transitions into records, and into lines for people once they are durable.
    pub(super) fn publish(&mut self, transitions: impl IntoIterator<Item = Transition>) {
        for transition in transitions {
            let losses = self.minute.losses.clone();
            let record = finding::finding(&self.context(), &transition, losses);
            let line = person::line(&self.context(), &transition);
            let paragraph = match (&self.options.person, &transition) {
                (Some(style), Transition::Open(_) | Transition::Close(..)) => {
                    Some(person::paragraph(&self.context(), &transition, *style))
                }
                (Some(_), Transition::Update(..)) | (None, _) => None,
            };
            let is_alert = transition.episode().kind != Kind::Exception;
            self.outbox.send(record, Some(Told { line, paragraph, is_alert, confirm: None }));
        }
    }
}

/// Judges under what is in force now, without counting the bytes again.
pub(super) fn assess(
    (locator, policies, exceptions): (&Locator, &PolicySet, &ExceptionLedger),
    key: &FlowKey,
    (local_port, remote_port): (u16, u16),
    now: WallTime,
) -> Assessment {
    let located = Arc::new(locator.locate(key.remote));
    let subject = Subject {
        owner: &key.owner,
        remote: key.remote,
        located: &located,
        protocol: key.protocol,
        local_port,
        remote_port,
        initiator: key.initiator,
    };
    let judgement = Arc::new(policies.judge(&subject, exceptions, now));
    Assessment { located, judgement }
}

/// What the outside of a tunnel is called, by the protocol of its outer packets.
const fn tunnel_name(protocol: Protocol) -> &'static str {
    match protocol.0 {
        4 => "ipip",
        17 => "udp-tunnel",
        41 => "ip6-tunnel",
        47 => "gre",
        50 => "esp",
        115 => "l2tp",
        _ => "tunnel",
    }
}

/// The part of the kernel that makes packets of a protocol without a socket.
fn kernel_actor(protocol: Protocol) -> Actor {
    match protocol {
        Protocol::TCP => Actor::Kernel("tcp".into()),
        Protocol::ICMP | Protocol::ICMPV6 => Actor::Kernel("icmp".into()),
        Protocol(2) => Actor::Kernel("igmp".into()),
        // What it puts into a tunnel of its own accord: keys, questions for addresses.
        _ => Actor::Kernel(tunnel_name(protocol).into()),
    }
}

/// ICMP has types where others have ports.
fn port(protocol: Protocol, bytes: [u8; 2]) -> u16 {
    match protocol {
        Protocol::ICMP | Protocol::ICMPV6 => 0,
        _ => u16::from_be_bytes(bytes),
    }
}
