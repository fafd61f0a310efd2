//! Every shape of record against a file that shows it, and against the attributes its class requires.
//!
//! The files in `golden/` are the format as receivers see it. After a deliberate change run the tests with
//! `HOMEPORT_BLESS=1` and read the difference.

use std::{net::IpAddr, path::Path, sync::Arc};

use serde_json::Value;

use super::*;
use crate::{
    alert::{EpisodeSettings, Episodes, Identity, RejudgeCause, Transition},
    clock::{ClockStep, KernelTime},
    coverage::findings::Findings,
    flow::{
        Actor, FlowKey, Initiator, Observation, Owner, Process, Protocol, Quality, Sensor, Volume, Workload,
        class::Totals,
        table::{Assessment, FlowTable, Judged, TableSettings},
    },
    geo::{Answer, AutonomousSystem, DatabaseId, Evidence, Located, Location, Source, Via},
    policy::{Judgement, PolicyId, Rule, Severity, Verdict},
    reconcile::{Amount, Comparison, Difference, Discards, OwnersReport, Seen, attribution::Attribution},
    record::{
        coverage::coverage,
        finding::{DatabaseExtra, finding},
        interval::{Balance, Coverage, Flows, Interface, Minute, interval},
        lifecycle::{Event, Gap, lifecycle},
        person::Style,
    },
};

/// Attributes that OCSF 1.8.0 requires of every event.
const BASE: [&str; 8] = [
    "/activity_id",
    "/category_uid",
    "/class_uid",
    "/type_uid",
    "/time",
    "/severity_id",
    "/metadata/version",
    "/metadata/product/name",
];

fn names(code: CountryCode) -> Option<&'static str> {
    (code.as_str() == "DE").then_some("Germany")
}

fn origin() -> Origin {
    Origin {
        version: "0.1.0".to_owned(),
        hostname: "storage-1".to_owned(),
        host_uid: "5d1c0b6f9f0e4d0a8f6f3c2b1a000001".to_owned(),
        country_name: names,
    }
}

/// 2026-03-01T00:00:00Z is kernel time zero.
const EPOCH: WallTime = WallTime::from_unix_seconds(1_772_323_200);

