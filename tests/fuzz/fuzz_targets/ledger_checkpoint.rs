//! Any bytes as what others sign: a checkpoint, a key, a witness policy, a request to a witness. Never a panic; and
//! what is accepted is written back as the same bytes.
//!
//! A good seed is any ledger's `checkpoint`.
#![no_main]

use homeport::ledger::{
    audit::{
        note::{Checkpoint, Key},
        policy::Policy,
    },
    witness::protocol::Request,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(checkpoint) = Checkpoint::parse(bytes) {
        assert_eq!(checkpoint.to_note().as_bytes(), bytes);
    }
    if let Ok(request) = Request::parse(bytes) {
        assert_eq!(request.to_text().as_bytes(), bytes);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(key) = Key::parse(text) {
            assert_eq!(Key::parse(&key.to_string()).as_ref(), Ok(&key));
        }
        let _ = Policy::parse(text);
    }
});
