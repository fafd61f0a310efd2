//! What happens while no agent is there is found by the next one, and what was known or open goes on.

use std::{collections::HashSet, time::Duration};

use anyhow::{Context as _, Result, ensure};
use homeport_tests::{
    agent::{eventually, wide_binary},
    lab::{Family, Host},
    links,
    records::{Episode, INTERVAL, Records},
    scene::{Scene, scene},
    settings::Settings,
};
use serde_json::Value;

use crate::{
    coverage::{about, extra, pin},
    reconcile::{BYPASSED_BYTES, bypass},
    server_at, sink_at,
};

const PATIENCE: Duration = Duration::from_secs(40);

fn short_intervals() -> Settings {
    Settings { interval_secs: 2, ..Settings::pinned() }
}

fn the_bypass(records: &Records) -> Result<Episode> {
    let mut episodes = about(records, "bypass");
    let episode = episodes.pop().context("no finding about bypass")?;
    ensure!(episodes.is_empty(), "one finding expected, there are more: {episodes:#?}");
    Ok(episode)
}

/// The residual of each interval record.
fn residuals(records: &Records) -> Vec<i64> {
    records
        .of_class(INTERVAL)
        .map(|record| {
            let rows = extra(record)["interfaces"].as_array().into_iter().flatten();
            rows.filter_map(|row| row["residual_bytes"].as_i64()).sum()
        })
        .collect()
}

#[test]
fn what_left_past_every_observer_without_an_agent_is_in_the_first_interval_of_the_next_and_its_finding_goes_on()
 {
    scene(&short_intervals(), |scene| {
        scene.lab.shell(Host::Storage, "ping -q -c1 -W5 192.0.2.1 >/dev/null")?;
        scene.accounted()?;
        bypass(&scene.lab)?;
        let before = eventually(PATIENCE, || {
            let records = scene.agent.records()?;
            let sum: i64 = residuals(&records).iter().sum();
            ensure!(sum == BYPASSED_BYTES, "{sum} in the interval records");
            the_bypass(&records)
        })?;
        scene.agent.kill()?;
        let n_intervals = residuals(&scene.agent.records()?).len();
        // Three times as much as before, so that the finding is told again.
        for _ in 0..3 {
            bypass(&scene.lab)?;
        }
        scene.agent.start_again(&scene.lab)?;
        let after = eventually(PATIENCE, || {
            let episode = the_bypass(&scene.agent.records()?)?;
            let bytes = extra(episode.last())["residual_bytes"].as_i64();
            ensure!(bytes == Some(4 * BYPASSED_BYTES), "all of it expected: {:#}", episode.last());
            Ok(episode)
        })?;
        ensure!(after.id == before.id, "{} goes on as {}", before.id, after.id);
        let first = eventually(PATIENCE, || {
            residuals(&scene.agent.records()?).get(n_intervals).copied().context("an interval record")
        })?;
        ensure!(first == 3 * BYPASSED_BYTES, "{first} in the first interval after the start");
        // And it ends as any other does: after some intervals that balance.
        let closed = eventually(PATIENCE, || {
            let episode = the_bypass(&scene.agent.records()?)?;
            episode.check_complete()?;
            Ok(episode)
        })?;
        ensure!(
            closed.id == before.id && extra(closed.last())["transition_reason"] == "balanced",
            "{closed:#?}"
        );
        Ok(())
    });
}

#[test]
fn a_finding_outlives_a_stop_as_well() {
    scene(&short_intervals(), |scene| {
        scene.lab.shell(Host::Storage, "ping -q -c1 -W5 192.0.2.1 >/dev/null")?;
        scene.accounted()?;
        bypass(&scene.lab)?;
        let before = eventually(PATIENCE, || the_bypass(&scene.agent.records()?))?;
        scene.finish()?;
        scene.agent.start_again(&scene.lab)?;
        let closed = eventually(PATIENCE, || {
            let episode = the_bypass(&scene.agent.records()?)?;
            episode.check_complete()?;
            Ok(episode)
        })?;
        ensure!(closed.id == before.id, "{closed:#?}");
        ensure!(extra(closed.last())["transition_reason"] == "balanced", "{closed:#?}");
        Ok(())
    });
}

