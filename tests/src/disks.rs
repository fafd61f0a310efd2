//! Disks that fail as real ones do, gone when dropped.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

/// A disk that stops taking data, and takes them again.
pub trait Breakable {
    /// The directory that is on it.
    fn path(&self) -> PathBuf;
    /// From now on it takes nothing.
    fn fail(&mut self) -> Result<()>;
    /// It takes data again, and has what it had.
    fn mend(&mut self) -> Result<()>;
}

/// A file system of its own, unmounted when dropped.
struct Mount(TempDir);

impl Mount {
    fn new(arguments: &[&str]) -> Result<Self> {
        let mount = Self(TempDir::new()?);
        run("mount", arguments, mount.path())?;
        Ok(mount)
    }

    /// The file system in a file.
    fn image(image: &Path, options: &str) -> Result<Self> {
        Self::new(&["-o", options, &image.display().to_string()])
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

/// A file system in memory, of a size.
pub struct TinyDisk(Mount);

impl TinyDisk {
    /// `size` as tmpfs wants it: `1m`.
    pub fn new(size: &str) -> Result<Self> {
        Mount::new(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).map(Self)
    }

    /// The directory that is on it.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// A file system that becomes read-only at the first error.
pub struct Ext4 {
    mount: Mount,
    image: PathBuf,
    _files: TempDir,
}

const READ_ONLY_AT_ERROR: &str = "loop,errors=remount-ro";

impl Ext4 {
    /// An empty one of `bytes`.
    pub fn new(bytes: u64) -> Result<Self> {
        let files = TempDir::new()?;
        let image = files.path().join("image");
        fs::File::create(&image)?.set_len(bytes)?;
        run("mkfs.ext4", &["-q", "-F"], &image)?;
        Ok(Self { mount: Mount::image(&image, READ_ONLY_AT_ERROR)?, image, _files: files })
    }
}

impl Breakable for Ext4 {
    fn path(&self) -> PathBuf {
        self.mount.path().to_owned()
    }

    /// The kernel finds an error in it, or believes so.
    fn fail(&mut self) -> Result<()> {
        let mounts = fs::read_to_string("/proc/mounts")?;
        let at = self.path().display().to_string();
        let line =
            mounts.lines().find(|line| line.split(' ').nth(1) == Some(&at)).context("it is mounted")?;
        let device =
            line.strip_prefix("/dev/").and_then(|line| line.split(' ').next()).context("a device")?;
        Ok(fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "1")?)
    }

    /// What is on it, on another disk in its place: the kernel gives the broken one up only when nobody uses it any more.
    fn mend(&mut self) -> Result<()> {
        run("umount", &["--lazy"], self.mount.path())?;
        let other = self.image.with_extension("copy");
        fs::copy(&self.image, &other)?;
        let image = other.display().to_string();
        run("mount", &["-o", READ_ONLY_AT_ERROR, &image], self.mount.path())?;
        self.image = other;
        Ok(())
    }
}

/// A block device whose writes fail with `EIO` while the file below it is immutable: ext4 refuses to write to it, and the
/// loop device knows no other word for that. The file system on it has no journal, or the first error would end it.
pub struct LooseDisk {
    mount: Mount,
    below: Ext4,
}

impl LooseDisk {
    /// An empty one of 16 MiB.
    pub fn new() -> Result<Self> {
        let below = Ext4::new(32 << 20)?;
        let image = Self::image(&below);
        fs::File::create(&image)?.set_len(16 << 20)?;
        // Nothing of the tables is left to be written by the kernel, at a time of its own.
        run("mkfs.ext4", &["-q", "-F", "-O", "^has_journal", "-E", "lazy_itable_init=0"], &image)?;
        Ok(Self { mount: Mount::image(&image, "loop,errors=continue")?, below })
    }

    fn image(below: &Ext4) -> PathBuf {
        below.path().join("image")
    }
}

impl Breakable for LooseDisk {
    fn path(&self) -> PathBuf {
        self.mount.path().to_owned()
    }

    fn fail(&mut self) -> Result<()> {
        run("chattr", &["+i"], &Self::image(&self.below))
    }

    fn mend(&mut self) -> Result<()> {
        run("chattr", &["-i"], &Self::image(&self.below))
    }
}

impl Drop for LooseDisk {
    fn drop(&mut self) {
        let _ = self.mend();
    }
}

/// A directory of btrfs with a limit of 4 MiB: its quotas count for root, too.
pub struct Quota {
    mount: Mount,
    _files: TempDir,
}

impl Quota {
    /// An empty one.
    pub fn new() -> Result<Self> {
        let files = TempDir::new()?;
        let image = files.path().join("image");
        fs::File::create(&image)?.set_len(200 << 20)?;
        run("mkfs.btrfs", &["-q"], &image)?;
        let disk = Self { mount: Mount::image(&image, "loop")?, _files: files };
        run("btrfs", &["quota", "enable"], disk.mount.path())?;
        run("btrfs", &["subvolume", "create"], &disk.path())?;
        disk.limit("4M")?;
        Ok(disk)
    }

    fn limit(&self, bytes: &str) -> Result<()> {
        run("btrfs", &["qgroup", "limit", bytes], &self.path())
    }
}

impl Breakable for Quota {
    fn path(&self) -> PathBuf {
        self.mount.path().join("limited")
    }

    /// Uses up whatever room there is: first in large pieces, then in small ones.
    fn fail(&mut self) -> Result<()> {
        for (name, piece) in [("large", 1 << 20), ("small", 4096)] {
            // There may be no room for the name of another file.
            let Ok(mut filler) = fs::File::create(self.path().join(name)) else { break };
            while filler.write_all(&vec![1; piece]).and_then(|()| filler.sync_all()).is_ok() {}
        }
        Ok(())
    }

    fn mend(&mut self) -> Result<()> {
        self.limit("none")
    }
}

/// Runs a program, which has to succeed.
fn run(program: &str, arguments: &[&str], at: &Path) -> Result<()> {
    let output =
        Command::new(program).args(arguments).arg(at).output().with_context(|| program.to_owned())?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments:?} {}: {said}", at.display());
    Ok(())
}
