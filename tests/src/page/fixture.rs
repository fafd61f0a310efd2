//! A synthetic agent behind the real page: what it says is made up, how it is said is not.
//!
//! Records are those that the agent's own tests compare with its code (`agent/src/record/golden`), with other values.

use std::{io, net::SocketAddr, sync::Arc};

use anyhow::Result;
use homeport::{
    app::{
        coverage::CoverageView,
        overview::{CheckpointRow, ExceptionRow, ListRow, OverviewView, PolicyRow, SinkRow, SiteRow},
        snapshot::FlowsView,
    },
    clock::WallTime,
    geo::CountryCode,
    page::{self, Live, Look, Looking, Ring, Server, Settings},
};
use serde_json::{Value, json};

const OPEN: &str = include_str!("../../../agent/src/record/golden/finding-open.json");
const INTERVAL: &str = include_str!("../../../agent/src/record/golden/interval.json");

/// How much happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Nothing against policy.
    Calm,
    /// A few violations, one of them open.
    Violation,
    /// 500 flows, 100 countries, 1,000 violations.
    Large,
}

/// A page with a synthetic agent.
pub struct Fixture {
    server: Server,
    /// Where records of the synthetic agent go.
    pub records: Arc<Ring>,
    scale: Scale,
}

struct Synthetic {
    scale: Scale,
}

impl Live for Synthetic {
    fn look(&self, coverage: bool) -> Looking<'_> {
        let now = WallTime::now();
        let look = || -> Result<Look> {
            Ok(Look {
                flows: flows(self.scale, now)?,
                coverage: if coverage { Some(covered(self.scale, now)?) } else { None },
                overview: overview(),
            })
        };
        let look = look().unwrap_or_else(|error| panic!("the fixture is as the agent has it: {error:#}"));
        Box::pin(std::future::ready(Some(look)))
    }
}

impl Fixture {
    /// Serves it on a free port, with the changes that `change` makes to the settings.
    ///
    /// # Errors
    ///
    /// When it cannot be served.
    pub fn serve(scale: Scale, change: impl FnOnce(&mut Settings)) -> io::Result<Self> {
        let mut settings = Settings {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            token_file: None,
            tls: None,
            host_names: Vec::new(),
        };
        change(&mut settings);
        let records = Arc::new(Ring::default());
        // A ledger whose records are in memory, and no run beside it.
        let ledger: Arc<dyn homeport::ledger::Source> = Arc::clone(&records) as _;
        let sources = page::Records { ledger: Some(ledger), run: Arc::new(Ring::default()) };
        let server = page::serve(settings, Arc::new(Synthetic { scale }), sources)?;
        let fixture = Self { server, records, scale };
        fixture.tell_history();
        Ok(fixture)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Its address for a browser.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address())
    }

    fn tell_history(&self) {
        let now = WallTime::now().unix_millis();
        let minute = 60_000;
        // Two-hourly for a week, every quarter of an hour for a day, every minute for the last hour.
        let mut ends: Vec<i64> = (1..84).map(|idx| now - idx * 120 * minute).collect();
        ends.extend((4..96).map(|idx| now - idx * 15 * minute));
        ends.extend((0..60).map(|idx| now - idx * minute));
        ends.sort_unstable();
        for end in ends {
            self.records.push(&interval(self.scale, end, minute).to_string());
        }
        for number in (0..violations(self.scale)).rev() {
            let (record, _) = self.finding(number, "open");
            self.records.push(&record.to_string());
            if number > 0 {
                self.records.push(&self.finding(number, "close").0.to_string());
            }
        }
    }

    /// A finding about the episode of this number, and the id of the episode.
    pub fn finding(&self, number: u32, transition: &str) -> (Value, String) {
        finding(self.scale, number, transition)
    }
}

const fn violations(scale: Scale) -> u32 {
    match scale {
        Scale::Calm => 0,
        Scale::Violation => 7,
        Scale::Large => 1_000,
    }
}

struct Sender {
    label: &'static str,
    exe: &'static str,
    user: &'static str,
}

