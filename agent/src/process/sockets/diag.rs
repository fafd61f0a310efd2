//! Sockets as `sock_diag` tells them: with the cookie that the kernel side knows them by.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6},
    inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags},
};
use netlink_sys::{Socket, protocols::NETLINK_SOCK_DIAG};

use super::Seen;
use crate::flow::Protocol;

/// The kernel fills at most 32 KiB at a time (`net/netlink/af_netlink.c`, `netlink_recvmsg`).
const BUFFER_BYTES: usize = 64 * 1024;

/// Everything of one protocol in the network namespace of this thread.
///
/// # Errors
///
/// `NotFound` when the kernel has no `sock_diag` for the protocol.
pub(super) fn dump(protocol: Protocol, take: &mut impl FnMut(Seen)) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    for family in [AF_INET, AF_INET6] {
        socket.send(&request(protocol, family), 0)?;
        receive(&socket, protocol, take)?;
    }
    Ok(())
}

fn request(protocol: Protocol, family: u8) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let request = InetRequest {
        family,
        protocol: protocol.0,
        extensions: ExtensionFlags::empty(),
        // A connection in TIME-WAIT has no socket and no owner any more, and a busy server has 100,000 of them.
        states: StateFlags::all() - StateFlags::TIME_WAIT,
        socket_id: if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() },
    };
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Takes answers until the kernel says that there are no more.
fn receive(socket: &Socket, protocol: Protocol, take: &mut impl FnMut(Seen)) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let length = socket.recv(&mut &mut buffer[..], 0)?;
        if read_messages(&buffer[..length.min(BUFFER_BYTES)], protocol, take)? {
            return Ok(());
        }
    }
}

/// Reads what came with one call. True: that was the end.
pub(super) fn read_messages(
    mut bytes: &[u8],
    protocol: Protocol,
    take: &mut impl FnMut(Seen),
) -> io::Result<bool> {
    while !bytes.is_empty() {
        let message = NetlinkMessage::<SockDiagMessage>::deserialize(bytes).map_err(io::Error::other)?;
        match message.payload {
            NetlinkPayload::Done(_) => return Ok(true),
            NetlinkPayload::Error(error) => return Err(error.to_io()),
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                take(seen(protocol, &response.header));
            }
            _ => {}
        }
        // Messages are padded to four bytes.
        let length = (message.header.length as usize).next_multiple_of(4).max(16);
        bytes = bytes.get(length..).unwrap_or(&[]);
    }
    Ok(false)
}

fn seen(protocol: Protocol, header: &InetResponseHeader) -> Seen {
    let id = &header.socket_id;
    let address = |address: IpAddr, port| SocketAddr::new(address.to_canonical(), port);
    let [a, b, c, d, e, f, g, h] = id.cookie;
    // Two words of the processor, the low one first.
    let (low, high) = (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]));
    Seen {
        protocol,
        state: header.state,
        local: address(id.source_address, id.source_port),
        remote: address(id.destination_address, id.destination_port),
        cookie: u64::from(low) | u64::from(high) << 32,
        inode: header.inode,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    /// An answer of the kernel, as it was received for a TCP socket on a little-endian machine.
    #[cfg(target_endian = "little")]
    const ANSWER: [u8; 88] = [
        88, 0, 0, 0, 20, 0, 2, 0, 0, 0, 0, 0, 1, 2, 3, 4, // header
        2, 1, 0, 0, // family, state, timer, retransmits
        0x1f, 0x90, 0xc3, 0x50, // ports
        192, 0, 2, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // local
        203, 0, 113, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // remote
        0, 0, 0, 0, // interface
        7, 0, 0, 0, 1, 0, 0, 0, // cookie
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // expires, queues
        0xe8, 3, 0, 0, // user
        0x67, 0x12, 0, 0, // inode
    ];

    #[test]
    #[cfg(target_endian = "little")]
    fn answers_of_the_kernel_are_read() {
        let mut sockets = Vec::new();
        let ended = read_messages(&ANSWER, Protocol::TCP, &mut |seen| sockets.push(seen)).expect("an answer");
        assert!(!ended);
        let [seen] = sockets[..] else { panic!("one socket expected: {sockets:?}") };
        assert_eq!(seen.local, "192.0.2.10:8080".parse().expect("address"));
        assert_eq!(seen.remote, "203.0.113.10:50000".parse().expect("address"));
        assert_eq!((seen.cookie, seen.inode, seen.state), (7 | 1 << 32, 0x1267, 1));
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn answers_cut_short_are_errors_or_nothing() {
        for length in 0..ANSWER.len() {
            let mut n_seen = 0;
            let _ = read_messages(&ANSWER[..length], Protocol::TCP, &mut |_| n_seen += 1);
            assert_eq!(n_seen, 0, "cut at {length}");
        }
    }

    #[test]
    fn sockets_of_this_process_are_found_with_their_inodes() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let at = listener.local_addr().expect("address");
        let client = TcpStream::connect(at).expect("connect");
        let datagrams = UdpSocket::bind("[::1]:0").expect("bind");
        let mut sockets = Vec::new();
        for protocol in [Protocol::TCP, Protocol::UDP] {
            dump(protocol, &mut |seen| sockets.push(seen)).expect("sock_diag");
        }
        let find = |address: std::io::Result<SocketAddr>| {
            let address = address.expect("address");
            sockets.iter().find(|seen| seen.local == address).expect("is there")
        };
        let client = find(client.local_addr());
        assert_eq!((client.remote, client.state), (at, 1));
        assert!(find(listener.local_addr()).is_listener());
        let datagrams = find(datagrams.local_addr());
        assert!(datagrams.protocol == Protocol::UDP && datagrams.inode != 0);
        let mut cookies: Vec<u64> = sockets.iter().map(|seen| seen.cookie).collect();
        cookies.sort_unstable();
        cookies.dedup();
        assert_eq!(cookies.len(), sockets.len(), "cookies name one socket each");
    }
}
