//! cgroup ids to paths, and paths to units and containers.
//!
//! The id of a cgroup2 directory is its inode number. Ids of new ones are told by the kernel side.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::DirEntryExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::flow::Workload;

/// Paths kept before the oldest knowledge is thrown away and read again.
const MAX_PATHS: usize = 65_536;
/// Deepest directory that is searched.
const MAX_DEPTH: usize = 24;

#[derive(Debug)]
pub(super) struct Cgroups {
    root: PathBuf,
    workloads: HashMap<u64, Workload>,
}

impl Cgroups {
    pub(super) fn scan(root: &Path) -> Self {
        let mut cgroups = Self { root: root.to_owned(), workloads: HashMap::new() };
        cgroups.read_all();
        cgroups
    }

    /// The kernel told of a new directory.
    pub(super) fn made(&mut self, id: u64, path: &str) {
        if self.workloads.len() >= MAX_PATHS {
            self.workloads.clear();
            self.read_all();
        }
        self.workloads.insert(id, workload(path));
    }

    pub(super) fn workload(&mut self, id: u64) -> Workload {
        self.workloads.get(&id).cloned().unwrap_or_default()
    }

    fn read_all(&mut self) {
        if let Ok(metadata) = fs::metadata(&self.root) {
            use std::os::unix::fs::MetadataExt as _;
            self.workloads.insert(metadata.ino(), workload("/"));
        }
        let mut pending = vec![(self.root.clone(), String::new(), 0)];
        while let Some((directory, path, depth)) = pending.pop() {
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) || self.workloads.len() >= MAX_PATHS {
                    continue;
                }
                let path = format!("{path}/{}", entry.file_name().to_string_lossy());
                self.workloads.insert(entry.ino(), workload(&path));
                if depth < MAX_DEPTH {
                    pending.push((entry.path(), path, depth + 1));
                }
            }
        }
    }
}

/// What runs in a cgroup of this path.
fn workload(path: &str) -> Workload {
    let parts = || path.split('/').rev();
    Workload {
        cgroup: Some(path.into()),
        unit: parts().find(|part| is_unit(part)).map(Arc::from),
        container: parts().find_map(container_id).map(Arc::from),
    }
}

/// Slices only group units; everything else that systemd runs in a cgroup is a service, a scope and the like.
fn is_unit(part: &str) -> bool {
    [".service", ".scope", ".socket", ".mount", ".swap"].iter().any(|suffix| part.ends_with(suffix))
}

/// `docker-<id>.scope`, `cri-containerd-<id>.scope`, `libpod-<id>.scope`, `<id>`, `lxc.payload.<name>`,
/// `machine-<name>.scope`.
fn container_id(part: &str) -> Option<&str> {
    /// Docker, containerd, CRI-O and Podman use 64 hexadecimal digits.
    const ID_DIGITS: usize = 64;
    let bare = part.strip_suffix(".scope").or(part.strip_suffix(".service")).unwrap_or(part);
    let tail = bare.rsplit('-').next().unwrap_or(bare);
    if tail.len() == ID_DIGITS && tail.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Some(tail);
    }
    bare.strip_prefix("lxc.payload.").or(bare.strip_prefix("machine-")).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn units_and_containers_are_read_from_the_path() {
        let docker = format!("/system.slice/docker-{ID}.scope");
        let kubernetes = format!(
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-{ID}.scope"
        );
        let plain = format!("/docker/{ID}");
        for (path, unit, container) in [
            ("/", None, None),
            ("/system.slice/nginx.service", Some("nginx.service"), None),
            ("/system.slice/nginx.service/worker", Some("nginx.service"), None),
            ("/user.slice/user-1000.slice/session-3.scope", Some("session-3.scope"), None),
            ("/system.slice", None, None),
            (docker.as_str(), Some(docker.rsplit('/').next().expect("last part")), Some(ID)),
            (kubernetes.as_str(), Some(kubernetes.rsplit('/').next().expect("last part")), Some(ID)),
            (plain.as_str(), None, Some(ID)),
            ("/lxc.payload.web/init.scope", Some("init.scope"), Some("web")),
            ("/machine.slice/machine-db.scope", Some("machine-db.scope"), Some("db")),
        ] {
            let workload = workload(path);
            assert_eq!(workload.cgroup.as_deref(), Some(path));
            assert_eq!(workload.unit.as_deref(), unit, "{path}");
            assert_eq!(workload.container.as_deref(), container, "{path}");
        }
    }
}
