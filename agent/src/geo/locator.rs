//! Places an address: asks everything we know, in a fixed order, and keeps the evidence.
//!
//! ```text
//! unwrap -> overrides -> sites -> special ranges -> anycast networks -> databases
//! ```
//!
//! The first that knows decides. What the operator wrote comes before everything else and may name any network,
//! documentation and private space included. Special ranges are never looked up in a database: some have records for
//! them. The databases vote: all that name a country must name the same one, or the location is disputed; a database
//! without a country for the address abstains. One that flags the network as anycast ends the vote.
//!
//! A `Locator` never changes. To use another database, make another locator ([`Locator::with_database`]) and swap
//! the `Arc`; building one costs next to nothing, since databases are shared.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;

use super::{
    Answer, CountryCode, Evidence, Locate, Located, Location, Source, UnknownReason,
    asn::AsnDatabase,
    database::{Database, Record},
    embedded_v4::{self, Nat64Prefix},
    gate::{self, Report},
    prefix::PrefixMap,
    special,
};

/// One of the operator's own networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The country the operator says it is in.
    pub country: CountryCode,
}

/// The operator knows better than the databases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// Where the network is; [`Location::Unknown`] and [`Location::Anycast`] are answers too.
    pub location: Location,
    /// Why the operator says so. Part of the evidence.
    pub reason: Arc<str>,
}

/// Everything a locator is made of.
#[derive(Clone, Debug, Default)]
pub struct LocatorSettings {
    /// The operator's own networks.
    pub sites: PrefixMap<Site>,
    /// Corrections. An override wins over a site, whichever is more specific.
    pub overrides: PrefixMap<Override>,
    /// NAT64 prefixes in use besides `64:ff9b::/96`.
    pub nat64_prefixes: Vec<Nat64Prefix>,
    /// Country databases; all of them vote.
    pub databases: Vec<Arc<Database>>,
    /// Autonomous systems, as further evidence.
    pub asn: Option<Arc<AsnDatabase>>,
    /// Where a record has no country, take the country the block is registered in. Off by default: a registration
    /// says who answers for a block, not where it is.
    pub registered_country_fallback: bool,
}

/// Places addresses.
#[derive(Debug)]
pub struct Locator {
    settings: LocatorSettings,
}

/// The outcome, and what decided it.
type Decision = (Location, Source, Option<IpNet>);

impl Locator {
    /// Makes one.
    pub const fn new(settings: LocatorSettings) -> Self {
        Self { settings }
    }

    /// What it is made of.
    pub const fn settings(&self) -> &LocatorSettings {
        &self.settings
    }

    /// The same with another country database at position `idx` of the settings; a position beyond the end adds it.
    #[must_use]
    pub fn with_database(&self, idx: usize, database: Arc<Database>) -> Self {
        let mut settings = self.settings.clone();
        match settings.databases.get_mut(idx) {
            Some(place) => *place = database,
            None => settings.databases.push(database),
        }
        Self::new(settings)
    }

    /// The same with another ASN database.
    #[must_use]
    pub fn with_asn(&self, asn: Arc<AsnDatabase>) -> Self {
        Self::new(LocatorSettings { asn: Some(asn), ..self.settings.clone() })
    }

    /// The country databases in use: names, dates, contents, warnings.
    pub fn databases(&self) -> impl Iterator<Item = Report> {
        self.settings.databases.iter().map(|database| gate::report(database))
    }

    fn decide_by_configuration(&self, address: IpAddr) -> Option<Decision> {
        if let Some((network, found)) = self.settings.overrides.lookup(address) {
            let source = Source::Override(Arc::clone(&found.reason));
            return Some((found.location.clone(), source, Some(network)));
        }
        let (network, site) = self.settings.sites.lookup(address)?;
        let location = Location::Site { name: Arc::clone(&site.name), country: site.country };
        Some((location, Source::Site, Some(network)))
    }

    fn decide_by_vote(&self, answers: &[Answer], flags: &[bool]) -> Decision {
        if let Some(answer) = answers.iter().zip(flags).find_map(|(answer, flag)| flag.then_some(answer)) {
            let source = Source::Anycast("flagged by a database");
            return (Location::Anycast(answer.registered), source, answer.prefix);
        }
        let mut codes: Vec<CountryCode> = Vec::new();
        let mut first = None;
        for answer in answers {
            if let Some(code) = self.country_of(answer) {
                first.get_or_insert(answer);
                if !codes.contains(&code) {
                    codes.push(code);
                }
            }
        }
        let decided_by = |answer: &Answer| (Source::Database(Arc::clone(&answer.database)), answer.prefix);
        if let Some(answer) = first {
            let (source, prefix) = decided_by(answer);
            let location = match codes[..] {
                [code] => Location::Country(code),
                _ => Location::Disputed(codes.into()),
            };
            return (location, source, prefix);
        }
        match answers.iter().find(|answer| answer.prefix.is_some()) {
            Some(answer) => {
                let (source, prefix) = decided_by(answer);
                (Location::Unknown(UnknownReason::NoCountry), source, prefix)
            }
            None => (Location::Unknown(UnknownReason::NoRecord), Source::Nothing, None),
        }
    }

