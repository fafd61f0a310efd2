//! What the records say of themselves: their numbers have no hole that nobody explains, and their times go forward.
//!
//! Signatures and trees prove that nothing was changed later. This is about what was never written.
//!
//! Numbers are given when records are made, and what the writer has to say itself may overtake records that are on
//! their way to it: a number may come a little late. After a crash in the wrong moment records are written again,
//! unchanged, because nobody can know whether they were durable: a number may come again *with the same record*. Both
//! are counted and neither is wrong. Another record under a number that was there before is.

use std::collections::{HashMap, VecDeque};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::problem::Problem;

/// Records are stamped when they are made and may be written a moment later than others: times may go back by this
/// much, in milliseconds, without anybody having moved the clock.
const TIME_SLACK_MS: i64 = 2_000;

/// Latest records that a repeated number is compared with: more than an agent has on its way at once, which is 16 MiB of
/// records at most.
const RECENT: usize = 1 << 16;

/// A number below the first one that could be read, but not by more than this, may be of a record that came late.
const LATE: u64 = 1_024;

/// Holes and steps of the clock that are remembered until something explains them.
const MAX_OPEN: usize = 10_000;

/// What matters of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    sequence: Option<u64>,
    logged: Option<i64>,
    event: Option<Event>,
    fault: Option<String>,
    /// Tells whether another record is the same one.
    digest: [u8; 16],
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Start,
    ClockStep { by_ms: i64 },
    Gap { first: u64, last: u64, records: u64 },
    Retention { minimum_index: u64 },
}

#[derive(Deserialize)]
struct Line {
    metadata: Option<Metadata>,
    unmapped: Option<Unmapped>,
}

#[derive(Deserialize)]
struct Metadata {
    sequence: Option<u64>,
    logged_time: Option<i64>,
}

#[derive(Deserialize)]
struct Unmapped {
    homeport: Option<Extra>,
}

#[derive(Deserialize)]
struct Extra {
    event: Option<String>,
    by_ms: Option<i64>,
    first_sequence: Option<u64>,
    last_sequence: Option<u64>,
    first_kept: Option<u64>,
    // Numbers in gaps, lists of objects elsewhere.
    intervals: Option<serde_json::Value>,
    updates: Option<serde_json::Value>,
    transitions: Option<serde_json::Value>,
}

impl Facts {
    /// Reads an entry.
    pub(super) fn of(entry: &[u8]) -> Self {
        let line: Line = match serde_json::from_slice(entry) {
            Ok(line) => line,
            Err(error) => {
                return Self { fault: Some(format!("no record of homeport: {error}")), ..Self::default() };
            }
        };
        let Some(Metadata { sequence: Some(sequence), logged_time }) = line.metadata else {
            return Self { fault: Some("the record has no metadata.sequence".to_owned()), ..Self::default() };
        };
        let extra = line.unmapped.and_then(|unmapped| unmapped.homeport);
        let event = extra.and_then(|extra| match extra.event.as_deref()? {
            "start" => Some(Event::Start),
            "clock-step" => Some(Event::ClockStep { by_ms: extra.by_ms? }),
            "gap" => {
                let count =
                    |value: &Option<serde_json::Value>| value.as_ref().and_then(serde_json::Value::as_u64);
                let counts = [&extra.intervals, &extra.updates, &extra.transitions];
                Some(Event::Gap {
                    first: extra.first_sequence?,
                    last: extra.last_sequence?,
                    records: counts.into_iter().filter_map(count).fold(0, u64::saturating_add),
                })
            }
            "retention" => Some(Event::Retention { minimum_index: extra.first_kept? }),
            _ => None,
        });
        let mut digest = [0; 16];
        digest.copy_from_slice(&Sha256::digest(entry)[..16]);
        Self { sequence: Some(sequence), logged: logged_time, event, fault: None, digest }
    }
}

/// Numbers that are missing.
#[derive(Clone, Copy, Debug)]
struct Hole {
    /// The entry behind the hole.
    entry: u64,
    first: u64,
    last: u64,
}

