use proptest::prelude::*;

use super::*;

/// What really happened: bytes through the socket layer, bytes through `tc`, discards.
#[derive(Clone, Copy, Default)]
struct World {
    sent: u64,
    left: u64,
    elsewhere: u64,
    discards: Discards,
}

fn look(world: World) -> Look {
    Look {
        socket_before: world.left,
        ledger: world.sent,
        socket_after: world.left,
        elsewhere: world.elsewhere,
        discards: Some(world.discards),
    }
}

/// Enough looks at a world at rest that everything is settled.
fn rest(ledger: &mut OwnersLedger, world: World) -> OwnersReport {
    for _ in 0..=SETTLED {
        ledger.observe(&look(world));
    }
    ledger.end_interval()
}

const KIB: u64 = 1 << 10;

fn began() -> (OwnersLedger, World) {
    let mut ledger = OwnersLedger::default();
    let world = World { sent: 7_000_000, left: 6_000_000, ..World::default() };
    assert_eq!(rest(&mut ledger, world), OwnersReport::default(), "what was before does not count");
    (ledger, world)
}

#[test]
fn what_did_not_leave_is_discarded_as_far_as_the_kernel_says_so() {
    let one_packet = Discards { output_packets: 1, ..Discards::default() };
    let overflow = Discards { neighbour_packets: 108, neighbour_failures: 1, ..Discards::default() };
    // (sent and not left, discards) -> (discarded, not sent)
    let cases = [
        (205_600, overflow, (Some(205_600), None)),
        (205_600, Discards::default(), (None, Some(205_600))),
        (200 * KIB, one_packet, (Some(72 * KIB), Some(128 * KIB))),
        (TOLERANCE_BYTES, overflow, (None, None)),
        (TOLERANCE_BYTES, Discards::default(), (None, None)),
        (0, overflow, (None, None)),
    ];
    for (missing, discards, (discarded, unsent)) in cases {
        let (mut ledger, mut world) = began();
        world.sent += missing;
        world.discards = discards;
        let report = rest(&mut ledger, world);
        assert_eq!(report.discarded.map(|(bytes, _)| bytes), discarded, "{missing} {discards:?}");
        assert_eq!((report.unsent, report.unattributed), (unsent, None), "{missing} {discards:?}");
        if let Some((_, why)) = report.discarded {
            assert_eq!(why, discards);
        }
        let again = rest(&mut ledger, world);
        assert_eq!(again, OwnersReport::default(), "told once: {missing} {discards:?}");
    }
}

#[test]
fn what_the_ledger_lacks_is_unattributed_whatever_was_discarded() {
    let (mut ledger, mut world) = began();
    world.left += 20 * KIB;
    world.discards.neighbour_packets = 1000;
    let report = rest(&mut ledger, world);
    assert_eq!(report, OwnersReport { unattributed: Some(20 * KIB), ..OwnersReport::default() });
    assert_eq!(ledger.discarded_bytes(), 0);
}

#[test]
fn frames_that_may_be_of_another_namespace_are_not_unattributed() {
    let (mut ledger, mut world) = began();
    world.left += 100 * KIB;
    world.elsewhere += 90 * KIB;
    assert_eq!(rest(&mut ledger, world), OwnersReport::default());
    world.left += 10 * KIB;
    assert_eq!(rest(&mut ledger, world).unattributed, Some(20 * KIB));
}

#[test]
fn what_waits_for_a_neighbour_is_not_missing() {
    let (mut ledger, mut world) = began();
    world.sent += 100 * KIB;
    for _ in 1..SETTLED {
        ledger.observe(&look(world));
        assert_eq!(ledger.end_interval(), OwnersReport::default());
    }
    world.left += 100 * KIB;
    assert_eq!(rest(&mut ledger, world), OwnersReport::default());
}

#[test]
fn a_discard_of_somebody_else_explains_nothing_later() {
    let (mut ledger, mut world) = began();
    world.discards.output_packets = 1000;
    assert_eq!(rest(&mut ledger, world), OwnersReport::default());
    world.sent += 100 * KIB;
    let report = rest(&mut ledger, world);
    assert_eq!(report, OwnersReport { unsent: Some(100 * KIB), ..OwnersReport::default() });
}

#[test]
fn small_differences_add_up_until_they_are_told() {
    let (mut ledger, mut world) = began();
    let mut told = 0;
    for _ in 0..100 {
        world.left += KIB;
        told += rest(&mut ledger, world).unattributed.unwrap_or_default();
    }
    assert!((100 * KIB - TOLERANCE_BYTES..=100 * KIB).contains(&told), "{told}");
}

#[test]
fn what_was_not_watched_is_not_compared() {
    let (mut ledger, mut world) = began();
    ledger.begin_again();
    world.sent += 1000 * KIB;
    assert_eq!(rest(&mut ledger, world), OwnersReport::default());
    world.sent += 100 * KIB;
    assert_eq!(rest(&mut ledger, world).unsent, Some(100 * KIB));
}

proptest! {
    /// Both sides move while they are looked at, and the ledger is a look behind with a part of it: nothing is told that
    /// did not happen, and at rest everything that did is settled to the byte.
    #[test]
    fn nothing_is_told_that_did_not_happen_and_everything_that_did(
        steps in prop::collection::vec(
            (0..1_000_000_u64, 0..1_000_000_u64, 0..1_000_000_u64, 0..3_u64, prop::bool::ANY),
            1..60,
        ),
        bytes_each in 0..100_000_u64,
        is_leak in prop::bool::ANY,
    ) {
        let (mut ledger, mut world) = began();
        let (mut late, mut lost, mut leaked) = (0, 0, 0);
        let mut told = 0;
        for (before, during, without_slot, events, foreign) in steps {
            world.sent += before;
            world.left += before;
            if is_leak {
                leaked += events * bytes_each;
                world.left += events * bytes_each;
            } else {
                lost += events * bytes_each;
                world.sent += events * bytes_each;
                world.discards.neighbour_packets += events * 2;
            }
            if foreign {
                world.discards.output_packets += 3;
            }
            let socket_before = world.left;
            // Read a look late: what was without a slot at the look before is in the ledger now.
            let in_ledger = world.sent - late;
            late = without_slot;
            world.sent += during + without_slot;
            world.left += during + without_slot;
            ledger.observe(&Look {
                socket_before,
                ledger: in_ledger,
                socket_after: world.left,
                elsewhere: 0,
                discards: Some(world.discards),
            });
            let report = ledger.end_interval();
            prop_assert_eq!(report.unsent, None);
            told += report.unattributed.unwrap_or_default();
            prop_assert!(told <= leaked, "{} told, {} leaked", told, leaked);
            prop_assert!(ledger.discarded_bytes() <= lost, "{} of {}", ledger.discarded_bytes(), lost);
        }
        let report = rest(&mut ledger, world);
        told += report.unattributed.unwrap_or_default();
        prop_assert_eq!(report.unsent, None);
        prop_assert!(leaked - told <= TOLERANCE_BYTES, "{} told, {} leaked", told, leaked);
        prop_assert_eq!(ledger.discarded_bytes(), lost);
    }
}
