//! What the operator wrote, and the valid configuration made of it.
//!
//! One TOML file; every key optional, unknown keys refused. The text is parsed into a tree with places, then each
//! section reads its own keys from it: a value is either taken or reported, so that one run shows every fault at
//! once, with its place, what was seen and what would be accepted. A [`Config`] can only hold valid values.
//! `homeport check` and `homeport run` go through the same [`Config::parse`].
//!
//! | file | what it is for |
//! |---|---|
//! | [`host`], [`geo`], [`site`], `policy`, `exception`, [`alert`], [`ledger`], [`records`], `sink`, `witness`, [`page`], [`limits`], [`agent`] | one section each: its type, its default, its checks |
//! | `keys` | every key with type, default and meaning: what the reader knows and the documentation shows |
//! | `reader`, `values` | from the tree to typed values |
//! | [`fault`], `report` | what is wrong, and where |
//! | `reference` | the commented default file, and `docs/CONFIGURATION.md` |
//! | [`diff`] | what differs between two configurations |
//! | [`render`] | faults and the effective policy as text |
//!
//! Defaults are written once, in the `Default` of each section. Time is an argument: it decides only about
//! warnings, never about what is valid, so a file does not turn bad by waiting.

use std::{collections::BTreeSet, fs, io::Read as _, path::Path, sync::Arc};

use toml::de::DeTable;

use crate::{
    clock::WallTime, ledger::witness::watch::WitnessSettings, policy::PolicySet, sink::SinkSettings,
};

pub mod fault;
pub mod host;

pub mod geo;
pub mod site;

mod exception;
mod policy;

pub mod agent;
pub mod alert;
pub mod ledger;
pub mod limits;
pub mod page;
pub mod records;
mod selftest;
mod sink;
mod witness;

mod keys;
mod reader;
mod report;
mod suggest;
mod values;

pub mod diff;
mod reference;
pub mod render;

#[cfg(test)]
mod tests;

pub use self::{
    agent::Agent,
    alert::Alert,
    fault::{Fault, Warning},
    geo::Geo,
    host::{Host, Namespaces},
    ledger::Ledger,
    limits::Limits,
    page::{Page, PageTls},
    records::Records,
    reference::{configuration_page, reference},
    selftest::SelfTest,
    site::{Override, OverrideLocation, Site},
};
use self::{
    ledger::LedgerDir,
    reader::Section,
    report::{Place, Report},
};

/// Largest file that is read: hundreds of times what a person writes, and small enough that checks which compare
/// each entry with each other still end within seconds.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// Everything an operator can decide. Only valid values fit in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// What is watched.
    pub host: Host,
    /// Which databases say where an address is.
    pub geo: Geo,
    /// The operator's own networks.
    pub sites: Vec<Site>,
    /// Corrections of the databases.
    pub overrides: Vec<Override>,
    /// Who may send where, with the exceptions.
    pub policies: PolicySet,
    /// When violations become episodes.
    pub alert: Alert,
    /// Where the ledger is, and how long it is kept.
    pub ledger: Ledger,
    /// Where records go.
    pub records: Records,
    /// Where records are delivered.
    pub sinks: Vec<SinkSettings>,
    /// Who is offered the checkpoints of the ledger.
    pub witnesses: Vec<WitnessSettings>,
    /// How the agent tests itself.
    pub selftest: SelfTest,
    /// The status page.
    pub page: Page,
    /// How much is kept at once.
    pub limits: Limits,
    /// The agent's own files.
    pub agent: Agent,
}

impl Config {
    /// Reads a file. `now` decides about warnings only.
    ///
    /// # Errors
    ///
    /// Every fault there is; one without a key when the file cannot be read.
    pub fn load(path: &Path, now: WallTime) -> Result<(Self, Vec<Warning>), Vec<Fault>> {
        let file_name = path.display().to_string();
        let text = read_file(path).map_err(|problem| {
            vec![Fault {
                file: file_name.as_str().into(),
                key: String::new(),
                position: None,
                seen: None,
                problem,
                accepted: format!("a readable TOML file in UTF-8 of at most {} MiB", MAX_FILE_BYTES >> 20),
            }]
        })?;
        Self::parse(&text, &file_name, now)
    }

    /// Reads a text; `file_name` is for messages. `now` decides about warnings only.
    ///
    /// # Errors
    ///
    /// Every fault there is. Where the text is not TOML, only faults of syntax: a tree that was guessed from
    /// broken text would give misleading ones.
    pub fn parse(text: &str, file_name: &str, now: WallTime) -> Result<(Self, Vec<Warning>), Vec<Fault>> {
        let mut report = Report::new(file_name, text);
        let (tree, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let place = Place { path: String::new(), span: error.span().unwrap_or(0..0) };
            let problem = error.message().replace('\n', ", ");
            report.fault_without_value(&place, problem, "TOML");
        }
        let config = if report.faults.is_empty() {
            read(&mut report, Section::root(&tree, &keys::ROOT), now)
        } else {
            Self::default()
        };
        report.conclude().map(|warnings| (config, warnings))
    }
}

fn read(report: &mut Report<'_>, mut root: Section<'_>, now: WallTime) -> Config {
    let host = host::read(report, &mut root);
    let geo = geo::read(report, &mut root);
    let (sites, overrides) = site::read(report, &mut root);
    let site_names: BTreeSet<Arc<str>> = sites.iter().map(|site| Arc::clone(&site.name)).collect();

    let around =
        policy::Surroundings { sites: &site_names, has_asn_database: geo.asn_database.is_some(), now };
    let (asked_first, default) = policy::read(report, &mut root, &around);
    let policy_names = asked_first
        .iter()
        .chain([&default])
        .map(|policy| Arc::clone(&policy.name))
        .filter(|name| !name.is_empty())
        .collect();

    let around = exception::Surroundings { policies: &policy_names, sites: &site_names, now };
    let exceptions = exception::read(report, &mut root, &around);

    let alert = alert::read(report, &mut root);
    let ledger = ledger::read(report, &mut root);
    let has_ledger = ledger.dir != LedgerDir::None;
    let records = records::read(report, &mut root, has_ledger);
    let sinks = sink::read(report, &mut root, has_ledger);
    let witnesses = witness::read(report, &mut root, has_ledger);
    let selftest = selftest::read(report, &mut root);
    let page = page::read(report, &mut root);
    let limits = limits::read(report, &mut root);
    let agent = agent::read(report, &mut root);
    root.finish(report);

    let geography = geo::statements(&geo).into_iter().chain(site::statements(&sites, &overrides)).collect();
    let policies = PolicySet::new(asked_first, default, exceptions, geography);
    Config {
        host,
        geo,
        sites,
        overrides,
        policies,
        alert,
        ledger,
        records,
        sinks,
        witnesses,
        selftest,
        page,
        limits,
        agent,
    }
}

impl Config {
    /// All sinks: those that are configured as such, and the record file beside a ledger.
    pub fn delivered_to(&self) -> Vec<SinkSettings> {
        let has_ledger = self.ledger.dir != LedgerDir::None;
        let file = self.records.file.clone().filter(|_| has_ledger).map(records::as_sink);
        file.into_iter().chain(self.sinks.iter().cloned()).collect()
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    let file = fs::File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    let mut text = String::new();
    let n_read = file
        .take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if n_read as u64 > MAX_FILE_BYTES {
        return Err(format!("is larger than {} MiB", MAX_FILE_BYTES >> 20));
    }
    Ok(text)
}
