//! Ways out of a host that are not IP and pass no card: how much took them is told.

use anyhow::{Context as _, ensure};
use homeport_tests::{
    agent::eventually, kernel, lab::Host, records::INTERVAL, scene::scene, settings::Settings,
};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);
const BYTES: u64 = 50_000;

#[test]
fn bytes_between_a_virtual_machine_and_its_host_are_told_as_a_number() {
    scene(&Settings { interval_secs: 1, ..Settings::default() }, |scene| {
        // Where it is a module, nothing else loads it.
        scene.lab.shell(Host::Storage, "modprobe -q vsock_loopback || true")?;
        let mut sender = scene.lab.actor(Host::Storage, &format!("vsock-send --bytes {BYTES}"))?;
        let said = sender.line()?;
        if let Some(reason) = said["impossible"].as_str() {
            eprintln!("not possible here: {reason}");
            return Ok(());
        }
        sender.succeed()?;
        if !kernel::tells_sender() {
            eprintln!("this kernel does not tell who sends, and so nothing of such sockets");
            return Ok(());
        }
        eventually(PATIENCE, || {
            let flows = scene.agent.flows()?;
            let loss = flows.losses.iter().find(|loss| loss.cause == "other-sockets").context("the cause")?;
            ensure!(loss.bytes == BYTES, "{BYTES} bytes expected: {loss:?}");
            Ok(())
        })?;
        eventually(PATIENCE, || {
            let records = scene.agent.records()?;
            let told: Vec<_> = records
                .of_class(INTERVAL)
                .filter_map(|record| record["unmapped"]["homeport"]["losses"].as_array())
                .flatten()
                .filter(|loss| loss["cause"] == "other-sockets")
                .collect();
            let bytes: u64 = told.iter().filter_map(|loss| loss["bytes"].as_u64()).sum();
            ensure!(bytes == BYTES, "in the interval records: {told:#?}");
            Ok(())
        })
    });
}
