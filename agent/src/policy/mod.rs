//! May it go there?
//!
//! Pure decisions: never heard of aya, tokio, JSON, files or a clock.
//!
//! | file | what it is for |
//! |---|---|
//! | [`preset`] | country lists with a name, a date and a source |
//! | [`glob`], [`workload`] | which senders a policy is about |
//! | [`rules`] | one policy: lists, and what uncertain places mean |
//! | [`exception`] | traffic that may go all the same, until an end |
//! | [`engine`] | which policy is asked, and what it says; the order of precedence |
//! | `reason` | why, as a sentence |
//! | [`canonical`], [`describe`] | hash, differences and description of what is in force |
//!
//! Judge through [`PolicySet`]; the types below are what the rest of the agent needs to know.

use std::{fmt, net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    clock::WallTime,
    fixed_text::FixedText,
    flow::{Initiator, Owner, Protocol},
    geo::Located,
};

pub mod preset;

pub mod glob;
pub mod workload;

pub mod rules;

pub mod exception;

pub mod engine;

pub(crate) mod reason;

pub mod canonical;
pub mod describe;

#[cfg(test)]
mod fixture;

pub use engine::PolicySet;

/// What is judged.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Who sends.
    pub owner: &'a Owner,
    /// Where to.
    pub remote: IpAddr,
    /// Where that is.
    pub located: &'a Located,
    /// IP protocol.
    pub protocol: Protocol,
    /// Our port.
    pub local_port: u16,
    /// Their port.
    pub remote_port: u16,
    /// Who opened.
    pub initiator: Initiator,
}

/// Which rule was broken. The word of each is part of the record format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Rule {
    /// The country, site or network is on a deny list.
    Denied,
    /// The country is not on the allow list.
    NotApproved,
    /// Nobody can say where it is.
    UnknownLocation,
    /// Private address space that no `[[site]]` maps to a country.
    UnmappedPrivate,
    /// Databases disagree, and the difference matters to the policy.
    DisputedLocation,
    /// Anycast: served from many places.
    AnycastLocation,
    /// An exception's byte ceiling is used up.
    ExceptionExceeded,
    /// Traffic that an exception covered until it ended.
    ExceptionExpired,
}

impl Rule {
    /// The word used in records and configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::NotApproved => "not-approved",
            Self::UnknownLocation => "unknown-location",
            Self::UnmappedPrivate => "unmapped-private",
            Self::DisputedLocation => "disputed-location",
            Self::AnycastLocation => "anycast-location",
            Self::ExceptionExceeded => "exception-exceeded",
            Self::ExceptionExpired => "exception-expired",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    /// Worth knowing.
    Low,
    /// Someone should look.
    Medium,
    /// Data left for a country that is not approved.
    High,
    /// Data left for a country that is explicitly denied.
    Critical,
}

/// The decision.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It may.
    Approved,
    /// It may, within this exception; it is recorded all the same.
    Excepted {
        /// The exception's id.
        id: Arc<str>,
    },
    /// It may not.
    Violation {
        /// The rule that was broken.
        rule: Rule,
        /// How bad that is.
        severity: Severity,
        /// The exception that was exceeded or outlived, if that is the rule.
        exception: Option<Arc<str>>,
    },
}

/// A policy as a record names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PolicyId {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The preset it is built on, if any.
    #[serde(deserialize_with = "crate::fixed_text::optional")]
    pub preset: Option<FixedText>,
    /// SHA-256 over the effective policy set, 64 hexadecimal digits: equal hashes judge equally.
    pub hash: Arc<str>,
}

/// A verdict with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Judgement {
    /// The policy that was asked.
    pub policy: Arc<PolicyId>,
    /// What it said.
    pub verdict: Verdict,
    /// Why, for a person: names the location, the list and the evidence. Read behind the address it is a sentence.
    pub reason: Arc<str>,
}

impl Judgement {
    /// The reason as a sentence about `remote`.
    pub fn sentence(&self, remote: IpAddr) -> String {
        format!("{remote} {}", self.reason)
    }
}

/// How much of each exception is used, which only the running agent knows.
pub trait ExceptionUse {
    /// Wire bytes that already went out under exception `id`.
    fn used_bytes(&self, id: &str) -> u64;
}

/// Whatever can judge. `now` is UTC, for exceptions and policies with dates.
pub trait Judge {
    /// Judges one subject. `used` says how much of each exception is gone.
    fn judge(&self, subject: &Subject<'_>, used: &dyn ExceptionUse, now: WallTime) -> Judgement;
}
