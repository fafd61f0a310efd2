//! The truth ledger: every frame that leaves an edge interface.
//!
//! Frames of local sockets are only counted here (the socket ledger knows their owners); frames without one are
//! also kept per destination. `wire_len` equals what the NIC counts, link header included.

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock},
    helpers::generated::bpf_skb_pull_data,
};
use homeport_ebpf::{
    aside::{CLASS_FORWARDED, CLASS_KERNEL, CLASS_PACKET, CLASS_TIME_WAIT, FrameCount},
    loss::{LOSS_INTERFACE, LOSS_UNPARSED},
};

use crate::{
    account, asides,
    maps::{self, HIGH_INTERFACES, INTERFACES, SEES_ANSWERS6},
    packet::{self, Packet},
    tell,
};

const ETHERNET_HEADER: usize = 14;
const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const ETH_P_8021Q: u16 = 0x8100;
const ETH_P_8021AD: u16 = 0x88a8;
const VLAN_TAG: usize = 4;
/// Link header, one VLAN tag, IPv6 header, TCP header.
const HEADERS: u32 = 14 + 4 + 40 + 20;
const AF_PACKET: u32 = 17;
const AF_INET6: u32 = 10;
const BPF_TCP_TIME_WAIT: u32 = 6;
const BPF_TCP_NEW_SYN_RECV: u32 = 12;

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
    let (ifindex, protocol, came_from, sk) = unsafe {
        ((*skb).ifindex, (*skb).protocol as u16, (*skb).ingress_ifindex, (*skb).__bindgen_anon_2.sk)
    };
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
        set_aside_packet(skb, ifindex, l3_at);
    } else if !is_ip {
        add(skb, &mut cell.non_ip);
    } else if sk.is_null() && came_from == 0 {
        // It came from nowhere: the kernel itself made it.
        add(skb, &mut cell.socket);
        set_aside(skb, CLASS_KERNEL, ifindex, l3_at);
    } else if sk.is_null() || is_elsewhere(skb, sk) {
        add(skb, &mut cell.forwarded);
        set_aside(skb, CLASS_FORWARDED, ifindex, l3_at);
    } else if family == AF_INET6 && state == BPF_TCP_NEW_SYN_RECV && !sees_answers6() {
        add(skb, &mut cell.socket);
        set_aside(skb, CLASS_KERNEL, ifindex, l3_at);
    } else if state == BPF_TCP_TIME_WAIT {
        add(skb, &mut cell.time_wait);
        set_aside(skb, CLASS_TIME_WAIT, ifindex, l3_at);
    } else {
        add(skb, &mut cell.socket);
    }
}

/// The socket is in a network namespace that we do not account for: of a container on macvlan or ipvlan, whose frames
/// reach the card with their socket.
#[inline(always)]
fn is_elsewhere(skb: *mut __sk_buff, sk: *mut bpf_sock) -> bool {
    maps::scope_netns() != 0 && account::netns(skb, sk) != maps::scope_netns()
}

#[inline(always)]
fn sees_answers6() -> bool {
    SEES_ANSWERS6.get(0).is_some_and(|seen| *seen != 0)
}

#[inline(always)]
fn add(skb: *mut __sk_buff, count: &mut FrameCount) {
    // SAFETY: plain fields of the context.
    let (wire_len, segments) = unsafe { ((*skb).wire_len, (*skb).gso_segs) };
    count.frame_bytes += wire_len as u64;
    count.frames += if segments > 1 { segments as u64 } else { 1 };
}

/// A packet socket may claim any protocol, and a ring of such a socket keeps all but the link header outside of the
/// linear part: what counts is what the frame itself says.
#[inline(always)]
fn set_aside_packet(skb: *mut __sk_buff, ifindex: u32, l3_at: usize) {
    // SAFETY: a plain field of the context.
    let len = unsafe { (*skb).len };
    // SAFETY: `skb` is the context. No byte changes; when it fails, what can be read is read.
    unsafe { bpf_skb_pull_data(skb, if len < HEADERS { len } else { HEADERS }) };
    if l3_at != ETHERNET_HEADER {
        return set_aside(skb, CLASS_PACKET, ifindex, l3_at);
    }
    match packet::ether_type(skb, ETHERNET_HEADER) {
        Some(ETH_P_IP | ETH_P_IPV6) => set_aside(skb, CLASS_PACKET, ifindex, ETHERNET_HEADER),
        Some(ETH_P_8021Q | ETH_P_8021AD) => {
            if let Some(ETH_P_IP | ETH_P_IPV6) = packet::ether_type(skb, ETHERNET_HEADER + VLAN_TAG) {
                set_aside(skb, CLASS_PACKET, ifindex, ETHERNET_HEADER + VLAN_TAG);
            }
        }
        Some(_) | None => {}
    }
}

#[inline(always)]
fn set_aside(skb: *mut __sk_buff, class: u8, ifindex: u32, l3_at: usize) {
    match Packet::read(skb, l3_at) {
        Some(packet) => asides::add(class, ifindex, &packet),
        // SAFETY: a plain field of the context.
        None => tell::lose(LOSS_UNPARSED, unsafe { (*skb).wire_len } as u64),
    }
}
