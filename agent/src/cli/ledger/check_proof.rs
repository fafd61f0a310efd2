//! `homeport ledger check-proof`

use std::{fs, path::PathBuf};

use anyhow::{Context as _, anyhow};

use super::{KeyArgs, policy, unusable};
use crate::{
    cli::out,
    exit::{Exit, Failure},
    ledger::audit::{note::Signed, proof::Proof},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The proof
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    keys: KeyArgs,
    /// Which witnesses must have seen the checkpoint in it (C2SP tlog-policy)
    #[arg(long, value_name = "FILE")]
    witness_policy: Option<PathBuf>,
    /// The entry, if it is not in the proof itself
    #[arg(long, value_name = "FILE")]
    entry: Option<PathBuf>,
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    let read = |path: &PathBuf| fs::read(path).with_context(|| path.display().to_string()).map_err(unusable);
    let policy = args.witness_policy.as_deref().map(policy).transpose()?;
    let mut keys = args.keys.keys()?;
    keys.extend(policy.iter().flat_map(|policy| policy.logs.clone()));
    if keys.is_empty() {
        return Err(unusable(anyhow!(
            "a proof shows nothing without the key of the ledger: give --key or --key-file"
        )));
    }
    let not_proven = |error: anyhow::Error| Failure::new(Exit::NotProven, error);
    let proof = Proof::parse(&read(&args.file)?)
        .map_err(|fault| not_proven(anyhow!("{}: this is no proof: {fault}", args.file.display())))?;
    let checkpoint = &proof.checkpoint;
    let is_signed = keys
        .iter()
        .any(|key| key.name() == checkpoint.origin && matches!(checkpoint.by(key), Signed::Valid(_)));
    if !is_signed {
        return Err(not_proven(anyhow!("the checkpoint has no valid signature by a key that was given")));
    }
    let entry = match (&args.entry, &proof.extra) {
        (Some(path), _) => {
            let entry = read(path)?;
            // Editors end files with a newline, entries have none.
            entry.strip_suffix(b"\n").map_or_else(|| entry.clone(), <[u8]>::to_vec)
        }
        (None, Some(extra)) => extra.clone(),
        (None, None) => {
            return Err(unusable(anyhow!("the proof does not hold the entry: give it with --entry")));
        }
    };
    if !proof.shows(&entry) {
        return Err(not_proven(anyhow!(
            "this is not entry {} of the ledger {}",
            proof.index,
            checkpoint.origin
        )));
    }
    if let Some(policy) = policy {
        let seen = policy.judge(checkpoint);
        if !seen.quorum {
            return Err(not_proven(anyhow!(
                "not enough of the witnesses that the policy asks for have seen it"
            )));
        }
        for (name, time) in seen.by {
            eprintln!("seen by witness {name} at {time} (seconds since 1970)");
        }
    }
    eprintln!("entry {} of {} in the ledger {}:", proof.index, checkpoint.size, checkpoint.origin);
    out::line(&String::from_utf8_lossy(&entry))?;
    Ok(Exit::Success)
}
