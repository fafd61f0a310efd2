//! Raw IP, ping sockets, and what the kernel answers by itself.

use anyhow::Result;
use homeport_tests::{
    actor::Sent,
    lab::{Family, Host, Nic},
};

use super::server_at;
use crate::{Part, Played, stage::Stage};

const FOREIGN: Host = Host::Foreign;

/// A protocol without ports, over both families.
pub(crate) fn send(words: &str, families: &[Family]) -> Result<Played> {
    let stage = Stage::shared()?;
    let mut parts = Vec::new();
    for family in families {
        let to = FOREIGN.address(*family);
        let words = format!("raw-send --to {to} --protocol 253 --size 1000 --count 100 {words}");
        parts.push(Part::new(to, "ip-253", stage.lab.send(Host::Storage, &words)?));
    }
    Ok(Played { stage, parts, bypass: Nic::default(), _keep: Vec::new() })
}

/// Echo requests without a privilege.
pub(crate) fn ping_socket() -> Result<Played> {
    let stage = Stage::shared()?;
    stage.lab.shell(Host::Storage, "echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range")?;
    let mut parts = Vec::new();
    for family in Family::BOTH {
        let to = FOREIGN.address(family);
        let sent = stage.lab.send(Host::Storage, &format!("ping-send --to {to} --size 1000 --count 100"))?;
        parts.push(Part::new(to, icmp(family), sent));
    }
    Ok(Played { stage, parts, bypass: Nic::default(), _keep: Vec::new() })
}

/// Somebody abroad pings us.
pub(crate) fn echo_replies() -> Result<Played> {
    let stage = Stage::shared()?;
    let mut parts = Vec::new();
    for family in Family::BOTH {
        let storage = Host::Storage.address(family);
        stage.lab.shell(FOREIGN, &format!("ping -q -c 20 -i 0.01 -s 1000 {storage} >/dev/null"))?;
        parts.push(Part::new(FOREIGN.address(family), icmp(family), Sent { pid: 0, bytes: 20_000 }));
    }
    Ok(Played { stage, parts, bypass: Nic::default(), _keep: Vec::new() })
}

/// Somebody abroad sends datagrams to a port where nobody listens. The answer carries the beginning of each.
pub(crate) fn unreachable() -> Result<Played> {
    const COUNT: u64 = 20;
    let stage = Stage::shared()?;
    stage.lab.shell(
        Host::Storage,
        "echo 0 >/proc/sys/net/ipv4/icmp_ratelimit; echo 0 >/proc/sys/net/ipv6/icmp/ratelimit",
    )?;
    let mut parts = Vec::new();
    for (family, quoted) in [(Family::V4, 576 - 28), (Family::V6, 1280 - 48)] {
        let at = server_at(family);
        let words = format!("udp-send --to {at} --size 1400 --count {COUNT}");
        stage.lab.send(FOREIGN, &words)?;
        let sent = Sent { pid: 0, bytes: COUNT * quoted };
        parts.push(Part::new(FOREIGN.address(family), icmp(family), sent));
    }
    Ok(Played { stage, parts, bypass: Nic::default(), _keep: Vec::new() })
}

/// Somebody abroad knocks at closed ports.
pub(crate) fn resets() -> Result<Played> {
    let stage = Stage::shared()?;
    let mut parts = Vec::new();
    for family in Family::BOTH {
        let at = Host::Storage.address(family);
        stage.lab.send(FOREIGN, &format!("scan --at {at} --first-port 100 --last-port 149"))?;
        parts.push(Part::new(FOREIGN.address(family), "tcp", Sent { pid: 0, bytes: 0 }));
    }
    Ok(Played { stage, parts, bypass: Nic::default(), _keep: Vec::new() })
}

const fn icmp(family: Family) -> &'static str {
    match family {
        Family::V4 => "icmp",
        Family::V6 => "ipv6-icmp",
    }
}
