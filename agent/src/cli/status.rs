//! `homeport status`

use std::fmt::{self, Write as _};

use super::{
    agent::{AgentArgs, failure},
    out, table,
};
use crate::{
    app::status::{StatusView, UnwrittenRow},
    control,
    exit::{Exit, Failure},
    ledger::witness::watch::WitnessRow,
    record::harmless_copy,
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
    out::print(&if args.json { text } else { text_of(&view)? })?;
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

/// The screen. Names of processes are chosen by whoever is watched, answers by whoever receives.
fn text_of(view: &StatusView) -> serde_json::Result<String> {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut out, &harmless_copy(view)?);
    Ok(out)
}

fn write(out: &mut String, view: &StatusView) -> fmt::Result {
    let verdict = match view.violations {
        0 => "IN POLICY".to_owned(),
        1 => "OUT OF POLICY: 1 violation is open".to_owned(),
        count => format!("OUT OF POLICY: {count} violations are open"),
    };
    writeln!(out, "{verdict}; {} at {}", view.coverage.to_uppercase(), view.time)?;
    writeln!(out, "{}, homeport {}, counting since {}", view.host, view.version, view.started)?;
    let hash = view.policy_hash.get(..12).unwrap_or(&view.policy_hash);
    writeln!(out, "mode {}, policies {} (set {hash})", view.mode, view.policies.join(", "))?;
    for reason in &view.reasons {
        writeln!(out, "  {}: {}: {}", reason.state, reason.part, reason.reason)?;
    }
    if view.exceptions_in_use + view.coverage_findings > 0 {
        let (exceptions, findings) = (view.exceptions_in_use, view.coverage_findings);
        writeln!(out, "exceptions in use: {exceptions}; open findings about coverage: {findings}")?;
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
        write!(out, "\n{}", table::render(&header, &rows))?;
        let more = view.violations.saturating_sub(rows.len() as u64);
        if more > 0 {
            writeln!(out, "... and {more} more")?;
        }
    }
    if let Some(ledger) = &view.ledger {
        let signed = ledger.checkpoint_time.as_ref().map_or_else(
            || "nothing signed yet".to_owned(),
            |time| format!("{} signed at {time}", ledger.checkpoint_size),
        );
        writeln!(out, "\nledger {}: {} entries, {signed}", ledger.origin, ledger.size)?;
        for problem in ledger.fault.iter().chain(&ledger.damage) {
            writeln!(out, "  {problem}")?;
        }
    }
    if let Some(UnwrittenRow { since, reason, records, bytes, dropped }) = &view.unwritten {
        let bytes = table::bytes(*bytes);
        writeln!(
            out,
            "  {records} records of {bytes} wait in memory since {since}, {dropped} were dropped: {reason}"
        )?;
    }
    for row in &view.witnesses {
        writeln!(out, "  {}", witness_line(row))?;
    }
    if !view.sinks.is_empty() {
        let rows: Vec<Vec<String>> = view.sinks.iter().map(sink_row).collect();
        let header = ["SINK", "KIND", "STATE", "BEHIND", "DELIVERED", "RETRIES", "REFUSED", "LAST SUCCESS"];
        write!(out, "\n{}", table::render(&header, &rows))?;
        // On a line of its own: receivers answer at length.
        for row in view.sinks.iter().filter(|row| is_unwell(row)) {
            if let Some(error) = &row.last_error {
                writeln!(out, "  {}: {}", row.name, error.reason)?;
            }
        }
    }
    writeln!(out)?;
    for row in &view.databases {
        writeln!(
            out,
            "database {} ({}), built {}, {} days old",
            row.name, row.kind, row.built, row.age_days
        )?;
    }
    Ok(())
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
    fn what_a_watched_process_is_called_cannot_drive_the_terminal() {
        let hostile = "x\u{1b}[2J\u{1b}]0;IN POLICY\u{7}\nIN POLICY; COVERED\u{202e}";
        let mut view = view(1, "reduced", "failing");
        view.reasons = serde_json::from_value(
            serde_json::json!([{"state": "reduced", "part": "accounting", "reason": hostile}]),
        )
        .expect("a reason");
        view.episodes = serde_json::from_value(serde_json::json!([{
            "id": "e1", "kind": "transfer", "severity": "high", "policy": "default", "owner": hostile,
            "place": hostile, "initiator": "local", "first_seen": "", "last_seen": "", "wire_bytes": 4_000,
        }]))
        .expect("an episode");
        view.sinks[0].last_error =
            serde_json::from_value(serde_json::json!({"time": "", "reason": hostile})).expect("an error");
        let text = text_of(&view).expect("text");
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text}");
        assert_eq!(text.matches("x\\u{1b}[2J").count(), 4, "{text}");
        assert!(text.lines().all(|line| !line.starts_with("IN POLICY")), "{text}");
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
