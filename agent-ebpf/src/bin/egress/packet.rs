//! Reads the headers of one packet: where it goes, and how many bytes it is on the wire.
//!
//! The one door to packet bytes. Direct packet access, because `bpf_skb_load_bytes` costs 6 ns a call; locally
//! made packets always have their headers in the linear part. What cannot be read is counted as a loss.
//!
//! A GSO buffer of n segments passes once, with one set of headers: on the wire it is
//! `len + (n - 1) * headers` bytes.

use aya_ebpf::bindings::__sk_buff;

const IPPROTO_HOPOPTS: u8 = 0;
pub(crate) const IPPROTO_ICMP: u8 = 1;
pub(crate) const IPPROTO_IGMP: u8 = 2;
pub(crate) const IPPROTO_TCP: u8 = 6;
pub(crate) const IPPROTO_UDP: u8 = 17;
const IPPROTO_ROUTING: u8 = 43;
const IPPROTO_FRAGMENT: u8 = 44;
const IPPROTO_AH: u8 = 51;
pub(crate) const IPPROTO_ICMPV6: u8 = 58;
const IPPROTO_DSTOPTS: u8 = 60;
pub(crate) const IPPROTO_SCTP: u8 = 132;
pub(crate) const IPPROTO_UDPLITE: u8 = 136;

pub(crate) const IPV4_HEADER: usize = 20;
pub(crate) const IPV6_HEADER: usize = 40;
/// Extension headers looked through. Real packets have one or two; beyond, the rest counts as payload.
const MAX_EXTENSIONS: usize = 4;

pub(crate) const TCP_SYN: u8 = 0x02;
pub(crate) const TCP_RST: u8 = 0x04;
pub(crate) const TCP_ACK: u8 = 0x10;

/// One buffer on its way out.
pub(crate) struct Packet {
    /// Destination, IPv4 as `::ffff:a.b.c.d`, in memory order.
    pub(crate) remote: [u64; 2],
    /// Destination port in network order; for ICMP the type in the first byte.
    pub(crate) remote_port: [u8; 2],
    pub(crate) protocol: u8,
    /// TCP flags; zero for other protocols.
    pub(crate) tcp_flags: u8,
    /// Layer 3 bytes on the wire.
    pub(crate) wire_bytes: u64,
    /// Layer 4 payload bytes.
    pub(crate) payload_bytes: u64,
    /// Packets on the wire.
    pub(crate) packets: u64,
    /// Longer than 1,280 bytes, not segmented later, so the MTU may cut it into fragments.
    pub(crate) may_fragment: bool,
    pub(crate) is_ipv6: bool,
    /// The interface, as slots remember it.
    pub(crate) via: u8,
    /// Not the first fragment, or headers were not understood: no ports.
    headers: usize,
    l3_at: usize,
    l4_at: usize,
    has_ports: bool,
}

/// As in RFC 791. Read whole, so that there is one comparison with the end of the packet.
#[repr(C)]
#[derive(Clone, Copy)]
struct Ipv4Header {
    version_and_length: u8,
    service: u8,
    length: u16,
    id: u16,
    fragment: u16,
    hops: u8,
    protocol: u8,
    checksum: u16,
    source: u32,
    destination: u32,
}

/// As in RFC 8200.
#[repr(C)]
#[derive(Clone, Copy)]
struct Ipv6Header {
    version_and_class: u32,
    length: u16,
    next_header: u8,
    hops: u8,
    source: [u64; 2],
    destination: [u64; 2],
}

/// An IPv4 header without options, and the ports behind it.
#[repr(C)]
#[derive(Clone, Copy)]
struct PlainIpv4 {
    ip: Ipv4Header,
    source_port: u16,
    destination_port: u16,
    _rest: u32,
}

/// An IPv6 header without extensions, and the ports behind it.
#[repr(C)]
#[derive(Clone, Copy)]
struct PlainIpv6 {
    ip: Ipv6Header,
    source_port: u16,
    destination_port: u16,
    _rest: u32,
}

/// The bytes between two packet pointers.
#[derive(Clone, Copy)]
struct Bytes {
    start: usize,
    end: usize,
}

impl Bytes {
    #[inline(always)]
    fn of(skb: *mut __sk_buff) -> Self {
        // SAFETY: `skb` is the context; the verifier turns the two fields into packet pointers.
        unsafe { Self { start: (*skb).data as usize, end: (*skb).data_end as usize } }
    }

