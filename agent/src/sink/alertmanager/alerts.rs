//! Which alerts fire: a pure function of the records, in their order.
//!
//! An alert is a set of labels. Several episodes can have the same one: it fires while any of them is open. Labels
//! hold nothing that changes while an episode lasts but its severity, and nothing of which there are many: host,
//! policy, country, process, initiator. Everything else is an annotation.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    clock::WallTime,
    ledger::Entry,
    sink::select::{About, Selection},
};

/// Bytes of the longest label or annotation.
const MAX_VALUE_BYTES: usize = 1_024;

const ACTIVITY_CLOSE: u64 = 3;

/// What identifies an alert.
pub(super) type Labels = BTreeMap<String, String>;

/// What does not change.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// Origin of the ledger.
    pub(super) origin: String,
    pub(super) selection: Selection,
    /// For every alert.
    pub(super) labels: Vec<(String, String)>,
    /// How long an alert lives without us.
    pub(super) lifetime: Duration,
    pub(super) heartbeat: bool,
}

/// An episode that is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Episode {
    labels: Labels,
    annotations: BTreeMap<String, String>,
    /// Milliseconds since 1970.
    starts_at: i64,
    /// Of the latest record.
    index: u64,
}

/// An alert that ended lately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Resolved {
    episode: Episode,
    ended_at: i64,
}

/// What is kept between runs.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Snapshot {
    episodes: BTreeMap<String, Episode>,
    resolved: Vec<Resolved>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Alerts {
    rules: Rules,
    episodes: BTreeMap<String, Episode>,
    resolved: BTreeMap<Labels, Resolved>,
    /// When each alert began or ended, as a version.
    changed: BTreeMap<Labels, u64>,
    version: u64,
    /// Whose host this is, once a record has said it.
    host: Option<String>,
}

/// An alert as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Alert {
    /// JSON as the API takes it.
    pub(super) body: Value,
    /// The record behind it; none for the heartbeat.
    pub(super) index: Option<u64>,
}

impl Alerts {
    /// Goes on from a snapshot; from nothing where it cannot be read.
    pub(super) fn restore(rules: Rules, snapshot: Value) -> Self {
        let snapshot: Snapshot = serde_json::from_value(snapshot).unwrap_or_default();
        let mut alerts = Self {
            rules,
            episodes: snapshot.episodes,
            resolved: snapshot
                .resolved
                .into_iter()
                .map(|resolved| (resolved.episode.labels.clone(), resolved))
                .collect(),
            changed: BTreeMap::new(),
            version: 1,
            host: None,
        };
        let known: Vec<Labels> = alerts
            .episodes
            .values()
            .map(|episode| episode.labels.clone())
            .chain(alerts.resolved.keys().cloned())
            .collect();
        alerts.host = known.iter().find_map(|labels| labels.get("host").cloned());
        for labels in known {
            alerts.changed.insert(labels, 1);
        }
        alerts
    }

    pub(super) fn snapshot(&self) -> Value {
        json!({ "episodes": self.episodes, "resolved": self.resolved.values().collect::<Vec<_>>() })
    }

    /// Grows when an alert begins or ends.
    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    /// Alerts that fire.
    pub(super) fn n_firing(&self) -> usize {
        self.firing().len()
    }

    /// Takes a record.
    pub(super) fn take(&mut self, entry: &Entry) {
        let Ok(record) = serde_json::from_str::<Value>(&entry.record) else { return };
        match record["class_uid"].as_u64() {
            Some(2004) => self.take_finding(entry.index, &record),
            Some(6002) => self.take_lifecycle(&record),
            _ => {}
        }
        if let Some(host) = record.pointer("/device/hostname").and_then(Value::as_str)
            && self.host.as_deref() != Some(host)
        {
            self.host = Some(host.to_owned());
        }
    }

