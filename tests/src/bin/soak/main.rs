//! Runs a long campaign: `cargo xtask soak NAME`.
//!
//! One file per campaign for its options; the campaigns themselves are in `homeport_tests::campaign`. The exit code
//! is not zero when a promise was broken.

mod burst;
mod flows;
mod kill;
mod ledger;
mod outage;
mod restart;
mod verify;
mod year;

use std::{process::ExitCode, time::Instant};

use anyhow::Result;
use clap::Parser;
use homeport_tests::campaign::{Progress, Random, Report};

#[derive(Parser)]
#[command(name = "cargo xtask soak", about = "Long campaigns against the agent; needs root")]
struct Args {
    /// Repeats a run; a new one is taken, and told, without
    #[arg(long, global = true, value_name = "N")]
    seed: Option<u64>,
    #[command(subcommand)]
    campaign: Campaign,
}

#[derive(clap::Subcommand)]
enum Campaign {
    /// Hundreds of violations within seconds: how long until a real Alertmanager shows each of them
    Burst(burst::Args),
    /// Very many flows at once, and very many one after the other
    Flows(flows::Args),
    /// Kills at random moments under load, of ledger and sinks, and of the whole agent: receivers have what the ledger has
    Kill(kill::Args),
    /// Kills at random moments while the ledger is written as fast as the disk lets it
    Ledger(ledger::Args),
    /// A receiver is away for a minute: everything arrives, in order, from a memory that stays flat; needs no root
    Outage(outage::Args),
    /// Kills, stops, upgrades and changes of size at random moments under four transfers
    Restart(restart::Args),
    /// A large ledger before homeport's and somebody else's eyes, sound and damaged; needs no root
    Verify(verify::Args),
    /// The ledger of a host's year: its size, and how quick the commands are that read it; needs no root
    Year(year::Args),
}

fn main() -> ExitCode {
    let args = Args::parse();
    let seed = args.seed.unwrap_or_else(Random::fresh_seed);
    println!("seed {seed}");
    let started = Instant::now();
    let outcome = run(&args.campaign, seed).and_then(|report| {
        println!("\n{report}\nseed {seed}, {:.0} s", started.elapsed().as_secs_f64());
        report.check()
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(campaign: &Campaign, seed: u64) -> Result<Report> {
    let progress = Progress::on_terminal();
    match campaign {
        Campaign::Burst(args) => homeport_tests::campaign::burst::run(&args.plan(), progress),
        Campaign::Flows(args) => homeport_tests::campaign::flows::run(&args.plan(seed), progress),
        Campaign::Verify(args) => homeport_tests::campaign::verify::run(&args.plan(seed), progress),
        Campaign::Kill(args) => homeport_tests::campaign::kill::run(&args.plan(seed), progress),
        Campaign::Ledger(args) => homeport_tests::campaign::ledger::run(&args.plan(seed), progress),
        Campaign::Year(args) => homeport_tests::campaign::year::run(&args.plan(seed), progress),
        Campaign::Outage(args) => homeport_tests::campaign::outage::run(&args.plan(seed), progress),
        Campaign::Restart(args) => homeport_tests::campaign::restart::run(&args.plan(seed), progress),
    }
}
