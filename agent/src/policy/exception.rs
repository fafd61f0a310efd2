//! Traffic that may go all the same: to a named destination, for a stated reason, with an end.
//!
//! An exception turns a violation into [`Verdict::Excepted`](super::Verdict::Excepted), denied countries
//! included: it is the more specific decision and carries a person's name. It never makes anything invisible.
//! Approved traffic does not use it up.
//!
//! | of the exceptions that cover the traffic | verdict |
//! |---|---|
//! | one is in force and has room: the first such | excepted |
//! | one is in force, and its bytes are used up: the first such | violation `exception-exceeded` |
//! | one has ended: the one that ended last | violation `exception-expired` |
//! | none, or only such as have not begun | the violation as it was |
//!
//! An exception that is exceeded or outlived never makes a violation milder than it was without it.

use std::{collections::BTreeSet, sync::Arc};

use ipnet::IpNet;

use crate::{
    clock::WallTime,
    geo::{CountryCode, Location},
};

use super::{
    ExceptionUse, Rule, Subject,
    reason::{moment, size},
    workload::WorkloadMatch,
};

/// Days before its end from which an exception is called near its expiry: two weeks, to get a signature.
pub const NEAR_EXPIRY_DAYS: i64 = 14;

/// Percent of its bytes from which an exception is called near its ceiling.
pub const NEAR_CEILING_PERCENT: u64 = 80;

/// Where excepted traffic may go. All that is given must match; within a list, one entry is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destination {
    /// The country, that of a site included. A disputed place matches when every candidate is listed.
    pub countries: BTreeSet<CountryCode>,
    /// The network.
    pub networks: BTreeSet<IpNet>,
    /// The site.
    pub sites: BTreeSet<Arc<str>>,
}

impl Destination {
    fn covers(&self, subject: &Subject<'_>) -> bool {
        let located = subject.located;
        let in_country = match &located.location {
            Location::Country(code) | Location::Site { country: code, .. } => self.countries.contains(code),
            Location::Disputed(candidates) => candidates.iter().all(|code| self.countries.contains(code)),
            Location::Private | Location::Local | Location::Unknown(_) | Location::Anycast(_) => false,
        };
        let in_network = || {
            let addresses = [subject.remote, located.evidence.looked_up(subject.remote)];
            self.networks.iter().any(|network| addresses.iter().any(|address| network.contains(address)))
        };
        let in_site = matches!(&located.location, Location::Site { name, .. } if self.sites.contains(name));
        (self.countries.is_empty() || in_country)
            && (self.networks.is_empty() || in_network())
            && (self.sites.is_empty() || in_site)
    }
}

/// One exception.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Its id in the configuration and in every record.
    pub id: Arc<str>,
    /// The policy it is from; every policy, if none.
    pub policy: Option<Arc<str>>,
    /// Where the traffic may go.
    pub destination: Destination,
    /// Who may send it.
    pub owner: WorkloadMatch,
    /// Wire bytes that may go; no ceiling, if none.
    pub max_bytes: Option<u64>,
    /// In force from this instant on; always, if none.
    pub start: Option<WallTime>,
    /// In force before this instant.
    pub expires: WallTime,
    /// Who approved it.
    pub approver: Arc<str>,
    /// Where the approval is filed.
    pub ticket: Option<Arc<str>>,
    /// What for.
    pub reason: Arc<str>,
}

/// How an exception stands at one moment, for status pages and warnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExceptionState {
    /// It has not begun.
    NotStarted,
    /// In force.
    Active {
        /// Whole days until it ends.
        remaining_days: i64,
        /// Bytes until its ceiling, if it has one.
        remaining_bytes: Option<u64>,
        /// It ends within [`NEAR_EXPIRY_DAYS`].
        near_expiry: bool,
        /// [`NEAR_CEILING_PERCENT`] of its bytes are used.
        near_ceiling: bool,
    },
    /// In force, but its bytes are used up.
    Exceeded,
    /// It has ended.
    Expired,
}

impl Exception {
    /// Whether this traffic is what the exception is about, whatever the date and the bytes.
    pub fn covers(&self, policy: &str, subject: &Subject<'_>) -> bool {
        self.policy.as_deref().is_none_or(|own| own == policy)
            && self.owner.matches(subject.owner, subject.local_port)
            && self.destination.covers(subject)
    }