    /// Reads a `T` at `offset`. The comparison is the form the verifier recognizes, for types of two bytes and more:
    /// for one byte the compiler writes `at >= end`, which teaches the verifier nothing.
    #[inline(always)]
    fn read<T: Copy>(self, offset: usize) -> Option<T> {
        let at = self.start + offset;
        if at + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: in bounds by the comparison above, which the verifier checks again. The BPF machine has no
        // alignment demands on the architectures we support, and the verifier refuses the load on those that have.
        Some(unsafe { *(at as *const T) })
    }
}

/// The protocol that the network header names first, and the source port if one follows it directly.
#[inline(always)]
pub(crate) fn outer_protocol(skb: *mut __sk_buff, l3_at: usize) -> Option<(u8, u16)> {
    let bytes = Bytes::of(skb);
    let (protocol, l4_at) = match bytes.read::<u16>(l3_at)?.to_ne_bytes()[0] {
        0x45 => (bytes.read::<u16>(l3_at + 8)?.to_ne_bytes()[1], l3_at + IPV4_HEADER),
        first if first >> 4 == 4 => (bytes.read::<u16>(l3_at + 8)?.to_ne_bytes()[1], usize::MAX),
        first if first >> 4 == 6 => (bytes.read::<u16>(l3_at + 6)?.to_ne_bytes()[0], l3_at + IPV6_HEADER),
        _ => return None,
    };
    let source_port = if l4_at == usize::MAX { 0 } else { u16::from_be(bytes.read::<u16>(l4_at)?) };
    Some((protocol, source_port))
}

/// Where the packet goes, IPv4 as `::ffff:a.b.c.d`, in memory order.
#[inline(always)]
pub(crate) fn destination(skb: *mut __sk_buff, l3_at: usize) -> Option<[u64; 2]> {
    let bytes = Bytes::of(skb);
    match bytes.read::<u16>(l3_at)?.to_ne_bytes()[0] >> 4 {
        4 => bytes.read::<u32>(l3_at + 16).map(mapped),
        6 => bytes.read::<[u64; 2]>(l3_at + 24),
        _ => None,
    }
}

/// An IPv6 extension header, behind which the protocol is.
pub(crate) const fn is_extension(protocol: u8) -> bool {
    matches!(protocol, IPPROTO_HOPOPTS | IPPROTO_ROUTING | IPPROTO_FRAGMENT | IPPROTO_AH | IPPROTO_DSTOPTS)
}

/// The type in the two bytes before `l3_at`.
#[inline(always)]
pub(crate) fn ether_type(skb: *mut __sk_buff, l3_at: usize) -> Option<u16> {
    Bytes::of(skb).read::<u16>(l3_at - 2).map(u16::from_be)
}

impl Packet {
    /// Reads an IPv4 packet as nearly all are: TCP or UDP, no options, not long enough to be fragmented. `None`:
    /// anything else, for [`Self::read`].
    ///
    /// It gives what [`Self::read`] would give. With all offsets known to the compiler it takes a third of the
    /// instructions, most of which would move values to and from the stack.
    #[inline(always)]
    pub(crate) fn read_plain_ipv4(skb: *mut __sk_buff) -> Option<Self> {
        let bytes = Bytes::of(skb);
        let PlainIpv4 { ip, destination_port, .. } = bytes.read(0)?;
        if ip.version_and_length != 0x45 || u16::from_be(ip.fragment) & 0x1fff != 0 {
            return None;
        }
        let packet = Self::new(mapped(ip.destination), ip.protocol, false, 0, IPV4_HEADER);
        packet.read_plain_transport(skb, bytes, destination_port)
    }

    /// The same for IPv6, without extension headers.
    #[inline(always)]
    pub(crate) fn read_plain_ipv6(skb: *mut __sk_buff) -> Option<Self> {
        let bytes = Bytes::of(skb);
        let PlainIpv6 { ip, destination_port, .. } = bytes.read(0)?;
        if ip.version_and_class.to_ne_bytes()[0] >> 4 != 6 {
            return None;
        }
        let packet = Self::new(ip.destination, ip.next_header, true, 0, IPV6_HEADER);
        packet.read_plain_transport(skb, bytes, destination_port)
    }

