//! A ledger directory, or a bundle of evidence from one.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, Read as _},
    ops::Range,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    format::{self, Kind, MAX_BUNDLE_BYTES, TILE_WIDTH, Tile},
    merkle::{HASH_BYTES, Hash, Subtrees, fold},
    note::MAX_NOTE_BYTES,
};
use crate::ledger::{pack, path};

/// The signed head.
pub const CHECKPOINT: &str = "checkpoint";
/// A head with the signatures of witnesses; it may be older than [`CHECKPOINT`].
pub const WITNESSED: &str = "checkpoint.witnessed";
/// The public key, one line. It is there for convenience: nobody should believe a ledger's own word on whose it is.
pub const PUBLIC_KEY: &str = "key.pub";
/// The first entry that is kept, in decimal. Absent when all are.
pub const MINIMUM_INDEX: &str = "minimum-index";
/// What a bundle of evidence says of itself.
pub const MANIFEST: &str = "evidence.json";

/// Tiles a [`Tree`] remembers: a proof needs one or two per level.
const REMEMBERED_TILES: usize = 32;

/// What a bundle of evidence holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this file: 1.
    pub homeport_evidence: u32,
    /// Whose ledger.
    pub origin: String,
    /// The first entry.
    pub first: u64,
    /// The index behind the last entry.
    pub end: u64,
    /// Entries in the ledger when it was made.
    pub size: u64,
    /// When it was made, RFC 3339.
    pub made: String,
}

/// Why something cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not there.
    #[error("{path} is missing")]
    Missing {
        /// Which file.
        path: String,
    },
    /// It cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It has the wrong size or form.
    #[error("{path}: expected {expected}, found {found}")]
    Shape {
        /// Which file.
        path: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
}

impl ReadError {
    /// Whether the ledger is to blame, and not the disk or the rights: a file is missing or has the wrong form.
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::Missing { .. } | Self::Shape { .. } => true,
            Self::Io { .. } => false,
        }
    }
}

/// See the module. It is read only, and every file is bounded by what the formats allow.
#[derive(Clone, Debug)]
pub struct Reader {
    directory: PathBuf,
    /// Entries that have to be here; the rest may be.
    kept: Range<u64>,
    manifest: Option<Manifest>,
}

