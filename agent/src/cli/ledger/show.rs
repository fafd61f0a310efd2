//! `homeport ledger show`

use std::{
    io::{self, BufWriter, Write as _},
    path::PathBuf,
};

use super::{Bound, candidates, head, is_between, logged_time, open};
use crate::{
    clock::WallTime,
    exit::{Exit, Failure},
    ledger::audit::{Glance, reader::ReadError},
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
    /// Only records of this kind: finding, interval, lifecycle, or a word of their own such as transfer, coverage,
    /// start, gap, policy-change
    #[arg(long, value_name = "KIND")]
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
    let reader = open(&args.directory)?;
    let size = head(&reader, &[])?.size;
    let mut out = BufWriter::new(io::stdout().lock());
    let shown = reader
        .entries(size, candidates(&reader, size, args.from, args.to), |index, entry| {
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
            // Control characters in a message must not reach a terminal.
            let message: String =
                message.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
            writeln!(out, "{index:>8}  {time:<24}  {:<14}  {message}", kinds.last().unwrap_or(&"unknown"))?;
            Ok(())
        })
        .and_then(|()| out.flush().map_err(Stop::from));
    match shown {
        Ok(()) | Err(Stop::Closed) => Ok(Exit::Success),
        Err(Stop::Read(error)) => Err(Failure::new(Exit::Unusable, error)),
        Err(Stop::Write(error)) => Err(Failure::new(Exit::Unusable, error)),
    }
}

/// What a record can be asked for by, the most exact word last.
fn kinds(line: Option<&Glance>) -> Vec<&str> {
    let Some(line) = line else { return Vec::new() };
    let class = match line.class_uid {
        Some(2004) => Some("finding"),
        Some(4001) => Some("interval"),
        Some(6002) => Some("lifecycle"),
        _ => None,
    };
    class.into_iter().chain(line.event().or_else(|| line.kind())).collect()
}
