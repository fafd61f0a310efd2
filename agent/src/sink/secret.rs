//! Secrets come from files, and only from files that others cannot read: never from the configuration, which is
//! shown, and never into a log.

use std::{
    fmt,
    fs::File,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Bytes of the largest file that is read as a secret: a key with a chain is a few kilobytes.
const MAX_BYTES: u64 = 64 << 10;

/// Permission bits that a secret must not have: anything for others, writing for the group.
const FORBIDDEN: u32 = 0o027;

/// Bytes that are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Why a sink cannot be set up as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A file cannot be used.
    #[error("{}: {problem}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why; never its content.
        problem: String,
    },
    /// Something else.
    #[error("{0}")]
    Other(String),
}

impl SetupError {
    pub(super) fn file(path: &Path, problem: impl fmt::Display) -> Self {
        Self::File { path: path.to_owned(), problem: problem.to_string() }
    }
}

impl Secret {
    /// Reads a file whole, as it is.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is empty or too large, belongs to somebody else, or others may read or change it.
    pub fn read(path: &Path) -> Result<Self, SetupError> {
        let refuse = |problem: String| SetupError::file(path, problem);
        let file = File::open(path).map_err(|error| refuse(error.to_string()))?;
        let data = file.metadata().map_err(|error| refuse(error.to_string()))?;
        if !data.is_file() {
            return Err(refuse("is not a regular file".to_owned()));
        }
        let own = rustix::process::geteuid().as_raw();
        if data.uid() != 0 && data.uid() != own {
            return Err(refuse(format!("belongs to user {}; accepted are root and user {own}", data.uid())));
        }
        if data.mode() & FORBIDDEN != 0 {
            let mode = data.mode() & 0o7777;
            return Err(refuse(format!(
                "has mode {mode:04o}, so others can read or change it; accepted are 0600, 0400, 0640 and 0440"
            )));
        }
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| refuse(error.to_string()))?;
        if bytes.is_empty() || bytes.len() as u64 > MAX_BYTES {
            return Err(refuse(format!("has {} bytes; accepted are 1 to {MAX_BYTES}", bytes.len())));
        }
        Ok(Self(bytes))
    }

    /// Reads one line of text: what an editor put behind it is not part of it.
    ///
    /// # Errors
    ///
    /// As [`Self::read`], and when it is not one line of visible ASCII.
    pub fn read_line(path: &Path) -> Result<Self, SetupError> {
        let Self(mut bytes) = Self::read(path)?;
        while bytes.last().is_some_and(u8::is_ascii_whitespace) {
            bytes.pop();
        }
        if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_graphic) {
            return Err(SetupError::file(path, "is not one line of visible ASCII characters"));
        }
        Ok(Self(bytes))
    }

    /// What it is. Not for messages.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn a_secret_that_others_can_read_is_refused_and_never_shown() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        fs::write(&path, "s3cret\n").expect("written");
        for (mode, is_accepted) in
            [(0o600, true), (0o400, true), (0o640, true), (0o644, false), (0o660, false), (0o602, false)]
        {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mode");
            let result = Secret::read_line(&path);
            assert_eq!(result.is_ok(), is_accepted, "{mode:o}");
            let shown = format!("{result:?}");
            assert!(!shown.contains("s3cret"), "{shown}");
            if let Ok(secret) = result {
                assert_eq!(secret.expose(), b"s3cret");
            }
        }
    }

    #[test]
    fn what_is_no_line_is_no_token() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        for content in ["", "\n", "two\nlines", "a b", "\u{fc}"] {
            fs::write(&path, content).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("mode");
            assert!(Secret::read_line(&path).is_err(), "{content:?}");
        }
        assert!(Secret::read(&directory.path().join("nothing")).is_err());
        assert!(Secret::read(directory.path()).is_err());
    }
}
