//! OTLP over HTTP, against a receiver generated from the official files.

use std::{collections::BTreeSet, time::Duration};

use homeport::sink::{
    format::Format,
    settings::{Compression, HttpSettings, Kind, OtlpSettings},
};
use homeport_tests::receiver::{
    delivery::{Delivery, ORIGIN, check_complete, ledger, message, most_often, shapes},
    otlp::{Play, Receiver, Value, attribute, index},
};
use serde_json::json;

/// Each attempt may take so long; only receivers that hang make use of it.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The same where nothing hangs: however loaded the machine is.
const PATIENT: Duration = Duration::from_secs(30);

fn kind(receiver: &Receiver, compression: Compression) -> Kind {
    Kind::Otlp(OtlpSettings { url: receiver.url(), http: HttpSettings::default(), compression })
}

fn received(receiver: &Receiver) -> Vec<u64> {
    receiver.accepted().iter().filter_map(index).collect()
}

/// A text, or a number as text.
fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

#[tokio::test]
async fn every_shape_of_record_arrives_with_its_names_and_its_evidence() {
    for compression in [Compression::None, Compression::Gzip] {
        let receiver = Receiver::start([]).await.expect("a receiver");
        let entries = ledger(shapes().expect("shapes").len()).expect("a ledger");
        let delivery =
            Delivery::begin(entries.clone(), kind(&receiver, compression), 100, PATIENT).expect("a sink");
        delivery.complete().await.expect("all of it");

        let requests = receiver.requests();
        let [request] = requests.as_slice() else { panic!("{} requests", requests.len()) };
        let encoding = request.headers.get("content-encoding").map(String::as_str);
        assert_eq!(encoding, (compression == Compression::Gzip).then_some("gzip"));
        let [logs] = request.logs.resource_logs.as_slice() else { panic!("one host is one resource") };
        let resource = &logs.resource.as_ref().expect("a resource").attributes;
        for (name, value) in [
            ("service.name", "homeport"),
            ("service.version", "0.1.0"),
            ("service.instance.id", "5d1c0b6f9f0e4d0a8f6f3c2b1a000001"),
            ("host.name", "storage-1"),
            ("egress.ledger.origin", ORIGIN),
        ] {
            assert_eq!(text(attribute(resource, name)).as_deref(), Some(value), "{name}");
        }
        assert_eq!(logs.schema_url, "https://opentelemetry.io/schemas/1.44.0");

        let records = receiver.accepted();
        assert_eq!(records.len(), entries.len());
        for (entry, record) in entries.iter().zip(&records) {
            let said = |name| text(attribute(&record.attributes, name));
            assert_eq!(said("egress.record").as_deref(), Some(&*entry.record));
            assert_eq!(said("log.record.uid"), Some(format!("{ORIGIN}#{}", entry.index)));
            let body = record.body.as_ref().and_then(|body| body.value.as_ref());
            assert_eq!(text(body), Some(message(entry.index)));
            assert_eq!(record.time_unix_nano, 1_772_323_290_123_000_000);
            assert!((9..=21).contains(&record.severity_number), "{record:?}");
            assert!(record.event_name.starts_with("egress."), "{}", record.event_name);
            let mut names: Vec<_> = record.attributes.iter().map(|attribute| &attribute.key).collect();
            names.sort();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count, "an attribute stands there twice");
        }
    }
}

#[tokio::test]
async fn a_finding_has_the_frozen_names() {
    let receiver = Receiver::start([]).await.expect("a receiver");
    let entries = ledger(shapes().expect("shapes").len()).expect("a ledger");
    let delivery =
        Delivery::begin(entries, kind(&receiver, Compression::Gzip), 100, PATIENT).expect("a sink");
    delivery.complete().await.expect("all of it");
    let records = receiver.accepted();
    let open =
        |record: &&_| text(attribute(record_attributes(record), "egress.event")).as_deref() == Some("open");
    let finding = records
        .iter()
        .filter(|record| record.event_name == "egress.violation")
        .find(open)
        .expect("a finding");
    assert_eq!((finding.severity_number, finding.severity_text.as_str()), (17, "High"));
    for (name, value) in [
        ("egress.kind", "transfer"),
        ("egress.action", "observed"),
        ("egress.initiator", "remote"),
        ("egress.bytes.out", "1500"),
        ("egress.events.lost", "3"),
        ("egress.episode.id", "e42f67da43f6ef6c99c33044019b4dee"),
        ("egress.first_seen", "1772323210000000000"),
        ("geo.country.iso_code", "DE"),
        ("egress.geo.database", "country.mmdb"),
        ("network.peer.address", "64:ff9b::cb00:7107"),
        ("network.peer.port", "50000"),
        ("network.local.address", "2001:db8::10"),
        ("network.local.port", "443"),
        ("network.transport", "tcp"),
        ("network.type", "ipv6"),
        ("egress.peer.asn", "64496"),
        ("process.pid", "4242"),
        ("process.executable.path", "/usr/sbin/nginx"),
        ("process.user.name", "www-data"),
        ("security_rule.name", "not-approved"),
        ("security_rule.ruleset.name", "storage"),
    ] {
        assert_eq!(text(attribute(&finding.attributes, name)).as_deref(), Some(value), "{name}");
    }
    assert_eq!(attribute(&finding.attributes, "network.io.direction"), None);
}

