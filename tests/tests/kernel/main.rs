//! Says `homeport doctor` on this kernel what the table of programs says, and is it so?
//!
//! `agent/src/probe/support.rs` is the one table. Here doctor is compared with it, and what can be seen from outside is
//! compared with both; the other tests compare the owners they find with the same table. doctor's report is kept in
//! `HOMEPORT_VM_OUT`, where that is set.

use std::{collections::BTreeMap, env, fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use homeport::probe::{
    programs::PROGRAMS,
    support::{self, Feature, TCX},
};
use homeport_tests::{
    agent, database,
    kernel::{release, version},
    lab::{Host, Lab},
    scene::scene,
    settings::Settings,
};
use serde_json::Value;
use tempfile::TempDir;

/// doctor's report, asked for on the storage host.
fn doctor(lab: &Lab) -> Result<Value> {
    let directory = TempDir::new()?;
    let config = directory.path().join("homeport.toml");
    fs::write(&config, Settings::default().toml(directory.path()))?;
    fs::write(directory.path().join(database::FILE), database::small()?)?;
    let mut command = lab.command(Host::Storage, agent::binary()?);
    let output = command.args(["doctor", "--json", "--config"]).arg(&config).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "doctor ended with {}: {text}", output.status);
    if let Some(out) = env::var_os("HOMEPORT_VM_OUT") {
        fs::write(Path::new(&out).join("doctor.json"), text.as_bytes())?;
    }
    serde_json::from_str(&text).context("doctor prints JSON")
}

/// Name and mark of every program in the report.
fn programs(report: &Value) -> Result<BTreeMap<String, String>> {
    let checks = report["checks"].as_array().context("a list of checks")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(checks
        .iter()
        .filter(|check| check["what"] == "program")
        .map(|check| (text(&check["name"]), text(&check["mark"])))
        .collect())
}

#[test]
fn doctor_says_of_every_program_what_the_table_says() -> Result<()> {
    let lab = Lab::new()?;
    let report = doctor(&lab)?;
    let found = programs(&report)?;
    let expected: BTreeMap<String, String> = PROGRAMS
        .iter()
        .map(|program| {
            let mark = if support::runs(program, version()) {
                "ok"
            } else if version() >= program.since {
                "note"
            } else {
                "reduced"
            };
            (program.name.to_owned(), mark.to_owned())
        })
        .collect();
    ensure!(found == expected, "on {}: doctor says {found:#?}, the table {expected:#?}", release());
    Ok(())
}

#[test]
fn doctor_says_of_every_feature_what_the_table_says() -> Result<()> {
    let lab = Lab::new()?;
    let report = doctor(&lab)?;
    for feature in support::FEATURES {
        let found = mark_of(&report, feature)?;
        let expected = if feature.is_in(version()) { "ok" } else { "note" };
        ensure!(found == expected, "{} on {}: {found}, expected {expected}", feature.name, release());
    }
    Ok(())
}

fn mark_of(report: &Value, feature: Feature) -> Result<String> {
    let checks = report["checks"].as_array().context("a list of checks")?;
    let check = checks
        .iter()
        .find(|check| check["what"] == "feature" && check["name"] == feature.name)
        .with_context(|| format!("doctor says nothing about {}: {report:#}", feature.name))?;
    Ok(check["mark"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn the_interface_is_watched_the_way_the_table_says() {
    scene(&Settings::default(), |scene| {
        // tc lists clsact filters, and knows nothing of tcx.
        let filters = scene.lab.ask(Host::Storage, "tc filter show dev eth0 egress")?;
        let by_filter = filters.contains("bpf");
        ensure!(by_filter != TCX.is_in(version()), "on {}: filters {filters:?}", release());
        Ok(())
    });
}
