//! Is this database good enough to be used?
//!
//! [`Database::open`] has read the whole file by the time it is asked here, so whatever is broken is refused already.
//! This module judges what the file holds:
//!
//! - Refused: a build date in the future. (No networks, or no country in any of them, is refused at load.)
//! - Used, with a warning: few countries, little of the public IPv4 space, no IPv6. Such a file fails safe: what it
//!   does not know is reported as unknown.
//! - Refused as a *replacement*, unless the operator says otherwise: a file that answers for far less than the one
//!   in use. See [`check_replacement`].

use std::{fmt, path::Path, sync::Arc};

use super::{
    DatabaseId,
    database::{Contents, Database},
    fault::{Fault, LoadError},
};
use crate::clock::WallTime;

/// A country database has at least this many countries, or there is a warning. Real ones have 220 to 256.
const MIN_COUNTRIES: u64 = 200;

/// A country database answers for at least this share of the public IPv4 addresses, or there is a warning. Real ones
/// have 0.84 (only announced networks) to 1.
const MIN_IPV4_COVERAGE: f64 = 0.8;

/// A build date may be this far ahead of our clock, in seconds: a day, for clocks that are off and dates without a
/// time zone.
const MAX_SECONDS_AHEAD: i64 = 86_400;

/// From this age on, in days, a database is [`Freshness::Old`]. About 0.1 % of the IPv4 space changes its country
/// per month, cloud ranges much more.
pub const OLD_AFTER_DAYS: i64 = 60;

/// From this age on, in days, a database is [`Freshness::Stale`].
pub const STALE_AFTER_DAYS: i64 = 180;

/// How old is too old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Freshness {
    /// Up to date.
    Fresh,
    /// Worth a warning.
    Old,
    /// A finding: locations may be wrong.
    Stale,
}

impl Freshness {
    /// Of a database that is this many days old.
    pub const fn of_age(days: i64) -> Self {
        match days {
            STALE_AFTER_DAYS.. => Self::Stale,
            OLD_AFTER_DAYS.. => Self::Old,
            _ => Self::Fresh,
        }
    }
}

/// What is unusual about a database that is used all the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Warning {
    /// Fewer countries than a database of the world has.
    FewCountries(u64),
    /// Much of the public IPv4 space has no country; the share that has one, 0 to 1.
    LittleIpv4(f64),
    /// The file holds only IPv4.
    NoIpv6,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FewCountries(countries) => {
                write!(f, "knows {countries} countries, a database of the world at least {MIN_COUNTRIES}")
            }
            Self::LittleIpv4(share) => {
                write!(
                    f,
                    "has a country for {:.1} % of the public IPv4 addresses; the others are unknown",
                    share * 100.0
                )
            }
            Self::NoIpv6 => f.write_str("has no IPv6 networks; every IPv6 destination is unknown to it"),
        }
    }
}

/// A database that may be used, and what to know about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Which one.
    pub id: Arc<DatabaseId>,
    /// What it holds.
    pub contents: Contents,
    /// What is unusual about it.
    pub warnings: Vec<Warning>,
}

impl Report {
    /// Age in days.
    pub fn age_days(&self, now: WallTime) -> i64 {
        now.days_since(self.id.built)
    }

    /// Whether that is too old.
    pub fn freshness(&self, now: WallTime) -> Freshness {
        Freshness::of_age(self.age_days(now))
    }
}

/// `dbip-country.mmdb, built 2026-06-01T20:32:58.000Z: 1367493 networks, 251 countries, 100.0 % of public IPv4`
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Contents { networks, countries, .. } = self.contents;
        let coverage = self.contents.ipv4_coverage() * 100.0;
        let (name, built) = (&self.id.name, self.id.built);
        write!(
            f,
            "{name}, built {built}: {networks} networks, {countries} countries, {coverage:.1} % of public IPv4"
        )
    }
}

/// Reads a file and decides whether it may be used.
pub fn open(path: &Path, now: WallTime) -> Result<(Database, Report), LoadError> {
    let database = Database::open(path)?;
    let report = check(&database, now)
        .map_err(|error| LoadError { file: path.display().to_string().into(), ..error })?;
    Ok((database, report))
}

/// Decides whether a database may be used.
pub fn check(database: &Database, now: WallTime) -> Result<Report, LoadError> {
    check_date(database.id(), now)?;
    Ok(report(database))
}

/// What to know about a database that is in use.
pub fn report(database: &Database) -> Report {
    let contents = *database.contents();
    let mut warnings = Vec::new();
    if contents.countries < MIN_COUNTRIES {
        warnings.push(Warning::FewCountries(contents.countries));
    }
    if contents.ipv4_coverage() < MIN_IPV4_COVERAGE {
        warnings.push(Warning::LittleIpv4(contents.ipv4_coverage()));
    }
    if contents.ipv6_subnets == 0 {
        warnings.push(Warning::NoIpv6);
    }
    Report { id: Arc::clone(database.id()), contents, warnings }
}

