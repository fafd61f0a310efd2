//! Gives records their place: a number, a unique id, and the line they are written as.
//!
//! Numbers are given before a record is handed to the writer, so that an agent which is killed in between knows
//! which records it owes: its successor hands the same lines to its own writer.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use serde::{Deserialize, Serialize};

use crate::{
    ledger::entry::MAX_ENTRY_BYTES,
    record::{Priority, Record, shorten::shorten},
};

/// A record with its place, as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Its number.
    pub sequence: u64,
    /// Which lines go before it when memory runs out.
    pub priority: Priority,
    /// The text, with its newline.
    pub text: String,
}

/// See the module. Copies count together.
#[derive(Clone, Debug)]
pub struct Numbering {
    host_uid: Arc<str>,
    instance: Arc<str>,
    last: Arc<AtomicU64>,
}

impl Numbering {
    /// Goes on after the number `last`. `instance` tells runs of the agent apart.
    pub fn new(host_uid: &str, instance: &str, last: u64) -> Self {
        Self { host_uid: host_uid.into(), instance: instance.into(), last: Arc::new(AtomicU64::new(last)) }
    }

    /// The last number that was given.
    pub fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    /// Gives the record the next number. None for a record that is no JSON, which no record is.
    pub fn line(&self, mut record: Record) -> Option<Line> {
        let sequence = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        record.stamp(format!("{}:{}:{sequence}", self.host_uid, self.instance), sequence);
        match record.to_line() {
            Ok(text) => {
                let text = if text.len() <= MAX_ENTRY_BYTES {
                    text
                } else {
                    tracing::warn!(sequence, bytes = text.len(), "a record was too long and was shortened");
                    shorten(text.trim_end(), MAX_ENTRY_BYTES) + "\n"
                };
                Some(Line { sequence, priority: record.priority(), text })
            }
            // Only a map with keys that are no strings can fail, and records have none.
            Err(error) => {
                tracing::error!(sequence, %error, "a record could not be written as JSON");
                None
            }
        }
    }
}
