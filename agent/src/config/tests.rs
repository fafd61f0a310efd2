//! What an operator writes, and what is made of it or said about it.

use std::{path::PathBuf, time::Duration};

use proptest::prelude::*;

use crate::policy::{
    exception::Destination,
    preset::{Mode, Preset},
    rules::Meaning,
};

use super::*;

/// 2026-11-21.
const NOW: WallTime = WallTime::from_unix_seconds(1_795_219_200);

fn parse(text: &str) -> (Config, Vec<Warning>) {
    Config::parse(text, "homeport.toml", NOW)
        .unwrap_or_else(|faults| panic!("{}", render::faults(&faults, false)))
}

fn faults(text: &str) -> Vec<Fault> {
    match Config::parse(text, "homeport.toml", NOW) {
        Ok((config, warnings)) => panic!("accepted with {warnings:?}: {config:?}\n{text}"),
        Err(faults) => faults,
    }
}

/// The only fault of `text` is at `key` and says `problem`.
fn check(text: &str, key: &str, problem: &str) {
    let faults = faults(text);
    let [fault] = faults.as_slice() else { panic!("{}\n{text}", render::faults(&faults, false)) };
    assert_eq!(fault.key, key, "{fault}");
    let seen = fault.seen.as_ref().map_or_else(String::new, |seen| format!("{seen} "));
    assert_eq!(format!("{seen}{}", fault.problem), problem, "{fault}");
    assert!(!fault.accepted.is_empty(), "{fault}");
    assert!(fault.position.is_some(), "{fault}");
}

/// The only warning of `text` is at `key` and says `message`.
fn check_warning(text: &str, key: &str, message: &str) {
    let (_, warnings) = parse(text);
    let seen: Vec<(&str, &str)> =
        warnings.iter().map(|warning| (warning.key.as_str(), warning.message.as_str())).collect();
    assert_eq!(seen, [(key, message)], "{text}");
}

/// A policy with these further lines.
fn policy(lines: &str) -> String {
    format!("[[policy]]\nname = \"p\"\n{lines}\n")
}

/// An exception with these further lines.
fn exception(lines: &str) -> String {
    format!(
        "[[exception]]\nid = \"E\"\nexpires = \"2027-01-01T00:00:00Z\"\napprover = \"Jane\"\nreason = \"audit\"\n\
         {lines}\n"
    )
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(parse("").0, Config::default());
    assert_eq!(
        parse("# nothing\n[host]\n[geo]\n[alert]\n[records]\n[limits]\n[agent]\n").0,
        Config::default()
    );
}

