//! Ledgers made from the golden records, written by a writer that is neither ours nor the auditor's.

use std::path::Path;

use serde_json::{Value, json};

use super::{Asked, NothingOnRecord, Statement, html, make, statement::Word, text};
use crate::{
    clock::WallTime,
    ledger::audit::{Reader, fixture::ReferenceLedger},
};

const MINUTE: i64 = 60_000;
/// 2026-11-01T00:00:00Z.
const BEGIN: i64 = 1_793_491_200_000;

const INTERVAL: &str = include_str!("../record/golden/interval.json");
const OPEN: &str = include_str!("../record/golden/finding-open.json");
const UPDATE: &str = include_str!("../record/golden/finding-update.json");
const CLOSE: &str = include_str!("../record/golden/finding-close.json");
const EXCEPTION: &str = include_str!("../record/golden/finding-exception.json");
const START: &str = include_str!("../record/golden/lifecycle-start.json");
const CHANGE: &str = include_str!("../record/golden/lifecycle-policy-change.json");
const BYPASS: &str = include_str!("../record/golden/coverage-bypass.json");
const COUNTING_GAP: &str = include_str!("../record/golden/lifecycle-counting-gap.json");

/// A ledger, and the records that went into it.
struct Scene {
    directory: tempfile::TempDir,
    ledger: ReferenceLedger,
    records: Vec<Value>,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let ledger = ReferenceLedger::new(directory.path(), "homeport/storage-1");
        Self { directory, ledger, records: Vec::new() }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A golden record, made at this time.
    fn add(&mut self, golden: &str, logged: i64, change: impl FnOnce(&mut Value)) {
        let mut record: Value = serde_json::from_str(golden).expect("JSON");
        let sequence = self.records.len() as u64 + 1;
        record["metadata"]["sequence"] = sequence.into();
        record["metadata"]["uid"] = format!("h1:i1:{sequence}").into();
        record["metadata"]["logged_time"] = logged.into();
        record["time"] = logged.into();
        change(&mut record);
        self.ledger.append(record.to_string().as_bytes());
        self.records.push(record);
    }

    fn minute(&mut self, at: i64, state: &str, change: impl FnOnce(&mut Value)) {
        self.add(INTERVAL, at + MINUTE, |record| {
            record["start_time"] = at.into();
            record["end_time"] = (at + MINUTE).into();
            record["unmapped"]["homeport"]["state"] = state.into();
            change(&mut record["unmapped"]["homeport"]);
        });
    }

    fn statement(&self, from: Option<i64>, to: Option<i64>) -> Statement {
        self.made(from, to).expect("a statement")
    }

    fn made(&self, from: Option<i64>, to: Option<i64>) -> Result<Statement, NothingOnRecord> {
        let reader = Reader::open(self.path()).expect("a ledger");
        let asked = Asked { from, to, ..Asked::default() };
        make(&reader, &asked, WallTime::from_unix_seconds(BEGIN / 1_000), &mut |_, _| {})
    }
}

fn approved(extra: &mut Value) {
    let bytes = json!({"wire": 1000, "payload": 900, "packets": 2});
    let nothing = json!({"wire": 0, "payload": 0, "packets": 0});
    extra["classes"] = json!([{
        "owner": "process", "place": {"kind": "country", "country": "US"}, "verdict": "approved", "bytes": bytes,
        "control": nothing,
    }]);
    (extra["bytes"], extra["control"]) = (bytes, nothing);
    extra["losses"] = json!([{"cause": "slots-exhausted", "count": 2, "bytes": 700}]);
}

