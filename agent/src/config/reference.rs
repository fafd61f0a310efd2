//! The documentation of the configuration, made of the [`keys`] and of a default [`Config`].
//!
//! [`reference()`] is a configuration file: `# ` begins prose, `#` without a space begins a key or section that
//! is switched off. [`configuration_page()`] is `agent/docs/CONFIGURATION.md`.

use std::fmt::Write as _;

use crate::policy::{
    preset::PRESETS,
    rules::{DEFAULT_POLICY, DEFAULT_PRESET},
};

use super::{
    Config,
    keys::{self, Key, Keys, Shown, quoted},
};

/// Columns of prose in the reference file.
const WIDTH: usize = 100;

/// Sections in the order of the file, with the tables inside them.
static SECTIONS: &[(&Keys, &[(&str, &Keys)])] = &[
    (&keys::HOST, &[]),
    (&keys::GEO, &[]),
    (&keys::SITE, &[]),
    (&keys::OVERRIDE, &[]),
    (&keys::POLICY, &[("match", &keys::MATCH)]),
    (&keys::EXCEPTION, &[("destination", &keys::DESTINATION), ("owner", &keys::OWNER)]),
    (&keys::ALERT, &[]),
    (&keys::LEDGER, &[]),
    (&keys::RECORDS, &[]),
    (&keys::SINK, &[]),
    (&keys::SINK_JSONL, &[]),
    (&keys::SINK_WEBHOOK, &[]),
    (&keys::SINK_ALERTMANAGER, &[]),
    (&keys::SINK_OTLP, &[]),
    (&keys::SINK_SYSLOG, &[]),
    (&keys::WITNESS, &[]),
    (&keys::SELFTEST, &[]),
    (&keys::PAGE, &[]),
    (&keys::LIMITS, &[]),
    (&keys::AGENT, &[]),
];

/// The commented default configuration: a file that means the same as no file.
pub fn reference() -> String {
    let config = Config::default();
    let mut text = String::new();
    prose(
        &mut text,
        "homeport.toml: every key with its default. Every key is optional; without a file the agent runs with \
         exactly this. What is switched off shows an example.",
    );
    for (section, inner) in SECTIONS {
        let _ = writeln!(text);
        prose(&mut text, section.about);
        // Keys of every kind stand with the first of them.
        if std::ptr::eq(*section, &raw const keys::SINK) {
            continue;
        }
        let is_list = section.header.starts_with("[[");
        let header = section.header.split(' ').next().unwrap_or_default();
        let _ = writeln!(text, "{}{header}", if is_list { "#" } else { "" });
        let shared = section.shared.filter(|_| std::ptr::eq(*section, &raw const keys::SINK_JSONL));
        for key in section.list.iter().chain(shared.into_iter().flat_map(|shared| shared.list)) {
            write_key(&mut text, &config, key, inner, is_list);
        }
    }
    let _ = writeln!(text);
    prose(&mut text, "The default policy, asked last.");
    let _ =
        writeln!(text, "[[policy]]\nname = {}\npreset = {}", quoted(DEFAULT_POLICY), quoted(DEFAULT_PRESET));
    text
}

/// The page `agent/docs/CONFIGURATION.md`.
pub fn configuration_page() -> String {
    let config = Config::default();
    let mut page = String::from(PAGE_HEAD);
    for (section, inner) in SECTIONS {
        page_section(&mut page, &config, section);
        inner.iter().for_each(|(_, section)| page_section(&mut page, &config, section));
    }
    let _ = writeln!(
        page,
        "\n## Presets\n\nNetwork location evidence, not a legal determination. Territories with codes of their own \
         are listed one by one.\n\n| Preset | Mode | Countries | Version, effective | Basis | Note |\n\
         |---|---|---|---|---|---|"
    );
    for preset in PRESETS {
        let partial = preset.partial_countries();
        let mark =
            |code| if partial.contains(&code) { format!("{code} (partial)") } else { code.to_string() };
        let basis = match preset.source {
            "" => preset.basis.to_owned(),
            source => format!("[{}]({source})", preset.basis),
        };
        let codes: Vec<String> = preset.countries().into_iter().map(mark).collect();
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {}, {} | {basis} | {} |",
            preset.name,
            preset.mode.as_str(),
            codes.join(" "),
            preset.version,
            preset.effective,
            preset.note,
        );
    }
    let _ = writeln!(page, "| `custom` | either | own lists only | - | - | The same as no preset. |");
    let _ = write!(
        page,
        "\n## The default file\n\n`homeport check --defaults` prints it.\n\n```toml\n{}```\n",
        reference()
    );
    page
}

