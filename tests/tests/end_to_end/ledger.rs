//! The ledger of the real agent, read as an outsider reads it.

use std::{collections::HashSet, fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use homeport_tests::{
    agent::eventually,
    campaign::{Progress, ledger as campaign},
    lab::{Family, Host},
    ledger,
    records::Records,
    scene::scene,
    settings::Settings,
};

use crate::sink_at;

const PATIENCE: Duration = Duration::from_secs(30);

fn uids(records: &Records) -> Result<Vec<String>> {
    let uid = |record: &serde_json::Value| record["metadata"]["uid"].as_str().map(str::to_owned);
    records.0.iter().map(|record| uid(record).context("an id")).collect()
}

#[test]
fn killing_the_writer_at_any_moment_loses_nothing_that_was_accepted() {
    let report = campaign::run(&campaign::Plan::short(1), Progress::silent()).expect("the campaign runs");
    println!("{report}");
    report.check().expect("every promise is kept");
}

#[test]
fn every_record_is_in_the_ledger_signed_and_in_order_whoever_is_killed() {
    let settings = Settings { interval_secs: 1, ..Settings::pinned() };
    scene(&settings, |scene| {
        let path = scene.agent.directory().join("state/ledger");
        let at = sink_at(Host::Foreign, Family::V4);
        let _sink = scene.lab.listener(Host::Foreign, "tcp-sink", at, "")?;
        scene.lab.send(Host::Storage, &format!("tcp-push --to {at} --bytes 10000"))?;
        // What people are told of is signed a moment later.
        eventually(PATIENCE, || {
            let signed = ledger::verify(&path)?.records()?;
            ensure!(!signed.episodes_in("DE").is_empty(), "the finding is not signed");
            Ok(())
        })?;
        let shown = scene.agent.summary()?.ledger.context("figures of the ledger")?;
        ensure!(shown.size > 0 && shown.checkpoint_size > 0 && shown.first == 0, "{shown:?}");
        scene.agent.kill()?;
        let before = ledger::verify(&path)?;
        scene.agent.start_again(&scene.lab)?;
        ensure!(scene.agent.stop()?.success(), "a good end");
        let after = ledger::verify(&path)?;
        ensure!(after.entries.starts_with(&before.entries), "what was signed has changed");
        let (in_ledger, in_file) = (uids(&after.records()?)?, uids(&scene.agent.records()?)?);
        ensure!(in_ledger == in_file, "{in_ledger:#?}\nin the ledger, and in the file\n{in_file:#?}");
        ensure!(in_ledger.iter().collect::<HashSet<_>>().len() == in_ledger.len(), "one is there twice");
        Ok(())
    });
}

#[test]
fn an_old_ledger_put_back_is_noticed_told_and_gone_on_without() {
    let settings = Settings { interval_secs: 1, ..Settings::default() };
    scene(&settings, |scene| {
        let directory = scene.agent.directory().to_owned();
        let (path, old) = (directory.join("state/ledger"), directory.join("old"));
        let signed = |least: usize| {
            eventually(PATIENCE, || {
                let entries = ledger::verify(&path)?.entries.len();
                ensure!(entries > least, "{entries} entries");
                Ok(entries)
            })
        };
        signed(0)?;
        ensure!(scene.agent.stop()?.success(), "a good end");
        ledger::copy(&path, &old)?;
        let before = ledger::verify(&path)?;
        scene.agent.start_again(&scene.lab)?;
        signed(before.entries.len())?;
        ensure!(scene.agent.stop()?.success(), "a good end");

        fs::remove_dir_all(&path)?;
        fs::rename(&old, &path)?;
        scene.agent.start_again(&scene.lab)?;
        // What was told about the ledger is in the next one, signed.
        let records = eventually(PATIENCE, || {
            let records = ledger::verify(&path)?.records()?;
            ensure!(records.lifecycle().contains(&"ledger-gap"), "no gap: {:?}", records.lifecycle());
            Ok(records)
        })?;
        let gap = &records.0.iter().find(|record| record["unmapped"]["homeport"]["event"] == "ledger-gap");
        let gap = &gap.context("it was there")?["unmapped"]["homeport"];
        ensure!(gap["cause"] == "rolled-back" && gap["origin"] == before.origin.as_str(), "{gap:#}");
        ensure!(gap["count"].as_u64() > Some(before.entries.len() as u64), "{gap:#}");
        let now = ledger::verify(&path)?;
        ensure!(now.origin == format!("{}/2", before.origin), "{}", now.origin);
        eventually(PATIENCE, || {
            let degraded = scene.agent.summary()?.degraded;
            ensure!(degraded.iter().any(|condition| condition.part == "ledger"), "{degraded:?}");
            Ok(())
        })?;
        scene.agent.check_alive()
    });
}
