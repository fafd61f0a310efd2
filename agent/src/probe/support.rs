//! What differs between kernels: the table of programs, and what is not a program of its own.
//!
//! `homeport doctor` tries everything out; the tests compare what it says, and what they see, with this table on each
//! kernel of the matrix; README and KERNELS.md carry it word for word.

use std::{collections::BTreeMap, fmt::Write as _};

use super::programs::{OLDEST_KERNEL, PROGRAMS, Program};

/// Major and minor number of a kernel.
pub type Version = (u8, u8);

/// Something that newer kernels do better, without a program of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// What it is.
    pub name: &'static str,
    /// First kernel that has it.
    pub since: Version,
    /// What is different without it.
    pub without: &'static str,
}

/// Interface programs are attached as links, and run before and beside all filters.
pub const TCX: Feature = Feature {
    name: "tcx at the interfaces",
    since: (6, 6),
    without: "clsact filters, which other tools can remove and are attached again",
};

/// Programs may ask for the cookie of a packet's network namespace.
pub const NETNS_COOKIE: Feature = Feature {
    name: "cookie of a packet's network namespace",
    since: (6, 18),
    without: "namespaces are told by inode number, which takes BTF",
};

/// All of them.
pub const FEATURES: [Feature; 2] = [TCX, NETNS_COOKIE];

impl Feature {
    /// Whether a kernel of that version has it.
    pub fn is_in(&self, version: Version) -> bool {
        version >= self.since
    }
}

/// The version in `release`, such as `(6, 12)` of `6.12.117+deb13-amd64`.
pub fn version(release: &str) -> Option<Version> {
    let mut numbers = release.split(['.', '-', '+']).map_while(|part| part.parse::<u8>().ok());
    Some((numbers.next()?, numbers.next()?))
}

/// The version of the kernel that this runs on.
pub fn running() -> Option<Version> {
    version(&rustix::system::uname().release().to_string_lossy())
}

/// Whether a kernel of that version runs a program, going by the table.
pub fn runs(program: &Program, version: Version) -> bool {
    version >= program.since && !(program.name == "stamp_create" && tells_sender(version))
}

/// Whether a kernel of that version tells which task sends, so that owners are exact.
pub fn tells_sender(version: Version) -> bool {
    super::programs::program("stamp_sender").is_some_and(|program| version >= program.since)
}

/// The table of the documentation: what is different below which kernel.
pub fn markdown() -> String {
    let (major, minor) = OLDEST_KERNEL;
    let mut text = format!(
        "| Needs | What | Without it |\n|---|---|---|\n\
         | {major}.{minor} | everything required | the agent does not start |\n"
    );
    // Several programs may do the same for different protocols: one line per sentence.
    let mut lines: BTreeMap<(Version, &str), Vec<&str>> = BTreeMap::new();
    for Program { name, since, without, .. } in PROGRAMS {
        if *since > OLDEST_KERNEL {
            lines.entry((*since, without)).or_default().push(name);
        }
    }
    for Feature { name, since, without } in FEATURES {
        lines.entry((since, without)).or_default().push(name);
    }
    for (((major, minor), without), names) in lines {
        let what: Vec<String> = names
            .into_iter()
            .map(|name| match super::programs::program(name) {
                Some(program) => format!("`{name}`: {}", program.purpose),
                None => name.to_owned(),
            })
            .collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {major}.{minor} | {} | {without} |", what.join("; "));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::{PROGRAMS, markdown, runs, tells_sender, version};

    #[test]
    fn releases_are_read() {
        for (release, expected) in [
            ("5.10.0-46-amd64", Some((5, 10))),
            ("6.12.117+deb13-amd64", Some((6, 12))),
            ("7.3-rc1", Some((7, 3))),
            ("7.3.0-rc1", Some((7, 3))),
            ("unknown", None),
        ] {
            assert_eq!(version(release), expected, "{release}");
        }
    }

    #[test]
    fn the_oldest_kernel_runs_everything_required() {
        for program in PROGRAMS.iter().filter(|program| program.required) {
            assert!(runs(program, super::OLDEST_KERNEL), "{}", program.name);
        }
        assert!(!tells_sender(super::OLDEST_KERNEL));
    }

    /// `HOMEPORT_WRITE_DOCS=1 cargo test -p homeport support` writes the pages.
    #[test]
    fn readme_and_kernels_page_carry_the_table() {
        const BEGIN: &str = "<!-- Generated from agent/src/probe/support.rs -->\n";
        const END: &str = "<!-- End -->\n";
        for page in ["../README.md", "docs/KERNELS.md"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
            let text = fs::read_to_string(&path).expect("the page");
            let (before, rest) = text.split_once(BEGIN).expect("the beginning of the table");
            let (table, after) = rest.split_once(END).expect("the end of the table");
            if std::env::var_os("HOMEPORT_WRITE_DOCS").is_some() {
                let text = format!("{before}{BEGIN}{}{END}{after}", markdown());
                fs::write(&path, text).expect("written");
            } else {
                assert_eq!(table, markdown(), "{page}: run with HOMEPORT_WRITE_DOCS=1");
            }
        }
    }
}
