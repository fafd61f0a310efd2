use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};

use super::{FAMILIES, Kind, Scrape, render};
use crate::{
    app::{figures::Figures, overview::ExceptionRow},
    ledger::Timing,
};

fn sweep() -> Value {
    let time = json!({"wall_us": 1500, "processor_us": 900});
    json!({"last": time, "longest": time, "read_last": time, "read_longest": time})
}

fn volume(wire: u64) -> Value {
    json!({"wire_bytes": wire, "payload_bytes": wire / 2, "packets": 3})
}

fn class(location: &str, country: Option<&str>, verdict: &str, wire: u64) -> Value {
    let mut class = volume(wire);
    class["location"] = json!(location);
    class["country"] = json!(country);
    class["verdict"] = json!(verdict);
    class["owner_class"] = json!("process");
    class
}

fn scrape() -> Scrape {
    let frames = |bytes: u64| json!({"bytes": bytes, "frames": 2});
    let flows = json!({
        "schema": 1, "time": "2026-01-02T03:04:05.000Z", "started": "2026-01-02T00:00:00.500Z", "host": "storage-1",
        "policy_hash": "8a44", "flows": [], "rows": 2,
        "table": {"added": 2, "retired": 0, "evicted": 0, "overflowed_readings": 0},
        "classes": [
            class("US", Some("US"), "approved", 9_007_199_254_740_993),
            class("site:\"oops\"\n", Some("DE"), "violation", 40),
            class("unknown", None, "violation", 2),
            // Two rules were broken in one place.
            class("FR", Some("FR"), "violation", 30),
            class("FR", Some("FR"), "violation", 12),
        ],
        "overflow": [], "retired": volume(0), "totals": volume(42),
        "losses": [{"cause": "slots-exhausted", "events": 4, "bytes": 4096}],
        "interfaces": [{
            "name": "eth0", "index": 2, "since": "2026-01-02T00:00:00.000Z",
            "nic_tx_bytes": 1000, "nic_tx_packets": 10, "nic_tx_dropped": 1,
            "socket": frames(900), "forwarded": frames(0), "packet": frames(0), "tunnel": frames(0),
            "time_wait": frames(0), "non_ip": frames(42), "folded": frames(0),
            "balance": {
                "residual_bytes": -58, "residual_frames": 0, "buffers_bytes": 0, "framing_bytes": 0,
                "dropped_bytes": 0, "dropped_packets": 0, "unexplained_bytes": -8, "unexplained_frames": 0,
                "counting": null, "counter_resets": 0,
            },
        }],
        "attribution": {"socket": 872, "owned": 800, "unnamed": 72, "rest": 0},
        "slots": {"in_use": 2, "capacity": 100}, "sweep": sweep(),
        "degraded": [{"part": "records", "reason": "no space left"}],
        "ledger": {
            "origin": "homeport/x", "verifier_key": "k", "size": 40, "first": 0, "bytes": 9000, "checkpoint_size": 38,
            "checkpoint_time": "2026-01-02T03:04:00.000Z", "fault": null, "damage": "a bundle is missing",
        },
    });
    let coverage = json!({
        "schema": 1, "time": "2026-01-02T03:04:05.000Z", "started": "2026-01-02T00:00:00.500Z", "host": "storage-1",
        "state": "reduced", "reasons": [],
        "programs": [{
            "program": "egress4", "hook": "cgroup_skb", "purpose": "counts", "state": "attached", "place": "/",
            "since": null, "reason": null,
        }],
        "interfaces": [], "attribution": {"socket": 872, "owned": 800, "unnamed": 72, "rest": 0}, "cgroup": {"path": "/sys/fs/cgroup", "descendants": null},
        "network_namespaces": {"watched": "own", "seen": 1, "outside": 0}, "losses": [],
        "fill": [{"what": "slots", "used": 2, "capacity": 100}],
        "databases": [{
            "name": "countries.mmdb", "kind": "country", "built": "2026-01-01T00:00:00.000Z", "age_days": 1,
            "sha256": "ab",
        }],
        "clock": {"synchronized": true, "max_error_us": 5, "steps": 0, "last_step_ms": null},
        "self_test": null, "pinned": true,
    });
    let exceptions = vec![ExceptionRow {
        id: "EX-7".to_owned(),
        policy: None,
        approver: "J. Doe".to_owned(),
        ticket: None,
        reason: "audit".to_owned(),
        expires: "2026-02-01T00:00:00Z".to_owned(),
        used_bytes: 800,
        max_bytes: Some(1_000),
        state: "near-limit",
    }];
    let sink = json!({
        "name": "siem", "kind": "webhook", "state": "failing", "next": 7, "behind_entries": 12, "behind_secs": 90,
        "delivered": 7, "retries": 3, "dead_letters": 1, "skipped": 2, "last_success": null, "last_error": null,
        "failing_since": null,
    });
    let witness = json!({
        "name": "auditor", "url": "https://witness.example", "state": "refusing", "signed_entries": 30, "signed_at": null,
        "failing_since": null, "reason": "it has seen more",
    });
    let mut appends = Timing::default();
    for millis in [1, 3, 3, 20_000] {
        appends.took(Duration::from_millis(millis));
    }
    let figures = Figures {
        episodes: BTreeMap::from([(("transfer", "high".to_owned()), 2)]),
        coverage_findings: BTreeMap::from([("bypass", 1)]),
        sinks: vec![serde_json::from_value(sink).expect("a row")],
        witnesses: vec![serde_json::from_value(witness).expect("a row")],
        unwritten: 5,
        appends: Some(appends),
    };
    Scrape {
        exceptions,
        figures,
        version: "1.2.3",
        flows: serde_json::from_value(flows).expect("a view"),
        coverage: serde_json::from_value(coverage).expect("a view"),
    }
}

