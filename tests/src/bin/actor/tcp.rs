//! Senders and receivers over TCP.

mod serve;

use std::{
    fs::File,
    io::{BufRead as _, Read as _, Write as _},
    net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

pub(crate) use self::serve::{Serve, serve};
use crate::{say, say_sent};

const BUFFER_BYTES: usize = 64 * 1024;

/// Connections to a peer that is there are made at once; the rest is a fault of the lab.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(crate) struct Push {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long)]
    bytes: u64,
    /// With sendfile(2) instead of write(2)
    #[arg(long)]
    sendfile: bool,
    /// End right after the last write, without waiting for the peer
    #[arg(long)]
    quick: bool,
    /// Connect, say so, and send one portion for each line read
    #[arg(long)]
    on_command: bool,
}

pub(crate) fn push(push: &Push) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&push.to, CONNECT_TIMEOUT)
        .with_context(|| format!("connect to {}", push.to))?;
    let mut sent = 0;
    if push.on_command {
        say(&json!({ "connected": push.to, "pid": std::process::id() }))?;
        for line in std::io::stdin().lock().lines() {
            if line? == "end" {
                break;
            }
            sent += send_bytes(&mut stream, push.bytes)?;
            say_sent(sent)?;
        }
        return finish(stream);
    }
    if push.sendfile {
        send_file(&stream, push.bytes)?;
    } else {
        send_bytes(&mut stream, push.bytes)?;
    }
    say_sent(push.bytes)?;
    if push.quick { Ok(()) } else { finish(stream) }
}

/// Says that no more comes, and waits until the peer has read it all.
pub(crate) fn finish(mut stream: TcpStream) -> Result<()> {
    stream.shutdown(Shutdown::Write)?;
    stream.read_to_end(&mut Vec::new()).context("wait for the peer")?;
    Ok(())
}

pub(crate) fn send_bytes(stream: &mut TcpStream, bytes: u64) -> Result<u64> {
    let buffer = [b'x'; BUFFER_BYTES];
    let mut left = bytes;
    while left > 0 {
        let portion = left.min(BUFFER_BYTES as u64) as usize;
        stream.write_all(&buffer[..portion])?;
        left -= portion as u64;
    }
    Ok(bytes)
}

fn send_file(stream: &TcpStream, bytes: u64) -> Result<()> {
    let file: File = tempfile::tempfile().context("make a file")?;
    file.set_len(bytes)?;
    let mut left = bytes;
    while left > 0 {
        let sent = rustix::fs::sendfile(stream, &file, None, left as usize).context("sendfile")?;
        ensure!(sent > 0, "sendfile stopped {left} bytes before the end");
        left -= sent as u64;
    }
    Ok(())
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
        send_bytes(&mut stream, sprinkle.bytes)?;
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
}

/// Runs until it is killed.
pub(crate) fn sink(sink: &Sink) -> Result<()> {
    let listener = TcpListener::bind(sink.listen).with_context(|| format!("listen at {}", sink.listen))?;
    say(&json!({ "listening": sink.listen }))?;
    loop {
        let (mut stream, _) = listener.accept()?;
        thread::spawn(move || drain(&mut stream));
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
