//! C2SP tlog-proof: one entry, proven by one file that needs nothing else.

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{
    format::decimal,
    merkle::{Hash, is_included, prove_inclusion},
    note::{Checkpoint, NoteFault},
    reader::{ReadError, Reader, Tree},
};

/// The first line.
const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// The largest file: an entry as extra data, a proof of 64 hashes and a checkpoint.
pub const MAX_PROOF_BYTES: u64 = 1 << 18;

/// Longer than any proof in a tree of 2^64 entries.
const MAX_HASHES: usize = 64;

/// A proof that an entry is in the tree of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The entry itself travels as the extra data. It is the same bytes whose hash the proof begins with.
    pub extra: Option<Vec<u8>>,
    /// Which entry.
    pub index: u64,
    /// From the entry's sibling up.
    pub hashes: Vec<Hash>,
    /// The checkpoint with its signatures, which [`Proof::shows`] does not judge.
    pub checkpoint: Checkpoint,
}

/// Why bytes are no proof.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofFault {
    /// Not text.
    #[error("it is not UTF-8 text")]
    Text,
    /// A line that should be another.
    #[error("line {line} is not {expected}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What belongs there.
        expected: &'static str,
    },
    /// What is behind the proof is no checkpoint.
    #[error("the checkpoint in it: {0}")]
    Checkpoint(#[from] NoteFault),
}

impl Proof {
    /// Makes the proof for an entry of a checkpoint out of a ledger's files, with the entry as extra data. What the
    /// files say is checked against the checkpoint's root, not the checkpoint's signature.
    ///
    /// # Errors
    ///
    /// When a file is missing, cannot be read, or is not the one that the checkpoint covers; when there is no such
    /// entry.
    pub fn make(reader: &Reader, checkpoint: Checkpoint, index: u64) -> Result<Self, ReadError> {
        let shape = |expected: String, found: String| ReadError::Shape {
            path: super::reader::CHECKPOINT.to_owned(),
            expected,
            found,
        };
        if index >= checkpoint.size {
            return Err(shape(format!("more than {index} entries"), format!("{} entries", checkpoint.size)));
        }
        let entry = reader.entry(index, checkpoint.size)?;
        let hashes = prove_inclusion(&mut Tree::new(reader, checkpoint.size), index, checkpoint.size)?;
        let root = checkpoint.root;
        let proof = Self { extra: Some(entry), index, hashes, checkpoint };
        if !proof.shows(proof.extra.as_deref().unwrap_or_default()) {
            let found =
                format!("files that do not lead from entry {index} to it: run `homeport ledger verify`");
            return Err(shape(format!("root {root}"), found));
        }
        Ok(proof)
    }

    /// Whether it shows that this is the entry at its index, if the checkpoint is to be believed.
    pub fn shows(&self, entry: &[u8]) -> bool {
        is_included(&self.hashes, self.index, Hash::leaf(entry), self.checkpoint.size, self.checkpoint.root)
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// When it is no proof.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofFault> {
        let text = std::str::from_utf8(bytes).map_err(|_| ProofFault::Text)?;
        let (head, checkpoint) = text
            .split_once("\n\n")
            .ok_or(ProofFault::Line { line: 1, expected: "followed by an empty line and a checkpoint" })?;
        let mut lines = head.split('\n').enumerate().map(|(at, line)| (at + 1, line)).peekable();
        let fault = |line, expected| ProofFault::Line { line, expected };
        if lines.next().is_none_or(|(_, line)| line != HEADER) {
            return Err(fault(1, HEADER));
        }
        let extra = match lines.next_if(|(_, line)| line.starts_with("extra ")) {
            None => None,
            Some((at, line)) => {
                let data = line.strip_prefix("extra ").and_then(|data| BASE64_STANDARD.decode(data).ok());
                Some(data.ok_or(fault(at, "extra data in base64"))?)
            }
        };
        let index = lines.next().and_then(|(_, line)| decimal(line.strip_prefix("index ")?));
        let index =
            index.ok_or(fault(2 + usize::from(extra.is_some()), "`index` and a number in decimal"))?;
        let mut hashes = Vec::new();
        for (at, line) in lines {
            if hashes.len() == MAX_HASHES {
                return Err(fault(at, "an empty line: no proof has more than 64 hashes"));
            }
            hashes.push(Hash::parse(line).ok_or(fault(at, "a hash, 32 bytes in base64"))?);
        }
        Ok(Self { extra, index, hashes, checkpoint: Checkpoint::parse(checkpoint.as_bytes())? })
    }

    /// The file.
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEADER}\n");
        if let Some(extra) = &self.extra {
            text.push_str(&format!("extra {}\n", BASE64_STANDARD.encode(extra)));
        }
        text.push_str(&format!("index {}\n", self.index));
        for hash in &self.hashes {
            text.push_str(&format!("{hash}\n"));
        }
        text.push('\n');
        text.push_str(&self.checkpoint.to_note());
        text
    }
}
