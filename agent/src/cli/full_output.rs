//! Commands whose standard output is a file on a full disk. The test runs itself again in a process of its own, for
//! standard output is that of all tests.

use std::{
    env,
    fs::OpenOptions,
    os::fd::AsRawFd as _,
    process::{Command, Stdio},
};

use clap::Parser as _;

use super::Cli;
use crate::{
    exit::Exit,
    ledger::audit::fixture::{ReferenceLedger, record},
};

/// Set in the process whose standard output is full: the directory of a ledger.
const LEDGER: &str = "HOMEPORT_TEST_FULL_OUTPUT";

const NAME: &str = "cli::full_output::a_full_disk_behind_standard_output_is_told_and_no_panic";

#[test]
fn a_full_disk_behind_standard_output_is_told_and_no_panic() {
    if let Ok(ledger) = env::var(LEDGER) {
        return with_full_output(&ledger);
    }
    let directory = tempfile::tempdir().expect("a directory");
    let ledger_directory = directory.path().join("ledger");
    let mut ledger = ReferenceLedger::new(&ledger_directory, "homeport/h1");
    for sequence in 1..=300 {
        ledger.append(record(sequence).as_bytes());
    }
    ledger.publish();
    let output = Command::new(env::current_exe().expect("this test"))
        .args(["--exact", NAME, "--nocapture", "--test-threads=1"])
        .env(LEDGER, &ledger_directory)
        .stdin(Stdio::null())
        .output()
        .expect("this test again");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

fn with_full_output(ledger: &str) {
    let out = format!("{ledger}-evidence");
    let commands: [&[&str]; 15] = [
        &["check", "--defaults"],
        &["check"],
        &["explain", "8.8.8.8"],
        &["explain", "--json", "8.8.8.8"],
        &["report", ledger],
        &["report", ledger, "--html"],
        &["report", ledger, "--json"],
        &["ledger", "key", ledger],
        &["ledger", "key", ledger, "--bare"],
        &["ledger", "verify", ledger],
        &["ledger", "verify", ledger, "--json"],
        &["ledger", "show", ledger],
        &["ledger", "prove", ledger, "7"],
        &["ledger", "export", ledger, &out],
        &["generate", "completions", "bash"],
    ];
    let full = OpenOptions::new().write(true).open("/dev/full").expect("a Linux host");
    // SAFETY: both are descriptors that are open; this process runs one test, on one thread that prints.
    let kept = unsafe {
        let kept = libc::dup(1);
        libc::dup2(full.as_raw_fd(), 1);
        kept
    };
    let ended: Vec<_> = commands
        .iter()
        .map(|command| {
            let words = ["homeport"].iter().chain(*command);
            Cli::try_parse_from(words).expect("a command line").run()
        })
        .collect();
    // SAFETY: as above.
    unsafe { libc::dup2(kept, 1) };
    for (command, ended) in commands.iter().zip(ended) {
        let failure = ended.expect_err("nothing was printed");
        let told = format!("{:#}", failure.error);
        assert_eq!(failure.exit, Exit::Unusable, "{command:?}: {told}");
        assert!(told.starts_with("standard output: No space left on device"), "{command:?}: {told}");
    }
}
