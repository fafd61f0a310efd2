//! Containers, with an agent that watches every network namespace, as it does on a host: what they send abroad has their
//! owner and is counted once; what they send each other, or the host, has not left.
//!
//! Such an agent sees the whole machine, so destinations are compared, and the card, but not all that is in its table.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use homeport_tests::{
    actor::{Sent, binary},
    agent::{Agent, eventually},
    flows::{Flow, Flows},
    lab::{Family::V4, Host, Lab, Nic},
    settings::Settings,
};

use crate::sink_at;

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
