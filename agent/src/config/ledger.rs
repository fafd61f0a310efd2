//! `[ledger]`: the signed record of everything.

use std::path::PathBuf;

use super::{
    Agent, keys,
    reader::{Section, parsed, whole, whole_or_parsed},
    report::Report,
    values,
};
use crate::ledger::Retention;

/// Where the ledger is, what it is called and how long it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// Its directory.
    pub dir: LedgerDir,
    /// Its origin, when it is begun; `homeport/` and the host's id, if none is given.
    pub origin: Option<String>,
    /// How long entries are kept.
    pub retention: Retention,
}

/// Where the ledger is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LedgerDir {
    /// `ledger` in `agent.state_dir`.
    #[default]
    InStateDir,
    /// Elsewhere.
    Path(PathBuf),
    /// There is none.
    None,
}

impl Ledger {
    /// Its directory, if there is to be one.
    pub fn directory(&self, agent: &Agent) -> Option<PathBuf> {
        match &self.dir {
            LedgerDir::InStateDir => Some(agent.state_dir.join("ledger")),
            LedgerDir::Path(path) => Some(path.clone()),
            LedgerDir::None => None,
        }
    }

    /// The origin of one that is begun on this host.
    pub fn origin_on(&self, host_uid: &str) -> String {
        self.origin.clone().unwrap_or_else(|| format!("homeport/{host_uid}"))
    }
}

impl Default for Ledger {
    fn default() -> Self {
        // PCI DSS 10.5.1 and OMB M-26-14 want twelve months. A quiet host writes less than a gigabyte in that time,
        // so the bound in bytes is for floods only.
        Self { dir: LedgerDir::default(), origin: None, retention: Retention { days: 400, bytes: 20 << 30 } }
    }
}

pub(super) fn read(report: &mut Report<'_>, root: &mut Section<'_>) -> Ledger {
    let default = Ledger::default();
    let Some(mut section) = root.section(report, "ledger", &keys::LEDGER) else { return default };
    let dir = section.optional(report, "dir", |report, item| parsed(report, item, values::ledger_dir));
    let origin = section.optional(report, "origin", |report, item| parsed(report, item, values::origin));
    let days = section.optional(report, "retain_days", |report, item| whole(report, item, 1..=36_500));
    let bytes = section.optional(report, "retain_bytes", |report, item| {
        whole_or_parsed(report, item, MIN_BYTES..=u64::MAX, |bytes| bytes, values::ledger_bytes)
    });
    section.finish(report);
    Ledger {
        dir: dir.unwrap_or_default(),
        origin,
        retention: Retention {
            days: days.and_then(|days| u32::try_from(days).ok()).unwrap_or(default.retention.days),
            bytes: bytes.unwrap_or(default.retention.bytes),
        },
    }
}

/// Some bundles of the largest records, and their hashes.
pub(super) const MIN_BYTES: u64 = 64 << 20;
