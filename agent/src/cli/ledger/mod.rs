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
    fmt, fs,
    num::NonZero,
    ops::Range,
    path::{Path, PathBuf},
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use anyhow::{Context as _, anyhow};
use clap::Subcommand;
use serde::{
    Deserialize, Deserializer as _,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};

use crate::{
    exit::{Exit, Failure},
    ledger::audit::{
        Reader,
        format::TILE_WIDTH,
        note::{Checkpoint, Key, MAX_NOTE_BYTES, Signed},
        policy::Policy,
        reader::{CHECKPOINT, PUBLIC_KEY, ReadError},
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
            let mut lines = text
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty() && !line.starts_with('#'))
                .peekable();
            // Without one the ledger's own key would be believed.
            if lines.peek().is_none() {
                return Err(unusable(anyhow!(
                    "no key in {}: one verifier key per line is accepted, as `homeport ledger key --bare` prints it; \
                     a line that begins with # is a comment",
                    path.display()
                )));
            }
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

/// Refuses two bounds between which there is nothing. A time and an index cannot be compared.
fn in_order(from: Option<Bound>, to: Option<Bound>) -> Result<(), Failure> {
    let is_empty = match (from, to) {
        (Some(Bound::Index(from)), Some(Bound::Index(to))) => from >= to,
        (Some(Bound::Time(from)), Some(Bound::Time(to))) => from >= to,
        _ => false,
    };
    if is_empty { Err(empty_range()) } else { Ok(()) }
}

pub(super) fn empty_range() -> Failure {
    unusable(anyhow!("--from has to be before --to, which is not included"))
}

/// When a record was made, in milliseconds since 1970. The rest of the record, most of which is behind that, is not
/// looked at.
fn logged_time(entry: &[u8]) -> Option<i64> {
    #[derive(Deserialize)]
    #[serde(field_identifier, rename_all = "snake_case")]
    enum Key {
        Metadata,
        #[serde(other)]
        Other,
    }
    #[derive(Deserialize)]
    struct Metadata {
        logged_time: i64,
    }
    struct Search<'a>(&'a mut Option<i64>);
    impl<'de> Visitor<'de> for Search<'_> {
        type Value = ();

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a record")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut record: A) -> Result<(), A::Error> {
            while let Some(key) = record.next_key()? {
                match key {
                    Key::Metadata => {
                        *self.0 = Some(record.next_value::<Metadata>()?.logged_time);
                        return Err(A::Error::custom("found"));
                    }
                    Key::Other => drop(record.next_value::<IgnoredAny>()?),
                }
            }
            Ok(())
        }
    }
    let mut time = None;
    // The search ends with an error when it has found something.
    let _ = serde_json::Deserializer::from_slice(entry).deserialize_map(Search(&mut time));
    time
}

/// Whether an entry lies between two bounds; the upper one is not included.
fn is_between(index: u64, entry: &[u8], from: Option<Bound>, to: Option<Bound>) -> bool {
    let is_before = |bound: Bound| match bound {
        Bound::Index(bound) => index < bound,
        Bound::Time(bound) => logged_time(entry).is_some_and(|time| time < bound),
    };
    from.is_none_or(|from| !is_before(from)) && to.is_none_or(is_before)
}

/// The indexes from the first to the last entry, in whole bundles, that lies between two bounds. A time says nothing about
/// where an entry is, for clocks are set: each entry is looked at. What cannot be read is told, and left out.
fn candidates(
    reader: &Reader,
    size: u64,
    from: Option<Bound>,
    to: Option<Bound>,
    left_out: &(dyn Fn(ReadError) + Sync),
) -> Range<u64> {
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
    let has_any = |bundle: u64| {
        let mut has_any = false;
        let range = start.max(bundle * TILE_WIDTH)..end.min((bundle + 1) * TILE_WIDTH);
        let read = reader.entries(size, range, |index, entry| {
            has_any = has_any || is_between(index, entry, from, to);
            Ok::<_, ReadError>(())
        });
        if let Err(error) = read {
            left_out(error);
        }
        has_any
    };
    match outermost(bundles, has_any) {
        Some((first, last)) => start.max(first * TILE_WIDTH)..end.min((last + 1) * TILE_WIDTH),
        None => start..start,
    }
}

/// Threads that look through a ledger at once: beyond that a disk is as busy as it gets, and the host has other things to do.
const MAX_THREADS: usize = 4;

