//! The few file operations the writer needs, as a trait so that tests can make each of them fail.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

/// Records name processes, users and addresses: not for everyone on the host.
const MODE: u32 = 0o640;

/// What the writer does with files.
pub(crate) trait Files {
    /// An open file.
    type File;
    /// Opens for appending; creates the file, durably, if there is none.
    fn open(&mut self, path: &Path) -> io::Result<Self::File>;
    /// Whether the path still leads to this file.
    fn is_current(&mut self, file: &Self::File, path: &Path) -> io::Result<bool>;
    fn length(&mut self, file: &Self::File) -> io::Result<u64>;
    /// Writes some of the bytes at the end, and says how many.
    fn append(&mut self, file: &mut Self::File, bytes: &[u8]) -> io::Result<usize>;
    fn truncate(&mut self, file: &mut Self::File, length: u64) -> io::Result<()>;
    /// Returns when the contents are durable.
    fn sync(&mut self, file: &mut Self::File) -> io::Result<()>;
    /// The last bytes of the file, at most so many.
    fn tail(&mut self, file: &Self::File, max_bytes: usize) -> io::Result<Vec<u8>>;
}

/// The real one.
#[derive(Debug)]
pub(crate) struct Disk;

impl Files for Disk {
    type File = File;

    fn open(&mut self, path: &Path) -> io::Result<File> {
        let is_new = !path.exists();
        let file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .mode(MODE)
            // A named pipe in the place of the file would otherwise block here until someone reads it.
            .custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32)
            .open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        if is_new {
            // The entry in the directory must survive a power cut as well.
            File::open(directory(path))?.sync_all()?;
        }
        Ok(file)
    }

    fn is_current(&mut self, file: &File, path: &Path) -> io::Result<bool> {
        let here = file.metadata()?;
        match path.metadata() {
            Ok(there) => Ok((here.dev(), here.ino()) == (there.dev(), there.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn length(&mut self, file: &File) -> io::Result<u64> {
        Ok(file.metadata()?.len())
    }

    fn append(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<usize> {
        file.write(bytes)
    }

    fn truncate(&mut self, file: &mut File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    fn sync(&mut self, file: &mut File) -> io::Result<()> {
        file.sync_data()
    }

    fn tail(&mut self, file: &File, max_bytes: usize) -> io::Result<Vec<u8>> {
        let length = file.metadata()?.len();
        let start = length.saturating_sub(max_bytes as u64);
        let mut bytes = vec![0; (length - start) as usize];
        file.read_exact_at(&mut bytes, start)?;
        Ok(bytes)
    }
}

/// The directory a file is in.
pub(crate) fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
