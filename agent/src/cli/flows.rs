//! `homeport flows`

use super::{
    agent::{AgentArgs, failure},
    table,
};
use crate::{
    app::snapshot::FlowsView,
    control,
    exit::{Exit, Failure},
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
    if args.json {
        print!("{text}");
    } else {
        print(view);
    }
    Ok(Exit::Success)
}

fn print(mut view: FlowsView) {
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
    print!("{}", table::render(&["OWNER", "", "REMOTE", "LOCATION", "VERDICT", "WIRE", "PAYLOAD"], &rows));
    if view.rows > shown {
        println!("... and {} more (--all shows them)", view.rows - shown);
    }
    println!(
        "\n{} flows, {} on the wire, {} payload since {}; -> we opened, <- they did",
        view.rows,
        table::bytes(view.totals.wire_bytes),
        table::bytes(view.totals.payload_bytes),
        view.started
    );
    for interface in &view.interfaces {
        let counted =
            [interface.socket, interface.forwarded, interface.packet, interface.time_wait, interface.non_ip]
                .iter()
                .map(|frames| frames.bytes)
                .sum::<u64>();
        println!(
            "{}: card says {}, we saw {} at the edge, {} of it without a local socket",
            interface.name,
            table::bytes(interface.nic_tx_bytes),
            table::bytes(counted),
            table::bytes(
                counted - interface.socket.bytes - interface.time_wait.bytes - interface.non_ip.bytes
            )
        );
    }
    for class in &view.overflow {
        println!(
            "not in the table: {} of {} to {} ({})",
            table::bytes(class.volume.wire_bytes),
            class.owner_class,
            class.location,
            class.verdict
        );
    }
    for loss in view.losses.iter().filter(|loss| loss.events > 0) {
        println!("loss: {} x{} ({})", loss.cause, loss.events, table::bytes(loss.bytes));
    }
    for condition in &view.degraded {
        println!("DEGRADED {}: {}", condition.part, condition.reason);
    }
}
