//! Any bytes as a question on the control socket: understood, or refused with a word of what would be accepted.
#![no_main]

use homeport::control::parse_request;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(refusal) = parse_request(bytes) {
        assert!(refusal.contains("accepted"));
    }
});
