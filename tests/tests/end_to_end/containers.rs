//! Containers, with an agent that watches every network namespace, as it does on a host: what they send abroad has their
//! owner and is counted once; what they send each other, or the host, has not left.
//!
//! Such an agent sees the whole machine, so destinations are compared, and the card, but not all that is in its table.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Result, ensure};
use homeport_tests::{
    actor::{Sent, binary},
    agent::{Agent, eventually},
    flows::{Flow, Flows},
    lab::{Family::V4, Host, Lab, Nic, STACKED_NEIGHBOUR},
    scene::Scene,
    settings::Settings,
};

use crate::{sink_at, tunnel};

/// Two sweeps, and a slow machine.
const SWEEPS: Duration = Duration::from_secs(10);

fn all() -> Settings {
    Settings { namespaces: "all", ..Settings::default() }
}

/// A lab with two containers behind a bridge, and an agent.
fn two_containers(settings: &Settings) -> Result<(Lab, Agent)> {
    let lab = Lab::new()?;
    lab.add_guest()?;
    lab.add_neighbour()?;
    let agent = Agent::start(&lab, settings)?;
    Ok((lab, agent))
}

fn to_denied(lab: &Lab, from: Host) -> Result<(Sent, Nic)> {
    let at = sink_at(Host::Denied, V4);
    let _sink = lab.listener(Host::Denied, "udp-sink", at, "")?;
    let before = lab.nic()?;
    let sent = lab.send(from, &format!("udp-send --to {at} --size 1000 --count 100"))?;
    Ok((sent, lab.nic()?.since(before)))
}

/// What left for the denied host is counted once, as the container's, and is a violation.
fn check_counted_once(agent: &Agent, (sent, nic): (Sent, Nic)) -> Result<()> {
    eventually(SWEEPS, || {
        let flows = agent.flows()?;
        let there: Vec<&Flow> =
            flows.flows.iter().filter(|flow| flow.remote == Host::Denied.address(V4)).collect();
        let [flow] = there[..] else { anyhow::bail!("one flow expected: {there:#?}") };
        ensure!(flow.owner.pid == Some(sent.pid) && flow.sensor == "socket", "{flow:#?}");
        ensure!(flow.owner.exe.as_deref() == binary()?.to_str(), "{flow:#?}");
        ensure!(flow.payload_bytes == sent.bytes, "{} bytes sent: {flow:#?}", sent.bytes);
        ensure!(flow.wire_bytes == nic.layer3_bytes(), "the card sent {nic:?}: {flow:#?}");
        let episodes = agent.records()?.episodes_in("CN");
        ensure!(episodes.len() == 1, "one violation expected: {episodes:#?}");
        ensure!(episodes[0].pid() == Some(u64::from(sent.pid)), "{:#?}", episodes[0]);
        Ok(())
    })
}

fn stayed(flows: &Flows) -> u64 {
    flows.attribution.stayed
}

/// Sends over TCP between two hosts of the machine, and checks that nothing of it has left: no flow with data, no
/// finding, and the bytes among those that stayed.
fn check_stays(lab: &Lab, agent: &Agent, (from, to): (Host, Host), at: SocketAddr) -> Result<()> {
    const BYTES: u64 = 300_000;
    let before = stayed(&agent.flows()?);
    let (nic, findings) = (lab.nic()?, agent.records()?.episodes().len());
    let _sink = lab.listener(to, "tcp-sink", at, "")?;
    let sent = lab.send(from, &format!("tcp-push --to {at} --bytes {BYTES}"))?;
    eventually(SWEEPS, || {
        let flows = agent.flows()?;
        let bytes = stayed(&flows) - before;
        ensure!(
            bytes > sent.bytes,
            "{bytes} bytes stayed, {} were sent from {from} to {to}: {:#?}",
            sent.bytes,
            flows.with_data_to(at.ip()).collect::<Vec<_>>()
        );
        let there: Vec<&Flow> = flows.with_data_to(at.ip()).collect();
        ensure!(there.is_empty(), "from {from} to {to} nothing left: {there:#?}");
        Ok(())
    })?;
    ensure!(lab.nic()? == nic, "the card sent nothing from {from} to {to}");
    let episodes = agent.records()?.episodes();
    ensure!(episodes.len() == findings, "nothing left, and this was said: {:#?}", &episodes[findings..]);
    Ok(())
}

fn play(outcome: Result<()>) {
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}

#[test]
fn a_container_behind_a_bridge_is_named_and_counted_once() {
    play(two_containers(&all()).and_then(|(lab, agent)| {
        let seen = to_denied(&lab, Host::Guest)?;
        check_counted_once(&agent, seen)
    }));
}