    /// The country a database votes for.
    fn country_of(&self, answer: &Answer) -> Option<CountryCode> {
        let fallback = if self.settings.registered_country_fallback { answer.registered } else { None };
        answer.country.or(fallback)
    }
}

impl Locate for Locator {
    fn locate(&self, address: IpAddr) -> Located {
        let (embedded, via) = match embedded_v4::unwrap(address, &self.settings.nat64_prefixes) {
            Some((embedded, via)) => (Some(IpAddr::V4(embedded)), Some(via)),
            None => (None, None),
        };
        let looked_up = embedded.unwrap_or(address);
        let special = special::find(looked_up);
        let n_databases = if special.is_none() { self.settings.databases.len() } else { 0 };
        let mut answers = Vec::with_capacity(n_databases);
        let mut flags = Vec::new();
        let mut autonomous_system = None;
        if special.is_none() {
            for database in &self.settings.databases {
                let found = database.lookup(looked_up);
                let record = found.map_or_else(Record::default, |(_, record)| record);
                flags.push(record.is_anycast);
                answers.push(Answer {
                    database: Arc::clone(database.id()),
                    country: record.country,
                    prefix: found.map(|(network, _)| network),
                    registered: record.registered,
                });
            }
            autonomous_system = self.settings.asn.as_ref().and_then(|asn| asn.lookup(looked_up));
        }
        let (location, source, prefix) = if let Some(decision) = self.decide_by_configuration(looked_up) {
            decision
        } else if let Some((network, range)) = special {
            (range.location(), Source::SpecialRange(range.name), Some(network))
        } else if let Some((network, anycast)) = special::find_anycast(looked_up) {
            (Location::Anycast(anycast.registered), Source::Anycast(anycast.name), Some(network))
        } else {
            self.decide_by_vote(&answers, &flags)
        };
        let evidence = Evidence { embedded, via, source, prefix, answers, autonomous_system };
        Located { location, evidence }
    }
}

#[cfg(test)]
mod tests {
    use mmdb_writer::Value;
    use proptest::prelude::*;

    use super::*;
    use crate::geo::{AutonomousSystem, Via, fixture};

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    fn net(text: &str) -> IpNet {
        text.parse().expect("network")
    }

    fn code(text: &str) -> CountryCode {
        CountryCode::parse(text).expect("country")
    }

    fn database(name: &str, rows: &[(&str, &str)]) -> Arc<Database> {
        Arc::new(Database::from_bytes(fixture::flat(rows), name).expect("valid"))
    }

    fn with(databases: Vec<Arc<Database>>) -> LocatorSettings {
        LocatorSettings { databases, ..LocatorSettings::default() }
    }

    const WORLD: [(&str, &str); 4] =
        [("9.0.0.0/8", "US"), ("20.0.0.0/8", "NL"), ("2a00::/12", "DE"), ("10.0.0.0/8", "KP")];

    #[track_caller]
    fn check(settings: &LocatorSettings, address: &str, location: &str) -> Located {
        let located = Locator::new(settings.clone()).locate(ip(address));
        assert_eq!(located.location.to_string(), location, "{address}: {:?}", located.evidence);
        located
    }

    #[test]
    fn one_database_answers_with_its_network() {
        let settings = with(vec![database("one", &WORLD)]);
        let located = check(&settings, "20.1.2.3", "NL");
        assert_eq!(located.evidence.prefix, Some(net("20.0.0.0/8")));
        assert_eq!(located.evidence.source, Source::Database(Arc::clone(settings.databases[0].id())));
        assert_eq!(located.evidence.answers.len(), 1);
        check(&settings, "2a01:4f8::1", "DE");
    }

    #[test]
    fn without_a_record_the_location_is_unknown() {
        let settings = with(vec![database("one", &WORLD)]);
        let located = check(&settings, "30.0.0.1", "unknown (no record in any database)");
        assert_eq!(located.evidence.source, Source::Nothing);
        assert_eq!(located.evidence.answers.len(), 1, "that it has no record is an answer as well");
        check(&LocatorSettings::default(), "30.0.0.1", "unknown (no record in any database)");
    }

