//! A file of JSON lines, durable before the cursor moves, that follows rotation.
//!
//! An agent that is killed between a batch and its cursor leaves lines that the next one would write again, the last of
//! them perhaps torn. Unlike other receivers a file can be asked what it has: the first batch begins where the end of
//! the file leaves off, in the middle of a line if need be.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
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

/// Bytes at the end of the file that are compared: some batches of the usual size. What is beyond comes twice.
const TAIL_BYTES: u64 = 8 << 20;

/// See the module.
pub(super) struct Jsonl {
    format: Format,
    speaker: Speaker,
    /// Shared with the thread that writes.
    output: Arc<Mutex<Output>>,
}

struct Output {
    path: PathBuf,
    /// Opened with the first batch.
    target: Option<FileTarget<Disk>>,
    /// What the file has of batches whose cursor was not written; none when that is not known yet.
    ahead: Option<Vec<u8>>,
}

impl Jsonl {
    pub(super) fn new(path: PathBuf, format: Format, speaker: Speaker) -> Self {
        let output = Output { path, target: None, ahead: None };
        Self { format, speaker, output: Arc::new(Mutex::new(output)) }
    }
}

impl Deliver for Jsonl {
    async fn deliver(&mut self, batch: &[Entry]) -> Outcome {
        let (format, speaker) = (self.format, self.speaker.clone());
        let (output, batch) = (Arc::clone(&self.output), batch.to_vec());
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
            let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
            output.write(&lines).map(|()| rejected)
        });
        match written.await {
            Ok(rejected) => Outcome::Taken { entries, rejected },
            Err(error) => Outcome::Retry { reason: error.to_string(), after: None },
        }
    }
}

impl Output {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        self.write_what_is_missing(lines).map_err(|error| {
            io::Error::new(error.kind(), format!("writing {}: {error}", self.path.display()))
        })
    }

    fn write_what_is_missing(&mut self, lines: &[u8]) -> io::Result<()> {
        let ahead = match self.ahead.take() {
            Some(ahead) => ahead,
            None => already_there(&end_of(&self.path)?, lines).to_vec(),
        };
        if !lines.is_empty() && ahead.starts_with(lines) {
            // Written by an agent that may not have come to sync it.
            File::options().append(true).open(&self.path)?.sync_all()?;
            self.ahead = Some(ahead[lines.len()..].to_vec());
            return Ok(());
        }
        let mut missing = lines.strip_prefix(&*ahead).unwrap_or(lines);
        if missing.len() < lines.len() && !ahead.ends_with(b"\n") {
            let end = missing.iter().position(|byte| *byte == b'\n').map_or(missing.len(), |at| at + 1);
            let mut file = File::options().append(true).open(&self.path)?;
            file.write_all(&missing[..end])?;
            file.sync_all()?;
            missing = &missing[end..];
        }
        let target = match &mut self.target {
            Some(target) => target,
            none => {
                let (opened, tail) = FileTarget::open(Disk, &self.path);
                tail?;
                none.insert(opened)
            }
        };
        target.write(missing)?;
        self.ahead = Some(Vec::new());
        Ok(())
    }
}

/// The end of the file; nothing when there is no file.
fn end_of(path: &Path) -> io::Result<Vec<u8>> {
    let length = match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        // A pipe would keep whoever opens it.
        Ok(found) if !found.is_file() => {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        found => found?.len(),
    };
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The part at the end of `tail` that is the beginning of `lines`, or begins with all of them.
fn already_there<'a>(tail: &'a [u8], lines: &[u8]) -> &'a [u8] {
    let after_newlines = tail.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    // From the front: where whole lines fit, a torn one at the end does not decide.
    std::iter::once(0)
        .chain(after_newlines)
        .map(|start| &tail[start..])
        .find(|rest| lines.starts_with(rest) || rest.starts_with(lines))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines that are to be written, what is in the file before, what then is in it.
    fn check(before: &str, batches: &[&str], after: &str) {
        let directory = tempfile::TempDir::new().expect("a directory");
        let path = directory.path().join("records.jsonl");
        if !before.is_empty() {
            std::fs::write(&path, before).expect("written");
        }
        let mut output = Output { path: path.clone(), target: None, ahead: None };
        for batch in batches {
            output.write(batch.as_bytes()).expect("written");
        }
        let text = std::fs::read_to_string(&path).expect("a file");
        assert_eq!(text, after, "{before:?} {batches:?}");
    }

    #[test]
    fn what_an_agent_left_that_was_killed_is_not_written_again() {
        check("", &["{1}\n{2}\n", "{3}\n"], "{1}\n{2}\n{3}\n");
        check("{0}\n", &["{1}\n{2}\n"], "{0}\n{1}\n{2}\n");
        // All of the batch is there, and part of it.
        check("{0}\n{1}\n{2}\n", &["{1}\n{2}\n", "{3}\n"], "{0}\n{1}\n{2}\n{3}\n");
        check("{0}\n{1}\n", &["{1}\n{2}\n", "{3}\n"], "{0}\n{1}\n{2}\n{3}\n");
        // The next batches are smaller than the one that was written.
        check("{0}\n{1}\n{2}\n{3}\n", &["{1}\n", "{2}\n", "{3}\n{4}\n"], "{0}\n{1}\n{2}\n{3}\n{4}\n");
    }

    #[test]
    fn a_torn_line_is_written_to_its_end() {
        check("{0}\n{1}\n{2", &["{1}\n{2}\n{3}\n", "{4}\n"], "{0}\n{1}\n{2}\n{3}\n{4}\n");
        check("{0}\n{", &["{1}\n", "{2}\n"], "{0}\n{1}\n{2}\n");
        check("{0}\n{1}\n{2", &["{1}\n", "{2}\n"], "{0}\n{1}\n{2}\n");
    }

    #[test]
    fn lines_of_others_are_left_alone() {
        check("not ours\n", &["{1}\n"], "not ours\n{1}\n");
        check("not ours", &["{1}\n"], "not ours\n{1}\n");
    }

    #[test]
    fn a_file_that_is_gone_is_begun_anew() {
        let directory = tempfile::TempDir::new().expect("a directory");
        let path = directory.path().join("records.jsonl");
        let mut output = Output { path: path.clone(), target: None, ahead: None };
        output.write(b"{1}\n").expect("written");
        std::fs::remove_file(&path).expect("removed");
        output.write(b"{2}\n").expect("written");
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), "{2}\n");
    }
}
