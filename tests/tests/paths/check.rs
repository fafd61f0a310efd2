//! Compares what was played with what the card and the agent say.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use homeport_tests::{actor, agent::eventually, flows::Flow, kernel, lab::Nic};

use crate::{Inside, Owner, Part, Path, Payload, Played, row::Row, stage::Stage};

/// Every byte must be accounted for; what goes past everything must be the exact difference.
pub(crate) fn compare(path: &Path, played: Played) -> Result<Row> {
    let Played { stage, parts, bypass, _keep } = played;
    let (flows, nic) = stage.accounted_but(bypass)?;
    let seen = stage.since_mark(&flows);
    let resent = stage.resent()?;
    let mut row = Row::of(path);
    for part in &parts {
        row.sent_bytes += part.sent.bytes;
        if path.owner != Owner::Bypass {
            let flow = check_part(path, part, &seen, resent)?;
            part.inside.iter().try_for_each(|inside| check_inside(inside, &seen, resent))?;
            row.owner.clone_from(&flow.owner.label);
            row.quality.clone_from(&flow.owner.quality);
            row.sensor.clone_from(&flow.sensor);
            row.initiator.clone_from(&flow.initiator);
        } else {
            let counted: Vec<&Flow> = seen.iter().filter(|flow| flow.remote == part.remote).collect();
            ensure!(counted.is_empty(), "nothing of it should have been counted: {counted:#?}");
            row.state = "bypass";
        }
    }
    row.nic_bytes = nic.layer3_bytes();
    row.counted_bytes = stage.counted_since_mark(&flows);
    row.residual_bytes = row.nic_bytes as i64 - row.counted_bytes as i64;
    ensure!(row.residual_bytes == bypass.layer3_bytes() as i64, "residual {}", row.residual_bytes);
    if path.owner == Owner::Bypass {
        check_finding(&stage, bypass)?;
    }
    stage.done()?;
    Ok(row)
}

/// What went past everything is a finding, with exactly its bytes.
fn check_finding(stage: &Stage, bypass: Nic) -> Result<()> {
    eventually(Duration::from_secs(20), || {
        let records = stage.agent.records()?;
        let findings = records.episodes().into_iter().filter(|episode| episode.kind() == Some("coverage"));
        // It may have begun in one interval and ended in the next.
        let bytes: Vec<_> = findings
            .map(|finding| finding.last()["unmapped"]["homeport"]["residual_bytes"].as_u64())
            .collect();
        ensure!(bytes == [Some(bypass.bytes)], "one finding of {} bytes expected: {bytes:?}", bypass.bytes);
        Ok(())
    })
}

fn check_part<'a>(path: &Path, part: &Part, seen: &'a [Flow], resent: u64) -> Result<&'a Flow> {
    let there: Vec<&Flow> = seen.iter().filter(|flow| flow.remote == part.remote).collect();
    // Handshakes and bare ACKs of sockets that sent nothing yet are the kernel's, and counted apart.
    let with_data: Vec<&Flow> = there.iter().copied().filter(|flow| flow.payload_bytes > 0).collect();
    let carries_nothing = part.sent.bytes == 0;
    let candidates = if carries_nothing { &there } else { &with_data };
    let owners: &[u32] = match (path.owner, part.opener) {
        (Owner::Process, Some(opener)) if !kernel::tells_sender() => &[opener],
        (Owner::Process | Owner::Opener, _) => &[part.sent.pid],
        _ => &[],
    };
    let ours = |flow: &&&Flow| match path.owner {
        Owner::Process | Owner::Opener => flow.owner.pid.is_some_and(|pid| owners.contains(&pid)),
        Owner::Kernel(service) => flow.owner.label == format!("kernel:{service}"),
        Owner::Forwarded => flow.owner.kind == "forwarded",
        Owner::PacketSocket => flow.owner.kind == "packet-socket",
        Owner::Bypass => false,
    };
    let mut found = candidates.iter().filter(ours);
    let flow = *found.next().with_context(|| {
        format!("no flow to {} of the expected owner {owners:?}, seen: {there:#?}", part.remote)
    })?;
    ensure!(
        carries_nothing || with_data.len() == 1,
        "one flow with data to {} expected: {with_data:#?}",
        part.remote
    );
    ensure!(flow.protocol == part.protocol, "protocol {} expected: {flow:#?}", part.protocol);
    ensure!(flow.initiator == path.initiator, "initiator {} expected: {flow:#?}", path.initiator);
    if let Some(location) = part.location {
        ensure!(flow.location == location, "location {location} expected: {flow:#?}");
    }
    check_payload(part, flow, resent)?;
    check_owner(path.owner, part, flow)?;
    Ok(flow)
}

/// What is inside a tunnel is told to the byte, with its sender.
fn check_inside(inside: &Inside, seen: &[Flow], resent: u64) -> Result<()> {
    let Inside { remote, protocol, sent } = inside;
    let there: Vec<&Flow> = seen.iter().filter(|flow| flow.remote == *remote).collect();
    let flow = there
        .iter()
        .find(|flow| flow.payload_bytes > 0 && flow.protocol == *protocol && flow.owner.pid == Some(sent.pid))
        .with_context(|| format!("no {protocol} flow inside to {remote}, seen: {there:#?}"))?;
    ensure!(flow.sensor == "tunnel", "sensor tunnel expected: {flow:#?}");
    let most = sent.bytes + if *protocol == "tcp" { resent } else { 0 };
    ensure!((sent.bytes..=most).contains(&flow.payload_bytes), "{} bytes sent inside: {flow:#?}", sent.bytes);
    Ok(())
}

fn check_payload(part: &Part, flow: &Flow, resent: u64) -> Result<()> {
    let (least, most) = match part.payload {
        Payload::Same => (part.sent.bytes, part.sent.bytes + resent),
        Payload::With(more) => (part.sent.bytes + more, part.sent.bytes + more + resent),
        Payload::AtLeast => (part.sent.bytes, u64::MAX),
    };
    ensure!(
        (least..=most).contains(&flow.payload_bytes),
        "{} bytes sent, {least} to {most} expected as payload, {} counted: {flow:#?}",
        part.sent.bytes,
        flow.payload_bytes
    );
    Ok(())
}

fn check_owner(owner: Owner, part: &Part, flow: &Flow) -> Result<()> {
    let sensors: &[&str] = match owner {
        Owner::Process | Owner::Opener => &["socket"],
        // Some of what the kernel makes by itself is seen at the interface only.
        Owner::Kernel(_) => &["socket", "interface"],
        Owner::Forwarded | Owner::PacketSocket | Owner::Bypass => &["interface"],
    };
    ensure!(sensors.contains(&flow.sensor.as_str()), "sensor {sensors:?} expected: {flow:#?}");
    if matches!(owner, Owner::Process | Owner::Opener) {
        let exe = actor::binary()?;
        ensure!(
            flow.owner.exe.as_deref() == exe.to_str(),
            "executable {} expected: {flow:#?}",
            exe.display()
        );
        let quality = match (kernel::tells_sender() && owner == Owner::Process, flow.pre_existing) {
            (true, _) => "exact",
            (false, false) => "inherited",
            (false, true) => "resolved",
        };
        ensure!(flow.owner.quality == quality, "quality {quality} expected: {flow:#?}");
        ensure!(part.sent.pid > 0, "a process that sends has a number");
    }
    Ok(())
}
