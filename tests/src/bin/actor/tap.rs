//! A virtual machine, as the host sees one: frames come out of a tap device.

use std::{fs::File, io::Write as _};

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::{frame::Content, impossible::needs, say, say_sent, sys};

#[derive(clap::Args)]
pub(crate) struct Send {
    #[command(flatten)]
    content: Content,
}

/// Makes the device, says so, and sends when a line is read: by then somebody has given the host an address on it.
pub(crate) fn send(send: &Send) -> Result<()> {
    let mut tap = needs("/dev/net/tun", File::options().read(true).write(true).open("/dev/net/tun"))?;
    needs("tap", sys::become_tap(&tap, &send.content.interface))?;
    say(&json!({ "tap": send.content.interface }))?;
    std::io::stdin().read_line(&mut String::new())?;
    let frame = send.content.frame();
    for _ in 0..send.content.count {
        tap.write_all(&frame).context("write to the tap device")?;
    }
    say_sent(send.content.payload_bytes())?;
    // The device goes with the descriptor.
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}
