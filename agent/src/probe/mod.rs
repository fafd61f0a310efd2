//! The kernel side, as the rest of the agent sees it: load, attach, read, count losses, convert.
//!
//! The only user of aya. Nothing here judges; what leaves this module are readings, names and numbers.
//!
//! | file | what for |
//! |---|---|
//! | `programs` | which program needs which kernel, and what is lost without it |
//! | `slots` | readings of the counters, and how slots are taken back |
//! | `reclaim` | when they are, if they only fell silent |
//! | `edge` | which interfaces are the edge of the host |
//! | `links` | the interfaces, as rtnetlink tells them |
//! | `btf` | where this kernel keeps the few fields that the programs read |
//! | `sys` | the system calls that aya does not wrap (all unsafe code of the agent) |

pub mod btf;
pub mod edge;
pub mod links;
pub mod programs;
mod reclaim;
mod slots;
mod sys;

use std::{
    collections::HashMap,
    fs::File,
    io,
    net::{IpAddr, Ipv6Addr},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Map, MapData, RingBuf},
    programs::{
        CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, Program as AyaProgram, ProgramError,
        SchedClassifier, TcAttachType, tc,
    },
    util::KernelVersion,
};
use homeport_ebpf::{
    aside::{AsideKey, AsideValue, CLASSES, InterfaceCount},
    event::{FlowEvent, HostEvent},
    loss::{LOSS_CAUSES, LossCell},
    settings::Offsets,
};
use tokio::io::unix::AsyncFd;

pub use self::slots::Reading;
use self::{
    programs::{Kind, PROGRAMS, Program, ProgramStatus, State},
    slots::Slots,
    sys::LiveSettings,
};
use crate::clock::KernelTime;

/// The programs, compiled by the build script.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/egress.bpf.o"));

/// Why the kernel side does not run.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Not enough rights.
    #[error(
        "not permitted to load eBPF programs: run as root, or with the capabilities CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
    )]
    NotPermitted,
    /// A required program was refused.
    #[error("this kernel refuses {} ({}): {reason}; without it {}", program.name, program.hook, program.without)]
    Required {
        /// Which.
        program: &'static Program,
        /// The kernel's words.
        reason: String,
    },
    /// The cgroup directory could not be opened.
    #[error("opening cgroup {path}: {error}")]
    Cgroup {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The object could not be loaded.
    #[error("loading the eBPF object: {0}")]
    Load(String),
    /// A map operation failed.
    #[error("map {map}: {error}")]
    Map {
        /// Which.
        map: &'static str,
        /// Why.
        error: io::Error,
    },
}

/// What to load.
#[derive(Clone, Debug)]
pub struct ProbeSettings {
    /// The cgroup2 directory whose sockets are observed.
    pub cgroup: PathBuf,
    /// Only sockets in the agent's own network namespace.
    pub own_namespace_only: bool,
    /// Attach `sock_send_length`.
    pub exact_owners: bool,
    /// Number of slots.
    pub slots: u32,
    /// Size of the flow event ring in bytes, a power of two.
    pub ring_bytes: u32,
}

/// Everything of one sweep that has no slot.
#[derive(Debug, Default)]
pub struct Asides {
    /// Bytes per destination and class of the interval before the last sweep.
    pub entries: Vec<(AsideKey, AsideValue)>,
}

/// The loaded programs and their maps.
pub struct Probe {
    ebpf: Ebpf,
    status: Vec<ProgramStatus>,
    slots: Slots,
    live: LiveSettings,
    flow_events: RingBuf<MapData>,
    host_events: RingBuf<MapData>,
    cpus: usize,
    known_generation: u32,
    namespaces_told: bool,
}

impl Probe {
    /// Loads and attaches everything but the interface programs.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] when a required program is refused, or the rights are missing.
    pub fn start(settings: &ProbeSettings) -> Result<Self, ProbeError> {
        let cgroup = File::open(&settings.cgroup)
            .map_err(|error| ProbeError::Cgroup { path: settings.cgroup.clone(), error })?;
        let mut probe = Self::open(settings)?;
        probe.attach_all(settings, &cgroup)?;
        Ok(probe)
    }