    /// How it stands with `used_bytes` gone.
    pub fn state(&self, used_bytes: u64, now: WallTime) -> ExceptionState {
        if self.expires <= now {
            return ExceptionState::Expired;
        }
        if self.start.is_some_and(|start| now < start) {
            return ExceptionState::NotStarted;
        }
        if self.max_bytes.is_some_and(|max_bytes| used_bytes >= max_bytes) {
            return ExceptionState::Exceeded;
        }
        let remaining_days = self.expires.days_since(now);
        let used_percent = |max_bytes| u128::from(used_bytes) * 100 / u128::from(u64::max(max_bytes, 1));
        ExceptionState::Active {
            remaining_days,
            remaining_bytes: self.max_bytes.map(|max_bytes| max_bytes - used_bytes),
            near_expiry: remaining_days < NEAR_EXPIRY_DAYS,
            near_ceiling: self
                .max_bytes
                .is_some_and(|max_bytes| used_percent(max_bytes) >= u128::from(NEAR_CEILING_PERCENT)),
        }
    }

    /// `exception EX-1 (approved by Jane Doe, LEGAL-1: audit copy)`
    fn title(&self) -> String {
        let ticket = self.ticket.as_ref().map_or_else(String::new, |ticket| format!(", {ticket}"));
        format!("exception {} (approved by {}{ticket}: {})", self.id, self.approver, self.reason)
    }
}

/// What the exceptions make of a violation.
pub(super) struct Relief<'a> {
    /// The exception that decides.
    pub(super) exception: &'a Exception,
    /// The rule that is broken instead; none when the traffic is excepted.
    pub(super) broken: Option<Rule>,
    /// Clause to append to the reason.
    pub(super) because: String,
}

/// Looks for an exception, in the order of the table in the module's head.
pub(super) fn relieve<'a>(
    exceptions: &'a [Exception],
    policy: &str,
    subject: &Subject<'_>,
    used: &dyn ExceptionUse,
    now: WallTime,
) -> Option<Relief<'a>> {
    let mut exceeded: Option<&Exception> = None;
    let mut expired: Option<&Exception> = None;
    for exception in exceptions.iter().filter(|exception| exception.covers(policy, subject)) {
        match exception.state(used.used_bytes(&exception.id), now) {
            ExceptionState::Active { .. } => {
                let ceiling =
                    exception.max_bytes.map_or_else(String::new, |bytes| format!(", up to {}", size(bytes)));
                let because =
                    format!("{} covers it until {}{ceiling}", exception.title(), moment(exception.expires));
                return Some(Relief { exception, broken: None, because });
            }
            ExceptionState::Exceeded => exceeded = exceeded.or(Some(exception)),
            ExceptionState::Expired if expired.is_none_or(|earlier| earlier.expires < exception.expires) => {
                expired = Some(exception);
            }
            ExceptionState::Expired | ExceptionState::NotStarted => {}
        }
    }
    if let Some(exception) = exceeded {
        let allowed = size(exception.max_bytes.unwrap_or(0));
        let because = format!("{} allowed {allowed}, which are used up", exception.title());
        return Some(Relief { exception, broken: Some(Rule::ExceptionExceeded), because });
    }
    let exception = expired?;
    let because = format!("{} covered it and ended on {}", exception.title(), moment(exception.expires));
    Some(Relief { exception, broken: Some(Rule::ExceptionExpired), because })
}

#[cfg(test)]
mod tests {
    use crate::policy::fixture::exception;

    use super::*;

    #[test]
    fn an_exception_says_how_it_stands() {
        let day = |number: i64| WallTime::from_unix_seconds(number * 86_400);
        let subject = Exception {
            max_bytes: Some(100),
            start: Some(day(10)),
            expires: day(40),
            ..exception("EX-1", "SG")
        };
        let active = |remaining_days, remaining_bytes, near_expiry, near_ceiling| ExceptionState::Active {
            remaining_days,
            remaining_bytes: Some(remaining_bytes),
            near_expiry,
            near_ceiling,
        };
        for (used_bytes, now, expected) in [
            (0, day(9), ExceptionState::NotStarted),
            (0, day(10), active(30, 100, false, false)),
            (79, day(10), active(30, 21, false, false)),
            (80, day(10), active(30, 20, false, true)),
            (0, day(26), active(14, 100, false, false)),
            (0, day(27), active(13, 100, true, false)),
            (99, day(39), active(1, 1, true, true)),
            (100, day(39), ExceptionState::Exceeded),
            (u64::MAX, day(39), ExceptionState::Exceeded),
            (0, day(40), ExceptionState::Expired),
            (100, day(40), ExceptionState::Expired),
        ] {
            assert_eq!(subject.state(used_bytes, now), expected, "{used_bytes} bytes at {now}");
        }
    }
}
