//! The tree of RFC 6962: hashes, roots, and proofs of inclusion and consistency, made and checked.
//!
//! Checking follows RFC 9162, section 2.1.3.2 and 2.1.4.2: a loop over the proof that knows only sizes and indexes.
//! Making follows the recursive definition of RFC 6962, over any [`Subtrees`].

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest as _, Sha256};

/// Bytes in a hash.
pub const HASH_BYTES: usize = 32;

/// SHA-256 of an entry or of two hashes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; HASH_BYTES]);

impl Hash {
    /// Of the tree without entries.
    pub fn empty() -> Self {
        Self(Sha256::digest([]).into())
    }

    /// Of an entry.
    pub fn leaf(entry: &[u8]) -> Self {
        Self(Sha256::new().chain_update([0]).chain_update(entry).finalize().into())
    }

    /// Of two subtrees.
    pub fn node(left: Self, right: Self) -> Self {
        Self(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
    }

    /// As base64, the form of checkpoints and proofs; none for anything else, also for base64 that could be written
    /// in another way.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64_STANDARD.decode(text).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

/// As base64.
impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The root over these hashes as leaves of a tree of their own.
pub fn fold(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => Hash::empty(),
        [one] => *one,
        many => {
            let (left, right) = many.split_at(split(many.len() as u64) as usize);
            Hash::node(fold(left), fold(right))
        }
    }
}

/// The largest power of two below `size`, which is at least 2.
const fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// Where hashes of complete subtrees come from.
pub trait Subtrees {
    /// Why one cannot be had.
    type Error;

