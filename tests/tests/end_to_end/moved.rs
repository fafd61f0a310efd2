//! Cards and network namespaces that go while something is sent through them.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use homeport_tests::{
    actor::Sent,
    agent::eventually,
    lab::{Family, Host, Lab, SECOND},
    records::{Episode, Records},
    scene::Scene,
    settings::Settings,
};
use serde_json::Value;

use crate::sink_at;

const PATIENCE: Duration = Duration::from_secs(20);

fn extra(record: &Value) -> &Value {
    &record["unmapped"]["homeport"]
}

fn about(records: &Records, subject: &str) -> Vec<Episode> {
    records
        .episodes()
        .into_iter()
        .filter(|episode| episode.kind() == Some("coverage") && extra(episode.last())["subject"] == subject)
        .collect()
}

fn run(lab: Lab, settings: &Settings, play: impl FnOnce(&mut Scene) -> Result<()>) {
    let outcome = Scene::start_in(lab, settings).and_then(|mut scene| play(&mut scene));
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}

#[test]
fn a_card_that_was_away_in_another_namespace_tells_what_it_sent_there() {
    let mut lab = Lab::new().expect("a lab");
    lab.add_card().expect("a second card");
    run(lab, &Settings { interval_secs: 1, ..Settings::default() }, |scene| {
        let [(ours, gateway), _] = SECOND;
        let at = sink_at(Host::Foreign, Family::V4);
        let _sink = scene.lab.listener(Host::Foreign, "udp-sink", at, "")?;
        let rules =
            format!("ip rule add from {ours} table 7; ip route add default via {gateway} dev eth1 table 7");
        scene.lab.shell(Host::Storage, &rules)?;
        let send = format!("udp-send --to {at} --from {ours} --size 1000 --count 100");
        scene.lab.send(Host::Storage, &send)?;
        scene.accounted()?;

        // Traffic goes on while it goes; what is sent when it is gone fails.
        let stream = format!("stream --kind datagrams --at {at} --bytes 1000 --pause-ms 1");
        let _stream = scene.lab.actor(Host::Storage, &stream)?;
        let away = scene.lab.namespace(Host::Approved);
        scene.lab.shell(Host::Storage, &format!("ip link set eth1 netns {away}"))?;
        eventually(PATIENCE, || {
            let flows = scene.agent.flows()?;
            ensure!(flows.interfaces.iter().all(|row| row.name != "eth1"), "eth1 is still an edge");
            Ok(())
        })?;
        // Not by sockets of ours: nobody but the card counts it.
        let there = format!(
            "ip link set eth1 up; ip address add {ours}/24 dev eth1
             ip neighbour replace {gateway} lladdr 02:00:00:00:05:01 dev eth1 nud permanent"
        );
        scene.lab.shell(Host::Approved, &there)?;
        let before = scene.lab.nic_at(Host::Approved, "eth1")?.bytes;
        scene.lab.send(
            Host::Approved,
            &format!("udp-send --to {gateway}:9000 --from {ours} --size 1000 --count 50"),
        )?;
        let sent = scene.lab.nic_at(Host::Approved, "eth1")?.bytes;
        ensure!(sent - before >= 50 * 1042, "{before} to {sent}");
        let home = scene.lab.namespace(Host::Storage);
        scene.lab.shell(Host::Approved, &format!("ip link set eth1 netns {home}"))?;
        scene.lab.shell(Host::Storage, &format!("ip link set eth1 up; ip address add {ours}/24 dev eth1"))?;
        let finding = eventually(PATIENCE, || {
            let episode = about(&scene.agent.records()?, "interface-appeared").pop().context("no finding")?;
            episode.check_complete()?;
            Ok(episode.last().clone())
        })?;
        let unobserved = extra(&finding)["gap"]["unobserved_bytes"].as_u64().context("a number")?;
        // With what its way there and back made it say about itself (neighbour discovery, multicast).
        ensure!((50 * 1042..50 * 1042 + 5000).contains(&unobserved), "{finding:#}");
        Ok(())
    });
}

#[test]
fn a_container_whose_namespace_loses_its_name_while_it_sends_is_counted_to_its_end() {
    let lab = Lab::new().expect("a lab");
    lab.add_guest().expect("a guest");
    // The router knows the way back to it.
    let back = format!("ip route add 10.20.0.0/24 via {}", Host::Storage.address(Family::V4));
    lab.shell(Host::Router, &back).expect("a route");
    run(lab, &Settings { namespaces: "all", ..Settings::default() }, |scene| {
        let at = sink_at(Host::Foreign, Family::V4);
        // The peer reads late, so that much waits in the socket when its process ends.
        let _sink = scene.lab.listener(Host::Foreign, "tcp-sink", at, "--slow-ms 3000")?;
        let mut push =
            scene.lab.actor(Host::Guest, &format!("tcp-push --to {at} --bytes 150000 --on-command"))?;
        push.line().context("connected")?;
        push.tell("send")?;
        push.line()?;
        let guest = scene.lab.namespace(Host::Guest);
        scene.lab.shell(Host::Storage, &format!("ip netns delete {guest}"))?;
        push.tell("send")?;
        let sent = Sent::from_line(&push.line()?)?;
        push.kill()?;
        eventually(PATIENCE, || {
            let flows = scene.agent.flows()?;
            let flow = flows.with_data_to(at.ip()).find(|flow| flow.owner.pid == Some(sent.pid));
            let flow = flow.with_context(|| format!("no flow of {sent:?}: {:#?}", flows.flows))?;
            ensure!(flow.payload_bytes >= sent.bytes, "{sent:?}: {flow:#?}");
            ensure!(flow.payload_bytes <= sent.bytes + scene.resent()? + 20 * 1460, "{sent:?}: {flow:#?}");
            Ok(())
        })?;
        scene.accounted().map(drop)
    });
}