/// A time before the one of the entry before it.
#[derive(Clone, Copy, Debug)]
struct Back {
    entry: u64,
    from: i64,
    to: i64,
}

/// Reads the records in order.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// The highest number so far.
    highest: Option<u64>,
    /// The first one after what could not be read.
    floor: u64,
    recent: Recent,
    latest: Option<(u64, i64)>,
    holes: Vec<Hole>,
    gaps: Vec<(u64, u64, u64)>,
    backs: Vec<Back>,
    more_open: u64,
    /// The highest index below which an entry says that entries may be removed.
    pub(super) declared_minimum: u64,
    /// Times of the first and the last record, milliseconds since 1970.
    pub(super) times: Option<(i64, i64)>,
    /// Numbers of the first and the last record.
    pub(super) sequences: Option<(u64, u64)>,
    /// Records that are there once more, unchanged.
    pub(super) repeated: u64,
    /// Records that gaps say are missing.
    pub(super) declared_missing: u64,
}

impl Content {
    /// The next entry.
    pub(super) fn next(&mut self, entry: u64, facts: Facts, problem: &mut impl FnMut(Problem)) {
        if let Some(fault) = facts.fault {
            problem(Problem::wrong(fault).entry(entry));
            self.forget(entry);
            return;
        }
        if let Some(event) = &facts.event {
            self.event(event);
        }
        if let Some(time) = facts.logged {
            self.time(entry, time, &facts.event);
        }
        if let Some(sequence) = facts.sequence {
            self.sequence(entry, sequence, facts.digest, problem);
        }
    }

