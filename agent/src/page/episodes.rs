//! Episodes as the page shows them, made of finding records.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;

use super::history::PlaceKey;

/// Episodes that are remembered. Beyond it the one that ended first is forgotten; open ones go last.
pub const MAX_EPISODES: usize = 1_000;

/// One episode: a row of `/api/v1/episodes`, and the data of an `episode` event.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "documented in agent/docs/PAGE.md")]
pub struct EpisodeRow {
    pub id: String,
    pub kind: String,
    pub open: bool,
    pub severity: String,
    pub severity_id: u64,
    pub title: String,
    pub rule: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    pub place: PlaceKey,
    pub owner: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initiator: Option<String>,
    pub wire_bytes: u64,
    pub payload_bytes: u64,
    pub first_seen: i64,
    pub last_seen: i64,
}

/// All that is told of an episode: `/api/v1/episodes/ID`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "documented in agent/docs/PAGE.md")]
pub struct EpisodeView {
    pub schema: u32,
    #[serde(flatten)]
    pub row: EpisodeRow,
    pub reason: String,
    pub message: String,
    pub process: Option<ProcessRow>,
    pub unit: Option<String>,
    pub container: Option<String>,
    pub cgroup: Option<String>,
    pub owner_quality: Option<String>,
    pub processes: Value,
    pub destinations: Value,
    pub destination_list: Vec<DestinationRow>,
    pub updates: u64,
    pub transition: String,
    pub transition_reason: Option<String>,
    pub pre_existing: bool,
    pub exception: Option<String>,
    pub policy_hash: Option<String>,
    pub losses: Value,
    pub suspects: Value,
    pub record: String,
    pub entries: Option<Entries>,
}

/// The first process.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "documented in agent/docs/PAGE.md")]
pub struct ProcessRow {
    pub pid: Option<u64>,
    pub exe: Option<String>,
    pub command_line: Option<String>,
    pub user: Option<String>,
}

/// One destination, with the evidence for where it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "documented in agent/docs/PAGE.md")]
pub struct DestinationRow {
    pub ip: String,
    pub port: Option<u64>,
    pub location: Option<String>,
    pub source: Option<String>,
    pub prefix: Option<String>,
    pub database: Option<String>,
    pub database_built: Option<String>,
    pub wire_bytes: u64,
}

/// Places of its first and its latest record in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "documented in agent/docs/PAGE.md")]
pub struct Entries {
    pub first: u64,
    pub last: u64,
}

impl Entries {
    fn join(known: Option<Self>, entry: Option<u64>) -> Option<Self> {
        let Some(entry) = entry else { return known };
        let known = known.unwrap_or(Self { first: entry, last: entry });
        Some(Self { first: known.first.min(entry), last: known.last.max(entry) })
    }
}

/// How things stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "documented in agent/docs/PAGE.md")]
pub struct Standing {
    pub open_violations: u64,
    pub violations: u64,
    pub violating_bytes: u64,
    pub open_attempts: u64,
    pub exceptions_in_use: u64,
    pub open_gaps: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Episodes {
    known: HashMap<String, Known>,
    revision: u64,
}

#[derive(Debug)]
struct Known {
    view: EpisodeView,
    revision: u64,
    /// Number of the record that `view` is made of.
    sequence: u64,
}

impl Episodes {
    /// Takes a finding record; `entry` is its place in a ledger that signs. An older one than the latest that is known
    /// tells no more than its place. False for what is no episode.
    pub fn take(&mut self, record: &Value, entry: Option<u64>) -> bool {
        let Some(mut view) = read(record) else { return false };
        let sequence = record.pointer("/metadata/sequence").and_then(Value::as_u64).unwrap_or(0);
        self.revision += 1;
        let revision = self.revision;
        let known = self.known.get_mut(&view.row.id);
        let entries = Entries::join(known.as_ref().and_then(|known| known.view.entries), entry);
        if let Some(known) = known
            && sequence < known.sequence
        {
            known.view.entries = entries;
            return true;
        }
        view.entries = entries;
        self.known.insert(view.row.id.clone(), Known { view, revision, sequence });
        if self.known.len() > MAX_EPISODES {
            let key = |known: &Known| (known.view.row.open, known.view.row.last_seen, known.revision);
            let oldest = self.known.iter().min_by_key(|(_, known)| key(known)).map(|(id, _)| id.clone());
            if let Some(id) = oldest {
                self.known.remove(&id);
            }
        }
        true
    }

    /// A record that is known is at this place of the ledger.
    pub fn place(&mut self, record: &Value, entry: Option<u64>) {
        let id = record.pointer("/finding_info/uid").and_then(Value::as_str);
        if let Some(known) = id.and_then(|id| self.known.get_mut(id)) {
            known.view.entries = Entries::join(known.view.entries, entry);
        }
    }