#[test]
fn every_key_reaches_its_field() {
    let (config, warnings) = parse(
        r#"
        [host]
        name = "storage-1"
        cgroup = "/sys/fs/cgroup"
        namespaces = "own"
        interfaces = ["eth0", "eth1"]
        exact_owners = false
        [geo]
        databases = ["/a.mmdb", "/b.mmdb"]
        asn_database = "/asn.mmdb"
        registered_country = true
        warn_after_days = 7
        stale_after_days = 30
        nat64_prefixes = ["64:ff9b:1::/96"]
        partial_databases = true
        [[site]]
        name = "frankfurt"
        country = "DE"
        networks = ["10.20.0.0/16", "2001:db8:20::/48"]
        [[override]]
        network = "203.0.113.0/24"
        country = "anycast"
        reason = "moved"
        [[policy]]
        name = "web"
        match = { unit = ["nginx.service", "php*"], local_port = [443, "8000-8100"] }
        preset = "us-padfa"
        approved_networks = ["198.51.100.7"]
        denied_sites = ["frankfurt"]
        denied_asns = [64500, "AS64501"]
        unknown = "treat-as-denied"
        private = "approve"
        from = 2026-01-01T00:00:00Z
        until = "2027-01-01T00:00:00+01:00"
        [[policy]]
        name = "rest"
        preset = "custom"
        approved_countries = ["US"]
        [[exception]]
        id = "EX-1"
        policy = "web"
        destination = { country = ["CN", "HK"], network = "203.0.113.0/24" }
        owner = { exe = "/usr/bin/rsync" }
        max_bytes = "10 GiB"
        start = "2026-11-01T00:00:00Z"
        expires = 2026-12-01T00:00:00Z
        approver = "Jane Doe"
        ticket = "LEGAL-1"
        reason = "audit"
        [alert]
        attempt_grace_ms = 0
        quiet_secs = 5
        update_secs = 6
        [records]
        file = "/var/log/r.jsonl"
        interval_secs = 10
        [limits]
        max_sockets = 2048
        max_flows = 4096
        ring_mib = 8
        [agent]
        socket = "/run/h.sock"
        state_dir = "/srv/h"
        run_dir = "/run/h"
        pin_dir = "none"
        "#,
    );
    assert_eq!(warnings, []);
    assert_eq!(config.host.name.as_deref(), Some("storage-1"));
    assert_eq!(config.host.namespaces, Namespaces::Own);
    assert_eq!(config.host.interfaces, ["eth0", "eth1"]);
    assert!(!config.host.exact_owners && config.geo.registered_country && config.geo.partial_databases);
    assert_eq!(config.geo.databases, [PathBuf::from("/a.mmdb"), PathBuf::from("/b.mmdb")]);
    assert_eq!((config.geo.warn_after_days.get(), config.geo.stale_after_days.get()), (7, 30));
    assert_eq!(config.sites[0].networks.len(), 2);
    assert_eq!(config.overrides[0].location, OverrideLocation::Anycast);

    let policies: Vec<_> = config.policies.policies().collect();
    let [web, rest] = policies.as_slice() else { panic!("{policies:?}") };
    assert_eq!(web.matching.to_string(), "unit nginx.service or php*, local_port 443 or 8000-8100");
    assert_eq!(web.preset, Preset::find("us-padfa"));
    assert_eq!(web.mode(), Mode::Deny);
    assert_eq!(web.meanings.unknown, Meaning::TreatAsDenied);
    assert_eq!(web.meanings.private, Meaning::Approve);
    assert_eq!(web.denied.asns, [64_500, 64_501].into());
    assert_eq!(web.until.map(WallTime::unix_seconds), Some(1_798_758_000));
    assert_eq!((rest.preset, rest.approved.countries.len()), (None, 1));

    let [exception] = config.policies.exceptions() else { panic!("one exception") };
    assert_eq!(exception.max_bytes, Some(10 << 30));
    assert_eq!((exception.destination.countries.len(), exception.destination.networks.len()), (2, 1));
    assert_eq!(config.alert.attempt_grace, Duration::ZERO);
    assert_eq!(config.records.file, Some("/var/log/r.jsonl".into()));
    assert!(!config.records.stdout, "a file replaces standard output unless both are wanted");
    assert_eq!((config.limits.max_sockets, config.limits.ring_mib), (2_048, 8));
    assert_eq!(config.agent.state_dir, PathBuf::from("/srv/h"));
    assert_eq!((config.agent.run_dir, config.agent.pin_dir), (PathBuf::from("/run/h"), None));
}

