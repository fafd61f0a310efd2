//! Tunnels made on the storage host: what leaves it goes to the other end, whatever is inside.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, bail};
use homeport_tests::{
    actor::{Impossible, Sent},
    lab::{Family, Host, Lab, Nic},
};

use super::{SINK_PORT, possible};
use crate::{Inside, Part, Payload, Played, stage::Stage};

/// Inside: the storage host and its peer.
const INSIDE: [(&str, &str); 2] = [("10.99.0.1/24", "10.99.0.2"), ("2001:db8:99::1/64", "2001:db8:99::2")];

/// A kind of tunnel between the storage host and the foreign one.
pub(crate) struct Tunnel {
    /// Lines of shell that make interface `inner0`, or what takes its place. `$LOCAL`, `$REMOTE`, `$LOCAL6` and
    /// `$REMOTE6` are the outer addresses, `$SIDE` is 1 here and 2 there.
    pub(crate) make: &'static str,
    /// The protocol of the outer packets.
    pub(crate) protocol: &'static str,
    /// Their family.
    pub(crate) outer: Family,
    /// What may be inside.
    pub(crate) inner: &'static [Family],
}

pub(crate) const VXLAN: Tunnel = Tunnel {
    make: "ip link add inner0 mtu 1450 type vxlan id 7 local $LOCAL remote $REMOTE dstport 4789",
    protocol: "udp",
    outer: Family::V4,
    inner: &Family::BOTH,
};
pub(crate) const VXLAN6: Tunnel = Tunnel {
    make: "ip link add inner0 mtu 1430 type vxlan id 7 local $LOCAL6 remote $REMOTE6 dstport 4789",
    outer: Family::V6,
    ..VXLAN
};
pub(crate) const GENEVE: Tunnel =
    Tunnel { make: "ip link add inner0 mtu 1450 type geneve id 7 remote $REMOTE", protocol: "udp", ..VXLAN };
pub(crate) const GRE: Tunnel = Tunnel {
    make: "ip link add inner0 type gre local $LOCAL remote $REMOTE ttl 64",
    protocol: "gre",
    ..VXLAN
};
pub(crate) const IP6GRE: Tunnel =
    Tunnel { make: "ip link add inner0 type ip6gre local $LOCAL6 remote $REMOTE6", outer: Family::V6, ..GRE };
pub(crate) const IPIP: Tunnel = Tunnel {
    make: "ip link add inner0 type ipip local $LOCAL remote $REMOTE ttl 64",
    protocol: "ipip",
    inner: &[Family::V4],
    ..VXLAN
};
/// With the frames of an Ethernet.
pub(crate) const GRETAP: Tunnel = Tunnel {
    make: "ip link add inner0 mtu 1400 type gretap local $LOCAL remote $REMOTE ttl 64",
    protocol: "gre",
    ..VXLAN
};
/// The same over IPv6.
pub(crate) const IP6GRETAP: Tunnel = Tunnel {
    make: "ip link add inner0 mtu 1380 type ip6gretap local $LOCAL6 remote $REMOTE6",
    outer: Family::V6,
    ..GRETAP
};
/// A pseudowire: a device without a kind.
pub(crate) const L2TP: Tunnel = Tunnel {
    make: "modprobe -q l2tp_eth || true
        ip l2tp add tunnel tunnel_id $SIDE peer_tunnel_id $((3 - SIDE)) encap udp local $LOCAL remote $REMOTE \
            udp_sport 1701 udp_dport 1701
        ip l2tp add session name inner0 tunnel_id $SIDE session_id $SIDE peer_session_id $((3 - SIDE))
        ip link set inner0 mtu 1400",
    ..VXLAN
};
pub(crate) const L2TP_IP: Tunnel = Tunnel {
    make: "modprobe -q l2tp_eth || true; modprobe -q l2tp_ip || true
        ip l2tp add tunnel tunnel_id $SIDE peer_tunnel_id $((3 - SIDE)) encap ip local $LOCAL remote $REMOTE
        ip l2tp add session name inner0 tunnel_id $SIDE session_id $SIDE peer_session_id $((3 - SIDE))
        ip link set inner0 mtu 1400",
    protocol: "ip-115",
    ..VXLAN
};
pub(crate) const FOU: Tunnel = Tunnel {
    make: "modprobe -q fou || true; ip fou add port 5555 ipproto 4
        ip link add inner0 mtu 1400 type ipip local $LOCAL remote $REMOTE ttl 64 \
            encap fou encap-sport auto encap-dport 5555",
    inner: &[Family::V4],
    ..VXLAN
};
pub(crate) const GUE: Tunnel = Tunnel {
    make: "modprobe -q fou || true; ip fou add port 5555 gue
        ip link add inner0 mtu 1400 type ipip local $LOCAL remote $REMOTE ttl 64 \
            encap gue encap-sport auto encap-dport 5555",
    inner: &[Family::V4],
    ..VXLAN
};
pub(crate) const SIT: Tunnel = Tunnel {
    make: "ip link add inner0 type sit local $LOCAL remote $REMOTE ttl 64",
    protocol: "ipv6",
    inner: &[Family::V6],
    ..VXLAN
};
pub(crate) const IP6TNL: Tunnel = Tunnel {
    make: "ip link add inner0 type ip6tnl mode any local $LOCAL6 remote $REMOTE6",
    protocol: "ipv6",
    outer: Family::V6,
    inner: &[Family::V6],
};
/// With keys that everybody knows.
pub(crate) const WIREGUARD: Tunnel = Tunnel {
    make: "ip link add inner0 type wireguard
        ours=$(printf 'homeport-test-key-of-the-side-0%s' $SIDE | head -c 32 | base64)
        theirs=$(printf 'homeport-test-key-of-the-side-0%s' $((3 - SIDE)) | head -c 32 | base64)
        file=$(mktemp); echo $ours >$file
        wg set inner0 private-key $file listen-port 51820 peer $(echo $theirs | wg pubkey) \
            endpoint $REMOTE:51820 allowed-ips 10.99.0.0/24,2001:db8:99::/64; rm $file",
    protocol: "udp",
    outer: Family::V4,
    inner: &Family::BOTH,
};

