//! The edge of the host: interface programs follow the interfaces as they come and go, and the counters of the
//! drivers are read beside our own.
//!
//! Frames without a local socket that pass the edge were either sent by a socket in another network namespace of
//! this host (a container), whose bytes the socket ledger already has with their owner, or by nobody we know
//! (routed, bridged, a virtual machine). Per destination, what exceeds the first is the second.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use homeport_ebpf::aside::InterfaceCount;
use serde::{Deserialize, Serialize};

use super::App;
use crate::{
    clock::WallTime,
    flow::Volume,
    probe::{
        edge::{self, Link},
        links::Links,
    },
};

/// Destinations for which forwarded bytes are compared. Beyond it, forwarded bytes count as unattributed: too much
/// is said rather than too little.
const MAX_DESTINATIONS: usize = 65_536;

/// One edge interface.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    pub(super) name: String,
    pub(super) since: WallTime,
    /// Counters of the driver when we began, and at the last look.
    pub(super) nic_first: Counters,
    pub(super) nic: Counters,
    /// What tc counted.
    pub(super) count: InterfaceCount,
    /// Both at the end of the last interval record.
    pub(super) at_minute: (Counters, u64),
}

/// What the next agent must know of an interface to go on with its interval.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SavedEdge {
    pub(super) index: u32,
    pub(super) name: String,
    since: WallTime,
    nic_first: Counters,
    pub(super) nic: Counters,
    at_minute: (Counters, u64),
}

/// What a driver counts.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Counters {
    pub(super) bytes: u64,
    pub(super) packets: u64,
    pub(super) dropped: u64,
}

impl Counters {
    const fn of(link: &Link) -> Self {
        Self { bytes: link.tx_bytes, packets: link.tx_packets, dropped: link.tx_dropped }
    }

    /// What was counted since `earlier`; zero when the driver began again.
    pub(super) const fn since(self, earlier: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(earlier.bytes),
            packets: self.packets.saturating_sub(earlier.packets),
            dropped: self.dropped.saturating_sub(earlier.dropped),
        }
    }
}

/// Bytes that tc counted, whatever sent them.
pub(super) const fn counted_bytes(count: &InterfaceCount) -> u64 {
    count.socket.frame_bytes
        + count.forwarded.frame_bytes
        + count.packet.frame_bytes
        + count.time_wait.frame_bytes
        + count.non_ip.frame_bytes
}

#[derive(Debug, Default)]
pub(super) struct Edges {
    attached: HashMap<u32, Edge>,
    refused: HashSet<u32>,
    mtus: HashMap<u32, u32>,
    own_addresses: HashSet<IpAddr>,
    destinations: HashMap<IpAddr, Destination>,
    /// Interfaces of an agent before this one, until they are attached.
    earlier: Vec<SavedEdge>,
}

/// What left for one destination without a local socket, and with one elsewhere on this host.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Destination {
    elsewhere: Volume,
    forwarded: Volume,
    reported: Volume,
    /// Nothing was sent there in this many sweeps.
    quiet_sweeps: u32,
}

/// After so many sweeps without bytes both sides of the comparison are complete, and it begins again from zero.
const QUIET_SWEEPS: u32 = 30;

