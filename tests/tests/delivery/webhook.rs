//! The HTTPS webhook: faults of receivers, client certificates, signatures.

use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use hmac::{Hmac, Mac as _};
use homeport::sink::settings::{Body, Compression, HttpSettings, Kind, TlsSettings, WebhookSettings};
use sha2::Sha256;

use crate::{
    PATIENCE, Team,
    certificates::{Certificates, write},
    eventually,
    ledger::Memory,
    receiver::{Answer, Receiver},
    settings,
};

fn webhook(receiver: &Receiver, tls: TlsSettings) -> WebhookSettings {
    WebhookSettings {
        url: receiver.url(),
        http: HttpSettings { tls, ..HttpSettings::default() },
        hmac_key_file: None,
        body: Body::Array,
        compression: Compression::None,
    }
}

/// Every record is there, in order but for repetitions.
fn check_complete(received: &[u64], expected: impl Iterator<Item = u64>) {
    let mut seen = BTreeSet::new();
    let firsts: Vec<u64> = received.iter().copied().filter(|n| seen.insert(*n)).collect();
    assert_eq!(firsts, expected.collect::<Vec<u64>>());
}

/// D3, row 4.
#[test]
fn no_fault_of_a_receiver_loses_a_record() {
    let directory = tempfile::tempdir().expect("a directory");
    let certificates = Certificates::make(directory.path());
    let receiver = Receiver::start(Some(Arc::clone(&certificates.server)));
    receiver.script([
        Answer::Status(200, ""),
        Answer::Late(Duration::from_secs(4)),
        Answer::Status(429, "retry-after: 1\r\n"),
        Answer::Status(500, ""),
        Answer::Hang,
        Answer::Status(503, "retry-after: 1\r\n"),
        Answer::Reset,
        Answer::Status(302, "location: https://127.0.0.1:9/\r\n"),
        Answer::Status(401, ""),
        Answer::Status(404, ""),
    ]);
    let memory = Memory::new();
    memory.append(300);
    let kind = Kind::Webhook(webhook(&receiver, certificates.trusted()));
    let team = Team::start(&memory, vec![settings("siem", kind)]);
    eventually("everything is delivered", || receiver.is_script_done() && team.has_delivered("siem"));
    let received = receiver.received();
    check_complete(&received, 0..300);
    let row = team.row("siem");
    assert!(row.retries >= 9 && row.dead_letters == 0, "{row:?}");
    assert_eq!((row.delivered, row.state.as_str()), (300, "delivering"));
}

/// D3, row 4: answers that are about the records.
#[test]
fn what_is_refused_for_good_goes_to_the_dead_letters_and_nothing_else_does() {
    let receiver = Receiver::start(None);
    // One record is refused, and more than 20 at once are too large.
    receiver.judge(|body| {
        let text = String::from_utf8_lossy(body);
        match text.matches("class_uid").count() {
            _ if text.contains("\"n\":77,") => 400,
            count if count > 20 => 413,
            _ => 200,
        }
    });
    let memory = Memory::new();
    memory.append(150);
    let kind = Kind::Webhook(webhook(&receiver, TlsSettings::default()));
    let team = Team::start(&memory, vec![settings("siem", kind)]);
    eventually("everything is delivered", || team.has_delivered("siem"));
    check_complete(&receiver.received(), (0..150).filter(|n| *n != 77));
    assert_eq!(team.row("siem").dead_letters, 1);
    let notices = team.sinks().take_notices();
    assert_eq!(notices.len(), 1, "{notices:?}");
    let letters = fs::read_to_string(team.directory.path().join("dead-letter/siem.jsonl")).expect("letters");
    let letter: serde_json::Value = serde_json::from_str(letters.trim_end()).expect("one letter");
    assert_eq!((&letter["index"], &letter["record"]["n"]), (&77.into(), &77.into()));
}

