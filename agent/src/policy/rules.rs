//! One policy: who it is about, which lists it has, and what the uncertain places mean to it.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use ipnet::IpNet;

use crate::{clock::WallTime, flow::Owner, geo::CountryCode};

use super::{
    preset::{Mode, Preset},
    workload::WorkloadMatch,
};

/// Name of the policy that is asked last, where the operator gives none.
pub const DEFAULT_POLICY: &str = "default";

/// Preset of the default policy, where the operator gives none.
pub const DEFAULT_PRESET: &str = "us-only";

/// What a place that is no single country means to a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// Reported, with a severity of its own.
    #[default]
    Alert,
    /// Reported as badly as a country that is not approved.
    TreatAsDenied,
    /// Approved.
    Approve,
}

impl Meaning {
    /// Every meaning, in the order of the documentation.
    pub const ALL: [Self; 3] = [Self::Alert, Self::TreatAsDenied, Self::Approve];

    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::TreatAsDenied => "treat-as-denied",
            Self::Approve => "approve",
        }
    }
}

/// What each kind of uncertain place means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Meanings {
    /// Nobody can say where.
    pub unknown: Meaning,
    /// Private address space that no site maps.
    pub private: Meaning,
    /// Databases disagree, and the difference matters.
    pub disputed: Meaning,
    /// Served from many places.
    pub anycast: Meaning,
}

/// One side of a policy: what it approves, or what it denies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lists {
    /// Countries, beyond those of a preset.
    pub countries: BTreeSet<CountryCode>,
    /// Networks.
    pub networks: BTreeSet<IpNet>,
    /// Sites, by name.
    pub sites: BTreeSet<Arc<str>>,
    /// Autonomous systems.
    pub asns: BTreeSet<u32>,
}

impl Lists {
    /// True when nothing is listed.
    pub fn is_empty(&self) -> bool {
        self.countries.is_empty() && self.networks.is_empty() && self.sites.is_empty() && self.asns.is_empty()
    }

    /// The most specific listed network around one of `addresses`.
    pub(super) fn network_around(&self, addresses: [IpAddr; 2]) -> Option<IpNet> {
        self.networks
            .iter()
            .filter(|network| addresses.iter().any(|address| network.contains(address)))
            .max_by_key(|network| network.prefix_len())
            .copied()
    }
}

/// What a policy says of one country, with the list that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// On a deny list: the preset's, or the policy's own.
    Denied(Option<&'static Preset>),
    /// On an approve list: the preset's, or the policy's own.
    Approved(Option<&'static Preset>),
    /// Not denied by a policy that only denies.
    NotDenied,
    /// On no list of a policy that approves.
    NotApproved,
}

/// One policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Who it is about.
    pub matching: WorkloadMatch,
    /// The preset it is built on.
    pub preset: Option<&'static Preset>,
    /// What it approves beyond the preset.
    pub approved: Lists,
    /// What it denies beyond the preset.
    pub denied: Lists,
    /// What uncertain places mean.
    pub meanings: Meanings,
    /// In force from this instant on; always, if none.
    pub from: Option<WallTime>,
    /// In force before this instant; always, if none.
    pub until: Option<WallTime>,
}

impl Policy {
    /// A policy for everybody, always, that lists nothing.
    pub fn empty(name: &str) -> Self {
        Self {
            name: name.into(),
            matching: WorkloadMatch::default(),
            preset: None,
            approved: Lists::default(),
            denied: Lists::default(),
            meanings: Meanings::default(),
            from: None,
            until: None,
        }
    }

    /// The policy that is asked last where the operator gives none.
    pub fn built_in() -> Self {
        Self { preset: Preset::find(DEFAULT_PRESET), ..Self::empty(DEFAULT_POLICY) }
    }

    /// Whether it is about everybody and always in force, as the last one has to be.
    pub fn is_universal(&self) -> bool {
        self.matching.is_everybody() && self.from.is_none() && self.until.is_none()
    }

    /// Whether it is in force and about this sender.
    pub fn applies(&self, owner: &Owner, local_port: u16, now: WallTime) -> bool {
        self.from.is_none_or(|from| from <= now)
            && self.until.is_none_or(|until| now < until)
            && self.matching.matches(owner, local_port)
    }

