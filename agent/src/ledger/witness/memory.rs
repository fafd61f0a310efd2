//! What a witness remembers: of each log the checkpoint it signed last, durable before anybody sees the signature.
//!
//! One file per log, named by the SHA-256 of its origin, holding that checkpoint. It is written beside, synced and
//! renamed: after a crash the old one or the new one is there. A file that cannot be read keeps the witness from
//! starting: one that forgets would sign a rollback.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use crate::ledger::audit::note::{Checkpoint, Cosigner};

/// Why the state of a witness cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The disk.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that holds something else.
    #[error("{path} is not {expected}: a witness must not forget, so it does not start without it")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
    /// A name that no key can have.
    #[error("{0:?} is no name for a key: it must not be empty nor have spaces or +")]
    Name(String),
    /// The key is there, under another name.
    #[error("the key in {path} is that of {found}, not of {asked}")]
    OtherName {
        /// Which file.
        path: PathBuf,
        /// Its name.
        found: String,
        /// What was asked for.
        asked: String,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Memory {
    directory: PathBuf,
    latest: HashMap<String, Checkpoint>,
}

impl Memory {
    /// Opens a state directory, making it if need be.
    ///
    /// # Errors
    ///
    /// When anything in it cannot be read.
    pub fn open(state: &Path) -> Result<Self, MemoryError> {
        let directory = state.join("logs");
        let broken = |path: &Path| {
            let path = path.to_owned();
            move |source| MemoryError::Io { path, source }
        };
        fs::DirBuilder::new().recursive(true).mode(0o750).create(&directory).map_err(broken(&directory))?;
        let mut latest = HashMap::new();
        for file in fs::read_dir(&directory).map_err(broken(&directory))? {
            let path = file.map_err(broken(&directory))?.path();
            if path.extension().is_some_and(|extension| extension == "new") {
                // Not renamed, so nothing was said of it.
                continue;
            }
            let bytes = fs::read(&path).map_err(broken(&path))?;
            let checkpoint = Checkpoint::parse(&bytes)
                .ok()
                .filter(|checkpoint| {
                    path.file_name().is_some_and(|name| name == file_name(&checkpoint.origin).as_str())
                })
                .ok_or(MemoryError::Damaged {
                    path,
                    expected: "the checkpoint of the log it is named after",
                })?;
            latest.insert(checkpoint.origin.clone(), checkpoint);
        }
        Ok(Self { directory, latest })
    }

    /// The checkpoint of this log that was signed last.
    pub fn latest(&self, origin: &str) -> Option<&Checkpoint> {
        self.latest.get(origin)
    }

    /// Remembers a checkpoint. When this returns it is durable.
    ///
    /// # Errors
    ///
    /// When it may not be: then the one before stays in force.
    pub fn remember(&mut self, checkpoint: Checkpoint) -> Result<(), MemoryError> {
        let path = self.directory.join(file_name(&checkpoint.origin));
        write_durably(&path, checkpoint.to_note().as_bytes(), 0o640)
            .map_err(|source| MemoryError::Io { path, source })?;
        self.latest.insert(checkpoint.origin.clone(), checkpoint);
        Ok(())
    }
}

fn file_name(origin: &str) -> String {
    Sha256::digest(origin).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Replaces a file as a whole.
pub(super) fn write_durably(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// The witness's key: made on first start, for its owner alone, with the public key beside it.
///
/// # Errors
///
/// When it cannot be read or written, or is that of another name.
pub fn key(state: &Path, name: &str) -> Result<Cosigner, MemoryError> {
    let path = state.join("key");
    let broken = |source| MemoryError::Io { path: path.clone(), source };
    match fs::read_to_string(&path) {
        Ok(text) => {
            let cosigner = Cosigner::parse(&text).ok_or_else(|| MemoryError::Damaged {
                path: path.clone(),
                expected: "the private key of a witness",
            })?;
            let found = cosigner.key().name();
            if found != name {
                return Err(MemoryError::OtherName { path, found: found.to_owned(), asked: name.to_owned() });
            }
            Ok(cosigner)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::DirBuilder::new().recursive(true).mode(0o750).create(state).map_err(broken)?;
            let mut seed = [0; 32];
            File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut seed)).map_err(broken)?;
            let cosigner = Cosigner::new(name, &seed).ok_or_else(|| MemoryError::Name(name.to_owned()))?;
            write_durably(&path, format!("{}\n", cosigner.to_text()).as_bytes(), 0o600).map_err(broken)?;
            let public = state.join("key.pub");
            write_durably(&public, format!("{}\n", cosigner.key()).as_bytes(), 0o644)
                .map_err(|source| MemoryError::Io { path: public, source })?;
            Ok(cosigner)
        }
        Err(error) => Err(broken(error)),
    }
}
