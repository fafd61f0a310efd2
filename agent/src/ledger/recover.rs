//! Opens a ledger, whatever became of its files.
//!
//! The last signed head says what has to be there. Of each thing that it needs there are several: hashes can be
//! computed from what is below them, the entries of the open bundle are in its journal and in its partial tile, and
//! the head itself is kept elsewhere too. What checks is taken, what does not is written anew. Only when no
//! combination leads to the signed root is the ledger lost: it is moved to `quarantine/` as it is, and another one is
//! begun, under another origin, whose first entries say what happened.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tlog_tiles::{EMPTY_HASH, Hash, record_hash};

use crate::{
    clock::WallTime,
    ledger::{
        bundle::{self, MAX_BUNDLE_BYTES},
        disk::{Disk, if_there, make_directories},
        edge::{self, Edge},
        head::{self, Head},
        journal,
        key::{Key, Loaded},
        pack,
        path::{self, WIDTH},
        shared::Shared,
        store::{BESIDE, Store, entry_bytes, journal_path, write_new},
    },
};

/// Combinations of candidates for hash tiles that are tried: four levels with two each, and some more.
const MAX_COMBINATIONS: usize = 64;

/// Ranges of missing entries that are told apart.
const MAX_MISSING: usize = 16;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Durable entries that no checkpoint had signed.
    pub(crate) unsigned: u64,
    /// What was written anew, in words.
    pub(crate) repaired: Vec<String>,
    /// A ledger was lost.
    pub(crate) lost: Option<Lost>,
    /// Entries that are missing or cannot be read, in bundles that were complete: from and until, by index.
    pub(crate) missing: Vec<(u64, u64)>,
    /// Entries that could be read and have no place: before them is one that cannot.
    pub(crate) stranded: u64,
    /// There is something in `quarantine/`: of this start, or of one before.
    pub(crate) has_quarantine: bool,
}

/// A ledger that could not be gone on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    /// `rolled-back`, `damaged`, `head-lost` or `key-lost`.
    pub(crate) cause: &'static str,
    /// What it was called; empty when nobody knows.
    pub(crate) origin: String,
    /// How many entries had been signed, as far as known.
    pub(crate) size: u64,
    /// The root that was signed with them, as in a checkpoint.
    pub(crate) root: String,
    /// Where its files are.
    pub(crate) quarantine: PathBuf,
}

/// Opens the ledger in `directory`, or begins one called `origin`.
///
/// # Errors
///
/// When the disk fails in a way that may pass. Damage is no error.
pub(crate) fn open<D: Disk>(
    disk: D,
    copies: Vec<PathBuf>,
    origin: &str,
    shared: Arc<Shared>,
    now: WallTime,
) -> io::Result<(Store<D>, Found)> {
    let directory = shared.directory().to_owned();
    make_directories(&disk, &directory)?;
    make_directories(&disk, &directory.join("open"))?;
    let opening = Opening { disk, directory, copies, shared };
    let mut found = Found::default();
    let (key, tree) = opening.look(origin, &mut found)?;
    let mut store = opening.store(key, tree, &mut found)?;
    store.count(&mut found)?;
    store.sync_directories()?;
    // Signed again at once: what was durable counts, and what was missing is there.
    store.publish(now)?;
    store.sweep()?;
    let quarantine = if_there(store.disk.names(&store.directory.join("quarantine")))?;
    found.has_quarantine = quarantine.is_some_and(|names| !names.is_empty());
    store.shared.announce();
    Ok((store, found))
}

/// What a ledger goes on from.
struct Tree {
    head: Head,
    edge: Edge,
    /// Entries of the open bundle, and those behind it that no checkpoint has signed.
    tail: Vec<Arc<str>>,
}

struct Opening<D> {
    disk: D,
    directory: PathBuf,
    copies: Vec<PathBuf>,
    shared: Arc<Shared>,
}

