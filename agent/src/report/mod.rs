//! The residency statement for a period: what left, for where, under which policy, and how far that can be trusted.
//!
//! It is made from the entries of a ledger alone, offline and without an agent, after the ledger was verified. So it has
//! the numbers that were signed, and no others: whoever adds up `ledger show --json` gets the same.
//!
//! | file | what for |
//! |---|---|
//! | `statement` | what a statement says; also its JSON |
//! | `entry` | the records as they are read: the fields that count |
//! | `collect` | records become a statement |
//! | `episodes` | records of findings become rows |
//! | `time` | which time was watched, and how well |
//! | `nothing` | a period of which nothing is on record |
//! | `words` | sentences that text and HTML share |
//! | `text`, `html` | the statement for people |
//!
//! **Which records belong to a period:** those that were made in it (`metadata.logged_time`), the end not included.
//! Each record is in exactly one of two periods that adjoin, so statements add up. A record of an interval may cover
//! a moment before the period; its bytes are not divided. Time is cut at the borders.
//!
//! Nothing here reads a clock, asks a host or knows what kernel it runs on.

mod collect;
mod entry;
mod episodes;
mod html;
mod nothing;
pub mod statement;
mod text;
mod time;
mod words;

pub use collect::{Asked, make};
pub use html::html;
pub use nothing::NothingOnRecord;
pub use statement::Statement;
pub use text::text;

#[cfg(test)]
mod tests;
