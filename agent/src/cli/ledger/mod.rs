//! `homeport ledger`: what an outsider can do with a ledger's files. None of it needs an agent, a network or rights
//! beyond reading.

mod check_proof;
mod cosign;
mod export;
mod key;
pub(super) mod progress;
mod prove;
mod show;
mod verify;

use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context as _, anyhow};
use clap::Subcommand;

use crate::{
    exit::{Exit, Failure},
    ledger::audit::{
        Reader,
        format::TILE_WIDTH,
        note::{Checkpoint, Key, MAX_NOTE_BYTES, Signed},
        policy::Policy,
        reader::{CHECKPOINT, PUBLIC_KEY},
    },
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print origin, public key and head of a ledger
    Key(key::Args),
    /// Check everything about a ledger or a bundle of evidence that can be checked offline
    Verify(verify::Args),
    /// Print entries, without verifying them
    Show(show::Args),
    /// Make a proof (C2SP tlog-proof) that an entry is in the ledger
    Prove(prove::Args),
    /// Check such a proof; needs nothing but the file and the key
    CheckProof(check_proof::Args),
    /// Write a bundle of evidence for a period, for an auditor
    Export(export::Args),
    /// Offer the checkpoint to a witness now, and keep its signature
    Cosign(cosign::Args),
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    match args.command {
        Command::Key(args) => key::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Show(args) => show::run(args),
        Command::Prove(args) => prove::run(args),
        Command::CheckProof(args) => check_proof::run(args),
        Command::Export(args) => export::run(args),
        Command::Cosign(args) => cosign::run(args),
    }
}

/// By which key a ledger has to be signed.
#[derive(Debug, clap::Args)]
pub(super) struct KeyArgs {
    /// Public key (verifier key) by which it has to be signed
    #[arg(long, value_name = "VKEY")]
    key: Vec<String>,
    /// File with such keys, one per line
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

impl KeyArgs {
    pub(super) fn keys(&self) -> Result<Vec<Key>, Failure> {
        let mut texts = self.key.clone();
        if let Some(path) = &self.key_file {
            let text = read(path)?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            texts.extend(lines.map(str::to_owned));
        }
        texts
            .iter()
            .map(|text| Key::parse(text).map_err(|fault| unusable(anyhow!("{text:?} is no key: {fault}"))))
            .collect()
    }
}

/// A witness policy (C2SP tlog-policy).
pub(super) fn policy(path: &Path) -> Result<Policy, Failure> {
    Policy::parse(&read(path)?).map_err(|fault| unusable(anyhow!("{}: {fault}", path.display())))
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).with_context(|| path.display().to_string()).map_err(unusable)
}

pub(super) fn unusable(error: anyhow::Error) -> Failure {
    Failure::new(Exit::Unusable, error)
}

/// Opens a directory that something is to be read from.
pub(super) fn open(directory: &Path) -> Result<Reader, Failure> {
    Reader::open(directory).map_err(|error| unusable(error.into()))
}

/// The head, if it is signed by a key that was given; by the ledger's own when none was.
fn head(reader: &Reader, keys: &[Key]) -> Result<Checkpoint, Failure> {
    let checkpoint =
        reader.file(CHECKPOINT, MAX_NOTE_BYTES as u64).map_err(|error| unusable(error.into()))?;
    let checkpoint =
        Checkpoint::parse(&checkpoint).map_err(|fault| unusable(anyhow!("{CHECKPOINT}: {fault}")))?;
    let own;
    let keys = if keys.is_empty() {
        own = [own_key(reader)?];
        &own
    } else {
        keys
    };
    let is_signed =
        |key: &Key| key.name() == checkpoint.origin && matches!(checkpoint.by(key), Signed::Valid(_));
    if !keys.iter().any(is_signed) {
        let error = anyhow!("{CHECKPOINT} has no valid signature by the key of {}", checkpoint.origin);
        return Err(Failure::new(Exit::NotProven, error));
    }
    Ok(checkpoint)
}

fn own_key(reader: &Reader) -> Result<Key, Failure> {
    let text = reader.file(PUBLIC_KEY, MAX_NOTE_BYTES as u64).map_err(|error| unusable(error.into()))?;
    Key::parse(&String::from_utf8_lossy(&text)).map_err(|fault| unusable(anyhow!("{PUBLIC_KEY}: {fault}")))
}

/// A place in a ledger, as an index or as a time.
#[derive(Clone, Copy, Debug)]
enum Bound {
    Index(u64),
    /// Milliseconds since 1970.
    Time(i64),
}

impl FromStr for Bound {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, anyhow::Error> {
        if let Ok(index) = text.parse() {
            return Ok(Self::Index(index));
        }
        let time: jiff::Timestamp =
            text.parse().map_err(|_| anyhow!("neither an index nor a time such as 2026-11-22T00:00:00Z"))?;
        Ok(Self::Time(time.as_millisecond()))
    }
}

