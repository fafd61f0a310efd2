use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { frame: 1518, buffer: 65_550 };

fn at(nic: (u64, u64), socket: (u64, u64), folded: (u64, u64), dropped: u64) -> Point {
    let seen = Seen {
        socket: Amount::new(socket.0, socket.1),
        folded: Amount::new(folded.0, folded.1),
        ..Seen::default()
    };
    Point { nic: Amount::new(nic.0, nic.1), seen, dropped, in_flight: Amount::default() }
}

fn since_nothing(to: Point) -> Comparison {
    compare(&Point::default(), &to, LIMITS, Counting::Unknown)
}

#[test]
fn what_is_known_to_make_a_difference_is_explained_and_nothing_else() {
    let none = (0, 0);
    let cases = [
        ("equal", at((5000, 5), (5000, 5), none, 0), (0, 0)),
        ("bypass", at((109_200, 105), (5000, 5), none, 0), (104_200, 100)),
        ("bypass of tiny frames", at((5600, 15), (5000, 5), none, 0), (600, 10)),
        ("counted and not sent", at((5000, 5), (6000, 6), none, 0), (-1000, -1)),
        ("one frame dropped", at((4910, 4), (5000, 5), none, 1), (0, 0)),
        ("one large buffer dropped", at((5000, 5), (5000 + 66_000, 5 + 44), (2904, 43), 1), (0, 0)),
        ("more is missing than was dropped", at((0, 0), (200_000, 130), none, 1), (-134_450, -8)),
        ("dropped, but nothing is missing", at((5000, 5), (5000, 5), none, 7), (0, 0)),
        ("bypass although frames were dropped", at((20_000, 20), (5000, 5), none, 7), (15_000, 15)),
        ("checksums", at((5020, 5), (5000, 5), none, 0), (0, 0)),
        ("padding", at((60, 1), (34, 1), none, 0), (0, 0)),
        ("checksums and a dropped frame", at((40_000 + 4 * 40, 40), (41_000, 41), none, 1), (0, 0)),
        ("too much for checksums", at((5500, 5), (5000, 5), none, 0), (500, 0)),
        ("each segment counted", at((66_000, 44), (66_000, 44), (2904, 43), 0), (0, 0)),
        ("buffers counted once", at((66_000 - 2904, 1), (66_000, 44), (2904, 43), 0), (0, 0)),
        ("some counted once", at((66_000 - 660, 34), (66_000, 44), (2904, 43), 0), (0, 0)),
    ];
    for (name, to, (bytes, frames)) in cases {
        let comparison = since_nothing(to);
        assert_eq!(comparison.unexplained, Difference::new(bytes, frames), "{name}: {comparison:#?}");
        assert_eq!(comparison.is_balanced(), (bytes, frames) == (0, 0), "{name}");
    }
}

#[test]
fn bypass_is_exact_where_the_card_is_known_to_count_buffers() {
    let seen = at((66_000 - 2904 + 104_200, 101), (66_000, 44), (2904, 43), 0);
    let comparison = compare(&Point::default(), &seen, LIMITS, Counting::Buffers);
    assert_eq!(comparison.unexplained, Difference::new(104_200, 100));
    assert_eq!(comparison.counting, Counting::Buffers);
}

#[test]
fn what_is_in_flight_is_tolerated_and_comes_with_the_next_interval() {
    let mut from = at((1000, 1), (2000, 2), (0, 0), 0);
    from.in_flight = Amount::new(1000, 1);
    let to = at((2000, 2), (2000, 2), (0, 0), 0);
    let comparison = compare(&from, &to, LIMITS, Counting::Unknown);
    assert_eq!((comparison.over, comparison.under), (Amount::new(1000, 1), Amount::default()));
    assert_eq!(comparison.residual, Difference::new(1000, 1));
    assert!(comparison.is_balanced());
    let beyond = compare(&from, &at((2001, 2), (2000, 2), (0, 0), 0), LIMITS, Counting::Unknown);
    assert!(!beyond.is_balanced(), "{beyond:#?}");
}

proptest! {
    #[test]
    fn the_identity_holds_whatever_the_counters_say(
        nic in (0..1_u64 << 50, 0..1_u64 << 40),
        seen in (0..1_u64 << 50, 0..1_u64 << 40),
        folded in (0..1_u64 << 40, 0..1_u64 << 30),
        dropped in 0..1_u64 << 20,
    ) {
        let comparison = since_nothing(at(nic, seen, folded, dropped));
        let Explained { buffers, framing, dropped } = comparison.explained;
        prop_assert_eq!(
            buffers.plus(framing).plus(dropped).plus(comparison.unexplained),
            comparison.residual
        );
        prop_assert!(buffers.bytes <= 0 && framing.bytes >= 0 && dropped.bytes <= 0);
    }

    #[test]
    fn a_single_frame_past_us_is_never_explained_away(
        seen in (0..1_u64 << 40, 0..1_u64 << 30),
        past in 1..1000_u64,
        size in 60..1514_u64,
        dropped in 0..1000_u64,
    ) {
        let nic = (seen.0 + past * size, seen.1 + past);
        let comparison = since_nothing(at(nic, seen, (0, 0), dropped));
        prop_assert_eq!(comparison.unexplained, Difference::new((past * size) as i64, past as i64));
    }
}
