//! `homeport selftest`

use super::{
    agent::{AgentArgs, failure},
    out,
};
use crate::{
    control,
    exit::{Exit, Failure},
    record::harmless,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    agent: AgentArgs,
    /// Print the outcome as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    let socket = args.agent.socket()?;
    let (view, text) = control::ask_selftest(&socket).map_err(failure)?;
    let told = if args.json {
        text
    } else if view.passed {
        format!(
            "passed: a datagram to {} came out as a finding on disk in {} ms\n",
            view.destination, view.took_ms
        )
    } else {
        format!(
            "FAILED at stage {}: {} (destination {}, {} ms)\n",
            view.failed.unwrap_or_default(),
            harmless(&view.reason.unwrap_or_default()),
            view.destination,
            view.took_ms
        )
    };
    out::print(&told)?;
    Ok(if view.passed { Exit::Success } else { Exit::NotCovered })
}
