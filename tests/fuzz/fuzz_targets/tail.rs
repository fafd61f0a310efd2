//! Any bytes as the end of a record file: never a panic, and the numbers and the torn line are what a naive reader
//! finds.
//!
//! Good seeds are the files of `agent/src/record/golden`, whole and cut.
#![no_main]

use homeport::record::writer::tail::inspect;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let tail = inspect(bytes);

    // The torn part has no newline, and what is before it ends with one.
    let (whole, torn) = bytes.split_at(bytes.len() - tail.torn_bytes);
    assert!(!torn.contains(&b'\n'));
    assert!(whole.is_empty() || whole.ends_with(b"\n"));

    // Ending the torn line makes the file whole and changes no number.
    let mut mended = bytes.to_vec();
    mended.push(b'\n');
    let mended = inspect(&mended);
    assert_eq!(mended.torn_bytes, 0);
    assert_eq!(mended.last_sequence, tail.last_sequence);

    // A record after it is read, and numbers never go back.
    if let Some(last) = tail.last_sequence {
        let next = last + 1;
        let mut longer = bytes.to_vec();
        longer.extend_from_slice(format!("\n{{\"metadata\":{{\"sequence\":{next}}}}}\n").as_bytes());
        // Beyond 2^53 - 1 a number no longer counts.
        let expected = if next < 1 << 53 { next } else { last };
        assert_eq!(inspect(&longer).last_sequence, Some(expected));
    }
});
