//! Signed heads: what a checkpoint says, and copies of it elsewhere.

use signed_note::{Note, Verifier as _, VerifierList};
use tlog_tiles::{Checkpoint, Hash};

use crate::ledger::key::Key;

/// How a tree stood when it was signed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Head {
    pub(crate) origin: String,
    pub(crate) size: u64,
    pub(crate) root: Hash,
}

impl Head {
    /// As a checkpoint: a signed note.
    pub(crate) fn sign(&self, key: &Key) -> Option<Vec<u8>> {
        let text = Checkpoint::new(&self.origin, self.size, self.root, "").ok()?.to_bytes();
        let mut note = Note::new(&text, &[]).ok()?;
        note.add_sigs(&[&key.signer(&self.origin)?]).ok()?;
        Some(note.to_bytes())
    }

    /// What a checkpoint says, if our key has signed it. Further signatures, such as those of witnesses, are let be.
    pub(crate) fn verified(bytes: &[u8], key: &Key) -> Option<Self> {
        let note = Note::from_bytes(bytes).ok()?;
        let checkpoint = Checkpoint::from_bytes(note.text()).ok()?;
        let verifier = key.verifier(checkpoint.origin())?;
        debug_assert_eq!(verifier.name(), checkpoint.origin());
        note.verify(&VerifierList::new(vec![Box::new(verifier)])).ok()?;
        Some(Self {
            origin: checkpoint.origin().to_owned(),
            size: checkpoint.size(),
            root: *checkpoint.hash(),
        })
    }

    /// Heads are compared by this: how often the ledger was begun anew, then its size.
    pub(crate) fn age(&self) -> (u64, u64) {
        (generation(&self.origin).1, self.size)
    }
}

/// The origin of a ledger that is begun anew after `before` others, of which the last one known was called `origin`:
/// `homeport/h1` is followed by `homeport/h1/2`.
pub(crate) fn successor(origin: &str, before: u64) -> String {
    if before == 0 {
        return origin.to_owned();
    }
    let (base, generation) = generation(origin);
    format!("{base}/{}", generation.max(before).saturating_add(1))
}

fn generation(origin: &str) -> (&str, u64) {
    let counted = origin.rsplit_once('/').and_then(|(base, count)| {
        // The first slash belongs to the name: a host may be called 2.
        let is_count = base.contains('/') && !count.starts_with('0') && count.len() < 10;
        is_count.then_some(())?;
        Some((base, count.parse::<u64>().ok().filter(|count| *count > 1)?))
    });
    counted.unwrap_or((origin, 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::disk::RealDisk;

    #[test]
    fn a_head_is_believed_only_with_our_signature() {
        let directory = tempfile::tempdir().expect("directory");
        let key = Key::create(&RealDisk, directory.path(), "homeport/h1").expect("a key");
        let head = Head { origin: "homeport/h1".to_owned(), size: 7, root: tlog_tiles::record_hash(b"x") };
        let bytes = head.sign(&key).expect("signed");
        assert_eq!(Head::verified(&bytes, &key), Some(head));
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            assert_eq!(Head::verified(&bytes, &key), None, "byte {at}");
        }
        std::fs::remove_file(directory.path().join("key")).expect("removed");
        let other = Key::create(&RealDisk, directory.path(), "homeport/h1").expect("a key");
        assert_eq!(Head::verified(&bytes, &other), None);
    }

    #[test]
    fn ledgers_begun_anew_are_counted_in_their_origin() {
        for (origin, next) in [
            ("homeport/h1", "homeport/h1/2"),
            ("homeport/h1/2", "homeport/h1/3"),
            ("homeport/2", "homeport/2/2"),
            ("example.org", "example.org/2"),
            ("a/b/c", "a/b/c/2"),
            ("a/b/1", "a/b/1/2"),
        ] {
            assert_eq!(successor(origin, 1), next);
            assert_eq!(successor(origin, 0), origin);
        }
    }
}
