//! Files that should not be there, and partial tiles that are not the beginning of what followed them.

use std::{collections::HashSet, fs, path::Path};

use super::{
    format::{self, Kind, MAX_BUNDLE_BYTES, Tile},
    merkle::HASH_BYTES,
    problem::Problem,
    reader::{CHECKPOINT, MANIFEST, MINIMUM_INDEX, PUBLIC_KEY, Reader, WITNESSED},
};
use crate::ledger::{pack, path::PACKED};

/// What else belongs into a ledger's directory: the agent's own, that nothing is proven by.
const KNOWN: [&str; 9] =
    ["key", "cursors", "dead-letter", "open", "quarantine", "witness", "lock", "tile", "README.md"];

/// What else belongs into a bundle of evidence.
const KNOWN_IN_EVIDENCE: [&str; 4] = ["entries.jsonl", "proofs", "policy", "witness-policy"];

/// Goes through the directory. `size` is that of the tree.
pub(super) fn check(reader: &Reader, size: u64, problem: &mut impl FnMut(Problem)) {
    let known: HashSet<&str> = [CHECKPOINT, WITNESSED, PUBLIC_KEY, MINIMUM_INDEX, MANIFEST]
        .into_iter()
        .chain(KNOWN)
        .chain(reader.manifest().map_or([].as_slice(), |_| &KNOWN_IN_EVIDENCE).iter().copied())
        .collect();
    for name in names(reader.directory(), "", problem) {
        if !known.contains(name.as_str()) && !is_being_written(&name) {
            problem(Problem::note("this is no part of a ledger").file(name));
        }
    }
    let mut beyond = (0u64, None);
    let mut todo = vec!["tile".to_owned()];
    while let Some(directory) = todo.pop() {
        for name in names(&reader.directory().join(&directory), &directory, problem) {
            let path = format!("{directory}/{name}");
            let metadata = match fs::symlink_metadata(reader.directory().join(&path)) {
                Ok(metadata) => metadata,
                // It was replaced while we looked, by a ledger that is written to.
                Err(_) => continue,
            };
            if metadata.is_dir() {
                if directory == "tile"
                    && name != "entries"
                    && format::decimal(&name).is_none_or(|level| level > 63)
                {
                    problem(Problem::wrong("no level of tiles has this name").file(path));
                } else {
                    todo.push(path);
                }
            } else if !metadata.is_file() {
                problem(Problem::wrong("neither a file nor a directory").file(path));
            } else if let Some(tile) = packed(&path) {
                // The reader takes the plain one: this one must not say anything else.
                if !is_within(tile, size) {
                    beyond.0 += 1;
                    beyond.1.get_or_insert(path);
                } else if reader.directory().join(tile.path()).exists() {
                    same(reader, tile, path, problem);
                }
            } else if let Some(tile) = Tile::from_path(&path) {
                if !is_within(tile, size) {
                    beyond.0 += 1;
                    beyond.1.get_or_insert(path);
                } else if !tile.is_full() {
                    compare(reader, tile, size, problem);
                }
            } else if !is_being_written(&name) {
                problem(Problem::wrong("no tile and no entry bundle has this name").file(path));
            }
        }
    }
    if let (count, Some(path)) = beyond {
        let files = if count == 1 { "1 file holds".to_owned() } else { format!("{count} files hold") };
        problem(
            Problem::note(format!(
                "{files} what lies beyond the checkpoint: not signed yet when the checkpoint was written, or never"
            ))
            .file(path),
        );
    }
}

/// The bundle that is packed in this file.
fn packed(path: &str) -> Option<Tile> {
    let tile = Tile::from_path(path.strip_suffix(PACKED)?)?;
    (tile.is_full() && tile.kind == Kind::Entries).then_some(tile)
}

/// A bundle is there plain and packed: its agent died while it packed.
fn same(reader: &Reader, tile: Tile, path: String, problem: &mut impl FnMut(Problem)) {
    let plain = reader.file(&tile.path(), MAX_BUNDLE_BYTES);
    let packed = reader.file(&path, MAX_BUNDLE_BYTES);
    if let (Ok(plain), Ok(packed)) = (plain, packed)
        && pack::unpack(&packed, MAX_BUNDLE_BYTES) != Some(plain)
    {
        problem(Problem::wrong(format!("this is not what {tile} holds")).file(path));
    }
}

/// Names in a directory, sorted; none when it is not there.
fn names(directory: &Path, shown: &str, problem: &mut impl FnMut(Problem)) -> Vec<String> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            problem(Problem::wrong(format!("the directory cannot be read: {error}")).file(shown));
            return Vec::new();
        }
    };
    let mut names: Vec<String> =
        entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect();
    names.sort_unstable();
    names
}

/// Files are written under another name and then renamed; an agent that was killed leaves such a file.
fn is_being_written(name: &str) -> bool {
    name.starts_with('.') || name.ends_with(".tmp") || name.ends_with(".new")
}

/// Whether a tree of this size has all of the tile.
fn is_within(tile: Tile, size: u64) -> bool {
    let (full, width) = format::tiles_at(size, tile.level());
    tile.index < full || (tile.index == full && tile.width <= width)
}

/// A partial tile that a wider one has replaced may stay; it must be the beginning of that.
fn compare(reader: &Reader, tile: Tile, size: u64, problem: &mut impl FnMut(Problem)) {
    let (full, width) = format::tiles_at(size, tile.level());
    let now = if tile.index < full { Tile::full(tile.kind, tile.index) } else { Tile { width, ..tile } };
    if now == tile {
        return;
    }
    let other = match tile.kind {
        Kind::Hashes(_) => {
            let (Ok(before), Ok(now)) = (reader.hashes(tile), reader.hashes(now)) else {
                return shape(reader, tile, problem);
            };
            before
                .iter()
                .zip(&now)
                .position(|(before, now)| before != now)
                .map(|place| (place * HASH_BYTES, place))
        }
        Kind::Entries => {
            let (Ok(before), Ok(now)) = (reader.bundle(tile), reader.bundle(now)) else { return };
            let (Ok(ranges), Ok(others)) = (before.entries(), now.entries()) else {
                return shape(reader, tile, problem);
            };
            ranges
                .iter()
                .zip(&others)
                .position(|(a, b)| before.bytes()[a.clone()] != now.bytes()[b.clone()])
                .map(|place| (ranges[place].start, place))
        }
    };
    if let Some((offset, place)) = other {
        problem(
            Problem::wrong(format!("this is not the beginning of {now}, which took its place"))
                .file(tile.path())
                .offset(offset as u64)
                .entry((tile.index * format::TILE_WIDTH + place as u64) << (8 * u32::from(tile.level()))),
        );
    }
}

/// Tells if it is this tile that cannot be read; the one that took its place is told of elsewhere.
fn shape(reader: &Reader, tile: Tile, problem: &mut impl FnMut(Problem)) {
    let error = match tile.kind {
        Kind::Hashes(_) => reader.hashes(tile).err(),
        Kind::Entries => reader.bundle(tile).and_then(|bundle| bundle.entries()).err(),
    };
    if let Some(error) = error {
        problem(super::edge::unreadable(&error, None));
    }
}
