//! What differs between two configurations, for the record of a reload.
//!
//! Policies, exceptions, sites and overrides are not here: they have a hash and a difference of their own
//! ([`PolicySet::diff`](crate::policy::PolicySet::diff)). Values that are secrets must never get here: a key that has
//! one says only that it was changed.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Config, PageTls,
    keys::{self, Keys, Shown},
};

static SECTIONS: &[(&str, &Keys)] = &[
    ("host", &keys::HOST),
    ("geo", &keys::GEO),
    ("alert", &keys::ALERT),
    ("ledger", &keys::LEDGER),
    ("page", &keys::PAGE),
    ("records", &keys::RECORDS),
    ("selftest", &keys::SELFTEST),
    ("limits", &keys::LIMITS),
    ("agent", &keys::AGENT),
];

/// One line for each key with another value (`alert.quiet_secs: 300 -> 60`), and for each sink and witness.
pub fn changes(before: &Config, after: &Config) -> Vec<String> {
    let mut changes = of_keys(before, after);
    let sinks = |config: &Config| named(&config.sinks, |sink| (sink.name.clone(), sink.kind.as_str()));
    changes.extend(of_tables("sink", sinks(before), sinks(after)));
    let witnesses =
        |config: &Config| named(&config.witnesses, |known| (known.witness.name.clone(), "witness"));
    changes.extend(of_tables("witness", witnesses(before), witnesses(after)));
    changes
}

/// Tables by their names, with a word on what kind they are. What they hold is compared and not told: headers of
/// requests may be secrets.
fn named<T: std::fmt::Debug>(
    tables: &[T],
    name: impl Fn(&T) -> (String, &'static str),
) -> BTreeMap<String, (&'static str, String)> {
    tables
        .iter()
        .map(|table| {
            let (name, kind) = name(table);
            (name, (kind, format!("{table:?}")))
        })
        .collect()
}

/// `sink siem: added (webhook)`.
fn of_tables(
    section: &str,
    before: BTreeMap<String, (&'static str, String)>,
    after: BTreeMap<String, (&'static str, String)>,
) -> Vec<String> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let change = |name: &String| {
        let change = match (before.get(name), after.get(name)) {
            (None, Some((kind, _))) => format!("added ({kind})"),
            (Some((kind, _)), None) => format!("removed ({kind})"),
            (Some((was, _)), Some((is, _))) if was != is => format!("{was} -> {is}"),
            (Some((_, was)), Some((_, is))) if was != is => "changed".to_owned(),
            _ => return None,
        };
        Some(format!("{section} {name}: {change}"))
    };
    names.into_iter().filter_map(change).collect()
}

fn of_keys(before: &Config, after: &Config) -> Vec<String> {
    let all = SECTIONS.iter().flat_map(|(section, keys)| keys.list.iter().map(move |key| (section, key)));
    all.filter_map(|(section, key)| {
        let name = format!("{section}.{}", key.name);
        let (before, after) = match &key.shown {
            Shown::Default(value) => (value(before), value(after)),
            Shown::Absent(..) => (optional(before, &name)?, optional(after, &name)?),
            Shown::Required(_) | Shown::Section => return None,
        };
        (before != after).then(|| format!("{name}: {before} -> {after}"))
    })
    .collect()
}

const fn tls(config: &Config) -> Option<&PageTls> {
    config.page.tls.as_ref()
}

/// Values of keys that have no default; `none` when there is no value.
fn optional(config: &Config, name: &str) -> Option<String> {
    let shown = |value: Option<String>| value.map_or_else(|| "none".to_owned(), |value| keys::quoted(&value));
    let path =
        |value: &Option<std::path::PathBuf>| shown(value.as_ref().map(|path| path.display().to_string()));
    Some(match name {
        "host.name" => shown(config.host.name.clone()),
        "host.cgroup" => path(&config.host.cgroup),
        "host.interfaces" => format!("{:?}", config.host.interfaces),
        "geo.databases" => format!("{:?}", config.geo.databases),
        "geo.asn_database" => path(&config.geo.asn_database),
        "geo.nat64_prefixes" => format!("{:?}", config.geo.nat64_prefixes),
        "ledger.dir" => shown(config.ledger.directory(&config.agent).map(|path| path.display().to_string())),
        "ledger.origin" => shown(config.ledger.origin.clone()),
        "records.file" => path(&config.records.file),
        "page.token_file" => path(&config.page.token_file),
        "page.certificate" => shown(tls(config).map(|tls| tls.certificate.display().to_string())),
        "page.key" => shown(tls(config).map(|tls| tls.key.display().to_string())),
        "page.host_names" => format!("{:?}", config.page.host_names),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::WallTime;

    fn config(text: &str) -> Config {
        Config::parse(text, "homeport.toml", WallTime(0)).expect("valid").0
    }

    #[test]
    fn each_key_that_differs_is_named_with_both_values() {
        let before = config("[alert]\nquiet_secs = 300\n");
        let after = config("[alert]\nquiet_secs = 60\n[ledger]\nretain_days = 30\n[host]\nname = \"a\"\n");
        assert_eq!(
            changes(&before, &after),
            ["host.name: none -> \"a\"", "alert.quiet_secs: 300 -> 60", "ledger.retain_days: 400 -> 30"]
        );
        assert_eq!(changes(&after, &after), Vec::<String>::new());
    }

    #[test]
    fn sinks_and_witnesses_are_told_by_name_and_without_what_may_be_secret() {
        let sink = |name: &str, more: &str| {
            format!(
                "[[sink]]\nname = \"{name}\"\nkind = \"webhook\"\nurl = \"https://a.example.org\"\n{more}"
            )
        };
        let file = "[[sink]]\nname = \"b\"\nkind = \"jsonl\"\npath = \"/b\"\n";
        let before = config(&(sink("a", "") + file + &sink("c", "")));
        let after = config(&(sink("a", "headers = [\"X-Key: hush\"]\n") + &sink("b", "") + &sink("d", "")));
        let told = changes(&before, &after);
        assert_eq!(
            told,
            [
                "sink a: changed",
                "sink b: jsonl -> webhook",
                "sink c: removed (webhook)",
                "sink d: added (webhook)"
            ]
        );
    }

    #[test]
    fn no_key_is_forgotten() {
        for (section, keys) in SECTIONS {
            for key in keys.list.iter().filter(|key| matches!(key.shown, Shown::Absent(..))) {
                let name = format!("{section}.{}", key.name);
                assert!(optional(&Config::default(), &name).is_some(), "{name}");
            }
        }
    }

    #[test]
    fn a_page_that_is_to_ask_for_a_token_is_told() {
        let (before, after) = (config(""), config("[page]\ntoken_file = \"/etc/homeport/page.token\"\n"));
        assert_eq!(changes(&before, &after), ["page.token_file: none -> \"/etc/homeport/page.token\""]);
    }
}
