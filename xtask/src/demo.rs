//! Shows the agent at work: `cargo xtask demo`.
//!
//! The story itself is the program `demo` of package `homeport-tests`, because it loads programs into the kernel
//! and makes network namespaces: it alone runs with root's rights, compiling stays with the user who called.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{setup, tool};

const PROGRAM: &str = "demo";

/// Where the demo finds the agent.
const AGENT_VARIABLE: &str = "HOMEPORT_BIN";

#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(Args {}: Args) -> Result<()> {
    setup::ensure()?;
    tool::run(tool::cargo("build").args(["--locked", "--bins"]).args(tool::PRODUCT))?;
    show()
}

/// With the programs that are built already.
pub(crate) fn show() -> Result<()> {
    let program = tool::target_dir().join("debug").join(PROGRAM);
    let mut demo = if tool::is_root()? {
        Command::new(program)
    } else if tool::find("sudo").is_some() {
        let mut sudo = Command::new("sudo");
        sudo.arg("--preserve-env").arg(program);
        sudo
    } else {
        bail!("the demo loads programs into the kernel: run `cargo xtask demo` as root, or install sudo");
    };
    tool::run(demo.env(AGENT_VARIABLE, tool::target_dir().join("debug/homeport")))
}
