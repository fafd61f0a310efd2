//! `homeport ledger verify`

use std::{
    fmt::{self, Write as _},
    path::PathBuf,
};

use super::{KeyArgs, open, policy, progress::Progress};
use crate::{
    cli::{out, table},
    clock::WallTime,
    exit::{Exit, Failure},
    ledger::audit::{Options, Report, Weight, verify, verify::DEFAULT_PROBLEMS},
    record::{harmless, harmless_copy},
};

const AFTER_HELP: &str = "\
Exit codes:
   0  every entry is the one that was signed, and no record is missing without another saying so
   6  the directory, a key or the policy cannot be read
  10  something is wrong; it says what and where";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// Directory of the ledger, or of a bundle of evidence
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    #[command(flatten)]
    keys: KeyArgs,
    /// Which witnesses must have seen it (C2SP tlog-policy)
    #[arg(long, value_name = "FILE")]
    witness_policy: Option<PathBuf>,
    /// How many problems to print; the rest is counted
    #[arg(long, value_name = "N", default_value_t = DEFAULT_PROBLEMS)]
    problems: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    let options = Options {
        keys: args.keys.keys()?,
        policy: args.witness_policy.as_deref().map(policy).transpose()?,
        problems: args.problems,
    };
    let reader = open(&args.directory)?;
    let mut progress = Progress::new();
    let report = verify(&reader, &options, &mut |done, of| progress.tell(done, of));
    progress.end();
    if args.json {
        out::line(&serde_json::to_string(&report)?)?;
    } else {
        let mut text = String::new();
        write(&mut text, &report)?;
        out::print(&text)?;
    }
    Ok(if report.is_verified() { Exit::Success } else { Exit::NotProven })
}

/// Names of files, excerpts and origins are those of whoever made the ledger.
fn write(out: &mut String, report: &Report) -> fmt::Result {
    for problem in &report.problems {
        let word = match problem.weight {
            Weight::Wrong => "WRONG",
            Weight::Note => "note ",
        };
        let problem = harmless_copy(problem).map_err(|_| fmt::Error)?;
        writeln!(out, "{word} {problem}")?;
    }
    let told = report.problems.len() as u64;
    if report.wrong + report.notes > told {
        writeln!(out, "... and {} more", report.wrong + report.notes - told)?;
    }
    if told > 0 {
        writeln!(out)?;
    }
    let mut line = |name: &str, value: &str| writeln!(out, "{name:<10} {}", harmless(value));
    line("ledger", report.origin.as_deref().unwrap_or("unknown: there is no checkpoint"))?;
    if let (Some(size), Some(root)) = (report.size, &report.root) {
        line("head", &format!("{size} entries, root {root}"))?;
    }
    match &report.signed_by {
        Some(key) if report.key_was_given => line("signed by", key),
        Some(key) => line("signed by", &format!("{key} (its own word)")),
        None => line("signed by", "nobody who is known"),
    }?;
    if let Some(seen) = &report.witnessed {
        let by: Vec<_> = seen
            .by
            .iter()
            .map(|(name, time)| {
                let time = WallTime::from_unix_seconds(i64::try_from(*time).unwrap_or(i64::MAX));
                format!("{name} at {time}")
            })
            .collect();
        let by = if by.is_empty() { "no witness, as the policy allows".to_owned() } else { by.join(", ") };
        line("witnessed", &format!("{} entries, by {by}", seen.size))?;
    }
    line(
        "checked",
        &format!(
            "entries {} to {} (the last not included): {} entries of {} and {} hash tiles",
            report.first,
            report.end,
            report.entries,
            table::bytes(report.bytes),
            report.tiles
        ),
    )?;
    if let (Some(from), Some(to), Some((first, last))) = (&report.from, &report.to, report.sequences) {
        line("records", &format!("numbers {first} to {last}, from {from} to {to}"))?;
    }
    if report.declared_missing > 0 {
        line("missing", &format!("{} records, as the ledger itself says", report.declared_missing))?;
    }
    if report.repeated > 0 {
        line("repeated", &format!("{} records, unchanged: written again after a crash", report.repeated))?;
    }
    match report.wrong {
        0 => line("result", "VERIFIED"),
        1 => line("result", "NOT VERIFIED: 1 thing is wrong"),
        wrong => line("result", &format!("NOT VERIFIED: {wrong} things are wrong")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::audit::Problem;

    #[test]
    fn a_name_in_somebodys_ledger_cannot_drive_the_terminal() {
        let hostile = "x\u{1b}[2J\nresult     VERIFIED";
        let report = Report {
            origin: Some(hostile.to_owned()),
            wrong: 1,
            problems: vec![Problem::wrong(hostile).file(hostile).values("1", hostile)],
            ..Report::default()
        };
        let mut text = String::new();
        write(&mut text, &report).expect("text");
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(text.lines().all(|line| line != "result     VERIFIED"), "{text}");
        assert!(text.contains("\n    expected 1\n    found    x\\u{1b}[2J"), "{text}");
        assert!(text.ends_with("result     NOT VERIFIED: 1 thing is wrong\n"), "{text}");
    }
}