#[test]
fn each_fault_names_key_value_and_problem() {
    let site = "[[site]]\nname = \"a\"\ncountry = \"DE\"\nnetworks = [\"10.0.0.0/8\"]\n";
    for (text, key, problem) in [
        ("[hots]", "hots", "is not a key here; did you mean host?"),
        ("host = 1", "host", "1 is a number"),
        ("[host]\nname = 1", "host.name", "1 is a number"),
        ("[host]\nname = \"a b\"", "host.name", "\"a b\" is not a host name"),
        ("[host]\ncgroup = \"cgroup\"", "host.cgroup", "\"cgroup\" is a relative path"),
        ("[host]\nnamespaces = \"al\"", "host.namespaces", "\"al\" is not known here; did you mean all?"),
        ("[host]\ninterfaces = \"eth0\"", "host.interfaces", "\"eth0\" is not an array"),
        ("[host]\ninterfaces = [\"a\", \"a\"]", "host.interfaces[1]", "\"a\" is listed twice"),
        ("[host]\nexact_owner = true", "host.exact_owner", "is not a key here; did you mean exact_owners?"),
        ("[host]\n\"strange key\" = 1", "host.\"strange key\"", "is not a key here"),
        ("[geo]\nwarn_after_days = 0", "geo.warn_after_days", "0 is out of bounds"),
        ("[geo]\nwarn_after_days = -1", "geo.warn_after_days", "-1 is out of bounds"),
        ("[geo]\nwarn_after_days = 1.5", "geo.warn_after_days", "1.5 is a number with a fraction"),
        ("[geo]\nwarn_after_days = 200", "geo.warn_after_days", "200 would warn after the database is stale"),
        ("[geo]\ndatabases = [\"/ok\", 7]", "geo.databases[1]", "7 is a number"),
        ("[site]\nname = \"a\"", "site", "is not a list of tables"),
        ("[[site]]\ncountry = \"DE\"\nnetworks = [\"10.0.0.0/8\"]", "site[0].name", "is missing"),
        ("[[site]]\nname = \"a\"\ncountry = \"DE\"", "site[0]", "has no networks"),
        ("[[override]]\nnetwork = \"10.0.0.0/8\"\ncountry = \"DE\"", "override[0].reason", "is missing"),
        (
            "[ledger]\ndir = \"none\"\n[records]\nstdout = false",
            "records.stdout",
            "false would throw every record away",
        ),
        ("[ledger]\norigin = \"a b\"", "ledger.origin", "\"a b\" is no name for a key"),
        ("[ledger]\nretain_bytes = \"1 MiB\"", "ledger.retain_bytes", "\"1 MiB\" is less than 64 MiB"),
        ("[limits]\nring_mib = 3", "limits.ring_mib", "3 is not a power of two"),
        (
            "[limits]\nmax_flows = 99999999999999999999",
            "limits.max_flows",
            "99999999999999999999 is out of bounds",
        ),
        ("[agent]\nstate_dir = \"/a/../b\"", "agent.state_dir", "\"/a/../b\" contains .."),
        (
            "[selftest]\ndestination = \"::ffff:127.0.0.1\"",
            "selftest.destination",
            "\"::ffff:127.0.0.1\" is no address that a datagram leaves this host for",
        ),
    ] {
        check(text, key, problem);
    }
    for (second, key, problem) in [
        (
            "name = \"a\"\ncountry = \"DE\"\nnetworks = [\"10.1.0.0/16\"]",
            "site[1].name",
            "\"a\" is the name of two sites",
        ),
        (
            "name = \"b\"\ncountry = \"FR\"\nnetworks = [\"10.0.0.0/8\"]",
            "site[1].networks[0]",
            "\"10.0.0.0/8\" is mapped twice: by site a and by site b, in DE and in FR",
        ),
    ] {
        check(&format!("{site}[[site]]\n{second}"), key, problem);
    }
    check(
        &format!("{site}[[override]]\nnetwork = \"10.0.0.0/8\"\ncountry = \"unknown\"\nreason = \"r\""),
        "override[0].network",
        "\"10.0.0.0/8\" is mapped twice: by site a and by an override",
    );
}

#[test]
fn faults_of_a_policy_say_what_contradicts_what() {
    for (lines, key, problem) in [
        ("preset = \"us\"", "policy[0].preset", "\"us\" is not a preset"),
        ("preset = \"us-onyl\"", "policy[0].preset", "\"us-onyl\" is not a preset; did you mean us-only?"),
        (
            "approved_countries = [\"US\", \"UK\"]",
            "policy[0].approved_countries[1]",
            "\"UK\" is not a country code; did you mean GB (United Kingdom)?",
        ),
        (
            "approved_countries = [\"US\", \"CN\"]\ndenied_countries = [\"CN\"]",
            "policy[0].denied_countries[0]",
            "\"CN\" is also approved, at policy[0].approved_countries[1]",
        ),
        (
            "preset = \"us-padfa\"\napproved_countries = [\"CN\"]",
            "policy[0].approved_countries[0]",
            "\"CN\" is denied by preset us-padfa, and denials win",
        ),
        (
            "approved_networks = [\"10.0.0.0/8\"]\ndenied_networks = [\"10.0.0.0/8\"]",
            "policy[0].denied_networks[0]",
            "\"10.0.0.0/8\" is also approved, at policy[0].approved_networks[0]",
        ),
        ("denied_sites = [\"x\"]", "policy[0].denied_sites[0]", "\"x\" is not a site"),
        (
            "denied_asns = [64500]",
            "policy[0].denied_asns[0]",
            "64500 can never match: no database says who announces an address",
        ),
        ("preset = \"us-only\"\nunknown = \"ignore\"", "policy[0].unknown", "\"ignore\" is not known here"),
        (
            "preset = \"us-only\"\nfrom = \"2026-01-01T00:00:00Z\"\nuntil = \"2026-01-01T00:00:00Z\"",
            "policy[0].until",
            "\"2026-01-01T00:00:00Z\" is not after `from`",
        ),
        ("preset = \"us-only\"\nfrom = 2026-01-01", "policy[0].from", "2026-01-01 is not a time"),
        (
            "preset = \"us-only\"\nmatch = { unit = [] }",
            "policy[0].match",
            "{ unit = [] } has a key without a value",
        ),
        (
            "preset = \"us-only\"\nmatch = { unti = \"a\" }",
            "policy[0].match.unti",
            "is not a key here; did you mean unit?",
        ),
        (
            "preset = \"us-only\"\nmatch = { local_port = 0 }",
            "policy[0].match.local_port",
            "0 is out of bounds",
        ),
    ] {
        check(&policy(lines), key, problem);
    }
}