const SENDERS: [Sender; 6] = [
    Sender { label: "minio.service/minio", exe: "/usr/local/bin/minio", user: "minio" },
    Sender { label: "nginx.service/nginx", exe: "/usr/sbin/nginx", user: "www-data" },
    Sender { label: "backup.service/rsync", exe: "/usr/bin/rsync", user: "backup" },
    Sender { label: "kernel:nfsd", exe: "kernel:nfsd", user: "root" },
    Sender { label: "session-4.scope/scp", exe: "/usr/bin/scp", user: "deploy" },
    Sender { label: "smbd.service/smbd", exe: "/usr/sbin/smbd", user: "root" },
];

/// Countries with their bytes of a minute; the first ones are approved.
fn places(scale: Scale) -> Vec<(String, u64, bool)> {
    let of = |list: &[(&str, u64, bool)]| -> Vec<(String, u64, bool)> {
        list.iter().map(|(code, bytes, violates)| ((*code).to_owned(), *bytes, *violates)).collect()
    };
    let approved = of(&[
        ("US", 48_400_000_000, false),
        ("CA", 3_120_000_000, false),
        ("AU", 402_000_000, false),
        ("NZ", 7_300_000, false),
    ]);
    let abroad =
        of(&[("DE", 61_200_000, true), ("CN", 1_840_000, true), ("SG", 96_000, true), ("MT", 4_200, true)]);
    match scale {
        Scale::Calm => approved,
        Scale::Violation => [approved, abroad].concat(),
        Scale::Large => {
            let approved_codes = ["US", "CA", "AU", "NZ"];
            CountryCode::all()
                .map(|code| code.to_string())
                .filter(|code| code.as_str() != "AQ")
                .zip(0_u32..)
                .filter(|(code, idx)| approved_codes.contains(&code.as_str()) || idx % 5 < 2)
                .take(100)
                .map(|(code, idx)| {
                    let violates = !approved_codes.contains(&code.as_str());
                    (code, 10_u64.pow(3 + idx % 7) * u64::from(1 + idx % 9), violates)
                })
                .collect()
        }
    }
}

fn interval(scale: Scale, end: i64, length: i64) -> Value {
    let mut record: Value = serde_json::from_str(INTERVAL).unwrap_or_default();
    record["time"] = end.into();
    record["start_time"] = (end - length).into();
    record["end_time"] = end.into();
    let cells: Vec<Value> = places(scale)
        .into_iter()
        .map(|(code, wire, violates)| {
            let verdict = if violates { "violation" } else { "approved" };
            json!({
                "owner": "process", "place": {"kind": "country", "country": code}, "verdict": verdict,
                "bytes": {"wire": wire, "payload": wire * 95 / 100, "packets": wire / 1400 + 1},
                "control": {"wire": wire / 60, "payload": 0, "packets": wire / 52_000 + 1},
            })
        })
        .collect();
    let extra = &mut record["unmapped"]["homeport"];
    extra["classes"] = cells.into();
    extra["state"] = "covered".into();
    record
}

