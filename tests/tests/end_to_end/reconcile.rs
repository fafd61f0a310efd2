//! The card against the agent: what leaves past every observer is a finding with its exact bytes, what is dropped or
//! counted in another way is explained, and a byte that passes several devices is counted once.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use homeport_tests::{
    agent::eventually,
    lab::{ETHERNET_HEADER_BYTES, Family, Host, Lab},
    records::{Episode, Records},
    scene::{Scene, scene},
    settings::Settings,
};
use serde_json::Value;

use crate::sink_at;

const PATIENCE: Duration = Duration::from_secs(20);

/// Findings are due within two intervals: short ones.
fn short_intervals() -> Settings {
    Settings { interval_secs: 1, ..Settings::default() }
}

/// Sends datagrams past the network stack and past the queue, where tc is.
const BYPASS_SENDER: &str = "
import socket, struct, subprocess
neighbour = subprocess.check_output(['ip', 'neigh', 'show', '192.0.2.1', 'dev', 'eth0'], text=True).split()
to = bytes.fromhex(neighbour[neighbour.index('lladdr') + 1].replace(':', ''))
sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
SOL_PACKET, PACKET_QDISC_BYPASS = 263, 20
sender.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
sender.bind(('eth0', 0))
udp = struct.pack('!HHHH', 4000, 9000, 1008, 0) + b'x' * 1000
ip = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 1028, 0, 0, 64, 17, 0, bytes([192, 0, 2, 10]), bytes([203, 0, 113, 10]))
for _ in range(100):
    sender.send(to + sender.getsockname()[4] + b'\\x08\\x00' + ip + udp)
";

/// What the sender above makes the card send.
pub(crate) const BYPASSED_BYTES: i64 = 100 * (1028 + ETHERNET_HEADER_BYTES as i64);

/// Runs it to its end. The storage host must know the router's hardware address.
pub(crate) fn bypass(lab: &Lab) -> Result<()> {
    let mut sender = lab.command(Host::Storage, "python3");
    ensure!(sender.args(["-c", BYPASS_SENDER]).status()?.success(), "the sender failed");
    Ok(())
}

fn extra(record: &Value) -> &Value {
    &record["unmapped"]["homeport"]
}

fn of_coverage(records: &Records) -> Vec<Episode> {
    records.episodes().into_iter().filter(|episode| episode.kind() == Some("coverage")).collect()
}

/// A field of an interface, summed over all interval records.
fn summed(records: &Records, interface: &str, field: &str) -> i64 {
    records
        .of_class(homeport_tests::records::INTERVAL)
        .filter_map(|record| extra(record)["interfaces"].as_array())
        .flatten()
        .filter(|row| row["name"] == interface)
        .filter_map(|row| row.pointer(field)?.as_i64())
        .sum()
}

#[test]
fn frames_past_the_queue_are_a_finding_with_their_exact_bytes() {
    scene(&short_intervals(), |scene| {
        scene.lab.shell(Host::Storage, "ping -q -c1 -W5 192.0.2.1 >/dev/null")?;
        scene.accounted()?;
        bypass(&scene.lab)?;
        eventually(PATIENCE, || {
            let records = scene.agent.records()?;
            let episode = of_coverage(&records).pop().context("no finding about coverage")?;
            // Everything went in one moment, which may be in two intervals.
            let bytes = extra(episode.last())["residual_bytes"].as_i64();
            ensure!(bytes == Some(BYPASSED_BYTES), "{BYPASSED_BYTES} expected: {:#}", episode.last());
            Ok(())
        })?;
        let records = scene.finish()?;
        let intervals = intervals_until_finding(&records)?;
        ensure!(intervals <= 2, "the finding came after {intervals} intervals");
        let episodes = of_coverage(&records);
        ensure!(episodes.len() == 1, "one finding expected: {episodes:#?}");
        let last = episodes[0].last();
        episodes[0].check_complete()?;
        ensure!(extra(last)["subject"] == "bypass" && extra(last)["place"] == "eth0", "{last:#}");
        ensure!(
            extra(last)["residual_packets"] == 100 && extra(last)["certain_bytes"] == BYPASSED_BYTES,
            "{last:#}"
        );
        let residual = summed(&records, "eth0", "/residual_bytes");
        ensure!(residual == BYPASSED_BYTES, "{residual} in the interval records");
        let missed: i64 = records
            .of_class(homeport_tests::records::INTERVAL)
            .filter_map(|record| record["traffic"]["bytes_missed"].as_i64())
            .sum();
        ensure!(missed == BYPASSED_BYTES, "{missed} bytes missed");
        Ok(())
    });
}

