//! Offers a ledger's checkpoint to witnesses, and keeps their signatures beside it.
//!
//! It is an outsider too: it reads the ledger's directory and needs nothing of the writer. What a witness has signed is
//! kept in `witness/<name>`; `checkpoint.witnessed` is the one of these checkpoints that most witnesses have signed,
//! with all their signatures.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::StatusCode;

use super::{
    memory::write_durably,
    protocol::{MAX_PROOF_LINES, Request},
    tls,
};
use crate::ledger::audit::{
    Reader,
    format::decimal,
    merkle::{is_consistent, prove_consistency, root},
    note::{Checkpoint, Key, MAX_NOTE_BYTES, NoteFault, SignatureLine, Signed},
    reader::{CHECKPOINT, PUBLIC_KEY, ReadError, Tree, WITNESSED},
};

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The largest answer that is read, in bytes: a few signature lines.
const MAX_ANSWER_BYTES: usize = MAX_NOTE_BYTES;

/// A witness to offer checkpoints to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// What it is called here; also the name of a file.
    pub name: String,
    /// Where `add-checkpoint` is.
    pub url: String,
    /// By which it signs.
    pub key: Key,
}

/// What a witness has signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cosigned {
    /// Entries.
    pub size: u64,
    /// When, in seconds since 1970 by the witness's clock.
    pub time: u64,
}

/// Why a witness has not signed.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    /// The ledger cannot be read.
    #[error("the ledger cannot be read: {0}")]
    Read(#[from] ReadError),
    /// Its checkpoint is none.
    #[error("the ledger's checkpoint: {0}")]
    Checkpoint(#[from] NoteFault),
    /// It is not by the ledger's own key, or its files do not fit to it.
    #[error("the ledger is not as its checkpoint says: run `homeport ledger verify`")]
    NotOurs,
    /// Nothing could be kept.
    #[error("{path}: {source}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no way to it.
    #[error("TLS cannot be set up: {reason}")]
    Tls {
        /// Why.
        reason: String,
    },
    /// It does not answer.
    #[error("{url} does not answer: {reason}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
    /// It answers, and not with a signature.
    #[error("the witness answered {status}: {text}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        text: String,
    },
    /// It has seen more than there is: an old state of the ledger was put back.
    #[error("the witness has seen {theirs} entries, the ledger has {ours}: an old state of it was put back")]
    Rollback {
        /// Entries that the witness has seen.
        theirs: u64,
        /// Entries there are.
        ours: u64,
    },
    /// It has seen something else under this name.
    #[error("the witness has seen another ledger under this name, of {size} entries: history was rewritten")]
    SplitView {
        /// Entries that the witness has seen.
        size: u64,
    },
    /// Its signature is not by the key that is configured.
    #[error("the witness's answer has no valid signature by the key that is configured for it")]
    Forged,
}

impl OfferError {
    /// Whether it says something about the ledger, not about the way to the witness: a person has to look.
    pub const fn is_alarm(&self) -> bool {
        matches!(self, Self::NotOurs | Self::Rollback { .. } | Self::SplitView { .. } | Self::Forged)
    }
}

/// A way to witnesses.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
}

impl Client {
    /// A client with the host's certificate authorities.
    ///
    /// # Errors
    ///
    /// When TLS cannot be set up.
    pub fn new() -> Result<Self, OfferError> {
        Self::trusting(None)
    }

    /// A client that trusts the authorities in this file alone; the host's, if there is none.
    ///
    /// # Errors
    ///
    /// When the file cannot be used.
    pub fn trusting(ca_file: Option<&Path>) -> Result<Self, OfferError> {
        let failed = |reason: String| OfferError::Tls { reason };
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client(ca_file).map_err(failed)?)
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self { http })
    }

    /// Offers the checkpoint of the ledger in this directory, and keeps the signature.
    ///
    /// # Errors
    ///
    /// When the witness has not signed; [`OfferError::is_alarm`] says whether that is about the ledger.
    pub async fn offer(&self, directory: &Path, witness: &Witness) -> Result<Cosigned, OfferError> {
        self.offer_this(directory, witness, &own_checkpoint(directory)?).await
    }

    /// The same with a checkpoint that was read before, so that several witnesses sign the same one.
    ///
    /// # Errors
    ///
    /// As [`Self::offer`].
    pub async fn offer_this(
        &self,
        directory: &Path,
        witness: &Witness,
        checkpoint: &Checkpoint,
    ) -> Result<Cosigned, OfferError> {
        let mut old = remembered(directory, witness, &checkpoint.origin).map_or(0, |head| head.size);
        // A second try with the size that the witness names; a third would be a race with another sender.
        for _ in 0..3 {
            if old > checkpoint.size {
                return Err(OfferError::Rollback { theirs: old, ours: checkpoint.size });
            }
            let request =
                Request { old, proof: proof(directory, old, checkpoint)?, checkpoint: checkpoint.clone() };
            let (status, text) = self.post(witness, request.to_text()).await?;
            match status {
                StatusCode::OK => return keep(directory, witness, checkpoint, &text),
                StatusCode::CONFLICT => match decimal(text.trim_end()) {
                    Some(size) if size == old => return Err(OfferError::SplitView { size }),
                    Some(size) => old = size,
                    None => return Err(OfferError::Refused { status: status.as_u16(), text }),
                },
                // We have checked the proof: the witness's memory is of another tree.
                StatusCode::UNPROCESSABLE_ENTITY => return Err(OfferError::SplitView { size: old }),
                _ => return Err(OfferError::Refused { status: status.as_u16(), text }),
            }
        }
        Err(OfferError::Refused { status: 409, text: "it names another size each time".to_owned() })
    }

    async fn post(&self, witness: &Witness, body: String) -> Result<(StatusCode, String), OfferError> {
        let url = format!("{}/add-checkpoint", witness.url.trim_end_matches('/'));
        let failed = |error: reqwest::Error| {
            // The outer text of reqwest's errors is only the address.
            let mut reason = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                reason = error.to_string();
                cause = error.source();
            }
            OfferError::Unreachable { url: url.clone(), reason }
        };
        let mut response = self.http.post(&url).body(body).send().await.map_err(failed)?;
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if bytes.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(OfferError::Refused {
                    status: response.status().as_u16(),
                    text: "a very long answer".to_owned(),
                });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok((response.status(), String::from_utf8_lossy(&bytes).trim_end().to_owned()))
    }
}

