//! The many ways to hand bytes to a connection.

use std::{
    fs::File,
    io::Write as _,
    net::{SocketAddr, TcpListener, TcpStream},
};

use anyhow::{Context as _, Result, ensure};
use rustix::{
    net::{AddressFamily, Protocol, SendFlags, SocketFlags, SocketType, ipproto},
    pipe::SpliceFlags,
};

use super::{BUFFER_BYTES, CONNECT_TIMEOUT};
use crate::{
    impossible::needs,
    sys::{set_option, set_text_option},
    uring,
    way::Way,
};

static BUFFER: [u8; BUFFER_BYTES] = [b'x'; BUFFER_BYTES];

/// What carries the bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Via {
    #[default]
    Tcp,
    /// The first bytes go with the SYN
    FastOpen,
    Mptcp,
    Sctp,
}

impl Via {
    fn protocol(self) -> Option<Protocol> {
        match self {
            Self::Tcp | Self::FastOpen => None,
            Self::Mptcp => Some(ipproto::MPTCP),
            Self::Sctp => Some(ipproto::SCTP),
        }
    }

    fn socket(self, at: SocketAddr) -> Result<rustix::fd::OwnedFd> {
        let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket =
            rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, self.protocol());
        needs(&format!("socket for {}", self.name()), socket)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Tcp | Self::FastOpen => "TCP",
            Self::Mptcp => "MPTCP",
            Self::Sctp => "SCTP",
        }
    }

    /// Connects, unless that is left to the first bytes.
    pub(crate) fn connect(self, to: SocketAddr) -> Result<TcpStream> {
        match self {
            Self::Tcp => TcpStream::connect_timeout(&to, CONNECT_TIMEOUT).context("connect"),
            Self::FastOpen => Ok(TcpStream::from(self.socket(to)?)),
            Self::Mptcp | Self::Sctp => {
                let socket = self.socket(to)?;
                rustix::net::connect(&socket, &to).context("connect")?;
                Ok(TcpStream::from(socket))
            }
        }
        .with_context(|| format!("peer {to}"))
    }

    /// Connects by a way that is not the usual one.
    pub(crate) fn connect_by(self, way: &Way, to: SocketAddr) -> Result<TcpStream> {
        let socket = self.socket(to)?;
        way.prepare(&socket)?;
        if let Some(from) = way.from {
            rustix::net::bind(&socket, &SocketAddr::new(from, 0))?;
        }
        rustix::net::connect(&socket, &to).with_context(|| format!("connect to {to}"))?;
        Ok(TcpStream::from(socket))
    }

    pub(crate) fn listen(self, at: SocketAddr) -> Result<TcpListener> {
        if self.protocol().is_none() {
            return TcpListener::bind(at).with_context(|| format!("listen at {at}"));
        }
        let socket = self.socket(at)?;
        rustix::net::bind(&socket, &at)?;
        rustix::net::listen(&socket, 128)?;
        Ok(TcpListener::from(socket))
    }
}

/// How the bytes get into the connection.
#[derive(Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum How {
    #[default]
    Write,
    Sendfile,
    Splice,
    IoUring,
    /// A thread of the kernel looks for what is to be sent
    IoUringPolled,
    /// `IORING_OP_SEND_ZC`
    IoUringUncopied,
    /// `MSG_ZEROCOPY`
    Uncopied,
    /// The last byte of each portion is urgent
    Urgent,
    /// The kernel encrypts
    Tls,
}

/// Sends so many bytes.
pub(crate) fn send(stream: &mut TcpStream, how: How, bytes: u64) -> Result<()> {
    match how {
        How::Write => write(stream, bytes),
        How::Sendfile => send_file(stream, bytes),
        How::Splice => splice(stream, bytes),
        How::IoUring => through_ring(stream, uring::Style::Submitted, bytes),
        How::IoUringPolled => through_ring(stream, uring::Style::Polled, bytes),
        How::IoUringUncopied => through_ring(stream, uring::Style::Uncopied, bytes),
        How::Uncopied => uncopied(stream, bytes),
        How::Urgent => urgent(stream, bytes),
        How::Tls => {
            encrypt(stream)?;
            write(stream, bytes)
        }
    }
}

