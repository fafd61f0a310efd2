//! Checks every dependency against `deny.toml`: licence, banned names, source.
//!
//! Compiling cargo-deny takes longer than everything else `setup` does, so the parts that need no network are checked
//! here from what cargo knows, and cargo-deny runs in addition where it is installed.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::{spdx, tool};

pub(crate) fn check() -> Result<()> {
    let rules = read_rules()?;
    let mut faults = BTreeSet::new();
    for target in &rules.graph.targets {
        for package in dependencies(target)? {
            faults.extend(package.faults(&rules)?);
        }
    }
    if !faults.is_empty() {
        let faults: Vec<String> = faults.into_iter().collect();
        bail!("dependencies break the rules in deny.toml:\n  - {}", faults.join("\n  - "));
    }
    println!("dependencies: licences, bans and sources follow deny.toml");
    cargo_deny()
}

/// The published advisories change daily and need the network: they are reported, and only fail where they can be had.
fn cargo_deny() -> Result<()> {
    if tool::find("cargo-deny").is_none() {
        println!(
            "dependencies: advisories not checked, cargo-deny is not installed (cargo install cargo-deny)"
        );
        return Ok(());
    }
    tool::run(tool::cargo("deny").args(["check", "licenses", "bans", "sources"]))?;
    if tool::run(tool::cargo("deny").arg("fetch")).is_err() {
        println!("dependencies: advisories not checked, the database cannot be fetched");
        return Ok(());
    }
    tool::run(tool::cargo("deny").args(["check", "advisories"]))
}

fn read_rules() -> Result<Rules> {
    let path = tool::workspace().join("deny.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("read {}", path.display()))
}

fn dependencies(target: &str) -> Result<Vec<Package>> {
    let mut cargo = tool::cargo("metadata");
    cargo.args(["--locked", "--format-version=1", "--all-features", "--filter-platform", target]);
    let metadata: Metadata =
        serde_json::from_str(&tool::output(&mut cargo)?).context("read `cargo metadata`")?;
    Ok(metadata.packages)
}

/// The sections of `deny.toml` that are checked here; cargo-deny knows the others.
#[derive(Deserialize)]
struct Rules {
    graph: Graph,
    licenses: Licences,
    bans: Bans,
}

#[derive(Deserialize)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Deserialize)]
struct Licences {
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    name: String,
    reason: String,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// Where it comes from; a package of this workspace has none.
    source: Option<String>,
}

impl Package {
    fn faults(&self, rules: &Rules) -> Result<Vec<String>> {
        let (name, version) = (&self.name, &self.version);
        let mut faults = Vec::new();
        match &self.license {
            Some(licence) => {
                if !spdx::is_accepted(licence, &rules.licenses.allow)
                    .with_context(|| format!("{name} {version}"))?
                {
                    let accepted = rules.licenses.allow.join(", ");
                    faults.push(format!("{name} {version}: licence {licence}; accepted are {accepted}"));
                }
            }
            None => faults.push(format!("{name} {version}: names no licence")),
        }
        if let Some(ban) = rules.bans.deny.iter().find(|ban| ban.name == *name) {
            faults.push(format!("{name} {version}: banned, {}", ban.reason));
        }
        if let Some(source) = self.source.as_ref().filter(|source| !is_registry(source)) {
            faults.push(format!("{name} {version}: comes from {source}; accepted is the registry"));
        }
        Ok(faults)
    }
}

fn is_registry(source: &str) -> bool {
    source.starts_with("registry+") || source.starts_with("sparse+")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(name: &str, licence: Option<&str>, source: Option<&str>) -> Vec<String> {
        let package = Package {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            license: licence.map(str::to_owned),
            source: source.map(str::to_owned),
        };
        let ban = Ban { name: "banned".to_owned(), reason: "use other".to_owned() };
        let rules = Rules {
            graph: Graph { targets: Vec::new() },
            licenses: Licences { allow: vec!["MIT".to_owned()] },
            bans: Bans { deny: vec![ban] },
        };
        package.faults(&rules).expect("the licence can be read")
    }

    #[test]
    fn an_accepted_licence_from_the_registry_is_fine() {
        assert!(faults("fine", Some("MIT OR GPL-3.0-only"), Some("registry+index")).is_empty());
    }

    #[test]
    fn every_broken_rule_is_named() {
        assert_eq!(
            faults("banned", Some("GPL-3.0-only"), Some("git+repository")),
            [
                "banned 1.0.0: licence GPL-3.0-only; accepted are MIT",
                "banned 1.0.0: banned, use other",
                "banned 1.0.0: comes from git+repository; accepted is the registry",
            ]
        );
    }

    #[test]
    fn a_missing_licence_is_not_a_free_one() {
        assert_eq!(faults("bare", None, None), ["bare 1.0.0: names no licence"]);
    }
}
