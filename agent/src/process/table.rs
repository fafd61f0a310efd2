//! Processes by number.
//!
//! A number names a process only together with its start time: numbers are used again. The kernel's stamps carry
//! nanoseconds, `/proc` only ticks of 10 ms, so equality means "within a tick".

use std::{collections::HashMap, sync::Arc, time::Duration};

use homeport_ebpf::event::HostEvent;

use super::{procfs, text};
use crate::clock::KernelTime;

/// What is run.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) exe: Arc<str>,
    pub(super) command_line: Arc<str>,
    pub(super) kernel_thread: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    start_boot_ns: u64,
    image: Option<Image>,
    /// What execve was told, until somebody asks for more.
    told_exe: Arc<str>,
    told_command_line: Arc<str>,
    exited: Option<KernelTime>,
}

/// How long a process is remembered after its end: its packets may still be in queues, and its flows in the next
/// sweep.
const REMEMBER: Duration = Duration::from_secs(60);
/// Processes at most. A host with more live processes loses the names of some, and finds them again in `/proc`.
const MAX_PROCESSES: usize = 65_536;
/// `/proc` counts start times in ticks.
const TICK_NS: u64 = 10_000_000;

#[derive(Debug, Default)]
pub(super) struct Table {
    entries: HashMap<u32, Entry>,
    empty: Option<Arc<str>>,
}

impl Table {
    /// Everything that runs now.
    pub(super) fn scan() -> Self {
        let mut table = Self::default();
        for pid in procfs::pids() {
            table.look_up(pid);
        }
        table
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn contains(&self, pid: u32) -> bool {
        self.entries.contains_key(&pid)
    }

    pub(super) fn executed(&mut self, event: &HostEvent) {
        let exe = text(&event.path, event.path_len);
        let args = event.args.get(..event.args_len as usize).unwrap_or(&event.args);
        // A relative path means something only while the process is there.
        let exe = if exe.starts_with('/') {
            exe.to_owned()
        } else {
            procfs::exe(event.pid).unwrap_or(exe.to_owned())
        };
        self.insert(
            event.pid,
            Entry {
                start_boot_ns: event.start_boot_ns,
                image: None,
                told_exe: exe.into(),
                told_command_line: procfs::join_arguments(args).into(),
                exited: None,
            },
        );
    }

    pub(super) fn forked(&mut self, event: &HostEvent) {
        let entry = match self.entries.get(&event.parent) {
            Some(parent) => Entry { start_boot_ns: event.start_boot_ns, exited: None, ..parent.clone() },
            None => Entry {
                start_boot_ns: event.start_boot_ns,
                image: None,
                told_exe: self.no_text(),
                told_command_line: self.no_text(),
                exited: None,
            },
        };
        self.insert(event.pid, entry);
    }

    pub(super) fn exited(&mut self, pid: u32, start_boot_ns: u64, now: KernelTime) {
        if let Some(entry) = self.entries.get_mut(&pid)
            && same_start(entry.start_boot_ns, start_boot_ns)
        {
            entry.exited = Some(now);
        }
    }

    pub(super) fn retire(&mut self, now: KernelTime) {
        self.entries.retain(|_, entry| entry.exited.is_none_or(|exited| now.since(exited) < REMEMBER));
    }

    /// What the process ran, as well as can be known: `/proc` first (it follows links and namespaces), then what
    /// execve was told, then the command name in brackets.
    pub(super) fn image(&mut self, pid: u32, start_boot_ns: u64, comm: &str) -> Image {
        let known =
            self.entries.get(&pid).is_some_and(|entry| same_start(entry.start_boot_ns, start_boot_ns));
        if !known {
            self.look_up(pid);
        }
        match self.entries.get_mut(&pid) {
            Some(entry) if same_start(entry.start_boot_ns, start_boot_ns) => entry
                .image
                .get_or_insert_with(|| {
                    complete(pid, start_boot_ns, &entry.told_exe, &entry.told_command_line, comm)
                })
                .clone(),
            Some(_) | None => {
                Image { exe: bracketed(comm), command_line: self.no_text(), kernel_thread: false }
            }
        }
    }

    /// Takes over what `/proc` says: a process that was there before us may send for the first time and end at once.
    fn look_up(&mut self, pid: u32) {
        if let Some(status) = procfs::status(pid) {
            let text = |text: Option<String>| text.unwrap_or_default().into();
            self.insert(
                pid,
                Entry {
                    start_boot_ns: status.start_boot_ns,
                    image: None,
                    told_exe: text(procfs::exe(pid)),
                    told_command_line: text(procfs::command_line(pid)),
                    exited: None,
                },
            );
        }
    }

    fn insert(&mut self, pid: u32, entry: Entry) {
        if self.entries.len() >= MAX_PROCESSES {
            self.entries.retain(|_, entry| entry.exited.is_none());
        }
        if self.entries.len() < MAX_PROCESSES {
            self.entries.insert(pid, entry);
        }
    }

    fn no_text(&mut self) -> Arc<str> {
        Arc::clone(self.empty.get_or_insert_with(|| "".into()))
    }
}

fn complete(
    pid: u32,
    start_boot_ns: u64,
    told_exe: &Arc<str>,
    told_command_line: &Arc<str>,
    comm: &str,
) -> Image {
    // Another process may have the number by now.
    let status = procfs::status(pid).filter(|status| same_start(status.start_boot_ns, start_boot_ns));
    let command_line = match status.and_then(|_| procfs::command_line(pid)) {
        Some(line) if !line.is_empty() => line.into(),
        Some(_) | None => Arc::clone(told_command_line),
    };
    if let Some(exe) = status.and_then(|_| procfs::exe(pid)) {
        return Image { exe: exe.into(), command_line, kernel_thread: false };
    }
    if status.is_some_and(|status| status.kernel_thread) {
        return Image { exe: bracketed(comm), command_line, kernel_thread: true };
    }
    if told_exe.is_empty() {
        return Image { exe: bracketed(comm), command_line, kernel_thread: false };
    }
    // The process is gone. Following links here gives the same path as for one that is still there.
    let exe = std::fs::canonicalize(&**told_exe)
        .map_or_else(|_| Arc::clone(told_exe), |path| path.to_string_lossy().as_ref().into());
    Image { exe, command_line, kernel_thread: false }
}

fn bracketed(comm: &str) -> Arc<str> {
    format!("[{comm}]").into()
}

/// Zero means that the kernel's layout is unknown, and then the number has to do.
pub(super) fn same_start(a: u64, b: u64) -> bool {
    a == 0 || b == 0 || a.abs_diff(b) <= TICK_NS
}

#[cfg(test)]
mod tests {
    use homeport_ebpf::event::{ARGS_BYTES, HOST_EXEC, PATH_BYTES};

