//! Which interfaces are the edge of the host: where bytes leave it for good.
//!
//! A byte is counted once. So of interfaces stacked on each other only the lowest counts: bridges, bonds, VLANs,
//! macvlans and tunnels send through another interface, and what leaves there is what left the host. A veth is
//! the edge when the host itself has an address on it, or on a VLAN or bond above it (a namespace that is connected
//! like that); without one it belongs to a container. One that is a port of a bridge looks the same in both cases and
//! is taken for a container's; `host.interfaces` says otherwise.

use std::{collections::HashSet, net::IpAddr};

/// What the kernel says about an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Interface index in the agent's network namespace.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Kind as in `ip -details link`, empty for hardware.
    pub kind: String,
    /// Has Ethernet headers.
    pub ethernet: bool,
    /// Is loopback.
    pub loopback: bool,
    /// Administratively up.
    pub up: bool,
    /// Longest packet in bytes.
    pub mtu: u32,
    /// Longest buffer in bytes that is handed to the driver in one piece.
    pub buffer: u32,
    /// Index of the bridge, bond or VRF it belongs to.
    pub controller: Option<u32>,
    /// Kind of that controller, if it belongs to one.
    pub controller_kind: Option<String>,
    /// Index of the interface below it, for those that are stacked on one.
    pub lower: Option<u32>,
    /// Addresses of the host on it.
    pub addresses: Vec<IpAddr>,
    /// The host has an address on it, or on an interface above it: see [`mark_used`].
    pub is_used: bool,
    /// Bytes sent, as the driver counts them.
    pub tx_bytes: u64,
    /// Packets sent, as the driver counts them.
    pub tx_packets: u64,
    /// Packets dropped on the way out.
    pub tx_dropped: u64,
}

/// Kinds that send through another interface, or nowhere.
const STACKED_KINDS: &[&str] = &[
    "batadv",
    "bond",
    "bridge",
    "dummy",
    "hsr",
    "ifb",
    "ipvlan",
    "ipvtap",
    "macsec",
    "macvlan",
    "macvtap",
    "netdevsim",
    "nlmon",
    "openvswitch",
    "team",
    "vcan",
    "vlan",
    "vrf",
    "vxcan",
];

/// Devices that put packets into other packets, by their kind. What enters one is told with its inner destination;
/// what leaves the host, and is counted, is the outer packet.
pub const TUNNEL_KINDS: &[&str] = &[
    "amt",
    "bareudp",
    "erspan",
    "geneve",
    "gre",
    "gretap",
    "gtp",
    "ip6erspan",
    "ip6gre",
    "ip6gretap",
    "ip6tnl",
    "ipip",
    "l2tpeth",
    "ovpn",
    "sit",
    "tun",
    "vti",
    "vti6",
    "vxlan",
    "wireguard",
    "xfrm",
];

/// Controllers that send everything through their ports, and nothing else does.
const AGGREGATES: &[&str] = &["bond", "team"];

/// Kinds whose `lower` is the interface they send through. A virtual cable has its other end there.
const STACKED_ON_LOWER: &[&str] = &["vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec"];

/// Interfaces on top of each other, as the kernel allows (MAX_NEST_DEV).
const MAX_FLOORS: usize = 8;

/// Finds out which interfaces the host uses: with an address of its own on them, or on what is stacked above.
pub fn mark_used(links: &mut [Link]) {
    for link in links.iter_mut() {
        link.is_used = link.addresses.iter().any(|address| match address {
            IpAddr::V4(address) => !address.is_link_local(),
            IpAddr::V6(address) => !address.is_unicast_link_local(),
        });
    }
    for _ in 0..MAX_FLOORS {
        let used: Vec<(u32, Option<u32>)> = links
            .iter()
            .filter(|link| link.is_used)
            .map(|link| (link.index, link.lower.filter(|_| STACKED_ON_LOWER.contains(&link.kind.as_str()))))
            .collect();
        for link in links.iter_mut() {
            let is_port = link.controller_kind.as_deref().is_some_and(|kind| AGGREGATES.contains(&kind));
            link.is_used |= used.iter().any(|(index, lower)| {
                *lower == Some(link.index) || (is_port && link.controller == Some(*index))
            });
        }
    }
}

/// The interfaces that send through one of `edges`, directly or through each other.
pub fn above(links: &[Link], edges: &HashSet<u32>) -> HashSet<u32> {
    let mut above: HashSet<u32> = HashSet::new();
    for _ in 0..MAX_FLOORS {
        let leads = |index: &u32| edges.contains(index) || above.contains(index);
        let found: Vec<u32> = links
            .iter()
            .filter(|link| {
                let is_stacked = STACKED_ON_LOWER.contains(&link.kind.as_str());
                (is_stacked && link.lower.as_ref().is_some_and(leads))
                    || links.iter().any(|port| port.controller == Some(link.index) && leads(&port.index))
            })
            .map(|link| link.index)
            .collect();
        above.extend(found);
    }
    above.difference(edges).copied().collect()
}

