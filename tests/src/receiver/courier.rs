//! Hands entries over to a sink of one kind, by the rules of `homeport::sink::Deliver`.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use homeport::{
    ledger::Entry,
    sink::{Deliver, Outcome, Rejected},
};
use tokio::time::timeout;

use crate::patience::patient;

/// Nothing takes longer unless it hangs.
const HANG: Duration = Duration::from_secs(60);

/// What became of a ledger.
#[derive(Clone, Debug, Default)]
pub struct Delivered {
    /// Entries that went to the dead-letter file.
    pub dead: Vec<Rejected>,
    /// Attempts that brought nothing, with their reasons.
    pub retries: Vec<String>,
    /// Waits that the receiver asked for.
    pub waits: Vec<Duration>,
}

/// Hands over everything, in batches of at most `batch` entries, each attempt within `limit`.
///
/// # Errors
///
/// When it does not come to an end, or a kind of sink breaks the rules.
pub async fn deliver(
    sink: &mut impl Deliver,
    entries: &[Entry],
    batch: usize,
    limit: Duration,
) -> Result<Delivered> {
    let mut delivered = Delivered::default();
    let (mut next, mut size) = (0, batch);
    let end = Instant::now() + patient(HANG);
    while next < entries.len() {
        ensure!(Instant::now() < end, "no end: {next} of {} delivered, {delivered:?}", entries.len());
        let part = &entries[next..entries.len().min(next + size)];
        let outcome = timeout(limit, sink.deliver(part)).await;
        match outcome
            .unwrap_or_else(|_| Outcome::Retry { reason: "no answer in time".to_owned(), after: None })
        {
            Outcome::Taken { entries: taken, rejected } => {
                ensure!((1..=part.len()).contains(&taken), "took {taken} of {}", part.len());
                for refused in &rejected {
                    ensure!(
                        part[..taken].iter().any(|entry| entry.index == refused.index),
                        "refused {refused:?}, which was not taken"
                    );
                }
                delivered.dead.extend(rejected);
                next += taken;
                size = batch;
            }
            Outcome::Retry { reason, after } => {
                delivered.retries.push(reason);
                delivered.waits.extend(after);
                // Time for whoever restarts the receiver.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Outcome::Refused { reason } if part.len() == 1 => {
                delivered.dead.push(Rejected { index: part[0].index, reason });
                next += 1;
                size = batch;
            }
            Outcome::Refused { .. } => size = part.len().div_ceil(2),
        }
    }
    Ok(delivered)
}
