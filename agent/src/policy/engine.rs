//! The decision: which policy is asked, and what it says.
//!
//! Policies are asked in the order of the configuration; the first that is in force (`from`, `until`) and about
//! the sender decides alone. The default policy, for everybody and without dates, is asked last, so there is
//! always an answer. Within a policy, the first line that fits decides:
//!
//! | | the destination is | verdict |
//! |---|---|---|
//! | 1 | local: loopback, link-local, multicast | approved, it never leaves the link |
//! | 2 | in a denied network | violation `denied` |
//! | 3 | a denied site | violation `denied` |
//! | 4 | announced by a denied AS | violation `denied` |
//! | 5 | in a denied country | violation `denied` |
//! | 6 | in an approved network | approved |
//! | 7 | an approved site | approved |
//! | 8 | announced by an approved AS | approved |
//! | 9 | in a country (that of a site included) | approved if listed, or if the policy only denies; else violation `not-approved` |
//! | 10 | disputed | as line 9 where all candidates agree; else by the policy's meaning of `disputed` |
//! | 11 | anycast | by the meaning of `anycast`, wherever it is registered |
//! | 12 | unknown, private | by the meaning of `unknown`, `private` |
//!
//! Line 5 takes a disputed place for denied when every candidate is denied, and an anycast address when it is
//! registered in a denied country: whoever answers there is bound to that country. A meaning is `alert` (the
//! place's own rule and severity), `treat-as-denied` (the same rule, severity high) or `approve`.
//!
//! A violation that remains is held against the [exceptions](super::exception).

use std::sync::Arc;

use crate::{
    clock::WallTime,
    flow::Owner,
    geo::{CountryCode, Location},
};

use super::{
    ExceptionUse, Judge, Judgement, PolicyId, Rule, Severity, Subject, Verdict,
    canonical::{self, Statement},
    exception::{self, Exception},
    preset::Preset,
    reason,
    rules::{Meaning, Policy, Standing},
};

/// Everything that judges: the policies in order, the default, the exceptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySet {
    asked_first: Vec<(Policy, Arc<PolicyId>)>,
    default: (Policy, Arc<PolicyId>),
    exceptions: Vec<Exception>,
    statements: Vec<Statement>,
    hash: Arc<str>,
}

/// What a policy says before exceptions, with the clause that gives the reason.
struct Finding {
    broken: Option<(Rule, Severity)>,
    because: String,
}

impl PolicySet {
    /// Puts the parts together.
    ///
    /// `default` is asked last, for everybody: its dates and matches are not looked at. `geography` is whatever
    /// else changes judgements and belongs into the hash: sites and overrides.
    pub fn new(
        policies: Vec<Policy>,
        default: Policy,
        exceptions: Vec<Exception>,
        geography: Vec<Statement>,
    ) -> Self {
        let statements = canonical::statements(policies.iter().chain([&default]), &exceptions, geography);
        let hash: Arc<str> = canonical::hash(&statements).into();
        let with_id = |policy: Policy| {
            let id = PolicyId {
                name: Arc::clone(&policy.name),
                preset: policy.preset.map(|preset| preset.name),
                hash: Arc::clone(&hash),
            };
            (policy, Arc::new(id))
        };
        let asked_first = policies.into_iter().map(&with_id).collect();
        let default = with_id(default);
        Self { asked_first, default, exceptions, statements, hash }
    }

    /// SHA-256 over the effective policy set, 64 hexadecimal digits.
    ///
    /// It covers policies in their order with every effective country, exceptions, sites and overrides, and does
    /// not depend on how the configuration was written down.
    pub fn hash(&self) -> &Arc<str> {
        &self.hash
    }