    fn take_finding(&mut self, index: u64, record: &Value) {
        let Some(uid) = record.pointer("/finding_info/uid").and_then(Value::as_str) else { return };
        let now = record.pointer("/metadata/logged_time").and_then(Value::as_i64).unwrap_or_default();
        let is_open = record["activity_id"].as_u64() != Some(ACTIVITY_CLOSE);
        match self.episode(index, record).filter(|_| is_open) {
            Some(mut episode) => {
                let was_firing = self.is_firing(&episode.labels);
                // An update of an episode that is known does not begin it anew.
                if let Some(known) = self.episodes.get(uid) {
                    episode.starts_at = episode.starts_at.min(known.starts_at);
                }
                let labels = episode.labels.clone();
                let before = self.episodes.insert(uid.to_owned(), episode);
                if !was_firing {
                    self.resolved.remove(&labels);
                    self.change(labels.clone());
                }
                if let Some(before) = before.filter(|before| before.labels != labels) {
                    self.ended(before, now);
                }
            }
            None => {
                if let Some(mut episode) = self.episodes.remove(uid) {
                    // The last word about it.
                    if let Some(last) = self.episode(index, record) {
                        episode.annotations = last.annotations;
                        episode.index = index;
                    }
                    self.ended(episode, now);
                }
            }
        }
    }

    /// An agent that begins anew knows nothing of what the one before it had open, and opens it again when it goes
    /// on.
    fn take_lifecycle(&mut self, record: &Value) {
        let ours = &record["unmapped"]["homeport"];
        if ours["event"] != "start" || ours.get("resumed").is_some() {
            return;
        }
        let now = record.pointer("/metadata/logged_time").and_then(Value::as_i64).unwrap_or_default();
        for (_, episode) in std::mem::take(&mut self.episodes) {
            self.ended(episode, now);
        }
    }

    fn ended(&mut self, episode: Episode, now: i64) {
        if self.is_firing(&episode.labels) {
            return;
        }
        let labels = episode.labels.clone();
        let ended_at = now.max(episode.starts_at.saturating_add(1));
        self.resolved.insert(labels.clone(), Resolved { episode, ended_at });
        self.change(labels);
    }

    fn change(&mut self, labels: Labels) {
        self.version += 1;
        self.changed.insert(labels, self.version);
    }

    fn is_firing(&self, labels: &Labels) -> bool {
        self.episodes.values().any(|episode| episode.labels == *labels)
    }

    /// By labels: since when, and the latest word.
    fn firing(&self) -> BTreeMap<&Labels, (i64, &Episode)> {
        let mut firing: BTreeMap<&Labels, (i64, &Episode)> = BTreeMap::new();
        for episode in self.episodes.values() {
            firing
                .entry(&episode.labels)
                .and_modify(|(starts_at, latest)| {
                    *starts_at = episode.starts_at.min(*starts_at);
                    if episode.index > latest.index {
                        *latest = episode;
                    }
                })
                .or_insert((episode.starts_at, episode));
        }
        firing
    }

