//! What the writer of the ledger shares with its readers: which entries there are, and those of open bundles.
//!
//! The writer holds the lock for as long as it takes to push a few pointers, so no reader ever waits for a disk that
//! the writer waits for. Full bundles are immutable files: whoever reads them needs no lock.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tlog_tiles::record_hash;
use tokio::sync::watch;

use crate::{
    clock::WallTime,
    ledger::{
        bundle::{self, MAX_BUNDLE_BYTES},
        disk::{Disk, RealDisk, is_absent},
        edge,
        entry::{Entry, Page, Source},
        pack,
        path::{self, WIDTH},
        timing::Timing,
    },
};

/// How the ledger is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Name of the ledger, in every checkpoint; empty until it has been opened.
    pub origin: String,
    /// The key that checks checkpoints, as a line of text.
    pub verifier_key: String,
    /// Durable entries since its begin: the index of the next one.
    pub size: u64,
    /// Index of the first entry that is still kept.
    pub first: u64,
    /// Bytes of kept entries and of hashes.
    pub bytes: u64,
    /// Entries that the last checkpoint signs.
    pub checkpoint_size: u64,
    /// When it was signed; none until then.
    pub checkpoint_time: Option<WallTime>,
    /// Why there is no newer one, if that is not for want of entries.
    pub fault: Option<String>,
    /// How long it took to append and sync each batch, since the start, whether it worked or not.
    pub appends: Timing,
    /// What was lost or is damaged, in words. It stays until somebody has looked, and the agent was started again.
    pub damage: Option<String>,
}

/// A handle on the ledger for readers. Clones read the same ledger; each keeps the last bundle that it has read.
#[derive(Debug)]
pub struct Ledger {
    shared: Arc<Shared>,
    cache: Mutex<Option<(u64, Bundle)>>,
}

/// The entries of a full bundle.
type Bundle = Arc<[Arc<str>]>;

impl Clone for Ledger {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.shared))
    }
}

impl Ledger {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared, cache: Mutex::new(None) }
    }

    /// How it is.
    pub fn status(&self) -> Status {
        self.shared.state().status.clone()
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        &self.shared.directory
    }

    /// The entries of a full bundle, which are those that were signed.
    fn bundle(&self, number: u64) -> io::Result<Bundle> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, entries)) = &*cache
            && *known == number
        {
            return Ok(Arc::clone(entries));
        }
        let entries: Bundle = self.shared.read_bundle(number)?.into();
        *cache = Some((number, Arc::clone(&entries)));
        Ok(entries)
    }
}

impl Source for Ledger {
    fn first(&self) -> u64 {
        self.shared.state().status.first
    }

    fn size(&self) -> watch::Receiver<u64> {
        self.shared.size.subscribe()
    }

    fn read(&self, from: u64, page: Page) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut next = from;
        let end = from.saturating_add(page.entries as u64);
        // True when the page is full.
        let mut take = |next: &mut u64, record: &Arc<str>| {
            if *next >= end || (!entries.is_empty() && bytes >= page.bytes) {
                return true;
            }
            bytes += record.len();
            entries.push(Entry { index: *next, record: Arc::clone(record) });
            *next += 1;
            false
        };
        loop {
            {
                let state = self.shared.state();
                if next < state.status.first {
                    let message = format!("entries before {} are not kept any more", state.status.first);
                    return Err(io::Error::new(ErrorKind::NotFound, message));
                }
                if let Some(skip) = next.checked_sub(state.tail_start) {
                    let skip = usize::try_from(skip).unwrap_or(usize::MAX);
                    let _ = state.tail.iter().skip(skip).any(|record| take(&mut next, record));
                    return Ok(entries);
                }
            }
            let number = next / WIDTH;
            let bundle = match self.bundle(number) {
                Ok(bundle) => bundle,
                // What has been read is good; the next call says what is wrong with the rest.
                Err(_) if !entries.is_empty() => return Ok(entries),
                Err(error) => return Err(error),
            };
            let skip = usize::try_from(next % WIDTH).unwrap_or(0);
            if bundle.iter().skip(skip).any(|record| take(&mut next, record)) {
                return Ok(entries);
            }
        }
    }
}

pub(crate) type ReadFile = Box<dyn Fn(&Path) -> io::Result<Vec<u8>> + Send + Sync>;

/// See the module.
pub(crate) struct Shared {
    directory: PathBuf,
    size: watch::Sender<u64>,
    state: Mutex<State>,
    read: ReadFile,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("directory", &self.directory).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// Index of the first entry in `tail`: the begin of a bundle.
    pub(crate) tail_start: u64,
    /// Entries of bundles that are not files yet.
    pub(crate) tail: VecDeque<Arc<str>>,
    pub(crate) status: Status,
}

impl Shared {
    /// A ledger that has not been opened has no entries.
    pub(crate) fn new(directory: &Path) -> Arc<Self> {
        Self::with(directory, Box::new(|path| RealDisk.read(path)))
    }

    pub(crate) fn with(directory: &Path, read: ReadFile) -> Arc<Self> {
        let size = watch::Sender::new(0);
        Arc::new(Self { directory: directory.to_owned(), size, state: Mutex::default(), read })
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Readers hear of entries once they are durable.
    pub(crate) fn announce(&self) {
        let size = self.state().status.size;
        self.size.send_if_modified(|known| std::mem::replace(known, size) != size);
    }

    fn read_bundle(&self, number: u64) -> io::Result<Vec<Arc<str>>> {
        let wrong = |what: &str| {
            let message = format!("entry bundle {number} {what}");
            Err(io::Error::new(ErrorKind::InvalidData, message))
        };
        let bytes = match (self.read)(&self.directory.join(path::entries(number, WIDTH))) {
            Ok(bytes) => bytes,
            Err(error) if is_absent(&error) => {
                match (self.read)(&self.directory.join(path::packed(number))) {
                    Ok(packed) => match pack::unpack(&packed, MAX_BUNDLE_BYTES) {
                        Some(bytes) => bytes,
                        None => return wrong("is damaged"),
                    },
                    Err(error) if is_absent(&error) && number * WIDTH < self.state().status.first => {
                        return Err(io::Error::new(ErrorKind::NotFound, "entries are not kept any more"));
                    }
                    Err(error) if is_absent(&error) => return wrong("is missing"),
                    Err(error) => return Err(error),
                }
            }
            Err(error) => return Err(error),
        };
        let Some(entries) = bundle::decode(&bytes) else { return wrong("is damaged") };
        if entries.len() as u64 != WIDTH {
            return wrong("has not 256 entries");
        }
        // Without hashes nothing can be proven, but what was written may still be told.
        if let Ok(tile) = (self.read)(&self.directory.join(path::hashes(0, number, WIDTH)))
            && let Some(hashes) = edge::split(&tile, entries.len())
            && entries.iter().zip(&hashes).any(|(entry, hash)| record_hash(entry.as_bytes()) != *hash)
        {
            return wrong("is not what was signed");
        }
        Ok(entries)
    }
}
