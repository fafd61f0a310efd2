//! The sink against a real Prometheus Alertmanager.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use homeport::{
    clock::WallTime,
    sink::{
        SinkSettings,
        settings::{AlertmanagerSettings, HttpSettings, Kind},
    },
};
use homeport_tests::receiver::alertmanager::Alertmanager;
use serde_json::{Value, json};

use crate::{PATIENCE, Team, eventually, ledger::Memory, receiver::Receiver, settings};

/// Short, so that the test does not take minutes.
const RESEND: Duration = Duration::from_secs(5);

/// Forgets everything: alerts are not kept across its restarts in any case.
fn start(directory: &Path, address: Option<SocketAddr>, receiver: &Receiver) -> Alertmanager {
    let address = address.unwrap_or_else(|| {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        free.local_addr().expect("an address")
    });
    Alertmanager::here(directory, address, &receiver.url()).expect("Alertmanager is ready")
}

fn sink(urls: Vec<String>) -> SinkSettings {
    let kind = AlertmanagerSettings {
        urls,
        http: HttpSettings::default(),
        resend: RESEND,
        heartbeat: false,
        labels: Vec::new(),
    };
    settings("oncall", Kind::Alertmanager(kind))
}

/// A violation's record as the agent writes it, of a policy of this name.
fn finding(policy: &str, activity_id: u8) -> String {
    let golden = include_str!("../../../agent/src/record/golden/finding-open.json");
    let mut record: Value = serde_json::from_str(golden).expect("JSON");
    let now = WallTime::now().unix_millis();
    record["activity_id"] = activity_id.into();
    record["finding_info"]["uid"] = policy.into();
    record["finding_info"]["first_seen_time"] = (now - 1_000).into();
    record["metadata"]["logged_time"] = now.into();
    record["policy"]["name"] = policy.into();
    record.to_string()
}

fn url(alertmanager: &Alertmanager) -> String {
    format!("http://{}", alertmanager.address())
}

/// D3, row 11.
#[test]
fn an_alert_survives_restarts_on_both_sides_and_its_end_arrives() {
    let directory = tempfile::tempdir().expect("a directory");
    let receiver = Receiver::start(None);
    let alertmanager = start(directory.path(), None, &receiver);
    let address = alertmanager.address();
    // The second member of the cluster is dead, and delays nothing.
    let dead = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let sink = sink(vec![format!("http://{dead}"), url(&alertmanager)]);
    let memory = Memory::new();
    memory.append(3);
    let team = Team::start(&memory, vec![sink.clone()]);
    memory.push(&finding("alpha", 1));
    eventually("the alert fires", || alertmanager.shows("policy", "alpha"));

    // Alertmanager forgets.
    drop(alertmanager);
    thread::sleep(Duration::from_millis(100));
    let alertmanager = start(directory.path(), Some(address), &receiver);
    let begin = Instant::now();
    eventually("the alert is back", || alertmanager.shows("policy", "alpha"));
    eprintln!("the alert was back after {:?} (resend {RESEND:?})", begin.elapsed());

    // We are away, and it closes meanwhile: first with the snapshot, then without.
    let files = team.stop();
    let team = Team::start_in(files, &memory, vec![sink.clone()]);
    memory.push(&finding("beta", 1));
    eventually("both fire", || alertmanager.shows("policy", "alpha") && alertmanager.shows("policy", "beta"));
    let files = team.stop();
    fs::remove_file(files.path().join("cursors/oncall")).expect("the cursor is there");
    memory.push(&finding("alpha", 3));
    let team = Team::start_in(files, &memory, vec![sink]);
    eventually("the end arrives", || !alertmanager.shows("policy", "alpha"));
    assert!(alertmanager.shows("policy", "beta"));
    memory.push(&finding("beta", 3));
    eventually("the end arrives", || alertmanager.alerts().is_some_and(|alerts| alerts.is_empty()));
    eventually("whoever is on call hears of both ends", || {
        ["alpha", "beta"].iter().all(|policy| {
            receiver.requests().iter().any(|request| {
                let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
                body["status"] == "resolved" && body["commonLabels"]["policy"] == *policy
            })
        })
    });
    assert_eq!(team.row("oncall").state, "failing", "one member is dead");
}

/// From the durable record to Alertmanager showing it. The figures are for people; a machine under load is no
/// reason to fail.
#[test]
fn alerts_show_up_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let receiver = Receiver::start(None);
    let alertmanager = start(directory.path(), None, &receiver);
    let memory = Memory::new();
    let team = Team::start(&memory, vec![sink(vec![url(&alertmanager)])]);
    let mut times: Vec<Duration> = (0..200)
        .map(|n| {
            let policy = format!("policy-{n}");
            let record = finding(&policy, 1);
            let begin = Instant::now();
            memory.push(&record);
            while !alertmanager.shows("policy", &policy) {
                assert!(begin.elapsed() < PATIENCE, "never: {policy} fires; {:?}", team.row("oncall"));
                thread::sleep(Duration::from_millis(1));
            }
            begin.elapsed()
        })
        .collect();
    times.sort();
    eprintln!(
        "from the record to Alertmanager showing it, of {}: p50 {:?}, p99 {:?}, longest {:?}",
        times.len(),
        times[times.len() / 2],
        times[times.len() * 99 / 100],
        times[times.len() - 1]
    );
    let alerts = alertmanager.alerts().expect("it answers");
    assert_eq!(alerts.len(), 200);
    let labels: Value = json!({
        "alertname": "EgressResidencyViolation", "host": "storage-1", "severity": "high", "kind": "transfer",
        "policy": "policy-7", "country": "DE", "process": "nginx.service/nginx", "initiator": "remote",
        "action": "observed",
    });
    assert!(alerts.iter().any(|alert| alert["labels"] == labels), "{:?}", alerts[0]);
}
