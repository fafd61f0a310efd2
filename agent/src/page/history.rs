//! Bytes per place and verdict over the last hour, day and week, made of interval records.
//!
//! Three rings of buckets, so that what is kept does not depend on how much happened: one bucket has a cell per
//! place, and there are a few hundred places at most.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How far back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Range {
    /// 60 buckets of a minute.
    #[default]
    Hour,
    /// 96 buckets of a quarter of an hour.
    Day,
    /// 84 buckets of two hours.
    Week,
}

impl Range {
    const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Week];

    /// Seconds in one bucket, and how many of them.
    pub const fn buckets(self) -> (i64, i64) {
        match self {
            Self::Hour => (60, 60),
            Self::Day => (900, 96),
            Self::Week => (7_200, 84),
        }
    }
}

/// Where bytes went, as records name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[expect(missing_docs, reason = "documented in agent/docs/PAGE.md")]
pub struct PlaceKey {
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
}

impl PlaceKey {
    /// Reads `place` of a record.
    pub fn read(place: &Value) -> Self {
        let text = |name: &str| place.get(name).and_then(Value::as_str).map(str::to_owned);
        Self { kind: text("kind").unwrap_or_default(), country: text("country"), site: text("site") }
    }
}

/// Wire bytes with data by verdict, and those without any data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "documented in agent/docs/PAGE.md")]
pub struct Sums {
    pub approved: u64,
    pub excepted: u64,
    pub violation: u64,
    /// Handshakes, acknowledgements, resets: of all verdicts.
    pub control: u64,
}

impl Sums {
    /// Counts `wire` bytes, of which `control` carry no data.
    pub fn count(&mut self, verdict: &str, wire: u64, control: u64) {
        let data = wire.saturating_sub(control);
        let sum = match verdict {
            "approved" => &mut self.approved,
            "excepted" => &mut self.excepted,
            _ => &mut self.violation,
        };
        *sum = sum.saturating_add(data);
        self.control = self.control.saturating_add(control);
    }

    fn add(&mut self, other: Self) {
        self.approved = self.approved.saturating_add(other.approved);
        self.excepted = self.excepted.saturating_add(other.excepted);
        self.violation = self.violation.saturating_add(other.violation);
        self.control = self.control.saturating_add(other.control);
    }
}

/// One bucket.
#[derive(Clone, Debug, Default)]
struct Bucket {
    /// Its number since 1970.
    number: i64,
    places: BTreeMap<PlaceKey, Sums>,
    covered_secs: i64,
    state: u8,
    lost: u64,
}

/// What happened in an interval that is not over.
#[derive(Clone, Debug, Default)]
pub struct Current {
    /// Its begin, in seconds since 1970.
    pub start: i64,
    /// Bytes so far.
    pub places: BTreeMap<PlaceKey, Sums>,
}

/// Answer to `/api/v1/history`.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "documented in agent/docs/PAGE.md")]
pub struct HistoryView {
    pub schema: u32,
    pub range: Range,
    pub bucket_secs: i64,
    pub start: i64,
    pub end: i64,
    pub buckets: Vec<BucketRow>,
    pub places: Vec<PlaceRow>,
}

/// One bucket.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "documented in agent/docs/PAGE.md")]
pub struct BucketRow {
    pub start: i64,
    #[serde(flatten)]
    pub sums: Sums,
    pub recorded_secs: i64,
    pub state: &'static str,
    pub lost_events: u64,
}

/// One place over the whole range.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "documented in agent/docs/PAGE.md")]
pub struct PlaceRow {
    #[serde(flatten)]
    pub place: PlaceKey,
    #[serde(flatten)]
    pub sums: Sums,
}

/// See the module.
#[derive(Debug, Default)]
pub struct History {
    rings: [VecDeque<Bucket>; 3],
    /// Everything before this has been counted, in seconds since 1970.
    counted_until: i64,
}

const STATES: [&str; 3] = ["covered", "reduced", "not covered"];

