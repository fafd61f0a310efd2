//! Syslog, against rsyslog and against receivers that end at the worst moment.

use std::{collections::BTreeSet, path::Path, time::Duration};

use homeport::sink::{
    format::{Format, leaf_hash},
    settings::{ClientFiles, Kind, Message, SyslogSettings, TlsSettings, Transport},
};
use homeport_tests::{
    receiver::{
        certificates::Authority,
        delivery::{Delivery, ORIGIN, check_complete, ledger, message, most_often, shapes},
        rsyslog::{Input, Rsyslog},
        stream::{Play, Receiver},
    },
    schema,
};
use serde_json::Value;
use tempfile::TempDir;

/// However loaded the machine is.
const PATIENT: Duration = Duration::from_secs(30);

/// Each attempt may take so long; only receivers that hang make use of it.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Longer than any record.
const ANY_LENGTH: usize = 128 << 10;

fn settings(port: u16, transport: Transport) -> SyslogSettings {
    SyslogSettings {
        host: "127.0.0.1".to_owned(),
        port,
        transport,
        facility: 13,
        enterprise: 32_473,
        message: Message::Record,
        max_bytes: ANY_LENGTH,
        tls: TlsSettings::default(),
    }
}

fn tcp(receiver: &Receiver) -> Kind {
    Kind::Syslog(settings(receiver.address().port(), Transport::Tcp))
}

/// Our structured data, as rsyslog understood it.
fn data<'a>(message: &'a Value, name: &str) -> Option<&'a str> {
    // Names of structured data are in lower case there.
    message["$!"]["rfc5424-sd"]["homeport@32473"][name].as_str()
}

fn indices(messages: &[Value]) -> Vec<u64> {
    messages.iter().filter_map(|message| data(message, "index")?.parse().ok()).collect()
}

/// The same of messages as they came.
fn raw_indices(messages: &[String]) -> Vec<u64> {
    let index = |message: &String| message.split(" index=\"").nth(1)?.split('"').next()?.parse().ok();
    messages.iter().filter_map(index).collect()
}

/// Everything that rsyslog understood of a ledger in which each shape stands once.
fn check_understood(messages: &[Value]) {
    let entries = ledger(shapes().expect("shapes").len()).expect("a ledger");
    for (entry, message) in entries.iter().zip(messages) {
        let record: Value = serde_json::from_str(&entry.record).expect("JSON");
        assert_eq!(data(message, "id"), Some(format!("{ORIGIN}#{}", entry.index).as_str()), "{message}");
        assert_eq!(message["app-name"], "homeport");
        assert_eq!(message["hostname"], "storage-1");
        assert_eq!(message["syslogfacility"], "13");
        let severity = record["severity_id"].as_u64().expect("a severity");
        let expected = [6, 6, 5, 4, 3, 2][usize::try_from(severity).expect("small")];
        assert_eq!(message["syslogseverity"], expected.to_string(), "{severity}");
        let country = record["evidences"][0]["dst_endpoint"]["location"]["country"].as_str();
        assert_eq!(data(message, "country"), country);
        let said: Value =
            serde_json::from_str(message["msg"].as_str().expect("a text").trim()).expect("JSON");
        assert_eq!(said, record);
        schema::ocsf::check(&said).expect("OCSF");
    }
}

/// Delivers every shape once.
async fn every_shape(rsyslog: &Rsyslog, settings: SyslogSettings) -> Vec<Value> {
    let entries = ledger(shapes().expect("shapes").len()).expect("a ledger");
    let count = entries.len();
    let delivery = Delivery::begin(entries, Kind::Syslog(settings), 100, PATIENT).expect("a sink");
    delivery.complete().await.unwrap_or_else(|error| panic!("{error:#}: {}", rsyslog.log()));
    rsyslog.eventually(|messages| messages.len() >= count).expect("all of it")
}

#[tokio::test]
async fn rsyslog_understands_every_shape_of_record_over_tcp() {
    let directory = TempDir::new().expect("a directory");
    let rsyslog = Rsyslog::start(directory.path(), Input::Tcp).expect("rsyslog");
    let messages = every_shape(&rsyslog, settings(rsyslog.port(), Transport::Tcp)).await;
    check_understood(&messages);
}

#[tokio::test]
async fn rsyslog_understands_every_shape_of_record_over_udp() {
    let directory = TempDir::new().expect("a directory");
    let rsyslog = Rsyslog::start(directory.path(), Input::Udp).expect("rsyslog");
    let messages = every_shape(&rsyslog, settings(rsyslog.port(), Transport::Udp)).await;
    check_understood(&messages);
}

