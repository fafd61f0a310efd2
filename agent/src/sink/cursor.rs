//! Where a sink stands: a small file, written beside, synced and renamed.
//!
//! **Rule**: a cursor that is missing, damaged, or does not fit the ledger is worth nothing. The sink begins where a
//! new one begins, or, when there *was* a cursor, with the oldest entry that is kept. So nothing is lost, and what
//! was delivered before is delivered again; receivers drop it by its id.
//!
//! A cursor fits when it is not beyond the end of the ledger, and when the entry before it is the one it remembers:
//! a ledger that was put back from a copy, or made anew, has other entries under the same numbers.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::settings::Start;
use crate::ledger::{Entry, Page, Source};

const SCHEMA: u32 = 1;

/// What is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cursor {
    schema: u32,
    /// The next entry to deliver.
    pub(super) next: u64,
    /// Hash of the entry before it; empty where that is not known.
    last: String,
    /// Entries that the receiver refused for good, since there is a cursor.
    pub(super) dead_letters: u64,
    /// Entries that retention took before they were delivered.
    pub(super) skipped: u64,
    /// What else a kind of sink remembers of the entries before `next`.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(super) state: Value,
}

/// A file with its check: the sum over everything before it.
#[derive(Serialize, Deserialize)]
struct Sealed {
    cursor: Cursor,
    sum: String,
}

impl Cursor {
    /// Everything before `next` is done. `last` is the entry before it, where it is known.
    pub(super) fn move_to(&mut self, next: u64, last: Option<&Entry>) {
        self.next = next;
        self.last = last.map(hash).unwrap_or_default();
    }

    fn fits(&self, source: &dyn Source) -> io::Result<bool> {
        let (first, size) = (source.first(), *source.size().borrow());
        if self.next > size {
            return Ok(false);
        }
        // What retention has taken cannot be compared.
        if self.last.is_empty() || self.next == 0 || self.next <= first {
            return Ok(true);
        }
        let before = source.read(self.next - 1, Page { entries: 1, bytes: 1 })?;
        Ok(before.first().is_some_and(|entry| hash(entry) == self.last))
    }
}

fn hash(entry: &Entry) -> String {
    hex(&Sha256::digest(entry.record.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How a sink begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It was never there.
    New,
    /// It goes on.
    Resumed,
    /// There was a cursor that is worth nothing; why.
    Lost(String),
}

/// The file of one sink.
#[derive(Clone, Debug)]
pub(super) struct CursorFile {
    path: PathBuf,
}

impl CursorFile {
    pub(super) fn new(directory: &Path, name: &str) -> Self {
        Self { path: directory.join(name) }
    }

    /// Reads it by the rule of this module. Blocks.
    ///
    /// # Errors
    ///
    /// When the ledger cannot be read, so that nothing can be decided yet.
    pub(super) fn load(&self, source: &dyn Source, start: Start) -> io::Result<(Cursor, Found)> {
        let fresh = |next| Cursor { schema: SCHEMA, next, ..Cursor::default() };
        let lost = |reason: String| Ok((fresh(source.first()), Found::Lost(reason)));
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let next = match start {
                    Start::Oldest => source.first(),
                    Start::Newest => *source.size().borrow(),
                };
                return Ok((fresh(next), Found::New));
            }
            Err(error) => return lost(format!("it cannot be read: {error}")),
        };
        let Some(cursor) = open(&bytes) else { return lost("it is damaged".to_owned()) };
        match cursor.fits(source) {
            Ok(true) => Ok((cursor, Found::Resumed)),
            Ok(false) => lost(format!("the ledger is another one: entry {} is not as it was", cursor.next)),
            // Retention moved on in between.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((cursor, Found::Resumed)),
            Err(error) => Err(error),
        }
    }

    /// Writes it, durably. Blocks.
    pub(super) fn save(&self, cursor: &Cursor) -> io::Result<()> {
        let mut text = serde_json::to_vec(&Sealed { cursor: cursor.clone(), sum: sum(cursor)? })?;
        text.push(b'\n');
        replace(&self.path, &text)
    }
}

fn open(bytes: &[u8]) -> Option<Cursor> {
    let sealed: Sealed = serde_json::from_slice(bytes).ok()?;
    let is_sound = sealed.cursor.schema == SCHEMA && sum(&sealed.cursor).ok()? == sealed.sum;
    is_sound.then_some(sealed.cursor)
}

fn sum(cursor: &Cursor) -> io::Result<String> {
    Ok(hex(&Sha256::digest(serde_json::to_vec(cursor)?)[..8]))
}

/// Puts bytes in the place of a file: after a crash it is the one or the other.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A dot in front: no name of a sink begins with one, so no cursor is ever taken for another's draft.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = path.with_file_name(format!(".{name}.new"));
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

/// Cursors of sinks that are not in `names`: they wait for the sink to come back.
pub(super) fn left_over(directory: &Path, names: &[&str]) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut left: Vec<String> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.') && !names.contains(&name.as_str()))
        .collect();
    left.sort();
    left
}
