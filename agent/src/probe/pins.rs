//! Where maps and links stay while no agent runs: a directory in a bpffs.
//!
//! ```text
//!   PIN_DIR/sets/3/SLOTS, FREE, ...   the maps that the programs use; several sets only while one is drained
//!   PIN_DIR/links/account_egress      links: as long as they are pinned, the programs run
//!   PIN_DIR/links/frames_ethernet-2   those of interfaces carry the interface's index
//!   PIN_DIR/qdiscs/2                  before Linux 6.6: we made the clsact qdisc of this interface; a mark, empty
//!   PIN_DIR/new/                      a set being made; a leftover of it is of no use to anybody
//! ```
//!
//! A set appears under its number by a rename, when it is complete; a link replaces another one the same way. So
//! whenever the agent is killed, what is there is whole.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::fd::OwnedFd,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use homeport_ebpf::layout::{self, Field, MAPS, MapShape, Shared, TABLE_ENTRIES};
use rustix::{
    fs::FlockOperation,
    mount::{MountFlags, mount},
};

use super::sys::{
    self,
    objects::{MapInfo, create_map, map_info, open_pinned, pin},
};
use crate::clock::WallTime;

/// `BPF_FS_MAGIC`
const BPFFS: i64 = 0xcafe_4a11;
/// Where a bpffs is mounted on every host that has one.
const BPFFS_MOUNT: &str = "/sys/fs/bpf";

/// Why nothing can be pinned.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// Another agent works with the same directory.
    #[error("another agent ({}) runs with {}; stop it first, or give this one its own", who(*pid), path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Its process, if that can be found out.
        pid: Option<u32>,
    },
    /// The directory cannot be used.
    #[error("{}: {error}", path.display())]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

fn who(pid: Option<u32>) -> String {
    pid.map_or_else(|| "process unknown".to_owned(), |pid| format!("process {pid}"))
}

/// A directory that no other agent works with.
#[derive(Debug)]
pub struct DirectoryLock {
    _directory: File,
}

impl DirectoryLock {
    /// Locks a directory for as long as the value lives. The kernel unlocks it when the process ends, however it
    /// does.
    ///
    /// # Errors
    ///
    /// [`PinError::InUse`] when another process has it.
    pub fn take(path: &Path) -> Result<Self, PinError> {
        let unusable = |error| PinError::Unusable { path: path.to_owned(), error };
        let directory = OpenOptions::new().read(true).open(path).map_err(unusable)?;
        match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _directory: directory }),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let inode = directory.metadata().map(|metadata| metadata.ino()).unwrap_or_default();
                let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
                Err(PinError::InUse { path: path.to_owned(), pid: holder(&locks, inode) })
            }
            Err(error) => Err(unusable(error.into())),
        }
    }
}

/// The process that locks an inode: `1: FLOCK  ADVISORY  WRITE 4711 00:1a:33 0 EOF`.
fn holder(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let is_flock = words.next() == Some("FLOCK");
        let pid = words.nth(2)?.parse().ok()?;
        let place = words.next()?;
        (is_flock && place.rsplit(':').next()?.parse() == Ok(inode)).then_some(pid)
    })
}

/// The directory, locked.
#[derive(Debug)]
pub(super) struct Pins {
    root: PathBuf,
    _lock: DirectoryLock,
}

/// One set of maps.
#[derive(Clone, Debug)]
pub(super) struct Set {
    pub(super) number: u32,
    pub(super) path: PathBuf,
}

/// What a set is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SetState {
    /// Where its fields are.
    pub(super) table: Box<[u64; TABLE_ENTRIES as usize]>,
    /// This build can go on with it; any other one it can read out.
    pub(super) is_same: bool,
}

/// What the maps are made for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    pub(super) slots: u32,
    pub(super) ring_bytes: u32,
    /// Inode number of the network namespace whose interfaces are counted.
    pub(super) namespace: u64,
}

impl Scale {
    pub(super) const fn hash(self) -> u64 {
        layout::hash(self.slots, self.ring_bytes)
    }

