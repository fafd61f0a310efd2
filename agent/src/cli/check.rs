//! `homeport check`

use std::io::IsTerminal as _;

use super::ConfigArgs;
use crate::{
    app,
    clock::WallTime,
    config::{self, render},
    exit::{Exit, Failure},
    geo::gate::Freshness,
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
    match path {
        Some(path) => println!("\n{}: no faults", path.display()),
        None => println!("\nNo configuration file: these are the built-in defaults."),
    }
    Ok(Exit::Success)
}
