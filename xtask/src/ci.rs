//! Everything a change must pass: `cargo xtask ci`.
//!
//! Of the virtual machines it runs the short selection. Where that cannot run, it says so and goes on: a mirror that does
//! not answer says nothing about the change.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::{
    demo, lint, setup, test,
    vm::short::{self, Verdict},
};

/// When the virtual machines must have ended, counted from the start. What is asked for is an hour.
const MACHINES_END: Duration = Duration::from_secs(55 * 60);

/// Every part runs even if an earlier one failed, so that one run shows all there is to repair. The tests' summary
/// comes last, alone on its line, for whoever reads the end of the log only.
pub(crate) fn run() -> Result<()> {
    let started = Instant::now();
    setup::ensure()?;
    let mut failures = Vec::new();
    if let Err(error) = lint::run() {
        failures.push(format!("lint: {error:#}"));
    }
    let mut summary = test::run_all()?;
    if summary.failed > 0 {
        failures.push(format!("test: {} failed", summary.failed));
    }
    // The tests have built its programs. Building them without tests unites other features of dependencies, and would
    // compile half of those again.
    if let Err(error) = demo::show() {
        failures.push(format!("demo: {error:#}"));
    }
    let limit = MACHINES_END.saturating_sub(started.elapsed()).min(short::LIMIT);
    match short::run(limit) {
        Ok(Verdict { summary: machines, left_out }) => {
            summary += machines;
            if machines.failed > 0 {
                failures.push(format!("vm: {} failed", machines.failed));
            }
            left_out.iter().for_each(|what| println!("ci: not tested: {what}"));
        }
        Err(error) => failures.push(format!("vm: {error:#}")),
    }

    for failure in &failures {
        println!("ci: {failure}");
    }
    println!("{summary}");
    if !failures.is_empty() {
        bail!("{} of 4 parts failed: lint, test, demo or vm, see above", failures.len());
    }
    Ok(())
}
