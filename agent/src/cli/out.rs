//! How commands print. Standard output may be a file on a full disk, where `println!` panics.

use std::io::{self, Write as _};

use crate::{
    exit::{Exit, Failure},
    record::harmless,
};

/// Prints a text as it is, and all of it: what stays in a buffer at the end would be lost without a word.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    write(&mut io::stdout().lock(), text.as_bytes())
}

/// Prints a line.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}

/// Tells on standard error why a command failed. What others have answered may be in it, and must not drive a terminal.
pub fn tell(failure: &Failure) {
    for line in format!("homeport: {:#}", failure.error).lines() {
        // When that is full, too, there is nowhere else to say it.
        let _ = writeln!(io::stderr(), "{}", harmless(line));
    }
}

fn write(out: &mut impl io::Write, bytes: &[u8]) -> Result<(), Failure> {
    out.write_all(bytes).and_then(|()| out.flush()).map_err(failure)
}

/// What follows when standard output cannot be written. Whoever closes a pipe ends a command before (see `main`).
pub(super) fn failure(error: io::Error) -> Failure {
    Failure::new(Exit::Unusable, anyhow::Error::new(error).context("standard output"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_that_is_full_is_told_and_no_panic() {
        let mut full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a Linux host");
        let failure = write(&mut full, b"a line\n").expect_err("no space left");
        assert_eq!(failure.exit, Exit::Unusable);
        let told = format!("{:#}", failure.error);
        assert!(told.starts_with("standard output: No space left on device"), "{told}");
    }

    #[test]
    fn what_is_buffered_is_written_too() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a Linux host");
        let failure = write(&mut io::LineWriter::new(full), b"no end of line").expect_err("no space left");
        assert_eq!(failure.exit, Exit::Unusable);
    }
}
