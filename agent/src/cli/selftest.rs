//! `homeport selftest`

use super::agent::{AgentArgs, failure};
use crate::{
    control,
    exit::{Exit, Failure},
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
    if args.json {
        print!("{text}");
    } else if view.passed {
        println!(
            "passed: a datagram to {} came out as a finding on disk in {} ms",
            view.destination, view.took_ms
        );
    } else {
        println!(
            "FAILED at stage {}: {} (destination {}, {} ms)",
            view.failed.unwrap_or_default(),
            view.reason.unwrap_or_default(),
            view.destination,
            view.took_ms
        );
    }
    Ok(if view.passed { Exit::Success } else { Exit::NotCovered })
}
