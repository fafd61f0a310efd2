//! Feeds arbitrary bytes to the parsers: `cargo xtask fuzz [--seconds N] [TARGET]`.
//!
//! libFuzzer drives the targets in `tests/fuzz`. The compiler's own coverage pass is enough for it, and stable Rust
//! offers that: neither nightly nor cargo-fuzz is needed. There is no address sanitizer, since the parsers are safe
//! Rust; panics, overflows, hangs and memory beyond the limit are the findings.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{setup, tool};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Name of a file in tests/fuzz/fuzz_targets, without its ending; all of them when left out
    target: Option<String>,
}

/// Sanitizer coverage as libFuzzer reads it: edge counters, their addresses, and operands of comparisons.
const COVERAGE_FLAGS: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "--cfg=fuzzing",
];

/// An input that takes longer than this is a finding: parsers answer in microseconds.
const INPUT_TIMEOUT_SECS: u32 = 5;

/// Memory of the whole process, in MiB. A parser that believes a length field would go beyond it.
const MEMORY_LIMIT_MIB: u32 = 1024;

pub(crate) fn run(args: Args) -> Result<()> {
    setup::ensure()?;
    let known = targets()?;
    let chosen = match args.target {
        Some(target) => {
            ensure!(
                known.contains(&target),
                "fuzz target {target} is unknown: there are {}",
                known.join(", ")
            );
            vec![target]
        }
        None => known,
    };

    let host = tool::host_triple()?;
    for target in &chosen {
        // With an explicit target, cargo keeps the flags away from build scripts and macros, which lack libFuzzer.
        let mut cargo = tool::cargo("build");
        cargo.current_dir(crate_dir()).args(["--release", "--target", &host, "--bin", target]);
        tool::run(cargo.env("CARGO_ENCODED_RUSTFLAGS", COVERAGE_FLAGS.join("\x1f")))?;
    }
    let binaries = crate_dir().join("target").join(&host).join("release");
    for target in &chosen {
        fuzz(target, binaries.join(target), args.seconds).with_context(|| {
            format!("fuzz target {target}: see the input written to tests/fuzz/artifacts")
        })?;
    }
    println!("fuzz: {} for {} s each, no findings", chosen.join(", "), args.seconds);
    Ok(())
}

fn fuzz(target: &str, binary: PathBuf, seconds: u32) -> Result<()> {
    let (corpus, artifacts) =
        (crate_dir().join("corpus").join(target), crate_dir().join("artifacts").join(target));
    for directory in [&corpus, &artifacts] {
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    }
    let mut command = Command::new(binary);
    command.args([
        format!("-max_total_time={seconds}"),
        format!("-timeout={INPUT_TIMEOUT_SECS}"),
        format!("-rss_limit_mb={MEMORY_LIMIT_MIB}"),
        format!("-artifact_prefix={}/", artifacts.display()),
        "-print_final_stats=1".to_owned(),
        "-verbosity=0".to_owned(),
    ]);
    tool::run(command.arg(&corpus))
}

fn targets() -> Result<Vec<String>> {
    let directory = crate_dir().join("fuzz_targets");
    let mut targets = Vec::new();
    for entry in fs::read_dir(&directory).with_context(|| format!("list {}", directory.display()))? {
        let path = entry.with_context(|| format!("list {}", directory.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            targets.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    if targets.is_empty() {
        bail!("{} holds no target", directory.display());
    }
    targets.sort();
    Ok(targets)
}

fn crate_dir() -> PathBuf {
    tool::workspace().join("tests/fuzz")
}
