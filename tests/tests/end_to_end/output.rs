//! Outputs that do not take what they are given: a full disk, a rotated file, a service manager that does not read.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
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

/// D3, row 5: the disk is full for less than the second between two looks.
#[test]
fn a_full_disk_of_a_moment_is_on_record() {
    let disk = TinyDisk::new("1m").expect("a tiny disk");
    let mut scene = with_disk(&disk, &ledger_on(&disk)).expect("the agent starts");
    let outcome = (|| -> Result<()> {
        let told = |records: &Records, event: &str| {
            let is_told = |record: &&Value| {
                let homeport = &record["unmapped"]["homeport"];
                homeport["event"] == event && homeport["part"] == "records"
            };
            records.0.iter().filter(is_told).count()
        };
        for number in 1..=4 {
            let filler = fill(&disk);
            let in_log = |text: &str| scene.agent.log().matches(text).count();
            eventually(PATIENCE, || {
                ensure!(in_log("records cannot be written") == number, "the disk takes records");
                Ok(())
            })?;
            fs::remove_file(&filler)?;
            // Nothing else fails before it is on record: each is told for itself.
            eventually(RECOVERY, || {
                let records = scene.agent.records()?;
                let (begun, ended) = (told(&records, "degraded"), told(&records, "recovered"));
                ensure!((begun, ended) == (number, number), "{begun} begun, {ended} ended of {number}");
                Ok(())
            })?;
        }
        let records = scene.finish()?;
        ensure!(!records.lifecycle().contains(&"gap"), "nothing was lost: {:?}", records.lifecycle());
        let (code, report) = verify(&disk.path().join("ledger"))?;
        ensure!(code == Some(0), "{report:#}");
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
    let mut disk = Ext4::new(16 << 20).expect("a file system");
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
        scene.agent.wait_for_log(&["degraded: Read-only file system", "part=\"records\""])?;
        disk.mount_anew()?;
        recovered_without_loss(scene, &disk.path().join("ledger"))
    });
}

/// D3, row 5: the device reports an error for each write for a while, as one does whose cable is loose. What was written
/// in between is gone from the kernel's memory, too, and the sync after that would be a success.
#[test]
fn a_disk_whose_writes_fail_for_a_while_loses_nothing() {
    let disk = LooseDisk::new().expect("a disk");
    let more = format!("[ledger]\ndir = \"{}/ledger\"\n", disk.path().display());
    let settings = Settings { interval_secs: 1, more, ..Settings::default() };
    scene(&settings, |scene| {
        eventually(PATIENCE, || {
            ensure!(!scene.agent.records()?.0.is_empty(), "no record");
            Ok(())
        })?;
        disk.set_broken(true)?;
        push_abroad(scene)?;
        scene.agent.wait_for_log(&["records cannot be written", "Input/output error"])?;
        scene.agent.wait_for_log(&["degraded: Input/output error", "part=\"records\""])?;
        scene.agent.check_alive()?;
        disk.set_broken(false)?;
        recovered_without_loss(scene, &disk.path().join("ledger"))
    });
}

/// D3, row 5: a quota is used up, and raised.
#[test]
fn a_quota_that_is_used_up_delays_records_and_loses_none() {
    let disk = Quota::new().expect("a file system with quotas");
    let more = format!("[ledger]\ndir = \"{}/ledger\"\n", disk.path().display());
    let settings = Settings { interval_secs: 1, more, ..Settings::default() };
    scene(&settings, |scene| {
        eventually(PATIENCE, || {
            ensure!(!scene.agent.records()?.0.is_empty(), "no record");
            Ok(())
        })?;
        disk.use_up()?;
        push_abroad(scene)?;
        scene.agent.wait_for_log(&["records cannot be written", "quota exceeded"])?;
        scene.agent.wait_for_log(&["degraded: ", "quota exceeded", "part=\"records\""])?;
        scene.agent.check_alive()?;
        disk.limit("none")?;
        recovered_without_loss(scene, &disk.path().join("ledger"))
    });
}

/// What was to be written while the disk took nothing is there, in a ledger that is whole.
fn recovered_without_loss(scene: &mut Scene, ledger: &Path) -> Result<()> {
    eventually(RECOVERY, || {
        let records = scene.agent.records()?;
        ensure!(!records.episodes_in("DE").is_empty(), "the finding is not on record");
        // It is told at the next look, a second later.
        let events = records.lifecycle();
        ensure!(events.contains(&"degraded") && events.contains(&"recovered"), "{events:?}");
        Ok(())
    })?;
    let records = scene.finish()?;
    let events = records.lifecycle();
    ensure!(!events.contains(&"gap") && !events.contains(&"ledger-gap"), "nothing was lost: {events:?}");
    let (code, report) = verify(ledger)?;
    ensure!(code == Some(0) && report["declared_missing"] == 0, "{report:#}");
    Ok(())
}