    #[test]
    fn a_record_without_a_country_is_another_kind_of_unknown() {
        let settings = with(vec![database("one", &[("30.0.0.0/8", "EU"), ("9.0.0.0/8", "US")])]);
        let located = check(&settings, "30.0.0.1", "unknown (a record without a country)");
        assert_eq!(located.evidence.prefix, Some(net("30.0.0.0/8")));
    }

    #[test]
    fn databases_that_agree_and_those_that_abstain_make_a_country() {
        let settings = with(vec![
            database("none", &[("1.0.0.0/8", "AU")]),
            database("one", &WORLD),
            database("two", &WORLD),
        ]);
        let located = check(&settings, "20.1.2.3", "NL");
        assert_eq!(located.evidence.source, Source::Database(Arc::clone(settings.databases[1].id())));
        let countries: Vec<_> = located.evidence.answers.iter().map(|answer| answer.country).collect();
        assert_eq!(countries, [None, Some(code("NL")), Some(code("NL"))]);
    }

    #[test]
    fn databases_that_differ_make_a_dispute_with_every_answer_kept() {
        let settings = with(vec![
            database("one", &WORLD),
            database("two", &[("20.1.0.0/16", "IE")]),
            database("three", &WORLD),
        ]);
        let located = check(&settings, "20.1.2.3", "disputed (NL, IE)");
        assert_eq!(located.evidence.answers.len(), 3);
        assert_eq!(located.evidence.answers[1].prefix, Some(net("20.1.0.0/16")));
        assert_eq!(located.location.country(), None);
    }

    #[test]
    fn the_country_of_registration_counts_only_on_request() {
        let bytes = fixture::nested(&[("20.0.0.0/8", "", "US"), ("9.0.0.0/8", "DE", "US")]);
        let mut settings = with(vec![Arc::new(Database::from_bytes(bytes, "nested").expect("valid"))]);
        let located = check(&settings, "20.0.0.1", "unknown (a record without a country)");
        assert_eq!(located.evidence.answers[0].registered, Some(code("US")));
        check(&settings, "9.0.0.1", "DE");
        settings.registered_country_fallback = true;
        let located = check(&settings, "20.0.0.1", "US");
        assert_eq!(located.evidence.answers[0].country, None, "the evidence keeps what the database said");
        check(&settings, "9.0.0.1", "DE");
    }

    #[test]
    fn special_ranges_are_never_looked_up() {
        let settings = with(vec![database("one", &WORLD)]);
        let located = check(&settings, "10.0.0.1", "private network");
        assert_eq!(located.evidence.source, Source::SpecialRange("private use (RFC 1918)"));
        assert_eq!(located.evidence.prefix, Some(net("10.0.0.0/8")));
        assert!(located.evidence.answers.is_empty());
        check(&settings, "127.0.0.1", "local");
        check(&settings, "192.0.2.1", "unknown (a reserved range)");
        check(&settings, "2001:db8::1", "unknown (a reserved range)");
        check(&settings, "2d00::1", "unknown (a reserved range)");
        check(&settings, "fd00::1", "private network");
    }

    #[test]
    fn anycast_networks_have_no_country_whatever_a_database_says() {
        let settings = with(vec![database("one", &[("104.16.0.0/13", "CA"), ("1.1.1.0/24", "AU")])]);
        let located = check(&settings, "104.16.0.1", "anycast (registered US)");
        assert_eq!(located.evidence.source, Source::Anycast("Cloudflare"));
        assert_eq!(located.evidence.answers[0].country, Some(code("CA")));
        check(&settings, "1.1.1.1", "anycast (registered US)");
    }

    #[test]
    fn a_database_may_flag_a_network_as_anycast() {
        let record = Value::map([
            ("registered_country", Value::map([("iso_code", Value::from("SE"))])),
            ("traits", Value::map([("is_anycast", Value::from(true))])),
        ]);
        let flagged =
            Database::from_bytes(fixture::values([("20.1.0.0/16", record)]), "flags").expect("valid");
        let settings = with(vec![database("one", &WORLD), Arc::new(flagged)]);
        let located = check(&settings, "20.1.2.3", "anycast (registered SE)");
        assert_eq!(located.evidence.prefix, Some(net("20.1.0.0/16")));
        assert_eq!(located.evidence.answers.len(), 2);
    }

