//! `homeport report`

use std::{fs, io::IsTerminal as _, path::PathBuf, str::FromStr};

use anyhow::{Context as _, anyhow};
use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::{
    ConfigArgs,
    ledger::{KeyArgs, empty_range, open, policy, progress::Progress, unusable},
    out,
};
use crate::{
    clock::WallTime,
    exit::{Exit, Failure},
    ledger::audit::{Options, verify::DEFAULT_PROBLEMS},
    report::{Asked, html, make, text},
};

const AFTER_HELP: &str = "\
Exit codes:
   0  the statement is made, and the ledger verifies
   3  the configuration has faults, or names no ledger
   6  the directory, a key or the witness policy cannot be read, the output cannot be written, or nothing is on
      record for the period
  10  the statement is made, and says that it proves nothing: the ledger does not verify

Examples:
  homeport report --from 2026-11-01 --to 2026-12-01 --html --output november.html
  homeport report evidence/ --key-file keys.txt --json";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// Directory of the ledger, or of a bundle of evidence [default: the ledger of the configuration]
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Begin of the period: a date (its begin in UTC) or a time such as 2026-11-22T00:00:00Z [default: the first interval]
    #[arg(long, value_name = "TIME")]
    from: Option<Moment>,
    /// End of the period, not included [default: the end of the last interval]
    #[arg(long, value_name = "TIME")]
    to: Option<Moment>,
    #[command(flatten)]
    keys: KeyArgs,
    /// Which witnesses must have seen the ledger (C2SP tlog-policy)
    #[arg(long, value_name = "FILE")]
    witness_policy: Option<PathBuf>,
    /// Plain text (this is the default)
    #[arg(long, group = "form")]
    text: bool,
    /// One HTML file that needs nothing else
    #[arg(long, group = "form")]
    html: bool,
    /// One JSON object
    #[arg(long, group = "form")]
    json: bool,
    /// Write it to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// A date or a time, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moment(i64);

impl FromStr for Moment {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, anyhow::Error> {
        if let Ok(time) = text.parse::<Timestamp>() {
            return Ok(Self(time.as_millisecond()));
        }
        // A time without offset would be read as a date, and its time forgotten.
        let is_date = text.len() == "2026-11-22".len();
        let begin =
            text.parse::<Date>().ok().filter(|_| is_date).and_then(|date| date.to_zoned(TimeZone::UTC).ok());
        let begin = begin.ok_or_else(|| {
            anyhow!("neither a date such as 2026-11-22 nor a time such as 2026-11-22T00:00:00Z")
        })?;
        Ok(Self(begin.timestamp().as_millisecond()))
    }
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    if let (Some(Moment(from)), Some(Moment(to))) = (args.from, args.to)
        && from >= to
    {
        return Err(empty_range());
    }
    let directory = match args.directory {
        Some(directory) => directory,
        None => {
            let (config, _) = args.config.load()?;
            let none = || {
                Failure::new(
                    Exit::Configuration,
                    anyhow!("ledger.dir is none: name the directory of a ledger"),
                )
            };
            config.ledger.directory(&config.agent).ok_or_else(none)?
        }
    };
    let options = Options {
        keys: args.keys.keys()?,
        policy: args.witness_policy.as_deref().map(policy).transpose()?,
        problems: DEFAULT_PROBLEMS,
    };
    let reader = open(&directory)?;
    let asked = Asked { from: args.from.map(|time| time.0), to: args.to.map(|time| time.0), options };
    let mut progress = Progress::new();
    let made = make(&reader, &asked, WallTime::now(), &mut |done, of| progress.tell(done, of));
    progress.end();
    let statement = made.map_err(|error| unusable(anyhow!("{}: {error}", directory.display())))?;
    let shown = match () {
        () if args.html => html(&statement),
        () if args.json => serde_json::to_string(&statement)? + "\n",
        () => text(&statement),
    };
    match &args.output {
        Some(path) => fs::write(path, shown).with_context(|| path.display().to_string()).map_err(unusable)?,
        None => out::print(&shown)?,
    }
    if statement.proof.verified {
        return Ok(Exit::Success);
    }
    // The statement says it, too; a file or a pipe would hide that.
    if args.output.is_some() || !std::io::stdout().is_terminal() {
        eprintln!("homeport: the ledger does not verify: the statement proves nothing, and says so");
    }
    Ok(Exit::NotProven)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_their_begin_in_utc() {
        let begin = "2026-11-22".parse::<Moment>().expect("a date");
        assert_eq!(begin, "2026-11-22T00:00:00Z".parse().expect("a time"));
        assert_eq!(begin, "2026-11-22T02:00:00+02:00".parse().expect("a time"));
        for text in ["", "yesterday", "2026-13-01", "2026-11-22T00:00:00"] {
            let error = text.parse::<Moment>().expect_err(text).to_string();
            assert!(error.contains("2026-11-22T00:00:00Z"), "{error}");
        }
    }
}
