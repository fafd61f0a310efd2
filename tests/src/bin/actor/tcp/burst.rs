//! Many short connections to one address.

use std::{io::Write as _, net::SocketAddr};

use anyhow::Result;

use super::{finish, how::Via};
use crate::{say_sent, sys::set_option};

#[derive(clap::Args)]
pub(crate) struct Burst {
    #[arg(long)]
    to: SocketAddr,
    /// In each connection
    #[arg(long)]
    bytes: usize,
    #[arg(long)]
    count: u64,
    /// End each with a reset
    #[arg(long)]
    reset: bool,
    /// Close each without waiting for the peer: the kernel does the rest, without a socket
    #[arg(long, conflicts_with = "reset")]
    abandon: bool,
}

pub(crate) fn burst(burst: &Burst) -> Result<()> {
    let portion = vec![b'x'; burst.bytes];
    for _ in 0..burst.count {
        let mut stream = Via::Tcp.connect(burst.to)?;
        stream.write_all(&portion)?;
        if burst.reset {
            let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
            set_option(&stream, libc::SOL_SOCKET, libc::SO_LINGER, &at_once)?;
        } else if !burst.abandon {
            finish(stream)?;
        }
    }
    say_sent(burst.count * burst.bytes as u64)
}
