//! What a record looks like on its way out.
//!
//! The ledger holds OCSF. Every other format is a pure function of that line, so that a sink needs nothing but its
//! cursor, and the same entry always becomes the same bytes.

use std::borrow::Cow;

use crate::ledger::Entry;

/// A format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The line of the ledger as it is.
    #[default]
    Ocsf,
}

impl Format {
    /// Every format with its word in the configuration.
    pub const ALL: [(&'static str, Self); 1] = [("ocsf", Self::Ocsf)];

    /// The word of the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ocsf => "ocsf",
        }
    }

    /// The media type of one record.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Ocsf => "application/json",
        }
    }

    /// The media type of a JSON array of records.
    pub const fn batch_media_type(self) -> &'static str {
        match self {
            Self::Ocsf => "application/json",
        }
    }
}

/// Who speaks, for formats that name an entry by the ledger it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speaker {
    /// Origin of the ledger: `<origin>#<index>` names an entry.
    pub origin: String,
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
pub fn body<'a>(format: Format, _speaker: &Speaker, entry: &'a Entry) -> Result<Cow<'a, str>, Unreadable> {
    match format {
        Format::Ocsf => Ok(Cow::Borrowed(&entry.record)),
    }
}
