//! Kernel threads that serve data: by their names, and by the ports that the kernel says its services listen on.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// The service that a kernel thread of this command name belongs to; the name in itself when it is unknown.
pub(super) fn name(comm: &str) -> &str {
    /// Beginnings of thread names, as in the kernel's sources.
    const SERVICES: &[(&str, &str)] = &[
        ("nfsd", "nfsd"),
        ("lockd", "lockd"),
        ("iscsi_t", "iscsi"),
        ("iscsi_np", "iscsi"),
        ("ksmbd", "ksmbd"),
        ("nvmet", "nvmet"),
        ("nvme_tcp", "nvme-tcp"),
        ("wg-", "wireguard"),
        ("drbd", "drbd"),
        ("ceph", "ceph"),
        ("rpciod", "nfs-client"),
        ("cifsd", "cifs-client"),
        ("kworker", WORKER),
        ("ksoftirqd", "softirq"),
    ];
    SERVICES.iter().find(|(prefix, _)| comm.starts_with(prefix)).map_or(comm, |(_, service)| service)
}

/// A thread that works for whoever asks: its name says nothing.
pub(super) const WORKER: &str = "kworker";

/// Ports where other hosts serve NVMe over TCP, as IANA has assigned them.
const NVME_PORTS: [u16; 2] = [4420, 8009];

/// What the kernel serves, and on which ports.
#[derive(Debug, Default)]
pub(super) struct Ports {
    services: HashMap<u16, &'static str>,
    read: Option<Instant>,
}

/// Services come and go rarely, and asking the kernel costs a few system calls.
const READ_EVERY: Duration = Duration::from_secs(10);

impl Ports {
    /// The kernel's service that listens on this port of ours.
    pub(super) fn serving(&mut self, local_port: u16) -> Option<&'static str> {
        if self.read.is_none_or(|read| read.elapsed() >= READ_EVERY) {
            self.services = listening(Path::new("/"));
            self.read = Some(Instant::now());
        }
        self.services.get(&local_port).copied()
    }

    /// The service that a worker thread of the kernel works for, by both ports of its socket.
    pub(super) fn working_for(&mut self, local_port: u16, remote_port: u16) -> Option<&'static str> {
        let client = NVME_PORTS.contains(&remote_port).then_some("nvme-tcp");
        self.serving(local_port).or(client)
    }
}

/// Reads what the kernel says about its services, below `root`.
fn listening(root: &Path) -> HashMap<u16, &'static str> {
    let mut services = HashMap::new();
    for port in children(&root.join("sys/kernel/config/nvmet/ports")) {
        let text = |name: &str| fs::read_to_string(port.join(name)).unwrap_or_default();
        if text("addr_trtype").trim() == "tcp"
            && let Ok(number) = text("addr_trsvcid").trim().parse()
        {
            services.insert(number, "nvmet");
        }
    }
    let portals = children(&root.join("sys/kernel/config/target/iscsi"))
        .flat_map(|target| children(&target))
        .flat_map(|group| children(&group.join("np")));
    // ADDRESS:PORT
    for portal in portals {
        let name = portal.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(Ok(number)) = name.rsplit_once(':').map(|(_, port)| port.parse()) {
            services.insert(number, "iscsi");
        }
    }
    // Lines such as "tcp 2049".
    let ports = fs::read_to_string(root.join("proc/fs/nfsd/portlist")).unwrap_or_default();
    for number in ports.lines().filter_map(|line| line.split_once(' ')?.1.trim().parse().ok()) {
        services.insert(number, "nfsd");
    }
    if root.join("sys/class/ksmbd-control").exists() {
        services.insert(445, "ksmbd");
    }
    services
}

fn children(directory: &Path) -> impl Iterator<Item = std::path::PathBuf> + use<> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_named_after_their_service() {
        for (comm, service) in
            [("nfsd", "nfsd"), ("iscsi_ttx", "iscsi"), ("kworker/u8:3", "kworker"), ("odd", "odd")]
        {
            assert_eq!(name(comm), service);
        }
    }

    #[test]
    fn ports_are_read_from_where_the_kernel_tells_them() {
        let root = tempfile::tempdir().expect("a directory");
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            fs::write(path, text).expect("a file");
        };
        write("sys/kernel/config/nvmet/ports/1/addr_trtype", "tcp\n");
        write("sys/kernel/config/nvmet/ports/1/addr_trsvcid", "4421\n");
        write("sys/kernel/config/nvmet/ports/2/addr_trtype", "rdma\n");
        write("sys/kernel/config/nvmet/ports/2/addr_trsvcid", "4422\n");
        write("sys/kernel/config/target/iscsi/iqn.2026-11.test:a/tpgt_1/np/[2001:db8::1]:3261/iser", "0");
        write("proc/fs/nfsd/portlist", "tcp 2049\nudp 2049\n");
        let expected = HashMap::from([(4421, "nvmet"), (3261, "iscsi"), (2049, "nfsd")]);
        assert_eq!(listening(root.path()), expected);
    }
}
