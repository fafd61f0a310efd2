//! Who may read: a token from a file, shown as `Authorization: Bearer` or exchanged for a cookie at the login form.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Shorter ones can be guessed; 16 characters of a random token have 80 bits at least.
const LENGTH: std::ops::RangeInclusive<usize> = 16..=512;

/// What readers show.
pub(super) struct Token {
    token: Vec<u8>,
    /// What the cookie says: it ends with this process, and gives nothing away about the token.
    session: String,
}

impl Token {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// When it cannot be read, others may read it, or what is in it is no token.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let fault =
            |problem: String| io::Error::other(format!("page.token_file {}: {problem}", path.display()));
        let file = File::open(path).map_err(|error| fault(error.to_string()))?;
        let mode = file.metadata().map_err(|error| fault(error.to_string()))?.mode();
        if mode & 0o077 != 0 {
            return Err(fault(format!(
                "others may read it (mode {:o}); chmod 600 is accepted",
                mode & 0o777
            )));
        }
        let mut text = Vec::new();
        file.take(4096).read_to_end(&mut text).map_err(|error| fault(error.to_string()))?;
        let token = text.trim_ascii();
        if !LENGTH.contains(&token.len()) || !token.iter().all(u8::is_ascii_graphic) {
            return Err(fault(
                "is no token; accepted are 16 to 512 printable characters on one line".to_owned(),
            ));
        }
        let mut secret = [0; 32];
        File::open("/dev/urandom")?.read_exact(&mut secret)?;
        Ok(Self::new(token, &secret))
    }

    fn new(token: &[u8], secret: &[u8; 32]) -> Self {
        let digest = Sha256::new().chain_update(secret).chain_update(token).finalize();
        let session = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { token: token.to_owned(), session }
    }

    /// Whether this is the token.
    pub(super) fn accepts(&self, shown: &[u8]) -> bool {
        // Lengths are no secret: they are compared first.
        self.token.as_slice().ct_eq(shown).into()
    }

    /// Whether this is the cookie of someone who has shown the token.
    pub(super) fn accepts_session(&self, shown: &str) -> bool {
        self.session.as_bytes().ct_eq(shown.as_bytes()).into()
    }

    /// The cookie for someone who has.
    pub(super) fn session(&self) -> &str {
        &self.session
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn a_token_is_accepted_whole_or_not_at_all() {
        let token = Token::new(b"0123456789abcdef", &[7; 32]);
        assert!(token.accepts(b"0123456789abcdef"));
        for other in [&b""[..], b"0123456789abcde", b"0123456789abcdef0", b"0123456789abcdeF"] {
            assert!(!token.accepts(other), "{other:?}");
        }
        assert!(token.accepts_session(token.session()));
        assert!(!token.accepts_session(""));
        assert_ne!(token.session(), Token::new(b"0123456789abcdef", &[8; 32]).session());
    }

    #[test]
    fn files_that_others_read_or_that_hold_no_token_are_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        for (text, mode, problem) in [
            ("0123456789abcdef\n", 0o600, None),
            ("0123456789abcdef\n", 0o640, Some("chmod 600")),
            ("short\n", 0o600, Some("16 to 512")),
            ("0123456789 abcdef", 0o600, Some("16 to 512")),
            ("0123456789abcdef\n0123456789abcdef\n", 0o600, Some("16 to 512")),
        ] {
            fs::write(&path, text).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("changed");
            match (Token::read(&path), problem) {
                (Ok(_), None) => {}
                (Err(error), Some(problem)) => assert!(error.to_string().contains(problem), "{error}"),
                (result, _) => panic!("{text:?} {mode:o}: {:?}", result.err()),
            }
        }
    }
}
