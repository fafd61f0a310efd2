//! Writes to a ledger as fast as it takes entries, and says what it took: to be killed while it does.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use homeport::{
    clock::{Clock, WallTime},
    ledger::{
        Retention,
        path::{self, WIDTH},
    },
    record::{
        Context, Origin, Record,
        lifecycle::{Event, lifecycle},
        writer::{LedgerSettings, Writer, WriterSettings},
    },
    sink::{
        Place, SinkSettings, Sinks,
        format::{Format, Speaker},
        select::{About, Selection},
        settings::{
            Batch, Body, Compression, HttpSettings, JsonlSettings, Kind, Retry, Start, WebhookSettings,
        },
    },
};
use homeport_tests::server_records::Server;

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
    /// When all is written, wait until the ledger has packed what it packs
    #[arg(long)]
    settle: bool,
    /// Write what a storage server's agent writes instead, each minute at its own time
    #[arg(long, value_name = "SEED")]
    server: Option<u64>,
}

/// Writes and delivers, as the agent does with the same parts.
#[derive(clap::Args)]
pub(crate) struct Deliver {
    /// Where the ledger is; copies of its head are beside it
    #[arg(long)]
    directory: PathBuf,
    /// Records in a batch, at most
    #[arg(long, default_value_t = 8)]
    batch: u32,
    /// Between two batches
    #[arg(long, default_value_t = 0)]
    pause_ms: u64,
    /// URL of a webhook
    #[arg(long)]
    webhook: String,
    /// File of JSON lines
    #[arg(long)]
    jsonl: PathBuf,
    /// Records that go out at once; few, so that a kill finds some on their way
    #[arg(long, default_value_t = 50)]
    at_once: usize,
    /// Write nothing, and end once everything is delivered
    #[arg(long)]
    drain: bool,
}

fn settings(directory: &Path) -> Result<WriterSettings> {
    let above = directory.parent().context("a directory below another")?;
    Ok(WriterSettings {
        ledger: Some(LedgerSettings {
            directory: directory.to_owned(),
            copies: vec![above.join("ledger.head")],
            origin: "homeport/h1".to_owned(),
            retention: Retention { days: 1_000, bytes: u64::MAX },
        }),
        file: None,
        stdout: false,
        queue_bytes: WriterSettings::QUEUE_BYTES,
        instance: std::process::id().to_string(),
        sequence_floor: 0,
    })
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
    let settings = settings(&write.directory)?;
    let mut server = write.server.map(Server::new);
    let (writer, started) = Writer::spawn(settings, origin.clone())?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{{\"last\": {}}}", started.last_sequence)?;
    let clock = Clock::with_epoch(WallTime(0));
    let reason = "x".repeat(write.bytes);
    let begin = started.last_sequence;
    let (mut written, mut batch) = (0_u64, 0_u32);
    let begun = Instant::now();
    while write.records.is_none_or(|records| written < records) {
        // A server's minutes come in batches of one length, a load in batches of all lengths; no more than was asked for.
        batch = if server.is_some() { write.batch } else { batch % write.batch + 1 };
        let left = write.records.map_or(u64::MAX, |records| records - written);
        let count = u64::from(batch).min(left);
        let lines: Vec<_> = (0..count)
            .filter_map(|place| {
                if let Some(server) = &mut server {
                    return writer.numbering().line(server.record(begin + written + place));
                }
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
    if let Some(ledger) = started.ledger.filter(|_| write.settle) {
        // Of the full bundles the last eight stay plain; they are packed in order.
        let last = (ledger.status().size / WIDTH).checked_sub(9);
        let last = last.map(|number| write.directory.join(path::entries(number, WIDTH)));
        while last.as_ref().is_some_and(|last| last.exists()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
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

/// Ends by itself only when there is nothing to write: somebody kills it.
pub(crate) fn deliver(deliver: &Deliver) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(write_and_deliver(deliver))
}

async fn write_and_deliver(deliver: &Deliver) -> Result<()> {
    let mut server = Server::new(u64::from(std::process::id()));
    let (writer, started) = Writer::spawn(settings(&deliver.directory)?, server.origin().clone())?;
    let ledger = started.ledger.context("a ledger")?;
    let place = Place {
        cursors: deliver.directory.join("cursors"),
        dead_letters: deliver.directory.join("dead-letter"),
    };
    let speaker = Speaker { origin: ledger.status().origin };
    let webhook = Kind::Webhook(WebhookSettings {
        url: deliver.webhook.clone(),
        http: HttpSettings::default(),
        hmac_key_file: None,
        body: Body::Array,
        compression: Compression::None,
    });
    let jsonl = Kind::Jsonl(JsonlSettings { path: deliver.jsonl.clone() });
    let sinks = vec![sink("webhook", webhook, deliver.at_once), sink("jsonl", jsonl, deliver.at_once)];
    let sinks = Sinks::start(Arc::new(ledger.clone()), place, speaker, sinks)?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{{\"last\": {}}}", started.last_sequence)?;
    let (mut number, mut batch) = (started.last_sequence, 0);
    if !deliver.drain {
        // Until it is killed.
        loop {
            batch = batch % deliver.batch + 1;
            let lines: Vec<_> = (0..batch)
                .filter_map(|_| {
                    number += 1;
                    // The rest of a ledger: what no sink of violations is sent.
                    let is_minute = number.is_multiple_of(5);
                    let record = if is_minute { server.minute_now() } else { server.violation(number) };
                    writer.numbering().line(record)
                })
                .collect();
            let accepted = writer.append(lines).await?;
            writeln!(stdout, "{{\"accepted\": {}}}", accepted.sequence)?;
            if deliver.pause_ms > 0 {
                tokio::time::sleep(Duration::from_millis(deliver.pause_ms)).await;
            }
        }
    }
    loop {
        let rows = sinks.rows();
        if rows.len() == 2 && rows.iter().all(|row| row.next == ledger.status().size) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sinks.stop().await;
    let health = writer.stop().await;
    anyhow::ensure!(health.degraded.is_none(), "{health:?}");
    Ok(())
}

fn sink(name: &str, kind: Kind, entries: usize) -> SinkSettings {
    SinkSettings {
        name: name.to_owned(),
        kind,
        format: Format::Ocsf,
        selection: Selection { about: vec![About::Findings], heartbeat: false, ..Selection::default() },
        start: Start::Oldest,
        batch: Batch { entries, linger: Duration::from_millis(2), ..Batch::default() },
        timeout: Duration::from_secs(2),
        retry: Retry { first: Duration::from_millis(5), longest: Duration::from_millis(100) },
        max_per_sec: None,
    }
}
