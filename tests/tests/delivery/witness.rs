//! The real agent and a real witness: `homeport witness`, in other hands as far as the agent can tell.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use homeport_tests::{
    agent::{binary, eventually},
    lab::Host,
    ledger,
    running::Running,
    scene::{Scene, scene},
    settings::Settings,
};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::agent::{SOON, ledger_dir, status};

const ADDRESS: &str = "127.0.0.1:7380";
const NAME: &str = "witness.example.org/lab";

/// A running witness of the agent's ledger.
struct Witness {
    process: Running,
    key: String,
}

impl Witness {
    fn start(scene: &Scene, state: &Path) -> Result<Self> {
        let log = eventually(SOON, || Ok(fs::read_to_string(ledger_dir(&scene.agent).join("key.pub"))?))?;
        let mut command = scene.lab.command(Host::Storage, binary()?);
        command.args(["witness", "--listen", ADDRESS, "--name", NAME, "--log", log.trim(), "--state-dir"]);
        let process = Running::start(command.arg(state))?;
        let mut said = String::new();
        let key = eventually(SOON, || {
            process.lines().for_each(|line| said += &(line + "\n"));
            ensure!(said.contains("listens"), "it does not listen: {said}");
            let key = said.lines().find_map(|line| line.strip_prefix("key")).context("its key")?;
            Ok(key.trim().to_owned())
        })?;
        Ok(Self { process, key })
    }

    fn stop(mut self) -> Result<()> {
        self.process.signal(Signal::TERM)?;
        self.process.wait().map(drop)
    }

    fn settings(&self, settings: &Settings) -> Settings {
        let more = format!(
            "[[witness]]\nname = \"lab\"\nurl = \"http://{ADDRESS}\"\nkey = \"{}\"\nevery_secs = 1\n\
             alert_after_secs = 2\n",
            self.key
        );
        Settings { more, ..settings.clone() }
    }
}

/// The only witness, as `homeport status` tells it.
fn row(scene: &Scene) -> Result<Value> {
    let status = status(&scene.agent)?;
    status["witnesses"][0].is_object().then(|| status["witnesses"][0].clone()).context("no witness")
}

fn wait_for(scene: &Scene, state: &str, more_than: u64) -> Result<Value> {
    eventually(SOON, || {
        let row = row(scene)?;
        let entries = row["signed_entries"].as_u64().unwrap_or_default();
        ensure!(row["state"] == state && entries > more_than, "{state} expected: {row:#}");
        Ok(row)
    })
}

/// Findings of this subject in the file, by what they say happened.
fn findings(scene: &Scene, subject: &str) -> Result<Vec<Value>> {
    let records = scene.agent.records()?;
    let is_it = |record: &&Value| record["unmapped"]["homeport"]["subject"] == subject;
    Ok(records.0.iter().filter(is_it).cloned().collect())
}

fn transitions(findings: &[Value]) -> Vec<&str> {
    findings.iter().filter_map(|finding| finding["unmapped"]["homeport"]["transition"].as_str()).collect()
}

