//! Two answers of the agent become rows with rates.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::state::View;
use crate::{
    app::{
        snapshot::{FlowRow, FlowsView, VolumeRow},
        status::StatusView,
    },
    record::harmless,
};

/// What the agent said at one moment.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The largest flows, and what goes with the table.
    pub flows: FlowsView,
    /// Verdict, coverage, episodes.
    pub status: StatusView,
}

/// How bad a row is; the worst of what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    Approved,
    /// Against policy, but no data: answers to a scanner and the like.
    NoData,
    Excepted,
    Violation,
}

impl Standing {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::NoData => "no data",
            Self::Excepted => "excepted",
            Self::Violation => "VIOLATION",
        }
    }

    fn of(verdict: &str, payload: u64) -> Self {
        match verdict {
            "approved" => Self::Approved,
            "excepted" => Self::Excepted,
            _ if payload == 0 => Self::NoData,
            _ => Self::Violation,
        }
    }
}

/// A line of a view.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// Neutralised, as all texts here.
    pub(super) name: String,
    /// Where, or what else there is to say.
    pub(super) detail: String,
    pub(super) standing: Standing,
    /// Wire bytes per second; none where it is not known.
    pub(super) rate: Option<u64>,
    pub(super) wire: u64,
    pub(super) payload: u64,
    /// Flows in it.
    pub(super) flows: u64,
}

/// The rows of a view.
pub(super) fn rows(view: View, now: &Sample, before: Option<&Sample>) -> Vec<Row> {
    match view {
        View::Violations => violations(&now.status),
        _ => {
            let rows = table(view, &now.flows);
            let seconds = before.map_or(0.0, |before| seconds(&before.flows, &now.flows));
            let earlier = before.map(|before| table(view, &before.flows)).unwrap_or_default();
            // Of a table that is cut, a row that was not there may just have become large enough.
            let is_whole = view == View::Countries || now.flows.flows.len() as u64 >= now.flows.rows;
            let finish = |(key, mut row): (Key, Row)| {
                let known = earlier.get(&key).map(|row| row.wire).or(is_whole.then_some(0));
                row.rate = known.filter(|_| seconds > 0.0).map(|known| per_second(row.wire, known, seconds));
                row
            };
            rows.into_iter().map(finish).collect()
        }
    }
}

/// Wire bytes per second of everything.
pub(super) fn total_rate(now: &Sample, before: Option<&Sample>) -> Option<u64> {
    let before = before?;
    let seconds = seconds(&before.flows, &now.flows);
    let (earlier, later) = (before.flows.totals.wire_bytes, now.flows.totals.wire_bytes);
    (seconds > 0.0).then(|| per_second(later, earlier, seconds))
}

fn per_second(now: u64, before: u64, seconds: f64) -> u64 {
    (now.saturating_sub(before) as f64 / seconds) as u64
}

/// By the agent's own clock: how long an answer was on its way does not matter.
fn seconds(before: &FlowsView, now: &FlowsView) -> f64 {
    let (Ok(before), Ok(now)) = (before.time.parse::<Timestamp>(), now.time.parse::<Timestamp>()) else {
        return 0.0;
    };
    (now.as_millisecond() - before.as_millisecond()) as f64 / 1_000.0
}

/// What makes two rows the same.
type Key = (String, String);

fn table(view: View, flows: &FlowsView) -> BTreeMap<Key, Row> {
    let mut table = BTreeMap::new();
    match view {
        View::Countries => {
            for class in &flows.classes {
                let standing = Standing::of(&class.verdict, class.volume.payload_bytes);
                add(
                    &mut table,
                    class.location.clone(),
                    standing.word().to_owned(),
                    standing,
                    class.volume,
                    0,
                );
            }
        }
        View::Owners => {
            for flow in &flows.flows {
                add(&mut table, flow.owner.label.clone(), String::new(), standing(flow), flow.volume, 1);
            }
        }
        View::Destinations | View::Violations => {
            for flow in &flows.flows {
                let arrow = match flow.initiator.as_str() {
                    "remote" => "<-",
                    "local" => "->",
                    _ => "--",
                };
                let name = format!("{arrow} {} {}/{}", flow.remote, flow.protocol, flow.service_port);
                add(&mut table, name, flow.location.clone(), standing(flow), flow.volume, 1);
            }
        }
    }
    table
}

fn standing(flow: &FlowRow) -> Standing {
    Standing::of(&flow.verdict, flow.volume.payload_bytes)
}

fn add(
    table: &mut BTreeMap<Key, Row>,
    name: String,
    detail: String,
    standing: Standing,
    volume: VolumeRow,
    flows: u64,
) {
    let (name, detail) = (harmless(&name), harmless(&detail));
    let row = table.entry((name.clone(), detail.clone())).or_insert(Row {
        name,
        detail,
        standing,
        rate: None,
        wire: 0,
        payload: 0,
        flows: 0,
    });
    row.standing = row.standing.max(standing);
    row.wire = row.wire.saturating_add(volume.wire_bytes);
    row.payload = row.payload.saturating_add(volume.payload_bytes);
    row.flows += flows;
}

fn violations(status: &StatusView) -> Vec<Row> {
    let row = |episode: &crate::app::status::EpisodeRow| Row {
        name: harmless(&format!("{} to {}", episode.owner, episode.place)),
        detail: harmless(&format!(
            "{} {} since {}",
            episode.severity,
            episode.kind,
            minute(&episode.first_seen)
        )),
        standing: if episode.kind == "attempt" { Standing::NoData } else { Standing::Violation },
        rate: None,
        wire: episode.wire_bytes,
        payload: 0,
        flows: 0,
    };
    status.episodes.iter().map(row).collect()
}

/// `11-29 21:29Z`: an episode is not a year old.
fn minute(time: &str) -> String {
    time.get(5..16).map_or_else(|| time.to_owned(), |time| format!("{}Z", time.replace('T', " ")))
}
