//! Somebody else's parser reads what we write.

use proptest::prelude::*;
use syslog_rfc5424::{SyslogFacility, SyslogSeverity, parse_message};

use super::*;
use crate::sink::settings::{TlsSettings, Transport};

fn settings(max_bytes: usize) -> SyslogSettings {
    SyslogSettings {
        host: "loghost".to_owned(),
        port: 6514,
        transport: Transport::Tls,
        facility: 13,
        enterprise: 32_473,
        message: Message::Record,
        max_bytes,
        tls: TlsSettings::default(),
    }
}

fn of(settings: &SyslogSettings, entry: &Entry) -> Result<String, Unreadable> {
    message(settings, Format::Ocsf, &speaker(), entry)
}

fn speaker() -> Speaker {
    Speaker { origin: "homeport/h1".to_owned() }
}

fn finding() -> Entry {
    let record: serde_json::Value =
        serde_json::from_str(include_str!("../../../record/golden/finding-open.json")).expect("JSON");
    Entry { index: 7, record: record.to_string().into() }
}

#[test]
fn a_finding_is_one_message_that_others_can_read() {
    let entry = finding();
    let text = of(&settings(8_192), &entry).expect("a message");
    let beginning = "<107>1 2026-03-01T00:01:30.123Z storage-1 homeport - violation [homeport@32473 \
                     id=\"homeport/h1#7\" index=\"7\" event=\"open\" severity=\"High\" \
                     episode=\"e42f67da43f6ef6c99c33044019b4dee\" kind=\"transfer\" rule=\"not-approved\" \
                     policy=\"storage\" country=\"DE\" ip=\"64:ff9b::cb00:7107\" port=\"50000\" process=\"nginx\" \
                     initiator=\"remote\" bytes=\"1500\"][meta sequenceId=\"8\"] {\"action\"";
    assert!(text.starts_with(beginning), "{text}");
    let read = parse_message(&text).expect("RFC 5424");
    assert_eq!((read.facility, read.severity), (SyslogFacility::LOG_AUDIT, SyslogSeverity::SEV_ERR));
    assert_eq!(read.msg.as_str(), &*entry.record);
}

#[test]
fn a_record_too_long_for_the_receiver_goes_as_a_sentence_that_names_it() {
    let entry = finding();
    let text = of(&settings(2_048), &entry).expect("a message");
    assert!(text.len() <= 2_048);
    let read = parse_message(&text).expect("RFC 5424");
    assert!(read.msg.starts_with("Data left for Germany (DE) against policy storage"), "{}", read.msg);
    let data = |name| read.sd.find_tuple("homeport@32473", name).cloned();
    assert_eq!(data("shortened").as_deref(), Some("yes"));
    assert_eq!(data("leaf"), Some(leaf_hash(&entry.record)));
    assert_eq!(data("id").as_deref(), Some("homeport/h1#7"));

    let settings = SyslogSettings { message: Message::Text, ..settings(8_192) };
    let text = of(&settings, &entry).expect("a message");
    assert!(
        !text.contains("shortened") && !text.contains("leaf"),
        "a sentence that was asked for is whole: {text}"
    );
}

#[test]
fn what_is_no_record_is_no_message() {
    for line in ["", "[]", "7", "{\"a\":"] {
        let entry = Entry { index: 0, record: line.into() };
        assert!(of(&settings(8_192), &entry).is_err(), "{line}");
    }
}

proptest! {
    #[test]
    fn no_name_in_a_record_breaks_a_message(
        texts in prop::collection::vec(".{0,300}", 6),
        severity in 0_u64..100,
        index: u64,
        max_bytes in LEAST_BYTES..20_000,
    ) {
        let [hostname, policy, process, exception, said, country] = texts.as_slice() else { unreachable!() };
        let record = serde_json::json!({
            "severity_id": severity, "message": said, "time": 1_772_323_290_123_i64,
            "device": { "hostname": hostname }, "policy": { "name": policy }, "class_uid": 2004,
            "evidences": [{ "process": { "name": process }, "dst_endpoint": { "location": { "country": country } } }],
            "unmapped": { "homeport": { "kind": "transfer", "exception": exception } },
        });
        let entry = Entry { index, record: record.to_string().into() };
        let text = of(&settings(max_bytes), &entry).expect("a message");
        prop_assert!(text.len() <= max_bytes);
        let read = parse_message(&text).map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
        let id = read.sd.find_tuple("homeport@32473", "id").cloned();
        prop_assert_eq!(id, Some(format!("homeport/h1#{index}")));
        let is_whole = read.sd.find_tuple("homeport@32473", "shortened").is_none();
        if is_whole {
            prop_assert_eq!(read.msg.as_str(), record.to_string());
        }
    }
}
