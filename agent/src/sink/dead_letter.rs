//! What a receiver refused for good: one line each, synced before the cursor moves past it.
//!
//! The ledger still has the entry; the file is where a person looks first. It is cut in two generations, so that a
//! receiver that refuses everything fills no disk.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::de::IgnoredAny;

use crate::{clock::WallTime, ledger::Entry};

/// Bytes of one generation. There are two.
const MAX_BYTES: u64 = 32 << 20;

/// The file of one sink.
#[derive(Clone, Debug)]
pub(super) struct DeadLetters {
    sink: String,
    path: PathBuf,
}

impl DeadLetters {
    pub(super) fn new(directory: &Path, sink: &str) -> Self {
        Self { sink: sink.to_owned(), path: directory.join(format!("{sink}.jsonl")) }
    }

    /// Writes them, durably. Blocks.
    pub(super) fn write(&self, letters: &[(Entry, String)], now: WallTime) -> io::Result<()> {
        let mut text = String::new();
        for (entry, reason) in letters {
            text.push_str(&self.letter(entry, reason, now)?);
        }
        let is_full = fs::metadata(&self.path).is_ok_and(|data| data.len() >= MAX_BYTES);
        if is_full {
            fs::rename(&self.path, self.path.with_extension("jsonl.1"))?;
        }
        let is_new = is_full || !self.path.exists();
        let mut file = File::options().append(true).create(true).mode(0o600).open(&self.path)?;
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        if let (true, Some(directory)) = (is_new, self.path.parent()) {
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    }

    /// The record as it stands in the ledger; as a text where it is no JSON.
    fn letter(&self, entry: &Entry, reason: &str, now: WallTime) -> io::Result<String> {
        let record = match serde_json::from_str::<IgnoredAny>(&entry.record) {
            Ok(_) => entry.record.to_string(),
            Err(_) => serde_json::to_string(&*entry.record)?,
        };
        let text = |text: &str| serde_json::to_string(text);
        let (sink, reason) = (text(&self.sink)?, text(reason)?);
        let index = entry.index;
        Ok(format!(
            "{{\"time\":\"{now}\",\"sink\":{sink},\"index\":{index},\"reason\":{reason},\"record\":{record}}}\n"
        ))
    }
}
