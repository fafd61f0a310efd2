//! What sockets sent and the kernel discarded before it reached the card: told to the byte, with the kernel's reason
//! where it has one, and never as bypass.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use homeport_tests::{
    agent::{binary, eventually},
    lab::{Family, Host},
    records::{INTERVAL, Records},
    scene::{Scene, scene},
    settings::Settings,
};
use serde_json::Value;

use crate::sink_at;

/// A difference has to hold for five looks, and neighbours are asked for three seconds.
const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const COUNT: u64 = 200;
pub(crate) const SIZE: u64 = 1000;

pub(crate) fn settings() -> Settings {
    Settings { interval_secs: 1, ..Settings::default() }
}

fn extra(record: &Value) -> &Value {
    &record["unmapped"]["homeport"]
}

/// A number about the second identity, summed over all interval records.
fn summed(records: &Records, pointer: &str) -> i64 {
    records
        .of_class(INTERVAL)
        .filter_map(|record| extra(record)["attribution"].pointer(pointer)?.as_i64())
        .sum()
}

/// The latest record of the only finding about coverage, and what it is about.
fn the_finding(records: &Records) -> Result<Value> {
    let mut found = records.episodes().into_iter().filter(|episode| episode.kind() == Some("coverage"));
    let episode = found.next().context("no finding about coverage")?;
    let more: Vec<_> = found.map(|episode| episode.last().clone()).collect();
    ensure!(more.is_empty(), "one finding expected, not also {more:#?}");
    Ok(episode.last().clone())
}

fn coverage(scene: &Scene) -> Result<Value> {
    let mut command = std::process::Command::new(binary()?);
    command.args(["coverage", "--json", "--socket"]).arg(scene.agent.directory().join("control.sock"));
    Ok(serde_json::from_slice(&command.output()?.stdout)?)
}

/// Both sides have been compared once: what did not leave before that is not told apart from what was on its way.
pub(crate) fn until_compared(scene: &Scene) -> Result<()> {
    eventually(PATIENCE, || {
        let n_intervals = scene.agent.records()?.of_class(INTERVAL).count();
        ensure!(n_intervals >= 4, "{n_intervals} intervals on record");
        Ok(())
    })
}

/// Exactly so much did not leave, of which so much was discarded; it is the subject of one finding.
pub(crate) fn check(scene: &mut Scene, lost: u64, subject: &str) -> Result<Value> {
    let lost = i64::try_from(lost)?;
    let discarded = if subject == "discarded" { lost } else { 0 };
    eventually(PATIENCE, || {
        let records = scene.agent.records()?;
        let sums = (summed(&records, "/discarded"), summed(&records, "/rest"));
        ensure!(sums == (discarded, discarded - lost), "discarded and rest: {sums:?}");
        let finding = the_finding(&records)?;
        ensure!(extra(&finding)["residual_bytes"] == -lost, "{finding:#}");
        Ok(())
    })?;
    let view = coverage(scene)?;
    ensure!(view["attribution"]["discarded"] == discarded, "{:#}", view["attribution"]);
    ensure!(view["attribution"]["rest"] == discarded - lost, "{:#}", view["attribution"]);
    let reasons = view["reasons"].as_array().context("reasons")?;
    let is_reason = reasons.iter().any(|reason| reason["part"] == subject);
    ensure!(is_reason == (subject != "discarded"), "what the kernel explains is no reason: {reasons:#?}");
    // The card agrees with what tc has seen.
    let flows = scene.agent.flows()?;
    let row = flows.interfaces.iter().find(|row| row.name == "eth0").context("eth0")?;
    let balance = row.balance.as_ref().context("compared")?;
    ensure!((balance.unexplained_bytes, balance.unexplained_frames) == (0, 0), "{balance:?}");

    let records = scene.finish()?;
    let finding = the_finding(&records)?;
    ensure!(extra(&finding)["subject"] == subject && extra(&finding)["place"] == "host", "{finding:#}");
    Ok(finding)
}

#[test]
fn datagrams_for_a_neighbour_that_never_answers_are_told_as_discarded() {
    scene(&settings(), |scene| {
        until_compared(scene)?;
        scene.lab.shell(
            Host::Storage,
            "ip route replace default via 192.0.2.77; ip -6 route replace default via 2001:db8:0:2::77",
        )?;
        for family in Family::BOTH {
            let at = sink_at(Host::Foreign, family);
            scene.lab.send(Host::Storage, &format!("udp-send --to {at} --size {SIZE} --count {COUNT}"))?;
        }
        let finding = check(scene, COUNT * (SIZE + 28) + COUNT * (SIZE + 48), "discarded")?;
        ensure!(finding["severity_id"] == 1, "information: {finding:#}");
        // Whatever does not fit into the queues of the two, and what was in them when nobody had answered.
        let discards = &extra(&finding)["discards"];
        ensure!(discards["neighbour_packets"].as_u64() >= Some(2 * (COUNT - 100)), "{discards:#}");
        ensure!(discards["neighbour_failures"].as_u64() >= Some(1), "{discards:#}");
        Ok(())
    });
}

/// Drops or takes away what is sent abroad, between the socket ledger and tc.
fn filter(scene: &Scene, verdict: &str) -> Result<bool> {
    let rules = format!(
        "nft add table netdev lab
         nft 'add chain netdev lab out {{ type filter hook egress device \"eth0\" priority 0; }}'
         nft add rule netdev lab out ip daddr {} {verdict}",
        Host::Foreign.address(Family::V4)
    );
    let made = scene.lab.shell(Host::Storage, &rules);
    if let Err(reason) = &made {
        eprintln!("this kernel has no netfilter hook at the egress of interfaces: {reason:#}");
    }
    Ok(made.is_ok())
}

#[test]
fn datagrams_that_a_filter_at_the_interface_drops_are_told_as_discarded() {
    scene(&settings(), |scene| {
        until_compared(scene)?;
        if !filter(scene, "drop")? {
            return Ok(());
        }
        let at = sink_at(Host::Foreign, Family::V4);
        scene.lab.send(Host::Storage, &format!("udp-send --to {at} --size {SIZE} --count {COUNT}"))?;
        let finding = check(scene, COUNT * (SIZE + 28), "discarded")?;
        let discards = &extra(&finding)["discards"];
        ensure!(discards["output_packets"].as_u64() >= Some(COUNT), "{discards:#}");
        Ok(())
    });
}

#[test]
fn datagrams_that_vanish_without_a_count_are_a_finding() {
    scene(&settings(), |scene| {
        until_compared(scene)?;
        if !filter(scene, "fwd to lo")? {
            return Ok(());
        }
        let at = sink_at(Host::Foreign, Family::V4);
        scene.lab.send(Host::Storage, &format!("udp-send --to {at} --size {SIZE} --count {COUNT}"))?;
        let finding = check(scene, COUNT * (SIZE + 28), "unsent")?;
        ensure!(finding["severity_id"] == 2, "low: it did not leave: {finding:#}");
        Ok(())
    });
}
