//! Where an address is, with the evidence for it.
//!
//! The types here are core: no files, no clock. Looking up lives in the submodules, in the order in which an
//! address meets them:
//!
//! | module | what it is for |
//! |---|---|
//! | [`country`] | the country codes of ISO 3166-1, and which strings mean one |
//! | [`prefix`] | a table of networks, asked for the longest match |
//! | [`embedded_v4`] | takes the IPv4 address out of mapped, NAT64, 6to4 and Teredo addresses |
//! | [`special`] | ranges that are never geolocated, and networks that are in many places |
//! | [`fault`] | what can be wrong with a database file, in words for the operator |
//! | [`mmdb`] | one MaxMind DB file in memory: read, bounded, hashed |
//! | [`database`], [`asn`] | what a country file and an ASN file say about an address |
//! | [`gate`] | is this file good enough to be used? |
//! | [`embedded`] | the database inside this program, so that the first run works offline |
//! | [`locator`] | asks all of the above and lets the databases vote |
//! | [`reload`] | a file was replaced: take it, or keep the previous one and say why |
//!
//! Only `mmdb` opens files. Nothing here reads a clock but for one deadline in `mmdb`; the date that makes a
//! database old or "from the future" is an argument.

#![forbid(unsafe_code)]

pub mod asn;
pub mod country;
pub mod database;
pub mod embedded;
pub mod embedded_v4;
pub mod fault;
pub mod gate;
pub mod locator;
pub mod mmdb;
pub mod prefix;
pub mod reload;
pub mod special;

#[cfg(test)]
mod fixture;

use std::{fmt, net::IpAddr, sync::Arc};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{clock::WallTime, fixed_text::FixedText};

/// An ISO 3166-1 alpha-2 code, upper case (and `XK`, which databases use for Kosovo).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CountryCode([u8; 2]);

/// Not a country code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{seen}\" is not a country code: {hint}")]
pub struct CountryCodeError {
    /// What was written.
    pub seen: String,
    /// What would be accepted instead.
    pub hint: String,
}

impl CountryCode {
    /// Two capital letters, without asking whether such a country exists ([`CountryCode::parse`] does).
    pub const fn from_letters(letters: [u8; 2]) -> Option<Self> {
        if letters[0].is_ascii_uppercase() && letters[1].is_ascii_uppercase() {
            Some(Self(letters))
        } else {
            None
        }
    }

    /// The two letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("??")
    }
}

impl fmt::Display for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a location is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum UnknownReason {
    /// No database has a record for the address.
    NoRecord,
    /// A record exists and names no (usable) country: continent only, `EU`, `AP`, `ZZ`...
    NoCountry,
    /// Reserved, documentation or otherwise not routable: no true destination on the internet.
    Reserved,
}

impl UnknownReason {
    /// The words used in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoRecord => "no record in any database",
            Self::NoCountry => "a record without a country",
            Self::Reserved => "a reserved range",
        }
    }
}

/// Where a destination is, as far as the network can tell.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Location {
    /// A country.
    Country(CountryCode),
    /// One of the operator's own networks.
    Site {
        /// Its name in the configuration.
        name: Arc<str>,
        /// The country the operator says it is in.
        country: CountryCode,
    },
    /// Private address space (RFC 1918, ULA, shared address space) that no site maps.
    Private,
    /// Never leaves the link: loopback, link-local, link-scope multicast, broadcast.
    Local,
    /// Nobody can say.
    Unknown(UnknownReason),
    /// Databases disagree; the countries in the order of the databases, without repetition.
    Disputed(Arc<[CountryCode]>),
    /// Served from many places: no single country is true.
    Anycast(Option<CountryCode>),
}

impl Location {
    /// The one country, where there is one.
    pub const fn country(&self) -> Option<CountryCode> {
        match self {
            Self::Country(code) | Self::Site { country: code, .. } => Some(*code),
            Self::Private | Self::Local | Self::Unknown(_) | Self::Disputed(_) | Self::Anycast(_) => None,
        }
    }
}

