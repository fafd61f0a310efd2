//! Kills at random moments while the ledger is written to: is everything there that was accepted?
//!
//! A program of its own writes as fast as the disk lets it, and says which records were accepted. It is killed
//! (`SIGKILL`) after a random time: while it opens the ledger, appends, fills a bundle or signs. Then the ledger is
//! read and checked as an outsider would, and the next one goes on.

use std::{path::Path, process::Command, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};

use crate::{
    actor,
    campaign::{Progress, Random, Report},
    ledger,
    running::Running,
};

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How often the writer is killed.
    pub kills: u32,
    /// The longest it may live, in milliseconds; half of them live a fiftieth of that.
    pub most_ms: u64,
    /// Entries from which on another ledger is begun: each is read from its begin after each kill.
    pub most_entries: u64,
    /// The same seed takes the same steps.
    pub seed: u64,
}

impl Plan {
    /// A few seconds.
    pub const fn short(seed: u64) -> Self {
        Self { kills: 25, most_ms: 150, most_entries: 5_000, seed }
    }
}

/// Runs it.
///
/// # Errors
///
/// With the first thing that is not as it should be.
pub fn run(plan: &Plan, progress: Progress) -> Result<Report> {
    let mut random = Random::from_seed(plan.seed);
    let mut figures = Figures::default();
    let mut kills = 0;
    while kills < plan.kills {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("ledger");
        figures.ledgers += 1;
        let mut known: Vec<String> = Vec::new();
        while kills < plan.kills && (known.len() as u64) < plan.most_entries {
            kills += 1;
            progress.tell(format_args!("kill {kills}: {} entries", known.len()));
            let most = if random.within(0..=1) == 0 { plan.most_ms / 50 } else { plan.most_ms };
            let batch = [1, 8, 300][random.within(0..=2) as usize];
            let accepted = live_and_die(&path, batch, random.within(0..=most))?;
            known = check(&path, known, accepted, &mut figures)
                .with_context(|| format!("after kill {kills} of seed {}", plan.seed))?;
        }
        figures.entries += known.len() as u64;
    }
    let mut report = Report::default();
    report.exactly("kills", plan.kills, kills);
    report.figure("ledgers", figures.ledgers);
    report.figure("entries, verified after each kill", figures.entries);
    report.figure("records that were told to be accepted", figures.accepted);
    report.figure("entries that no checkpoint had signed when the writer died", figures.unsigned);
    report.exactly("accepted records that are missing", 0, figures.missing);
    report.exactly("entries that changed after they were signed", 0, figures.changed);
    report.exactly("holes and repetitions in metadata.sequence", 0, figures.holes);
    Ok(report)
}

#[derive(Debug, Default)]
struct Figures {
    ledgers: u64,
    entries: u64,
    accepted: u64,
    unsigned: u64,
    missing: u64,
    changed: u64,
    holes: u64,
}

fn writer(path: &Path, words: &[&str]) -> Result<Running> {
    Running::start(
        Command::new(actor::binary()?).arg("ledger-write").arg("--directory").arg(path).args(words),
    )
}

/// Returns the number of the last record that was told to be accepted.
fn live_and_die(path: &Path, batch: u64, lives_ms: u64) -> Result<u64> {
    let mut writer = writer(path, &["--batch", &batch.to_string()])?;
    thread::sleep(Duration::from_millis(lives_ms));
    writer.kill()?;
    // Its lines are read by a thread of their own, which ends when the pipe does; the last one may be torn.
    let mut accepted = 0;
    while let Ok(line) = writer.line() {
        accepted = line["accepted"].as_u64().or(line["last"].as_u64()).context("a number")?;
    }
    Ok(accepted)
}

/// What is published now; then what the next agent makes of the rest.
fn check(path: &Path, known: Vec<String>, accepted: u64, figures: &mut Figures) -> Result<Vec<String>> {
    figures.accepted = figures.accepted.max(accepted);
    // Killed before there was anything.
    let signed = if path.join("checkpoint").exists() { ledger::verify(path)?.entries.len() } else { 0 };
    // Opens it, and ends well: what is durable is signed now.
    writer(path, &["--records", "0"])?.succeed()?;
    let entries = ledger::verify(path)?.entries;
    figures.unsigned += (entries.len() - signed.min(entries.len())) as u64;
    figures.missing += accepted.saturating_sub(entries.len() as u64);
    let kept = known.iter().zip(&entries).filter(|(before, now)| before == now).count();
    figures.changed += (known.len() - kept) as u64;
    for (number, entry) in (1_u64..).zip(&entries) {
        let record: serde_json::Value = serde_json::from_str(entry)?;
        figures.holes += u64::from(record["metadata"]["sequence"] != number);
    }
    ensure!(!path.join("quarantine").exists(), "a ledger was given up");
    Ok(entries)
}
