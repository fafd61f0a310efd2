//! `[[policy]]`: who may send where.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    clock::WallTime,
    geo::CountryCode,
    policy::{
        glob::Glob,
        preset::{Mode, PRESETS, Preset},
        rules::{Lists, Meaning, Meanings, Policy},
        workload::{PortRange, WorkloadMatch},
    },
};

use super::{
    keys::{self, Keys},
    reader::{Item, Section, parsed, text, time, whole_or_parsed},
    report::{Place, Placed, Report},
    suggest,
    values::{self, Refusal, word},
};

/// The word for a policy of own lists only; the same as no preset.
const CUSTOM: &str = "custom";

/// What the checks of a policy need to know of the rest of the file.
pub(super) struct Surroundings<'a> {
    pub(super) sites: &'a BTreeSet<Arc<str>>,
    pub(super) has_asn_database: bool,
    pub(super) now: WallTime,
}

/// The policies in order, and the default.
pub(super) fn read(
    report: &mut Report<'_>,
    root: &mut Section<'_>,
    around: &Surroundings<'_>,
) -> (Vec<Policy>, Policy) {
    let mut asked_first: Vec<Policy> = Vec::new();
    let mut default: Option<Placed<Policy>> = None;
    let mut names = BTreeSet::new();
    for section in root.sections(report, "policy", &keys::POLICY) {
        let place = section.place.clone();
        let n_faults = report.faults.len();
        let policy = read_policy(report, section, around, &mut names);
        // A policy whose `match` or dates could not be read is not the default, whatever it looks like.
        let is_sound = report.faults.len() == n_faults;
        if let Some(default) = &default {
            complain_after_default(report, &place, &policy, &default.value);
        } else if policy.is_universal() && is_sound {
            default = Some(Placed { place, value: policy });
        } else {
            if let Some(earlier) = hidden_by(&policy, &asked_first) {
                let message =
                    format!("is never asked: policy {} has the same match and comes first", earlier.name);
                report.warn(&place, message);
            }
            asked_first.push(policy);
        }
    }
    (asked_first, default.map_or_else(Policy::built_in, |default| default.value))
}

/// Reads the keys of `match` or of an exception's `owner`.
pub(super) fn read_match(
    report: &mut Report<'_>,
    section: &mut Section<'_>,
    name: &'static str,
    keys: &'static Keys,
) -> WorkloadMatch {
    let Some(mut section) = section.section(report, name, keys) else { return WorkloadMatch::default() };
    let n_faults = report.faults.len();
    let mut globs = |report: &mut Report<'_>, name| -> Vec<Glob> {
        let globs = section.one_or_list(report, name, |report, item| parsed(report, item, values::glob));
        globs.into_iter().map(|glob| glob.value).collect()
    };
    let matching = WorkloadMatch {
        units: globs(report, "unit"),
        containers: globs(report, "container"),
        cgroups: globs(report, "cgroup"),
        users: globs(report, "user"),
        exes: globs(report, "exe"),
        local_ports: Vec::new(),
    };
    let ports = section.one_or_list(report, "local_port", port_range);
    let place = section.place.clone();
    let n_given = section.n_given();
    section.finish(report);
    let matching =
        WorkloadMatch { local_ports: ports.into_iter().map(|port| port.value).collect(), ..matching };
    if n_given > matching.keys().len() && report.faults.len() == n_faults {
        // An empty list would match everybody where its author meant nobody.
        report.fault(&place, "has a key without a value", "at least one pattern for each key that is given");
    }
    matching
}

