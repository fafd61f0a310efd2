//! `[[exception]]`: what may go all the same.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    clock::WallTime,
    policy::exception::{Destination, Exception},
};

use super::{
    keys,
    policy::{complain_about_unknown_sites, read_match},
    reader::{Item, Section, parsed, text, time, whole_or_parsed},
    report::{Placed, Report},
    suggest, values,
};

/// What the checks of an exception need to know of the rest of the file.
pub(super) struct Surroundings<'a> {
    pub(super) policies: &'a BTreeSet<Arc<str>>,
    pub(super) sites: &'a BTreeSet<Arc<str>>,
    pub(super) now: WallTime,
}

pub(super) fn read(
    report: &mut Report<'_>,
    root: &mut Section<'_>,
    around: &Surroundings<'_>,
) -> Vec<Exception> {
    let mut ids = BTreeSet::new();
    let sections = root.sections(report, "exception", &keys::EXCEPTION);
    sections.into_iter().filter_map(|section| read_exception(report, section, around, &mut ids)).collect()
}

fn read_exception(
    report: &mut Report<'_>,
    mut section: Section<'_>,
    around: &Surroundings<'_>,
    ids: &mut BTreeSet<String>,
) -> Option<Exception> {
    let id = section.required(report, "id", text);
    if let Some(id) = &id
        && !ids.insert(id.value.clone())
    {
        report.fault(&id.place, "is the id of two exceptions", "one [[exception]] for each id");
    }
    let policy = section.placed(report, "policy", text);
    if let Some(policy) = &policy {
        complain_about_unknown_policy(report, policy, around.policies);
    }
    let destination = read_destination(report, &mut section, around.sites);
    let owner = read_match(report, &mut section, "owner", &keys::OWNER);
    let max_bytes = section.optional(report, "max_bytes", size);
    let start = section.optional(report, "start", time);
    let expires = section.required(report, "expires", time);
    let approver = section.required(report, "approver", text);
    let ticket = section.optional(report, "ticket", text);
    let reason = section.required(report, "reason", text);
    section.finish(report);

    let expires = expires?;
    if start.is_some_and(|start| expires.value <= start) {
        report.fault(&expires.place, "is not after `start`", "a later time than `start`");
    } else if expires.value <= around.now {
        report.warn(&expires.place, "has passed: what the exception covered is a violation now");
    }
    Some(Exception {
        id: id?.value.into(),
        policy: policy.map(|policy| policy.value.into()),
        destination,
        owner,
        max_bytes,
        start,
        expires: expires.value,
        approver: approver?.value.into(),
        ticket: ticket.map(Into::into),
        reason: reason?.value.into(),
    })
}

fn read_destination(
    report: &mut Report<'_>,
    exception: &mut Section<'_>,
    sites: &BTreeSet<Arc<str>>,
) -> Destination {
    const ACCEPTED: &str = "at least one of country, network and site";
    let place = exception.place.clone();
    let n_faults = report.faults.len();
    let Some(mut section) = exception.section(report, "destination", &keys::DESTINATION) else {
        if report.faults.len() == n_faults {
            report.fault_without_value(&place, "has no destination", ACCEPTED);
        }
        return Destination::default();
    };
    let countries =
        section.one_or_list(report, "country", |report, item| parsed(report, item, values::country));
    let networks =
        section.one_or_list(report, "network", |report, item| parsed(report, item, values::network));
    let site_names = section.one_or_list(report, "site", text);
    complain_about_unknown_sites(report, &site_names, sites);
    let place = section.place.clone();
    section.finish(report);
    let destination = Destination {
        countries: countries.into_iter().map(|country| country.value).collect(),
        networks: networks.into_iter().map(|network| network.value).collect(),
        sites: site_names.into_iter().map(|site| site.value.into()).collect(),
    };
    // Without a destination it would excuse every violation there is.
    if destination == Destination::default() && report.faults.len() == n_faults {
        report.fault(&place, "names no destination", ACCEPTED);
    }
    destination
}

fn complain_about_unknown_policy(
    report: &mut Report<'_>,
    policy: &Placed<String>,
    policies: &BTreeSet<Arc<str>>,
) {
    if policies.contains(policy.value.as_str()) {
        return;
    }
    let names: Vec<&str> = policies.iter().map(AsRef::as_ref).collect();
    let hint = suggest::hint(&policy.value, names.iter().copied());
    report.fault(&policy.place, format!("is not a policy{hint}"), names.join(", "));
}

/// Bytes: a number, or a text with a unit.
fn size(report: &mut Report<'_>, item: &Item<'_>) -> Option<u64> {
    whole_or_parsed(report, item, 1..=u64::MAX, |bytes| bytes, values::size)
}
