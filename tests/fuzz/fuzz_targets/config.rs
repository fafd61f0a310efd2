//! Any bytes as a configuration file: an answer or faults, never a panic, and both can be shown.

#![no_main]

use homeport::{
    clock::WallTime,
    config::{Config, render},
};
use libfuzzer_sys::fuzz_target;

/// 2026-11-21; the moment decides about warnings only.
const NOW: WallTime = WallTime::from_unix_seconds(1_795_219_200);

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Config::parse(text, "fuzz.toml", NOW) {
        Ok((config, warnings)) => {
            let _ = render::effective(&config, NOW, false);
            let _ = render::warnings(&warnings, false);
            assert!(config.policies.diff(&config.policies).is_empty());
        }
        Err(faults) => {
            assert!(!faults.is_empty());
            let _ = render::faults(&faults, false);
        }
    }
});
