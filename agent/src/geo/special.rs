//! Ranges that are never geolocated, and networks that are in many places.
//!
//! Three tables, all from public registries, as of 2026-11:
//!
//! 1. The IANA special-purpose address registries for IPv4 and IPv6, complete, with multicast.
//! 2. The IPv6 blocks IANA has given to a registry. Outside of them nothing is assigned; databases fill the gaps with
//!    invented countries, so an address there is [`UnknownReason::Reserved`]. When IANA hands out a new block (every
//!    few years), it is reported as unknown until this table or an override names it: loud, not wrong.
//! 3. A short list of well-known anycast networks. It is **not** complete and cannot be. It names what a server is
//!    likely to talk to and for which a country would be untrue: public resolvers, root name servers, and two content
//!    networks that publish their ranges, which country databases spread over many countries (Cloudflare: 133 codes in
//!    the embedded one). Fastly announces part of its ranges from single places; the list does not say which part.
//!
//! What the classes mean here, where the registries leave a choice:
//!
//! - `Local` is only what cannot leave the link. `0.0.0.0` and `::` reach the host itself. The rest of `0.0.0.0/8` is
//!   ordinary unicast for Linux since 5.3, so it is `Reserved`: traffic there is a finding.
//! - Multicast is judged by its scope. Link scope is `Local`; site and organization scope (`239.0.0.0/8`,
//!   `ff05::/16`...) are `Private`, since an organization's network may span countries; everything else may be routed
//!   anywhere (RFC 5771, RFC 7346) and is `Reserved`. PTP over UDP (`224.0.1.129`) and NTP multicast are in that last
//!   group: an override with a reason is the way to approve them.
//! - Benchmarking, documentation, discard-only and `240.0.0.0/4` are `Reserved`: no true destination is there.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::LazyLock,
};

use ipnet::IpNet;

use super::{CountryCode, Location, UnknownReason, prefix::PrefixMap};

/// What a special range means for a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Never leaves the link.
    Local,
    /// Some private network.
    Private,
    /// No true destination on the internet.
    Reserved,
    /// In a registry of special ranges, yet reachable like any other address.
    Global,
}

/// A special range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpecialRange {
    /// What it means.
    pub class: Class,
    /// Name and reference, such as `private use (RFC 1918)`.
    pub name: &'static str,
}

impl SpecialRange {
    /// The location of its addresses.
    pub const fn location(&self) -> Location {
        match self.class {
            Class::Local => Location::Local,
            Class::Private => Location::Private,
            Class::Reserved | Class::Global => Location::Unknown(UnknownReason::Reserved),
        }
    }
}

/// An anycast network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AnycastNetwork {
    /// Whose it is.
    pub name: &'static str,
    /// The country its operator is registered in. Not where its servers are.
    pub registered: Option<CountryCode>,
}

/// The special range of an address, or `None` for an ordinary one.
///
/// Expects an address that is unwrapped already ([`super::embedded_v4`]).
pub fn find(address: IpAddr) -> Option<(IpNet, SpecialRange)> {
    if let IpAddr::V6(address) = address
        && address.is_multicast()
    {
        return Some(multicast_v6(address));
    }
    if let Some((network, range)) = SPECIAL.lookup(address) {
        return (range.class != Class::Global).then_some((network, *range));
    }
    let IpAddr::V6(_) = address else { return None };
    if ALLOCATED.lookup(address).is_some() {
        return None;
    }
    Some((WHOLE_V6, SpecialRange { class: Class::Reserved, name: "IPv6 space that IANA has not allocated" }))
}

/// The well-known anycast network of an address.
pub fn find_anycast(address: IpAddr) -> Option<(IpNet, AnycastNetwork)> {
    ANYCAST.lookup(address).map(|(network, found)| (network, *found))
}

/// Special IPv4 ranges that are not `Global`, without overlap, as first and last address. In order.
pub(super) fn special_ranges_v4() -> Vec<(u32, u32)> {
    let outermost =
        |network: &IpNet| !SPECIAL.iter().any(|(other, _)| other != *network && other.contains(network));
    let mut ranges: Vec<(u32, u32)> = SPECIAL
        .iter()
        .filter(|(network, range)| range.class != Class::Global && outermost(network))
        .filter_map(|(network, _)| match network {
            IpNet::V4(network) => Some((network.network().into(), network.broadcast().into())),
            IpNet::V6(_) => None,
        })
        .collect();
    ranges.sort_unstable();
    ranges
}

