//! The incomplete tiles at the end of a tree: they alone give its root.
//!
//! A tree of a given size has at most one incomplete tile per level, and the root follows from those. When what is
//! stored does not give the signed root, each of them is also computed from what lies below it: if some mixture of
//! stored and computed tiles gives the root, it is clear which file is wrong.

use super::{
    format::{self, Kind, MAX_LEVEL, TILE_WIDTH, Tile},
    merkle::{HASH_BYTES, Hash, fold},
    problem::Problem,
    reader::{ReadError, Reader, entries_tile},
};

/// One incomplete tile.
#[derive(Debug)]
pub(super) struct Edge {
    pub(super) tile: Tile,
    /// Its hashes, if some are known; signed for when `proven`.
    pub(super) hashes: Option<Vec<Hash>>,
    pub(super) proven: bool,
}

/// The incomplete tiles of a tree of this size, from level 0 up.
pub(super) fn tiles(size: u64) -> Vec<Tile> {
    (0..=MAX_LEVEL)
        .filter_map(|level| {
            let (full, width) = format::tiles_at(size, level);
            (width > 0).then_some(Tile { kind: Kind::Hashes(level), index: full, width })
        })
        .collect()
}

/// The root that incomplete tiles give, from level 0 up.
fn root<'a>(tiles: impl Iterator<Item = &'a Vec<Hash>>) -> Hash {
    let mut root = None;
    for hashes in tiles {
        let mut end = hashes.len();
        // From the right, where the smallest complete subtree is.
        while end > 0 {
            let start = end - (1 << end.trailing_zeros());
            let left = fold(&hashes[start..end]);
            root = Some(root.map_or(left, |right| Hash::node(left, right)));
            end = start;
        }
    }
    root.unwrap_or_else(Hash::empty)
}

/// Reads the edge of the tree of this size and compares it with the root.
pub(super) fn check(
    reader: &Reader,
    size: u64,
    expected: Hash,
    problem: &mut impl FnMut(Problem),
) -> Vec<Edge> {
    let tiles = tiles(size);
    let stored: Vec<Result<Vec<Hash>, ReadError>> = tiles.iter().map(|tile| reader.hashes(*tile)).collect();
    if stored.iter().all(Result::is_ok) && root(stored.iter().flatten()) == expected {
        return tiles
            .into_iter()
            .zip(stored)
            .map(|(tile, hashes)| Edge { tile, hashes: hashes.ok(), proven: true })
            .collect();
    }

    let computed: Vec<Option<Vec<Hash>>> = tiles.iter().map(|tile| compute(reader, *tile, size)).collect();
    let choices: Vec<[Option<&Vec<Hash>>; 2]> = stored
        .iter()
        .zip(&computed)
        .map(|(stored, computed)| [stored.as_ref().ok(), computed.as_ref()])
        .collect();
    // Bit n: the tile at place n is taken as computed. The fewer, the better.
    let mut mixtures: Vec<u32> = (0..1 << tiles.len()).collect();
    mixtures.sort_by_key(|mixture| mixture.count_ones());
    let pick = |mixture: u32| -> Option<Vec<&Vec<Hash>>> {
        choices.iter().enumerate().map(|(place, choice)| choice[(mixture >> place & 1) as usize]).collect()
    };
    let proven = mixtures
        .into_iter()
        .find(|mixture| pick(*mixture).is_some_and(|tiles| root(tiles.into_iter()) == expected));

    for (tile, stored) in tiles.iter().zip(&stored) {
        if let Err(error) = stored {
            problem(unreadable(error, tile.span().map(|span| span.start)));
        }
    }
    if proven.is_none() && stored.iter().all(Result::is_ok) {
        problem(
            Problem::wrong("the tiles do not give the root that the checkpoint has signed")
                .file(super::reader::CHECKPOINT)
                .values(expected, root(stored.iter().flatten())),
        );
    }
    tiles
        .iter()
        .enumerate()
        .map(|(place, tile)| {
            if let (Ok(stored), Some(computed)) = (&stored[place], &computed[place]) {
                differences(*tile, stored, computed, proven.is_some(), problem);
            }
            let taken = proven.map_or(0, |mixture| mixture >> place & 1) as usize;
            let hashes = choices[place][taken].or(choices[place][1]).cloned();
            Edge { tile: *tile, hashes, proven: proven.is_some() }
        })
        .collect()
}

/// What a tile should be, from what lies below it; none when that is not all there.
pub(super) fn compute(reader: &Reader, tile: Tile, size: u64) -> Option<Vec<Hash>> {
    match tile.kind {
        Kind::Entries => None,
        Kind::Hashes(0) => {
            let bundle = reader.bundle(entries_tile(tile.index, size)).ok()?;
            let entries = bundle.entries().ok()?;
            Some(entries.into_iter().map(|range| Hash::leaf(&bundle.bytes()[range])).collect())
        }
        Kind::Hashes(level) => (0..u64::from(tile.width))
            .map(|place| {
                let child = Tile::full(Kind::Hashes(level - 1), tile.index * TILE_WIDTH + place);
                reader.hashes(child).ok().map(|hashes| fold(&hashes))
            })
            .collect(),
    }
}

/// Tells where a stored tile is not what was computed.
pub(super) fn differences(
    tile: Tile,
    stored: &[Hash],
    computed: &[Hash],
    is_proven: bool,
    problem: &mut impl FnMut(Problem),
) {
    let below = if tile.level() == 0 { "the entry" } else { "the tile below" };
    let what = if is_proven {
        format!("this hash is wrong: {below} gives another one, which the signed root confirms")
    } else {
        format!("this hash and {below} do not fit")
    };
    for (place, (stored, computed)) in stored.iter().zip(computed).enumerate().filter(|(_, (a, b))| a != b) {
        let place = place as u64;
        let first = (tile.index * TILE_WIDTH + place) << (8 * u32::from(tile.level()));
        problem(
            Problem::wrong(what.clone())
                .file(tile.path())
                .offset(place * HASH_BYTES as u64)
                .entry(first)
                .values(computed, stored),
        );
    }
}

/// A file that is missing, cannot be read or has another size than it should.
pub(super) fn unreadable(error: &ReadError, first_entry: Option<u64>) -> Problem {
    let mut problem = match error {
        ReadError::Missing { path } => Problem::wrong("the file is missing").file(path),
        ReadError::Io { path, source } => {
            Problem::wrong(format!("the file cannot be read: {source}")).file(path)
        }
        ReadError::Shape { path, expected, found } => {
            Problem::wrong("the file has the wrong shape").file(path).values(expected, found)
        }
    };
    problem.entry = first_entry;
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incomplete_tiles_give_the_root_of_every_size() {
        // Tiles above level 0 need more entries than a test has patience for: fold() has them all at once.
        for size in [1u64, 2, 3, 7, 255, 256, 257, 511, 512, 700] {
            let leaves: Vec<Hash> = (0..size).map(|index| Hash::leaf(&index.to_be_bytes())).collect();
            let full: Vec<Hash> = leaves.chunks_exact(256).map(fold).collect();
            let levels: Vec<Vec<Hash>> = tiles(size)
                .into_iter()
                .map(|tile| match tile.level() {
                    0 => leaves[tile.index as usize * 256..].to_vec(),
                    _ => full.clone(),
                })
                .collect();
            assert_eq!(root(levels.iter()), fold(&leaves), "{size}");
        }
    }
}
