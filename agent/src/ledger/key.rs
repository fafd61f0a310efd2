//! The key that signs checkpoints: Ed25519, made on first start, never replaced.
//!
//! `key` is the private key as `signed_note` writes it, for its owner alone; `key.pub` the verifier key, one line, for
//! everybody. The private key is bound to no name: a ledger that had to be begun anew has another origin and the
//! same key, so whoever knows the key still knows who signs.

use std::{io, path::Path};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ed25519_dalek::SigningKey;
use signed_note::{StandardSigner, StandardVerifier};

use crate::ledger::disk::{Disk, if_there, write_beside};

/// Ed25519, in the encoding of keys.
const ALGORITHM: u8 = 1;

/// What becomes of the file of a key.
pub(crate) enum Loaded {
    Key(Box<Key>),
    /// There is none.
    Absent,
    /// It cannot be used.
    Damaged,
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Key {
    key: SigningKey,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    pub(crate) fn load<D: Disk>(disk: &D, path: &Path) -> io::Result<Loaded> {
        let Some(bytes) = if_there(disk.read(path))? else { return Ok(Loaded::Absent) };
        Ok(Self::parse(&bytes).map_or(Loaded::Damaged, |key| Loaded::Key(Box::new(key))))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.trim_end();
        // It checks the id, which is a hash over the public key: a flipped bit is noticed.
        StandardSigner::new(text).ok()?;
        // PRIVATE+KEY+name+id+key; the last one may contain a plus, too.
        let bytes = BASE64_STANDARD.decode(text.splitn(5, '+').nth(4)?).ok()?;
        let seed: [u8; 32] = bytes.strip_prefix(&[ALGORITHM])?.try_into().ok()?;
        Some(Self { key: SigningKey::from_bytes(&seed) })
    }

    /// Makes one and puts it in place, durable, unless there is one.
    ///
    /// # Errors
    ///
    /// When the disk fails, or when there is a key ([`io::ErrorKind::AlreadyExists`]).
    pub(crate) fn create<D: Disk>(disk: &D, directory: &Path, origin: &str) -> io::Result<Self> {
        let mut seed = [0; 32];
        let mut filled = 0;
        while filled < seed.len() {
            filled += rustix::rand::getrandom(&mut seed[filled..], rustix::rand::GetRandomFlags::empty())?;
        }
        let key = Self { key: SigningKey::from_bytes(&seed) };
        let beside = directory.join("key.new");
        write_beside(disk, &beside, format!("{}\n", key.private(origin)).as_bytes(), true)?;
        disk.rename_new(&beside, &directory.join("key"))?;
        disk.sync_directory(directory)?;
        Ok(key)
    }

    /// The key's public form under a name: `<origin>+<id>+<key>`.
    pub(crate) fn verifier_key(&self, origin: &str) -> String {
        signed_note::new_ed25519_verifier_key(origin, &self.key.verifying_key())
    }

    fn private(&self, origin: &str) -> String {
        let verifier_key = self.verifier_key(origin);
        let id = verifier_key.split('+').nth(1).unwrap_or_default();
        let mut bytes = vec![ALGORITHM];
        bytes.extend_from_slice(self.key.as_bytes());
        format!("PRIVATE+KEY+{origin}+{id}+{}", BASE64_STANDARD.encode(bytes))
    }

    /// Signs under a name; `None` when it is no name for a key.
    pub(crate) fn signer(&self, origin: &str) -> Option<StandardSigner> {
        StandardSigner::new(&self.private(origin)).ok()
    }

    /// Verifies what was signed under a name.
    pub(crate) fn verifier(&self, origin: &str) -> Option<StandardVerifier> {
        StandardVerifier::new(&self.verifier_key(origin)).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::ledger::disk::RealDisk;

    #[test]
    fn a_key_is_for_its_owner_alone_is_never_replaced_and_damage_is_noticed() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("key");
        assert!(matches!(Key::load(&RealDisk, &path), Ok(Loaded::Absent)));
        let key = Key::create(&RealDisk, directory.path(), "homeport/h1").expect("made");
        let mode = path.metadata().expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let Ok(Loaded::Key(again)) = Key::load(&RealDisk, &path) else { panic!("not loaded") };
        assert_eq!(again.verifier_key("a/b"), key.verifier_key("a/b"));
        let error = Key::create(&RealDisk, directory.path(), "homeport/h1").expect_err("not replaced");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        let whole = std::fs::read(&path).expect("bytes");
        for at in 0..whole.len() - 1 {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                // The name is in no use but as part of the id; every other bit matters.
                let parsed = Key::parse(&bytes).map(|key| key.verifier_key("n"));
                assert!(parsed.is_none() || parsed == Some(key.verifier_key("n")), "bit {bit} of byte {at}");
            }
        }
    }
}
