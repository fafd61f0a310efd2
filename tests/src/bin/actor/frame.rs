//! Frames made by hand, and packet sockets to send them.

use std::net::{Ipv4Addr, UdpSocket};

use anyhow::{Context as _, Result};
use rustix::net::{AddressFamily, Protocol, SendFlags, SocketFlags, SocketType};

use crate::{impossible::needs, say_sent, sys};

/// IPv4 and UDP.
pub(crate) const HEADER_BYTES: usize = 28;

/// What is in the frames, and where they leave.
#[derive(clap::Args)]
pub(crate) struct Content {
    #[arg(long)]
    pub(crate) interface: String,
    /// Hardware address of the next hop
    #[arg(long, value_parser = parse_mac)]
    pub(crate) neighbour: [u8; 6],
    #[arg(long)]
    pub(crate) from: Ipv4Addr,
    #[arg(long)]
    pub(crate) to: Ipv4Addr,
    #[arg(long, default_value_t = 9000)]
    port: u16,
    /// Payload of one datagram
    #[arg(long)]
    pub(crate) size: u16,
    #[arg(long)]
    pub(crate) count: u64,
}

impl Content {
    /// A datagram with its IPv4 header; without a checksum of the payload, as UDP allows.
    pub(crate) fn packet(&self) -> Vec<u8> {
        let length = HEADER_BYTES as u16 + self.size;
        let mut packet = ip_header(17, length, self.from, self.to).to_vec();
        for number in [4000, self.port, 8 + self.size, 0] {
            packet.extend(number.to_be_bytes());
        }
        packet.resize(length.into(), b'x');
        packet
    }

    /// The same with an Ethernet header.
    pub(crate) fn frame(&self) -> Vec<u8> {
        [self.ethernet_header(), self.packet()].concat()
    }

    /// A TCP segment that is cut into `segments` of the usual size later, behind the header by which virtual machines
    /// ask for that (`struct virtio_net_hdr`).
    pub(crate) fn uncut_frame(&self, segments: u16) -> Vec<u8> {
        const ETHERNET: u16 = 14;
        const IP: u16 = 20;
        const TCP: u16 = 20;
        const NEEDS_CHECKSUM: u8 = 1;
        const GSO_TCPV4: u8 = 1;
        const CHECKSUM_AT: u16 = 16;
        let mut packet = ip_header(6, IP + TCP + self.size * segments, self.from, self.to).to_vec();
        for number in [4000, self.port] {
            packet.extend(number.to_be_bytes());
        }
        // Numbers, then the length of the header and PSH with ACK, then the window; the host sums it all up.
        packet.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
        packet.resize(usize::from(IP + TCP + self.size * segments), b'x');
        let mut header = vec![NEEDS_CHECKSUM, GSO_TCPV4];
        for number in [ETHERNET + IP + TCP, self.size, ETHERNET + IP, CHECKSUM_AT] {
            header.extend(number.to_ne_bytes());
        }
        [header, self.ethernet_header(), packet].concat()
    }

    fn ethernet_header(&self) -> Vec<u8> {
        let source = [2, 0, 0, 0, 0, 9];
        [&self.neighbour[..], &source[..], &[0x08, 0x00][..]].concat()
    }

    pub(crate) fn payload_bytes(&self) -> u64 {
        self.count * u64::from(self.size)
    }

    /// An AF_XDP socket cannot be asked, so another one is.
    pub(crate) fn ifindex(&self) -> Result<u32> {
        rustix::net::netdevice::name_to_index(UdpSocket::bind("127.0.0.1:0")?, &self.interface)
            .with_context(|| format!("interface {}", self.interface))
    }
}

fn ip_header(protocol: u8, length: u16, from: Ipv4Addr, to: Ipv4Addr) -> [u8; 20] {
    let mut header = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header[2..4].copy_from_slice(&length.to_be_bytes());
    header[12..16].copy_from_slice(&from.octets());
    header[16..20].copy_from_slice(&to.octets());
    let sum: u32 = header.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    header[10..12].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    header
}

fn parse_mac(text: &str) -> Result<[u8; 6]> {
    let bytes: Vec<u8> = text
        .split(':')
        .map(|part| u8::from_str_radix(part, 16))
        .collect::<Result<_, _>>()
        .context("hardware address")?;
    bytes.try_into().ok().context("six bytes")
}

#[derive(clap::Args)]
pub(crate) struct Send {
    #[command(flatten)]
    content: Content,
    /// The kernel writes the link header
    #[arg(long)]
    datagram: bool,
    /// Past the queue, and past what looks at the queue
    #[arg(long)]
    bypass: bool,
}

pub(crate) fn send(send: &Send) -> Result<()> {
    let kind = if send.datagram { SocketType::DGRAM } else { SocketType::RAW };
    let ip = Protocol::from_raw(std::num::NonZero::new(u32::from(0x0800_u16.to_be())).context("not zero")?);
    let socket = needs(
        "AF_PACKET",
        rustix::net::socket_with(AddressFamily::PACKET, kind, SocketFlags::empty(), Some(ip)),
    )?;
    let ifindex = send.content.ifindex()?;
    sys::bind_packet(&socket, ifindex)?;
    if send.bypass {
        let on: libc::c_int = 1;
        let option = sys::set_option(&socket, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, &on);
        needs("PACKET_QDISC_BYPASS", option)?;
    }
    let (packet, frame) = (send.content.packet(), send.content.frame());
    for _ in 0..send.content.count {
        if send.datagram {
            sys::send_to_neighbour(&socket, ifindex, send.content.neighbour, &packet)?;
        } else {
            rustix::net::send(&socket, &frame, SendFlags::empty())?;
        }
    }
    say_sent(send.content.payload_bytes())
}
