//! What is wrong, and where.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{format::Tile, merkle::Hash};

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// What is there is not what was signed, or something is missing.
    Wrong,
    /// An auditor should know; nothing is proven by it.
    Note,
}

/// One finding of an audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// How much it matters.
    pub weight: Weight,
    /// The file, relative to the directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Where in the file, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The entry, by its index in the ledger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<u64>,
    /// What is wrong.
    pub what: String,
    /// What should be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
}

impl Problem {
    /// Something is wrong.
    pub fn wrong(what: impl Into<String>) -> Self {
        Self {
            weight: Weight::Wrong,
            file: None,
            offset: None,
            entry: None,
            what: what.into(),
            expected: None,
            found: None,
        }
    }

    /// Something an auditor should know.
    pub fn note(what: impl Into<String>) -> Self {
        Self { weight: Weight::Note, ..Self::wrong(what) }
    }

    /// A tile whose hash is not the one in the tile above it.
    pub(super) fn other_tile(tile: Tile, expected: Hash, found: Hash) -> Self {
        Self::wrong("the tile is not the one that the tile above has the hash of")
            .file(tile.path())
            .values(expected, found)
    }

    /// In this file.
    pub fn file(mut self, file: impl Into<String>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// At this byte of the file.
    pub const fn offset(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    /// At this entry.
    pub const fn entry(mut self, entry: u64) -> Self {
        self.entry = Some(entry);
        self
    }

    /// Should be, and is.
    pub fn values(mut self, expected: impl fmt::Display, found: impl fmt::Display) -> Self {
        self.expected = Some(expected.to_string());
        self.found = Some(found.to_string());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut place = self.file.clone().unwrap_or_default();
        let mut add = |text: String| {
            if !place.is_empty() {
                place.push_str(", ");
            }
            place.push_str(&text);
        };
        if let Some(offset) = self.offset {
            add(format!("byte {offset}"));
        }
        if let Some(entry) = self.entry {
            add(format!("entry {entry}"));
        }
        if !place.is_empty() {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.what)?;
        if let (Some(expected), Some(found)) = (&self.expected, &self.found) {
            write!(f, "\n    expected {expected}\n    found    {found}")?;
        }
        Ok(())
    }
}

/// A list that ends: a ledger with a million wrong entries needs no million lines.
#[derive(Debug)]
pub(super) struct Problems {
    kept: Vec<Problem>,
    limit: usize,
    /// How many were wrong, kept or not.
    pub(super) wrong: u64,
    /// How many notes, kept or not.
    pub(super) notes: u64,
}

impl Problems {
    pub(super) const fn new(limit: usize) -> Self {
        Self { kept: Vec::new(), limit, wrong: 0, notes: 0 }
    }

    pub(super) fn push(&mut self, problem: Problem) {
        match problem.weight {
            Weight::Wrong => self.wrong += 1,
            Weight::Note => self.notes += 1,
        }
        if self.kept.len() < self.limit {
            self.kept.push(problem);
        }
    }

    pub(super) fn extend(&mut self, problems: impl IntoIterator<Item = Problem>) {
        for problem in problems {
            self.push(problem);
        }
    }

    pub(super) fn into_kept(self) -> Vec<Problem> {
        self.kept
    }
}
