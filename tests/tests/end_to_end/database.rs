//! Location databases that are missing, cut off, empty or replaced by garbage.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use homeport_tests::{
    agent::{Agent, eventually},
    lab::{Family, Host, Lab},
    scene::Scene,
    settings::Settings,
};
use tempfile::TempDir;

use crate::{check_violation, sink_at};

/// The embedded database as a file of its own.
fn good_database() -> Result<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/data/dbip-country.mmdb.zst");
    let packed = fs::File::open(&path).with_context(|| format!("open {}", path.display()))?;
    Ok(zstd::decode_all(packed)?)
}

fn settings_with(database: &Path) -> Settings {
    Settings { geo: format!("databases = [\"{}\"]", database.display()), ..Settings::default() }
}

/// The agent must not start, and must say why.
fn check_not_started(database: &Path, words: &[&str]) -> Result<()> {
    let lab = Lab::new()?;
    let Err(error) = Agent::start(&lab, &settings_with(database)) else {
        anyhow::bail!("the agent started with {}", database.display())
    };
    let text = format!("{error:#}");
    for word in words {
        ensure!(text.contains(word), "{word:?} expected in {text}");
    }
    Ok(())
}

#[test]
fn a_missing_database_is_refused_at_start_with_its_path() -> Result<()> {
    check_not_started("/nonexistent/country.mmdb".as_ref(), &["/nonexistent/country.mmdb"])
}

#[test]
fn an_empty_or_truncated_database_is_refused_at_start() -> Result<()> {
    let directory = TempDir::new()?;
    let path = directory.path().join("country.mmdb");
    fs::write(&path, [])?;
    check_not_started(&path, &["country.mmdb"])?;
    let mut bytes = good_database()?;
    bytes.truncate(bytes.len() / 2);
    fs::write(&path, bytes)?;
    check_not_started(&path, &["country.mmdb"])
}

/// Replaces a file as tools for downloading databases do.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = PathBuf::from(format!("{}.new", path.display()));
    fs::write(&beside, bytes)?;
    Ok(fs::rename(beside, path)?)
}

#[test]
fn a_database_replaced_by_garbage_while_running_is_refused_and_the_old_one_goes_on() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("country.mmdb");
    let good = good_database().expect("the embedded database");
    fs::write(&path, &good).expect("written");
    let mut scene = Scene::start(&settings_with(&path)).expect("the agent starts");
    let outcome = (|| -> Result<()> {
        replace(&path, b"<html>quota exceeded</html>")?;
        check_refusals(&scene, 1)?;
        scene.agent.wait_for_log(&["country.mmdb"])?;

        let at = sink_at(Host::Foreign, Family::V4);
        let _sink = scene.lab.listener(Host::Foreign, "tcp-sink", at, "")?;
        let sent = scene.lab.send(Host::Storage, &format!("tcp-push --to {at} --bytes 1000"))?;
        let flows = scene.accounted()?;
        check_violation(&flows, (Host::Foreign, Family::V4), "tcp", sent, scene.resent()?)?;

        // Gone altogether, and half of it: refused as well.
        fs::remove_file(&path)?;
        std::thread::sleep(Duration::from_millis(500));
        scene.agent.check_alive()?;
        replace(&path, &good[..good.len() / 2])?;
        check_refusals(&scene, 2)?;
        let status = scene.agent.stop()?;
        ensure!(status.success(), "{status}");
        Ok(())
    })();
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}

/// At least so many refusals come on record.
fn check_refusals(scene: &Scene, expected: usize) -> Result<()> {
    eventually(Duration::from_secs(10), || {
        let records = scene.agent.records()?;
        let seen = records.lifecycle().iter().filter(|event| **event == "database-rejected").count();
        ensure!(seen >= expected, "{seen} refusals on record, {expected} expected");
        Ok(())
    })
}
