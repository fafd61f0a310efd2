//! What is not sent by a process of the host's own network namespace: containers, virtual machines.

use anyhow::{Result, bail};
use homeport_tests::{
    actor::{Impossible, Sent},
    lab::{Family, Host, Lab, Nic},
    settings::Settings,
};

use super::{possible, sink_at};
use crate::{Part, Played, stage::Stage};

const WORDS: &str = "--size 1000 --count 100";

/// A container behind a bridge, with or without address translation.
pub(crate) fn container(translated: bool) -> Result<Played> {
    let lab = Lab::new()?;
    lab.add_guest()?;
    if translated {
        let rules = "nft add table ip nat && \
             nft 'add chain ip nat out { type nat hook postrouting priority 100; }' && \
             nft add rule ip nat out oifname eth0 masquerade";
        possible(lab.shell(Host::Storage, rules))?;
    }
    from_guest(lab)
}

/// A container whose interface hangs on the host's card.
pub(crate) fn stacked(kind: &str) -> Result<Played> {
    let lab = Lab::new()?;
    possible(lab.add_stacked_guest(kind))?;
    from_guest(lab)
}

fn from_guest(lab: Lab) -> Result<Played> {
    let at = sink_at(Family::V4);
    let sink = lab.listener(Host::Foreign, "udp-sink", at, "")?;
    let stage = Stage::own(lab)?;
    let sent = stage.lab.send(Host::Guest, &format!("udp-send --to {at} {WORDS}"))?;
    let part = Part::new(at.ip(), "udp", sent);
    Ok(Played { stage, parts: vec![part], bypass: Nic::default(), _keep: vec![sink] })
}

/// A virtual machine behind a tap device that is a port of a bridge, as the host's card is.
pub(crate) fn bridged_machine(options: &str) -> Result<Played> {
    let mut lab = Lab::new()?;
    let bridge = "ip link add br0 type bridge; ip link set eth0 master br0";
    lab.stack(("br0", bridge), ("storage", "true"), 0)?;
    let at = sink_at(Family::V4);
    let sink = lab.listener(Host::Foreign, "udp-sink", at, "")?;
    lab.shell(Host::Storage, "modprobe -q tun || true")?;
    let words = format!(
        "tap-send --interface tap0 --neighbour {} --from 192.0.2.30 --to {} {WORDS} {options}",
        lab.gateway_mac(),
        at.ip()
    );
    let mut tap = lab.actor(Host::Storage, &words)?;
    if let Some(reason) = tap.line()?["impossible"].as_str() {
        bail!(Impossible(reason.to_owned()));
    }
    lab.shell(Host::Storage, "ip link set tap0 master br0; ip link set tap0 up")?;
    let settings = Settings { host: "interfaces = [\"eth0\"]".to_owned(), ..Settings::default() };
    let stage = Stage::own_with(lab, &settings)?;
    tap.tell("send")?;
    let sent = Sent::from_line(&tap.line()?)?;
    let protocol = if options.is_empty() { "udp" } else { "tcp" };
    let part = Part::new(at.ip(), protocol, sent);
    Ok(Played { stage, parts: vec![part], bypass: Nic::default(), _keep: vec![sink, tap] })
}

/// A virtual machine behind a tap device, routed by the host.
pub(crate) fn machine(options: &str) -> Result<Played> {
    let lab = Lab::new()?;
    let at = sink_at(Family::V4);
    let sink = lab.listener(Host::Foreign, "udp-sink", at, "")?;
    lab.shell(Host::Storage, "echo 1 >/proc/sys/net/ipv4/ip_forward")?;
    // Where it is a module, nothing else loads it; what is missing then is told by who needs it.
    lab.shell(Host::Storage, "modprobe -q tun || true")?;
    let words = format!(
        "tap-send --interface tap0 --neighbour 02:00:00:00:00:01 --from 10.30.0.2 --to {} {WORDS} {options}",
        at.ip()
    );
    let mut tap = lab.actor(Host::Storage, &words)?;
    if let Some(reason) = tap.line()?["impossible"].as_str() {
        bail!(Impossible(reason.to_owned()));
    }
    let setup = "ip link set tap0 address 02:00:00:00:00:01; ip address add 10.30.0.1/24 dev tap0; \
                 ip link set tap0 up";
    lab.shell(Host::Storage, setup)?;
    let stage = Stage::own(lab)?;
    tap.tell("send")?;
    let sent = Sent::from_line(&tap.line()?)?;
    let protocol = if options.is_empty() { "udp" } else { "tcp" };
    let part = Part::new(at.ip(), protocol, sent);
    Ok(Played { stage, parts: vec![part], bypass: Nic::default(), _keep: vec![sink, tap] })
}
