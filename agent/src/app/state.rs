//! What outlives a boot: how much of each exception is used, the last record number, and when an agent was there.
//!
//! A small JSON file, written whole, synced and renamed. When it cannot be written the agent goes on and says so:
//! an exception may then be refilled by a restart.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{alert::ExceptionLedger, policy::ExceptionUse as _};

/// The file's content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Saved {
    /// Version of this structure.
    pub(super) schema: u32,
    /// Number of the last durable record.
    pub(super) sequence: u64,
    /// Wire bytes used, by exception id.
    pub(super) exceptions: BTreeMap<String, u64>,
    /// When an agent was last there.
    #[serde(default)]
    pub(super) mark: Option<Mark>,
}

/// When an agent was there, written about once a minute and at its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Boot id.
    pub(super) boot: String,
    /// Nanoseconds since 1970.
    pub(super) time: i64,
    /// Whether counting was to go on without it.
    pub(super) pinned: bool,
}

const SCHEMA: u32 = 1;

pub(super) struct StateFile {
    path: PathBuf,
    last: Option<Saved>,
    complained: bool,
}

impl StateFile {
    pub(super) fn open(directory: &Path) -> Self {
        if let Err(error) = fs::create_dir_all(directory) {
            tracing::warn!(directory = %directory.display(), %error, "no state directory: used bytes of exceptions will not outlive this run");
        }
        Self { path: directory.join("state.json"), last: None, complained: false }
    }

    pub(super) fn load(&self) -> Saved {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Saved::default(),
            Err(error) => {
                tracing::error!(file = %self.path.display(), %error, "state not read: used bytes of exceptions start at zero");
                return Saved::default();
            }
        };
        match serde_json::from_slice::<Saved>(&bytes) {
            Ok(saved) if saved.schema == SCHEMA => saved,
            Ok(saved) => {
                tracing::error!(file = %self.path.display(), schema = saved.schema, accepted = SCHEMA, "state of another version: used bytes of exceptions start at zero");
                Saved::default()
            }
            Err(error) => {
                tracing::error!(file = %self.path.display(), %error, "state damaged: used bytes of exceptions start at zero");
                Saved::default()
            }
        }
    }

    /// Writes what changed since the last time.
    pub(super) fn save(&mut self, exceptions: &ExceptionLedger, sequence: u64, mark: Mark) {
        let saved = Saved {
            schema: SCHEMA,
            sequence,
            exceptions: exceptions
                .snapshot()
                .map(|(id, _)| (id.to_owned(), exceptions.used_bytes(id)))
                .collect(),
            mark: Some(mark),
        };
        if self.last.as_ref() == Some(&saved) {
            return;
        }
        match self.write(&saved) {
            Ok(()) => {
                self.last = Some(saved);
                self.complained = false;
            }
            Err(error) if !self.complained => {
                self.complained = true;
                tracing::error!(file = %self.path.display(), %error, "state not saved: a restart would refill exceptions");
            }
            Err(_) => {}
        }
    }

    fn write(&self, saved: &Saved) -> io::Result<()> {
        let temporary = self.path.with_extension("new");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(saved)?)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        if let Some(directory) = self.path.parent() {
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_bytes_outlive_a_restart_and_damage_is_no_panic() {
        let directory = tempfile::tempdir().expect("directory");
        let mut state = StateFile::open(directory.path());
        assert_eq!(state.load(), Saved::default());
        let mut exceptions = ExceptionLedger::new();
        exceptions.add(&"EX-1".into(), 4711);
        let mark = Mark { boot: "b".to_owned(), time: 7, pinned: true };
        state.save(&exceptions, 42, mark.clone());
        let saved = StateFile::open(directory.path()).load();
        assert_eq!((saved.sequence, saved.exceptions["EX-1"], saved.mark), (42, 4711, Some(mark)));
        for bytes in [&b""[..], b"{", b"[]", b"{\"schema\":9,\"sequence\":1,\"exceptions\":{}}"] {
            fs::write(directory.path().join("state.json"), bytes).expect("write");
            assert_eq!(state.load(), Saved::default());
        }
    }
}
