//! Everything a change must pass: `cargo xtask ci`.

use anyhow::{Result, bail};

use crate::{demo, lint, setup, summary::Summary, test, vm};

/// Every part runs even if an earlier one failed, so that one run shows all there is to repair. The tests' summary
/// comes last, alone on its line, for whoever reads the end of the log only.
pub(crate) fn run() -> Result<()> {
    setup::ensure()?;
    let mut failures = Vec::new();
    if let Err(error) = lint::run() {
        failures.push(format!("lint: {error:#}"));
    }
    let mut summary = test::run_all()?;
    if summary.failed > 0 {
        failures.push(format!("test: {} failed", summary.failed));
    }
    // A kernel that cannot be had or booted is a failure, too: its tests did not pass.
    let on_kernels = vm::run_for_ci().unwrap_or_else(|error| {
        println!("vm: {error:#}");
        Summary { passed: 0, failed: 1 }
    });
    if on_kernels.failed > 0 {
        failures.push(format!("vm: {} failed", on_kernels.failed));
    }
    summary += on_kernels;
    if let Err(error) = demo::run(demo::Args::default()) {
        failures.push(format!("demo: {error:#}"));
    }

    for failure in &failures {
        println!("ci: {failure}");
    }
    println!("{summary}");
    if !failures.is_empty() {
        bail!("{} of 4 parts failed: lint, test, vm or demo, see above", failures.len());
    }
    Ok(())
}
