//! 64-byte datagrams, as fast as one processor sends them.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd,
};

use anyhow::{Context as _, Result};

use crate::lab::Family;

/// Payload of a datagram.
pub(crate) const PAYLOAD_BYTES: usize = 64;
/// Datagrams per system call.
pub(crate) const BURST: usize = 64;

/// What sends a burst, and says how many datagrams it was.
pub(crate) type SendBurst = Box<dyn FnMut() -> io::Result<usize>>;

/// One connected socket, `sendmmsg`.
pub(crate) fn one_destination(family: Family) -> Result<SendBurst> {
    let socket = UdpSocket::bind(family.unspecified())?;
    socket.connect(family.received(0)).context("connect a UDP socket")?;
    let mut burst = Burst::new(socket, Vec::new());
    Ok(Box::new(move || burst.send()))
}

/// One unconnected socket that turns to another destination with every datagram, `sendmmsg`.
pub(crate) fn many_destinations(family: Family) -> Result<SendBurst> {
    let socket = UdpSocket::bind(family.unspecified())?;
    let mut burst = Burst::new(socket, (0..BURST as u8).map(|idx| family.received(idx)).collect());
    Ok(Box::new(move || burst.send()))
}

/// Many connected sockets, one after the other, `send`.
pub(crate) fn many_sockets(family: Family, count: usize) -> Result<SendBurst> {
    let sockets = connected(family, count)?;
    let payload = [0; PAYLOAD_BYTES];
    let mut next = 0;
    Ok(Box::new(move || {
        for _ in 0..BURST {
            sockets[next].send(&payload)?;
            next = (next + 1) % sockets.len();
        }
        Ok(BURST)
    }))
}

/// `count` sockets connected to one destination.
pub(crate) fn connected(family: Family, count: usize) -> Result<Vec<UdpSocket>> {
    (0..count)
        .map(|_| {
            let socket = UdpSocket::bind(family.unspecified())?;
            socket.connect(family.received(0))?;
            Ok(socket)
        })
        .collect::<io::Result<_>>()
        .with_context(|| format!("open {count} UDP sockets"))
}

/// A prepared `sendmmsg`. The headers point to the vectors and addresses beside them, which never move.
struct Burst {
    socket: UdpSocket,
    headers: Vec<libc::mmsghdr>,
    _vectors: Vec<libc::iovec>,
    _addresses: Vec<libc::sockaddr_storage>,
    _payload: Box<[u8; PAYLOAD_BYTES]>,
}

impl Burst {
    /// Without destinations the socket must be connected.
    fn new(socket: UdpSocket, destinations: Vec<SocketAddr>) -> Self {
        let mut payload = Box::new([0; PAYLOAD_BYTES]);
        let vector = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: PAYLOAD_BYTES };
        let mut vectors = vec![vector; BURST];
        let mut addresses: Vec<_> = destinations.iter().map(storage).collect();
        let headers = (0..BURST)
            .map(|idx| {
                // SAFETY: every field of the C structure may be zero.
                let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
                header.msg_hdr.msg_iov = &raw mut vectors[idx];
                header.msg_hdr.msg_iovlen = 1;
                if let Some(address) = addresses.get_mut(idx) {
                    header.msg_hdr.msg_name = std::ptr::from_mut(address).cast();
                    header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as u32;
                }
                header
            })
            .collect();
        Self { socket, headers, _vectors: vectors, _addresses: addresses, _payload: payload }
    }

    fn send(&mut self) -> io::Result<usize> {
        // SAFETY: the headers point to memory that lives as long as `self`, and the length is theirs.
        let sent = unsafe {
            libc::sendmmsg(self.socket.as_raw_fd(), self.headers.as_mut_ptr(), self.headers.len() as u32, 0)
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
    }
}

fn storage(address: &SocketAddr) -> libc::sockaddr_storage {
    // SAFETY: every field of the C structure may be zero.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let at = &raw mut storage;
    match address {
        SocketAddr::V4(address) => {
            let value = libc::sockaddr_in {
                sin_family: libc::AF_INET as u16,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: the storage is large enough for every kind of address, and aligned for it.
            unsafe { at.cast::<libc::sockaddr_in>().write(value) };
        }
        SocketAddr::V6(address) => {
            let value = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as u16,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                sin6_scope_id: 0,
            };
            // SAFETY: as above.
            unsafe { at.cast::<libc::sockaddr_in6>().write(value) };
        }
    }
    storage
}