    /// What happens to a country on no list.
    ///
    /// A policy is a deny list only when denying is all it does to countries: it denies something and neither
    /// its preset nor its own list approves a country. An empty policy therefore approves nothing, and a
    /// forgotten list shows up as alerts and not as silence.
    pub fn mode(&self) -> Mode {
        match self.preset.map(|preset| preset.mode) {
            Some(Mode::Allow) => Mode::Allow,
            Some(Mode::Deny) if self.approved.countries.is_empty() => Mode::Deny,
            None if self.approved.countries.is_empty() && !self.denied.is_empty() => Mode::Deny,
            Some(Mode::Deny) | None => Mode::Allow,
        }
    }

    /// What the policy says of a country. Denials win over approvals.
    pub fn standing(&self, country: CountryCode) -> Standing {
        let by_preset = |mode| self.preset.filter(|preset| preset.mode == mode && preset.contains(country));
        if self.denied.countries.contains(&country) {
            Standing::Denied(None)
        } else if let Some(preset) = by_preset(Mode::Deny) {
            Standing::Denied(Some(preset))
        } else if let Some(preset) = by_preset(Mode::Allow) {
            Standing::Approved(Some(preset))
        } else if self.approved.countries.contains(&country) {
            Standing::Approved(None)
        } else {
            match self.mode() {
                Mode::Allow => Standing::NotApproved,
                Mode::Deny => Standing::NotDenied,
            }
        }
    }

    /// Every country that is approved by a list, after denials.
    pub fn approved_countries(&self) -> BTreeSet<CountryCode> {
        let denied = self.denied_countries();
        self.with_preset(Mode::Allow, &self.approved.countries).difference(&denied).copied().collect()
    }

    /// Every country that is denied by a list.
    pub fn denied_countries(&self) -> BTreeSet<CountryCode> {
        self.with_preset(Mode::Deny, &self.denied.countries)
    }

    fn with_preset(&self, mode: Mode, own: &BTreeSet<CountryCode>) -> BTreeSet<CountryCode> {
        let preset = self.preset.filter(|preset| preset.mode == mode);
        preset.map(Preset::countries).unwrap_or_default().union(own).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::fixture::{codes, policy};

    use super::*;

    #[test]
    fn a_policy_denies_by_list_only_when_denying_is_all_it_does() {
        let own = |approved: &str, denied: &str| {
            let mut own = Policy::empty("own");
            own.approved.countries = codes(approved);
            own.denied.countries = codes(denied);
            own
        };
        for (policy, expected) in [
            (Policy::empty("empty"), Mode::Allow),
            (policy("us-only"), Mode::Allow),
            (policy("us-padfa"), Mode::Deny),
            (own("US", ""), Mode::Allow),
            (own("", "CN"), Mode::Deny),
            (own("US", "CN"), Mode::Allow),
            (Policy { approved: own("US", "").approved, ..policy("us-padfa") }, Mode::Allow),
            (Policy { denied: own("", "CN").denied, ..policy("us-only") }, Mode::Allow),
        ] {
            assert_eq!(policy.mode(), expected, "{policy:?}");
        }
    }

    #[test]
    fn denials_are_taken_out_of_the_approved_countries() {
        let mut lists = policy("us-ca-au-nz");
        lists.denied.countries = codes("NZ CN");
        assert_eq!(lists.approved_countries(), codes("US CA AU"));
        assert_eq!(lists.denied_countries(), codes("NZ CN"));
        assert_eq!(
            lists.standing(CountryCode::from_letters(*b"NZ").expect("letters")),
            Standing::Denied(None)
        );
    }

    #[test]
    fn dates_bound_a_policy_from_inclusive_until_exclusive() {
        let mut dated = policy("us-only");
        dated.from = Some(WallTime(10));
        dated.until = Some(WallTime(20));
        for (now, expected) in [(9, false), (10, true), (19, true), (20, false)] {
            assert_eq!(dated.applies(&Owner::unowned(), 0, WallTime(now)), expected, "at {now}");
        }
        assert!(!dated.is_universal());
    }
}