/// A quarter of an hour with everything in it.
fn full() -> Scene {
    let mut scene = Scene::new();
    scene.add(START, BEGIN - 5 * MINUTE, |_| {});
    for minute in -5..15 {
        let state = if minute == 3 { "reduced" } else { "covered" };
        if minute == 7 {
            continue;
        }
        if minute % 2 == 0 {
            scene.minute(BEGIN + minute * MINUTE, state, approved);
        } else {
            scene.minute(BEGIN + minute * MINUTE, state, |_| {});
        }
        match minute {
            -1 => scene.add(OPEN, BEGIN - 1, |_| {}),
            2 => scene.add(UPDATE, BEGIN + 3 * MINUTE, |_| {}),
            4 => scene.add(CLOSE, BEGIN + 5 * MINUTE, |_| {}),
            5 => scene.add(EXCEPTION, BEGIN + 6 * MINUTE, |_| {}),
            8 => scene.add(CHANGE, BEGIN + 9 * MINUTE, |_| {}),
            9 => scene.add(BYPASS, BEGIN + 10 * MINUTE, |_| {}),
            11 => scene.add(COUNTING_GAP, BEGIN + 12 * MINUTE, |record| {
                record["unmapped"]["homeport"]["from"] = (BEGIN + 10 * MINUTE).into();
                record["unmapped"]["homeport"]["to"] = (BEGIN + 11 * MINUTE).into();
            }),
            _ => {}
        }
    }
    scene.ledger.publish();
    scene
}

/// Adds up records by hand, without a type of the report.
fn sum(records: &[&Value], what: impl Fn(&Value) -> u64) -> u64 {
    records.iter().map(|record| what(record)).sum()
}

fn within(scene: &Scene, from: i64, to: i64) -> Vec<&Value> {
    let logged = |record: &Value| record["metadata"]["logged_time"].as_i64().expect("a time");
    scene.records.iter().filter(|record| (from..to).contains(&logged(record))).collect()
}

/// As it is in the first minute of an agent.
#[test]
fn without_an_interval_nothing_is_said_to_be_counted() {
    let mut scene = Scene::new();
    scene.add(START, BEGIN, |_| {});
    scene.ledger.publish();
    let statement = scene.statement(None, None);
    assert_eq!(statement.period.from, "2026-11-01T00:00:00.000Z");
    assert_eq!(statement.period.milliseconds, 1);
    assert_eq!(statement.answer.word, Word::InPolicyAsFarAsSeen, "{:?}", statement.answer);

    scene.add(OPEN, BEGIN + 2_000, |_| {});
    scene.ledger.publish();
    let statement = scene.statement(None, None);
    assert_eq!(statement.period.milliseconds, 2_001);
    assert_eq!(statement.answer.word, Word::OutOfPolicy);
    let wire = statement.violations[0].in_period.wire;
    let sentence = &statement.answer.sentences[0];
    assert!(wire > 0 && sentence.contains(&super::words::bytes(wire)), "{sentence}");
    assert!(sentence.contains("no interval of the period has the sum yet"), "{sentence}");
}

#[test]
fn of_a_period_without_a_record_nothing_is_certified() {
    let mut scene = Scene::new();
    scene.ledger.publish();
    let error = scene.made(None, None).expect_err("an empty ledger").to_string();
    assert_eq!(error, "nothing is on record: the ledger has no record");

    let scene = full();
    let later = BEGIN + 30 * 24 * 60 * MINUTE;
    for (from, to) in [
        (Some(later), None),
        (Some(later), Some(later + MINUTE)),
        (None, Some(BEGIN - 60 * MINUTE)),
        // Between two records, in time that intervals cover.
        (Some(BEGIN + 10_000), Some(BEGIN + 20_000)),
    ] {
        let error = scene.made(from, to).expect_err("nothing is on record").to_string();
        let own = "the first record of the ledger was made at 2026-10-31T23:55:00.000Z, the last at \
                   2026-11-01T00:15:00.000Z";
        assert!(error.starts_with("nothing is on record ") && error.ends_with(own), "{error}");
    }
    // What was changed proves nothing, and that is the answer also here.
    std::fs::remove_file(scene.path().join(format!("tile/0/000.p/{}", scene.records.len()))).expect("a tile");
    let statement = scene.statement(Some(later), None);
    assert_eq!(statement.answer.word, Word::NotProven);
    let sentences = statement.answer.sentences.join(" ");
    assert!(sentences.contains("Nothing is on record") && !sentences.contains("in all of"), "{sentences}");
}