fn record_attributes(
    record: &homeport_tests::receiver::otlp::LogRecord,
) -> &[homeport_tests::receiver::otlp::KeyValue] {
    &record.attributes
}

#[tokio::test]
async fn nothing_is_lost_when_the_receiver_fails_in_every_way_that_passes() {
    let script = [
        Play::Status(429, "retry-after: 0\r\n"),
        Play::Accept,
        Play::Status(502, ""),
        Play::Reset,
        Play::ResetEarly,
        Play::Page,
        Play::Accept,
        Play::Status(503, "retry-after: 1\r\n"),
        Play::AcceptAndReset,
        Play::Status(504, ""),
        Play::Status(302, "location: http://127.0.0.1:9/\r\n"),
        Play::Accept,
        Play::Hang,
        Play::AcceptLate(Duration::from_millis(50)),
    ];
    let faults = script.iter().filter(|play| !matches!(play, Play::Accept | Play::AcceptLate(_))).count();
    let receiver = Receiver::start(script).await.expect("a receiver");
    let entries = ledger(100).expect("a ledger");
    let delivery = Delivery::begin(entries, kind(&receiver, Compression::Gzip), 10, Duration::from_secs(3))
        .expect("a sink");
    let row = delivery.complete().await.expect("all of it");
    check_complete(&received(&receiver), 100, &BTreeSet::new()).expect("at least once, in order");
    assert_eq!(delivery.dead().expect("letters"), []);
    assert!(row.retries >= faults as u64, "each fault is tried again: {row:?}");
    // One answer was lost after its batch was taken, and only a loaded machine is late more often.
    assert!(most_often(&received(&receiver)) >= 2);
}

#[tokio::test]
async fn a_receiver_that_is_restarted_again_and_again_misses_nothing() {
    let mut receiver = Receiver::start([]).await.expect("a receiver");
    let entries = ledger(2_000).expect("a ledger");
    receiver.otherwise(Play::AcceptLate(Duration::from_millis(3)));
    let delivery = Delivery::begin(entries, kind(&receiver, Compression::None), 7, PATIENT).expect("a sink");
    for round in 1..=5 {
        delivery.eventually(|row| row.next >= round * 150).await.expect("it goes on");
        receiver = receiver.restart(Duration::from_millis(50)).await.expect("a restart");
    }
    delivery.complete().await.expect("all of it");
    check_complete(&received(&receiver), 2_000, &BTreeSet::new()).expect("at least once, in order");
    assert_eq!(delivery.dead().expect("letters"), []);
}

#[tokio::test]
async fn what_must_not_be_tried_again_is_not() {
    for status in [401, 404, 500, 501] {
        let receiver = Receiver::start([]).await.expect("a receiver");
        receiver.otherwise(Play::Status(status, ""));
        let entries = ledger(4).expect("a ledger");
        let delivery =
            Delivery::begin(entries.clone(), kind(&receiver, Compression::None), 1, PATIENT).expect("a sink");
        let row = delivery.complete().await.expect("all of it");
        assert_eq!((row.retries, row.dead_letters), (0, 4), "{status}: {row:?}");
        assert_eq!(receiver.requests().len(), 4, "{status}: one request for each");
        let dead = delivery.dead().expect("letters");
        assert_eq!(dead.iter().map(|dead| dead.index).collect::<Vec<_>>(), [0, 1, 2, 3]);
        for (dead, entry) in dead.iter().zip(&entries) {
            assert!(dead.reason.contains(&status.to_string()), "{}", dead.reason);
            assert_eq!(dead.record.to_string(), *entry.record);
        }
    }
}