    /// What a member should be told that has everything up to the version `known`: all of it, or what changed.
    pub(super) fn news(&mut self, known: Option<u64>, now: WallTime) -> Vec<Alert> {
        let now = now.unix_millis();
        let lifetime = i64::try_from(self.rules.lifetime.as_millis()).unwrap_or(i64::MAX);
        // Members that have not heard of an end by then have ended it themselves.
        let over: Vec<Labels> = self
            .resolved
            .iter()
            .filter(|(_, resolved)| resolved.ended_at.saturating_add(lifetime) < now)
            .map(|(labels, _)| labels.clone())
            .collect();
        for labels in over {
            self.resolved.remove(&labels);
            self.changed.remove(&labels);
        }
        let is_news = |labels: &Labels| {
            known.is_none_or(|known| self.changed.get(labels).is_none_or(|version| *version > known))
        };
        let ends_at = now.saturating_add(lifetime);
        let mut alerts: Vec<Alert> = self
            .firing()
            .into_iter()
            .filter(|(labels, _)| is_news(labels))
            .map(|(labels, (starts_at, latest))| Alert {
                body: body(labels, &latest.annotations, starts_at, ends_at),
                index: Some(latest.index),
            })
            .collect();
        alerts.extend(self.resolved.iter().filter(|(labels, _)| is_news(labels)).map(
            |(labels, resolved)| {
                let episode = &resolved.episode;
                Alert {
                    body: body(labels, &episode.annotations, episode.starts_at, resolved.ended_at.min(now)),
                    index: Some(episode.index),
                }
            },
        ));
        if let (true, None, Some(host)) = (self.rules.heartbeat, known, &self.host) {
            let mut labels = self.labels("HomeportHeartbeat", host, "none");
            labels.insert("origin".to_owned(), self.rules.origin.clone());
            let summary = format!("homeport watches {host}; no news is bad news");
            let annotations = BTreeMap::from([("summary".to_owned(), summary)]);
            alerts.push(Alert { body: body(&labels, &annotations, now, ends_at), index: None });
        }
        alerts
    }

    fn labels(&self, name: &str, host: &str, severity: &str) -> Labels {
        let own = [("alertname", name), ("host", host), ("severity", severity)];
        let given = self.rules.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        // Ours win: an operator's label must not make two alerts one.
        given.chain(own).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// None for what is no alert: use of an exception, a self-test, and what the operator does not want here.
    fn episode(&self, index: u64, record: &Value) -> Option<Episode> {
        let at = |pointer: &str| record.pointer(pointer).and_then(text);
        let ours = |key: &str| record["unmapped"]["homeport"].pointer(key).and_then(text);
        let (about, name) = match ours("/kind")?.as_str() {
            "transfer" | "attempt" => (About::Findings, "EgressResidencyViolation"),
            "coverage" => (About::Coverage, "EgressCoverageGap"),
            _ => return None,
        };
        let severity_id = record["severity_id"].as_u64().unwrap_or(u64::MAX);
        let selection = &self.rules.selection;
        if !selection.about.contains(&about) || severity_id < u64::from(selection.min_severity) {
            return None;
        }
        let host = at("/device/hostname").unwrap_or_default();
        let severity = at("/severity").unwrap_or_default().to_lowercase();
        let mut labels = self.labels(name, &host, &severity);
        let mut label = |name: &str, value: Option<String>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                labels.insert(name.to_owned(), shortened(value));
            }
        };
        label("kind", ours("/kind"));
        if about == About::Findings {
            label("policy", at("/policy/name"));
            label("country", ours("/place/country").or_else(|| ours("/place/kind")));
            label("site", ours("/place/site"));
            label("process", ours("/owner/label"));
            label("initiator", ours("/initiator"));
            label("action", at("/action").map(|action| action.to_lowercase()));
        } else {
            label("subject", ours("/subject"));
            label("place", ours("/place"));
            label("program", ours("/program"));
        }
        let first = |pointer: &str| record["evidences"].get(0)?.pointer(pointer).and_then(text);
        let mut annotations = BTreeMap::new();
        let record_id = format!("{}#{index}", self.rules.origin);
        for (name, value) in [
            ("summary", at("/finding_info/title")),
            ("description", at("/message")),
            ("reason", at("/finding_info/desc")),
            ("episode", at("/finding_info/uid")),
            ("record", Some(record_id)),
            ("record_uid", at("/metadata/uid")),
            ("rule", ours("/rule")),
            ("exception", ours("/exception")),
            ("policy_version", at("/policy/version")),
            ("bytes_wire", ours("/bytes/wire")),
            ("bytes_payload", ours("/bytes/payload")),
            ("recipient_ip", first("/dst_endpoint/ip")),
            ("recipient_port", first("/dst_endpoint/port")),
            ("recipient_asn", first("/dst_endpoint/autonomous_system/number")),
            ("recipient_as_name", first("/dst_endpoint/autonomous_system/name")),
            ("geo_database", first("/dst_endpoint/location/provider")),
            ("user", first("/process/user/name")),
            ("container", first("/container/uid")),
        ] {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                annotations.insert(name.to_owned(), shortened(value));
            }
        }
        let starts_at = record.pointer("/finding_info/first_seen_time").and_then(Value::as_i64)?;
        Some(Episode { labels, annotations, starts_at, index })
    }
}

