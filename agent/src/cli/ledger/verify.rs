//! `homeport ledger verify`

use std::path::PathBuf;

use super::{KeyArgs, open, policy, progress::Progress};
use crate::{
    cli::table,
    clock::WallTime,
    exit::{Exit, Failure},
    ledger::audit::{Options, Report, Weight, verify, verify::DEFAULT_PROBLEMS},
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
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report);
    }
    Ok(if report.is_verified() { Exit::Success } else { Exit::NotProven })
}

fn print(report: &Report) {
    for problem in &report.problems {
        let word = match problem.weight {
            Weight::Wrong => "WRONG",
            Weight::Note => "note ",
        };
        println!("{word} {problem}");
    }
    let told = report.problems.len() as u64;
    if report.wrong + report.notes > told {
        println!("... and {} more", report.wrong + report.notes - told);
    }
    if told > 0 {
        println!();
    }
    let line = |name: &str, value: &str| println!("{name:<10} {value}");
    line("ledger", report.origin.as_deref().unwrap_or("unknown: there is no checkpoint"));
    if let (Some(size), Some(root)) = (report.size, &report.root) {
        line("head", &format!("{size} entries, root {root}"));
    }
    match &report.signed_by {
        Some(key) if report.key_was_given => line("signed by", key),
        Some(key) => line("signed by", &format!("{key} (its own word)")),
        None => line("signed by", "nobody who is known"),
    }
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
        line("witnessed", &format!("{} entries, by {by}", seen.size));
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
    );
    if let (Some(from), Some(to), Some((first, last))) = (&report.from, &report.to, report.sequences) {
        line("records", &format!("numbers {first} to {last}, from {from} to {to}"));
    }
    if report.declared_missing > 0 {
        line("missing", &format!("{} records, as the ledger itself says", report.declared_missing));
    }
    if report.repeated > 0 {
        line("repeated", &format!("{} records, unchanged: written again after a crash", report.repeated));
    }
    match report.wrong {
        0 => line("result", "VERIFIED"),
        1 => line("result", "NOT VERIFIED: 1 thing is wrong"),
        wrong => line("result", &format!("NOT VERIFIED: {wrong} things are wrong")),
    }
}
