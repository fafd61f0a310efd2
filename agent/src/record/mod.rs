//! The outward, versioned form of what the agent found: OCSF 1.8.0, one JSON object per line.
//!
//! | record | OCSF class | when |
//! |---|---|---|
//! | [`finding::Finding`] | Detection Finding 2004, Create / Update / Close | an episode opens, goes on, ends |
//! | [`coverage::CoverageFinding`] | the same | what could not be seen |
//! | [`interval::Interval`] | Network Activity 4001, Traffic | every minute, also when nothing happened |
//! | [`lifecycle::Lifecycle`] | Application Lifecycle 6002 | start, stop, a new policy, configuration or database, degraded, gap, delivery |
//!
//! The structs here are built by hand from the types of the core and are never the types of the core: renaming a
//! field there must not change the format here. **Do not rename, remove or give a new meaning to a field**; add
//! optional ones, and raise [`SCHEMA`] when a reader must know. A number that is not known is absent.
//!
//! We model the flow of data: the source is always this host and the destination is always the recipient, also
//! when the recipient opened the connection. Who opened is said in `unmapped.homeport.initiator`. OCSF names the
//! initiator "source" for connections; read that way, every pull from abroad would show the foreign country as
//! the source and be missed by each map and rule.

pub mod coverage;
pub mod finding;
mod human;
pub mod interval;
pub mod lifecycle;
mod numbering;
pub mod ocsf;
pub mod person;
mod shorten;
pub mod writer;

pub(crate) use human::{bytes as human_bytes, counted, harmless, harmless_copy, number};
pub use numbering::{Line, Numbering};
use serde::{Deserialize, Serialize};

use crate::{
    clock::{Clock, WallTime},
    geo::CountryCode,
};

/// Version of everything under `unmapped.homeport`.
pub const SCHEMA: u32 = 1;

/// Who writes records: the same for the life of the process.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Version of homeport.
    pub version: String,
    /// Host name.
    pub hostname: String,
    /// Stable id of the host.
    pub host_uid: String,
    /// Name of a country, for people.
    pub country_name: fn(CountryCode) -> Option<&'static str>,
}

/// What a record is built in: who, and when.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Who writes.
    pub origin: &'a Origin,
    /// From kernel time to UTC.
    pub clock: &'a Clock,
    /// When the host booted, for start times of processes; absent when not known.
    pub booted: Option<WallTime>,
    /// When the record is made.
    pub now: WallTime,
}

/// Something that was lost, counted since start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// Where, and of what; one of a small fixed set of words.
    pub cause: &'static str,
    /// How many.
    pub count: u64,
    /// How many bytes, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// Any record.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Record {
    /// An episode's transition.
    Finding(Box<finding::Finding>),
    /// The same for an episode about coverage.
    Coverage(Box<coverage::CoverageFinding>),
    /// One minute.
    Interval(Box<interval::Interval>),
    /// Something about the agent itself.
    Lifecycle(Box<lifecycle::Lifecycle>),
}

/// Which records go first when memory runs out; the first is the first to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Priority {
    /// Minutes.
    Interval,
    /// Updates of episodes: the next one says it all again.
    Update,
    /// Opens, closes, and what the agent says about itself.
    Transition,
    /// What says which records went. It never goes: there is one at a time.
    Gap,
}

impl Record {
    /// Which records go before this one when memory runs out.
    pub const fn priority(&self) -> Priority {
        match self {
            Self::Finding(finding) if finding.base.activity_id == finding::UPDATE => Priority::Update,
            Self::Coverage(finding) if finding.base.activity_id == finding::UPDATE => Priority::Update,
            Self::Interval(_) => Priority::Interval,
            Self::Lifecycle(event) if event.is_gap() => Priority::Gap,
            Self::Finding(_) | Self::Coverage(_) | Self::Lifecycle(_) => Priority::Transition,
        }
    }

    /// Gives the record its place in the file.
    pub fn stamp(&mut self, uid: String, sequence: u64) {
        let metadata = match self {
            Self::Finding(finding) => &mut finding.base.metadata,
            Self::Coverage(finding) => &mut finding.base.metadata,
            Self::Interval(interval) => &mut interval.base.metadata,
            Self::Lifecycle(lifecycle) => &mut lifecycle.base.metadata,
        };
        metadata.uid = Some(uid);
        metadata.sequence = Some(sequence);
    }

    /// The record as one line with its newline. JSON escapes newlines, so there is exactly one.
    pub fn to_line(&self) -> serde_json::Result<String> {
        let mut line = serde_json::to_string(self)?;
        line.push('\n');
        Ok(line)
    }
}

#[cfg(test)]
mod tests;
