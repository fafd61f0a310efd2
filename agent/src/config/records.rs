//! `[records]`: where records go.

use std::{path::PathBuf, time::Duration};

use super::{
    keys,
    reader::{Section, flag, parsed, whole},
    report::Report,
    values,
};
use crate::sink::{
    SinkSettings,
    format::Format,
    select::Selection,
    settings::{Batch, DEFAULT_TIMEOUT, JsonlSettings, Kind, Retry, Start},
};

/// Where records go besides the ledger. Without a ledger at least one of `file` and `stdout` is set: a record is
/// never thrown away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records {
    /// File of JSON lines.
    pub file: Option<PathBuf>,
    /// Whether records also go to standard output.
    pub stdout: bool,
    /// Time that one interval record covers.
    pub interval: Duration,
}

impl Default for Records {
    fn default() -> Self {
        Self { file: None, stdout: true, interval: Duration::from_secs(60) }
    }
}

/// The record file as a sink over the ledger. No sink that is configured has such a name.
pub(super) fn as_sink(path: PathBuf) -> SinkSettings {
    SinkSettings {
        name: "records.file".to_owned(),
        kind: Kind::Jsonl(JsonlSettings { path }),
        format: Format::default(),
        selection: Selection::default(),
        start: Start::Oldest,
        // People follow it with their eyes.
        batch: Batch { linger: Duration::ZERO, ..Batch::default() },
        timeout: DEFAULT_TIMEOUT,
        // A disk is on this host: nobody minds being asked.
        retry: Retry { longest: Duration::from_secs(5), ..Retry::default() },
        max_per_sec: None,
    }
}

pub(super) fn read(report: &mut Report<'_>, root: &mut Section<'_>, has_ledger: bool) -> Records {
    let default = Records::default();
    let Some(mut section) = root.section(report, "records", &keys::RECORDS) else { return default };
    let file = section.optional(report, "file", |report, item| parsed(report, item, values::path));
    let stdout = section.placed(report, "stdout", flag);
    let interval = section.optional(report, "interval_secs", |report, item| whole(report, item, 1..=86_400));
    section.finish(report);

    if let Some(stdout) = &stdout
        && !stdout.value
        && file.is_none()
        && !has_ledger
    {
        report.fault(&stdout.place, "would throw every record away", "true, or a path in records.file");
    }
    let stdout = stdout.map_or(file.is_none(), |stdout| stdout.value);
    Records { file, stdout, interval: interval.map_or(default.interval, Duration::from_secs) }
}
