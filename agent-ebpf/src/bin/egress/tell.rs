//! Tells the agent: flow events, and losses.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use homeport_ebpf::{event::FlowEvent, loss::LOSS_FLOW_RING, slot::Slot};

use crate::maps::{FLOW_EVENTS, LOSSES};

/// Something happened to a slot.
#[inline(always)]
pub(crate) fn flow(kind: u32, slot_idx: u32, slot: *mut Slot) {
    let event = FlowEvent {
        // SAFETY: no arguments.
        ktime_ns: unsafe { bpf_ktime_get_ns() },
        kind,
        slot: slot_idx,
        // SAFETY: `slot` comes from a checked lookup.
        generation: unsafe { (*slot).hot.generation },
        _pad: 0,
    };
    if FLOW_EVENTS.output::<FlowEvent>(&event, 0).is_err() {
        lose(LOSS_FLOW_RING, 0);
    }
}

/// Counts a loss.
#[inline(always)]
pub(crate) fn lose(cause: u32, bytes: u64) {
    if let Some(cell) = LOSSES.get_ptr_mut(cause) {
        // SAFETY: from a checked lookup, and of this processor only.
        let cell = unsafe { &mut *cell };
        cell.events += 1;
        cell.bytes += bytes;
    }
}
