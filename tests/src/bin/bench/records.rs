//! What the ledger takes: records appended and synced, one at a time and in a burst.

use std::{fs, path::Path, sync::Arc, time::Instant};

use anyhow::{Context as _, Result, ensure};
use homeport::{
    clock::{Clock, WallTime},
    ledger::Retention,
    record::{
        self, Line, Origin,
        lifecycle::{Event, lifecycle},
        writer::{LedgerSettings, Writer, WriterSettings},
    },
};

use tokio::task::JoinSet;

use crate::{
    Scale,
    memory::status_bytes,
    report::{Report, Table},
    stats::percentile,
};

const MIB: f64 = 1024.0 * 1024.0;

/// A burst is as many records at once as this many seconds of records one at a time.
const BURST_SECONDS: usize = 10;
/// Text in each record, which makes it as long as the finding of an episode.
const TEXT_BYTES: usize = 2_000;

pub(crate) fn run(scale: Scale, report: &mut Report) -> Result<()> {
    // Beside the program, not in /tmp, which may be memory: syncing must cost what it costs.
    let program = std::env::current_exe()?;
    let beside = program.parent().context("the program is in a directory")?;
    let directory = tempfile::Builder::new().prefix("bench-").tempdir_in(beside)?;
    let (writer, _) = Writer::spawn(settings(directory.path()), origin()).context("open a ledger")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(writer, scale, report))
}

async fn measure(writer: Writer, scale: Scale, report: &mut Report) -> Result<()> {
    let singles = scale.pick(2_000, 100);
    let started = Instant::now();
    let mut times = Vec::new();
    for _ in 0..singles {
        let line = line(&writer)?;
        let start = Instant::now();
        writer.append(vec![line]).await.context("append")?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let rate = singles as f64 / started.elapsed().as_secs_f64();

    // As many batches of one record as the agent could make: each waits for its own answer, all at the same time.
    let burst = (rate as usize * BURST_SECONDS).clamp(100, 50_000);
    let lines = (0..burst).map(|_| line(&writer)).collect::<Result<Vec<_>>>()?;
    let bytes: usize = lines.iter().map(|line| line.text.len()).sum();
    forget_highest()?;
    let before = status_bytes("VmRSS:")?;
    let start = Instant::now();
    let mut answers = JoinSet::new();
    let writer = Arc::new(writer);
    for line in lines {
        let writer = Arc::clone(&writer);
        answers.spawn(async move { writer.append(vec![line]).await });
    }
    for answer in answers.join_all().await {
        answer.context("append in a burst")?;
    }
    let passed = start.elapsed().as_secs_f64();
    let highest = status_bytes("VmHWM:")?.saturating_sub(before);
    let health = Arc::into_inner(writer).context("every answer is there")?.stop().await;
    ensure!(health.degraded.is_none(), "the ledger is degraded: {:?}", health.degraded);

    let mut at = |share| percentile(&mut times, share);
    let (median, high) = (at(0.5), at(0.99));
    report.table(Table {
        title: "Append and sync",
        text: format!(
            "The ledger's writer beside this program, on the disk that it is on: records of {} bytes, each accepted when it \
             is synced. One at a time, then a burst of {BURST_SECONDS} seconds' worth of such records at once, each with \
             an answer of its own. Memory: what this process has at most in addition during the burst; the records \
             themselves ({:.1} MiB) were there before.",
            bytes / burst,
            bytes as f64 / MIB
        ),
        columns: vec!["how", "records", "records/s", "MiB/s", "median, ms", "p99, ms", "memory, MiB"],
        rows: vec![
            vec![
                "one at a time".into(),
                singles.to_string(),
                format!("{rate:.0}"),
                format!("{:.2}", rate * bytes as f64 / burst as f64 / MIB),
                format!("{median:.2}"),
                format!("{high:.2}"),
                String::new(),
            ],
            vec![
                "burst".into(),
                burst.to_string(),
                format!("{:.0}", burst as f64 / passed),
                format!("{:.2}", bytes as f64 / passed / MIB),
                String::new(),
                String::new(),
                format!("{:.1}", highest as f64 / MIB),
            ],
        ],
    });
    Ok(())
}

fn line(writer: &Writer) -> Result<Line> {
    let (clock, origin) = (Clock::sample(), origin());
    let context = record::Context { origin: &origin, clock: &clock, booted: None, now: WallTime::now() };
    let event = Event::Degraded { part: "bench".to_owned(), reason: "x".repeat(TEXT_BYTES) };
    writer.numbering().line(lifecycle(&context, event)).context("a record is JSON")
}

fn settings(directory: &Path) -> WriterSettings {
    let ledger = LedgerSettings {
        directory: directory.join("ledger"),
        copies: Vec::new(),
        origin: "bench.example/ledger".to_owned(),
        retention: Retention { days: 3_650, bytes: 1 << 40 },
    };
    WriterSettings {
        ledger: Some(ledger),
        file: None,
        stdout: false,
        queue_bytes: WriterSettings::QUEUE_BYTES,
        instance: "bench".to_owned(),
        sequence_floor: 0,
    }
}

fn origin() -> Origin {
    Origin {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hostname: "bench".to_owned(),
        host_uid: "bench".to_owned(),
        country_name: |_| None,
    }
}

/// Makes the highest memory of this process the present one.
fn forget_highest() -> Result<()> {
    fs::write("/proc/self/clear_refs", "5").context("forget the highest memory")
}
