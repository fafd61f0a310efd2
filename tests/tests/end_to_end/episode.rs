//! Episodes and intervals: one transfer is one alert, and every minute is on record.

use std::{net::SocketAddr, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use homeport_tests::{
    actor::Sent,
    agent::eventually,
    lab::{Family, Host},
    records::{Episode, INTERVAL, Records},
    running::Running,
    scene::{Scene, scene},
    settings::Settings,
};

use crate::sink_at;

const PATIENCE: Duration = Duration::from_secs(15);

/// The only episode on record, when it is closed.
fn closed_episode(scene: &Scene, known: &[&str]) -> Result<Episode> {
    eventually(PATIENCE, || {
        let mut new: Vec<Episode> = scene.agent.records()?.episodes();
        new.retain(|episode| !known.contains(&episode.id.as_str()));
        let episode = new.pop().context("no episode on record")?;
        ensure!(new.is_empty(), "a second episode: {new:#?}");
        episode.check_complete()?;
        Ok(episode)
    })
}

/// A connection abroad that sends so many bytes whenever it is told to.
fn connected(scene: &Scene, bytes: u64) -> Result<(SocketAddr, Running, Running)> {
    let at = sink_at(Host::Foreign, Family::V4);
    let sink = scene.lab.listener(Host::Foreign, "tcp-sink", at, "")?;
    let words = format!("tcp-push --to {at} --bytes {bytes} --on-command");
    let mut push = scene.lab.actor(Host::Storage, &words)?;
    push.line()?;
    Ok((at, sink, push))
}

#[test]
fn one_transfer_is_one_episode_with_one_open_updates_and_one_close() {
    let settings = Settings { quiet_secs: 3, ..Settings::default() };
    scene(&settings, |scene| {
        let (at, _sink, mut push) = connected(scene, 200_000)?;
        for _ in 0..4 {
            push.tell("send")?;
            push.line()?;
            thread::sleep(Duration::from_millis(1_200));
        }
        push.tell("end")?;
        push.succeed()?;
        let first = closed_episode(scene, &[])?;
        ensure!(first.findings.len() > 2, "bytes doubled, so there were updates: {:#?}", first.findings);
        let reason = &first.last()["unmapped"]["homeport"]["transition_reason"];
        ensure!(reason == "quiet" || reason == "connections-closed", "closed because it ended: {reason}");
        ensure!(first.payload_bytes() >= Some(800_000), "all portions: {:#}", first.last());

        let sent = scene.lab.send(Host::Storage, &format!("tcp-push --to {at} --bytes 1000"))?;
        let second = closed_episode(scene, &[&first.id])?;
        ensure!(
            second.pid() == Some(sent.pid.into()),
            "the later transfer is another episode: {:#}",
            second.last()
        );
        ensure!(scene.finish()?.episodes().len() == 2, "and nothing else");
        Ok(())
    });
}

#[test]
fn a_connection_that_rests_and_goes_on_is_another_episode_that_begins_when_it_goes_on() {
    let settings = Settings { quiet_secs: 2, ..Settings::default() };
    scene(&settings, |scene| {
        let (_, _sink, mut push) = connected(scene, 50_000)?;
        push.tell("send")?;
        push.line()?;
        let first = closed_episode(scene, &[])?;
        thread::sleep(Duration::from_secs(3));
        push.tell("send")?;
        push.line()?;
        let second = closed_episode(scene, &[&first.id])?;
        let time = |episode: &Episode, name: &str| episode.last()[name].as_i64().context("a time");
        let (ended, began) = (time(&first, "end_time")?, time(&second, "start_time")?);
        ensure!(ended < began, "{ended} to {began}: {:#}", second.last());
        Ok(())
    });
}

#[test]
fn many_short_connections_to_one_country_are_one_episode() {
    scene(&Settings::default(), |scene| {
        let at = sink_at(Host::Foreign, Family::V6);
        let _sink = scene.lab.listener(Host::Foreign, "tcp-sink", at, "")?;
        for _ in 0..20 {
            scene.lab.send(Host::Storage, &format!("tcp-push --to {at} --bytes 3000 --quick"))?;
        }
        let flows = scene.accounted()?;
        let records = scene.finish()?;
        let episode = crate::check_one_episode(&records, &flows, Host::Foreign)?;
        ensure!(episode.last()["unmapped"]["homeport"]["processes"]["count"] == 20, "{:#}", episode.last());
        Ok(())
    });
}

#[test]
fn an_attempt_to_connect_abroad_is_a_weak_finding_of_its_own() {
    scene(&Settings::default(), |scene| {
        // Nobody listens there: the peer answers with a reset.
        let at = sink_at(Host::Foreign, Family::V4);
        let mut push = scene.lab.actor(Host::Storage, &format!("tcp-push --to {at} --bytes 1000"))?;
        ensure!(!push.wait()?.success(), "nobody listens");
        scene.accounted()?;
        let episode = eventually(PATIENCE, || scene.agent.records()?.episodes().pop().context("an episode"))?;
        ensure!(episode.kind() == Some("attempt"), "{:#}", episode.last());
        ensure!(episode.last()["severity_id"] == 2, "low: {:#}", episode.last());
        ensure!(episode.payload_bytes() == Some(0), "{:#}", episode.last());
        ensure!(episode.pid() == Some(push.pid().into()), "process {}: {:#}", push.pid(), episode.last());
        Ok(())
    });
}

#[test]
fn use_of_an_exception_is_recorded_and_exceeding_it_is_a_violation() {
    let exception = "[[exception]]\nid = \"EX-1\"\ndestination = { country = \"DE\" }\nmax_bytes = \"64 KiB\"\n\
                     expires = \"2099-01-01T00:00:00Z\"\napprover = \"Jane Doe\"\nreason = \"audit copy\"\n";
    let settings = Settings { more: exception.to_owned(), ..Settings::default() };
    scene(&settings, |scene| {
        let at = sink_at(Host::Foreign, Family::V4);
        let _sink = scene.lab.listener(Host::Foreign, "tcp-sink", at, "")?;
        scene.lab.send(Host::Storage, &format!("tcp-push --to {at} --bytes 20000"))?;
        let flows = scene.accounted()?;
        ensure!(flows.with_data_to(at.ip()).all(|flow| flow.verdict == "excepted"), "{:#?}", flows.flows);
        let within = eventually(PATIENCE, || scene.agent.records()?.episodes().pop().context("a finding"))?;
        ensure!(within.kind() == Some("exception"), "{:#}", within.last());
        ensure!(within.last()["is_alert"] == false, "{:#}", within.last());

        scene.lab.send(Host::Storage, &format!("tcp-push --to {at} --bytes 200000"))?;
        scene.accounted()?;
        let records = scene.finish()?;
        let episodes = records.episodes();
        let exceeded =
            episodes.iter().find(|episode| episode.kind() == Some("transfer")).context("a violation")?;
        ensure!(exceeded.last()["unmapped"]["homeport"]["exception"] == "EX-1", "{:#}", exceeded.last());
        Ok(())
    });
}

#[test]
fn a_policy_that_is_reloaded_judges_live_connections_again() {
    let settings = Settings::default();
    scene(&settings, |scene| {
        let (at, _sink, mut push) = connected(scene, 50_000)?;
        push.tell("send")?;
        push.line()?;
        scene.accounted()?;
        eventually(PATIENCE, || {
            ensure!(scene.agent.records()?.episodes().len() == 1, "no episode yet");
            Ok(())
        })?;

        let policies = "[[policy]]\nname = \"lab\"\napproved_countries = [\"US\", \"DE\"]\n".to_owned();
        let approving = Settings { policies, ..settings.clone() };
        scene.agent.reload(&approving.toml(scene.agent.directory()))?;
        let episode = closed_episode(scene, &[])?;
        let reason = &episode.last()["unmapped"]["homeport"]["transition_reason"];
        ensure!(reason == "policy-change", "closed by the policy: {reason}");

        push.tell("send")?;
        let sent = Sent::from_line(&push.line()?)?;
        push.tell("end")?;
        push.succeed()?;
        let flows = scene.accounted()?;
        let flow = flows.check_only_sender(at.ip(), "tcp", sent, scene.resent()?)?;
        ensure!(flow.verdict == "approved", "{flow:#?}");
        let records = scene.finish()?;
        ensure!(records.episodes().len() == 1, "no further alert: {:#?}", records.episodes());
        ensure!(records.lifecycle().contains(&"policy-change"), "on record: {:?}", records.lifecycle());
        Ok(())
    });
}

#[test]
fn intervals_are_written_without_holes_and_add_up_to_what_left() {
    let settings = Settings { interval_secs: 1, ..Settings::default() };
    scene(&settings, |scene| {
        for host in [Host::Foreign, Host::Approved] {
            let at = sink_at(host, Family::V6);
            let _sink = scene.lab.listener(host, "tcp-sink", at, "")?;
            scene.lab.send(Host::Storage, &format!("tcp-push --to {at} --bytes 500000"))?;
            thread::sleep(Duration::from_millis(1_100));
        }
        let flows = scene.accounted()?;
        let records = scene.finish()?;
        check_intervals(&records, flows.totals.wire_bytes)?;
        check_sequence(&records)
    });
}

fn check_intervals(records: &Records, wire_bytes: u64) -> Result<()> {
    let intervals: Vec<_> = records.of_class(INTERVAL).collect();
    ensure!(intervals.len() >= 3, "one each second: {}", intervals.len());
    for pair in intervals.windows(2) {
        ensure!(
            pair[0]["end_time"] == pair[1]["start_time"],
            "a hole between {:#} and {:#}",
            pair[0],
            pair[1]
        );
    }
    let left: u64 = intervals.iter().filter_map(|interval| interval["traffic"]["bytes_out"].as_u64()).sum();
    ensure!(left >= wire_bytes, "{left} bytes in intervals, {wire_bytes} in flows");
    // Packets that left between the last look at the table and the end, such as neighbour discovery.
    ensure!(left - wire_bytes < 1000, "{left} bytes in intervals, {wire_bytes} in flows");
    for interval in intervals {
        let missed = interval["traffic"]["bytes_missed"].as_u64().unwrap_or_default();
        ensure!(missed == 0, "the card sent what the agent did not see: {interval:#}");
    }
    Ok(())
}

/// Every record has a number, and none is missing.
fn check_sequence(records: &Records) -> Result<()> {
    let numbers: Vec<u64> =
        records.0.iter().filter_map(|record| record["metadata"]["sequence"].as_u64()).collect();
    ensure!(numbers.len() == records.0.len(), "a record without a number");
    ensure!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "not counted up: {numbers:?}");
    Ok(())
}