    use super::*;

    /// A number that no process of this machine has: beyond the largest `pid_max`.
    const GONE: u32 = 5_000_000;

    fn event(pid: u32, start_boot_ns: u64, path: &str, args: &[u8]) -> HostEvent {
        let mut event = HostEvent {
            ktime_ns: 0,
            start_boot_ns,
            cgroup_id: 0,
            kind: HOST_EXEC,
            pid,
            parent: 0,
            uid: 0,
            login_uid: u32::MAX,
            path_len: path.len() as u32,
            args_len: args.len() as u32,
            _pad: 0,
            comm: [0; 16],
            path: [0; PATH_BYTES],
            args: [0; ARGS_BYTES],
        };
        event.path[..path.len()].copy_from_slice(path.as_bytes());
        event.args[..args.len()].copy_from_slice(args);
        event
    }

    #[test]
    fn a_process_that_is_gone_keeps_its_name() {
        let mut table = Table::default();
        table.executed(&event(GONE, 77, "/nowhere/uploader", b"uploader\0--all\0"));
        table.exited(GONE, 77, KernelTime(0));
        let image = table.image(GONE, 77, "uploader");
        assert_eq!(&*image.exe, "/nowhere/uploader");
        assert_eq!(&*image.command_line, "uploader --all");
    }

    #[test]
    fn a_child_that_executes_nothing_is_named_after_its_parent() {
        let mut table = Table::default();
        table.executed(&event(GONE, 77, "/nowhere/server", b"server\0"));
        table.forked(&HostEvent { parent: GONE, ..event(GONE + 1, 99, "", b"") });
        assert_eq!(&*table.image(GONE + 1, 99, "server").exe, "/nowhere/server");
    }

    #[test]
    fn a_number_used_again_is_another_process() {
        let mut table = Table::default();
        table.executed(&event(GONE, 1_000_000_000, "/nowhere/old", b"old\0"));
        let image = table.image(GONE, 9_000_000_000, "new");
        assert_eq!(&*image.exe, "[new]");
    }

    #[test]
    fn a_process_that_is_gone_is_not_named_after_the_next_of_its_number() {
        let mut table = Table::default();
        // This test's own number, as if its process had begun long after the one that was told.
        let pid = std::process::id();
        table.executed(&event(pid, 1_000_000_000, "/nowhere/old", b"old\0"));
        let image = table.image(pid, 1_000_000_000, "old");
        assert_eq!((&*image.exe, &*image.command_line), ("/nowhere/old", "old"));
    }

    #[test]
    fn a_process_older_than_us_keeps_its_name_when_it_ends_before_it_is_asked_for() {
        let mut sleeper = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
        let pid = sleeper.id();
        let status = procfs::status(pid).expect("it runs");
        // Between fork and exec it is still this program.
        while procfs::command_line(pid).is_none_or(|line| !line.starts_with("sleep")) {
            std::thread::yield_now();
        }
        let mut table = Table::scan();
        sleeper.kill().expect("kill");
        sleeper.wait().expect("wait");
        let image = table.image(pid, status.start_boot_ns, "sleep");
        assert!(image.exe.starts_with('/'), "{image:?}");
        assert_eq!(&*image.command_line, "sleep 60");
    }

    #[test]
    fn processes_are_forgotten_a_while_after_their_end() {
        let mut table = Table::default();
        table.executed(&event(GONE, 77, "/nowhere/x", b"x\0"));
        table.exited(GONE, 77, KernelTime(0));
        table.retire(KernelTime(0) + Duration::from_secs(59));
        assert_eq!(table.len(), 1);
        table.retire(KernelTime(0) + Duration::from_secs(60));
        assert_eq!(table.len(), 0);
    }
}
