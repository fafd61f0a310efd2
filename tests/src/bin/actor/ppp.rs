//! One end of a session of PPP over Ethernet, without what would negotiate it: both ends know what they need.

use std::fs::File;

use anyhow::{Context as _, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde_json::json;

use crate::{impossible::needs, say, sys};

#[derive(clap::Args)]
pub(crate) struct Session {
    /// The card that the session goes through
    #[arg(long)]
    interface: String,
    /// Hardware address of the other end
    #[arg(long)]
    neighbour: String,
}

/// Makes the device, says its number, and keeps it until a line is read.
pub(crate) fn session(session: &Session) -> Result<()> {
    const SESSION: u16 = 7;
    let family = AddressFamily::from_raw(libc::AF_PPPOX as u16);
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let socket = needs("PPP over Ethernet", socket)?;
    let mut neighbour = [0; 6];
    for (to, from) in neighbour.iter_mut().zip(session.neighbour.split(':')) {
        *to = u8::from_str_radix(from, 16).context("a hardware address")?;
    }
    sys::connect_session(&socket, SESSION, neighbour, &session.interface).context("connect the session")?;
    let open = || needs("/dev/ppp", File::options().read(true).write(true).open("/dev/ppp"));
    let (channel, unit) = (open()?, open()?);
    let number = sys::ppp_channel_of(&socket).context("the channel of the session")?;
    sys::attach_channel(&channel, number).context("attach to the channel")?;
    let device = sys::new_ppp_unit(&unit).context("make the device")?;
    sys::connect_channel(&channel, device).context("connect the channel to the device")?;
    say(&json!({ "unit": device }))?;
    // All of it goes with the descriptors.
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}
