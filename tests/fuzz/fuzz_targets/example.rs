//! Shows the shape of a target, until the parsers have theirs: any bytes go in, only a panic is a finding.
#![no_main]

use std::net::Ipv6Addr;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        assert_eq!(
            address.to_string().parse(),
            Ok(address),
            "printed form of {text:?} parses to another address"
        );
    }
});
