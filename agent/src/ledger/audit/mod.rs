//! The outsider's side of the ledger: what anybody can check who has nothing but the files and a public key.
//!
//! It is written from the published formats alone (C2SP tlog-tiles, tlog-checkpoint, signed-note, tlog-cosignature,
//! tlog-proof, tlog-policy; RFC 6962) and shares no code with the writer: where the two agree, two
//! implementations agree.
//!
//! | file | what for |
//! |---|---|
//! | `format` | names of the files, entry bundles, hash tiles |
//! | `merkle` | the tree: roots, inclusion and consistency, made and checked |
//! | `note` | keys, signatures, checkpoints, cosignatures |
//! | `policy` | which witnesses have to have seen a checkpoint (tlog-policy) |
//! | `reader` | a ledger directory, or a bundle of evidence from one |
//! | `problem` | what is wrong, and where |
//! | `verify` | everything: files, tree, signature, and what the records say of themselves |
//! | `walk` | the part of it that goes through the tree |
//! | `edge` | the part about the incomplete tiles at its end |
//! | `content` | the part about the records: numbers without a hole, times that go forward |
//! | `glance` | what a record says it is |
//! | `stray` | the part about files that should not be there |
//! | `proof` | tlog-proof files |
//! | `signed` | what is handed over only when it is what was signed |
//! | `export` | a bundle of evidence for a period |
//!
//! Nothing here writes to a ledger, opens a socket or believes a length that a file gives.

mod content;
mod edge;
pub mod export;
pub mod format;
mod glance;
pub mod merkle;
pub mod note;
pub mod policy;
mod problem;
pub mod proof;
pub mod reader;
pub mod signed;
mod stray;
pub mod verify;
mod walk;

#[cfg(test)]
#[expect(unreachable_pub, reason = "homeport-tests includes the file and shows it to its campaigns")]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

pub use glance::Glance;
pub use problem::{Problem, Weight};
pub use reader::Reader;
pub use verify::{Options, Report, verify};
pub use walk::Tell;