    /// Loads every program and attaches none: for measurements, which attach and detach by themselves.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] when a program is refused, or the rights are missing.
    pub fn load(settings: &ProbeSettings) -> Result<Self, ProbeError> {
        let mut probe = Self::open(settings)?;
        let btf = Btf::from_sys_fs().ok();
        for program in PROGRAMS {
            load_program(&mut probe.ebpf, program, btf.as_ref())
                .map_err(|reason| ProbeError::Required { program, reason })?;
        }
        Ok(probe)
    }

    fn open(settings: &ProbeSettings) -> Result<Self, ProbeError> {
        let offsets = match btf::kernel_offsets(Path::new("/sys/kernel/btf/vmlinux")) {
            Ok(offsets) => offsets,
            Err(error) => {
                tracing::warn!(%error, "kernel layout unknown: names of short-lived processes will be missing");
                Offsets::default()
            }
        };
        // Some kernels lack the helper that tells the namespace of a packet; the verifier is the one who knows.
        let (mut ebpf, namespaces_told) = match load(settings, &offsets, true)? {
            Some(ebpf) => (ebpf, true),
            None => match load(settings, &offsets, false)? {
                Some(ebpf) => (ebpf, false),
                None => (load_unchecked(settings, &offsets, false)?, false),
            },
        };
        if settings.own_namespace_only && !namespaces_told {
            return Err(ProbeError::Load(
                "this kernel cannot tell the network namespace of a packet, so `host.namespaces = \"own\"` is not \
                 possible; use \"all\" and narrow with `host.cgroup`"
                    .to_owned(),
            ));
        }
        let cpus =
            aya::util::nr_cpus().map_err(|(_, error)| ProbeError::Map { map: "per-CPU maps", error })?;
        let slots = Slots::new(map_fd(&ebpf, "SLOTS")?, map_fd(&ebpf, "FREE")?, settings.slots)
            .map_err(|error| ProbeError::Map { map: "SLOTS", error })?;
        for name in ["ASIDE_0", "ASIDE_1"] {
            make_rests(map_fd(&ebpf, name)?).map_err(|error| ProbeError::Map { map: "ASIDE", error })?;
        }
        let live = LiveSettings::new(map_fd(&ebpf, "LIVE")?)
            .map_err(|error| ProbeError::Map { map: "LIVE", error })?;
        let known_generation = live.next_known_generation();
        let flow_events = take_ring(&mut ebpf, "FLOW_EVENTS")?;
        let host_events = take_ring(&mut ebpf, "HOST_EVENTS")?;
        Ok(Self {
            ebpf,
            status: Vec::new(),
            slots,
            live,
            flow_events,
            host_events,
            cpus,
            known_generation,
            namespaces_told,
        })
    }

    fn attach_all(&mut self, settings: &ProbeSettings, cgroup: &File) -> Result<(), ProbeError> {
        let btf = Btf::from_sys_fs().ok();
        let mut sender_attached = false;
        for program in PROGRAMS {
            let needless = match program.name {
                "stamp_sender" if !settings.exact_owners => {
                    Some("switched off by `host.exact_owners = false`")
                }
                "stamp_create" if sender_attached => Some("sock_send_length names the sender"),
                _ => None,
            };
            let state = match needless {
                Some(reason) => State::NotNeeded(reason),
                None => match attach(&mut self.ebpf, program, cgroup, btf.as_ref()) {
                    Ok(state) => state,
                    Err(reason) if program.required => return Err(ProbeError::Required { program, reason }),
                    Err(reason) => State::Refused(reason),
                },
            };
            sender_attached |= program.name == "stamp_sender" && state == State::Attached;
            self.status.push(ProgramStatus { program, state });
        }
        Ok(())
    }