/// When a record was made, in milliseconds since 1970.
fn logged_time(entry: &[u8]) -> Option<i64> {
    #[derive(serde::Deserialize)]
    struct Line {
        metadata: Metadata,
    }
    #[derive(serde::Deserialize)]
    struct Metadata {
        logged_time: i64,
    }
    serde_json::from_slice::<Line>(entry).ok().map(|line| line.metadata.logged_time)
}

/// Whether an entry lies between two bounds; the upper one is not included.
fn is_between(index: u64, entry: &[u8], from: Option<Bound>, to: Option<Bound>) -> bool {
    let is_before = |bound: Bound| match bound {
        Bound::Index(bound) => index < bound,
        Bound::Time(bound) => logged_time(entry).is_some_and(|time| time < bound),
    };
    from.is_none_or(|from| !is_before(from)) && to.is_none_or(is_before)
}

/// The indexes that can lie between two bounds. For times, bundles are chosen by the times of their first records and of
/// those behind them: a clock that was set forth and back within the 256 records of one bundle is not noticed.
fn candidates(reader: &Reader, size: u64, from: Option<Bound>, to: Option<Bound>) -> std::ops::Range<u64> {
    let kept = reader.kept();
    let start = match from {
        Some(Bound::Index(index)) => index.max(kept.start),
        _ => kept.start,
    };
    let end = match to {
        Some(Bound::Index(index)) => index.min(size),
        _ => size,
    };
    let end = end.min(kept.end).max(start);
    let is_by_time = |bound: Option<Bound>| matches!(bound, Some(Bound::Time(_)));
    if start == end || !(is_by_time(from) || is_by_time(to)) {
        return start..end;
    }
    let bundles = start / TILE_WIDTH..end.div_ceil(TILE_WIDTH);
    let time = |bundle: u64| logged_time(&reader.first_entry(bundle, size).ok()?);
    let found = between(bundles.map(|bundle| (bundle, time(bundle))), from, to);
    match found {
        Some((first, last)) => start.max(first * TILE_WIDTH)..end.min((last + 1) * TILE_WIDTH),
        None => start..start,
    }
}

/// The first and the last bundle that may have something between two times, given when each begins. One of which nobody
/// knows that is taken to begin with the one before it.
fn between(
    begins: impl Iterator<Item = (u64, Option<i64>)>,
    from: Option<Bound>,
    to: Option<Bound>,
) -> Option<(u64, u64)> {
    /// Records are stamped when they are made, and may be written a moment later than others.
    const SLACK_MS: i64 = 60_000;
    let may_have = |one: i64, other: i64| {
        let is_late =
            |from| !matches!(from, Some(Bound::Time(from)) if one.max(other).saturating_add(SLACK_MS) < from);
        let is_early =
            |to| !matches!(to, Some(Bound::Time(to)) if one.min(other).saturating_sub(SLACK_MS) >= to);
        is_late(from) && is_early(to)
    };
    let mut found: Option<(u64, u64)> = None;
    let mut before = None;
    let mut take = |bundle: u64| found = Some((found.map_or(bundle, |(first, _)| first), bundle));
    for (bundle, time) in begins {
        let time = time.or(before.map(|(_, time)| time)).unwrap_or(i64::MIN);
        if let Some((last, begun)) = before
            && may_have(begun, time)
        {
            take(last);
        }
        before = Some((bundle, time));
    }
    if let Some((last, begun)) = before
        && may_have(begun, i64::MAX)
    {
        take(last);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_are_chosen_by_time_and_a_clock_that_was_set_back_hides_none() {
        let hour = 3_600_000;
        let check = |begins: &[Option<i64>], from: Option<i64>, to: Option<i64>, expected| {
            let begins = (0..).zip(begins).map(|(bundle, time)| (bundle, time.map(|time| time * hour)));
            let bound = |time: Option<i64>| time.map(|time| Bound::Time(time * hour));
            assert_eq!(between(begins, bound(from), bound(to)), expected);
        };
        let steady = [Some(0), Some(4), Some(8), Some(12)];
        check(&steady, Some(5), Some(6), Some((1, 1)));
        check(&steady, Some(5), Some(9), Some((1, 2)));
        check(&steady, None, Some(4), Some((0, 1)));
        check(&steady, Some(13), None, Some((3, 3)));
        check(&steady, Some(100), Some(101), Some((3, 3)));
        check(&steady, Some(-5), Some(-4), None);
        check(&steady, None, None, Some((0, 3)));
        check(&[Some(0), None, Some(8)], Some(5), Some(6), Some((1, 1)));
        check(&[None, Some(4)], Some(1), Some(2), Some((0, 0)));
        // Set back by ten hours in bundle 2, and right again in bundle 4.
        let back = [Some(0), Some(4), Some(8), Some(2), Some(6), Some(20)];
        check(&back, Some(5), Some(6), Some((1, 4)));
        check(&[], Some(1), None, None);
    }
}
