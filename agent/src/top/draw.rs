//! The state on a screen of any size.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Cell, Clear, Paragraph, Row as Cells, Table},
};

use super::{
    rows::{Row, Sample, Standing, total_rate},
    state::{State, View},
};
use crate::{record::harmless, table};

const HELP: [(&str, &str); 10] = [
    ("1 2 3 4, Tab", "owners, destinations, countries, violations"),
    ("s", "what comes first: rate, bytes, verdict, name"),
    ("/", "show only what contains a text; Enter keeps, Esc clears"),
    ("p, space", "pause, go on"),
    ("arrows, PgUp, PgDn, g", "scroll, back to the top"),
    ("q, Esc, Ctrl-C", "quit"),
    ("->  <-  --", "this host opened, the other side did, nobody knows"),
    ("VIOLATION", "data left against policy"),
    ("excepted", "an exception allows it"),
    ("no data", "against policy, but only handshakes and resets"),
];

/// Colours, or attributes only where colours are not wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint(pub(super) bool);

impl Paint {
    const fn colour(self, colour: Color) -> Style {
        if self.0 { Style::new().fg(colour) } else { Style::new() }
    }

    const fn standing(self, standing: Standing) -> Style {
        match standing {
            Standing::Violation => self.colour(Color::Red).add_modifier(Modifier::BOLD),
            Standing::Excepted => self.colour(Color::Yellow),
            Standing::NoData => self.colour(Color::DarkGray),
            Standing::Approved => Style::new(),
        }
    }
}

/// Draws everything. Rows that do not fit are counted.
pub(super) fn draw(frame: &mut Frame<'_>, state: &mut State, paint: Paint) {
    let [head, tabs, body, foot] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(header(state, paint)), head);
    frame.render_widget(Paragraph::new(views(state)), tabs);
    let (last, n_rows) = list(frame, body, state, paint);
    frame.render_widget(Paragraph::new(footer(state, last, n_rows, paint)), foot);
    if state.shows_help {
        help(frame);
    }
}

fn header(state: &State, paint: Paint) -> Vec<Line<'static>> {
    let Some(sample) = &state.latest else { return vec![Line::from("asking the agent...")] };
    let Sample { flows, status } = sample;
    let (word, colour) = match status.violations {
        0 => ("IN POLICY".to_owned(), Color::Green),
        1 => ("OUT OF POLICY: 1 violation is open".to_owned(), Color::Red),
        count => (format!("OUT OF POLICY: {count} violations are open"), Color::Red),
    };
    let trust = match status.coverage.as_str() {
        "covered" => Color::Green,
        "reduced" => Color::Yellow,
        _ => Color::Red,
    };
    let bold = Modifier::BOLD;
    let rate = total_rate(sample, state.before());
    let rate = rate.map_or_else(|| "-".to_owned(), |rate| format!("{}/s", table::bytes(rate)));
    let mut lines = vec![
        Line::from(vec![
            Span::styled(word, paint.colour(colour).add_modifier(bold)),
            Span::raw("  "),
            Span::styled(status.coverage.to_uppercase(), paint.colour(trust).add_modifier(bold)),
            Span::raw(format!("  {}", harmless(&status.host))),
        ]),
        Line::from(format!(
            "{rate} now, {} since {}; {} flows",
            table::bytes(flows.totals.wire_bytes),
            shorter(&flows.started),
            flows.rows
        )),
    ];
    let reason = status.reasons.first().map(|reason| format!("{}: {}", reason.part, reason.reason));
    lines.push(match (&state.trouble, reason) {
        (Some(trouble), _) => Line::styled(
            format!("NO ANSWER since {}: {}", shorter(&flows.time), harmless(trouble)),
            paint.colour(Color::Red).add_modifier(bold),
        ),
        (None, Some(reason)) => Line::styled(harmless(&reason), paint.colour(trust)),
        (None, None) => {
            let sinks = status.sinks.iter().filter(|sink| sink.state == "failing").count();
            match sinks {
                0 => Line::from(format!("policy {}", status.policies.join(", "))),
                count => Line::styled(
                    format!("{count} of {} sinks do not take records", status.sinks.len()),
                    paint.colour(Color::Yellow),
                ),
            }
        }
    });
    lines
}

/// Seconds are enough.
fn shorter(time: &str) -> String {
    time.get(..19).map_or_else(|| time.to_owned(), |time| format!("{}Z", time.replace('T', " ")))
}

fn views(state: &State) -> Line<'static> {
    let mut spans = Vec::new();
    for (number, (view, word)) in View::ALL.into_iter().enumerate() {
        let text = format!(" {} {word} ", number + 1);
        let style =
            if view == state.view { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        spans.push(Span::styled(text, style));
    }
    Line::from(spans)
}

