//! Facts about the host: its names, its boot, its cgroups.

use std::{
    fs,
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::{
    clock::WallTime,
    exit::{Exit, Failure},
};

/// Who this host is.
pub(super) struct HostIdentity {
    pub(super) hostname: String,
    /// Stable: `/etc/machine-id`, or the host name where there is none.
    pub(super) host_uid: String,
    /// New with every boot.
    pub(super) boot: String,
    pub(super) booted: Option<WallTime>,
}

impl HostIdentity {
    pub(super) fn read(name: Option<&str>) -> Self {
        let first_line = |path: &str| {
            let text = fs::read_to_string(path).ok()?;
            let line = text.lines().next()?.trim().to_owned();
            (!line.is_empty()).then_some(line)
        };
        let hostname = name
            .map(str::to_owned)
            .or_else(|| first_line("/proc/sys/kernel/hostname"))
            .unwrap_or_else(|| "localhost".to_owned());
        Self {
            host_uid: first_line("/etc/machine-id").unwrap_or_else(|| hostname.clone()),
            boot: first_line("/proc/sys/kernel/random/boot_id").unwrap_or_else(|| "unknown".to_owned()),
            booted: boot_time(),
            hostname,
        }
    }
}

/// The `btime` line of `/proc/stat`.
fn boot_time() -> Option<WallTime> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(WallTime::from_unix_seconds(seconds))
}

/// Whether the agent was started inside a network namespace that is not the host's: then it answers for that one
/// only. Where nobody can say, it answers for all.
///
/// `kthreadd` lives in the host's namespaces for ever, and its links are readable where those of process 1 are not
/// (a container whose init belongs to somebody else).
pub(super) fn in_another_network_namespace() -> bool {
    let is_kthreadd = fs::read_to_string("/proc/2/comm").is_ok_and(|comm| comm.trim_end() == "kthreadd");
    let host = if is_kthreadd { "/proc/2/ns/net" } else { "/proc/1/ns/net" };
    match (fs::read_link(host), fs::read_link("/proc/self/ns/net")) {
        (Ok(host), Ok(own)) => host != own,
        (Err(_), _) | (_, Err(_)) => false,
    }
}

/// Ports that the kernel gives to clients.
pub(super) fn ephemeral_ports() -> std::ops::RangeInclusive<u16> {
    let read = || {
        let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
        let mut numbers = text.split_ascii_whitespace();
        Some(numbers.next()?.parse().ok()?..=numbers.next()?.parse().ok()?)
    };
    read().unwrap_or(32768..=60999)
}

/// A cgroup2 directory to attach to.
#[derive(Debug)]
pub struct Cgroup {
    /// Its path.
    pub path: PathBuf,
    /// The host had none mounted, so we made a mount that nobody else sees.
    pub private: bool,
    _mount: Option<OwnedFd>,
}

/// The configured directory, the root of the mounted cgroup2 hierarchy, or a private mount of it.
///
/// # Errors
///
/// When the kernel has no cgroup2 at all, or the configured directory is none.
pub fn find_cgroup(configured: Option<&Path>) -> Result<Cgroup, Failure> {
    if let Some(path) = configured {
        if !path.join("cgroup.procs").exists() {
            return Err(Failure::new(
                Exit::Configuration,
                anyhow::anyhow!(
                    "host.cgroup = \"{}\" is not a cgroup2 directory; accepted are directories below a cgroup2 mount, \
                     such as /sys/fs/cgroup",
                    path.display()
                ),
            ));
        }
        return Ok(Cgroup { path: path.to_owned(), private: false, _mount: None });
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if let Some(path) = cgroup2_mount(&mounts) {
        return Ok(Cgroup { path, private: false, _mount: None });
    }
    let mount = private_mount().map_err(|error| {
        Failure::new(
            Exit::Unsupported,
            anyhow::anyhow!(
                "this host has no cgroup2 hierarchy mounted, and mounting a private one failed: {error}"
            ),
        )
    })?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
    Ok(Cgroup { path, private: true, _mount: Some(mount) })
}

fn private_mount() -> rustix::io::Result<OwnedFd> {
    let context = fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

/// The mount point of the whole cgroup2 hierarchy: `36 35 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw`.
fn cgroup2_mount(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (after.split(' ').next()? == "cgroup2" && root == "/").then(|| PathBuf::from(unescape(point)))
    })
}

/// Blanks and backslashes are written as octal numbers there.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup2_mount_is_found_among_others() {
        let mounts = "25 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                      30 25 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      31 25 0:27 /inner /mnt rw - cgroup2 cgroup2 rw\n\
                      36 25 0:28 / /sys/fs/cgroup\\040two rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(cgroup2_mount(mounts), Some(PathBuf::from("/sys/fs/cgroup two")));
        assert_eq!(cgroup2_mount("25 1 8:1 / / rw - ext4 /dev/sda1 rw\n"), None);
    }
}
