//! The command line: one file per command.

#![warn(clippy::print_stdout, reason = "`println!` panics when the disk is full: use `out`")]

mod agent;
mod check;
mod cleanup;
mod coverage;
mod doctor;
mod explain;
mod flows;
#[cfg(test)]
mod full_output;
mod generate;
mod ledger;
mod log;
mod out;
mod report;
mod run;
mod selftest;
mod status;
mod top;
mod witness;

use std::{io::IsTerminal as _, path::PathBuf};

use clap::{Parser, Subcommand};
pub use out::tell;

use crate::{
    clock::WallTime,
    config::{Config, render},
    exit::{Exit, Failure},
    geo::embedded,
    table,
};

/// Where the configuration is, if nobody says otherwise.
const DEFAULT_CONFIG: &str = "/etc/homeport/homeport.toml";

const AFTER_HELP: &str = "\
Exit codes:
  0  success
  1  something failed; the message says what
  2  wrong command line
  3  the configuration has faults; all of them are printed
  4  not enough rights: run as root
  5  this kernel or host lacks a required part
  6  a database or an output cannot be used
  7  no agent answers on the control socket
  8  coverage: bytes may leave uncounted, or findings do not become records
  9  coverage: everything is counted, but not everything that is promised holds
  10  ledger: what is there is not what was signed, or something is missing
  11  status: violations are open
  12  status: in policy and covered, but a sink does not get its records

First steps:
  homeport doctor               what this host allows, and what will not be seen
  homeport run                  watch this host with the built-in policy
  homeport status               what the running agent has found
  homeport explain 8.8.8.8      where an address is, and whether it is approved";

/// homeport with the version and the attribution that the embedded database's licence asks for.
fn long_version() -> &'static str {
    static TEXT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    TEXT.get_or_init(|| format!("{}\n{}", env!("CARGO_PKG_VERSION"), embedded::ATTRIBUTION))
}

/// Proves where a storage server's data goes: accounts for every byte that leaves this host, places each
/// destination in a country, and raises one alert when that country is not approved.
#[derive(Debug, Parser)]
#[command(name = "homeport", version, long_version = long_version(), after_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch this host until told to stop (SIGTERM); SIGHUP reads the configuration again
    Run(run::Args),
    /// Check a configuration, print every fault at once, or the effective policy
    Check(check::Args),
    /// Say where addresses are, what says so, and what each policy makes of it
    Explain(explain::Args),
    /// Say what this kernel and host allow, what is covered, and what is not
    Doctor(doctor::Args),
    /// One screen: is anything out of policy, can that be trusted, and who hears of it; the exit code says it too
    Status(status::Args),
    /// Live view: who sends how much to where, and what is out of policy
    Top(top::Args),
    /// Show the flow table of the running agent
    Flows(flows::Args),
    /// Say what the running agent sees and what not; the exit code says whether its answers can be trusted
    Coverage(coverage::Args),
    /// Let the running agent send a datagram that must come out of it as a finding
    Selftest(selftest::Args),
    /// Make the residency statement of a period from a ledger: text, HTML or JSON, offline and without an agent
    Report(report::Args),
    /// Verify, read, prove and export a ledger, offline and without an agent
    Ledger(ledger::Args),
    /// Be a witness: remember how far ledgers have come, and sign only what continues that
    Witness(witness::Args),
    /// Stop counting for good: remove what stopped or killed agents have left in the kernel
    Cleanup(cleanup::Args),
    /// Make manual pages and shell completions
    #[command(hide = true)]
    Generate(generate::Args),
}

impl Cli {
    /// Whether the command goes on when nobody reads what it prints. All others end then, without a word.
    pub const fn outlives_its_reader(&self) -> bool {
        matches!(self.command, Command::Run(_) | Command::Witness(_))
    }

    /// Runs the command.
    ///
    /// # Errors
    ///
    /// With the exit code that documents the reason.
    pub fn run(self) -> Result<Exit, Failure> {
        match self.command {
            Command::Run(args) => run::run(args),
            Command::Check(args) => check::run(args),
            Command::Explain(args) => explain::run(args),
            Command::Doctor(args) => doctor::run(args),
            Command::Status(args) => status::run(args),
            Command::Top(args) => top::run(args),
            Command::Flows(args) => flows::run(args),
            Command::Coverage(args) => coverage::run(args),
            Command::Selftest(args) => selftest::run(args),
            Command::Report(args) => report::run(args),
            Command::Ledger(args) => ledger::run(args),
            Command::Witness(args) => witness::run(args),
            Command::Cleanup(args) => cleanup::run(args),
            Command::Generate(args) => generate::run(args),
        }
    }
}

/// Which configuration a command works with.
#[derive(Clone, Debug, clap::Args)]
struct ConfigArgs {
    /// Configuration file [default: /etc/homeport/homeport.toml if it exists, otherwise the built-in defaults]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigArgs {
    /// The file, if there is one.
    fn path(&self) -> Option<PathBuf> {
        self.config.clone().or_else(|| {
            let path = PathBuf::from(DEFAULT_CONFIG);
            path.exists().then_some(path)
        })
    }

    /// Reads it; faults and warnings go to standard error.
    fn load(&self) -> Result<(Config, Option<PathBuf>), Failure> {
        let Some(path) = self.path() else { return Ok((Config::default(), None)) };
        let colour = std::io::stderr().is_terminal();
        match Config::load(&path, WallTime::now()) {
            Ok((config, warnings)) => {
                if !warnings.is_empty() {
                    eprint!("{}", render::warnings(&warnings, colour));
                }
                Ok((config, Some(path)))
            }
            Err(faults) => {
                eprint!("{}", render::faults(&faults, colour));
                let error = anyhow::anyhow!("{} cannot be used", path.display());
                Err(Failure::new(Exit::Configuration, error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_exit_code_is_in_the_help() {
        for (exit, meaning) in Exit::ALL {
            let line = format!("  {}  {meaning}", exit.code());
            assert!(AFTER_HELP.contains(&line), "{line}");
        }
    }
}
