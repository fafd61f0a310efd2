//! Which interfaces are the edge of the host: where bytes leave it for good.
//!
//! A byte is counted once. So of interfaces stacked on each other only the lowest counts: bridges, bonds, VLANs,
//! macvlans and tunnels send through another interface, and what leaves there is what left the host. A veth is
//! the edge when the host itself has an address on it (a namespace that is connected like that); without one it
//! belongs to a container.

use std::net::IpAddr;

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
    /// Index of the bridge, bond or VRF it belongs to.
    pub controller: Option<u32>,
    /// Kind of that controller, if it belongs to one.
    pub controller_kind: Option<String>,
    /// Addresses of the host on it.
    pub addresses: Vec<IpAddr>,
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
        let host_has_address = link.addresses.iter().any(|address| match address {
            IpAddr::V4(address) => !address.is_link_local(),
            IpAddr::V6(address) => !address.is_unicast_link_local(),
        });
        if link.controller.is_some() {
            return Err("belongs to a container or virtual machine");
        }
        return if host_has_address {
            Ok("the host has an address on this virtual cable")
        } else {
            Err("belongs to a container or virtual machine")
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
            controller: None,
            controller_kind: None,
            addresses: Vec::new(),
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

    #[test]
    fn a_veth_is_an_edge_only_with_an_address_of_the_host() {
        assert!(judge(&link("veth")).is_err());
        let addresses = vec!["fe80::1".parse().expect("address")];
        assert!(judge(&Link { addresses, ..link("veth") }).is_err());
        let addresses = vec!["192.0.2.1".parse().expect("address")];
        assert!(judge(&Link { addresses: addresses.clone(), ..link("veth") }).is_ok());
        assert!(judge(&Link { addresses, controller: Some(3), ..link("veth") }).is_err());
    }

    #[test]
    fn loopback_and_interfaces_that_are_down_are_none() {
        assert!(judge(&Link { loopback: true, ..link("") }).is_err());
        assert!(judge(&Link { up: false, ..link("") }).is_err());
    }
}
