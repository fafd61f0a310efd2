//! Datagrams.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use homeport_tests::lab::{Family, Host, Lab, Nic};

use super::{SINK_PORT, sink_at};
use crate::{Part, Played, stage::Stage};

/// To a receiver abroad, over both families.
pub(crate) fn send(words: &str) -> Result<Played> {
    send_on(Stage::shared()?, words)
}

fn send_on(stage: Stage, words: &str) -> Result<Played> {
    let (mut parts, mut keep) = (Vec::new(), Vec::new());
    for family in Family::BOTH {
        let at = sink_at(family);
        keep.push(stage.lab.listener(Host::Foreign, "udp-sink", at, "")?);
        let sent = stage.lab.send(Host::Storage, &format!("udp-send --to {at} {words}"))?;
        parts.push(Part::new(at.ip(), "udp", sent));
    }
    Ok(Played { stage, parts, bypass: Nic::default(), _keep: keep })
}

/// The same, where the route takes less than the interface does.
pub(crate) fn send_on_narrow_route(words: &str) -> Result<Played> {
    let lab = Lab::new()?;
    for family in Family::BOTH {
        let (to, router) = (Host::Foreign.address(family), Host::Router.address(family));
        lab.shell(Host::Storage, &format!("ip route add {to} via {router} mtu 1330"))?;
    }
    send_on(Stage::own(lab)?, words)
}

/// To many at once. Nobody needs to listen: it leaves all the same.
pub(crate) fn to_groups(groups: &[(&str, Option<&'static str>)], words: &str) -> Result<Played> {
    let stage = Stage::shared()?;
    let mut parts = Vec::new();
    for (group, location) in groups {
        let group: IpAddr = group.parse()?;
        let at = SocketAddr::new(group, SINK_PORT);
        let words = format!("udp-send --to {at} --size 1000 --count 100 {words}");
        let sent = stage.lab.send(Host::Storage, &words)?;
        parts.push(Part { location: *location, ..Part::new(group, "udp", sent) });
    }
    Ok(Played { stage, parts, bypass: Nic::default(), _keep: Vec::new() })
}

/// A checksum that covers the header only.
pub(crate) fn lite() -> Result<Played> {
    let mut played = send("--size 1000 --count 100 --lite")?;
    for part in &mut played.parts {
        part.protocol = "udplite";
    }
    Ok(played)
}
