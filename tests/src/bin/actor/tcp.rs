//! Senders and receivers over TCP.

mod burst;
pub(crate) mod how;
mod serve;

use std::{
    io::{self, BufRead as _, Read as _},
    net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpStream},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use serde_json::json;

use self::how::{How, Via};
pub(crate) use self::{
    burst::{Burst, burst},
    serve::{Serve, serve},
};
use crate::{
    say, say_sent,
    sys::{set_ip_options, set_option},
    way::Way,
};

const BUFFER_BYTES: usize = 64 * 1024;

/// Connections to a peer that is there are made at once; the rest is a fault of the lab.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(crate) struct Push {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long)]
    bytes: u64,
    #[arg(long, value_enum, default_value = "tcp")]
    via: Via,
    #[arg(long, value_enum, default_value = "write")]
    how: How,
    /// End right after the last write, without waiting for the peer
    #[arg(long)]
    quick: bool,
    /// Connect, say so, and send one portion for each line read
    #[arg(long)]
    on_command: bool,
    /// Behind the IP header, once it is connected
    #[arg(long)]
    options: bool,
    /// Ask each second whether the peer is still there
    #[arg(long)]
    keep_alive: bool,
    #[command(flatten)]
    way: Way,
}

pub(crate) fn push(push: &Push) -> Result<()> {
    let mut stream = if push.way.is_any() {
        push.via.connect(push.to)?
    } else {
        push.via.connect_by(&push.way, push.to)?
    };
    if push.keep_alive {
        let (on, seconds): (libc::c_int, libc::c_int) = (1, 1);
        set_option(&stream, libc::SOL_SOCKET, libc::SO_KEEPALIVE, &on)?;
        set_option(&stream, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, &seconds)?;
        set_option(&stream, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, &seconds)?;
    }
    if push.options {
        set_ip_options(&stream, push.to.is_ipv4())?;
    }
    let mut sent = 0;
    if push.on_command {
        say(&json!({ "connected": push.to, "pid": std::process::id() }))?;
        for line in std::io::stdin().lock().lines() {
            if line? == "end" {
                break;
            }
            how::send(&mut stream, push.how, push.bytes)?;
            sent += push.bytes;
            say_sent(sent)?;
        }
        return finish(stream);
    }
    if push.via == Via::FastOpen {
        sent = how::open_with_data(&stream, push.to, push.bytes)?;
    }
    how::send(&mut stream, push.how, push.bytes - sent)?;
    say_sent(push.bytes)?;
    if push.quick { Ok(()) } else { finish(stream) }
}

/// Says that no more comes, and waits until the peer has read it all.
pub(crate) fn finish(mut stream: TcpStream) -> Result<()> {
    stream.shutdown(Shutdown::Write)?;
    match stream.read_to_end(&mut Vec::new()) {
        // How SCTP says that everything has been acknowledged and the end agreed on.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        outcome => outcome.map(drop).context("wait for the peer"),
    }
}

#[derive(clap::Args)]
pub(crate) struct Sprinkle {
    /// The first address; the next ones count up from it
    #[arg(long)]
    first: Ipv6Addr,
    #[arg(long)]
    count: u32,
    #[arg(long)]
    port: u16,
    #[arg(long)]
    bytes: u64,
    #[arg(long)]
    pause_ms: u64,
}

/// Says for each address when the first byte was written, in nanoseconds since 1970.
pub(crate) fn sprinkle(sprinkle: &Sprinkle) -> Result<()> {
    let mut times = Vec::new();
    for number in 0..sprinkle.count {
        let address = Ipv6Addr::from_bits(sprinkle.first.to_bits() + u128::from(number));
        let mut stream =
            TcpStream::connect_timeout(&(IpAddr::V6(address), sprinkle.port).into(), CONNECT_TIMEOUT)
                .with_context(|| format!("connect to {address}"))?;
        let at_ns = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
        how::send(&mut stream, How::Write, sprinkle.bytes)?;
        times.push(json!({ "to": address, "at_ns": at_ns }));
        finish(stream)?;
        thread::sleep(Duration::from_millis(sprinkle.pause_ms));
    }
    say(&json!({ "pid": std::process::id(), "sent": times }))
}

#[derive(clap::Args)]
pub(crate) struct Pull {
    #[arg(long)]
    from: SocketAddr,
}

pub(crate) fn pull(pull: &Pull) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&pull.from, CONNECT_TIMEOUT)
        .with_context(|| format!("connect to {}", pull.from))?;
    let received = drain(&mut stream)?;
    say(&json!({ "pid": std::process::id(), "received": received, "bytes": 0 }))
}

#[derive(clap::Args)]
pub(crate) struct Sink {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long, value_enum, default_value = "tcp")]
    via: Via,
    /// Let clients fill the buffers before anything is read
    #[arg(long, default_value_t = 0)]
    slow_ms: u64,
}

/// Runs until it is killed.
pub(crate) fn sink(sink: &Sink) -> Result<()> {
    let listener = sink.via.listen(sink.listen)?;
    say(&json!({ "listening": sink.listen }))?;
    let pause = Duration::from_millis(sink.slow_ms);
    loop {
        let (mut stream, _) = listener.accept()?;
        thread::spawn(move || {
            thread::sleep(pause);
            drain(&mut stream)
        });
    }
}

fn drain(stream: &mut TcpStream) -> Result<u64> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(total),
            read => total += read as u64,
        }
    }
}