/// Intervals on record from the first one that has the frames until the finding, which is written beside them: a look
/// at the file comes late on a busy machine.
fn intervals_until_finding(records: &Records) -> Result<usize> {
    let is_interval = |record: &&Value| record["class_uid"] == homeport_tests::records::INTERVAL;
    let opened =
        records.0.iter().position(|record| extra(record)["kind"] == "coverage").context("a finding")?;
    let before = records.0.iter().take(opened).filter(is_interval);
    Ok(before
        .skip_while(|record| extra(record)["interfaces"][0]["residual_bytes"].as_i64().unwrap_or(0) == 0)
        .count())
}

#[test]
fn frames_that_a_queue_drops_are_explained_and_no_finding() {
    scene(&short_intervals(), |scene| {
        // The bucket holds thirty datagrams, and the queue another thirty.
        scene
            .lab
            .shell(Host::Storage, "tc qdisc replace dev eth0 root tbf rate 200kbit burst 31kb limit 31kb")?;
        let at = sink_at(Host::Foreign, Family::V4);
        let _sink = scene.lab.listener(Host::Foreign, "udp-sink", at, "")?;
        let card = scene.lab.nic()?;
        scene.lab.send(Host::Storage, &format!("udp-send --to {at} --size 1000 --count 100"))?;
        // What waits leaves within about a second and a half.
        let rows = eventually(PATIENCE, || {
            let flows = scene.agent.flows()?;
            let row = flows.interfaces.iter().find(|row| row.name == "eth0").context("eth0")?;
            let balance = row.balance.clone().context("compared")?;
            let sent = scene.lab.nic()?.since(card);
            ensure!(balance.dropped_packets > 0, "nothing was dropped: {balance:?}");
            ensure!(
                balance.residual_frames == -i64::try_from(balance.dropped_packets)?,
                "still in the queue: {balance:?}"
            );
            Ok((balance, sent))
        })?;
        let (balance, sent) = rows;
        ensure!(sent.packets < 100, "the queue drops: {sent:?}");
        ensure!(balance.unexplained_bytes == 0 && balance.unexplained_frames == 0, "{balance:?}");
        ensure!(balance.dropped_bytes == balance.residual_bytes, "{balance:?}");
        let records = scene.finish()?;
        ensure!(of_coverage(&records).is_empty(), "no finding expected: {:#?}", of_coverage(&records));
        // What waited at the end of one interval left in another: only the sum is exact.
        let residual = summed(&records, "eth0", "/residual_bytes");
        ensure!(residual == balance.residual_bytes, "{residual} in the interval records: {balance:?}");
        Ok(())
    });
}

#[test]
fn a_virtual_cable_that_counts_buffers_once_is_understood() {
    let lab = Lab::new().expect("a lab");
    lab.shell(Host::Storage, "ethtool -K eth0 gso on tso on >/dev/null").expect("offloads");
    let mut scene = Scene::start_in(lab, &short_intervals()).expect("the agent starts");
    let outcome = (|| -> Result<()> {
        let at = sink_at(Host::Foreign, Family::V4);
        let _sink = scene.lab.listener(Host::Foreign, "tcp-sink", at, "")?;
        scene.lab.send(Host::Storage, &format!("tcp-push --to {at} --bytes 2000000"))?;
        eventually(PATIENCE, || {
            let flows = scene.agent.flows()?;
            let row = flows.interfaces.iter().find(|row| row.name == "eth0").context("eth0")?;
            let balance = row.balance.clone().context("compared")?;
            ensure!(row.folded.frames > 0, "nothing was folded: {row:?}");
            ensure!(balance.unexplained_bytes == 0 && balance.unexplained_frames == 0, "{balance:?}");
            ensure!(balance.buffers_bytes == -i64::try_from(row.folded.bytes)?, "{balance:?}, {row:?}");
            ensure!(balance.counting.as_deref() == Some("buffers"), "{balance:?}");
            Ok(())
        })?;
        // Bypass is exact even here.
        bypass(&scene.lab)?;
        eventually(PATIENCE, || {
            let episode = of_coverage(&scene.agent.records()?).pop().context("no finding about coverage")?;
            let bytes = extra(episode.last())["residual_bytes"].as_i64();
            ensure!(bytes == Some(BYPASSED_BYTES), "{BYPASSED_BYTES} expected: {:#}", episode.last());
            Ok(())
        })?;
        scene.finish().map(drop)
    })();
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}

/// Another way for the storage host to reach the router, made of several devices. What this kernel has no module for
/// is left out; the kernels of the matrix have all of them.
struct Stack {
    name: &'static str,
    /// A device of this kind, to find out whether there are any.
    tried: &'static str,
    storage: &'static str,
    router: &'static str,
    /// The devices that must be counted, and no others.
    edges: &'static [&'static str],
}

