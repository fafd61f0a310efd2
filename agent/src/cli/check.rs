//! `homeport check`

use std::{
    fmt::{self, Write as _},
    io::IsTerminal as _,
    path::Path,
};

use super::{ConfigArgs, out};
use crate::{
    app,
    clock::WallTime,
    config::{self, Config, render},
    exit::{Exit, Failure},
    geo::{gate::Freshness, locator::Locator},
    ledger::witness::{client::Client, watch::WitnessSettings},
    sink::preflight,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Configuration file, the same as --config
    #[arg(value_name = "FILE", conflicts_with_all = ["config", "defaults"])]
    file: Option<std::path::PathBuf>,
    /// Print the commented default configuration instead, to start a file from
    #[arg(long, conflicts_with = "config")]
    defaults: bool,
}

/// Who gets records and checkpoints. What is wrong with their files is told and is no fault: records wait, and files
/// may come later.
fn receivers(out: &mut String, config: &Config) -> fmt::Result {
    let sinks = config.delivered_to();
    if !sinks.is_empty() {
        writeln!(out, "\nSinks:")?;
    }
    for sink in &sinks {
        writeln!(out, "  {}: {} to {}", sink.name, sink.kind.as_str(), preflight::destination(sink))?;
        if let Err(error) = preflight::files(sink) {
            writeln!(out, "    WARNING nothing can be delivered as it is: {error}")?;
        }
    }
    if !config.witnesses.is_empty() {
        writeln!(out, "\nWitnesses:")?;
    }
    for WitnessSettings { witness, ca_file, .. } in &config.witnesses {
        writeln!(out, "  {}: {} at {}", witness.name, witness.key.name(), witness.url)?;
        if let Err(error) = Client::trusting(ca_file.as_deref()) {
            writeln!(out, "    WARNING nothing can be signed as it is: {error}")?;
        }
    }
    Ok(())
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    if args.defaults {
        out::print(&config::reference())?;
        return Ok(Exit::Success);
    }
    let asked = ConfigArgs { config: args.config.config.or(args.file) };
    let (config, path) = asked.load()?;
    let now = WallTime::now();
    out::print(&render::effective(&config, now, std::io::stdout().is_terminal()))?;
    let databases = app::open_databases(&config, now).map_err(|error| Failure::new(Exit::Unusable, error))?;
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = rest(&mut text, &config, path.as_deref(), &databases.locator(&config), now);
    out::print(&text)?;
    Ok(Exit::Success)
}

/// What is behind the effective policy: databases, receivers, and that there is no fault.
fn rest(
    out: &mut String,
    config: &Config,
    path: Option<&Path>,
    locator: &Locator,
    now: WallTime,
) -> fmt::Result {
    writeln!(out, "\nLoaded databases:")?;
    for report in locator.databases() {
        let age = report.age_days(now);
        let limits = &config.geo;
        let word = match Freshness::of_age(age) {
            _ if age >= i64::from(limits.stale_after_days.get()) => ", STALE",
            _ if age >= i64::from(limits.warn_after_days.get()) => ", old",
            Freshness::Fresh | Freshness::Old | Freshness::Stale => "",
        };
        writeln!(out, "  {report}; {age} days old{word}")?;
        for warning in &report.warnings {
            writeln!(out, "    {warning}")?;
        }
    }
    receivers(out, config)?;
    match path {
        Some(path) => writeln!(out, "\n{}: no faults", path.display()),
        None => writeln!(out, "\nNo configuration file: these are the built-in defaults."),
    }
}