/// Returns the number of the last row that is shown, and of all rows.
fn list(frame: &mut Frame<'_>, area: Rect, state: &mut State, paint: Paint) -> (usize, usize) {
    let rows = state.rows();
    let room = usize::from(area.height.saturating_sub(1));
    state.offset = state.offset.min(rows.len().saturating_sub(room));
    if rows.is_empty() {
        let nothing = match (state.view, state.filter.is_empty()) {
            (_, false) => "nothing contains the filter",
            (View::Violations, true) => "no violation is open",
            (_, true) => "nothing has left yet",
        };
        frame.render_widget(Paragraph::new(format!("\n  {nothing}")), area);
        return (0, 0);
    }
    let (titles, widths) = columns(state.view);
    let shown = rows.iter().skip(state.offset).take(room).map(|row| {
        let cells = cells(state.view, row).into_iter().map(Cell::from);
        Cells::new(cells).style(paint.standing(row.standing))
    });
    let header = Cells::new(titles.iter().map(|title| Cell::from(*title)))
        .style(Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED));
    frame.render_widget(Table::new(shown, widths).header(header).column_spacing(1), area);
    (rows.len().min(state.offset + room), rows.len())
}

/// Titles and widths; at 80 columns the name has what is left: 30 and more.
fn columns(view: View) -> (Vec<&'static str>, Vec<Constraint>) {
    use Constraint::{Fill, Length};
    match view {
        View::Owners => (
            vec!["     RATE", "     WIRE", "  PAYLOAD", "FLOWS", "VERDICT", "OWNER"],
            vec![Length(10), Length(9), Length(9), Length(5), Length(9), Fill(1)],
        ),
        View::Destinations => (
            vec!["     RATE", "     WIRE", "VERDICT", "LOCATION", "DESTINATION"],
            vec![Length(10), Length(9), Length(9), Fill(2), Fill(3)],
        ),
        View::Countries => (
            vec!["     RATE", "     WIRE", "  PAYLOAD", "VERDICT", "PLACE"],
            vec![Length(10), Length(9), Length(9), Length(9), Fill(1)],
        ),
        View::Violations => (vec!["     WIRE", "WHO AND WHERE", "WHAT"], vec![Length(9), Fill(2), Fill(3)]),
    }
}

/// The cells of a row, as text.
pub(super) fn cells(view: View, row: &Row) -> Vec<String> {
    let rate = row.rate.map_or_else(|| "-".to_owned(), |rate| format!("{}/s", table::bytes(rate)));
    let (rate, wire) = (format!("{rate:>10}"), format!("{:>9}", table::bytes(row.wire)));
    let payload = format!("{:>9}", table::bytes(row.payload));
    let verdict = row.standing.word().to_owned();
    match view {
        View::Owners => vec![rate, wire, payload, format!("{:>5}", row.flows), verdict, row.name.clone()],
        View::Destinations => vec![rate, wire, verdict, row.detail.clone(), row.name.clone()],
        View::Countries => vec![rate, wire, payload, verdict, row.name.clone()],
        View::Violations => vec![wire, row.name.clone(), row.detail.clone()],
    }
}

fn footer(state: &State, last: usize, n_rows: usize, paint: Paint) -> Line<'static> {
    if state.is_typing {
        return Line::from(format!("/{}_  (Enter keeps it, Esc clears it)", state.filter));
    }
    let mut spans = Vec::new();
    if state.is_paused {
        spans.push(Span::styled("PAUSED  ", paint.colour(Color::Yellow).add_modifier(Modifier::BOLD)));
    }
    let all = match (&state.latest, state.view) {
        (Some(sample), View::Violations) => {
            sample.status.violations.saturating_sub(sample.status.episodes.len() as u64)
        }
        (Some(sample), View::Owners | View::Destinations) => {
            sample.flows.rows.saturating_sub(sample.flows.flows.len() as u64)
        }
        _ => 0,
    };
    let more = if all > 0 { format!(" ({all} small ones are not in it)") } else { String::new() };
    let filter =
        if state.filter.is_empty() { String::new() } else { format!(", filter \"{}\"", state.filter) };
    spans.push(Span::raw(format!(
        "{} to {last} of {n_rows}{more}, by {}{filter}  ? help  q quit",
        (state.offset + 1).min(n_rows),
        state.order.word()
    )));
    Line::from(spans)
}

fn help(frame: &mut Frame<'_>) {
    let area = frame.area();
    let width = area.width.min(78);
    let height = area.height.min(HELP.len() as u16 + 2);
    let place = Rect { x: (area.width - width) / 2, y: (area.height - height) / 2, width, height };
    let mut lines = vec![
        Line::styled("homeport top: any key goes back", Style::new().add_modifier(Modifier::BOLD)),
        Line::from(""),
    ];
    lines.extend(HELP.iter().map(|(keys, what)| Line::from(format!("{keys:<22} {what}"))));
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines), place);
}
