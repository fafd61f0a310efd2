//! What never leaves the host: from container to container, between the host and a container.
//!
//! The socket ledger sees these packets like all others, since it looks where packets leave their sockets. Bytes have
//! stayed here when all of this holds:
//!
//! | | known by |
//! |---|---|
//! | the packet did not go to a card, nor to what sends through one | the device: a virtual cable in another network namespace, or an interface of our own that is no edge and leads to none |
//! | its destination is on this host | an address of ours, or of another namespace: one that a process is in, or from which a socket has sent; or one that no router passes on |
//! | nothing left for that destination | no frame passed an edge on its way there that no socket of our own namespace sent |
//!
//! The last one is why a sweep decides, after it has read everything: frames pass the edge a moment after they left their
//! socket.
//!
//! Where the first and the last hold, and the second does not, nothing has left *under that address*. If the bytes left
//! nevertheless, then as something else, which passed the edge and is counted there: a tunnel of the host has wrapped
//! them, or their destination was translated. They are told and judged like what is inside of any tunnel, and are in no
//! total ([`Fate::Wrapped`]). That needs evidence: frames are told apart at the edge, as below; a socket of our own namespace
//! sent to what leads to a tunnel; every interface that looks like an edge is watched; and within the last two sweeps at least as much has passed the edges that is forwarded or the outside of a tunnel, and that nothing else is
//! known to be the inside of ([`Outside`]). Without it they count as having left, twice at worst.
//!
//! Devices that share a card (macvlan, ipvlan) hand on to their neighbours what is for them; everything else passes the
//! card below, which is an edge. So what a socket in another namespace sent through one, to an address of this host, while
//! no frame for it passed an edge, has stayed. This needs frames whose sockets are told apart: a kernel that tells, and
//! programs that have been asked to for longer than a reading goes back.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use homeport_ebpf::{
    aside::{AsideKey, CLASS_CONTROL, CLASS_OVERFLOW, ELSEWHERE},
    slot::{SlotCold, WAY_CABLE, WAY_CABLE_RAW, WAY_SHARED, WAY_TUNNEL},
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

/// Sweeps after which no reading goes back to a time before frames were told apart: the one in which that began, the one
/// whose readings began in it, and one more for maps of an earlier agent that are read out first.
const TELLING_SWEEPS: u32 = 3;

/// What became of bytes that need not have left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// They left, or may have.
    Left,
    /// They are where they were sent, on this host.
    Stayed,
    /// They did not leave under their destination: whatever left of them passed an edge as something else.
    Wrapped,
}

/// How a packet was sent, as far as that says where it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// To a card, or into a tunnel.
    Out,
    /// To other devices of this host, or past a card: what has not arrived here has left.
    Near,
    /// To other devices of this host. A frame that leaves as it is, is told; what is not may be in a tunnel.
    Inward,
}

impl Way {
    /// `is_here`: the destination is an address of this host; asked only where it matters.
    fn fate(self, has_left: bool, can_be_wrapped: bool, is_here: impl FnOnce() -> bool) -> Fate {
        match self {
            Self::Out => Fate::Left,
            _ if has_left => Fate::Left,
            _ if is_here() => Fate::Stayed,
            Self::Inward if can_be_wrapped => Fate::Wrapped,
            Self::Inward | Self::Near => Fate::Left,
        }
    }
}

/// Addresses of this host in other network namespaces, and what waits for a decision.
#[derive(Debug, Default)]
pub(super) struct Stays {
    /// With the last time each was seen: where a process is, or as the source of what a socket sent.
    addresses: HashMap<IpAddr, KernelTime>,
    not_before: KernelTime,
    /// Readings of this sweep that may have stayed.
    undecided: Vec<Reading>,
    there_are_others: bool,
    /// Sweeps that ended since frames of others are told apart.
    telling: u32,
    outside: Outside,
    /// Destinations for which something was wrapped, with the last time.
    wrapped: HashMap<[u8; 16], KernelTime>,
}

/// What passed the edges as something else than a socket of our own namespace sent, and what of it is accounted for. Only
/// what is left can be the outside of bytes that did not leave under their destination.
#[derive(Debug, Default)]
struct Outside {
    /// Bytes at the edges when the last sweep decided.
    seen: Option<u64>,
    /// Of the last sweep's, what nothing was found for: its inside may be read a moment later.
    spare: u64,
    /// Bytes since then that have their outside there: known insides of tunnels, and what containers sent as it is.
    known: u64,
}

impl Outside {
    /// Begins to decide: how much can be outside of something, of what the edges have `seen` by now.
    fn begin(&mut self, seen: u64) -> u64 {
        let grown = self.seen.map_or(0, |before| seen.saturating_sub(before));
        self.seen = Some(seen);
        let left = (grown + std::mem::take(&mut self.spare)).saturating_sub(std::mem::take(&mut self.known));
        // No older than one sweep: otherwise what is forwarded all day would explain anything.
        self.spare = grown.min(left);
        left
    }

