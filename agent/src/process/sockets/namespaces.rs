//! Every network namespace of the host, once each.

use std::{
    collections::HashSet,
    fs::{self, File},
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::PathBuf,
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::Namespace;
use crate::process::procfs;

/// Where `ip netns` and container engines keep namespaces that have no process.
const NAMED: [&str; 2] = ["/run/netns", "/run/docker/netns"];

/// Runs `visit` with its inode number in the network namespace of the agent, or in all that a process or a name keeps alive.
///
/// In a thread of its own, which ends afterwards: a thread that has moved is of no use to anybody else.
pub(super) fn visit(own_only: bool, cookie: fn() -> Option<u64>, visit: &mut (impl FnMut(Namespace) + Send)) {
    let mut visit = |inode| visit(Namespace { cookie: cookie().unwrap_or(0), inode });
    if own_only {
        return visit(fs::metadata("/proc/self/ns/net").map_or(0, |metadata| metadata.ino()));
    }
    thread::scope(|scope| {
        let visitor = scope.spawn(|| {
            for (namespace, inode) in namespaces() {
                match move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)) {
                    Ok(()) => visit(inode),
                    Err(error) => tracing::debug!(%error, "entering a network namespace"),
                }
            }
        });
        if visitor.join().is_err() {
            tracing::error!("looking for older sockets ended early");
        }
    });
}

/// Each namespace once, the agent's own first.
fn namespaces() -> impl Iterator<Item = (File, u64)> {
    let named = NAMED.into_iter().filter_map(|directory| fs::read_dir(directory).ok()).flatten();
    let mut seen = HashSet::new();
    std::iter::once(PathBuf::from("/proc/self/ns/net"))
        .chain(procfs::pids().map(|pid| PathBuf::from(format!("/proc/{pid}/ns/net"))))
        .chain(named.filter_map(|entry| Some(entry.ok()?.path())))
        .filter_map(move |path| {
            let metadata = fs::metadata(&path).ok()?;
            if !seen.insert((metadata.dev(), metadata.ino())) {
                return None;
            }
            Some((File::open(&path).ok()?, metadata.ino()))
        })
}