impl History {
    /// Counts an interval record.
    pub fn count(&mut self, record: &Value) {
        let millis = |name: &str| record.get(name).and_then(Value::as_i64);
        let (Some(start), Some(end)) = (millis("start_time"), millis("end_time")) else { return };
        let Some(extra) = record.pointer("/unmapped/homeport") else { return };
        let mut places: BTreeMap<PlaceKey, Sums> = BTreeMap::new();
        for cell in extra.get("classes").and_then(Value::as_array).into_iter().flatten() {
            let wire = |name: &str| cell.pointer(name).and_then(Value::as_u64).unwrap_or(0);
            let verdict = cell.get("verdict").and_then(Value::as_str).unwrap_or_default();
            let place = PlaceKey::read(cell.get("place").unwrap_or(&Value::Null));
            places.entry(place).or_default().count(verdict, wire("/bytes/wire"), wire("/control/wire"));
        }
        let state = extra.get("state").and_then(Value::as_str).unwrap_or_default();
        let state = STATES.iter().position(|known| *known == state).unwrap_or(0) as u8;
        let losses = extra.get("losses").and_then(Value::as_array).into_iter().flatten();
        let lost: u64 = losses.filter_map(|loss| loss.get("count").and_then(Value::as_u64)).sum();
        self.counted_until = self.counted_until.max(end / 1000);
        for (range, ring) in Range::ALL.into_iter().zip(&mut self.rings) {
            let (secs, n_buckets) = range.buckets();
            // It counts where it ended: it cannot be split.
            let number = (end / 1000 - 1).div_euclid(secs);
            // Records need not come in the order of their times: the ledger and this run are read at once, and a clock
            // may be set back.
            let place = ring.partition_point(|bucket| bucket.number < number);
            if ring.get(place).is_none_or(|bucket| bucket.number != number) {
                ring.insert(place, Bucket { number, ..Bucket::default() });
            }
            let Some(bucket) = ring.get_mut(place) else { continue };
            for (place, sums) in &places {
                bucket.places.entry(place.clone()).or_default().add(*sums);
            }
            bucket.covered_secs += ((end - start) / 1000).max(0);
            bucket.state = bucket.state.max(state);
            bucket.lost += lost;
            let newest = ring.back().map_or(number, |bucket| bucket.number);
            while ring.front().is_some_and(|bucket| bucket.number <= newest - n_buckets) {
                ring.pop_front();
            }
        }
    }