#[test]
fn there_is_one_default_policy_and_it_comes_last() {
    let web = "[[policy]]\nname = \"web\"\nmatch = { unit = \"nginx.service\" }\npreset = \"five-eyes\"\n";
    let first = policy("preset = \"us-only\"");
    let second = "[[policy]]\nname = \"q\"\npreset = \"us-only\"\n";
    check(
        &format!("{first}{web}"),
        "policy[1]",
        "is never asked: policy p before it has neither match nor dates",
    );
    check(
        &format!("{first}{second}"),
        "policy[1]",
        "is a second default: policy p already has neither match nor dates",
    );
    check(
        &format!("{first}{first}").replacen("us-only\"", "us-only\"\nmatch = { exe = \"*\" }", 1),
        "policy[1].name",
        "\"p\" is the name of two policies",
    );

    let names = |text: &str| -> Vec<String> {
        parse(text).0.policies.policies().map(|policy| policy.name.to_string()).collect()
    };
    assert_eq!(names(&format!("{web}{first}")), ["web", "p"]);
    assert_eq!(names(web), ["web", "default"], "the built-in default stands in");
    let dated = policy("preset = \"us-only\"\nfrom = \"2026-01-01T00:00:00Z\"");
    assert_eq!(names(&format!("{dated}{second}")), ["p", "q"], "a dated policy is not the default");
}

#[test]
fn faults_of_an_exception() {
    let to_sg = "destination = { country = \"SG\" }";
    for (text, key, problem) in [
        (exception(""), "exception[0]", "has no destination"),
        (exception("destination = {}"), "exception[0].destination", "{} names no destination"),
        (
            exception("destination = { country = [] }"),
            "exception[0].destination",
            "{ country = [] } names no destination",
        ),
        (exception("destination = \"SG\""), "exception[0].destination", "\"SG\" is a text"),
        (exception("destination = { site = \"x\" }"), "exception[0].destination.site", "\"x\" is not a site"),
        (
            exception(&format!("{to_sg}\npolicy = \"defualt\"")),
            "exception[0].policy",
            "\"defualt\" is not a policy; did you mean default?",
        ),
        (
            exception(&format!("{to_sg}\nmax_bytes = \"10\"")),
            "exception[0].max_bytes",
            "\"10\" is not a size",
        ),
        (exception(&format!("{to_sg}\nmax_bytes = 0")), "exception[0].max_bytes", "0 is out of bounds"),
        (
            exception(&format!("{to_sg}\nstart = \"2027-01-01T00:00:00Z\"")),
            "exception[0].expires",
            "\"2027-01-01T00:00:00Z\" is not after `start`",
        ),
        (exception(to_sg).replace("approver", "#"), "exception[0].approver", "is missing"),
        (exception(to_sg).repeat(2), "exception[1].id", "\"E\" is the id of two exceptions"),
    ] {
        check(&text, key, problem);
    }
    let (config, _) = parse(&exception(&format!("{to_sg}\nmax_bytes = 1000")));
    assert_eq!(config.policies.exceptions()[0].max_bytes, Some(1_000));
    assert_ne!(config.policies.exceptions()[0].destination, Destination::default());
}

