//! Bundles that are older than the last few, packed: the same bytes as a gzip file (RFC 1952) beside where they were.
//!
//! Minutes of one host differ in their numbers and in little else, so a bundle of them takes a ninth. gzip, because it
//! is a content coding of HTTP, by which tiles are fetched: every web server can send the file as it lies there, and
//! `gunzip` makes the plain tile of it again. Hashes, proofs and checkpoints are of the plain bytes, as ever.
//!
//! Somebody who changes a file must be found out, so there is one way to begin it: no name, no time, no comment, and
//! nothing behind its end.

use std::io::{Read as _, Write as _};

use flate2::{Compression, bufread::GzDecoder, write::GzEncoder};

/// Full bundles at the end that stay plain: what is being delivered, and what a reader of C2SP logs asks for most. One
/// in tests, whose ledgers are short.
pub(crate) const PLAIN: u64 = if cfg!(test) { 1 } else { 8 };

/// The only beginning: gzip, deflate, no flags, no time, nothing about the speed, an unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// The usual one of gzip: bundles of minutes of a server with two cards become 9.4 times smaller (1,384,750 bytes:
/// 147,400; `cargo xtask soak year`). Others were not compared.
const LEVEL: u32 = 6;

/// Packs the bytes of a bundle.
pub(crate) fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 8), Compression::new(LEVEL));
    // Writing to memory does not fail.
    let packed = encoder.write_all(bytes).and_then(|()| encoder.finish());
    let mut packed = packed.unwrap_or_default();
    if let Some(header) = packed.first_chunk_mut() {
        *header = HEADER;
    }
    packed
}

/// The bytes of a bundle, if this is one that was packed here and has no more than so many.
pub(crate) fn unpack(packed: &[u8], limit: u64) -> Option<Vec<u8>> {
    if !packed.starts_with(&HEADER) {
        return None;
    }
    let mut decoder = GzDecoder::new(packed);
    let mut bytes = Vec::new();
    decoder.by_ref().take(limit + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= limit && decoder.into_inner().is_empty()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> Vec<u8> {
        (0..256)
            .flat_map(|number| format!("{{\"time\":{number},\"bytes\":{}}}", number * number).into_bytes())
            .collect()
    }

    #[test]
    fn what_is_packed_is_smaller_and_comes_out_as_it_was() {
        let bytes = bundle();
        let packed = pack(&bytes);
        assert!(packed.len() * 3 < bytes.len(), "{} of {}", packed.len(), bytes.len());
        assert_eq!(unpack(&packed, bytes.len() as u64), Some(bytes.clone()));
        assert_eq!(unpack(&packed, bytes.len() as u64 - 1), None, "no more than is asked for");
        assert_eq!(unpack(&pack(&[]), 0), Some(Vec::new()));
        let mut gunzip = Vec::new();
        GzDecoder::new(&*packed).read_to_end(&mut gunzip).expect("any gunzip reads it");
        assert_eq!(gunzip, bytes);
    }

    #[test]
    fn every_change_that_changes_the_bytes_or_their_frame_is_noticed() {
        let bytes = bundle();
        let packed = pack(&bytes);
        for at in 0..packed.len() {
            assert_eq!(unpack(&packed[..at], u64::MAX - 1), None, "cut at {at}");
            for bit in 0..8 {
                let mut other = packed.clone();
                other[at] ^= 1 << bit;
                // Some bits of deflate say nothing: unused codes, and what fills up the last byte.
                if let Some(unpacked) = unpack(&other, u64::MAX - 1) {
                    assert_eq!(unpacked, bytes, "bit {bit} of byte {at}");
                    assert!(at >= HEADER.len() && at < packed.len() - 8, "bit {bit} of byte {at}");
                }
            }
        }
        assert_eq!(unpack(&[packed.as_slice(), &[0]].concat(), u64::MAX - 1), None, "something behind it");
        assert_eq!(
            unpack(&[packed.as_slice(), &packed].concat(), u64::MAX - 1),
            None,
            "another one behind it"
        );
    }
}
