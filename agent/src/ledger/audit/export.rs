//! A bundle of evidence: what is needed to verify the entries of a period, and nothing else of the ledger.
//!
//! It has the form of a ledger directory of which only some tiles are there, so that every tool that reads tiles reads
//! it: the entry bundles of the period with their hash tiles, the tiles that lead from there to the root, the
//! checkpoint, what witnesses have seen, and the public key. Beside them, for people: the records as lines, the
//! records that say which policy was in force at the beginning, each with its proof, and a page of instructions.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _},
    iter,
    ops::Range,
    path::{Path, PathBuf},
};

use super::{
    Glance, edge,
    format::{self, Kind, MAX_LEVEL, TILE_WIDTH, Tile},
    merkle::root,
    note::{Checkpoint, MAX_NOTE_BYTES},
    problem::Problem,
    proof::{MAX_PROOF_BYTES, Proof},
    reader::{CHECKPOINT, MANIFEST, Manifest, PUBLIC_KEY, ReadError, Reader, Tree, WITNESSED, entries_tile},
    signed::{NotSigned, SignedTree, above, at},
};

const ENTRIES: &str = "entries.jsonl";
const PROOFS: &str = "proofs";

/// Entries that are looked through for the policy in force at the beginning of a period: the agent writes a start at
/// every boot and upgrade, and a minute has one or two records, so this is more than a year.
const MAX_LOOKED_BACK: u64 = 2_000_000;

/// Why no evidence was made.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The ledger cannot be read, or is not what was signed.
    #[error(transparent)]
    Ledger(#[from] NotSigned),
    /// The evidence cannot be written.
    #[error("{path}: {source}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There are no such entries.
    #[error(
        "entries {from} to {to} are not in the ledger, which has {first} to {end} (the last not included)"
    )]
    Period {
        /// The first that was asked for.
        from: u64,
        /// Behind the last.
        to: u64,
        /// The first there is.
        first: u64,
        /// Behind the last there is.
        end: u64,
    },
    /// The directory is not empty.
    #[error("{0} is not empty")]
    NotEmpty(PathBuf),
}

impl From<ReadError> for ExportError {
    fn from(error: ReadError) -> Self {
        Self::Ledger(error.into())
    }
}

impl ExportError {
    /// Whether the ledger is not what was signed, or something of it is missing.
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::Ledger(error) if error.is_damage())
    }
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Records before the period that say which policy was in force when it began.
    pub proofs: Vec<u64>,
    /// Files with tiles.
    pub tiles: usize,
}

/// Writes the evidence for some entries into an empty or new directory. Each entry and each tile is compared with what
/// the checkpoint signs before it is written; its signature is for whoever calls this to judge. The checkpoint is
/// written at the end: what was not finished verifies nowhere.
///
/// # Errors
///
/// When the period is not in the ledger, when something is not what was signed, and when something cannot be read or
/// written.
pub fn export(
    reader: &Reader,
    checkpoint: &Checkpoint,
    period: Range<u64>,
    made: &str,
    out: &Path,
) -> Result<Exported, ExportError> {
    let kept = reader.kept().start..reader.kept().end.min(checkpoint.size);
    if period.is_empty() || period.start < kept.start || period.end > kept.end {
        let Range { start: first, end } = kept;
        return Err(ExportError::Period { from: period.start, to: period.end, first, end });
    }
    let mut tree = SignedTree::new(reader, checkpoint)?;
    let writer = Writer::new(out)?;
    let mut tiles = needed(checkpoint.size, &period);
    let witnessed = reader.optional(WITNESSED, MAX_NOTE_BYTES as u64)?;
    if let Some(bytes) = &witnessed
        && let Ok(head) = Checkpoint::parse(bytes)
        && head.size <= checkpoint.size
    {
        let mut seen = Tree::new(reader, head.size);
        if root(&mut seen, head.size).is_ok() {
            tiles.extend(seen.read().flat_map(|tile| way_up(at(tile, checkpoint.size), checkpoint.size)));
        }
    }
    let mut lines = writer.lines()?;
    // Hash tiles first, then bundles in order.
    for tile in &tiles {
        match tile.kind {
            Kind::Hashes(_) => {
                let bytes: Vec<u8> = tree.hashes(*tile)?.into_iter().flat_map(|hash| hash.0).collect();
                writer.write(&tile.path(), &bytes)?;
            }
            Kind::Entries => {
                let bundle = tree.bundle(tile.index)?;
                let entries = bundle.entries()?;
                let end = entries.last().map_or(0, |range| range.end);
                writer.write(&tile.path(), &bundle.bytes()[..end])?;
                let indexes = tile.index * TILE_WIDTH..;
                let within = indexes.zip(entries).filter(|(index, _)| period.contains(index));
                within.into_iter().try_for_each(|(_, range)| lines.add(&bundle.bytes()[range]))?;
            }
        }
    }
    lines.end()?;
    let proofs = policy_records(
        &mut tree,
        period.start.saturating_sub(MAX_LOOKED_BACK).max(kept.start)..period.start,
    )?;
    for index in &proofs {
        let proof = Proof::make(reader, checkpoint.clone(), *index)?;
        writer.write(&format!("{PROOFS}/{index}.tlog-proof"), proof.to_text().as_bytes())?;
    }
    let manifest = Manifest {
        homeport_evidence: 1,
        origin: checkpoint.origin.clone(),
        first: period.start,
        end: period.end,
        size: checkpoint.size,
        made: made.to_owned(),
    };
    let mut text = serde_json::to_string_pretty(&manifest).unwrap_or_default();
    text.push('\n');
    writer.write(MANIFEST, text.as_bytes())?;
    writer.write("README.md", instructions(&manifest, &proofs).as_bytes())?;
    writer.write(PUBLIC_KEY, &reader.file(PUBLIC_KEY, MAX_NOTE_BYTES as u64)?)?;
    if let Some(bytes) = &witnessed {
        writer.write(WITNESSED, bytes)?;
    }
    // An agent may have signed a newer one meanwhile.
    writer.write(CHECKPOINT, checkpoint.to_note().as_bytes())?;
    Ok(Exported { manifest, proofs, tiles: tiles.len() })
}

