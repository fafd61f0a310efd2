//! The tables of the module's head and of `exception`, row by row.

use crate::{
    geo::{Located, UnknownReason, Via},
    policy::{
        fixture::{Used, announced_by, code, codes, exception, located, policy, process, subject},
        glob::Glob,
        preset::{Mode, PRESETS},
        workload::WorkloadMatch,
    },
};

use super::*;

const NOW: WallTime = WallTime(1_000);

fn country(text: &str) -> Location {
    Location::Country(code(text))
}

fn site(name: &str, country: &str) -> Location {
    Location::Site { name: name.into(), country: code(country) }
}

fn disputed(countries: &str) -> Location {
    Location::Disputed(countries.split(' ').map(code).collect())
}

fn violation(rule: Rule, severity: Severity) -> Verdict {
    Verdict::Violation { rule, severity, exception: None }
}

fn denied() -> Verdict {
    violation(Rule::Denied, Severity::Critical)
}

fn not_approved() -> Verdict {
    violation(Rule::NotApproved, Severity::High)
}

fn judge(policy: Policy, location: Location) -> Judgement {
    let set = PolicySet::new(Vec::new(), policy, Vec::new(), Vec::new());
    set.judge(&subject(&Owner::unowned(), &located(location)), &Used(0), NOW)
}

fn check(policy: &Policy, location: &Location, expected: &Verdict) {
    let judgement = judge(policy.clone(), location.clone());
    assert_eq!(judgement.verdict, *expected, "{location}: {}", judgement.reason);
}

#[test]
fn an_allow_list_approves_its_countries_and_no_other() {
    let policy = policy("us-ca-au-nz");
    for (location, expected) in [
        (country("US"), Verdict::Approved),
        (country("NZ"), Verdict::Approved),
        (site("dallas", "US"), Verdict::Approved),
        (country("DE"), not_approved()),
        (country("PR"), not_approved()),
        (site("frankfurt", "DE"), not_approved()),
        (Location::Local, Verdict::Approved),
    ] {
        check(&policy, &location, &expected);
    }
}

#[test]
fn a_deny_list_approves_every_other_country_and_still_reports_what_nobody_can_place() {
    let policy = policy("us-dsp-countries-of-concern");
    for (location, expected) in [
        (country("CN"), denied()),
        (country("HK"), denied()),
        (country("TW"), Verdict::Approved),
        (country("DE"), Verdict::Approved),
        (site("shenzhen", "CN"), denied()),
        (Location::Unknown(UnknownReason::NoRecord), violation(Rule::UnknownLocation, Severity::Medium)),
        (Location::Private, violation(Rule::UnmappedPrivate, Severity::Low)),
        (Location::Anycast(Some(code("US"))), violation(Rule::AnycastLocation, Severity::Medium)),
        (Location::Anycast(Some(code("CN"))), denied()),
        (disputed("US DE"), Verdict::Approved),
        (disputed("US CN"), violation(Rule::DisputedLocation, Severity::Medium)),
        (disputed("HK CN"), denied()),
    ] {
        check(&policy, &location, &expected);
    }
}

#[test]
fn every_preset_judges_every_code_by_its_list() {
    for preset in PRESETS {
        for first in b'A'..=b'Z' {
            for second in b'A'..=b'Z' {
                let code = CountryCode::from_letters([first, second]).expect("letters");
                let expected = match (preset.mode, preset.contains(code)) {
                    (Mode::Allow, true) | (Mode::Deny, false) => Verdict::Approved,
                    (Mode::Allow, false) => not_approved(),
                    (Mode::Deny, true) => denied(),
                };
                let finding = judge_country(&policy(preset.name), code);
                let verdict =
                    finding.broken.map_or(Verdict::Approved, |(rule, severity)| violation(rule, severity));
                assert_eq!(verdict, expected, "{code} under {}", preset.name);
            }
        }
    }
}

#[test]
fn an_empty_policy_approves_nothing() {
    check(&Policy::empty("empty"), &country("US"), &not_approved());
}

