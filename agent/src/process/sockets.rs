//! Connections and listeners that are older than the agent, from `/proc/net`.
//!
//! Only of the agent's own network namespace. A connection found here is tagged as older than the agent; who
//! opened it follows from whether its local port is listened on.

use std::{
    collections::{HashMap, HashSet},
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use super::procfs;
use crate::flow::{Initiator, Protocol};

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

const TCP_LISTEN: u8 = 10;

/// What was there when the agent started.
#[derive(Debug, Default)]
pub struct Older {
    connections: HashMap<(Protocol, SocketAddr, SocketAddr), u64>,
    listening: HashSet<u16>,
    pids: HashMap<u64, u32>,
}

impl Older {
    /// Reads `/proc/net` and finds the processes of the sockets in it.
    pub fn scan() -> Self {
        let mut older = Self::default();
        for (protocol, file) in
            [(Protocol::TCP, "tcp"), (Protocol::TCP, "tcp6"), (Protocol::UDP, "udp"), (Protocol::UDP, "udp6")]
        {
            let Ok(text) = fs::read_to_string(format!("/proc/net/{file}")) else { continue };
            for line in text.lines().skip(1).filter_map(parse) {
                if protocol == Protocol::TCP && line.state == TCP_LISTEN {
                    older.listening.insert(line.local.port());
                } else if line.remote.port() != 0 {
                    older.connections.insert((protocol, line.local, line.remote), line.inode);
                }
            }
        }
        if !older.connections.is_empty() {
            for pid in procfs::pids() {
                older.pids.extend(procfs::socket_inodes(pid).map(|inode| (inode, pid)));
            }
        }
        older
    }

    /// Connections known.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there were none.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Whether this connection is older than the agent, and the process that had it open then.
    pub fn find(&self, protocol: Protocol, local: SocketAddr, remote: SocketAddr) -> Option<Option<u32>> {
        let inode = self.connections.get(&(protocol, local, remote))?;
        Some(self.pids.get(inode).copied())
    }

    /// Who opened a TCP connection of which the beginning was not seen.
    pub fn initiator(&self, local_port: u16) -> Initiator {
        if self.listening.contains(&local_port) { Initiator::Remote } else { Initiator::Unknown }
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
