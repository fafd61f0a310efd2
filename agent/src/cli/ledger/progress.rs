//! How far reading a ledger has come, for whoever waits at a terminal.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

/// How often a terminal is told.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// One line on a terminal, rewritten.
pub(in crate::cli) struct Progress {
    shown: bool,
    told: Instant,
    wrote: bool,
}

impl Progress {
    pub(in crate::cli) fn new() -> Self {
        Self { shown: io::stderr().is_terminal(), told: Instant::now(), wrote: false }
    }

    pub(in crate::cli) fn tell(&mut self, done: u64, of: u64) {
        if self.shown && self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            self.wrote = true;
            let percent = u128::from(done) * 100 / u128::from(of.max(1));
            // Nobody minds when a terminal is gone.
            let _ = write!(io::stderr(), "\r\x1b[K{percent} %  {done} of {of} entries");
        }
    }

    pub(in crate::cli) fn end(&self) {
        if self.wrote {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
