//! Writes to a ledger as fast as it takes entries, and says what it took: to be killed while it does.

use std::{
    io::Write as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use homeport::{
    clock::{Clock, WallTime},
    ledger::Retention,
    record::{
        Context, Origin, Record,
        lifecycle::{Event, lifecycle},
        writer::{LedgerSettings, Writer, WriterSettings},
    },
};

#[derive(clap::Args)]
pub(crate) struct Write {
    /// Where the ledger is; copies of its head are beside it
    #[arg(long)]
    directory: PathBuf,
    /// Records in a batch, at most
    #[arg(long, default_value_t = 8)]
    batch: u32,
    /// Between two batches
    #[arg(long, default_value_t = 0)]
    pause_ms: u64,
    /// End after so many records, and say how long they took
    #[arg(long)]
    records: Option<u64>,
    /// Bytes of text in each record
    #[arg(long, default_value_t = 400)]
    bytes: usize,
}

pub(crate) fn write(write: &Write) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(run(write))
}

async fn run(write: &Write) -> Result<()> {
    let origin = Origin {
        version: "0".to_owned(),
        hostname: "storage-1".to_owned(),
        host_uid: "h1".to_owned(),
        country_name: |_| None,
    };
    let above = write.directory.parent().context("a directory below another")?;
    let settings = WriterSettings {
        ledger: Some(LedgerSettings {
            directory: write.directory.clone(),
            copies: vec![above.join("ledger.head")],
            origin: "homeport/h1".to_owned(),
            retention: Retention { days: 1_000, bytes: u64::MAX },
        }),
        file: None,
        stdout: false,
        queue_bytes: WriterSettings::QUEUE_BYTES,
        instance: std::process::id().to_string(),
        sequence_floor: 0,
    };
    let (writer, started) = Writer::spawn(settings, origin.clone())?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{{\"last\": {}}}", started.last_sequence)?;
    let clock = Clock::with_epoch(WallTime(0));
    let reason = "x".repeat(write.bytes);
    let (mut written, mut batch) = (0_u64, 0_u32);
    let begun = Instant::now();
    while write.records.is_none_or(|records| written < records) {
        batch = batch % write.batch + 1;
        let lines: Vec<_> = (0..batch)
            .filter_map(|_| {
                let context = Context { origin: &origin, clock: &clock, booted: None, now: WallTime::now() };
                let event = Event::Degraded { part: "load".to_owned(), reason: reason.clone() };
                let record: Record = lifecycle(&context, event);
                writer.numbering().line(record)
            })
            .collect();
        written += lines.len() as u64;
        let accepted = writer.append(lines).await?;
        // Nobody may be told before it is durable: what is told here has to be there, whatever happens now.
        if write.records.is_none() {
            writeln!(stdout, "{{\"accepted\": {}}}", accepted.sequence)?;
        }
        if write.pause_ms > 0 {
            tokio::time::sleep(Duration::from_millis(write.pause_ms)).await;
        }
    }
    let elapsed = begun.elapsed();
    writer.stop().await;
    let memory = std::fs::read_to_string("/proc/self/status")?;
    let peak = memory.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default().trim();
    writeln!(
        stdout,
        "{{\"written\": {written}, \"micros\": {}, \"peak\": \"{peak}\"}}",
        elapsed.as_micros()
    )?;
    Ok(())
}
