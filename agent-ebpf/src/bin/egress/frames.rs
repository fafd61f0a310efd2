//! The truth ledger: every frame that leaves an edge interface.
//!
//! Frames of local sockets are only counted here (the socket ledger knows their owners); frames without one are
//! also kept per destination. `wire_len` equals what the NIC counts, link header included.

use core::arch::asm;

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock},
    helpers::generated::{bpf_sk_fullsock, bpf_skb_pull_data},
};
use homeport_ebpf::{
    aside::{CLASS_FORWARDED, CLASS_KERNEL, CLASS_PACKET, CLASS_TIME_WAIT, CLASS_TUNNEL, is_outside},
    loss::{LOSS_INTERFACE, LOSS_UNPARSED},
    slot::{WAY_DIRECT, slot_of},
};

use crate::{
    asides, kernel,
    maps::{self, HIGH_INTERFACES, INTERFACES, LIVE, SEES_ANSWERS6, SLOTS},
    packet::{
        self, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_IGMP, IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP,
        IPPROTO_UDPLITE, IPV4_HEADER, IPV6_HEADER, Packet,
    },
    tell,
};

const ETHERNET_HEADER: usize = 14;
const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const ETH_P_8021Q: u16 = 0x8100;
const ETH_P_8021AD: u16 = 0x88a8;
const ETH_P_MACSEC: u16 = 0x88e5;
const ETH_P_PPP_SES: u16 = 0x8864;
/// What PPP calls the two.
const PPP_IP: u16 = 0x0021;
const PPP_IPV6: u16 = 0x0057;
const VLAN_TAG: usize = 4;
/// Header of PPP over Ethernet, and the protocol of PPP behind it.
const PPP_SESSION: usize = 8;
const SCTP_HEADER: usize = 12;
/// Link header, one VLAN tag, IPv6 header, TCP header.
const HEADERS: u32 = 14 + 4 + 40 + 20;
const AF_PACKET: u32 = 17;
const SOCK_RAW: u32 = 3;
/// Not kept per destination.
const CLASS_NONE: u8 = 0;
const AF_INET: u32 = 2;
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
    let (family, state) = if sk.is_null() {
        (0, 0)
    } else {
        // SAFETY: checked above; both fields may be read of any kind of socket.
        unsafe { ((*sk).family, (*sk).state) }
    };
    let mut has_socket = u64::from(!sk.is_null());
    // SAFETY: copies a number to itself. Without it the compiler compares a pointer and a number with zero in one go, by
    // "or", which the verifier refuses.
    unsafe { asm!("{0} = {0}", inout(reg) has_socket) };
    let is_from_nowhere = has_socket == 0 && came_from == 0;
    // tun devices and macvtap charge what a virtual machine sends to sockets of their own, which have no family.
    let has_local_socket = family == AF_INET || family == AF_INET6;
    let (protocol, l3_at, added) = match u16::from_be(protocol) {
        tag @ (ETH_P_8021Q | ETH_P_8021AD) if l3_at == ETHERNET_HEADER && family != AF_PACKET => {
            below_tag(skb, tag)
        }
        ETH_P_PPP_SES if l3_at == ETHERNET_HEADER && family != AF_PACKET => below_session(skb),
        ETH_P_MACSEC if has_local_socket || is_from_nowhere => {
            (ETH_P_MACSEC, l3_at, macsec_bytes(skb, l3_at))
        }
        protocol => (protocol, l3_at, 0),
    };
    let is_ip = protocol == ETH_P_IP || protocol == ETH_P_IPV6;
    let (count, class) = if family == AF_PACKET {
        (&mut cell.packet, CLASS_PACKET)
    } else if protocol == ETH_P_MACSEC && added != 0 {
        // The socket ledger saw what is inside, on its way to the device that encrypts.
        (&mut cell.socket, CLASS_NONE)
    } else if !is_ip {
        (&mut cell.non_ip, CLASS_NONE)
    } else if is_from_nowhere && added != PPP_SESSION {
        // It came from nowhere: the kernel itself made it. A PPP device forgets where a packet came from: without a socket
        // it was routed there.
        match packet::outer_protocol(skb, l3_at) {
            Some((outer, _)) if is_outside(outer) => (&mut cell.tunnel, CLASS_KERNEL),
            Some(_) | None => (&mut cell.socket, CLASS_KERNEL),
        }
    } else if sk.is_null() || !has_local_socket || is_of_another_namespace(sk) {
        (&mut cell.forwarded, CLASS_FORWARDED)
    } else if family == AF_INET6 && state == BPF_TCP_NEW_SYN_RECV && !sees_answers6() {
        (&mut cell.socket, CLASS_KERNEL)
    } else if state == BPF_TCP_TIME_WAIT {
        (&mut cell.time_wait, CLASS_TIME_WAIT)
    } else if is_outside_of_tunnel(skb, sk, l3_at) {
        (&mut cell.tunnel, CLASS_TUNNEL)
    } else {
        (&mut cell.socket, CLASS_NONE)
    };
    // SAFETY: plain fields of the context.
    let (wire_len, segments, len, size) =
        unsafe { ((*skb).wire_len, (*skb).gso_segs, (*skb).len, (*skb).gso_size) };
    let frames = match segments {
        0 if size != 0 => uncounted_segments(len, wire_len, size),
        0 => 1,
        counted => counted as u64,
    };
    let mut frame_bytes = wire_len as u64;
    if class == CLASS_TUNNEL && frames > 1 {
        frame_bytes = wrapped_bytes(skb, sk, frames).unwrap_or(frame_bytes);
    } else if is_ip
        && frames > 1
        && packet::outer_protocol(skb, l3_at).is_some_and(|(ip, _)| ip == IPPROTO_SCTP)
    {
        // The kernel's own sum leaves out the SCTP header of all but the first.
        let ip_header = if protocol == ETH_P_IPV6 { IPV6_HEADER } else { IPV4_HEADER };
        // SAFETY: a plain field of the context.
        let len = unsafe { (*skb).len } as u64;
        frame_bytes = len + (frames - 1) * (l3_at + ip_header + SCTP_HEADER) as u64;
    }
    // What is added to a frame below the network layer is the card's to count, as where hardware adds it.
    count.frame_bytes += frame_bytes - added as u64 * frames;
    count.frames += frames;
    if frames > 1 {
        cell.folded.frame_bytes += frame_bytes - len as u64;
        cell.folded.frames += frames - 1;
    }
    let l3_at = match class {
        CLASS_NONE => return,
        CLASS_PACKET => match packet_socket_l3(skb, l3_at) {
            Some(l3_at) => l3_at,
            None => return,
        },
        _ => l3_at,
    };
    // One place only: what the compiler would share between two copies of this, the verifier would refuse.
    match Packet::read(skb, l3_at) {
        // A SYN cookie: the kernel leaves its listener out of the frame, and yet the socket ledger was shown both.
        Some(packet)
            if class == CLASS_KERNEL
                && packet.is_tcp_control()
                && packet.is_tcp_answer()
                && (!packet.is_ipv6 || sees_answers6()) => {}
        Some(mut packet) => {
            if class == CLASS_TUNNEL {
                packet.resize(frame_bytes - l3_at as u64 * frames);
            }
            asides::add(class, ifindex, WAY_DIRECT, &packet);
        }
        None => tell::lose(LOSS_UNPARSED, wire_len as u64),
    }
}

