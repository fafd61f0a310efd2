//! Hosts with two cards, routes that depend on more than the destination, and paths that take less than the link.

use anyhow::{Context as _, Result, ensure};
use homeport_tests::{
    actor::Sent,
    lab::{Family, Host, Lab, Nic, SECOND},
    running::Running,
};

use super::sink_at;
use crate::{Part, Played, stage::Stage};

const BYTES: u64 = 300_000;

/// A lab with two cards, and a second table of routes that leads through the second one.
fn two_cards() -> Result<Lab> {
    let mut lab = Lab::new()?;
    lab.add_card()?;
    let [(_, gateway4), (_, gateway6)] = SECOND;
    let routes = format!(
        "ip route add default via {gateway4} dev eth1 table 7
         ip -6 route add default via {gateway6} dev eth1 table 7"
    );
    lab.shell(Host::Storage, &routes)?;
    Ok(lab)
}

/// Connections and datagrams over both families, and what they must have sent through the second card: all, or a part.
fn send(lab: Lab, options: [&str; 2], second: Second) -> Result<Played> {
    let stage = Stage::own(lab)?;
    let before = stage.lab.nic_of("eth1")?;
    let (mut parts, mut keep) = (Vec::new(), Vec::new());
    for (family, options) in Family::BOTH.into_iter().zip(options) {
        let at = sink_at(family);
        let (protocol, words) = match second {
            Second::Part => ("tcp", format!("tcp-burst --to {at} --bytes 5000 --count 60")),
            _ => ("tcp", format!("tcp-push --to {at} --bytes {BYTES} {options}")),
        };
        keep.push(stage.lab.listener(Host::Foreign, "tcp-sink", at, "")?);
        let mut sent = stage.lab.send(Host::Storage, &words)?;
        sent.bytes = BYTES;
        parts.push(Part::new(at.ip(), protocol, sent));
    }
    let through = stage.lab.nic_of("eth1")?.since(before).bytes;
    let all = 2 * BYTES;
    match second {
        Second::All => ensure!(through > all, "{through} bytes left through the second card"),
        Second::Part => ensure!(
            (all / 10..all).contains(&through),
            "{through} bytes left through the second card, some of {all} were expected"
        ),
        Second::Nothing => ensure!(through < all / 10, "{through} bytes left through the second card"),
    }
    Ok(Played { stage, parts, bypass: Nic::default(), _keep: keep })
}

/// How much leaves through the second card.
#[derive(Clone, Copy)]
enum Second {
    All,
    Part,
    Nothing,
}

/// The table of the second card is for its own addresses.
pub(crate) fn by_source() -> Result<Played> {
    let lab = two_cards()?;
    let [(ours4, _), (ours6, _)] = SECOND;
    let rules = format!("ip rule add from {ours4} table 7; ip -6 rule add from {ours6} table 7");
    lab.shell(Host::Storage, &rules)?;
    send(lab, [&format!("--from {ours4}"), &format!("--from {ours6}")], Second::All)
}

/// The table of the second card is for sockets with a mark.
pub(crate) fn by_mark() -> Result<Played> {
    let lab = two_cards()?;
    lab.shell(Host::Storage, "ip rule add fwmark 7 table 7; ip -6 rule add fwmark 7 table 7")?;
    send(lab, ["--mark 7"; 2], Second::All)
}

/// The socket insists on the second card.
pub(crate) fn by_device() -> Result<Played> {
    let lab = two_cards()?;
    let [(_, gateway4), (_, gateway6)] = SECOND;
    let routes = format!(
        "ip route add default via {gateway4} dev eth1 metric 4096
         ip -6 route add default via {gateway6} dev eth1 metric 4096"
    );
    lab.shell(Host::Storage, &routes)?;
    send(lab, ["--device eth1"; 2], Second::All)
}

/// Connections are spread over both cards.
pub(crate) fn multipath() -> Result<Played> {
    let lab = two_cards()?;
    let [(_, gateway4), (_, gateway6)] = SECOND;
    let [first4, first6] = Family::BOTH.map(|family| Host::Router.address(family));
    let routes = format!(
        "echo 1 >/proc/sys/net/ipv4/fib_multipath_hash_policy
         echo 1 >/proc/sys/net/ipv6/fib_multipath_hash_policy
         ip route replace default nexthop via {first4} dev eth0 nexthop via {gateway4} dev eth1
         ip -6 route delete default
         ip -6 route add default nexthop via {first6} dev eth0 nexthop via {gateway6} dev eth1"
    );
    lab.shell(Host::Storage, &routes)?;
    send(lab, [""; 2], Second::Part)
}

/// Answers come back through the other card.
pub(crate) fn asymmetric() -> Result<Played> {
    let lab = two_cards()?;
    let mut routes = String::new();
    for (family, (ours, _)) in Family::BOTH.into_iter().zip(SECOND) {
        let prefix = if family == Family::V4 { 32 } else { 128 };
        routes += &format!("ip route add {}/{prefix} via {ours} dev second\n", Host::Storage.address(family));
    }
    lab.shell(Host::Router, &routes)?;
    send(lab, [""; 2], Second::Nothing)
}