    /// So much of it found an inside.
    fn found(&mut self, bytes: u64, left: &mut u64) {
        *left -= bytes;
        self.spare = self.spare.min(*left);
    }
}

impl Stays {
    /// Bytes that were sent into a tunnel, or by a container, and pass the edge as frames that are not of our own sockets.
    pub(super) const fn has_outside(&mut self, bytes: u64) {
        self.outside.known = self.outside.known.saturating_add(bytes);
    }

    fn was_wrapped(&self, remote: [u8; 16]) -> bool {
        self.wrapped.get(&remote).is_some_and(|seen| KernelTime::now().since(*seen) < MEMORY)
    }

    fn note_wrapped(&mut self, remote: [u8; 16], now: KernelTime) {
        if self.wrapped.len() >= MAX_ADDRESSES {
            self.wrapped.retain(|_, seen| now.since(*seen) < MEMORY);
        }
        if self.wrapped.len() < MAX_ADDRESSES {
            self.wrapped.insert(remote, now);
        }
    }

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

    /// The device that packets of this slot took.
    fn way(&self, cold: &SlotCold) -> Way {
        if self.is_elsewhere(cold) {
            self.way_elsewhere(cold.way)
        } else {
            self.way_here(cold.way, cold.ifindex)
        }
    }

    const fn way_elsewhere(&self, way: u8) -> Way {
        let are_told = self.probe.tells_frames() && self.stays.telling >= TELLING_SWEEPS;
        match way {
            WAY_CABLE if are_told => Way::Inward,
            WAY_CABLE | WAY_CABLE_RAW => Way::Near,
            WAY_SHARED if are_told => Way::Near,
            _ => Way::Out,
        }
    }

    fn way_here(&self, way: u8, ifindex: u32) -> Way {
        if way == WAY_TUNNEL || self.edges.wraps(ifindex) || !self.edges.leads_nowhere(ifindex) {
            Way::Out
        } else if self.edges.leads_to_tunnel(ifindex) {
            Way::Inward
        } else {
            Way::Near
        }
    }

    /// Whether what a socket of our own namespace sent through this interface leaves in packets to another host.
    pub(super) fn is_wrapped(&self, cold: &SlotCold) -> bool {
        cold.way == WAY_TUNNEL || (self.edges.wraps(cold.ifindex) && !self.is_elsewhere(cold))
    }

    /// Whether a reading waits for the sweep, which knows by then what passed the edge.
    pub(super) fn waits_for_sweep(&self, slot: u32, generation: u32) -> bool {
        let Some((hot, cold)) = self.probe.look_at_slot(slot, generation) else { return false };
        self.way(&cold) != Way::Out && !self.has_left(hot.remote, hot.protocol)
    }

    /// Takes a reading of a sweep, or puts it aside until the sweep has read everything.
    pub(super) fn take_or_put_aside(&mut self, reading: Reading, now: KernelTime) {
        if self.is_elsewhere(&reading.cold) {
            self.stays.note(address(reading.cold.local), now);
            if !std::mem::replace(&mut self.stays.there_are_others, true) {
                self.probe.there_are_others();
            }
        }
        if self.way(&reading.cold) == Way::Out {
            self.take_reading(&reading, now);
        } else {
            self.stays.undecided.push(reading);
        }
    }

    /// At the end of a sweep: decides what was put aside.
    pub(super) fn settle_stays(&mut self, now: KernelTime) {
        let seen = self.outside_bytes();
        // Asked once for each destination: many flows share few.
        let mut known: HashMap<([u8; 16], u8), (bool, Option<bool>)> = HashMap::new();
        let mut wrapped = Vec::new();
        for reading in std::mem::take(&mut self.stays.undecided) {
            let destination @ (remote, protocol) = (reading.hot.remote, reading.hot.protocol);
            let (has_left, is_here) =
                known.entry(destination).or_insert_with(|| (self.has_left(remote, protocol), None));
            let way = self.way(&reading.cold);
            let can_be_wrapped = self.edges.are_complete();
            let is_here = || *is_here.get_or_insert_with(|| self.is_here(remote));
            match way.fate(*has_left, can_be_wrapped, is_here) {
                Fate::Left => self.take_reading(&reading, now),
                Fate::Wrapped => wrapped.push(reading),
                Fate::Stayed => self.stay(&reading),
            }
        }
        // After all others: what is known to be outside of something else explains nothing here.
        let mut left = self.stays.outside.begin(seen);
        for mut reading in wrapped {
            let bytes = reading.volume.wire_bytes;
            if bytes <= left {
                self.stays.outside.found(bytes, &mut left);
                self.stays.note_wrapped(reading.hot.remote, now);
                reading.cold.way = WAY_TUNNEL;
            }
            self.take_reading(&reading, now);
        }
        // Those have been compared.
        self.stays.outside.known = 0;
        if self.stays.there_are_others {
            self.stays.telling = self.stays.telling.saturating_add(1);
        }
    }

