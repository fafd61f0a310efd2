//! Senders that go on until they are told to end: for tests of what happens meanwhile.

use std::{
    io::Read as _,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::{
    say, say_sent,
    tcp::{finish, how},
};

#[derive(clap::Args)]
pub(crate) struct Stream {
    #[arg(long, value_enum)]
    kind: Kind,
    /// Where to; for a server, where it listens
    #[arg(long)]
    at: SocketAddr,
    /// In each turn
    #[arg(long)]
    bytes: u64,
    /// Between turns
    #[arg(long)]
    pause_ms: u64,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Kind {
    /// One connection
    Push,
    /// One datagram in each turn
    Datagrams,
    /// One connection in each turn
    Storm,
    /// Send to one client
    Serve,
}

/// Ends when its standard input does.
pub(crate) fn stream(stream: &Stream) -> Result<()> {
    let ends = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&ends);
    thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        told.store(true, Ordering::Relaxed);
    });
    let mut sent = 0;
    let mut turns = |turn: &mut dyn FnMut() -> Result<u64>| -> Result<()> {
        while !ends.load(Ordering::Relaxed) {
            sent += turn()?;
            thread::sleep(Duration::from_millis(stream.pause_ms));
        }
        Ok(())
    };
    match stream.kind {
        Kind::Push => {
            let mut connection = connect(stream.at)?;
            say(&json!({ "streaming": stream.at, "pid": std::process::id() }))?;
            turns(&mut || send_bytes(&mut connection, stream.bytes))?;
            finish(connection)?;
        }
        Kind::Serve => {
            let listener = TcpListener::bind(stream.at)?;
            say(&json!({ "listening": stream.at, "pid": std::process::id() }))?;
            let (mut connection, _) = listener.accept()?;
            turns(&mut || send_bytes(&mut connection, stream.bytes))?;
            finish(connection)?;
        }
        Kind::Datagrams => {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            let buffer = vec![b'x'; stream.bytes as usize];
            say(&json!({ "streaming": stream.at, "pid": std::process::id() }))?;
            turns(&mut || Ok(socket.send_to(&buffer, stream.at)? as u64))?;
        }
        Kind::Storm => {
            say(&json!({ "streaming": stream.at, "pid": std::process::id() }))?;
            turns(&mut || {
                let mut connection = connect(stream.at)?;
                send_bytes(&mut connection, stream.bytes)?;
                finish(connection)?;
                Ok(stream.bytes)
            })?;
        }
    }
    say_sent(sent)
}

fn connect(to: SocketAddr) -> Result<TcpStream> {
    TcpStream::connect(to).with_context(|| format!("connect to {to}"))
}

fn send_bytes(stream: &mut TcpStream, bytes: u64) -> Result<u64> {
    how::write(stream, bytes).map(|()| bytes)
}
