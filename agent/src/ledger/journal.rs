//! The open bundle while it grows: one file per bundle, `open/<number>`, that is only ever appended to.
//!
//! ```text
//!   "homeport open 1\n" | bundle (8, big endian) | entry | entry | ...
//!   entry:  length (2, big endian) | first 8 bytes of its leaf hash | the entry
//! ```
//!
//! The leaf hash has to be computed anyway, so the check costs nothing. What does not check ends the file: it was
//! being written when the host or the agent died, and nobody was told that it is kept.

use std::sync::Arc;

use tlog_tiles::{Hash, record_hash};

const MAGIC: &[u8; 16] = b"homeport open 1\n";

/// Bytes before the first entry.
pub(crate) const HEADER_BYTES: usize = 24;

/// Bytes before each entry.
const FRAME_BYTES: usize = 10;

/// How the file of a bundle begins.
pub(crate) fn header(bundle: u64) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&bundle.to_be_bytes());
    bytes
}

/// Appends one entry.
pub(crate) fn encode(bytes: &mut Vec<u8>, entry: &str, leaf: &Hash) {
    let length = u16::try_from(entry.len()).unwrap_or(u16::MAX);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&leaf.0[..8]);
    bytes.extend_from_slice(&entry.as_bytes()[..usize::from(length)]);
}

/// What a file holds.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Decoded {
    /// Its entries, up to the first that does not check.
    pub(crate) entries: Vec<Arc<str>>,
    /// Its header is there, and nothing is behind its entries.
    pub(crate) is_whole: bool,
    /// Entries that can be read behind one that cannot, with where they begin in the file: this is no torn end.
    pub(crate) stranded: Vec<(usize, Arc<str>)>,
}

/// Bytes that an entry takes.
pub(crate) fn frame_bytes(entry: &str) -> usize {
    FRAME_BYTES + entry.len()
}

/// Reads the file of a bundle. Nothing when it is not one.
pub(crate) fn decode(bytes: &[u8], bundle: u64) -> Decoded {
    let mut decoded = Decoded::default();
    // Also an empty file: it was created, and the agent died before it wrote a header.
    let Some((head, mut rest)) = bytes.split_at_checked(HEADER_BYTES) else { return decoded };
    let expected = header(bundle);
    if head == expected {
        while let Some((entry, after)) = frame(rest) {
            decoded.entries.push(entry);
            rest = after;
        }
        decoded.is_whole = rest.is_empty();
    } else if head[..16] != expected[..16] && head[16..] != expected[16..] {
        // Half a header may be damaged; this is another file.
        rest = &[];
    }
    while let Some((_, after)) = rest.split_first() {
        // Entries are JSON objects: this saves hashing at nearly every byte.
        let found = if rest.get(FRAME_BYTES) == Some(&b'{') { frame(rest) } else { None };
        rest = match found {
            Some((entry, after)) => {
                decoded.stranded.push((bytes.len() - rest.len(), entry));
                after
            }
            None => after,
        };
    }
    decoded
}

fn frame(bytes: &[u8]) -> Option<(Arc<str>, &[u8])> {
    let (frame, rest) = bytes.split_first_chunk::<FRAME_BYTES>()?;
    let length = usize::from(u16::from_be_bytes([frame[0], frame[1]]));
    let (entry, rest) = rest.split_at_checked(length)?;
    let entry = std::str::from_utf8(entry).ok()?;
    (record_hash(entry.as_bytes()).0[..8] == frame[2..]).then(|| (Arc::from(entry), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(entries: &[&str]) -> Vec<u8> {
        let mut bytes = header(7);
        for entry in entries {
            encode(&mut bytes, entry, &record_hash(entry.as_bytes()));
        }
        bytes
    }

    #[test]
    fn a_file_cut_anywhere_keeps_the_entries_before_the_cut() {
        let entries = ["{\"a\":1}", "{}", "{\"b\":\"é\"}"];
        let whole = file(&entries);
        let ends: Vec<usize> = (0..=3).map(|count| file(&entries[..count]).len()).collect();
        for cut in 0..=whole.len() {
            let decoded = decode(&whole[..cut], 7);
            let kept = ends.iter().filter(|end| **end <= cut).count().saturating_sub(1);
            assert_eq!(decoded.entries.len(), kept, "cut at {cut}");
            assert_eq!(decoded.is_whole, ends.contains(&cut), "cut at {cut}");
            assert!(decoded.stranded.is_empty());
        }
        let mut other = whole.clone();
        other[..24].copy_from_slice(&header(8));
        other[3] ^= 1;
        assert_eq!(decode(&other, 7), Decoded::default());
        assert_eq!(decode(&whole, 8).entries.len(), 0, "of another bundle");
    }

    #[test]
    fn a_file_with_a_damaged_header_is_not_whole_though_nothing_is_behind_it() {
        for at in 0..HEADER_BYTES {
            let mut bytes = header(7);
            assert!(decode(&bytes, 7).is_whole);
            bytes[at] ^= 1;
            assert!(!decode(&bytes, 7).is_whole, "byte {at}");
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed_and_what_is_behind_it_is_found() {
        let entries = ["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"];
        let whole = file(&entries);
        let second = file(&entries[..1]).len();
        for at in second..file(&entries[..2]).len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            let decoded = decode(&bytes, 7);
            assert_eq!(decoded.entries.len(), 1, "bit of byte {at}");
            let third = file(&entries[..2]).len();
            assert_eq!(decoded.stranded, [(third, Arc::from(entries[2]))], "bit of byte {at}");
        }
    }
}
