use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{
    flow::{Initiator, Owner, Protocol, Sensor},
    geo::{CountryCode, Evidence, Location, Source},
    policy::{PolicyId, Rule, Severity},
};

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> KernelTime {
    KernelTime(seconds * 1_000_000_000)
}

fn reading(host: u8, seconds: u64, wire_bytes: u64, payload_bytes: u64) -> Observation {
    Observation {
        key: FlowKey {
            owner: Arc::new(Owner::unowned()),
            remote: Ipv4Addr::new(203, 0, 113, host).into(),
            protocol: Protocol::TCP,
            service_port: 443,
            initiator: Initiator::Local,
            sensor: Sensor::Socket,
        },
        local: None,
        local_port: 40_000,
        remote_port: 443,
        volume: Volume { wire_bytes, payload_bytes, packets: 1 },
        first_seen: at(seconds),
        seen: at(seconds),
        pre_existing: false,
        closed: false,
    }
}

fn assessment(verdict: Verdict, country: [u8; 2]) -> Assessment {
    let code = CountryCode::from_letters(country).expect("two capital letters");
    let policy = PolicyId { name: "default".into(), preset: None, hash: "0".repeat(64).into() };
    Assessment {
        located: Arc::new(Located {
            location: Location::Country(code),
            evidence: Evidence {
                embedded: None,
                via: None,
                source: Source::Nothing,
                prefix: None,
                answers: Vec::new(),
                autonomous_system: None,
            },
        }),
        judgement: Arc::new(Judgement {
            policy: Arc::new(policy),
            verdict,
            reason: format!("because of {code}").into(),
        }),
    }
}

fn violation() -> Verdict {
    Verdict::Violation { rule: Rule::NotApproved, severity: Severity::High, exception: None }
}

fn small(max_flows: usize) -> FlowTable {
    FlowTable::new(TableSettings { max_flows, ..TableSettings::default() })
}

#[test]
fn a_flow_is_judged_once_and_its_readings_add_up() {
    let mut table = small(8);
    let mut n_judged = 0;
    for second in 0..5 {
        let judged = table.observe(reading(1, second, 100, 48), |_| {
            n_judged += 1;
            assessment(Verdict::Approved, *b"US")
        });
        assert_eq!((judged.is_new, judged.had_payload), (second == 0, second > 0));
    }
    assert_eq!(n_judged, 1);
    let (_, flow) = table.iter().next().expect("one flow");
    assert_eq!(flow.total, Volume { wire_bytes: 500, payload_bytes: 240, packets: 5 });
    assert_eq!((flow.first_seen, flow.last_seen), (at(0), at(4)));
}

#[test]
fn a_flow_under_an_exception_is_judged_with_every_reading() {
    let mut table = small(8);
    let verdicts = [Verdict::Excepted { id: "E1".into() }, violation()];
    for (second, verdict) in verdicts.iter().enumerate() {
        let verdict = verdict.clone();
        let judged =
            table.observe(reading(1, second as u64, 100, 48), |_| assessment(verdict.clone(), *b"DE"));
        assert_eq!(judged.assessment.judgement.verdict, verdict);
    }
}

#[test]
fn what_ends_without_a_byte_uses_no_exception_up() {
    let mut table = small(8);
    let excepted = Verdict::Excepted { id: "E1".into() };
    table.observe(reading(1, 0, 100, 48), |_| assessment(excepted.clone(), *b"DE"));
    let end = Observation { closed: true, volume: Volume::default(), ..reading(1, 1, 0, 0) };
    let judged = table.observe(end, |_| assessment(violation(), *b"DE"));
    assert_eq!(judged.assessment.judgement.verdict, excepted);
    assert_eq!(table.iter().next().expect("one flow").1.judgement.verdict, excepted);
}

