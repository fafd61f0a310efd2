//! Outputs that do not take what they are given: a full disk, a rotated file, a service manager that does not read.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use homeport_tests::{
    agent::{Agent, eventually},
    lab::{Family, Host, Lab},
    ledger,
    records::Records,
    scene::{Scene, scene},
    settings::Settings,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{check_one_episode, sink_at};

const PATIENCE: Duration = Duration::from_secs(20);

/// The writer waits up to half a minute before it tries a disk again.
const RECOVERY: Duration = Duration::from_secs(60);

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

/// An agent whose ledger or record file is on a disk of its own.
fn with_disk(disk: &TinyDisk, more: &str) -> Result<Scene> {
    let settings = Settings { interval_secs: 1, more: more.to_owned(), ..Settings::default() };
    let lab = Lab::new()?;
    let directory = TempDir::new()?;
    let usual = directory.path().join("records.jsonl").display().to_string();
    let file = disk.path().join("records.jsonl").display().to_string();
    let toml = settings.toml(directory.path());
    // The record file lies there unless the ledger does.
    let toml = if more.is_empty() { toml.replace(&usual, &file) } else { toml };
    let silent = lab.nic()?;
    let agent = Agent::start_with(&lab, &settings, directory, &toml)?;
    Scene::watched(lab, agent, silent)
}

fn ledger_on(disk: &TinyDisk) -> String {
    format!("[ledger]\ndir = \"{}/ledger\"\n", disk.path().display())
}

/// Takes all room there is.
fn fill(disk: &TinyDisk) -> PathBuf {
    let filler = disk.path().join("filler");
    // The kernel stops the write where the disk ends.
    let _ = fs::write(&filler, vec![0; 4 << 20]);
    filler
}

fn selftest(agent: &Agent) -> Result<Value> {
    let mut selftest = Command::new(homeport_tests::agent::binary()?);
    selftest.args(["selftest", "--json", "--socket"]).arg(agent.directory().join("control.sock"));
    let text = String::from_utf8(selftest.output()?.stdout)?;
    serde_json::from_str(&text).with_context(|| text.clone())
}

fn push_abroad(scene: &Scene) -> Result<()> {
    let at = sink_at(Host::Foreign, Family::V4);
    let _sink = scene.lab.listener(Host::Foreign, "tcp-sink", at, "")?;
    scene.lab.send(Host::Storage, &format!("tcp-push --to {at} --bytes 100000")).map(drop)
}

/// What `homeport ledger verify` says: its exit code and its report.
fn verify(directory: &Path) -> Result<(Option<i32>, Value)> {
    let mut command = Command::new(homeport_tests::agent::binary()?);
    let output = command.args(["ledger", "verify", "--json"]).arg(directory).output()?;
    Ok((output.status.code(), serde_json::from_slice(&output.stdout)?))
}

/// D3, row 5.
#[test]
fn a_full_disk_delays_records_and_loses_none() {
    let disk = TinyDisk::new("1m").expect("a tiny disk");
    let mut scene = with_disk(&disk, &ledger_on(&disk)).expect("the agent starts");
    let outcome = (|| -> Result<()> {
        let filler = fill(&disk);
        push_abroad(&scene)?;
        let flows = scene.accounted()?;
        scene.agent.wait_for_log(&["No space left"])?;
        scene.agent.check_alive()?;
        let outcome = selftest(&scene.agent)?;
        ensure!(outcome["passed"] == false && outcome["failed"] == "durable", "{outcome:#}");
        fs::remove_file(&filler)?;
        eventually(RECOVERY, || {
            let episodes = scene.agent.records()?.episodes_in("DE");
            ensure!(!episodes.is_empty(), "the finding is not on record");
            Ok(())
        })?;
        let records = scene.finish()?;
        check_one_episode(&records, &flows, Host::Foreign)?;
        let events = records.lifecycle();
        let count = |word: &str| events.iter().filter(|event| **event == word).count();
        ensure!(count("degraded") >= 1 && count("recovered") >= 1, "both on record: {events:?}");
        ensure!(count("gap") == 0, "nothing was lost: {events:?}");
        let (code, report) = verify(&disk.path().join("ledger"))?;
        ensure!(code == Some(0) && report["declared_missing"] == 0, "{report:#}");
        Ok(())
    })();
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}