    /// A loaded program by its name.
    pub fn program_fd(&self, name: &str) -> Option<BorrowedFd<'_>> {
        self.ebpf.program(name)?.fd().ok().map(AsFd::as_fd)
    }

    /// What became of each program.
    pub fn status(&self) -> &[ProgramStatus] {
        &self.status
    }

    /// Whether the exact sender is told by this kernel.
    pub fn tells_sender(&self) -> bool {
        self.status
            .iter()
            .any(|status| status.program.name == "stamp_sender" && status.state == State::Attached)
    }

    /// Whether packets come with the namespace they left.
    pub const fn tells_namespace(&self) -> bool {
        self.namespaces_told
    }

    /// Slots in use, and how many there are.
    pub const fn slot_use(&self) -> (u32, u32) {
        (self.slots.in_use(), self.slots.capacity())
    }

    /// Becomes readable when there are flow events.
    ///
    /// # Errors
    ///
    /// When the descriptor cannot be watched.
    pub fn watch_flow_events(&self) -> io::Result<AsyncFd<OwnedFd>> {
        sys::watch(self.flow_event_fd().try_clone_to_owned()?)
    }

    /// The same for those who wait without a runtime.
    pub fn flow_event_fd(&self) -> BorrowedFd<'_> {
        self.flow_events.as_fd()
    }

    /// Becomes readable when there are host events.
    ///
    /// # Errors
    ///
    /// When the descriptor cannot be watched.
    pub fn watch_host_events(&self) -> io::Result<AsyncFd<OwnedFd>> {
        sys::watch(self.host_events.as_fd().try_clone_to_owned()?)
    }

    /// Takes the next flow event.
    pub fn next_flow_event(&mut self) -> Option<FlowEvent> {
        loop {
            let item = self.flow_events.next()?;
            if let Some(event) = sys::from_bytes(&item) {
                return Some(event);
            }
        }
    }

    /// Takes the next host event.
    pub fn next_host_event(&mut self) -> Option<HostEvent> {
        loop {
            let item = self.host_events.next()?;
            if let Some(event) = sys::from_bytes(&item) {
                return Some(event);
            }
        }
    }

    /// What is new in the slot that an event spoke of; `None` when the slot has moved on (the sweep read it).
    pub fn read_slot(&mut self, slot: u32, generation: u32, now: KernelTime) -> Option<Reading> {
        self.slots.read(slot, generation, now)
    }

    /// How well the owner of a slot is known by now (`QUALITY_*`); `None` when the slot has moved on.
    pub fn owner_quality(&self, slot: u32, generation: u32) -> Option<u8> {
        self.slots.owner_quality(slot, generation)
    }

    /// Reads slots that grew and are `ready`, up to a thousand, beginning with `from`. A whole sweep begins with 0,
    /// goes on with what is returned until that is `None`, and ends with [`Self::sweep_asides`].
    ///
    /// # Errors
    ///
    /// When a map cannot be read; what was read until then has been handed over.
    pub fn sweep(
        &mut self,
        from: u32,
        now: KernelTime,
        ready: impl Fn(u32) -> bool,
        take: impl FnMut(Reading),
    ) -> Result<Option<u32>, ProbeError> {
        let maps = (map_fd(&self.ebpf, "INDEX")?, map_fd(&self.ebpf, "FREE")?);
        self.slots
            .sweep(maps, from, now, ready, take)
            .map_err(|error| ProbeError::Map { map: "SLOTS", error })
    }

    /// A whole sweep at once, for measurements.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn sweep_all(
        &mut self,
        now: KernelTime,
        mut take: impl FnMut(Reading),
    ) -> Result<Asides, ProbeError> {
        let mut next = Some(0);
        while let Some(from) = next {
            next = self.sweep(from, now, |_| true, &mut take)?;
        }
        self.sweep_asides()
    }

    /// What had no slot until the sweep before: two sweeps read everything.
    ///
    /// # Errors
    ///
    /// When a map cannot be read.
    pub fn sweep_asides(&mut self) -> Result<Asides, ProbeError> {
        // The map that has been idle since the sweep before: every program that still saw it in use has ended, and
        // the slots of the same packets have been read, so that forwarded frames find their sockets counted.
        let name = if self.live.idle_aside() == 0 { "ASIDE_0" } else { "ASIDE_1" };
        let mut asides = Asides::default();
        let map = map_fd(&self.ebpf, name)?;
        sys::drain(map, |key: AsideKey, value: AsideValue| {
            if value != AsideValue::default() {
                asides.entries.push((key, value));
            }
        })
        .and_then(|()| make_rests(map))
        .map_err(|error| ProbeError::Map { map: "ASIDE", error })?;
        self.live.flip_aside();
        Ok(asides)
    }

    /// Stops or resumes events of a slot.
    pub fn set_quiet(&self, slot: u32, generation: u32, quiet: bool) {
        self.slots.set_quiet(slot, generation, quiet);
    }

    /// Every policy approves this destination for everyone: no events for it until the next change.
    pub fn know(&self, remote: IpAddr) {
        let result = map_fd(&self.ebpf, "KNOWN")
            .map(|map| sys::update(map, &KnownKey(address_bytes(remote)), &self.known_generation));
        if let Err(error) | Ok(Err(error)) = result.map_err(|error| io::Error::other(error.to_string())) {
            tracing::debug!(%error, "remembering an approved destination");
        }
    }

    /// Policy or databases changed: nothing is known any more.
    pub fn forget_known(&mut self) {
        self.known_generation = self.live.next_known_generation();
    }

    /// Losses by cause since the start, summed over processors.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn losses(&self) -> Result<Vec<LossCell>, ProbeError> {
        let map = map_fd(&self.ebpf, "LOSSES")?;
        (0..LOSS_CAUSES)
            .map(|cause| {
                let cells: Vec<LossCell> = sys::lookup_per_cpu(map, &cause, self.cpus)
                    .map_err(|error| ProbeError::Map { map: "LOSSES", error })?
                    .unwrap_or_default();
                Ok(cells.iter().fold(LossCell::default(), |sum, cell| LossCell {
                    events: sum.events + cell.events,
                    bytes: sum.bytes + cell.bytes,
                }))
            })
            .collect()
    }

    /// Counts frames at an interface from here on. Counting ends when the interface goes.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, with its reason.
    pub fn attach_interface(&mut self, link: &edge::Link) -> Result<(), ProbeError> {
        self.expect_interface(link.index)?;
        let name = if link.ethernet { "frames_ethernet" } else { "frames_raw" };
        let refused =
            |error: &dyn std::fmt::Display| ProbeError::Load(format!("tc egress at {}: {error}", link.name));
        // Before tcx, filters hang on the clsact qdisc; adding it twice is refused and harmless. Such a filter
        // outlives an agent that was killed, and would count on into maps that nobody reads.
        if KernelVersion::current().is_ok_and(|version| version < KernelVersion::new(6, 6, 0)) {
            let _ = tc::qdisc_add_clsact(&link.name);
            let _ = tc::qdisc_detach_program(&link.name, TcAttachType::Egress, name);
        }
        let program: &mut SchedClassifier = self
            .ebpf
            .program_mut(name)
            .ok_or_else(|| ProbeError::Load(format!("no program {name}")))?
            .try_into()
            .map_err(|error: ProgramError| refused(&error))?;
        program.attach(&link.name, TcAttachType::Egress).map_err(|error| refused(&chain(&error)))?;
        if let Some(status) = self.status.iter_mut().find(|status| status.program.name == name) {
            status.state = State::Attached;
        }
        Ok(())
    }

    /// Makes the counters of an interface, without which its frames are a loss.
    ///
    /// # Errors
    ///
    /// When there are too many interfaces.
    pub fn expect_interface(&self, ifindex: u32) -> Result<(), ProbeError> {
        if self.interface_cells(ifindex).is_some() {
            return Ok(());
        }
        let map = map_fd(&self.ebpf, "HIGH_INTERFACES")?;
        sys::update_per_cpu(map, &ifindex, InterfaceCount::default(), self.cpus)
            .map_err(|error| ProbeError::Map { map: "HIGH_INTERFACES", error })
    }

    /// Low indexes always have cells, in an array; others once [`Self::expect_interface`] made them.
    fn interface_cells(&self, ifindex: u32) -> Option<Vec<InterfaceCount>> {
        ["INTERFACES", "HIGH_INTERFACES"].into_iter().find_map(|name| {
            sys::lookup_per_cpu(map_fd(&self.ebpf, name).ok()?, &ifindex, self.cpus).ok().flatten()
        })
    }

    /// Tells the programs how long packets may be on an interface.
    pub fn set_mtu(&self, ifindex: u32, mtu: u32) {
        let result = map_fd(&self.ebpf, "MTUS").map(|map| sys::update(map, &ifindex, &mtu));
        if let Ok(Err(error)) = result {
            tracing::warn!(ifindex, mtu, %error, "fragments on this interface will be undercounted");
        }
    }

    /// The interface is gone.
    pub fn forget_mtu(&self, ifindex: u32) {
        self.forget("MTUS", ifindex);
    }

    /// The edge interface is gone, and nobody asks for its frames any more.
    pub fn forget_interface(&self, ifindex: u32) {
        self.forget("HIGH_INTERFACES", ifindex);
    }

    fn forget(&self, map: &'static str, ifindex: u32) {
        let result = map_fd(&self.ebpf, map).map(|map| sys::delete(map, &ifindex));
        if let Ok(Err(error)) = result {
            tracing::debug!(ifindex, map, %error, "forgetting an interface");
        }
    }

    /// What tc saw leave an interface since it was attached, summed over processors.
    pub fn interface_count(&self, ifindex: u32) -> Option<InterfaceCount> {
        let mut sum = InterfaceCount::default();
        for cell in self.interface_cells(ifindex)? {
            for (total, part) in [
                (&mut sum.socket, cell.socket),
                (&mut sum.forwarded, cell.forwarded),
                (&mut sum.packet, cell.packet),
                (&mut sum.time_wait, cell.time_wait),
                (&mut sum.non_ip, cell.non_ip),
            ] {
                total.frame_bytes += part.frame_bytes;
                total.frames += part.frames;
            }
        }
        Some(sum)
    }
}