#[test]
fn records_beside_the_intervals_are_no_clean_period() {
    let mut scene = Scene::new();
    scene.add(START, BEGIN, |_| {});
    scene.add(INTERVAL, BEGIN + 10 + MINUTE, |record| {
        record["start_time"] = (BEGIN + 10).into();
        record["end_time"] = (BEGIN + 10 + MINUTE).into();
        record["traffic"]["bytes_missed"] = 0.into();
        approved(&mut record["unmapped"]["homeport"]);
    });
    scene.add(START, BEGIN + 20 + MINUTE, |_| {});
    scene.ledger.publish();
    assert_eq!(scene.statement(None, None).answer.word, Word::InPolicy);
    for (from, to, milliseconds) in [
        // Behind the last interval, before the first one, before both, and with more time than there is.
        (Some(BEGIN + 15 + MINUTE), None, 6),
        (None, Some(BEGIN + 5), 5),
        (Some(BEGIN - 10), Some(BEGIN + 5), 15),
        (Some(BEGIN - MINUTE), None, 10 + 2 * MINUTE),
    ] {
        let statement = scene.statement(from, to);
        assert_eq!(statement.answer.word, Word::InPolicyAsFarAsSeen, "{:?}", statement.period);
        assert_eq!(statement.period.milliseconds, milliseconds, "{:?}", statement.period);
        let sentences = statement.answer.sentences.join(" ");
        assert!(!sentences.contains("in all of the period"), "{sentences}");
    }
    // All of it was watched, and its bytes are in the interval that was recorded later.
    scene.add(START, BEGIN + 30_000, |_| {});
    scene.ledger.publish();
    let part = scene.statement(Some(BEGIN + 20_000), Some(BEGIN + 40_000));
    assert_eq!(part.coverage.counted_percent, 100.0);
    assert_eq!(part.answer.word, Word::InPolicyAsFarAsSeen, "{:?}", part.answer);
}

#[test]
fn the_numbers_are_those_of_the_records() {
    let scene = full();
    let (from, to) = (BEGIN, BEGIN + 14 * MINUTE);
    let statement = scene.statement(Some(from), Some(to));
    let records = within(&scene, from, to);
    let of_class = |class: u64| -> Vec<&Value> {
        records.iter().copied().filter(|record| record["class_uid"] == class).collect()
    };
    let intervals = of_class(4001);
    let number = |value: &Value| value.as_u64().expect("a number");
    let extra = |record: &Value| record["unmapped"]["homeport"].clone();
    assert_eq!(statement.totals.intervals, intervals.len() as u64);
    assert_eq!(
        statement.totals.all.bytes.wire,
        sum(&intervals, |record| number(&extra(record)["bytes"]["wire"]))
    );
    assert_eq!(
        statement.totals.all.control.wire,
        sum(&intervals, |record| number(&extra(record)["control"]["wire"]))
    );
    for (verdict, total) in
        [("approved", &statement.totals.approved), ("violation", &statement.totals.violation)]
    {
        let by_hand = sum(&intervals, |record| {
            let extra = extra(record);
            let classes = extra["classes"].as_array().expect("a list");
            let own = classes.iter().filter(|class| class["verdict"] == verdict);
            own.map(|class| number(&class["bytes"]["wire"])).sum()
        });
        assert!(by_hand > 0);
        assert_eq!(total.bytes.wire, by_hand, "{verdict}");
        let places: u64 = statement
            .places
            .iter()
            .map(|row| if verdict == "approved" { row.approved } else { row.violation }.bytes.wire)
            .sum();
        assert_eq!(places, by_hand, "{verdict}");
    }
    let lost = sum(&intervals, |record| {
        extra(record)["losses"].as_array().expect("a list").iter().map(|loss| number(&loss["count"])).sum()
    });
    assert_eq!(statement.losses.iter().map(|loss| loss.count).sum::<u64>(), lost);
    let nic = sum(&intervals, |record| {
        let extra = extra(record);
        extra["interfaces"].as_array().expect("a list").iter().map(|card| number(&card["nic_bytes"])).sum()
    });
    assert_eq!(statement.interfaces.iter().map(|row| row.nic_bytes).sum::<u64>(), nic);

    let transfers: Vec<&Value> =
        of_class(2004).into_iter().filter(|record| extra(record)["kind"] == "transfer").collect();
    let left = sum(&transfers, |record| number(&extra(record)["bytes_since_last"]["wire"]));
    assert_eq!(statement.violations.iter().map(|row| row.in_period.wire).sum::<u64>(), left);
    let [violation] = statement.violations.as_slice() else { panic!("{:?}", statement.violations) };
    assert_eq!((violation.open, violation.records), (false, 2), "the opening was before the period");
    assert_eq!(violation.command_line.as_deref(), Some("nginx: worker process\u{1b}[2J [pid 4242]"));
    let [exception] = statement.exceptions.as_slice() else { panic!("{:?}", statement.exceptions) };
    assert_eq!((exception.id.as_str(), exception.in_period.wire), ("EX-7", 152));
    assert_eq!(statement.proof.entries, records.len() as u64);
}