/// D3, row 5: more than memory holds.
#[test]
fn what_a_full_disk_and_memory_cannot_hold_is_counted_exactly() {
    let disk = TinyDisk::new("1m").expect("a tiny disk");
    let more = ledger_on(&disk) + "[limits]\nrecord_queue = \"64 KiB\"\n";
    let mut scene = with_disk(&disk, &more).expect("the agent starts");
    let outcome = (|| -> Result<()> {
        let filler = fill(&disk);
        scene.agent.wait_for_log(&["No space left"])?;
        // A record a second and some more: nothing else is quicker.
        push_abroad(&scene)?;
        eventually(Duration::from_secs(90), || {
            let view = status(&scene.agent)?;
            ensure!(view["coverage"] == "not covered", "{view:#}");
            let dropped = view["unwritten"]["dropped"].as_u64().context("how many were dropped")?;
            ensure!(dropped >= 5, "{dropped} records were dropped");
            Ok(())
        })?;
        scene.agent.check_alive()?;
        fs::remove_file(&filler)?;
        let records = eventually(RECOVERY, || {
            let records = scene.agent.records()?;
            ensure!(records.lifecycle().contains(&"gap"), "no gap");
            Ok(records)
        })?;
        ensure!(!records.episodes_in("DE").is_empty(), "findings are dropped last");
        let records = scene.finish()?;
        let gaps: Vec<&Value> = records
            .0
            .iter()
            .map(|record| &record["unmapped"]["homeport"])
            .filter(|it| it["event"] == "gap")
            .collect();
        let counted: u64 = gaps
            .iter()
            .flat_map(|gap| [&gap["intervals"], &gap["updates"], &gap["transitions"]])
            .filter_map(Value::as_u64)
            .sum();
        let numbers: BTreeSet<u64> =
            records.0.iter().filter_map(|record| record["metadata"]["sequence"].as_u64()).collect();
        let (first, last) = (numbers.first().context("one")?, numbers.last().context("one")?);
        let missing = (last - first + 1) - numbers.len() as u64;
        ensure!(
            missing == counted && counted >= 5,
            "{missing} are missing, {counted} are counted: {gaps:#?}"
        );
        let (code, report) = verify(&disk.path().join("ledger"))?;
        ensure!(code == Some(0) && report["declared_missing"] == counted, "{report:#}");
        let degraded = records
            .0
            .iter()
            .filter(|record| record["unmapped"]["homeport"]["event"] == "degraded")
            .filter(|record| record["unmapped"]["homeport"]["part"] == "records")
            .count();
        ensure!(degraded == 1, "one outage is told once, and was {degraded} times");
        Ok(())
    })();
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}

fn status(agent: &Agent) -> Result<Value> {
    let mut command = Command::new(homeport_tests::agent::binary()?);
    command.args(["status", "--json", "--socket"]).arg(agent.directory().join("control.sock"));
    Ok(serde_json::from_slice(&command.output()?.stdout)?)
}

/// A disk of the record file is nobody's business but the file's.
#[test]
fn a_full_disk_of_the_record_file_delays_the_file_alone() {
    let disk = TinyDisk::new("256k").expect("a tiny disk");
    let mut scene = with_disk(&disk, "").expect("the agent starts");
    let records = disk.path().join("records.jsonl");
    let outcome = (|| -> Result<()> {
        eventually(PATIENCE, || {
            ensure!(!Records::read(&records)?.0.is_empty(), "no record");
            Ok(())
        })?;
        let filler = fill(&disk);
        push_abroad(&scene)?;
        eventually(PATIENCE, || {
            let view = status(&scene.agent)?;
            let row = view["sinks"].as_array().context("sinks")?.first().cloned().context("a sink")?;
            ensure!(row["name"] == "records.file" && row["state"] == "failing", "{row:#}");
            let reason = row["last_error"]["reason"].as_str().context("a reason")?;
            ensure!(reason.contains("records.jsonl") && reason.contains("No space left"), "{reason}");
            Ok(())
        })?;
        let outcome = selftest(&scene.agent)?;
        ensure!(outcome["passed"] == true, "the ledger is on another disk: {outcome:#}");
        fs::remove_file(&filler)?;
        eventually(PATIENCE, || {
            ensure!(!Records::read(&records)?.episodes_in("DE").is_empty(), "the finding is not in the file");
            Ok(())
        })?;
        ensure!(scene.agent.stop()?.success(), "a good end");
        let in_file = Records::read(&records)?;
        let in_ledger = ledger::verify(&scene.agent.directory().join("state/ledger"))?.records()?;
        ensure!(in_file.0 == in_ledger.0, "the file is the ledger");
        Ok(())
    })();
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}