#[test]
fn address_translation_changes_nothing_about_it() {
    play(two_containers(&all()).and_then(|(lab, agent)| {
        let rules = "nft add table ip nat && \
             nft 'add chain ip nat out { type nat hook postrouting priority 100; }' && \
             nft add rule ip nat out oifname eth0 masquerade";
        lab.shell(Host::Storage, rules)?;
        let seen = to_denied(&lab, Host::Guest)?;
        check_counted_once(&agent, seen)
    }));
}

/// Connections of a container end in its kernel: what that answers then has no socket that a program could be asked about.
#[test]
fn connections_of_a_container_are_counted_to_their_last_acknowledgement() {
    const COUNT: u64 = 20;
    play((|| {
        let lab = Lab::new()?;
        lab.add_guest()?;
        let back = format!("ip route add 10.20.0.0/24 via {}", Host::Storage.address(V4));
        lab.shell(Host::Router, &back)?;
        let scene = Scene::start_in(lab, &all())?;
        let at = sink_at(Host::Foreign, V4);
        // It reads late: by the time it closes, the container's end has no socket any more.
        let _sink = scene.lab.listener(Host::Foreign, "tcp-sink", at, "--slow-ms 500")?;
        let words = format!("tcp-burst --to {at} --bytes 1000 --count {COUNT} --abandon");
        let sent = scene.lab.send(Host::Guest, &words)?;
        let flows = scene.accounted()?;
        let there: Vec<&Flow> = flows.flows.iter().filter(|flow| flow.remote == at.ip()).collect();
        let data: u64 = there.iter().map(|flow| flow.payload_bytes).sum();
        ensure!(data == sent.bytes, "{} bytes sent: {there:#?}", sent.bytes);
        ensure!(
            there.iter().all(|flow| flow.payload_bytes == 0 || flow.owner.pid == Some(sent.pid)),
            "{there:#?}"
        );
        Ok(())
    })());
}

#[test]
fn a_container_on_macvlan_is_named_and_counted_once() {
    play((|| {
        let lab = Lab::new()?;
        lab.add_stacked_guest("macvlan mode bridge")?;
        let agent = Agent::start(&lab, &all())?;
        let seen = to_denied(&lab, Host::Guest)?;
        check_counted_once(&agent, seen)
    })());
}

/// The agent has seen something of a container, and then looked at the edge a few times: from now on it tells frames of
/// containers from the host's own, and knows what passes the edge now.
fn watched(lab: &Lab) -> Result<()> {
    lab.send(Host::Guest, &format!("udp-send --to {} --size 100 --count 10", sink_at(Host::Approved, V4)))?;
    std::thread::sleep(Duration::from_secs(8));
    Ok(())
}

/// What a container sent to `inner` is told with its sender, and what the card sent is counted once, as `outer` to `at`.
fn check_wrapped(
    agent: &Agent,
    (inner, sent): (IpAddr, Sent),
    (outer, at): (&str, IpAddr),
    sent_by_card: impl Fn() -> Result<Nic>,
) -> Result<()> {
    eventually(SWEEPS, || {
        let flows = agent.flows()?;
        let there: Vec<&Flow> = flows.flows.iter().filter(|flow| flow.remote == inner).collect();
        let [flow] = there[..] else { anyhow::bail!("one flow inside expected: {there:#?}") };
        ensure!(flow.owner.pid == Some(sent.pid) && flow.sensor == "tunnel", "{flow:#?}");
        ensure!(flow.payload_bytes == sent.bytes, "{} bytes sent: {flow:#?}", sent.bytes);
        let outside: Vec<&Flow> = flows.flows.iter().filter(|flow| flow.remote == at).collect();
        ensure!(
            outside.iter().all(|flow| flow.owner.label == outer && flow.sensor == "interface"),
            "{outside:#?}"
        );
        let counted: u64 = outside.iter().map(|flow| flow.wire_bytes).sum();
        let nic = sent_by_card()?;
        ensure!(counted == nic.layer3_bytes(), "the card sent {nic:?}: {outside:#?}");
        Ok(())
    })
}

#[test]
fn what_a_container_sends_into_a_tunnel_of_the_host_is_counted_once() {
    play(two_containers(&all()).and_then(|(lab, agent)| {
        tunnel::build(&lab)?;
        lab.shell(Host::Storage, "ip route add 10.99.5.0/24 via 10.99.0.2")?;
        watched(&lab)?;
        let before = lab.nic()?;
        // Beyond the other end: its own address is one of this machine, as all of the lab is.
        let at: SocketAddr = tunnel::BEYOND.parse()?;
        let inner = at.ip();
        let sent = lab.send(Host::Guest, &format!("udp-send --to {at} --size 1000 --count 100"))?;
        let foreign = Host::Foreign.address(V4);
        check_wrapped(&agent, (inner, sent), ("kernel:udp-tunnel", foreign), || Ok(lab.nic()?.since(before)))
    }));
}