/// Sends over TCP and UDP through it. What is inside is told, and not counted again.
pub(crate) fn through(tunnel: &Tunnel) -> Result<Played> {
    let lab = Lab::new()?;
    for (side, here, there) in [(1, Host::Storage, Host::Foreign), (2, Host::Foreign, Host::Storage)] {
        possible(make(&lab, tunnel, side, here, there))?;
    }
    let stage = Stage::own(lab)?;
    let (mut inside, mut keep) = (Vec::new(), Vec::new());
    for family in tunnel.inner {
        let remote: IpAddr = INSIDE[usize::from(*family == Family::V6)].1.parse()?;
        let at = SocketAddr::new(remote, SINK_PORT);
        for (protocol, send) in [
            ("tcp", format!("tcp-push --to {at} --bytes 500000")),
            ("udp", format!("udp-send --to {at} --size 1000 --count 100")),
        ] {
            keep.push(stage.lab.listener(Host::Foreign, &format!("{protocol}-sink"), at, "")?);
            let sent = stage.lab.send(Host::Storage, &send)?;
            inside.push(Inside { remote, protocol, sent });
        }
    }
    let sent = Sent { pid: 0, bytes: inside.iter().map(|inside| inside.sent.bytes).sum() };
    let outer = Part::new(Host::Foreign.address(tunnel.outer), tunnel.protocol, sent);
    let parts = vec![Part { payload: Payload::AtLeast, inside, ..outer }];
    Ok(Played { stage, parts, bypass: Nic::default(), _keep: keep })
}

/// IPsec has no device: the socket ledger sees the outer packets, with their destination.
pub(crate) fn encrypted() -> Result<Played> {
    encrypt("", "tcp-push --bytes 500000")
}

/// The same in datagrams, for those behind address translation. Nobody at the other end takes them out again.
pub(crate) fn encrypted_in_datagrams() -> Result<Played> {
    encrypt("encap espinudp 4500 4500 0.0.0.0", "udp-send --size 1000 --count 100")
}

fn encrypt(encapsulation: &str, send: &str) -> Result<Played> {
    const STATE: &str = "mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128";
    let lab = Lab::new()?;
    for (side, here, there) in [(1, Host::Storage, Host::Foreign), (2, Host::Foreign, Host::Storage)] {
        let (local, remote) = (here.address(Family::V4), there.address(Family::V4));
        let peer = 3 - side;
        let setup = format!(
            "ip address add 10.99.0.{side}/32 dev lo; ip route add 10.99.0.{peer} dev eth0 src 10.99.0.{side} \
                 via $(ip route show default | cut -d' ' -f3)
             ip xfrm state add src {local} dst {remote} proto esp spi 0x10{side} {STATE} {encapsulation}
             ip xfrm state add src {remote} dst {local} proto esp spi 0x10{peer} {STATE} {encapsulation}
             ip xfrm policy add src 10.99.0.{side} dst 10.99.0.{peer} dir out tmpl src {local} dst {remote} proto esp mode tunnel
             ip xfrm policy add src 10.99.0.{peer} dst 10.99.0.{side} dir in tmpl src {remote} dst {local} proto esp mode tunnel"
        );
        possible(lab.shell(here, &setup))?;
    }
    let stage = Stage::own(lab)?;
    let at: SocketAddr = format!("{}:{SINK_PORT}", INSIDE[0].1).parse()?;
    let sink = stage.lab.listener(Host::Foreign, "tcp-sink", at, "")?;
    let sent = stage.lab.send(Host::Storage, &format!("{send} --to {at}"))?;
    let protocol = if encapsulation.is_empty() { "esp" } else { "udp" };
    let part =
        Part { payload: Payload::AtLeast, ..Part::new(Host::Foreign.address(Family::V4), protocol, sent) };
    Ok(Played { stage, parts: vec![part], bypass: Nic::default(), _keep: vec![sink] })
}

