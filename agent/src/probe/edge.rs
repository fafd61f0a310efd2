//! Which interfaces are the edge of the host: where bytes leave it for good.
//!
//! A byte is counted once. So of interfaces stacked on each other only the lowest counts: bridges, bonds, VLANs,
//! macvlans and tunnels send through another interface, and what leaves there is what left the host. A veth is
//! the edge when the host itself has an address on it, or on a VLAN or bond above it (a namespace that is connected
//! like that); without one it belongs to a container. One that is a port of a bridge looks the same in both cases and
//! is taken for a container's; `host.interfaces` says otherwise.
//!
//! What a device does is told by its kind ([`KINDS`]). A kind that is not in the table is an edge, so that nothing is
//! missed, and [`doubt`] says that its bytes may be counted twice.

use std::{collections::HashSet, net::IpAddr};

/// What the kernel says about an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// What its session goes through, where the kernel has one.
    pub session: Option<Session>,
    /// The device of a bus that it is; nothing for virtual ones, and before Linux 5.14.
    pub parent: Option<String>,
    /// Ports of a switch send through it.
    pub serves_switch: bool,
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

/// What a kind of device does with what it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It has a line of its own: bytes leave the host there.
    Card,
    /// Its other end is another network namespace of this host.
    Cable,
    /// The packet as it is goes on to the card below, or to nobody.
    Stacked,
    /// It puts packets into other packets. What enters is told with its inner destination; what leaves the host, and is
    /// counted, is the outer packet.
    Tunnel,
    /// Over Ethernet it is stacked, over L2TP a tunnel, over a line of its own a card: the sessions of the kernel tell.
    Session,
}

/// Every kind of device that this program knows (`rtnl_link_ops.kind` in the kernel, as `ip -details link` shows it), what
/// it does, and why that is so. What is not here is taken for a card, and said to be unknown.
pub const KINDS: &[(&str, Role, &str)] = &[
    ("amt", Role::Tunnel, "multicast in UDP"),
    ("bareudp", Role::Tunnel, "IP or MPLS in UDP"),
    (
        "batadv",
        Role::Stacked,
        "a mesh: its frames leave through the cards that belong to it, as frames that are not IP",
    ),
    ("bond", Role::Stacked, "leaves through one of its ports"),
    ("bridge", Role::Stacked, "leaves through one of its ports"),
    ("can", Role::Card, "a field bus with a line of its own"),
    ("dsa", Role::Card, "a port of a switch on the board; the card in front of the switch is none"),
    ("dummy", Role::Stacked, "nothing leaves"),
    ("erspan", Role::Tunnel, "frames in GRE"),
    ("geneve", Role::Tunnel, "frames in UDP"),
    ("gre", Role::Tunnel, "IP in GRE"),
    ("gretap", Role::Tunnel, "frames in GRE"),
    ("gtp", Role::Tunnel, "IP in UDP, of a mobile network"),
    ("hsr", Role::Stacked, "a ring: its frames leave through both of its ports, as frames that are not IP"),
    ("ifb", Role::Stacked, "comes back to where it was taken from"),
    ("ip6erspan", Role::Tunnel, "frames in GRE over IPv6"),
    ("ip6gre", Role::Tunnel, "IP in GRE over IPv6"),
    ("ip6gretap", Role::Tunnel, "frames in GRE over IPv6"),
    ("ip6tnl", Role::Tunnel, "IP in IPv6"),
    ("ipip", Role::Tunnel, "IP in IPv4"),
    ("ipoib", Role::Card, "IP over InfiniBand"),
    ("ipvlan", Role::Stacked, "leaves through the card below, or reaches a neighbour on it"),
    ("ipvtap", Role::Stacked, "as ipvlan"),
    ("l2tpeth", Role::Tunnel, "frames in L2TPv3; such a device has no kind, see `sessions`"),
    ("macsec", Role::Stacked, "leaves encrypted through the card below"),
    ("macvlan", Role::Stacked, "leaves through the card below, or reaches a neighbour on it"),
    ("macvtap", Role::Stacked, "as macvlan"),
    ("netdevsim", Role::Stacked, "for tests of the kernel: nothing leaves"),
    ("netkit", Role::Cable, "a virtual cable"),
    ("nlmon", Role::Stacked, "listens to netlink: nothing leaves"),
    ("openvswitch", Role::Stacked, "leaves through one of the ports of its switch"),
    ("ovpn", Role::Tunnel, "OpenVPN within the kernel: IP in UDP or TCP"),
    ("pfcp", Role::Tunnel, "of a mobile network: IP in UDP"),
    ("ppp", Role::Session, "a session"),
    ("rmnet", Role::Stacked, "leaves through the modem below, as frames that are not IP"),
    ("sit", Role::Tunnel, "IP in IPv4"),
    ("team", Role::Stacked, "leaves through one of its ports"),
    (
        "tun",
        Role::Tunnel,
        "a process takes it, such as a VPN or a virtual machine, and sends what it sends by itself",
    ),
    ("vcan", Role::Stacked, "a field bus for tests: nothing leaves"),
    ("veth", Role::Cable, "a virtual cable"),
    ("virt_wifi", Role::Stacked, "leaves through the card below"),
    ("vlan", Role::Stacked, "leaves through the card below"),
    ("vrf", Role::Stacked, "a table of routes"),
    ("vsockmon", Role::Stacked, "listens to AF_VSOCK: nothing leaves"),
    ("vti", Role::Tunnel, "IPsec"),
    ("vti6", Role::Tunnel, "IPsec over IPv6"),
    ("vxcan", Role::Stacked, "a field bus between network namespaces"),
    ("vxlan", Role::Tunnel, "frames in UDP"),
    ("wireguard", Role::Tunnel, "IP in UDP, encrypted"),
    ("wwan", Role::Card, "a modem"),
    ("xfrm", Role::Tunnel, "IPsec"),
];