fn finding(scale: Scale, number: u32, transition: &str) -> (Value, String) {
    let now = WallTime::now().unix_millis();
    let abroad: Vec<(String, u64, bool)> =
        places(scale).into_iter().filter(|(_, _, violates)| *violates).collect();
    let (code, bytes, _) =
        abroad.get(number as usize % abroad.len().max(1)).cloned().unwrap_or(("DE".to_owned(), 1_500, true));
    let sender = &SENDERS[(number as usize * 5 + 4) % SENDERS.len()];
    let id = format!("{:032x}", 0x00c0_ffee_0000_u64 + u64::from(number));
    let spread = 86_000_000 / i64::from(violations(scale).max(1));
    let first = now - i64::from(number) * spread - 1_920_000;
    let last = if transition == "close" { first + 240_000 + i64::from(number % 5) * 600_000 } else { now };
    let denied = code == "CN";
    let name = CountryCode::parse(&code).ok().and_then(|code| code.name()).unwrap_or_default();
    let mut record: Value = serde_json::from_str(OPEN).unwrap_or_default();
    record["time"] = now.into();
    record["metadata"]["uid"] =
        format!("5d1c0b6f9f0e4d0a8f6f3c2b1a000001:8c1f2e9a-4711:{}", 20_000 + number).into();
    record["finding_info"]["uid"] = id.as_str().into();
    record["finding_info"]["title"] =
        format!("Data left for {name} ({code}) against policy user-data").into();
    record["finding_info"]["first_seen_time"] = first.into();
    record["finding_info"]["last_seen_time"] = last.min(now).into();
    record["policy"]["name"] = "user-data".into();
    (record["severity"], record["severity_id"]) =
        if denied { ("Critical".into(), 5.into()) } else { ("High".into(), 4.into()) };
    let process = &mut record["evidences"][0]["process"];
    process["cmd_line"] = format!("{} --stream", sender.exe).into();
    process["file"]["path"] = sender.exe.into();
    process["user"]["name"] = sender.user.into();
    record["evidences"][0]["dst_endpoint"]["port"] = 443.into();
    let extra = &mut record["unmapped"]["homeport"];
    let wire = bytes / u64::from(1 + number % 4) + 1_500;
    extra["transition"] = transition.into();
    if transition == "close" {
        extra["transition_reason"] = "connections-closed".into();
    }
    extra["rule"] = if denied { "denied" } else { "not-approved" }.into();
    extra["place"] = json!({"kind": "country", "country": code});
    extra["owner"]["label"] = sender.label.into();
    extra["owner"]["unit"] = sender.label.split('/').next().unwrap_or_default().into();
    extra["owner"]["cgroup"] =
        format!("/system.slice/{}", sender.label.split('/').next().unwrap_or_default()).into();
    extra["owner"]["quality"] = "exact".into();
    extra["bytes"] = json!({"wire": wire, "payload": wire * 95 / 100, "packets": wire / 1400 + 1});
    extra["losses"] = json!([]);
    let list = if denied { "is on the deny list of user-data" } else { "is not on the list of us-ca-au-nz" };
    let reason = format!(
        "203.0.113.{} is in {code} (203.0.113.0/24 in dbip-country of 2026-11-01), which {list}",
        number % 250 + 1
    );
    extra["reason"] = reason.into();
    let destination = &mut extra["destination_list"][0];
    destination["ip"] = format!("203.0.113.{}", number % 250 + 1).into();
    destination["bytes"] = json!({"wire": wire, "payload": wire * 95 / 100, "packets": wire / 1400 + 1});
    destination["geo"]["location"] = code.into();
    destination["geo"]["database"]["name"] = "dbip-country".into();
    destination["geo"]["database"]["built"] = "2026-11-01T00:00:00.000Z".into();
    (record, id)
}