impl Edges {
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Edge)> {
        self.attached.iter().map(|(index, edge)| (*index, edge))
    }

    /// What the next agent must know.
    pub(super) fn save(&self) -> Vec<SavedEdge> {
        self.attached
            .iter()
            .map(|(index, edge)| SavedEdge {
                index: *index,
                name: edge.name.clone(),
                since: edge.since,
                nic_first: edge.nic_first,
                nic: edge.nic,
                at_minute: edge.at_minute,
            })
            .chain(self.earlier.iter().cloned())
            .collect()
    }

    pub(super) const fn destinations(&self) -> &HashMap<IpAddr, Destination> {
        &self.destinations
    }

    /// Goes on with what an agent before this one knew.
    pub(super) fn restore(&mut self, edges: Vec<SavedEdge>, destinations: HashMap<IpAddr, Destination>) {
        self.earlier = edges;
        self.destinations = destinations;
    }

    /// Ends an interval: counters from here on belong to the next.
    pub(super) fn end_minute(&mut self) -> Vec<(String, Counters, u64)> {
        self.attached
            .values_mut()
            .map(|edge| {
                let (nic, counted) = edge.at_minute;
                let total = counted_bytes(&edge.count);
                edge.at_minute = (edge.nic, total);
                (edge.name.clone(), edge.nic.since(nic), total.saturating_sub(counted))
            })
            .collect()
    }

    /// Whether a socket with this address is in another network namespace, for kernels that do not tell: the
    /// address is none of ours.
    pub(super) fn is_elsewhere(&self, local: IpAddr) -> bool {
        !self.own_addresses.is_empty() && !local.is_unspecified() && !self.own_addresses.contains(&local)
    }

    /// A socket in another network namespace of this host sent this.
    pub(super) fn attributed_elsewhere(&mut self, remote: IpAddr, volume: Volume) {
        if let Some(destination) = self.destination(remote) {
            destination.elsewhere.add(volume);
        }
    }

    /// Of frames that crossed the edge without a local socket, the part that nobody has counted yet.
    pub(super) fn unattributed(&mut self, remote: IpAddr, volume: Volume) -> Volume {
        let Some(destination) = self.destination(remote) else { return volume };
        destination.forwarded.add(volume);
        let Destination { elsewhere, forwarded, reported, .. } = *destination;
        // Payload decides: handshakes of other namespaces are not kept per namespace.
        if forwarded.payload_bytes <= elsewhere.payload_bytes + reported.payload_bytes
            && elsewhere.packets > 0
        {
            return Volume::default();
        }
        let rest = Volume {
            wire_bytes: forwarded.wire_bytes.saturating_sub(elsewhere.wire_bytes + reported.wire_bytes),
            payload_bytes: forwarded
                .payload_bytes
                .saturating_sub(elsewhere.payload_bytes + reported.payload_bytes),
            packets: forwarded.packets.saturating_sub(elsewhere.packets + reported.packets),
        };
        destination.reported.add(rest);
        rest
    }

    fn destination(&mut self, remote: IpAddr) -> Option<&mut Destination> {
        if self.destinations.len() >= MAX_DESTINATIONS && !self.destinations.contains_key(&remote) {
            return None;
        }
        let destination = self.destinations.entry(remote).or_default();
        destination.quiet_sweeps = 0;
        Some(destination)
    }

    /// Once per sweep: makes room for other destinations.
    pub(super) fn retire_destinations(&mut self) {
        self.destinations.retain(|_, destination| {
            destination.quiet_sweeps += 1;
            destination.quiet_sweeps <= QUIET_SWEEPS
        });
    }
}

impl App {
    /// Attaches to edge interfaces that are new, and forgets those that are gone.
    pub(super) async fn follow_links(&mut self, links: &Links) {
        let links = match links.list().await {
            Ok(links) => links,
            Err(error) => return self.degraded("interfaces", &format!("listing interfaces: {error}")),
        };
        self.edges.own_addresses = links.iter().flat_map(|link| link.addresses.iter().copied()).collect();
        let named = self.config.host.interfaces.clone();
        let missing: Vec<_> =
            named.iter().filter(|name| !links.iter().any(|link| link.name == **name)).cloned().collect();
        let mut failures = Vec::new();
        for link in &links {
            if self.edges.mtus.insert(link.index, link.mtu) != Some(link.mtu) {
                self.probe.set_mtu(link.index, link.mtu);
            }
            match edge::judge_among(link, &named) {
                Ok(reason) if !self.edges.attached.contains_key(&link.index) => {
                    match self.probe.attach_interface(link) {
                        Ok(()) => self.attached(link, reason),
                        Err(error) => failures.push(error.to_string()),
                    }
                }
                Ok(_) => {}
                Err(reason) => {
                    if self.edges.refused.insert(link.index) {
                        tracing::debug!(interface = link.name, reason, "not an edge interface");
                    }
                }
            }
        }
        let gone: Vec<u32> = self
            .edges
            .attached
            .keys()
            .filter(|index| !links.iter().any(|link| link.index == **index))
            .copied()
            .collect();
        for index in gone {
            self.probe.forget_interface(index);
            if let Some(edge) = self.edges.attached.remove(&index) {
                tracing::warn!(interface = edge.name, nic_bytes = edge.nic.bytes, "edge interface is gone");
            }
        }
        // The maps of the kernel side hold 1,024 interfaces, and container hosts make new ones all day.
        let exists = |index: &u32| links.iter().any(|link| link.index == *index);
        self.edges.refused.retain(exists);
        for index in self.edges.mtus.extract_if(|index, _| !exists(index)).map(|(index, _)| index) {
            self.probe.forget_mtu(index);
        }
        let faults = missing
            .iter()
            .map(|name| format!("interface {name} of host.interfaces does not exist"))
            .chain(failures)
            .collect::<Vec<_>>();
        if !faults.is_empty() {
            self.degraded("interfaces", &faults.join("; "));
        } else if self.edges.attached.is_empty() {
            self.degraded("interfaces", "no edge interface: frames without a local socket are not seen");
        } else {
            self.recovered("interfaces");
        }
    }

