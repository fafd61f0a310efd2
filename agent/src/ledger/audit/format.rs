//! Names and shapes of the files, as C2SP tlog-tiles publishes them.

use std::{fmt, ops::Range};

use super::merkle::{HASH_BYTES, Hash};

/// Hashes in a full tile, entries in a full bundle.
pub const TILE_WIDTH: u64 = 256;

/// The highest level of tiles that a tree of 2^64 entries has.
pub const MAX_LEVEL: u8 = 7;

/// The largest entry bundle, in bytes: 256 entries of 65,535 bytes, each with its length.
pub const MAX_BUNDLE_BYTES: u64 = TILE_WIDTH * (u16::MAX as u64 + 2);

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Hashes of this level: of entries at level 0, of full tiles of the level below above it.
    Hashes(u8),
    /// Entries.
    Entries,
}

/// One tile, or one entry bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tile {
    /// What it holds.
    pub kind: Kind,
    /// Its place among those of its kind.
    pub index: u64,
    /// How many hashes or entries: 1 to 256.
    pub width: u16,
}

impl Tile {
    /// A full one.
    pub const fn full(kind: Kind, index: u64) -> Self {
        Self { kind, index, width: TILE_WIDTH as u16 }
    }

    /// Whether it holds all that it can.
    pub const fn is_full(&self) -> bool {
        self.width as u64 == TILE_WIDTH
    }

    /// The level of hashes it belongs to: entries belong to level 0.
    pub const fn level(&self) -> u8 {
        match self.kind {
            Kind::Hashes(level) => level,
            Kind::Entries => 0,
        }
    }

    /// The file below the ledger's directory, such as `tile/entries/x001/x234/067.p/12`.
    pub fn path(&self) -> String {
        let mut path = match self.kind {
            Kind::Hashes(level) => format!("tile/{level}/"),
            Kind::Entries => "tile/entries/".to_owned(),
        };
        path.push_str(&number(self.index));
        if !self.is_full() {
            path.push_str(&format!(".p/{}", self.width));
        }
        path
    }

    /// Reads such a path back; none for anything that [`Self::path`] does not write.
    pub fn from_path(path: &str) -> Option<Self> {
        let (kind, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let kind = match kind {
            "entries" => Kind::Entries,
            level => Kind::Hashes(decimal(level).filter(|level| *level < 64)? as u8),
        };
        let (number, width) = match rest.split_once(".p/") {
            None => (rest, TILE_WIDTH as u16),
            Some((number, width)) => {
                (number, decimal(width).filter(|width| (1..TILE_WIDTH).contains(width))? as u16)
            }
        };
        let tile = Self { kind, index: parse_number(number)?, width };
        (tile.path() == path).then_some(tile)
    }

    /// The entries below it in a tree of any size; none when they are beyond what 64 bits count.
    pub fn span(&self) -> Option<Range<u64>> {
        let each = 1u64.checked_shl(8 * u32::from(self.level()))?;
        let start = self.index.checked_mul(TILE_WIDTH)?.checked_mul(each)?;
        Some(start..start.checked_add(u64::from(self.width).checked_mul(each)?)?)
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}

/// `x001/x234/067` for 1234067.
fn number(index: u64) -> String {
    let mut groups = vec![format!("{:03}", index % 1000)];
    let mut rest = index / 1000;
    while rest > 0 {
        groups.push(format!("x{:03}", rest % 1000));
        rest /= 1000;
    }
    groups.reverse();
    groups.join("/")
}

fn parse_number(text: &str) -> Option<u64> {
    let mut index = 0u64;
    for group in text.split('/') {
        let digits = group.strip_prefix('x').unwrap_or(group);
        if digits.len() != 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        index = index.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
    }
    Some(index)
}

/// A decimal number as the formats write it: digits only, no leading zero.
pub fn decimal(text: &str) -> Option<u64> {
    if text.is_empty()
        || !text.bytes().all(|byte| byte.is_ascii_digit())
        || (text.len() > 1 && text.starts_with('0'))
    {
        return None;
    }
    text.parse().ok()
}

/// The hashes of a tile; none when the bytes are not whole hashes or more than a tile holds.
pub fn hashes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
    (rest.is_empty() && hashes.len() as u64 <= TILE_WIDTH)
        .then(|| hashes.iter().map(|hash| Hash(*hash)).collect())
}

/// Why bytes are no entry bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Whole entries before it.
    pub entries: usize,
    /// Where the entry begins that does not end, in bytes.
    pub offset: usize,
    /// How long that entry says it is, in bytes; absent when not even its length is there.
    pub claimed: Option<usize>,
}

/// Where the entries of a bundle are, in bytes, without their lengths.
///
/// # Errors
///
/// When the last entry is not whole.
pub fn bundle(bytes: &[u8]) -> Result<Vec<Range<usize>>, Torn> {
    let mut entries = Vec::new();
    let mut offset = 0;
    while offset < bytes.len() {
        let torn = |claimed| Torn { entries: entries.len(), offset, claimed };
        let Some((length, rest)) = bytes[offset..].split_first_chunk::<2>() else { return Err(torn(None)) };
        let length = usize::from(u16::from_be_bytes(*length));
        if rest.len() < length {
            return Err(torn(Some(length)));
        }
        entries.push(offset + 2..offset + 2 + length);
        offset += 2 + length;
    }
    Ok(entries)
}

/// The tiles of a tree of this size at one level: how many are full, and how wide the one behind them is (0: there
/// is none).
pub const fn tiles_at(size: u64, level: u8) -> (u64, u16) {
    let hashes = match size.checked_shr(8 * level as u32) {
        Some(hashes) => hashes,
        None => 0,
    };
    (hashes / TILE_WIDTH, (hashes % TILE_WIDTH) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        for (tile, path) in [
            (Tile::full(Kind::Hashes(0), 1_234_067), "tile/0/x001/x234/067"),
            (Tile::full(Kind::Entries, 1_234_067), "tile/entries/x001/x234/067"),
            (Tile { kind: Kind::Hashes(1), index: 0, width: 17 }, "tile/1/000.p/17"),
            (Tile { kind: Kind::Entries, index: 273, width: 112 }, "tile/entries/273.p/112"),
            (Tile::full(Kind::Hashes(0), 1000), "tile/0/x001/000"),
        ] {
            assert_eq!(tile.path(), path);
            assert_eq!(Tile::from_path(path), Some(tile));
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for path in [
            "tile/00/000",
            "tile/64/000",
            "tile/0/0",
            "tile/0/x000/000",
            "tile/0/x001/x000",
            "tile/0/001/000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/data/000",
            "checkpoint",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert_eq!(Tile::from_path(path), None, "{path}");
        }
    }

    #[test]
    fn the_specifications_example_of_70_000_entries() {
        assert_eq!(tiles_at(70_000, 0), (273, 112));
        assert_eq!(tiles_at(70_000, 1), (1, 17));
        assert_eq!(tiles_at(70_000, 2), (0, 1));
        assert_eq!(tiles_at(256, 0), (1, 0));
        assert_eq!(tiles_at(256, 1), (0, 1));
    }

    #[test]
    fn a_torn_bundle_says_where() {
        assert_eq!(bundle(b"\0\x02ab\0\0\0\x01c"), Ok(vec![2..4, 6..6, 8..9]));
        assert_eq!(bundle(b"\0\x02ab\0"), Err(Torn { entries: 1, offset: 4, claimed: None }));
        assert_eq!(bundle(b"\0\x02ab\0\x09x"), Err(Torn { entries: 1, offset: 4, claimed: Some(9) }));
    }
}