/// Makes the entries that take what finds no room, before the map is written to.
fn make_rests(map: BorrowedFd<'_>) -> io::Result<()> {
    CLASSES
        .into_iter()
        .try_for_each(|class| sys::insert_new(map, &AsideKey::rest(class), &AsideValue::default()))
}

/// Key of the map of known destinations.
#[repr(C)]
#[derive(Clone, Copy)]
struct KnownKey([u8; 16]);

// SAFETY: sixteen bytes.
unsafe impl homeport_ebpf::Plain for KnownKey {}

/// Cookie of the network namespace the agent runs in.
///
/// # Errors
///
/// On kernels before 5.14.
pub fn own_netns_cookie() -> io::Result<u64> {
    sys::netns_cookie()
}

/// An address as the programs write it: IPv4 as `::ffff:a.b.c.d`.
pub fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// The address that the programs wrote.
pub fn address(bytes: [u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
}

/// Loads the object and the egress program; `None` when the kernel refuses the program because of a helper.
fn load(settings: &ProbeSettings, offsets: &Offsets, namespaces: bool) -> Result<Option<Ebpf>, ProbeError> {
    let mut ebpf = load_unchecked(settings, offsets, namespaces)?;
    let program: &mut CgroupSkb = match ebpf.program_mut("account_egress").map(TryInto::try_into) {
        Some(Ok(program)) => program,
        Some(Err(_)) | None => {
            return Err(ProbeError::Load("the object has no program account_egress".to_owned()));
        }
    };
    Ok(program.load().is_ok().then_some(ebpf))
}

fn load_unchecked(settings: &ProbeSettings, offsets: &Offsets, namespaces: bool) -> Result<Ebpf, ProbeError> {
    let scope = if settings.own_namespace_only {
        own_netns_cookie().map_err(|error| ProbeError::Map { map: "network namespace cookie", error })?
    } else {
        0
    };
    let Offsets {
        task_group_leader,
        task_start_boottime,
        task_loginuid,
        task_pid,
        task_tgid,
        task_mm,
        mm_arg_start,
        mm_arg_end,
        bprm_interp,
        cgroup_kn,
        cgroup_root,
        root_hierarchy,
        kernfs_id,
        sock_family,
    } = *offsets;
    let offsets = [
        task_group_leader,
        task_start_boottime,
        task_loginuid,
        task_pid,
        task_tgid,
        task_mm,
        mm_arg_start,
        mm_arg_end,
        bprm_interp,
        cgroup_kn,
        cgroup_root,
        root_hierarchy,
        kernfs_id,
        sock_family,
    ];
    let helper = u32::from(namespaces);
    EbpfLoader::new()
        .override_global("OFFSETS", &offsets, true)
        .override_global("SCOPE_NETNS", &scope, true)
        .override_global("NETNS_HELPER", &helper, true)
        .map_max_entries("SLOTS", settings.slots)
        .map_max_entries("FREE", settings.slots)
        .map_max_entries("INDEX", settings.slots)
        .map_max_entries("FLOW_EVENTS", settings.ring_bytes)
        .load(OBJECT)
        .map_err(|error| {
            let text = chain(&error);
            if text.contains("Operation not permitted") || text.contains("EPERM") {
                ProbeError::NotPermitted
            } else {
                ProbeError::Load(text)
            }
        })
}

/// Loads and attaches one program. The error is the kernel's reason, for a person.
fn attach(ebpf: &mut Ebpf, program: &Program, cgroup: &File, btf: Option<&Btf>) -> Result<State, String> {
    load_program(ebpf, program, btf)?;
    // A link never excludes other programs, and takes no flags: aya's `Single` is "no flags".
    let mode = CgroupAttachMode::Single;
    let result = match ebpf.program_mut(program.name) {
        Some(AyaProgram::CgroupSkb(handle)) => {
            handle.attach(cgroup, CgroupSkbAttachType::Egress, mode).map(drop)
        }
        Some(AyaProgram::CgroupSockAddr(handle)) => handle.attach(cgroup, mode).map(drop),
        Some(AyaProgram::CgroupSock(handle)) => handle.attach(cgroup, mode).map(drop),
        Some(AyaProgram::RawTracePoint(handle)) => handle.attach(program.hook).map(drop),
        Some(AyaProgram::BtfTracePoint(handle)) => handle.attach().map(drop),
        // Attached when there is an interface for it.
        Some(_) | None => return Ok(State::Loaded),
    };
    result.map(|()| State::Attached).map_err(|error| chain(&error))
}

fn load_program(ebpf: &mut Ebpf, program: &Program, btf: Option<&Btf>) -> Result<(), String> {
    let handle = ebpf.program_mut(program.name).ok_or_else(|| "not in the object".to_owned())?;
    let result = match (program.kind, handle) {
        (Kind::CgroupSkb, AyaProgram::CgroupSkb(handle)) => load_once(handle.load()),
        (Kind::CgroupSockAddr, AyaProgram::CgroupSockAddr(handle)) => handle.load(),
        (Kind::CgroupSock, AyaProgram::CgroupSock(handle)) => handle.load(),
        (Kind::RawTracepoint, AyaProgram::RawTracePoint(handle)) => handle.load(),
        (Kind::BtfTracepoint, AyaProgram::BtfTracePoint(handle)) => {
            let btf = btf.ok_or_else(|| "the kernel has no BTF (/sys/kernel/btf/vmlinux)".to_owned())?;
            handle.load(program.hook, btf)
        }
        (Kind::Classifier, AyaProgram::SchedClassifier(handle)) => handle.load(),
        (_, _) => return Err("the object has another kind of program under this name".to_owned()),
    };
    result.map_err(|error| chain(&error))
}

/// The egress program was loaded before, to find out about helpers.
fn load_once(result: Result<(), ProgramError>) -> Result<(), ProgramError> {
    match result {
        Err(ProgramError::AlreadyLoaded) => Ok(()),
        other => other,
    }
}

fn map_fd<'a>(ebpf: &'a Ebpf, name: &'static str) -> Result<BorrowedFd<'a>, ProbeError> {
    match ebpf.map(name) {
        Some(
            Map::Array(data)
            | Map::HashMap(data)
            | Map::LruHashMap(data)
            | Map::PerCpuArray(data)
            | Map::PerCpuHashMap(data)
            | Map::Stack(data),
        ) => Ok(data.fd().as_fd()),
        Some(_) | None => Err(ProbeError::Map {
            map: name,
            error: io::Error::new(io::ErrorKind::NotFound, "not in the object"),
        }),
    }
}

fn take_ring(ebpf: &mut Ebpf, name: &'static str) -> Result<RingBuf<MapData>, ProbeError> {
    let missing = || ProbeError::Map { map: name, error: io::ErrorKind::NotFound.into() };
    let map = ebpf.take_map(name).ok_or_else(missing)?;
    RingBuf::try_from(map)
        .map_err(|error| ProbeError::Map { map: name, error: io::Error::other(chain(&error)) })
}

/// An error with all its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Bytes per interface, as the agent keeps them.
pub type InterfaceCounts = HashMap<u32, InterfaceCount>;
