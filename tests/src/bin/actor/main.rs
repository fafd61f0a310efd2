//! The programs that send and receive in the end-to-end tests, one subcommand each.
//!
//! Each kind of sender exists because an owner can be mistaken in another way: the process that opened a socket is
//! not always the one that sends on it. Every process that sent prints one line, `{"pid": ..., "bytes": ...}`;
//! every listener prints `{"listening": ...}` first. What this kernel does not have ends in one line,
//! `{"impossible": "..."}`, found out by trying.

mod fan;
mod frame;
mod impossible;
mod ledger;
mod ppp;
mod raw;
mod scan;
mod stream;
mod sys;
mod tap;
mod tcp;
mod udp;
mod uring;
mod vsock;
mod way;
mod xdp;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use serde_json::Value;

#[derive(Parser)]
enum Actor {
    /// Connect and send
    TcpPush(tcp::Push),
    /// Connect many times to one address, and send a little each time
    TcpBurst(tcp::Burst),
    /// Connect to many addresses, one after the other, and send a little to each
    TcpSprinkle(tcp::Sprinkle),
    /// Send to whoever connects
    TcpServe(tcp::Serve),
    /// Connect and read until the end
    TcpPull(tcp::Pull),
    /// Read from whoever connects
    TcpSink(tcp::Sink),
    /// Send datagrams
    UdpSend(udp::Send),
    /// Read datagrams
    UdpSink(udp::Sink),
    /// Send to ourselves through a socket of virtual machines
    VsockSend(vsock::Send),
    /// Send until told to end
    Stream(stream::Stream),
    /// Send to very many destinations, as standard input says
    Fan(fan::Fan),
    /// Accept very many connections
    TcpAbsorb(fan::Absorb),
    /// Send through a raw socket
    RawSend(raw::Send),
    /// Send echo requests through a ping socket
    PingSend(raw::Ping),
    /// Send frames through a packet socket
    FrameSend(frame::Send),
    /// Send frames through an AF_XDP socket
    XdpSend(xdp::Send),
    /// Be a virtual machine behind a tap device
    TapSend(tap::Send),
    /// Be a VPN behind a tun device
    Vpn(tap::Vpn),
    /// Be one end of a session of PPP over Ethernet
    PppSession(ppp::Session),
    /// Knock at ports, send nothing
    Scan(scan::Scan),
    /// Write to a ledger, and say what it took
    LedgerWrite(ledger::Write),
    /// Write violations to a ledger and deliver them, until killed
    LedgerDeliver(ledger::Deliver),
}

fn main() -> ExitCode {
    let outcome = match Actor::parse() {
        Actor::TcpPush(push) => tcp::push(&push),
        Actor::TcpBurst(burst) => tcp::burst(&burst),
        Actor::TcpSprinkle(sprinkle) => tcp::sprinkle(&sprinkle),
        Actor::TcpServe(serve) => tcp::serve(&serve),
        Actor::TcpPull(pull) => tcp::pull(&pull),
        Actor::TcpSink(sink) => tcp::sink(&sink),
        Actor::UdpSend(send) => udp::send(&send),
        Actor::UdpSink(sink) => udp::sink(&sink),
        Actor::VsockSend(send) => vsock::send(&send),
        Actor::Stream(stream) => stream::stream(&stream),
        Actor::Fan(fan) => fan::fan(&fan),
        Actor::TcpAbsorb(absorb) => fan::absorb(&absorb),
        Actor::RawSend(send) => raw::send(&send),
        Actor::PingSend(ping) => raw::ping(&ping),
        Actor::FrameSend(send) => frame::send(&send),
        Actor::XdpSend(send) => xdp::send(&send),
        Actor::TapSend(send) => tap::send(&send),
        Actor::Vpn(vpn) => tap::vpn(&vpn),
        Actor::PppSession(session) => ppp::session(&session),
        Actor::Scan(scan) => scan::scan(&scan),
        Actor::LedgerWrite(write) => ledger::write(&write),
        Actor::LedgerDeliver(deliver) => ledger::deliver(&deliver),
    };
    match outcome.or_else(impossible::tell) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("actor: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints one line at once: the reader waits for it, and a child process must not print it again.
fn say(value: &Value) -> Result<()> {
    use std::io::Write as _;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{value}")?;
    Ok(stdout.flush()?)
}

fn say_sent(bytes: u64) -> Result<()> {
    say(&serde_json::json!({ "pid": std::process::id(), "bytes": bytes }))
}
