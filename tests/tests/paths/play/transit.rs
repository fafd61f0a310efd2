//! What is not sent by a process of the host's own network namespace: containers, virtual machines.

use anyhow::{Result, bail};
use homeport_tests::{
    actor::{Impossible, Sent},
    lab::{Family, Host, Lab, Nic},
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

/// A virtual machine behind a tap device, routed by the host.
pub(crate) fn machine() -> Result<Played> {
    let lab = Lab::new()?;
    let at = sink_at(Family::V4);
    let sink = lab.listener(Host::Foreign, "udp-sink", at, "")?;
    lab.shell(Host::Storage, "echo 1 >/proc/sys/net/ipv4/ip_forward")?;
    // Where it is a module, nothing else loads it; what is missing then is told by who needs it.
    lab.shell(Host::Storage, "modprobe -q tun || true")?;
    let words = format!(
        "tap-send --interface tap0 --neighbour 02:00:00:00:00:01 --from 10.30.0.2 --to {} {WORDS}",
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
    let part = Part::new(at.ip(), "udp", sent);
    Ok(Played { stage, parts: vec![part], bypass: Nic::default(), _keep: vec![sink, tap] })
}
