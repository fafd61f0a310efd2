//! What a record looks like on its way out.
//!
//! The ledger holds OCSF. Every other format is a pure function of that line, so that a sink needs nothing but its
//! cursor, and the same entry always becomes the same bytes.

mod centroids;
pub mod cloudevents;
pub mod ecs;
pub mod reading;

use std::borrow::Cow;

pub use reading::{Reading, Topic};
use sha2::{Digest as _, Sha256};

use crate::ledger::Entry;

/// A format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The line of the ledger as it is.
    #[default]
    Ocsf,
    /// Elastic Common Schema 9.
    Ecs,
    /// CloudEvents 1.0, with the line of the ledger as data.
    CloudEvents,
}

impl Format {
    /// Every format with its word in the configuration.
    pub const ALL: [(&'static str, Self); 3] =
        [("ocsf", Self::Ocsf), ("ecs", Self::Ecs), ("cloudevents", Self::CloudEvents)];

    /// The word of the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ocsf => "ocsf",
            Self::Ecs => "ecs",
            Self::CloudEvents => "cloudevents",
        }
    }

    /// The media type of one record.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Ocsf | Self::Ecs => "application/json",
            Self::CloudEvents => "application/cloudevents+json",
        }
    }

    /// The media type of a JSON array of records.
    pub const fn batch_media_type(self) -> &'static str {
        match self {
            Self::Ocsf | Self::Ecs => "application/json",
            Self::CloudEvents => "application/cloudevents-batch+json",
        }
    }
}

/// Who speaks, for formats that name an entry by the ledger it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speaker {
    /// Origin of the ledger: `<origin>#<index>` names an entry.
    pub origin: String,
}

impl Speaker {
    /// The name of an entry, the same in every format and at every attempt: receivers drop repetitions by it.
    pub fn id(&self, index: u64) -> String {
        format!("{}#{index}", self.origin)
    }
}

/// A record that cannot be said in a format; it goes to the dead-letter file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a record that can be converted: {0}")]
pub struct Unreadable(pub String);

/// One entry as one line of JSON, without a newline.
///
/// # Errors
///
/// [`Unreadable`], when the format needs to understand the record and cannot.
pub fn body<'a>(format: Format, speaker: &Speaker, entry: &'a Entry) -> Result<Cow<'a, str>, Unreadable> {
    match format {
        Format::Ocsf => Ok(Cow::Borrowed(&entry.record)),
        Format::Ecs => ecs::line(speaker, entry).map(Cow::Owned),
        Format::CloudEvents => cloudevents::line(speaker, entry).map(Cow::Owned),
    }
}

/// The leaf of an entry in the Merkle tree of the ledger (RFC 6962), in hex: who has it can ask for a proof.
pub fn leaf_hash(record: &str) -> String {
    let digest = Sha256::new().chain_update([0]).chain_update(record).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