/// Samples by what stands before the value.
fn samples(text: &str) -> BTreeMap<&str, &str> {
    let mut samples = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect("a name and a value");
        // Of two, whoever scrapes keeps one.
        assert_eq!(samples.insert(series, value), None, "{series} is there twice");
    }
    samples
}

#[test]
fn a_scrape_says_what_the_agent_says() {
    let text = render(scrape()).expect("text");
    let samples = samples(&text);
    let expected = [
        (r#"homeport_build_info{version="1.2.3"}"#, "1"),
        ("homeport_start_time_seconds", "1767312000.5"),
        // Beyond 2^53, where a float would be off by one.
        (
            r#"homeport_egress_wire_bytes_total{country="US",place="US",verdict="approved",owner_class="process"}"#,
            "9007199254740993",
        ),
        (
            r#"homeport_egress_wire_bytes_total{country="",place="unknown",verdict="violation",owner_class="process"}"#,
            "2",
        ),
        (
            r#"homeport_egress_wire_bytes_total{country="FR",place="FR",verdict="violation",owner_class="process"}"#,
            "42",
        ),
        (r#"homeport_coverage{state="covered"}"#, "0"),
        (r#"homeport_coverage{state="reduced"}"#, "1"),
        (r#"homeport_degraded{part="records"}"#, "1"),
        (r#"homeport_losses_total{cause="slots-exhausted"}"#, "4"),
        (r#"homeport_losses_bytes_total{cause="slots-exhausted"}"#, "4096"),
        (r#"homeport_interface_seen_bytes_total{interface="eth0",term="non_ip"}"#, "42"),
        (r#"homeport_interface_unexplained_bytes{interface="eth0"}"#, "-8"),
        (r#"homeport_database_build_time_seconds{database="countries.mmdb"}"#, "1767225600.0"),
        ("homeport_sweep_duration_seconds", "0.0015"),
        (r#"homeport_episodes_open{kind="transfer",severity="high"}"#, "2"),
        (r#"homeport_episodes_open{kind="exception",severity=""}"#, "0"),
        (r#"homeport_coverage_findings_open{subject="bypass"}"#, "1"),
        (r#"homeport_exception_state{exception="EX-7",state="near-limit"}"#, "1"),
        (r#"homeport_exception_state{exception="EX-7",state="active"}"#, "0"),
        (r#"homeport_exception_expiry_time_seconds{exception="EX-7"}"#, "1769904000.0"),
        (r#"homeport_exception_used_bytes{exception="EX-7"}"#, "800"),
        (r#"homeport_exception_ceiling_bytes{exception="EX-7"}"#, "1000"),
        (r#"homeport_sink_state{sink="siem",state="failing"}"#, "1"),
        (r#"homeport_sink_behind_entries{sink="siem"}"#, "12"),
        (r#"homeport_sink_lag_seconds{sink="siem"}"#, "90"),
        (r#"homeport_sink_delivered_total{sink="siem"}"#, "7"),
        (r#"homeport_sink_retries_total{sink="siem"}"#, "3"),
        (r#"homeport_sink_refused_total{sink="siem"}"#, "1"),
        (r#"homeport_sink_lost_total{sink="siem"}"#, "2"),
        ("homeport_unwritten_records", "5"),
        (r#"homeport_witness_state{witness="auditor",state="refusing"}"#, "1"),
        (r#"homeport_witness_state{witness="auditor",state="signing"}"#, "0"),
        (r#"homeport_witness_signed_entries{witness="auditor"}"#, "30"),
        ("homeport_ledger_entries", "40"),
        ("homeport_ledger_signed_entries", "38"),
        ("homeport_ledger_checkpoint_time_seconds", "1767323040.0"),
        ("homeport_ledger_size_bytes", "9000"),
        (r#"homeport_ledger_append_duration_seconds_bucket{le="0.0005"}"#, "0"),
        (r#"homeport_ledger_append_duration_seconds_bucket{le="0.001"}"#, "1"),
        (r#"homeport_ledger_append_duration_seconds_bucket{le="0.005"}"#, "3"),
        (r#"homeport_ledger_append_duration_seconds_bucket{le="10.0"}"#, "3"),
        (r#"homeport_ledger_append_duration_seconds_bucket{le="+Inf"}"#, "4"),
        ("homeport_ledger_append_duration_seconds_count", "4"),
        ("homeport_ledger_append_duration_seconds_sum", "20.007"),
        (r#"homeport_ledger_faulty{what="damage"}"#, "1"),
    ];
    for (name, value) in expected {
        assert_eq!(samples.get(name), Some(&value), "{name} in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[test]
fn what_somebody_else_named_cannot_break_the_text() {
    let text = render(scrape()).expect("text");
    assert!(text.contains(r#"place="site:\"oops\"\n""#), "{text}");
}

#[test]
fn names_are_unique_and_follow_the_conventions() {
    let mut seen = BTreeSet::new();
    for family in FAMILIES {
        let name = family.name();
        assert!(seen.insert(name.clone()), "{name} twice");
        assert!(name.starts_with("homeport_"), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert_eq!(name.ends_with("_total"), family.kind() == Kind::Counter, "{name}");
        assert!(family.help.ends_with('.'), "{name}: {}", family.help);
    }
}

/// The table of the page.
fn markdown() -> String {
    let rows: String = FAMILIES
        .iter()
        .map(|family| {
            let kind = match family.kind() {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
            format!("| `{}` | {kind} | {} | {} |\n", family.name(), labels.join(", "), family.help)
        })
        .collect();
    format!("| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n{rows}")
}

/// `HOMEPORT_WRITE_DOCS=1 cargo test -p homeport metrics` writes the page.
#[test]
fn the_page_has_this_table() {
    const BEGIN: &str = "<!-- metrics: generated -->\n";
    const END: &str = "<!-- metrics: end -->\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/METRICS.md");
    let page = std::fs::read_to_string(path).expect("the page");
    let (before, rest) = page.split_once(BEGIN).expect("the mark before the table");
    let (table, after) = rest.split_once(END).expect("the mark behind it");
    if std::env::var_os("HOMEPORT_WRITE_DOCS").is_some() {
        std::fs::write(path, format!("{before}{BEGIN}{}{END}{after}", markdown())).expect("written");
    } else {
        assert_eq!(table, markdown(), "{path}: run with HOMEPORT_WRITE_DOCS=1");
    }
}

/// Rules and dashboards that ask for what nobody tells would be silent for ever.
#[test]
fn rules_and_dashboards_name_only_what_there_is() {
    let parts = |family: &super::Family| match family.kind() {
        Kind::Counter | Kind::Gauge => vec![family.name()],
        Kind::Histogram => {
            ["bucket", "sum", "count"].map(|part| format!("{}_{part}", family.name())).to_vec()
        }
    };
    let known: BTreeSet<String> = FAMILIES.iter().flat_map(parts).collect();
    let mut named = BTreeSet::new();
    for file in ["prometheus/homeport.rules.yml", "grafana/fleet.json", "grafana/host.json"] {
        let path = format!("{}/deploy/{file}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).expect("the file");
        let is_part = |letter: char| letter.is_ascii_lowercase() || letter == '_';
        for (at, _) in text.match_indices("homeport_") {
            let name: String = text[at..].chars().take_while(|letter| is_part(*letter)).collect();
            assert!(known.contains(&name), "{path}: {name}");
            named.insert(name);
        }
    }
    assert!(named.len() > 15, "{named:?}");
}