#[test]
fn bytes_stay_with_the_verdict_in_force_when_they_left() {
    let mut table = small(8);
    table.observe(reading(1, 0, 100, 48), |_| assessment(Verdict::Approved, *b"DE"));
    let changes = table.rejudge(|_, _| assessment(violation(), *b"DE"));
    assert_eq!(changes.len(), 1);
    let judged = table.observe(reading(1, 1, 7, 7), |_| unreachable!("judged already"));
    assert_eq!(judged.assessment.judgement.verdict, violation());
    let cells: Vec<_> =
        table.totals().iter().map(|(class, tally)| (class.verdict, tally.volume.wire_bytes)).collect();
    assert_eq!(cells, [(VerdictClass::Approved, 100), (VerdictClass::Violation(Rule::NotApproved), 7)]);
    let (_, flow) = table.iter().next().expect("one flow");
    assert_eq!(flow.violating_wire_bytes, 7);
}

#[test]
fn judging_again_with_the_same_outcome_reports_nothing() {
    let mut table = small(8);
    table.observe(reading(1, 0, 100, 48), |_| assessment(violation(), *b"DE"));
    assert!(table.rejudge(|_, _| assessment(violation(), *b"DE")).is_empty());
}

#[test]
fn a_full_table_of_busy_flows_still_judges_and_counts_the_newcomer() {
    let mut table = small(2);
    for host in 1..=4 {
        let judged = table.observe(reading(host, 0, 100, 48), |_| assessment(violation(), *b"DE"));
        assert_eq!(judged.assessment.judgement.verdict, violation());
    }
    assert_eq!(table.len(), 2);
    assert_eq!(table.counters().overflowed_readings, 2);
    assert_eq!(table.overflow().sum().volume.wire_bytes, 200);
    assert_eq!(table.totals().sum().volume.wire_bytes, 400);
}

#[test]
fn a_closed_flow_makes_room_before_an_idle_one() {
    let mut table = small(2);
    table.observe(reading(1, 0, 100, 48), |_| assessment(violation(), *b"DE"));
    let mut closed = reading(2, 60, 100, 48);
    closed.closed = true;
    table.observe(closed, |_| assessment(violation(), *b"DE"));
    table.observe(reading(3, 61, 100, 48), |_| assessment(violation(), *b"DE"));
    let mut left: Vec<_> = table.iter().map(|(key, _)| key.remote.to_string()).collect();
    left.sort();
    assert_eq!(left, ["203.0.113.1", "203.0.113.3"]);
    assert_eq!(table.counters().evicted_flows, 1);
}

#[test]
fn the_flow_idle_the_longest_makes_room() {
    let mut table = small(2);
    table.observe(reading(1, 5, 100, 48), |_| assessment(violation(), *b"DE"));
    table.observe(reading(2, 0, 100, 48), |_| assessment(violation(), *b"DE"));
    table.observe(reading(3, 100, 100, 48), |_| assessment(violation(), *b"DE"));
    assert!(table.iter().all(|(key, _)| key.remote.to_string() != "203.0.113.2"));
}

#[test]
fn a_search_for_room_that_found_little_is_not_repeated_at_once() {
    let mut table = small(32);
    for host in 1..=32 {
        let mut busy = reading(host, 60, 100, 48);
        busy.closed = host == 1;
        table.observe(busy, |_| assessment(violation(), *b"DE"));
    }
    let newcomer = |table: &mut FlowTable, host, seconds| {
        table.observe(reading(host, seconds, 100, 48), |_| assessment(violation(), *b"DE"));
        (table.counters().evicted_flows, table.counters().overflowed_readings)
    };
    assert_eq!(newcomer(&mut table, 101, 60), (1, 0));
    let mut closed = reading(2, 60, 0, 0);
    closed.closed = true;
    table.observe(closed, |_| unreachable!("judged already"));
    assert_eq!(newcomer(&mut table, 102, 60), (1, 1));
    assert_eq!(newcomer(&mut table, 102, 61), (2, 1));
}