fn read_policy(
    report: &mut Report<'_>,
    mut section: Section<'_>,
    around: &Surroundings<'_>,
    names: &mut BTreeSet<String>,
) -> Policy {
    let place = section.place.clone();
    let name = section.required(report, "name", text);
    if let Some(name) = &name
        && !names.insert(name.value.clone())
    {
        report.fault(&name.place, "is the name of two policies", "one [[policy]] for each name");
    }
    // Without a name there is a fault, and no policy will come of it: no name stands for it in further messages.
    let mut policy = Policy::empty(name.as_ref().map_or("", |name| &name.value));
    policy.matching = read_match(report, &mut section, "match", &keys::MATCH);
    policy.preset = section.optional(report, "preset", |report, item| parsed(report, item, preset)).flatten();
    let approved = read_lists(report, &mut section, APPROVED, around);
    let denied = read_lists(report, &mut section, DENIED, around);
    let mut meaning = |report: &mut Report<'_>, name| {
        let meaning = section.optional(report, name, |report, item| parsed(report, item, self::meaning));
        meaning.unwrap_or_default()
    };
    policy.meanings = Meanings {
        unknown: meaning(report, "unknown"),
        private: meaning(report, "private"),
        disputed: meaning(report, "disputed"),
        anycast: meaning(report, "anycast"),
    };
    policy.from = section.optional(report, "from", time);
    let until = section.placed(report, "until", time);
    section.finish(report);

    complain_about_contradictions(report, &approved, &denied, policy.preset);
    if let Some(until) = until {
        if policy.from.is_some_and(|from| until.value <= from) {
            report.fault(&until.place, "is not after `from`", "a later time than `from`");
        } else if until.value <= around.now {
            report.warn(&until.place, "has passed: the policy is not asked any more");
        }
        policy.until = Some(until.value);
    }
    policy.approved = approved.into_lists();
    policy.denied = denied.into_lists();
    warn_about_extremes(report, &place, &policy);
    policy
}

/// One side of a policy, with places.
struct PlacedLists {
    countries: Vec<Placed<CountryCode>>,
    networks: Vec<Placed<ipnet::IpNet>>,
    sites: Vec<Placed<String>>,
    asns: Vec<Placed<u32>>,
}

impl PlacedLists {
    fn into_lists(self) -> Lists {
        Lists {
            countries: self.countries.into_iter().map(|country| country.value).collect(),
            networks: self.networks.into_iter().map(|network| network.value).collect(),
            sites: self.sites.into_iter().map(|site| site.value.into()).collect(),
            asns: self.asns.into_iter().map(|asn| asn.value).collect(),
        }
    }
}

const APPROVED: [&str; 4] = ["approved_countries", "approved_networks", "approved_sites", "approved_asns"];
const DENIED: [&str; 4] = ["denied_countries", "denied_networks", "denied_sites", "denied_asns"];

