//! Devices on top of cards: what passes several is counted once, at the lowest.

use anyhow::{Result, bail};
use homeport_tests::{
    actor::Impossible,
    lab::{Family, Host, Lab, Nic},
    settings::Settings,
};

use super::{possible, sink_at};
use crate::{Part, Played, stage::Stage};

/// A device between the addresses of a host and its card, and the same at the other end of the cable.
pub(crate) struct Stack {
    /// Names of the upper devices, and the lines of shell that make them.
    storage: (&'static str, &'static str),
    router: (&'static str, &'static str),
    /// With a second cable.
    second: bool,
    /// What has to be named as edge; nothing where the agent finds out by itself.
    named: &'static str,
    /// Bytes that the card counts in each frame beyond the link header.
    framing_bytes: u64,
    /// Options of what sends.
    options: &'static str,
}

const PLAIN: Stack = Stack {
    storage: ("eth0", "true"),
    router: ("storage", "true"),
    second: false,
    named: "",
    framing_bytes: 0,
    options: "",
};

pub(crate) const VLAN: Stack = Stack {
    storage: ("eth0.7", "ip link add link eth0 name eth0.7 type vlan id 7"),
    router: ("storage.7", "ip link add link storage name storage.7 type vlan id 7"),
    ..PLAIN
};
/// The card cannot add tags: the kernel does, behind `tc`.
pub(crate) const VLAN_BY_KERNEL: Stack = Stack {
    storage: ("eth0.7", "ethtool -K eth0 txvlan off; ip link add link eth0 name eth0.7 type vlan id 7"),
    framing_bytes: 4,
    ..VLAN
};
/// The device itself adds them.
pub(crate) const VLAN_IN_FRAME: Stack = Stack {
    storage: (
        "eth0.7",
        "ethtool -K eth0 txvlan off; ip link add link eth0 name eth0.7 type vlan id 7 reorder_hdr off",
    ),
    framing_bytes: 4,
    ..VLAN
};
/// Tags in tags.
pub(crate) const VLAN_IN_VLAN: Stack = Stack {
    storage: (
        "eth0.7.8",
        "ip link add link eth0 name eth0.7 type vlan proto 802.1ad id 7; ip link set eth0.7 up
         ip link add link eth0.7 name eth0.7.8 type vlan id 8",
    ),
    router: (
        "storage.7.8",
        "ip link add link storage name storage.7 type vlan proto 802.1ad id 7; ip link set storage.7 up
         ip link add link storage.7 name storage.7.8 type vlan id 8",
    ),
    framing_bytes: 4,
    ..PLAIN
};
pub(crate) const BOND: Stack = Stack {
    storage: (
        "bond0",
        "ip link add bond0 type bond mode active-backup miimon 100; ip link set eth0 down; ip link set eth1 down
         ip link set eth0 master bond0; ip link set eth1 master bond0; ip link set bond0 up; sleep 1",
    ),
    router: (
        "bond0",
        "ip link add bond0 type bond mode active-backup miimon 100; ip link set storage down; ip link set second down
         ip link set storage master bond0; ip link set second master bond0; ip link set bond0 up",
    ),
    second: true,
    ..PLAIN
};
pub(crate) const BRIDGE: Stack = Stack {
    storage: ("br0", "ip link add br0 type bridge; ip link set eth0 master br0"),
    named: "interfaces = [\"eth0\"]",
    ..PLAIN
};
/// IPv6 addresses go when a card enters; and its routes are in the new table.
macro_rules! vrf {
    ($($more:literal)?) => {
        concat!(
            "ip link add red type vrf table 10; ip link set red up; ip link set eth0 master red
             ip address add 192.0.2.10/24 dev eth0 2>/dev/null || true
             ip route add default via 192.0.2.1 table 10
             ip -6 address add 2001:db8:0:2::10/64 dev eth0 nodad || true
             ip -6 route add default via 2001:db8:0:2::1 dev eth0 table 10",
            $("\n", $more)?
        )
    };
}
/// A table of routes of its own, which the card belongs to.
pub(crate) const VRF: Stack = Stack { storage: ("eth0", vrf!()), options: "--device red", ..PLAIN };
/// The same with a queue at the device of the table: then packets pass it, too.
pub(crate) const VRF_QUEUED: Stack =
    Stack { storage: ("eth0", vrf!("tc qdisc add dev red root pfifo")), ..VRF };