impl<D: Disk> Opening<D> {
    fn look(&self, origin: &str, found: &mut Found) -> io::Result<(Key, Tree)> {
        let key = match Key::load(&self.disk, &self.directory.join("key"))? {
            Loaded::Key(key) => *key,
            Loaded::Absent if !self.has_traces()? => {
                let origin = self.anew(origin)?;
                return Ok((Key::create(&self.disk, &self.directory, &origin)?, Tree::empty(&origin)));
            }
            Loaded::Absent | Loaded::Damaged => {
                let last = self.unverified_head();
                found.lost = Some(self.set_aside("key-lost", last, &["key"])?);
                let known = found.lost.as_ref().map(|lost| lost.origin.as_str());
                let origin = self.anew(known.filter(|known| !known.is_empty()).unwrap_or(origin))?;
                return Ok((Key::create(&self.disk, &self.directory, &origin)?, Tree::empty(&origin)));
            }
        };
        let (head, is_checkpoint_lost) = match self.last_head(&key)? {
            (Some(head), is_checkpoint_lost) => (head, is_checkpoint_lost),
            (None, _) if !self.has_traces()? => return Ok((key, Tree::empty(&self.anew(origin)?))),
            (None, _) => {
                let lost = self.set_aside("head-lost", None, &[])?;
                found.lost = Some(lost);
                return Ok((key, Tree::empty(&self.anew(origin)?)));
            }
        };
        match self.tree(&head, found)? {
            Some(tree) => {
                if is_checkpoint_lost {
                    found.repaired.push("the checkpoint was missing, damaged or an older one".to_owned());
                }
                Ok((key, tree))
            }
            None => {
                let cause = if is_checkpoint_lost { "rolled-back" } else { "damaged" };
                let origin = head.origin.clone();
                *found = Found { lost: Some(self.set_aside(cause, Some(head), &[])?), ..Found::default() };
                Ok((key, Tree::empty(&self.anew(&origin)?)))
            }
        }
    }

    /// What a ledger that begins now is called: no ledger before it was called so.
    fn anew(&self, origin: &str) -> io::Result<String> {
        let names = if_there(self.disk.names(&self.directory.join("quarantine")))?.unwrap_or_default();
        let before = names.iter().filter(|name| name.parse::<u64>().is_ok()).count();
        Ok(head::successor(origin, before as u64))
    }

    /// Whether there is, or was, a ledger here.
    fn has_traces(&self) -> io::Result<bool> {
        let open = if_there(self.disk.names(&self.directory.join("open")))?.unwrap_or_default();
        let is_there = |path: &Path| if_there(self.disk.length(path));
        let checkpoint = is_there(&self.directory.join("checkpoint"))?;
        let tiles = if_there(self.disk.names(&self.directory.join("tile")))?;
        Ok(!open.is_empty() || checkpoint.is_some() || tiles.is_some_and(|names| !names.is_empty()))
    }

    /// The latest head that our key has signed, and whether the checkpoint is not that one.
    fn last_head(&self, key: &Key) -> io::Result<(Option<Head>, bool)> {
        let checkpoint = if_there(self.disk.read(&self.directory.join("checkpoint")))?;
        let checkpoint = checkpoint.and_then(|bytes| Head::verified(&bytes, key));
        // A copy that cannot be read is as good as none.
        let copies = self.copies.iter().filter_map(|path| Head::verified(&self.disk.read(path).ok()?, key));
        let last = copies.max_by_key(Head::age);
        Ok(match (checkpoint, last) {
            (Some(checkpoint), Some(last)) if last.age() > checkpoint.age() => (Some(last), true),
            (Some(checkpoint), _) => (Some(checkpoint), false),
            (None, last) => (last, true),
        })
    }

    /// What a checkpoint says whose key is gone: for the record, nobody can check it here.
    fn unverified_head(&self) -> Option<Head> {
        let bytes = self.disk.read(&self.directory.join("checkpoint")).ok()?;
        let note = signed_note::Note::from_bytes(&bytes).ok()?;
        let checkpoint = tlog_tiles::Checkpoint::from_bytes(note.text()).ok()?;
        Some(Head {
            origin: checkpoint.origin().to_owned(),
            size: checkpoint.size(),
            root: *checkpoint.hash(),
        })
    }

    /// Moves what cannot be used out of the way. Whoever is interrupted here goes on at the next start.
    fn set_aside(&self, cause: &'static str, head: Option<Head>, more: &[&str]) -> io::Result<Lost> {
        let above = self.directory.join("quarantine");
        make_directories(&self.disk, &above)?;
        let taken = self.disk.names(&above)?;
        let number = (1_u64..).find(|number| !taken.contains(&number.to_string())).unwrap_or(u64::MAX);
        let quarantine = above.join(number.to_string());
        make_directories(&self.disk, &quarantine)?;
        for name in more.iter().copied().chain(["checkpoint", "key.pub", "minimum-index", "open", "tile"]) {
            if_there(self.disk.rename(&self.directory.join(name), &quarantine.join(name)))?;
        }
        self.disk.sync_directory(&quarantine)?;
        self.disk.sync_directory(&self.directory)?;
        make_directories(&self.disk, &self.directory.join("open"))?;
        let (origin, size, root) =
            head.map_or_else(Default::default, |head| (head.origin, head.size, head.root.to_string()));
        Ok(Lost { cause, origin, size, root, quarantine })
    }

