//! The rows as plain text, for pipes.

use super::{
    rows::{Sample, total_rate},
    state::{Order, State, View},
};
use crate::table;

/// One screen of plain text, from two answers of the agent.
pub fn once(view: View, order: Order, filter: &str, before: Sample, now: Sample) -> String {
    let mut state = State::new(view, order, filter.to_owned());
    let rate = total_rate(&now, Some(&before)).unwrap_or(0);
    let violations = match now.status.violations {
        1 => "1 violation".to_owned(),
        count => format!("{count} violations"),
    };
    let head = format!(
        "{violations} open, {}; {}/s now, {} since {}\n\n",
        now.status.coverage,
        table::bytes(rate),
        table::bytes(now.flows.totals.wire_bytes),
        now.flows.started
    );
    state.take(Ok(before));
    state.take(Ok(now));
    let header: &[&str] = match view {
        View::Owners => &["RATE", "WIRE", "PAYLOAD", "FLOWS", "VERDICT", "OWNER"],
        View::Destinations => &["RATE", "WIRE", "VERDICT", "LOCATION", "DESTINATION"],
        View::Countries => &["RATE", "WIRE", "PAYLOAD", "VERDICT", "PLACE"],
        View::Violations => &["WIRE", "WHO AND WHERE", "WHAT"],
    };
    let rows: Vec<Vec<String>> = state.rows().iter().map(|row| super::draw::cells(view, row)).collect();
    head + &table::render(header, &rows)
}
