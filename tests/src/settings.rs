//! Configuration files for the agent under test: the lab's countries, short times, files in one directory.

use std::{fmt::Write as _, path::Path};

use crate::{database, lab::Host, pins};

/// What a test may want to be different. Written as TOML by [`Settings::toml`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// An episode closes after this long without bytes.
    pub quiet_secs: u64,
    /// An interval record is written this often.
    pub interval_secs: u64,
    /// The policies, as TOML.
    pub policies: String,
    /// Further tables, as TOML.
    pub more: String,
    /// Keys of `[geo]`; `{directory}` stands for the agent's directory. Empty: the embedded database.
    pub geo: String,
    /// Further keys of `[host]`.
    pub host: String,
    /// `host.namespaces`.
    pub namespaces: &'static str,
    /// Where records go, below the agent's directory.
    pub records: String,
    /// The service manager reads nothing any more once the agent is ready.
    pub deaf_manager: bool,
    /// Words after `homeport run`, such as `--human`.
    pub arguments: &'static [&'static str],
    /// Words before the agent's command line, such as `unshare --mount`.
    pub wrapper: &'static [&'static str],
    /// Counting goes on while the agent is away, and so do episodes: a stop does not close them.
    pub pinned: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            quiet_secs: 60,
            interval_secs: 60,
            policies: "[[policy]]\nname = \"lab\"\npreset = \"us-only\"\ndenied_countries = [\"CN\"]\n"
                .to_owned(),
            more: String::new(),
            geo: format!("databases = [\"{{directory}}/{}\"]", database::FILE),
            host: String::new(),
            namespaces: "own",
            records: "records.jsonl".to_owned(),
            deaf_manager: false,
            arguments: &[],
            wrapper: &[],
            pinned: false,
        }
    }
}

impl Settings {
    /// The usual ones, for an agent whose successor goes on with what it counted.
    pub fn pinned() -> Self {
        Self { pinned: true, ..Self::default() }
    }

    /// The file, for an agent that keeps everything in `directory`.
    ///
    /// Documentation addresses are in no country; sites put them there.
    pub fn toml(&self, directory: &Path) -> String {
        let pin_dir = if self.pinned { pins::directory(directory) } else { "none".into() };
        let directory = directory.display().to_string();
        let geo = self.geo.replace("{directory}", &directory);
        let Self { quiet_secs, interval_secs, policies, more, host, namespaces, records, .. } = self;
        let mut text = format!(
            "[host]\nname = \"storage-1\"\nnamespaces = \"{namespaces}\"\n{host}\n\n\
             [geo]\n{geo}\n\n\
             [alert]\nattempt_grace_ms = 500\nquiet_secs = {quiet_secs}\n\n\
             [records]\nfile = \"{directory}/{records}\"\ninterval_secs = {interval_secs}\n\n\
             [agent]\nsocket = \"{directory}/control.sock\"\nstate_dir = \"{directory}/state\"\n\
             run_dir = \"{directory}/run\"\npin_dir = \"{}\"\n\n",
            pin_dir.display()
        );
        for (host, name, networks) in SITES {
            let country = host.country();
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "[[site]]\nname = \"{name}\"\ncountry = \"{country}\"\nnetworks = [{networks}]\n"
            );
        }
        text + policies + "\n" + more
    }
}

const SITES: [(Host, &str, &str); 4] = [
    (Host::Storage, "ashburn", r#""192.0.2.0/24", "2001:db8:0:2::/64""#),
    (Host::Approved, "dallas", r#""198.51.100.0/24", "2001:db8:0:51::/64""#),
    (Host::Foreign, "frankfurt", r#""203.0.113.0/25", "2001:db8:0:113::/64""#),
    (Host::Denied, "shanghai", r#""203.0.113.128/25", "2001:db8:0:130::/64""#),
];
