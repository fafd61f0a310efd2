//! What the programs' maps really take from the kernel.
//!
//! `memlock`, which tools show, is what maps were charged when they were made: it leaves out what they allocate
//! later and what the allocator adds. A memory cgroup of our own counts pages and slab objects as they are.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{
    Scale, datagrams,
    hooks::{self, Hooks},
    lab::{self, Family, Lab, Side},
    packets::{allow_many_sockets, sink},
    report::{Report, Table},
};

const MIB: f64 = 1024.0 * 1024.0;

pub(crate) fn run(lab: &Arc<Lab>, scale: Scale, report: &mut Report) -> Result<()> {
    allow_many_sockets()?;
    let sockets = scale.pick(15_000, 1_000);
    let kernel = Kernel::open(lab)?;
    let before = kernel.bytes()?;
    let probe = hooks::load(lab)?;
    let loaded = kernel.bytes()?;
    let memlock = memlock_bytes()?;
    let hooks = Hooks::new(&probe, lab)?;
    let _sink = sink(lab, Family::V4)?;
    let per_socket = lab.on(Side::Near, || {
        let sockets = datagrams::connected(Family::V4, sockets)?;
        let send = || {
            for socket in &sockets {
                socket.send(&[0; 64])?;
            }
            std::io::Result::Ok(())
        };
        // Routes and neighbours of these sockets exist after the first round; what comes on top is ours.
        send()?;
        let without = kernel.bytes()?;
        let _links = hooks.both()?;
        send()?;
        Ok((kernel.bytes()? as f64 - without as f64) / sockets.len() as f64)
    })?;
    report.table(Table {
        title: "Kernel memory",
        text: format!("{}.", kernel.method()),
        columns: vec!["what", "measured"],
        rows: vec![
            vec![
                "all maps and programs, loaded".into(),
                format!("{:.1} MiB", (loaded as f64 - before as f64) / MIB),
            ],
            vec!["the same, as `memlock` of the maps".into(), format!("{:.1} MiB", memlock as f64 / MIB)],
            vec![
                format!("storage of a socket that sends ({sockets} sockets)"),
                format!("{per_socket:.0} bytes a socket"),
            ],
        ],
    });
    drop(probe);
    Ok(())
}

/// Kernel memory of this process's memory cgroup, or of the whole host where there is none.
#[derive(Debug)]
pub(crate) enum Kernel {
    /// A group of our own in the first version's hierarchy.
    Group { directory: PathBuf, origin: PathBuf },
    /// The second version, when the lab's group has a memory controller.
    Unified(PathBuf),
    /// Everything of the host.
    Host,
}

impl Kernel {
    pub(crate) fn open(lab: &Lab) -> Result<Self> {
        if let Some((directory, origin)) = first_version_group()? {
            return Ok(Self::Group { directory, origin });
        }
        let unified = lab.cgroup().join("memory.stat");
        Ok(if unified.exists() { Self::Unified(unified) } else { Self::Host })
    }

    /// Bytes now. Memory is given back a moment after descriptors are closed, hence the wait.
    pub(crate) fn bytes(&self) -> Result<u64> {
        thread::sleep(Duration::from_millis(300));
        match self {
            Self::Group { directory, .. } => read_number(&directory.join("memory.kmem.usage_in_bytes")),
            Self::Unified(path) => {
                let text = fs::read_to_string(path)?;
                let value = text.lines().find_map(|line| line.strip_prefix("kernel "));
                Ok(value.context("no line `kernel` in memory.stat")?.trim().parse()?)
            }
            Self::Host => ["Slab:", "VmallocUsed:", "Percpu:"].iter().map(|name| meminfo_bytes(name)).sum(),
        }
    }

    pub(crate) const fn method(&self) -> &'static str {
        match self {
            Self::Group { .. } => {
                "`memory.kmem.usage_in_bytes` of a memory cgroup that holds only this process"
            }
            Self::Unified(_) => "`kernel` in `memory.stat` of a cgroup that holds only this process",
            Self::Host => {
                "`Slab + VmallocUsed + Percpu` of the host (no memory cgroup here): an upper estimate"
            }
        }
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        if let Self::Group { directory, origin } = self {
            let _ = fs::write(origin.join("cgroup.procs"), std::process::id().to_string());
            let _ = fs::remove_dir(directory);
        }
    }
}

/// A new group below the one this process is in, and the old one.
fn first_version_group() -> Result<Option<(PathBuf, PathBuf)>> {
    let memberships = fs::read_to_string("/proc/self/cgroup")?;
    let member = memberships.lines().find_map(|line| line.split_once(":memory:/").map(|(_, path)| path));
    let (Some(member), Some(any)) = (member, lab::mount_of("cgroup")) else { return Ok(None) };
    // Controllers of the first version are mounted side by side.
    let Some(root) = any.parent().map(|parent| parent.join("memory")).filter(|root| root.exists()) else {
        return Ok(None);
    };
    let origin = root.join(member);
    let directory = origin.join(format!("hpb-{}", std::process::id()));
    fs::create_dir(&directory).with_context(|| format!("make {}", directory.display()))?;
    fs::write(directory.join("cgroup.procs"), std::process::id().to_string())?;
    Ok(Some((directory, origin)))
}

fn read_number(path: &Path) -> Result<u64> {
    fs::read_to_string(path)?.trim().parse().with_context(|| format!("number in {}", path.display()))
}

fn meminfo_bytes(name: &str) -> Result<u64> {
    kib_line(&fs::read_to_string("/proc/meminfo")?, name)
        .with_context(|| format!("no {name} in /proc/meminfo"))
}

/// Memory of a process that is in RAM.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    kib_line(&fs::read_to_string(format!("/proc/{pid}/status"))?, "VmRSS:").context("no VmRSS")
}

/// One of the sizes of this process, by its name in `/proc/self/status`.
pub(crate) fn status_bytes(name: &str) -> Result<u64> {
    kib_line(&fs::read_to_string("/proc/self/status")?, name).with_context(|| format!("no {name}"))
}

/// How much of that are maps of the kernel side, which a process shares with the programs.
pub(crate) fn resident_map_bytes(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps"))?;
    let (mut sum, mut in_map) = (0, false);
    for line in text.lines() {
        // A mapping begins with its address range; what follows are fields with a colon.
        if line.split(' ').next().is_some_and(|word| word.contains('-')) {
            in_map = line.contains("bpf-map");
        } else if in_map {
            sum += kib_line(line, "Rss:").unwrap_or(0);
        }
    }
    Ok(sum)
}

fn kib_line(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Sum over the maps this process has open, each once.
fn memlock_bytes() -> Result<u64> {
    let mut maps = std::collections::HashMap::new();
    for entry in fs::read_dir("/proc/self/fdinfo")? {
        // Descriptors of other threads come and go.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        let field =
            |name| text.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
        if let (Some(id), Some(Ok(bytes))) =
            (field("map_id:"), field("memlock:").map(|value| value.parse::<u64>()))
        {
            maps.insert(id, bytes);
        }
    }
    Ok(maps.values().sum())
}
