//! Measures the budgets: `cargo xtask bench`.

use anyhow::Result;

use crate::setup;

#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(Args {}: Args) -> Result<()> {
    setup::ensure()?;
    println!("bench: nothing to run yet");
    Ok(())
}
