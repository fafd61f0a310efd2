//! An entry bundle: entries one after the other, each after its length in 16 bits, big endian.

use std::sync::Arc;

use crate::ledger::{entry::MAX_ENTRY_BYTES, path::WIDTH};

/// The longest bundle there can be.
pub(crate) const MAX_BUNDLE_BYTES: u64 = WIDTH * (MAX_ENTRY_BYTES as u64 + 2);

/// The bundle of these entries; each is at most 65,535 bytes long.
pub(crate) fn encode<'a>(entries: impl IntoIterator<Item = &'a Arc<str>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        let length = u16::try_from(entry.len()).unwrap_or(u16::MAX);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&entry.as_bytes()[..usize::from(length)]);
    }
    bytes
}

/// Its entries; `None` when the bytes are no bundle of texts.
pub(crate) fn decode(mut bytes: &[u8]) -> Option<Vec<Arc<str>>> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk()?;
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(Arc::from(std::str::from_utf8(entry).ok()?));
        bytes = rest;
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_out_as_they_went_in_and_a_cut_is_noticed() {
        let entries: Vec<Arc<str>> = ["", "a", "{\"é\":1}", &"x".repeat(65_535)].map(Arc::from).to_vec();
        let bytes = encode(&entries);
        assert_eq!(decode(&bytes), Some(entries));
        assert_eq!(&bytes[..3], &[0, 0, 0]);
        assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(decode(&[0]), None);
        assert_eq!(decode(&[0, 1, 0xff]), None);
    }
}