#[tokio::test]
async fn datagrams_keep_within_what_receivers_should_take() {
    let directory = TempDir::new().expect("a directory");
    let rsyslog = Rsyslog::start(directory.path(), Input::Udp).expect("rsyslog");
    let max_bytes = Transport::Udp.default_max_bytes();
    let settings = SyslogSettings { max_bytes, ..settings(rsyslog.port(), Transport::Udp) };
    let messages = every_shape(&rsyslog, settings).await;
    let entries = ledger(messages.len()).expect("a ledger");
    let mut shortened = 0;
    for (entry, message) in entries.iter().zip(&messages) {
        let said = message["msg"].as_str().expect("a text").trim();
        if data(message, "shortened") == Some("yes") {
            assert_eq!(said, homeport_tests::receiver::delivery::message(entry.index));
            assert_eq!(data(message, "leaf"), Some(leaf_hash(&entry.record).as_str()));
            shortened += 1;
        } else {
            assert_eq!(said, &*entry.record);
        }
        assert!(message["rawmsg"].as_str().is_some_and(|raw| raw.len() <= max_bytes), "{message}");
    }
    assert!(shortened > 0 && shortened < messages.len(), "{shortened} of {}", messages.len());
}

fn tls(directory: &Path, sender: Option<&str>) -> (Input, TlsSettings) {
    let authority = Authority::new(directory, "authority").expect("an authority");
    let identity = authority.sign(&["loghost", "127.0.0.1"]).expect("a certificate");
    let client = sender.map(|name| {
        let identity = authority.sign(&[name]).expect("a certificate");
        ClientFiles { certificate: identity.certificate, key: identity.key }
    });
    let ca_file = directory.join("authority.pem");
    let input = Input::Tls { authority: ca_file.clone(), identity, sender: sender.map(str::to_owned) };
    (input, TlsSettings { ca_file: Some(ca_file), client })
}

#[tokio::test]
async fn rsyslog_understands_every_shape_of_record_over_tls_from_whom_it_knows() {
    for sender in [None, Some("storage-1.example.org")] {
        let directory = TempDir::new().expect("a directory");
        let (input, tls) = tls(directory.path(), sender);
        let rsyslog = Rsyslog::start(directory.path(), input).expect("rsyslog");
        let settings = SyslogSettings { tls, ..settings(rsyslog.port(), Transport::Tls) };
        let messages = every_shape(&rsyslog, settings).await;
        check_understood(&messages);
    }
}

#[tokio::test]
async fn a_stranger_gets_nothing_and_who_is_not_known_delivers_nothing() {
    let directory = TempDir::new().expect("a directory");
    let (input, known) = tls(directory.path(), Some("storage-1.example.org"));
    let rsyslog = Rsyslog::start(directory.path(), input).expect("rsyslog");
    // We show no certificate, and: we trust somebody else.
    let others = TempDir::new().expect("a directory");
    Authority::new(others.path(), "others").expect("an authority");
    let anonymous = TlsSettings { client: None, ..known.clone() };
    let distrustful = TlsSettings { ca_file: Some(others.path().join("others.pem")), ..known };
    for tls in [anonymous, distrustful] {
        let settings = SyslogSettings { tls, ..settings(rsyslog.port(), Transport::Tls) };
        let delivery = Delivery::begin(ledger(3).expect("a ledger"), Kind::Syslog(settings), 3, PATIENT)
            .expect("a sink");
        let row = delivery.eventually(|row| row.retries >= 3).await.expect("it keeps trying");
        assert_eq!(row.next, 0, "{row:?}");
    }
    assert_eq!(rsyslog.messages().expect("messages").len(), 0);
}

#[tokio::test]
async fn rsyslog_may_be_restarted_again_and_again() {
    let directory = TempDir::new().expect("a directory");
    let mut rsyslog = Rsyslog::start(directory.path(), Input::Tcp).expect("rsyslog");
    let count = 3_000;
    let settings = settings(rsyslog.port(), Transport::Tcp);
    let delivery = Delivery::begin(ledger(count).expect("a ledger"), Kind::Syslog(settings), 20, PATIENT)
        .expect("a sink");
    for round in 1..=3 {
        delivery.eventually(|row| row.next >= round * 200).await.expect("it goes on");
        rsyslog = tokio::task::spawn_blocking(|| rsyslog.restart(Duration::from_millis(100)))
            .await
            .expect("a thread")
            .expect("a restart");
    }
    delivery.complete().await.expect("all of it");
    let is_last = |messages: &[Value]| indices(messages).contains(&(count as u64 - 1));
    let messages = rsyslog.eventually(is_last).expect("the last one");
    check_complete(&indices(&messages), count, &BTreeSet::new()).expect("at least once, in order");
}

