//! What `/proc` says about one process.
//!
//! Every function returns `None` when the process is gone: that is a normal answer here.

use std::{fs, path::PathBuf};

/// Clock ticks per second in `/proc`; 100 on every architecture we support.
const TICKS_PER_SECOND: u64 = 100;
/// `PF_KTHREAD` of `include/linux/sched.h`.
const KERNEL_THREAD: u64 = 0x0020_0000;
/// Longest command line that is kept, in bytes.
pub const MAX_COMMAND_LINE: usize = 4096;

/// Identity of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Start time in nanoseconds since boot, in steps of a clock tick (10 ms).
    pub start_boot_ns: u64,
    /// A thread of the kernel.
    pub kernel_thread: bool,
    /// Effective user id.
    pub uid: u32,
}

/// Identity of `pid`.
pub fn status(pid: u32) -> Option<Status> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let uid = fs::read_to_string(format!("/proc/{pid}/status")).ok().and_then(|text| effective_uid(&text));
    let (flags, ticks) = flags_and_start(&String::from_utf8_lossy(&stat))?;
    Some(Status {
        start_boot_ns: ticks.saturating_mul(1_000_000_000 / TICKS_PER_SECOND),
        kernel_thread: flags & KERNEL_THREAD != 0,
        uid: uid?,
    })
}

/// Flags and start time, fields 9 and 22 of `/proc/PID/stat`. The command name in field 2 may hold anything,
/// blanks and parentheses included, so reading starts after the last closing one.
pub fn flags_and_start(stat: &str) -> Option<(u64, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let flags = fields.nth(6)?.parse().ok()?;
    let start = fields.nth(12)?.parse().ok()?;
    Some((flags, start))
}

/// The second number of the `Uid:` line of `/proc/PID/status`.
pub fn effective_uid(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Path of the executable. `None` for kernel threads too.
pub fn exe(pid: u32) -> Option<String> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let path = path.to_string_lossy();
    Some(path.strip_suffix(" (deleted)").unwrap_or(&path).to_owned())
}

/// Command name, cut by the kernel at 15 bytes and filled up with zeros.
pub fn command_name(pid: u32) -> Option<[u8; 16]> {
    let text = fs::read(format!("/proc/{pid}/comm")).ok()?;
    let text = text.strip_suffix(b"\n").unwrap_or(&text);
    let mut name = [0; 16];
    let length = text.len().min(15);
    name[..length].copy_from_slice(&text[..length]);
    Some(name)
}

/// Command line, arguments joined by spaces.
pub fn command_line(pid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(join_arguments(&bytes))
}

/// Arguments separated by zero bytes, joined by spaces and cut at [`MAX_COMMAND_LINE`].
pub fn join_arguments(bytes: &[u8]) -> String {
    let bytes = bytes.get(..MAX_COMMAND_LINE).unwrap_or(bytes);
    let text: Vec<_> =
        bytes.split(|byte| *byte == 0).filter(|part| !part.is_empty()).map(String::from_utf8_lossy).collect();
    text.join(" ")
}

/// Audit login user id; `None` when nobody logged in.
pub fn login_uid(pid: u32) -> Option<u32> {
    let uid: u32 = fs::read_to_string(format!("/proc/{pid}/loginuid")).ok()?.trim().parse().ok()?;
    (uid != u32::MAX).then_some(uid)
}

/// Numbers of all processes.
pub fn pids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Inodes of the sockets that `pid` has open.
pub fn socket_inodes(pid: u32) -> impl Iterator<Item = u64> {
    fs::read_dir(PathBuf::from(format!("/proc/{pid}/fd")))
        .into_iter()
        .flatten()
        .filter_map(|entry| socket_inode(fs::read_link(entry.ok()?.path()).ok()?.to_str()?))
}

/// `socket:[12345]`
pub fn socket_inode(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_may_look_like_the_rest_of_the_line() {
        let stat = "42 (a) R 1 (b c) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 200";
        assert_eq!(flags_and_start(stat), Some((4_194_560, 987_654)));
    }

    #[test]
    fn lines_cut_short_are_no_answer() {
        for stat in ["", "42", "42 (x)", "42 (x) S 1 42 42 0 -1 4194560 1 2"] {
            assert_eq!(flags_and_start(stat), None, "{stat}");
        }
        for status in ["", "Uid:", "Uid:\t0", "Name:\tx\nUid:\tone two"] {
            assert_eq!(effective_uid(status), None, "{status}");
        }
        for target in ["", "socket:[]", "socket:[x]", "pipe:[1]", "socket:[1"] {
            assert_eq!(socket_inode(target), None, "{target}");
        }
    }

    #[test]
    fn this_process_is_found() {
        let pid = std::process::id();
        let status = status(pid).expect("this process runs");
        assert!(!status.kernel_thread);
        assert!(exe(pid).expect("has an executable").contains("homeport"));
        assert!(command_name(pid).expect("has a name").starts_with(b"homeport"));
        assert!(pids().any(|other| other == pid));
    }

    #[test]
    fn arguments_are_joined_and_cut() {
        assert_eq!(join_arguments(b"rsync\0-a\0\0/data\0"), "rsync -a /data");
        assert_eq!(join_arguments(&[b'x'; 5000]).len(), MAX_COMMAND_LINE);
    }
}