#[test]
fn what_is_allowed_but_strange_is_a_warning() {
    for (text, key, message) in [
        (policy(""), "policy[0]", "approves nothing: everything that leaves is a violation"),
        (
            policy("denied_networks = [\"192.0.2.0/24\"]"),
            "policy[0]",
            "denies no country and so approves every country: give a preset or approved_countries",
        ),
        (
            policy("preset = \"us-ca-au-nz\"\ndenied_countries = [\"NZ\"]"),
            "policy[0].denied_countries[0]",
            "NZ is on preset us-ca-au-nz: the denial wins",
        ),
        (
            policy("preset = \"us-only\"\nuntil = \"2026-01-01T00:00:00Z\""),
            "policy[0].until",
            "has passed: the policy is not asked any more",
        ),
        (
            exception("destination = { country = \"SG\" }").replace("2027", "2026"),
            "exception[0].expires",
            "has passed: what the exception covered is a violation now",
        ),
        (
            "[[policy]]\nname = \"a\"\npreset = \"us-only\"\nmatch = { user = \"x\" }\n\
             [[policy]]\nname = \"b\"\npreset = \"us-only\"\nmatch = { user = [\"x\"] }\n"
                .to_owned(),
            "policy[1]",
            "is never asked: policy a has the same match and comes first",
        ),
    ] {
        check_warning(&text, key, message);
    }
}

#[test]
fn all_faults_are_reported_at_once_each_with_its_place() {
    let text = "[host]\nnam = 1\ncgroup = \"x\"\n[geo]\nwarn_after_days = \"a\"\n[[policy]]\npreset = 1\n\
                approved_countries = [\"uk\", 5]\n[limts]\n";
    let mut places: Vec<(String, usize, usize)> = faults(text)
        .into_iter()
        .map(|fault| {
            let position = fault.position.expect("a position");
            (fault.key, position.line, position.column)
        })
        .collect();
    places.sort();
    let expected = [
        ("geo.warn_after_days", 5, 19),
        ("host.cgroup", 3, 10),
        ("host.nam", 2, 1),
        ("limts", 9, 2),
        ("policy[0].approved_countries[0]", 8, 23),
        ("policy[0].approved_countries[1]", 8, 29),
        ("policy[0].name", 6, 1),
        ("policy[0].preset", 7, 10),
    ];
    assert_eq!(places, expected.map(|(key, line, column)| (key.to_owned(), line, column)));
}

#[test]
fn a_page_for_others_needs_a_token_and_tls() {
    let open = "is not a loopback address, and the page would be open to everybody";
    let page = |listen: &str, more: &str| format!("[page]\nlisten = \"{listen}\"\n{more}");
    let token = "token_file = \"/etc/homeport/page.token\"\n";
    let tls = "certificate = \"/etc/homeport/page.pem\"\nkey = \"/etc/homeport/page.key\"\n";
    for listen in ["192.0.2.1:9646", "0.0.0.0:9646", "[::]:9646"] {
        for more in ["", token, tls] {
            check(&page(listen, more), "page.listen", &format!("\"{listen}\" {open}"));
        }
        let (config, _) = parse(&page(listen, &format!("{token}{tls}")));
        assert_eq!(config.page.listen.map(|address| address.to_string()).as_deref(), Some(listen));
    }
    for listen in ["127.0.0.1:9646", "[::1]:9646", "127.8.8.8:0"] {
        assert!(parse(&page(listen, "")).0.page.listen.is_some());
    }
    assert_eq!(parse(&page("none", "")).0.page.listen, None);
    check(&page("9646", ""), "page.listen", "\"9646\" is not an address with a port");
    check("[page]\nkey = \"/k\"\n", "page.key", "\"/k\" is without a certificate");
    check("[page]\ncertificate = \"/c\"\n", "page.certificate", "\"/c\" is without a key");
    let names = |name: &str| format!("[page]\nhost_names = [\"{name}\"]\n");
    assert_eq!(parse(&names("Storage-1.example.org")).0.page.host_names, ["storage-1.example.org"]);
    check(&names("a:1"), "page.host_names[0]", "\"a:1\" is not a host name");
}

#[test]
fn broken_syntax_is_reported_with_its_place_and_nothing_is_guessed() {
    let faults = faults("[host]\nname = \"a\nunknown_key = 1\n");
    assert!(faults.iter().all(|fault| fault.key.is_empty()), "{faults:?}");
    assert_eq!(faults[0].position.as_ref().map(|position| position.line), Some(2));
    assert!(!super::tests::faults("a = 1\na = 2\n").is_empty(), "a key given twice");
}

#[test]
fn numbers_are_read_as_toml_writes_them() {
    for (text, expected) in [("131_072", 131_072), ("0x800", 2_048), ("+4096", 4_096)] {
        assert_eq!(parse(&format!("[limits]\nmax_flows = {text}")).0.limits.max_flows, expected, "{text}");
    }
}