    fn stay(&mut self, reading: &Reading) {
        self.edges.stayed(reading.volume.wire_bytes);
        if reading.closed {
            self.older.forget(reading.cold.cookie);
        }
        if !reading.drained {
            // Sweeps go on asking; nobody needs to be woken for it.
            self.probe.set_quiet(reading.slot, reading.generation, true);
        }
    }

    /// What became of packets without a slot: handshakes, and what found no slot.
    pub(super) fn aside_fate(&mut self, key: &AsideKey) -> Fate {
        if !matches!(key.class, CLASS_CONTROL | CLASS_OVERFLOW) {
            return Fate::Left;
        }
        let way = match key.ifindex {
            ELSEWHERE => self.way_elsewhere(key.way),
            ifindex => self.way_here(key.way, ifindex),
        };
        if way == Way::Out {
            return Fate::Left;
        }
        let has_left = self.has_left(key.remote, key.protocol);
        // What passed the edge meanwhile was compared with the flows: the handshakes follow them.
        let can_be_wrapped = self.edges.are_complete() && self.stays.was_wrapped(key.remote);
        way.fate(has_left, can_be_wrapped, || self.is_here(key.remote))
    }

    /// Whether an address is one of this host, in whatever network namespace, or one that no router passes on: then
    /// the link is here.
    fn is_here(&mut self, remote: [u8; 16]) -> bool {
        let remote = address(remote);
        // A bridge with the end of a tunnel has a link that goes on elsewhere.
        let link_is_here = !self.edges.has_bridged_tunnel();
        (link_is_here && ends_on_link(remote)) || self.edges.is_own(remote) || self.stays.has(remote)
    }

    /// Whether anything that no socket of our own namespace sent has passed an edge for this destination.
    fn has_left(&self, remote: [u8; 16], protocol: u8) -> bool {
        self.edges.destinations.has_forwarded(address(remote))
            || self.probe.has_forwarded(remote, protocol, self.edges.iter().map(|(index, _)| index))
    }
}

/// Whether no router passes on what is sent there: multicast of a link, such as reports of who listens, and addresses of
/// a link. Not those of IPv4 (169.254.0.0/16), which Linux does pass on.
const fn ends_on_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_broadcast() || matches!(address.octets(), [224, 0, 0, _]),
        IpAddr::V6(address) => {
            let scope = address.segments()[0] & 0xff0f;
            address.is_unicast_link_local() || matches!(scope, 0xff01 | 0xff02)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_router_passes_on_ends_on_its_link() {
        for (address, expected) in [
            ("ff02::16", true),
            ("ff12::1", true),
            ("ff01::1", true),
            ("fe80::1", true),
            ("224.0.0.251", true),
            ("255.255.255.255", true),
            ("ff05::2", false),
            ("ff0e::1", false),
            ("2001:db8::1", false),
            ("224.0.1.1", false),
            ("169.254.169.254", false),
            ("10.255.255.255", false),
        ] {
            assert_eq!(ends_on_link(address.parse().expect(address)), expected, "{address}");
        }
    }

    #[test]
    fn what_passed_an_edge_has_left_whatever_else_is_true() {
        for way in [Way::Out, Way::Near, Way::Inward] {
            for can_be_wrapped in [false, true] {
                assert_eq!(way.fate(true, can_be_wrapped, || true), Fate::Left, "{way:?}");
            }
        }
    }

    #[test]
    fn only_what_passed_the_edge_lately_can_be_the_outside_of_something() {
        let mut outside = Outside::default();
        assert_eq!(outside.begin(1_000_000), 0, "from before we looked");
        let mut left = outside.begin(1_001_000);
        assert_eq!(left, 1_000);
        outside.found(400, &mut left);
        // The rest may have an inside that was read a moment later, and no later than that.
        let left = outside.begin(1_001_000);
        assert_eq!(left, 600);
        assert_eq!(outside.begin(1_001_000), 0);
        outside.known += 5_000;
        assert_eq!(outside.begin(1_005_000), 0, "of something that is known");
        assert_eq!(outside.begin(1_006_000), 1_000);
    }

    #[test]
    fn what_went_to_a_card_has_left_though_nobody_saw_it_there() {
        assert_eq!(Way::Out.fate(false, true, || true), Fate::Left);
    }

    #[test]
    fn what_went_inward_to_an_address_of_this_host_has_stayed() {
        assert_eq!(Way::Inward.fate(false, false, || true), Fate::Stayed);
        assert_eq!(Way::Near.fate(false, false, || true), Fate::Stayed);
    }

    #[test]
    fn what_went_inward_to_an_address_abroad_left_as_something_else_if_all_edges_are_watched() {
        assert_eq!(Way::Inward.fate(false, true, || false), Fate::Wrapped);
        assert_eq!(Way::Inward.fate(false, false, || false), Fate::Left);
        // A card is below: whatever was not for a neighbour went there.
        assert_eq!(Way::Near.fate(false, true, || false), Fate::Left);
    }
}
