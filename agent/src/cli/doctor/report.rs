//! What doctor says: lines for people, or one JSON object.

use std::io::{self, IsTerminal as _};

use serde::Serialize;

use crate::{cli::out, exit::Failure, record::harmless};

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mark {
    /// Worth knowing, neither good nor bad.
    Note,
    /// As it should be.
    Ok,
    /// Something is lost.
    Reduced,
    /// Something required is not there.
    Missing,
}

/// One thing that was checked.
#[derive(Clone, Debug, Serialize)]
struct Line {
    mark: Mark,
    what: String,
    /// Which of several of that kind, such as the name of a program.
    #[serde(skip_serializing_if = "str::is_empty")]
    name: String,
    detail: String,
}

/// Everything that was checked.
pub(super) struct Report {
    json: bool,
    colour: bool,
    lines: Vec<Line>,
    /// Whether lines could be printed so far; the first reason why not.
    printed: Result<(), Failure>,
}

/// The outward form.
#[derive(Serialize)]
struct Outward<'a> {
    schema: u32,
    version: &'static str,
    result: Mark,
    checks: &'a [Line],
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        Self { json, colour: io::stdout().is_terminal(), lines: Vec::new(), printed: Ok(()) }
    }

    pub(super) fn line(&mut self, mark: Mark, what: &str, detail: &str) {
        self.named(mark, what, "", detail);
    }

    /// The same about one of several things of a kind; `detail` names it, too.
    pub(super) fn named(&mut self, mark: Mark, what: &str, name: &str, detail: &str) {
        if !self.json {
            self.show(mark, what, detail);
        }
        self.lines.push(Line {
            mark,
            what: what.to_owned(),
            name: name.to_owned(),
            detail: detail.to_owned(),
        });
    }

    fn show(&mut self, mark: Mark, what: &str, detail: &str) {
        let (word, code) = match mark {
            Mark::Ok => ("ok      ", "32"),
            Mark::Reduced => ("reduced ", "33"),
            Mark::Missing => ("MISSING ", "31"),
            Mark::Note => ("note    ", "0"),
        };
        // Names of interfaces and reasons of the kernel may hold anything.
        let detail = harmless(detail);
        let line = if self.colour {
            format!("\x1b[{code}m{word}\x1b[0m{what:<18} {detail}")
        } else {
            format!("{word}{what:<18} {detail}")
        };
        // Told at the end: what is tried out is taken back also when nobody can read of it.
        if self.printed.is_ok() {
            self.printed = out::line(&line);
        }
    }

    /// The worst of all lines.
    pub(super) fn worst(&self) -> Mark {
        self.lines.iter().map(|line| line.mark).max().unwrap_or(Mark::Note)
    }

    /// Ends the report with a sentence for people, or prints all of it as JSON.
    ///
    /// # Errors
    ///
    /// When anything of it could not be printed.
    pub(super) fn finish(self, sentence: &str) -> Result<(), Failure> {
        if !self.json {
            return self.printed.and_then(|()| out::print(&format!("\n{sentence}\n")));
        }
        let version = env!("CARGO_PKG_VERSION");
        let outward = Outward { schema: 1, version, result: self.worst(), checks: &self.lines };
        out::line(&serde_json::to_string_pretty(&outward)?)
    }
}
