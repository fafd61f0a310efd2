//! The second identity: what local sockets sent over the edge, against what has an owner.
//!
//! ```text
//!   layer-3 bytes of the term `socket` + discarded = bytes with an owner + bytes without a name + rest   whole host
//! ```
//!
//! Left: `tc`, at every edge interface. Right: the socket ledger, for sockets of the agent's own network namespace
//! whose first packet took an edge interface. Between the two the kernel may discard a packet (`discards`); what is
//! certain when both sides move is told by [`super::OwnersLedger`].

use serde::{Deserialize, Serialize};

/// Bytes of layer 3, since the agent counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribution {
    /// Frames of local sockets at the edge, link headers taken off.
    pub socket_bytes: u64,
    /// The socket ledger has them with an owner: a process, or a service of the kernel.
    pub owned_bytes: u64,
    /// The socket ledger has them, and nobody could be named.
    pub unnamed_bytes: u64,
    /// The socket ledger has them, and the kernel says that it discarded packets on their way to the edge.
    #[serde(default)]
    pub discarded_bytes: u64,
    /// Beside the identity: sockets of this host sent it to each other, and it never came to an edge.
    #[serde(default)]
    pub stayed_bytes: u64,
}

impl Attribution {
    /// What is left. Above zero: `tc` saw it of local sockets and the socket ledger did not, bytes without owner.
    /// Below: the socket ledger counted what did not leave, and nobody says why.
    pub fn rest(&self) -> i64 {
        let rest = i128::from(self.socket_bytes) + i128::from(self.discarded_bytes)
            - i128::from(self.owned_bytes)
            - i128::from(self.unnamed_bytes);
        i64::try_from(rest).unwrap_or(if rest < 0 { i64::MIN } else { i64::MAX })
    }

    /// What was added since `earlier`.
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            socket_bytes: self.socket_bytes.saturating_sub(earlier.socket_bytes),
            owned_bytes: self.owned_bytes.saturating_sub(earlier.owned_bytes),
            unnamed_bytes: self.unnamed_bytes.saturating_sub(earlier.unnamed_bytes),
            discarded_bytes: self.discarded_bytes.saturating_sub(earlier.discarded_bytes),
            stayed_bytes: self.stayed_bytes.saturating_sub(earlier.stayed_bytes),
        }
    }

    /// What the socket ledger has.
    pub const fn ledger_bytes(&self) -> u64 {
        self.owned_bytes.saturating_add(self.unnamed_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_closes_the_identity_in_both_directions() {
        let now = Attribution {
            socket_bytes: 1000,
            owned_bytes: 700,
            unnamed_bytes: 100,
            discarded_bytes: 0,
            stayed_bytes: 5000,
        };
        assert_eq!(now.rest(), 200);
        assert_eq!(Attribution { owned_bytes: 950, ..now }.rest(), -50);
        assert_eq!(Attribution { owned_bytes: 950, discarded_bytes: 50, ..now }.rest(), 0);
        let later = Attribution { socket_bytes: 1500, owned_bytes: 1200, discarded_bytes: 7, ..now };
        let added =
            Attribution { socket_bytes: 500, owned_bytes: 500, discarded_bytes: 7, ..Attribution::default() };
        assert_eq!(later.since(&now), added);
    }
}
