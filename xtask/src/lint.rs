//! Checks that need no run of the product: `cargo xtask lint`.
//!
//! All of them run, and all failures are named together.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{
    licences, setup, tool,
    toolchain::{self, Toolchain},
};

type Check = fn() -> Result<()>;

pub(crate) fn run() -> Result<()> {
    setup::ensure()?;
    let checks: [(&str, Check); 6] = [
        ("format", format),
        ("format of the fuzz targets", format_fuzz),
        ("clippy", clippy),
        ("clippy for BPF", clippy_bpf),
        ("documentation", documentation),
        ("dependencies", licences::check),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        if let Err(error) = check() {
            eprintln!("error: {name}: {error:#}");
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    println!("lint: clean");
    Ok(())
}

fn format() -> Result<()> {
    tool::run(tool::cargo("fmt").args(["--all", "--check"]))
}

/// The fuzz targets are a workspace of their own, which `--all` does not reach.
fn format_fuzz() -> Result<()> {
    tool::run(tool::cargo("fmt").args(["--manifest-path", "tests/fuzz/Cargo.toml", "--check"]))
}

fn clippy() -> Result<()> {
    let mut cargo = tool::cargo("clippy");
    cargo.args(["--locked", "--workspace", "--all-targets", "--", "--deny", "warnings"]);
    tool::run(&mut cargo)
}

/// Lints the programs with the compiler that builds them: for the host they would not even compile. Profile and
/// target directory are those of the build script, whose compiled dependencies serve here too.
fn clippy_bpf() -> Result<()> {
    let endian = if cfg!(target_endian = "big") { "big" } else { "little" };
    let mut cargo: Command =
        Toolchain::find()?.cargo("clippy", toolchain::target(endian), std::env::consts::ARCH);
    cargo.args([
        "--locked",
        "--release",
        "--package",
        "homeport-ebpf",
        "--lib",
        "--bins",
        "--features",
        "programs",
    ]);
    cargo.arg("--target-dir").arg(tool::target_dir().join("bpf")).args(["--", "--deny", "warnings"]);
    tool::run(cargo.current_dir(tool::workspace()))
}

fn documentation() -> Result<()> {
    let mut cargo = tool::cargo("doc");
    cargo.args(["--locked", "--workspace", "--no-deps", "--document-private-items"]);
    tool::run(cargo.env("RUSTDOCFLAGS", "--deny warnings"))
}