    /// The hash over the entries from `index << level` on, `1 << level` of them.
    fn hash(&mut self, level: u8, index: u64) -> Result<Hash, Self::Error>;
}

/// The root of the tree of the first `size` entries.
///
/// # Errors
///
/// When a hash cannot be had.
pub fn root<S: Subtrees>(tree: &mut S, size: u64) -> Result<Hash, S::Error> {
    if size == 0 { Ok(Hash::empty()) } else { range(tree, 0, size) }
}

/// The hash over entries `start..end`; `start` is a multiple of the largest power of two within, as everywhere in the
/// definition.
fn range<S: Subtrees>(tree: &mut S, start: u64, end: u64) -> Result<Hash, S::Error> {
    let size = end - start;
    if size.is_power_of_two() {
        let level = size.ilog2();
        return tree.hash(level as u8, start >> level);
    }
    let middle = start + split(size);
    Ok(Hash::node(range(tree, start, middle)?, range(tree, middle, end)?))
}

/// Proves that entry `index` is in the tree of the first `size` entries.
///
/// # Errors
///
/// When a hash cannot be had.
///
/// # Panics
///
/// Unless `index` is less than `size`.
pub fn prove_inclusion<S: Subtrees>(tree: &mut S, index: u64, size: u64) -> Result<Vec<Hash>, S::Error> {
    assert!(index < size, "entry {index} of {size}");
    let (mut start, mut end) = (0, size);
    let mut proof = Vec::new();
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            proof.push(range(tree, middle, end)?);
            end = middle;
        } else {
            proof.push(range(tree, start, middle)?);
            start = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// Proves that the tree of the first `old` entries is the beginning of the tree of the first `new` ones. The proof
/// from nothing, and from a tree to itself, is empty.
///
/// # Errors
///
/// When a hash cannot be had.
///
/// # Panics
///
/// Unless `old` is at most `new`.
pub fn prove_consistency<S: Subtrees>(tree: &mut S, old: u64, new: u64) -> Result<Vec<Hash>, S::Error> {
    assert!(old <= new, "from {old} to {new}");
    let mut proof = Vec::new();
    if old == 0 || old == new {
        return Ok(proof);
    }
    let (mut start, mut end) = (0, new);
    while end != old {
        let middle = start + split(end - start);
        if old <= middle {
            proof.push(range(tree, middle, end)?);
            end = middle;
        } else {
            proof.push(range(tree, start, middle)?);
            start = middle;
        }
    }
    if start > 0 {
        proof.push(range(tree, start, end)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Whether `proof` shows that the entry with this hash is entry `index` of the tree of `size` entries with this root.
pub fn is_included(proof: &[Hash], index: u64, leaf: Hash, size: u64, root: Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = Hash::node(*sibling, hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = Hash::node(hash, *sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == root
}

/// Whether `proof` shows that the tree of `old` entries is the beginning of the tree of `new` entries.
pub fn is_consistent(proof: &[Hash], old: u64, old_root: Hash, new: u64, new_root: Hash) -> bool {
    if old > new {
        return false;
    }
    if old == new {
        return proof.is_empty() && old_root == new_root;
    }
    if old == 0 {
        return proof.is_empty() && old_root == Hash::empty();
    }
    let mut path = proof.iter().copied();
    // A complete old tree is its own first node: the proof leaves it out.
    let first = if old.is_power_of_two() { Some(old_root) } else { path.next() };
    let Some(first) = first else { return false };
    let (mut node, mut last) = (old - 1, new - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut old_hash, mut new_hash) = (first, first);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            old_hash = Hash::node(sibling, old_hash);
            new_hash = Hash::node(sibling, new_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = Hash::node(new_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == old_root && new_hash == new_root
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    /// Leaves in memory.
    struct Leaves(Vec<Hash>);

    impl Leaves {
        fn of(size: u64) -> Self {
            Self((0..size).map(|index| Hash::leaf(&index.to_be_bytes())).collect())
        }

        fn root(&self, size: u64) -> Hash {
            fold(&self.0[..size as usize])
        }
    }

    impl Subtrees for Leaves {
        type Error = Infallible;

        fn hash(&mut self, level: u8, index: u64) -> Result<Hash, Infallible> {
            let (start, end) = ((index << level) as usize, ((index + 1) << level) as usize);
            Ok(fold(&self.0[start..end]))
        }
    }

    /// What the other implementation reads.
    struct Stored(Vec<tlog_tiles::Hash>);

    impl Stored {
        fn of(size: u64) -> Self {
            let mut stored = Self(Vec::new());
            for index in 0..size {
                let hashes = tlog_tiles::stored_hashes(index, &index.to_be_bytes(), &stored)
                    .expect("made for this test");
                stored.0.extend(hashes);
            }
            stored
        }
    }

    impl tlog_tiles::HashReader for Stored {
        fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
            Ok(indexes.iter().map(|index| self.0[*index as usize]).collect())
        }
    }

    fn bytes(hashes: &[tlog_tiles::Hash]) -> Vec<[u8; 32]> {
        hashes.iter().map(|hash| hash.0).collect()
    }

    #[test]
    fn the_empty_tree_has_the_root_of_the_rfc() {
        assert_eq!(Hash::empty().to_string(), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        assert_eq!(root(&mut Leaves::of(0), 0), Ok(Hash::empty()));
    }

    proptest! {
        #[test]
        fn proofs_are_those_of_another_implementation(size in 1u64..600, a in any::<u64>(), b in any::<u64>()) {
            let (mut ours, theirs) = (Leaves::of(size), Stored::of(size));
            let their_root = tlog_tiles::tree_hash(size, &theirs).expect("made for this test");
            prop_assert_eq!(root(&mut ours, size).expect("made for this test").0, their_root.0);

            let index = a % size;
            let proof = prove_inclusion(&mut ours, index, size).expect("made for this test");
            let their_proof = tlog_tiles::prove_record(size, index, &theirs).expect("made for this test");
            prop_assert_eq!(proof.iter().map(|hash| hash.0).collect::<Vec<_>>(), bytes(&their_proof));
            prop_assert!(is_included(&proof, index, ours.0[index as usize], size, ours.root(size)));

            let old = 1 + b % size;
            let proof = prove_consistency(&mut ours, old, size).expect("made for this test");
            let their_proof = tlog_tiles::prove_tree(size, old, &theirs).expect("made for this test");
            prop_assert_eq!(proof.iter().map(|hash| hash.0).collect::<Vec<_>>(), bytes(&their_proof));
            prop_assert!(is_consistent(&proof, old, ours.root(old), size, ours.root(size)));
        }

        #[test]
        fn a_proof_shows_nothing_else(size in 2u64..300, a in any::<u64>(), bit in 0usize..256, at in any::<usize>()) {
            let mut tree = Leaves::of(size);
            let index = a % size;
            let leaf = tree.0[index as usize];
            let whole = tree.root(size);
            let proof = prove_inclusion(&mut tree, index, size).expect("made for this test");
            let mut other = proof.clone();
            other[at % proof.len()].0[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!is_included(&other, index, leaf, size, whole));
            prop_assert!(!is_included(&proof[1..], index, leaf, size, whole));
            prop_assert!(!is_included(&proof, (index + 1) % size, leaf, size, whole));
            prop_assert!(!is_included(&[proof.as_slice(), &[leaf]].concat(), index, leaf, size, whole));

            let old = 1 + a % (size - 1);
            let proof = prove_consistency(&mut tree, old, size).expect("made for this test");
            let mut forged = tree.root(old);
            forged.0[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!is_consistent(&proof, old, forged, size, whole));
            prop_assert!(!is_consistent(&proof, old, tree.root(old), size, forged));
            prop_assert!(!is_consistent(&[proof.as_slice(), &[leaf]].concat(), old, tree.root(old), size, whole));
            if !proof.is_empty() {
                prop_assert!(!is_consistent(&proof[1..], old, tree.root(old), size, whole));
            }
        }

        #[test]
        fn no_input_makes_a_check_panic(
            hashes in proptest::collection::vec(any::<[u8; 32]>(), 0..70), a in any::<u64>(), b in any::<u64>(),
        ) {
            let hashes: Vec<_> = hashes.into_iter().map(Hash).collect();
            let _ = is_included(&hashes, a, Hash::empty(), b, Hash::empty());
            let _ = is_consistent(&hashes, a, Hash::empty(), b, Hash::empty());
        }
    }

    #[test]
    fn a_tree_grows_from_nothing_and_to_itself_without_a_proof() {
        let mut tree = Leaves::of(9);
        assert_eq!(prove_consistency(&mut tree, 0, 9), Ok(vec![]));
        assert_eq!(prove_consistency(&mut tree, 9, 9), Ok(vec![]));
        let whole = tree.root(9);
        assert!(is_consistent(&[], 9, whole, 9, whole));
        assert!(is_consistent(&[], 0, Hash::empty(), 9, whole));
        assert!(!is_consistent(&[], 0, whole, 9, whole));
        assert!(!is_consistent(&[], 9, Hash::empty(), 9, whole));
        assert!(!is_consistent(&[], 10, whole, 9, whole));
    }
}
