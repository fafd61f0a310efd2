//! A table of networks, asked for the longest match.
//!
//! Used for the operator's sites and overrides, for the networks of policies and for the special ranges: tens of
//! entries, seldom thousands. Whole country databases do not live here; they bring a search tree of their own.
//!
//! Networks are kept in the order of their first address, wider ones first. So the last network that starts at or
//! before an address is the longest match if it contains the address at all. If it does not, every network that does
//! contain the address contains that one too, so it is no longer than what the two have in common: the search goes
//! on there. Each step gets shorter, and there are rarely more than three.
//!
//! IPv4 and IPv6 are two separate worlds: `::ffff:10.0.0.0/104` does not match `10.1.2.3`. Addresses are unwrapped
//! ([`super::embedded_v4`]) before anyone asks.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

/// Values by network, with longest-prefix lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixMap<T> {
    entries: BTreeMap<IpNet, T>,
}

impl<T> PrefixMap<T> {
    /// An empty table.
    pub const fn new() -> Self {
        Self { entries: BTreeMap::new() }
    }

    /// Adds a network and returns the value it had before. Host bits are cleared: `10.1.2.3/8` is `10.0.0.0/8`.
    pub fn insert(&mut self, network: IpNet, value: T) -> Option<T> {
        self.entries.insert(network.trunc(), value)
    }

    /// The most specific network that contains `address`.
    pub fn lookup(&self, address: IpAddr) -> Option<(IpNet, &T)> {
        let mut bound = IpNet::from(address);
        loop {
            let (network, value) = self.entries.range(..=bound).next_back()?;
            let common = common_prefix(network.addr(), address)?;
            if network.prefix_len() <= common {
                return Some((*network, value));
            }
            bound = IpNet::new(address, common).ok()?.trunc();
        }
    }

    /// The value of exactly this network.
    pub fn get(&self, network: IpNet) -> Option<&T> {
        self.entries.get(&network.trunc())
    }

    /// All networks in order: IPv4 before IPv6, then by address, the shorter prefix first.
    pub fn iter(&self) -> impl Iterator<Item = (IpNet, &T)> {
        self.entries.iter().map(|(network, value)| (*network, value))
    }

    /// How many networks there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<T> Default for PrefixMap<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The last value of a repeated network wins; use [`PrefixMap::insert`] to notice repetitions.
impl<T> FromIterator<(IpNet, T)> for PrefixMap<T> {
    fn from_iter<I: IntoIterator<Item = (IpNet, T)>>(networks: I) -> Self {
        let mut map = Self::new();
        for (network, value) in networks {
            map.insert(network, value);
        }
        map
    }
}

/// How many leading bits two addresses share; `None` across families.
const fn common_prefix(one: IpAddr, other: IpAddr) -> Option<u8> {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => Some((one.to_bits() ^ other.to_bits()).leading_zeros() as u8),
        (IpAddr::V6(one), IpAddr::V6(other)) => Some((one.to_bits() ^ other.to_bits()).leading_zeros() as u8),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect("network")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    #[test]
    fn the_most_specific_network_wins() {
        let map: PrefixMap<_> =
            [(net("0.0.0.0/0"), "all"), (net("10.0.0.0/8"), "ten"), (net("10.1.2.3/32"), "host")]
                .into_iter()
                .collect();
        assert_eq!(map.lookup(ip("10.1.2.3")), Some((net("10.1.2.3/32"), &"host")));
        assert_eq!(map.lookup(ip("10.1.2.4")), Some((net("10.0.0.0/8"), &"ten")));
        assert_eq!(map.lookup(ip("192.0.2.1")), Some((net("0.0.0.0/0"), &"all")));
        assert_eq!(map.lookup(ip("::ffff:10.1.2.3")), None, "the families do not mix");
    }

    #[test]
    fn host_bits_are_cleared_and_a_repetition_returns_the_old_value() {
        let mut map = PrefixMap::new();
        assert_eq!(map.insert(net("10.1.2.3/8"), 1), None);
        assert_eq!(map.insert(net("10.0.0.0/8"), 2), Some(1));
        assert_eq!(map.get(net("10.9.9.9/8")), Some(&2));
        assert_eq!(map.len(), 1);
    }

    #[test]
    fn networks_come_out_in_order() {
        let map: PrefixMap<_> = ["2001:db8::/32", "10.0.0.0/16", "10.0.0.0/8", "9.0.0.0/8"]
            .map(|text| (net(text), ()))
            .into_iter()
            .collect();
        let order: Vec<String> = map.iter().map(|(network, ())| network.to_string()).collect();
        assert_eq!(order, ["9.0.0.0/8", "10.0.0.0/8", "10.0.0.0/16", "2001:db8::/32"]);
    }

    /// Few distinct bits, so that networks nest and repeat.
    fn any_address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            (any::<u32>(), 0..=32_u32).prop_map(|(bits, keep)| IpAddr::V4(Ipv4Addr::from(
                bits & !(u32::MAX.checked_shr(keep).unwrap_or(0))
            ))),
            (0..4_u32, 0..4_u32).prop_map(|(high, low)| IpAddr::V4(Ipv4Addr::from(high << 30 | low))),
            (0..4_u128, 0..4_u128).prop_map(|(high, low)| IpAddr::V6(Ipv6Addr::from(high << 126 | low))),
            any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from(bits))),
        ]
    }

    fn any_network() -> impl Strategy<Value = IpNet> {
        (any_address(), 0..=128_u8).prop_map(|(address, length)| {
            let length = if address.is_ipv4() { length % 33 } else { length };
            IpNet::new(address, length).expect("length fits the family")
        })
    }

    proptest! {
        #[test]
        fn lookup_agrees_with_a_scan_over_all_networks(
            networks in prop::collection::vec((any_network(), 0..100_u8), 0..40),
            addresses in prop::collection::vec(any_address(), 1..40),
        ) {
            let mut map = PrefixMap::new();
            let mut model: Vec<(IpNet, u8)> = Vec::new();
            for (network, value) in networks {
                let before = model.iter().position(|(known, _)| *known == network.trunc());
                prop_assert_eq!(map.insert(network, value), before.map(|idx| model[idx].1));
                match before {
                    Some(idx) => model[idx].1 = value,
                    None => model.push((network.trunc(), value)),
                }
            }
            prop_assert_eq!(map.len(), model.len());
            let inside = model.iter().map(|(network, _)| network.network()).collect::<Vec<_>>();
            for address in addresses.into_iter().chain(inside) {
                let longest =
                    model.iter().filter(|(network, _)| network.contains(&address)).max_by_key(|(network, _)| network.prefix_len());
                prop_assert_eq!(map.lookup(address), longest.map(|(network, value)| (*network, value)));
            }
        }
    }
}
