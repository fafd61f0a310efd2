//! Generates the messages of OTLP from its official files, for the receiver that the tests run.
//!
//! The agent takes its messages from a crate: would both sides use that, a fault in it would not show.

use anyhow::{Context as _, Result};

const FILES: &str = "data/opentelemetry-proto";
const SERVICE: &str = "opentelemetry/proto/collector/logs/v1/logs_service.proto";

fn main() -> Result<()> {
    println!("cargo::rerun-if-changed={FILES}");
    let files = protox::compile([SERVICE], [FILES]).context("read the files of OTLP")?;
    prost_build::Config::new().include_file("otlp.rs").compile_fds(files).context("generate the messages")
}