    /// The tree of a head, if enough is left of it.
    fn tree(&self, head: &Head, found: &mut Found) -> io::Result<Option<Tree>> {
        let bundle = head.size / WIDTH;
        let width = count(head.size % WIDTH);
        let bytes = if_there(self.disk.read(&journal_path(&self.directory, bundle)))?;
        let journal = journal::decode(&bytes.unwrap_or_default(), bundle);
        let mut sources = vec![journal.entries];
        sources.extend(self.bundles(bundle)?);
        let Some(edge) = self.edge(head, &sources)? else { return Ok(None) };

        let leaves: Vec<Hash> =
            edge.partials().find(|(level, ..)| *level == 0).map_or_else(Vec::new, |level| level.2.to_vec());
        let mut tail = Vec::new();
        for (place, leaf) in leaves.iter().enumerate() {
            let is_right = |entry: &&Arc<str>| record_hash(entry.as_bytes()) == *leaf;
            let mut entries = sources.iter().filter_map(|source| source.get(place));
            let Some(entry) = entries.find(is_right) else { return Ok(None) };
            tail.push(Arc::clone(entry));
        }
        // What is durable and not signed: in the journal; in its tile, when the agent died between tile and
        // checkpoint; and in the journals of the bundles after it.
        let mut at =
            journal::HEADER_BYTES + tail.iter().map(|entry| journal::frame_bytes(entry)).sum::<usize>();
        let behind = |place: usize, at: usize| {
            let stranded = || Some(&journal.stranded.iter().find(|(begin, _)| *begin == at)?.1);
            sources.iter().find_map(|source| source.get(place)).or_else(stranded)
        };
        while let Some(entry) = behind(tail.len(), at) {
            at += journal::frame_bytes(entry);
            tail.push(Arc::clone(entry));
        }
        let journal_entries = sources.first().map_or(&[][..], Vec::as_slice);
        if width > 0 && !(journal.is_whole && journal_entries == tail) {
            found.repaired.push(format!("the journal of bundle {bundle}"));
        }
        let mut next = bundle;
        found.stranded = journal.stranded.iter().filter(|(begin, _)| *begin >= at).count() as u64;
        while tail.len() as u64 == (next + 1 - bundle) * WIDTH {
            next += 1;
            let Some(bytes) = if_there(self.disk.read(&journal_path(&self.directory, next)))? else { break };
            let journal = journal::decode(&bytes, next);
            found.stranded += journal.stranded.len() as u64;
            tail.extend(journal.entries);
        }
        found.unsigned = tail.len() as u64 - width as u64;
        Ok(Some(Tree { head: head.clone(), edge, tail }))
    }

    /// What tiles say of the entries of a bundle: the longest first.
    fn bundles(&self, number: u64) -> io::Result<Vec<Vec<Arc<str>>>> {
        let full = path::entries(number, WIDTH);
        let mut tiles = self.tiles(&full)?;
        // An old checkpoint, whose copies are lost, is behind what was packed since.
        if let Some(packed) = if_there(self.disk.read(&self.directory.join(path::packed(number))))? {
            tiles.extend(pack::unpack(&packed, MAX_BUNDLE_BYTES));
        }
        Ok(tiles.iter().filter_map(|bytes| bundle::decode(bytes)).collect())
    }

    /// A tile in all its forms, the widest first.
    fn tiles(&self, full: &str) -> io::Result<Vec<Vec<u8>>> {
        let partials = self.directory.join(path::partials(full));
        let mut widths: Vec<u64> = if_there(self.disk.names(&partials))?
            .unwrap_or_default()
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect();
        widths.sort_unstable();
        let mut tiles: Vec<Vec<u8>> =
            if_there(self.disk.read(&self.directory.join(full)))?.into_iter().collect();
        for width in widths.iter().rev() {
            tiles.extend(if_there(self.disk.read(&partials.join(width.to_string())))?);
        }
        Ok(tiles)
    }

