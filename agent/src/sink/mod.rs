//! Sinks: every entry of the ledger goes to each of them at least once, in order.
//!
//! A sink is a cursor over the ledger. It moves only by an explicit positive answer and is synced after it moved, so a
//! receiver that is dead costs disk and not alerts, and no sink waits for another.

pub mod deliver;
pub mod format;
pub mod kind;

pub use deliver::{Deliver, Outcome, Rejected};
