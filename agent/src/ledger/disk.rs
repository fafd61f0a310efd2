//! The file operations of the ledger, as a trait so that tests can make each of them fail, and the host die between
//! any two.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::fs::{CWD, RenameFlags};

/// Entries name processes, users and addresses: not for everyone on the host.
const FILE_MODE: u32 = 0o640;
const DIRECTORY_MODE: u32 = 0o750;

/// What the ledger does with a file system.
pub(crate) trait Disk: Send + Sync + 'static {
    /// An open file.
    type File;
    /// The whole content.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Names of what is in a directory, in no order.
    fn names(&self, directory: &Path) -> io::Result<Vec<String>>;
    fn length(&self, path: &Path) -> io::Result<u64>;
    /// An empty file, whatever was there before. `secret`: for the owner alone.
    fn create(&self, path: &Path, secret: bool) -> io::Result<Self::File>;
    /// A file that is there, to append to.
    fn open(&self, path: &Path) -> io::Result<Self::File>;
    /// Writes some of the bytes at the end, and says how many.
    fn write(&self, file: &mut Self::File, bytes: &[u8]) -> io::Result<usize>;
    /// Returns when the content is durable.
    fn sync(&self, file: &mut Self::File) -> io::Result<()>;
    fn truncate(&self, path: &Path, length: u64) -> io::Result<()>;
    /// Replaces what is at `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Fails when there is something at `to`.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    fn make_directory(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty one.
    fn remove_directory(&self, path: &Path) -> io::Result<()>;
    /// Returns when the names in it are durable.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
}

/// The real one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RealDisk;

impl Disk for RealDisk {
    type File = File;

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(directory)?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn create(&self, path: &Path, secret: bool) -> io::Result<File> {
        let mode = if secret { 0o600 } else { FILE_MODE };
        File::options().write(true).create(true).truncate(true).mode(mode).open(path)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        File::options().append(true).open(path)
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<usize> {
        file.write(bytes)
    }

    fn sync(&self, file: &mut File) -> io::Result<()> {
        file.sync_data()
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        File::options().write(true).open(path)?.set_len(length)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Some network file systems know no flags; a link does not replace either.
            Err(rustix::io::Errno::INVAL) => {
                fs::hard_link(from, to)?;
                fs::remove_file(from)
            }
            result => Ok(result?),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().mode(DIRECTORY_MODE).create(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

/// Writes everything.
pub(crate) fn write_all<D: Disk>(disk: &D, file: &mut D::File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match disk.write(file, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Nothing is an answer, too.
pub(crate) fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether there is no such file: also where its directory is a file.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Makes a directory, and those above it, durable.
pub(crate) fn make_directories<D: Disk>(disk: &D, path: &Path) -> io::Result<()> {
    match disk.make_directory(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let above = path.parent().filter(|above| !above.as_os_str().is_empty());
            make_directories(disk, above.ok_or(error)?)?;
            match disk.make_directory(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Err(error) => return Err(error),
    }
    match path.parent().filter(|above| !above.as_os_str().is_empty()) {
        Some(above) => disk.sync_directory(above),
        None => Ok(()),
    }
}

/// Puts a file in place whole: written beside, synced, renamed. It is durable when this returns.
pub(crate) fn replace<D: Disk>(disk: &D, beside: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let written = write_beside(disk, beside, bytes, false).and_then(|()| match disk.rename(beside, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_directories(disk, path.parent().ok_or(error)?)?;
            disk.rename(beside, path)
        }
        result => result,
    });
    if written.is_err() {
        // What is left of it may take the room that the next attempt needs.
        let _ = disk.remove(beside);
    }
    written?;
    match path.parent() {
        Some(directory) => disk.sync_directory(directory),
        None => Ok(()),
    }
}

/// Writes and syncs the file that is about to be renamed.
pub(crate) fn write_beside<D: Disk>(disk: &D, beside: &Path, bytes: &[u8], secret: bool) -> io::Result<()> {
    let mut file = disk.create(beside, secret)?;
    write_all(disk, &mut file, bytes)?;
    disk.sync(&mut file)
}
