//! Two network namespaces with a cable between them, and a cgroup of our own.
//!
//! ```text
//!   near: 192.0.2.1, 2001:db8:2::1 ---- far: 192.0.2.2, 2001:db8:2::2
//!                                       every address of 198.51.100.0/24, 2001:db8:51::/64: received
//!                                       every address of 203.0.113.0/24, 2001:db8:113::/64: dropped at once
//! ```
//!
//! The cgroup keeps other programs of the host out of the figures, and the bench out of theirs.

use std::{
    fs,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result, ensure};

/// Namespaces and the cgroup are called after the process that made them.
const PREFIX: &str = "hpb-";

/// Port of the far side's receivers, "discard".
pub(crate) const SINK_PORT: u16 = 9;

/// Version of the internet protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
        }
    }

    pub(crate) const fn unspecified(self) -> SocketAddr {
        match self {
            Self::V4 => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            Self::V6 => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
        }
    }

    /// A destination that is received: one of 250 addresses.
    pub(crate) const fn received(self, idx: u8) -> SocketAddr {
        let address = match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1 + idx)),
            Self::V6 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 1 + idx as u16)),
        };
        SocketAddr::new(address, SINK_PORT)
    }

    /// A destination that drops what arrives: 250 addresses with as many ports as needed.
    pub(crate) const fn dropped(self, idx: u32) -> SocketAddr {
        let (host, port) = (idx % 250, 1024 + (idx / 250) as u16);
        let address = match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1 + host as u8)),
            Self::V6 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 1 + host as u16)),
        };
        SocketAddr::new(address, port)
    }
}

/// An end of the cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Where the storage server is.
    Near,
    /// Where its data goes.
    Far,
}

/// See the module. Everything goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Lab {
    id: String,
    cgroup: PathBuf,
    origin: PathBuf,
    cpus: Vec<usize>,
}

impl Lab {
    pub(crate) fn new() -> Result<Self> {
        let root = mount_of("cgroup2").context("no cgroup2 is mounted")?;
        remove_leftovers(&root);
        let id = format!("{PREFIX}{}", std::process::id());
        let cgroup = root.join(&id);
        let memberships = fs::read_to_string("/proc/self/cgroup")?;
        let origin = memberships.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let lab = Self { origin: root.join(origin), cgroup, cpus: allowed_cpus()?, id };
        lab.build()?;
        Ok(lab)
    }

    fn build(&self) -> Result<()> {
        fs::create_dir(&self.cgroup).with_context(|| format!("make cgroup {}", self.cgroup.display()))?;
        fs::write(self.cgroup.join("cgroup.procs"), "0").context("enter the cgroup")?;
        let (near, far) = (self.namespace(Side::Near), self.namespace(Side::Far));
        // Fixed hardware addresses and permanent neighbours: no resolution in the middle of a slice.
        ip(&format!(
            "netns add {near}\n\
             netns add {far}\n\
             link add hpb0 netns {near} address 02:00:00:00:00:01 type veth \
               peer name hpb1 netns {far} address 02:00:00:00:00:02\n"
        ))?;
        ip_in(
            &near,
            "link set lo up\n\
             link set hpb0 up\n\
             addr add 192.0.2.1/24 dev hpb0\n\
             addr add 2001:db8:2::1/64 dev hpb0 nodad\n\
             neigh replace 192.0.2.2 lladdr 02:00:00:00:00:02 dev hpb0 nud permanent\n\
             neigh replace 2001:db8:2::2 lladdr 02:00:00:00:00:02 dev hpb0 nud permanent\n\
             route add 198.51.100.0/24 via 192.0.2.2\n\
             route add 203.0.113.0/24 via 192.0.2.2\n\
             route add 2001:db8:51::/64 via 2001:db8:2::2\n\
             route add 2001:db8:113::/64 via 2001:db8:2::2\n",
        )?;
        ip_in(
            &far,
            "link set lo up\n\
             link set hpb1 up\n\
             addr add 192.0.2.2/24 dev hpb1\n\
             addr add 2001:db8:2::2/64 dev hpb1 nodad\n\
             neigh replace 192.0.2.1 lladdr 02:00:00:00:00:01 dev hpb1 nud permanent\n\
             neigh replace 2001:db8:2::1 lladdr 02:00:00:00:00:01 dev hpb1 nud permanent\n\
             route add local 198.51.100.0/24 dev lo\n\
             route add local 2001:db8:51::/64 dev lo\n\
             route add blackhole 203.0.113.0/24\n\
             route add blackhole 2001:db8:113::/64\n",
        )
    }