/// IPv6 blocks that IANA has allocated to a registry.
pub(super) fn allocated_v6() -> impl Iterator<Item = IpNet> {
    ALLOCATED.iter().map(|(network, ())| network)
}

/// `ff<flags><scope>::/16`: the scope is the last of the first four hexadecimal digits (RFC 7346).
fn multicast_v6(address: Ipv6Addr) -> (IpNet, SpecialRange) {
    let first = address.segments()[0];
    let (class, name) = match first & 0xf {
        1 => (Class::Local, "multicast, interface-local scope (RFC 7346)"),
        2 => (Class::Local, "multicast, link-local scope (RFC 7346)"),
        3 => (Class::Private, "multicast, realm-local scope (RFC 7346)"),
        4 => (Class::Private, "multicast, admin-local scope (RFC 7346)"),
        5 => (Class::Private, "multicast, site-local scope (RFC 7346)"),
        8 => (Class::Private, "multicast, organization-local scope (RFC 7346)"),
        0xe => (Class::Reserved, "multicast, global scope (RFC 7346)"),
        _ => (Class::Reserved, "multicast, unassigned scope (RFC 7346)"),
    };
    let network = ipnet::Ipv6Net::new_assert(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0), 16);
    (network.into(), SpecialRange { class, name })
}

const WHOLE_V6: IpNet = IpNet::V6(ipnet::Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0));

static SPECIAL: LazyLock<PrefixMap<SpecialRange>> = LazyLock::new(|| {
    let rows = SPECIAL_V4.iter().chain(&SPECIAL_V6);
    rows.map(|(network, class, name)| (literal(network), SpecialRange { class: *class, name })).collect()
});

static ALLOCATED: LazyLock<PrefixMap<()>> =
    LazyLock::new(|| ALLOCATED_V6.iter().map(|network| (literal(network), ())).collect());

static ANYCAST: LazyLock<PrefixMap<AnycastNetwork>> = LazyLock::new(|| {
    let entry = |(networks, name, country): &(&'static [&'static str], &'static str, &'static str)| {
        let found = AnycastNetwork { name, registered: CountryCode::from_database(country) };
        networks.iter().map(move |network| (literal(network), found)).collect::<Vec<_>>()
    };
    ANYCAST_NETWORKS.iter().flat_map(entry).collect()
});

/// A network of the tables below. A test reads every one of them.
fn literal(text: &str) -> IpNet {
    text.parse().unwrap_or_else(|_| unreachable!("the table holds {text}, which is not a network"))
}

