//! `homeport top`

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use super::{
    agent::{AgentArgs, failure},
    out,
};
use crate::{
    control::{self, AskError},
    exit::{Exit, Failure},
    top::{Order, Sample, View, once, run as show},
};

/// Flows that are asked for, those with the most bytes: what is beyond them is counted, and in the countries.
const MAX_FLOWS: u32 = 2_000;

/// Between the two answers that a rate is made of.
const ONCE: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    agent: AgentArgs,
    /// What the rows are
    #[arg(value_enum, default_value_t)]
    view: View,
    /// What comes first
    #[arg(long, value_enum, default_value_t)]
    sort: Order,
    /// Show only rows that contain this
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
    /// Print it once, as plain text, and end; also what happens when this is no terminal
    #[arg(long)]
    once: bool,
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    let socket: PathBuf = args.agent.socket()?;
    // Before the terminal is taken: who has no agent reads a line, not a screen.
    let first = ask(&socket).map_err(failure)?;
    let is_terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    if args.once || !is_terminal {
        thread::sleep(ONCE);
        let now = ask(&socket).map_err(failure)?;
        out::print(&once(args.view, args.sort, &args.filter, first, now))?;
        return Ok(Exit::Success);
    }
    let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let again = move || ask(&socket).map_err(|error| error.to_string());
    show(args.view, args.sort, args.filter, colours, Duration::from_secs(args.every), first, again)?;
    Ok(Exit::Success)
}

fn ask(socket: &Path) -> Result<Sample, AskError> {
    let (flows, _) = control::ask_flows(socket, Some(MAX_FLOWS))?;
    let (status, _) = control::ask_status(socket)?;
    Ok(Sample { flows, status })
}