/// The checkpoint, if it is by the ledger's own key.
pub(super) fn own_checkpoint(directory: &Path) -> Result<Checkpoint, OfferError> {
    let reader = Reader::open(directory)?;
    let key = reader.file(PUBLIC_KEY, MAX_NOTE_BYTES as u64)?;
    let key = Key::parse(&String::from_utf8_lossy(&key)).map_err(|_| OfferError::NotOurs)?;
    let checkpoint = Checkpoint::parse(&reader.file(CHECKPOINT, MAX_NOTE_BYTES as u64)?)?;
    match checkpoint.by(&key) {
        Signed::Valid(_) => Ok(checkpoint),
        Signed::Invalid | Signed::Absent => Err(OfferError::NotOurs),
    }
}

/// The proof from `old` entries to this checkpoint.
fn proof(
    directory: &Path,
    old: u64,
    checkpoint: &Checkpoint,
) -> Result<Vec<crate::ledger::audit::merkle::Hash>, OfferError> {
    let reader = Reader::open(directory)?;
    let mut tree = Tree::new(&reader, checkpoint.size);
    let proof = prove_consistency(&mut tree, old, checkpoint.size)?;
    let before = root(&mut Tree::new(&reader, checkpoint.size), old)?;
    if old > 0 && !is_consistent(&proof, old, before, checkpoint.size, checkpoint.root) {
        return Err(OfferError::NotOurs);
    }
    debug_assert!(proof.len() <= MAX_PROOF_LINES, "a tree of 2^63 entries has proofs of 63 hashes");
    Ok(proof)
}

/// What this witness signed last of this ledger, as far as we know: one begun anew has another origin.
fn remembered(directory: &Path, witness: &Witness, origin: &str) -> Option<Checkpoint> {
    let head = Checkpoint::parse(&fs::read(path(directory, witness)).ok()?).ok()?;
    (head.origin == origin && matches!(head.by(&witness.key), Signed::Valid(_))).then_some(head)
}

fn path(directory: &Path, witness: &Witness) -> PathBuf {
    directory.join("witness").join(&witness.name)
}

/// Keeps the witness's signature, and only that of what it answered.
fn keep(
    directory: &Path,
    witness: &Witness,
    checkpoint: &Checkpoint,
    answer: &str,
) -> Result<Cosigned, OfferError> {
    let mut head = checkpoint.clone();
    head.signatures.extend(answer.lines().filter_map(SignatureLine::parse));
    let Signed::Valid(time) = head.by(&witness.key) else { return Err(OfferError::Forged) };
    let theirs: Vec<_> = head.lines_by(&witness.key).cloned().collect();
    head.signatures = checkpoint.signatures.iter().cloned().chain(theirs).collect();
    let path = path(directory, witness);
    let broken = |path: &Path| {
        let path = path.to_owned();
        move |source| OfferError::Write { path, source }
    };
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o750).create(parent).map_err(broken(parent))?;
    }
    write_durably(&path, head.to_note().as_bytes(), 0o640).map_err(broken(&path))?;
    merge(directory).map_err(broken(&directory.join(WITNESSED)))?;
    Ok(Cosigned { size: checkpoint.size, time })
}

/// Puts together what most witnesses have signed.
fn merge(directory: &Path) -> io::Result<()> {
    let mut heads: Vec<(usize, Checkpoint)> = Vec::new();
    let mut names: Vec<PathBuf> =
        fs::read_dir(directory.join("witness"))?.filter_map(|file| Some(file.ok()?.path())).collect();
    names.sort_unstable();
    for path in names.into_iter().filter(|path| path.extension().is_none_or(|extension| extension != "new")) {
        let Ok(head) = Checkpoint::parse(&fs::read(&path)?) else { continue };
        match heads.iter_mut().find(|(_, other)| other.text == head.text) {
            Some((count, other)) => {
                *count += 1;
                for line in head.signatures {
                    if !other.signatures.contains(&line) {
                        other.signatures.push(line);
                    }
                }
            }
            None => heads.push((1, head)),
        }
    }
    match heads.into_iter().max_by_key(|(count, head)| (*count, head.size)) {
        Some((_, head)) => write_durably(&directory.join(WITNESSED), head.to_note().as_bytes(), 0o640),
        None => Ok(()),
    }
}
