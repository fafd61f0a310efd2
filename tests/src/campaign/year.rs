//! A year of one host: how large is its ledger, and do the commands that read it stay quick?
//!
//! The minutes and violations are those of [`crate::server_records`], as long as a real agent's, written by the agent's
//! own writer and packed by it. Then an outsider verifies all of it, proves an entry, looks at some, and takes evidence
//! of an hour.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    Progress, Random, Report,
    verify::{Said, bytes_below, said},
};
use crate::{
    actor,
    server_records::{minutes_and_violations, records_of},
};

/// The most that a year may take, in MB.
const MOST_MB: u64 = 1_000;

/// The longest that verifying a year may take.
const VERIFIED_WITHIN: Duration = Duration::from_secs(60);

/// The longest that it may take to prove or to show an entry, whatever the size of the ledger.
const QUICK: Duration = Duration::from_secs(1);

/// The longest that it may take to find an hour by its time: each entry is looked at, for clocks are set.
const FOUND_WITHIN: Duration = Duration::from_secs(20);

/// The most memory that any of them may take, in MB.
const MOST_MEMORY_MB: u64 = 200;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Minutes of the host.
    pub minutes: u64,
    /// Whether time is a promise: only for optimized builds.
    pub is_timed: bool,
    /// The same seed writes the same records.
    pub seed: u64,
}

impl Plan {
    /// A few seconds.
    pub const fn short(seed: u64) -> Self {
        Self { minutes: 3_000, is_timed: false, seed }
    }
}

/// Runs it.
///
/// # Errors
///
/// When something could not be done at all; broken promises are in the report.
pub fn run(plan: &Plan, progress: Progress) -> Result<Report> {
    let mut report = Report::default();
    let work = tempfile::tempdir()?;
    let directory = work.path().join("ledger");
    let records = records_of(plan.minutes);
    let (minutes, violations) = minutes_and_violations(records);

    progress.tell(format_args!("writing {records} records"));
    let started = Instant::now();
    let (records_text, seed) = (records.to_string(), plan.seed.to_string());
    write(&directory, &["--batch", "500", "--settle", "--records", &records_text, "--server", &seed])?;
    report.figure("entries", records);
    report.figure("of them minutes", minutes);
    report.figure("violations, of two entries each", violations);
    report.figure("written and packed in s", started.elapsed().as_secs());
    let size = bytes_below(&directory)?;
    // A part of a year may have its part of the bytes, and what is not packed yet.
    let most = MOST_MB * 1_000_000 * minutes / 525_600 + 20_000_000;
    let most = if plan.minutes >= 525_600 { MOST_MB * 1_000_000 } else { most };
    report.at_most("size in MB", most / 1_000_000, size / 1_000_000);
    report.figure("bytes on disk for each entry", size / records);

    progress.tell("an agent opens it");
    let started = Instant::now();
    write(&directory, &["--records", "0"])?;
    quick(plan, &mut report, "opened and closed by an agent, in s", started.elapsed(), QUICK * 5);

    progress.tell("an outsider verifies it");
    let key = fs::read_to_string(directory.join("key.pub"))?;
    let key = key.trim_end();
    let verified = said(&["ledger", "verify", "--key", key], &[&directory])?;
    report.exactly("`ledger verify` ends with", 0, verified.code);
    tell(plan, &mut report, "`ledger verify`", &verified, VERIFIED_WITHIN);
    let bytes = verified.text.lines().next().unwrap_or_default().to_owned();
    report.figure("it says", bytes);

    let mut random = Random::from_seed(plan.seed);
    let index = random.within(0..=records - 1);
    let ledger = directory.as_path();
    let proven = said(&["ledger", "prove", "--key", key], &[ledger, Path::new(&index.to_string())])?;
    tell(plan, &mut report, "`ledger prove`", &proven, QUICK);
    let (from, to) = (index.min(records - 20), index.min(records - 20) + 20);
    let shown = said(&["ledger", "show", "--from", &from.to_string(), "--to", &to.to_string()], &[ledger])?;
    report.exactly("lines of `ledger show` of 20 entries", 20, shown.text.lines().count());
    tell(plan, &mut report, "`ledger show` by index", &shown, QUICK);

    // An hour in the middle, by its time.
    let hour = minutes / 2 * 60 + 1_772_323_200;
    let time = |seconds: u64| -> Result<String> {
        Ok(jiff::Timestamp::from_second(i64::try_from(seconds)?).context("a time")?.to_string())
    };
    let (from, to) = (time(hour)?, time(hour + 3_600)?);
    let shown = said(&["ledger", "show", "--from", &from, "--to", &to], &[ledger])?;
    let lines = shown.text.lines().count();
    report.promise("lines of `ledger show` of an hour", lines, "60 to 66", (60..=66).contains(&lines));
    tell(plan, &mut report, "`ledger show` of an hour, by time", &shown, FOUND_WITHIN);
    let evidence = work.path().join("evidence");
    let exported =
        said(&["ledger", "export", "--key", key, "--from", &from, "--to", &to], &[ledger, &evidence])?;
    report.exactly("`ledger export` of an hour ends with", 0, exported.code);
    tell(plan, &mut report, "`ledger export` of an hour, by time", &exported, FOUND_WITHIN);
    let checked = said(&["ledger", "verify", "--key", key], &[&evidence])?;
    report.exactly("`ledger verify` of that evidence ends with", 0, checked.code);
    let plain = !has_packed(&evidence)?;
    report.promise("evidence is plain, for any reader of C2SP logs", plain, "true", plain);
    Ok(report)
}

fn write(directory: &Path, words: &[&str]) -> Result<()> {
    let mut command = Command::new(actor::binary()?);
    command.arg("ledger-write").arg("--directory").arg(directory).args(words);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the writer ended with {}", output.status);
    Ok(())
}

fn tell(plan: &Plan, report: &mut Report, what: &str, said: &Said, within: Duration) {
    quick(plan, report, &format!("{what}, in s"), said.took, within);
    report.at_most(format!("{what}, highest memory in MB"), MOST_MEMORY_MB, said.memory / 1_000_000);
}

fn quick(plan: &Plan, report: &mut Report, what: &str, took: Duration, within: Duration) {
    let seconds = format!("{:.2}", took.as_secs_f64());
    if plan.is_timed {
        report.promise(what, seconds, format!("< {}", within.as_secs()), took < within);
    } else {
        report.figure(what, seconds);
    }
}

fn has_packed(directory: &Path) -> Result<bool> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "gz")
            || (path.is_dir() && has_packed(&path)?)
        {
            return Ok(true);
        }
    }
    Ok(false)
}
