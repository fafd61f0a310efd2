//! The addresses of a host in network namespaces other than the agent's.
//!
//! Read from `/proc/PID/net` of one process in each: entering them would take a capability that the agent has given up
//! by then. A namespace without processes has nobody who sends, or its addresses stay unknown.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::Read as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::fs::MetadataExt as _,
};

use super::procfs;

/// Bytes of a namespace's routes that are read. What lies behind, in the routing table of a whole internet, stays
/// unknown.
const MAX_BYTES: u64 = 4 << 20;

/// Addresses that are kept.
const MAX_ADDRESSES: usize = 65_536;

/// Collects them, in one walk over `/proc`.
pub fn of_other_namespaces() -> HashSet<IpAddr> {
    let inode = |pid: &str| Some(fs::metadata(format!("/proc/{pid}/ns/net")).ok()?.ino());
    let mut seen: HashSet<u64> = inode("self").into_iter().collect();
    let mut addresses = HashSet::new();
    for pid in procfs::pids() {
        if inode(&pid.to_string()).is_some_and(|inode| seen.insert(inode)) {
            let read = |name| read_some(&format!("/proc/{pid}/net/{name}"));
            let (v4, v6) = (read("fib_trie"), read("if_inet6"));
            let found = parse_fib_trie(&v4).map(IpAddr::V4).chain(parse_if_inet6(&v6).map(IpAddr::V6));
            // What does not leave its own namespace says nothing about another.
            addresses.extend(found.filter(|address| !address.is_loopback()));
        }
        if addresses.len() >= MAX_ADDRESSES {
            break;
        }
    }
    addresses
}

fn read_some(path: &str) -> String {
    let mut bytes = Vec::new();
    // What was read until an error is as true as it would be without.
    let _ = File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// IPv4 addresses of the namespace: entries of the tree of routes whose kind is `host LOCAL`.
///
/// ```text
///      |-- 10.20.0.3
///         /32 host LOCAL
/// ```
pub fn parse_fib_trie(text: &str) -> impl Iterator<Item = Ipv4Addr> {
    let mut leaf = None;
    text.lines().map(str::trim).filter_map(move |line| {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
            return None;
        }
        leaf.filter(|_| line == "/32 host LOCAL")
    })
}

/// IPv6 addresses of the namespace: 32 digits at the beginning of each line.
pub fn parse_if_inet6(text: &str) -> impl Iterator<Item = Ipv6Addr> {
    text.lines().filter_map(|line| {
        let digits = line.split_ascii_whitespace().next().filter(|digits| digits.len() == 32)?;
        Some(Ipv6Addr::from_bits(u128::from_str_radix(digits, 16).ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_told_from_routes() {
        let text = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     |-- 10.20.0.0\n        \
                    /24 link UNICAST\nLocal:\n     |-- 10.20.0.3\n        /32 host LOCAL\n     |-- 10.20.0.255\n        \
                    /32 link BROADCAST\n     |-- 127.0.0.0\n        /8 host LOCAL\n     |-- 127.0.0.1\n        /32 host LOCAL\n";
        let found: Vec<_> = parse_fib_trie(text).map(|address| address.to_string()).collect();
        assert_eq!(found, ["10.20.0.3", "127.0.0.1"]);
    }

    #[test]
    fn the_kernels_own_tables_are_read() {
        let own = |name: &str| fs::read_to_string(format!("/proc/self/net/{name}")).expect("a table");
        assert!(parse_fib_trie(&own("fib_trie")).any(|address| address.is_loopback()));
        let one = "00000000000000000000000000000001 01 80 10 80       lo\nfd000000000000000000000000000002 02 40 00 80 eth0\n";
        let found: Vec<_> = parse_if_inet6(one).map(|address| address.to_string()).collect();
        assert_eq!(found, ["::1", "fd00::2"]);
    }

    #[test]
    fn what_is_no_table_has_no_addresses() {
        assert_eq!(parse_fib_trie("|-- x\n/32 host LOCAL\n|--\n").count(), 0);
        assert_eq!(parse_if_inet6("zz\n\nfd00 02\n").count(), 0);
    }
}
