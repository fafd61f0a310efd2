//! What the kernel says it discarded between the socket layer and `tc`.
//!
//! Nobody counts the bytes, so each counter stands for at most so many: an upper bound, like drops behind `tc`.

use serde::{Deserialize, Serialize};

/// The most that one packet may have been: a buffer of 64 KiB with the headers of all segments it would become
/// (536 bytes each, with 60 bytes of headers, are less than 8 KiB more).
const MOST_PACKET_BYTES: u64 = 72 << 10;

/// The most that waits for one neighbour: the kernel's `unres_qlen_bytes`, 212,992 unless an operator raised it, and
/// the packet that goes over it.
const MOST_WAITING_BYTES: u64 = 212_992 + MOST_PACKET_BYTES;

/// Counters of the kernel, since boot or between two times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discards {
    /// Packets that waited for a neighbour's hardware address and had to make room for others: `unresolved_discards` of
    /// ARP and neighbour discovery, of the whole machine.
    pub neighbour_packets: u64,
    /// Neighbours that did not answer: whatever waited for them was discarded. `res_failed` of both.
    pub neighbour_failures: u64,
    /// Packets that the IP layer could not hand on: `OutDiscards` of IPv4 and IPv6, of the agent's network namespace.
    /// Another egress program, a netfilter hook behind it, a queue.
    pub output_packets: u64,
}

impl Discards {
    /// What was added since `earlier`; zero where a counter began again.
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            neighbour_packets: self.neighbour_packets.saturating_sub(earlier.neighbour_packets),
            neighbour_failures: self.neighbour_failures.saturating_sub(earlier.neighbour_failures),
            output_packets: self.output_packets.saturating_sub(earlier.output_packets),
        }
    }

    /// Both together.
    pub const fn plus(&self, other: &Self) -> Self {
        Self {
            neighbour_packets: self.neighbour_packets.saturating_add(other.neighbour_packets),
            neighbour_failures: self.neighbour_failures.saturating_add(other.neighbour_failures),
            output_packets: self.output_packets.saturating_add(other.output_packets),
        }
    }

    /// As many bytes as this can explain.
    pub const fn most_bytes(&self) -> u64 {
        let packets = self.neighbour_packets.saturating_add(self.output_packets);
        packets
            .saturating_mul(MOST_PACKET_BYTES)
            .saturating_add(self.neighbour_failures.saturating_mul(MOST_WAITING_BYTES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_explains_what_it_can_have_been_and_nothing_explains_nothing() {
        let none = Discards::default();
        assert_eq!(none.most_bytes(), 0);
        let one = Discards { neighbour_packets: 1, neighbour_failures: 2, output_packets: 3 };
        assert_eq!(one.most_bytes(), 4 * MOST_PACKET_BYTES + 2 * MOST_WAITING_BYTES);
        assert_eq!(one.plus(&one).since(&one), one);
        assert_eq!(none.since(&one), none, "a counter that began again");
        assert_eq!(Discards { output_packets: u64::MAX, ..one }.most_bytes(), u64::MAX);
    }
}
