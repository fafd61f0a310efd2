//! Raw IP and ping sockets.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZero,
};

use anyhow::{Context as _, Result};
use rustix::net::{AddressFamily, Protocol, SendFlags, SocketFlags, SocketType, ipproto};

use crate::{impossible::needs, say_sent, sys};

#[derive(clap::Args)]
pub(crate) struct Send {
    #[arg(long)]
    to: IpAddr,
    #[arg(long)]
    protocol: u8,
    #[arg(long)]
    size: usize,
    #[arg(long)]
    count: u64,
    /// Write the IPv4 header ourselves, with this as our address
    #[arg(long)]
    source: Option<Ipv4Addr>,
}

pub(crate) fn send(send: &Send) -> Result<()> {
    let number = NonZero::new(u32::from(send.protocol)).context("protocol 0")?;
    let family = if send.to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(
        family,
        SocketType::RAW,
        SocketFlags::empty(),
        Some(Protocol::from_raw(number)),
    )?;
    let mut packet = vec![b'x'; send.size];
    if let (Some(source), IpAddr::V4(to)) = (send.source, send.to) {
        let on: libc::c_int = 1;
        sys::set_option(&socket, libc::IPPROTO_IP, libc::IP_HDRINCL, &on)?;
        // Length, number and checksum are the kernel's to fill in.
        let mut header = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, send.protocol, 0, 0];
        header.extend(source.octets());
        header.extend(to.octets());
        packet.splice(..0, header);
    }
    for _ in 0..send.count {
        rustix::net::sendto(&socket, &packet, SendFlags::empty(), &SocketAddr::new(send.to, 0))?;
    }
    say_sent(send.count * send.size as u64)
}

#[derive(clap::Args)]
pub(crate) struct Ping {
    #[arg(long)]
    to: IpAddr,
    #[arg(long)]
    size: usize,
    #[arg(long)]
    count: u64,
}

/// Echo requests from a datagram socket, as an unprivileged ping sends them.
pub(crate) fn ping(ping: &Ping) -> Result<()> {
    let (family, protocol, echo_request) = match ping.to {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP, 8),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6, 128),
    };
    let socket = needs(
        "ping socket",
        rustix::net::socket_with(family, SocketType::DGRAM, SocketFlags::empty(), Some(protocol)),
    )?;
    let mut packet = vec![echo_request, 0, 0, 0, 0, 0, 0, 0];
    packet.resize(8 + ping.size, b'x');
    for _ in 0..ping.count {
        rustix::net::sendto(&socket, &packet, SendFlags::empty(), &SocketAddr::new(ping.to, 0))?;
    }
    say_sent(ping.count * ping.size as u64)
}
