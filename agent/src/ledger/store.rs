//! Appends, signs, prunes.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
};

use tlog_tiles::{Hash, record_hash};

use crate::{
    clock::WallTime,
    ledger::{
        bundle,
        disk::{Disk, if_there, is_absent, make_directories, replace, write_all, write_beside},
        edge::{self, Edge, FullTile},
        entry::MAX_ENTRY_BYTES,
        head::Head,
        journal,
        key::Key,
        pack::{self, PLAIN},
        path::{self, WIDTH},
        shared::Shared,
    },
};

/// Full bundles that may wait to become files. They are in memory until then, some 400 KiB each, so entries are
/// refused beyond: the disk takes the journal but nothing else.
const MAX_WAITING_BUNDLES: u64 = 16;

/// The ledger, for its one writer. See the module above for how it works.
pub(crate) struct Store<D: Disk> {
    pub(super) disk: D,
    pub(super) directory: PathBuf,
    /// Where copies of the head are kept, against somebody who puts an old ledger back.
    pub(super) copies: Vec<PathBuf>,
    pub(super) key: Key,
    pub(super) origin: String,
    pub(super) edge: Edge,
    /// Hash tiles that are full and no files yet.
    pub(super) full_tiles: Vec<FullTile>,
    /// Length of the file of each open bundle.
    pub(super) journals: BTreeMap<u64, u64>,
    /// The journals on disk may not be what they should be: they are written anew before the next entry.
    pub(super) is_suspect: bool,
    /// Partial tiles of the last checkpoint, and of the one before: whoever has just read that may still finish.
    pub(super) partials: [BTreeSet<PathBuf>; 2],
    pub(super) published: u64,
    /// Bundles before this one are packed, or cannot be.
    pub(super) packed: u64,
    pub(super) shared: Arc<Shared>,
}

impl<D: Disk> Store<D> {
    /// Whether there are entries that no checkpoint signs.
    pub(crate) const fn is_unpublished(&self) -> bool {
        self.edge.size() != self.published
    }

    /// Appends entries, all or none. They are durable when this returns.
    ///
    /// # Errors
    ///
    /// When the disk fails, or an entry is too long.
    pub(crate) fn append(&mut self, entries: &[Arc<str>], now: WallTime) -> io::Result<()> {
        if entries.iter().any(|entry| entry.len() > MAX_ENTRY_BYTES) {
            return Err(io::Error::new(ErrorKind::InvalidInput, "an entry is longer than 65,535 bytes"));
        }
        if self.waiting_bundles() >= MAX_WAITING_BUNDLES {
            self.publish(now)?;
        }
        if self.is_suspect {
            self.write_journals_anew()?;
        }
        let leaves: Vec<Hash> = entries.iter().map(|entry| record_hash(entry.as_bytes())).collect();
        let mut frames: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for (index, (entry, leaf)) in (self.edge.size()..).zip(entries.iter().zip(&leaves)) {
            journal::encode(frames.entry(index / WIDTH).or_default(), entry, leaf);
        }
        if let Err(error) = frames.iter().try_for_each(|(bundle, bytes)| self.append_journal(*bundle, bytes))
        {
            self.take_back(frames.keys());
            return Err(error);
        }
        for (bundle, bytes) in &frames {
            let length = self.journals.entry(*bundle).or_insert(journal::HEADER_BYTES as u64);
            *length += bytes.len() as u64;
        }
        for leaf in leaves {
            self.edge.push(leaf, &mut self.full_tiles);
        }
        let mut state = self.shared.state();
        state.tail.extend(entries.iter().cloned());
        state.status.size = self.edge.size();
        state.status.bytes += entries.iter().map(|entry| entry_bytes(entry)).sum::<u64>();
        drop(state);
        self.shared.announce();
        Ok(())
    }

    fn append_journal(&self, bundle: u64, frames: &[u8]) -> io::Result<()> {
        let path = self.journal_path(bundle);
        if self.journals.contains_key(&bundle) {
            let mut file = self.disk.open(&path)?;
            write_all(&self.disk, &mut file, frames)?;
            return self.disk.sync(&mut file);
        }
        let mut file = self.disk.create(&path, false)?;
        write_all(&self.disk, &mut file, &journal::header(bundle))?;
        write_all(&self.disk, &mut file, frames)?;
        self.disk.sync(&mut file)?;
        self.disk.sync_directory(&self.directory.join("open"))
    }