fn read_lists(
    report: &mut Report<'_>,
    section: &mut Section<'_>,
    names: [&'static str; 4],
    around: &Surroundings<'_>,
) -> PlacedLists {
    let [countries, networks, sites, asns] = names;
    let lists = PlacedLists {
        countries: section.list(report, countries, |report, item| parsed(report, item, values::country)),
        networks: section.list(report, networks, |report, item| parsed(report, item, values::network)),
        sites: section.list(report, sites, text),
        asns: section.list(report, asns, asn),
    };
    complain_about_unknown_sites(report, &lists.sites, around.sites);
    if let Some(first) = lists.asns.first()
        && !around.has_asn_database
    {
        report.fault(
            &first.place,
            "can never match: no database says who announces an address",
            "geo.asn_database",
        );
    }
    lists
}

/// Complains about sites that no `[[site]]` defines.
pub(super) fn complain_about_unknown_sites(
    report: &mut Report<'_>,
    named: &[Placed<String>],
    sites: &BTreeSet<Arc<str>>,
) {
    for site in named.iter().filter(|site| !sites.contains(site.value.as_str())) {
        let hint = suggest::hint(&site.value, sites.iter().map(AsRef::as_ref));
        let names: Vec<&str> = sites.iter().map(AsRef::as_ref).collect();
        let accepted = if names.is_empty() { "a [[site]] of that name".to_owned() } else { names.join(", ") };
        report.fault(&site.place, format!("is not a site{hint}"), accepted);
    }
}

fn complain_about_contradictions(
    report: &mut Report<'_>,
    approved: &PlacedLists,
    denied: &PlacedLists,
    preset: Option<&'static Preset>,
) {
    complain_about_both(report, &approved.countries, &denied.countries);
    complain_about_both(report, &approved.networks, &denied.networks);
    complain_about_both(report, &approved.sites, &denied.sites);
    complain_about_both(report, &approved.asns, &denied.asns);
    let Some(preset) = preset else { return };
    match preset.mode {
        Mode::Deny => {
            for country in approved.countries.iter().filter(|country| preset.contains(country.value)) {
                let problem = format!("is denied by preset {}, and denials win", preset.name);
                report.fault(&country.place, problem, "a country that the preset does not deny");
            }
        }
        Mode::Allow => {
            for country in denied.countries.iter().filter(|country| preset.contains(country.value)) {
                let message = format!("{} is on preset {}: the denial wins", country.value, preset.name);
                report.warn(&country.place, message);
            }
        }
    }
}

fn complain_about_both<T: PartialEq>(report: &mut Report<'_>, approved: &[Placed<T>], denied: &[Placed<T>]) {
    for entry in denied {
        if let Some(other) = approved.iter().find(|other| other.value == entry.value) {
            report.fault(
                &entry.place,
                format!("is also approved, at {}", other.place.path),
                "one of the two",
            );
        }
    }
}

fn warn_about_extremes(report: &mut Report<'_>, place: &Place, policy: &Policy) {
    if policy.preset.is_none() && policy.approved.is_empty() && policy.denied.is_empty() {
        report.warn(place, "approves nothing: everything that leaves is a violation");
    } else if policy.mode() == Mode::Deny && policy.denied_countries().is_empty() {
        report.warn(
            place,
            "denies no country and so approves every country: give a preset or approved_countries",
        );
    }
}

/// An earlier policy that takes everything this one could get.
fn hidden_by<'a>(policy: &Policy, earlier: &'a [Policy]) -> Option<&'a Policy> {
    let always = |other: &&Policy| other.from.is_none() && other.until.is_none();
    earlier.iter().filter(always).find(|other| other.matching == policy.matching)
}

fn complain_after_default(report: &mut Report<'_>, place: &Place, policy: &Policy, default: &Policy) {
    let name = &default.name;
    if policy.is_universal() {
        let problem = format!("is a second default: policy {name} already has neither match nor dates");
        report.fault_without_value(place, problem, "one [[policy]] without match, from and until");
    } else {
        let problem = format!("is never asked: policy {name} before it has neither match nor dates");
        report.fault_without_value(place, problem, format!("a place before policy {name}"));
    }
}

/// A preset by name; `custom` is none.
fn preset(text: &str) -> Result<Option<&'static Preset>, Refusal> {
    let presets = PRESETS.iter().map(|preset| (preset.name, Some(preset)));
    word(text, presets.chain([(CUSTOM, None)]))
        .map_err(|refusal| Refusal::new(refusal.problem.replace("known here", "a preset"), refusal.accepted))
}

fn meaning(text: &str) -> Result<Meaning, Refusal> {
    word(text, Meaning::ALL.map(|meaning| (meaning.as_str(), meaning)).into_iter())
}

fn port_range(report: &mut Report<'_>, item: &Item<'_>) -> Option<PortRange> {
    let single = |port: u64| {
        let port = u16::try_from(port).unwrap_or(u16::MAX);
        PortRange { first: port, last: port }
    };
    whole_or_parsed(report, item, 1..=u64::from(u16::MAX), single, values::port_range)
}

fn asn(report: &mut Report<'_>, item: &Item<'_>) -> Option<u32> {
    let number = |number| u32::try_from(number).unwrap_or(u32::MAX);
    whole_or_parsed(report, item, 1..=u64::from(u32::MAX), number, values::asn)
}