const PAGE_HEAD: &str = "# Configuration\n\n\
    Generated from `agent/src/config/keys.rs`; a test compares it with the code.\n\n\
    One TOML file. Every key is optional unless marked *required* within its section; unknown keys are refused. \
    `homeport check FILE` reports all faults at once and prints the effective policy. Without a file the agent \
    watches the host with preset `us-only` and the embedded database.\n\n\
    Paths are absolute. Times carry their offset (`2026-12-01T00:00:00Z`, in quotes or bare). Units are in the \
    name of the key; sizes are texts with a unit (`\"10 GiB\"`). Networks are written without bits beyond the \
    prefix length.\n";

fn page_section(page: &mut String, config: &Config, section: &Keys) {
    let _ = writeln!(
        page,
        "\n## `{}`\n\n{}\n\n| Key | Accepted | Default | Meaning |\n|---|---|---|---|",
        section.header, section.about
    );
    for key in section.list {
        let default = match key.shown {
            Shown::Default(value) => format!("`{}`", value(config)),
            Shown::Absent(words, example) => format!("{words} (example: `{example}`)"),
            Shown::Required(example) => format!("*required* (example: `{example}`)"),
            Shown::Section => "-".to_owned(),
        };
        let _ = writeln!(page, "| `{}` | {} | {default} | {} |", key.name, key.kind, key.meaning);
    }
}

fn write_key(text: &mut String, config: &Config, key: &Key, inner: &[(&str, &Keys)], is_list: bool) {
    let name = key.name;
    match key.shown {
        Shown::Default(value) => {
            prose(text, &format!("{} Accepted: {}.", key.meaning, key.kind));
            let _ = writeln!(text, "{}{name} = {}", if is_list { "#" } else { "" }, value(config));
        }
        Shown::Absent(words, example) => {
            prose(text, &format!("{} Accepted: {}. Default: {words}.", key.meaning, key.kind));
            let _ = writeln!(text, "#{name} = {example}");
        }
        Shown::Required(example) => {
            prose(text, &format!("{} Accepted: {}. Required.", key.meaning, key.kind));
            let _ = writeln!(text, "#{name} = {example}");
        }
        Shown::Section => {
            prose(text, key.meaning);
            let Some((_, section)) = inner.iter().find(|(inner_name, _)| *inner_name == name) else { return };
            let examples: Vec<String> = section
                .list
                .iter()
                .filter_map(|key| match key.shown {
                    Shown::Absent(_, example) => Some(format!("{} = {example}", key.name)),
                    Shown::Default(_) | Shown::Required(_) | Shown::Section => None,
                })
                .collect();
            let _ = writeln!(text, "#{name} = {{ {} }}", examples.join(", "));
        }
    }
}

/// Writes a comment, wrapped.
fn prose(text: &mut String, words: &str) {
    let mut line = String::from("#");
    for word in words.split_ascii_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            let _ = writeln!(text, "{line}");
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::clock::WallTime;

    use super::*;

    fn parse(text: &str) -> Config {
        let (config, warnings) = Config::parse(text, "reference", WallTime(0)).unwrap_or_else(|faults| {
            panic!("{}\n{text}", super::super::render::faults(&faults, false));
        });
        assert_eq!(warnings, []);
        config
    }

    #[test]
    fn the_reference_file_means_the_same_as_no_file() {
        assert_eq!(parse(&reference()), Config::default());
        assert_eq!(parse(""), Config::default());
    }

    #[test]
    fn every_example_of_the_reference_file_is_accepted() {
        let mut examples: String = reference()
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(key) if !key.starts_with(' ') => format!("{key}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        examples
            .push_str("[[site]]\nname = \"singapore\"\ncountry = \"SG\"\nnetworks = [\"10.30.0.0/16\"]\n");
        let config = parse(&examples);
        assert_eq!(config.policies.policies().count(), 2);
        assert_eq!(config.policies.exceptions().len(), 1);
        assert_eq!(config.overrides.len(), 1);
    }

    /// Written anew with `HOMEPORT_WRITE_DOCS=1 cargo test -p homeport configuration_page`.
    #[test]
    fn the_configuration_page_is_that_of_the_code() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/CONFIGURATION.md");
        if std::env::var_os("HOMEPORT_WRITE_DOCS").is_some() {
            std::fs::create_dir_all(path.parent().expect("a directory")).expect("docs can be made");
            std::fs::write(&path, configuration_page()).expect("the page can be written");
        }
        let page = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            page == configuration_page(),
            "agent/docs/CONFIGURATION.md differs from the code; write it anew with HOMEPORT_WRITE_DOCS=1 cargo \
             test -p homeport configuration_page"
        );
    }
}
