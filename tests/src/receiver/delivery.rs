//! A ledger in memory, and the agent's own sinks over it: with their cursors, retries and dead-letter files.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use homeport::{
    ledger::{Entry, Page, Source},
    sink::{
        Place, SinkRow, SinkSettings, Sinks,
        format::{Format, Speaker},
        select::Selection,
        settings::{Batch, Kind, Retry, Start},
    },
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::patience::patient;

/// Nothing takes longer unless it hangs.
const HANG: Duration = Duration::from_secs(90);

/// Origin of the ledger.
pub const ORIGIN: &str = "homeport/test";

/// Name of the sink.
const SINK: &str = "under-test";

/// A ledger in memory.
#[derive(Debug)]
struct Memory {
    entries: Vec<Entry>,
    size: watch::Sender<u64>,
}

impl Source for Memory {
    fn first(&self) -> u64 {
        0
    }

    fn size(&self) -> watch::Receiver<u64> {
        self.size.subscribe()
    }

    fn read(&self, from: u64, page: Page) -> io::Result<Vec<Entry>> {
        let mut bytes = 0;
        let rest = self.entries.iter().skip(usize::try_from(from).unwrap_or(usize::MAX)).take(page.entries);
        Ok(rest
            .take_while(|entry| {
                let is_first = bytes == 0;
                bytes += entry.record.len();
                is_first || bytes <= page.bytes
            })
            .cloned()
            .collect())
    }
}

/// Every shape of record that is pinned, by name.
///
/// # Errors
///
/// When a file cannot be read.
pub fn shapes() -> Result<Vec<(String, Value)>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/src/record/golden");
    let mut shapes = Vec::new();
    for file in std::fs::read_dir(&directory)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let name = path.file_stem().context("a name")?.to_string_lossy().into_owned();
            shapes.push((name, serde_json::from_str(&std::fs::read_to_string(&path)?)?));
        }
    }
    shapes.sort_by(|a, b| a.0.cmp(&b.0));
    ensure!(shapes.len() >= 17, "{} shapes of record", shapes.len());
    Ok(shapes)
}

/// A ledger of so many entries, all shapes in turn; the message of each says its place.
///
/// # Errors
///
/// When a file cannot be read.
pub fn ledger(entries: usize) -> Result<Vec<Entry>> {
    let shapes = shapes()?;
    let indices = 0..u64::try_from(entries)?;
    Ok(indices
        .zip(shapes.iter().cycle())
        .map(|(index, (_, shape))| {
            let mut record = shape.clone();
            record["message"] = json!(message(index));
            record["metadata"]["sequence"] = json!(index + 1);
            record["metadata"]["uid"] = json!(format!("h1:i1:{}", index + 1));
            Entry { index, record: record.to_string().into() }
        })
        .collect())
}

/// The message of an entry of [`ledger`].
pub fn message(index: u64) -> String {
    format!("entry {index} of the test")
}

/// A sink at work. It ends when this is dropped.
pub struct Delivery {
    sinks: Option<Sinks>,
    directory: TempDir,
    size: u64,
}

/// An entry in the dead-letter file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    /// Its place in the ledger.
    pub index: u64,
    /// Why.
    pub reason: String,
    /// What it says.
    pub record: Value,
}

impl Delivery {
    /// Begins to deliver a ledger, in batches of at most `batch` entries, each attempt within `timeout`.
    ///
    /// # Errors
    ///
    /// When the sinks cannot be started.
    pub fn begin(entries: Vec<Entry>, kind: Kind, batch: usize, timeout: Duration) -> Result<Self> {
        Self::begin_as(entries, kind, Format::Ocsf, batch, timeout)
    }

    /// The same in another format.
    ///
    /// # Errors
    ///
    /// When the sinks cannot be started.
    pub fn begin_as(
        entries: Vec<Entry>,
        kind: Kind,
        format: Format,
        batch: usize,
        timeout: Duration,
    ) -> Result<Self> {
        let directory = TempDir::new()?;
        let size = u64::try_from(entries.len())?;
        let source = Arc::new(Memory { entries, size: watch::Sender::new(size) });
        let place = Place {
            cursors: directory.path().join("cursors"),
            dead_letters: directory.path().join("dead-letter"),
        };
        let settings = SinkSettings {
            name: SINK.to_owned(),
            kind,
            format,
            selection: Selection::default(),
            start: Start::Oldest,
            batch: Batch { entries: batch, ..Batch::default() },
            timeout,
            retry: Retry { first: Duration::from_millis(20), longest: Duration::from_millis(200) },
            max_per_sec: None,
        };
        let speaker = Speaker { origin: ORIGIN.to_owned() };
        let sinks = Sinks::start(source, place, speaker, vec![settings])?;
        Ok(Self { sinks: Some(sinks), directory, size })
    }

    /// How it is.
    ///
    /// # Errors
    ///
    /// When it is no more.
    pub fn row(&self) -> Result<SinkRow> {
        let sinks = self.sinks.as_ref().context("it has ended")?;
        sinks.rows().into_iter().find(|row| row.name == SINK).context("no such sink")
    }

    /// Waits until the sink is in a state.
    ///
    /// # Errors
    ///
    /// When it never is, with how it is.
    pub async fn eventually(&self, satisfies: impl Fn(&SinkRow) -> bool) -> Result<SinkRow> {
        let deadline = Instant::now() + patient(HANG);
        loop {
            // The sinks start on a thread of their own: at first there is no row.
            match self.row() {
                Ok(row) if satisfies(&row) => return Ok(row),
                Ok(row) if Instant::now() > deadline => bail!("still not: {row:?}"),
                Err(error) if Instant::now() > deadline => return Err(error),
                Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    /// Waits until the cursor is at the end.
    ///
    /// # Errors
    ///
    /// When it never gets there.
    pub async fn complete(&self) -> Result<SinkRow> {
        self.eventually(|row| row.next == self.size).await
    }

    /// What is in the dead-letter file, in order.
    ///
    /// # Errors
    ///
    /// When a line is not what it should be.
    pub fn dead(&self) -> Result<Vec<Dead>> {
        let path: PathBuf = self.directory.path().join("dead-letter").join(format!("{SINK}.jsonl"));
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            text => text?,
        };
        text.lines()
            .map(|line| {
                let letter: Value = serde_json::from_str(line)?;
                Ok(Dead {
                    index: letter["index"].as_u64().context("an index")?,
                    reason: letter["reason"].as_str().context("a reason")?.to_owned(),
                    record: letter["record"].clone(),
                })
            })
            .collect()
    }
}

/// Nothing is missing, and the first of each comes in the order of the ledger. `dead` may be missing.
///
/// # Errors
///
/// With what is missing or out of order.
pub fn check_complete(received: &[u64], entries: usize, dead: &BTreeSet<u64>) -> Result<()> {
    let mut seen = BTreeSet::new();
    let first: Vec<u64> = received.iter().copied().filter(|index| seen.insert(*index)).collect();
    ensure!(first.is_sorted(), "out of order: {first:?}");
    let missing: Vec<u64> =
        (0..u64::try_from(entries)?).filter(|index| !seen.contains(index) && !dead.contains(index)).collect();
    ensure!(missing.is_empty(), "missing: {missing:?}");
    ensure!(first.iter().all(|index| usize::try_from(*index).is_ok_and(|index| index < entries)), "invented");
    Ok(())
}

/// How often each came, at most.
pub fn most_often(received: &[u64]) -> usize {
    let mut counts = std::collections::BTreeMap::new();
    received.iter().for_each(|index| *counts.entry(index).or_insert(0) += 1);
    counts.into_values().max().unwrap_or(0)
}
