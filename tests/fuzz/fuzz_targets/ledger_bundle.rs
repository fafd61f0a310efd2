//! Any bytes as an entry bundle, a hash tile or the path of one: never a panic, and what is found is what is there.
#![no_main]

use homeport::ledger::audit::format::{Tile, bundle, hashes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match bundle(bytes) {
        Ok(entries) => {
            let mut again = Vec::new();
            for entry in entries {
                let entry = &bytes[entry];
                again.extend_from_slice(&(entry.len() as u16).to_be_bytes());
                again.extend_from_slice(entry);
            }
            assert_eq!(again, bytes);
        }
        Err(torn) => {
            assert!(bundle(&bytes[..torn.offset]).is_ok_and(|entries| entries.len() == torn.entries))
        }
    }
    if let Some(hashes) = hashes(bytes) {
        assert_eq!(hashes.iter().flat_map(|hash| hash.0).collect::<Vec<_>>(), bytes);
    }
    if let Some(tile) = std::str::from_utf8(bytes).ok().and_then(Tile::from_path) {
        assert_eq!(tile.path().as_bytes(), bytes);
        let _ = tile.span();
    }
});
