//! What can be wrong with a database file, in words for the operator.
//!
//! Each message names the file, what is wrong with it, and what would be accepted.

use std::{fmt, io, sync::Arc};

use super::mmdb::MAX_FILE_BYTES;
use crate::clock::WallTime;

/// A database file that is not used.
#[derive(Debug)]
pub struct LoadError {
    /// Path or name of the file.
    pub file: Arc<str>,
    /// What is wrong with it.
    pub fault: Fault,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "database {}: {}", self.file, self.fault)
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The text of an inner error is part of the fault's own, so it is not offered a second time.
        None
    }
}

/// What is wrong with a database file.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The operating system did not let us.
    #[error("cannot be read: {0}")]
    Read(io::Error),
    /// A directory, device, socket or pipe.
    #[error("is not a regular file; a MaxMind DB file (.mmdb) is expected")]
    NotAFile,
    /// Nothing in it.
    #[error("is empty; a MaxMind DB file (.mmdb) is expected")]
    Empty,
    /// More than we would keep in memory.
    #[error(
        "has {0} bytes; up to {MAX_FILE_BYTES} are accepted, which every country database stays far below"
    )]
    TooLarge(u64),
    /// Someone wrote to it meanwhile.
    #[error(
        "changed while it was read; write the new file under another name and rename it over the old one"
    )]
    ChangedWhileReading,
    /// Not the format, or cut off: the end of the file holds its description.
    #[error("is not a complete MaxMind DB file ({0}); garbage, truncated, or still compressed?")]
    NotADatabase(String),
    /// The format, with broken records inside.
    #[error("is damaged: {errors} errors after {networks} networks, the first one: {first}")]
    Damaged {
        /// Networks read without an error.
        networks: u64,
        /// Errors; counting stops at a limit.
        errors: u64,
        /// The first one.
        first: String,
    },
    /// A search tree that visits the same nodes over and over.
    #[error("is damaged: its search tree of {nodes} nodes has more than {leaves} ends")]
    TreeWithoutEnd {
        /// Nodes by the file's own account.
        nodes: u64,
        /// Ends seen when we gave up.
        leaves: u64,
    },
    /// Built to waste time, or a very slow machine.
    #[error("took longer than {seconds} s to check, and was given up")]
    TooSlow {
        /// The limit.
        seconds: u64,
    },
    /// A valid file that says nothing.
    #[error("is a valid file without a single network; a country database is expected")]
    NoNetworks,
    /// A valid file about something else.
    #[error(
        "has no country in any of its {networks} networks (its type is \"{kind}\"); a country or city database is \
         expected here, and an ASN database under its own key"
    )]
    NoCountries {
        /// The file's type string.
        kind: Arc<str>,
        /// How many networks it has.
        networks: u64,
    },
    /// A valid file about something else.
    #[error(
        "has no autonomous system in any of its {networks} networks (its type is \"{kind}\"); an ASN database is expected here"
    )]
    NoAutonomousSystems {
        /// The file's type string.
        kind: Arc<str>,
        /// How many networks it has.
        networks: u64,
    },
    /// A date that cannot be true makes the age, and with it every warning about age, meaningless.
    #[error(
        "was built at {built}, which is in the future (it is {now}); check the clock of this host, or get the file again"
    )]
    FromTheFuture {
        /// By the file's own account.
        built: WallTime,
        /// By our clock.
        now: WallTime,
    },
    /// Fine on its own, yet far worse than the one in use.
    #[error(
        "answers for {new} {what} where the one in use answers for {current}, which looks like an accident (set \
         partial_databases = true if it is meant)"
    )]
    Collapse {
        /// What is counted.
        what: &'static str,
        /// In the database in use.
        current: u64,
        /// In the replacement.
        new: u64,
    },
}
