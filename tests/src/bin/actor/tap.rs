//! Both ends of `/dev/net/tun`: a virtual machine, whose frames come out of a tap device, and a VPN, which takes what
//! others send into a tun device and sends it on by itself.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
};

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::{frame::Content, impossible::needs, say, say_sent, sys};

#[derive(clap::Args)]
pub(crate) struct Send {
    #[command(flatten)]
    content: Content,
    /// Each frame carries so many TCP segments of `size` bytes, for the host to cut
    #[arg(long)]
    segments: Option<u16>,
}

/// Makes the device, says so, and sends when a line is read: by then somebody has given the host an address on it.
pub(crate) fn send(send: &Send) -> Result<()> {
    let mut tap = needs("/dev/net/tun", File::options().read(true).write(true).open("/dev/net/tun"))?;
    let kind = if send.segments.is_some() { libc::IFF_TAP | libc::IFF_VNET_HDR } else { libc::IFF_TAP };
    needs("tap", sys::become_device(&tap, &send.content.interface, kind))?;
    say(&json!({ "tap": send.content.interface }))?;
    std::io::stdin().read_line(&mut String::new())?;
    let frame = match send.segments {
        Some(segments) => send.content.uncut_frame(segments),
        None => send.content.frame(),
    };
    for _ in 0..send.content.count {
        tap.write_all(&frame).context("write to the tap device")?;
    }
    say_sent(send.content.payload_bytes() * u64::from(send.segments.unwrap_or(1)))?;
    // The device goes with the descriptor.
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

#[derive(clap::Args)]
pub(crate) struct Vpn {
    #[arg(long)]
    interface: String,
    /// The other end
    #[arg(long)]
    to: SocketAddr,
    /// IPv4 packets to carry
    #[arg(long)]
    count: u64,
}

/// Makes the device, says so, and carries packets when a line is read.
pub(crate) fn vpn(vpn: &Vpn) -> Result<()> {
    let mut tun = needs("/dev/net/tun", File::options().read(true).write(true).open("/dev/net/tun"))?;
    needs("tun", sys::become_device(&tun, &vpn.interface, libc::IFF_TUN))?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    say(&json!({ "tun": vpn.interface }))?;
    std::io::stdin().read_line(&mut String::new())?;
    let mut packet = vec![0; 65536];
    let (mut carried, mut bytes) = (0, 0);
    while carried < vpn.count {
        let length = tun.read(&mut packet).context("read from the tun device")?;
        // The kernel says something by itself over IPv6.
        if packet[0] >> 4 == 4 {
            bytes += socket.send_to(&packet[..length], vpn.to)? as u64;
            carried += 1;
        }
    }
    say_sent(bytes)?;
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}