#[test]
fn meanings_report_raise_or_approve() {
    let places = [
        (Location::Unknown(UnknownReason::NoCountry), Rule::UnknownLocation, Severity::Medium),
        (Location::Private, Rule::UnmappedPrivate, Severity::Low),
        (disputed("US CA"), Rule::DisputedLocation, Severity::Medium),
        (Location::Anycast(None), Rule::AnycastLocation, Severity::Medium),
        (Location::Anycast(Some(code("US"))), Rule::AnycastLocation, Severity::Medium),
    ];
    for (location, rule, severity) in places {
        for meaning in Meaning::ALL {
            let mut policy = policy("us-only");
            policy.meanings.unknown = meaning;
            policy.meanings.private = meaning;
            policy.meanings.disputed = meaning;
            policy.meanings.anycast = meaning;
            let expected = match meaning {
                Meaning::Alert => violation(rule, severity),
                Meaning::TreatAsDenied => violation(rule, Severity::High),
                Meaning::Approve => Verdict::Approved,
            };
            check(&policy, &location, &expected);
        }
    }
}

#[test]
fn a_dispute_matters_only_where_the_candidates_are_judged_differently() {
    let mut policy = policy("us-ca-au-nz");
    policy.denied.countries = codes("CN");
    policy.meanings.disputed = Meaning::Approve;
    for (location, expected) in [
        (disputed("US CA"), Verdict::Approved),
        (disputed("US DE"), Verdict::Approved),
        (disputed("FR DE"), not_approved()),
        (disputed("FR CN"), not_approved()),
        (disputed("CN"), denied()),
    ] {
        check(&policy, &location, &expected);
    }
}

/// Each step adds one list to the policy before; the later line of the table must lose to the earlier one.
#[test]
fn precedence_is_the_order_of_the_table() {
    let judge = |policy: &Policy, located: &Located| {
        let set = PolicySet::new(Vec::new(), policy.clone(), Vec::new(), Vec::new());
        set.judge(&subject(&Owner::unowned(), located), &Used(0), NOW).verdict
    };
    let place = announced_by(64_500, located(site("frankfurt", "DE")));
    let mut policy = policy("us-only");
    assert_eq!(judge(&policy, &place), not_approved(), "line 9");
    policy.approved.asns.insert(64_500);
    assert_eq!(judge(&policy, &place), Verdict::Approved, "line 8");
    policy.denied.countries = codes("DE");
    assert_eq!(judge(&policy, &place), denied(), "line 5 over 8");

    policy.denied.countries.clear();
    policy.approved.asns.clear();
    policy.approved.sites.insert("frankfurt".into());
    assert_eq!(judge(&policy, &place), Verdict::Approved, "line 7");
    policy.denied.asns.insert(64_500);
    assert_eq!(judge(&policy, &place), denied(), "line 4 over 7");

    policy.denied.asns.clear();
    policy.approved.sites.clear();
    policy.approved.networks.insert("203.0.113.0/24".parse().expect("a network"));
    assert_eq!(judge(&policy, &place), Verdict::Approved, "line 6");
    policy.denied.sites.insert("frankfurt".into());
    assert_eq!(judge(&policy, &place), denied(), "line 3 over 6");

    policy.denied.sites.clear();
    policy.denied.networks.insert("203.0.113.8/29".parse().expect("a network"));
    assert_eq!(judge(&policy, &place), denied(), "line 2 over 6");
    assert_eq!(judge(&policy, &located(Location::Local)), Verdict::Approved, "line 1 over 2");
}

#[test]
fn an_approved_network_settles_what_nobody_can_place() {
    let mut policy = policy("us-only");
    policy.approved.networks.insert("203.0.113.9/32".parse().expect("a network"));
    for location in [Location::Private, Location::Unknown(UnknownReason::Reserved), Location::Anycast(None)] {
        check(&policy, &location, &Verdict::Approved);
    }
}

#[test]
fn a_network_list_sees_both_the_address_and_what_is_inside_it() {
    let mut place = located(country("US"));
    place.evidence.via = Some(Via::Nat64);
    place.evidence.embedded = Some("203.0.113.9".parse().expect("an address"));
    let owner = Owner::unowned();
    let mut subject = subject(&owner, &place);
    subject.remote = "64:ff9b::cb00:7109".parse().expect("an address");
    for network in ["203.0.113.0/24", "64:ff9b::/96"] {
        let mut policy = policy("us-only");
        policy.denied.networks.insert(network.parse().expect("a network"));
        let set = PolicySet::new(Vec::new(), policy, Vec::new(), Vec::new());
        assert_eq!(set.judge(&subject, &Used(0), NOW).verdict, denied(), "{network}");
    }
}

