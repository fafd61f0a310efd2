//! Sockets that are older than the agent, in its own network namespace and in others, on a kernel that tells who sends
//! and, with `host.exact_owners = false`, on one that does not.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use homeport_tests::{
    actor::{self, Sent},
    agent::{Agent, eventually},
    flows::Flow,
    lab::{Family, Host, Lab},
    running::Running,
    scene::Scene,
    settings::Settings,
};

use crate::{SINK_PORT, server_at, sink_at};

/// Without the tracepoint that names senders, as on kernels before 6.3: only the enumeration at the start can tell.
fn without_sender() -> Settings {
    Settings { host: "exact_owners = false".to_owned(), ..Settings::default() }
}

/// An agent in a lab where something has happened before.
fn later(lab: Lab, settings: &Settings, play: impl FnOnce(&Scene) -> Result<()>) {
    let scene = Scene::start_in(lab, settings).expect("the agent starts");
    if let Err(error) = play(&scene) {
        panic!("{error:#}");
    }
}

/// Named by the enumeration.
fn check_resolved(flow: &Flow, pid: u32) -> Result<()> {
    ensure!(flow.owner.pid == Some(pid), "process {pid} expected: {flow:#?}");
    ensure!(flow.owner.exe.as_deref() == actor::binary()?.to_str(), "{flow:#?}");
    ensure!(flow.owner.quality == "resolved", "found afterwards: {flow:#?}");
    Ok(())
}

/// Unconnected UDP sockets, of which the first has sent already.
fn datagrams(lab: &Lab, from: Host, family: Family) -> Result<Running> {
    let to = Host::Foreign.address(family);
    let words = format!("fan --first {to} --addresses 1 --port {SINK_PORT} --seed 1 --sockets udp-shared");
    let mut fan = lab.actor(from, &words)?;
    fan.line()?;
    send_now(&mut fan)?;
    Ok(fan)
}

fn send_now(fan: &mut Running) -> Result<Sent> {
    fan.tell("send 0 1")?;
    Sent::from_line(&fan.line()?)
}

#[test]
fn an_older_connection_is_resolved_by_its_cookie() {
    let at = sink_at(Host::Foreign, Family::V4);
    let lab = Lab::new().expect("a lab");
    let _sink = lab.listener(Host::Foreign, "tcp-sink", at, "").expect("a sink");
    let words = format!("tcp-push --to {at} --bytes 100000 --on-command");
    let mut push = lab.actor(Host::Storage, &words).expect("a push");
    push.line().expect("connected");
    later(lab, &without_sender(), |scene| {
        push.tell("send")?;
        let sent = Sent::from_line(&push.line()?)?;
        let flows = scene.accounted()?;
        let flow = flows.check_only_sender(at.ip(), "tcp", sent, scene.resent()?)?;
        check_resolved(flow, push.pid())?;
        ensure!(flow.pre_existing, "marked as older: {flow:#?}");
        Ok(())
    });
}

#[test]
fn an_older_unconnected_datagram_socket_is_resolved_by_its_cookie() {
    let lab = Lab::new().expect("a lab");
    let mut older = datagrams(&lab, Host::Storage, Family::V6).expect("a sender");
    later(lab, &without_sender(), |scene| {
        let sent = send_now(&mut older)?;
        let flows = scene.accounted()?;
        let flow = flows.check_only_sender(Host::Foreign.address(Family::V6), "udp", sent, 0)?;
        check_resolved(flow, older.pid())?;
        ensure!(flow.pre_existing, "marked as older: {flow:#?}");
        Ok(())
    });
}

#[test]
fn a_connection_accepted_from_an_older_listener_is_resolved_by_its_address() {
    let at = server_at(Family::V6);
    let lab = Lab::new().expect("a lab");
    let mut server = lab.listener(Host::Storage, "tcp-serve", at, "--bytes 100000").expect("a server");
    later(lab, &without_sender(), |scene| {
        let mut client = scene.lab.actor(Host::Foreign, &format!("tcp-pull --from {at}"))?;
        let sent = Sent::from_line(&server.line()?)?;
        client.succeed()?;
        let flows = scene.accounted()?;
        let flow =
            flows.check_only_sender(Host::Foreign.address(Family::V6), "tcp", sent, scene.resent()?)?;
        check_resolved(flow, sent.pid)?;
        ensure!(flow.initiator == "remote", "they connected: {flow:#?}");
        ensure!(!flow.pre_existing, "the connection is new: {flow:#?}");
        Ok(())
    });
}

#[test]
fn older_sockets_in_another_namespace_are_resolved_when_all_are_watched() {
    let lab = Lab::new().expect("a lab");
    lab.add_guest().expect("a guest");
    let mut guest = datagrams(&lab, Host::Guest, Family::V4).expect("a sender");
    let settings = Settings { namespaces: "all", ..without_sender() };
    // Not compared with the card: this agent sees every namespace of the machine.
    let agent = Agent::start(&lab, &settings).expect("the agent starts");
    let outcome = send_now(&mut guest).and_then(|sent| {
        eventually(Duration::from_secs(20), || {
            let flows = agent.flows()?;
            let flow = flows
                .with_data_to(Host::Foreign.address(Family::V4))
                .find(|flow| flow.owner.pid == Some(guest.pid()))
                .context("no flow of the guest")?;
            check_resolved(flow, guest.pid())?;
            ensure!(flow.payload_bytes == sent.bytes && flow.pre_existing, "{flow:#?}");
            Ok(())
        })
    });
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}
