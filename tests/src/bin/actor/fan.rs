//! Senders to very many destinations, and the receiver that holds very many connections.
//!
//! Destination `n` is address `first + n % addresses`, port `port + n / addresses`. Senders do what their input says,
//! a line each: `send FIRST COUNT` sends to so many destinations, at the pace asked for, and answers with what was
//! sent; `close` closes every socket; `end` ends.

use std::{
    collections::{HashMap, hash_map::Entry},
    io::{BufRead as _, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::mpsc::channel,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use homeport_tests::campaign::Random;
use rustix::{
    net::{AddressFamily, SocketType},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use serde_json::json;

use crate::{say, say_sent};

/// Largest datagram, and largest portion of a connection: one packet, whatever the link.
const MAX_BYTES: u64 = 1200;

#[derive(clap::Args)]
pub(crate) struct Fan {
    /// The first address; the next ones count up from it
    #[arg(long)]
    first: IpAddr,
    #[arg(long)]
    addresses: u64,
    #[arg(long)]
    port: u16,
    /// Destinations a second; as fast as possible without
    #[arg(long)]
    per_second: Option<u64>,
    /// For the sizes
    #[arg(long)]
    seed: u64,
    #[arg(long, value_enum)]
    sockets: Sockets,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Sockets {
    /// Eight UDP sockets for all destinations
    UdpShared,
    /// A connected UDP socket for each, kept
    UdpKept,
    /// A UDP socket for each, closed at once
    UdpBrief,
    /// A TCP connection for each, kept
    TcpKept,
    /// A TCP connection for each, closed at once
    TcpBrief,
}

/// What a sender has open.
#[derive(Default)]
struct Open {
    shared: Vec<UdpSocket>,
    datagrams: HashMap<u64, UdpSocket>,
    connections: HashMap<u64, TcpStream>,
}

const SHARED_SOCKETS: u64 = 8;

pub(crate) fn fan(fan: &Fan) -> Result<()> {
    allow_many_sockets()?;
    let mut random = Random::from_seed(fan.seed);
    let mut open = Open::default();
    say(&json!({ "ready": true, "pid": std::process::id() }))?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("send") => {
                let mut number = || words.next().and_then(|word| word.parse().ok());
                let (Some(first), Some(count)) = (number(), number()) else {
                    bail!("not understood: {line}")
                };
                say_sent(fan.send(&mut open, &mut random, first, count)?)?;
            }
            Some("close") => {
                open = Open::default();
                say(&json!({ "closed": true }))?;
            }
            Some("end") => return Ok(()),
            Some(_) | None => bail!("not understood: {line}"),
        }
    }
    Ok(())
}

impl Fan {
    fn send(&self, open: &mut Open, random: &mut Random, first: u64, count: u64) -> Result<u64> {
        let buffer = [b'x'; MAX_BYTES as usize];
        let started = Instant::now();
        let mut sent = 0;
        for (done, number) in (first..first + count).enumerate() {
            let to = self.destination(number)?;
            let bytes = &buffer[..random.within(1..=MAX_BYTES) as usize];
            self.send_one(open, number, to, bytes).with_context(|| format!("send to {to}"))?;
            sent += bytes.len() as u64;
            if let Some(per_second) = self.per_second
                && done % 64 == 63
            {
                let due = started + Duration::from_secs_f64(done as f64 / per_second as f64);
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        }
        Ok(sent)
    }

    fn send_one(&self, open: &mut Open, number: u64, to: SocketAddr, bytes: &[u8]) -> Result<()> {
        let any: SocketAddr = match to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let sent = match self.sockets {
            Sockets::UdpShared => {
                while (open.shared.len() as u64) < SHARED_SOCKETS {
                    open.shared.push(UdpSocket::bind(any)?);
                }
                open.shared[(number % SHARED_SOCKETS) as usize].send_to(bytes, to)?
            }
            Sockets::UdpBrief => UdpSocket::bind(any)?.send_to(bytes, to)?,
            Sockets::UdpKept => {
                if let Some(socket) = open.datagrams.get(&number) {
                    socket.send(bytes)?
                } else {
                    let socket = datagram_socket(number, any)?;
                    socket.connect(to)?;
                    let sent = socket.send(bytes)?;
                    open.datagrams.insert(number, socket);
                    sent
                }
            }
            Sockets::TcpKept => {
                let stream = match open.connections.entry(number) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(place) => place.insert(TcpStream::connect(to)?),
                };
                stream.write(bytes)?
            }
            Sockets::TcpBrief => {
                let mut stream = TcpStream::connect(to)?;
                stream.write_all(bytes)?;
                stream.shutdown(Shutdown::Write)?;
                bytes.len()
            }
        };
        ensure!(sent == bytes.len(), "{sent} of {} bytes", bytes.len());
        Ok(())
    }

    fn destination(&self, number: u64) -> Result<SocketAddr> {
        let (host, port) = (number % self.addresses, number / self.addresses);
        let address: IpAddr = match self.first {
            IpAddr::V4(first) => Ipv4Addr::from_bits(first.to_bits() + u32::try_from(host)?).into(),
            IpAddr::V6(first) => Ipv6Addr::from_bits(first.to_bits() + u128::from(host)).into(),
        };
        let port = u64::from(self.port) + port;
        Ok((address, u16::try_from(port).context("more destinations than ports")?).into())
    }
}

/// The kernel gives each UDP socket a port of its own, and has 28,000 for that: these share theirs.
fn datagram_socket(number: u64, any: SocketAddr) -> Result<UdpSocket> {
    const PORTS: std::ops::Range<u64> = 10_000..30_000;
    let family = if any.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket(family, SocketType::DGRAM, None)?;
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    let port = PORTS.start + number % (PORTS.end - PORTS.start);
    rustix::net::bind(&socket, &SocketAddr::new(any.ip(), port as u16))?;
    Ok(socket.into())
}

/// As many as may be without further rights: 20,000 in some containers.
fn allow_many_sockets() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("raise the limit of open files")
}

#[derive(clap::Args)]
pub(crate) struct Absorb {
    #[arg(long)]
    listen: SocketAddr,
    /// Keep every connection, and read nothing
    #[arg(long)]
    keep: bool,
}

/// Runs until it is killed.
pub(crate) fn absorb(absorb: &Absorb) -> Result<()> {
    /// Readers of brief connections. Most are over when they are accepted.
    const READERS: usize = 4;
    /// Connections may wait here while the machine is busy elsewhere.
    const BACKLOG: i32 = 4096;
    allow_many_sockets()?;
    let family = if absorb.listen.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &absorb.listen).with_context(|| format!("bind {}", absorb.listen))?;
    rustix::net::listen(&socket, BACKLOG)?;
    let listener = TcpListener::from(socket);
    say(&json!({ "listening": absorb.listen }))?;
    if absorb.keep {
        let mut kept = Vec::new();
        loop {
            kept.push(listener.accept()?);
        }
    }
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let (sender, streams) = channel::<TcpStream>();
            thread::spawn(move || {
                let mut buffer = [0; MAX_BYTES as usize];
                for mut stream in streams {
                    // A sender that is killed resets its connections.
                    while stream.read(&mut buffer).is_ok_and(|read| read > 0) {}
                }
            });
            sender
        })
        .collect();
    for reader in readers.iter().cycle() {
        reader.send(listener.accept()?.0).ok().context("a reader has ended")?;
    }
    Ok(())
}