    fn shape(self, map: &MapShape) -> MapInfo {
        MapInfo {
            map_type: map.kind,
            id: 0,
            key_size: map.key_size,
            value_size: map.value_size,
            max_entries: map.max_entries(self.slots, self.ring_bytes),
            map_flags: map.flags,
        }
    }
}

impl Pins {
    /// Opens the directory, makes it when it is missing, and mounts a bpffs where the host has none.
    pub(super) fn open(root: &Path) -> Result<Self, PinError> {
        let unusable = |error| PinError::Unusable { path: root.to_owned(), error };
        if !is_bpffs(root) {
            let is_usual = root.starts_with(BPFFS_MOUNT);
            if !is_usual || is_bpffs(Path::new(BPFFS_MOUNT)) {
                return Err(unusable(io::Error::new(io::ErrorKind::Unsupported, "not in a bpffs")));
            }
            let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            mount("bpf", BPFFS_MOUNT, "bpf", flags, c"mode=0700").map_err(|error| {
                unusable(io::Error::new(
                    io::Error::from(error).kind(),
                    format!("no bpffs is mounted at {BPFFS_MOUNT}, and mounting one failed: {error}"),
                ))
            })?;
            if is_of_first_process() {
                tracing::info!(at = BPFFS_MOUNT, "mounted a bpffs");
            } else {
                // `ip netns exec` and `unshare --mount` give one that ends with what they run.
                tracing::warn!(
                    at = BPFFS_MOUNT,
                    "mounted a bpffs in a mount namespace that is not the first process's: counting goes on without an agent only as long as that namespace is there"
                );
            }
        }
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        for directory in [root.to_owned(), root.join("sets"), root.join("links")] {
            builder.create(directory).map_err(unusable)?;
        }
        let lock = DirectoryLock::take(root)?;
        let pins = Self { root: root.to_owned(), _lock: lock };
        // What a killed agent left half done.
        remove_tree(&pins.new_set()).map_err(unusable)?;
        for (name, path) in pins.links().map_err(unusable)? {
            if name.ends_with(UNFINISHED) {
                fs::remove_file(path).map_err(unusable)?;
            }
        }
        Ok(pins)
    }

    /// Every set, the oldest first.
    pub(super) fn sets(&self) -> io::Result<Vec<Set>> {
        let mut sets: Vec<Set> = fs::read_dir(self.root.join("sets"))?
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let number = entry.file_name().to_str()?.parse().ok()?;
                Some(Set { number, path: entry.path() })
            })
            .collect();
        sets.sort_by_key(|set| set.number);
        Ok(sets)
    }

    /// Where a new set is made.
    pub(super) fn new_set(&self) -> PathBuf {
        self.root.join("new")
    }

    pub(super) fn begin_set(&self) -> io::Result<PathBuf> {
        let path = self.new_set();
        remove_tree(&path)?;
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(path)
    }

    /// The new set is complete.
    pub(super) fn finish_set(&self) -> io::Result<Set> {
        let number = self.sets()?.last().map_or(1, |set| set.number + 1);
        let path = self.root.join("sets").join(number.to_string());
        fs::rename(self.new_set(), &path)?;
        Ok(Set { number, path })
    }

    /// Nobody needs the set any more.
    pub(super) fn remove_set(set: &Set) -> io::Result<()> {
        remove_tree(&set.path)
    }

    pub(super) fn link(&self, name: &str) -> PathBuf {
        self.root.join("links").join(name)
    }

    /// Pins a link under a name, in place of what has it now.
    pub(super) fn pin_link(&self, link: impl std::os::fd::AsFd, name: &str) -> io::Result<PathBuf> {
        let (path, unfinished) = (self.link(name), self.link(&format!("{name}{UNFINISHED}")));
        pin(link, &unfinished)?;
        fs::rename(&unfinished, &path)?;
        Ok(path)
    }

    /// Notes that a clsact qdisc is being made; false when that was noted before, or cannot be.
    pub(super) fn note_qdisc(&self, interface: u32) -> bool {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        let _ = builder.create(self.root.join("qdiscs"));
        fs::create_dir(self.root.join("qdiscs").join(interface.to_string())).is_ok()
    }

    /// It is not ours, or gone.
    pub(super) fn forget_qdisc(&self, interface: u32) {
        let _ = fs::remove_dir(self.root.join("qdiscs").join(interface.to_string()));
    }

    /// Interfaces whose clsact qdisc is ours.
    pub(super) fn qdiscs(&self) -> Vec<u32> {
        let entries = fs::read_dir(self.root.join("qdiscs")).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// Every pinned link with its name.
    pub(super) fn links(&self) -> io::Result<Vec<(String, PathBuf)>> {
        Ok(fs::read_dir(self.root.join("links"))?
            .filter_map(|entry| {
                let entry = entry.ok()?;
                Some((entry.file_name().into_string().ok()?, entry.path()))
            })
            .collect())
    }

    /// Removes everything: counting ends.
    pub(super) fn clear(&self) -> io::Result<()> {
        self.remove_parts(&["links", "sets", "new"])?;
        for directory in ["sets", "links"] {
            fs::DirBuilder::new().mode(0o700).create(self.root.join(directory))?;
        }
        Ok(())
    }

    /// The same with the directory itself, unless others keep something there: it may be the root of a bpffs.
    pub(super) fn remove(self) -> io::Result<()> {
        self.remove_parts(&["links", "sets", "new", "qdiscs"])?;
        let _ = fs::remove_dir(&self.root);
        Ok(())
    }

    fn remove_parts(&self, names: &[&str]) -> io::Result<()> {
        names.iter().try_for_each(|name| remove_tree(&self.root.join(name)))
    }
}

