//! What never leaves the host: from container to container, between the host and a container.
//!
//! The socket ledger sees these packets like all others, since it looks where packets leave their sockets. Bytes have
//! stayed here when all of this holds:
//!
//! | | known by |
//! |---|---|
//! | the packet did not go to a card, nor to what sends through one | the device: a virtual cable in another network namespace, or an interface of our own that is no edge and leads to none |
//! | its destination is on this host | an address of ours, or of another namespace: one that a process is in, or from which a socket has sent |
//! | nothing left for that destination | no frame passed an edge on its way there that no socket of our own namespace sent |
//!
//! What fails one of them counts as having left. The last one is why a sweep decides, after it has read everything:
//! frames pass the edge a moment after they left their socket.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use homeport_ebpf::{
    aside::{AsideKey, CLASS_CONTROL, CLASS_OVERFLOW, ELSEWHERE},
    slot::{SlotCold, WAY_CABLE, WAY_TUNNEL},
};

use super::App;
use crate::{
    clock::KernelTime,
    probe::{Reading, address},
    process::addresses,
};

/// Addresses are collected anew when one is missing, in at most this part of the time.
const PAUSE: u32 = 20;
/// An address that has not been seen for so long may be somebody else's by now.
const MEMORY: Duration = Duration::from_secs(60);
/// Addresses that are remembered. What goes to one beyond counts as having left.
const MAX_ADDRESSES: usize = 65_536;

/// Addresses of this host in other network namespaces, and what waits for a decision.
#[derive(Debug, Default)]
pub(super) struct Stays {
    /// With the last time each was seen: where a process is, or as the source of what a socket sent.
    addresses: HashMap<IpAddr, KernelTime>,
    not_before: KernelTime,
    /// Readings of this sweep that may have stayed.
    undecided: Vec<Reading>,
    there_are_others: bool,
}

impl Stays {
    fn note(&mut self, address: IpAddr, now: KernelTime) {
        if self.addresses.len() < MAX_ADDRESSES || self.addresses.contains_key(&address) {
            self.addresses.insert(address, now);
        }
    }

    fn knows(&self, address: IpAddr, now: KernelTime) -> bool {
        self.addresses.get(&address).is_some_and(|seen| now.since(*seen) < MEMORY)
    }

    /// Whether an address is one of another namespace. Looks again when it is not known, unless it has just looked.
    fn has(&mut self, address: IpAddr) -> bool {
        let now = KernelTime::now();
        if !self.knows(address, now) && now >= self.not_before {
            self.addresses.retain(|_, seen| now.since(*seen) < MEMORY);
            for found in addresses::of_other_namespaces() {
                self.note(found, now);
            }
            let finished = KernelTime::now();
            self.not_before = finished + finished.since(now) * PAUSE;
        }
        self.knows(address, now)
    }
}

impl App {
    /// Whether a slot counts packets of a socket in another network namespace of this host.
    pub(super) fn is_elsewhere(&self, cold: &SlotCold) -> bool {
        match (cold.netns, self.own_netns) {
            (0, _) | (_, None) => self.edges.is_elsewhere(address(cold.local)),
            (namespace, Some(own)) => namespace != own,
        }
    }

    /// Whether packets of this slot need not have left the host, by the device they took.
    fn may_stay(&self, cold: &SlotCold) -> bool {
        if self.is_elsewhere(cold) {
            cold.way == WAY_CABLE
        } else {
            cold.way != WAY_TUNNEL && self.edges.leads_nowhere(cold.ifindex)
        }
    }

    /// Whether a reading waits for the sweep, which knows by then what passed the edge.
    pub(super) fn waits_for_sweep(&self, slot: u32, generation: u32) -> bool {
        let Some((hot, cold)) = self.probe.look_at_slot(slot, generation) else { return false };
        self.may_stay(&cold) && !self.has_left(hot.remote, hot.protocol)
    }

    /// Takes a reading of a sweep, or puts it aside until the sweep has read everything.
    pub(super) fn take_or_put_aside(&mut self, reading: Reading, now: KernelTime) {
        if self.is_elsewhere(&reading.cold) {
            self.stays.note(address(reading.cold.local), now);
            if !std::mem::replace(&mut self.stays.there_are_others, true) {
                self.probe.there_are_others();
            }
        }
        if self.may_stay(&reading.cold) {
            self.stays.undecided.push(reading);
        } else {
            self.take_reading(&reading, now);
        }
    }

    /// At the end of a sweep: decides what was put aside.
    pub(super) fn settle_stays(&mut self, now: KernelTime) {
        // Asked once for each destination: many flows share few.
        let mut left: HashMap<([u8; 16], u8), bool> = HashMap::new();
        for reading in std::mem::take(&mut self.stays.undecided) {
            let destination @ (remote, protocol) = (reading.hot.remote, reading.hot.protocol);
            let has_left = *left
                .entry(destination)
                .or_insert_with(|| self.has_left(remote, protocol) || !self.is_here(remote));
            if has_left {
                self.take_reading(&reading, now);
                continue;
            }
            self.edges.stayed(reading.volume.wire_bytes);
            if reading.closed {
                self.older.forget(reading.cold.cookie);
            }
            if !reading.drained {
                // Sweeps go on asking; nobody needs to be woken for it.
                self.probe.set_quiet(reading.slot, reading.generation, true);
            }
        }
    }

    /// Whether packets without a slot have stayed: handshakes, and what found no slot.
    pub(super) fn aside_stayed(&mut self, key: &AsideKey) -> bool {
        let may_stay = match key.ifindex {
            ELSEWHERE => key.way == WAY_CABLE,
            ifindex => key.way != WAY_TUNNEL && self.edges.leads_nowhere(ifindex),
        };
        matches!(key.class, CLASS_CONTROL | CLASS_OVERFLOW)
            && may_stay
            && !self.has_left(key.remote, key.protocol)
            && self.is_here(key.remote)
    }

    /// Whether an address is one of this host, in whatever network namespace.
    fn is_here(&mut self, remote: [u8; 16]) -> bool {
        let remote = address(remote);
        self.edges.is_own(remote) || self.stays.has(remote)
    }

    /// Whether anything that no socket of our own namespace sent has passed an edge for this destination.
    fn has_left(&self, remote: [u8; 16], protocol: u8) -> bool {
        self.edges.destinations.has_forwarded(address(remote))
            || self.probe.has_forwarded(remote, protocol, self.edges.iter().map(|(index, _)| index))
    }
}
