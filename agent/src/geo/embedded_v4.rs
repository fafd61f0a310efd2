//! Takes the IPv4 address out of IPv6 addresses that carry one.
//!
//! Country databases answer nonsense or nothing for these: most leave `::ffff:0:0/96` and `64:ff9b::/96` empty and
//! call all of `2002::/16` and `2001::/32` "US". The packet ends up at the IPv4 address, so that is what is placed,
//! and the evidence says how it was found ([`Via`]).
//!
//! | range | how the address is embedded | reference |
//! |---|---|---|
//! | `::ffff:0:0/96` | last 32 bits | RFC 4291, 2.5.5.2 |
//! | `64:ff9b::/96` and the operator's NAT64 prefixes | by prefix length, around bits 64 to 71 | RFC 6052, 2.2 |
//! | `2002::/16` | bits 16 to 47 | RFC 3056 |
//! | `2001::/32` | last 32 bits, inverted: the Teredo *client* | RFC 4380 |
//!
//! A Teredo address names two IPv4 hosts: a server that helps with setting up (bits 32 to 63), and the client. Data
//! flows to the client, so the client is placed.
//!
//! Not unwrapped, because the deprecated forms are not routed (`::a.b.c.d`, `::ffff:0:a.b.c.d`), or because the
//! embedded address says nothing about the path (ISATAP, interface identifiers). The local-use NAT64 range
//! `64:ff9b:1::/48` (RFC 8215) has no fixed layout: it is [`super::special`] until the operator names his prefix.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv6Net};

use super::Via;

/// A prefix behind which a translator sends packets on to IPv4 (RFC 6052).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Nat64Prefix(Ipv6Net);

/// Not a NAT64 prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Nat64PrefixError {
    /// Any other length has no defined layout.
    #[error("\"{0}\" is not a NAT64 prefix: the length must be 32, 40, 48, 56, 64 or 96 (RFC 6052)")]
    Length(Ipv6Net),
    /// Bits 64 to 71 of a 96 bit prefix must be zero.
    #[error("\"{0}\" is not a NAT64 prefix: bits 64 to 71 must be zero (RFC 6052), as in 2001:db8:64::/96")]
    ReservedBits(Ipv6Net),
    /// The prefix would hide a range that has a meaning of its own.
    #[error("\"{0}\" is not a NAT64 prefix: it overlaps {1}, which has a meaning of its own")]
    Overlaps(Ipv6Net, Ipv6Net),
}

impl Nat64Prefix {
    /// `64:ff9b::/96`, which every host may use.
    pub const WELL_KNOWN: Self = Self(Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96));

    /// Accepts the prefixes RFC 6052 defines a layout for. Host bits are cleared.
    pub fn new(prefix: Ipv6Net) -> Result<Self, Nat64PrefixError> {
        let prefix = prefix.trunc();
        if !matches!(prefix.prefix_len(), 32 | 40 | 48 | 56 | 64 | 96) {
            return Err(Nat64PrefixError::Length(prefix));
        }
        if prefix.network().octets()[8] != 0 {
            return Err(Nat64PrefixError::ReservedBits(prefix));
        }
        match [MAPPED, SIX_TO_FOUR, TEREDO].into_iter().find(|known| overlap(known, &prefix)) {
            Some(known) => Err(Nat64PrefixError::Overlaps(prefix, known)),
            None => Ok(Self(prefix)),
        }
    }

    /// The network.
    pub const fn network(&self) -> Ipv6Net {
        self.0
    }

    /// The embedded address, if `address` is behind this prefix.
    ///
    /// The rest of the address should be zero; a translator ignores it, and so do we: otherwise a stray bit would
    /// hide a destination.
    fn extract(&self, address: Ipv6Addr) -> Option<Ipv4Addr> {
        if !self.0.contains(&address) {
            return None;
        }
        let octets = address.octets();
        let positions = match self.0.prefix_len() {
            32 => [4, 5, 6, 7],
            40 => [5, 6, 7, 9],
            48 => [6, 7, 9, 10],
            56 => [7, 9, 10, 11],
            64 => [9, 10, 11, 12],
            _ => [12, 13, 14, 15],
        };
        Some(Ipv4Addr::from(positions.map(|position| octets[position])))
    }
}