    /// Entries from here to `entry` could not be read: what follows cannot be compared with what was before.
    pub(super) fn forget(&mut self, entry: u64) {
        if self.recent.last_entry.is_some_and(|last| last < entry) {
            self.highest = None;
        }
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::Gap { first, last, records } => {
                self.declared_missing = self.declared_missing.saturating_add(*records);
                if self.gaps.len() < MAX_OPEN {
                    self.gaps.push((*first, *last, *records));
                }
            }
            Event::Retention { minimum_index } => {
                self.declared_minimum = self.declared_minimum.max(*minimum_index);
            }
            // The step is noticed after it happened: it explains what lies behind it and is as large.
            Event::ClockStep { by_ms } if *by_ms < 0 => {
                self.backs.retain(|back| {
                    back.from - back.to > by_ms.saturating_neg().saturating_add(TIME_SLACK_MS)
                });
            }
            Event::ClockStep { .. } | Event::Start => {}
        }
    }

    fn time(&mut self, entry: u64, time: i64, event: &Option<Event>) {
        let (first, last) = self.times.unwrap_or((time, time));
        self.times = Some((first, last.max(time)));
        if let Some((_, latest)) = self.latest
            && time < latest.saturating_sub(TIME_SLACK_MS)
        {
            let explained = match event {
                // A host may come up with a clock that nobody has set yet.
                Some(Event::Start) => true,
                Some(Event::ClockStep { by_ms }) => *by_ms < 0,
                _ => false,
            };
            if !explained {
                self.open(|content| content.backs.push(Back { entry, from: latest, to: time }));
            }
            self.latest = Some((entry, time));
            return;
        }
        if self.latest.is_none_or(|(_, latest)| time > latest) {
            self.latest = Some((entry, time));
        }
    }

    fn sequence(&mut self, entry: u64, sequence: u64, digest: [u8; 16], problem: &mut impl FnMut(Problem)) {
        let (first, last) = self.sequences.unwrap_or((sequence, sequence));
        self.sequences = Some((first.min(sequence), last.max(sequence)));
        match (self.highest, self.recent.get(sequence)) {
            (_, Some((_, known))) if known == digest => self.repeated += 1,
            (_, Some((other, _))) => problem(
                Problem::wrong(format!("entry {other} is another record with the same number"))
                    .entry(entry)
                    .values(format!("a number above {}", self.highest.unwrap_or(sequence)), sequence),
            ),
            (Some(highest), None) if sequence > highest => {
                if sequence - highest > 1 {
                    self.open(|content| {
                        content.holes.push(Hole { entry, first: highest + 1, last: sequence - 1 })
                    });
                }
                self.highest = Some(sequence);
            }
            (Some(highest), None) => {
                if !self.came_late(sequence) {
                    problem(
                        Problem::wrong("the record's number is far below those before it")
                            .entry(entry)
                            .values(format!("a number above {highest}"), sequence),
                    );
                }
            }
            (None, None) => {
                self.highest = Some(sequence);
                self.floor = sequence;
            }
        }
        self.recent.put(entry, sequence, digest);
    }

    /// Whether it was missing up to now, and is no more.
    fn came_late(&mut self, sequence: u64) -> bool {
        let Some(at) = self.holes.iter().rposition(|hole| (hole.first..=hole.last).contains(&sequence))
        else {
            return sequence < self.floor && self.floor - sequence <= LATE;
        };
        let hole = self.holes.remove(at);
        let parts = [Hole { last: sequence - 1, ..hole }, Hole { first: sequence + 1, ..hole }];
        for part in parts.into_iter().filter(|part| part.first <= part.last).rev() {
            self.holes.insert(at, part);
        }
        true
    }

    fn open(&mut self, push: impl FnOnce(&mut Self)) {
        if self.holes.len() + self.backs.len() < MAX_OPEN { push(self) } else { self.more_open += 1 }
    }

    /// All entries have been read. `is_part`: there are later ones, which may explain what these do not.
    pub(super) fn finish(&mut self, is_part: bool, problem: &mut impl FnMut(Problem)) {
        let weigh = |what: String| {
            if is_part { Problem::note(format!("{what} (a later one may)")) } else { Problem::wrong(what) }
        };
        for hole in &self.holes {
            let missing = hole.last - hole.first + 1;
            let covering =
                self.gaps.iter().find(|(first, last, _)| *first <= hole.first && hole.last <= *last);
            let what = match covering {
                Some((_, _, records)) if missing <= *records => continue,
                Some((_, _, records)) => {
                    format!(
                        "{missing} records are missing before this one, and the gap record for them counts {records}"
                    )
                }
                None => format!("{missing} records are missing before this one, and no gap record says so"),
            };
            let numbers = if missing == 1 {
                format!("number {}", hole.first)
            } else {
                format!("numbers {} to {}", hole.first, hole.last)
            };
            problem(weigh(what).entry(hole.entry).values(numbers, "none of them"));
        }
        for back in &self.backs {
            problem(
                weigh("the time goes back, and no clock-step record says so".to_owned())
                    .entry(back.entry)
                    .values(format!("{} or later", time(back.from)), time(back.to)),
            );
        }
        if self.more_open > 0 {
            problem(Problem::wrong(format!("{} more holes and steps of the clock", self.more_open)));
        }
    }
}

/// The latest records by their numbers.
#[derive(Debug, Default)]
struct Recent {
    order: VecDeque<u64>,
    records: HashMap<u64, (u64, [u8; 16])>,
    last_entry: Option<u64>,
}

impl Recent {
    /// The entry with this number, and what it says.
    fn get(&self, sequence: u64) -> Option<(u64, [u8; 16])> {
        self.records.get(&sequence).copied()
    }

    fn put(&mut self, entry: u64, sequence: u64, digest: [u8; 16]) {
        self.last_entry = Some(entry);
        if self.records.contains_key(&sequence) {
            return;
        }
        self.records.insert(sequence, (entry, digest));
        self.order.push_back(sequence);
        if self.order.len() > RECENT
            && let Some(oldest) = self.order.pop_front()
        {
            self.records.remove(&oldest);
        }
    }
}

