//! What is wrong with a configuration, precisely enough to mend it without the manual.

use std::{fmt, sync::Arc};

/// A place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Characters that are meant, at least 1.
    pub width: usize,
    /// The whole line, unless it is too long to be shown.
    pub source: Option<String>,
}

/// Something that keeps a configuration from being used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Fault {
    /// The file, as it was named.
    pub file: Arc<str>,
    /// The key, such as `policy[1].approved_countries[0]`; elements count from 0. Empty for the whole file.
    pub key: String,
    /// Where that is, if it is anywhere: a missing key is at its section.
    pub position: Option<Position>,
    /// The value as written, shortened.
    pub seen: Option<String>,
    /// What is wrong with it.
    pub problem: String,
    /// What would be accepted.
    pub accepted: String,
}

/// One line: `homeport.toml:12:25: policy[1].preset: "us" is not a preset (accepted: ...)`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_head(f, &self.file, self.position.as_ref(), &self.key)?;
        if let Some(seen) = &self.seen {
            write!(f, "{seen} ")?;
        }
        write!(f, "{} (accepted: {})", self.problem, self.accepted)
    }
}

/// Something that is allowed, but is probably not what was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The file, as it was named.
    pub file: Arc<str>,
    /// The key.
    pub key: String,
    /// Where that is.
    pub position: Option<Position>,
    /// What will happen.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_head(f, &self.file, self.position.as_ref(), &self.key)?;
        f.write_str(&self.message)
    }
}

fn write_head(f: &mut fmt::Formatter<'_>, file: &str, position: Option<&Position>, key: &str) -> fmt::Result {
    write!(f, "{file}:")?;
    if let Some(position) = position {
        write!(f, "{}:{}:", position.line, position.column)?;
    }
    if key.is_empty() { f.write_str(" ") } else { write!(f, " {key}: ") }
}