/// The first and the last of these numbers for which this is so, asked for each of them by several threads.
fn outermost(numbers: Range<u64>, is_so: impl Fn(u64) -> bool + Sync) -> Option<(u64, u64)> {
    let next = AtomicU64::new(numbers.start);
    let look = || {
        let mut found: Option<(u64, u64)> = None;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= numbers.end {
                return found;
            }
            if is_so(number) {
                found = Some((found.map_or(number, |(first, _)| first), number));
            }
        }
    };
    let n_threads = thread::available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..n_threads).map(|_| scope.spawn(look)).collect();
        let found = threads
            .into_iter()
            .filter_map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        found.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{
        audit::fixture::{ReferenceLedger, record},
        pack, path,
    };

    const MINUTE: i64 = 60_000;

    /// When a record of the fixture is made.
    fn time(number: i64) -> i64 {
        1_767_225_600_000 + number * MINUTE
    }

    /// A record of the fixture, made by a clock that was set by some minutes.
    fn record_set_by(number: u64, minutes: i64) -> String {
        let (right, wrong) = (time(number as i64), time(number as i64 + minutes));
        record(number).replace(&right.to_string(), &wrong.to_string())
    }

    #[test]
    fn a_time_is_found_without_the_rest_of_a_record() {
        assert_eq!(logged_time(record(7).as_bytes()), Some(time(7)));
        let check = |text: &str, expected| assert_eq!(logged_time(text.as_bytes()), expected, "{text}");
        check(
            r#"{"a":{"metadata":{"logged_time":1}},"metadata":{"uid":"x","logged_time":2},"b":{}}"#,
            Some(2),
        );
        check(r#"{"metadata":{"logged_time":3},"torn"#, Some(3));
        check(r#"{"metadata":{"uid":"x"}}"#, None);
        check(r#"{"torn":{"#, None);
        check("[]", None);
        check("", None);
    }

    #[test]
    fn a_file_without_a_key_is_no_reason_to_believe_the_ledger_itself() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys.txt");
        let key = ReferenceLedger::new(directory.path(), "homeport/h1").key;
        let keys = |text: &str, given: &[&str]| {
            fs::write(&path, text).expect("written");
            let key = given.iter().copied().map(str::to_owned).collect();
            KeyArgs { key, key_file: Some(path.clone()) }.keys()
        };
        for text in ["", "\n \n", "# the auditor's keys\n\n  # none yet"] {
            for given in [&[][..], &[key.as_str()]] {
                let failure = keys(text, given).expect_err("no key");
                assert_eq!(failure.exit, Exit::Unusable);
                let told = failure.error.to_string();
                assert!(
                    told.starts_with("no key in ") && told.contains("keys.txt: one verifier key"),
                    "{told}"
                );
            }
        }
        assert_eq!(
            keys(&format!("# ours\n{key}\n"), &[]).map_err(|failure| failure.error).expect("keys").len(),
            1
        );
    }

    #[test]
    fn a_range_that_ends_before_it_begins_is_refused() {
        let check = |from: &str, to: &str| {
            let bound = |text: &str| Some(text.parse::<Bound>().expect("a bound"));
            in_order(bound(from), bound(to)).map_err(|failure| failure.exit)
        };
        assert_eq!(check("5", "3"), Err(Exit::Unusable));
        assert_eq!(check("5", "5"), Err(Exit::Unusable));
        assert_eq!(check("2026-11-02T00:00:00Z", "2026-11-01T00:00:00Z"), Err(Exit::Unusable));
        assert_eq!(check("3", "5"), Ok(()));
        assert_eq!(check("3", "2026-11-01T00:00:00Z"), Ok(()));
    }

    #[test]
    fn no_entry_is_missed_however_the_clock_was_set() {
        // Set forth for eleven records in the midst of bundle 1, back for three of bundle 2, and right at their borders.
        let minutes = |number: u64| match number {
            300..=310 => 100_000,
            600..=602 => -50_000,
            _ => 0,
        };
        let directory = tempfile::tempdir().expect("a directory");
        let mut ledger = ReferenceLedger::new(directory.path(), "homeport/h1");
        for number in 0..900 {
            ledger.append(record_set_by(number, minutes(number)).as_bytes());
        }
        ledger.publish();
        // As the agent leaves old bundles.
        let plain = directory.path().join(path::entries(1, 256));
        let packed = pack::pack(&fs::read(&plain).expect("a bundle"));
        fs::write(directory.path().join(path::packed(1)), packed).expect("written");
        fs::remove_file(plain).expect("removed");

        let reader = Reader::open(directory.path()).expect("a ledger");
        let found = |from: Option<Bound>, to: Option<Bound>| {
            let mut found = Vec::new();
            let range = candidates(&reader, 900, from, to, &|error| panic!("{error}"));
            let read = reader.entries(900, range, |index, entry| {
                if is_between(index, entry, from, to) {
                    found.push(index);
                }
                Ok::<_, ReadError>(())
            });
            read.expect("readable");
            found
        };
        let within = |from: i64, to: i64| found(Some(Bound::Time(time(from))), Some(Bound::Time(time(to))));
        assert_eq!(within(100_000, 200_000), (300..=310).collect::<Vec<_>>());
        assert_eq!(within(-50_000, -40_000), [600, 601, 602]);
        assert_eq!(within(299, 312), [299, 311]);
        assert_eq!(within(20, 22), [20, 21]);
        assert_eq!(within(5_000, 6_000), [] as [u64; 0]);
        assert_eq!(found(Some(Bound::Index(305)), Some(Bound::Time(time(0)))), [600, 601, 602]);
        assert_eq!(
            found(Some(Bound::Time(time(899))), Some(Bound::Index(308))),
            (300..308).collect::<Vec<_>>()
        );
        assert_eq!(found(Some(Bound::Time(time(899))), None), (300..=310).chain([899]).collect::<Vec<_>>());
    }
}