    /// The edge that has the head's root: of each level what tiles say, or what follows from the level below.
    fn edge(&self, head: &Head, entries: &[Vec<Arc<str>>]) -> io::Result<Option<Edge>> {
        let mut levels: Vec<Vec<Vec<Hash>>> = Vec::new();
        for level in 0_u8.. {
            let width_all = edge::shift(head.size, u32::from(level));
            if width_all == 0 {
                break;
            }
            let (number, width) = (width_all / WIDTH, count(width_all % WIDTH));
            let mut candidates = Vec::new();
            for bytes in self.tiles(&path::hashes(level, number, WIDTH))? {
                candidates.extend(edge::split(&bytes, width));
            }
            if level == 0 {
                for source in entries.iter().filter_map(|source| source.get(..width)) {
                    candidates.push(source.iter().map(|entry| record_hash(entry.as_bytes())).collect());
                }
            } else {
                candidates.extend(self.computed(level, number * WIDTH, width)?);
            }
            candidates.dedup();
            if width == 0 {
                candidates = vec![Vec::new()];
            }
            levels.push(candidates);
        }
        let n_combinations = levels.iter().map(Vec::len).fold(1_usize, usize::saturating_mul);
        for combination in 0..n_combinations.min(MAX_COMBINATIONS) {
            let mut rest = combination;
            let choose = levels.iter().map(|candidates| {
                let chosen = candidates.get(rest % candidates.len()).cloned().unwrap_or_default();
                rest /= candidates.len();
                chosen
            });
            let edge = Edge::new(head.size, choose.collect());
            if edge.root().is_ok_and(|root| root == head.root) {
                return Ok(Some(edge));
            }
        }
        Ok(None)
    }

    /// Hashes of a level, computed from the full tiles of the level below.
    fn computed(&self, level: u8, start: u64, width: usize) -> io::Result<Option<Vec<Hash>>> {
        let mut hashes = Vec::new();
        for number in start..start + width as u64 {
            let tile = self.directory.join(path::hashes(level - 1, number, WIDTH));
            let Some(bytes) = if_there(self.disk.read(&tile))? else { return Ok(None) };
            if bytes.len() != 32 * count(WIDTH) {
                return Ok(None);
            }
            hashes.push(tlog_tiles::Tile::subtree_hash(&bytes));
        }
        Ok(Some(hashes))
    }

    fn store(self, key: Key, tree: Tree, found: &mut Found) -> io::Result<Store<D>> {
        let Tree { head, edge, tail } = tree;
        let verifier_key = key.verifier_key(&head.origin);
        let line = format!("{verifier_key}\n");
        let public = self.directory.join("key.pub");
        if if_there(self.disk.read(&public))?.is_none_or(|bytes| bytes != line.as_bytes()) {
            write_new(&self.disk, &self.directory, "key.pub", line.as_bytes())?;
        }
        let signed = count(head.size % WIDTH);
        let mut store = Store {
            published: head.size,
            packed: 0,
            origin: head.origin,
            edge,
            full_tiles: Vec::new(),
            journals: BTreeMap::new(),
            is_suspect: true,
            partials: Default::default(),
            disk: self.disk,
            directory: self.directory,
            copies: self.copies,
            key,
            shared: self.shared,
        };
        for entry in tail.get(signed..).unwrap_or_default() {
            store.edge.push(record_hash(entry.as_bytes()), &mut store.full_tiles);
        }
        let mut state = store.shared.state();
        state.tail_start = head.size - signed as u64;
        state.status.origin.clone_from(&store.origin);
        state.status.verifier_key = verifier_key;
        state.status.size = store.edge.size();
        state.tail = tail.into();
        drop(state);
        store.keep_stranded(found)?;
        // No journal that another agent has begun is appended to. It may have no header, or fewer entries than a tile;
        // what was refused may be in one further behind, to be believed once those before are full. And of an agent
        // that was killed the kernel may have pages, and names, that are not on the disk: a later sync of the file
        // says nothing about the name, nor about pages that could not be written before.
        store.write_journals_anew()?;
        Ok(store)
    }
}

impl Tree {
    fn empty(origin: &str) -> Self {
        let head = Head { origin: origin.to_owned(), size: 0, root: EMPTY_HASH };
        Self { head, edge: Edge::default(), tail: Vec::new() }
    }
}

impl<D: Disk> Store<D> {
    /// A journal with entries that cannot be put in their place is kept for a person to look at.
    fn keep_stranded(&self, found: &Found) -> io::Result<()> {
        if found.stranded == 0 {
            return Ok(());
        }
        let quarantine = self.directory.join("quarantine");
        make_directories(&self.disk, &quarantine)?;
        // Also those that are too far behind to be gone on with: nobody else will look at them. Copies, because what
        // could be put in its place is in these files alone until they are written anew.
        let open = self.directory.join("open");
        for name in self.disk.names(&open)? {
            let bytes = self.disk.read(&open.join(&name))?;
            self.replace(&quarantine.join(format!("open-{name}")), &bytes)?;
        }
        Ok(())
    }

