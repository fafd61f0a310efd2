//! `[records]`: where records go.

use std::{path::PathBuf, time::Duration};

use super::{
    keys,
    reader::{Section, flag, parsed, whole},
    report::Report,
    values,
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
