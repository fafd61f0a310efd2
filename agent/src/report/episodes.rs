//! Records of findings become one row per episode.

use std::collections::HashMap;

use super::{
    entry::{CoverageFinding, Database, Destination as Read, Finding, Line},
    statement::{CoverageRow, Destination, EpisodeRow},
    words,
};

/// Rows in the order in which they begin.
#[derive(Debug)]
pub(super) struct Episodes<T> {
    rows: Vec<T>,
    known: HashMap<String, usize>,
}

impl<T> Default for Episodes<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), known: HashMap::new() }
    }
}

impl<T: Default> Episodes<T> {
    fn row(&mut self, id: &str) -> &mut T {
        let next = self.rows.len();
        let at = *self.known.entry(id.to_owned()).or_insert(next);
        if at == next {
            self.rows.push(T::default());
        }
        &mut self.rows[at]
    }

    pub(super) fn into_rows(self) -> Vec<T> {
        self.rows
    }
}

impl Episodes<EpisodeRow> {
    /// The latest record says what the episode is; what left within the period is the sum over all.
    pub(super) fn take(&mut self, index: u64, line: Line<Finding>) -> Result<(), &'static str> {
        let info = line.finding_info.ok_or("a finding without finding_info")?;
        let finding = line.unmapped.homeport;
        let process = line.evidences.into_iter().find_map(|evidence| evidence.process);
        let row = self.row(&info.uid);
        if row.records == 0 {
            row.first_entry = index;
        }
        row.records += 1;
        row.last_entry = index;
        row.in_period.add(finding.bytes_since_last);
        row.altogether = finding.bytes;
        row.id = info.uid;
        row.title = info.title;
        row.severity = line.severity.to_lowercase();
        row.policy = finding.policy.name;
        row.rule = finding.rule;
        row.exception = finding.exception;
        row.reason = finding.reason;
        row.place = words::place(&finding.place);
        row.initiator = finding.initiator;
        row.owner = finding.owner.label;
        row.owner_quality = finding.owner.quality;
        if let Some(process) = process {
            row.executable = process.file.map(|file| file.path);
            row.command_line = process.cmd_line.map(|line| format!("{line} [pid {}]", process.pid));
            row.user = process.user.and_then(|user| match (user.name, user.uid) {
                (Some(name), Some(uid)) => Some(format!("{name} ({uid})")),
                (name, uid) => name.or(uid),
            });
        }
        row.first_seen = words::time(info.first_seen_time);
        row.last_seen = words::time(info.last_seen_time);
        row.open = finding.transition != "close";
        row.n_destinations = finding.destinations.count;
        row.destinations = finding.destination_list.into_iter().map(destination).collect();
        Ok(())
    }
}

fn destination(read: Read) -> Destination {
    let named = |database: Database| {
        let date = database.built.get(..10).unwrap_or(&database.built).to_owned();
        format!("{} of {date}", database.name)
    };
    Destination {
        ip: read.ip,
        location: read.geo.location,
        bytes: read.bytes,
        source: read.geo.source,
        prefix: read.geo.prefix,
        database: read.geo.database.map(named),
    }
}

impl Episodes<CoverageRow> {
    pub(super) fn take(&mut self, index: u64, line: Line<CoverageFinding>) -> Result<(), &'static str> {
        let info = line.finding_info.ok_or("a finding without finding_info")?;
        let finding = line.unmapped.homeport;
        let row = self.row(&info.uid);
        if row.id.is_empty() {
            row.first_entry = index;
        }
        row.last_entry = index;
        row.id = info.uid;
        row.title = info.title;
        row.subject = finding.subject;
        row.place = finding.place;
        row.severity = line.severity.to_lowercase();
        row.first_seen = words::time(info.first_seen_time);
        row.last_seen = words::time(info.last_seen_time);
        row.open = finding.transition != "close";
        row.residual_bytes = finding.residual_bytes;
        row.certain_bytes = finding.certain_bytes;
        row.unobserved_bytes = finding.gap.and_then(|gap| gap.unobserved_bytes);
        Ok(())
    }
}