/// A connection goes on through the other card, and comes back.
pub(crate) fn rerouted() -> Result<Played> {
    let lab = two_cards()?;
    let stage = Stage::own(lab)?;
    let (mut parts, mut keep) = (Vec::new(), Vec::new());
    for (family, (_, second)) in Family::BOTH.into_iter().zip(SECOND) {
        let at = sink_at(family);
        let first = Host::Router.address(family);
        keep.push(stage.lab.listener(Host::Foreign, "tcp-sink", at, "")?);
        let words = format!("tcp-push --to {at} --bytes {BYTES} --on-command");
        let mut push = stage.lab.actor(Host::Storage, &words)?;
        push.line().context("connected")?;
        let mut sent = Sent { pid: 0, bytes: 0 };
        for (gateway, device) in [(second, "eth1"), (&first.to_string(), "eth0"), (second, "eth1")] {
            push.tell("send")?;
            sent = Sent::from_line(&push.line()?)?;
            let route = format!("ip route replace default via {gateway} dev {device}");
            stage.lab.shell(Host::Storage, &route)?;
        }
        finish(&mut push)?;
        parts.push(Part::new(at.ip(), "tcp", sent));
    }
    Ok(Played { stage, parts, bypass: Nic::default(), _keep: keep })
}

fn finish(push: &mut Running) -> Result<()> {
    push.tell("end")?;
    push.succeed()
}

/// What the link of the foreign host takes, less than all others.
const NARROW: u32 = 1300;

/// The last link takes less than the first, and the router says so.
fn narrow() -> Result<Lab> {
    let lab = Lab::new()?;
    lab.shell(Host::Router, &format!("ip link set foreign mtu {NARROW}"))?;
    lab.shell(Host::Foreign, &format!("ip link set eth0 mtu {NARROW}"))?;
    let unlimited = "echo 0 >/proc/sys/net/ipv4/icmp_ratelimit; echo 0 >/proc/sys/net/ipv6/icmp/ratelimit";
    lab.shell(Host::Router, unlimited)?;
    Ok(lab)
}

/// Connections that begin with segments that are too long.
pub(crate) fn narrow_stream() -> Result<Played> {
    let stage = Stage::own(narrow()?)?;
    // The other end would announce what it takes.
    stage.lab.shell(Host::Foreign, "ip link set eth0 mtu 1500")?;
    let (mut parts, mut keep) = (Vec::new(), Vec::new());
    for family in Family::BOTH {
        let at = sink_at(family);
        keep.push(stage.lab.listener(Host::Foreign, "tcp-sink", at, "")?);
        let words = format!("tcp-push --to {at} --bytes {BYTES}");
        parts.push(Part::new(at.ip(), "tcp", stage.lab.send(Host::Storage, &words)?));
        learned(&stage.lab, family)?;
    }
    Ok(Played { stage, parts, bypass: Nic::default(), _keep: keep })
}

/// Datagrams that are not longer than the link; the first one does not arrive, and all others leave in fragments.
pub(crate) fn narrow_datagrams() -> Result<Played> {
    let stage = Stage::own(narrow()?)?;
    let (mut parts, mut keep) = (Vec::new(), Vec::new());
    for family in Family::BOTH {
        let at = sink_at(family);
        keep.push(stage.lab.listener(Host::Foreign, "udp-sink", at, "")?);
        let words = format!("udp-send --to {at} --size 1400 --count 100");
        parts.push(Part::new(at.ip(), "udp", stage.lab.send(Host::Storage, &words)?));
        learned(&stage.lab, family)?;
    }
    Ok(Played { stage, parts, bypass: Nic::default(), _keep: keep })
}

/// Long datagrams, when the path is known already: from fragments of the path, or where the socket wants that, of the
/// link.
pub(crate) fn narrow_fragments(options: &str) -> Result<Played> {
    let lab = narrow()?;
    for family in Family::BOTH {
        let at = sink_at(family);
        lab.send(Host::Storage, &format!("udp-send --to {at} --size 1400 --count 1"))?;
        learned(&lab, family)?;
    }
    let stage = Stage::own(lab)?;
    let (mut parts, mut keep) = (Vec::new(), Vec::new());
    for family in Family::BOTH {
        let at = sink_at(family);
        keep.push(stage.lab.listener(Host::Foreign, "udp-sink", at, "")?);
        let words = format!("udp-send --to {at} --size 5000 --count 50 {options}");
        parts.push(Part::new(at.ip(), "udp", stage.lab.send(Host::Storage, &words)?));
    }
    Ok(Played { stage, parts, bypass: Nic::default(), _keep: keep })
}

/// The storage host has heard of the narrow link.
fn learned(lab: &Lab, family: Family) -> Result<()> {
    let route = lab.ask(Host::Storage, &format!("ip route get {}", Host::Foreign.address(family)))?;
    ensure!(route.contains(&format!("mtu {NARROW}")), "nothing was learned of the path: {route}");
    Ok(())
}
