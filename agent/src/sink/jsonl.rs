//! A file of JSON lines, durable before the cursor moves, that follows rotation.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    deliver::{Deliver, Outcome, Rejected},
    format::{self, Format, Speaker},
    worker::blocking,
};
use crate::{
    ledger::Entry,
    record::writer::{
        files::Disk,
        target::{FileTarget, Target as _},
    },
};

/// See the module.
pub(super) struct Jsonl {
    path: PathBuf,
    format: Format,
    speaker: Speaker,
    /// Opened with the first batch. Shared with the thread that writes.
    target: Arc<Mutex<Option<FileTarget<Disk>>>>,
}

impl Jsonl {
    pub(super) fn new(path: PathBuf, format: Format, speaker: Speaker) -> Self {
        Self { path, format, speaker, target: Arc::default() }
    }
}

impl Deliver for Jsonl {
    async fn deliver(&mut self, batch: &[Entry]) -> Outcome {
        let (path, format, speaker) = (self.path.clone(), self.format, self.speaker.clone());
        let (target, batch) = (Arc::clone(&self.target), batch.to_vec());
        let entries = batch.len();
        let written = blocking(move || {
            let mut lines = Vec::new();
            let mut rejected = Vec::new();
            for entry in &batch {
                match format::body(format, &speaker, entry) {
                    Ok(body) => {
                        lines.extend_from_slice(body.as_bytes());
                        lines.push(b'\n');
                    }
                    Err(error) => rejected.push(Rejected { index: entry.index, reason: error.to_string() }),
                }
            }
            let mut target = target.lock().unwrap_or_else(PoisonError::into_inner);
            let target = match &mut *target {
                Some(target) => target,
                none => {
                    let (opened, tail) = FileTarget::open(Disk, &path);
                    tail?;
                    none.insert(opened)
                }
            };
            target.write(&lines)?;
            Ok(rejected)
        });
        match written.await {
            Ok(rejected) => Outcome::Taken { entries, rejected },
            Err(error) => {
                Outcome::Retry { reason: format!("writing {}: {error}", self.path.display()), after: None }
            }
        }
    }
}