#[test]
fn a_deep_file_is_a_fault_and_not_an_overflow_of_the_stack() {
    for text in [
        format!("x = {}", "[".repeat(100_000)),
        format!("x = {}{}", "[".repeat(100_000), "]".repeat(100_000)),
        format!("x = {}1{}", "{a = ".repeat(100_000), "}".repeat(100_000)),
        format!("{}a = 1", "a.".repeat(100_000)),
        format!("[{}a]", "a.".repeat(100_000)),
        format!("host = {{ {}a = 1 }}", "a.".repeat(100_000)),
    ] {
        assert!(!faults(&text).is_empty());
    }
}

#[test]
fn the_hash_does_not_depend_on_how_the_file_is_written() {
    let hash = |text: &str| parse(text).0.policies.hash().to_string();
    let plain = policy("preset = \"us-only\"\napproved_countries = [\"CA\", \"AU\"]\nunknown = \"alert\"");
    let other = "# comment\n[alert]\nquiet_secs = 9\n[[policy]]\n  approved_countries = [ \"AU\",\n\"CA\", \"CA\" ]\n  \
                 preset='us-only'\n  name = \"p\"\n";
    assert_eq!(hash(&plain), hash(other));
    assert_ne!(hash(&plain), hash(&plain.replace("AU", "NZ")));
    assert_ne!(hash(&plain), hash(&format!("{plain}[geo]\nregistered_country = true\n")));
    let site = "[[site]]\nname = \"a\"\ncountry = \"DE\"\nnetworks = [\"10.0.0.0/8\"]\n";
    assert_ne!(hash(&plain), hash(&format!("{plain}{site}")));
}

#[test]
fn a_change_of_the_file_is_told_in_sentences() {
    let before = parse(&policy("preset = \"us-only\"")).0.policies;
    let after = parse(&policy("preset = \"us-ca-au-nz\"\nunknown = \"approve\"")).0.policies;
    let sentences = after.diff(&before);
    for expected in [
        "policy p: + approved country CA",
        "policy p: preset changed from us-only version 1 to us-ca-au-nz version 1",
        "policy p: unknown location changed from alert to approve",
    ] {
        assert!(sentences.iter().any(|sentence| sentence == expected), "{expected}: {sentences:?}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_one_fault() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("homeport.toml");
    for (bytes, problem) in [
        (None, "cannot be opened: No such file or directory (os error 2)".to_owned()),
        (Some(vec![0xFF, 0xFE]), "cannot be read: stream did not contain valid UTF-8".to_owned()),
        (Some(vec![b'#'; MAX_FILE_BYTES as usize + 1]), "is larger than 1 MiB".to_owned()),
    ] {
        if let Some(bytes) = bytes {
            fs::write(&path, bytes).expect("written");
        }
        let faults = Config::load(&path, NOW).expect_err("refused");
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].problem, problem);
    }
    fs::write(&path, reference()).expect("written");
    assert_eq!(Config::load(&path, NOW), Ok((Config::default(), vec![])));
}

#[test]
fn faults_are_rendered_like_a_compiler_does() {
    let faults = faults("[[policy]]\nname = \"p\"\napproved_countries = [\"US\", \"UK\"]\n");
    assert_eq!(
        render::faults(&faults, false),
        "error: policy[0].approved_countries[1]: \"UK\" is not a country code; did you mean GB (United Kingdom)?\n  \
         --> homeport.toml:3:29\n   \
         |\n \
         3 | approved_countries = [\"US\", \"UK\"]\n   \
         |                             ^^^^\n  \
         = accepted: ISO 3166-1 alpha-2 codes in upper case, such as US or DE\n\n\
         1 fault in homeport.toml\n"
    );
    assert!(render::faults(&faults, true).contains('\u{1b}'));
    assert_eq!(
        faults[0].to_string(),
        "homeport.toml:3:29: policy[0].approved_countries[1]: \"UK\" is not a country code; did you mean \
         GB (United Kingdom)? (accepted: ISO 3166-1 alpha-2 codes in upper case, such as US or DE)"
    );
}

