//! How many tests passed and failed, over all test binaries.

use std::{
    fmt,
    io::{BufRead as _, BufReader},
    ops::AddAssign,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use crate::tool;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Summary {
    /// Runs a `cargo test` and adds up its result lines while showing everything it prints.
    ///
    /// A run that fails without a failed test (it did not compile, a test binary died) counts as one failure, or
    /// the line at the end would claim success.
    pub(crate) fn of(cargo_test: &mut Command) -> Result<Self> {
        tool::announce(cargo_test);
        let mut child = cargo_test.stdout(Stdio::piped()).spawn().context("start cargo test")?;
        let mut summary = Self::default();
        let stdout = child.stdout.take().context("cargo test has no standard output")?;
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.context("read what cargo test prints")?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            summary += Self::from_line(&line).unwrap_or_default();
        }
        let status = child.wait().context("wait for cargo test")?;
        if !status.success() && summary.failed == 0 {
            summary.failed = 1;
        }
        Ok(summary)
    }

    /// Reads "test name ... ok" or "test name ... FAILED".
    pub(crate) fn from_test_line(line: &str) -> Self {
        let ended = |word| u64::from(line.starts_with("test ") && line.ends_with(word));
        Self { passed: ended(" ... ok"), failed: ended(" ... FAILED") }
    }

    /// Reads "test result: ok. 3 passed; 0 failed; 0 ignored; ...".
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let counts = line.strip_prefix("test result: ")?;
        let count = |word: &str| -> Option<u64> {
            let before = counts.split(word).next().filter(|before| before.len() < counts.len())?;
            before.split_whitespace().last()?.parse().ok()
        };
        Some(Self { passed: count(" passed;")?, failed: count(" failed;")? })
    }
}

impl AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::Summary;

    #[track_caller]
    fn check(line: &str, expected: Option<(u64, u64)>) {
        let expected = expected.map(|(passed, failed)| Summary { passed, failed });
        assert_eq!(Summary::from_line(line), expected);
    }

    #[test]
    fn result_lines_are_counted() {
        check("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; finished in 0.1s", Some((12, 0)));
        check("test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured", Some((3, 2)));
    }

    #[test]
    fn other_lines_are_not() {
        check("test policy::tests::one ... ok", None);
        check("running 12 tests", None);
        check("test result: unknown", None);
    }
}