    /// Everything that is in force, sorted: what the hash is made of.
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }

    /// The policies in the order in which they are asked; the last one is the default.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.with_ids().map(|(policy, _)| policy)
    }

    /// The exceptions in the order of the configuration.
    pub fn exceptions(&self) -> &[Exception] {
        &self.exceptions
    }

    /// The policy that decides for a sender at `now`.
    pub fn select(&self, owner: &Owner, local_port: u16, now: WallTime) -> &Policy {
        &self.select_with_id(owner, local_port, now).0
    }

    /// Judges under one policy, whoever sends: what `homeport explain` shows for each.
    ///
    /// `None` when there is no policy of that name.
    pub fn judge_under(
        &self,
        policy_name: &str,
        subject: &Subject<'_>,
        used: &dyn ExceptionUse,
        now: WallTime,
    ) -> Option<Judgement> {
        let (policy, id) = self.with_ids().find(|(policy, _)| policy.name.as_ref() == policy_name)?;
        Some(self.judge_by(policy, id, subject, used, now))
    }

    /// What changed since `earlier`, one sentence each: `policy user-data: + approved country CA`.
    pub fn diff(&self, earlier: &Self) -> Vec<String> {
        canonical::diff(&earlier.statements, &self.statements)
    }

    fn select_with_id(&self, owner: &Owner, local_port: u16, now: WallTime) -> &(Policy, Arc<PolicyId>) {
        self.asked_first
            .iter()
            .find(|(policy, _)| policy.applies(owner, local_port, now))
            .unwrap_or(&self.default)
    }

    fn with_ids(&self) -> impl Iterator<Item = &(Policy, Arc<PolicyId>)> {
        self.asked_first.iter().chain([&self.default])
    }

    fn judge_by(
        &self,
        policy: &Policy,
        id: &Arc<PolicyId>,
        subject: &Subject<'_>,
        used: &dyn ExceptionUse,
        now: WallTime,
    ) -> Judgement {
        let finding = decide(policy, subject);
        let mut reason = format!("{}, {}", reason::whereabouts(subject), finding.because);
        let verdict = match finding.broken {
            None => Verdict::Approved,
            Some((rule, severity)) => {
                match exception::relieve(&self.exceptions, &policy.name, subject, used, now) {
                    None => Verdict::Violation { rule, severity, exception: None },
                    Some(relief) => {
                        reason = format!("{reason}; {}", relief.because);
                        let id = Arc::clone(&relief.exception.id);
                        match relief.broken {
                            None => Verdict::Excepted { id },
                            Some(rule) => Verdict::Violation {
                                rule,
                                severity: severity.max(severity_of(rule)),
                                exception: Some(id),
                            },
                        }
                    }
                }
            }
        };
        Judgement { policy: Arc::clone(id), verdict, reason: reason.into() }
    }
}

/// The set of an agent without a configuration file: preset `us-only` for everybody.
impl Default for PolicySet {
    fn default() -> Self {
        Self::new(Vec::new(), Policy::built_in(), Vec::new(), Vec::new())
    }
}

impl Judge for PolicySet {
    fn judge(&self, subject: &Subject<'_>, used: &dyn ExceptionUse, now: WallTime) -> Judgement {
        let (policy, id) = self.select_with_id(subject.owner, subject.local_port, now);
        self.judge_by(policy, id, subject, used, now)
    }
}

/// How bad breaking a rule is, where the policy does not raise it.
pub const fn severity_of(rule: Rule) -> Severity {
    match rule {
        Rule::Denied => Severity::Critical,
        Rule::NotApproved | Rule::ExceptionExceeded | Rule::ExceptionExpired => Severity::High,
        Rule::UnknownLocation | Rule::DisputedLocation | Rule::AnycastLocation => Severity::Medium,
        Rule::UnmappedPrivate => Severity::Low,
    }
}

/// The table in the module's head.
fn decide(policy: &Policy, subject: &Subject<'_>) -> Finding {
    let located = subject.located;
    let name = &policy.name;
    let addresses = [subject.remote, located.evidence.looked_up(subject.remote)];
    let site = match &located.location {
        Location::Site { name, .. } => Some(name),
        _ => None,
    };
    let asn = located.evidence.autonomous_system.as_ref().map(|system| system.number);

    if located.location == Location::Local {
        return approved("and is approved by every policy".to_owned());
    }
    if let Some(network) = policy.denied.network_around(addresses) {
        return broken(Rule::Denied, format!("inside {network}, a network that policy {name} denies"));
    }
    if site.is_some_and(|site| policy.denied.sites.contains(site)) {
        return broken(Rule::Denied, format!("a site that policy {name} denies"));
    }
    if let Some(asn) = asn.filter(|asn| policy.denied.asns.contains(asn)) {
        return broken(Rule::Denied, format!("announced by AS{asn}, which policy {name} denies"));
    }
    if let Some(because) = denied_country(policy, &located.location) {
        return broken(Rule::Denied, because);
    }
    if let Some(network) = policy.approved.network_around(addresses) {
        return approved(format!("inside {network}, a network that policy {name} approves"));
    }
    if site.is_some_and(|site| policy.approved.sites.contains(site)) {
        return approved(format!("a site that policy {name} approves"));
    }
    if let Some(asn) = asn.filter(|asn| policy.approved.asns.contains(asn)) {
        return approved(format!("announced by AS{asn}, which policy {name} approves"));
    }
    match &located.location {
        Location::Country(country) | Location::Site { country, .. } => judge_country(policy, *country),
        Location::Disputed(candidates) => judge_disputed(policy, candidates),
        Location::Anycast(_) => mean(policy, policy.meanings.anycast, Rule::AnycastLocation),
        Location::Unknown(_) => mean(policy, policy.meanings.unknown, Rule::UnknownLocation),
        Location::Private => mean(policy, policy.meanings.private, Rule::UnmappedPrivate),
        Location::Local => approved("and is approved by every policy".to_owned()),
    }
}

