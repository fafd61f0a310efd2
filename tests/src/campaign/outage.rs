//! A receiver is away for a minute while records go on: does everything arrive, in order, from a memory that stays flat?
//!
//! The ledger and the sinks are those of the agent, in a process of their own that writes violations at a steady rate.
//! The webhook's port is closed, as that of a program that was stopped, and opened again; the file beside it must not
//! notice.

use std::{
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use homeport::sink::settings::Batch;

use super::{
    Progress, Random, Report,
    inbox::Inbox,
    kill::{Figures, lines},
    memory::Memory,
};
use crate::{actor, ledger, patience::patient, running::Running};

/// How much faster than new records come a backlog has to go.
const CATCH_UP: f64 = 10.0;

/// What the memory of the process may grow by in the second half of an outage, in MB: two pages of records. The first half
/// is for buffers to grow to their size, since a process that has just started has none.
const GROWTH_MB: u64 = 16;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How long the receiver is away.
    pub away: Duration,
    /// Milliseconds between two batches of four records on average.
    pub pause_ms: u64,
    /// Whether the backlog is large enough to tell how fast it goes. Short ones are over before a clock has moved.
    pub is_timed: bool,
    /// The same seed takes the same steps.
    pub seed: u64,
}

impl Plan {
    /// A few seconds.
    pub const fn short(seed: u64) -> Self {
        Self { away: Duration::from_secs(3), pause_ms: 60, is_timed: false, seed }
    }
}

struct Load {
    process: Running,
    accepted: u64,
}

impl Load {
    fn start(directory: &Path, inbox: &Inbox, words: &[&str]) -> Result<Self> {
        let mut command = Command::new(actor::binary()?);
        let at_once = Batch::default().entries.to_string();
        command.args(["ledger-deliver", "--batch", "7", "--at-once", &at_once, "--webhook", &inbox.url()]);
        command.arg("--directory").arg(directory.join("ledger"));
        command.arg("--jsonl").arg(directory.join("violations.jsonl")).args(words);
        Ok(Self { process: Running::start(&mut command)?, accepted: 0 })
    }

    /// Number of the last record that is in the ledger.
    fn accepted(&mut self) -> Result<u64> {
        for line in self.process.lines() {
            let line: serde_json::Value = serde_json::from_str(&line)?;
            self.accepted = line["accepted"].as_u64().unwrap_or(self.accepted);
        }
        Ok(self.accepted)
    }
}

/// Runs it.
///
/// # Errors
///
/// When something could not be done at all; broken promises are in the report.
pub fn run(plan: &Plan, progress: Progress) -> Result<Report> {
    /// Before the outage, to see how it is in good times.
    const BEFORE: Duration = Duration::from_secs(3);
    let mut random = Random::from_seed(plan.seed);
    let mut report = Report::default();
    let directory = tempfile::tempdir()?;
    let inbox = Inbox::start(0, random.next())?;
    let pause = plan.pause_ms.to_string();
    let mut load = Load::start(directory.path(), &inbox, &["--pause-ms", &pause])?;
    thread::sleep(BEFORE);
    let started = Memory::of(load.process.pid())?.resident;

    progress.tell(format_args!("the receiver is away for {} s", plan.away.as_secs()));
    inbox.close();
    let (begun, first) = (Instant::now(), load.accepted()?);
    let (mut first_half, mut second_half) = (started, started);
    while begun.elapsed() < plan.away {
        thread::sleep(Duration::from_millis(200));
        let half = if begun.elapsed() < plan.away / 2 { &mut first_half } else { &mut second_half };
        *half = (*half).max(Memory::of(load.process.pid())?.resident);
    }
    let (lasted, last) = (begun.elapsed(), load.accepted()?);
    let (in_file, _) = lines(&directory.path().join("violations.jsonl"))?;
    let file_at = in_file.last().map_or(0, |(number, _)| *number);

    progress.tell("the receiver is back");
    let inbox = inbox.again()?;
    let (back, behind) = (Instant::now(), last - first);
    // The sink waits for its next attempt; the rate is that from the first record on.
    let (mut begins, mut ends) = (None, None);
    let at_first = inbox.received().records.len();
    while back.elapsed() < patient(plan.away + Duration::from_secs(30)) {
        thread::sleep(Duration::from_millis(5));
        let received = inbox.received();
        if begins.is_none() && received.records.len() > at_first {
            begins = Some((Instant::now(), received.records.len() - at_first));
        }
        if received.records.last().is_some_and(|(number, _)| *number >= last) {
            ends = Some((Instant::now(), received.records.len() - at_first));
            break;
        }
    }
    let ((begins, count), (ends, arrived)) =
        begins.zip(ends).with_context(|| format!("{behind} records did not arrive"))?;
    let now = Memory::of(load.process.pid())?;
    load.process.kill()?;
    Load::start(directory.path(), &inbox, &["--drain"])?.process.succeed()?;

    let live = behind as f64 / lasted.as_secs_f64();
    let catch_up = (arrived - count) as f64 / ends.duration_since(begins).as_secs_f64().max(0.001);
    report.figure("the receiver was away, s", lasted.as_secs());
    report.figure("records that came meanwhile", behind);
    report.figure("a second", format!("{live:.0}"));
    report.promise(
        "the file beside it was behind by, records",
        last.saturating_sub(file_at),
        "less than two seconds' worth",
        (last.saturating_sub(file_at) as f64) < live * 2.0 + 100.0,
    );
    report.figure("first record after it was back, s", format!("{:.1}", (begins - back).as_secs_f64()));
    report.figure("all of them, s", format!("{:.1}", (ends - back).as_secs_f64()));
    if plan.is_timed {
        report.promise(
            "violations a second until then",
            format!("{catch_up:.0}"),
            format!(">= {CATCH_UP} x {live:.0}"),
            catch_up >= CATCH_UP * live,
        );
    }
    let megabytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
    report.figure("memory after the start, MB", megabytes(started));
    report.figure("highest in the first half of the outage, MB", megabytes(first_half));
    report.at_most(
        "grown in the second half, MB",
        GROWTH_MB,
        second_half.saturating_sub(first_half) / 1_000_000,
    );
    report.at_most(
        "grown until all was delivered, MB",
        2 * GROWTH_MB,
        now.highest.saturating_sub(first_half.max(second_half)) / 1_000_000,
    );
    let mut figures = Figures::default();
    let entries = ledger::verify(&directory.path().join("ledger"))?.entries;
    let (in_file, _) = lines(&directory.path().join("violations.jsonl"))?;
    let received = inbox.received();
    ensure!(received.garbled.is_empty(), "{:?}", received.garbled);
    figures.compare(&entries, [("webhook", &received.records), ("file", &in_file)])?;
    figures.tell(&mut report, "");
    Ok(report)
}
