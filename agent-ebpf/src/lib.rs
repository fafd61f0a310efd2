//! The vocabulary that homeport's eBPF programs and the agent share.
//!
//! Every type here is read by both sides, so none of them can be misread: `repr(C)`, fixed-width integers,
//! addresses and ports as big-endian bytes, explicit padding, no `bool`, enum, `Option` or pointer (those have
//! invalid bit patterns, and the other side wrote the bits). Sizes are asserted at compile time. Adding a field
//! means changing kernel and user side in the same change.
//!
//! | module | what crosses the border |
//! |---|---|
//! | [`slot`] | the counters of one socket towards one destination, in memory that both sides map |
//! | [`baseline`] | what the agent has read of each slot; survives the agent, not seen by the programs |
//! | [`aside`] | bytes without a slot: control packets, overflow, frames without a local socket |
//! | [`event`] | what the ring buffers carry: first payload, thresholds, owners, processes, cgroups |
//! | [`loss`] | what could not be counted or told, by cause |
//! | [`settings`] | what the agent tells the programs |
//! | [`layout`] | which builds can share maps, and how one build reads the maps of another |
#![no_std]

pub mod aside;
pub mod baseline;
pub mod event;
pub mod layout;
pub mod loss;
pub mod settings;
pub mod slot;

/// Marks types whose every bit pattern is a value, without padding: bytes can become one, and it can become bytes.
///
/// # Safety
///
/// The type is `repr(C)`, contains only integers and arrays of such types, and has no implicit padding.
pub unsafe trait Plain: Copy + 'static {}

// SAFETY: integers have no invalid bit pattern and no padding.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}
