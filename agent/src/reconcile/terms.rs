//! The terms of the identity, by name.
//!
//! Every frame that passes `tc` at an edge interface is in exactly one of them.

use serde::{Deserialize, Serialize};

use super::Amount;

/// What `tc` saw leave one interface since it counts there, by what sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// See [`TERMS`].
    pub socket: Amount,
    /// See [`TERMS`].
    pub forwarded: Amount,
    /// See [`TERMS`].
    pub packet: Amount,
    /// See [`TERMS`].
    pub tunnel: Amount,
    /// See [`TERMS`].
    pub time_wait: Amount,
    /// See [`TERMS`].
    pub non_ip: Amount,
    /// Not a term, but a part of the others: what a card does not count that counts a large buffer once instead of
    /// the segments it is cut into. The frames beyond the first of each buffer, and their headers.
    pub folded: Amount,
}

/// One term.
#[derive(Clone, Copy, Debug)]
pub struct Term {
    /// Its name in records, answers of the control socket, and metrics.
    pub name: &'static str,
    /// What is in it, for a person.
    pub definition: &'static str,
    /// Its value.
    pub of: fn(&Seen) -> Amount,
}

/// Every term, in the order in which they are told.
pub static TERMS: [Term; 6] = [
    Term {
        name: "socket",
        definition: "IP frames that a local socket sent, of user space or of the kernel itself",
        of: |seen| seen.socket,
    },
    Term {
        name: "forwarded",
        definition: "IP frames without a local socket: routed, bridged, of a container or a virtual machine",
        of: |seen| seen.forwarded,
    },
    Term {
        name: "packet",
        definition: "frames of packet sockets (AF_PACKET), whatever is in them",
        of: |seen| seen.packet,
    },
    Term { name: "tunnel", definition: "outer frames of tunnels made on this host", of: |seen| seen.tunnel },
    Term {
        name: "time_wait",
        definition: "acknowledgements of TCP connections in TIME-WAIT, which have no full socket any more",
        of: |seen| seen.time_wait,
    },
    Term {
        name: "non_ip",
        definition: "frames that are neither IPv4 nor IPv6: ARP, LLDP, ...",
        of: |seen| seen.non_ip,
    },
];

impl Seen {
    /// All terms together.
    pub fn total(&self) -> Amount {
        TERMS.iter().fold(Amount::default(), |sum, term| sum.plus((term.of)(self)))
    }

    /// What was added since `earlier`, term by term.
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            socket: self.socket.since(earlier.socket),
            forwarded: self.forwarded.since(earlier.forwarded),
            packet: self.packet.since(earlier.packet),
            tunnel: self.tunnel.since(earlier.tunnel),
            time_wait: self.time_wait.since(earlier.time_wait),
            non_ip: self.non_ip.since(earlier.non_ip),
            folded: self.folded.since(earlier.folded),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_defines_every_term_in_these_words() {
        let page = include_str!("../../docs/RECONCILIATION.md");
        for term in &TERMS {
            let row = format!("| `{}` | {} |", term.name, term.definition);
            assert!(page.contains(&row), "agent/docs/RECONCILIATION.md lacks the row\n{row}");
        }
    }

    #[test]
    fn the_total_is_the_sum_of_the_terms_and_of_nothing_else() {
        let one = |bytes| Amount::new(bytes, 1);
        let seen = Seen {
            socket: one(1),
            forwarded: one(2),
            packet: one(4),
            tunnel: one(32),
            time_wait: one(8),
            non_ip: one(16),
            folded: one(1000),
        };
        assert_eq!(seen.total(), Amount::new(63, 6));
    }
}