/// What a kind does; nothing for one that is not in the table.
fn role(kind: &str) -> Option<Role> {
    KINDS.iter().find(|(name, ..)| *name == kind).map(|(_, role, _)| *role)
}

/// What the session of a PPP device, or of a pseudowire, goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    /// Frames of a card: PPP over Ethernet.
    Ethernet,
    /// Packets to another host: L2TP.
    Packets,
}

/// Controllers that send everything through their ports, and nothing else does.
const AGGREGATES: &[&str] = &["bond", "team"];

/// Kinds whose `lower` is the interface they send through. A virtual cable has its other end there.
const STACKED_ON_LOWER: &[&str] =
    &["vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec", "ppp", "virt_wifi"];

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
                // Ports of a switch in software belong to the switch as a whole, and so do its own interfaces.
                let is_of_switch = link.kind == "openvswitch"
                    && links.iter().any(|port| {
                        port.controller_kind.as_deref() == Some("openvswitch") && leads(&port.index)
                    });
                is_of_switch
                    || (is_stacked && link.lower.as_ref().is_some_and(leads))
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
    match (role(&link.kind), link.session) {
        (Some(Role::Stacked | Role::Tunnel), _) => Err("sends through another interface"),
        (_, Some(Session::Packets)) => Err("a session in packets of another interface"),
        (Some(Role::Session), Some(Session::Ethernet)) => Err("a session in frames of another interface"),
        (Some(Role::Session), None) => Ok("a session on a line of its own, as far as known"),
        (Some(Role::Cable), _) => {
            // A VRF is a table of routes, no device that anything passes: what belongs to it is as it was.
            let kind = link.controller_kind.as_deref();
            let is_by_itself = kind.is_some_and(|kind| kind == "vrf" || AGGREGATES.contains(&kind));
            match (link.controller, link.is_used) {
                (Some(_), _) if !is_by_itself => Err("belongs to a container or virtual machine"),
                (_, true) => Ok("the host has an address on this virtual cable"),
                (_, false) => Err("belongs to a container or virtual machine"),
            }
        }
        (Some(Role::Card) | None, _) if link.serves_switch && !link.is_used => {
            Err("sends for the ports of a switch")
        }
        (Some(Role::Card), _) => Ok("hardware"),
        (None, _) if link.kind.is_empty() => Ok("hardware"),
        (None, _) => Ok("of a kind that is not known"),
    }
}

/// Whether it puts packets into other packets.
pub fn wraps(link: &Link) -> bool {
    role(&link.kind) == Some(Role::Tunnel) || link.session == Some(Session::Packets)
}