/// `US`, `site frankfurt (DE)`, `private network`, `disputed (US, CA)`...
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Country(code) => write!(f, "{code}"),
            Self::Site { name, country } => write!(f, "site {name} ({country})"),
            Self::Private => f.write_str("private network"),
            Self::Local => f.write_str("local"),
            Self::Unknown(reason) => write!(f, "unknown ({})", reason.as_str()),
            Self::Disputed(codes) => {
                f.write_str("disputed (")?;
                for (idx, code) in codes.iter().enumerate() {
                    if idx > 0 {
                        f.write_str(", ")?;
                    }
                    write!(f, "{code}")?;
                }
                f.write_str(")")
            }
            Self::Anycast(Some(code)) => write!(f, "anycast (registered {code})"),
            Self::Anycast(None) => f.write_str("anycast"),
        }
    }
}

/// An IPv4 address inside an IPv6 one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Via {
    /// `::ffff:a.b.c.d`
    Mapped,
    /// `64:ff9b::/96`, or an operator's prefix
    Nat64,
    /// `2002::/16`
    SixToFour,
    /// `2001::/32`: the embedded client address
    Teredo,
}

impl Via {
    /// The word used in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mapped => "ipv4-mapped",
            Self::Nat64 => "nat64",
            Self::SixToFour => "6to4",
            Self::Teredo => "teredo",
        }
    }
}

/// A database as evidence names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DatabaseId {
    /// File name, or `embedded DB-IP Lite Country`.
    pub name: Arc<str>,
    /// The file's own type string, such as `GeoLite2-Country`.
    pub kind: Arc<str>,
    /// When it was built.
    pub built: WallTime,
    /// SHA-256 of the file, 64 hexadecimal digits.
    pub sha256: Arc<str>,
}

/// What said so.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Source {
    /// A `[[site]]` of the configuration.
    Site,
    /// An `[[override]]` of the configuration, with its reason.
    Override(Arc<str>),
    /// A special range of the address registries, with its name and RFC.
    SpecialRange(#[serde(deserialize_with = "crate::fixed_text::one")] FixedText),
    /// The built-in list of anycast networks, or an `is_anycast` flag of a database.
    Anycast(#[serde(deserialize_with = "crate::fixed_text::one")] FixedText),
    /// A database.
    Database(Arc<DatabaseId>),
    /// Nothing did.
    Nothing,
}

/// One database's answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Answer {
    /// Which database.
    pub database: Arc<DatabaseId>,
    /// Its country, if it has one.
    pub country: Option<CountryCode>,
    /// The network of the record it found.
    pub prefix: Option<IpNet>,
    /// Where the block is registered, if it says so.
    pub registered: Option<CountryCode>,
}

/// Autonomous system of an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AutonomousSystem {
    /// Number.
    pub number: u32,
    /// Organization, if known.
    pub organization: Option<Arc<str>>,
}

/// Why a location is what it is: everything a later reader needs to judge again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Evidence {
    /// The IPv4 address inside, which was looked up instead of the address itself. Otherwise nothing that differs from
    /// address to address is kept here, so that addresses of one network can share their evidence.
    pub embedded: Option<IpAddr>,
    /// How `embedded` was taken out of the address.
    pub via: Option<Via>,
    /// What decided.
    pub source: Source,
    /// The prefix that matched in it.
    pub prefix: Option<IpNet>,
    /// Every database's answer, in configuration order.
    pub answers: Vec<Answer>,
    /// Autonomous system, when an ASN database is configured.
    pub autonomous_system: Option<AutonomousSystem>,
}

impl Evidence {
    /// What was looked up for `address`.
    pub fn looked_up(&self, address: IpAddr) -> IpAddr {
        self.embedded.unwrap_or(address)
    }
}

/// A location with its evidence.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Located {
    /// Where.
    pub location: Location,
    /// Why.
    pub evidence: Evidence,
}

/// Whatever can place an address. The core asks through this; tests answer with a table.
pub trait Locate {
    /// Places one address. Never fails: not knowing is an answer.
    fn locate(&self, address: IpAddr) -> Located;
}
