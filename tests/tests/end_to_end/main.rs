//! The agent end to end: real programs send over real sockets between network namespaces, the real agent watches,
//! and every byte is compared with what was sent and with what the network card counted.
//!
//! One file per family. Every test has a lab of its own, so they can run side by side.

mod approved;
mod away;
mod bad_input;
mod cgroups;
mod containers;
mod coverage;
mod database;
mod discards;
mod episode;
mod latency;
mod ledger;
mod load;
mod moved;
mod older;
mod other_sockets;
mod output;
mod owner;
mod reconcile;
mod report;
mod restart;
mod scanner;
mod socketless;
mod tcp;
mod top;
mod tunnel;
mod udp;

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use homeport_tests::{
    actor::{self, Sent},
    flows::{Flow, Flows},
    kernel,
    lab::{Family, Host},
    records::{Episode, Records},
};

/// Where receivers abroad listen.
const SINK_PORT: u16 = 9000;
/// Where servers on the storage host listen.
const SERVER_PORT: u16 = 8080;

fn sink_at(host: Host, family: Family) -> SocketAddr {
    (host.address(family), SINK_PORT).into()
}

fn server_at(family: Family) -> SocketAddr {
    (Host::Storage.address(family), SERVER_PORT).into()
}

/// The process is the only sender to the host, is named exactly, and what it did is a violation.
fn check_violation<'a>(
    flows: &'a Flows,
    (host, family): (Host, Family),
    protocol: &str,
    sent: Sent,
    resent: u64,
) -> Result<&'a Flow> {
    let flow = flows.check_only_sender(host.address(family), protocol, sent, resent)?;
    check_owner(flow)?;
    ensure!(flow.verdict == "violation", "a violation expected: {flow:#?}");
    ensure!(
        flow.country.as_deref() == Some(host.country()),
        "country {} expected: {flow:#?}",
        host.country()
    );
    Ok(flow)
}

/// The actor sent it, and the kernel said so at the time; one that does not tell senders said who opened the socket.
fn check_owner(flow: &Flow) -> Result<()> {
    let exe = actor::binary()?;
    ensure!(flow.owner.exe.as_deref() == exe.to_str(), "executable {} expected: {flow:#?}", exe.display());
    let expected = kernel::owner_quality(flow);
    ensure!(flow.owner.quality == expected, "owner of quality {expected} expected: {flow:#?}");
    Ok(())
}

/// Everything that left for a country is one episode from open to close, with the bytes of the flows.
fn check_one_episode(records: &Records, flows: &Flows, host: Host) -> Result<Episode> {
    let mut episodes = records.episodes_in(host.country());
    let episode = episodes.pop().with_context(|| format!("no episode for {}", host.country()))?;
    ensure!(episodes.is_empty(), "a second episode for {}: {episodes:#?}", host.country());
    episode.check_complete()?;
    ensure!(episode.kind() == Some("transfer"), "a transfer expected: {:#}", episode.last());
    ensure!(episode.policy() == Some("lab"), "policy lab expected: {:#}", episode.last());
    let exe = actor::binary()?;
    ensure!(episode.exe() == exe.to_str(), "executable {} expected: {:#}", exe.display(), episode.last());
    let payload: u64 = Family::BOTH
        .iter()
        .flat_map(|family| flows.with_data_to(host.address(*family)))
        .map(|flow| flow.payload_bytes)
        .sum();
    ensure!(
        episode.payload_bytes() == Some(payload),
        "{payload} payload bytes expected: {:#}",
        episode.last()
    );
    Ok(episode)
}