#[test]
fn time_is_divided_without_a_rest() {
    let scene = full();
    let statement = scene.statement(Some(BEGIN), Some(BEGIN + 14 * MINUTE));
    let coverage = &statement.coverage;
    assert_eq!(coverage.reduced_ms, MINUTE);
    assert_eq!(coverage.not_covered_ms, MINUTE, "the time that a counting gap is about");
    assert_eq!(coverage.unrecorded_ms, MINUTE, "the minute that has no record");
    assert_eq!(coverage.covered_ms, 11 * MINUTE);
    assert_eq!(coverage.counted_percent, (12.0_f64 / 14.0 * 1e6).floor() / 1e4);
    assert_eq!(coverage.gaps.len(), 2);
    assert_eq!(coverage.findings.len(), 1);
}

#[test]
fn statements_of_adjoining_periods_add_up() {
    let scene = full();
    let middle = BEGIN + 4 * MINUTE + 17;
    let parts = [scene.statement(None, Some(middle)), scene.statement(Some(middle), None)];
    let whole = scene.statement(None, None);
    let sum = |what: fn(&Statement) -> u64| -> u64 { parts.iter().map(what).sum() };
    assert_eq!(sum(|part| part.totals.all.bytes.wire), whole.totals.all.bytes.wire);
    assert_eq!(sum(|part| part.proof.entries), whole.proof.entries);
    assert_eq!(whole.proof.entries, scene.records.len() as u64);
    assert_eq!(
        sum(|part| part.violations.iter().map(|row| row.in_period.wire).sum()),
        whole.violations.iter().map(|row| row.in_period.wire).sum::<u64>()
    );
    let milliseconds = |part: &Statement| part.period.milliseconds;
    assert_eq!(parts.iter().map(milliseconds).sum::<i64>(), whole.period.milliseconds);
}

#[test]
fn the_policy_before_the_period_is_in_it() {
    let scene = full();
    let statement = scene.statement(Some(BEGIN), Some(BEGIN + 14 * MINUTE));
    let [before, after] = statement.policies.as_slice() else { panic!("{:?}", statement.policies) };
    assert!(before.since < statement.period.from && before.until == Some(after.since.clone()));
    assert_eq!(before.names, ["storage"]);
    assert!(!before.says.is_empty() && !before.says_is_hashed, "golden hashes are invented");
    assert_eq!(statement.policy_changes.len(), 1);
    assert_eq!(statement.databases.len(), 1);
    // After the change only the new one is in force.
    assert_eq!(scene.statement(Some(BEGIN + 10 * MINUTE), None).policies.len(), 1);
}

#[test]
fn what_a_policy_says_is_compared_with_its_hash() {
    let set = crate::policy::PolicySet::default();
    let says: Vec<[String; 3]> = set
        .statements()
        .iter()
        .map(|known| [known.about.clone(), known.key.to_owned(), known.value.clone()])
        .collect();
    let mut scene = Scene::new();
    scene.add(START, BEGIN, |record| {
        record["unmapped"]["homeport"]["policy_hash"] = set.hash().as_ref().into();
        record["unmapped"]["homeport"]["statements"] = json!(says);
    });
    scene.ledger.publish();
    assert!(scene.statement(None, None).policies[0].says_is_hashed);
    let mut scene = Scene::new();
    scene.add(START, BEGIN, |record| {
        record["unmapped"]["homeport"]["policy_hash"] = set.hash().as_ref().into();
        record["unmapped"]["homeport"]["statements"] = json!(says[1..]);
    });
    scene.ledger.publish();
    assert!(!scene.statement(None, None).policies[0].says_is_hashed);
}

