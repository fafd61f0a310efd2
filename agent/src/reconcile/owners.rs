//! The second identity over time: what is certain about its rest.
//!
//! The two sides are never read at the same instant, and a packet passes the socket ledger before it passes `tc`. So one
//! difference says little, but two bounds are certain:
//!
//! ```text
//!   one look:   tc (before)  ->  socket ledger  ->  tc (after)
//!   lowest  = tc before the *previous* look - ledger     above zero: the ledger lacks what tc has seen
//!   highest = tc after - ledger                          below zero: it was counted and has not passed tc
//! ```
//!
//! The previous look, because bytes without a slot are read one look late. At rest both are the same number, and the
//! comparison is exact; under load what lies between them means nothing, and whatever is missing adds up until it is
//! beyond. The highest may be below zero for a moment only: packets wait for the hardware address of a neighbour. So what
//! counts is what holds for [`SETTLED`] looks in a row, longer than the kernel asks (three times, once a second).
//!
//! Bytes without owner and discarded ones have opposite signs: as much as is discarded may hide bytes without owner. Both
//! counters are in the record.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::discards::Discards;

/// Looks in a row, about one a second, for which a difference must hold.
const SETTLED: usize = 5;

/// A difference up to this, in bytes, is no finding by itself. It stays in the sum, so a leak is found all the same.
///
/// What is known to differ is small: packets that were on their way when counting began, and fragments on a path with a
/// smaller packet size than the interface's, whose headers the socket ledger cannot know. A retransmission or a handful
/// of pings that found no neighbour is nothing that a person should look at.
pub const TOLERANCE_BYTES: u64 = 16 << 10;

/// One look at both sides, in bytes of layer 3 that only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// What `tc` had seen of local sockets before the ledger was read.
    pub socket_before: u64,
    /// What the socket ledger has.
    pub ledger: u64,
    /// What `tc` had seen after.
    pub socket_after: u64,
    /// What sockets in other network namespaces of this host sent. Where all are watched, devices such as macvlan hand
    /// their frames on with the socket, and `tc` cannot tell them from ours: as much may be too much.
    pub elsewhere: u64,
    /// What the kernel says it discarded, since boot; none where it does not tell.
    pub discards: Option<Discards>,
}

/// What an interval has to tell, each beyond the tolerance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnersReport {
    /// Bytes that were discarded, as the kernel says, with its counters.
    pub discarded: Option<(u64, Discards)>,
    /// Bytes that sockets sent and that did not leave, and nobody says why.
    pub unsent: Option<u64>,
    /// Bytes that left local sockets, and that the socket ledger does not have.
    pub unattributed: Option<u64>,
}

/// Lowest and highest difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Range {
    low: i64,
    high: i64,
}

impl Range {
    const fn width(self) -> i64 {
        self.high.saturating_sub(self.low)
    }

    const fn has_zero(self) -> bool {
        self.low <= 0 && self.high >= 0
    }
}

/// See the module.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct OwnersLedger {
    /// Where the comparison began; none until both sides have been read.
    base: Option<Range>,
    /// Bytes of the difference since then that have been explained or told, with the opposite sign.
    settled: i64,
    /// The latest looks, and how many bytes the discards before each can explain.
    #[serde(skip)]
    recent: VecDeque<(Range, u64)>,
    /// As much can be explained by discards before those.
    credit: u64,
    #[serde(skip)]
    socket_before: Option<u64>,
    /// What had been sent elsewhere at the base, and now.
    elsewhere: (u64, u64),
    discards: Option<Discards>,
    discarded_bytes: u64,
    /// Discarded bytes and discards that no report has told.
    untold: (u64, Discards),
}

impl OwnersLedger {
    /// Begins anew: something was not watched, or an interface came or went, so the sides cannot be compared with what
    /// was before. What has been discarded by then stays.
    pub fn begin_again(&mut self) {
        *self = Self {
            discards: self.discards,
            discarded_bytes: self.discarded_bytes,
            untold: self.untold,
            ..Self::default()
        };
    }

