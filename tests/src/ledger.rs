//! Reads a ledger as its published format says, and checks everything that can be checked.
//!
//! It shares no code with the agent that wrote it: tiles, bundles and paths are read anew from the specifications.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::{Checkpoint, Hash, node_hash, record_hash};

use crate::records::Records;

const WIDTH: usize = 256;

/// A ledger that was found to be right.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Its name.
    pub origin: String,
    /// Every entry, as it was written.
    pub entries: Vec<String>,
}

impl Verified {
    /// Its entries as records.
    ///
    /// # Errors
    ///
    /// When one is not JSON.
    pub fn records(&self) -> Result<Records> {
        let parse = |entry: &String| serde_json::from_str::<Value>(entry).with_context(|| entry.clone());
        Ok(Records(self.entries.iter().map(parse).collect::<Result<_>>()?))
    }
}

/// Verifies a ledger from which nothing was removed.
///
/// # Errors
///
/// With the first thing that is wrong.
pub fn verify(directory: &Path) -> Result<Verified> {
    let read = |name: &str| {
        let path = directory.join(name);
        fs::read(&path).with_context(|| format!("read {}", path.display()))
    };
    let key = String::from_utf8(read("key.pub")?)?;
    let verifier = StandardVerifier::new(key.trim_end()).context("key.pub")?;
    let note = Note::from_bytes(&read("checkpoint")?).context("checkpoint")?;
    note.verify(&VerifierList::new(vec![Box::new(verifier)])).context("signature of the checkpoint")?;
    let Ok(checkpoint) = Checkpoint::from_bytes(note.text()) else {
        bail!("the checkpoint has another form")
    };
    let size = usize::try_from(checkpoint.size())?;

    let mut entries = Vec::new();
    for number in 0..size.div_ceil(WIDTH) {
        let width = (size - number * WIDTH).min(WIDTH);
        let name = path("entries", number, width);
        // An old one is packed.
        let bytes = match read(&name) {
            Ok(bytes) => bytes,
            Err(missing) => match read(&format!("{name}.gz")) {
                Ok(packed) => gunzip(&packed).with_context(|| name.clone())?,
                Err(_) => return Err(missing),
            },
        };
        let bundle = split(&bytes).with_context(|| name.clone())?;
        ensure!(bundle.len() == width, "{name} has {} entries", bundle.len());
        entries.extend(bundle);
    }
    let mut level: Vec<Hash> = entries.iter().map(|entry| record_hash(entry.as_bytes())).collect();
    ensure!(root(&level) == *checkpoint.hash(), "the root is not the one that was signed");
    let mut height = 0;
    while !level.is_empty() {
        for (number, hashes) in level.chunks(WIDTH).enumerate() {
            let name = path(&height.to_string(), number, hashes.len());
            let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
            ensure!(read(&name)? == bytes, "{name} has other hashes");
        }
        level = level.chunks_exact(WIDTH).map(root).collect();
        height += 1;
    }
    Ok(Verified { origin: checkpoint.origin().to_owned(), entries })
}

/// `tile/0/x001/x234/067.p/8`.
fn path(kind: &str, number: usize, width: usize) -> String {
    let mut digits = format!("{:03}", number % 1_000);
    let mut rest = number / 1_000;
    while rest > 0 {
        digits = format!("x{:03}/{digits}", rest % 1_000);
        rest /= 1_000;
    }
    let partial = if width < WIDTH { format!(".p/{width}") } else { String::new() };
    format!("tile/{kind}/{digits}{partial}")
}

fn gunzip(packed: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(packed), &mut bytes)?;
    Ok(bytes)
}

fn split(mut bytes: &[u8]) -> Result<Vec<String>> {
    let mut entries = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length));
        let (entry, rest) = rest.split_at_checked(length).context("it ends within an entry")?;
        entries.push(String::from_utf8(entry.to_vec())?);
        bytes = rest;
    }
    ensure!(bytes.is_empty(), "it ends within a length");
    Ok(entries)
}

/// RFC 6962, section 2.1.
fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => tlog_tiles::EMPTY_HASH,
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node_hash(root(left), root(right))
        }
    }
}

/// Copies a directory of a ledger with all that is below it.
///
/// # Errors
///
/// When something cannot be read or written.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