    /// Counts changes.
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// What changed after `revision`, in the order of changes.
    pub fn changed_since(&self, revision: u64) -> Vec<(u64, EpisodeRow)> {
        let mut changed: Vec<_> = self
            .known
            .values()
            .filter(|known| known.revision > revision)
            .map(|known| (known.revision, known.view.row.clone()))
            .collect();
        changed.sort_by_key(|(revision, _)| *revision);
        changed
    }

    /// All rows, the latest first.
    pub fn rows(&self) -> Vec<EpisodeRow> {
        let mut rows: Vec<_> = self.known.values().map(|known| known.view.row.clone()).collect();
        rows.sort_by(|a, b| (b.open, b.last_seen, &b.id).cmp(&(a.open, a.last_seen, &a.id)));
        rows
    }

    /// One episode.
    pub fn get(&self, id: &str) -> Option<EpisodeView> {
        self.known.get(id).map(|known| known.view.clone())
    }

    /// What counts since `since`, in milliseconds since 1970.
    pub fn standing(&self, since: i64) -> Standing {
        let mut standing = Standing::default();
        for EpisodeRow { kind, open, last_seen, wire_bytes, .. } in
            self.known.values().map(|known| &known.view.row)
        {
            match kind.as_str() {
                "transfer" if *open || *last_seen >= since => {
                    standing.violations += 1;
                    standing.open_violations += u64::from(*open);
                    standing.violating_bytes = standing.violating_bytes.saturating_add(*wire_bytes);
                }
                "attempt" => standing.open_attempts += u64::from(*open),
                "exception" => standing.exceptions_in_use += u64::from(*open),
                "coverage" => standing.open_gaps += u64::from(*open),
                _ => {}
            }
        }
        standing
    }
}

fn read(record: &Value) -> Option<EpisodeView> {
    let text = |path: &str| record.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let number = |path: &str| record.pointer(path).and_then(Value::as_u64);
    let extra = record.pointer("/unmapped/homeport")?;
    let kind = text("/unmapped/homeport/kind")?;
    if kind == "self-test" {
        return None;
    }
    let is_coverage = kind == "coverage";
    let place = match is_coverage {
        true => {
            PlaceKey { kind: "interface".to_owned(), country: None, site: text("/unmapped/homeport/place") }
        }
        false => PlaceKey::read(extra.get("place").unwrap_or(&Value::Null)),
    };
    let bytes = |name: &str| number(&format!("/unmapped/homeport/bytes/{name}")).unwrap_or(0);
    let residual = record.pointer("/unmapped/homeport/residual_bytes").and_then(Value::as_i64);
    let seen = |name: &str| record.pointer(&format!("/finding_info/{name}")).and_then(Value::as_i64);
    let transition = text("/unmapped/homeport/transition")?;
    let row = EpisodeRow {
        id: text("/finding_info/uid")?,
        open: transition != "close",
        severity: text("/severity").unwrap_or_default().to_lowercase(),
        severity_id: number("/severity_id").unwrap_or(0),
        title: text("/finding_info/title").unwrap_or_default(),
        rule: text("/unmapped/homeport/rule")
            .or_else(|| text("/unmapped/homeport/subject"))
            .unwrap_or_default(),
        policy: text("/policy/name"),
        place,
        owner: text("/unmapped/homeport/owner/label").unwrap_or_default(),
        initiator: text("/unmapped/homeport/initiator"),
        wire_bytes: match is_coverage {
            true => residual.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0),
            false => bytes("wire"),
        },
        payload_bytes: bytes("payload"),
        first_seen: seen("first_seen_time").unwrap_or(0),
        last_seen: seen("last_seen_time").unwrap_or(0),
        kind,
    };
    let evidence = record.pointer("/evidences/0");
    let of_process = |path: &str| evidence.and_then(|evidence| evidence.pointer(path));
    let process = of_process("/process").map(|_| ProcessRow {
        pid: of_process("/process/pid").and_then(Value::as_u64),
        exe: of_process("/process/file/path").and_then(Value::as_str).map(str::to_owned),
        command_line: of_process("/process/cmd_line").and_then(Value::as_str).map(str::to_owned),
        user: of_process("/process/user/name")
            .or_else(|| of_process("/process/user/uid"))
            .and_then(Value::as_str)
            .map(str::to_owned),
    });
    Some(EpisodeView {
        schema: super::SCHEMA,
        reason: text("/unmapped/homeport/reason").or_else(|| text("/finding_info/desc")).unwrap_or_default(),
        message: text("/message").unwrap_or_default(),
        process,
        unit: text("/unmapped/homeport/owner/unit"),
        container: text("/unmapped/homeport/owner/container"),
        cgroup: text("/unmapped/homeport/owner/cgroup"),
        owner_quality: text("/unmapped/homeport/owner/quality"),
        processes: extra.get("processes").cloned().unwrap_or(Value::Null),
        destinations: extra.get("destinations").cloned().unwrap_or(Value::Null),
        destination_list: destinations(record, extra),
        updates: number("/unmapped/homeport/updates").unwrap_or(0),
        transition,
        transition_reason: text("/unmapped/homeport/transition_reason"),
        pre_existing: extra.get("pre_existing").and_then(Value::as_bool).unwrap_or(false),
        exception: text("/unmapped/homeport/exception"),
        policy_hash: text("/unmapped/homeport/policy/hash"),
        losses: extra.get("losses").cloned().unwrap_or(Value::Null),
        suspects: extra.get("suspects").cloned().unwrap_or(Value::Null),
        record: text("/metadata/uid").unwrap_or_default(),
        entries: None,
        row,
    })
}