impl fmt::Display for Nat64Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The IPv4 address inside `address` and how it is embedded, or `None` where there is none.
///
/// Operator prefixes come first, the longest one wins; the well-known prefix needs no mention.
pub fn unwrap(address: IpAddr, nat64: &[Nat64Prefix]) -> Option<(Ipv4Addr, Via)> {
    let IpAddr::V6(address) = address else { return None };
    if let Some(embedded) = address.to_ipv4_mapped() {
        return Some((embedded, Via::Mapped));
    }
    let behind = nat64.iter().filter(|prefix| prefix.0.contains(&address));
    let prefix = behind.max_by_key(|prefix| prefix.0.prefix_len()).unwrap_or(&Nat64Prefix::WELL_KNOWN);
    if let Some(embedded) = prefix.extract(address) {
        return Some((embedded, Via::Nat64));
    }
    let octets = address.octets();
    if SIX_TO_FOUR.contains(&address) {
        return Some((Ipv4Addr::new(octets[2], octets[3], octets[4], octets[5]), Via::SixToFour));
    }
    if TEREDO.contains(&address) {
        return Some((Ipv4Addr::new(!octets[12], !octets[13], !octets[14], !octets[15]), Via::Teredo));
    }
    None
}

/// How the addresses of `network` are unwrapped, if all of them are.
///
/// A site, override or policy network inside such a range would never match anything: configuration says so.
pub fn always_unwrapped(network: IpNet, nat64: &[Nat64Prefix]) -> Option<Via> {
    let IpNet::V6(network) = network else { return None };
    let fixed = [
        (MAPPED, Via::Mapped),
        (Nat64Prefix::WELL_KNOWN.0, Via::Nat64),
        (SIX_TO_FOUR, Via::SixToFour),
        (TEREDO, Via::Teredo),
    ];
    let operator = nat64.iter().map(|prefix| (prefix.0, Via::Nat64));
    fixed.into_iter().chain(operator).find(|(range, _)| covers(*range, network)).map(|(_, via)| via)
}

const MAPPED: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);
const SIX_TO_FOUR: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16);
const TEREDO: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32);

fn overlap(one: &Ipv6Net, other: &Ipv6Net) -> bool {
    one.contains(other) || other.contains(one)
}

