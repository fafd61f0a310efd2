//! Long campaigns: `cargo xtask soak NAME [OPTIONS]`.
//!
//! Compiling stays with the user who called; the program `soak` of package `homeport-tests` runs as root, because it
//! makes network namespaces and starts the agent. Short versions of all campaigns are part of `cargo xtask test`.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{foreign, setup, tool};

const PACKAGE: &str = "homeport-tests";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which campaign, and its options; `--help` lists both
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "NAME")]
    words: Vec<String>,
}

pub(crate) fn run(args: Args) -> Result<()> {
    setup::ensure()?;
    let python = foreign::ensure()?;
    // What an operator runs is measured: the optimized build.
    let build = ["--locked", "--release", "--package", "homeport", "--package", PACKAGE, "--bins"];
    tool::run(tool::cargo("build").args(build))?;
    // The agent, and the programs that send, are found beside it.
    let program = tool::target_dir().join("release/soak");
    let mut soak = if tool::is_root()? {
        Command::new(program)
    } else if tool::find("sudo").is_some() {
        let mut sudo = Command::new("sudo");
        sudo.arg("--preserve-env").arg(program);
        sudo
    } else {
        bail!("campaigns load programs into the kernel: run `cargo xtask soak` as root, or install sudo");
    };
    // One campaign compares with another implementation.
    soak.env(foreign::VARIABLE, python);
    tool::run(soak.args(args.words))
}