/// Runs a program, which has to succeed.
fn run(program: &str, arguments: &[&str], at: &Path) -> Result<()> {
    let output =
        Command::new(program).args(arguments).arg(at).output().with_context(|| program.to_owned())?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments:?} {}: {said}", at.display());
    Ok(())
}

/// A block device whose writes fail with `EIO` while the file below it is immutable: ext4 refuses to write to it, and the
/// loop device knows no other word for that. The file system on it has no journal, or the first error would end it.
struct LooseDisk {
    at: TempDir,
    below: Ext4,
}

impl LooseDisk {
    fn new() -> Result<Self> {
        let disk = Self { at: TempDir::new()?, below: Ext4::new(32 << 20)? };
        let image = disk.image();
        fs::File::create(&image)?.set_len(16 << 20)?;
        // Nothing of the tables is left to be written by the kernel, at a time of its own.
        run("mkfs.ext4", &["-q", "-F", "-O", "^has_journal", "-E", "lazy_itable_init=0"], &image)?;
        let image = image.display().to_string();
        run("mount", &["-o", "loop,errors=continue", &image], disk.path())?;
        Ok(disk)
    }

    fn path(&self) -> &Path {
        self.at.path()
    }

    fn image(&self) -> PathBuf {
        self.below.path().join("image")
    }

    fn set_broken(&self, is_broken: bool) -> Result<()> {
        run("chattr", &[if is_broken { "+i" } else { "-i" }], &self.image())
    }
}

impl Drop for LooseDisk {
    fn drop(&mut self) {
        let _ = self.set_broken(false);
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

/// A directory of btrfs with a limit of 4 MiB: its quotas count for root, too.
struct Quota {
    at: TempDir,
    _files: TempDir,
}

impl Quota {
    fn new() -> Result<Self> {
        let files = TempDir::new()?;
        let image = files.path().join("image");
        let disk = Self { at: TempDir::new()?, _files: files };
        fs::File::create(&image)?.set_len(200 << 20)?;
        run("mkfs.btrfs", &["-q"], &image)?;
        run("mount", &["-o", "loop", &image.display().to_string()], disk.at.path())?;
        run("btrfs", &["quota", "enable"], disk.at.path())?;
        run("btrfs", &["subvolume", "create"], &disk.path())?;
        disk.limit("4M")?;
        Ok(disk)
    }

    fn path(&self) -> PathBuf {
        self.at.path().join("limited")
    }

    fn limit(&self, bytes: &str) -> Result<()> {
        run("btrfs", &["qgroup", "limit", bytes], &self.path())
    }

    /// Whatever room there is: first in large pieces, then in small ones.
    fn use_up(&self) -> Result<()> {
        for (name, piece) in [("large", 1 << 20), ("small", 4096)] {
            // There may be no room for the name of another file.
            let Ok(mut filler) = fs::File::create(self.path().join(name)) else { break };
            while filler.write_all(&vec![1; piece]).and_then(|()| filler.sync_all()).is_ok() {}
        }
        Ok(())
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.at.path()).status();
    }
}

/// A file system in a file, which becomes read-only at the first error.
struct Ext4 {
    at: TempDir,
    image: PathBuf,
    _files: TempDir,
}

impl Ext4 {
    fn new(bytes: u64) -> Result<Self> {
        let files = TempDir::new()?;
        let disk = Self { at: TempDir::new()?, image: files.path().join("image"), _files: files };
        fs::File::create(&disk.image)?.set_len(bytes)?;
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

/// By how many seconds the clock is set: other tests and whoever uses this machine have the same one, unless it is a
/// virtual machine for tests.
fn step_secs() -> i64 {
    if std::env::var_os("HOMEPORT_TEST_OWN_CLOCK").is_some() { 5 * 3_600 } else { 2 }
}

/// D3, row 10.
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
        let by = step_secs();
        set_clock(&format!("+{by} seconds"))?;
        let forward = steps(1);
        set_clock(&format!("-{by} seconds"))?;
        let forward = forward?;
        push_abroad(scene)?;
        let flows = scene.accounted()?;
        let both = steps(2)?;
        let is_near = |step: i64, secs: i64| (step - secs * 1_000).abs() < 500;
        ensure!(is_near(forward[0], by) && is_near(both[1], -by), "{both:?}");
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
