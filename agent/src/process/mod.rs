//! Who owns a socket, tolerating that the owner is gone.
//!
//! The kernel side stamps sockets with process id, start time, users and cgroup; this room turns a stamp into an
//! [`Owner`] with names. Names are collected when they are told (executions, forks, new cgroups), because a
//! process may be gone before anybody asks; `/proc` is asked for what was there before the agent.
//!
//! | file | what for |
//! |---|---|
//! | `table` | processes by number, with start time, executable and command line |
//! | `procfs` | what `/proc` says about one process |
//! | `cgroups` | cgroup ids to paths, units and containers |
//! | `addresses` | addresses of the host in other network namespaces |
//! | `sockets` | sockets that are older than the agent, in every network namespace |
//! | `kernel_service` | kernel threads that serve data, by name and by port |

pub mod addresses;
mod cgroups;
mod kernel_service;
pub mod procfs;
pub mod sockets;
mod table;

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use homeport_ebpf::{
    event::{HOST_CGROUP, HOST_EXEC, HOST_EXIT, HOST_FORK, HostEvent},
    slot::{QUALITY_SENDER, QUALITY_UNKNOWN, Stamp},
};
use serde::{Deserialize, Serialize};
use uzers::{Users as _, UsersCache};

use self::{
    cgroups::Cgroups,
    sockets::Holder,
    table::{Image, Table},
};
use crate::{
    clock::KernelTime,
    flow::{Actor, Owner, Process, Protocol, Quality, Workload},
};

/// Turns stamps into owners.
pub struct Owners {
    table: Table,
    cgroups: Cgroups,
    users: UsersCache,
    known: HashMap<OwnerKey, Arc<Owner>>,
    /// The numbers in `known`: most executions are of processes that never sent anything.
    known_pids: HashSet<u32>,
    kernel_ports: kernel_service::Ports,
    /// Somebody was named since [`Owners::take_changed`].
    changed: bool,
}

/// An owner that was named, to be known by the next agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NamedOwner {
    key: OwnerKey,
    owner: Arc<Owner>,
}

/// What makes two stamps the same owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct OwnerKey {
    pid: u32,
    start_boot_ns: u64,
    uid: u32,
    cgroup_id: u64,
    quality: u8,
    protocol: u8,
}

/// [`OwnerKey::quality`] of owners found afterwards, which the kernel side knows nothing of.
const RESOLVED: u8 = u8::MAX;

/// Owners remembered before those of ended processes are forgotten.
const KNOWN_OWNERS: usize = 16_384;

impl Owners {
    /// Reads what runs on the host now. `cgroup_root` is where the cgroup2 hierarchy is mounted.
    pub fn new(cgroup_root: &Path) -> Self {
        Self {
            table: Table::scan(),
            cgroups: Cgroups::scan(cgroup_root),
            users: UsersCache::new(),
            known: HashMap::new(),
            known_pids: HashSet::new(),
            kernel_ports: kernel_service::Ports::default(),
            changed: false,
        }
    }

    /// Whether somebody was named since the last call.
    pub const fn take_changed(&mut self) -> bool {
        std::mem::replace(&mut self.changed, false)
    }

    /// Every process that was named.
    pub fn named(&self) -> Vec<NamedOwner> {
        let processes = self.known.iter().filter(|(_, owner)| owner.process().is_some());
        processes.map(|(key, owner)| NamedOwner { key: *key, owner: Arc::clone(owner) }).collect()
    }

    /// Takes over the names of processes that ended while no agent was there. Those that live are asked again, now,
    /// because they may end before anybody else asks: they may run something else than they did.
    pub fn restore(&mut self, named: Vec<NamedOwner>) {
        for NamedOwner { key, owner } in named {
            let lives = procfs::status(key.pid)
                .is_some_and(|status| table::same_start(status.start_boot_ns, key.start_boot_ns));
            if lives {
                self.table.image(key.pid, key.start_boot_ns, "");
            } else {
                self.known_pids.insert(key.pid);
                self.known.insert(key, owner);
            }
        }
    }

    /// A process or cgroup came or went.
    pub fn observe(&mut self, event: &HostEvent) {
        match event.kind {
            HOST_EXEC => {
                self.table.executed(event);
                // The same process is somebody else now.
                if self.known_pids.remove(&event.pid) {
                    self.known.retain(|key, _| key.pid != event.pid);
                }
            }
            HOST_FORK => self.table.forked(event),
            HOST_EXIT => self.table.exited(event.pid, event.start_boot_ns, KernelTime(event.ktime_ns)),
            HOST_CGROUP => self.cgroups.made(event.cgroup_id, text(&event.path, event.path_len)),
            _ => {}
        }
    }

    /// Forgets processes that ended a while ago.
    pub fn retire(&mut self, now: KernelTime) {
        self.table.retire(now);
        if self.known.len() > KNOWN_OWNERS {
            let table = &self.table;
            self.known.retain(|key, _| table.contains(key.pid));
            self.known_pids = self.known.keys().map(|key| key.pid).collect();
        }
    }