/// IPsec with a device: the socket ledger sees the packet twice, before and after, and the first is inside of the second.
pub(crate) fn encrypted_by_device() -> Result<Played> {
    const STATE: &str =
        "mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 if_id 7";
    let lab = Lab::new()?;
    for (side, here, there) in [(1, Host::Storage, Host::Foreign), (2, Host::Foreign, Host::Storage)] {
        let (local, remote) = (here.address(Family::V4), there.address(Family::V4));
        let peer = 3 - side;
        let setup = format!(
            "modprobe -q xfrm_interface || true
             ip link add inner0 type xfrm dev eth0 if_id 7
             ip xfrm state add src {local} dst {remote} proto esp spi 0x10{side} {STATE}
             ip xfrm state add src {remote} dst {local} proto esp spi 0x10{peer} {STATE}
             ip xfrm policy add dir out if_id 7 tmpl src {local} dst {remote} proto esp mode tunnel
             ip xfrm policy add dir in if_id 7 tmpl src {remote} dst {local} proto esp mode tunnel
             ip link set inner0 mtu 1400 up; ip address add 10.99.0.{side}/24 dev inner0"
        );
        possible(lab.shell(here, &setup))?;
    }
    let stage = Stage::own(lab)?;
    let remote: IpAddr = INSIDE[0].1.parse()?;
    let at = SocketAddr::new(remote, SINK_PORT);
    let sink = stage.lab.listener(Host::Foreign, "tcp-sink", at, "")?;
    let sent = stage.lab.send(Host::Storage, &format!("tcp-push --bytes 500000 --to {at}"))?;
    let inside = vec![Inside { remote, protocol: "tcp", sent }];
    let outer = Part::new(Host::Foreign.address(Family::V4), "esp", sent);
    let part = Part { payload: Payload::AtLeast, inside, ..outer };
    Ok(Played { stage, parts: vec![part], bypass: Nic::default(), _keep: vec![sink] })
}

/// A VPN that is a process of the host: it takes what others send from a tun device, and sends it on as datagrams.
pub(crate) fn of_a_process() -> Result<Played> {
    const COUNT: u64 = 100;
    const SIZE: u64 = 1000;
    let lab = Lab::new()?;
    let outside: SocketAddr = (Host::Foreign.address(Family::V4), SINK_PORT).into();
    let sink = lab.listener(Host::Foreign, "udp-sink", outside, "")?;
    lab.shell(Host::Storage, "modprobe -q tun || true")?;
    let mut vpn =
        lab.actor(Host::Storage, &format!("vpn --interface inner0 --to {outside} --count {COUNT}"))?;
    if let Some(reason) = vpn.line()?["impossible"].as_str() {
        bail!(Impossible(reason.to_owned()));
    }
    lab.shell(
        Host::Storage,
        &format!("ip address add {} dev inner0; ip link set inner0 mtu 1400 up", INSIDE[0].0),
    )?;
    let stage = Stage::own(lab)?;
    vpn.tell("carry")?;
    let remote: IpAddr = INSIDE[0].1.parse()?;
    let send = format!("udp-send --to {} --size {SIZE} --count {COUNT}", SocketAddr::new(remote, SINK_PORT));
    let inside = Inside { remote, protocol: "udp", sent: stage.lab.send(Host::Storage, &send)? };
    let part =
        Part { inside: vec![inside], ..Part::new(outside.ip(), "udp", Sent::from_line(&vpn.line()?)?) };
    Ok(Played { stage, parts: vec![part], bypass: Nic::default(), _keep: vec![sink, vpn] })
}

fn make(lab: &Lab, tunnel: &Tunnel, side: u8, here: Host, there: Host) -> Result<()> {
    let at = |host: Host, family| host.address(family);
    let (local, remote) = (at(here, Family::V4), at(there, Family::V4));
    let (local6, remote6) = (at(here, Family::V6), at(there, Family::V6));
    let addresses: String = INSIDE
        .iter()
        .map(|(ours, _)| ours.replacen("::1/", &format!("::{side}/"), 1).replacen(".1/", &format!(".{side}/"), 1))
        .map(|address| format!("ip address add {address} dev inner0 nodad 2>/dev/null || ip address add {address} dev inner0\n"))
        .collect();
    lab.shell(
        here,
        &format!(
            "LOCAL={local} REMOTE={remote} LOCAL6={local6} REMOTE6={remote6} SIDE={side}\n{}\n{addresses}\n\
             ip link set inner0 up",
            tunnel.make
        ),
    )
}
