//! `homeport ledger prove`

use std::{fs, path::PathBuf};

use anyhow::{Context as _, anyhow};

use super::{KeyArgs, head, open, unusable};
use crate::{
    cli::out,
    exit::{Exit, Failure},
    ledger::audit::proof::Proof,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory of the ledger, or of a bundle of evidence
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Index of the entry
    #[arg(value_name = "INDEX")]
    index: u64,
    #[command(flatten)]
    keys: KeyArgs,
    /// Write it to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    let reader = open(&args.directory)?;
    let checkpoint = head(&reader, &args.keys.keys()?)?;
    if args.index >= checkpoint.size {
        return Err(unusable(anyhow!(
            "there is no entry {}: the ledger has {}",
            args.index,
            checkpoint.size
        )));
    }
    let proof =
        Proof::make(&reader, checkpoint, args.index).map_err(|error| unusable(error.into()))?.to_text();
    match args.output {
        None => out::print(&proof)?,
        Some(path) => {
            fs::write(&path, proof).with_context(|| path.display().to_string()).map_err(unusable)?
        }
    }
    Ok(Exit::Success)
}
