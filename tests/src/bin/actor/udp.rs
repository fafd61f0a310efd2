//! Senders and receivers over UDP.

use std::{
    io::IoSlice,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use anyhow::{Context as _, Result, ensure};
use rustix::net::{AddressFamily, MMsgHdr, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, ipproto};
use serde_json::json;

use crate::{
    impossible::needs,
    say, say_sent,
    sys::{set_ip_options, set_option},
    uring,
    way::Way,
};

/// How datagrams are handed to the kernel.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum How {
    /// One call each
    Single,
    /// sendmmsg(2): sixteen with one call
    Many,
    /// io_uring, which needs a connected socket
    IoUring,
}

#[derive(clap::Args)]
pub(crate) struct Send {
    /// With several, datagrams go to each in turn
    #[arg(long, required = true)]
    to: Vec<SocketAddr>,
    /// Size of one datagram, or of one buffer with `--segment`
    #[arg(long)]
    size: usize,
    #[arg(long)]
    count: u64,
    /// With connect(2)
    #[arg(long)]
    connected: bool,
    /// The kernel cuts each buffer into datagrams of this size
    #[arg(long)]
    segment: Option<u16>,
    #[arg(long, value_enum, default_value = "single")]
    how: How,
    /// Join the multicast group ourselves, so that we get copies
    #[arg(long)]
    join: bool,
    /// Behind the IP header
    #[arg(long)]
    options: bool,
    /// Value of `IP_MTU_DISCOVER` or `IPV6_MTU_DISCOVER`
    #[arg(long)]
    discover: Option<libc::c_int>,
    /// UDP-Lite
    #[arg(long)]
    lite: bool,
    #[command(flatten)]
    way: Way,
}

pub(crate) fn send(send: &Send) -> Result<()> {
    let first = send.to[0];
    let socket = open(send, first.is_ipv4())?;
    if let Some(bytes) = send.segment {
        let bytes = libc::c_int::from(bytes);
        needs("UDP_SEGMENT", set_option(&socket, libc::SOL_UDP, libc::UDP_SEGMENT, &bytes))?;
    }
    if first.is_ipv4() {
        socket.set_broadcast(true)?;
        socket.set_multicast_ttl_v4(8)?;
    }
    if send.options {
        set_ip_options(&socket, first.is_ipv4())?;
    }
    if send.join {
        match first.ip() {
            IpAddr::V4(group) => socket.join_multicast_v4(&group, &Ipv4Addr::UNSPECIFIED)?,
            IpAddr::V6(group) => socket.join_multicast_v6(&group, 0)?,
        }
    }
    if send.connected {
        ensure!(send.to.len() == 1, "a connected socket has one peer");
        socket.connect(first)?;
    }
    match send.how {
        How::Single => send_single(&socket, send)?,
        How::Many => send_many(&socket, send)?,
        How::IoUring => {
            let buffer: &'static [u8] = vec![b'x'; send.size].leak();
            let mut sender = uring::Sender::new(uring::Style::Submitted)?;
            for _ in 0..send.count {
                ensure!(sender.send(&socket, buffer)? == send.size, "part of a datagram was sent");
            }
        }
    }
    say_sent(send.count * send.size as u64)
}

fn open(send: &Send, is_ipv4: bool) -> Result<UdpSocket> {
    let any: IpAddr = if is_ipv4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let family = if is_ipv4 { AddressFamily::INET } else { AddressFamily::INET6 };
    let protocol = if send.lite { ipproto::UDPLITE } else { ipproto::UDP };
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(protocol));
    let socket = needs("datagram socket", socket)?;
    send.way.prepare(&socket)?;
    if let Some(discover) = send.discover {
        let (level, name) = if is_ipv4 {
            (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER)
        } else {
            (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER)
        };
        set_option(&socket, level, name, &discover)?;
    }
    rustix::net::bind(&socket, &SocketAddr::new(send.way.from.unwrap_or(any), 0))?;
    Ok(UdpSocket::from(socket))
}

fn send_single(socket: &UdpSocket, send: &Send) -> Result<()> {
    let buffer = vec![b'x'; send.size];
    for (_, to) in (0..send.count).zip(send.to.iter().cycle()) {
        let sent = if send.connected { socket.send(&buffer) } else { socket.send_to(&buffer, to) };
        ensure!(sent.with_context(|| format!("send to {to}"))? == send.size, "part of a datagram was sent");
    }
    Ok(())
}

fn send_many(socket: &UdpSocket, send: &Send) -> Result<()> {
    let buffer = vec![b'x'; send.size];
    let slices = [IoSlice::new(&buffer)];
    let mut left = send.count as usize;
    while left > 0 {
        let mut ancillary: Vec<SendAncillaryBuffer<'_, '_, '_>> =
            (0..left.min(16)).map(|_| SendAncillaryBuffer::default()).collect();
        let to = rustix::net::SocketAddrAny::from(send.to[0]);
        let mut messages: Vec<MMsgHdr<'_>> =
            ancillary.iter_mut().map(|ancillary| MMsgHdr::new_with_addr(&to, &slices, ancillary)).collect();
        left -= rustix::net::sendmmsg(socket, &mut messages, SendFlags::empty())?;
    }
    Ok(())
}

#[derive(clap::Args)]
pub(crate) struct Sink {
    #[arg(long)]
    listen: SocketAddr,
}

/// Runs until it is killed.
pub(crate) fn sink(sink: &Sink) -> Result<()> {
    let socket = UdpSocket::bind(sink.listen).with_context(|| format!("bind {}", sink.listen))?;
    say(&json!({ "listening": sink.listen }))?;
    let mut buffer = vec![0; 65536];
    loop {
        socket.recv(&mut buffer)?;
    }
}