/// Refuses a build date in the future, of any kind of database.
pub fn check_date(id: &DatabaseId, now: WallTime) -> Result<(), LoadError> {
    if id.built.unix_seconds() > now.unix_seconds().saturating_add(MAX_SECONDS_AHEAD) {
        return Err(LoadError {
            file: Arc::clone(&id.name),
            fault: Fault::FromTheFuture { built: id.built, now },
        });
    }
    Ok(())
}

/// Refuses a replacement that answers for far less than the database in use: less than half of its public IPv4
/// addresses or countries, less than a hundredth of its IPv6 space.
///
/// IPv6 is measured more kindly, because products differ: the embedded one has a country for every allocated block, one
/// with only announced networks covers 2 % of that. A hundredth still notices that IPv6 is gone.
///
/// At start such a file is used with a warning. While running it is far more likely to be an accident (a wrong file
/// under the right name, half a download), and the previous one is still there and good.
pub fn check_replacement(current: &Contents, new: &Contents) -> Result<(), Fault> {
    let counts = [
        ("public IPv4 addresses", current.ipv4_addresses, new.ipv4_addresses, 2),
        ("IPv6 networks of length 64", current.ipv6_subnets, new.ipv6_subnets, 100),
        ("countries", current.countries, new.countries, 2),
    ];
    match counts.into_iter().find(|(_, current, new, share)| *new < current.div_ceil(*share)) {
        Some((what, current, new, _)) => Err(Fault::Collapse { what, current, new }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::fixture::{self, BUILT, NOW};

    #[test]
    fn a_small_database_is_used_with_warnings() {
        let database = Database::from_bytes(fixture::flat(&[("1.0.0.0/8", "AU")]), "small").expect("valid");
        let report = check(&database, NOW).expect("used");
        let words: Vec<String> = report.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            words,
            [
                "knows 1 countries, a database of the world at least 200",
                "has a country for 0.5 % of the public IPv4 addresses; the others are unknown",
                "has no IPv6 networks; every IPv6 destination is unknown to it",
            ]
        );
    }

    #[test]
    fn a_file_with_only_ipv4_is_used_with_a_warning() {
        let database = Database::from_bytes(fixture::ipv4_only(&[("0.0.0.0/0", "AU")]), "v4").expect("valid");
        let report = check(&database, NOW).expect("used");
        assert_eq!(report.warnings, [Warning::FewCountries(1), Warning::NoIpv6]);
    }

    #[test]
    fn a_build_date_in_the_future_is_refused_but_for_a_day() {
        let database = Database::from_bytes(fixture::flat(&[("1.0.0.0/8", "AU")]), "x.mmdb").expect("valid");
        let at = |seconds| check(&database, WallTime::from_unix_seconds(BUILT.unix_seconds() + seconds));
        assert!(at(0).is_ok());
        assert!(at(-86_400).is_ok());
        let error = at(-86_401).expect_err("refused").to_string();
        assert!(
            error.contains("x.mmdb: was built at 2026-06-01T00:00:00.000Z, which is in the future"),
            "{error}"
        );
    }

    #[test]
    fn age_is_counted_in_days() {
        let database = Database::from_bytes(fixture::flat(&[("1.0.0.0/8", "AU")]), "x").expect("valid");
        let report = check(&database, NOW).expect("used");
        assert_eq!(report.age_days(NOW), 10);
        assert_eq!(report.freshness(NOW), Freshness::Fresh);
        assert_eq!([59, 60, 179, 180].map(Freshness::of_age), {
            use Freshness::{Fresh, Old, Stale};
            [Fresh, Old, Old, Stale]
        });
    }

    #[test]
    fn a_replacement_that_knows_far_less_is_refused() {
        let current =
            Contents { ipv4_addresses: 1000, ipv6_subnets: 1000, countries: 250, ..Contents::default() };
        assert!(check_replacement(&current, &current).is_ok());
        assert!(
            check_replacement(&current, &Contents { ipv4_addresses: 500, ipv6_subnets: 10, ..current })
                .is_ok()
        );
        for (new, expected) in [
            (Contents { ipv4_addresses: 499, ..current }, "answers for 499 public IPv4 addresses"),
            (Contents { ipv6_subnets: 9, ..current }, "answers for 9 IPv6 networks"),
            (Contents { countries: 124, ..current }, "answers for 124 countries"),
        ] {
            let fault = check_replacement(&current, &new).expect_err("refused").to_string();
            assert!(fault.contains(expected) && fault.contains("partial_databases = true"), "{fault}");
        }
        assert!(check_replacement(&Contents::default(), &Contents::default()).is_ok());
    }
}
