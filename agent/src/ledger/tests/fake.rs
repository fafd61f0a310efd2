//! A file system in memory: what is not synced may be lost when the host dies, in whole or in part.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use rustix::io::Errno;

use crate::ledger::disk::Disk;

#[derive(Clone, Debug, Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    File(usize),
    Directory,
}

/// What happens to operations from now on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fault {
    #[default]
    None,
    /// After so many further operations the process is gone: nothing it does has an effect.
    Die(u32),
    /// After so many further operations the next ones fail, so often.
    Fail(u32, u32),
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    live: BTreeMap<PathBuf, Named>,
    durable: BTreeMap<PathBuf, Named>,
    fault: Fault,
    /// Bytes that still fit.
    room: Option<usize>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Fake(Arc<Mutex<State>>);

/// Repeats with the seed.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

impl Fake {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics within")
    }

    /// One operation; whether it may have an effect.
    fn step(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        match &mut state.fault {
            Fault::None => {}
            Fault::Die(0) => return Err(Errno::SHUTDOWN.into()),
            Fault::Fail(0, 0) => state.fault = Fault::None,
            Fault::Fail(0, times) => {
                *times -= 1;
                return Err(Errno::IO.into());
            }
            Fault::Die(left) | Fault::Fail(left, _) => *left -= 1,
        }
        Ok(state)
    }

    pub(super) fn set(&self, fault: Fault) {
        self.state().fault = fault;
    }

    pub(super) fn set_room(&self, room: Option<usize>) {
        self.state().room = room;
    }

    /// The power is cut: of what was not synced, anything may be there.
    pub(super) fn cut_power(&self, dice: &mut Dice) {
        let mut state = self.state();
        let state = &mut *state;
        let mut names = BTreeMap::new();
        let all: Vec<PathBuf> = state.live.keys().chain(state.durable.keys()).cloned().collect();
        for path in all {
            let chosen = if dice.roll(2) == 0 { state.live.get(&path) } else { state.durable.get(&path) };
            if let Some(named) = chosen {
                names.insert(path, *named);
            }
        }
        let orphans: Vec<PathBuf> = names
            .keys()
            .filter(|path| {
                path.ancestors().skip(1).any(|above| is_inside(above) && !names.contains_key(above))
            })
            .cloned()
            .collect();
        for path in orphans {
            names.remove(&path);
        }
        let named: BTreeSet<usize> = names
            .values()
            .filter_map(|named| match named {
                Named::File(inode) => Some(*inode),
                Named::Directory => None,
            })
            .collect();
        for (number, inode) in state.inodes.iter_mut().enumerate() {
            // Whoever had it open is dead. The dice go on as before: cases that were found once stay what they are.
            if !named.contains(&number) {
                *inode = Inode::default();
            }
            let common = common(&inode.live, &inode.durable);
            let content = match dice.roll(4) {
                0 => inode.live.clone(),
                1 => inode.durable.clone(),
                // The length was kept, but not all of the bytes.
                2 => {
                    let mut bytes = inode.live.clone();
                    let from = common + dice.roll((bytes.len() - common + 1) as u64) as usize;
                    bytes[from..].fill(0);
                    bytes
                }
                _ => {
                    inode.live[..common + dice.roll((inode.live.len() - common + 1) as u64) as usize].to_vec()
                }
            };
            *inode = Inode { live: content.clone(), durable: content };
        }
        state.live.clone_from(&names);
        state.durable = names;
        state.fault = Fault::None;
        state.room = None;
    }

    /// The process is killed: the kernel goes on.
    pub(super) fn kill(&self) {
        let mut state = self.state();
        state.fault = Fault::None;
        state.room = None;
    }

    pub(super) fn files(&self) -> Vec<PathBuf> {
        let state = self.state();
        let is_file = |named: &Named| matches!(named, Named::File(_));
        state.live.iter().filter(|(_, named)| is_file(named)).map(|(path, _)| path.clone()).collect()
    }

    pub(super) fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        match state.live.get(path)? {
            Named::File(inode) => Some(state.inodes[*inode].live.clone()),
            Named::Directory => None,
        }
    }

    /// Somebody else writes a file.
    pub(super) fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.state();
        state.inodes.push(Inode { durable: bytes.clone(), live: bytes });
        let inode = Named::File(state.inodes.len() - 1);
        state.live.insert(path.to_owned(), inode);
        state.durable.insert(path.to_owned(), inode);
    }

    pub(super) fn delete(&self, path: &Path) {
        let mut state = self.state();
        state.live.retain(|known, _| !known.starts_with(path));
        state.durable.retain(|known, _| !known.starts_with(path));
    }

    /// All files as they are now.
    pub(super) fn copy(&self) -> Self {
        let copy = Self::default();
        for path in self.files() {
            copy.put(&path, self.bytes(&path).unwrap_or_default());
        }
        let directories: Vec<PathBuf> = self
            .state()
            .live
            .iter()
            .filter(|(_, named)| **named == Named::Directory)
            .map(|(path, _)| path.clone())
            .collect();
        for path in directories {
            copy.state().live.insert(path.clone(), Named::Directory);
            copy.state().durable.insert(path, Named::Directory);
        }
        copy
    }
}