    /// What was written of a batch that failed must not be found by the next agent: nobody was told that it is kept.
    /// Also after a failed sync: the kernel may have dropped the pages, and would report the next one as a success.
    fn take_back<'a>(&mut self, bundles: impl Iterator<Item = &'a u64>) {
        for bundle in bundles {
            let path = self.journal_path(*bundle);
            // Best done now, because it makes room; done again, whole, before the next entry.
            let _ = match self.journals.get(bundle) {
                Some(length) => self.disk.truncate(&path, *length),
                None => self.disk.remove(&path),
            };
        }
        self.is_suspect = true;
    }

    /// From memory, each whole and beside the old one.
    pub(super) fn write_journals_anew(&mut self) -> io::Result<()> {
        let bundles = {
            let state = self.shared.state();
            let mut bundles: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
            for (index, entry) in (state.tail_start..).zip(&state.tail) {
                let number = index / WIDTH;
                let bytes = bundles.entry(number).or_insert_with(|| journal::header(number));
                journal::encode(bytes, entry, &record_hash(entry.as_bytes()));
            }
            bundles
        };
        make_directories(&self.disk, &self.directory.join("open"))?;
        for (bundle, bytes) in &bundles {
            replace(&self.disk, &self.beside(), &self.journal_path(*bundle), bytes)?;
        }
        // What could not be removed when it was taken back.
        let directory = self.directory.join("open");
        for name in self.disk.names(&directory)? {
            if !name.parse().is_ok_and(|bundle: u64| bundles.contains_key(&bundle)) {
                if_there(self.disk.remove(&directory.join(name)))?;
            }
        }
        self.disk.sync_directory(&directory)?;
        self.journals = bundles.iter().map(|(bundle, bytes)| (*bundle, bytes.len() as u64)).collect();
        self.is_suspect = false;
        Ok(())
    }

    /// Signs what there is: first everything that a reader of the new checkpoint needs, then the checkpoint.
    ///
    /// # Errors
    ///
    /// When the disk fails. The checkpoint before is then still there, and complete.
    pub(crate) fn publish(&mut self, now: WallTime) -> io::Result<()> {
        self.write_full()?;
        let partials = self.write_partials()?;
        let root = self.edge.root().map_err(io::Error::other)?;
        let head = Head { origin: self.origin.clone(), size: self.edge.size(), root };
        let Some(note) = head.sign(&self.key) else {
            return Err(io::Error::other("the origin is no name for a key"));
        };
        self.replace(&self.directory.join("checkpoint"), &note)?;
        self.published = head.size;
        for copy in &self.copies {
            // Only a lower bound is needed, so it is not synced; without any of them an old ledger would be believed.
            let beside = copy.with_extension("new");
            let written = self.write_unsynced(&beside, &note).and_then(|()| self.disk.rename(&beside, copy));
            if let Err(error) = written {
                tracing::warn!(path = %copy.display(), %error, "the copy of the ledger's head was not written");
            }
        }
        let mut state = self.shared.state();
        state.status.checkpoint_size = head.size;
        state.status.checkpoint_time = Some(now);
        drop(state);
        self.clean(partials);
        Ok(())
    }

    fn waiting_bundles(&self) -> u64 {
        self.shared.state().tail.len() as u64 / WIDTH
    }

    /// Full bundles and full hash tiles become files.
    fn write_full(&mut self) -> io::Result<()> {
        while self.waiting_bundles() > 0 {
            let (start, bytes) = {
                let state = self.shared.state();
                (state.tail_start, bundle::encode(state.tail.iter().take(WIDTH as usize)))
            };
            self.replace(&self.directory.join(path::entries(start / WIDTH, WIDTH)), &bytes)?;
            let mut state = self.shared.state();
            state.tail.drain(..WIDTH as usize);
            state.tail_start += WIDTH;
        }
        while let Some(tile) = self.full_tiles.first() {
            self.replace(&self.directory.join(path::hashes(tile.level, tile.number, WIDTH)), &tile.bytes)?;
            self.full_tiles.remove(0);
        }
        Ok(())
    }

    fn write_partials(&self) -> io::Result<BTreeSet<PathBuf>> {
        let mut written = BTreeSet::new();
        let mut write = |name: String, bytes: &[u8]| {
            let path = self.directory.join(name);
            // The same width is the same content.
            if !self.partials[0].contains(&path) {
                self.replace(&path, bytes)?;
            }
            written.insert(path);
            io::Result::Ok(())
        };
        for (level, number, hashes) in self.edge.partials() {
            write(path::hashes(level, number, hashes.len() as u64), &edge::concat(hashes))?;
        }
        let (start, bytes, width) = {
            let state = self.shared.state();
            (state.tail_start, bundle::encode(&state.tail), state.tail.len() as u64)
        };
        if width > 0 {
            write(path::entries(start / WIDTH, width), &bytes)?;
        }
        Ok(written)
    }

    /// Removes what no checkpoint needs any more. What cannot be removed costs room and nothing else.
    fn clean(&mut self, partials: BTreeSet<PathBuf>) {
        let bundle = self.edge.size() / WIDTH;
        let done: Vec<u64> = self.journals.range(..bundle).map(|(bundle, _)| *bundle).collect();
        for bundle in done {
            self.journals.remove(&bundle);
            let _ = self.disk.remove(&self.journal_path(bundle));
        }
        for old in
            self.partials[1].iter().filter(|old| !partials.contains(*old) && !self.partials[0].contains(*old))
        {
            let _ = self.disk.remove(old);
            if let Some(directory) = old.parent() {
                // Only an empty one goes.
                let _ = self.disk.remove_directory(directory);
            }
        }
        self.partials.swap(0, 1);
        self.partials[0] = partials;
    }

    /// Whether there is a bundle to pack.
    pub(crate) fn is_packable(&self) -> bool {
        self.packed + PLAIN < self.shared.state().tail_start.min(self.published) / WIDTH
    }

    /// Packs the oldest plain bundle, if it is one that a checkpoint signs and that is not among the last ones.
    ///
    /// # Errors
    ///
    /// When the disk fails. The plain bundle is still there.
    pub(crate) fn pack(&mut self) -> io::Result<()> {
        if !self.is_packable() {
            return Ok(());
        }
        let number = self.packed;
        let plain = self.directory.join(path::entries(number, WIDTH));
        if let Some(bytes) = if_there(self.disk.read(&plain))?
            && self.is_as_signed(number, &bytes)?
        {
            let packed = pack::pack(&bytes);
            self.replace(&self.directory.join(path::packed(number)), &packed)?;
            self.disk.remove(&plain)?;
            let mut state = self.shared.state();
            state.status.bytes = state.status.bytes.saturating_sub((bytes.len() - packed.len()) as u64);
        }
        self.packed = number + 1;
        Ok(())
    }

    /// What is damaged must stay as it is, for whoever wants to know what became of it.
    fn is_as_signed(&self, number: u64, bytes: &[u8]) -> io::Result<bool> {
        let tile = if_there(self.disk.read(&self.directory.join(path::hashes(0, number, WIDTH))))?;
        let hashes = tile.and_then(|tile| edge::split(&tile, WIDTH as usize));
        let Some((hashes, entries)) = hashes.zip(bundle::decode(bytes)) else { return Ok(false) };
        Ok(entries.len() == hashes.len()
            && entries.iter().zip(&hashes).all(|(entry, hash)| record_hash(entry.as_bytes()) == *hash))
    }

    /// Removes the entries of whole bundles before `first`; their hashes stay, 32 bytes each, so that everything that
    /// is kept, and every checkpoint that anybody has, can still be proven.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    pub(crate) fn prune(&mut self, first: u64) -> io::Result<()> {
        let (before, end) = {
            let state = self.shared.state();
            (state.status.first, first.min(state.tail_start) / WIDTH)
        };
        if end * WIDTH <= before {
            return Ok(());
        }
        // First what is known of it, then the deed: what is missing is never a surprise.
        self.replace(&self.directory.join("minimum-index"), format!("{}\n", end * WIDTH).as_bytes())?;
        self.shared.state().status.first = end * WIDTH;
        for number in before / WIDTH..end {
            let mut bytes = 0;
            for name in [path::packed(number), path::entries(number, WIDTH)] {
                let path = self.directory.join(name);
                bytes = self.disk.length(&path).unwrap_or(bytes);
                if_there(self.disk.remove(&path))?;
            }
            let mut state = self.shared.state();
            state.status.bytes = state.status.bytes.saturating_sub(bytes);
        }
        self.packed = self.packed.max(end);
        Ok(())
    }

    pub(super) fn beside(&self) -> PathBuf {
        self.directory.join(BESIDE)
    }

    pub(super) fn journal_path(&self, bundle: u64) -> PathBuf {
        journal_path(&self.directory, bundle)
    }

    pub(super) fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        replace(&self.disk, &self.beside(), path, bytes)
    }

    fn write_unsynced(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = match self.disk.create(path, false) {
            Err(error) if is_absent(&error) => {
                make_directories(&self.disk, path.parent().ok_or(error)?)?;
                self.disk.create(path, false)?
            }
            file => file?,
        };
        write_all(&self.disk, &mut file, bytes)
    }
}

/// A file that is being written, before it is put in its place.
pub(super) const BESIDE: &str = "new";

pub(super) fn journal_path(directory: &Path, bundle: u64) -> PathBuf {
    directory.join(format!("open/{bundle}"))
}

/// Bytes that an entry takes: in a bundle, and its hash.
pub(super) fn entry_bytes(entry: &str) -> u64 {
    entry.len() as u64 + 2 + 32
}

/// Writes a small file that is in no tile.
pub(super) fn write_new<D: Disk>(disk: &D, directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let beside = directory.join(BESIDE);
    write_beside(disk, &beside, bytes, false)?;
    disk.rename(&beside, &directory.join(name))?;
    disk.sync_directory(directory)
}
