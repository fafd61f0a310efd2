//! Frames that pass the edge without a socket of the agent's own network namespace: whose they are.
//!
//! They were either sent by a socket in another network namespace of this host (a container), whose bytes the socket
//! ledger already has with their owner, or by nobody we know (routed, bridged, a virtual machine). Per destination, what
//! exceeds the first is the second.

use std::{collections::HashMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::flow::Volume;

/// Destinations for which forwarded bytes are compared. Beyond it, forwarded bytes count as unattributed: too much
/// is said rather than too little.
const MAX_DESTINATIONS: usize = 65_536;

/// After so many sweeps without bytes both sides of the comparison are complete, and it begins again from zero.
const QUIET_SWEEPS: u32 = 30;

/// What left for one destination without a local socket, and with one elsewhere on this host.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Destination {
    elsewhere: Volume,
    forwarded: Volume,
    reported: Volume,
    /// Nothing was sent there in this many sweeps.
    quiet_sweeps: u32,
}

/// What left for each destination of late.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Destinations(HashMap<IpAddr, Destination>);

impl Destinations {
    /// A socket in another network namespace of this host sent this.
    pub(super) fn sent_elsewhere(&mut self, remote: IpAddr, volume: Volume) {
        if let Some(destination) = self.get(remote) {
            destination.elsewhere.add(volume);
        }
    }

    /// Of frames that crossed the edge without a local socket, the part that nobody has counted yet. `are_told`: packets
    /// without a slot are known to be of another namespace; otherwise payload decides, because handshakes are not known.
    pub(super) fn unattributed(&mut self, remote: IpAddr, volume: Volume, are_told: bool) -> Volume {
        let Some(destination) = self.get(remote) else { return volume };
        destination.forwarded.add(volume);
        let Destination { elsewhere, forwarded, reported, .. } = *destination;
        if !are_told
            && forwarded.payload_bytes <= elsewhere.payload_bytes + reported.payload_bytes
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

    /// Whether frames without a socket of our own namespace have passed an edge for this destination, of late.
    pub(super) fn has_forwarded(&self, remote: IpAddr) -> bool {
        self.0.get(&remote).is_some_and(|destination| destination.forwarded.packets > 0)
    }

    /// Once per sweep: makes room for others.
    pub(super) fn retire(&mut self) {
        self.0.retain(|_, destination| {
            destination.quiet_sweeps += 1;
            destination.quiet_sweeps <= QUIET_SWEEPS
        });
    }

    fn get(&mut self, remote: IpAddr) -> Option<&mut Destination> {
        if self.0.len() >= MAX_DESTINATIONS && !self.0.contains_key(&remote) {
            return None;
        }
        let destination = self.0.entry(remote).or_default();
        destination.quiet_sweeps = 0;
        Some(destination)
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
        let mut destinations = Destinations::default();
        destinations.sent_elsewhere(remote, volume(1100, 1000, 2));
        assert!(!destinations.has_forwarded(remote));
        assert!(destinations.unattributed(remote, volume(1100, 1000, 2), true).is_zero());
        assert!(destinations.has_forwarded(remote));
        // Somebody else sends there too.
        assert_eq!(destinations.unattributed(remote, volume(550, 500, 1), true), volume(550, 500, 1));
        assert_eq!(destinations.unattributed(remote, volume(110, 100, 1), true), volume(110, 100, 1));
    }

    #[test]
    fn what_no_socket_of_a_container_was_seen_to_send_counts_where_handshakes_are_known() {
        let remote = "203.0.113.9".parse().expect("address");
        for (are_told, expected) in [(true, volume(52, 0, 1)), (false, Volume::default())] {
            let mut destinations = Destinations::default();
            destinations.sent_elsewhere(remote, volume(1100, 1000, 2));
            let found = destinations.unattributed(remote, volume(1152, 1000, 3), are_told);
            assert_eq!(found, expected, "handshakes known: {are_told}");
            assert!(destinations.unattributed(remote, Volume::default(), are_told).is_zero(), "once");
        }
    }

    #[test]
    fn destinations_that_fell_silent_make_room_for_others() {
        let mut destinations = Destinations::default();
        let remote = |idx: u32| IpAddr::V4(idx.into());
        for idx in 0..MAX_DESTINATIONS as u32 {
            destinations.sent_elsewhere(remote(idx), volume(110, 100, 1));
        }
        let late = remote(u32::MAX);
        for _ in 0..=QUIET_SWEEPS {
            destinations.sent_elsewhere(remote(0), volume(110, 100, 1));
            destinations.retire();
        }
        assert_eq!(destinations.0.len(), 1);
        destinations.sent_elsewhere(late, volume(110, 100, 1));
        assert!(destinations.unattributed(late, volume(110, 100, 1), true).is_zero());
    }

    #[test]
    fn forwarded_frames_without_a_local_sender_are_all_unattributed() {
        let remote = "203.0.113.9".parse().expect("address");
        let mut destinations = Destinations::default();
        assert_eq!(destinations.unattributed(remote, volume(40, 0, 1), true), volume(40, 0, 1));
        assert_eq!(destinations.unattributed(remote, volume(1040, 1000, 1), true), volume(1040, 1000, 1));
    }
}
