//! The truth ledger: every frame that leaves an edge interface.
//!
//! Frames of local sockets are only counted here (the socket ledger knows their owners); frames without one are
//! also kept per destination. `wire_len` equals what the NIC counts, link header included.

use aya_ebpf::bindings::__sk_buff;
use homeport_ebpf::{
    aside::{CLASS_FORWARDED, CLASS_PACKET, CLASS_TIME_WAIT, FrameCount},
    loss::{LOSS_INTERFACE, LOSS_UNPARSED},
};

use crate::{
    asides,
    maps::{HIGH_INTERFACES, INTERFACES},
    packet::Packet,
    tell,
};

const ETHERNET_HEADER: usize = 14;
const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const AF_PACKET: u32 = 17;
const BPF_TCP_TIME_WAIT: u32 = 6;

/// An interface with Ethernet headers.
#[inline(always)]
pub(crate) fn count_ethernet(skb: *mut __sk_buff) {
    count(skb, ETHERNET_HEADER);
}

/// An interface without link header: tun, WireGuard, IP tunnels.
#[inline(always)]
pub(crate) fn count_raw(skb: *mut __sk_buff) {
    count(skb, 0);
}

#[inline(always)]
fn count(skb: *mut __sk_buff, l3_at: usize) {
    // SAFETY: plain fields of the context.
    let (ifindex, protocol, sk) =
        unsafe { ((*skb).ifindex, (*skb).protocol as u16, (*skb).__bindgen_anon_2.sk) };
    let cell = INTERFACES.get_ptr_mut(ifindex).or_else(|| HIGH_INTERFACES.get_ptr_mut(ifindex));
    let Some(cell) = cell else {
        // SAFETY: a plain field of the context.
        tell::lose(LOSS_INTERFACE, unsafe { (*skb).wire_len } as u64);
        return;
    };
    // SAFETY: from a checked lookup, and of this processor only.
    let cell = unsafe { &mut *cell };
    let protocol = u16::from_be(protocol);
    let is_ip = protocol == ETH_P_IP || protocol == ETH_P_IPV6;
    let (family, state) = if sk.is_null() {
        (0, 0)
    } else {
        // SAFETY: checked above; both fields may be read of any kind of socket.
        unsafe { ((*sk).family, (*sk).state) }
    };
    if family == AF_PACKET {
        add(skb, &mut cell.packet);
        if is_ip {
            set_aside(skb, CLASS_PACKET, ifindex, l3_at);
        }
    } else if !is_ip {
        add(skb, &mut cell.non_ip);
    } else if sk.is_null() {
        add(skb, &mut cell.forwarded);
        set_aside(skb, CLASS_FORWARDED, ifindex, l3_at);
    } else if state == BPF_TCP_TIME_WAIT {
        add(skb, &mut cell.time_wait);
        set_aside(skb, CLASS_TIME_WAIT, ifindex, l3_at);
    } else {
        add(skb, &mut cell.socket);
    }
}

#[inline(always)]
fn add(skb: *mut __sk_buff, count: &mut FrameCount) {
    // SAFETY: plain fields of the context.
    let (wire_len, segments) = unsafe { ((*skb).wire_len, (*skb).gso_segs) };
    count.frame_bytes += wire_len as u64;
    count.frames += if segments > 1 { segments as u64 } else { 1 };
}

#[inline(always)]
fn set_aside(skb: *mut __sk_buff, class: u8, ifindex: u32, l3_at: usize) {
    match Packet::read(skb, l3_at) {
        Some(packet) => asides::add(class, ifindex, &packet),
        // SAFETY: a plain field of the context.
        None => tell::lose(LOSS_UNPARSED, unsafe { (*skb).wire_len } as u64),
    }
}
