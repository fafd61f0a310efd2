//! `homeport ledger show`

use std::{
    io::{self, BufWriter, Write as _},
    path::PathBuf,
};

use clap::builder::PossibleValuesParser;

use super::{Bound, candidates, head, in_order, is_between, logged_time, open};
use crate::{
    alert::Kind,
    cli::out,
    clock::WallTime,
    exit::{Exit, Failure},
    ledger::audit::{Glance, reader::ReadError},
    record::{coverage, finding, harmless, lifecycle::Event},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory of the ledger, or of a bundle of evidence
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// From this index or time on (RFC 3339)
    #[arg(long, value_name = "INDEX|TIME")]
    from: Option<Bound>,
    /// Up to this index or time, which is not included
    #[arg(long, value_name = "INDEX|TIME")]
    to: Option<Bound>,
    /// Only records of this kind: of a class (finding, interval, lifecycle), or what they say of themselves
    #[arg(long, value_name = "KIND", value_parser = PossibleValuesParser::new(known_kinds()))]
    kind: Vec<String>,
    /// Print JSON, one object per line: the index and the record as it is
    #[arg(long)]
    json: bool,
}

/// Why showing ended early.
enum Stop {
    Read(ReadError),
    /// Whoever reads has seen enough.
    Closed,
    Write(io::Error),
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::Closed } else { Self::Write(error) }
    }
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    in_order(args.from, args.to)?;
    let reader = open(&args.directory)?;
    let size = head(&reader, &[])?.size;
    let mut out = BufWriter::new(io::stdout().lock());
    let shown = reader
        .entries(size, candidates(&reader, size, args.from, args.to, &left_out), |index, entry| {
            if !is_between(index, entry, args.from, args.to) {
                return Ok(());
            }
            let line = Glance::at(entry);
            let kinds = kinds(line.as_ref());
            if !args.kind.is_empty() && !args.kind.iter().any(|kind| kinds.contains(&kind.as_str())) {
                return Ok(());
            }
            if args.json {
                // The record itself, byte for byte; what is no JSON cannot stand there.
                match line {
                    Some(_) => {
                        write!(out, "{{\"index\":{index},\"record\":")?;
                        out.write_all(entry)?;
                        writeln!(out, "}}")?;
                    }
                    None => writeln!(
                        out,
                        "{{\"index\":{index},\"unreadable\":{}}}",
                        serde_json::json!(String::from_utf8_lossy(entry))
                    )?,
                }
                return Ok(());
            }
            let time = logged_time(entry).map_or_else(
                || "-".to_owned(),
                |millis| WallTime(millis.saturating_mul(1_000_000)).to_string(),
            );
            let message = line.as_ref().and_then(|line| line.message.as_deref()).unwrap_or("(not readable)");
            // A terminal must not obey what stands in a record.
            let (kind, message) = (harmless(kinds.last().unwrap_or(&"unknown")), harmless(message));
            writeln!(out, "{index:>8}  {time:<24}  {kind:<14}  {message}")?;
            Ok(())
        })
        .and_then(|()| out.flush().map_err(Stop::from));
    match shown {
        Ok(()) | Err(Stop::Closed) => Ok(Exit::Success),
        Err(Stop::Read(error)) => Err(Failure::new(Exit::Unusable, error)),
        Err(Stop::Write(error)) => Err(out::failure(error)),
    }
}

fn left_out(error: ReadError) {
    eprintln!("homeport: {error}; what it has is left out");
}

/// The classes of records, each with its word.
const CLASSES: [(u64, &str); 3] = [(2004, "finding"), (4001, "interval"), (6002, "lifecycle")];

/// Every word that a record of this version can be asked for by.
fn known_kinds() -> Vec<&'static str> {
    let findings = [Kind::Transfer, Kind::Attempt, Kind::Exception].map(Kind::as_str);
    let classes = CLASSES.iter().map(|(_, word)| *word);
    classes.chain(findings).chain([coverage::KIND, finding::SELF_TEST]).chain(Event::WORDS).collect()
}

/// What a record can be asked for by, the most exact word last.
fn kinds(line: Option<&Glance>) -> Vec<&str> {
    let Some(line) = line else { return Vec::new() };
    let class = CLASSES.iter().find(|(uid, _)| Some(*uid) == line.class_uid).map(|(_, word)| *word);
    class.into_iter().chain(line.event().or_else(|| line.kind())).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn a_kind_that_no_record_has_is_refused_with_those_that_some_have() {
        let parse =
            |kind: &str| Line::try_parse_from(["show", "dir", "--kind", kind]).map(|line| line.args.kind);
        for kind in
            ["finding", "interval", "transfer", "coverage", "self-test", "start", "counting-gap", "delivery"]
        {
            assert_eq!(parse(kind).expect("a kind"), [kind]);
        }
        let error = parse("violations").expect_err("no kind");
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("finding, interval, lifecycle, transfer, attempt"), "{error}");
    }

    #[test]
    fn records_say_the_words_that_they_can_be_asked_for_by() {
        for (golden, words) in [
            (include_str!("../../record/golden/interval.json"), &["interval"][..]),
            (include_str!("../../record/golden/finding-open.json"), &["finding", "transfer"]),
            (include_str!("../../record/golden/coverage-bypass.json"), &["finding", "coverage"]),
            (include_str!("../../record/golden/lifecycle-start.json"), &["lifecycle", "start"]),
        ] {
            let glance = Glance::at(golden.as_bytes());
            assert_eq!(kinds(glance.as_ref()), words);
            assert!(words.iter().all(|word| known_kinds().contains(word)), "{words:?}");
        }
    }
}
