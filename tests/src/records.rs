//! What the agent wrote: OCSF records, one JSON object per line, and the episodes they tell of.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::schema;

/// OCSF class of findings.
pub const FINDING: u64 = 2004;
/// OCSF class of intervals.
pub const INTERVAL: u64 = 4001;
/// OCSF class of what the agent says about itself.
pub const LIFECYCLE: u64 = 6002;

const OPEN: u64 = 1;
const CLOSE: u64 = 3;

/// All records, in order.
#[derive(Clone, Debug, Default)]
pub struct Records(pub Vec<Value>);

impl Records {
    /// Reads a file. One that does not exist yet has no records.
    ///
    /// # Errors
    ///
    /// When a line is not JSON, or not a record as OCSF wants it: every test that reads records checks that.
    pub fn read(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let records: Result<Vec<Value>> = text
            .lines()
            .map(|line| {
                let record = serde_json::from_str(line).with_context(|| format!("record {line:?}"))?;
                schema::ocsf::check(&record).with_context(|| format!("record {line}"))?;
                Ok(record)
            })
            .collect();
        Ok(Self(records?))
    }

    /// Those of one class.
    pub fn of_class(&self, class: u64) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |record| record["class_uid"] == class)
    }

    /// The events of lifecycle records, such as `start`.
    pub fn lifecycle(&self) -> Vec<&str> {
        self.of_class(LIFECYCLE)
            .filter_map(|record| record["unmapped"]["homeport"]["event"].as_str())
            .collect()
    }

    /// Findings, grouped.
    pub fn episodes(&self) -> Vec<Episode> {
        let mut episodes: BTreeMap<&str, Episode> = BTreeMap::new();
        for finding in self.of_class(FINDING) {
            let id = finding["finding_info"]["uid"].as_str().unwrap_or_default();
            episodes
                .entry(id)
                .or_insert_with(|| Episode { id: id.to_owned(), findings: Vec::new() })
                .findings
                .push(finding.clone());
        }
        episodes.into_values().collect()
    }

    /// Episodes whose recipients are in a country.
    pub fn episodes_in(&self, country: &str) -> Vec<Episode> {
        self.episodes().into_iter().filter(|episode| episode.country() == Some(country)).collect()
    }
}

/// All findings of one episode, in order.
#[derive(Clone, Debug)]
pub struct Episode {
    /// Its stable id.
    pub id: String,
    /// Open, updates, close.
    pub findings: Vec<Value>,
}

impl Episode {
    /// The latest finding.
    pub fn last(&self) -> &Value {
        self.findings.last().unwrap_or(&Value::Null)
    }

    fn extra(&self) -> &Value {
        &self.last()["unmapped"]["homeport"]
    }

    /// `transfer`, `attempt` or `exception`.
    pub fn kind(&self) -> Option<&str> {
        self.extra()["kind"].as_str()
    }

    /// Where the data went.
    pub fn country(&self) -> Option<&str> {
        self.last()["evidences"][0]["dst_endpoint"]["location"]["country"].as_str()
    }

    /// The process of the first flow.
    pub fn pid(&self) -> Option<u64> {
        self.last()["evidences"][0]["process"]["pid"].as_u64()
    }

    /// Its executable.
    pub fn exe(&self) -> Option<&str> {
        self.last()["evidences"][0]["process"]["file"]["path"].as_str()
    }

    /// The policy that was violated.
    pub fn policy(&self) -> Option<&str> {
        self.last()["policy"]["name"].as_str()
    }

    /// The rule that was broken.
    pub fn rule(&self) -> Option<&str> {
        self.extra()["rule"].as_str()
    }

    /// Layer 3 bytes until the latest finding.
    pub fn wire_bytes(&self) -> Option<u64> {
        self.extra()["bytes"]["wire"].as_u64()
    }

    /// Payload bytes until the latest finding.
    pub fn payload_bytes(&self) -> Option<u64> {
        self.extra()["bytes"]["payload"].as_u64()
    }

    /// One open first, one close last, only updates between.
    ///
    /// # Errors
    ///
    /// With the sequence that was seen.
    pub fn check_complete(&self) -> Result<()> {
        let activities: Vec<u64> =
            self.findings.iter().filter_map(|finding| finding["activity_id"].as_u64()).collect();
        let [OPEN, updates @ .., CLOSE] = activities.as_slice() else {
            anyhow::bail!("episode {}: one open first and one close last expected: {activities:?}", self.id)
        };
        ensure!(updates.iter().all(|activity| *activity == 2), "episode {}: {activities:?}", self.id);
        Ok(())
    }
}
