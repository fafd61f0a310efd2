//! Tiles and entry bundles, each compared with what the checkpoint has signed before it is handed over.
//!
//! A tile is read with those above it, which are kept in memory but for the lowest level: so each is read once, and a
//! ledger of ten years needs less than a megabyte.

use std::collections::BTreeMap;

use super::{
    edge,
    format::{self, Kind, TILE_WIDTH, Tile},
    merkle::{Hash, fold},
    note::Checkpoint,
    problem::Problem,
    reader::{Bundle, ReadError, Reader, entries_tile},
};

/// Why something is not handed over.
#[derive(Debug, thiserror::Error)]
pub enum NotSigned {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It is not what was signed.
    #[error("{0}")]
    Changed(Box<Problem>),
}

impl NotSigned {
    fn changed(problem: Problem) -> Self {
        Self::Changed(Box::new(problem))
    }

    /// Whether the ledger is to blame, and not the disk or the rights: something is missing, or not what was signed.
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::Read(error) => error.is_damage(),
            Self::Changed(_) => true,
        }
    }
}

/// See the module.
pub(super) struct SignedTree<'a> {
    reader: &'a Reader,
    size: u64,
    known: BTreeMap<Tile, Vec<Hash>>,
}

impl<'a> SignedTree<'a> {
    /// The tree of a checkpoint, whose signature is not judged here.
    ///
    /// # Errors
    ///
    /// When the incomplete tiles at its end are not those that give its root.
    pub(super) fn new(reader: &'a Reader, checkpoint: &Checkpoint) -> Result<Self, NotSigned> {
        let mut wrong = None;
        let edges = edge::check(reader, checkpoint.size, checkpoint.root, &mut |problem| {
            wrong.get_or_insert(problem);
        });
        if let Some(problem) = wrong {
            return Err(NotSigned::changed(problem));
        }
        let known = edges.into_iter().filter_map(|edge| Some((edge.tile, edge.hashes?))).collect();
        Ok(Self { reader, size: checkpoint.size, known })
    }

    /// The hashes of a tile.
    pub(super) fn hashes(&mut self, tile: Tile) -> Result<Vec<Hash>, NotSigned> {
        if let Some(hashes) = self.known.get(&tile) {
            return Ok(hashes.clone());
        }
        let above = above(tile, self.size);
        let place = (tile.index % TILE_WIDTH) as usize;
        let expected = self.hashes(above)?[place];
        let hashes = self.reader.hashes(tile)?;
        let found = fold(&hashes);
        if found != expected {
            return Err(NotSigned::changed(Problem::other_tile(tile, expected, found)));
        }
        if tile.level() > 0 {
            self.known.insert(tile, hashes.clone());
        }
        Ok(hashes)
    }

    /// An entry bundle.
    pub(super) fn bundle(&mut self, index: u64) -> Result<Bundle, NotSigned> {
        let tile = entries_tile(index, self.size);
        let signed = self.hashes(Tile { kind: Kind::Hashes(0), ..tile })?;
        let bundle = self.reader.bundle(tile)?;
        for (place, (range, expected)) in bundle.entries()?.into_iter().zip(signed).enumerate() {
            let found = Hash::leaf(&bundle.bytes()[range.clone()]);
            if found != expected {
                let problem = Problem::wrong("the entry is not the one whose hash is signed for")
                    .file(bundle.path())
                    .offset(range.start as u64)
                    .entry(index * TILE_WIDTH + place as u64);
                return Err(NotSigned::changed(problem.values(expected, found)));
            }
        }
        Ok(bundle)
    }
}

/// The tile of this place in a tree of this size.
pub(super) const fn at(tile: Tile, size: u64) -> Tile {
    let (full, width) = format::tiles_at(size, tile.level());
    Tile { width: if tile.index < full { TILE_WIDTH as u16 } else { width }, ..tile }
}

/// The tile that has the hash of a full one.
pub(super) const fn above(tile: Tile, size: u64) -> Tile {
    at(Tile::full(Kind::Hashes(tile.level() + 1), tile.index / TILE_WIDTH), size)
}