/// Why an edge may be none, and its bytes be counted twice; nothing for those that are as they should be. `tells_parents`:
/// this kernel says on which bus a card is.
pub fn doubt(link: &Link, tells_parents: bool) -> Option<String> {
    judge(link).ok()?;
    let Link { kind, .. } = link;
    match role(kind) {
        Some(Role::Session) => Some(
            "a PPP device without a session of PPPoE or L2TP in the kernel: if it goes through a program that sends over \
             another interface, its bytes are counted twice"
                .to_owned(),
        ),
        None if !kind.is_empty() => Some(format!(
            "a device of kind {kind}, which is not known: if it sends through another interface, its bytes are counted twice"
        )),
        None if tells_parents && link.parent.is_none() => Some(
            "a device without a kind, and on no bus: if it sends through another interface, its bytes are counted twice"
                .to_owned(),
        ),
        Some(_) | None => None,
    }
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
            session: None,
            parent: None,
            serves_switch: false,
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
        let found = super::above(&[cable, tagged, above, port.clone()], &[2].into());
        assert_eq!(found, [9, 10].into());

        let port = Link { controller_kind: Some("openvswitch".to_owned()), ..port };
        let switch = Link { index: 9, ..link("openvswitch") };
        let own = Link { index: 11, ..link("openvswitch") };
        assert_eq!(super::above(&[port, switch, own], &[2].into()), [9, 11].into());
    }

    #[test]
    fn the_table_of_kinds_is_sorted_and_gives_each_a_reason() {
        assert!(KINDS.is_sorted_by(|a, b| a.0 < b.0));
        assert!(KINDS.iter().all(|(kind, _, why)| !kind.is_empty() && !why.is_empty()));
        let tunnels = KINDS.iter().filter(|(_, role, _)| *role == Role::Tunnel).count();
        assert!(tunnels <= homeport_ebpf::settings::MAX_TUNNEL_KINDS);
    }

    #[test]
    fn sessions_are_edges_only_on_a_line_of_their_own() {
        let session = |kind, session| Link { session, ..link(kind) };
        assert!(judge(&session("ppp", Some(Session::Ethernet))).is_err());
        assert!(judge(&session("ppp", Some(Session::Packets))).is_err());
        assert!(judge(&session("", Some(Session::Packets))).is_err(), "a pseudowire of L2TP has no kind");
        let line = session("ppp", None);
        assert!(judge(&line).is_ok());
        assert!(doubt(&line, true).is_some());
    }

    #[test]
    fn a_card_below_a_session_is_used_and_the_session_is_above_it() {
        let card = Link { index: 2, ..link("veth") };
        let over = Link { index: 3, lower: Some(2), session: Some(Session::Ethernet), ..link("ppp") };
        let over = with_address("192.0.2.1", over);
        assert_eq!(judge_all(vec![card.clone(), over.clone()]), [true, false]);
        assert_eq!(super::above(&[card, over], &[2].into()), [3].into());
    }

    #[test]
    fn ports_of_a_switch_are_edges_and_the_card_in_front_of_it_is_none() {
        assert!(judge(&link("dsa")).is_ok());
        let card = Link { serves_switch: true, ..link("") };
        assert!(judge(&card).is_err());
        assert!(judge(&Link { is_used: true, ..card }).is_ok(), "the host talks through it as well");
    }

    #[test]
    fn what_is_not_known_is_an_edge_and_said_to_be_doubtful() {
        let unknown = link("carrier-pigeon");
        assert!(judge(&unknown).is_ok());
        assert!(doubt(&unknown, false).is_some_and(|why| why.contains("carrier-pigeon")));
        assert_eq!(doubt(&link(""), false), None, "older kernels do not tell on which bus a card is");
        assert!(doubt(&link(""), true).is_some());
        assert_eq!(doubt(&Link { parent: Some("0000:00:03.0".to_owned()), ..link("") }, true), None);
        assert_eq!(doubt(&link("vxlan"), true), None, "no edge");
        assert_eq!(doubt(&link("wwan"), true), None);
    }

    #[test]
    fn loopback_and_interfaces_that_are_down_are_none() {
        assert!(judge(&Link { loopback: true, ..link("") }).is_err());
        assert!(judge(&Link { up: false, ..link("") }).is_err());
    }
}