    fn attached(&mut self, link: &Link, reason: &str) {
        let counters = Counters::of(link);
        let earlier = self.edges.earlier.iter().position(|edge| {
            // An interface made anew counts from zero.
            edge.index == link.index && edge.name == link.name && edge.nic.bytes <= counters.bytes
        });
        let earlier = earlier.map(|idx| self.edges.earlier.swap_remove(idx));
        let count = self.probe.interface_count(link.index).unwrap_or_default();
        tracing::info!(interface = link.name, index = link.index, reason, "counting frames at the edge");
        self.edges.attached.insert(
            link.index,
            Edge {
                name: link.name.clone(),
                since: earlier.as_ref().map_or_else(WallTime::now, |edge| edge.since),
                nic_first: earlier.as_ref().map_or(counters, |edge| edge.nic_first),
                nic: counters,
                at_minute: earlier.map_or((counters, counted_bytes(&count)), |edge| edge.at_minute),
                count,
            },
        );
    }

    /// Reads the drivers' counters and our own.
    pub(super) async fn count_links(&mut self, links: &Links) {
        let Ok(links) = links.list().await else { return };
        for link in links {
            if let Some(edge) = self.edges.attached.get_mut(&link.index) {
                edge.nic = Counters::of(&link);
                edge.name = link.name;
                edge.count = self.probe.interface_count(link.index).unwrap_or(edge.count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(wire_bytes: u64, payload_bytes: u64, packets: u64) -> Volume {
        Volume { wire_bytes, payload_bytes, packets }
    }

    #[test]
    fn a_containers_bytes_are_not_counted_again_at_the_edge() {
        let remote = "203.0.113.9".parse().expect("address");
        let mut edges = Edges::default();
        edges.attributed_elsewhere(remote, volume(1100, 1000, 2));
        assert!(edges.unattributed(remote, volume(1100, 1000, 2)).is_zero());
        // Somebody else sends there too.
        assert_eq!(edges.unattributed(remote, volume(550, 500, 1)), volume(550, 500, 1));
        assert_eq!(edges.unattributed(remote, volume(110, 100, 1)), volume(110, 100, 1));
    }

    #[test]
    fn destinations_that_fell_silent_make_room_for_others() {
        let mut edges = Edges::default();
        let remote = |idx: u32| IpAddr::V4(idx.into());
        for idx in 0..MAX_DESTINATIONS as u32 {
            edges.attributed_elsewhere(remote(idx), volume(110, 100, 1));
        }
        let late = remote(u32::MAX);
        for _ in 0..=QUIET_SWEEPS {
            edges.attributed_elsewhere(remote(0), volume(110, 100, 1));
            edges.retire_destinations();
        }
        assert_eq!(edges.destinations.len(), 1);
        edges.attributed_elsewhere(late, volume(110, 100, 1));
        assert!(edges.unattributed(late, volume(110, 100, 1)).is_zero());
    }

    #[test]
    fn forwarded_frames_without_a_local_sender_are_all_unattributed() {
        let remote = "203.0.113.9".parse().expect("address");
        let mut edges = Edges::default();
        assert_eq!(edges.unattributed(remote, volume(40, 0, 1)), volume(40, 0, 1));
        assert_eq!(edges.unattributed(remote, volume(1040, 1000, 1)), volume(1040, 1000, 1));
    }
}