fn portions(bytes: u64, mut send: impl FnMut(&'static [u8]) -> Result<usize>) -> Result<()> {
    let mut left = bytes;
    while left > 0 {
        let portion = left.min(BUFFER_BYTES as u64) as usize;
        left -= send(&BUFFER[..portion])? as u64;
    }
    Ok(())
}

pub(crate) fn write(stream: &mut TcpStream, bytes: u64) -> Result<()> {
    portions(bytes, |portion| {
        stream.write_all(portion)?;
        Ok(portion.len())
    })
}

pub(super) fn send_file(stream: &TcpStream, bytes: u64) -> Result<()> {
    let file = file(bytes)?;
    let mut left = bytes;
    while left > 0 {
        let sent = rustix::fs::sendfile(stream, &file, None, left as usize).context("sendfile")?;
        ensure!(sent > 0, "sendfile stopped {left} bytes before the end");
        left -= sent as u64;
    }
    Ok(())
}

fn splice(stream: &TcpStream, bytes: u64) -> Result<()> {
    let file = file(bytes)?;
    let (out, into) = rustix::pipe::pipe()?;
    let mut left = bytes;
    while left > 0 {
        let mut in_pipe =
            rustix::pipe::splice(&file, None, &into, None, left as usize, SpliceFlags::empty())?;
        ensure!(in_pipe > 0, "splice stopped {left} bytes before the end");
        left -= in_pipe as u64;
        while in_pipe > 0 {
            in_pipe -= rustix::pipe::splice(&out, None, stream, None, in_pipe, SpliceFlags::empty())?;
        }
    }
    Ok(())
}

fn file(bytes: u64) -> Result<File> {
    let file = tempfile::tempfile().context("make a file")?;
    file.set_len(bytes)?;
    Ok(file)
}

fn through_ring(stream: &TcpStream, style: uring::Style, bytes: u64) -> Result<()> {
    let mut sender = uring::Sender::new(style)?;
    portions(bytes, |portion| sender.send(stream, portion))
}

fn uncopied(stream: &TcpStream, bytes: u64) -> Result<()> {
    let on: libc::c_int = 1;
    needs("SO_ZEROCOPY", set_option(stream, libc::SOL_SOCKET, libc::SO_ZEROCOPY, &on))?;
    let flags = SendFlags::from_bits_retain(libc::MSG_ZEROCOPY as u32);
    portions(bytes, |portion| Ok(rustix::net::send(stream, portion, flags)?))
}

fn urgent(stream: &TcpStream, bytes: u64) -> Result<()> {
    portions(bytes, |portion| Ok(rustix::net::send(stream, portion, SendFlags::OOB)?))
}

/// Connects with the first portion.
pub(super) fn open_with_data(stream: &TcpStream, to: SocketAddr, bytes: u64) -> Result<u64> {
    let flags = SendFlags::from_bits_retain(libc::MSG_FASTOPEN as u32);
    let portion = bytes.min(1000) as usize;
    let sent = rustix::net::sendto(stream, &BUFFER[..portion], flags, &to);
    Ok(needs("TCP Fast Open", sent)? as u64)
}

/// A key that everybody knows: nobody decrypts this.
fn encrypt(stream: &TcpStream) -> Result<()> {
    needs("TCP_ULP tls", set_text_option(stream, libc::IPPROTO_TCP, libc::TCP_ULP, "tls"))?;
    let secrets = libc::tls12_crypto_info_aes_gcm_128 {
        info: libc::tls_crypto_info {
            version: libc::TLS_1_2_VERSION,
            cipher_type: libc::TLS_CIPHER_AES_GCM_128,
        },
        iv: [1; 8],
        key: [2; 16],
        salt: [3; 4],
        rec_seq: [0; 8],
    };
    needs("TLS_TX", set_option(stream, libc::SOL_TLS, libc::TLS_TX, &secrets))
}