/// Protocol behind a VLAN tag that is in the frame, where the network header begins, and the bytes of the tag.
///
/// A tag that a device adds is beside the frame here, as hardware takes it. It is in the frame where devices are on top
/// of each other (802.1ad), and where `reorder_hdr` is off. Of two in the frame the second is not looked behind.
#[inline(always)]
fn below_tag(skb: *mut __sk_buff, tag: u16) -> (u16, usize, usize) {
    match packet::ether_type(skb, ETHERNET_HEADER + VLAN_TAG) {
        Some(protocol @ (ETH_P_IP | ETH_P_IPV6)) => (protocol, ETHERNET_HEADER + VLAN_TAG, VLAN_TAG),
        Some(_) | None => (tag, ETHERNET_HEADER, 0),
    }
}

/// Protocol inside a session of PPP over Ethernet, where the network header begins, and the bytes of the session's. What
/// keeps a session up is not IP.
#[inline(always)]
fn below_session(skb: *mut __sk_buff) -> (u16, usize, usize) {
    match packet::ether_type(skb, ETHERNET_HEADER + PPP_SESSION) {
        Some(PPP_IP) => (ETH_P_IP, ETHERNET_HEADER + PPP_SESSION, PPP_SESSION),
        Some(PPP_IPV6) => (ETH_P_IPV6, ETHERNET_HEADER + PPP_SESSION, PPP_SESSION),
        Some(_) | None => (ETH_P_PPP_SES, ETHERNET_HEADER, 0),
    }
}

