//! A selection that is short enough to test every change with: the oldest kernel, and one that has what newer ones have.
//!
//! A machine without a mirror of Debian, without QEMU, or with so much else to do that the tests do not get their turn in
//! time, says nothing about the change: that is told apart, as left out. Failures are: a test that failed, a kernel that
//! was fetched and did not boot, a machine that ended or hung before any test had passed. `cargo xtask vm --ci` fails for
//! what is left out, too: whoever asks for it wants it.

use std::time::Duration;

use anyhow::Result;

use super::{Emulator, End, Job, Kernel, Outcome, Pace, Selection, directory, run_on, table};
use crate::{packages, setup, summary::Summary};

const KERNELS: [&str; 2] = ["5.10", "6.12"];

/// Binaries and parts of names. What has an agent of its own takes several times as long as the paths, which share one.
const TESTS: [(&str, &[&str]); 3] = [
    // What doctor says is what the table says, and the interface is watched that way.
    ("kernel", &[]),
    // Load, attach, count to the byte, name the owner: one path of each family.
    (
        "paths",
        &[
            "tcp_client",
            "tcp_accepted",
            "tcp_prefork",
            "udp_unconnected",
            "udp_segmented",
            "udp_fragmented",
            "raw_ip",
            "kernel_echo_reply",
            "packet_raw",
        ],
    ),
    // Repair.
    ("end_to_end", &["a_socket_ledger_that_somebody_detaches"]),
];

/// For both kernels, which run side by side: a sixth of what CI may take.
const LIMIT: Duration = Duration::from_secs(10 * 60);

/// How it went.
#[derive(Default)]
pub(crate) struct Verdict {
    pub(crate) summary: Summary,
    /// What did not run, and why.
    pub(crate) left_out: Vec<String>,
}

/// Runs it where it can.
///
/// # Errors
///
/// When the tests cannot be built.
pub(crate) fn run() -> Result<Verdict> {
    if !cfg!(target_arch = "x86_64") {
        return Ok(Verdict::nothing("the kernel matrix runs on x86_64 only"));
    }
    if let Err(error) = setup::ensure_programs(&packages::VM) {
        return Ok(Verdict::nothing(&format!("{error:#}")));
    }
    let emulator = match Emulator::ensure(&directory()) {
        Ok(emulator) => emulator,
        Err(error) => return Ok(Verdict::nothing(&format!("{error:#}"))),
    };
    let lines = run_on(&kernels()?, &job(), &emulator, Pace::Together(LIMIT))?;
    print!("{}", table(&lines));
    let mut verdict = Verdict::default();
    for line in lines {
        let name = line.kernel.name;
        match line.end {
            End::Ran(Outcome { summary, is_complete, .. }) => {
                verdict.summary += summary;
                if !is_complete {
                    let minutes = LIMIT.as_secs() / 60;
                    let text = format!("kernel {name} in part: {summary} after {minutes} minutes");
                    verdict.left_out.push(text);
                }
            }
            End::CannotBeHad(error) => verdict.left_out.push(format!("kernel {name}: {error}")),
            End::Broke(_) => verdict.summary.failed += 1,
        }
    }
    Ok(verdict)
}

impl Verdict {
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
