//! `homeport ledger export`

use std::path::PathBuf;

use anyhow::anyhow;

use super::{Bound, KeyArgs, candidates, head, is_between, open, unusable};
use crate::{
    clock::WallTime,
    exit::{Exit, Failure},
    ledger::audit::{export::export, reader::ReadError},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory of the ledger
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// New or empty directory for the evidence
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// From this index or time on (RFC 3339)
    #[arg(long, value_name = "INDEX|TIME")]
    from: Option<Bound>,
    /// Up to this index or time, which is not included
    #[arg(long, value_name = "INDEX|TIME")]
    to: Option<Bound>,
    #[command(flatten)]
    keys: KeyArgs,
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    let reader = open(&args.directory)?;
    let checkpoint = head(&reader, &args.keys.keys()?)?;
    let mut period: Option<(u64, u64)> = None;
    let candidates = candidates(&reader, checkpoint.size, args.from, args.to);
    let is_by_time = |bound: Option<Bound>| matches!(bound, Some(Bound::Time(_)));
    if is_by_time(args.from) || is_by_time(args.to) {
        // A clock that was set may put records of the period on both sides of others: all between are taken.
        let found = reader.entries(checkpoint.size, candidates, |index, entry| {
            if is_between(index, entry, args.from, args.to) {
                period = Some((period.map_or(index, |(first, _)| first), index + 1));
            }
            Ok::<_, ReadError>(())
        });
        found.map_err(|error| unusable(error.into()))?;
    } else if !candidates.is_empty() {
        period = Some((candidates.start, candidates.end));
    }
    let Some((first, end)) = period else {
        return Err(unusable(anyhow!("the ledger has no entry in this period")));
    };
    let made = WallTime::now().to_string();
    let exported =
        export(&reader, &checkpoint, first..end, &made, &args.out).map_err(|error| unusable(error.into()))?;
    println!(
        "{}: entries {first} to {} of {} in {} tiles, {} more with their proofs",
        args.out.display(),
        end - 1,
        exported.manifest.origin,
        exported.tiles,
        exported.proofs.len()
    );
    println!("what to do with it is in {}", args.out.join("README.md").display());
    Ok(Exit::Success)
}
