//! Scanners: the whole internet knocks at every port. What we answer leaves the host, but it is not data.

use anyhow::ensure;
use homeport_tests::{
    lab::{Family, Host},
    scene::scene,
    settings::Settings,
};

use crate::server_at;

#[test]
fn answers_to_a_scanner_in_a_denied_country_are_counted_and_alert_nobody() {
    let settings = Settings { interval_secs: 1, ..Settings::default() };
    scene(&settings, |scene| {
        for family in Family::BOTH {
            let at = server_at(family);
            // An open port among closed ones. Nothing is sent there.
            let _open = scene.lab.listener(Host::Storage, "tcp-sink", at, "")?;
            let words =
                format!("scan --at {} --first-port {} --last-port {}", at.ip(), at.port() - 100, at.port());
            let mut scan = scene.lab.actor(Host::Denied, &words)?;
            let found = scan.line()?;
            ensure!(found["open"] == 1 && found["closed"] == 100, "{found}");
            scan.succeed()?;
        }
        let flows = scene.accounted()?;
        for family in Family::BOTH {
            let denied = Host::Denied.address(family);
            let answers: Vec<_> = flows.flows.iter().filter(|flow| flow.remote == denied).collect();
            ensure!(!answers.is_empty(), "no answers to {denied}: {:#?}", flows.flows);
            for answer in &answers {
                ensure!(answer.payload_bytes == 0, "no data: {answer:#?}");
                ensure!(answer.control_bytes == answer.wire_bytes, "all control: {answer:#?}");
            }
            // 100 resets, one SYN-ACK.
            let packets: u64 = answers.iter().map(|flow| flow.packets).sum();
            ensure!(packets >= 101, "{packets} packets: {answers:#?}");
        }
        let records = scene.finish()?;
        ensure!(records.episodes().is_empty(), "no findings expected: {:#?}", records.episodes());
        Ok(())
    });
}