    pub(crate) fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    pub(crate) fn namespace(&self, side: Side) -> String {
        match side {
            Side::Near => format!("{}-near", self.id),
            Side::Far => format!("{}-far", self.id),
        }
    }

    /// Runs on a thread of its own, in the namespace of `side`: near on the last processor, far on the first.
    pub(crate) fn on<T: Send>(&self, side: Side, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    self.enter(side)?;
                    work()
                })
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Moves the calling thread to one side: its namespace, its processor.
    pub(crate) fn enter(&self, side: Side) -> Result<()> {
        let name = self.namespace(side);
        let file = fs::File::open(Path::new("/run/netns").join(&name))?;
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(file.as_fd(), kind)
            .with_context(|| format!("enter network namespace {name}"))?;
        self.pin(side)
    }

    /// Keeps the calling thread on the processor of one side.
    pub(crate) fn pin(&self, side: Side) -> Result<()> {
        let cpu = match side {
            Side::Near => self.cpus.last(),
            Side::Far => self.cpus.first(),
        };
        let mut set = rustix::thread::CpuSet::new();
        set.set(*cpu.context("no processor")?);
        rustix::thread::sched_setaffinity(None, &set).context("stay on one processor")
    }

    /// Starts a program on the near side, free to use every processor.
    pub(crate) fn spawn(&self, command: &mut Command) -> Result<Child> {
        self.on(Side::Near, || {
            let mut set = rustix::thread::CpuSet::new();
            self.cpus.iter().for_each(|cpu| set.set(*cpu));
            rustix::thread::sched_setaffinity(None, &set)?;
            command.spawn().with_context(|| format!("start {}", command.get_program().display()))
        })
    }

    /// Index of the near end of the cable.
    pub(crate) fn ifindex(&self) -> Result<u32> {
        let name = self.namespace(Side::Near);
        let output = Command::new("ip")
            .args(["-n", &name, "-o", "link", "show", "hpb0"])
            .output()
            .context("start ip (package iproute2)")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let number = text.split(':').next().unwrap_or_default();
        number.trim().parse().with_context(|| format!("index of hpb0 in {text:?}"))
    }

    pub(crate) fn cgroup_dir(&self) -> Result<fs::File> {
        fs::File::open(&self.cgroup).context("open the cgroup")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for side in [Side::Near, Side::Far] {
            let _ = Command::new("ip").args(["netns", "del", &self.namespace(side)]).status();
        }
        let _ = fs::write(self.origin.join("cgroup.procs"), "0");
        let _ = fs::remove_dir(&self.cgroup);
    }
}

/// What killed benches left behind, as far as it can be removed.
fn remove_leftovers(cgroups: &Path) {
    for (directory, is_namespace) in [(Path::new("/run/netns"), true), (cgroups, false)] {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            let pid = rest.split('-').next().unwrap_or_default();
            if Path::new("/proc").join(pid).exists() {
                continue;
            }
            if is_namespace {
                let _ = Command::new("ip").args(["netns", "del", &name]).status();
            } else {
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

fn allowed_cpus() -> Result<Vec<usize>> {
    let set = rustix::thread::sched_getaffinity(None).context("processors of this process")?;
    Ok((0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

/// Where a file system of this type is mounted.
pub(crate) fn mount_of(kind: &str) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (path, found) = (words.next()?, words.next()?);
        (found == kind).then(|| PathBuf::from(path))
    })
}

fn ip(commands: &str) -> Result<()> {
    batch(Command::new("ip").args(["-batch", "-"]), commands)
}

fn ip_in(namespace: &str, commands: &str) -> Result<()> {
    batch(Command::new("ip").args(["-n", namespace, "-batch", "-"]), commands)
}

fn batch(command: &mut Command, commands: &str) -> Result<()> {
    let mut child = command.stdin(Stdio::piped()).spawn().context("start ip (package iproute2)")?;
    // The pipe is closed at the end of the statement, which ends the batch.
    child.stdin.take().context("standard input is piped")?.write_all(commands.as_bytes())?;
    let status = child.wait()?;
    ensure!(status.success(), "ip -batch ended with {status}");
    Ok(())
}

/// The number that bpf(2) takes for a directory.
pub(crate) fn target(directory: &fs::File) -> u32 {
    directory.as_raw_fd() as u32
}