/// How many bytes of the two are the same. Nearly always all of them: byte by byte takes most of the time of a test.
fn common(one: &[u8], other: &[u8]) -> usize {
    if one == other {
        return one.len();
    }
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

/// Below the directory that is always there.
fn is_inside(path: &Path) -> bool {
    path.parent().is_some_and(|above| !above.as_os_str().is_empty())
}

fn found<T>(value: Option<T>) -> io::Result<T> {
    value.ok_or_else(|| Errno::NOENT.into())
}

impl State {
    fn inode(&self, path: &Path) -> io::Result<usize> {
        match found(self.live.get(path))? {
            Named::File(inode) => Ok(*inode),
            Named::Directory => Err(Errno::ISDIR.into()),
        }
    }

    fn check_above(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(above) if is_inside(above) => match found(self.live.get(above))? {
                Named::Directory => Ok(()),
                Named::File(_) => Err(Errno::NOTDIR.into()),
            },
            Some(_) | None => Ok(()),
        }
    }
}

impl Disk for Fake {
    type File = usize;

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.step()?;
        Ok(state.inodes[state.inode(path)?].live.clone())
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        let state = self.step()?;
        if is_inside(directory) {
            found(state.live.get(directory))?;
        }
        let inside = state.live.keys().filter(|path| path.parent() == Some(directory));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        let state = self.step()?;
        Ok(state.inodes[state.inode(path)?].live.len() as u64)
    }

    fn create(&self, path: &Path, _: bool) -> io::Result<usize> {
        let mut state = self.step()?;
        state.check_above(path)?;
        match state.live.get(path).copied() {
            Some(Named::File(inode)) => {
                state.inodes[inode].live.clear();
                Ok(inode)
            }
            Some(Named::Directory) => Err(Errno::ISDIR.into()),
            None => {
                state.inodes.push(Inode::default());
                let inode = state.inodes.len() - 1;
                state.live.insert(path.to_owned(), Named::File(inode));
                Ok(inode)
            }
        }
    }

    fn open(&self, path: &Path) -> io::Result<usize> {
        self.step()?.inode(path)
    }

    fn write(&self, file: &mut usize, bytes: &[u8]) -> io::Result<usize> {
        let failed = self.step().err();
        let mut state = self.state();
        if state.fault == Fault::Die(0) {
            return Err(Errno::SHUTDOWN.into());
        }
        // A failing write leaves half of the bytes behind, as disks do; any write may be short.
        let count = if failed.is_some() || bytes.len() > 300 { bytes.len() / 2 } else { bytes.len() };
        let count = count.min(state.room.unwrap_or(usize::MAX));
        if let Some(room) = &mut state.room {
            *room -= count;
        }
        state.inodes[*file].live.extend_from_slice(&bytes[..count]);
        match failed {
            Some(error) => Err(error),
            None if count == 0 && !bytes.is_empty() => Err(Errno::NOSPC.into()),
            None => Ok(count),
        }
    }

    fn sync(&self, file: &mut usize) -> io::Result<()> {
        let mut state = self.step()?;
        let inode = &mut state.inodes[*file];
        inode.durable.clone_from(&inode.live);
        Ok(())
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        let mut state = self.step()?;
        let inode = state.inode(path)?;
        let cut = state.inodes[inode].live.len().saturating_sub(length as usize);
        state.inodes[inode].live.truncate(length as usize);
        if let Some(room) = &mut state.room {
            *room += cut;
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.step()?;
        state.check_above(to)?;
        found(state.live.get(from))?;
        let moved: Vec<(PathBuf, Named)> = state
            .live
            .iter()
            .filter(|(path, _)| path.starts_with(from))
            .map(|(path, named)| (path.clone(), *named))
            .collect();
        for (path, named) in moved {
            state.live.remove(&path);
            let target = match path.strip_prefix(from) {
                Ok(rest) if !rest.as_os_str().is_empty() => to.join(rest),
                _ => to.to_owned(),
            };
            state.live.insert(target.clone(), named);
            // The directory moves as one: what is durable in it stays so.
            if let Some(below) = state.durable.get(&path).copied().filter(|_| target != to) {
                state.durable.insert(target, below);
            }
        }
        Ok(())
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.state().live.contains_key(to) {
            return Err(Errno::EXIST.into());
        }
        self.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.step()?;
        let inode = state.inode(path)?;
        state.live.remove(path);
        let freed = state.inodes[inode].live.len();
        if let Some(room) = &mut state.room {
            *room += freed;
        }
        Ok(())
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.step()?;
        if !is_inside(path) || state.live.contains_key(path) {
            return Err(Errno::EXIST.into());
        }
        state.check_above(path)?;
        state.live.insert(path.to_owned(), Named::Directory);
        Ok(())
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.step()?;
        found(state.live.get(path))?;
        if state.live.keys().any(|known| known.parent() == Some(path)) {
            return Err(Errno::NOTEMPTY.into());
        }
        state.live.remove(path);
        Ok(())
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.step()?;
        let State { live, durable, .. } = &mut *state;
        durable.retain(|known, _| known.parent() != Some(path));
        durable.extend(
            live.iter()
                .filter(|(known, _)| known.parent() == Some(path))
                .map(|(known, named)| (known.clone(), *named)),
        );
        Ok(())
    }
}
