//! Outputs that do not take what they are given: a full disk, a rotated file, a service manager that does not read.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use homeport_tests::{
    agent::{Agent, eventually},
    lab::{Family, Host, Lab},
    records::Records,
    scene::{Scene, scene},
    settings::Settings,
};
use tempfile::TempDir;

use crate::{check_one_episode, sink_at};

const PATIENCE: Duration = Duration::from_secs(20);

/// A file system of its own, gone when dropped.
struct TinyDisk(TempDir);

impl TinyDisk {
    fn new(size: &str) -> Result<Self> {
        let disk = Self(TempDir::new()?);
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(disk.path());
        ensure!(mount.status()?.success(), "mount a tmpfs");
        Ok(disk)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

#[test]
fn a_full_disk_delays_records_and_loses_none() {
    let disk = TinyDisk::new("256k").expect("a tiny disk");
    let records = disk.path().join("records.jsonl");
    let settings = Settings { interval_secs: 1, ..Settings::default() };
    let lab = Lab::new().expect("a lab");
    let directory = TempDir::new().expect("a directory");
    let usual = directory.path().join("records.jsonl").display().to_string();
    let toml = settings.toml(directory.path()).replace(&usual, &records.display().to_string());
    let silent = lab.nic().expect("a card");
    let agent = Agent::start_with(&lab, &settings, directory, &toml).expect("the agent starts");
    let mut scene = Scene::watched(lab, agent, silent).expect("it answers");
    let outcome = (|| -> Result<()> {
        let filler = disk.path().join("filler");
        // The kernel stops the write where the disk ends.
        let _ = fs::write(&filler, vec![0; 512 * 1024]);
        let at = sink_at(Host::Foreign, Family::V4);
        let _sink = scene.lab.listener(Host::Foreign, "tcp-sink", at, "")?;
        scene.lab.send(Host::Storage, &format!("tcp-push --to {at} --bytes 100000"))?;
        let flows = scene.accounted()?;
        scene.agent.wait_for_log(&["No space left"])?;
        scene.agent.check_alive()?;
        let mut selftest = Command::new(homeport_tests::agent::binary()?);
        selftest.args(["selftest", "--json", "--socket"]).arg(scene.agent.directory().join("control.sock"));
        let text = String::from_utf8(selftest.output()?.stdout)?;
        let outcome: serde_json::Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        ensure!(outcome["passed"] == false && outcome["failed"] == "durable", "{outcome:#}");
        fs::remove_file(&filler)?;
        eventually(PATIENCE, || {
            let episodes = Records::read(&records)?.episodes_in("DE");
            ensure!(!episodes.is_empty(), "the finding is not on record");
            Ok(())
        })?;
        ensure!(scene.agent.stop()?.success(), "a good end");
        let records = Records::read(&records)?;
        check_one_episode(&records, &flows, Host::Foreign)?;
        let events = records.lifecycle();
        ensure!(events.contains(&"degraded") && events.contains(&"recovered"), "both on record: {events:?}");
        ensure!(!events.contains(&"gap"), "nothing was lost: {events:?}");
        Ok(())
    })();
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}

#[test]
fn a_service_manager_that_does_not_read_stops_nothing() {
    let settings = Settings { deaf_manager: true, ..Settings::default() };
    scene(&settings, |scene| {
        // Each reload says that it began and ended; the kernel keeps about ten messages.
        for _ in 0..15 {
            scene.agent.reload(&settings.toml(scene.agent.directory()))?;
            std::thread::sleep(Duration::from_millis(50));
        }
        let at = sink_at(Host::Foreign, Family::V4);
        let _sink = scene.lab.listener(Host::Foreign, "tcp-sink", at, "")?;
        scene.lab.send(Host::Storage, &format!("tcp-push --to {at} --bytes 10000"))?;
        let flows = scene.accounted()?;
        let records = scene.finish()?;
        check_one_episode(&records, &flows, Host::Foreign).map(drop)
    });
}

#[test]
fn a_rotated_file_is_left_alone_and_a_new_one_is_begun() {
    let settings = Settings { interval_secs: 1, ..Settings::default() };
    scene(&settings, |scene| {
        let path = scene.agent.records_path();
        let rotated = path.with_extension("jsonl.1");
        let at = sink_at(Host::Foreign, Family::V4);
        let _sink = scene.lab.listener(Host::Foreign, "tcp-sink", at, "")?;
        scene.lab.send(Host::Storage, &format!("tcp-push --to {at} --bytes 10000"))?;
        eventually(PATIENCE, || scene.agent.records()?.episodes().pop().context("a finding"))?;
        fs::rename(&path, &rotated)?;
        eventually(PATIENCE, || {
            ensure!(path.exists(), "no new file");
            Ok(())
        })?;
        let mut records = scene.finish()?;
        let mut all = Records::read(&rotated)?;
        all.0.append(&mut records.0);
        let episodes = all.episodes();
        ensure!(episodes.len() == 1, "{episodes:#?}");
        episodes[0].check_complete()?;
        let numbers: Vec<_> =
            all.0.iter().filter_map(|record| record["metadata"]["sequence"].as_u64()).collect();
        ensure!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "none is missing: {numbers:?}");
        Ok(())
    });
}
