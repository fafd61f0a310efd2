//! The ledger: everything the agent says, append-only, signed, and at the same time the spool of every sink.
//!
//! An entry is one record (see [`crate::record`]) as one line of JSON without its newline. Entries are numbered from
//! zero without a hole: the number is the entry's *index*, the leaf of the Merkle tree that checkpoints sign.

pub mod audit;
pub mod entry;
pub mod witness;

pub use entry::{Entry, Page, Source};
