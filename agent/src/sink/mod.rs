//! Sinks: every entry of the ledger goes to each of them at least once, in order.
//!
//! A sink is a cursor over the ledger. It moves only by an explicit positive answer and is synced after it moved, so a
//! receiver that is dead costs disk and not alerts, and no sink waits for another.
//!
//! ```text
//!            read ahead            batch            answer
//!   ledger ------------> reader ----------> kind ----------> cursor (synced)
//!                          select             \-> refused for good: dead letters (synced), a notice
//! ```
//!
//! | file | what for |
//! |---|---|
//! | [`settings`] | what an operator decides |
//! | `worker` | one sink at work: what follows from each outcome |
//! | `reader`, [`select`] | what comes next, and which of it the sink wants |
//! | `cursor`, `dead_letter` | what is on disk of a sink |
//! | `retry` | when to try again |
//! | [`status`] | how it is |
//! | [`preflight`] | what can be said before anything is sent |
//! | [`deliver`] | what a kind has to do |
//! | `jsonl`, `webhook`, `alertmanager`, `otlp`, `syslog` | kinds |
//! | `appetite` | how much a slow receiver is given at once |
//! | [`mod@format`] | what a record looks like there |
//! | [`http`], [`tls`], [`secret`] | how receivers are spoken to |
//!
//! All sinks share one thread of their own, and a pool of threads for what blocks: nothing that a receiver does
//! reaches the loop that observes, or the ledger.

pub mod deliver;
pub mod format;
pub mod http;
pub mod preflight;
pub mod secret;
pub mod select;
pub mod settings;
pub mod status;
pub mod tls;

mod alertmanager;
mod appetite;
mod cursor;
mod dead_letter;
mod jsonl;
mod otlp;
mod reader;
mod retry;
mod syslog;
mod team;
mod webhook;
mod worker;

#[cfg(test)]
mod tests;

pub use deliver::{Deliver, Outcome, Rejected};
pub use settings::SinkSettings;
pub use status::{Notice, Range, SinkRow};
pub use team::{Place, Sinks};
