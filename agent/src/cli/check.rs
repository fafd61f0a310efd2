//! `homeport check`

use std::io::IsTerminal as _;

use super::ConfigArgs;
use crate::{
    app,
    clock::WallTime,
    config::{self, Config, render},
    exit::{Exit, Failure},
    geo::gate::Freshness,
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
fn print_receivers(config: &Config) {
    let sinks = config.delivered_to();
    if !sinks.is_empty() {
        println!("\nSinks:");
    }
    for sink in &sinks {
        println!("  {}: {} to {}", sink.name, sink.kind.as_str(), preflight::destination(sink));
        if let Err(error) = preflight::files(sink) {
            println!("    WARNING nothing can be delivered as it is: {error}");
        }
    }
    if !config.witnesses.is_empty() {
        println!("\nWitnesses:");
    }
    for WitnessSettings { witness, ca_file, .. } in &config.witnesses {
        println!("  {}: {} at {}", witness.name, witness.key.name(), witness.url);
        if let Err(error) = Client::trusting(ca_file.as_deref()) {
            println!("    WARNING nothing can be signed as it is: {error}");
        }
    }
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    if args.defaults {
        print!("{}", config::reference());
        return Ok(Exit::Success);
    }
    let asked = ConfigArgs { config: args.config.config.or(args.file) };
    let (config, path) = asked.load()?;
    let now = WallTime::now();
    print!("{}", render::effective(&config, now, std::io::stdout().is_terminal()));
    let databases = app::open_databases(&config, now).map_err(|error| Failure::new(Exit::Unusable, error))?;
    println!("\nLoaded databases:");
    for report in databases.locator(&config).databases() {
        let age = report.age_days(now);
        let limits = &config.geo;
        let word = match Freshness::of_age(age) {
            _ if age >= i64::from(limits.stale_after_days.get()) => ", STALE",
            _ if age >= i64::from(limits.warn_after_days.get()) => ", old",
            Freshness::Fresh | Freshness::Old | Freshness::Stale => "",
        };
        println!("  {report}; {age} days old{word}");
        for warning in &report.warnings {
            println!("    {warning}");
        }
    }
    print_receivers(&config);
    match path {
        Some(path) => println!("\n{}: no faults", path.display()),
        None => println!("\nNo configuration file: these are the built-in defaults."),
    }
    Ok(Exit::Success)
}