impl Reader {
    /// Opens a directory.
    ///
    /// # Errors
    ///
    /// When it is none, or when what it says of itself cannot be read.
    pub fn open(directory: &Path) -> Result<Self, ReadError> {
        let path = directory.display().to_string();
        match fs::metadata(directory) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                return Err(ReadError::Shape {
                    path,
                    expected: "a directory".into(),
                    found: "something else".into(),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ReadError::Missing { path }),
            Err(source) => return Err(ReadError::Io { path, source }),
        }
        let mut reader = Self { directory: directory.to_owned(), kept: 0..u64::MAX, manifest: None };
        let shape = |path: &str, expected: &str, found: String| ReadError::Shape {
            path: path.to_owned(),
            expected: expected.to_owned(),
            found,
        };
        if let Some(bytes) = reader.optional(MINIMUM_INDEX, 64)? {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            reader.kept.start = format::decimal(text.trim_end())
                .ok_or_else(|| shape(MINIMUM_INDEX, "a number in decimal", format!("{text:?}")))?;
        }
        if let Some(bytes) = reader.optional(MANIFEST, MAX_NOTE_BYTES as u64)? {
            let manifest: Manifest = serde_json::from_slice(&bytes)
                .map_err(|error| shape(MANIFEST, "a description of evidence", error.to_string()))?;
            if manifest.homeport_evidence != 1
                || manifest.first > manifest.end
                || manifest.end > manifest.size
            {
                return Err(shape(MANIFEST, "version 1 and first <= end <= size", format!("{manifest:?}")));
            }
            reader.kept = manifest.first..manifest.end;
            reader.manifest = Some(manifest);
        }
        Ok(reader)
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What it says of itself, if it is a bundle of evidence.
    pub const fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// Entries that have to be here. The end is [`u64::MAX`] when that is all from the start on.
    pub fn kept(&self) -> Range<u64> {
        self.kept.clone()
    }

    /// Whether anything of these entries has to be here.
    pub(super) fn is_kept(&self, entries: &Range<u64>) -> bool {
        entries.end > self.kept.start && entries.start < self.kept.end
    }

    /// A whole file.
    ///
    /// # Errors
    ///
    /// When it is not there, cannot be read, is no regular file or larger than `limit` bytes.
    pub fn file(&self, path: &str, limit: u64) -> Result<Vec<u8>, ReadError> {
        let broken = |source| ReadError::Io { path: path.to_owned(), source };
        let full = self.directory.join(path);
        let metadata = match fs::symlink_metadata(&full) {
            Ok(metadata) => metadata,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Err(ReadError::Missing { path: path.to_owned() });
            }
            Err(error) => return Err(broken(error)),
        };
        if !metadata.is_file() {
            let (expected, found) = ("a regular file".to_owned(), format!("{:?}", metadata.file_type()));
            return Err(ReadError::Shape { path: path.to_owned(), expected, found });
        }
        let mut bytes = Vec::with_capacity(metadata.len().min(limit) as usize);
        let file = File::open(&full).map_err(|error| match error.kind() {
            // A ledger that is written to meanwhile may remove what is not needed any more.
            io::ErrorKind::NotFound => ReadError::Missing { path: path.to_owned() },
            _ => broken(error),
        })?;
        file.take(limit + 1).read_to_end(&mut bytes).map_err(broken)?;
        if bytes.len() as u64 > limit {
            let expected = format!("at most {limit} bytes");
            return Err(ReadError::Shape {
                path: path.to_owned(),
                expected,
                found: format!("{} bytes", metadata.len()),
            });
        }
        Ok(bytes)
    }