#[test]
fn what_a_container_sends_to_an_address_that_the_host_translates_is_counted_once() {
    play(two_containers(&all()).and_then(|(lab, agent)| {
        let (service, denied) = ("10.96.0.1", Host::Denied.address(V4));
        let rules = format!(
            "nft add table ip nat
             nft 'add chain ip nat in {{ type nat hook prerouting priority -100; }}'
             nft add rule ip nat in ip daddr {service} dnat to {denied}"
        );
        lab.shell(Host::Storage, &rules)?;
        watched(&lab)?;
        let before = lab.nic()?;
        let _sink = lab.listener(Host::Denied, "udp-sink", sink_at(Host::Denied, V4), "")?;
        let at: SocketAddr = format!("{service}:9000").parse()?;
        let sent = lab.send(Host::Guest, &format!("udp-send --to {at} --size 1000 --count 100"))?;
        check_wrapped(&agent, (at.ip(), sent), ("forwarded", denied), || Ok(lab.nic()?.since(before)))?;
        let episodes = agent.records()?.episodes_in("CN");
        ensure!(episodes.len() == 1, "it is a violation, wherever it was sent to: {episodes:#?}");
        Ok(())
    }));
}

#[test]
fn what_containers_on_one_card_send_each_other_has_not_left() {
    play((|| {
        let lab = Lab::new()?;
        lab.add_stacked_guest("macvlan mode bridge")?;
        lab.add_stacked_neighbour("macvlan mode bridge")?;
        let agent = Agent::start(&lab, &all())?;
        // Frames are told apart from the second look on after something of a container was seen.
        let seen = to_denied(&lab, Host::Guest)?;
        check_counted_once(&agent, seen)?;
        watched(&lab)?;
        let at: SocketAddr = format!("{STACKED_NEIGHBOUR}:9000").parse()?;
        check_stays(&lab, &agent, (Host::Guest, Host::Neighbour), at)
    })());
}

#[test]
fn an_address_of_a_neighbour_that_is_abroad_as_well_hides_nothing() {
    play((|| {
        let lab = Lab::new()?;
        lab.add_stacked_guest("macvlan mode bridge")?;
        lab.add_stacked_neighbour("macvlan mode bridge")?;
        let agent = Agent::start(&lab, &all())?;
        watched(&lab)?;
        // A process is in a namespace with this address; and yet it is not what the guest's card reaches.
        let denied = Host::Denied.address(V4);
        lab.shell(Host::Neighbour, &format!("ip address add {denied}/32 dev lo"))?;
        let at: SocketAddr = "127.0.0.1:9000".parse()?;
        let _there = lab.listener(Host::Neighbour, "udp-sink", at, "")?;
        let seen = to_denied(&lab, Host::Guest)?;
        check_counted_once(&agent, seen)
    })());
}

#[test]
fn what_containers_and_their_host_send_each_other_has_not_left() {
    play(two_containers(&all()).and_then(|(lab, agent)| {
        for (from, to) in [
            (Host::Guest, Host::Neighbour),
            (Host::Neighbour, Host::Guest),
            (Host::Storage, Host::Guest),
            (Host::Guest, Host::Storage),
        ] {
            check_stays(&lab, &agent, (from, to), sink_at(to, V4))?;
        }
        // And what does leave is told by the same agent.
        check_counted_once(&agent, to_denied(&lab, Host::Guest)?)
    }));
}

#[test]
fn a_container_that_gives_itself_an_address_abroad_hides_nothing() {
    play(two_containers(&all()).and_then(|(lab, agent)| {
        // Its socket sends from the address of the denied host, so that address is on this host, too.
        let denied = Host::Denied.address(V4);
        let at = sink_at(Host::Guest, V4);
        let pretend =
            format!("ip address add {denied}/32 dev eth0; ip route add {}/32 dev eth0 src {denied}", at.ip());
        lab.shell(Host::Neighbour, &pretend)?;
        let _sink = lab.listener(Host::Guest, "udp-sink", at, "")?;
        lab.send(Host::Neighbour, &format!("udp-send --to {at} --size 100 --count 10"))?;
        std::thread::sleep(Duration::from_secs(3));
        check_counted_once(&agent, to_denied(&lab, Host::Guest)?)
    }));
}