/// Whether this process has the mount namespace of the first one, as far as can be known.
fn is_of_first_process() -> bool {
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt"));
    match (namespace("self"), namespace("1")) {
        (Ok(own), Ok(first)) => own == first,
        (Err(_), _) | (_, Err(_)) => true,
    }
}

/// Ends the names of links that are not yet under their own.
const UNFINISHED: &str = "+";

/// Whether the nearest directory above that exists is in a bpffs.
pub(super) fn is_bpffs(path: &Path) -> bool {
    path.ancestors()
        .find(|path| path.exists())
        .is_some_and(|path| rustix::fs::statfs(path).is_ok_and(|filesystem| filesystem.f_type == BPFFS))
}

/// Removes a directory with all below. A bpffs has only files and directories.
fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// When something was pinned: the time at which its name was made.
pub(super) fn pinned_at(path: &Path) -> Option<WallTime> {
    let metadata = fs::metadata(path).ok()?;
    Some(WallTime(metadata.mtime().checked_mul(1_000_000_000)?.checked_add(metadata.mtime_nsec())?))
}

impl Set {
    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// What this set is to a build of this scale. The error says why it is of no use: somebody touched it, or it is
    /// of another network namespace.
    pub(super) fn state(&self, scale: Scale) -> Result<SetState, String> {
        let table = read_table(&self.map(layout::LAYOUT.name))
            .map_err(|error| format!("its layout table: {error}"))?;
        if table[Field::Magic as usize] != layout::MAGIC {
            return Err("its layout table is none".to_owned());
        }
        if table[Field::Namespace as usize] != scale.namespace {
            return Err("it belongs to another network namespace".to_owned());
        }
        let is_same = table[Field::Hash as usize] == scale.hash();
        for shape in &MAPS {
            match open_pinned(&self.map(shape.name)).and_then(map_info) {
                Ok(_) if !is_same => {}
                Ok(info) if MapInfo { id: 0, ..info } == scale.shape(shape) => {}
                Ok(_) => return Err(format!("map {} has another shape", shape.name)),
                // Another build may have other maps.
                Err(_) if !is_same => {}
                Err(error) => return Err(format!("map {}: {error}", shape.name)),
            }
        }
        Ok(SetState { table: Box::new(table), is_same })
    }
}

