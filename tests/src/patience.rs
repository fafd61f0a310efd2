//! How long things may take. On an emulated processor everything takes 10 to 30 times longer, and nothing is wrong.
//!
//! Tests state times for ordinary hardware; whoever runs them elsewhere says so with `HOMEPORT_TEST_PATIENCE`, a factor,
//! as `cargo xtask vm` does.

use std::{env, sync::LazyLock, time::Duration};

/// The factor, 1 when nothing is said.
///
/// # Panics
///
/// When the variable is not a number from 1 to 1000.
pub fn factor() -> u32 {
    static FACTOR: LazyLock<u32> = LazyLock::new(|| match env::var("HOMEPORT_TEST_PATIENCE") {
        Ok(text) => match text.parse() {
            Ok(factor @ 1..=1000) => factor,
            _ => panic!("HOMEPORT_TEST_PATIENCE={text}: a number from 1 to 1000 is accepted"),
        },
        Err(_) => 1,
    });
    *FACTOR
}

/// What takes at most `time` on ordinary hardware takes at most this long here.
pub fn patient(time: Duration) -> Duration {
    time * factor()
}
