//! What could not be counted or told. Each cause has a cell per CPU.

use crate::Plain;

/// One cause.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LossCell {
    /// How often.
    pub events: u64,
    /// Wire bytes concerned, where bytes are.
    pub bytes: u64,
}

/// A packet whose headers could not be read. Its bytes have no destination.
pub const LOSS_UNPARSED: u32 = 0;
/// No slot was free; the bytes went to the overflow class of the aside maps (not lost, but without owner).
pub const LOSS_SLOTS: u32 = 1;
/// The aside maps were full as well. The bytes are counted in one sum per class, without destination.
pub const LOSS_ASIDE: u32 = 2;
/// A socket refused storage; the index serves it (slower, nothing lost).
pub const LOSS_STORAGE: u32 = 3;
/// The index was full; a socket may use several slots for one destination (nothing lost).
pub const LOSS_INDEX: u32 = 4;
/// The ring of flow events was full; the next sweep finds the flow.
pub const LOSS_FLOW_RING: u32 = 5;
/// The ring of host events was full; names come from /proc where it still has them.
pub const LOSS_HOST_RING: u32 = 6;
/// An interface without a counter cell: its frames are not in the truth ledger.
pub const LOSS_INTERFACE: u32 = 7;
/// Bytes that sockets of other families than IP took (AF_VSOCK and such): nobody sees where they go.
pub const LOSS_OTHER_SOCKETS: u32 = 8;
/// Number of causes.
pub const LOSS_CAUSES: u32 = 9;

// SAFETY: repr(C), two integers.
unsafe impl Plain for LossCell {}

const _: () = assert!(size_of::<LossCell>() == 16);
