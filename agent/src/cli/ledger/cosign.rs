//! `homeport ledger cosign`

use std::path::PathBuf;

use anyhow::anyhow;

use super::unusable;
use crate::{
    cli::out,
    clock::WallTime,
    exit::{Exit, Failure},
    ledger::{
        audit::note::{Algorithm, Key},
        witness::client::{Client, OfferError, Witness},
    },
};

const AFTER_HELP: &str = "\
Exit codes:
   0  the witness has signed, and its signature is kept in DIR
   6  the ledger cannot be read, or the witness does not answer
  10  the witness refuses this ledger: it has seen more of it, or another one";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// Directory of the ledger
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Where the witness takes checkpoints, without /add-checkpoint
    #[arg(long, value_name = "URL")]
    url: String,
    /// Public key of the witness
    #[arg(long, value_name = "VKEY")]
    witness_key: String,
    /// What to call it here: the file for its signatures
    #[arg(long, value_name = "NAME", default_value = "witness")]
    name: String,
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    let key = Key::parse(&args.witness_key).map_err(|fault| unusable(anyhow!("--witness-key: {fault}")))?;
    if key.algorithm() != Algorithm::Witness {
        return Err(unusable(anyhow!("--witness-key: this is a key of a log, not of a witness")));
    }
    if args.name.is_empty() || args.name.contains(['/', '.']) {
        return Err(unusable(anyhow!("--name: a file name without / and .")));
    }
    let witness = Witness { name: args.name, url: args.url, key };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let offered = runtime.block_on(async { Client::new()?.offer(&args.directory, &witness).await });
    match offered {
        Ok(signed) => {
            let time = WallTime::from_unix_seconds(i64::try_from(signed.time).unwrap_or(i64::MAX));
            let name = witness.key.name();
            out::line(&format!("{name} has seen {} entries at {time}", signed.size))?;
            Ok(Exit::Success)
        }
        Err(error) => {
            let exit = if OfferError::is_alarm(&error) { Exit::NotProven } else { Exit::Unusable };
            Err(Failure::new(exit, error))
        }
    }
}
