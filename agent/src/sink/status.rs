//! How a sink is: what the control socket is told, and what has to become a record.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::clock::WallTime;

/// Bytes of the longest reason that is kept: receivers answer with whole pages.
const MAX_REASON_BYTES: usize = 300;

/// A sink as the control socket tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct SinkRow {
    pub name: String,
    pub kind: String,
    /// `starting`, `delivering`, `failing` or `removed`.
    pub state: String,
    pub next: u64,
    pub behind_entries: u64,
    pub behind_secs: u64,
    pub delivered: u64,
    pub retries: u64,
    pub dead_letters: u64,
    pub skipped: u64,
    pub last_success: Option<String>,
    pub last_error: Option<ErrorRow>,
    pub failing_since: Option<String>,
}

/// The latest error of a sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct ErrorRow {
    pub time: String,
    pub reason: String,
}

/// What happened at a sink that has to become a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The receiver refused entries for good.
    Refused(Range),
    /// Retention took entries before they were delivered.
    Skipped(Range),
    /// The cursor was worth nothing: entries from here on are delivered again.
    CursorLost(Range),
}

/// Which entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// How many of them.
    pub count: u64,
    /// Why; of several, that of the last.
    pub reason: String,
}

impl Range {
    fn merge(&mut self, other: Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.count = self.count.saturating_add(other.count);
        self.reason = other.reason;
    }
}

/// Written by the sink, read by everybody else. Copies are the same board.
#[derive(Clone, Debug)]
pub(super) struct Board(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    name: String,
    kind: &'static str,
    is_started: bool,
    next: u64,
    /// When the oldest entry that waits was made.
    oldest: Option<WallTime>,
    delivered: u64,
    retries: u64,
    dead_letters: u64,
    skipped: u64,
    last_success: Option<WallTime>,
    last_error: Option<(WallTime, String)>,
    failing_since: Option<WallTime>,
    notices: [Option<Range>; 3],
}

impl Board {
    pub(super) fn new(name: &str, kind: &'static str) -> Self {
        let state = State { name: name.to_owned(), kind, ..State::default() };
        Self(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is in it is numbers: a sink that panicked leaves none of them half-written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn name(&self) -> String {
        self.state().name.clone()
    }

    /// It stands here; the counts of its cursor.
    pub(super) fn stands(&self, next: u64, dead_letters: u64, skipped: u64) {
        let mut state = self.state();
        state.is_started = true;
        state.next = next;
        state.dead_letters = dead_letters;
        state.skipped = skipped;
    }

    /// The oldest entry that waits; none when nothing does.
    pub(super) fn waits(&self, oldest: Option<WallTime>) {
        self.state().oldest = oldest;
    }

    pub(super) fn succeeded(&self, entries: u64) {
        let mut state = self.state();
        state.delivered = state.delivered.saturating_add(entries);
        state.last_success = Some(WallTime::now());
        state.failing_since = None;
    }

    pub(super) fn failed(&self, reason: &str) {
        let mut state = self.state();
        let now = WallTime::now();
        state.retries = state.retries.saturating_add(1);
        state.last_error = Some((now, shortened(reason)));
        state.failing_since.get_or_insert(now);
    }

    /// Something is wrong that does not keep entries from being delivered.
    pub(super) fn complained(&self, reason: &str) {
        self.state().last_error = Some((WallTime::now(), shortened(reason)));
    }

    pub(super) fn notice(&self, notice: Notice) {
        let (idx, mut range) = match notice {
            Notice::Refused(range) => (0, range),
            Notice::Skipped(range) => (1, range),
            Notice::CursorLost(range) => (2, range),
        };
        range.reason = shortened(&range.reason);
        match &mut self.state().notices[idx] {
            Some(known) => known.merge(range),
            none => *none = Some(range),
        }
    }

    /// Takes what has to become a record.
    pub(super) fn take_notices(&self) -> Vec<Notice> {
        let [refused, skipped, lost] = std::mem::take(&mut self.state().notices);
        [refused.map(Notice::Refused), skipped.map(Notice::Skipped), lost.map(Notice::CursorLost)]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Since when it fails, and why.
    pub(super) fn failing(&self) -> Option<(WallTime, String)> {
        let state = self.state();
        let reason = state.last_error.as_ref().map(|(_, reason)| reason.clone());
        state.failing_since.map(|since| (since, reason.unwrap_or_default()))
    }

    pub(super) fn row(&self, size: u64, now: WallTime) -> SinkRow {
        let state = self.state();
        let behind_entries = if state.is_started { size.saturating_sub(state.next) } else { 0 };
        SinkRow {
            name: state.name.clone(),
            kind: state.kind.to_owned(),
            state: match (state.is_started, state.failing_since) {
                (_, Some(_)) => "failing",
                (true, None) => "delivering",
                (false, None) => "starting",
            }
            .to_owned(),
            next: state.next,
            behind_entries,
            behind_secs: state
                .oldest
                .map_or(0, |oldest| now.unix_seconds().saturating_sub(oldest.unix_seconds()).max(0) as u64),
            delivered: state.delivered,
            retries: state.retries,
            dead_letters: state.dead_letters,
            skipped: state.skipped,
            last_success: state.last_success.map(|time| time.to_string()),
            last_error: state
                .last_error
                .as_ref()
                .map(|(time, reason)| ErrorRow { time: time.to_string(), reason: reason.clone() }),
            failing_since: state.failing_since.map(|time| time.to_string()),
        }
    }
}

/// On one line, and not longer than a line may be.
fn shortened(reason: &str) -> String {
    let mut text: String =
        reason.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if text.len() > MAX_REASON_BYTES {
        let end = (0..=MAX_REASON_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    text
}
