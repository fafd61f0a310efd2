//! Which records a sink wants.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::ledger::Entry;

const DETECTION_FINDING: u32 = 2004;
const NETWORK_ACTIVITY: u32 = 4001;
const APPLICATION_LIFECYCLE: u32 = 6002;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// Data that left: violations, attempts, use of exceptions, self-tests.
    Findings,
    /// What could not be seen.
    Coverage,
    /// The agent itself.
    Lifecycle,
    /// One minute.
    Intervals,
}

impl About {
    /// Every kind with its word in the configuration.
    pub const ALL: [(&'static str, Self); 4] = [
        ("findings", Self::Findings),
        ("coverage", Self::Coverage),
        ("lifecycle", Self::Lifecycle),
        ("intervals", Self::Intervals),
    ];
}

/// Which records a sink wants. The default is all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// About what; in the order of [`About`], without repetition.
    pub about: Vec<About>,
    /// Of findings, coverage and lifecycle: from this `severity_id` on. Intervals have none.
    pub min_severity: u8,
    /// Where intervals are not wanted, their shortest form all the same: the receiver can tell silence from death.
    pub heartbeat: bool,
}

impl Default for Selection {
    fn default() -> Self {
        Self { about: About::ALL.map(|(_, about)| about).to_vec(), min_severity: 1, heartbeat: true }
    }
}

/// As much of a record as decides.
#[derive(Debug, Deserialize)]
struct Head {
    class_uid: u32,
    severity_id: u8,
    #[serde(default)]
    finding_info: FindingInfo,
}

#[derive(Debug, Default, Deserialize)]
struct FindingInfo {
    #[serde(default)]
    types: Vec<String>,
}

/// An entry that goes out, or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selected {
    /// As it is.
    Whole(Entry),
    /// Shortened to a heartbeat.
    Heartbeat(Entry),
    /// Not wanted.
    Passed,
}

impl Selection {
    /// Whether every record is wanted as it is.
    fn is_all(&self) -> bool {
        self.about.len() == About::ALL.len() && self.min_severity <= 1
    }

    /// What becomes of an entry. One that cannot be read is wanted: what nobody understands must not be dropped.
    pub(super) fn select(&self, entry: Entry) -> Selected {
        if self.is_all() {
            return Selected::Whole(entry);
        }
        let Ok(head) = serde_json::from_str::<Head>(&entry.record) else { return Selected::Whole(entry) };
        let about = match head.class_uid {
            DETECTION_FINDING if head.finding_info.types.iter().any(|word| word == "coverage") => {
                About::Coverage
            }
            DETECTION_FINDING => About::Findings,
            NETWORK_ACTIVITY => About::Intervals,
            APPLICATION_LIFECYCLE => About::Lifecycle,
            // A class of a later version.
            _ => return Selected::Whole(entry),
        };
        let is_wanted = self.about.contains(&about);
        match about {
            About::Intervals if is_wanted => Selected::Whole(entry),
            About::Intervals if self.heartbeat => match heartbeat(&entry) {
                Some(entry) => Selected::Heartbeat(entry),
                None => Selected::Whole(entry),
            },
            About::Intervals => Selected::Passed,
            _ if is_wanted && head.severity_id >= self.min_severity => Selected::Whole(entry),
            _ => Selected::Passed,
        }
    }
}

/// An interval record without its tables: the same record for who reads OCSF, with the statement of coverage.
fn heartbeat(entry: &Entry) -> Option<Entry> {
    let Value::Object(mut record) = serde_json::from_str(&entry.record).ok()? else { return None };
    let ours = record.get("unmapped").and_then(|unmapped| unmapped.get("homeport"))?;
    let mut short = Map::new();
    for key in ["schema", "state", "policy_hash", "flows"] {
        if let Some(value) = ours.get(key) {
            short.insert(key.to_owned(), value.clone());
        }
    }
    short.insert("heartbeat".to_owned(), Value::Bool(true));
    record.insert("unmapped".to_owned(), json!({ "homeport": short }));
    let record = serde_json::to_string(&record).ok()?;
    Some(Entry { index: entry.index, record: Arc::from(record) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: &str = include_str!("../record/golden/finding-open.json");
    const BYPASS: &str = include_str!("../record/golden/coverage-bypass.json");
    const DEGRADED: &str = include_str!("../record/golden/lifecycle-degraded.json");
    const START: &str = include_str!("../record/golden/lifecycle-start.json");
    const INTERVAL: &str = include_str!("../record/golden/interval.json");

    fn entry(record: &str) -> Entry {
        Entry { index: 7, record: record.into() }
    }

    fn selection(about: &[About], min_severity: u8) -> Selection {
        Selection { about: about.to_vec(), min_severity, heartbeat: false }
    }

    fn check(selection: &Selection, record: &str, is_wanted: bool) {
        let expected = if is_wanted { Selected::Whole(entry(record)) } else { Selected::Passed };
        assert_eq!(selection.select(entry(record)), expected, "{selection:?}");
    }

    #[test]
    fn each_kind_of_record_is_told_apart() {
        let records = [OPEN, BYPASS, DEGRADED, INTERVAL];
        for (idx, (_, about)) in About::ALL.into_iter().enumerate() {
            for (record_idx, record) in records.into_iter().enumerate() {
                check(&selection(&[about], 1), record, idx == record_idx);
            }
        }
        for record in records {
            check(&Selection::default(), record, true);
        }
    }

    #[test]
    fn severity_decides_about_everything_but_intervals() {
        let all = About::ALL.map(|(_, about)| about);
        for (min_severity, record, is_wanted) in [
            (4, OPEN, true),
            (5, OPEN, false),
            (3, BYPASS, true),
            (4, BYPASS, false),
            (2, START, false),
            (5, INTERVAL, true),
        ] {
            check(&selection(&all, min_severity), record, is_wanted);
        }
    }

    #[test]
    fn what_nobody_understands_is_not_dropped() {
        for record in ["", "{", "{}", "{\"class_uid\":9999,\"severity_id\":1}"] {
            check(&selection(&[About::Coverage], 5), record, true);
        }
    }

    #[test]
    fn an_interval_that_is_not_wanted_is_a_heartbeat() {
        let selection = Selection { heartbeat: true, ..selection(&[About::Findings], 1) };
        let Selected::Heartbeat(short) = selection.select(entry(INTERVAL)) else { panic!("no heartbeat") };
        assert_eq!(short.index, 7);
        let whole: Value = serde_json::from_str(INTERVAL).expect("JSON");
        let value: Value = serde_json::from_str(&short.record).expect("JSON");
        assert_eq!(value["metadata"], whole["metadata"]);
        assert_eq!(value["unmapped"]["homeport"]["state"], whole["unmapped"]["homeport"]["state"]);
        assert_eq!(value["unmapped"]["homeport"]["heartbeat"], true);
        assert_eq!(value["unmapped"]["homeport"].get("classes"), None);
        assert!(short.record.len() < 1500, "{}", short.record.len());
    }
}
