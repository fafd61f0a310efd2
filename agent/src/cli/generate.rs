//! `homeport generate`: manual pages and completions, made of the command line itself. For packagers.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{CommandFactory as _, Subcommand};
use clap_complete::Shell;

use super::{Cli, out};
use crate::exit::{Exit, Failure};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print completions for a shell
    Completions {
        /// For which
        shell: Shell,
    },
    /// Write a manual page per command into a directory
    Man {
        /// Which; it must exist
        directory: PathBuf,
    },
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    match args.what {
        What::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "homeport", &mut script);
            out::print(&String::from_utf8(script)?)?;
        }
        What::Man { directory } => {
            clap_mangen::generate_to(Cli::command(), &directory)
                .with_context(|| format!("write manual pages to {}", directory.display()))
                .map_err(|error| Failure::new(Exit::Unusable, error))?;
        }
    }
    Ok(Exit::Success)
}
