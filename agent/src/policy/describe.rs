//! The effective policy, as data for whoever shows it.

use std::{collections::BTreeSet, sync::Arc};

use crate::{clock::WallTime, geo::CountryCode};

use super::{
    Rule, Severity,
    engine::{PolicySet, severity_of},
    preset::{Mode, Preset},
    rules::{Lists, Meaning, Policy},
};

/// One policy as it takes effect: lists merged, denials taken out of approvals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyDescription {
    /// Its name.
    pub name: Arc<str>,
    /// Who it is about, as a phrase: `everybody`, `unit nginx.service`.
    pub applies_to: String,
    /// What happens to a country on no list.
    pub mode: Mode,
    /// The preset it is built on.
    pub preset: Option<&'static Preset>,
    /// Countries approved by the preset.
    pub approved_by_preset: BTreeSet<CountryCode>,
    /// Further countries approved by its own list.
    pub approved_by_list: BTreeSet<CountryCode>,
    /// Countries denied by the preset.
    pub denied_by_preset: BTreeSet<CountryCode>,
    /// Further countries denied by its own list.
    pub denied_by_list: BTreeSet<CountryCode>,
    /// What else is approved: kind and values, kinds without values left out.
    pub also_approved: Vec<(&'static str, Vec<String>)>,
    /// What else is denied.
    pub also_denied: Vec<(&'static str, Vec<String>)>,
    /// What uncertain places mean, and how bad that makes them; no severity when approved.
    pub meanings: [(&'static str, Meaning, Option<Severity>); 4],
    /// In force from.
    pub from: Option<WallTime>,
    /// In force until.
    pub until: Option<WallTime>,
}

impl PolicySet {
    /// Every policy as it takes effect, in the order in which they are asked; the last one is the default.
    pub fn describe(&self) -> Vec<PolicyDescription> {
        self.policies().map(describe).collect()
    }
}

fn describe(policy: &Policy) -> PolicyDescription {
    let approved = policy.approved_countries();
    let denied = policy.denied_countries();
    let on_preset = |country: &CountryCode| policy.preset.is_some_and(|preset| preset.contains(*country));
    let (approved_by_preset, approved_by_list) = approved.into_iter().partition(on_preset);
    let (denied_by_preset, denied_by_list) = denied.into_iter().partition(|country| {
        policy.preset.is_some_and(|preset| preset.mode == Mode::Deny) && on_preset(country)
    });
    let meaning = |name, meaning, rule| (name, meaning, severity(meaning, rule));
    PolicyDescription {
        name: Arc::clone(&policy.name),
        applies_to: policy.matching.to_string(),
        mode: policy.mode(),
        preset: policy.preset,
        approved_by_preset,
        approved_by_list,
        denied_by_preset,
        denied_by_list,
        also_approved: beyond_countries(&policy.approved),
        also_denied: beyond_countries(&policy.denied),
        meanings: [
            meaning("unknown", policy.meanings.unknown, Rule::UnknownLocation),
            meaning("private", policy.meanings.private, Rule::UnmappedPrivate),
            meaning("disputed", policy.meanings.disputed, Rule::DisputedLocation),
            meaning("anycast", policy.meanings.anycast, Rule::AnycastLocation),
        ],
        from: policy.from,
        until: policy.until,
    }
}

const fn severity(meaning: Meaning, rule: Rule) -> Option<Severity> {
    match meaning {
        Meaning::Alert => Some(severity_of(rule)),
        Meaning::TreatAsDenied => Some(Severity::High),
        Meaning::Approve => None,
    }
}

fn beyond_countries(lists: &Lists) -> Vec<(&'static str, Vec<String>)> {
    [
        ("networks", lists.networks.iter().map(ToString::to_string).collect::<Vec<_>>()),
        ("sites", lists.sites.iter().map(ToString::to_string).collect()),
        ("autonomous systems", lists.asns.iter().map(|asn| format!("AS{asn}")).collect()),
    ]
    .into_iter()
    .filter(|(_, values)| !values.is_empty())
    .collect()
}

#[cfg(test)]
mod tests {
    use crate::policy::fixture::{codes, policy};

    use super::*;

    #[test]
    fn a_description_shows_what_takes_effect_and_where_it_comes_from() {
        let mut lists = policy("us-ca-au-nz");
        lists.approved.countries = codes("US DE");
        lists.denied.countries = codes("NZ");
        lists.meanings.private = Meaning::Approve;
        lists.meanings.unknown = Meaning::TreatAsDenied;
        let description = describe(&lists);
        assert_eq!(description.approved_by_preset, codes("US CA AU"));
        assert_eq!(description.approved_by_list, codes("DE"));
        assert_eq!(description.denied_by_list, codes("NZ"));
        assert_eq!(
            description.meanings,
            [
                ("unknown", Meaning::TreatAsDenied, Some(Severity::High)),
                ("private", Meaning::Approve, None),
                ("disputed", Meaning::Alert, Some(Severity::Medium)),
                ("anycast", Meaning::Alert, Some(Severity::Medium)),
            ]
        );
    }
}