/// What MACsec adds to a frame: its tag, with or without a channel identifier, and an integrity check of the usual
/// length.
#[inline(always)]
fn macsec_bytes(skb: *mut __sk_buff, l3_at: usize) -> usize {
    const TAG: usize = 8;
    const CHANNEL: usize = 8;
    const CHECK: usize = 16;
    const HAS_CHANNEL: u8 = 0x20;
    match packet::ether_type(skb, l3_at + 2) {
        Some(control) if (control >> 8) as u8 & HAS_CHANNEL != 0 => TAG + CHANNEL + CHECK,
        Some(_) => TAG + CHECK,
        None => 0,
    }
}

/// How many frames a buffer will be whose segments nobody has counted: of virtual machines (tun, macvtap), and of packet
/// sockets with a header for it.
///
/// The kernel has worked out the number for `wire_len`, and does not tell it: each segment but the first adds headers of
/// one length. What is left of the buffer without one set of headers is cut into `size`.
#[inline(always)]
fn uncounted_segments(len: u32, wire_len: u32, size: u32) -> u64 {
    let (len, size) = (len as u64, size as u64);
    let added = (wire_len as u64).saturating_sub(len);
    let most = len.div_ceil(size);
    if added == 0 || most < 2 {
        return 1;
    }
    let headers = added / (most - 1);
    let fits = headers * (most - 1) == added && len.saturating_sub(headers).div_ceil(size) == most;
    if fits { most } else { most - 1 }
}

#[inline(always)]
fn sees_answers6() -> bool {
    SEES_ANSWERS6.get(0).is_some_and(|seen| *seen != 0)
}

/// A socket that is not one of this namespace: bridges, and devices like macvlan, hand frames of another one on with it.
#[inline(always)]
fn is_of_another_namespace(sk: *mut bpf_sock) -> bool {
    // Asked only where there are others: it takes two reads of kernel memory.
    if maps::own_inode() == 0 || LIVE.get(0).is_none_or(|live| live.others == 0) {
        return false;
    }
    if kernel::netns_inode(sk) == maps::own_inode() {
        return false;
    }
    // SAFETY: checked for null by the caller; the result is checked below.
    let full = unsafe { bpf_sk_fullsock(sk) };
    // The kernel answers with raw sockets of its own, lent to one namespace after the other: when an answer has
    // waited for a neighbour's address, its socket is elsewhere by now.
    // SAFETY: checked for null.
    !full.is_null() && unsafe { (*full).type_ } != SOCK_RAW
}