#[test]
fn the_first_policy_that_applies_decides_alone() {
    let for_unit = |name: &str, unit: &str, preset: &str| Policy {
        name: name.into(),
        matching: WorkloadMatch { units: vec![Glob::new(unit)], ..WorkloadMatch::default() },
        ..policy(preset)
    };
    let dated = Policy { until: Some(NOW), ..for_unit("over", "nginx.service", "five-eyes") };
    let policies =
        vec![dated, for_unit("web", "nginx.service", "gdpr-eea"), for_unit("all-units", "*", "us-padfa")];
    let set = PolicySet::new(policies, policy("us-only"), Vec::new(), Vec::new());
    for (unit, expected) in
        [(Some("nginx.service"), "web"), (Some("rsync.service"), "all-units"), (None, "default")]
    {
        let mut owner = process("/usr/sbin/x", 0, None);
        owner.workload.unit = unit.map(Arc::from);
        assert_eq!(set.select(&owner, 0, NOW).name.as_ref(), expected);
        let judgement = set.judge(&subject(&owner, &located(country("DE"))), &Used(0), NOW);
        assert_eq!(judgement.policy.name.as_ref(), expected);
    }
    let place = located(country("DE"));
    let owner = Owner::unowned();
    let subject = subject(&owner, &place);
    let under =
        |name: &str| set.judge_under(name, &subject, &Used(0), NOW).map(|judgement| judgement.verdict);
    assert_eq!(under("web"), Some(Verdict::Approved));
    assert_eq!(under("default"), Some(not_approved()));
    assert_eq!(under("missing"), None);
}

struct Row {
    exceptions: Vec<Exception>,
    used: u64,
    now: i64,
    expected: Verdict,
}

#[test]
fn exceptions_excuse_until_they_are_exceeded_or_over() {
    let limited = |id: &str, start: i64, expires: i64, max_bytes: u64| Exception {
        start: Some(WallTime(start)),
        expires: WallTime(expires),
        max_bytes: Some(max_bytes),
        ..exception(id, "SG")
    };
    let excepted = |id: &str| Verdict::Excepted { id: id.into() };
    let outlived =
        |rule, id: &str| Verdict::Violation { rule, severity: Severity::High, exception: Some(id.into()) };
    let exceeded = |id| outlived(Rule::ExceptionExceeded, id);
    let expired = |id| outlived(Rule::ExceptionExpired, id);
    let one = || vec![limited("A", 10, 20, 100)];
    let two = || vec![limited("A", 10, 20, 100), limited("B", 10, 30, 1_000)];
    for (idx, row) in [
        Row { exceptions: vec![], used: 0, now: 15, expected: not_approved() },
        Row { exceptions: one(), used: 0, now: 9, expected: not_approved() },
        Row { exceptions: one(), used: 0, now: 10, expected: excepted("A") },
        Row { exceptions: one(), used: 99, now: 19, expected: excepted("A") },
        Row { exceptions: one(), used: 100, now: 19, expected: exceeded("A") },
        Row { exceptions: one(), used: 0, now: 20, expected: expired("A") },
        Row { exceptions: two(), used: 99, now: 15, expected: excepted("A") },
        Row { exceptions: two(), used: 100, now: 15, expected: excepted("B") },
        Row { exceptions: two(), used: 1_000, now: 15, expected: exceeded("A") },
        Row { exceptions: two(), used: 0, now: 25, expected: excepted("B") },
        Row { exceptions: two(), used: 1_000, now: 25, expected: exceeded("B") },
        Row { exceptions: two(), used: 0, now: 30, expected: expired("B") },
    ]
    .into_iter()
    .enumerate()
    {
        let set = PolicySet::new(Vec::new(), policy("us-only"), row.exceptions, Vec::new());
        let place = located(country("SG"));
        let judgement = set.judge(&subject(&Owner::unowned(), &place), &Used(row.used), WallTime(row.now));
        assert_eq!(judgement.verdict, row.expected, "row {idx}: {}", judgement.reason);
    }
}