/// What an auditor is told with a policy that wants this witness.
fn verify(scene: &Scene, witness: &Witness) -> Result<(Option<i32>, String)> {
    let directory = ledger_dir(&scene.agent);
    let log = fs::read_to_string(directory.join("key.pub"))?;
    let policy = scene.agent.directory().join("policy");
    fs::write(&policy, format!("log {}\nwitness w1 {}\nquorum w1\n", log.trim(), witness.key))?;
    let mut command = Command::new(binary()?);
    command.args(["ledger", "verify"]).arg(&directory).arg("--witness-policy").arg(&policy);
    let output = command.output()?;
    Ok((output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// D3, row 6: the last line of defence. The host is rolled back with everything on it, so nothing on it can tell.
#[test]
fn a_witness_signs_what_the_agent_writes_and_refuses_an_old_state_put_back() {
    let settings = Settings { interval_secs: 1, ..Settings::default() };
    scene(&settings, |scene| {
        let memory = TempDir::new()?;
        let witness = Witness::start(scene, memory.path())?;
        // Asked from a reload on.
        let asked = witness.settings(&settings).toml(scene.agent.directory());
        scene.agent.reload(&asked)?;
        let signed = wait_for(scene, "signing", 0)?;
        wait_for(scene, "signing", signed["signed_entries"].as_u64().context("a size")?)?;

        // The last record of an agent that stops is signed too.
        ensure!(scene.agent.stop()?.success(), "a good end");
        let (code, told) = verify(scene, &witness)?;
        let size = ledger::verify(&ledger_dir(&scene.agent))?.entries.len();
        ensure!(code == Some(0) && told.contains(&format!("{size} entries, by ")), "{code:?} {told}");

        // The ledger's head has a copy on disk and one in memory.
        let directory = scene.agent.directory().to_owned();
        let kept = ["state", "run"].map(|name| (directory.join(name), directory.join(format!("old-{name}"))));
        kept.iter().try_for_each(|(now, old)| ledger::copy(now, old))?;
        scene.agent.start_again(&scene.lab)?;
        wait_for(scene, "signing", size as u64 + 2)?;
        ensure!(scene.agent.stop()?.success(), "a good end");
        for (now, old) in &kept {
            fs::remove_dir_all(now)?;
            fs::rename(old, now)?;
        }
        scene.agent.start_again(&scene.lab)?;
        let row = wait_for_refusal(scene)?;
        let reason = row["reason"].as_str().context("a reason")?;
        ensure!(reason.contains("old state") || reason.contains("history was rewritten"), "{row:#}");
        let found = eventually(SOON, || {
            let found = findings(scene, "contradicted")?;
            ensure!(!found.is_empty(), "no finding");
            Ok(found)
        })?;
        ensure!(found[0]["severity"] == "Critical" && found[0]["is_alert"] == true, "{:#}", found[0]);
        let status = status(&scene.agent)?;
        ensure!(status["coverage"] == "not covered", "{status:#}");
        // It stays, however far the false history grows.
        let refused = row["signed_entries"].clone();
        std::thread::sleep(std::time::Duration::from_secs(3));
        let row = wait_for_refusal(scene)?;
        ensure!(row["signed_entries"] == refused, "{row:#}");
        ensure!(transitions(&findings(scene, "contradicted")?) == ["open"], "it goes on");
        scene.agent.check_alive()
    });
}

fn wait_for_refusal(scene: &Scene) -> Result<Value> {
    eventually(SOON, || {
        let row = row(scene)?;
        ensure!(row["state"] == "refusing", "{row:#}");
        Ok(row)
    })
}

#[test]
fn a_witness_that_is_away_is_a_finding_until_it_signs_again_or_is_not_asked_any_more() {
    let settings = Settings { interval_secs: 1, ..Settings::default() };
    scene(&settings, |scene| {
        let memory = TempDir::new()?;
        let witness = Witness::start(scene, memory.path())?;
        scene.agent.reload(&witness.settings(&settings).toml(scene.agent.directory()))?;
        wait_for(scene, "signing", 0)?;
        let told = |expected: &[&str]| {
            eventually(SOON, || {
                let found = findings(scene, "unwitnessed")?;
                let seen = transitions(&found);
                ensure!(seen == expected, "{seen:?}, {:#}", row(scene).unwrap_or_default());
                Ok(found)
            })
        };
        witness.stop()?;
        let found = told(&["open"])?;
        ensure!(found[0]["severity"] == "Medium", "{:#}", found[0]);
        let coverage = status(&scene.agent)?;
        ensure!(coverage["coverage"] == "reduced", "{coverage:#}");
        let witness = Witness::start(scene, memory.path())?;
        told(&["open", "close"])?;
        witness.stop()?;
        told(&["open", "close", "open"])?;
        scene.agent.reload(&settings.toml(scene.agent.directory()))?;
        let found = told(&["open", "close", "open", "close"])?;
        let reason = &found[3]["unmapped"]["homeport"]["transition_reason"];
        ensure!(reason == "not-configured", "{reason}");
        Ok(())
    });
}
