//! Two points in time: what the card counted beyond what we saw, and how much of that is explained.

use serde::{Deserialize, Serialize};

use super::{Amount, Difference, Seen};

/// Link header, IPv4 header and UDP header: the least that each segment of a large buffer has of its own.
const MIN_SEGMENT_HEADER: i64 = 28;
/// Link header with a VLAN tag, IPv6 header with options, TCP header with options: the most.
const MAX_SEGMENT_HEADER: i64 = 138;
/// Payload of the smallest segments that a TCP sender cuts a buffer into.
const MIN_SEGMENT: u64 = 536;
/// A frame that is dropped has at least an Ethernet or an IPv4 header.
const MIN_FRAME: i64 = 14;
/// What cards may add to a frame: padding to 60 bytes (of at least 34), checksum (4), a VLAN tag (4).
const MAX_FRAMING: i64 = 34;

/// Where both sides stood at one time, counted from the same beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Point {
    /// What the card has sent.
    pub(super) nic: Amount,
    /// What `tc` has seen.
    pub(super) seen: Seen,
    /// Buffers dropped behind `tc`, in the queue or by the driver.
    pub(super) dropped: u64,
    /// What may have passed `tc` without having been counted by the card yet.
    pub(super) in_flight: Amount,
}

/// Properties of the interface that bound what one frame or buffer may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Longest frame in bytes, link header included.
    pub frame: u64,
    /// Longest buffer in bytes that is handed to the card in one piece.
    pub buffer: u64,
}

/// How this card counts a buffer that is cut into segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Counting {
    /// Not told yet: nothing was cut so far.
    #[default]
    Unknown,
    /// Each segment, as it is on the wire: most hardware.
    Segments,
    /// The buffer once, as virtual cables and virtual cards do.
    Buffers,
    /// Some this way, some the other: depends on the protocol.
    Mixed,
}

impl Counting {
    /// The word used in records.
    pub const fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Unknown => None,
            Self::Segments => Some("segments"),
            Self::Buffers => Some("buffers"),
            Self::Mixed => Some("mixed"),
        }
    }
}

/// What is known to make a difference, signed as in the residual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Explained {
    /// Segments that the card counts as one buffer: negative.
    pub buffers: Difference,
    /// Checksums, padding and tags that the card adds to frames: positive.
    pub framing: Difference,
    /// Frames that were dropped behind `tc`: negative. An upper bound, since nobody counts their bytes.
    pub dropped: Difference,
}

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// What the card counted.
    pub nic: Amount,
    /// What `tc` saw.
    pub seen: Seen,
    /// Buffers dropped behind `tc`.
    pub dropped: u64,
    /// Card minus `tc`.
    pub residual: Difference,
    /// The parts of it that are known.
    pub explained: Explained,
    /// The rest.
    pub unexplained: Difference,
    /// How much the rest may be above zero without meaning anything: what was in flight at the beginning.
    pub over: Amount,
    /// How much it may be below: what is in flight at the end.
    pub under: Amount,
    /// How the card counted.
    pub counting: Counting,
}

impl Comparison {
    /// True when everything is explained, within the tolerance.
    pub fn is_balanced(&self) -> bool {
        let Difference { bytes, frames } = self.unexplained;
        let within =
            |value: i64, over: u64, under: u64| value.unsigned_abs() <= if value > 0 { over } else { under };
        within(bytes, self.over.bytes, self.under.bytes)
            && within(frames, self.over.frames, self.under.frames)
    }

    /// The part of the unexplained bytes that is beyond the tolerance, and therefore certain; signed like them.
    pub fn certain_bytes(&self) -> i64 {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        if self.unexplained.bytes > 0 {
            (self.unexplained.bytes - number(self.over.bytes)).max(0)
        } else {
            (self.unexplained.bytes + number(self.under.bytes)).min(0)
        }
    }
}

