//! `homeport coverage`

use std::fmt::{self, Write as _};

use super::{
    agent::{AgentArgs, failure},
    out, table,
};
use crate::{
    app::coverage::CoverageView,
    control,
    exit::{Exit, Failure},
    record::harmless_copy,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    agent: AgentArgs,
    /// Print the statement as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    let socket = args.agent.socket()?;
    let (view, text) = control::ask_coverage(&socket).map_err(failure)?;
    let exit = match view.state.as_str() {
        "covered" => Exit::Success,
        "reduced" => Exit::Reduced,
        _ => Exit::NotCovered,
    };
    out::print(&if args.json { text } else { text_of(&view)? })?;
    Ok(exit)
}

/// The statement for people. Names of interfaces and cgroups are chosen by whoever is watched.
fn text_of(view: &CoverageView) -> serde_json::Result<String> {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut out, &harmless_copy(view)?);
    Ok(out)
}

fn write(out: &mut String, view: &CoverageView) -> fmt::Result {
    writeln!(out, "{} at {}, counting since {}", view.state.to_uppercase(), view.time, view.started)?;
    for reason in &view.reasons {
        writeln!(out, "  {}: {}: {}", reason.state, reason.part, reason.reason)?;
    }
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let rows: Vec<Vec<String>> = view
        .programs
        .iter()
        .map(|row| {
            let more = row.since.as_ref().map_or_else(|| text(&row.reason), |since| format!("since {since}"));
            vec![row.program.clone(), row.state.clone(), text(&row.place), more]
        })
        .collect();
    write!(out, "\n{}", table::render(&["PROGRAM", "STATE", "PLACE", ""], &rows))?;
    let rows: Vec<Vec<String>> = view
        .interfaces
        .iter()
        .map(|row| {
            let edge = if row.edge { "counted" } else { "not counted" };
            let rest = row.unexplained_bytes.map(|bytes| format!("{bytes} bytes unexplained"));
            vec![row.name.clone(), edge.to_owned(), row.why.clone(), rest.unwrap_or_default()]
        })
        .collect();
    write!(out, "\n{}", table::render(&["INTERFACE", "", "WHY", ""], &rows))?;
    let attribution = &view.attribution;
    writeln!(
        out,
        "\nsockets: {} bytes over the edge, {} discarded before it, {} unexplained",
        attribution.socket, attribution.discarded, attribution.rest
    )?;
    let namespaces = &view.network_namespaces;
    writeln!(
        out,
        "\ncgroup {} with {} below; network namespaces: {} of {} seen, {} outside of the scope",
        view.cgroup.path,
        view.cgroup.descendants.map_or_else(|| "an unknown number".to_owned(), |number| number.to_string()),
        namespaces.watched,
        namespaces.seen,
        namespaces.outside
    )?;
    for row in &view.fill {
        writeln!(out, "{}: {} of {}", row.what, row.used, row.capacity)?;
    }
    for row in &view.databases {
        writeln!(
            out,
            "database {} ({}), built {}, {} days old",
            row.name, row.kind, row.built, row.age_days
        )?;
    }
    match view.clock.synchronized {
        Some(true) => writeln!(out, "clock synchronized")?,
        Some(false) => writeln!(out, "clock NOT synchronized")?,
        None => writeln!(out, "clock: the kernel does not say whether it is synchronized")?,
    }
    for loss in view.losses.iter().filter(|loss| loss.events > 0) {
        writeln!(out, "loss: {} x{} ({})", loss.cause, loss.events, table::bytes(loss.bytes))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_container_calls_its_interface_cannot_drive_the_terminal() {
        let hostile = "x\u{1b}[2J\nCOVERED\u{202e}";
        let view = json!({
            "schema": 1, "time": "", "started": "", "host": "h1", "state": "reduced",
            "reasons": [{"state": "reduced", "part": "edge", "reason": hostile}],
            "programs": [{
                "program": "p", "hook": "h", "purpose": "", "state": "refused", "place": hostile, "since": null,
                "reason": hostile,
            }],
            "interfaces": [{"name": hostile, "index": 2, "edge": true, "why": hostile, "unexplained_bytes": null}],
            "attribution": {"socket": 9, "owned": 9, "unnamed": 0, "rest": 0},
            "cgroup": {"path": hostile, "descendants": null},
            "network_namespaces": {"watched": "all", "seen": 1, "outside": 0},
            "losses": [], "fill": [], "databases": [],
            "clock": {"synchronized": true, "max_error_us": null, "steps": 0, "last_step_ms": null},
            "self_test": null, "pinned": true,
        });
        let text = text_of(&serde_json::from_value(view).expect("a view")).expect("text");
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
        assert_eq!(text.matches("x\\u{1b}[2J").count(), 6, "{text}");
        assert!(text.lines().all(|line| !line.starts_with("COVERED")), "{text}");
    }
}
