//! `add-checkpoint`, the one request of C2SP tlog-witness.

use crate::ledger::audit::{
    format::decimal,
    merkle::Hash,
    note::{Checkpoint, MAX_NOTE_BYTES, NoteFault},
};

/// The most proof lines that a request may have.
pub const MAX_PROOF_LINES: usize = 63;

/// The largest request: the size line, the proof, and a note.
pub const MAX_REQUEST_BYTES: usize = 32 + MAX_PROOF_LINES * 45 + 1 + MAX_NOTE_BYTES;

/// The type of the body of a 409 that names a size.
pub const SIZE_TYPE: &str = "text/x.tlog.size";

/// A checkpoint with the proof that it continues one of `old` entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Entries of the checkpoint that the witness signed last.
    pub old: u64,
    /// From there to this one.
    pub proof: Vec<Hash>,
    /// This one.
    pub checkpoint: Checkpoint,
}

/// Why a body is no request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestFault {
    /// Not text.
    #[error("the body is not UTF-8 text")]
    Text,
    /// The first line.
    #[error("the first line is not `old` and a size in decimal")]
    Old,
    /// No empty line behind the proof.
    #[error("there is no empty line before the checkpoint")]
    NoCheckpoint,
    /// Too many proof lines, or one that is no hash.
    #[error("line {0} is not one of at most 63 hashes in base64")]
    Proof(usize),
    /// What follows.
    #[error("the checkpoint: {0}")]
    Checkpoint(#[from] NoteFault),
}

impl Request {
    /// Reads a body.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn parse(body: &[u8]) -> Result<Self, RequestFault> {
        let text = std::str::from_utf8(body).map_err(|_| RequestFault::Text)?;
        let (head, checkpoint) = text.split_once("\n\n").ok_or(RequestFault::NoCheckpoint)?;
        let mut lines = head.split('\n');
        let old =
            lines.next().and_then(|line| decimal(line.strip_prefix("old ")?)).ok_or(RequestFault::Old)?;
        let proof = lines
            .enumerate()
            .map(|(at, line)| {
                Hash::parse(line).filter(|_| at < MAX_PROOF_LINES).ok_or(RequestFault::Proof(at + 2))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { old, proof, checkpoint: Checkpoint::parse(checkpoint.as_bytes())? })
    }

    /// The body.
    pub fn to_text(&self) -> String {
        let mut text = format!("old {}\n", self.old);
        for hash in &self.proof {
            text.push_str(&format!("{hash}\n"));
        }
        text.push('\n');
        text.push_str(&self.checkpoint.to_note());
        text
    }
}