    /// The range that ends at `now`, in seconds since 1970, with what is being counted.
    pub fn view(&self, range: Range, now: i64, current: &Current) -> HistoryView {
        let (secs, n_buckets) = range.buckets();
        let last = now.div_euclid(secs);
        let first = last - n_buckets + 1;
        let idx = Range::ALL.iter().position(|known| *known == range).unwrap_or(0);
        let mut places: BTreeMap<PlaceKey, Sums> = BTreeMap::new();
        let mut buckets = Vec::new();
        for bucket in self.rings.get(idx).into_iter().flatten().filter(|bucket| bucket.number >= first) {
            let mut sums = Sums::default();
            for (place, cell) in &bucket.places {
                sums.add(*cell);
                places.entry(place.clone()).or_default().add(*cell);
            }
            buckets.push(BucketRow {
                start: bucket.number * secs,
                sums,
                recorded_secs: bucket.covered_secs,
                state: STATES.get(usize::from(bucket.state)).copied().unwrap_or_default(),
                lost_events: bucket.lost,
            });
        }
        let mut now_sums = Sums::default();
        // A look is up to a second old: what it says is being counted may have been recorded meanwhile. After a step of the
        // clock back nothing can be said about that.
        let is_over = current.start < self.counted_until && self.counted_until <= now;
        for (place, cell) in current.places.iter().filter(|_| !is_over) {
            now_sums.add(*cell);
            places.entry(place.clone()).or_default().add(*cell);
        }
        if now_sums != Sums::default() {
            match buckets.last_mut().filter(|bucket| bucket.start == last * secs) {
                Some(bucket) => bucket.sums.add(now_sums),
                None => buckets.push(BucketRow {
                    start: last * secs,
                    sums: now_sums,
                    recorded_secs: 0,
                    state: STATES[0],
                    lost_events: 0,
                }),
            }
        }
        HistoryView {
            schema: super::SCHEMA,
            range,
            bucket_secs: secs,
            start: first * secs,
            end: (last + 1) * secs,
            buckets,
            places: places.into_iter().map(|(place, sums)| PlaceRow { place, sums }).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(end_secs: i64, country: &str, verdict: &str, wire: u64, state: &str) -> Value {
        serde_json::json!({
            "start_time": (end_secs - 60) * 1000, "end_time": end_secs * 1000,
            "unmapped": {"homeport": {
                "state": state, "losses": [],
                "classes": [{"place": {"kind": "country", "country": country}, "verdict": verdict,
                    "bytes": {"wire": wire}, "control": {"wire": 52}}],
            }},
        })
    }

    #[test]
    fn the_record_format_is_read_as_it_is_written() {
        let record: Value =
            serde_json::from_str(include_str!("../record/golden/interval.json")).expect("a record");
        let mut history = History::default();
        history.count(&record);
        let view = history.view(Range::Day, 1_772_323_261, &Current::default());
        assert_eq!(view.places.len(), 1);
        assert_eq!(view.places[0].place.country.as_deref(), Some("DE"));
        assert_eq!(view.places[0].sums, Sums { violation: 1500, control: 52, ..Sums::default() });
        assert_eq!(view.buckets[0].state, "reduced");
        assert_eq!(view.buckets[0].recorded_secs, 60);
    }

    #[test]
    fn each_range_sees_what_is_in_it_and_keeps_no_more() {
        let mut history = History::default();
        let end = 10_000_000 * 60;
        for idx in 0..20_000 {
            history.count(&minute(end - (19_999 - idx) * 60, "DE", "approved", 152, "covered"));
        }
        for (range, minutes) in [(Range::Hour, 60), (Range::Day, 96 * 15), (Range::Week, 84 * 120)] {
            let view = history.view(range, end - 1, &Current::default());
            let (_, n_buckets) = range.buckets();
            assert_eq!(view.buckets.len() as i64, n_buckets, "{range:?}");
            let expected = u64::try_from(minutes * 100).expect("positive");
            // The last bucket may have begun before the last minute ended.
            let slack = u64::try_from(range.buckets().0 / 60 * 100).expect("positive");
            let approved = view.places[0].sums.approved;
            assert!((expected - slack..=expected).contains(&approved), "{range:?}: {approved} of {expected}");
        }
    }

    #[test]
    fn what_is_being_counted_is_part_of_the_answer() {
        let mut current = Current::default();
        let place = PlaceKey { kind: "country".into(), country: Some("CN".into()), site: None };
        current.places.entry(place).or_default().count("violation", 1500, 0);
        let view = History::default().view(Range::Hour, 600, &current);
        assert_eq!(view.places[0].sums.violation, 1500);
        assert_eq!(view.buckets.len(), 1);
    }

    #[test]
    fn a_look_from_before_the_last_record_is_not_counted_again() {
        let mut history = History::default();
        history.count(&minute(600, "CN", "violation", 1552, "covered"));
        let place = PlaceKey { kind: "country".into(), country: Some("CN".into()), site: None };
        for (start, expected) in [(540, 1500), (600, 3000)] {
            let mut current = Current { start, ..Current::default() };
            current.places.entry(place.clone()).or_default().count("violation", 1500, 0);
            let view = history.view(Range::Hour, 610, &current);
            assert_eq!(view.places[0].sums.violation, expected, "begun at {start}");
        }
    }

    #[test]
    fn the_worst_state_of_a_bucket_is_its_state() {
        let mut history = History::default();
        history.count(&minute(120, "DE", "approved", 100, "not covered"));
        history.count(&minute(180, "DE", "approved", 100, "covered"));
        let view = history.view(Range::Day, 200, &Current::default());
        assert_eq!(view.buckets[0].state, "not covered");
    }
}
