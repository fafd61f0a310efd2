//! A record as a reader of its line sees it.
//!
//! Formats are made from the line and not from the structs that it was made from: the ledger holds lines of older
//! agents too. A field that is not there is not there in any format, and an unknown record is still a record.

use std::fmt;

use serde_json::Value;

use super::Unreadable;
use crate::clock::WallTime;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Data left against policy, or was about to.
    Violation,
    /// Data left under an exception.
    Exception,
    /// Something could not be seen.
    Coverage,
    /// The agent found its own datagram.
    SelfTest,
    /// A minute.
    Interval,
    /// The agent itself.
    Lifecycle,
    /// From an agent that is newer than this one.
    Other,
}

impl Topic {
    /// Its word, the same in every format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Violation => "violation",
            Self::Exception => "exception",
            Self::Coverage => "coverage",
            Self::SelfTest => "self-test",
            Self::Interval => "interval",
            Self::Lifecycle => "lifecycle",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Reading(Value);

impl Reading {
    /// Reads a line of the ledger.
    ///
    /// # Errors
    ///
    /// When it is not a JSON object.
    pub fn of(line: &str) -> Result<Self, Unreadable> {
        match serde_json::from_str(line) {
            Ok(value @ Value::Object(_)) => Ok(Self(value)),
            Ok(_) => Err(Unreadable("a record is a JSON object".to_owned())),
            Err(error) => Err(Unreadable(error.to_string())),
        }
    }

    /// Anything, by its JSON pointer.
    pub fn get(&self, pointer: &str) -> Option<&Value> {
        self.0.pointer(pointer).filter(|value| !value.is_null())
    }

    /// A text.
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.get(pointer)?.as_str()
    }

    /// A number without sign.
    pub fn count(&self, pointer: &str) -> Option<u64> {
        self.get(pointer)?.as_u64()
    }

    /// A time, which OCSF gives in milliseconds since 1970.
    pub fn time(&self, pointer: &str) -> Option<WallTime> {
        self.get(pointer)?.as_i64()?.checked_mul(1_000_000).map(WallTime)
    }

    /// `severity_id`, 0 when it has none.
    pub fn severity(&self) -> u64 {
        self.count("/severity_id").unwrap_or(0)
    }

    /// What it is about.
    pub fn topic(&self) -> Topic {
        match (self.count("/class_uid"), self.text("/unmapped/homeport/kind")) {
            (Some(2004), Some("transfer" | "attempt")) => Topic::Violation,
            (Some(2004), Some("exception")) => Topic::Exception,
            (Some(2004), Some("coverage")) => Topic::Coverage,
            (Some(2004), Some("self-test")) => Topic::SelfTest,
            (Some(4001), _) => Topic::Interval,
            (Some(6002), _) => Topic::Lifecycle,
            _ => Topic::Other,
        }
    }

    /// What happened: the transition of an episode, the event of a lifecycle record.
    pub fn event(&self) -> Option<&str> {
        self.text("/unmapped/homeport/transition").or_else(|| self.text("/unmapped/homeport/event"))
    }

    /// A sink made it out of a longer one: it is not what the ledger holds, and has another hash.
    pub fn is_shortened(&self) -> bool {
        self.get("/unmapped/homeport/heartbeat").and_then(Value::as_bool) == Some(true)
    }

    /// Events lost, over all causes; absent when the record does not say.
    pub fn events_lost(&self) -> Option<u64> {
        let losses = self.get("/unmapped/homeport/losses")?.as_array()?;
        Some(losses.iter().filter_map(|loss| loss["count"].as_u64()).fold(0, u64::saturating_add))
    }
}
