//! The ledger: everything the agent says, append-only, signed, and at the same time the spool of every sink.
//!
//! An entry is one record (see [`crate::record`]) as one line of JSON without its newline. Entries are numbered from
//! zero without a hole: the number is the entry's *index*, the leaf of the Merkle tree that checkpoints sign.
//!
//! # Promise
//!
//! 1. What was accepted is durable, in order, for as long as retention says, whatever process or host dies when.
//! 2. What a checkpoint signs never changes. Whoever has an old checkpoint can check that every later one continues it.
//! 3. A disk that is full or fails stops nothing: the writer above ([`crate::record::writer`]) keeps records in bounded
//!    memory, says so, and writes with exact counts what it had to drop.
//! 4. Damage is repaired where a second copy allows it, and told where it does not. The agent always starts.
//!
//! # Format
//!
//! ```text
//!   checkpoint                     signed note: origin, size, root            } C2SP tlog-checkpoint, signed-note
//!   tile/<level>/<N>[.p/<W>]       256 (or W) hashes of 32 bytes              } C2SP tlog-tiles
//!   tile/entries/<N>[.p/<W>]       256 (or W) entries, each after its length  }
//!   tile/entries/<N>.gz            the same, once it is not among the last ones: see `pack`
//!   key, key.pub                   Ed25519, owner only; one line for everybody
//!   minimum-index                  index of the first entry that is kept, once something was removed
//!   open/<N>                       the journal of a bundle that is not full: see `journal`
//!   quarantine/<n>/                what could not be gone on with
//! ```
//!
//! The first five lines are what outsiders need, and are complete for every checkpoint: any reader of C2SP logs can
//! verify them, once old bundles are unpacked as a web server or `gunzip` does. The rest is ours. Copies of the checkpoint are kept outside of the directory (`ledger.head` in
//! `agent.state_dir` and `agent.run_dir`), so that an old ledger put back is noticed.
//!
//! # Writing
//!
//! A tile is immutable, and the open bundle grows by an entry at a time: rewriting its partial tile for each would cost
//! two hundred kilobytes and many syncs. So there are two speeds:
//!
//! - **Append.** A batch goes to the end of the open bundle's journal, and the journal is synced: one write, one
//!   `fdatasync`, whatever the size of the ledger. Then the batch is *accepted*: readers see it, sinks send it.
//! - **Publish.** Right after that when the last time was long enough ago (ten times as long as it took, at most a
//!   second): bundles and hash tiles that became full are written, then partial tiles of the right edge, then the
//!   checkpoint; each beside its place, synced, renamed, and the directory synced. After the checkpoint the journals of
//!   full bundles go, and the partial tiles of the checkpoint before the last.
//!
//! - **Pack.** Now and then, at most a third of the time: the oldest plain bundle that is not among the last eight is
//!   compared with its hashes, written beside its place as a gzip file, synced and renamed; then the plain one goes. Where
//!   both are, the host died in between, and the plain one counts. A bundle that is damaged stays as it is.
//!
//! **Invariants**, for a host that dies between any two of these steps:
//!
//! 1. *Journal or tile.* Every accepted entry is in a synced journal until its full bundle is synced and a checkpoint
//!    signs it.
//! 2. *Tiles, then checkpoint.* What a checkpoint needs is durable before it is there.
//! 3. *All or none.* A batch that failed is taken back, and the journals are written anew from memory, whole and beside
//!    the old ones, before anything else is appended: after a failed sync nobody knows what the disk has (the kernel may
//!    have dropped the pages and report the next sync as a success). An entry that was refused and found all the same,
//!    because the agent died before it could take it back, is one that is repeated: its `metadata.uid` says so.
//! 4. *One writer.* The agent holds a lock on the directory.
//!
//! # Recovery
//!
//! The latest head that our key has signed, of the checkpoint and its copies, says what has to be there. Hashes of the
//! right edge come from tiles, or from what is below them; entries of the open bundle from the journal or the partial
//! tile: whatever leads to the signed root is right, and what is missing is written again. Then what the journals have
//! beyond the head is appended, and a torn end is cut. The journals are written anew, for one that another agent has
//! begun may be in the kernel's memory alone, and a new checkpoint is signed. This reads and writes a few hundred
//! kilobytes, whatever the size of the ledger; old bundles are only looked for, and checked when they are read.
//!
//! Where nothing leads to the root (an old copy of the directory, a lost key, two copies damaged at once), going on would
//! mean two histories under one name. The ledger is moved to `quarantine/` as it is, and another one is begun with the
//! same key under another origin (`.../2`); its first entries say which ledger was lost, with size and root. No step of
//! this waits for anything or is repeated at the next start.
//!
//! # Costs
//!
//! Per entry 34 bytes more than the record, and a ninth of the record, more or less, once it is packed. Per batch one `fdatasync`. Per checkpoint the open bundle once (some 200 KiB
//! on average) and about ten syncs, at most a tenth of the writer's time. In memory the entries of bundles that are not
//! files: one as a rule, 17 at most when the disk takes the journal and no tiles. At start one `stat` per bundle.
//!
//! | file | what for |
//! |---|---|
//! | `entry` | what readers see |
//! | `path`, `bundle`, `pack`, `journal` | the formats |
//! | `key`, `head` | who signs, and what |
//! | `edge` | the right edge of the tree |
//! | `disk` | the file operations, fakeable |
//! | `store`, `recover`, `retention` | append, publish and prune; open; what goes when |
//! | `shared` | the handle for readers |
//! | `timing` | how long appending takes |

pub mod audit;
mod bundle;
mod disk;
mod edge;
pub mod entry;
mod head;
mod journal;
mod key;
pub(crate) mod pack;
pub mod path;
mod recover;
mod retention;
mod shared;
mod store;
#[cfg(test)]
mod tests;
mod timing;
pub mod witness;

pub(crate) use self::{
    disk::RealDisk,
    recover::{Found, Lost, open},
    retention::Pruning,
    shared::Shared,
    store::Store,
};
pub use self::{
    entry::{Entry, Page, Source},
    retention::Retention,
    shared::{Ledger, Status},
    timing::Timing,
};
