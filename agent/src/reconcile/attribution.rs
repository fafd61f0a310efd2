//! The second identity: what local sockets sent over the edge, against what has an owner.
//!
//! ```text
//!   layer-3 bytes of the term `socket` = bytes with an owner + bytes without a name + rest        whole host
//! ```
//!
//! Left: `tc`, at every edge interface. Right: the socket ledger, for sockets of the agent's own network namespace
//! whose first packet took an edge interface. Both are read within one sweep but not at the same instant, so the rest
//! swings around zero under load and is exact at rest.

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
}

impl Attribution {
    /// What `tc` saw of local sockets and the socket ledger did not: bytes with a destination, but without owner.
    /// Negative: the ledger counted what did not take the interface it began with.
    pub fn rest(&self) -> i64 {
        let rest =
            i128::from(self.socket_bytes) - i128::from(self.owned_bytes) - i128::from(self.unnamed_bytes);
        i64::try_from(rest).unwrap_or(if rest < 0 { i64::MIN } else { i64::MAX })
    }

    /// What was added since `earlier`.
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            socket_bytes: self.socket_bytes.saturating_sub(earlier.socket_bytes),
            owned_bytes: self.owned_bytes.saturating_sub(earlier.owned_bytes),
            unnamed_bytes: self.unnamed_bytes.saturating_sub(earlier.unnamed_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_closes_the_identity_in_both_directions() {
        let now = Attribution { socket_bytes: 1000, owned_bytes: 700, unnamed_bytes: 100 };
        assert_eq!(now.rest(), 200);
        assert_eq!(Attribution { owned_bytes: 950, ..now }.rest(), -50);
        let later = Attribution { socket_bytes: 1500, owned_bytes: 1200, unnamed_bytes: 100 };
        assert_eq!(later.since(&now), Attribution { socket_bytes: 500, owned_bytes: 500, unnamed_bytes: 0 });
    }
}
