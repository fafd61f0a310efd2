//! Every shape of record in every format, against files that show them. After a deliberate change run the tests with
//! `HOMEPORT_BLESS=1` and read the difference.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn speaker() -> Speaker {
    Speaker { origin: "homeport/h1".to_owned() }
}

fn golden(directory: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(directory).join("golden")
}

/// Every record whose shape is pinned, by its name.
fn records() -> Vec<(String, Value)> {
    let files = std::fs::read_dir(golden("record")).expect("the directory");
    let mut records: Vec<_> = files
        .map(|file| file.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a text");
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, serde_json::from_str(&text).expect("JSON"))
        })
        .collect();
    records.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(records.len() >= 17, "{} shapes of record", records.len());
    records
}

fn entry(record: &Value) -> Entry {
    Entry { index: 41, record: record.to_string().into() }
}

fn said(format: Format, entry: &Entry) -> Value {
    let line = body(format, &speaker(), entry).expect("every record can be said");
    assert!(!line.contains('\n'));
    serde_json::from_str(&line).expect("JSON")
}

fn check_golden(name: &str, seen: &Value) {
    let file = golden("sink/format").join(name);
    let mut text = serde_json::to_string_pretty(seen).expect("JSON");
    text.push('\n');
    if std::env::var_os("HOMEPORT_BLESS").is_some() {
        std::fs::write(&file, &text).expect("write the golden file");
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(expected == text, "{name} changed:\n{text}");
}

#[test]
fn every_record_becomes_an_ecs_document_of_its_own_shape() {
    for (name, record) in records() {
        check_golden(&format!("ecs-{name}.json"), &said(Format::Ecs, &entry(&record)));
    }
}

#[test]
fn in_ecs_too_the_recipient_is_the_destination_although_it_asked_for_the_data() {
    let records = records();
    let (_, record) = records.iter().find(|(name, _)| name == "finding-open").expect("it exists");
    let document = said(Format::Ecs, &entry(record));
    assert_eq!(document["labels"]["initiator"], "remote");
    assert_eq!(document["destination"]["geo"]["country_iso_code"], "DE");
    assert_eq!(document["source"].get("geo"), None);
    assert_eq!(document["source"]["bytes"], 1_500);
    assert_eq!(document["destination"].get("bytes"), None);
    assert_eq!(document["network"]["direction"], "egress");
    assert_eq!(document["event"]["id"], "homeport/h1#41");
    assert_eq!(document["event"]["hash"], leaf_hash(&record.to_string()));
}

#[test]
fn an_event_carries_the_line_of_the_ledger_byte_for_byte() {
    for (name, record) in records() {
        let entry = entry(&record);
        let line = body(Format::CloudEvents, &speaker(), &entry).expect("every record can be said");
        assert!(line.ends_with(&format!(",\"data\":{}}}", entry.record)), "{name}");
        let event: Value = serde_json::from_str(&line).expect("JSON");
        for (attribute, value) in [
            ("specversion", "1.0"),
            ("id", "homeport/h1#41"),
            ("source", "homeport/h1"),
            ("datacontenttype", "application/json"),
        ] {
            assert_eq!(event[attribute], value, "{name}");
        }
        assert_eq!(event["sequence"], "00000000000000000041");
        assert_eq!(event["time"], "2026-03-01T00:01:30.123Z");
        assert_eq!(event["data"], record);
        // Names of attributes: lower case letters and digits (CloudEvents 1.0.2, 3.1).
        let names = event.as_object().expect("an object").keys();
        assert!(names.into_iter().all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase())));
    }
    let types: Vec<_> = records()
        .iter()
        .map(|(_, record)| said(Format::CloudEvents, &entry(record))["type"].clone())
        .collect();
    for kind in [
        "homeport.violation.open",
        "homeport.coverage.open",
        "homeport.exception.open",
        "homeport.interval",
        "homeport.lifecycle.clock-step",
    ] {
        assert!(types.contains(&kind.into()), "{kind} in {types:?}");
    }
}

#[test]
fn the_ledgers_own_format_is_the_line_itself() {
    let entry = Entry { index: 0, record: "not even JSON".into() };
    assert_eq!(body(Format::Ocsf, &speaker(), &entry).expect("the line"), "not even JSON");
    for format in [Format::Ecs, Format::CloudEvents] {
        assert!(body(format, &speaker(), &entry).is_err());
    }
}

#[test]
fn every_word_of_the_configuration_means_one_format() {
    for (word, format) in Format::ALL {
        assert_eq!(format.as_str(), word);
    }
}

/// Any JSON, as it may come from another version of the agent.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z_]{1,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Replaces what is at the `place`-th place of a record, counted in depth.
fn replace(value: &mut Value, place: &mut usize, by: &Value) {
    if *place == 0 {
        *place = usize::MAX;
        *value = by.clone();
        return;
    }
    *place = place.saturating_sub(1);
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| replace(value, place, by)),
        Value::Object(fields) => fields.values_mut().for_each(|value| replace(value, place, by)),
        _ => {}
    }
}

proptest! {
    #[test]
    fn no_kind_of_record_is_an_error_in_any_format(
        shape in 0_usize..17,
        changes in prop::collection::vec((1_usize..200, any_json()), 0..4),
        index: u64,
    ) {
        let mut record = records().swap_remove(shape).1;
        for (place, by) in changes {
            replace(&mut record, &mut place.clone(), &by);
        }
        let entry = Entry { index, record: record.to_string().into() };
        for (_, format) in Format::ALL {
            let line = body(format, &speaker(), &entry);
            let line = line.map_err(|error| TestCaseError::fail(format!("{format:?}: {error}")))?;
            prop_assert!(serde_json::from_str::<Value>(&line).is_ok_and(|value| value.is_object()));
        }
    }
}
