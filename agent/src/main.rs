//! The `homeport` command.

use std::process::ExitCode;

use clap::Parser as _;
use homeport::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("homeport: {:#}", failure.error);
            failure.exit.into()
        }
    }
}