/// The clause for a place that is in a denied country for certain.
fn denied_country(policy: &Policy, location: &Location) -> Option<String> {
    let by_whom = |country: CountryCode| match policy.standing(country) {
        Standing::Denied(preset) => Some(author(policy, preset)),
        Standing::Approved(_) | Standing::NotDenied | Standing::NotApproved => None,
    };
    match location {
        Location::Country(country) | Location::Site { country, .. } => {
            by_whom(*country).map(|author| format!("a country that {author} denies"))
        }
        Location::Disputed(candidates) => {
            let (first, rest) = candidates.split_first()?;
            let author = by_whom(*first)?;
            rest.iter()
                .all(|country| by_whom(*country).is_some())
                .then(|| format!("every one of which {author} denies"))
        }
        Location::Anycast(registered) => {
            by_whom((*registered)?).map(|author| format!("a country that {author} denies"))
        }
        Location::Private | Location::Local | Location::Unknown(_) => None,
    }
}

fn judge_country(policy: &Policy, country: CountryCode) -> Finding {
    match policy.standing(country) {
        Standing::Denied(preset) => {
            broken(Rule::Denied, format!("a country that {} denies", author(policy, preset)))
        }
        Standing::Approved(preset) => {
            let in_part = preset.is_some_and(|preset| preset.contains_in_part(country));
            let extent = if in_part { ", though its basis covers the country only in part" } else { "" };
            approved(format!("a country that {} approves{extent}", author(policy, preset)))
        }
        Standing::NotDenied => approved(format!("a country that {} does not deny", title(policy))),
        Standing::NotApproved => {
            broken(Rule::NotApproved, format!("a country that {} does not approve", title(policy)))
        }
    }
}

/// Candidates that agree settle the matter: then the dispute makes no difference.
fn judge_disputed(policy: &Policy, candidates: &[CountryCode]) -> Finding {
    let n_approved =
        candidates.iter().filter(|country| judge_country(policy, **country).broken.is_none()).count();
    if candidates.is_empty() || (n_approved > 0 && n_approved < candidates.len()) {
        return mean(policy, policy.meanings.disputed, Rule::DisputedLocation);
    }
    if n_approved > 0 {
        return approved(format!("and {} approves every one of them", title(policy)));
    }
    broken(Rule::NotApproved, format!("and {} approves none of them", title(policy)))
}

fn mean(policy: &Policy, meaning: Meaning, rule: Rule) -> Finding {
    let name = &policy.name;
    match meaning {
        Meaning::Approve => approved(format!("which policy {name} approves")),
        Meaning::Alert => broken(rule, format!("which policy {name} reports")),
        Meaning::TreatAsDenied => Finding {
            broken: Some((rule, Severity::High)),
            because: format!("which policy {name} treats as denied"),
        },
    }
}

const fn approved(because: String) -> Finding {
    Finding { broken: None, because }
}

const fn broken(rule: Rule, because: String) -> Finding {
    Finding { broken: Some((rule, severity_of(rule))), because }
}

/// Who put a country on a list: `preset us-padfa of policy default`, or `policy default` itself.
fn author(policy: &Policy, preset: Option<&Preset>) -> String {
    match preset {
        Some(preset) => format!("preset {} of policy {}", preset.name, policy.name),
        None => format!("policy {}", policy.name),
    }
}

/// `policy default (preset us-only)`
fn title(policy: &Policy) -> String {
    match policy.preset {
        Some(preset) => format!("policy {} (preset {})", policy.name, preset.name),
        None => format!("policy {}", policy.name),
    }
}

#[cfg(test)]
mod tests;