fn with_context<T>(use_it: impl FnOnce(&Context<'_>) -> T) -> T {
    let clock = Clock::with_epoch(EPOCH);
    let origin = origin();
    let now = WallTime(EPOCH.0 + 90_123_000_000);
    use_it(&Context { origin: &origin, clock: &clock, booted: Some(EPOCH), now })
}

fn database() -> Arc<DatabaseId> {
    Arc::new(DatabaseId {
        name: "country.mmdb".into(),
        kind: "GeoLite2-Country".into(),
        built: WallTime::from_unix_seconds(1_771_891_200),
        sha256: "ab".repeat(32).into(),
    })
}

fn germany() -> Located {
    let code = CountryCode::from_letters(*b"DE").expect("two capital letters");
    let prefix = "203.0.113.0/24".parse().expect("a prefix");
    Located {
        location: Location::Country(code),
        evidence: Evidence {
            embedded: Some("203.0.113.7".parse().expect("an address")),
            via: Some(Via::Nat64),
            source: Source::Database(database()),
            prefix: Some(prefix),
            answers: vec![Answer {
                database: database(),
                country: Some(code),
                prefix: Some(prefix),
                registered: None,
            }],
            autonomous_system: Some(AutonomousSystem {
                number: 64_496,
                organization: Some("Example Net".into()),
            }),
        },
    }
}

fn nowhere() -> Located {
    let evidence = Evidence {
        source: Source::Nothing,
        prefix: None,
        via: None,
        answers: Vec::new(),
        autonomous_system: None,
        ..germany().evidence
    };
    Located { location: Location::Unknown(crate::geo::UnknownReason::NoRecord), evidence }
}

fn nginx() -> Owner {
    Owner {
        actor: Actor::Process(Process {
            pid: 4_242,
            start_boot_ns: 5_000_000_000,
            exe: "/usr/sbin/nginx".into(),
            command_line: "nginx: worker process\u{1b}[2J".into(),
            uid: 33,
            user: Some("www-data".into()),
            login_uid: None,
        }),
        workload: Workload {
            cgroup: Some("/system.slice/nginx.service".into()),
            unit: Some("nginx.service".into()),
            container: None,
        },
        quality: Quality::Inherited,
    }
}

fn policy() -> Arc<PolicyId> {
    let hash = "0123456789abcdef".repeat(4);
    Arc::new(PolicyId { name: "storage".into(), preset: Some("us-only"), hash: hash.into() })
}

fn violation() -> Verdict {
    Verdict::Violation { rule: Rule::NotApproved, severity: Severity::High, exception: None }
}

fn judged(
    owner: Owner,
    remote: &str,
    located: Located,
    initiator: Initiator,
    payload: u64,
    verdict: Verdict,
) -> Judged {
    let remote: IpAddr = remote.parse().expect("an address");
    Judged {
        observation: Observation {
            key: FlowKey {
                owner: Arc::new(owner),
                remote,
                protocol: Protocol::TCP,
                service_port: 443,
                initiator,
                sensor: Sensor::Socket,
            },
            local: Some(
                if remote.is_ipv4() { "198.51.100.10" } else { "2001:db8::10" }.parse().expect("an address"),
            ),
            local_port: 443,
            remote_port: 50_000,
            volume: Volume { wire_bytes: payload + 52, payload_bytes: payload, packets: 1 },
            first_seen: KernelTime(10_000_000_000),
            seen: KernelTime(11_000_000_000),
            pre_existing: false,
            closed: false,
        },
        assessment: Assessment {
            located: Arc::new(located),
            judgement: Arc::new(Judgement {
                policy: policy(),
                verdict,
                reason: "is in DE (203.0.113.0/24 in country.mmdb of 2026-02-24), which is not on the list of us-only"
                    .into(),
            }),
        },
        is_new: true,
        had_payload: false,
    }
}

fn episodes() -> Episodes {
    let identity = Identity { host: "h".into(), boot: "b".into() };
    Episodes::new(EpisodeSettings::default(), identity)
}

fn open(judged: &Judged) -> Transition {
    episodes().observe(judged, KernelTime(11_000_000_000)).expect("a transition")
}

fn pull() -> Judged {
    judged(nginx(), "64:ff9b::cb00:7107", germany(), Initiator::Remote, 1_448, violation())
}

fn record_of(transition: &Transition) -> Record {
    let losses = vec![Loss { cause: "ring-buffer-full", count: 3, bytes: None }];
    with_context(|context| finding(context, transition, losses))
}

fn check_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/record/golden").join(name);
    if std::env::var_os("HOMEPORT_BLESS").is_some() {
        std::fs::write(&path, text).expect("written");
    }
    let expected = std::fs::read_to_string(&path).expect("a golden file");
    let is_same = match (serde_json::from_str::<Value>(text), serde_json::from_str::<Value>(&expected)) {
        // The order of keys is no part of the format.
        (Ok(text), Ok(expected)) => text == expected,
        _ => text == expected,
    };
    assert!(is_same, "{name}: run with HOMEPORT_BLESS=1 if the change is meant; got\n{text}");
}

/// Stamps a record, checks its shape, and returns it for closer looks.
fn check(name: &str, mut record: Record, required: &[&str]) -> Value {
    record.stamp("h1:i1:7".to_owned(), 7);
    let line = record.to_line().expect("JSON");
    assert_eq!(line.matches('\n').count(), 1);
    assert!(line.len() < 65_536, "a ledger entry holds 65,535 bytes");
    let value: Value = serde_json::from_str(&line).expect("JSON");
    for pointer in BASE.iter().chain(required) {
        assert!(value.pointer(pointer).is_some(), "{name}: {pointer} is required");
    }
    assert_eq!(value["metadata"]["version"], "1.8.0");
    assert_eq!(value["unmapped"]["homeport"]["schema"], 1);
    let class = value["class_uid"].as_u64().expect("a number");
    let activity = value["activity_id"].as_u64().expect("a number");
    assert_eq!(value["type_uid"].as_u64(), Some(class * 100 + activity));
    assert_eq!(value["category_uid"].as_u64(), Some(class / 1_000));
    no_nulls(name, &value);
    check_golden(name, &format!("{value:#}\n"));
    value
}