#[test]
fn the_effective_policy_is_shown_whole() {
    let text = "[[site]]\nname = \"frankfurt\"\ncountry = \"DE\"\nnetworks = [\"10.20.0.0/16\"]\n\
                [[policy]]\nname = \"web\"\nmatch = { unit = \"nginx.service\" }\npreset = \"gdpr-adequacy\"\n\
                denied_countries = [\"JP\"]\nprivate = \"approve\"\n";
    let exceptions = exception("destination = { country = \"SG\" }\nmax_bytes = \"10 GiB\"");
    let (config, _) = parse(&format!("{text}{exceptions}"));
    let shown = render::effective(&config, NOW, false);
    for expected in [
        "1. web\n",
        "2. default (default)\n",
        "   applies to   unit nginx.service\n",
        "gdpr-adequacy, version 1, effective 2026-01-26",
        "CA(partial)",
        "   denied       JP  (denied_countries)\n",
        "   uncertain    unknown: violation, medium; private: approved; disputed: violation, medium; anycast: \
         violation, medium\n",
        "   in force     until 2027-01-01T00:00:00Z: 41 days left\n",
        "   ceiling      10 GiB\n",
        "   frankfurt    DE: 10.20.0.0/16\n",
        "   country      embedded\n",
        config.policies.hash(),
    ] {
        assert!(shown.contains(expected), "{expected:?} in\n{shown}");
    }
    assert!(!shown.contains("JP(partial)"), "a denied country is not shown as approved:\n{shown}");
    assert!(!shown.contains('\u{1b}'));
}

/// Pieces that a file is made of, so that random files get past the syntax.
fn piece() -> impl Strategy<Value = String> {
    let headers =
        ["[host]", "[geo]", "[[site]]", "[[policy]]", "[[exception]]", "[records]", "[limits]", "[x]"];
    let keys = [
        "name",
        "match",
        "preset",
        "destination",
        "approved_countries",
        "expires",
        "id",
        "ring_mib",
        "\"é\\n\"",
    ];
    let values = [
        "1",
        "-1",
        "1.5",
        "true",
        "\"US\"",
        "\"é\"",
        "[]",
        "[\"US\", 1]",
        "{}",
        "{ unit = [] }",
        "2026-01-01",
    ];
    let header = proptest::sample::select(headers.to_vec()).prop_map(str::to_owned);
    let key = (proptest::sample::select(keys.to_vec()), proptest::sample::select(values.to_vec()));
    prop_oneof![1 => header, 3 => key.prop_map(|(key, value)| format!("{key} = {value}"))]
}

fn never_panics(text: &str) {
    match Config::parse(text, "random.toml", NOW) {
        Ok((config, warnings)) => {
            let _ = (render::effective(&config, NOW, true), render::warnings(&warnings, true));
        }
        Err(faults) => {
            assert!(!faults.is_empty());
            let _ = render::faults(&faults, true);
        }
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        never_panics(&text);
    }

    #[test]
    fn no_file_makes_the_parser_panic(pieces in proptest::collection::vec(piece(), 0..12)) {
        never_panics(&pieces.join("\n"));
    }
}

/// A webhook with these further lines.
fn webhook(lines: &str) -> String {
    format!("[[sink]]\nname = \"s\"\nkind = \"webhook\"\nurl = \"https://siem.example.org/in\"\n{lines}\n")
}

#[test]
fn keys_of_a_sink_reach_their_fields() {
    use crate::sink::{
        select::About,
        settings::{Batch, Body, Compression, Kind, Start},
    };
    let (config, _) = parse(&webhook(
        "records = [\"coverage\", \"findings\", \"coverage\"]\nmin_severity = \"high\"\nheartbeat = false\n\
         start = \"newest\"\nbatch_records = 7\nbatch_bytes = \"8 KiB\"\nlinger_ms = 3\ntimeout_secs = 4\n\
         retry_max_secs = 5\nmax_per_sec = 6\nbody = \"ndjson\"\ncompression = \"gzip\"\n\
         token_file = \"/t\"\nhmac_key_file = \"/h\"\nheaders = [\"A: b\"]\nca_file = \"/ca\"\n\
         client_cert_file = \"/c\"\nclient_key_file = \"/k\"",
    ));
    let [sink] = config.sinks.as_slice() else { panic!("{:?}", config.sinks) };
    assert_eq!(sink.selection.about, [About::Findings, About::Coverage]);
    assert_eq!(
        (sink.selection.min_severity, sink.selection.heartbeat, sink.start),
        (4, false, Start::Newest)
    );
    assert_eq!(sink.batch, Batch { entries: 7, bytes: 8 << 10, linger: Duration::from_millis(3) });
    let seconds = (sink.timeout.as_secs(), sink.retry.longest.as_secs(), sink.max_per_sec);
    assert_eq!(seconds, (4, 5, Some(6)));
    let Kind::Webhook(webhook) = &sink.kind else { panic!("{sink:?}") };
    assert_eq!((webhook.body, webhook.compression), (Body::Lines, Compression::Gzip));
    assert_eq!(webhook.http.headers, [("A".to_owned(), "b".to_owned())]);
    assert!(webhook.http.tls.client.is_some());
}

