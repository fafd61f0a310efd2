//! Any bytes as a tlog-proof: never a panic, what is accepted is written back as the same bytes, and nothing that comes
//! from a stranger shows an entry for a root that it does not fit to.
#![no_main]

use homeport::ledger::audit::{merkle::Hash, proof::Proof};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(proof) = Proof::parse(bytes) else { return };
    assert_eq!(proof.to_text().as_bytes(), bytes);
    let entry = proof.extra.clone().unwrap_or_default();
    if proof.shows(&entry) {
        let mut other = proof;
        other.checkpoint.root = Hash::empty();
        assert!(!other.shows(&entry));
    }
});
