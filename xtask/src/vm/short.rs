//! A selection that is short enough to test every change with: the oldest kernel, and one that has what newer ones have.
//!
//! A machine without a mirror of Debian, without QEMU, or with so much else to do that the tests do not get their turn in
//! time, says nothing about the change: that is told apart, as left out. Failures are: a test that failed, a kernel that
//! was fetched and panicked, a machine that ended before its tests did. `cargo xtask vm --ci` fails for what is left out,
//! too: whoever asks for it wants it.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Emulator, End, Job, Kernel, Line, Outcome, Pace, Selection, directory, run_on, table};
use crate::{packages, setup, summary::Summary};

const KERNELS: [&str; 2] = ["5.10", "6.12"];

/// Binaries and parts of names, the most telling first: the time may be over before the last. What has an agent of its own
/// takes several times as long as the paths, which share one.
const TESTS: [(&str, &[&str]); 3] = [
    // Load, attach, count to the byte, name the owner: one path of each family.
    (
        "paths",
        &[
            "tcp_client",
            "tcp_accepted",
            "tcp_prefork",
            "udp_unconnected",
            "udp_segmented",
            "udp_fragmented_options",
            "raw_ip",
            "kernel_echo_reply",
            "packet_raw",
        ],
    ),
    // What doctor says is what the table says, and the interface is watched that way.
    ("kernel", &[]),
    // Repair.
    ("end_to_end", &["a_socket_ledger_that_somebody_detaches"]),
];

/// For both kernels, which run side by side, from the first package fetched to the last test.
pub(crate) const LIMIT: Duration = Duration::from_secs(12 * 60);

/// How it went.
#[derive(Default)]
pub(crate) struct Verdict {
    pub(crate) summary: Summary,
    /// What did not run, and why.
    pub(crate) left_out: Vec<String>,
}

/// Runs it where it can, for as long as `limit`.
///
/// # Errors
///
/// When the tests cannot be built.
pub(crate) fn run(limit: Duration) -> Result<Verdict> {
    let started = Instant::now();
    if !cfg!(target_arch = "x86_64") {
        return Ok(Verdict::nothing("the kernel matrix runs on x86_64 only"));
    }
    let emulator = match setup::ensure_programs(&packages::VM).and_then(|()| Emulator::ensure(&directory())) {
        Ok(emulator) => emulator,
        Err(error) => return Ok(Verdict::nothing(&format!("{error:#}"))),
    };
    let lines = run_on(&kernels()?, &job(), &emulator, Pace::Together(Some(started + limit)))?;
    print!("{}", table(&lines));
    Ok(Verdict::of(&lines))
}

impl Verdict {
    fn of(lines: &[Line]) -> Self {
        let mut verdict = Self::default();
        for line in lines {
            let name = line.kernel.name;
            match &line.end {
                End::Ran(Outcome { summary, took, is_complete }) => {
                    verdict.summary += *summary;
                    if !is_complete {
                        let text = format!("kernel {name} in part: {summary} in {} s", took.as_secs());
                        verdict.left_out.push(text);
                    }
                }
                End::CannotBeHad(error) => verdict.left_out.push(format!("kernel {name}: {error}")),
                End::Broke(_) => verdict.summary.failed += 1,
            }
        }
        verdict
    }

    fn nothing(reason: &str) -> Self {
        Self { left_out: vec![format!("all kernels: {reason}")], ..Self::default() }
    }
}

fn kernels() -> Result<Vec<Kernel>> {
    KERNELS.iter().map(|name| Kernel::named(name)).collect()
}

fn job() -> Job {
    let selection = |(binary, filters): &(&str, &[&str])| Selection {
        binaries: vec![(*binary).to_owned()],
        filters: filters.iter().map(|&filter| filter.to_owned()).collect(),
    };
    Job::Tests(TESTS.iter().map(selection).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn verdict(end: End) -> (u64, u64, usize) {
        let kernel = Kernel::named("5.10").expect("of the matrix");
        let Verdict { summary, left_out } = Verdict::of(&[Line { kernel, release: String::new(), end }]);
        (summary.passed, summary.failed, left_out.len())
    }

    fn ran(passed: u64, failed: u64, is_complete: bool) -> End {
        End::Ran(Outcome { summary: Summary { passed, failed }, took: Duration::from_secs(1), is_complete })
    }

    #[test]
    fn what_was_not_tested_is_no_failure_and_no_success() {
        assert_eq!(verdict(End::CannotBeHad("no mirror".to_owned())), (0, 0, 1));
        assert_eq!(verdict(ran(0, 0, false)), (0, 0, 1));
        assert_eq!(verdict(ran(7, 0, false)), (7, 0, 1));
    }

    #[test]
    fn what_failed_is_a_failure_whatever_else_happened() {
        assert_eq!(verdict(ran(7, 1, false)), (7, 1, 1));
        assert_eq!(verdict(ran(7, 1, true)), (7, 1, 0));
        assert_eq!(verdict(End::Broke("it panicked".to_owned())), (0, 1, 0));
        assert_eq!(verdict(ran(8, 0, true)), (8, 0, 0));
    }
}