/// What is not known is absent.
fn no_nulls(name: &str, value: &Value) {
    match value {
        Value::Null => panic!("{name}: a null"),
        Value::Array(values) => values.iter().for_each(|value| no_nulls(name, value)),
        Value::Object(values) => values.values().for_each(|value| no_nulls(name, value)),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

const FINDING: [&str; 9] = [
    "/finding_info/uid",
    "/finding_info/analytic/type_id",
    "/is_alert",
    "/evidences/0/src_endpoint/ip",
    "/evidences/0/dst_endpoint/ip",
    "/evidences/0/connection_info/direction_id",
    "/evidences/0/process/pid",
    "/policy/name",
    "/device/type_id",
];

#[test]
fn a_pull_from_abroad_has_us_as_source_and_the_recipient_as_destination() {
    let value = check("finding-open.json", record_of(&open(&pull())), &FINDING);
    assert_eq!(value["type_uid"], 200_401);
    assert_eq!(value["is_alert"], true);
    let evidence = &value["evidences"][0];
    assert_eq!(evidence["src_endpoint"]["hostname"], "storage-1");
    assert_eq!(evidence["dst_endpoint"]["location"]["country"], "DE");
    assert_eq!(evidence["connection_info"]["direction_id"], 2);
    assert_eq!(value["unmapped"]["homeport"]["initiator"], "remote");
    assert_eq!(value["metadata"]["correlation_uid"], value["finding_info"]["uid"]);
}

#[test]
fn updates_and_closes_are_no_new_alerts() {
    let mut episodes = episodes();
    let opened = episodes.observe(&pull(), KernelTime(11_000_000_000)).expect("opened");
    let update = episodes.observe(&pull(), KernelTime(13_000_000_000)).expect("an update");
    let close = episodes.stop(KernelTime(14_000_000_000)).pop().expect("a close");
    let update = check("finding-update.json", record_of(&update), &FINDING);
    let close = check("finding-close.json", record_of(&close), &FINDING);
    assert_eq!((&update["is_alert"], &close["is_alert"]), (&Value::Bool(false), &Value::Bool(false)));
    assert_eq!((&update["type_uid"], &close["type_uid"]), (&200_402.into(), &200_403.into()));
    for value in [update, close] {
        assert_eq!(value["finding_info"]["uid"], *opened.episode().id);
    }
}

#[test]
fn a_close_means_resolved_unless_the_agent_stops() {
    let mut episodes = episodes();
    episodes.observe(&pull(), KernelTime(11_000_000_000));
    let approved = episodes
        .rejudge(RejudgeCause::Policy, |_, _, destination| Assessment {
            located: Arc::clone(&destination.located),
            judgement: Arc::new(Judgement {
                policy: policy(),
                verdict: Verdict::Approved,
                reason: "is in DE, covered by an exception".into(),
            }),
        })
        .pop()
        .expect("a close");
    let record = serde_json::to_value(record_of(&approved)).expect("JSON");
    assert_eq!((&record["status_id"], &record["status"]), (&4.into(), &"Resolved".into()));
}

#[test]
fn use_of_an_exception_is_informational_and_no_alert() {
    let verdict = Verdict::Excepted { id: "EX-7".into() };
    let reading = judged(nginx(), "203.0.113.7", germany(), Initiator::Local, 100, verdict);
    let value = check("finding-exception.json", record_of(&open(&reading)), &FINDING);
    assert_eq!((&value["is_alert"], &value["severity_id"]), (&Value::Bool(false), &1.into()));
    assert_eq!(value["unmapped"]["homeport"]["exception"], "EX-7");
}

#[test]
fn an_unknown_place_has_no_country_and_says_why() {
    let verdict =
        Verdict::Violation { rule: Rule::UnknownLocation, severity: Severity::Low, exception: None };
    let owner = Owner { quality: Quality::Exact, ..Owner::unowned() };
    let reading = judged(owner, "203.0.113.7", nowhere(), Initiator::Unknown, 100, verdict);
    let value = serde_json::to_value(record_of(&open(&reading))).expect("JSON");
    let evidence = &value["evidences"][0];
    assert_eq!(evidence.get("process"), None);
    assert_eq!(evidence["dst_endpoint"].get("location"), None);
    assert_eq!(
        value["unmapped"]["homeport"]["destination_list"][0]["geo"]["location"],
        "unknown (no record in any database)"
    );
    assert_eq!(value["confidence_id"], 1);
}

#[test]
fn the_largest_finding_fits_in_a_ledger_entry() {
    let mut owner = nginx();
    if let Actor::Process(process) = &mut owner.actor {
        // Each of these needs six bytes in JSON.
        process.command_line = "\u{1}".repeat(4_096).into();
    }
    let mut located = germany();
    let answer = located.evidence.answers[0].clone();
    located.evidence.answers = vec![answer; 3];
    let mut episodes = episodes();
    for host in 0..40 {
        let remote = format!("203.0.113.{host}");
        let reading = judged(owner.clone(), &remote, located.clone(), Initiator::Remote, 1_448, violation());
        episodes.observe(&reading, KernelTime(11_000_000_000));
    }
    let close = episodes.stop(KernelTime(14_000_000_000)).pop().expect("a close");
    let line = record_of(&close).to_line().expect("JSON");
    assert!(line.len() < 65_536, "{} bytes", line.len());
}

fn minute(totals: Totals, interfaces: Vec<Interface>) -> Minute {
    Minute {
        start: EPOCH,
        end: WallTime(EPOCH.0 + 60_000_000_000),
        totals,
        losses: Vec::new(),
        coverage: vec![
            Coverage { part: "socket-ledger".to_owned(), state: "full", detail: None },
            Coverage {
                part: "interface-ledger".to_owned(),
                state: "reduced",
                detail: Some("eth1 appeared 3 s ago".to_owned()),
            },
        ],
        state: "reduced",
        reasons: vec!["interface-ledger: eth1 appeared 3 s ago".to_owned()],
        interfaces,
        attribution: Attribution {
            socket_bytes: 1_816,
            owned_bytes: 2_552,
            unnamed_bytes: 64,
            discarded_bytes: 1_000,
            stayed_bytes: 4_000,
        },
        discards: Some(Discards { neighbour_packets: 1, neighbour_failures: 0, output_packets: 3 }),
        flows: Flows { rows: 1, evicted: 0, overflowed_readings: 0, open_episodes: 1 },
        policy_hash: policy().hash.to_string(),
    }
}

const INTERVAL: [&str; 4] =
    ["/src_endpoint/hostname", "/connection_info/direction_id", "/traffic/bytes_out", "/start_time"];

#[test]
fn a_minute_says_what_left_by_class_and_whether_that_is_all() {
    let mut table = FlowTable::new(TableSettings::default());
    for reading in [pull(), judged(nginx(), "203.0.113.7", germany(), Initiator::Remote, 0, violation())] {
        table.observe(reading.observation, |_| reading.assessment);
    }
    let comparison = Comparison {
        nic: Amount::new(2_000, 4),
        seen: Seen {
            socket: Amount::new(1_858, 3),
            non_ip: Amount::new(42, 1),
            folded: Amount::new(0, 0),
            ..Seen::default()
        },
        residual: Difference::new(100, 0),
        unexplained: Difference::new(100, 0),
        over: Amount::new(150, 1),
        ..Comparison::default()
    };
    let eth0 = Interface {
        name: "eth0".to_owned(),
        balance: Some(Balance::from(&comparison)),
        unexplained_bytes_total: 100,
        counter_resets: 0,
    };
    let record = with_context(|context| interval(context, minute(table.take_interval(), vec![eth0])));
    assert_eq!(record.priority(), Priority::Interval);
    let value = check("interval.json", record, &INTERVAL);
    assert_eq!(value["type_uid"], 400_106);
    assert_eq!(value["traffic"]["bytes_out"], 1_552);
    assert_eq!(value["traffic"]["bytes_missed"], 100);
    assert_eq!(value["unmapped"]["homeport"]["control"]["wire"], 52);
}

#[test]
fn an_empty_minute_is_written_and_invents_no_numbers() {
    let silent =
        Interface { name: "eth0".to_owned(), balance: None, unexplained_bytes_total: 0, counter_resets: 1 };
    for interfaces in [Vec::new(), vec![silent]] {
        let record = with_context(|context| interval(context, minute(Totals::default(), interfaces)));
        let value = serde_json::to_value(record).expect("JSON");
        assert_eq!(value["traffic"]["bytes_out"], 0);
        assert_eq!(value["traffic"].get("bytes_missed"), None);
    }
    let record = with_context(|context| interval(context, minute(Totals::default(), Vec::new())));
    check("interval-empty.json", record, &INTERVAL);
}

#[test]
fn a_self_test_is_a_finding_in_all_but_its_urgency() {
    let record = with_context(|context| finding::self_test(context, &open(&pull()), "00000000000000ff"));
    let value = serde_json::to_value(record).expect("JSON");
    assert_eq!((&value["class_uid"], &value["activity_id"]), (&2004.into(), &1.into()));
    assert_eq!((&value["is_alert"], &value["severity_id"]), (&Value::Bool(false), &1.into()));
    assert_eq!(value["unmapped"]["homeport"]["kind"], "self-test");
    assert_eq!(value["finding_info"]["tags"][0]["value"], "00000000000000ff");
}

#[test]
fn bytes_past_us_are_a_finding_with_a_number_and_suspects() {
    let identity = Identity { host: "h".into(), boot: "b".into() };
    let mut findings = Findings::new(identity);
    let comparison = Comparison {
        unexplained: Difference::new(104_200, 100),
        over: Amount::new(1_042, 1),
        dropped: 2,
        ..Comparison::default()
    };
    let span = (KernelTime(0), KernelTime(60_000_000_000));
    let opened = findings.interval(&"eth0".into(), Some(&comparison), span);
    let record = with_context(|context| coverage(context, &opened[0]));
    assert_eq!(record.priority(), Priority::Transition);
    let required = ["/finding_info/uid", "/is_alert", "/evidences/0/src_endpoint/hostname"];
    let value = check("coverage-bypass.json", record, &required);
    assert_eq!(value["type_uid"], 200_401);
    assert_eq!(value["unmapped"]["homeport"]["certain_bytes"], 103_158);
    let closed = findings.stop();
    let record = serde_json::to_value(with_context(|context| coverage(context, &closed[0]))).expect("JSON");
    assert_eq!((&record["is_alert"], &record["status_id"]), (&Value::Bool(false), &2.into()));
}

#[test]
fn bytes_that_the_kernel_discarded_are_information_with_its_counters() {
    let mut findings = Findings::new(Identity { host: "h".into(), boot: "b".into() });
    let discards = Discards { neighbour_packets: 108, neighbour_failures: 1, output_packets: 0 };
    let report = OwnersReport { discarded: Some((205_600, discards)), ..OwnersReport::default() };
    let opened = findings.owners(&report, (KernelTime(0), KernelTime(60_000_000_000)));
    let record = with_context(|context| coverage(context, &opened[0]));
    let required = ["/finding_info/uid", "/unmapped/homeport/discards/neighbour_packets"];
    let value = check("coverage-discarded.json", record, &required);
    assert_eq!((&value["is_alert"], &value["severity_id"]), (&Value::Bool(false), &1.into()));
    assert_eq!(value["unmapped"]["homeport"]["residual_bytes"], -205_600);
}

#[test]
fn every_lifecycle_event_has_its_shape() {
    let database = DatabaseExtra::from(&*database());
    let hash = policy().hash.to_string();
    let events = [
        (
            "start",
            Event::Start {
                policy_hash: hash.clone(),
                policies: vec!["storage".to_owned()],
                statements: vec![["policies", "order", "storage"].map(str::to_owned)],
                databases: vec![database.clone()],
                not_covered: vec!["AF_XDP sockets".to_owned()],
                resumed: Some(lifecycle::Resumed { epoch: 4_711, away_ms: 2_500, bytes: 1_048_576 }),
            },
            3,
        ),
        (
            "stop",
            Event::Stop {
                reason: "SIGTERM".to_owned(),
                drained: true,
                counting_continues: true,
                open_episodes: 2,
            },
            4,
        ),
        (
            "counting-gap",
            Event::CountingGap(lifecycle::CountingGap {
                cause: "reboot",
                from: 1_772_323_200_000,
                to: 1_772_323_290_123,
                detail: "the host was booted, and counting began anew".to_owned(),
                booted: Some(1_772_323_230_000),
                interfaces: vec![lifecycle::GapInterface { name: "eth0".to_owned(), nic_bytes: 4_096 }],
            }),
            99,
        ),
        (
            "policy-change",
            Event::PolicyChange {
                before_hash: hash.clone(),
                after_hash: "f".repeat(64),
                changes: vec!["storage: allows CA".to_owned()],
                statements: vec![["policies", "order", "storage"].map(str::to_owned)],
            },
            99,
        ),
        (
            "policy-rejected",
            Event::PolicyRejected { policy_hash: hash, faults: vec!["policy[0].allow: \"XX\"".to_owned()] },
            99,
        ),
        ("database-change", Event::DatabaseChange { before: None, after: database }, 99),
        (
            "database-rejected",
            Event::DatabaseRejected { name: "country.mmdb".to_owned(), reason: "truncated".to_owned() },
            99,
        ),
        ("degraded", Event::Degraded { part: "records".to_owned(), reason: "disk full".to_owned() }, 99),
        ("clock-step", Event::ClockStep(ClockStep { by_ms: -3_600_000, slept_ms: 0 }), 99),
        ("recovered", Event::Recovered { part: "records".to_owned(), degraded_ms: 12_345 }, 99),
        (
            "gap",
            Event::Gap(Gap {
                since: EPOCH.unix_millis(),
                reason: "no space left on device".to_owned(),
                intervals: 2,
                updates: 1,
                transitions: 0,
                first_sequence: Some(10),
                last_sequence: Some(14),
            }),
            99,
        ),
    ];
    for (word, event, activity) in events {
        let record = with_context(|context| lifecycle(context, event));
        let value = check(&format!("lifecycle-{word}.json"), record, &["/app/name", "/activity_name"]);
        assert_eq!(value["activity_id"], activity, "{word}");
        assert_eq!(value["unmapped"]["homeport"]["event"], word);
    }
}

#[test]
fn a_person_reads_what_where_who_how_and_why() {
    let text = with_context(|context| person::paragraph(context, &open(&pull()), Style::Plain));
    assert!(text.lines().all(|line| line.chars().count() <= 96), "{text}");
    assert!(!text.contains('\u{1b}'), "a command line must not drive the terminal");
    check_golden("person.txt", &text);
}

#[test]
fn colours_appear_only_when_asked_for() {
    let text = with_context(|context| person::paragraph(context, &open(&pull()), Style::Ansi));
    assert!(text.starts_with("\u{1b}[1;31mHIGH\u{1b}[0m"));
}

#[test]
fn a_log_line_is_one_line() {
    let line = with_context(|context| person::line(context, &open(&pull())));
    assert!(!line.contains('\n'));
    assert!(
        line.starts_with("Data left for Germany (DE) against policy storage: 64:ff9b::cb00:7107"),
        "{line}"
    );
}
