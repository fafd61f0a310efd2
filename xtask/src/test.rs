//! Runs all tests: `cargo xtask test`.
//!
//! Unit tests run as they are. The end-to-end tests load programs into the kernel and make network namespaces, so
//! their binary alone is started with root's rights: compiling stays with the user who called.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{foreign, setup, summary::Summary, tool};

/// Where the end-to-end tests find the agent.
const AGENT_VARIABLE: &str = "HOMEPORT_BIN";
/// And the build with another layout of its maps.
const WIDE_AGENT_VARIABLE: &str = "HOMEPORT_WIDE_BIN";

pub(crate) fn run() -> Result<()> {
    setup::ensure()?;
    let summary = run_all()?;
    println!("{summary}");
    if summary.failed > 0 {
        bail!("tests failed");
    }
    Ok(())
}

/// Runs everything, the failures of one part notwithstanding.
pub(crate) fn run_all() -> Result<Summary> {
    let as_root = root_runner()?;
    let mut summary = Summary::of(tool::cargo("test").args(["--locked", "--package", "xtask"]))?;
    summary += Summary::of(&mut unit_tests())?;
    summary += rules()?;
    let product = ["--locked", "--bins", "--test", "*"];
    let built = foreign::ensure().and_then(|python| {
        build_wide()?;
        tool::run(tool::cargo("build").args(product).args(tool::PRODUCT))?;
        Ok(python)
    });
    match built {
        Ok(python) => {
            summary += Summary::of(end_to_end_tests(as_root).env(foreign::VARIABLE, python))?;
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            summary.failed += 1;
        }
    }
    Ok(summary)
}

/// The alerting rules, with Prometheus' own tool.
fn rules() -> Result<Summary> {
    let directory = tool::workspace().join("agent/deploy/prometheus");
    let mut summary = Summary::default();
    for arguments in [["check", "rules", "homeport.rules.yml"], ["test", "rules", "homeport.rules.test.yml"]]
    {
        match tool::run(Command::new("promtool").args(arguments).current_dir(&directory)) {
            Ok(()) => summary.passed += 1,
            Err(error) => {
                eprintln!("error: {error:#}");
                summary.failed += 1;
            }
        }
    }
    Ok(summary)
}

/// A second build of the agent, with another layout of its maps: the tests upgrade to it and back.
///
/// A test goes with it, so that cargo unites the same features of dependencies as for the other tests, and does not
/// compile half of those again.
fn build_wide() -> Result<()> {
    let build = ["--locked", "--bin", "homeport", "--test", "kernel", "--features", "homeport/wide-slots"];
    tool::run(tool::cargo("build").args(build).args(tool::PRODUCT))?;
    let directory = tool::target_dir().join("debug");
    std::fs::copy(directory.join("homeport"), directory.join("homeport-wide"))?;
    Ok(())
}

fn unit_tests() -> Command {
    let mut cargo = tool::cargo("test");
    cargo.args(["--locked", "--lib", "--bins", "--no-fail-fast"]).args(tool::PRODUCT);
    cargo
}

fn end_to_end_tests(as_root: Option<&str>) -> Command {
    let mut cargo = tool::cargo("test");
    cargo.args(["--locked", "--test", "*", "--no-fail-fast"]).args(tool::PRODUCT);
    cargo.env(AGENT_VARIABLE, tool::target_dir().join("debug/homeport"));
    cargo.env(WIDE_AGENT_VARIABLE, tool::target_dir().join("debug/homeport-wide"));
    if let Some(runner) = as_root {
        cargo.args(["--config", runner]);
    }
    // Tests share the root cgroup, the kernel's tables and two or more cores: side by side they would disturb the
    // exact counts they assert.
    cargo.args(["--", "--test-threads=1"]);
    cargo
}

/// The cargo setting that starts test binaries through sudo; nothing when this process is root already.
fn root_runner() -> Result<Option<&'static str>> {
    if tool::is_root()? {
        return Ok(None);
    }
    if tool::find("sudo").is_none() {
        bail!("the end-to-end tests need root: run `cargo xtask test` as root, or install sudo");
    }
    Ok(Some(r#"target.'cfg(all())'.runner = ["sudo", "--preserve-env"]"#))
}