/// The same as [`judge`], where the operator may have named the edge interfaces; nobody did, if there are none.
pub fn judge_among(link: &Link, named: &[String]) -> Result<&'static str, &'static str> {
    if named.is_empty() {
        judge(link)
    } else if named.contains(&link.name) {
        Ok("named in the configuration")
    } else {
        Err("not named in the configuration")
    }
}

/// Whether bytes leave the host here, with the reason for a person.
pub fn judge(link: &Link) -> Result<&'static str, &'static str> {
    if link.loopback {
        return Err("loopback");
    }
    if !link.up {
        return Err("down");
    }
    if STACKED_KINDS.contains(&link.kind.as_str()) || TUNNEL_KINDS.contains(&link.kind.as_str()) {
        return Err("sends through another interface");
    }
    if link.kind == "veth" || link.kind == "netkit" {
        // A VRF is a table of routes, no device that anything passes: what belongs to it is as it was.
        let kind = link.controller_kind.as_deref();
        let is_by_itself = kind.is_some_and(|kind| kind == "vrf" || AGGREGATES.contains(&kind));
        return match (link.controller, link.is_used) {
            (Some(_), _) if !is_by_itself => Err("belongs to a container or virtual machine"),
            (_, true) => Ok("the host has an address on this virtual cable"),
            (_, false) => Err("belongs to a container or virtual machine"),
        };
    }
    Ok("hardware")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(kind: &str) -> Link {
        Link {
            index: 2,
            name: "x0".to_owned(),
            kind: kind.to_owned(),
            ethernet: true,
            loopback: false,
            up: true,
            mtu: 1500,
            buffer: 65_536,
            controller: None,
            controller_kind: None,
            lower: None,
            addresses: Vec::new(),
            is_used: false,
            tx_bytes: 0,
            tx_packets: 0,
            tx_dropped: 0,
        }
    }

    #[test]
    fn hardware_is_an_edge_even_inside_a_bond_or_bridge() {
        assert!(judge(&link("")).is_ok());
        assert!(judge(&Link { controller: Some(5), ..link("") }).is_ok());
    }

    #[test]
    fn what_sends_through_another_interface_is_none() {
        for kind in ["bridge", "bond", "vlan", "vxlan", "wireguard", "macvlan", "tun"] {
            assert!(judge(&link(kind)).is_err(), "{kind}");
        }
    }

    fn with_address(address: &str, link: Link) -> Link {
        Link { addresses: vec![address.parse().expect("address")], ..link }
    }

    fn judge_all(mut links: Vec<Link>) -> Vec<bool> {
        mark_used(&mut links);
        links.iter().map(|link| judge(link).is_ok()).collect()
    }

    #[test]
    fn a_veth_is_an_edge_only_with_an_address_of_the_host() {
        assert_eq!(judge_all(vec![link("veth")]), [false]);
        assert_eq!(judge_all(vec![with_address("fe80::1", link("veth"))]), [false]);
        assert_eq!(judge_all(vec![with_address("192.0.2.1", link("veth"))]), [true]);
        let port = Link { controller: Some(3), controller_kind: Some("bridge".to_owned()), ..link("veth") };
        assert_eq!(judge_all(vec![with_address("192.0.2.1", port.clone())]), [false]);
        let of_table = Link { controller_kind: Some("vrf".to_owned()), ..port };
        assert_eq!(judge_all(vec![with_address("192.0.2.1", of_table)]), [true]);
    }

    #[test]
    fn a_veth_below_a_vlan_or_a_bond_that_the_host_uses_is_the_edge_and_they_are_not() {
        let veth = Link { index: 2, ..link("veth") };
        let vlan = with_address("192.0.2.1", Link { index: 3, lower: Some(2), ..link("vlan") });
        assert_eq!(judge_all(vec![veth.clone(), vlan]), [true, false]);

        let bond = Some("bond".to_owned());
        let port = |index| Link { index, controller: Some(9), controller_kind: bond.clone(), ..link("veth") };
        let above = Link { index: 9, ..link("bond") };
        let tagged = with_address("192.0.2.1", Link { index: 10, lower: Some(9), ..link("vlan") });
        assert_eq!(judge_all(vec![port(2), port(3), above, tagged]), [true, true, false, false]);

        // Its other end may have any number.
        let cable = with_address("192.0.2.1", Link { index: 4, lower: Some(2), ..link("veth") });
        assert_eq!(judge_all(vec![veth, cable]), [false, true]);
    }

    #[test]
    fn what_sends_through_an_edge_is_above_it() {
        let bond = Some("bond".to_owned());
        let port = Link { index: 2, controller: Some(9), controller_kind: bond, ..link("") };
        let above = Link { index: 9, ..link("bond") };
        let tagged = Link { index: 10, lower: Some(9), ..link("vlan") };
        let cable = Link { index: 4, lower: Some(2), ..link("veth") };
        let found = super::above(&[cable, tagged, above, port], &[2].into());
        assert_eq!(found, [9, 10].into());
    }

    #[test]
    fn loopback_and_interfaces_that_are_down_are_none() {
        assert!(judge(&Link { loopback: true, ..link("") }).is_err());
        assert!(judge(&Link { up: false, ..link("") }).is_err());
    }
}
