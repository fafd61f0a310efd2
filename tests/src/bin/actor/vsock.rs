//! A connection that has nothing to do with IP: between a virtual machine and its host, here to ourselves.

use std::{
    io::{self, Read as _, Write as _},
    os::fd::OwnedFd,
};

use anyhow::Result;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::{impossible::needs, say_sent, sys};

#[derive(clap::Args)]
pub(crate) struct Send {
    #[arg(long)]
    bytes: usize,
}

pub(crate) fn send(send: &Send) -> Result<()> {
    const PORT: u32 = 9000;
    let family = AddressFamily::from_raw(libc::AF_VSOCK as u16);
    let socket = || rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let listener: OwnedFd = needs("AF_VSOCK", socket())?;
    sys::listen_vsock(&listener, PORT)?;
    let client = socket()?;
    // Where the loopback is missing, the hypervisor is asked, and nobody answers.
    let connected = sys::connect_vsock(&client, libc::VMADDR_CID_LOCAL, PORT).map_err(|error| {
        if error.kind() == io::ErrorKind::TimedOut {
            io::Error::from_raw_os_error(libc::ENODEV)
        } else {
            error
        }
    });
    needs("AF_VSOCK to this machine", connected)?;
    let mut server = std::fs::File::from(rustix::net::accept(&listener)?);
    let mut client = std::fs::File::from(client);
    let mut buffer = vec![0; send.bytes];
    client.write_all(&buffer)?;
    server.read_exact(&mut buffer)?;
    say_sent(send.bytes as u64)
}