fn flows(scale: Scale, now: WallTime) -> Result<FlowsView> {
    let started = WallTime(now.0 - 9 * 86_400 * 1_000_000_000);
    let places = places(scale);
    let n_flows = if scale == Scale::Large { 500 } else { 28 };
    // Goes on as time does.
    let ticks = u64::try_from(now.unix_seconds() % 100_000)?;
    let flows: Vec<Value> = (0..n_flows)
        .map(|idx| {
            let (code, bytes, violates) = &places[idx % places.len()];
            let sender = &SENDERS[(idx * 7 + idx / places.len()) % SENDERS.len()];
            let wire = bytes / (1 + idx as u64 % 9) + ticks * (1_000 + 977 * (idx as u64 % 13));
            json!({
                "owner": {
                    "label": sender.label, "kind": "process", "pid": 1000 + idx, "start_boot_ns": 5_000_000_000_u64,
                    "exe": sender.exe, "command_line": sender.exe, "uid": 33, "user": sender.user, "login_uid": null,
                    "unit": sender.label.split('/').next(), "container": null, "cgroup": "/system.slice", "quality": "exact",
                },
                "remote": format!("203.0.113.{}", idx % 250 + 1), "remote_port": 443, "local": "192.0.2.10",
                "local_port": 40_000 + idx, "protocol": "tcp", "service_port": 443, "initiator": "local",
                "sensor": "socket", "location": code, "country": code,
                "verdict": if *violates { "violation" } else { "approved" },
                "rule": if *violates { json!("not-approved") } else { Value::Null }, "exception": null,
                "policy": "user-data", "reason": "made up",
                "wire_bytes": wire, "payload_bytes": wire * 95 / 100, "packets": wire / 1400 + 1,
                "control_bytes": wire / 60, "violating_bytes": if *violates { wire } else { 0 },
                "first_seen": started.to_string(), "last_seen": now.to_string(),
                "pre_existing": false, "closed": false,
            })
        })
        .collect();
    let frames = |bytes: u64| json!({"bytes": bytes, "frames": bytes / 1400 + 1});
    let interface = |name: &str, index: u32, scale: u64, unexplained: i64| {
        let (socket, forwarded) = (81_204_339_118 / scale + ticks * 40_000, 9_402_118_274 / scale);
        let others = [19_402_u64, 4_811_200_991 / scale, 918_204, 77_312];
        let nic = socket + forwarded + others.iter().sum::<u64>();
        json!({
            "name": name, "index": index, "since": started.to_string(),
            "nic_tx_bytes": nic.saturating_add_signed(unexplained), "nic_tx_packets": nic / 1400, "nic_tx_dropped": 0,
            "socket": frames(socket), "forwarded": frames(forwarded), "packet": frames(others[0]),
            "tunnel": frames(others[1]), "time_wait": frames(others[2]), "non_ip": frames(others[3]), "folded": frames(0),
            "balance": {
                "residual_bytes": unexplained, "residual_frames": 0, "buffers_bytes": 0, "framing_bytes": 0,
                "dropped_bytes": 0, "dropped_packets": 0, "unexplained_bytes": unexplained, "unexplained_frames": 0,
                "counting": "segments", "counter_resets": 0,
            },
        })
    };
    let time = json!({"wall_us": 900, "processor_us": 700});
    let total: u64 = flows.iter().filter_map(|flow| flow["wire_bytes"].as_u64()).sum();
    Ok(serde_json::from_value(json!({
        "schema": 1, "time": now.to_string(), "started": started.to_string(), "host": "storage-1",
        "policy_hash": "3fa6c1e09d5f4b2a7c8e1d0f9b6a5c4e3d2f1a0b9c8d7e6f5a4b3c2d1e0f9a8b",
        "flows": flows, "rows": if scale == Scale::Large { 41_233 } else { 28 },
        "table": {"added": 91_233, "retired": 50_000, "evicted": 0, "overflowed_readings": 0},
        "classes": [], "overflow": [], "retired": {"wire_bytes": 0, "payload_bytes": 0, "packets": 0},
        "totals": {"wire_bytes": total * 3, "payload_bytes": total * 2, "packets": total / 400},
        "losses": [
            {"cause": "unparsed-packets", "events": 0, "bytes": 0}, {"cause": "slots-exhausted", "events": 0, "bytes": 0},
            {"cause": "destinations-exhausted", "events": 0, "bytes": 0},
            {"cause": "flow-events-dropped", "events": 0, "bytes": 0},
            {"cause": "interface-uncounted", "events": 0, "bytes": 0},
        ],
        "interfaces": [interface("eth0", 2, 1, 0), interface("eth1", 3, 11, 0)],
        "attribution": {"socket": 81_203_001_220_u64, "owned": 81_203_001_220_u64, "unnamed": 0, "rest": 0},
        "slots": {"in_use": 1_933, "capacity": 131_072},
        "sweep": {"last": time, "longest": time, "read_last": time, "read_longest": time},
        "degraded": [],
    }))?)
}

