//! TCP: who connects, who is connected to, what is lost on the way.

use anyhow::{Context as _, Result, ensure};
use homeport_tests::{
    actor::Sent,
    kernel,
    lab::{Family, Host, Lab},
    scene::{Scene, scene},
    settings::Settings,
};

use crate::{check_one_episode, check_owner, check_violation, server_at, sink_at};

const MEBIBYTE: u64 = 1 << 20;

/// Pushes abroad over both families.
#[track_caller]
fn check_push(words: &str, bytes: u64) {
    scene(&Settings::default(), |scene| {
        let mut all_sent = Vec::new();
        for family in Family::BOTH {
            let at = sink_at(Host::Foreign, family);
            let _sink = scene.lab.listener(Host::Foreign, "tcp-sink", at, "")?;
            let sent =
                scene.lab.send(Host::Storage, &format!("tcp-push --to {at} --bytes {bytes} {words}"))?;
            all_sent.push((family, sent));
        }
        let flows = scene.accounted()?;
        let resent = scene.resent()?;
        for (family, sent) in all_sent {
            let flow = check_violation(&flows, (Host::Foreign, family), "tcp", sent, resent)?;
            ensure!(flow.initiator == "local" && flow.service_port == crate::SINK_PORT, "{flow:#?}");
        }
        let records = scene.finish()?;
        check_one_episode(&records, &flows, Host::Foreign).map(drop)
    });
}

/// Lets a client abroad pull from a server, over both families.
#[track_caller]
pub(crate) fn check_pull(mode: &str) {
    scene(&Settings::default(), |scene| {
        let mut all_sent = Vec::new();
        for family in Family::BOTH {
            let at = server_at(family);
            let words = format!("--bytes {MEBIBYTE} --mode {mode}");
            let mut server = scene.lab.listener(Host::Storage, "tcp-serve", at, &words)?;
            let mut client = scene.lab.actor(Host::Foreign, &format!("tcp-pull --from {at}"))?;
            let sent = Sent::from_line(&server.line()?)?;
            ensure!(client.line()?["received"] == MEBIBYTE, "the client got all");
            client.succeed()?;
            server.succeed()?;
            all_sent.push((family, kernel::owner_of(sent, server.pid())));
        }
        let flows = scene.accounted()?;
        let resent = scene.resent()?;
        for (family, sent) in all_sent {
            let flow = check_violation(&flows, (Host::Foreign, family), "tcp", sent, resent)?;
            ensure!(flow.initiator == "remote" && flow.service_port == crate::SERVER_PORT, "{flow:#?}");
        }
        let records = scene.finish()?;
        check_one_episode(&records, &flows, Host::Foreign).map(drop)
    });
}

#[test]
fn a_client_that_pushes_abroad_is_named_and_counted_to_the_byte() {
    check_push("", MEBIBYTE);
}

#[test]
fn a_push_with_sendfile_is_named_and_counted_to_the_byte() {
    check_push("--how sendfile", MEBIBYTE);
}

#[test]
fn a_process_that_ends_right_after_sending_is_named_and_counted_to_the_byte() {
    check_push("--quick", 50_000);
}

#[test]
fn a_server_that_is_pulled_from_abroad_is_named_and_counted_to_the_byte() {
    check_pull("plain");
}

#[test]
fn a_server_that_answers_with_sendfile_is_named_and_counted_to_the_byte() {
    check_pull("sendfile");
}

/// Runs a test in a lab where something has happened before the agent starts.
fn later(lab: Lab, play: impl FnOnce(&mut Scene) -> Result<()>) {
    let mut scene = Scene::start_in(lab, &Settings::default()).expect("the agent starts");
    if let Err(error) = play(&mut scene) {
        panic!("{error:#}");
    }
}

#[test]
fn a_connection_older_than_the_agent_is_named_and_counted_from_the_start_of_the_agent_on() {
    let lab = Lab::new().expect("a lab");
    let mut connections = Vec::new();
    for family in Family::BOTH {
        let at = sink_at(Host::Foreign, family);
        let sink = lab.listener(Host::Foreign, "tcp-sink", at, "").expect("a sink");
        let words = format!("tcp-push --to {at} --bytes 100000 --on-command");
        let mut push = lab.actor(Host::Storage, &words).expect("a push");
        push.line().expect("connected");
        push.tell("send").expect("told");
        push.line().expect("sent unobserved");
        connections.push((family, sink, push));
    }
    later(lab, |scene| {
        let mut all_sent = Vec::new();
        for (family, _, push) in &mut connections {
            push.tell("send")?;
            // It says what it has sent in all; half of it left before the agent was there.
            let said = Sent::from_line(&push.line()?)?;
            ensure!(said.bytes == 200_000, "two portions: {said:?}");
            all_sent.push((*family, Sent { bytes: 100_000, ..said }));
        }
        let flows = scene.accounted()?;
        let resent = scene.resent()?;
        for (family, sent) in all_sent {
            let flow = check_violation(&flows, (Host::Foreign, family), "tcp", sent, resent)?;
            ensure!(flow.pre_existing, "marked as older: {flow:#?}");
        }
        for (_, _, push) in &mut connections {
            push.tell("end")?;
            push.succeed()?;
        }
        scene.accounted()?;
        let records = scene.finish()?;
        let episode = records.episodes_in("DE").pop().context("an episode")?;
        ensure!(episode.last()["unmapped"]["homeport"]["pre_existing"] == true, "{:#}", episode.last());
        Ok(())
    });
}

#[test]
fn a_server_older_than_the_agent_is_named_when_it_is_pulled_from_abroad() {
    let lab = Lab::new().expect("a lab");
    let at = server_at(Family::V4);
    let mut server = lab.listener(Host::Storage, "tcp-serve", at, "--bytes 100000").expect("a server");
    later(lab, |scene| {
        let mut client = scene.lab.actor(Host::Foreign, &format!("tcp-pull --from {at}"))?;
        let sent = Sent::from_line(&server.line()?)?;
        client.succeed()?;
        server.succeed()?;
        let flows = scene.accounted()?;
        let flow = check_violation(&flows, (Host::Foreign, Family::V4), "tcp", sent, scene.resent()?)?;
        ensure!(flow.initiator == "remote", "{flow:#?}");
        Ok(())
    });
}

#[test]
fn what_is_sent_again_after_a_loss_left_the_host_again_and_counts() {
    scene(&Settings::default(), |scene| {
        scene.lab.shell(
            Host::Router,
            "nft 'add table ip lossy; add chain ip lossy forward { type filter hook forward priority 0; };
                  add rule ip lossy forward iifname storage tcp dport 9000 numgen random mod 20 == 0 drop'",
        )?;
        let at = sink_at(Host::Foreign, Family::V4);
        let _sink = scene.lab.listener(Host::Foreign, "tcp-sink", at, "")?;
        let sent = scene.lab.send(Host::Storage, &format!("tcp-push --to {at} --bytes {MEBIBYTE}"))?;
        let flows = scene.accounted()?;
        let resent = scene.resent()?;
        ensure!(resent > 0, "nothing was lost");
        let flow = flows.check_only_sender(at.ip(), "tcp", sent, resent)?;
        check_owner(flow)?;
        ensure!(flow.payload_bytes > sent.bytes, "the second time counts: {flow:#?}");
        Ok(())
    });
}
