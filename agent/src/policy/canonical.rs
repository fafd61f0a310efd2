//! The policy set as a list of statements: hashed, and compared with the one before.
//!
//! Statements say what is in force, not what was written: a preset appears with each of its countries, lists are
//! sorted, and what has no effect on a judgement or its reason is left out. Only where order decides (policies,
//! exceptions) is there a statement about the order.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
};

use sha2::{Digest as _, Sha256};

use super::{
    exception::Exception,
    preset::{Mode, hexadecimal},
    reason::moment,
    rules::{Lists, Policy},
    workload::WorkloadMatch,
};

/// First line of what is hashed; raised when the meaning of the statements changes.
const HEADER: &str = "homeport policy set 1";

/// One thing that is in force, such as `policy user-data` / `approved country` / `CA`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Statement {
    /// What it is about: `policy user-data`, `site frankfurt`.
    pub about: String,
    /// The property.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// The property can have several values: a change adds and removes, it does not replace.
    pub many: bool,
}

impl Statement {
    /// A property with one value.
    pub fn one(about: &str, key: &'static str, value: impl Display) -> Self {
        Self { about: about.to_owned(), key, value: value.to_string(), many: false }
    }

    /// One of the values of a property.
    pub fn many(about: &str, key: &'static str, value: impl Display) -> Self {
        Self { about: about.to_owned(), key, value: value.to_string(), many: true }
    }
}

/// Everything that is in force, sorted.
pub(super) fn statements<'a>(
    policies: impl Iterator<Item = &'a Policy> + Clone,
    exceptions: &[Exception],
    geography: Vec<Statement>,
) -> Vec<Statement> {
    let order = |names: Vec<&str>| names.join(", ");
    let mut statements = geography;
    let policy_names = policies.clone().map(|policy| policy.name.as_ref()).collect();
    statements.push(Statement::one("policies", "order", order(policy_names)));
    if !exceptions.is_empty() {
        let exception_ids = exceptions.iter().map(|exception| exception.id.as_ref()).collect();
        statements.push(Statement::one("exceptions", "order", order(exception_ids)));
    }
    policies.for_each(|policy| policy_statements(policy, &mut statements));
    exceptions.iter().for_each(|exception| exception_statements(exception, &mut statements));
    statements.sort_unstable();
    statements.dedup();
    statements
}

/// SHA-256 of the statements. Each part is preceded by its length, so that no two lists read the same.
pub(super) fn hash(statements: &[Statement]) -> String {
    hash_of(
        statements
            .iter()
            .map(|statement| [statement.about.as_str(), statement.key, statement.value.as_str()]),
    )
}

/// The same for statements as records have them: about, property, value.
pub fn hash_of<'a>(statements: impl Iterator<Item = [&'a str; 3]>) -> String {
    let mut hasher = Sha256::new();
    hasher.update(HEADER);
    for part in statements.flatten() {
        hasher.update(format!("\n{}:{part}", part.len()));
    }
    hexadecimal(&hasher.finalize())
}

/// What happened to one property.
#[derive(Default)]
struct Change<'a> {
    removed: Vec<&'a Statement>,
    added: Vec<&'a Statement>,
}

