//! `[[site]]` and `[[override]]`: what the operator knows better than any database.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ipnet::IpNet;

use crate::{geo::CountryCode, policy::canonical::Statement};

use super::{
    keys,
    reader::{Section, parsed, text},
    report::{Place, Placed, Report},
    values::{self, Refusal},
};

/// The operator's own networks in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its name.
    pub name: Arc<str>,
    /// The country it is in.
    pub country: CountryCode,
    /// Its networks, never empty.
    pub networks: Vec<IpNet>,
}

/// What an override says of its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverrideLocation {
    /// It is in this country.
    Country(CountryCode),
    /// Nobody can say, whatever the databases do.
    Unknown,
    /// It is served from many places.
    Anycast,
}

/// A correction of the databases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The network.
    pub network: IpNet,
    /// Where it is.
    pub location: OverrideLocation,
    /// Why; part of the evidence in every record.
    pub reason: Arc<str>,
}

/// Networks that are mapped already, with the words for where.
type Mapped = BTreeMap<IpNet, (String, Option<CountryCode>)>;

/// Reads both, since no network can be in two of them.
pub(super) fn read(report: &mut Report<'_>, root: &mut Section<'_>) -> (Vec<Site>, Vec<Override>) {
    let mut mapped = Mapped::new();
    let mut names = BTreeSet::new();
    let sections = root.sections(report, "site", &keys::SITE);
    let sites =
        sections.into_iter().filter_map(|section| read_site(report, section, &mut names, &mut mapped));
    let sites = sites.collect();
    let sections = root.sections(report, "override", &keys::OVERRIDE);
    let overrides = sections.into_iter().filter_map(|section| read_override(report, section, &mut mapped));
    (sites, overrides.collect())
}

/// What sites and overrides add to the hash of the policy set.
pub(super) fn statements(sites: &[Site], overrides: &[Override]) -> Vec<Statement> {
    let mut statements = Vec::new();
    for site in sites {
        let about = format!("site {}", site.name);
        statements.push(Statement::one(&about, "country", site.country));
        statements.extend(site.networks.iter().map(|network| Statement::many(&about, "network", network)));
    }
    for correction in overrides {
        let about = format!("override {}", correction.network);
        let location = match correction.location {
            OverrideLocation::Country(code) => code.to_string(),
            OverrideLocation::Unknown => "unknown".to_owned(),
            OverrideLocation::Anycast => "anycast".to_owned(),
        };
        statements.push(Statement::one(&about, "location", location));
        statements.push(Statement::one(&about, "reason", &correction.reason));
    }
    statements
}

fn read_site(
    report: &mut Report<'_>,
    mut section: Section<'_>,
    names: &mut BTreeSet<String>,
    mapped: &mut Mapped,
) -> Option<Site> {
    let place = section.place.clone();
    let name = section.required(report, "name", text);
    let country = section.required(report, "country", |report, item| parsed(report, item, values::country));
    let n_faults = report.faults.len();
    let networks = section.list(report, "networks", |report, item| parsed(report, item, values::network));
    let networks_are_sound = report.faults.len() == n_faults;
    section.finish(report);

    if networks.is_empty() && networks_are_sound {
        report.fault_without_value(&place, "has no networks", "networks = [\"10.20.0.0/16\"]");
    }
    let name = name?;
    if !names.insert(name.value.clone()) {
        report.fault(&name.place, "is the name of two sites", "one [[site]] for each name");
    }
    let country = country?.value;
    for network in &networks {
        map(report, &network.place, network.value, &format!("site {}", name.value), Some(country), mapped);
    }
    let networks = networks.into_iter().map(|network| network.value).collect();
    Some(Site { name: name.value.into(), country, networks })
}

fn read_override(report: &mut Report<'_>, mut section: Section<'_>, mapped: &mut Mapped) -> Option<Override> {
    let network = section.required(report, "network", |report, item| parsed(report, item, values::network));
    let location = section.required(report, "country", |report, item| parsed(report, item, location));
    let reason = section.required(report, "reason", text);
    section.finish(report);

    let (Placed { place, value: network }, location) = (network?, location?.value);
    let country = match location {
        OverrideLocation::Country(code) => Some(code),
        OverrideLocation::Unknown | OverrideLocation::Anycast => None,
    };
    map(report, &place, network, "an override", country, mapped);
    Some(Override { network, location, reason: reason?.value.into() })
}

/// Notes where a network is, and complains when it is somewhere already. Networks inside each other are fine:
/// the longer prefix wins.
fn map(
    report: &mut Report<'_>,
    place: &Place,
    network: IpNet,
    owner: &str,
    country: Option<CountryCode>,
    mapped: &mut Mapped,
) {
    let Some((earlier, earlier_country)) = mapped.insert(network, (owner.to_owned(), country)) else {
        return;
    };
    let countries = match (earlier_country, country) {
        (Some(before), Some(after)) if before != after => format!(", in {before} and in {after}"),
        _ => String::new(),
    };
    report.fault(
        place,
        format!("is mapped twice: by {earlier} and by {owner}{countries}"),
        "each network once",
    );
}

fn location(text: &str) -> Result<OverrideLocation, Refusal> {
    match text {
        "unknown" => Ok(OverrideLocation::Unknown),
        "anycast" => Ok(OverrideLocation::Anycast),
        code => values::country(code).map(OverrideLocation::Country).map_err(|mut refusal| {
            refusal.accepted.push_str(", \"unknown\" or \"anycast\"");
            refusal
        }),
    }
}