/// IANA IPv4 Special-Purpose Address Registry, and multicast (RFC 5771, RFC 2365).
const SPECIAL_V4: [(&str, Class, &str); 30] = [
    ("0.0.0.0/8", Class::Reserved, "\"this network\" (RFC 791)"),
    ("0.0.0.0/32", Class::Local, "this host (RFC 1122)"),
    ("10.0.0.0/8", Class::Private, "private use (RFC 1918)"),
    ("100.64.0.0/10", Class::Private, "shared address space (RFC 6598)"),
    ("127.0.0.0/8", Class::Local, "loopback (RFC 1122)"),
    ("169.254.0.0/16", Class::Local, "link-local (RFC 3927)"),
    ("172.16.0.0/12", Class::Private, "private use (RFC 1918)"),
    ("192.0.0.0/24", Class::Reserved, "IETF protocol assignments (RFC 6890)"),
    ("192.0.0.0/29", Class::Reserved, "IPv4 service continuity (RFC 7335)"),
    ("192.0.0.8/32", Class::Reserved, "IPv4 dummy address (RFC 7600)"),
    ("192.0.0.9/32", Class::Global, "Port Control Protocol anycast (RFC 7723)"),
    ("192.0.0.10/32", Class::Global, "TURN anycast (RFC 8155)"),
    ("192.0.0.170/32", Class::Reserved, "NAT64/DNS64 discovery (RFC 8880)"),
    ("192.0.0.171/32", Class::Reserved, "NAT64/DNS64 discovery (RFC 8880)"),
    ("192.0.2.0/24", Class::Reserved, "documentation (RFC 5737)"),
    ("192.31.196.0/24", Class::Global, "AS112 (RFC 7535)"),
    ("192.52.193.0/24", Class::Global, "automatic multicast tunneling (RFC 7450)"),
    ("192.88.99.0/24", Class::Reserved, "6to4 relay anycast, deprecated (RFC 7526)"),
    ("192.88.99.2/32", Class::Reserved, "6a44 relay anycast (RFC 6751)"),
    ("192.168.0.0/16", Class::Private, "private use (RFC 1918)"),
    ("192.175.48.0/24", Class::Global, "AS112 (RFC 7534)"),
    ("198.18.0.0/15", Class::Reserved, "benchmarking (RFC 2544)"),
    ("198.51.100.0/24", Class::Reserved, "documentation (RFC 5737)"),
    ("203.0.113.0/24", Class::Reserved, "documentation (RFC 5737)"),
    ("224.0.0.0/4", Class::Reserved, "multicast that may be routed (RFC 5771)"),
    ("224.0.0.0/24", Class::Local, "multicast, local network control (RFC 5771)"),
    ("239.0.0.0/8", Class::Private, "multicast, administratively scoped (RFC 2365)"),
    ("239.255.0.0/16", Class::Local, "multicast, IPv4 local scope (RFC 2365)"),
    ("240.0.0.0/4", Class::Reserved, "reserved for future use (RFC 1112)"),
    ("255.255.255.255/32", Class::Local, "limited broadcast (RFC 8190)"),
];

/// IANA IPv6 Special-Purpose Address Registry, and the deprecated ranges that are left out there.
///
/// ORCHIDs and drone identifiers are "globally reachable" for the registry, but they are identifiers of an overlay and
/// no addresses: no packet on the wire goes there. `2001::/32` and `2002::/16` are unwrapped before anyone looks here.
const SPECIAL_V6: [(&str, Class, &str); 29] = [
    ("::/128", Class::Local, "unspecified address (RFC 4291)"),
    ("::1/128", Class::Local, "loopback (RFC 4291)"),
    ("::/96", Class::Reserved, "IPv4-compatible, deprecated (RFC 4291)"),
    ("::ffff:0:0/96", Class::Reserved, "IPv4-mapped (RFC 4291)"),
    ("::ffff:0:0:0/96", Class::Reserved, "IPv4-translated, deprecated (RFC 6052)"),
    ("64:ff9b::/96", Class::Reserved, "NAT64 (RFC 6052)"),
    ("64:ff9b:1::/48", Class::Reserved, "local-use NAT64 (RFC 8215)"),
    ("100::/64", Class::Reserved, "discard-only (RFC 6666)"),
    ("100:0:0:1::/64", Class::Reserved, "dummy prefix (RFC 9780)"),
    ("2001::/23", Class::Reserved, "IETF protocol assignments (RFC 2928)"),
    ("2001::/32", Class::Reserved, "Teredo (RFC 4380)"),
    ("2001:1::1/128", Class::Global, "Port Control Protocol anycast (RFC 7723)"),
    ("2001:1::2/128", Class::Global, "TURN anycast (RFC 8155)"),
    ("2001:1::3/128", Class::Global, "DNS-SD service registration anycast (RFC 9665)"),
    ("2001:2::/48", Class::Reserved, "benchmarking (RFC 5180)"),
    ("2001:3::/32", Class::Global, "automatic multicast tunneling (RFC 7450)"),
    ("2001:4:112::/48", Class::Global, "AS112 (RFC 7535)"),
    ("2001:10::/28", Class::Reserved, "ORCHID, deprecated (RFC 4843)"),
    ("2001:20::/28", Class::Reserved, "ORCHIDv2 (RFC 7343)"),
    ("2001:30::/28", Class::Reserved, "drone remote identification (RFC 9374)"),
    ("2001:db8::/32", Class::Reserved, "documentation (RFC 3849)"),
    ("2002::/16", Class::Reserved, "6to4 (RFC 3056)"),
    ("2620:4f:8000::/48", Class::Global, "AS112 (RFC 7534)"),
    ("3ffe::/16", Class::Reserved, "6bone, returned (RFC 3701)"),
    ("3fff::/20", Class::Reserved, "documentation (RFC 9637)"),
    ("5f00::/16", Class::Reserved, "segment routing identifiers (RFC 9602)"),
    ("fc00::/7", Class::Private, "unique local (RFC 4193)"),
    ("fe80::/10", Class::Local, "link-local (RFC 4291)"),
    ("fec0::/10", Class::Private, "site-local, deprecated (RFC 3879)"),
];