#[test]
fn an_exception_covers_only_its_policy_owner_and_destination() {
    let rsync = process("/usr/bin/rsync", 0, Some("backup"));
    let place = located(site("singapore", "SG"));
    let narrow = || {
        let mut narrow = exception("A", "SG");
        narrow.policy = Some("default".into());
        narrow.destination.networks.insert("203.0.113.0/24".parse().expect("a network"));
        narrow.destination.sites.insert("singapore".into());
        narrow.owner.exes.push(Glob::new("/usr/bin/rsync"));
        narrow
    };
    let covers = |exception: &Exception| exception.covers("default", &subject(&rsync, &place));
    assert!(covers(&narrow()));
    assert!(!narrow().covers("other", &subject(&rsync, &place)));
    assert!(!narrow().covers("default", &subject(&process("/usr/bin/scp", 0, None), &place)));
    for spoil in [
        |exception: &mut Exception| exception.destination.countries = codes("MY"),
        |exception: &mut Exception| {
            exception.destination.networks = ["198.51.100.0/24".parse().expect("a network")].into();
        },
        |exception: &mut Exception| exception.destination.sites = ["frankfurt".into()].into(),
    ] {
        let mut other = narrow();
        spoil(&mut other);
        assert!(!covers(&other), "{other:?}");
    }
}

#[test]
fn an_outlived_exception_makes_nothing_milder() {
    let over = Exception { expires: WallTime(1), ..exception("A", "CN") };
    let set = PolicySet::new(Vec::new(), policy("us-padfa"), vec![over], Vec::new());
    let judgement = set.judge(&subject(&Owner::unowned(), &located(country("CN"))), &Used(0), NOW);
    assert_eq!(
        judgement.verdict,
        Verdict::Violation {
            rule: Rule::ExceptionExpired,
            severity: Severity::Critical,
            exception: Some("A".into())
        }
    );
}

#[test]
fn approved_traffic_does_not_use_an_exception() {
    let set = PolicySet::new(Vec::new(), policy("us-only"), vec![exception("A", "US")], Vec::new());
    let judgement = set.judge(&subject(&Owner::unowned(), &located(country("US"))), &Used(0), NOW);
    assert_eq!(judgement.verdict, Verdict::Approved);
}

#[test]
fn reasons_can_be_read_aloud() {
    let found = "(GeoLite2-Country.mmdb built 2026-11-01, prefix 203.0.113.0/24)";
    let mut network = policy("us-only");
    network.denied.networks.insert("203.0.113.0/24".parse().expect("a network"));
    for (policy, location, expected) in [
        (
            policy("us-only"),
            country("SG"),
            format!(
                "203.0.113.9 is in SG {found}, a country that policy default (preset us-only) does not approve"
            ),
        ),
        (
            policy("gdpr-adequacy"),
            country("US"),
            format!(
                "203.0.113.9 is in US {found}, a country that preset gdpr-adequacy of policy default approves, \
                 though its basis covers the country only in part"
            ),
        ),
        (
            policy("us-padfa"),
            site("shenzhen", "CN"),
            format!(
                "203.0.113.9 is in site shenzhen, which is in CN {found}, a country that preset us-padfa of \
                 policy default denies"
            ),
        ),
        (
            network,
            country("US"),
            format!(
                "203.0.113.9 is in US {found}, inside 203.0.113.0/24, a network that policy default denies"
            ),
        ),
        (
            policy("us-only"),
            Location::Unknown(UnknownReason::NoRecord),
            format!(
                "203.0.113.9 cannot be located: no record in any database {found}, which policy default reports"
            ),
        ),
    ] {
        let judgement = judge(policy, location);
        assert_eq!(judgement.sentence("203.0.113.9".parse().expect("an address")), expected);
    }
    let excused = PolicySet::new(Vec::new(), policy("us-only"), vec![exception("EX-1", "SG")], Vec::new());
    let place = located(country("SG"));
    let reason = excused.judge(&subject(&Owner::unowned(), &place), &Used(0), NOW).reason;
    assert!(
        reason.contains("; exception EX-1 (approved by Jane Doe, LEGAL-1: audit copy) covers it until"),
        "{reason}"
    );
}