    /// The same, for a file that may be missing.
    ///
    /// # Errors
    ///
    /// As [`Self::file`], other than for a missing one.
    pub fn optional(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, ReadError> {
        match self.file(path, limit) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(ReadError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A bundle that is only there packed.
    fn unpacked(&self, tile: Tile) -> Result<Option<Vec<u8>>, ReadError> {
        if !tile.is_full() || tile.kind != Kind::Entries {
            return Ok(None);
        }
        let path = packed_path(tile);
        let Some(packed) = self.optional(&path, MAX_BUNDLE_BYTES)? else { return Ok(None) };
        match pack::unpack(&packed, MAX_BUNDLE_BYTES) {
            Some(bytes) => Ok(Some(bytes)),
            None => Err(ReadError::Shape {
                path,
                expected: "a bundle packed by gzip, with no more about it than that".to_owned(),
                found: format!("{} bytes that are not", packed.len()),
            }),
        }
    }

    /// A tile's bytes, and the file they are from. A partial tile may be gone when a wider or the full one is there:
    /// then that is read, of which the tile is the beginning. A full bundle may be packed.
    fn tile_bytes(&self, tile: Tile) -> Result<(Vec<u8>, Origin), ReadError> {
        let limit = match tile.kind {
            Kind::Entries => MAX_BUNDLE_BYTES,
            Kind::Hashes(_) => TILE_WIDTH * HASH_BYTES as u64,
        };
        let missing = match self.file(&tile.path(), limit) {
            Ok(bytes) => return Ok((bytes, Origin { tile, is_packed: false })),
            Err(error @ ReadError::Missing { .. }) => error,
            Err(error) => return Err(error),
        };
        let full = Tile::full(tile.kind, tile.index);
        if let Some(bytes) = self.unpacked(full)? {
            return Ok((bytes, Origin { tile: full, is_packed: true }));
        }
        if tile.is_full() {
            return Err(missing);
        }
        let mut wider = self.partials(full);
        wider.retain(|other| other.width > tile.width);
        wider.push(full);
        for other in wider {
            if let Some(bytes) = self.optional(&other.path(), limit)? {
                return Ok((bytes, Origin { tile: other, is_packed: false }));
            }
        }
        Err(missing)
    }

    /// The partial tiles beside a full one, narrow ones first.
    fn partials(&self, full: Tile) -> Vec<Tile> {
        let Ok(names) = fs::read_dir(self.directory.join(format!("{}.p", full.path()))) else {
            return Vec::new();
        };
        let mut widths: Vec<u16> = names
            .filter_map(|name| format::decimal(name.ok()?.file_name().to_str()?))
            .filter(|width| (1..TILE_WIDTH).contains(width))
            .map(|width| width as u16)
            .collect();
        widths.sort_unstable();
        widths.into_iter().map(|width| Tile { width, ..full }).collect()
    }

    /// The hashes of a tile.
    ///
    /// # Errors
    ///
    /// When it is missing, cannot be read, or does not have that many hashes.
    pub fn hashes(&self, tile: Tile) -> Result<Vec<Hash>, ReadError> {
        let (bytes, from) = self.tile_bytes(tile)?;
        let found = bytes.len();
        match format::hashes(&bytes) {
            Some(mut hashes) if hashes.len() == usize::from(from.tile.width) => {
                hashes.truncate(usize::from(tile.width));
                Ok(hashes)
            }
            _ => Err(ReadError::Shape {
                path: from.path(),
                expected: format!("{} bytes", usize::from(from.tile.width) * HASH_BYTES),
                found: format!("{found} bytes"),
            }),
        }
    }

    /// An entry bundle.
    ///
    /// # Errors
    ///
    /// When it is missing or cannot be read. Whether it holds what it should is for [`Bundle`] to say.
    pub fn bundle(&self, tile: Tile) -> Result<Bundle, ReadError> {
        let (bytes, from) = self.tile_bytes(tile)?;
        Ok(Bundle { bytes, from, width: usize::from(tile.width) })
    }

    /// Hands over entries of the tree of this size, in order.
    ///
    /// # Errors
    ///
    /// When a bundle is missing, cannot be read or is damaged, and as `take` says.
    pub fn entries<E: From<ReadError>>(
        &self,
        size: u64,
        range: Range<u64>,
        mut take: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for number in range.start / TILE_WIDTH..range.end.min(size).div_ceil(TILE_WIDTH) {
            let bundle = self.bundle(entries_tile(number, size))?;
            for (place, entry) in bundle.entries()?.into_iter().enumerate() {
                let index = number * TILE_WIDTH + place as u64;
                if range.contains(&index) {
                    take(index, &bundle.bytes()[entry])?;
                }
            }
        }
        Ok(())
    }

    /// One entry of the tree of this size.
    ///
    /// # Errors
    ///
    /// When its bundle is missing, cannot be read or is damaged.
    ///
    /// # Panics
    ///
    /// Unless `index` is less than `size`.
    pub fn entry(&self, index: u64, size: u64) -> Result<Vec<u8>, ReadError> {
        assert!(index < size, "entry {index} of {size}");
        let bundle = self.bundle(entries_tile(index / TILE_WIDTH, size))?;
        let entries = bundle.entries()?;
        Ok(bundle.bytes()[entries[(index % TILE_WIDTH) as usize].clone()].to_vec())
    }
}

/// The entry bundle of this number in a tree of this size.
pub(super) const fn entries_tile(index: u64, size: u64) -> Tile {
    let (full, rest) = format::tiles_at(size, 0);
    Tile { kind: Kind::Entries, index, width: if index < full { TILE_WIDTH as u16 } else { rest } }
}

/// An entry bundle as it was read.
#[derive(Debug)]
pub struct Bundle {
    bytes: Vec<u8>,
    from: Origin,
    width: usize,
}

/// Which file something is from.
#[derive(Clone, Copy, Debug)]
struct Origin {
    tile: Tile,
    is_packed: bool,
}

impl Origin {
    fn path(self) -> String {
        if self.is_packed { packed_path(self.tile) } else { self.tile.path() }
    }
}

/// Where a full bundle is once it is packed.
pub(super) fn packed_path(tile: Tile) -> String {
    format!("{}{}", tile.path(), path::PACKED)
}

impl Bundle {
    /// The file.
    pub fn path(&self) -> String {
        self.from.path()
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where its entries are: as many as the tree has of it.
    ///
    /// # Errors
    ///
    /// When it does not hold what its name says.
    pub fn entries(&self) -> Result<Vec<Range<usize>>, ReadError> {
        let expected = || format!("{} whole entries", self.from.tile.width);
        let shape = |found| ReadError::Shape { path: self.path(), expected: expected(), found };
        match format::bundle(&self.bytes) {
            Ok(mut entries) if entries.len() == usize::from(self.from.tile.width) => {
                entries.truncate(self.width);
                Ok(entries)
            }
            Ok(entries) => Err(shape(format!("{} entries in {} bytes", entries.len(), self.bytes.len()))),
            Err(torn) => Err(shape(match torn.claimed {
                Some(claimed) => format!(
                    "{} entries, then at byte {} one of {claimed} bytes of which {} are there",
                    torn.entries,
                    torn.offset,
                    self.bytes.len() - torn.offset - 2
                ),
                None => format!("{} entries, then at byte {} half a length", torn.entries, torn.offset),
            })),
        }
    }

    /// The entries that can be read, whole or not.
    pub(super) fn readable(&self) -> Vec<Range<usize>> {
        let mut entries = Vec::new();
        let mut rest = self.bytes.as_slice();
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*length));
            if after.len() < length || entries.len() == self.width {
                break;
            }
            let start = self.bytes.len() - after.len();
            entries.push(start..start + length);
            rest = &after[length..];
        }
        entries
    }
}

/// The tree of the first `size` entries of a ledger, as its tiles have it. It proves nothing by itself: what is made
/// of it has to be checked against a root.
#[derive(Debug)]
pub struct Tree<'a> {
    reader: &'a Reader,
    size: u64,
    remembered: VecDeque<(Tile, Vec<Hash>)>,
}

