//! Approved traffic: counted, and nobody is told.

use anyhow::ensure;
use homeport_tests::{
    actor::Sent,
    lab::{Family, Host},
    scene::scene,
    settings::Settings,
};

use crate::{check_owner, server_at, sink_at};

#[test]
fn transfers_to_an_approved_country_are_counted_to_the_byte_and_alert_nobody() {
    scene(&Settings::default(), |scene| {
        for family in Family::BOTH {
            let at = sink_at(Host::Approved, family);
            let _tcp = scene.lab.listener(Host::Approved, "tcp-sink", at, "")?;
            let _udp = scene.lab.listener(Host::Approved, "udp-sink", at, "")?;
            let pushed = scene.lab.send(Host::Storage, &format!("tcp-push --to {at} --bytes 300000"))?;
            let words = format!("udp-send --to {at} --size 1000 --count 50");
            let datagrams = scene.lab.send(Host::Storage, &words)?;

            let at = server_at(family);
            let mut server = scene.lab.listener(Host::Storage, "tcp-serve", at, "--bytes 400000")?;
            let mut client = scene.lab.actor(Host::Approved, &format!("tcp-pull --from {at}"))?;
            let pulled = Sent::from_line(&server.line()?)?;
            client.succeed()?;
            server.succeed()?;

            let flows = scene.accounted()?;
            let resent = scene.resent()?;
            for (protocol, sent) in [("tcp", pushed), ("udp", datagrams), ("tcp", pulled)] {
                let flow = flows.check_sender(Host::Approved.address(family), protocol, sent, resent)?;
                check_owner(flow)?;
                ensure!(flow.verdict == "approved", "{flow:#?}");
            }
        }
        let records = scene.finish()?;
        ensure!(records.episodes().is_empty(), "no findings expected: {:#?}", records.episodes());
        Ok(())
    });
}
