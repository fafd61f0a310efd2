//! Bytes that have no slot, kept per destination.
//!
//! Two hash maps of this shape are flipped every sweep: the programs write to one while the agent empties the
//! other (emptying a map under its writer lost 0.03 % of the packets in a measurement; flipped maps lost none).

use crate::Plain;

/// TCP packets without payload that belong to no counted flow: SYN-ACK, reset, bare ACK.
pub const CLASS_CONTROL: u8 = 1;
/// Packets of local sockets for which no slot was free.
pub const CLASS_OVERFLOW: u8 = 2;
/// Frames at an edge interface with no local socket: routed, bridged, of a container or a virtual machine.
pub const CLASS_FORWARDED: u8 = 3;
/// Frames at an edge interface from a packet socket.
pub const CLASS_PACKET: u8 = 4;
/// Frames at an edge interface that carry the packet of a local socket inside another one: the outside of a tunnel.
pub const CLASS_TUNNEL: u8 = 6;
/// ACKs of connections in TIME-WAIT, which kernels from 6.18 on show to the interface only.
pub const CLASS_TIME_WAIT: u8 = 5;
/// IP frames at an edge interface that the kernel of this host made, and showed to no socket ledger: IPv6 resets, IGMP
/// reports, IPv6 handshake answers before 6.6.
pub const CLASS_KERNEL: u8 = 7;
/// Whether a packet of this protocol that the kernel made without a socket is the outside of a tunnel: everything but its
/// own answers and reports. Asked of the first protocol behind the network header; MLD reports begin with options.
#[inline(always)]
pub const fn is_outside(protocol: u8) -> bool {
    const HOP_BY_HOP: u8 = 0;
    const ICMP: u8 = 1;
    const IGMP: u8 = 2;
    const TCP: u8 = 6;
    const ICMPV6: u8 = 58;
    const SCTP: u8 = 132;
    !matches!(protocol, HOP_BY_HOP | ICMP | IGMP | TCP | ICMPV6 | SCTP)
}

/// Instead of an interface: the packet was sent in another network namespace than the agent's.
pub const ELSEWHERE: u32 = u32::MAX;

/// All of them.
pub const CLASSES: [u8; 7] = [
    CLASS_CONTROL,
    CLASS_OVERFLOW,
    CLASS_FORWARDED,
    CLASS_PACKET,
    CLASS_TIME_WAIT,
    CLASS_TUNNEL,
    CLASS_KERNEL,
];

/// Key.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AsideKey {
    /// Destination; IPv4 as `::ffff:a.b.c.d`.
    pub remote: [u8; 16],
    /// Interface of the agent's network namespace, or [`ELSEWHERE`]; zero: not known.
    pub ifindex: u32,
    /// IP protocol.
    pub protocol: u8,
    /// `CLASS_*`.
    pub class: u8,
    /// `WAY_*`; [`WAY_DIRECT`](crate::slot::WAY_DIRECT) for what was seen at an edge interface.
    pub way: u8,
    /// Zero.
    pub _pad: u8,
}

impl AsideKey {
    /// Where bytes of a class go when the map is full: they lose their destination, and are counted all the same. The
    /// agent makes these entries before the map is written to.
    #[inline(always)]
    pub const fn rest(class: u8, way: u8) -> Self {
        Self { remote: [0; 16], ifindex: 0, protocol: 0, class, way, _pad: 0 }
    }
}

/// Value.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AsideValue {
    /// Layer 3 bytes as segmented on the wire.
    pub wire_bytes: u64,
    /// Layer 4 payload bytes.
    pub payload_bytes: u64,
    /// Packets on the wire.
    pub packets: u64,
}

/// Frames of one interface, by what sent them; one cell per CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameCount {
    /// Bytes as the NIC counts them, link header included.
    pub frame_bytes: u64,
    /// Frames on the wire.
    pub frames: u64,
}

/// What tc saw leave one interface.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceCount {
    /// IP frames of local sockets, and answers of the kernel itself.
    pub socket: FrameCount,
    /// IP frames without a local socket.
    pub forwarded: FrameCount,
    /// Frames of packet sockets.
    pub packet: FrameCount,
    /// Outer frames of tunnels made on this host: what they carry is of a local socket, or has none.
    pub tunnel: FrameCount,
    /// ACKs in TIME-WAIT.
    pub time_wait: FrameCount,
    /// Frames that are not IP: ARP, LLDP...
    pub non_ip: FrameCount,
    /// Of all those, what a card does not count that counts a large buffer once instead of its segments: the
    /// frames beyond the first, and their headers. Virtual cables and virtual cards do.
    pub folded: FrameCount,
}

// SAFETY: repr(C), integers and byte arrays only, padding explicit (sizes below).
unsafe impl Plain for AsideKey {}
// SAFETY: as above.
unsafe impl Plain for AsideValue {}
// SAFETY: as above.
unsafe impl Plain for InterfaceCount {}

const _: () = assert!(size_of::<AsideKey>() == 24);
const _: () = assert!(size_of::<AsideValue>() == 24);
const _: () = assert!(size_of::<InterfaceCount>() == 112);