/// The tiles that lead from these entries to the root, with the entry bundles.
fn needed(size: u64, period: &Range<u64>) -> BTreeSet<Tile> {
    let mut tiles: BTreeSet<Tile> = edge::tiles(size).into_iter().collect();
    for level in 0..=MAX_LEVEL {
        let Some(each) = TILE_WIDTH.checked_pow(u32::from(level) + 1) else { break };
        for index in period.start / each..=(period.end - 1) / each {
            let (full, width) = format::tiles_at(size, level);
            if index < full || width > 0 {
                tiles.insert(at(Tile::full(Kind::Hashes(level), index), size));
            }
            if level == 0 {
                tiles.insert(entries_tile(index, size));
            }
        }
    }
    tiles
}

/// A tile and those above it, up to an incomplete one, which is there anyway.
fn way_up(tile: Tile, size: u64) -> impl Iterator<Item = Tile> {
    iter::successors(Some(tile), move |tile| tile.is_full().then(|| above(*tile, size)))
}

/// The last record before the period that says which policy was in force. What is looked through is compared, too: a
/// record that was changed could hide one.
fn policy_records(tree: &mut SignedTree<'_>, before: Range<u64>) -> Result<Vec<u64>, NotSigned> {
    let mut bundle = before.end.div_ceil(TILE_WIDTH);
    while bundle > before.start / TILE_WIDTH {
        bundle -= 1;
        let read = tree.bundle(bundle)?;
        for (place, range) in read.entries()?.into_iter().enumerate().rev() {
            let index = bundle * TILE_WIDTH + place as u64;
            if !before.contains(&index) {
                continue;
            }
            let glance = Glance::at(&read.bytes()[range]);
            if matches!(glance.as_ref().and_then(Glance::event), Some("start" | "policy-change")) {
                return Ok(vec![index]);
            }
        }
    }
    Ok(Vec::new())
}

/// Writes into the directory.
struct Writer<'a> {
    out: &'a Path,
}

impl<'a> Writer<'a> {
    fn new(out: &'a Path) -> Result<Self, ExportError> {
        let broken = |source| ExportError::Write { path: out.to_owned(), source };
        fs::create_dir_all(out).map_err(broken)?;
        if fs::read_dir(out).map_err(broken)?.next().is_some() {
            return Err(ExportError::NotEmpty(out.to_owned()));
        }
        Ok(Self { out })
    }

    fn path(&self, name: &str) -> Result<PathBuf, ExportError> {
        let path = self.out.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)
                .map_err(|source| ExportError::Write { path: parent.to_owned(), source })?;
        }
        Ok(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
        let path = self.path(name)?;
        fs::write(&path, bytes).map_err(|source| ExportError::Write { path, source })
    }

    fn lines(&self) -> Result<Lines, ExportError> {
        let path = self.path(ENTRIES)?;
        let file = File::create(&path);
        match file {
            Ok(file) => Ok(Lines { path, file: BufWriter::new(file) }),
            Err(source) => Err(ExportError::Write { path, source }),
        }
    }
}

/// The records, one per line.
struct Lines {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Lines {
    fn add(&mut self, entry: &[u8]) -> Result<(), ExportError> {
        let written = self.file.write_all(entry).and_then(|()| self.file.write_all(b"\n"));
        written.map_err(|source| ExportError::Write { path: self.path.clone(), source })
    }

