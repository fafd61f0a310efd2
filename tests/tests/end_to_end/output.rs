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
    disks::{Breakable, Ext4, LooseDisk, Quota, TinyDisk},
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

fn ledger_on(disk: &Path) -> String {
    format!("[ledger]\ndir = \"{}/ledger\"\n", disk.display())
}

/// The ledger's disk breaks while a finding is to be written, and takes data again later: nothing is lost.
fn breaks_and_recovers(mut disk: impl Breakable, why: &str) {
    let settings = Settings { interval_secs: 1, more: ledger_on(&disk.path()), ..Settings::default() };
    scene(&settings, |scene| {
        eventually(PATIENCE, || {
            ensure!(!scene.agent.records()?.0.is_empty(), "no record");
            Ok(())
        })?;
        disk.fail()?;
        push_abroad(scene)?;
        scene.agent.wait_for_log(&["records cannot be written", why])?;
        scene.agent.wait_for_log(&["degraded: ", why, "part=\"records\""])?;
        scene.agent.check_alive()?;
        disk.mend()?;
        recovered_without_loss(scene, &disk.path().join("ledger"))
    });
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
    let mut scene = with_disk(&disk, &ledger_on(disk.path())).expect("the agent starts");
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
    let mut scene = with_disk(&disk, &ledger_on(disk.path())).expect("the agent starts");
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
    let more = ledger_on(disk.path()) + "[limits]\nrecord_queue = \"64 KiB\"\n";
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
    breaks_and_recovers(Ext4::new(16 << 20).expect("a file system"), "Read-only file system");
}

/// D3, row 5: the device reports an error for each write for a while, as one does whose cable is loose. What was written
/// in between is gone from the kernel's memory, too, and the sync after that would be a success.
#[test]
fn a_disk_whose_writes_fail_for_a_while_loses_nothing() {
    breaks_and_recovers(LooseDisk::new().expect("a disk"), "Input/output error");
}

/// D3, row 5: a quota is used up, and raised.
#[test]
fn a_quota_that_is_used_up_delays_records_and_loses_none() {
    breaks_and_recovers(Quota::new().expect("a file system with quotas"), "quota exceeded");
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