/// A program that somebody detaches while no agent is there, datagrams, and the finding of the next agent, which is
/// over: everything is attached again.
fn detached_meanwhile(scene: &mut Scene, program: &str) -> Result<Value> {
    let at = sink_at(Host::Foreign, Family::V4);
    let _sink = scene.lab.listener(Host::Foreign, "udp-sink", at, "")?;
    scene.lab.send(Host::Storage, &format!("udp-send --to {at} --size 1000 --count 10"))?;
    scene.accounted()?;
    scene.agent.kill()?;
    links::detach(&pin(&scene.agent, program)?)?;
    scene.lab.send(Host::Storage, &format!("udp-send --to {at} --size 1000 --count 100"))?;
    scene.agent.start_again(&scene.lab)?;
    let finding = eventually(PATIENCE, || {
        let records = scene.agent.records()?;
        let episode = about(&records, "detached").pop().context("no finding that it was detached")?;
        episode.check_complete()?;
        Ok(episode.last().clone())
    })?;
    ensure!(extra(&finding)["program"] == program, "{finding:#}");
    let gaps = about(&scene.agent.records()?, "bypass");
    ensure!(gaps.is_empty(), "the gap is no bypass: {gaps:#?}");
    Ok(finding)
}

#[test]
fn a_socket_ledger_that_was_detached_without_an_agent_is_a_finding_with_its_bytes() {
    scene(&short_intervals(), |scene| {
        let finding = detached_meanwhile(scene, "account_egress")?;
        // Only local sockets are its business: the datagrams with their headers.
        ensure!(extra(&finding)["gap"]["unobserved_bytes"] == 100 * 1028, "{finding:#}");
        Ok(())
    });
}

#[test]
fn a_filter_that_was_detached_without_an_agent_is_a_finding_with_its_bytes() {
    scene(&short_intervals(), |scene| {
        let finding = detached_meanwhile(scene, "frames_ethernet")?;
        // The card knows of nothing else that left meanwhile but perhaps a question for a neighbour's address.
        let unobserved = extra(&finding)["gap"]["unobserved_bytes"].as_i64().context("a number")?;
        ensure!((100 * 1042..101 * 1042).contains(&unobserved), "{finding:#}");
        Ok(())
    });
}

#[test]
fn who_opened_a_connection_is_known_after_every_change_of_the_maps() {
    let other_build = wide_binary().unwrap_or_else(|error| panic!("{error:#}"));
    scene(&short_intervals(), |scene| {
        let abroad = Host::Foreign.address(Family::V4);
        let sink = sink_at(Host::Foreign, Family::V4);
        let _sink = scene.lab.listener(Host::Foreign, "tcp-sink", sink, "")?;
        let words = |kind: &str, at: std::net::SocketAddr| {
            format!("stream --kind {kind} --at {at} --bytes 2000 --pause-ms 20")
        };
        let mut server = scene.lab.actor(Host::Storage, &words("serve", server_at(Family::V4)))?;
        server.line()?;
        let from = server_at(Family::V4);
        let mut puller = scene.lab.actor(Host::Foreign, &format!("tcp-pull --from {from}"))?;
        let mut client = scene.lab.actor(Host::Storage, &words("push", sink))?;
        client.line()?;
        let known = |scene: &Scene| {
            eventually(PATIENCE, || {
                let flows = scene.agent.flows()?;
                let rows: HashSet<(String, Option<u32>)> =
                    flows.with_data_to(abroad).map(|flow| (flow.initiator.clone(), flow.owner.pid)).collect();
                let expected = HashSet::from([
                    ("remote".to_owned(), Some(server.pid())),
                    ("local".to_owned(), Some(client.pid())),
                ]);
                ensure!(rows == expected, "{expected:?} expected: {rows:?}");
                Ok(())
            })
        };
        known(scene).context("before")?;
        scene.agent.kill()?;
        let more = "[limits]\nmax_sockets = 65536\n".to_owned();
        let smaller = Settings { more, ..short_intervals() };
        scene.agent.configure(&smaller.toml(scene.agent.directory()))?;
        scene.agent.start_again(&scene.lab)?;
        known(scene).context("with maps of another size")?;
        scene.agent.kill()?;
        scene.agent.start_build_again(&scene.lab, &other_build)?;
        known(scene).context("with maps of another layout")?;
        scene.agent.kill()?;
        scene.agent.start_again(&scene.lab)?;
        known(scene).context("and back")?;

        let episodes = scene.agent.records()?.episodes_in(Host::Foreign.country());
        ensure!(episodes.len() == 2, "one for each direction: {episodes:#?}");
        client.succeed()?;
        server.succeed()?;
        puller.succeed()
    });
}