#[tokio::test]
async fn nothing_is_lost_when_a_receiver_dies_with_messages_it_has_not_read() {
    let script = [
        Play::Read,
        Play::Die(10),
        Play::Die(5_000),
        Play::Close,
        Play::Read,
        Play::Die(9_000),
        Play::Close,
        Play::Die(1),
    ];
    let receiver = Receiver::start(script).expect("a receiver");
    let delivery =
        Delivery::begin(ledger(200).expect("a ledger"), tcp(&receiver), 20, PATIENT).expect("a sink");
    let row = delivery.complete().await.expect("all of it");
    check_complete(&raw_indices(&receiver.messages()), 200, &BTreeSet::new())
        .expect("at least once, in order");
    assert_eq!(row.retries, 6, "every connection that was not read to its end is repeated: {row:?}");
    assert_eq!(receiver.connections(), 6 + 10);
    assert_eq!(receiver.faults(), Vec::<String>::new());
    assert!(most_often(&raw_indices(&receiver.messages())) >= 2, "what was read before a death comes again");
}

#[tokio::test]
async fn a_receiver_that_hangs_or_never_closes_holds_the_cursor() {
    let receiver = Receiver::start([Play::Hang, Play::Keep, Play::Read]).expect("a receiver");
    let delivery =
        Delivery::begin(ledger(40).expect("a ledger"), tcp(&receiver), 40, TIMEOUT).expect("a sink");
    let row = delivery.complete().await.expect("all of it");
    assert!(row.retries >= 2, "{row:?}");
    check_complete(&raw_indices(&receiver.messages()), 40, &BTreeSet::new())
        .expect("at least once, in order");
}

#[tokio::test]
async fn a_slow_reader_is_given_less_at_once_until_it_keeps_up() {
    // At most 70 KB in the second that an attempt may take.
    let script = vec![Play::Slowly(2_048, Duration::from_millis(30)); 10_000];
    let receiver = Receiver::start(script).expect("a receiver");
    let entries = ledger(100).expect("a ledger");
    let size: usize = entries.iter().map(|entry| entry.record.len()).sum();
    assert!(size > 100_000, "{size} bytes");
    let delivery = Delivery::begin(entries, tcp(&receiver), 100, TIMEOUT).expect("a sink");
    let row = delivery.complete().await.expect("all of it");
    assert!(row.retries >= 1, "all of it at once was too much: {row:?}");
    check_complete(&raw_indices(&receiver.messages()), 100, &BTreeSet::new())
        .expect("at least once, in order");
    assert_eq!(receiver.faults(), Vec::<String>::new());
}

#[tokio::test]
async fn a_receiver_that_is_restarted_again_and_again_misses_nothing() {
    let mut receiver = Receiver::start([]).expect("a receiver");
    let delivery =
        Delivery::begin(ledger(4_000).expect("a ledger"), tcp(&receiver), 9, PATIENT).expect("a sink");
    for round in 1..=5 {
        delivery.eventually(|row| row.next >= round * 300).await.expect("it goes on");
        receiver = receiver.restart(Duration::from_millis(30)).await.expect("a restart");
    }
    delivery.complete().await.expect("all of it");
    check_complete(&raw_indices(&receiver.messages()), 4_000, &BTreeSet::new())
        .expect("at least once, in order");
}

#[tokio::test]
async fn datagrams_to_a_port_where_nobody_listens_are_not_taken_for_delivered() {
    let port = std::net::UdpSocket::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .expect("a port")
        .port();
    let kind = Kind::Syslog(settings(port, Transport::Udp));
    let delivery = Delivery::begin(ledger(5).expect("a ledger"), kind, 5, PATIENT).expect("a sink");
    let row = delivery.eventually(|row| row.retries >= 3).await.expect("it keeps trying");
    assert_eq!(row.next, 0, "{row:?}");
}

#[tokio::test]
async fn the_message_may_be_in_another_format_or_a_sentence() {
    let receiver = Receiver::start([]).expect("a receiver");
    let entries = || ledger(shapes().expect("shapes").len()).expect("a ledger");
    let count = entries().len();
    let delivery = Delivery::begin_as(entries(), tcp(&receiver), Format::Ecs, 100, PATIENT).expect("a sink");
    delivery.complete().await.expect("all of it");
    let messages = receiver.messages();
    assert_eq!(messages.len(), count);
    for message in &messages {
        let document = message.split_once("\"] {").expect("a document").1;
        let document: Value = serde_json::from_str(&format!("{{{document}")).expect("JSON");
        schema::ecs::check(&document).unwrap_or_else(|error| panic!("{error:#}: {document}"));
    }

    let receiver = Receiver::start([]).expect("a receiver");
    let settings =
        SyslogSettings { message: Message::Text, ..settings(receiver.address().port(), Transport::Tcp) };
    let delivery = Delivery::begin(entries(), Kind::Syslog(settings), 100, PATIENT).expect("a sink");
    delivery.complete().await.expect("all of it");
    for (index, message) in (0..).zip(&receiver.messages()) {
        assert!(message.ends_with(&format!("\"] {}", self::message(index))), "{message}");
        assert!(!message.contains("shortened"));
    }
}