    fn end(mut self) -> Result<(), ExportError> {
        self.file.flush().map_err(|source| ExportError::Write { path: self.path, source })
    }
}

/// Checks what a bundle of evidence has beyond a ledger.
pub(super) fn check(reader: &Reader, checkpoint: &Checkpoint, problem: &mut impl FnMut(Problem)) {
    let Some(manifest) = reader.manifest() else { return };
    if manifest.size != checkpoint.size {
        // Told already; the entries have no place.
        return;
    }
    lines(reader, manifest, problem);
    let Ok(names) = fs::read_dir(reader.directory().join(PROOFS)) else { return };
    for name in names.flatten() {
        let path = format!("{PROOFS}/{}", name.file_name().to_string_lossy());
        let proof = match reader.file(&path, MAX_PROOF_BYTES) {
            Ok(bytes) => Proof::parse(&bytes),
            Err(error) => {
                problem(edge::unreadable(&error, None));
                continue;
            }
        };
        match proof {
            Err(fault) => problem(Problem::wrong(format!("this is no proof: {fault}")).file(path)),
            Ok(proof) if proof.checkpoint.text != checkpoint.text => {
                problem(Problem::wrong("the proof is for another checkpoint").file(path));
            }
            Ok(proof) if !proof.extra.as_deref().is_some_and(|entry| proof.shows(entry)) => {
                problem(Problem::wrong("the proof does not show its entry").file(path).entry(proof.index));
            }
            Ok(_) => {}
        }
    }
}

/// The lines for people have to be the entries.
fn lines(reader: &Reader, manifest: &Manifest, problem: &mut impl FnMut(Problem)) {
    let file = match File::open(reader.directory().join(ENTRIES)) {
        Ok(file) => file,
        Err(error) => {
            problem(Problem::wrong(format!("the file cannot be read: {error}")).file(ENTRIES));
            return;
        }
    };
    let mut file = BufReader::new(file);
    let (mut offset, mut line, mut other) = (0u64, Vec::new(), None);
    let read = reader.entries(manifest.size, manifest.first..manifest.end, |index, entry| {
        if other.is_none() {
            line.clear();
            // One more than the longest entry and its newline: a line without an end does not fill the memory.
            let read = file.by_ref().take(u64::from(u16::MAX) + 2).read_until(b'\n', &mut line);
            if read.is_err() || line.strip_suffix(b"\n") != Some(entry) {
                other = Some((index, offset));
            }
            offset += line.len() as u64;
        }
        Ok::<_, ReadError>(())
    });
    if let Some((index, offset)) = other {
        problem(Problem::wrong("the line is not the entry").file(ENTRIES).entry(index).offset(offset));
    } else if read.is_ok() && file.fill_buf().is_ok_and(|rest| !rest.is_empty()) {
        problem(Problem::wrong("there are more lines than entries").file(ENTRIES).offset(offset));
    }
}

fn instructions(manifest: &Manifest, proofs: &[u64]) -> String {
    let Manifest { origin, first, end, size, made, .. } = manifest;
    let count = end - first;
    let last = end - 1;
    let before = match proofs {
        [] => "There is no record before the period that says which policy was in force; the first `start` in it does.".to_owned(),
        indexes => {
            let files: Vec<_> = indexes.iter().map(|index| format!("`proofs/{index}.tlog-proof`")).collect();
            format!(
                "{} prove the last record before the period that says which policy was in force: the line `extra` is \
                 the record in base64.",
                files.join(", ")
            )
        }
    };
    format!(
        "# Evidence from the ledger `{origin}`\n\n\
         Entries {first} to {last} ({count} of {size}), taken {made}.\n\n\
         | File | What it is |\n|---|---|\n\
         | `entries.jsonl` | the records, one JSON object (OCSF 1.8.0) per line; line 1 is entry {first} |\n\
         | `tile/entries/` | the same records as the ledger keeps them (with their neighbours in the same bundle) |\n\
         | `tile/0/`, `tile/1/`, ... | the hashes that lead from each entry to the root |\n\
         | `checkpoint` | origin, size and root, signed by the host's ledger key |\n\
         | `checkpoint.witnessed` | if it is there: a checkpoint with the signatures of witnesses and their time |\n\
         | `key.pub` | the public key as the ledger has it: **compare it with the one you were told by another way** |\n\
         | `proofs/` | entries from outside the period, each with its proof |\n\
         | `evidence.json` | which entries these are |\n\n\
         {before}\n\n\
         ## Verify it with homeport\n\n\
         It needs no network, no rights and no trust in the host that made it:\n\n\
         ```sh\nhomeport ledger verify . --key 'KEY THAT YOU WERE TOLD'\n```\n\n\
         Exit code 0: every entry is the one that was signed, and no record is missing without another saying so.\n\
         10: something is wrong, and it says what and where.\n\n\
         ## Verify it without homeport\n\n\
         The formats are public: C2SP tlog-tiles, tlog-checkpoint, signed-note, tlog-cosignature and tlog-proof, and\n\
         RFC 6962. With the Python package `aics-tlog`, which is by somebody else:\n\n\
         ```sh\n\
         pip install aics-tlog\n\
         aics-tlog verify-checkpoint --note checkpoint --log-key 'KEY THAT YOU WERE TOLD' --origin '{origin}'\n\
         aics-tlog verify-inclusion --tiles . --log-key 'KEY THAT YOU WERE TOLD' --index {first}\n\
         ```\n"
    )
}