fn read_table(path: &Path) -> io::Result<[u64; TABLE_ENTRIES as usize]> {
    let map = open_pinned(path)?;
    let info = map_info(&map)?;
    if (info.key_size, info.value_size) != (4, 8) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "another kind of map"));
    }
    let mut table = [0; TABLE_ENTRIES as usize];
    for (entry, idx) in table.iter_mut().zip(0..info.max_entries) {
        *entry = sys::lookup(&map, &idx)?.unwrap_or_default();
    }
    Ok(table)
}

/// What tells a set from others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    /// No other set has it, of other directories and boots either.
    pub(super) maps: u64,
    /// No slot of it has had a generation below.
    pub(super) first_generation: u32,
}

impl Identity {
    /// Maps that end with the agent.
    pub(super) const UNPINNED: Self = Self { maps: 0, first_generation: 1 };
}

/// What the table of a set says of it.
pub(super) fn identity(set: &Path) -> io::Result<Identity> {
    let table = read_table(&set.join(layout::LAYOUT.name))?;
    let first_generation = u32::try_from(table[Field::FirstGeneration as usize]).unwrap_or_default();
    Ok(Identity { maps: table[Field::Identity as usize], first_generation })
}

/// The set that a new one follows, and where its fields are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Predecessor<'a> {
    pub(super) set: &'a Set,
    pub(super) table: &'a [u64; TABLE_ENTRIES as usize],
    /// The highest generation of all slots that sockets may still remember; `None` when that cannot be told.
    pub(super) highest_generation: Option<u32>,
}

impl Predecessor<'_> {
    /// The map, if this build can go on with it.
    fn shared(&self, shape: &MapShape, scale: Scale) -> io::Result<Option<OwnedFd>> {
        let is_understood = match shape.shared {
            Shared::Not => false,
            Shared::Numbers => true,
            Shared::Content(field) => self.table[field as usize] == layout::content(field),
        };
        // References to slots that cannot be told from those of the new ones must not be met.
        let is_safe = shape.name != layout::SOCKETS.name || self.highest_generation.is_some();
        if !is_understood || !is_safe {
            return Ok(None);
        }
        let Ok(map) = open_pinned(&self.set.map(shape.name)) else { return Ok(None) };
        let is_same = MapInfo { id: 0, ..map_info(&map)? } == scale.shape(shape);
        Ok(is_same.then_some(map))
    }
}

/// Makes the maps of a new set that the programs do not know: the layout table and the baselines; and takes over
/// the maps of an earlier set that are still the same.
pub(super) fn prepare_set(path: &Path, scale: Scale, predecessor: Option<Predecessor<'_>>) -> io::Result<()> {
    let mut first_generation = 1;
    if let Some(predecessor) = predecessor {
        for shape in &MAPS {
            if let Some(map) = predecessor.shared(shape, scale)? {
                pin(&map, &path.join(shape.name))?;
            }
        }
        // A life of a slot takes seconds: the end of the numbers is more than a century away.
        first_generation = predecessor.highest_generation.unwrap_or_default().saturating_add(1);
    }
    let table = create_map(scale.shape(&layout::LAYOUT))?;
    let made = layout::Made {
        hash: scale.hash(),
        namespace: scale.namespace,
        identity: WallTime::now().0 as u64,
        first_generation,
    };
    for (idx, entry) in (0_u32..).zip(layout::table(made)) {
        sys::update(&table, &idx, &entry)?;
    }
    pin(&table, &path.join(layout::LAYOUT.name))?;
    let baselines = create_map(scale.shape(&layout::BASELINES))?;
    pin(&baselines, &path.join(layout::BASELINES.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_behind_a_lock_is_found() {
        let locks =
            "1: POSIX  ADVISORY  WRITE 11 00:1a:33 0 EOF\n2: FLOCK  ADVISORY  WRITE 4711 00:1a:33 0 EOF\n";
        assert_eq!(holder(locks, 33), Some(4711));
        assert_eq!(holder(locks, 34), None);
    }

    #[test]
    fn a_directory_has_one_agent() {
        let directory = tempfile::tempdir().expect("directory");
        let lock = DirectoryLock::take(directory.path()).expect("free");
        let error = DirectoryLock::take(directory.path()).expect_err("taken").to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(lock);
        DirectoryLock::take(directory.path()).expect("free again");
    }
}
