//! Senders and receivers over UDP.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::{say, say_sent, sys::set_udp_segment};

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
}

pub(crate) fn send(send: &Send) -> Result<()> {
    let first = send.to[0];
    let any: SocketAddr =
        if first.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any)?;
    if let Some(bytes) = send.segment {
        set_udp_segment(&socket, bytes).context("UDP_SEGMENT")?;
    }
    if send.connected {
        ensure!(send.to.len() == 1, "a connected socket has one peer");
        socket.connect(first)?;
    }
    let buffer = vec![b'x'; send.size];
    for (_, to) in (0..send.count).zip(send.to.iter().cycle()) {
        let sent = if send.connected { socket.send(&buffer) } else { socket.send_to(&buffer, to) };
        ensure!(sent.with_context(|| format!("send to {to}"))? == send.size, "part of a datagram was sent");
    }
    say_sent(send.count * send.size as u64)
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
