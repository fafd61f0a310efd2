//! What differs between two configurations, for the record of a reload.
//!
//! Policies, exceptions, sites and overrides are not here: they have a hash and a difference of their own
//! ([`PolicySet::diff`](crate::policy::PolicySet::diff)). Values that are secrets must never get here: a key that has
//! one says only that it was changed.

use super::{
    Config,
    keys::{self, Keys, Shown},
};

static SECTIONS: &[(&str, &Keys)] = &[
    ("host", &keys::HOST),
    ("geo", &keys::GEO),
    ("alert", &keys::ALERT),
    ("ledger", &keys::LEDGER),
    ("records", &keys::RECORDS),
    ("selftest", &keys::SELFTEST),
    ("limits", &keys::LIMITS),
    ("agent", &keys::AGENT),
];

/// One line for each key with another value: `alert.quiet_secs: 300 -> 60`.
pub fn changes(before: &Config, after: &Config) -> Vec<String> {
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
    fn no_key_is_forgotten() {
        for (section, keys) in SECTIONS {
            for key in keys.list.iter().filter(|key| matches!(key.shown, Shown::Absent(..))) {
                let name = format!("{section}.{}", key.name);
                assert!(optional(&Config::default(), &name).is_some(), "{name}");
            }
        }
    }
}