/// D3, row 9.
#[test]
fn a_dead_sink_delays_no_other() {
    let healthy = Receiver::start(None);
    let dead = Receiver::start(None);
    dead.script((0..10_000).map(|_| Answer::Hang));
    let memory = Memory::new();
    memory.append(500);
    let kind = |receiver: &Receiver| Kind::Webhook(webhook(receiver, TlsSettings::default()));
    let mut unknown = kind(&dead);
    if let Kind::Webhook(webhook) = &mut unknown {
        "http://sink.invalid:9/".clone_into(&mut webhook.url);
    }
    let team = Team::start(
        &memory,
        vec![
            settings("dead", kind(&dead)),
            settings("healthy", kind(&healthy)),
            settings("unknown", unknown),
        ],
    );
    eventually("the healthy one has everything", || team.has_delivered("healthy"));
    check_complete(&healthy.received(), 0..500);
    // It had no answer at all meanwhile, and what it has to get is still to come.
    let row = team.row("dead");
    assert_eq!((row.next, row.delivered, row.behind_entries), (0, 0, 500));
    eventually("all failures are told", || {
        let failing: Vec<String> = team.sinks().failing().into_iter().map(|(name, ..)| name).collect();
        failing == ["dead", "unknown"]
    });
}

/// D3, row 3 (the hour is simulated in the unit tests, a minute is a campaign).
#[test]
fn an_outage_delays_everything_and_loses_nothing() {
    check_outage(Duration::from_secs(3), 2_000);
}

pub(crate) fn check_outage(outage: Duration, per_sec: u64) {
    let receiver = Receiver::start(None);
    let address = receiver.address;
    let memory = Memory::new();
    memory.append(10);
    let kind = Kind::Webhook(webhook(&receiver, TlsSettings::default()));
    let team = Team::start(&memory, vec![settings("siem", kind)]);
    eventually("it delivers", || team.has_delivered("siem"));
    drop(receiver);
    let down = Instant::now();
    while down.elapsed() < outage {
        memory.append(per_sec / 10);
        thread::sleep(Duration::from_millis(100));
    }
    eventually("the outage is told", || team.row("siem").state == "failing");
    let behind = team.row("siem").behind_entries;
    assert!(behind > 0);
    let receiver = Receiver::start_at(address, None);
    let up = Instant::now();
    eventually("everything is delivered", || team.has_delivered("siem"));
    let took = up.elapsed();
    let received = receiver.received();
    let first = received[0];
    check_complete(&received, first..first + received.len() as u64);
    assert!(first <= 10, "{first}");
    let (live, caught_up) = (behind as f64 / outage.as_secs_f64(), behind as f64 / took.as_secs_f64());
    eprintln!("{behind} records, {live:.0} a second, caught up in {took:?}: {caught_up:.0} a second");
}

/// D3, row 2.
#[test]
fn an_agent_that_stops_while_the_receiver_is_down_keeps_the_backlog() {
    let receiver = Receiver::start(None);
    let address = receiver.address;
    let memory = Memory::new();
    memory.append(100);
    let sink = settings("siem", Kind::Webhook(webhook(&receiver, TlsSettings::default())));
    let team = Team::start(&memory, vec![sink.clone()]);
    eventually("it delivers", || team.has_delivered("siem"));
    drop(receiver);
    memory.append(200);
    eventually("it fails", || team.row("siem").state == "failing");
    let begin = Instant::now();
    let directory = team.stop();
    assert!(begin.elapsed() < PATIENCE);
    let receiver = Receiver::start_at(address, None);
    let team = Team::start_in(directory, &memory, vec![sink]);
    eventually("the backlog is delivered", || team.has_delivered("siem"));
    check_complete(&receiver.received(), 100..300);
}