/// IANA IPv6 Global Unicast Address Assignments: what has been given to a regional registry.
const ALLOCATED_V6: [&str; 34] = [
    "2001:200::/23",  // APNIC
    "2001:400::/23",  // ARIN
    "2001:600::/23",  // RIPE NCC
    "2001:800::/22",  // RIPE NCC
    "2001:c00::/23",  // APNIC
    "2001:e00::/23",  // APNIC
    "2001:1200::/23", // LACNIC
    "2001:1400::/22", // RIPE NCC
    "2001:1800::/23", // ARIN
    "2001:1a00::/23", // RIPE NCC
    "2001:1c00::/22", // RIPE NCC
    "2001:2000::/19", // RIPE NCC
    "2001:4000::/23", // RIPE NCC
    "2001:4200::/23", // AFRINIC
    "2001:4400::/23", // APNIC
    "2001:4600::/23", // RIPE NCC
    "2001:4800::/23", // ARIN
    "2001:4a00::/23", // RIPE NCC
    "2001:4c00::/23", // RIPE NCC
    "2001:5000::/20", // RIPE NCC
    "2001:8000::/19", // APNIC
    "2001:a000::/20", // APNIC
    "2001:b000::/20", // APNIC
    "2003::/18",      // RIPE NCC
    "2400::/12",      // APNIC
    "2410::/12",      // APNIC
    "2600::/12",      // ARIN
    "2610::/23",      // ARIN
    "2620::/23",      // ARIN
    "2630::/12",      // ARIN
    "2800::/12",      // LACNIC
    "2a00::/12",      // RIPE NCC
    "2a10::/12",      // RIPE NCC
    "2c00::/12",      // AFRINIC
];

