//! Violations become episodes: opened, updated, closed. One transfer is one alert, not one per packet.
//!
//! An *episode* is everything that one (policy, owner label, place, initiator, rule) sends from its first payload
//! byte until it goes quiet. [`Episodes`] takes judged readings and the time, and returns [`Transition`]s;
//! [`ExceptionLedger`] knows how much of each exception is used. This module has never heard of JSON, tokio,
//! files or a clock.
//!
//! What opens an episode, and what never does:
//!
//! | what left | initiator | outcome |
//! |---|---|---|
//! | payload | any | [`Kind::Transfer`] at once (or [`Kind::Exception`], which is information, not an alert) |
//! | no payload (SYN-ACK, RST, bare ACK) | remote, unknown | nothing: a scanner must not page anyone; bytes are in the totals |
//! | no payload (SYN) | local | after [`EpisodeSettings::attempt_grace`] without payload: [`Kind::Attempt`], severity low |
//! | no payload | local, on a flow that has sent data before | nothing new: acknowledgements of an old transfer |
//! | anything | the kernel's own ICMP replies | nothing: control |
//!
//! An attempt that sends payload after all becomes a transfer by an update of the same episode.

mod episode;
mod episodes;
mod exceptions;

use std::sync::Arc;

pub use episode::{Count, Destination, Episode, EpisodeKey, Identity, MAX_DESTINATIONS};
#[cfg(test)]
pub(crate) use episodes::tests::many_open;
pub use episodes::{EpisodeCounters, EpisodeSettings, Episodes, OpenEpisode, RejudgeCause};
pub use exceptions::ExceptionLedger;

use serde::{Deserialize, Serialize};

use crate::policy::{Rule, Severity};

/// What kind of finding an episode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// An outgoing connection attempt; no data left.
    Attempt,
    /// Data left within an exception: recorded, not an alert.
    Exception,
    /// Data left in violation of a policy.
    Transfer,
}

impl Kind {
    /// The word used in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attempt => "attempt",
            Self::Exception => "exception",
            Self::Transfer => "transfer",
        }
    }
}

/// How urgent an episode is. [`Severity`] with one step below it, for use of exceptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    /// For the record.
    Informational,
    /// Worth knowing.
    Low,
    /// Someone should look.
    Medium,
    /// Data left for a country that is not approved.
    High,
    /// Data left for a country that is explicitly denied.
    Critical,
}

impl Level {
    /// The word used in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Informational => "informational",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl From<Severity> for Level {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Low => Self::Low,
            Severity::Medium => Self::Medium,
            Severity::High => Self::High,
            Severity::Critical => Self::Critical,
        }
    }
}

/// What makes traffic worth an episode.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Cause {
    /// A rule was broken, perhaps by exceeding or outliving an exception.
    Rule {
        /// The rule.
        rule: Rule,
        /// The exception that was exceeded or outlived.
        exception: Option<Arc<str>>,
    },
    /// An exception is in use.
    Exception {
        /// Its id.
        id: Arc<str>,
    },
    /// Several causes in one: only the catch-all episode of a policy says this.
    Several,
}

impl Cause {
    /// The word used in records: the rule, `exception`, or `several`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Rule { rule, .. } => rule.as_str(),
            Self::Exception { .. } => "exception",
            Self::Several => "several",
        }
    }

    /// The exception concerned, if any.
    pub const fn exception(&self) -> Option<&Arc<str>> {
        match self {
            Self::Rule { exception, .. } => exception.as_ref(),
            Self::Exception { id } => Some(id),
            Self::Several => None,
        }
    }
}

/// Why an episode was updated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateReason {
    /// It became more severe, or an attempt became a transfer.
    Escalated,
    /// Its bytes doubled since the last transition.
    Doubled,
    /// Bytes still flow.
    StillFlowing,
}

impl UpdateReason {
    /// The word used in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Escalated => "escalated",
            Self::Doubled => "doubled",
            Self::StillFlowing => "still-flowing",
        }
    }
}

/// Why an episode was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// Nothing left for the quiet time.
    Quiet,
    /// All its connections are closed, and no new one came within the grace.
    ConnectionsClosed,
    /// A new policy judges it differently.
    PolicyChange,
    /// A new database places it differently.
    LocationChange,
    /// The agent stops. The transfer may well go on.
    AgentStop,
}

impl CloseReason {
    /// The word used in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::ConnectionsClosed => "connections-closed",
            Self::PolicyChange => "policy-change",
            Self::LocationChange => "location-change",
            Self::AgentStop => "agent-stop",
        }
    }
}

/// A change of an episode, with the episode as it is after the change.
#[derive(Clone, Debug)]
pub enum Transition {
    /// It began.
    Open(Box<Episode>),
    /// It goes on, or became worse.
    Update(Box<Episode>, UpdateReason),
    /// It is over.
    Close(Box<Episode>, CloseReason),
}

impl Transition {
    /// The episode.
    pub const fn episode(&self) -> &Episode {
        match self {
            Self::Open(episode) | Self::Update(episode, _) | Self::Close(episode, _) => episode,
        }
    }
}
