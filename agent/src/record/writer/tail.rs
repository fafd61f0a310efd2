//! What the end of a record file says: where the numbering stands, and whether its last line is torn.
//!
//! A power cut can leave half a line, or (on some file systems) a run of zero bytes. Neither may make the next
//! record unreadable, so the writer ends such a line with a newline before it appends.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use serde::Deserialize;

use crate::ledger::{Ledger, Page, Source as _, path::WIDTH};

/// Bytes read from the end of the file. A record stays below 64 KiB, so this holds many.
pub const MAX_TAIL_BYTES: usize = 1 << 20;

/// Bytes read from the end of the file in search of records that were owed: more than an agent ever owes while its
/// disk works.
const MAX_OWED_BYTES: u64 = 16 << 20;

/// Largest number that every JSON reader takes exactly. A larger one in a damaged line must not stop the counting.
const MAX_SEQUENCE: u64 = (1 << 53) - 1;

/// The end of a record file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Highest `metadata.sequence` of the lines that can be read.
    pub last_sequence: Option<u64>,
    /// Bytes after the last newline.
    pub torn_bytes: usize,
}

#[derive(Deserialize)]
struct Line {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    sequence: u64,
}

/// Reads the end of a file. The first line may be cut: it counts if it can be read, and is ignored otherwise.
pub fn inspect(bytes: &[u8]) -> Tail {
    let torn_bytes = bytes.iter().rev().take_while(|byte| **byte != b'\n').count();
    let last_sequence = bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Line>(line).ok())
        .map(|line| line.metadata.sequence)
        .filter(|sequence| *sequence <= MAX_SEQUENCE)
        .max();
    Tail { last_sequence, torn_bytes }
}

/// The numbers of the records at the end of a file; none when it cannot be read.
pub fn sequences(path: &Path) -> HashSet<u64> {
    read(path).unwrap_or_default()
}

/// The number of a line, if it is a record.
pub(crate) fn sequence(line: &[u8]) -> Option<u64> {
    let line = serde_json::from_slice::<Line>(line).ok()?;
    Some(line.metadata.sequence).filter(|sequence| *sequence <= MAX_SEQUENCE)
}

/// The numbers of the last records of a ledger, as many as in a file; those that can be read.
pub(crate) fn ledger_sequences(ledger: &Ledger) -> HashSet<u64> {
    let size = ledger.status().size;
    let mut sequences = HashSet::new();
    let mut bytes = 0;
    let mut end = size;
    while end > ledger.first() && bytes < MAX_OWED_BYTES {
        let start = (end.saturating_sub(1) / WIDTH * WIDTH).max(ledger.first());
        let page = Page { entries: usize::try_from(end - start).unwrap_or(usize::MAX), bytes: usize::MAX };
        // What cannot be read is written again at worst: readers drop repetitions.
        let entries = ledger.read(start, page).unwrap_or_default();
        bytes += entries.iter().map(|entry| entry.record.len() as u64).sum::<u64>().max(1);
        sequences.extend(entries.iter().filter_map(|entry| sequence(entry.record.as_bytes())));
        end = start;
    }
    sequences
}

fn read(path: &Path) -> io::Result<HashSet<u64>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_OWED_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(MAX_OWED_BYTES).read_to_end(&mut bytes)?;
    let lines = bytes.split(|byte| *byte == b'\n');
    Ok(lines
        .filter_map(|line| serde_json::from_slice::<Line>(line).ok())
        .map(|line| line.metadata.sequence)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_file_is_understood_however_it_looks() {
        let cases: [(&[u8], Option<u64>, usize); 11] = [
            (b"", None, 0),
            (b"\n", None, 0),
            (b"{\"metadata\":{\"sequence\":7}}\n", Some(7), 0),
            (b"{\"metadata\":{\"sequence\":7}}\n{\"metadata\":{\"sequ", Some(7), 18),
            // Complete but for its newline: it counts, and needs one.
            (b"{\"metadata\":{\"sequence\":8}}", Some(8), 27),
            (b"{\"metadata\":{\"sequence\":7}}\n\0\0\0\0", Some(7), 4),
            (b"quence\":6}}\n{\"metadata\":{\"sequence\":7}}\n", Some(7), 0),
            (b"{\"metadata\":{\"sequence\":18446744073709551615}}\n", None, 0),
            (b"{\"metadata\":{\"sequence\":-1}}\n", None, 0),
            (b"{\"metadata\":{\"sequence\":9}}\nnot ours\n{}\n", Some(9), 0),
            (b"\xff\xfe\n\xff", None, 1),
        ];
        for (bytes, last_sequence, torn_bytes) in cases {
            assert_eq!(
                inspect(bytes),
                Tail { last_sequence, torn_bytes },
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
    }
}
