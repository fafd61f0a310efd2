//! The test binaries of package `homeport-tests`, built by cargo, found in what it says.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::tool;

/// A compiled test target.
pub(crate) struct TestBinary {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

/// A line of `cargo --message-format=json`, of which only those about executables are of interest.
#[derive(Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// Builds those named, or all, and the programs they start.
pub(crate) fn build(names: &[String]) -> Result<Vec<TestBinary>> {
    let mut cargo = tool::cargo("test");
    cargo.args(["--locked", "--no-run"]).args(tool::PRODUCT);
    cargo.arg("--message-format=json-render-diagnostics");
    match names {
        [] => cargo.args(["--test", "*"]),
        names => cargo.args(names.iter().flat_map(|name| ["--test", name])),
    };
    tool::announce(&cargo);
    let mut binaries = Vec::new();
    for line in tool::output(&mut cargo)?.lines() {
        let message: Message = serde_json::from_str(line).context("read what cargo says")?;
        if let (Some(target), Some(path)) = (message.target, message.executable)
            && target.kind.iter().any(|kind| kind == "test")
        {
            binaries.push(TestBinary { name: target.name, path });
        }
    }
    ensure!(!binaries.is_empty(), "package homeport-tests has no such test binary");
    binaries.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(binaries)
}
