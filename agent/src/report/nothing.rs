//! A period of which nothing is on record.

use std::fmt;

use super::{collect::Asked, words};

/// No record was made in the period that a statement was asked for. A statement about it could say nothing, and would
/// look as if nothing had left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NothingOnRecord {
    from: Option<i64>,
    to: Option<i64>,
    /// When the first record of the ledger was made, and when the last; none when there is none at all.
    made: Option<(i64, i64)>,
}

impl NothingOnRecord {
    pub(super) const fn new(asked: &Asked, made: Option<(i64, i64)>) -> Self {
        Self { from: asked.from, to: asked.to, made }
    }
}

impl fmt::Display for NothingOnRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing is on record")?;
        if let Some(from) = self.from {
            write!(f, " from {}", words::time(from))?;
        }
        if let Some(to) = self.to {
            write!(f, " until {}", words::time(to))?;
        }
        match self.made {
            Some((first, last)) => write!(
                f,
                ": the first record of the ledger was made at {}, the last at {}",
                words::time(first),
                words::time(last)
            ),
            None => f.write_str(": the ledger has no record"),
        }
    }
}

impl std::error::Error for NothingOnRecord {}