const STACKS: [Stack; 4] = [
    Stack {
        name: "vlan",
        tried: "link storage name tried type vlan id 6",
        storage: "ip link add link eth0 name eth0.7 type vlan id 7; ip address flush dev eth0
                  ip address add 192.0.2.10/24 dev eth0.7; ip link set eth0.7 up",
        router: "ip link add link storage name storage.7 type vlan id 7; ip address flush dev storage
                 ip address add 192.0.2.1/24 dev storage.7; ip link set storage.7 up",
        edges: &["eth0"],
    },
    Stack {
        name: "macvlan",
        tried: "link storage name tried type macvlan",
        storage: "ip link add link eth0 name mac0 type macvlan mode bridge; ip address flush dev eth0
                  ip address add 192.0.2.10/24 dev mac0; ip link set mac0 up",
        router: "true",
        edges: &["eth0"],
    },
    Stack {
        name: "bond",
        tried: "tried type bond",
        storage: "ip link add bond0 type bond mode balance-rr miimon 100; ip address flush dev eth0
                  ip link set eth0 down; ip link set eth1 down
                  ip link set eth0 master bond0; ip link set eth1 master bond0
                  ip link set bond0 up; ip address add 192.0.2.10/24 dev bond0",
        router: "ip link add bond0 type bond mode balance-rr miimon 100; ip address flush dev storage
                 ip link set storage down; ip link set second down
                 ip link set storage master bond0; ip link set second master bond0
                 ip link set bond0 up; ip address add 192.0.2.1/24 dev bond0",
        edges: &["eth0", "eth1"],
    },
    Stack {
        name: "bridge",
        tried: "tried type bridge",
        storage: "ip link add br0 type bridge; ip address flush dev eth0; ip link set eth0 master br0
                  ip address add 192.0.2.10/24 dev br0; ip link set br0 up",
        router: "true",
        edges: &["eth0"],
    },
];

#[test]
fn a_byte_that_passes_several_devices_is_counted_once() {
    for stack in STACKS {
        if let Err(error) = check_stack(&stack) {
            panic!("{}: {error:#}", stack.name);
        }
    }
}

fn check_stack(stack: &Stack) -> Result<()> {
    let lab = Lab::new()?;
    if lab.shell(Host::Router, &format!("ip link add {} && ip link delete tried", stack.tried)).is_err() {
        eprintln!("{}: this kernel has no such device", stack.name);
        return Ok(());
    }
    let router = lab.namespace(Host::Router);
    if stack.edges.contains(&"eth1") {
        let cable = format!(
            "ip link add eth1 type veth peer name second netns {router}
             ethtool -K eth1 tso off gso off >/dev/null"
        );
        lab.shell(Host::Storage, &cable)?;
    }
    lab.shell(Host::Router, stack.router)?;
    lab.shell(Host::Storage, stack.storage)?;
    eventually(PATIENCE, || {
        let route = "ip route replace default via 192.0.2.1 && ping -q -c1 -W1 203.0.113.10 >/dev/null";
        lab.shell(Host::Storage, route)
    })?;
    // A virtual cable that is a port of a bridge looks like a container's, so the operator says which ones count.
    let edges: Vec<String> = stack.edges.iter().map(|name| format!("{name:?}")).collect();
    let named = format!("[host]\ninterfaces = [{}]\n", edges.join(", "));
    let settings = short_intervals();
    let directory = tempfile::TempDir::new()?;
    let mut toml = settings.toml(directory.path());
    if stack.name == "bridge" {
        toml = toml.replace("[host]\n", &named);
    }
    let silent = lab.nic()?;
    let agent = homeport_tests::agent::Agent::start_with(&lab, &settings, directory, &toml)?;
    let mut scene = Scene::watched(lab, agent, silent)?;

    let seen = scene.agent.flows()?;
    let mut names: Vec<&str> = seen.interfaces.iter().map(|row| row.name.as_str()).collect();
    names.sort_unstable();
    ensure!(names == stack.edges, "edges {names:?}, expected {:?}", stack.edges);

    let at = sink_at(Host::Foreign, Family::V4);
    let _sink = scene.lab.listener(Host::Foreign, "tcp-sink", at, "")?;
    let sent = scene.lab.send(Host::Storage, &format!("tcp-push --to {at} --bytes 300000"))?;
    eventually(PATIENCE, || {
        let flows = scene.agent.flows()?;
        flows.check_only_sender(at.ip(), "tcp", sent, scene.resent()?)?;
        for row in &flows.interfaces {
            let balance = row.balance.clone().context("compared")?;
            ensure!(balance.unexplained_bytes == 0 && balance.unexplained_frames == 0, "{row:#?}");
        }
        let frames = flows.frames();
        let earlier = seen.frames();
        ensure!(frames.bytes - earlier.bytes > 300_000, "it left over the edge: {frames:?}");
        ensure!(frames.bytes - earlier.bytes < 400_000, "and was counted once: {frames:?}");
        let attribution = flows.attribution;
        ensure!(attribution.rest == 0, "{attribution:?}");
        Ok(())
    })?;
    let records = scene.finish()?;
    ensure!(of_coverage(&records).is_empty(), "no finding expected: {:#?}", of_coverage(&records));
    Ok(())
}