    #[inline(always)]
    fn read_plain_transport(
        mut self,
        skb: *mut __sk_buff,
        bytes: Bytes,
        destination_port: u16,
    ) -> Option<Self> {
        self.remote_port = destination_port.to_ne_bytes();
        self.has_ports = true;
        if self.protocol == IPPROTO_UDP {
            self.headers += 8;
        } else if self.protocol == IPPROTO_TCP {
            let [offset, flags] = bytes.read::<u16>(self.l4_at + 12)?.to_ne_bytes();
            self.tcp_flags = flags;
            self.headers += (offset >> 4) as usize * 4;
        } else {
            return None;
        }
        self.measure(skb);
        if self.may_fragment { None } else { Some(self) }
    }

    /// Reads the packet whose network header is `l3_at` bytes into the buffer. `None`: not readable as IP.
    #[inline(always)]
    pub(crate) fn read(skb: *mut __sk_buff, l3_at: usize) -> Option<Self> {
        let bytes = Bytes::of(skb);
        match bytes.read::<u16>(l3_at)?.to_ne_bytes()[0] >> 4 {
            4 => Self::read_ipv4(skb, bytes, l3_at),
            6 => Self::read_ipv6(skb, bytes, l3_at),
            _ => None,
        }
    }

    #[inline(always)]
    fn read_ipv4(skb: *mut __sk_buff, bytes: Bytes, l3_at: usize) -> Option<Self> {
        let Ipv4Header { version_and_length, fragment, protocol, destination, .. } = bytes.read(l3_at)?;
        let header = (version_and_length & 0x0f) as usize * 4;
        if header < IPV4_HEADER {
            return None;
        }
        let fragment_offset = u16::from_be(fragment) & 0x1fff;
        let mut packet = Self::new(mapped(destination), protocol, false, l3_at, l3_at + header);
        packet.read_transport(bytes, fragment_offset == 0);
        packet.measure(skb);
        Some(packet)
    }

    #[inline(always)]
    fn read_ipv6(skb: *mut __sk_buff, bytes: Bytes, l3_at: usize) -> Option<Self> {
        let Ipv6Header { next_header, destination, .. } = bytes.read(l3_at)?;
        let mut protocol = next_header;
        let mut l4_at = l3_at + IPV6_HEADER;
        let mut first_fragment = true;
        for _ in 0..MAX_EXTENSIONS {
            let (add, unit) = match protocol {
                // AH counts 4-byte words minus two, the others 8-byte words minus one.
                IPPROTO_AH => (2, 4),
                IPPROTO_HOPOPTS | IPPROTO_ROUTING | IPPROTO_DSTOPTS | IPPROTO_FRAGMENT => (1, 8),
                _ => break,
            };
            let [next, words, offset_high, offset_low] = bytes.read::<u32>(l4_at)?.to_ne_bytes();
            let mut words = words;
            if protocol == IPPROTO_FRAGMENT {
                first_fragment = u16::from_be_bytes([offset_high, offset_low]) & 0xfff8 == 0;
                words = 0;
            }
            protocol = next;
            let length = (words as usize + add) * unit;
            l4_at += length;
        }
        let mut packet = Self::new(destination, protocol, true, l3_at, l4_at);
        packet.read_transport(bytes, first_fragment);
        packet.measure(skb);
        Some(packet)
    }

    #[inline(always)]
    const fn new(remote: [u64; 2], protocol: u8, is_ipv6: bool, l3_at: usize, l4_at: usize) -> Self {
        Self {
            remote,
            remote_port: [0; 2],
            protocol,
            tcp_flags: 0,
            wire_bytes: 0,
            payload_bytes: 0,
            packets: 0,
            may_fragment: false,
            is_ipv6,
            via: 0,
            headers: l4_at - l3_at,
            l3_at,
            l4_at,
            has_ports: false,
        }
    }

    /// Ports, flags, and the length of the transport header.
    #[inline(always)]
    fn read_transport(&mut self, bytes: Bytes, first_fragment: bool) {
        if !first_fragment {
            return;
        }
        let length = match self.protocol {
            IPPROTO_TCP => {
                let Some(offset_and_flags) = bytes.read::<u16>(self.l4_at + 12) else { return };
                let [offset, flags] = offset_and_flags.to_ne_bytes();
                self.tcp_flags = flags;
                self.has_ports = true;
                (offset >> 4) as usize * 4
            }
            IPPROTO_UDP | IPPROTO_UDPLITE => {
                self.has_ports = true;
                8
            }
            IPPROTO_SCTP => {
                self.has_ports = true;
                12
            }
            IPPROTO_ICMP | IPPROTO_ICMPV6 => {
                if let Some(kind_and_code) = bytes.read::<u16>(self.l4_at) {
                    self.remote_port = [kind_and_code.to_ne_bytes()[0], 0];
                }
                8
            }
            _ => 0,
        };
        if self.has_ports {
            match bytes.read::<u16>(self.l4_at + 2) {
                Some(port) => self.remote_port = port.to_ne_bytes(),
                None => self.has_ports = false,
            }
        }
        self.headers += length;
    }