/// Compares. `known` is how this card was seen to count before.
pub(super) fn compare(from: &Point, to: &Point, limits: Limits, known: Counting) -> Comparison {
    let seen = to.seen.since(&from.seen);
    if seen.folded.is_zero() {
        return Comparison { counting: known, ..compare_as(from, to, limits, Counting::Segments) };
    }
    let as_known = match known {
        Counting::Unknown => None,
        Counting::Segments | Counting::Buffers | Counting::Mixed => Some(known),
    };
    let ways = as_known.into_iter().chain([Counting::Segments, Counting::Buffers, Counting::Mixed]);
    let mut best: Option<Comparison> = None;
    for counting in ways {
        let comparison = compare_as(from, to, limits, counting);
        if comparison.is_balanced() {
            return comparison;
        }
        // Nothing balances: the way it was known to count says most exactly what is missing.
        best.get_or_insert(comparison);
    }
    let mut comparison = best.unwrap_or_default();
    comparison.counting = known;
    comparison
}

fn compare_as(from: &Point, to: &Point, limits: Limits, counting: Counting) -> Comparison {
    let seen = to.seen.since(&from.seen);
    let nic = to.nic.since(from.nic);
    let dropped = to.dropped.saturating_sub(from.dropped);
    let residual = Difference::between(nic, seen.total());
    let buffers = match counting {
        Counting::Unknown | Counting::Segments => Difference::default(),
        Counting::Buffers => Difference::default().minus(Difference::of(seen.folded)),
        Counting::Mixed => mixed(residual, seen.folded),
    };
    let rest = residual.minus(buffers);
    let dropped_frames = explain_drops(rest, dropped, limits);
    let rest = rest.minus(dropped_frames);
    let framing = framing(rest, nic, from.in_flight);
    Comparison {
        nic,
        seen,
        dropped,
        residual,
        explained: Explained { buffers, framing, dropped: dropped_frames },
        unexplained: rest.minus(framing),
        over: from.in_flight,
        under: to.in_flight,
        counting,
    }
}

/// As many segments as the card did not count, if what is missing is about their headers.
fn mixed(residual: Difference, folded: Amount) -> Difference {
    let missing = Difference::default().minus(residual);
    let possible = missing.frames > 0
        && missing.frames.unsigned_abs() <= folded.frames
        && missing.bytes >= missing.frames.saturating_mul(MIN_SEGMENT_HEADER)
        && missing.bytes <= missing.frames.saturating_mul(MAX_SEGMENT_HEADER);
    if possible { residual } else { Difference::default() }
}

/// As many of the missing frames as were dropped, with bytes such frames can have had.
fn explain_drops(rest: Difference, dropped: u64, limits: Limits) -> Difference {
    let missing = Difference::default().minus(rest);
    if dropped == 0 || (missing.frames <= 0 && missing.bytes <= 0) {
        return Difference::default();
    }
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let longest = limits.buffer.max(limits.frame);
    // A buffer that is dropped whole may be many frames at once.
    let most_frames = number(dropped.saturating_mul((longest / MIN_SEGMENT).max(1)));
    let frames = missing.frames.clamp(0, most_frames);
    // At least the headers, at most what fits; frames that the card counts in another way than we do may be
    // missing as bytes only.
    let least_bytes = frames.saturating_mul(MIN_FRAME);
    let most_bytes =
        number(dropped.saturating_mul(longest)).min(frames.max(1).saturating_mul(number(longest)));
    Difference::new(-missing.bytes.clamp(least_bytes, most_bytes.max(least_bytes)), -frames)
}

/// The card counted no frame that we did not see, and a few bytes more for each: checksum, padding, tag. With even
/// one frame more, nothing is taken for framing: that frame may have carried anything.
fn framing(rest: Difference, nic: Amount, over: Amount) -> Difference {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let no_frame_more = rest.frames <= number(over.frames);
    let most = number(nic.frames).saturating_mul(MAX_FRAMING);
    if no_frame_more && (1..=most).contains(&rest.bytes) {
        return Difference::new(rest.bytes, 0);
    }
    Difference::default()
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
