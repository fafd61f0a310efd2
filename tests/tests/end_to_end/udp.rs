//! UDP: connected or not, to one or several, cut by the kernel or on the way.

use anyhow::ensure;
use homeport_tests::{
    lab::{Family, Host},
    scene::scene,
    settings::Settings,
};

use crate::{check_one_episode, check_violation, sink_at};

/// Sends abroad over both families.
#[track_caller]
fn check_send(words: &str) {
    scene(&Settings::default(), |scene| {
        let mut all_sent = Vec::new();
        for family in Family::BOTH {
            let at = sink_at(Host::Foreign, family);
            let _sink = scene.lab.listener(Host::Foreign, "udp-sink", at, "")?;
            all_sent.push((family, scene.lab.send(Host::Storage, &format!("udp-send --to {at} {words}"))?));
        }
        let flows = scene.accounted()?;
        for (family, sent) in all_sent {
            let flow = check_violation(&flows, (Host::Foreign, family), "udp", sent, 0)?;
            ensure!(flow.initiator == "local" && flow.service_port == crate::SINK_PORT, "{flow:#?}");
        }
        let records = scene.finish()?;
        check_one_episode(&records, &flows, Host::Foreign).map(drop)
    });
}

#[test]
fn a_connected_socket_is_counted_to_the_byte() {
    check_send("--size 1000 --count 200 --connected");
}

#[test]
fn an_unconnected_socket_is_counted_to_the_byte() {
    check_send("--size 1000 --count 200");
}

#[test]
fn buffers_that_the_kernel_cuts_are_counted_as_the_datagrams_they_become() {
    check_send("--size 12000 --count 20 --segment 1200");
    check_send("--size 11999 --count 20 --segment 1200 --connected");
}

#[test]
fn datagrams_larger_than_the_link_are_counted_with_the_headers_of_their_fragments() {
    check_send("--size 60000 --count 10");
}

#[test]
fn one_socket_with_several_destinations_is_counted_for_each_of_them() {
    scene(&Settings::default(), |scene| {
        for family in Family::BOTH {
            let hosts = [Host::Foreign, Host::Approved, Host::Denied];
            let mut sinks = Vec::new();
            let mut words = "udp-send --size 500 --count 300".to_owned();
            for host in hosts {
                let at = sink_at(host, family);
                sinks.push(scene.lab.listener(host, "udp-sink", at, "")?);
                words += &format!(" --to {at}");
            }
            let mut sent = scene.lab.send(Host::Storage, &words)?;
            sent.bytes /= 3;
            let flows = scene.accounted()?;
            check_violation(&flows, (Host::Foreign, family), "udp", sent, 0)?;
            check_violation(&flows, (Host::Denied, family), "udp", sent, 0)?;
            let approved = flows.check_only_sender(Host::Approved.address(family), "udp", sent, 0)?;
            ensure!(approved.verdict == "approved", "{approved:#?}");
        }
        let flows = scene.accounted()?;
        let records = scene.finish()?;
        let denied = check_one_episode(&records, &flows, Host::Denied)?;
        let foreign = check_one_episode(&records, &flows, Host::Foreign)?;
        ensure!(denied.rule() != foreign.rule(), "denied by name is another rule: {:?}", denied.rule());
        ensure!(records.episodes().len() == 2, "nothing else: {:#?}", records.episodes());
        Ok(())
    });
}

#[test]
fn datagrams_that_nobody_reads_have_left_all_the_same() {
    scene(&Settings::default(), |scene| {
        let at = sink_at(Host::Foreign, Family::V4);
        let sent = scene.lab.send(Host::Storage, &format!("udp-send --to {at} --size 100 --count 1"))?;
        let flows = scene.accounted()?;
        check_violation(&flows, (Host::Foreign, Family::V4), "udp", sent, 0).map(drop)
    });
}
