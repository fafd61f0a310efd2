//! `homeport ledger export`

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use anyhow::anyhow;

use super::{Bound, KeyArgs, candidates, head, in_order, is_between, open, unusable};
use crate::{
    cli::out,
    clock::WallTime,
    exit::{Exit, Failure},
    ledger::audit::{export::export, reader::ReadError},
};

const AFTER_HELP: &str = "\
Exit codes:
   0  the evidence is written, and every entry in it is the one that was signed
   6  the ledger or a key cannot be read, it has no entry in this period, or OUT cannot be written
  10  the ledger is not what was signed, or something is missing; it says which file";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
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
    in_order(args.from, args.to)?;
    let reader = open(&args.directory)?;
    let keys = args.keys.keys()?;
    let checkpoint = head(&reader, &keys)?;
    let mut period: Option<(u64, u64)> = None;
    let unread = Mutex::new(None);
    let candidates = candidates(&reader, checkpoint.size, args.from, args.to, &|error| {
        unread.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    });
    if let Some(error) = unread.into_inner().unwrap_or_else(PoisonError::into_inner) {
        let exit = exit(error.is_damage());
        let hint =
            "whether it has entries of the period cannot be told; --from and --to as indexes need not know";
        return Err(Failure::new(exit, anyhow!("{error}: {hint}")));
    }
    let is_by_time = |bound: Option<Bound>| matches!(bound, Some(Bound::Time(_)));
    if is_by_time(args.from) || is_by_time(args.to) {
        // A clock that was set may put records of the period on both sides of others: all between are taken.
        let found = reader.entries(checkpoint.size, candidates, |index, entry| {
            if is_between(index, entry, args.from, args.to) {
                period = Some((period.map_or(index, |(first, _)| first), index + 1));
            }
            Ok::<_, ReadError>(())
        });
        found.map_err(|error| Failure::new(exit(error.is_damage()), error))?;
    } else if !candidates.is_empty() {
        period = Some((candidates.start, candidates.end));
    }
    let Some((first, end)) = period else {
        return Err(unusable(anyhow!("the ledger has no entry in this period")));
    };
    // Looking took seconds: what witnesses have signed meanwhile must not be newer than the head.
    let checkpoint = head(&reader, &keys)?;
    let made = WallTime::now().to_string();
    let exported = export(&reader, &checkpoint, first..end, &made, &args.out)
        .map_err(|error| Failure::new(exit(error.is_damage()), error))?;
    out::print(&format!(
        "{}: entries {first} to {} of {} in {} tiles, {} more with their proofs\n\
         what to do with it is in {}\n",
        args.out.display(),
        end - 1,
        exported.manifest.origin,
        exported.tiles,
        exported.proofs.len(),
        args.out.join("README.md").display()
    ))?;
    Ok(Exit::Success)
}

const fn exit(is_damage: bool) -> Exit {
    if is_damage { Exit::NotProven } else { Exit::Unusable }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::ledger::{
        audit::fixture::{ReferenceLedger, record},
        pack, path,
    };

    #[test]
    fn evidence_of_a_ledger_that_was_changed_ends_with_the_code_for_that_and_names_the_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let ledger = directory.path().join("ledger");
        let mut writer = ReferenceLedger::new(&ledger, "homeport/h1");
        for sequence in 0..1_000 {
            writer.append(record(sequence).as_bytes());
        }
        writer.publish();
        let check = |from: &str, to: &str, file: &str| {
            let bound = |text: &str| Some(text.parse::<Bound>().expect("a bound"));
            let out = directory.path().join(format!("{from}-{to}"));
            let keys = KeyArgs { key: Vec::new(), key_file: None };
            let args = Args { directory: ledger.clone(), out, from: bound(from), to: bound(to), keys };
            let failure = run(args).expect_err("refused");
            assert_eq!(failure.exit, Exit::NotProven, "{:#}", failure.error);
            let told = format!("{:#}", failure.error);
            assert!(told.starts_with(file), "{told}");
        };
        // Entries 540 to 599 by the time of the fixture, whose first entry is of midnight.
        let hour = ("2026-01-01T09:00:00Z", "2026-01-01T10:00:00Z");
        let plain = ledger.join(path::entries(2, 256));
        let sound = fs::read(&plain).expect("a bundle");
        let mut changed = sound.clone();
        let at = sound.windows(10).position(|window| window == b"record 550").expect("it is there");
        changed[at + 7] = b'9';
        fs::write(&plain, changed).expect("written");
        check("540", "600", "tile/entries/002, byte ");
        check(hour.0, hour.1, "tile/entries/002, byte ");
        // A packed one cannot even be read then. It is the last of the period, and must not be left out of it.
        let mut packed = pack::pack(&sound);
        let middle = packed.len() / 2;
        packed[middle] ^= 1;
        fs::write(ledger.join(path::packed(2)), packed).expect("written");
        fs::remove_file(plain).expect("removed");
        check("500", "600", "tile/entries/002.gz: ");
        check("2026-01-01T08:00:00Z", hour.1, "tile/entries/002.gz: ");
    }
}
