//! The ledger against a naive model, on a file system that fails on command and forgets what was not synced.

mod fake;
mod model;
mod real;
mod recovery;
