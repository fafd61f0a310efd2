//! The agent goes and comes back; counting goes on.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use homeport_tests::{
    agent::{Agent, binary, eventually, wide_binary},
    campaign::{Progress, restart},
    lab::Host,
    records::LIFECYCLE,
    scene::{Scene, scene},
    settings::Settings,
};
use serde_json::Value;

/// What is pinned, as names below the directory of pins.
fn pinned(directory: &std::path::Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory.join("links"))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[test]
fn programs_stay_attached_without_the_agent_and_cleanup_leaves_nothing_behind() {
    scene(&Settings::pinned(), |scene| {
        let pin_dir = scene.agent.pin_dir();
        let before = pinned(&pin_dir)?;
        ensure!(before.iter().any(|name| name == "account_egress"), "{before:?}");
        ensure!(before.iter().any(|name| name.starts_with("frames_ethernet-")), "{before:?}");

        let (success, text) = cleanup(scene)?;
        ensure!(!success && text.contains(&format!("process {}", scene.agent.pid())), "{text}");

        scene.agent.kill()?;
        ensure!(pinned(&pin_dir)? == before);
        scene.agent.start_again(&scene.lab)?;
        ensure!(pinned(&pin_dir)? == before);
        scene.agent.stop()?;
        ensure!(pinned(&pin_dir)? == before);

        let (success, text) = cleanup(scene)?;
        ensure!(success && text.contains("account_egress"), "{text}");
        ensure!(!pin_dir.exists());
        // Kernels before 6.6 need a qdisc for the filters, which goes with them.
        let qdiscs = clsact_at(scene, "eth0")?;
        ensure!(qdiscs.is_empty(), "{qdiscs}");
        Ok(())
    });
}

fn cleanup(scene: &Scene) -> Result<(bool, String)> {
    let output = scene
        .lab
        .command(Host::Storage, binary()?)
        .args(["cleanup", "--config"])
        .arg(scene.agent.config_path())
        .output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

/// The clsact qdisc of an interface, in the words of `tc`; empty when there is none.
fn clsact_at(scene: &Scene, interface: &str) -> Result<String> {
    scene.lab.ask(Host::Storage, &format!("tc qdisc show dev {interface} | grep clsact || true"))
}

/// The mark is what an agent leaves on kernels before 6.6, which attach to a qdisc; what is made of it can be seen on
/// every kernel.
#[test]
fn cleanup_removes_the_qdiscs_that_an_agent_made_but_for_those_that_others_use_by_now() {
    scene(&Settings::pinned(), |scene| {
        scene.agent.kill()?;
        scene.lab.shell(
            Host::Storage,
            "ip link add ours type veth peer name shared; ip link add theirs type veth peer name other
             for at in ours shared theirs; do tc qdisc add dev $at clsact; done
             tc filter add dev shared egress bpf bytecode '1,6 0 0 4294967295'",
        )?;
        for interface in ["ours", "shared"] {
            let index =
                scene.lab.ask(Host::Storage, &format!("ip -o link show dev {interface} | cut -d: -f1"))?;
            std::fs::create_dir_all(scene.agent.pin_dir().join("qdiscs").join(index.trim()))?;
        }
        let (success, text) = cleanup(scene)?;
        ensure!(success && text.contains("clsact"), "{text}");
        ensure!(clsact_at(scene, "ours")?.is_empty(), "ours is still there");
        ensure!(!clsact_at(scene, "shared")?.is_empty(), "somebody's filter hung there");
        ensure!(!clsact_at(scene, "theirs")?.is_empty(), "that was made by somebody else");
        ensure!(!scene.agent.pin_dir().exists());
        Ok(())
    });
}

#[test]
fn whatever_happens_to_the_agent_each_byte_is_on_record_once() {
    let plan = restart::Plan { cycles: 8, seed: 7, other_build: None, resize: false };
    campaign(&plan);
}

#[test]
fn an_upgrade_to_another_layout_of_the_maps_and_another_size_miss_and_double_no_byte() {
    let other_build = Some(wide_binary().unwrap_or_else(|error| panic!("{error:#}")));
    campaign(&restart::Plan { cycles: 8, seed: 11, other_build, resize: true });
}

#[track_caller]
fn campaign(plan: &restart::Plan) {
    match restart::run(plan, Progress::silent()) {
        Ok(report) => println!("{report}"),
        Err(error) => panic!("{error:#}"),
    }
}

/// The gap records so far.
fn gaps(scene: &Scene) -> Result<Vec<Value>> {
    let records = scene.agent.records()?;
    let gaps = records.of_class(LIFECYCLE).map(|record| record["unmapped"]["homeport"].clone());
    Ok(gaps.filter(|extra| extra["event"] == "counting-gap").collect())
}

/// Kills the agent, lets `tamper` do something, sends, and starts the agent again: one gap record says so.
fn tampered(cause: &str, tamper: impl FnOnce(&Agent) -> Result<()>) {
    scene(&Settings::pinned(), |scene| {
        ensure!(gaps(scene)?.is_empty(), "the first start has no gap");
        scene.agent.kill()?;
        tamper(&scene.agent)?;
        scene.agent.start_again(&scene.lab)?;
        let gap = eventually(Duration::from_secs(10), || {
            let gaps = gaps(scene)?;
            let [gap] = gaps.as_slice() else { bail!("one gap expected: {gaps:#?}") };
            Ok(gap.clone())
        })?;
        ensure!(gap["cause"] == cause, "{gap:#}");
        ensure!(gap["from"].as_i64() < gap["to"].as_i64(), "{gap:#}");
        // It is said once: what was found then is complete again.
        scene.agent.kill()?;
        scene.agent.start_again(&scene.lab)?;
        ensure!(gaps(scene)?.len() == 1, "{:#?}", gaps(scene)?);
        Ok(())
    });
}

#[test]
fn pins_that_are_gone_are_a_gap_on_record() {
    tampered("pins-lost", |agent| Ok(std::fs::remove_dir_all(agent.pin_dir())?));
}

#[test]
fn a_map_that_was_replaced_is_a_gap_on_record() {
    tampered("pins-lost", |agent| {
        let sets = agent.pin_dir().join("sets/1");
        std::fs::remove_file(sets.join("LOSSES"))?;
        Ok(std::fs::rename(sets.join("MTUS"), sets.join("LOSSES"))?)
    });
}

#[test]
fn a_run_state_that_is_gone_is_a_gap_on_record() {
    tampered("state-lost", |agent| Ok(std::fs::remove_dir_all(agent.run_dir())?));
}