impl<'a> Tree<'a> {
    /// See the type.
    pub const fn new(reader: &'a Reader, size: u64) -> Self {
        Self { reader, size, remembered: VecDeque::new() }
    }

    /// The tiles that were read lately: all of them for one root or one proof.
    pub(super) fn read(&self) -> impl Iterator<Item = Tile> {
        self.remembered.iter().map(|(tile, _)| *tile)
    }

    fn tile(&mut self, tile: Tile) -> Result<&[Hash], ReadError> {
        let at = match self.remembered.iter().position(|(known, _)| *known == tile) {
            Some(at) => at,
            None => {
                let hashes = self.reader.hashes(tile)?;
                if self.remembered.len() == REMEMBERED_TILES {
                    self.remembered.pop_front();
                }
                self.remembered.push_back((tile, hashes));
                self.remembered.len() - 1
            }
        };
        Ok(&self.remembered[at].1)
    }
}

impl Subtrees for Tree<'_> {
    type Error = ReadError;

    fn hash(&mut self, level: u8, index: u64) -> Result<Hash, ReadError> {
        // Levels of tiles are eight levels of the tree: the rest is folded out of the tile's own hashes.
        let (tile_level, within) = (level / 8, level % 8);
        let first = index << within;
        let (full, rest) = format::tiles_at(self.size, tile_level);
        let number = first / TILE_WIDTH;
        let width = if number < full { TILE_WIDTH as u16 } else { rest };
        let start = (first % TILE_WIDTH) as usize;
        let hashes = self.tile(Tile { kind: Kind::Hashes(tile_level), index: number, width })?;
        Ok(fold(&hashes[start..start + (1 << within)]))
    }
}