    /// Processes known by number.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no process is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The owner that a stamp speaks of. `socket_cgroup_id` is where the socket was made.
    pub fn owner(
        &mut self,
        stamp: &Stamp,
        quality: u8,
        socket_cgroup_id: u64,
        protocol: Protocol,
    ) -> Arc<Owner> {
        let cgroup_id = if stamp.cgroup_id != 0 { stamp.cgroup_id } else { socket_cgroup_id };
        let key = OwnerKey {
            pid: stamp.pid,
            start_boot_ns: stamp.start_boot_ns,
            uid: stamp.uid,
            cgroup_id,
            quality,
            protocol: if stamp.pid == 0 { protocol.0 } else { 0 },
        };
        if let Some(owner) = self.known.get(&key) {
            return Arc::clone(owner);
        }
        let workload = self.cgroups.workload(cgroup_id);
        let owner = Arc::new(if stamp.pid == 0 {
            nobody(protocol, workload)
        } else {
            self.process_owner(stamp, quality, workload)
        });
        self.known_pids.insert(key.pid);
        self.known.insert(key, Arc::clone(&owner));
        self.changed = true;
        owner
    }

    /// An owner found afterwards, by searching the process table for the socket. `None`: the process is gone, and had
    /// not been named before.
    pub fn resolved(&mut self, holder: &Holder, socket_cgroup_id: u64) -> Option<Arc<Owner>> {
        let Holder { pid, start_boot_ns, comm } = *holder;
        // Users belong to the stamp of others; here the process alone says who it is.
        let (uid, protocol) = (u32::MAX, 0);
        let key =
            OwnerKey { pid, start_boot_ns, uid, cgroup_id: socket_cgroup_id, quality: RESOLVED, protocol };
        if let Some(owner) = self.known.get(&key) {
            return Some(Arc::clone(owner));
        }
        let status = procfs::status(pid).filter(|status| status.start_boot_ns == start_boot_ns)?;
        let stamp = Stamp {
            pid,
            start_boot_ns,
            uid: status.uid,
            login_uid: procfs::login_uid(pid).unwrap_or(u32::MAX),
            comm,
            ..Stamp::default()
        };
        let workload = self.cgroups.workload(socket_cgroup_id);
        let owner = self.process_owner(&stamp, QUALITY_UNKNOWN, workload);
        let owner = Arc::new(Owner { quality: Quality::Resolved, ..owner });
        self.known_pids.insert(pid);
        self.known.insert(key, Arc::clone(&owner));
        Some(owner)
    }

    /// The kernel's service behind an owner, where the ports of the socket say it: worker threads work for many
    /// services, and whoever set a service up has bound its socket, but does not send.
    pub fn serving(&mut self, owner: Arc<Owner>, local_port: u16, remote_port: u16) -> Arc<Owner> {
        let (service, quality) = match &owner.actor {
            Actor::Kernel(name) if **name == *kernel_service::WORKER => {
                (self.kernel_ports.working_for(local_port, remote_port), owner.quality)
            }
            Actor::Process(_) | Actor::Unowned if owner.quality < Quality::Exact => {
                (self.kernel_ports.serving(local_port), Quality::Resolved)
            }
            _ => (None, owner.quality),
        };
        match service {
            Some(service) => Arc::new(Owner {
                actor: Actor::Kernel(service.into()),
                workload: Workload::default(),
                quality,
            }),
            None => owner,
        }
    }

    fn process_owner(&mut self, stamp: &Stamp, quality: u8, workload: Workload) -> Owner {
        let quality = if quality == QUALITY_SENDER { Quality::Exact } else { Quality::Inherited };
        let comm = text(&stamp.comm, stamp.comm.len() as u32);
        let Image { exe, command_line, kernel_thread } =
            self.table.image(stamp.pid, stamp.start_boot_ns, comm);
        if kernel_thread {
            // Its threads are in whatever cgroup they happen to be, and all serve the same.
            let actor = Actor::Kernel(kernel_service::name(comm).into());
            return Owner { actor, workload: Workload::default(), quality };
        }
        let process = Process {
            pid: stamp.pid,
            start_boot_ns: stamp.start_boot_ns,
            exe,
            command_line,
            uid: stamp.uid,
            user: self
                .users
                .get_user_by_uid(stamp.uid)
                .map(|user| Arc::from(user.name().to_string_lossy().as_ref())),
            login_uid: (stamp.login_uid != u32::MAX).then_some(stamp.login_uid),
        };
        Owner { actor: Actor::Process(process), workload, quality }
    }
}

/// A socket that nobody stamped: the kernel's own, or one older than the agent that has not sent since.
fn nobody(protocol: Protocol, workload: Workload) -> Owner {
    let actor = match protocol {
        Protocol::ICMP | Protocol::ICMPV6 => Actor::Kernel("icmp".into()),
        Protocol(2) => Actor::Kernel("igmp".into()),
        _ => Actor::Unowned,
    };
    Owner { actor, workload, quality: Quality::Unknown }
}

/// The text in a fixed buffer, up to its length or the first zero byte.
fn text(bytes: &[u8], length: u32) -> &str {
    let bytes = bytes.get(..length as usize).unwrap_or(bytes);
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or(&[]);
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or(""),
    }
}