/// D3, row 5: a file system that failed and is read-only is mounted anew, as whoever repairs it does.
#[test]
fn a_file_system_that_breaks_and_is_mounted_anew_loses_nothing() {
    let mut disk = Ext4::new().expect("a file system");
    let more = format!("[ledger]\ndir = \"{}/ledger\"\n", disk.path().display());
    let settings = Settings { interval_secs: 1, more, ..Settings::default() };
    scene(&settings, |scene| {
        eventually(PATIENCE, || {
            ensure!(!scene.agent.records()?.0.is_empty(), "no record");
            Ok(())
        })?;
        disk.fail()?;
        push_abroad(scene)?;
        scene.agent.wait_for_log(&["records cannot be written", "Read-only file system"])?;
        // What is over before the next second is told in the log alone.
        scene.agent.wait_for_log(&["degraded: Read-only file system", "part=\"records\""])?;
        disk.mount_anew()?;
        eventually(RECOVERY, || {
            ensure!(!scene.agent.records()?.episodes_in("DE").is_empty(), "the finding is not on record");
            Ok(())
        })?;
        let records = scene.finish()?;
        let events = records.lifecycle();
        ensure!(events.contains(&"degraded") && events.contains(&"recovered"), "{events:?}");
        ensure!(!events.contains(&"gap") && !events.contains(&"ledger-gap"), "nothing was lost: {events:?}");
        let (code, report) = verify(&disk.path().join("ledger"))?;
        ensure!(code == Some(0), "{report:#}");
        Ok(())
    });
}

/// A file system in a file, which becomes read-only at the first error.
struct Ext4 {
    at: TempDir,
    image: PathBuf,
    _files: TempDir,
}

impl Ext4 {
    fn new() -> Result<Self> {
        let files = TempDir::new()?;
        let disk = Self { at: TempDir::new()?, image: files.path().join("image"), _files: files };
        fs::File::create(&disk.image)?.set_len(16 << 20)?;
        ensure!(
            Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&disk.image).status()?.success(),
            "mkfs.ext4"
        );
        disk.mount()?;
        Ok(disk)
    }

    fn path(&self) -> &Path {
        self.at.path()
    }

    fn mount(&self) -> Result<()> {
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop,errors=remount-ro"]).arg(&self.image).arg(self.path());
        ensure!(mount.status()?.success(), "mount an ext4");
        Ok(())
    }

    /// The kernel finds an error in it, or believes so.
    fn fail(&self) -> Result<()> {
        let mounts = fs::read_to_string("/proc/mounts")?;
        let at = self.path().display().to_string();
        let line =
            mounts.lines().find(|line| line.split(' ').nth(1) == Some(&at)).context("it is mounted")?;
        let device =
            line.strip_prefix("/dev/").and_then(|line| line.split(' ').next()).context("a device")?;
        Ok(fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "1")?)
    }

    /// What is on it, on another disk in its place: the kernel gives the broken one up only when nobody uses it any more.
    fn mount_anew(&mut self) -> Result<()> {
        ensure!(Command::new("umount").arg("--lazy").arg(self.path()).status()?.success(), "umount");
        let other = self.image.with_extension("copy");
        fs::copy(&self.image, &other)?;
        self.image = other;
        self.mount()
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

/// D3, row 10. By two seconds: other tests and whoever uses this machine have the same clock.
#[test]
fn a_clock_that_is_set_is_on_record_and_changes_neither_order_nor_bytes() {
    let settings = Settings { interval_secs: 1, ..Settings::default() };
    scene(&settings, |scene| {
        let steps = |expected: usize| {
            eventually(PATIENCE, || {
                let records = scene.agent.records()?;
                let steps: Vec<i64> = records
                    .0
                    .iter()
                    .map(|record| &record["unmapped"]["homeport"])
                    .filter(|event| event["event"] == "clock-step")
                    .filter_map(|event| event["by_ms"].as_i64())
                    .collect();
                ensure!(steps.len() == expected, "steps of {steps:?} ms");
                Ok(steps)
            })
        };
        steps(0)?;
        set_clock("+2 seconds")?;
        let forward = steps(1);
        set_clock("-2 seconds")?;
        let forward = forward?;
        push_abroad(scene)?;
        let flows = scene.accounted()?;
        let both = steps(2)?;
        ensure!((1_500..2_500).contains(&forward[0]) && (-2_500..-1_500).contains(&both[1]), "{both:?}");
        let records = scene.finish()?;
        check_one_episode(&records, &flows, Host::Foreign)?;
        let numbers: Vec<_> =
            records.0.iter().filter_map(|record| record["metadata"]["sequence"].as_u64()).collect();
        ensure!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
        let (code, report) = verify(&scene.agent.directory().join("state/ledger"))?;
        ensure!(code == Some(0), "{report:#}");
        Ok(())
    });
}

fn set_clock(by: &str) -> Result<()> {
    // The offset is from now on: `date` reads the clock and sets it, microseconds later.
    let at = Command::new("date").args(["--date", by, "+%s.%N"]).output()?.stdout;
    let at = format!("@{}", String::from_utf8(at)?.trim());
    ensure!(
        Command::new("date").args(["--set", &at]).output()?.status.success(),
        "the clock cannot be set to {at}"
    );
    Ok(())
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
