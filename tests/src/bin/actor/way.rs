//! Which way a socket's packets take.

use std::{net::IpAddr, os::fd::AsFd};

use anyhow::{Context as _, Result};

use crate::sys;

#[derive(clap::Args, Default)]
pub(crate) struct Way {
    /// Through this interface only
    #[arg(long)]
    device: Option<String>,
    /// What rules for routes can ask for
    #[arg(long)]
    mark: Option<u32>,
    /// From this address
    #[arg(long)]
    pub(crate) from: Option<IpAddr>,
}

impl Way {
    pub(crate) const fn is_any(&self) -> bool {
        self.device.is_none() && self.mark.is_none() && self.from.is_none()
    }

    /// Before the socket is bound or connected.
    pub(crate) fn prepare(&self, socket: impl AsFd) -> Result<()> {
        if let Some(device) = &self.device {
            sys::set_text_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_BINDTODEVICE, device)
                .with_context(|| format!("SO_BINDTODEVICE {device}"))?;
        }
        if let Some(mark) = self.mark {
            sys::set_option(socket, libc::SOL_SOCKET, libc::SO_MARK, &mark).context("SO_MARK")?;
        }
        Ok(())
    }
}