    /// Which entries are kept, how many bytes they take, and which are missing.
    fn count(&mut self, found: &mut Found) -> io::Result<()> {
        let minimum = if_there(self.disk.read(&self.directory.join("minimum-index")))?;
        let minimum =
            minimum.and_then(|bytes| std::str::from_utf8(&bytes).ok()?.trim_end().parse::<u64>().ok());
        let (tail_start, tail_bytes) = {
            let state = self.shared.state();
            (state.tail_start, state.tail.iter().map(|entry| entry_bytes(entry)).sum::<u64>())
        };
        let first = minimum.unwrap_or(0).min(tail_start) / WIDTH * WIDTH;
        let mut bytes = tail_bytes + tail_start * 32;
        let mut plain = None;
        for number in first / WIDTH..tail_start / WIDTH {
            let length = |name: String| if_there(self.disk.length(&self.directory.join(name)));
            // Where both are, the agent died before it removed the plain one, which is packed again.
            if let Some(length) = length(path::entries(number, WIDTH))? {
                bytes += length;
                plain.get_or_insert(number);
            } else if let Some(length) = length(path::packed(number))? {
                bytes += length;
            } else {
                missing(&mut found.missing, number * WIDTH);
            }
        }
        self.packed = plain.unwrap_or(tail_start / WIDTH);
        // Removed already, had the agent not died.
        for number in (0..first / WIDTH).rev() {
            let names = [path::packed(number), path::entries(number, WIDTH)];
            let removed = names.map(|name| if_there(self.disk.remove(&self.directory.join(name))));
            let [packed, plain] = removed;
            if packed?.is_none() & plain?.is_none() {
                break;
            }
        }
        let mut state = self.shared.state();
        state.status.first = first;
        state.status.bytes = bytes;
        Ok(())
    }

    /// Makes the directories durable that tiles are going to be in. The agent before may have made them, and was killed
    /// before it synced the one above.
    fn sync_directories(&self) -> io::Result<()> {
        let (start, end) = (self.shared.state().tail_start, self.edge.size());
        let mut tiles = vec![path::entries(start / WIDTH, WIDTH), path::entries(end / WIDTH, WIDTH)];
        for level in 0_u8..8 {
            for size in [start, end] {
                tiles.push(path::hashes(level, edge::shift(size, u32::from(level) + 1), WIDTH));
            }
        }
        let mut directories = BTreeSet::new();
        for tile in tiles {
            let path = self.directory.join(tile);
            let above = path.ancestors().skip(1).take_while(|above| above.starts_with(&self.directory));
            directories.extend(above.map(Path::to_owned));
        }
        for directory in &directories {
            if_there(self.disk.sync_directory(directory))?;
        }
        if let Some(above) = self.directory.parent().filter(|above| !above.as_os_str().is_empty()) {
            // It may belong to somebody else, who does not let us read it.
            let _ = self.disk.sync_directory(above);
        }
        Ok(())
    }

    /// Removes partial tiles that an agent before this one had no time to.
    fn sweep(&self) -> io::Result<()> {
        let size = self.edge.size();
        let mut fulls = vec![path::entries(size / WIDTH, WIDTH)];
        for level in 0_u8..8 {
            let number = edge::shift(size, u32::from(level) + 1);
            fulls.push(path::hashes(level, number, WIDTH));
            fulls.extend(number.checked_sub(1).map(|before| path::hashes(level, before, WIDTH)));
        }
        fulls.extend((size / WIDTH).checked_sub(1).map(|before| path::entries(before, WIDTH)));
        for full in fulls {
            let directory = self.directory.join(path::partials(&full));
            let Some(names) = if_there(self.disk.names(&directory))? else { continue };
            for path in names.iter().map(|name| directory.join(name)) {
                if !self.partials[0].contains(&path) {
                    if_there(self.disk.remove(&path))?;
                }
            }
            // Only an empty one goes.
            let _ = self.disk.remove_directory(&directory);
        }
        if_there(self.disk.remove(&self.directory.join(BESIDE)))?;
        Ok(())
    }
}

fn missing(ranges: &mut Vec<(u64, u64)>, start: u64) {
    let is_full = ranges.len() >= MAX_MISSING;
    match ranges.last_mut() {
        Some(last) if last.1 == start || is_full => last.1 = start + WIDTH,
        Some(_) | None => ranges.push((start, start + WIDTH)),
    }
}

/// Numbers within a tile fit into any `usize`.
fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