/// With keys that everybody knows. What it adds: a tag of 16 bytes and a check of 16.
pub(crate) const MACSEC: Stack = Stack {
    storage: (
        "sec0",
        "ip link add link eth0 sec0 type macsec encrypt on
         ip macsec add sec0 tx sa 0 pn 1 on key 01 11111111111111111111111111111111
         ip macsec add sec0 rx port 1 address 02:00:00:00:00:01
         ip macsec add sec0 rx port 1 address 02:00:00:00:00:01 sa 0 pn 1 on key 02 22222222222222222222222222222222",
    ),
    router: (
        "sec0",
        "ip link add link storage sec0 type macsec encrypt on
         ip macsec add sec0 tx sa 0 pn 1 on key 02 22222222222222222222222222222222
         ip macsec add sec0 rx port 1 address 02:00:00:00:00:10
         ip macsec add sec0 rx port 1 address 02:00:00:00:00:10 sa 0 pn 1 on key 01 11111111111111111111111111111111",
    ),
    framing_bytes: 32,
    ..PLAIN
};

/// Connections and datagrams over both families.
pub(crate) fn through(stack: &Stack) -> Result<Played> {
    let mut lab = Lab::new()?;
    if stack.second {
        lab.add_card()?;
    }
    possible(lab.stack(stack.storage, stack.router, stack.framing_bytes))?;
    let settings = Settings { host: stack.named.to_owned(), ..Settings::default() };
    let stage = Stage::own_with(lab, &settings)?;
    let (mut parts, mut keep) = (Vec::new(), Vec::new());
    for (family, protocol, words) in [
        (Family::V4, "tcp", "tcp-push --bytes 300000"),
        (Family::V6, "udp", "udp-send --size 4000 --count 50"),
    ] {
        let at = sink_at(family);
        keep.push(stage.lab.listener(Host::Foreign, &format!("{protocol}-sink"), at, "")?);
        let sent = stage.lab.send(Host::Storage, &format!("{words} --to {at} {}", stack.options))?;
        parts.push(Part::new(at.ip(), protocol, sent));
    }
    Ok(Played { stage, parts, bypass: Nic::default(), _keep: keep })
}

/// PPP over Ethernet: the destination is inside, and the card counts the session's header.
pub(crate) fn session() -> Result<Played> {
    let mut lab = Lab::new()?;
    lab.shell(Host::Storage, "modprobe -q pppoe || true")?;
    let mut sessions = Vec::new();
    for (host, card, neighbour) in
        [(Host::Router, "storage", lab.card_mac()), (Host::Storage, "eth0", lab.gateway_mac())]
    {
        let words = format!("ppp-session --interface {card} --neighbour {neighbour}");
        let mut session = lab.actor(host, &words)?;
        let line = session.line()?;
        if let Some(reason) = line["impossible"].as_str() {
            bail!(Impossible(reason.to_owned()));
        }
        sessions.push((session, format!("ppp{}", line["unit"])));
    }
    lab.move_to_session(&sessions[1].1, &sessions[0].1, 8)?;
    let stage = Stage::own(lab)?;
    let (mut parts, mut keep) = (Vec::new(), Vec::new());
    for (family, protocol, words) in [
        (Family::V4, "tcp", "tcp-push --bytes 300000"),
        (Family::V6, "udp", "udp-send --size 4000 --count 50"),
    ] {
        let at = sink_at(family);
        keep.push(stage.lab.listener(Host::Foreign, &format!("{protocol}-sink"), at, "")?);
        let sent = stage.lab.send(Host::Storage, &format!("{words} --to {at}"))?;
        parts.push(Part::new(at.ip(), protocol, sent));
    }
    keep.extend(sessions.into_iter().map(|(session, _)| session));
    Ok(Played { stage, parts, bypass: Nic::default(), _keep: keep })
}