fn covered(scale: Scale, now: WallTime) -> Result<CoverageView> {
    let program = |name: &str, purpose: &str, place: &str| {
        json!({"program": name, "hook": "tc", "purpose": purpose, "state": "attached", "place": place,
            "since": now.to_string(), "reason": null})
    };
    let reasons = match scale {
        Scale::Calm | Scale::Large => json!([]),
        Scale::Violation => json!([{"state": "reduced", "part": "clock",
            "reason": "the wall clock is not synchronized: times in records may be wrong"}]),
    };
    let state = if scale == Scale::Violation { "reduced" } else { "covered" };
    Ok(serde_json::from_value(json!({
        "schema": 1, "time": now.to_string(), "started": now.to_string(), "host": "storage-1", "state": state,
        "reasons": reasons,
        "programs": [
            program("socket_egress", "counts every packet of every local socket", "/sys/fs/cgroup"),
            program("edge_egress", "counts every frame at an edge interface", "eth0"),
            program("edge_egress", "counts every frame at an edge interface", "eth1"),
            program("stamp_sender", "names the task that really sends", "kernel"),
        ],
        "interfaces": [
            {"name": "eth0", "index": 2, "edge": true, "why": "a card", "unexplained_bytes": 0},
            {"name": "eth1", "index": 3, "edge": true, "why": "a card", "unexplained_bytes": 0},
            {"name": "docker0", "index": 4, "edge": false, "why": "a bridge without a card", "unexplained_bytes": null},
        ],
        "attribution": {"socket": 81_203_001_220_u64, "owned": 81_203_001_220_u64, "unnamed": 0, "rest": 0},
        "cgroup": {"path": "/sys/fs/cgroup", "descendants": 61},
        "network_namespaces": {"watched": "all", "seen": 4, "outside": 0},
        "losses": [],
        "fill": [
            {"what": "slots", "used": 1_933, "capacity": 131_072}, {"what": "flows", "used": 28, "capacity": 114_688},
        ],
        "databases": [{"name": "embedded DB-IP Lite Country", "kind": "DBIP-Country-Lite", "built": "2026-11-01T00:00:00.000Z",
            "age_days": 21, "sha256": "9d5f4b2a7c8e1d0f9b6a5c4e3d2f1a0b9c8d7e6f5a4b3c2d1e0f9a8b3fa6c1e0"}],
        "clock": {"synchronized": scale != Scale::Violation, "max_error_us": 412, "steps": 0, "last_step_ms": null},
        "self_test": {"schema": 1, "time": now.to_string(), "destination": "192.0.2.1:9", "passed": true,
            "reached": "durable", "failed": null, "reason": null, "took_ms": 41},
        "pinned": true,
    }))?)
}

fn overview() -> OverviewView {
    let codes = |codes: &str| codes.split(' ').map(str::to_owned).collect();
    OverviewView {
        policies: vec![PolicyRow {
            name: "user-data".to_owned(),
            applies_to: "everybody".to_owned(),
            preset: Some("us-ca-au-nz".to_owned()),
            lists: "allow",
            approved: codes("AU CA NZ US"),
            denied: codes("CN"),
            also_approved: vec![ListRow { kind: "sites", values: codes("frankfurt") }],
            also_denied: Vec::new(),
            from: None,
            until: None,
            in_force: true,
        }],
        exceptions: vec![ExceptionRow {
            id: "EX-2026-014".to_owned(),
            policy: Some("user-data".to_owned()),
            approver: "Jane Doe".to_owned(),
            ticket: Some("LEGAL-1".to_owned()),
            reason: "yearly audit copy".to_owned(),
            expires: "2099-12-01T00:00:00.000Z".to_owned(),
            used_bytes: 4_120_000_000,
            max_bytes: Some(10_737_418_240),
            state: "active",
        }],
        sites: [("ashburn", "US"), ("toronto", "CA"), ("sydney", "AU")]
            .map(|(name, country)| SiteRow { name: name.to_owned(), country: country.to_owned() })
            .to_vec(),
        sinks: [
            ("/var/lib/homeport/ledger", "ledger", 0, None, "ok", None),
            ("siem", "otlp", 0, Some(0), "ok", None),
            ("pager", "alertmanager", 4, Some(75), "retrying", Some("connection refused (192.0.2.9:9093)")),
        ]
        .map(|(name, kind, lag_entries, lag_seconds, state, error)| SinkRow {
            name: name.to_owned(),
            kind: kind.to_owned(),
            lag_entries,
            lag_seconds,
            state,
            last_error: error.map(str::to_owned),
            refused: 0,
            skipped: 0,
        })
        .to_vec(),
        checkpoint: Some(CheckpointRow {
            time: WallTime::now().to_string(),
            size: 184_320,
            origin: "storage-1.example/homeport".to_owned(),
            unsigned: 0,
            fault: None,
        }),
        interval_secs: 60,
        ..OverviewView::default()
    }
}
