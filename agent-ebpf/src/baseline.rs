//! What the agent has read of each slot, kept beside the slots so that it outlives the agent.
//!
//! The programs never touch this. A reading belongs to an *epoch*: everything that the agent found out between
//! two of its commits. Each slot has two copies of its baseline; an epoch overwrites the copy that the last
//! commit does not need. After a restart the copy with the highest committed epoch counts, so a reading is either
//! in the committed state together with its baseline, or in neither.

use crate::Plain;

/// Low bits of [`BaselineCopy::mark`].
pub const PHASE_BITS: u32 = 8;
/// [`BaselineCopy::mark`] while the copy is being written.
pub const UNUSABLE: u64 = u64::MAX;

/// One copy.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BaselineCopy {
    /// Epoch, shifted by [`PHASE_BITS`], and the phase of the slot in the low bits. Written last. Zero: never used.
    pub mark: u64,
    /// `SlotHot::wire_bytes` as read.
    pub wire_bytes: u64,
    /// `SlotHot::payload_bytes` as read.
    pub payload_bytes: u64,
    /// `SlotHot::packets` as read.
    pub packets: u64,
}

/// Both copies: one cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    /// The copies, in no order.
    pub copies: [BaselineCopy; 2],
}

// SAFETY: repr(C), integers only, no padding (sizes below).
unsafe impl Plain for BaselineCopy {}
// SAFETY: as above.
unsafe impl Plain for Baseline {}

const _: () = assert!(size_of::<BaselineCopy>() == 32);
const _: () = assert!(size_of::<Baseline>() == 64);
