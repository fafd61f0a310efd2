//! `homeport flows`

use std::fmt::{self, Write as _};

use super::{
    agent::{AgentArgs, failure},
    out, table,
};
use crate::{
    app::snapshot::FlowsView,
    control,
    exit::{Exit, Failure},
    record::harmless_copy,
};

/// Flows that fit on a screen.
const SHOWN: u32 = 40;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    agent: AgentArgs,
    /// Print one JSON object, with the whole table unless `--limit` says otherwise
    #[arg(long)]
    json: bool,
    /// At most this many flows, those with the most bytes [default: 40, with `--json` all]
    #[arg(long, value_name = "N", conflicts_with = "all")]
    limit: Option<u32>,
    /// All flows
    #[arg(long)]
    all: bool,
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    let socket = args.agent.socket()?;
    let limit = match args.limit {
        None if args.all || args.json => None,
        None => Some(SHOWN),
        limit => limit,
    };
    let (view, text) = control::ask_flows(&socket, limit).map_err(failure)?;
    out::print(&if args.json { text } else { text_of(&view)? })?;
    Ok(Exit::Success)
}

/// The table. Names of processes are chosen by whoever is watched.
fn text_of(view: &FlowsView) -> serde_json::Result<String> {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut out, harmless_copy(view)?);
    Ok(out)
}

fn write(out: &mut String, mut view: FlowsView) -> fmt::Result {
    view.flows.sort_by_key(|flow| std::cmp::Reverse(flow.volume.wire_bytes));
    let shown = view.flows.len() as u64;
    let rows: Vec<Vec<String>> = view
        .flows
        .iter()
        .map(|flow| {
            vec![
                match flow.owner.pid {
                    Some(pid) => format!("{} [{pid}]", flow.owner.label),
                    None => flow.owner.label.clone(),
                },
                match flow.initiator.as_str() {
                    "remote" => "<-",
                    "local" => "->",
                    _ => "--",
                }
                .to_owned(),
                format!("{} {}/{}", flow.remote, flow.protocol, flow.service_port),
                flow.location.clone(),
                match &flow.rule {
                    // Answers to a scanner and the like: counted, and nobody's alert.
                    Some(_) if flow.volume.payload_bytes == 0 => "no data".to_owned(),
                    Some(rule) => format!("VIOLATION {rule}"),
                    None => flow.verdict.clone(),
                },
                table::bytes(flow.volume.wire_bytes),
                table::bytes(flow.volume.payload_bytes),
            ]
        })
        .collect();
    write!(
        out,
        "{}",
        table::render(&["OWNER", "", "REMOTE", "LOCATION", "VERDICT", "WIRE", "PAYLOAD"], &rows)
    )?;
    if view.rows > shown {
        writeln!(out, "... and {} more (--all shows them)", view.rows - shown)?;
    }
    writeln!(
        out,
        "\n{} flows, {} on the wire, {} payload since {}; -> we opened, <- they did",
        view.rows,
        table::bytes(view.totals.wire_bytes),
        table::bytes(view.totals.payload_bytes),
        view.started
    )?;
    for interface in &view.interfaces {
        let counted =
            [interface.socket, interface.forwarded, interface.packet, interface.time_wait, interface.non_ip]
                .iter()
                .map(|frames| frames.bytes)
                .sum::<u64>();
        writeln!(
            out,
            "{}: card says {}, we saw {} at the edge, {} of it without a local socket",
            interface.name,
            table::bytes(interface.nic_tx_bytes),
            table::bytes(counted),
            table::bytes(
                counted - interface.socket.bytes - interface.time_wait.bytes - interface.non_ip.bytes
            )
        )?;
    }
    for class in &view.overflow {
        writeln!(
            out,
            "not in the table: {} of {} to {} ({})",
            table::bytes(class.volume.wire_bytes),
            class.owner_class,
            class.location,
            class.verdict
        )?;
    }
    for loss in view.losses.iter().filter(|loss| loss.events > 0) {
        writeln!(out, "loss: {} x{} ({})", loss.cause, loss.events, table::bytes(loss.bytes))?;
    }
    for condition in &view.degraded {
        writeln!(out, "DEGRADED {}: {}", condition.part, condition.reason)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_a_watched_process_is_called_cannot_drive_the_terminal() {
        let hostile = "x\u{1b}[2J\nforged line\u{202e}";
        let volume = json!({"wire_bytes": 9, "payload_bytes": 1, "packets": 1});
        let mut flow = json!({
            "owner": {
                "label": hostile, "kind": "process", "pid": 7, "start_boot_ns": 1, "exe": hostile, "command_line": hostile,
                "uid": 0, "user": null, "login_uid": null, "unit": null, "container": null, "cgroup": null,
                "quality": "exact",
            },
            "remote": "192.0.2.1", "remote_port": 443, "local": null, "local_port": 1, "protocol": "tcp",
            "service_port": 443, "initiator": "local", "sensor": "socket", "location": hostile, "country": null,
            "verdict": "approved", "rule": null, "exception": null, "policy": "default", "reason": "",
            "control_bytes": 0, "violating_bytes": 0, "first_seen": "", "last_seen": "", "pre_existing": false,
            "closed": false,
        });
        for (key, value) in volume.as_object().expect("an object") {
            flow[key] = value.clone();
        }
        let time = json!({"wall_us": 1, "processor_us": 1});
        let view: Value = json!({
            "schema": 1, "time": "", "started": "", "host": "h1", "policy_hash": "", "flows": [flow], "rows": 1,
            "table": {"added": 1, "retired": 0, "evicted": 0, "overflowed_readings": 0}, "classes": [], "overflow": [],
            "retired": volume, "totals": volume, "losses": [], "interfaces": [],
            "attribution": {"socket": 9, "owned": 9, "unnamed": 0, "rest": 0},
            "slots": {"in_use": 1, "capacity": 2},
            "sweep": {"last": time, "longest": time, "read_last": time, "read_longest": time},
            "degraded": [{"part": "accounting", "reason": hostile}],
        });
        let text = text_of(&serde_json::from_value(view).expect("a view")).expect("text");
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
        assert_eq!(text.matches("x\\u{1b}[2J").count(), 3, "{text}");
        assert!(text.lines().all(|line| !line.starts_with("forged")), "{text}");
    }
}
