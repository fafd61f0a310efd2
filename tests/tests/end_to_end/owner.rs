//! Owners: the process that really sends, when it is not the one that opened the socket.

use anyhow::{Result, ensure};
use homeport_tests::{
    actor::Sent,
    kernel,
    lab::{Family, Host},
    scene::{Scene, scene},
    settings::Settings,
};

use crate::{check_violation, server_at, sink_at, tcp::check_pull};

#[test]
fn a_worker_made_before_the_connection_is_the_owner_not_its_parent() {
    check_pull("prefork");
}

#[test]
fn a_child_made_for_the_connection_is_the_owner_not_its_parent() {
    check_pull("fork");
}

#[test]
fn the_process_that_was_handed_a_connection_is_the_owner_not_the_one_that_accepted_it() {
    check_pull("pass");
}

#[test]
fn two_processes_that_send_to_one_address_are_two_flows() {
    scene(&Settings::default(), |scene| {
        let at = sink_at(Host::Foreign, Family::V4);
        let _sink = scene.lab.listener(Host::Foreign, "tcp-sink", at, "")?;
        let first = scene.lab.send(Host::Storage, &format!("tcp-push --to {at} --bytes 100000"))?;
        let second = scene.lab.send(Host::Storage, &format!("tcp-push --to {at} --bytes 200000"))?;
        let flows = scene.accounted()?;
        let resent = scene.resent()?;
        flows.check_sender(at.ip(), "tcp", first, resent)?;
        flows.check_sender(at.ip(), "tcp", second, resent)?;
        let records = scene.finish()?;
        // The same program to the same place: one alert, not one per process.
        crate::check_one_episode(&records, &flows, Host::Foreign).map(drop)
    });
}

#[test]
fn a_server_that_serves_many_clients_is_one_flow_per_client() {
    scene(&Settings::default(), |scene| {
        let at = server_at(Family::V4);
        let words = "--bytes 10000 --mode fork --clients 20";
        let mut server = scene.lab.listener(Host::Storage, "tcp-serve", at, words)?;
        let senders = pull_many(scene, &mut server, 20)?;
        let flows = scene.accounted()?;
        let resent = scene.resent()?;
        if !kernel::tells_sender() {
            // All that is known is who listened: one flow.
            let all = Sent { pid: server.pid(), bytes: senders.iter().map(|sent| sent.bytes).sum() };
            flows.check_only_sender(Host::Foreign.address(Family::V4), "tcp", all, resent)?;
            return Ok(());
        }
        for sent in senders {
            flows.check_sender(Host::Foreign.address(Family::V4), "tcp", sent, resent)?;
        }
        Ok(())
    });
}

fn pull_many(
    scene: &Scene,
    server: &mut homeport_tests::running::Running,
    clients: u32,
) -> Result<Vec<Sent>> {
    let at = server_at(Family::V4);
    let mut senders = Vec::new();
    for _ in 0..clients {
        let mut client = scene.lab.actor(Host::Foreign, &format!("tcp-pull --from {at}"))?;
        senders.push(Sent::from_line(&server.line()?)?);
        client.succeed()?;
    }
    Ok(senders)
}

#[test]
fn the_agent_counts_sockets_of_its_own_namespace_only() {
    scene(&Settings::default(), |scene| {
        // Another host's traffic, on the same machine and in the same cgroup.
        let at = sink_at(Host::Denied, Family::V4);
        let _sink = scene.lab.listener(Host::Denied, "tcp-sink", at, "")?;
        scene.lab.send(Host::Approved, &format!("tcp-push --to {at} --bytes 100000"))?;
        let at = sink_at(Host::Foreign, Family::V4);
        let _sink = scene.lab.listener(Host::Foreign, "tcp-sink", at, "")?;
        let sent = scene.lab.send(Host::Storage, &format!("tcp-push --to {at} --bytes 1000"))?;
        let flows = scene.accounted()?;
        check_violation(&flows, (Host::Foreign, Family::V4), "tcp", sent, scene.resent()?)?;
        let denied = Host::Denied.address(Family::V4);
        ensure!(flows.flows.iter().all(|flow| flow.remote != denied), "{:#?}", flows.flows);
        Ok(())
    });
}
