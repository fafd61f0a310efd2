use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { frame: 1514, buffer: 65_550 };

fn seen(bytes: u64, frames: u64) -> Seen {
    Seen { socket: Amount::new(bytes, frames), ..Seen::default() }
}

fn sample(nic: (u64, u64), before: (u64, u64), after: (u64, u64)) -> Sample {
    Sample {
        nic: Amount::new(nic.0, nic.1),
        seen_before: seen(before.0, before.1),
        seen_after: seen(after.0, after.1),
        ..Sample::default()
    }
}

/// Nothing moves while it is taken.
fn still(nic: (u64, u64), seen: (u64, u64)) -> Sample {
    sample(nic, seen, seen)
}

fn at_rest() -> InterfaceLedger {
    InterfaceLedger::new(LIMITS, &still((1_000_000, 1000), (0, 0)))
}

#[test]
fn bypass_at_rest_is_found_to_the_byte_and_told_once() {
    let mut ledger = at_rest();
    ledger.observe(&still((1_104_200, 1100), (0, 0)));
    let report = ledger.end_interval();
    assert_eq!(report.finding.map(|finding| finding.unexplained), Some(Difference::new(104_200, 100)));
    ledger.observe(&still((1_104_200, 1100), (0, 0)));
    let report = ledger.end_interval();
    assert_eq!(report.finding, None);
    assert_eq!(report.interval.map(|interval| interval.residual), Some(Difference::default()));
    assert_eq!(report.cumulative.residual, Difference::new(104_200, 100), "it stays on record");
}

#[test]
fn a_frame_between_the_two_readings_is_carried_over() {
    let mut ledger = at_rest();
    // tc saw it, the card has it later.
    ledger.observe(&sample((1_000_000, 1000), (0, 0), (1500, 1)));
    let report = ledger.end_interval();
    assert_eq!(report.interval.map(|interval| interval.residual.bytes), Some(-1500));
    assert_eq!(report.finding, None);
    ledger.observe(&still((1_001_500, 1001), (1500, 1)));
    let report = ledger.end_interval();
    assert_eq!(report.interval.map(|interval| interval.residual.bytes), Some(1500));
    assert_eq!((report.finding, report.cumulative.residual), (None, Difference::default()));
}

#[test]
fn a_leak_within_the_tolerance_of_each_interval_is_found_by_its_sum() {
    let mut ledger = at_rest();
    let (mut nic, mut tc) = ((1_000_000, 1000), (0, 0));
    let mut found = 0;
    // Never at rest: ten frames a second, and three more that go past us.
    for _ in 0..50 {
        let before = tc;
        tc = (tc.0 + 10_000, tc.1 + 10);
        nic = (nic.0 + 13_000, nic.1 + 13);
        ledger.observe(&sample(nic, before, tc));
        found += ledger.end_interval().finding.map_or(0, |finding| finding.unexplained.bytes);
    }
    let leaked = 50 * 3000;
    assert!(found > leaked / 2 && found <= leaked, "{found} of {leaked}");
}

#[test]
fn a_driver_that_begins_again_is_no_finding_and_no_number() {
    let mut ledger = at_rest();
    ledger.observe(&still((500, 1), (10_000, 10)));
    let report = ledger.end_interval();
    assert_eq!((report.interval, report.finding, ledger.n_resets()), (None, None, 1));
    ledger.observe(&still((1500, 2), (11_000, 11)));
    let report = ledger.end_interval();
    assert_eq!(report.interval.map(|interval| interval.residual), Some(Difference::default()));
}

#[test]
fn a_counter_of_32_bits_may_wrap() {
    const NEAR: u64 = (1 << 32) - 1000;
    let mut ledger = InterfaceLedger::new(LIMITS, &still((NEAR, 10), (0, 0)));
    ledger.observe(&still((4000, 15), (5000, 5)));
    let report = ledger.end_interval();
    assert_eq!(report.interval.map(|interval| interval.residual), Some(Difference::default()));
    assert_eq!((report.finding, ledger.n_resets()), (None, 0));
}

#[test]
fn drops_of_the_queue_explain_what_did_not_leave() {
    let mut ledger = at_rest();
    let mut drained = still((1_030_272, 1030), (104_200, 100));
    drained.queue = Some(Queue { backlog_bytes: 0, dropped: 70 });
    ledger.observe(&drained);
    ledger.observe(&drained);
    let report = ledger.end_interval();
    let interval = report.interval.expect("comparable");
    assert_eq!(interval.explained.dropped, Difference::new(30_272 - 104_200, -70));
    assert_eq!((interval.unexplained, report.finding), (Difference::default(), None));
}

#[test]
fn what_waits_in_the_queue_is_in_flight() {
    let mut ledger = at_rest();
    for _ in 0..3 {
        let mut waiting = still((1_050_000, 1050), (104_200, 100));
        waiting.queue = Some(Queue { backlog_bytes: 54_200, dropped: 0 });
        ledger.observe(&waiting);
    }
    assert_eq!(ledger.end_interval().finding, None);
    ledger.observe(&still((1_050_000, 1050), (104_200, 100)));
    let found = ledger.end_interval().finding.map(|finding| finding.unexplained);
    assert_eq!(found, Some(Difference::new(-54_200, -50)), "it is gone from the queue and never left");
}

proptest! {
    /// A card that is always a little behind, and frames that go past us: no finding without them, never more than
    /// them, and once all is at rest the difference is exactly them.
    #[test]
    fn findings_never_exaggerate_and_at_rest_the_difference_is_exact(
        steps in prop::collection::vec((0..200_u64, 0..100_u64, 0..20_u64), 1..40),
    ) {
        let mut ledger = at_rest();
        let (mut sent, mut on_wire, mut past) = (0_u64, 0_u64, 0_u64);
        let (mut told, mut resting) = (0_i64, 0);
        let mut tell = |ledger: &mut InterfaceLedger| {
            told += ledger.end_interval().finding.map_or(0, |finding| finding.certain_bytes());
            told
        };
        let at = |frames: u64| (frames * 1000, frames);
        let card = |frames: u64| (1_000_000 + frames * 1000, 1000 + frames);
        for (sending, delayed, bypassing) in steps {
            let before = sent;
            sent += sending;
            // What waits is at most what was just sent.
            on_wire = on_wire.max(sent - delayed.min(sending));
            past += bypassing;
            ledger.observe(&sample(card(on_wire + past), at(before), at(sent)));
            let so_far = tell(&mut ledger);
            prop_assert!(so_far <= (past * 1000) as i64, "{} told, {} past us", so_far, past);
            if past == 0 {
                prop_assert_eq!(so_far, 0);
            }
        }
        while resting < 3 {
            ledger.observe(&still(card(sent + past), at(sent)));
            tell(&mut ledger);
            resting += 1;
        }
        let told = tell(&mut ledger);
        let outstanding = ledger.cumulative().residual.bytes;
        prop_assert_eq!(outstanding, (past * 1000) as i64);
        prop_assert!(told <= outstanding);
    }
}