fn destinations(record: &Value, extra: &Value) -> Vec<DestinationRow> {
    let list = extra.get("destination_list").and_then(Value::as_array).into_iter().flatten();
    let evidences = record.get("evidences").and_then(Value::as_array);
    list.enumerate()
        .map(|(idx, destination)| {
            let text = |path: &str| destination.pointer(path).and_then(Value::as_str).map(str::to_owned);
            let evidence = evidences.and_then(|evidences| evidences.get(idx));
            DestinationRow {
                ip: text("/ip").unwrap_or_default(),
                port: evidence
                    .and_then(|evidence| evidence.pointer("/dst_endpoint/port"))
                    .and_then(Value::as_u64),
                location: text("/geo/location"),
                source: text("/geo/source"),
                prefix: text("/geo/prefix"),
                database: text("/geo/database/name"),
                database_built: text("/geo/database/built"),
                wire_bytes: destination.pointer("/bytes/wire").and_then(Value::as_u64).unwrap_or(0),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden(name: &str) -> Value {
        let text = match name {
            "open" => include_str!("../record/golden/finding-open.json"),
            "close" => include_str!("../record/golden/finding-close.json"),
            "exception" => include_str!("../record/golden/finding-exception.json"),
            _ => include_str!("../record/golden/coverage-bypass.json"),
        };
        serde_json::from_str(text).expect("a record")
    }

    #[test]
    fn findings_are_read_as_they_are_written() {
        let mut episodes = Episodes::default();
        assert!(episodes.take(&golden("open"), Some(41)));
        let rows = episodes.rows();
        assert_eq!(rows.len(), 1);
        let EpisodeRow { kind, open, rule, place, owner, wire_bytes, .. } = &rows[0];
        assert_eq!((kind.as_str(), *open, rule.as_str()), ("transfer", true, "not-approved"));
        assert_eq!((place.country.as_deref(), owner.as_str()), (Some("DE"), "nginx.service/nginx"));
        assert_eq!(*wire_bytes, 1500);
        let view = episodes.get(&rows[0].id).expect("known");
        assert_eq!(view.destination_list[0].prefix.as_deref(), Some("203.0.113.0/24"));
        assert_eq!(view.destination_list[0].port, Some(50000));
        assert_eq!(view.entries, Some(Entries { first: 41, last: 41 }));
        assert_eq!(view.process.and_then(|process| process.pid), Some(4242));

        assert!(episodes.take(&golden("close"), Some(43)));
        let view = episodes.get(&rows[0].id).expect("known");
        assert!(!view.row.open);
        assert_eq!(view.entries, Some(Entries { first: 41, last: 43 }));
        assert_eq!(episodes.changed_since(1).len(), 1);
        assert!(episodes.changed_since(2).is_empty());
    }

    #[test]
    fn only_data_against_policy_makes_a_violation() {
        let mut episodes = Episodes::default();
        for name in ["open", "exception", "bypass"] {
            assert!(episodes.take(&golden(name), None), "{name}");
        }
        let standing = episodes.standing(0);
        assert_eq!((standing.open_violations, standing.violations), (1, 1));
        assert_eq!((standing.exceptions_in_use, standing.open_gaps), (1, 1));
        episodes.take(&golden("close"), None);
        assert_eq!(episodes.standing(0).open_violations, 0);
        assert_eq!(episodes.standing(0).violations, 1);
        assert_eq!(episodes.standing(i64::MAX).violations, 0);
    }

    #[test]
    fn open_episodes_are_forgotten_last() {
        let mut episodes = Episodes::default();
        let mut record = golden("open");
        episodes.take(&record, None);
        let kept = record["finding_info"]["uid"].as_str().expect("an id").to_owned();
        record["unmapped"]["homeport"]["transition"] = "close".into();
        record["finding_info"]["last_seen_time"] = 1_900_000_000_000_i64.into();
        for number in 0..MAX_EPISODES + 10 {
            record["finding_info"]["uid"] = number.to_string().into();
            episodes.take(&record, None);
        }
        assert_eq!(episodes.rows().len(), MAX_EPISODES);
        assert!(episodes.get(&kept).is_some());
        assert!(episodes.get("0").is_none());
    }
}
