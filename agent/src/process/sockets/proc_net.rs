//! The kernel's text tables of sockets, for kernels without `sock_diag`. They tell no cookies.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use super::Seen;
use crate::flow::Protocol;

/// One line of `/proc/net/tcp` and its siblings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Our side.
    pub local: SocketAddr,
    /// Their side; port zero when there is none.
    pub remote: SocketAddr,
    /// TCP state number.
    pub state: u8,
    /// Inode of the socket.
    pub inode: u64,
}

/// Everything of one protocol in the network namespace of this thread. `/proc/net` would be that of the process.
pub(super) fn read(protocol: Protocol, take: &mut impl FnMut(Seen)) {
    let name = if protocol == Protocol::TCP { "tcp" } else { "udp" };
    for version in ["", "6"] {
        let path = format!("/proc/thread-self/net/{name}{version}");
        let Ok(text) = fs::read_to_string(path) else { continue };
        for Line { local, remote, state, inode } in text.lines().skip(1).filter_map(parse) {
            take(Seen {
                protocol,
                state,
                local,
                remote,
                cookie: 0,
                inode: u32::try_from(inode).unwrap_or(0),
            });
        }
    }
}

/// Reads one line: `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode ...`
pub fn parse(line: &str) -> Option<Line> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = socket_address(fields.next()?)?;
    let remote = socket_address(fields.next()?)?;
    let state = u8::from_str_radix(fields.next()?, 16).ok()?;
    let inode = fields.nth(5)?.parse().ok()?;
    Some(Line { local, remote, state, inode })
}

/// `0100007F:1F90`: words of the address as the processor stores them, then the port.
fn socket_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |idx: usize| {
        let digits = address.get(idx * 8..idx * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for idx in 0..4 {
                bytes[idx * 4..idx * 4 + 4].copy_from_slice(&word(idx)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_of_the_kernel_are_read() {
        let line = "   1: 0A0200C0:1F90 0A7100CB:C350 01 00000000:00000000 02:00000A8B 00000000     0        0 4711 2 x";
        let line = parse(line).expect("a line");
        assert_eq!(line.local, "192.0.2.10:8080".parse().expect("address"));
        assert_eq!(line.remote, "203.0.113.10:50000".parse().expect("address"));
        assert_eq!((line.state, line.inode), (1, 4711));
        let line = "0: B80D0120000000000000000001000000:0016 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 9";
        assert_eq!(parse(line).expect("a line").local, "[2001:db8::1]:22".parse().expect("address"));
    }

    #[test]
    fn broken_lines_are_skipped() {
        for line in [
            "",
            "1:",
            "1: x y 01",
            "1: 0A0200C0 0A7100CB 01",
            "1: 0A02:1 0A71:2 01 0 0 0 0 0 1",
            "1: é:1 é:2 1",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
