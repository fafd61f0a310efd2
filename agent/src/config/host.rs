//! `[host]`: what is watched.

use std::path::PathBuf;

use super::{
    keys,
    reader::{Section, flag, parsed},
    report::Report,
    values::{self, Refusal, word},
};

/// Which network namespaces are observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Namespaces {
    /// All when the agent runs in the host's own, else only its own.
    #[default]
    Auto,
    /// All.
    All,
    /// Only the one the agent runs in.
    Own,
}

impl Namespaces {
    /// Every choice, in the order of the documentation.
    pub const ALL: [Self; 3] = [Self::Auto, Self::All, Self::Own];

    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::All => "all",
            Self::Own => "own",
        }
    }
}

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Name in records; the host's own name, if none.
    pub name: Option<String>,
    /// Root of the cgroup2 hierarchy; found by itself, if none.
    pub cgroup: Option<PathBuf>,
    /// Network namespaces observed.
    pub namespaces: Namespaces,
    /// Edge interfaces; found by themselves, if empty.
    pub interfaces: Vec<String>,
    /// Whether `tp_btf/sock_send_length` is attached, for the task that really sends.
    pub exact_owners: bool,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            name: None,
            cgroup: None,
            namespaces: Namespaces::Auto,
            interfaces: Vec::new(),
            exact_owners: true,
        }
    }
}

pub(super) fn read(report: &mut Report<'_>, root: &mut Section<'_>) -> Host {
    let default = Host::default();
    let Some(mut section) = root.section(report, "host", &keys::HOST) else { return default };
    let name = section.optional(report, "name", |report, item| parsed(report, item, host_name));
    let cgroup = section.optional(report, "cgroup", |report, item| parsed(report, item, values::path));
    let namespaces = section.optional(report, "namespaces", |report, item| {
        parsed(report, item, |text| {
            word(text, Namespaces::ALL.map(|choice| (choice.as_str(), choice)).into_iter())
        })
    });
    let interfaces =
        section.list(report, "interfaces", |report, item| parsed(report, item, values::interface));
    let exact_owners = section.optional(report, "exact_owners", flag);
    section.finish(report);

    let mut names: Vec<String> = Vec::new();
    for interface in interfaces {
        if names.contains(&interface.value) {
            report.fault(&interface.place, "is listed twice", "each interface once");
        } else {
            names.push(interface.value);
        }
    }
    Host {
        name,
        cgroup,
        namespaces: namespaces.unwrap_or(default.namespaces),
        interfaces: names,
        exact_owners: exact_owners.unwrap_or(default.exact_owners),
    }
}

/// A name that fits wherever records go: what DNS allows, and underscores.
fn host_name(text: &str) -> Result<String, Refusal> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    if text.is_empty() || text.len() > 253 || !text.chars().all(plain) {
        let accepted = "1 to 253 letters, digits, hyphens, underscores and dots";
        return Err(Refusal::new("is not a host name", accepted));
    }
    Ok(text.to_owned())
}