#[test]
fn the_answer_is_as_good_as_the_worst_of_it() {
    let quiet = |states: &[&str]| {
        let mut scene = Scene::new();
        scene.add(START, BEGIN, |_| {});
        for (minute, state) in states.iter().enumerate() {
            scene.minute(BEGIN + minute as i64 * MINUTE, state, approved);
            let record = scene.records.last().expect("just added").clone();
            assert_eq!(record["traffic"]["bytes_missed"], 100);
        }
        scene
    };
    // The golden interval says that a card sent 100 bytes that nobody saw.
    let mut scene = quiet(&["covered"]);
    scene.ledger.publish();
    assert_eq!(scene.statement(None, None).answer.word, Word::InPolicyAsFarAsSeen);

    let seen = |state: &str| {
        let mut scene = Scene::new();
        scene.add(INTERVAL, BEGIN + MINUTE, |record| {
            record["start_time"] = BEGIN.into();
            record["end_time"] = (BEGIN + MINUTE).into();
            record["traffic"]["bytes_missed"] = 0.into();
            record["unmapped"]["homeport"]["state"] = state.into();
            approved(&mut record["unmapped"]["homeport"]);
        });
        scene
    };
    for (state, word) in [
        ("covered", Word::InPolicy),
        ("reduced", Word::InPolicy),
        ("not covered", Word::InPolicyAsFarAsSeen),
        ("a state of a later version", Word::InPolicyAsFarAsSeen),
    ] {
        let mut scene = seen(state);
        scene.ledger.publish();
        assert_eq!(scene.statement(None, None).answer.word, word, "{state}");
    }
    // Somebody asks for more time than there is.
    let mut scene = seen("covered");
    scene.ledger.publish();
    let longer = scene.statement(Some(BEGIN), Some(BEGIN + 2 * MINUTE));
    assert_eq!((longer.answer.word, longer.coverage.counted_percent), (Word::InPolicyAsFarAsSeen, 50.0));

    let mut scene = seen("covered");
    scene.add(OPEN, BEGIN + MINUTE, |_| {});
    scene.ledger.publish();
    assert_eq!(scene.statement(None, None).answer.word, Word::OutOfPolicy);

    // An entry that is no interval any more is in no number, and that is said.
    let mut scene = seen("covered");
    scene.minute(BEGIN + MINUTE, "covered", |extra| extra["bytes"] = Value::Null);
    scene.ledger.publish();
    let statement = scene.statement(None, None);
    assert_eq!((statement.answer.word, statement.proof.unreadable), (Word::InPolicyAsFarAsSeen, 1));
}

#[test]
fn a_ledger_that_was_changed_proves_nothing_and_the_statement_says_so() {
    let scene = full();
    let bundle = scene.path().join(format!("tile/entries/000.p/{}", scene.records.len()));
    let bytes = std::fs::read(&bundle).expect("the bundle");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let changed = text.replacen("\"wire\":3000", "\"wire\":3001", 1);
    assert_ne!(changed.len(), 0);
    assert_ne!(text, changed);
    // Only ASCII was in it but for the lengths: change the bytes themselves.
    let at = bytes.windows(11).position(|window| window == b"\"wire\":3000").expect("it is there");
    let mut bytes = bytes;
    bytes[at + 10] = b'1';
    std::fs::write(&bundle, bytes).expect("written");
    let statement = scene.statement(None, None);
    assert_eq!(statement.answer.word, Word::NotProven);
    assert!(!statement.proof.verified && statement.proof.wrong > 0);
    for shown in [text_of(&statement), html(&statement)] {
        assert!(shown.contains("NOT PROVEN") && shown.contains("NOT VERIFIED"), "{shown}");
    }
    // Without a checkpoint there is nothing to be said at all.
    std::fs::remove_file(scene.path().join("checkpoint")).expect("it is there");
    let statement = scene.statement(None, None);
    assert_eq!((statement.answer.word, statement.proof.entries), (Word::NotProven, 0));
}