#[tokio::test]
async fn one_record_that_is_refused_takes_no_other_with_it() {
    let receiver = Receiver::start([]).await.expect("a receiver");
    receiver.otherwise(Play::Without(message(33)));
    let entries = ledger(64).expect("a ledger");
    let delivery = Delivery::begin(entries, kind(&receiver, Compression::Gzip), 64, PATIENT).expect("a sink");
    delivery.complete().await.expect("all of it");
    let dead = delivery.dead().expect("letters");
    assert_eq!(dead.iter().map(|dead| dead.index).collect::<Vec<_>>(), [33]);
    assert!(
        dead[0].reason.contains("400") && dead[0].reason.contains("cannot read this"),
        "{}",
        dead[0].reason
    );
    check_complete(&received(&receiver), 64, &[33].into()).expect("all others, in order");
    assert_eq!(most_often(&received(&receiver)), 1);
}

#[tokio::test]
async fn requests_too_large_for_the_receiver_become_smaller() {
    let receiver = Receiver::start([]).await.expect("a receiver");
    receiver.otherwise(Play::AtMost(3));
    let delivery =
        Delivery::begin(ledger(100).expect("a ledger"), kind(&receiver, Compression::None), 64, PATIENT)
            .expect("a sink");
    delivery.complete().await.expect("all of it");
    assert_eq!(delivery.dead().expect("letters"), []);
    check_complete(&received(&receiver), 100, &BTreeSet::new()).expect("all of it, in order");
    assert_eq!(most_often(&received(&receiver)), 1);
}

#[tokio::test]
async fn a_partial_success_goes_to_the_dead_letter_file_with_its_number_and_is_not_sent_again() {
    let script = [Play::Accept, Play::Partial(2, "log too old"), Play::Partial(0, "a warning"), Play::Accept];
    let receiver = Receiver::start(script).await.expect("a receiver");
    let delivery =
        Delivery::begin(ledger(40).expect("a ledger"), kind(&receiver, Compression::None), 10, PATIENT)
            .expect("a sink");
    let row = delivery.complete().await.expect("all of it");
    assert_eq!((row.retries, receiver.requests().len()), (0, 4), "{row:?}");
    let dead = delivery.dead().expect("letters");
    assert_eq!(dead.iter().map(|dead| dead.index).collect::<Vec<_>>(), (10..20).collect::<Vec<_>>());
    let reason = "the receiver rejected 2 of 10 records, it does not say which: log too old";
    assert!(dead.iter().all(|dead| dead.reason == reason), "{dead:?}");

    let receiver =
        Receiver::start([Play::Accept, Play::Partial(1, "log too old")]).await.expect("a receiver");
    let delivery =
        Delivery::begin(ledger(4).expect("a ledger"), kind(&receiver, Compression::None), 1, PATIENT)
            .expect("a sink");
    delivery.complete().await.expect("all of it");
    let dead = delivery.dead().expect("letters");
    assert_eq!(dead.len(), 1, "batches of one make it exact");
    assert_eq!((dead[0].index, dead[0].reason.as_str()), (1, "rejected: log too old"));
    check_complete(&received(&receiver), 4, &[1].into()).expect("all others, in order");
}

#[tokio::test]
async fn a_receiver_too_slow_for_a_whole_batch_gets_less_at_once() {
    let receiver = Receiver::start([Play::Hang, Play::Hang]).await.expect("a receiver");
    let delivery =
        Delivery::begin(ledger(64).expect("a ledger"), kind(&receiver, Compression::None), 64, TIMEOUT)
            .expect("a sink");
    delivery.complete().await.expect("all of it");
    let sizes: Vec<usize> = receiver
        .requests()
        .iter()
        .map(|request| request.logs.resource_logs[0].scope_logs[0].log_records.len())
        .collect();
    let [first, second, third, ..] = sizes.as_slice() else { panic!("{sizes:?}") };
    assert!(second < first && third < second, "{sizes:?}");
    check_complete(&received(&receiver), 64, &BTreeSet::new()).expect("all of it, in order");
}

#[tokio::test]
async fn a_line_that_is_no_record_is_put_aside() {
    let receiver = Receiver::start([]).await.expect("a receiver");
    let mut entries = ledger(3).expect("a ledger");
    // A head that every sink wants, and a rest that is broken.
    entries[1].record = "{\"class_uid\":6002,\"severity_id\":1,".into();
    let kind = kind(&receiver, Compression::None);
    let delivery = Delivery::begin_as(entries, kind, Format::Ocsf, 3, PATIENT).expect("a sink");
    delivery.complete().await.expect("all of it");
    assert_eq!(received(&receiver), [0, 2]);
    let dead = delivery.dead().expect("letters");
    assert_eq!((dead[0].index, &dead[0].record), (1, &json!("{\"class_uid\":6002,\"severity_id\":1,")));
}
