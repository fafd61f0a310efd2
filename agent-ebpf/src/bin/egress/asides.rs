//! Counts bytes that have no slot, per destination.

use aya_ebpf::bindings::BPF_NOEXIST;
use homeport_ebpf::{
    aside::{AsideKey, AsideValue},
    loss::LOSS_ASIDE,
};

use crate::{kernel, maps, packet::Packet, tell};

/// Adds the packet to its destination in `class`; `way`: `WAY_*`.
#[inline(always)]
pub(crate) fn add(class: u8, ifindex: u32, way: u8, packet: &Packet) {
    let mut key = AsideKey { remote: [0; 16], ifindex, protocol: packet.protocol, class, way, _pad: 0 };
    // SAFETY: sixteen bytes into sixteen bytes.
    unsafe { (&raw mut key.remote).cast::<[u64; 2]>().write_unaligned(packet.remote) };
    let map = maps::aside();
    if let Some(value) = map.get_ptr_mut(&key) {
        add_to(value, packet);
        return;
    }
    let value = AsideValue {
        wire_bytes: packet.wire_bytes,
        payload_bytes: packet.payload_bytes,
        packets: packet.packets,
    };
    if map.insert(&key, value, u64::from(BPF_NOEXIST)).is_ok() {
        return;
    }
    // Another processor was first, or the map is full.
    match map.get_ptr_mut(&key) {
        Some(value) => add_to(value, packet),
        None => {
            tell::lose(LOSS_ASIDE, packet.wire_bytes);
            forget_destination(&mut key);
            if let Some(rest) = map.get_ptr_mut(&key) {
                add_to(rest, packet);
            }
        }
    }
}

/// Makes it [`AsideKey::rest`] of its class.
#[inline(always)]
fn forget_destination(key: &mut AsideKey) {
    let remote: *mut u32 = (&raw mut key.remote).cast();
    for word in 0..4 {
        // SAFETY: sixteen bytes, aligned like the key. Volatile, or this becomes a call of `memset`, see `copy_stamp`.
        unsafe { remote.add(word).write_volatile(0) };
    }
    key.ifindex = 0;
    key.protocol = 0;
}

#[inline(always)]
fn add_to(value: *mut AsideValue, packet: &Packet) {
    // SAFETY: `value` comes from a checked lookup.
    kernel::add(unsafe { &raw mut (*value).wire_bytes }, packet.wire_bytes);
    // SAFETY: as above.
    kernel::add(unsafe { &raw mut (*value).packets }, packet.packets);
    if packet.payload_bytes != 0 {
        // SAFETY: as above.
        kernel::add(unsafe { &raw mut (*value).payload_bytes }, packet.payload_bytes);
    }
}