#[test]
fn a_sink_has_the_keys_of_its_kind_and_no_others() {
    check(&webhook("path = \"/x\""), "sink[0].path", "is not a key here");
    check("[[sink]]\nname = \"s\"\nkind = \"web\"", "sink[0].kind", "\"web\" is not known here");
    check("[[sink]]\nname = \"s\"\nkind = \"jsonl\"", "sink[0].path", "is missing");
    check("[[sink]]\nname = \"s\"", "sink[0].kind", "is missing");
    check("[[sink]]\nname = \"s\"\nkind = \"alertmanager\"", "sink[0]", "has no urls");
    check(&format!("{}{}", webhook(""), webhook("")), "sink[1].name", "\"s\" is the name of two sinks");
    check(&webhook("").replace("\"s\"", "\"../s\""), "sink[0].name", "\"../s\" is not a name for a file");
}

#[test]
fn a_secret_is_not_sent_where_it_can_be_read() {
    let open = webhook("token_file = \"/t\"").replace("https://", "http://");
    check(&open, "sink[0].token_file", "\"/t\" would be sent where everybody on the way can read it");
    parse(&open.replace("siem.example.org", "127.0.0.1:8080"));
    check(
        &webhook("headers = [\"Authorization: Bearer x\"]"),
        "sink[0].headers[0]",
        "\"Authorization: Bearer x\" would show a secret to whoever reads this file",
    );
    check(
        &webhook("").replace("https://", "https://user:secret@"),
        "sink[0].url",
        "\"https://user:secret@siem.example.org/in\" is not a URL that can be posted to: has credentials in it",
    );
    check(&webhook("client_key_file = \"/k\""), "sink[0].client_key_file", "\"/k\" stands alone");
}

const WITNESS_KEY: &str = "witness.example.org+173386f4+BDtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop";

fn witness(more: &str) -> String {
    format!(
        "[[witness]]\nname = \"audit\"\nurl = \"https://witness.example.org/\"\nkey = \"{WITNESS_KEY}\"\n{more}"
    )
}

#[test]
fn a_witness_is_who_signs_with_a_key_of_witnesses() {
    let (config, _) = parse(&witness("ca_file = \"/ca\"\nevery_secs = 5\nalert_after_secs = 7\n"));
    let [known] = config.witnesses.as_slice() else { panic!("{:?}", config.witnesses) };
    assert_eq!(
        (known.witness.name.as_str(), known.witness.url.as_str()),
        ("audit", "https://witness.example.org")
    );
    assert_eq!(known.witness.key.to_string(), WITNESS_KEY);
    assert_eq!((known.every.as_secs(), known.alert_after.as_secs()), (5, 7));

    check("[limits]\nrecord_queue = \"1 KiB\"", "limits.record_queue", "\"1 KiB\" is out of bounds");
    let log_key = "log+07108162+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop";
    check(
        &witness("").replace(WITNESS_KEY, "me+1+x"),
        "witness[0].key",
        "\"me+1+x\" is not a key: a verifier key has the form <name>+<8 hexadecimal digits>+<base64>",
    );
    check(
        &witness("").replace(WITNESS_KEY, log_key),
        "witness[0].key",
        &format!("\"{log_key}\" is the key of a log, not of a witness"),
    );
    check(
        &witness("").replace(".org/\"", ".org/add-checkpoint\""),
        "witness[0].url",
        "\"https://witness.example.org/add-checkpoint\" has /add-checkpoint, which is put behind it",
    );
    check(&(witness("") + &witness("")), "witness[1].name", "\"audit\" is the name of two witnesses");
    check(&witness("every_secs = 0"), "witness[0].every_secs", "0 is out of bounds");
    check(&witness("quorum = 2"), "witness[0].quorum", "is not a key here");
}

#[test]
fn what_reads_the_ledger_needs_one() {
    let none = "[ledger]\ndir = \"none\"\n";
    check(&(none.to_owned() + &witness("")), "witness[0]", "would have nothing to sign");
    check(
        &(none.to_owned() + &webhook("")),
        "sink[0]",
        "would have nothing to deliver: sinks read the ledger",
    );
}
