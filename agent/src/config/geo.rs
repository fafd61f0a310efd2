//! `[geo]`: which databases say where an address is.

use std::{num::NonZeroU32, path::PathBuf};

use ipnet::Ipv6Net;

use crate::policy::canonical::Statement;

use super::{
    keys,
    reader::{Section, flag, parsed, whole},
    report::Report,
    values,
};

/// Days that an age limit can have: a century is as good as never.
const MAX_DAYS: u64 = 36_500;

/// Which databases say where an address is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geo {
    /// Country databases, which vote; the embedded one, if empty.
    pub databases: Vec<PathBuf>,
    /// Database of autonomous systems.
    pub asn_database: Option<PathBuf>,
    /// Whether the country of registration counts where a record has no country.
    pub registered_country: bool,
    /// Age in days from which a database is reported as old.
    pub warn_after_days: NonZeroU32,
    /// Age in days from which a database is reported as stale.
    pub stale_after_days: NonZeroU32,
    /// NAT64 prefixes beside `64:ff9b::/96`.
    pub nat64_prefixes: Vec<Ipv6Net>,
    /// Whether databases may leave out parts of the world.
    pub partial_databases: bool,
}

impl Default for Geo {
    fn default() -> Self {
        Self {
            databases: Vec::new(),
            asn_database: None,
            registered_country: false,
            warn_after_days: days(60),
            stale_after_days: days(180),
            nat64_prefixes: Vec::new(),
            partial_databases: false,
        }
    }
}

pub(super) fn read(report: &mut Report<'_>, root: &mut Section<'_>) -> Geo {
    let default = Geo::default();
    let Some(mut section) = root.section(report, "geo", &keys::GEO) else { return default };
    let age = |report: &mut Report<'_>, item: &_| whole(report, item, 1..=MAX_DAYS).map(days);
    let path = |report: &mut Report<'_>, item: &_| parsed(report, item, values::path);

    let databases = section.list(report, "databases", path);
    let asn_database = section.optional(report, "asn_database", path);
    let registered_country = section.optional(report, "registered_country", flag);
    let warn_after_days = section.placed(report, "warn_after_days", age);
    let stale_after_days =
        section.optional(report, "stale_after_days", age).unwrap_or(default.stale_after_days);
    let nat64_prefixes =
        section.list(report, "nat64_prefixes", |report, item| parsed(report, item, values::nat64_prefix));
    let partial_databases = section.optional(report, "partial_databases", flag);
    section.finish(report);

    if let Some(warn) = &warn_after_days
        && warn.value > stale_after_days
    {
        let accepted = format!("at most geo.stale_after_days, which is {stale_after_days}");
        report.fault(&warn.place, "would warn after the database is stale", accepted);
    }
    Geo {
        databases: databases.into_iter().map(|path| path.value).collect(),
        asn_database,
        registered_country: registered_country.unwrap_or(default.registered_country),
        warn_after_days: warn_after_days
            .map_or(default.warn_after_days.min(stale_after_days), |warn| warn.value),
        stale_after_days,
        nat64_prefixes: nat64_prefixes.into_iter().map(|prefix| prefix.value).collect(),
        partial_databases: partial_databases.unwrap_or(default.partial_databases),
    }
}

/// What this section adds to the hash of the policy set: settings that change a location, where they are not the
/// default. Databases are not among them: each record names its own.
pub(super) fn statements(geo: &Geo) -> Vec<Statement> {
    let prefixes = geo.nat64_prefixes.iter();
    let mut statements: Vec<Statement> =
        prefixes.map(|prefix| Statement::many("geolocation", "NAT64 prefix", prefix)).collect();
    if geo.registered_country {
        statements.push(Statement::many("geolocation", "falls back to", "country of registration"));
    }
    statements
}

/// A number of days; what does not fit is the longest time there is.
fn days(number: impl TryInto<u32>) -> NonZeroU32 {
    number.try_into().ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX)
}