/// One sentence per difference, grouped by what it is about.
pub(super) fn diff(earlier: &[Statement], later: &[Statement]) -> Vec<String> {
    let old: BTreeSet<&Statement> = earlier.iter().collect();
    let new: BTreeSet<&Statement> = later.iter().collect();
    let known =
        |set: &BTreeSet<&Statement>, about: &str| set.iter().any(|statement| statement.about == about);

    let mut changes: BTreeMap<(&str, &'static str), Change<'_>> = BTreeMap::new();
    for statement in old.difference(&new) {
        changes.entry((&statement.about, statement.key)).or_default().removed.push(statement);
    }
    for statement in new.difference(&old) {
        changes.entry((&statement.about, statement.key)).or_default().added.push(statement);
    }

    let mut sentences = Vec::new();
    let mut announced: BTreeSet<&str> = BTreeSet::new();
    for ((about, key), Change { removed, added }) in changes {
        if !known(&new, about) {
            if announced.insert(about) {
                sentences.push(format!("{about}: removed"));
            }
            continue;
        }
        if !known(&old, about) && announced.insert(about) {
            sentences.push(format!("{about}: added"));
        }
        if let ([before], [after]) = (removed.as_slice(), added.as_slice())
            && !before.many
        {
            sentences.push(format!("{about}: {key} changed from {} to {}", before.value, after.value));
            continue;
        }
        sentences.extend(removed.iter().map(|statement| format!("{about}: - {key} {}", statement.value)));
        sentences.extend(added.iter().map(|statement| format!("{about}: + {key} {}", statement.value)));
    }
    sentences
}

fn policy_statements(policy: &Policy, statements: &mut Vec<Statement>) {
    let about = format!("policy {}", policy.name);
    let one = |key, value: &dyn Display| Statement::one(&about, key, value);
    statements.push(one(
        "countries on no list",
        &match policy.mode() {
            Mode::Allow => "not approved",
            Mode::Deny => "approved",
        },
    ));
    if let Some(preset) = policy.preset {
        statements.push(one("preset", &format!("{} version {}", preset.name, preset.version)));
        statements.push(one("preset sha256", &preset.sha256()));
    }
    matcher_statements(&about, &policy.matching, statements);
    let approved = policy.approved_countries();
    statements.extend(approved.iter().map(|code| Statement::many(&about, "approved country", code)));
    let denied = policy.denied_countries();
    statements.extend(denied.iter().map(|code| Statement::many(&about, "denied country", code)));
    list_statements(
        &about,
        &policy.approved,
        ["approved network", "approved site", "approved AS"],
        statements,
    );
    list_statements(&about, &policy.denied, ["denied network", "denied site", "denied AS"], statements);
    for (key, meaning) in [
        ("unknown location", policy.meanings.unknown),
        ("private location", policy.meanings.private),
        ("disputed location", policy.meanings.disputed),
        ("anycast location", policy.meanings.anycast),
    ] {
        statements.push(one(key, &meaning.as_str()));
    }
    statements.extend(policy.from.map(|from| one("in force from", &moment(from))));
    statements.extend(policy.until.map(|until| one("in force until", &moment(until))));
}

fn list_statements(about: &str, lists: &Lists, keys: [&'static str; 3], statements: &mut Vec<Statement>) {
    let [network, site, asn] = keys;
    statements.extend(lists.networks.iter().map(|value| Statement::many(about, network, value)));
    statements.extend(lists.sites.iter().map(|value| Statement::many(about, site, value)));
    statements.extend(lists.asns.iter().map(|value| Statement::many(about, asn, value)));
}

fn matcher_statements(about: &str, matching: &WorkloadMatch, statements: &mut Vec<Statement>) {
    for (key, values) in matching.keys() {
        let key = match key {
            "unit" => "match unit",
            "container" => "match container",
            "cgroup" => "match cgroup",
            "user" => "match user",
            "exe" => "match exe",
            _ => "match local port",
        };
        statements.extend(values.into_iter().map(|value| Statement::many(about, key, value)));
    }
}

fn exception_statements(exception: &Exception, statements: &mut Vec<Statement>) {
    let about = format!("exception {}", exception.id);
    let one = |key, value: &dyn Display| Statement::one(&about, key, value);
    let destination = &exception.destination;
    let many = |key, value: &dyn Display| Statement::many(&about, key, value);
    statements.extend(destination.countries.iter().map(|value| many("to country", value)));
    statements.extend(destination.networks.iter().map(|value| many("to network", value)));
    statements.extend(destination.sites.iter().map(|value| many("to site", value)));
    matcher_statements(&about, &exception.owner, statements);
    statements.extend(exception.policy.as_ref().map(|policy| one("from policy", policy)));
    statements.extend(exception.max_bytes.map(|bytes| one("ceiling in bytes", &bytes)));
    statements.extend(exception.start.map(|start| one("start", &moment(start))));
    statements.push(one("expiry", &moment(exception.expires)));
    statements.push(one("approver", &exception.approver));
    statements.extend(exception.ticket.as_ref().map(|ticket| one("ticket", ticket)));
    statements.push(one("reason", &exception.reason));
}

#[cfg(test)]
mod tests {
    use crate::policy::{
        PolicySet,
        fixture::{codes, exception, policy},
        rules::Meaning,
    };

    use super::*;

    fn set(policies: Vec<Policy>) -> PolicySet {
        PolicySet::new(policies, policy("us-only"), Vec::new(), Vec::new())
    }

    fn user_data() -> Policy {
        Policy { name: "user-data".into(), ..policy("us-ca-au-nz") }
    }

    #[test]
    fn equal_sets_have_equal_hashes_and_no_difference() {
        assert_eq!(set(vec![user_data()]).hash(), set(vec![user_data()]).hash());
        assert!(set(vec![user_data()]).diff(&set(vec![user_data()])).is_empty());
    }

    #[test]
    fn a_country_listed_twice_changes_nothing_but_a_new_one_does() {
        let mut twice = user_data();
        twice.approved.countries = codes("US");
        assert_eq!(set(vec![user_data()]).hash(), set(vec![twice]).hash());
        let mut more = user_data();
        more.approved.countries = codes("DE");
        assert_ne!(set(vec![user_data()]).hash(), set(vec![more]).hash());
    }

    #[test]
    fn the_order_of_policies_is_part_of_the_hash() {
        let other = || Policy { name: "other".into(), ..policy("gdpr-eea") };
        let there = set(vec![user_data(), other()]);
        let back = set(vec![other(), user_data()]);
        assert_ne!(there.hash(), back.hash());
        assert_eq!(
            back.diff(&there),
            ["policies: order changed from user-data, other, default to other, user-data, default"]
        );
    }

    #[test]
    fn a_difference_is_a_sentence() {
        let mut changed = user_data();
        changed.approved.countries = codes("DE");
        changed.denied.countries = codes("NZ");
        changed.meanings.unknown = Meaning::TreatAsDenied;
        let sentences = set(vec![changed]).diff(&set(vec![user_data()]));
        assert_eq!(
            sentences,
            [
                "policy user-data: - approved country NZ",
                "policy user-data: + approved country DE",
                "policy user-data: + denied country NZ",
                "policy user-data: unknown location changed from alert to treat-as-denied",
            ]
        );
    }

    #[test]
    fn a_policy_that_comes_or_goes_is_named_once() {
        let with = PolicySet::new(Vec::new(), policy("us-only"), vec![exception("EX-1", "SG")], Vec::new());
        let without = PolicySet::default();
        assert_eq!(without.diff(&with), ["exception EX-1: removed", "exceptions: removed"]);
        let sentences = with.diff(&without);
        assert!(sentences.contains(&"exception EX-1: added".to_owned()), "{sentences:?}");
        assert!(sentences.contains(&"exception EX-1: + to country SG".to_owned()), "{sentences:?}");
    }

    #[test]
    fn sites_and_overrides_are_part_of_the_hash() {
        let site = Statement::many("site frankfurt", "network", "10.20.0.0/16");
        let with = PolicySet::new(Vec::new(), policy("us-only"), Vec::new(), vec![site]);
        assert_ne!(with.hash(), PolicySet::default().hash());
    }

    #[test]
    fn parts_cannot_run_into_each_other() {
        let joined = [Statement::many("a", "k", "b\n1:k\n1:c")];
        let apart = [Statement::many("a", "k", "b"), Statement::many("k", "c", "")];
        assert_ne!(hash(&joined), hash(&apart));
    }
}
