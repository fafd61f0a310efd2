//! Measures the budgets: `cargo xtask bench [--quick] [SECTION...]`.
//!
//! Compiling stays with the user who called; the measuring program itself runs as root, because it loads programs
//! into the kernel and makes network namespaces. A complete run renews the page that states the figures.

use std::{path::Path, process::Command};

use anyhow::{Result, bail};

use crate::{setup, tool};

/// The page with the figures.
const PAGE: &str = "agent/docs/PERFORMANCE.md";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Under a minute: shows that everything runs, not how fast; writes nothing
    #[arg(long)]
    quick: bool,
    /// What to measure: programs, packets, streams, sweep, latency, memory, records, agent; everything when left out
    sections: Vec<String>,
}

pub(crate) fn run(args: Args) -> Result<()> {
    setup::ensure()?;
    let packages = ["--package", "homeport", "--package", "homeport-tests"];
    tool::run(
        tool::cargo("build")
            .args(["--locked", "--release", "--bin", "homeport", "--bin", "bench"])
            .args(packages),
    )?;

    let mut bench = as_root(&tool::target_dir().join("release/bench"))?;
    if args.quick {
        bench.arg("--quick");
    }
    bench.arg("--write").arg(PAGE).args(args.sections).current_dir(tool::workspace());
    tool::run(&mut bench)
}

fn as_root(program: &Path) -> Result<Command> {
    if tool::is_root()? {
        return Ok(Command::new(program));
    }
    if tool::find("sudo").is_none() {
        bail!("the bench needs root: run `cargo xtask bench` as root, or install sudo");
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    Ok(command)
}