/// Well-known anycast networks: networks, operator, and the country the operator is registered in (`""`: several).
///
/// Root name servers by the covering announcement; resolvers by their operators' documentation; Cloudflare and Fastly
/// by the lists they publish for firewalls.
const ANYCAST_NETWORKS: &[(&[&str], &str, &str)] = &[
    (&["1.0.0.0/24", "1.1.1.0/24", "2606:4700:4700::/48"], "Cloudflare resolver", "US"),
    (&["8.8.4.0/24", "8.8.8.0/24", "2001:4860:4860::/48"], "Google Public DNS", "US"),
    (&["9.9.9.0/24", "149.112.112.0/24", "2620:fe::/48"], "Quad9", "CH"),
    (&["208.67.220.0/24", "208.67.222.0/24", "2620:119:35::/48", "2620:119:53::/48"], "OpenDNS", "US"),
    (&["198.41.0.0/24", "2001:503:ba3e::/48"], "root name server A", "US"),
    (&["170.247.170.0/24", "2801:1b8:10::/48"], "root name server B", "US"),
    (&["192.33.4.0/24", "2001:500:2::/48"], "root name server C", "US"),
    (&["199.7.91.0/24", "2001:500:2d::/48"], "root name server D", "US"),
    (&["192.203.230.0/24", "2001:500:a8::/48"], "root name server E", "US"),
    (&["192.5.5.0/24", "2001:500:2f::/48"], "root name server F", "US"),
    (&["192.112.36.0/24", "2001:500:12::/48"], "root name server G", "US"),
    (&["198.97.190.0/24", "2001:500:1::/48"], "root name server H", "US"),
    (&["192.36.148.0/24", "2001:7fe::/48"], "root name server I", "SE"),
    (&["192.58.128.0/24", "2001:503:c27::/48"], "root name server J", "US"),
    (&["193.0.14.0/24", "2001:7fd::/48"], "root name server K", "NL"),
    (&["199.7.83.0/24", "2001:500:9f::/48"], "root name server L", "US"),
    (&["202.12.27.0/24", "2001:dc3::/48"], "root name server M", "JP"),
    (&["192.31.196.0/24", "192.175.48.0/24", "2001:4:112::/48", "2620:4f:8000::/48"], "AS112", ""),
    (&["192.52.193.0/24", "2001:3::/32"], "automatic multicast tunneling relays", ""),
    (
        &["192.0.0.9/32", "192.0.0.10/32", "2001:1::1/128", "2001:1::2/128", "2001:1::3/128"],
        "IETF service anycast",
        "",
    ),
    (
        &[
            "103.21.244.0/22",
            "103.22.200.0/22",
            "103.31.4.0/22",
            "104.16.0.0/13",
            "104.24.0.0/14",
            "108.162.192.0/18",
            "131.0.72.0/22",
            "141.101.64.0/18",
            "162.158.0.0/15",
            "172.64.0.0/13",
            "173.245.48.0/20",
            "188.114.96.0/20",
            "190.93.240.0/20",
            "197.234.240.0/22",
            "198.41.128.0/17",
            "2400:cb00::/32",
            "2405:8100::/32",
            "2405:b500::/32",
            "2606:4700::/32",
            "2803:f800::/32",
            "2a06:98c0::/29",
            "2c0f:f248::/32",
        ],
        "Cloudflare",
        "US",
    ),
    (
        &[
            "23.235.32.0/20",
            "43.249.72.0/22",
            "103.244.50.0/24",
            "103.245.222.0/23",
            "103.245.224.0/24",
            "104.156.80.0/20",
            "140.248.64.0/18",
            "140.248.128.0/17",
            "146.75.0.0/17",
            "151.101.0.0/16",
            "157.52.64.0/18",
            "167.82.0.0/17",
            "167.82.128.0/20",
            "167.82.160.0/20",
            "167.82.224.0/20",
            "172.111.64.0/18",
            "185.31.16.0/22",
            "199.27.72.0/21",
            "199.232.0.0/16",
            "2a04:4e40::/32",
            "2a04:4e42::/32",
        ],
        "Fastly",
        "US",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    #[track_caller]
    fn check(class: Class, addresses: &[&str]) {
        for address in addresses {
            let found = find(ip(address));
            assert_eq!(found.map(|(_, range)| range.class), Some(class), "{address}: {found:?}");
            assert!(found.is_some_and(|(network, _)| network.contains(&ip(address))), "{address}: {found:?}");
        }
    }

    #[test]
    fn the_tables_hold_networks_without_host_bits_or_repetition() {
        let special: Vec<&str> = SPECIAL_V4.iter().chain(&SPECIAL_V6).map(|(network, ..)| *network).collect();
        let anycast: Vec<&str> =
            ANYCAST_NETWORKS.iter().flat_map(|(networks, ..)| networks.iter().copied()).collect();
        for table in [special, ALLOCATED_V6.to_vec(), anycast] {
            let mut seen = PrefixMap::new();
            for text in table {
                let network = literal(text);
                assert_eq!(network.trunc(), network, "{text}");
                assert_eq!(seen.insert(network, text), None, "{text} is there twice");
            }
        }
        assert!(
            ANYCAST_NETWORKS
                .iter()
                .all(|(_, _, country)| country.is_empty() || CountryCode::parse(country).is_ok())
        );
    }

    #[test]
    fn what_cannot_leave_the_link_is_local() {
        check(
            Class::Local,
            &["0.0.0.0", "127.0.0.1", "127.255.255.254", "169.254.169.254", "255.255.255.255"],
        );
        check(Class::Local, &["224.0.0.1", "224.0.0.251", "239.255.255.250"]);
        check(
            Class::Local,
            &["::", "::1", "fe80::1", "febf::1", "ff01::1", "ff02::1", "ff02::fb", "ff12::1", "ff32::1"],
        );
    }

    #[test]
    fn private_space_and_organization_multicast_are_private() {
        check(
            Class::Private,
            &["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "100.127.255.255"],
        );
        check(Class::Private, &["fc00::1", "fd12:3456::1", "fec0::1", "239.0.0.1", "239.192.0.1"]);
        check(Class::Private, &["ff03::1", "ff04::1", "ff05::1:3", "ff08::1"]);
    }

    #[test]
    fn what_has_no_true_destination_is_reserved() {
        check(
            Class::Reserved,
            &["0.0.0.1", "0.255.255.255", "192.0.0.1", "192.0.0.8", "192.0.0.170", "192.0.2.1"],
        );
        check(
            Class::Reserved,
            &["192.88.99.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1"],
        );
        check(Class::Reserved, &["240.0.0.1", "255.255.255.254", "224.0.1.129", "232.1.1.1", "233.0.0.1"]);
        check(
            Class::Reserved,
            &["2001:db8::1", "3fff::1", "3ffe::1", "5f00::1", "100::1", "100:0:0:1::1", "2001:2::1"],
        );
        check(
            Class::Reserved,
            &["2001:10::1", "2001:20::1", "2001:30::1", "64:ff9b:1::1", "::2", "::ffff:0:808:808"],
        );
        check(Class::Reserved, &["ff0e::1", "ff3e::1", "ff00::1", "ff06::1", "ff0f::1"]);
    }

    #[test]
    fn ipv6_space_that_nobody_got_is_reserved() {
        check(
            Class::Reserved,
            &["1000::1", "2000::1", "2001:1000::1", "2004::1", "2420::1", "2d00::1", "2e00::1"],
        );
        check(Class::Reserved, &["3000::1", "4000::1", "8000::1", "e000::1", "fe00::1", "200::1", "2640::1"]);
    }

    #[test]
    fn ordinary_addresses_are_not_special() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.255.255",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.1",
            "223.255.255.255",
            "192.0.0.9",
            "192.175.48.1",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2001:1::1",
            "2001:3::1",
            "2003::1",
            "2400:3200::1",
            "2410::1",
            "2606:4700::1111",
            "2620:4f:8000::1",
            "2630::1",
            "2a01:4f8::1",
            "2a10::1",
            "2c0f:f248::1",
        ] {
            assert_eq!(find(ip(address)), None, "{address}");
        }
    }

    #[test]
    fn whatever_is_in_the_registries_but_globally_reachable_is_listed_as_anycast() {
        for (network, class, _) in SPECIAL_V4.iter().chain(&SPECIAL_V6) {
            if *class == Class::Global {
                assert!(find_anycast(literal(network).network()).is_some(), "{network}");
            }
        }
    }

    #[test]
    fn well_known_anycast_is_found_by_name() {
        #[track_caller]
        fn check(address: &str, name: &str, registered: Option<&str>) {
            let (_, found) = find_anycast(ip(address)).expect("anycast");
            assert_eq!(found.name, name);
            assert_eq!(found.registered.map(|code| code.to_string()).as_deref(), registered);
        }
        check("1.1.1.1", "Cloudflare resolver", Some("US"));
        check("2606:4700:4700::1111", "Cloudflare resolver", Some("US"));
        check("104.16.0.1", "Cloudflare", Some("US"));
        check("2606:4700::6810:1", "Cloudflare", Some("US"));
        check("151.101.1.1", "Fastly", Some("US"));
        check("8.8.8.8", "Google Public DNS", Some("US"));
        check("9.9.9.9", "Quad9", Some("CH"));
        check("2620:fe::fe", "Quad9", Some("CH"));
        check("198.41.0.4", "root name server A", Some("US"));
        check("2001:7fe::53", "root name server I", Some("SE"));
        check("192.175.48.1", "AS112", None);
        assert_eq!(find_anycast(ip("8.8.9.8")), None);
    }

    #[test]
    fn public_ipv4_is_everything_outside_the_special_ranges() {
        let special: u64 = special_ranges_v4().iter().map(|(first, last)| u64::from(last - first) + 1).sum();
        // 3702.3 million: the whole space without the 16 ranges of the registry that are not global.
        assert_eq!((1 << 32) - special, 3_702_258_432);
    }
}
