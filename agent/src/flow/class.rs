//! The few classes that totals are kept in, so that a total stays small however many flows there were.
//!
//! Five owner classes, one place per country or site, three verdict classes: at most a few thousand cells on any
//! host, in practice a dozen. A cell never loses a byte, also when the flow table is full.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    flow::{Actor, Owner, Volume},
    geo::{CountryCode, Location},
    policy::{Rule, Verdict},
};

/// What kind of sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum OwnerClass {
    /// A user-space process.
    Process,
    /// A service inside the kernel.
    Kernel,
    /// Frames that cross the host.
    Forwarded,
    /// A packet socket.
    PacketSocket,
    /// A local socket nobody could be named for.
    Unowned,
}

impl OwnerClass {
    /// The class of an owner.
    pub const fn of(owner: &Owner) -> Self {
        match owner.actor {
            Actor::Process(_) => Self::Process,
            Actor::Kernel(_) => Self::Kernel,
            Actor::Forwarded => Self::Forwarded,
            Actor::PacketSocket => Self::PacketSocket,
            Actor::Unowned => Self::Unowned,
        }
    }

    /// The word used in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Kernel => "kernel",
            Self::Forwarded => "forwarded",
            Self::PacketSocket => "packet-socket",
            Self::Unowned => "unowned",
        }
    }
}

/// A location without its details: what totals and episodes are grouped by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Place {
    /// A country.
    Country(CountryCode),
    /// One of the operator's own networks.
    Site {
        /// Its name in the configuration.
        name: Arc<str>,
        /// The country the operator says it is in.
        country: CountryCode,
    },
    /// Private address space that no site maps.
    Private,
    /// Never leaves the link.
    Local,
    /// Nobody can say, for whatever reason.
    Unknown,
    /// Databases disagree, whatever they say.
    Disputed,
    /// Served from many places.
    Anycast,
    /// Several places in one: only the catch-all episode of a policy says this.
    Several,
}

impl Place {
    /// The group of a location.
    pub fn of(location: &Location) -> Self {
        match location {
            Location::Country(code) => Self::Country(*code),
            Location::Site { name, country } => Self::Site { name: Arc::clone(name), country: *country },
            Location::Private => Self::Private,
            Location::Local => Self::Local,
            Location::Unknown(_) => Self::Unknown,
            Location::Disputed(_) => Self::Disputed,
            Location::Anycast(_) => Self::Anycast,
        }
    }

    /// The word for the kind of place, as used in records.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Country(_) => "country",
            Self::Site { .. } => "site",
            Self::Private => "private",
            Self::Local => "local",
            Self::Unknown => "unknown",
            Self::Disputed => "disputed",
            Self::Anycast => "anycast",
            Self::Several => "several",
        }
    }

    /// The country, where there is one.
    pub const fn country(&self) -> Option<CountryCode> {
        match self {
            Self::Country(code) | Self::Site { country: code, .. } => Some(*code),
            Self::Private | Self::Local | Self::Unknown | Self::Disputed | Self::Anycast | Self::Several => {
                None
            }
        }
    }
}

/// `DE`, `site:frankfurt`, `private`, `unknown`...
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Country(code) => write!(f, "{code}"),
            Self::Site { name, .. } => write!(f, "site:{name}"),
            other => f.write_str(other.kind()),
        }
    }
}

/// A verdict without its details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum VerdictClass {
    /// It may.
    Approved,
    /// It may, within an exception.
    Excepted,
    /// It may not, and this is the rule.
    Violation(Rule),
}

impl VerdictClass {
    /// The class of a verdict.
    pub const fn of(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Approved => Self::Approved,
            Verdict::Excepted { .. } => Self::Excepted,
            Verdict::Violation { rule, .. } => Self::Violation(*rule),
        }
    }

    /// The word used in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Excepted => "excepted",
            Self::Violation(_) => "violation",
        }
    }
}

/// One cell of the totals.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Class {
    /// Who, as a class.
    pub owner: OwnerClass,
    /// Where.
    pub place: Place,
    /// Whether it may.
    pub verdict: VerdictClass,
}

/// Bytes of a cell, with the part of them that carried no data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Everything.
    pub volume: Volume,
    /// The part from readings without a single payload byte: handshakes, bare acknowledgements, resets.
    /// Such packets mixed with data in one reading count as data.
    pub control: Volume,
}

impl Tally {
    /// Adds one reading.
    pub const fn count(&mut self, reading: Volume) {
        self.volume.add(reading);
        if reading.payload_bytes == 0 {
            self.control.add(reading);
        }
    }

    /// Adds another tally.
    pub const fn add(&mut self, other: Self) {
        self.volume.add(other.volume);
        self.control.add(other.control);
    }
}

/// Bytes per class, in a stable order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals(BTreeMap<Class, Tally>);

impl Totals {
    /// Counts one reading.
    pub fn count(&mut self, class: Class, reading: Volume) {
        self.0.entry(class).or_default().count(reading);
    }

    /// Every cell with anything in it.
    pub fn iter(&self) -> impl Iterator<Item = (&Class, &Tally)> {
        self.0.iter()
    }

    /// True when nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The sum of all cells.
    pub fn sum(&self) -> Tally {
        let mut sum = Tally::default();
        for tally in self.0.values() {
            sum.add(*tally);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_without_payload_is_control_and_a_mixed_one_is_data() {
        let mut tally = Tally::default();
        tally.count(Volume { wire_bytes: 60, payload_bytes: 0, packets: 1 });
        tally.count(Volume { wire_bytes: 1_560, payload_bytes: 1_448, packets: 2 });
        assert_eq!(tally.volume, Volume { wire_bytes: 1_620, payload_bytes: 1_448, packets: 3 });
        assert_eq!(tally.control, Volume { wire_bytes: 60, payload_bytes: 0, packets: 1 });
    }
}
