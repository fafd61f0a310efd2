//! `homeport status`

use super::{
    agent::{AgentArgs, failure},
    table,
};
use crate::{
    app::status::{StatusView, UnwrittenRow},
    control,
    exit::{Exit, Failure},
    ledger::witness::watch::WitnessRow,
    sink::SinkRow,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    agent: AgentArgs,
    /// Print the status as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    let socket = args.agent.socket()?;
    let (view, text) = control::ask_status(&socket).map_err(failure)?;
    if args.json {
        print!("{text}");
    } else {
        print(&view);
    }
    Ok(exit(&view))
}

/// The worst of it.
fn exit(view: &StatusView) -> Exit {
    match view.coverage.as_str() {
        _ if view.violations > 0 => Exit::OutOfPolicy,
        "covered" if view.sinks.iter().any(is_unwell) => Exit::Undelivered,
        "covered" => Exit::Success,
        "reduced" => Exit::Reduced,
        _ => Exit::NotCovered,
    }
}

fn is_unwell(sink: &SinkRow) -> bool {
    sink.state == "failing"
}

fn print(view: &StatusView) {
    let verdict = match view.violations {
        0 => "IN POLICY".to_owned(),
        1 => "OUT OF POLICY: 1 violation is open".to_owned(),
        count => format!("OUT OF POLICY: {count} violations are open"),
    };
    println!("{verdict}; {} at {}", view.coverage.to_uppercase(), view.time);
    println!("{}, homeport {}, counting since {}", view.host, view.version, view.started);
    let hash = view.policy_hash.get(..12).unwrap_or(&view.policy_hash);
    println!("mode {}, policies {} (set {hash})", view.mode, view.policies.join(", "));
    for reason in &view.reasons {
        println!("  {}: {}: {}", reason.state, reason.part, reason.reason);
    }
    if view.exceptions_in_use + view.coverage_findings > 0 {
        let (exceptions, findings) = (view.exceptions_in_use, view.coverage_findings);
        println!("exceptions in use: {exceptions}; open findings about coverage: {findings}");
    }
    if !view.episodes.is_empty() {
        let rows: Vec<Vec<String>> = view
            .episodes
            .iter()
            .map(|row| {
                vec![
                    row.severity.clone(),
                    row.place.clone(),
                    row.owner.clone(),
                    table::bytes(row.wire_bytes),
                    row.policy.clone(),
                    row.first_seen.clone(),
                    row.id.clone(),
                ]
            })
            .collect();
        let header = ["VIOLATION", "TO", "OWNER", "WIRE", "POLICY", "SINCE", "EPISODE"];
        print!("\n{}", table::render(&header, &rows));
        let more = view.violations.saturating_sub(rows.len() as u64);
        if more > 0 {
            println!("... and {more} more");
        }
    }
    if let Some(ledger) = &view.ledger {
        let signed = ledger.checkpoint_time.as_ref().map_or_else(
            || "nothing signed yet".to_owned(),
            |time| format!("{} signed at {time}", ledger.checkpoint_size),
        );
        println!("\nledger {}: {} entries, {signed}", ledger.origin, ledger.size);
        for problem in ledger.fault.iter().chain(&ledger.damage) {
            println!("  {problem}");
        }
    }
    if let Some(UnwrittenRow { since, reason, records, bytes, dropped }) = &view.unwritten {
        let bytes = table::bytes(*bytes);
        println!(
            "  {records} records of {bytes} wait in memory since {since}, {dropped} were dropped: {reason}"
        );
    }
    for row in &view.witnesses {
        println!("  {}", witness_line(row));
    }
    if !view.sinks.is_empty() {
        let rows: Vec<Vec<String>> = view.sinks.iter().map(sink_row).collect();
        let header = ["SINK", "KIND", "STATE", "BEHIND", "DELIVERED", "RETRIES", "REFUSED", "LAST SUCCESS"];
        print!("\n{}", table::render(&header, &rows));
        // On a line of its own: receivers answer at length.
        for row in view.sinks.iter().filter(|row| is_unwell(row)) {
            if let Some(error) = &row.last_error {
                println!("  {}: {}", row.name, error.reason);
            }
        }
    }
    println!();
    for row in &view.databases {
        println!("database {} ({}), built {}, {} days old", row.name, row.kind, row.built, row.age_days);
    }
}

fn witness_line(row: &WitnessRow) -> String {
    let WitnessRow { name, url, state, .. } = row;
    let signed = match (row.signed_entries, &row.signed_at) {
        (Some(entries), Some(time)) => format!("{entries} entries at {time}"),
        _ => "nothing yet".to_owned(),
    };
    let reason = row.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    match state.as_str() {
        "signing" => format!("witness {name} ({url}) has signed {signed}"),
        _ => format!("witness {name} ({url}) {state}{reason}; has signed {signed}"),
    }
}

fn sink_row(row: &SinkRow) -> Vec<String> {
    let behind = match row.behind_entries {
        0 => "-".to_owned(),
        count => format!("{count}, {} s", row.behind_secs),
    };
    vec![
        row.name.clone(),
        row.kind.clone(),
        row.state.clone(),
        behind,
        row.delivered.to_string(),
        row.retries.to_string(),
        row.dead_letters.to_string(),
        row.last_success.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(violations: u64, coverage: &str, sink_state: &str) -> StatusView {
        let text = format!(
            r#"{{"schema":1,"time":"","started":"","version":"","host":"","mode":"alert","policies":[],
            "policy_hash":"","coverage":"{coverage}","reasons":[],"violations":{violations},"exceptions_in_use":0,
            "coverage_findings":0,"episodes":[],"databases":[],"sinks":[{{"name":"siem","kind":"webhook",
            "state":"{sink_state}","next":0,"behind_entries":0,"behind_secs":0,"delivered":0,"retries":0,
            "dead_letters":0,"skipped":0,"last_success":null,"last_error":null,"failing_since":null}}]}}"#
        );
        serde_json::from_str(&text).expect("a view")
    }

    #[test]
    fn the_exit_code_says_the_worst_of_it() {
        for (violations, coverage, sink, expected) in [
            (0, "covered", "delivering", Exit::Success),
            (0, "covered", "failing", Exit::Undelivered),
            (0, "reduced", "failing", Exit::Reduced),
            (0, "not covered", "delivering", Exit::NotCovered),
            (1, "not covered", "failing", Exit::OutOfPolicy),
            (0, "covered", "removed", Exit::Success),
        ] {
            assert_eq!(exit(&view(violations, coverage, sink)), expected, "{violations} {coverage} {sink}");
        }
    }
}
