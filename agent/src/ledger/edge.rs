//! The right edge of the tree: of every level the hashes of the tile that is not full yet.
//!
//! It is all that appending and computing the root needs: at most 255 hashes on each level, however long the ledger.

use tlog_tiles::{Error, HASH_SIZE, Hash, HashReader, Tile, split_stored_hash_index, tree_hash};

use crate::ledger::path::WIDTH;

/// A hash tile that became full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FullTile {
    pub(crate) level: u8,
    pub(crate) number: u64,
    pub(crate) bytes: Vec<u8>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edge {
    size: u64,
    levels: Vec<Vec<Hash>>,
}

impl Edge {
    /// The edge of a tree with `size` leaves. The hashes of each level are those of its partial tile.
    pub(crate) fn new(size: u64, levels: Vec<Vec<Hash>>) -> Self {
        Self { size, levels }
    }

    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// The partial tiles: level, number and hashes.
    pub(crate) fn partials(&self) -> impl Iterator<Item = (u8, u64, &[Hash])> {
        (0..).zip(&self.levels).filter(|(_, hashes)| !hashes.is_empty()).map(|(level, hashes)| {
            let number = shift(self.size, u32::from(level) + 1);
            (level, number, hashes.as_slice())
        })
    }

    /// Adds a leaf; tiles that become full are added to `full`.
    pub(crate) fn push(&mut self, leaf: Hash, full: &mut Vec<FullTile>) {
        self.size += 1;
        let mut hash = leaf;
        for level in 0.. {
            if self.levels.len() <= level {
                self.levels.push(Vec::new());
            }
            let Some(hashes) = self.levels.get_mut(level) else { return };
            hashes.push(hash);
            if (hashes.len() as u64) < WIDTH {
                return;
            }
            let bytes = concat(hashes);
            hashes.clear();
            hash = Tile::subtree_hash(&bytes);
            let level = u8::try_from(level).unwrap_or(u8::MAX);
            full.push(FullTile { level, number: shift(self.size, u32::from(level) + 1) - 1, bytes });
        }
    }

    /// The root of the tree.
    ///
    /// # Errors
    ///
    /// When the edge is not one of a tree of its size.
    pub(crate) fn root(&self) -> Result<Hash, Error> {
        tree_hash(self.size, self)
    }
}

/// How many tiles of a level, or hashes of the level before, a tree of this size has.
pub(crate) const fn shift(size: u64, levels: u32) -> u64 {
    match size.checked_shr(8 * levels) {
        Some(count) => count,
        None => 0,
    }
}

pub(crate) fn concat(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// The root of a tree needs no other hashes than those of complete subtrees at its edge.
impl HashReader for Edge {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        let read = |index: &u64| {
            let (level, number) = split_stored_hash_index(*index);
            let (tile_level, below) = (level / 8, level % 8);
            let hashes = self.levels.get(usize::from(tile_level))?;
            let tile_start = shift(self.size, u32::from(tile_level) + 1) * WIDTH;
            let start = usize::try_from((number << below).checked_sub(tile_start)?).ok()?;
            let subtree = hashes.get(start..start + (1 << below))?;
            Some(Tile::subtree_hash(&concat(subtree)))
        };
        indexes.iter().map(|index| read(index).ok_or(Error::IndexesNotInTree)).collect()
    }
}

/// The first hashes of a tile's bytes.
pub(crate) fn split(bytes: &[u8], count: usize) -> Option<Vec<Hash>> {
    let bytes = bytes.get(..count * HASH_SIZE)?;
    bytes.chunks_exact(HASH_SIZE).map(|chunk| Some(Hash(chunk.try_into().ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use tlog_tiles::{node_hash, record_hash};

    use super::*;

    /// The definition of RFC 6962, section 2.1.
    fn naive(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => tlog_tiles::EMPTY_HASH,
            [leaf] => *leaf,
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                node_hash(naive(&leaves[..split]), naive(&leaves[split..]))
            }
        }
    }

    #[test]
    fn the_root_is_that_of_the_definition_at_every_size() {
        let (mut edge, mut leaves, mut full) = (Edge::default(), Vec::new(), Vec::new());
        for number in 0_u64..1_600 {
            assert_eq!(edge.root().expect("a root"), naive(&leaves), "{number} leaves");
            let leaf = record_hash(&number.to_be_bytes());
            leaves.push(leaf);
            edge.push(leaf, &mut full);
        }
        assert_eq!(full.iter().map(|tile| tile.number).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
        let widths: Vec<_> =
            edge.partials().map(|(level, number, hashes)| (level, number, hashes.len())).collect();
        assert_eq!(widths, [(0, 6, 64), (1, 0, 6)]);
    }

    #[test]
    fn tiles_of_upper_levels_become_full_too() {
        let (mut edge, mut full) = (Edge::default(), Vec::new());
        for number in 0_u64..65_536 {
            edge.push(record_hash(&number.to_be_bytes()), &mut full);
        }
        let last = full.last().expect("a tile");
        assert_eq!((full.len(), last.level, last.number), (257, 1, 0));
        assert_eq!(
            edge.partials().map(|(level, _, hashes)| (level, hashes.len())).collect::<Vec<_>>(),
            [(2, 1)]
        );
        assert_eq!(edge.root().expect("a root"), Tile::subtree_hash(&last.bytes));
    }
}