#[test]
fn who_has_no_certificate_delivers_nothing_and_says_why() {
    let directory = tempfile::tempdir().expect("a directory");
    let certificates = Certificates::make(directory.path());
    let receiver = Receiver::start(Some(Arc::clone(&certificates.server)));
    let memory = Memory::new();
    memory.append(5);
    let sink = |tls| settings("siem", Kind::Webhook(webhook(&receiver, tls)));
    let team = Team::start(&memory, vec![sink(certificates.anonymous())]);
    eventually("it fails", || team.row("siem").retries >= 2);
    assert_eq!(receiver.received(), [0_u64; 0]);
    // A receiver that nobody vouches for is no better.
    team.sinks().settle(vec![sink(TlsSettings::default())]);
    eventually("it is not trusted", || {
        let error = team.row("siem").last_error;
        error.is_some_and(|error| error.reason.contains("ertificate") || error.reason.contains("authorities"))
    });
    // A reload with the right one goes on from the cursor.
    team.sinks().settle(vec![sink(certificates.trusted())]);
    eventually("it delivers", || team.has_delivered("siem"));
    check_complete(&receiver.received(), 0..5);
}

#[test]
fn bodies_are_signed_and_compressed_and_carry_the_token() {
    let directory = tempfile::tempdir().expect("a directory");
    let token = directory.path().join("token");
    let key = directory.path().join("key");
    write(&token, "t0ken\n", 0o600);
    write(&key, "k3y\n", 0o600);
    let receiver = Receiver::start(None);
    let memory = Memory::new();
    memory.append(3);
    let mut webhook = webhook(&receiver, TlsSettings::default());
    webhook.http.token_file = Some(token);
    webhook.http.headers = vec![("X-Scope-OrgID".to_owned(), "storage".to_owned())];
    webhook.hmac_key_file = Some(key.clone());
    webhook.compression = Compression::Gzip;
    webhook.body = Body::Lines;
    let team = Team::start(&memory, vec![settings("siem", Kind::Webhook(webhook))]);
    eventually("it delivers", || team.has_delivered("siem"));
    let request = receiver.requests().remove(0);
    let header = |name: &str| {
        let line = request.head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}:")));
        line.and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
            .expect("the header")
    };
    assert_eq!(header("authorization"), "Bearer t0ken");
    assert_eq!(header("x-scope-orgid"), "storage");
    assert_eq!(header("content-type"), "application/x-ndjson");
    assert_eq!(header("idempotency-key"), "homeport/h1#0-2");
    let signature = header("x-homeport-signature");
    let (time, sum) =
        signature.strip_prefix("t=").and_then(|text| text.split_once(",v1=")).expect("two parts");
    let mut mac = Hmac::<Sha256>::new_from_slice(b"k3y").expect("a key");
    mac.update(format!("{time}.").as_bytes());
    mac.update(&request.body);
    let expected: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(sum, expected);
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*request.body).read_to_string(&mut text).expect("unpacked");
    assert_eq!(text.lines().count(), 3);

    // A key that others can read is not used any more.
    write(&key, "k3y\n", 0o644);
    memory.append(1);
    eventually("it refuses the key", || {
        let error = team.row("siem").last_error;
        error.is_some_and(|error| error.reason.contains("0644") && !error.reason.contains("k3y"))
    });
    write(&key, "k3y\n", 0o600);
    eventually("it delivers", || team.has_delivered("siem"));
}

#[test]
fn a_sink_that_is_removed_keeps_its_place() {
    let receiver = Receiver::start(None);
    let memory = Memory::new();
    memory.append(10);
    let sink = settings("siem", Kind::Webhook(webhook(&receiver, TlsSettings::default())));
    let team = Team::start(&memory, vec![sink.clone()]);
    eventually("it delivers", || team.has_delivered("siem"));
    team.sinks().settle(Vec::new());
    eventually("it is gone", || team.row("siem").state == "removed");
    memory.append(10);
    team.sinks().settle(vec![sink]);
    eventually("it delivers", || team.has_delivered("siem"));
    assert_eq!(receiver.received(), (0..20).collect::<Vec<u64>>());
}