    #[test]
    fn sites_win_over_everything_but_overrides() {
        let site = |name: &str, country| Site { name: name.into(), country: code(country) };
        let mut settings = with(vec![database("one", &WORLD)]);
        settings.sites = [
            (net("10.0.0.0/8"), site("plant", "DE")),
            (net("10.7.0.0/16"), site("branch", "AT")),
            (net("192.0.2.0/24"), site("lab", "DE")),
            (net("20.1.0.0/16"), site("colo", "FR")),
            (net("1.1.1.0/24"), site("mirror", "SE")),
            (net("2001:db8::/32"), site("lab6", "DE")),
        ]
        .into_iter()
        .collect();
        check(&settings, "10.1.1.1", "site plant (DE)");
        let located = check(&settings, "10.7.1.1", "site branch (AT)");
        assert_eq!(located.evidence.source, Source::Site);
        assert_eq!(located.evidence.prefix, Some(net("10.7.0.0/16")));
        check(&settings, "192.0.2.1", "site lab (DE)");
        check(&settings, "2001:db8::1", "site lab6 (DE)");
        check(&settings, "1.1.1.1", "site mirror (SE)");
        let located = check(&settings, "20.1.2.3", "site colo (FR)");
        assert_eq!(
            located.evidence.answers[0].country,
            Some(code("NL")),
            "what was overruled stays on record"
        );

        let correction =
            Override { location: Location::Country(code("CH")), reason: "moved, ticket 7".into() };
        settings.overrides.insert(net("20.1.2.0/24"), correction);
        let located = check(&settings, "20.1.2.3", "CH");
        assert_eq!(located.evidence.source, Source::Override("moved, ticket 7".into()));
        check(&settings, "20.1.3.3", "site colo (FR)");
    }

    #[test]
    fn embedded_ipv4_addresses_are_placed_and_the_evidence_says_how() {
        let mut settings = with(vec![database("one", &WORLD)]);
        settings.nat64_prefixes =
            vec![Nat64Prefix::new("2001:db8:64::/96".parse().expect("network")).expect("prefix")];
        for (address, via) in [
            ("::ffff:20.1.2.3", Via::Mapped),
            ("64:ff9b::20.1.2.3", Via::Nat64),
            ("2001:db8:64::20.1.2.3", Via::Nat64),
            ("2002:1401:203::1", Via::SixToFour),
            ("2001:0:4136:e378:8000:63bf:ebfe:fdfc", Via::Teredo),
        ] {
            let located = check(&settings, address, "NL");
            assert_eq!(located.evidence.via, Some(via));
            assert_eq!(located.evidence.embedded, Some(ip("20.1.2.3")));
        }
        check(&settings, "::ffff:127.0.0.1", "local");
        check(&settings, "64:ff9b::10.0.0.1", "private network");
        assert_eq!(check(&settings, "20.1.2.3", "NL").evidence.via, None);
    }

    #[test]
    fn the_autonomous_system_is_evidence_and_no_vote() {
        let asn =
            AsnDatabase::from_bytes(fixture::asn(&[("20.0.0.0/8", 8075, "MSFT")]), "asn").expect("valid");
        let locator = Locator::new(with(vec![database("one", &WORLD)])).with_asn(Arc::new(asn));
        let located = locator.locate(ip("20.1.2.3"));
        assert_eq!(located.location, Location::Country(code("NL")));
        let expected = AutonomousSystem { number: 8075, organization: Some("MSFT".into()) };
        assert_eq!(located.evidence.autonomous_system, Some(expected));
        assert_eq!(locator.locate(ip("9.0.0.1")).evidence.autonomous_system, None);
        assert_eq!(locator.locate(ip("10.0.0.1")).evidence.autonomous_system, None);
    }

    proptest! {
        #[test]
        fn every_address_is_placed_and_special_ones_without_a_database(bits: u128, embed: bool) {
            let locator = Locator::new(with(vec![database("one", &WORLD)]));
            // Random IPv6 addresses are almost never interesting: half of the time, embed a random IPv4 address.
            let bits = if embed { 0xffff_0000_0000 | bits & 0xffff_ffff } else { bits };
            let address = std::net::Ipv6Addr::from(bits).into();
            let located = locator.locate(address);
            let evidence = &located.evidence;
            let looked_up = evidence.looked_up(address);
            prop_assert_eq!(evidence.via == Some(Via::Mapped), embed);
            prop_assert_eq!(evidence.answers.is_empty(), matches!(evidence.source, Source::SpecialRange(_)));
            prop_assert!(evidence.prefix.is_none_or(|prefix| prefix.contains(&looked_up)));
            prop_assert_eq!(&locator.locate(looked_up).location, &located.location);
        }
    }

    #[test]
    fn a_database_can_be_swapped_while_the_old_locator_stays_as_it_was() {
        let old = Locator::new(with(vec![database("old", &WORLD)]));
        let new = old.with_database(0, database("new", &[("20.0.0.0/8", "IE")]));
        assert_eq!(old.locate(ip("20.0.0.1")).location.to_string(), "NL");
        assert_eq!(new.locate(ip("20.0.0.1")).location.to_string(), "IE");
        let names: Vec<_> = new.databases().map(|report| report.id.name.to_string()).collect();
        assert_eq!(names, ["new"]);
    }
}
