//! Everything a change must pass: `cargo xtask ci`.
//!
//! Not the virtual machines, which take a quarter of an hour on two cores: `cargo xtask vm --ci` runs their short
//! selection.

use anyhow::{Result, bail};

use crate::{demo, lint, setup, test};

/// Every part runs even if an earlier one failed, so that one run shows all there is to repair. The tests' summary
/// comes last, alone on its line, for whoever reads the end of the log only.
pub(crate) fn run() -> Result<()> {
    setup::ensure()?;
    let mut failures = Vec::new();
    if let Err(error) = lint::run() {
        failures.push(format!("lint: {error:#}"));
    }
    let summary = test::run_all()?;
    if summary.failed > 0 {
        failures.push(format!("test: {} failed", summary.failed));
    }
    if let Err(error) = demo::run(demo::Args::default()) {
        failures.push(format!("demo: {error:#}"));
    }

    for failure in &failures {
        println!("ci: {failure}");
    }
    println!("{summary}");
    if !failures.is_empty() {
        bail!("{} of 3 parts failed: lint, test or demo, see above", failures.len());
    }
    Ok(())
}