fn text_of(statement: &Statement) -> String {
    text(statement)
}

#[test]
fn names_that_attack_the_reader_are_text() {
    let hostile = "</style><script>alert(1)</script><img src=x onerror=alert(1)>\u{1b}[2J\u{202e}\n&\"'";
    let mut scene = Scene::new();
    scene.add(START, BEGIN, |record| record["unmapped"]["homeport"]["policies"] = json!([hostile]));
    scene.minute(BEGIN, "covered", |extra| {
        extra["interfaces"][0]["name"] = hostile.into();
        extra["reasons"] = json!([hostile]);
        extra["classes"][0]["place"] = json!({"kind": "site", "site": hostile, "country": "DE"});
    });
    scene.add(OPEN, BEGIN + MINUTE, |record| {
        record["device"]["hostname"] = hostile.into();
        record["finding_info"]["title"] = hostile.into();
        record["evidences"][0]["process"]["cmd_line"] = hostile.into();
        record["evidences"][0]["process"]["file"]["path"] = hostile.into();
        record["unmapped"]["homeport"]["owner"]["label"] = hostile.into();
    });
    scene.ledger.publish();
    let statement = scene.statement(None, None);
    assert_eq!(statement.violations[0].executable.as_deref(), Some(hostile), "the data is as it was");
    let page = html(&statement);
    assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
    assert_eq!(page.matches("</style>").count(), 1);
    for shown in [page, text(&statement)] {
        assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown}");
        assert!(shown.contains("\\u{1b}[2J\\u{202e}"), "{shown}");
    }
}

#[test]
fn a_bundle_of_evidence_makes_the_same_statement() {
    let scene = full();
    let reader = Reader::open(scene.path()).expect("a ledger");
    let checkpoint =
        crate::ledger::audit::note::Checkpoint::parse(&scene.ledger.checkpoint()).expect("a head");
    let (from, to) = (BEGIN, BEGIN + 14 * MINUTE);
    let whole = scene.statement(Some(from), Some(to));
    // The interval that ends with the period is recorded a moment later: evidence reaches one entry further.
    let (first, last) = (whole.proof.first_entry.expect("one"), whole.proof.last_entry.expect("one") + 1);
    let out = tempfile::tempdir().expect("a directory");
    crate::ledger::audit::export::export(
        &reader,
        &checkpoint,
        first..last + 1,
        "2026-11-02T00:00:00Z",
        out.path(),
    )
    .expect("a bundle");
    let reader = Reader::open(out.path()).expect("a bundle");
    let asked = Asked { from: Some(from), to: Some(to), ..Asked::default() };
    let bundle = make(&reader, &asked, WallTime::from_unix_seconds(0), &mut |_, _| {}).expect("a statement");
    assert!(bundle.proof.verified, "{:#?}", bundle.proof);
    assert_eq!(bundle.totals, whole.totals);
    assert_eq!(bundle.places, whole.places);
    assert_eq!(bundle.violations, whole.violations);
    assert_eq!(bundle.policies, whole.policies, "the policy before the period comes with its proof");
    assert_eq!(bundle.coverage.gaps, whole.coverage.gaps);
}

#[test]
fn the_json_can_be_read_back() {
    let statement = full().statement(None, None);
    let text = serde_json::to_string(&statement).expect("JSON");
    assert_eq!(serde_json::from_str::<Statement>(&text).expect("a statement"), statement);
}

#[test]
fn what_was_written_again_after_a_crash_counts_once() {
    let mut scene = Scene::new();
    scene.add(START, BEGIN, |_| {});
    scene.minute(BEGIN, "covered", approved);
    let once = {
        scene.ledger.publish();
        scene.statement(None, None)
    };
    let again = scene.records.last().expect("an interval").to_string();
    scene.ledger.append(again.as_bytes());
    scene.ledger.publish();
    let statement = scene.statement(None, None);
    assert!(statement.proof.verified, "{:#?}", statement.proof);
    assert_eq!(statement.proof.repeated, 1);
    assert_eq!((statement.totals, statement.coverage), (once.totals, once.coverage));
}
