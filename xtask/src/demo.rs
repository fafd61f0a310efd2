//! Shows the agent at work: `cargo xtask demo`.

use anyhow::Result;

use crate::setup;

#[derive(clap::Args, Default)]
pub(crate) struct Args {}

pub(crate) fn run(Args {}: Args) -> Result<()> {
    setup::ensure()?;
    println!("demo: nothing to run yet");
    Ok(())
}