/// `range.contains(&network)` without computing four boundary addresses: asked a million times per database.
fn covers(range: Ipv6Net, network: Ipv6Net) -> bool {
    let common = (range.addr().to_bits() ^ network.addr().to_bits()).leading_zeros();
    range.prefix_len() <= network.prefix_len() && u32::from(range.prefix_len()) <= common
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix(text: &str) -> Nat64Prefix {
        Nat64Prefix::new(text.parse().expect("network")).expect("NAT64 prefix")
    }

    #[track_caller]
    fn check(address: &str, nat64: &[Nat64Prefix], expected: Option<(&str, Via)>) {
        let expected = expected.map(|(embedded, via)| (embedded.parse::<Ipv4Addr>().expect("IPv4"), via));
        assert_eq!(unwrap(address.parse().expect("address"), nat64), expected, "{address}");
    }

    #[test]
    fn well_known_ranges_are_unwrapped() {
        check("::ffff:8.8.8.8", &[], Some(("8.8.8.8", Via::Mapped)));
        check("64:ff9b::8.8.8.8", &[], Some(("8.8.8.8", Via::Nat64)));
        check("2002:808:808::1", &[], Some(("8.8.8.8", Via::SixToFour)));
        // The example of RFC 4380: server 65.54.227.120, client 192.0.2.45, port 40000.
        check("2001:0:4136:e378:8000:63bf:3fff:fdd2", &[], Some(("192.0.2.45", Via::Teredo)));
    }

    #[test]
    fn other_addresses_are_left_alone() {
        for address in [
            "8.8.8.8",
            "::8.8.8.8",
            "::ffff:0:808:808",
            "64:ff9b:1::808:808",
            "64:ff9b::1:808:808",
            "2001:1::1",
            "2003::1",
            "2001:db8::1",
            "fe80::5efe:808:808",
        ] {
            check(address, &[], None);
        }
    }

    #[test]
    fn operator_prefixes_follow_the_table_of_rfc_6052() {
        for (network, address) in [
            ("2001:db8::/32", "2001:db8:c000:221::"),
            ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
            ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
        ] {
            check(address, &[prefix(network)], Some(("192.0.2.33", Via::Nat64)));
        }
    }

    #[test]
    fn the_longest_operator_prefix_wins_in_any_order() {
        let mut nat64 = [prefix("2001:db8::/32"), prefix("2001:db8:122:344::/96")];
        check("2001:db8:122:344::192.0.2.33", &nat64, Some(("192.0.2.33", Via::Nat64)));
        nat64.reverse();
        check("2001:db8:122:344::192.0.2.33", &nat64, Some(("192.0.2.33", Via::Nat64)));
    }

    #[test]
    fn a_prefix_without_a_layout_is_refused() {
        #[track_caller]
        fn refused(text: &str, expected: &str) {
            let error = Nat64Prefix::new(text.parse().expect("network")).expect_err("refused").to_string();
            assert!(error.contains(expected), "{error}");
        }
        refused("2001:db8::/33", "32, 40, 48, 56, 64 or 96");
        refused("2001:db8::/128", "32, 40, 48, 56, 64 or 96");
        refused("2001:db8:0:0:ff00::/96", "bits 64 to 71");
        refused("2001::/32", "overlaps 2001::/32");
        refused("2002:808::/32", "overlaps 2002::/16");
    }

    #[test]
    fn a_network_that_could_never_match_is_recognized() {
        let nat64 = [prefix("2001:db8:64::/96")];
        let via = |text: &str| always_unwrapped(text.parse().expect("network"), &nat64);
        assert_eq!(via("::ffff:10.0.0.0/104"), Some(Via::Mapped));
        assert_eq!(via("2002::/16"), Some(Via::SixToFour));
        assert_eq!(via("2001:db8:64::1/128"), Some(Via::Nat64));
        assert_eq!(via("2001:db8::/32"), None, "only part of it is translated");
        assert_eq!(via("10.0.0.0/8"), None);
    }

    proptest! {
        #[test]
        fn what_is_embedded_comes_out(bits: u32, network: u128, length in prop::sample::select(vec![32_u8, 40, 48, 56, 64, 96])) {
            // Written from RFC 6052, 2.2: the address follows the prefix, and steps over bits 64 to 71.
            let prefix_bits = (0x2a00_u128 << 112 | network >> 16) & !(0xff << 56) & (u128::MAX << (128 - u32::from(length)));
            let mut address = prefix_bits;
            for idx in 0..32 {
                let mut position = u32::from(length) + idx;
                if length < 96 && position >= 64 {
                    position += 8;
                }
                address |= u128::from(bits >> (31 - idx) & 1) << (127 - position);
            }
            let nat64 = Nat64Prefix::new(Ipv6Net::new(Ipv6Addr::from(prefix_bits), length).expect("length")).expect("prefix");
            prop_assert_eq!(unwrap(Ipv6Addr::from(address).into(), &[nat64]), Some((Ipv4Addr::from(bits), Via::Nat64)));
        }

        #[test]
        fn any_address_is_unwrapped_at_most_once_and_without_panic(bits: u128) {
            if let Some((embedded, _)) = unwrap(Ipv6Addr::from(bits).into(), &[]) {
                prop_assert_eq!(unwrap(embedded.into(), &[]), None);
            }
            let mapped = embedded_in_mapped(bits as u32);
            prop_assert_eq!(unwrap(mapped.into(), &[]), Some((Ipv4Addr::from(bits as u32), Via::Mapped)));
        }
    }

    fn embedded_in_mapped(bits: u32) -> Ipv6Addr {
        Ipv4Addr::from(bits).to_ipv6_mapped()
    }
}