#[test]
fn closed_flows_stay_visible_for_a_while_and_then_retire() {
    let mut table = small(8);
    let mut closed = reading(1, 0, 100, 48);
    closed.closed = true;
    table.observe(closed, |_| assessment(violation(), *b"DE"));
    table.retire(at(59));
    assert_eq!(table.len(), 1);
    table.retire(at(60));
    assert_eq!((table.len(), table.counters().retired_flows), (0, 1));
    assert_eq!(table.evicted().volume.wire_bytes, 100);
}

#[test]
fn equal_owners_from_different_readings_are_one_flow() {
    let mut table = small(8);
    for second in 0..10_000 {
        table.observe(reading(1, second, 1, 1), |_| assessment(Verdict::Approved, *b"US"));
    }
    assert_eq!(table.len(), 1);
    assert_eq!(table.iter().map(|(_, flow)| flow.total.wire_bytes).sum::<u64>(), 10_000);
}

#[test]
fn what_a_provisional_owner_was_charged_moves_to_the_one_who_sent_it() {
    let mut table = small(8);
    let guessed = reading(1, 0, 100, 48);
    table.observe(guessed.clone(), |_| assessment(violation(), *b"DE"));
    let mut sender = reading(1, 1, 0, 0);
    sender.volume = Volume::default();
    sender.key.owner = Arc::new(Owner { quality: crate::flow::Quality::Exact, ..Owner::unowned() });
    table.observe(sender.clone(), |_| assessment(violation(), *b"DE"));
    table.move_volume(&guessed.key, &sender.key, guessed.volume);
    let rows: Vec<_> = table.iter().collect();
    assert_eq!(rows.len(), 1, "the guess has no row left: {rows:#?}");
    let (key, flow) = rows[0];
    assert_eq!(key.owner, sender.key.owner);
    assert_eq!((flow.total, flow.violating_wire_bytes), (guessed.volume, 100));
    assert_eq!(flow.first_seen, at(0));
    // Whoever asks for more than there is gets what there is, and a flow without a row gets nothing.
    table.move_volume(&guessed.key, &sender.key, guessed.volume);
    assert_eq!(table.totals().sum().volume.wire_bytes, 100);
}

#[test]
fn an_interval_starts_empty_after_it_was_taken() {
    let mut table = small(8);
    table.observe(reading(1, 0, 100, 0), |_| assessment(Verdict::Approved, *b"US"));
    let interval = table.take_interval();
    assert_eq!(interval.sum().control.wire_bytes, 100);
    assert!(table.take_interval().is_empty());
}

#[test]
fn a_close_without_bytes_adds_no_row_of_zeros_to_the_totals() {
    let mut table = small(8);
    let mut closed = reading(1, 0, 0, 0);
    closed.volume = Volume::default();
    table.observe(closed, |_| assessment(Verdict::Approved, *b"US"));
    assert!(table.totals().is_empty());
}

proptest! {
    /// Rows, evicted and overflowed bytes are all there is, whatever comes in.
    #[test]
    fn no_byte_is_lost(readings in prop::collection::vec((0u8..12, 0u64..40, 0u64..2_000, any::<bool>()), 0..200)) {
        let mut table = small(4);
        let mut sent = 0;
        let mut now = 0;
        for (host, step, wire_bytes, closed) in readings {
            now += step;
            sent += wire_bytes;
            let mut observation = reading(host, now, wire_bytes, wire_bytes / 2);
            observation.closed = closed;
            let verdict = if host % 2 == 0 { Verdict::Approved } else { violation() };
            table.observe(observation, |_| assessment(verdict, *b"DE"));
            if step > 20 {
                table.retire(at(now) + SECOND);
            }
            prop_assert!(table.len() <= 4);
        }
        let rows: u64 = table.iter().map(|(_, flow)| flow.total.wire_bytes).sum();
        let gone = table.evicted().volume.wire_bytes + table.overflow().sum().volume.wire_bytes;
        prop_assert_eq!(rows + gone, sent);
        prop_assert_eq!(table.totals().sum().volume.wire_bytes, sent);
    }
}