fn body(labels: &Labels, annotations: &BTreeMap<String, String>, starts_at: i64, ends_at: i64) -> Value {
    let time = |millis: i64| WallTime(millis.saturating_mul(1_000_000)).to_string();
    json!({
        "labels": labels,
        "annotations": annotations,
        // The API refuses an alert that ends before it starts; clocks step.
        "startsAt": time(starts_at.min(ends_at.saturating_sub(1))),
        "endsAt": time(ends_at),
    })
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn shortened(mut value: String) -> String {
    if value.len() > MAX_VALUE_BYTES {
        let end = (0..=MAX_VALUE_BYTES).rev().find(|end| value.is_char_boundary(*end)).unwrap_or(0);
        value.truncate(end);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: &str = include_str!("../../record/golden/finding-open.json");
    const CLOSE: &str = include_str!("../../record/golden/finding-close.json");
    const EXCEPTION: &str = include_str!("../../record/golden/finding-exception.json");
    const BYPASS: &str = include_str!("../../record/golden/coverage-bypass.json");
    const START: &str = include_str!("../../record/golden/lifecycle-start.json");

    /// When the golden records were made.
    const NOW: i64 = 1_772_323_290_123;

    fn rules() -> Rules {
        Rules {
            origin: "homeport/h1".to_owned(),
            selection: Selection::default(),
            labels: vec![("cluster".to_owned(), "c1".to_owned())],
            lifetime: Duration::from_secs(180),
            heartbeat: false,
        }
    }

    fn alerts(records: &[&str]) -> Alerts {
        let mut alerts = Alerts::restore(rules(), Value::Null);
        take(&mut alerts, records);
        alerts
    }

    fn take(alerts: &mut Alerts, records: &[&str]) {
        for (index, record) in records.iter().enumerate() {
            alerts.take(&Entry { index: index as u64, record: (*record).into() });
        }
    }

    fn at(millis: i64) -> WallTime {
        WallTime(millis * 1_000_000)
    }

    fn changed(record: &str, change: impl Fn(&mut Value)) -> String {
        let mut value = serde_json::from_str(record).expect("JSON");
        change(&mut value);
        value.to_string()
    }

    #[test]
    fn a_violation_fires_with_labels_that_stay_and_a_time_to_live() {
        let sent = alerts(&[OPEN]).news(None, at(NOW));
        let [alert] = sent.as_slice() else { panic!("{sent:?}") };
        assert_eq!(
            alert.body["labels"],
            json!({
                "alertname": "EgressResidencyViolation", "host": "storage-1", "severity": "high",
                "cluster": "c1", "kind": "transfer", "policy": "storage", "country": "DE",
                "process": "nginx.service/nginx", "initiator": "remote", "action": "observed",
            })
        );
        assert_eq!(alert.body["startsAt"], "2026-03-01T00:00:10.000Z");
        assert_eq!(alert.body["endsAt"], "2026-03-01T00:04:30.123Z");
        assert_eq!(alert.body["annotations"]["record"], "homeport/h1#0");
        assert_eq!(alert.body["annotations"]["recipient_asn"], "64496");
    }

    #[test]
    fn a_closed_episode_is_resolved_once_for_each_member_and_then_forgotten() {
        let mut alerts = alerts(&[OPEN]);
        let known = alerts.version();
        assert_eq!(alerts.news(Some(known), at(NOW)), []);
        let close = changed(CLOSE, |record| {
            record["finding_info"]["uid"] = "e42f67da43f6ef6c99c33044019b4dee".into()
        });
        take(&mut alerts, &[&close]);
        assert_eq!(alerts.n_firing(), 0);
        let sent = alerts.news(Some(known), at(NOW + 5));
        assert_eq!(sent.len(), 1, "{sent:?}");
        assert_eq!(sent[0].body["endsAt"], "2026-03-01T00:01:30.123Z");
        assert_eq!(alerts.news(Some(alerts.version()), at(NOW + 5)), []);
        assert_eq!(alerts.news(None, at(NOW + 180_200)), []);
    }

    #[test]
    fn episodes_of_the_same_labels_are_one_alert_until_the_last_one_ends() {
        let other = changed(OPEN, |record| record["finding_info"]["uid"] = "other".into());
        let close = changed(&other, |record| record["activity_id"] = 3.into());
        let mut alerts = alerts(&[OPEN, &other]);
        assert_eq!(alerts.news(None, at(NOW)).len(), 1);
        let version = alerts.version();
        take(&mut alerts, &[&close]);
        assert_eq!((alerts.version(), alerts.n_firing()), (version, 1));
    }

    #[test]
    fn a_higher_severity_replaces_the_alert() {
        let worse = changed(OPEN, |record| {
            record["activity_id"] = 2.into();
            record["severity"] = "Critical".into();
        });
        let sent = alerts(&[OPEN, &worse]).news(None, at(NOW));
        let severities: Vec<&Value> = sent.iter().map(|alert| &alert.body["labels"]["severity"]).collect();
        assert_eq!(severities, ["critical", "high"]);
        assert!(sent[0].body["endsAt"].as_str() > sent[1].body["endsAt"].as_str());
    }

    #[test]
    fn use_of_an_exception_is_no_alert_and_a_gap_of_coverage_is_one() {
        assert_eq!(alerts(&[EXCEPTION]).news(None, at(NOW)), []);
        let sent = alerts(&[BYPASS]).news(None, at(NOW));
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].body["labels"]["alertname"], "EgressCoverageGap");
        assert_eq!(sent[0].body["labels"]["place"], "eth0");
    }

    #[test]
    fn a_snapshot_holds_all_of_it() {
        let mut before = alerts(&[OPEN, BYPASS]);
        let close = changed(BYPASS, |record| record["activity_id"] = 3.into());
        take(&mut before, &[&close]);
        let mut after = Alerts::restore(rules(), before.snapshot());
        assert_eq!(after.news(None, at(NOW)), before.news(None, at(NOW)));
        assert_eq!(after.news(Some(0), at(NOW)).len(), 2);
        let mut none = Alerts::restore(rules(), json!({ "episodes": 7 }));
        assert_eq!(none.news(None, at(NOW)), []);
    }

    #[test]
    fn an_agent_that_begins_anew_ends_what_was_open_and_one_that_goes_on_does_not() {
        let mut anew = alerts(&[OPEN]);
        let fresh = changed(START, |record| {
            if let Value::Object(ours) = &mut record["unmapped"]["homeport"] {
                ours.remove("resumed");
            }
        });
        take(&mut anew, &[&fresh]);
        assert_eq!(anew.n_firing(), 0);
        let mut resumed = alerts(&[OPEN]);
        let on = changed(START, |record| record["unmapped"]["homeport"]["resumed"] = json!({ "epoch": 1 }));
        take(&mut resumed, &[&on]);
        assert_eq!(resumed.n_firing(), 1);
    }

    #[test]
    fn the_heartbeat_goes_with_everything_and_with_nothing_else() {
        let mut alerts = Alerts::restore(Rules { heartbeat: true, ..rules() }, Value::Null);
        take(&mut alerts, &[START]);
        let sent = alerts.news(None, at(NOW));
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].body["labels"]["alertname"], "HomeportHeartbeat");
        assert_eq!(alerts.news(Some(1), at(NOW)), []);
    }
}