    /// Turns the length of the buffer into bytes on the wire.
    #[inline(always)]
    fn measure(&mut self, skb: *mut __sk_buff) {
        // SAFETY: plain fields of the context.
        let (len, segments, segment_size) = unsafe { ((*skb).len, (*skb).gso_segs, (*skb).gso_size) };
        // SAFETY: as above.
        self.via = homeport_ebpf::slot::via(unsafe { (*skb).ifindex });
        let len = (len as u64).saturating_sub(self.l3_at as u64);
        let headers = self.headers as u64;
        self.payload_bytes = len.saturating_sub(headers);
        self.packets = 1;
        if segment_size != 0 {
            // Buffers injected through tun or packet sockets carry a segment size and no count.
            let counted = segments as u64;
            let size = segment_size as u64;
            self.packets = if counted != 0 { counted } else { self.payload_bytes.div_ceil(size).max(1) };
            self.wire_bytes = len + (self.packets - 1) * headers;
        } else {
            self.wire_bytes = len;
            self.may_fragment = len > 1280 && self.protocol != IPPROTO_TCP;
        }
    }

    /// Adds what fragmentation will add: every fragment repeats the network header, with its options and extensions.
    #[inline(always)]
    pub(crate) fn fragment(&mut self, mtu: u64) {
        let header = (self.l4_at - self.l3_at) as u64;
        let overhead = if self.is_ipv6 { 8 } else { 0 };
        if self.wire_bytes <= mtu || mtu < 68 {
            return;
        }
        // Never zero, or the compiler calls a panic, which the verifier refuses; the kernel sends no such fragments.
        let room = (mtu.saturating_sub(header + overhead) & !7).max(8);
        let fragments = (self.wire_bytes - header).div_ceil(room);
        self.wire_bytes += (fragments - 1) * header + fragments * overhead;
        self.packets = fragments;
    }

    /// The bytes on the wire are known better than from these headers.
    #[inline(always)]
    pub(crate) const fn resize(&mut self, wire_bytes: u64) {
        self.wire_bytes = wire_bytes;
        self.payload_bytes = wire_bytes.saturating_sub(self.headers as u64 * self.packets);
    }

    /// A TCP packet that carries no data.
    #[inline(always)]
    pub(crate) const fn is_tcp_control(&self) -> bool {
        self.protocol == IPPROTO_TCP && self.payload_bytes == 0
    }

    /// We open a connection.
    #[inline(always)]
    pub(crate) const fn is_tcp_open(&self) -> bool {
        self.protocol == IPPROTO_TCP && self.tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST) == TCP_SYN
    }

    /// We answer somebody who opens a connection.
    #[inline(always)]
    pub(crate) const fn is_tcp_answer(&self) -> bool {
        self.tcp_flags & (TCP_SYN | TCP_ACK) == TCP_SYN | TCP_ACK
    }

    /// Our address and port, which only the first packet of a flow asks for.
    #[inline(always)]
    pub(crate) fn local(&self, skb: *mut __sk_buff) -> ([u64; 2], [u8; 2]) {
        let bytes = Bytes::of(skb);
        let address = if self.is_ipv6 {
            bytes.read::<[u64; 2]>(self.l3_at + 8).unwrap_or([0; 2])
        } else {
            let address: u32 = bytes.read(self.l3_at + 12).unwrap_or(0);
            mapped(address)
        };
        let port =
            if self.has_ports { bytes.read::<u16>(self.l4_at).unwrap_or(0).to_ne_bytes() } else { [0; 2] };
        (address, port)
    }
}

/// An IPv4 address in memory order as `::ffff:a.b.c.d`.
#[inline(always)]
const fn mapped(address: u32) -> [u64; 2] {
    [0, u64::from_ne_bytes([0, 0, 0xff, 0xff, 0, 0, 0, 0]) | (address as u64) << (32 * LITTLE)]
}

/// One on little-endian machines: the last four bytes of an address in memory are the high half of a word.
const LITTLE: u32 = cfg!(target_endian = "little") as u32;
