//! Where lines go: all of them durably, or none.

use std::{
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use crate::{
    clock::KernelTime,
    record::{
        lifecycle::Event,
        writer::{
            engine::Now,
            files::Files,
            tail::{self, MAX_TAIL_BYTES, Tail},
        },
    },
};

/// Takes whole batches of lines.
pub(crate) trait Target {
    /// Returns when all lines are durable. After an error none of them counts as written; if the target could not
    /// take them back, a later attempt may repeat some.
    fn write(&mut self, lines: &[u8]) -> io::Result<()>;
    /// Opens again before the next batch.
    fn reopen(&mut self);
    /// When [`Self::tick`] should be called next.
    fn due(&self) -> Option<KernelTime> {
        None
    }
    /// Does what waits, when it is due.
    fn tick(&mut self, _now: Now) {}
    /// Does what waits, because there will be no other time.
    fn finish(&mut self, _now: Now) {}
    /// What the target has to say about itself since the last call: it becomes records like any other.
    fn take_events(&mut self) -> Vec<Event> {
        Vec::new()
    }
}

/// A file that others may rename, remove or truncate at any time.
#[derive(Debug)]
pub(crate) struct FileTarget<F: Files> {
    files: F,
    path: PathBuf,
    open: Option<Open<F::File>>,
}

#[derive(Debug)]
struct Open<T> {
    file: T,
    length: u64,
}

impl<F: Files> FileTarget<F> {
    /// Opens the file, ends a torn last line, and says what its end looked like.
    pub(crate) fn open(files: F, path: &Path) -> (Self, io::Result<Tail>) {
        let mut target = Self { files, path: path.to_owned(), open: None };
        let tail = target.open_now();
        (target, tail)
    }

    fn open_now(&mut self) -> io::Result<Tail> {
        let mut file = self.files.open(&self.path)?;
        let bytes = self.files.tail(&file, MAX_TAIL_BYTES)?;
        let tail = tail::inspect(&bytes);
        if tail.torn_bytes > 0 {
            tracing::warn!(
                path = %self.path.display(),
                torn_bytes = tail.torn_bytes,
                "the last line of the record file was torn; ended it, so that the next one can be read"
            );
            append_all(&mut self.files, &mut file, b"\n")?;
            self.files.sync(&mut file)?;
        }
        let length = self.files.length(&file)?;
        self.open = Some(Open { file, length });
        Ok(tail)
    }

    /// Opens again when the path leads elsewhere, and notices when someone cut the file.
    fn follow_rotation(&mut self) -> io::Result<()> {
        if let Some(open) = &mut self.open {
            if !self.files.is_current(&open.file, &self.path)? {
                tracing::info!(path = %self.path.display(), "the record file was rotated; opened a new one");
                self.open = None;
            } else if self.files.length(&open.file)? < open.length {
                tracing::warn!(
                    path = %self.path.display(),
                    "the record file was cut from outside; records written during that moment may be missing in the copy"
                );
            }
        }
        if self.open.is_none() {
            self.open_now()?;
        }
        Ok(())
    }
}

impl<F: Files> Target for FileTarget<F> {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        self.follow_rotation()?;
        let Self { files, open: Some(open), .. } = self else {
            return Err(io::Error::other("the record file is not open"));
        };
        let before = files.length(&open.file)?;
        let written = append_all(files, &mut open.file, lines).and_then(|()| files.sync(&mut open.file));
        match written {
            Ok(()) => {
                open.length = before + lines.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Also after a failed sync: the kernel may have dropped the pages and would report the next sync
                // as a success. Only writing them again makes them durable.
                let is_undone = match files.length(&open.file) {
                    Ok(length) if length > before => files.truncate(&mut open.file, before).is_ok(),
                    Ok(_) => true,
                    Err(_) => false,
                };
                open.length = before;
                if !is_undone {
                    // Opening again looks at the last line and ends it where it is torn.
                    self.open = None;
                }
                Err(error)
            }
        }
    }

    fn reopen(&mut self) {
        self.open = None;
    }
}

fn append_all<F: Files>(files: &mut F, file: &mut F::File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match files.append(file, bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Standard output, when it is the only place: flushed, but how durable it is only its reader knows.
pub(crate) struct ConsoleTarget<W: Write> {
    output: W,
    /// A batch failed half-way: the next one must start on a fresh line.
    is_torn: bool,
}

impl<W: Write> ConsoleTarget<W> {
    pub(crate) const fn new(output: W) -> Self {
        Self { output, is_torn: false }
    }
}

impl<W: Write> Target for ConsoleTarget<W> {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.output.write_all(b"\n")?;
        }
        self.is_torn = true;
        self.output.write_all(lines)?;
        self.output.flush()?;
        self.is_torn = false;
        Ok(())
    }

    fn reopen(&mut self) {}
}