/// The frame carries a packet of `sk` inside another one: tunnel devices keep the socket of what they wrap.
///
/// A packet that is not wrapped has just passed the socket ledger, so its destination is the one that its socket
/// counts now. TCP, ICMP and SCTP wrap nothing, and a datagram from the socket's own port is its own: neither asks
/// the socket's storage.
#[inline(always)]
fn is_outside_of_tunnel(skb: *mut __sk_buff, sk: *mut bpf_sock, l3_at: usize) -> bool {
    let Some((protocol, source_port)) = packet::outer_protocol(skb, l3_at) else { return false };
    match protocol {
        IPPROTO_TCP | IPPROTO_ICMP | IPPROTO_IGMP | IPPROTO_ICMPV6 | IPPROTO_SCTP | IPPROTO_UDPLITE => {
            return false;
        }
        IPPROTO_UDP => {
            // SAFETY: checked for null by the caller; the result is checked below.
            let full = unsafe { bpf_sk_fullsock(sk) };
            if full.is_null() {
                // A TCP connection that is not one yet, or no longer.
                return true;
            }
            // SAFETY: checked above.
            let (own_protocol, own_port) = unsafe { ((*full).protocol, (*full).src_port) };
            if own_protocol == IPPROTO_UDP as u32 && own_port == source_port as u32 {
                return false;
            }
        }
        _ => {}
    }
    let state = maps::socket_state(sk);
    if state.is_null() {
        return true;
    }
    let Some(remote) = packet::destination(skb, l3_at) else { return false };
    // SAFETY: checked above.
    let Some(slot) = SLOTS.get_ptr(slot_of(unsafe { (*state).slot_ref })) else { return true };
    // SAFETY: from a checked lookup.
    let hot = unsafe { &(*slot).hot };
    let known: *const u64 = (&raw const hot.remote).cast();
    // SAFETY: sixteen bytes, aligned to eight by the layout of the slot.
    let same = unsafe { *known == remote[0] && *known.add(1) == remote[1] };
    !(same && (hot.protocol == protocol || packet::is_extension(protocol)))
}

/// Bytes of a tunnel's frames when the buffer is cut into `frames` later: each repeats the headers from the link's to
/// the innermost. Older kernels tell a `wire_len` that repeats the outer ones only.
#[inline(always)]
fn wrapped_bytes(skb: *mut __sk_buff, sk: *mut bpf_sock, frames: u64) -> Option<u64> {
    // SAFETY: not null, or the frame had no class of a socket; the result is checked below.
    let full = unsafe { bpf_sk_fullsock(sk) };
    if full.is_null() {
        return None;
    }
    // SAFETY: checked above; a plain field of the context.
    let (protocol, len) = unsafe { ((*full).protocol, (*skb).len as u64) };
    let headers = kernel::inner_headers(skb, protocol == u32::from(IPPROTO_TCP))?;
    Some(len + (frames - 1) * headers)
}

/// Where the network header of a packet socket's frame begins; `None` when it is not IP.
///
/// Such a socket may claim any protocol, and a ring of it keeps all but the link header outside of the linear part:
/// what counts is what the frame itself says.
#[inline(always)]
fn packet_socket_l3(skb: *mut __sk_buff, l3_at: usize) -> Option<usize> {
    // SAFETY: a plain field of the context.
    let len = unsafe { (*skb).len };
    // SAFETY: `skb` is the context. No byte changes; when it fails, what can be read is read.
    unsafe { bpf_skb_pull_data(skb, if len < HEADERS { len } else { HEADERS }) };
    if l3_at != ETHERNET_HEADER {
        return Some(l3_at);
    }
    match packet::ether_type(skb, ETHERNET_HEADER) {
        Some(ETH_P_IP | ETH_P_IPV6) => Some(ETHERNET_HEADER),
        Some(ETH_P_8021Q | ETH_P_8021AD) => match packet::ether_type(skb, ETHERNET_HEADER + VLAN_TAG) {
            Some(ETH_P_IP | ETH_P_IPV6) => Some(ETHERNET_HEADER + VLAN_TAG),
            Some(_) | None => None,
        },
        Some(_) | None => None,
    }
}
