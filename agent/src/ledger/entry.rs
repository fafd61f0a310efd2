//! What readers of the ledger see.

use std::{io, sync::Arc};

use tokio::sync::watch;

/// The longest entry, in bytes: tlog-tiles gives its length in 16 bits.
pub const MAX_ENTRY_BYTES: usize = u16::MAX as usize;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the ledger, from zero.
    pub index: u64,
    /// The record, one line of JSON without a newline.
    pub record: Arc<str>,
}

/// How much to read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// At most so many entries.
    pub entries: usize,
    /// No further entry once so many bytes of records have been read; the first one is always returned.
    pub bytes: usize,
}

/// A ledger as sinks and pages see it: durable entries only, in order.
pub trait Source: Send + Sync + 'static {
    /// The first entry that is still kept: retention may have removed those before it.
    fn first(&self) -> u64;

    /// Durable entries, and a way to wait for more: the value is the index that the next entry will have.
    fn size(&self) -> watch::Receiver<u64>;

    /// Entries from `from` on; none when `from` is the size.
    ///
    /// # Errors
    ///
    /// When `from` is not kept any more ([`io::ErrorKind::NotFound`]), and when the disk fails or what it holds
    /// cannot be read as entries ([`io::ErrorKind::InvalidData`]).
    fn read(&self, from: u64, page: Page) -> io::Result<Vec<Entry>>;
}
