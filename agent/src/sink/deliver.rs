//! What a kind of sink has to do.

use std::{future::Future, time::Duration};

use crate::ledger::Entry;

/// Hands entries to one receiver.
pub trait Deliver: Send + 'static {
    /// Hands a batch over. The batch is never empty, in order, and continues where the last positive answer ended.
    ///
    /// It has to return within the sink's own time limit, and may be dropped at any await.
    fn deliver(&mut self, batch: &[Entry]) -> impl Future<Output = Outcome> + Send;
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has taken responsibility for the first `entries` of it (all of them, usually). `rejected` among
    /// them were refused for good: they go to the dead-letter file.
    Taken {
        /// How many.
        entries: usize,
        /// Those the receiver does not want.
        rejected: Vec<Rejected>,
    },
    /// Nothing is known to have been taken: again, after a while.
    Retry {
        /// What happened, in words for a person.
        reason: String,
        /// As the receiver asked (`Retry-After`); the sink's own backoff when it did not ask.
        after: Option<Duration>,
    },
    /// The receiver will never take this batch as it is (400, 413, ...): a batch of several is split, a single entry
    /// goes to the dead-letter file.
    Refused {
        /// What it said.
        reason: String,
    },
}

/// An entry that the receiver refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Which.
    pub index: u64,
    /// What the receiver said.
    pub reason: String,
}
