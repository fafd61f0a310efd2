//! `homeport coverage`

use super::{
    agent::{AgentArgs, failure},
    table,
};
use crate::{
    app::coverage::CoverageView,
    control,
    exit::{Exit, Failure},
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
    if args.json {
        print!("{text}");
    } else {
        print(&view);
    }
    Ok(exit)
}

fn print(view: &CoverageView) {
    println!("{} at {}, counting since {}", view.state.to_uppercase(), view.time, view.started);
    for reason in &view.reasons {
        println!("  {}: {}: {}", reason.state, reason.part, reason.reason);
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
    print!("\n{}", table::render(&["PROGRAM", "STATE", "PLACE", ""], &rows));
    let rows: Vec<Vec<String>> = view
        .interfaces
        .iter()
        .map(|row| {
            let edge = if row.edge { "counted" } else { "not counted" };
            let rest = row.unexplained_bytes.map(|bytes| format!("{bytes} bytes unexplained"));
            vec![row.name.clone(), edge.to_owned(), row.why.clone(), rest.unwrap_or_default()]
        })
        .collect();
    print!("\n{}", table::render(&["INTERFACE", "", "WHY", ""], &rows));
    let attribution = &view.attribution;
    println!(
        "\nsockets: {} bytes over the edge, {} discarded before it, {} unexplained",
        attribution.socket, attribution.discarded, attribution.rest
    );
    let namespaces = &view.network_namespaces;
    println!(
        "\ncgroup {} with {} below; network namespaces: {} of {} seen, {} outside of the scope",
        view.cgroup.path,
        view.cgroup.descendants.map_or_else(|| "an unknown number".to_owned(), |number| number.to_string()),
        namespaces.watched,
        namespaces.seen,
        namespaces.outside
    );
    for row in &view.fill {
        println!("{}: {} of {}", row.what, row.used, row.capacity);
    }
    for row in &view.databases {
        println!("database {} ({}), built {}, {} days old", row.name, row.kind, row.built, row.age_days);
    }
    match view.clock.synchronized {
        Some(true) => println!("clock synchronized"),
        Some(false) => println!("clock NOT synchronized"),
        None => println!("clock: the kernel does not say whether it is synchronized"),
    }
    for loss in view.losses.iter().filter(|loss| loss.events > 0) {
        println!("loss: {} x{} ({})", loss.cause, loss.events, table::bytes(loss.bytes));
    }
}