/// Milliseconds since 1970 as RFC 3339.
pub(super) fn time(millis: i64) -> String {
    crate::clock::WallTime(millis.saturating_mul(1_000_000)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sequence: u64, time: i64, extra: &str) -> String {
        format!(
            r#"{{"metadata":{{"sequence":{sequence},"logged_time":{time}}},"unmapped":{{"homeport":{{"schema":1{extra}}}}}}}"#
        )
    }

    fn check(records: &[String], expected: &[&str]) {
        let (mut content, mut problems) = (Content::default(), Vec::new());
        let mut problem = |found: Problem| problems.push(found.to_string());
        for (entry, record) in records.iter().enumerate() {
            content.next(entry as u64, Facts::of(record.as_bytes()), &mut problem);
        }
        content.finish(false, &mut problem);
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
        for (problem, part) in problems.iter().zip(expected) {
            assert!(problem.contains(part), "{problem:?} does not say {part:?}");
        }
    }

    #[test]
    fn numbers_that_grow_by_one_are_complete() {
        check(&[record(4, 0, ""), record(5, 60_000, ""), record(6, 120_000, "")], &[]);
    }

    #[test]
    fn a_hole_that_nobody_explains_is_told() {
        check(
            &[record(1, 0, ""), record(4, 1, "")],
            &["entry 1: 2 records are missing before this one, and no gap"],
        );
    }

    #[test]
    fn a_gap_record_explains_as_many_as_it_counts() {
        let gap = |count| {
            format!(
                r#","event":"gap","first_sequence":2,"last_sequence":5,"intervals":{count},"updates":1,"transitions":0"#
            )
        };
        check(&[record(1, 0, ""), record(4, 1, ""), record(6, 1, &gap(2))], &[]);
        check(
            &[record(1, 0, ""), record(6, 1, &gap(1))],
            &["4 records are missing before this one, and the gap record for them counts 2"],
        );
        check(&[record(1, 0, ""), record(7, 1, &gap(9))], &["5 records are missing"]);
    }

    #[test]
    fn the_same_record_may_come_again_and_another_may_not_have_its_number() {
        let (mut content, mut problems) = (Content::default(), Vec::new());
        let records = [1, 2, 3, 2, 3, 4].map(|number| record(number, 0, ""));
        for (entry, record) in records.iter().enumerate() {
            content.next(entry as u64, Facts::of(record.as_bytes()), &mut |found| problems.push(found));
        }
        content.finish(false, &mut |found| problems.push(found));
        assert_eq!((problems.len(), content.repeated), (0, 2));
        check(
            &[record(1, 0, ""), record(2, 0, ""), record(1, 0, ",\"kind\":\"transfer\""), record(3, 0, "")],
            &["entry 2: entry 0 is another record with the same number"],
        );
    }

    #[test]
    fn a_number_may_be_overtaken_but_not_skipped() {
        let in_order =
            |numbers: &[u64]| numbers.iter().map(|number| record(*number, 0, "")).collect::<Vec<_>>();
        check(&in_order(&[1, 2, 6, 4, 3, 5, 7]), &[]);
        check(&in_order(&[1, 2, 6, 4, 7]), &["1 records are missing", "1 records are missing"]);
        // What was before the first one that is kept.
        check(&in_order(&[2_001, 2_000, 2_002]), &[]);
        check(&in_order(&[2_001, 2_002, 1]), &["entry 2: the record's number is far below"]);
    }

    #[test]
    fn times_go_forward_unless_the_clock_was_set() {
        check(&[record(1, 10_000, ""), record(2, 9_000, "")], &[]);
        check(
            &[record(1, 10_000, ""), record(2, 5_000, ""), record(3, 5_500, "")],
            &["entry 1: the time goes back"],
        );
        let step = r#","event":"clock-step","by_ms":-5000"#;
        check(
            &[record(1, 10_000, ""), record(2, 5_000, ""), record(3, 5_500, step), record(4, 6_000, "")],
            &[],
        );
        let small = r#","event":"clock-step","by_ms":-500"#;
        check(
            &[record(1, 10_000, ""), record(2, 5_000, ""), record(3, 5_500, small)],
            &["the time goes back"],
        );
    }

    #[test]
    fn what_is_no_record_is_told_and_what_follows_is_not_blamed() {
        check(&[record(1, 0, ""), "{".to_owned(), record(3, 0, "")], &["entry 1: no record of homeport"]);
        check(&["{}".to_owned()], &["no metadata.sequence"]);
    }
}