    /// Takes a look.
    pub fn observe(&mut self, look: &Look) {
        let explainable = self.take_discards(look.discards);
        let Some(socket_before) = self.socket_before.replace(look.socket_before) else { return };
        let now =
            Range { low: minus(socket_before, look.ledger), high: minus(look.socket_after, look.ledger) };
        if self.base.is_none() {
            self.elsewhere.0 = look.elsewhere;
        }
        self.elsewhere.1 = look.elsewhere;
        let base = *self.base.get_or_insert(now);
        self.recent.push_back((now, explainable));
        if self.recent.len() > SETTLED
            && let Some((_, earlier)) = self.recent.pop_front()
        {
            self.credit = self.credit.saturating_add(earlier);
        }
        if self.recent.len() < SETTLED {
            return;
        }
        // More than what can be missing will not be asked for: a discard of somebody else's explains nothing later.
        let lowest = self.differences().map(|range| range.low).min().unwrap_or_default();
        self.credit = self.credit.min(lowest.min(0).unsigned_abs());
        self.explain();
        if now.width() <= base.width() / 2 && self.differences().all(Range::has_zero) {
            // It balances, and is seen more exactly than where it began: what comes is compared with this. What the wider
            // range may have hidden is given up.
            self.base = Some(now);
            self.settled = 0;
            self.elsewhere.0 = look.elsewhere;
        }
    }

    /// Counters of the kernel; returns how many bytes those since the look before can explain.
    fn take_discards(&mut self, now: Option<Discards>) -> u64 {
        let (Some(now), before) = (now, self.discards) else { return 0 };
        self.discards = Some(now);
        let Some(before) = before else { return 0 };
        let added = now.since(&before);
        self.untold.1 = self.untold.1.plus(&added);
        added.most_bytes()
    }

    /// The latest differences that are neither explained nor told.
    fn differences(&self) -> impl Iterator<Item = Range> {
        let (base, settled) = (self.base.unwrap_or_default(), self.settled);
        self.recent.iter().map(move |(range, _)| Range {
            low: range.low.saturating_sub(base.high).saturating_add(settled),
            high: range.high.saturating_sub(base.low).saturating_add(settled),
        })
    }

    /// What holds for all recent looks: bytes missing are negative, bytes too many positive.
    fn certain(&self) -> i64 {
        if self.recent.len() < SETTLED {
            return 0;
        }
        let highest = self.differences().map(|range| range.high).max().unwrap_or_default();
        let lowest = self.differences().map(|range| range.low).min().unwrap_or_default();
        if highest < 0 {
            return highest;
        }
        let (before, now) = self.elsewhere;
        lowest.saturating_sub_unsigned(now.saturating_sub(before)).max(0)
    }

    /// Of what is certainly missing, the part that discards explain.
    fn explain(&mut self) {
        let missing = self.certain().min(0).unsigned_abs();
        let mut explained = 0;
        let recent = self.recent.iter_mut().map(|(_, bytes)| bytes);
        for bytes in std::iter::once(&mut self.credit).chain(recent) {
            let taken = (missing - explained).min(*bytes);
            *bytes -= taken;
            explained += taken;
        }
        self.discarded_bytes = self.discarded_bytes.saturating_add(explained);
        self.untold.0 = self.untold.0.saturating_add(explained);
        self.settled = self.settled.saturating_add_unsigned(explained);
    }

    /// Bytes that were discarded, as the kernel says, since the agent counts.
    pub const fn discarded_bytes(&self) -> u64 {
        self.discarded_bytes
    }

    /// The kernel's counters at the latest look.
    pub const fn discards(&self) -> Option<Discards> {
        self.discards
    }

    /// Ends an interval.
    pub fn end_interval(&mut self) -> OwnersReport {
        let mut report = OwnersReport::default();
        let certain = self.certain();
        let bytes = certain.unsigned_abs();
        if bytes > TOLERANCE_BYTES {
            if certain < 0 {
                report.unsent = Some(bytes);
            } else {
                report.unattributed = Some(bytes);
            }
            self.settled = self.settled.saturating_sub(certain);
        }
        if self.untold.0 > TOLERANCE_BYTES {
            report.discarded = Some(std::mem::take(&mut self.untold));
        } else if self.untold.0 == 0
            && self.recent.iter().all(|(_, explainable)| *explainable == 0)
            && self.differences().all(|range| range.high >= 0)
        {
            // Nothing is missing: they were somebody else's.
            self.untold = <(u64, Discards)>::default();
        }
        report
    }
}

fn minus(left: u64, right: u64) -> i64 {
    let difference = i128::from(left) - i128::from(right);
    i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
#[path = "owners_tests.rs"]
mod tests;
