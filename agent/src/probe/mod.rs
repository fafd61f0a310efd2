//! The kernel side, as the rest of the agent sees it: load, attach, read, count losses, convert.
//!
//! The only user of aya. Nothing here judges; what leaves this module are readings, names and numbers.
//!
//! | file | what for |
//! |---|---|
//! | `programs` | which program needs which kernel, and what is lost without it |
//! | `support` | what differs between kernels, for doctor, the tests and the documentation |
//! | `memlock` | room for the maps on kernels before 5.11 |
//! | `load` | the object file into the kernel |
//! | `pins` | where maps and links stay while no agent runs |
//! | `hooks` | programs on their hooks: attached, handed over, looked after |
//! | `qdisc` | what filters hang on before Linux 6.6 |
//! | `cleanup` | the end of counting: nothing stays behind |
//! | `slots` | readings of the counters, and how slots are taken back |
//! | `reclaim` | when they are, if they only fell silent |
//! | `baselines` | what has been read of each slot, for the agent after this one |
//! | `drain` | maps of another layout, read for the last time |
//! | `frames` | counters of interfaces |
//! | `discards` | what the kernel says it discarded on the way out |
//! | `rings` | events |
//! | `pace` | how often events may wake their reader |
//! | `known` | destinations the programs are silent about |
//! | `namespace` | the agent's own network namespace |
//! | `edge` | which interfaces are the edge of the host |
//! | `links` | the interfaces, as rtnetlink tells them |
//! | `btf` | where this kernel keeps the few fields that the programs read |
//! | `sys` | the system calls that aya does not wrap (all unsafe code of the agent) |

mod baselines;
pub mod btf;
mod cleanup;
pub mod discards;
mod drain;
pub mod edge;
mod error;
mod frames;
mod hooks;
mod known;
pub mod links;
mod load;
mod memlock;
mod namespace;
mod pace;
mod pins;
pub mod programs;
mod qdisc;
mod reclaim;
mod rings;
mod sessions;
mod slots;
pub mod support;
mod sys;

use std::{
    fs::File,
    io,
    net::{IpAddr, Ipv6Addr},
    os::fd::{AsFd, BorrowedFd},
    path::PathBuf,
};

use aya::{
    Btf, Ebpf,
    maps::{MapData, RingBuf},
};
use homeport_ebpf::{
    aside::{AsideKey, AsideValue, CLASS_FORWARDED, CLASSES},
    layout::{self, Field, TABLE_ENTRIES},
    loss::{LOSS_CAUSES, LossCell},
    slot::{SlotCold, SlotHot, WAY_DIRECT, WAYS},
};

pub(crate) use self::sys::unacknowledged_bytes;
use self::{
    baselines::Baselines,
    hooks::{Cgroup, Hooks},
    load::{load_program, map_fd, take_ring},
    pins::{Identity, Pins, Predecessor, Scale, Set},
    programs::{Kind, PROGRAMS, Program, ProgramStatus, State},
    slots::Slots,
    sys::{LiveSettings, objects::open_pinned},
};
pub use self::{
    cleanup::{Removed, cleanup},
    error::ProbeError,
    hooks::{At, Attachment, Condition, Repair},
    namespace::{NamespaceBy, own_namespace},
    pace::Pace,
    pins::{DirectoryLock, PinError},
    slots::Reading,
};
use crate::{
    clock::{KernelTime, Synchronized},
    flow::Volume,
};

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
    /// Where maps and links are pinned, so that counting goes on without the agent; `None`: it ends with the agent.
    pub pin_dir: Option<PathBuf>,
}

/// Everything of one sweep that has no slot.
#[derive(Debug, Default)]
pub struct Asides {
    /// Bytes per destination and class of the interval before the last sweep.
    pub entries: Vec<(AsideKey, AsideValue)>,
}

/// What an earlier agent had committed when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its last epoch.
    pub epoch: u64,
    /// Its maps, by `Probe::maps`.
    pub maps: u64,
    /// The aside map that it had read in that epoch, and may not have emptied.
    pub aside: Option<u32>,
}

/// What was found of an earlier agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nothing: counting begins with this agent.
    Fresh,
    /// Maps in which counting went on, and goes on.
    Resumed {
        /// Readings go on exactly where the last commit ended. Otherwise there was no commit for these maps, and
        /// they go on where they were read last, which may not have been recorded.
        exact: bool,
        /// What was counted since, in these maps.
        away: Volume,
        /// The maps are new, and counting went on in others, which [`Probe::drain`] reads out.
        replaced: bool,
    },
    /// Maps that cannot be gone on with: why. They were removed.
    Unusable(String),
}

/// The loaded programs and their maps.
pub struct Probe {
    ebpf: Ebpf,
    status: Vec<ProgramStatus>,
    hooks: Hooks,
    pins: Option<Pins>,
    unpinned: Option<String>,
    origin: Origin,
    slots: Slots,
    /// Tells these maps from any others.
    maps: u64,
    /// The aside map that was read since the last commit.
    aside: Option<u32>,
    /// Maps of agents before this one, to be read out, and what was committed of them.
    earlier: Vec<Earlier>,
    /// Sets that can go with the next commit.
    given_up: Vec<Set>,
    live: LiveSettings,
    flow_events: RingBuf<MapData>,
    host_events: RingBuf<MapData>,
    cpus: usize,
    known_generation: u32,
    namespaces: NamespaceBy,
    tells_frames: bool,
}

impl Probe {
    /// Loads and attaches everything but the interface programs. With pins it goes on from what an earlier agent
    /// had `committed`.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] when a required program is refused, the rights are missing, or another agent has the pins.
    pub fn start(settings: &ProbeSettings, committed: Option<Committed>) -> Result<Self, ProbeError> {
        let (pins, unpinned) = match settings.pin_dir.as_deref().map(Pins::open) {
            Some(Ok(pins)) => (Some(pins), None),
            None => (None, None),
            // Watching comes first: whoever has no bpffs is watched as long as the agent runs.
            Some(Err(error @ PinError::Unusable { .. })) => (None, Some(error.to_string())),
            Some(Err(error @ PinError::InUse { .. })) => return Err(error.into()),
        };
        let mut probe = Self::open(settings, pins, committed)?;
        probe.unpinned = unpinned;
        let result = probe.attach_all(settings);
        if result.is_err()
            && probe.origin == Origin::Fresh
            && let Some(pins) = &probe.pins
        {
            // Maps that nothing writes to are no use to the next agent, and would look like a gap to it.
            let _ = pins.clear();
        }
        result.map(|()| probe)
    }

    /// Loads every program and attaches none: for measurements, which attach and detach by themselves.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] when a program is refused, or the rights are missing.
    pub fn load(settings: &ProbeSettings) -> Result<Self, ProbeError> {
        let mut probe = Self::open(settings, None, None)?;
        let btf = Btf::from_sys_fs().ok();
        for program in PROGRAMS {
            load_program(&mut probe.ebpf, program, btf.as_ref())
                .map_err(|reason| ProbeError::Required { program, reason })?;
        }
        Ok(probe)
    }

    fn open(
        settings: &ProbeSettings,
        pins: Option<Pins>,
        committed: Option<Committed>,
    ) -> Result<Self, ProbeError> {
        memlock::make_room();
        let cgroup = File::open(&settings.cgroup)
            .map_err(|error| ProbeError::Cgroup { path: settings.cgroup.clone(), error })?;
        let cgroup = Cgroup { path: settings.cgroup.clone(), directory: cgroup };
        let scale = Scale {
            slots: settings.slots,
            ring_bytes: settings.ring_bytes,
            namespace: namespace::own_inode()
                .map_err(|error| ProbeError::Map { map: "own network namespace", error })?,
        };
        let pinning = |error| ProbeError::Map { map: "pinned maps", error };
        let Found { mut origin, mut set, earlier, committed } = match &pins {
            Some(pins) => find_sets(pins, scale, committed).map_err(pinning)?,
            None => Found::default(),
        };
        let directory = match (&pins, &set) {
            (_, Some(set)) => Some(set.path.clone()),
            (Some(pins), None) => {
                let path = pins.begin_set().map_err(pinning)?;
                pins::prepare_set(&path, scale, predecessor(&earlier)).map_err(pinning)?;
                Some(path)
            }
            (None, None) => None,
        };
        let identity = directory.as_ref().map_or(Ok(Identity::UNPINNED), |path| pins::identity(path));
        let Identity { maps, first_generation } = identity.map_err(pinning)?;
        let program_maps = load::Maps { directory: directory.as_deref(), first_generation };
        let (mut ebpf, namespaces, tells_frames) = load::open(settings, &program_maps)?;
        let cpus =
            aya::util::nr_cpus().map_err(|(_, error)| ProbeError::Map { map: "per-CPU maps", error })?;
        let live = LiveSettings::new(map_fd(&ebpf, "LIVE")?)
            .map_err(|error| ProbeError::Map { map: "LIVE", error })?;
        let slot_maps = |ebpf| -> Result<_, ProbeError> {
            Ok((map_fd(ebpf, "SLOTS")?, map_fd(ebpf, "INDEX")?, map_fd(ebpf, "FREE")?))
        };
        let in_slots = |error| ProbeError::Map { map: "SLOTS", error };
        let (array, index, free) = slot_maps(&ebpf)?;
        let baselines = match &directory {
            Some(path) => Some(open_pinned(&path.join(layout::BASELINES.name)).map_err(pinning)?),
            None => None,
        };
        let fresh = (settings.slots, first_generation);
        let slots = match (&set, &baselines) {
            (Some(_), Some(map)) => {
                let epoch = committed.map(|committed| committed.epoch);
                let saved = Baselines::resume(map.as_fd(), settings.slots, epoch).map_err(in_slots)?;
                let (slots, found) =
                    Slots::resume(array, index, free, settings.slots, saved).map_err(in_slots)?;
                if found.uncertain > 0 {
                    tracing::warn!(
                        slots = found.uncertain,
                        "slots that were just being put back may be out of use until the maps are made anew"
                    );
                }
                // What was read and committed, but not emptied. The map in use was emptied before it was.
                let own = committed.filter(|committed| committed.maps == maps);
                if let Some(idle) = own.and_then(|committed| committed.aside)
                    && idle == live.idle_aside()
                {
                    let map = map_fd(&ebpf, aside_name(idle))?;
                    sys::clear::<AsideKey, AsideValue>(map)
                        .map_err(|error| ProbeError::Map { map: "ASIDE", error })?;
                }
                let replaced = committed.is_some() && own.is_none();
                origin = Origin::Resumed { exact: committed.is_some(), away: found.away, replaced };
                slots
            }
            (None, Some(map)) => {
                let epoch = committed.map(|committed| committed.epoch);
                let saved = Baselines::new(map.as_fd(), settings.slots, epoch).map_err(in_slots)?;
                if !earlier.is_empty() {
                    let exact = committed.is_some();
                    origin = Origin::Resumed { exact, away: Volume::default(), replaced: true };
                }
                Slots::new(array, free, fresh, saved).map_err(in_slots)?
            }
            (_, None) => Slots::new(array, free, fresh, Baselines::none()).map_err(in_slots)?,
        };
        for idx in [0, 1] {
            make_rests(map_fd(&ebpf, aside_name(idx))?)
                .map_err(|error| ProbeError::Map { map: "ASIDE", error })?;
        }
        if let (Some(pins), None) = (&pins, &set) {
            set = Some(pins.finish_set().map_err(pinning)?);
        }
        if let Some(set) = &set {
            tracing::debug!(set = set.number, ?origin, "maps");
        }
        if settings.own_namespace_only {
            live.there_are_others();
        }
        let known_generation = live.next_known_generation();
        let flow_events = take_ring(&mut ebpf, "FLOW_EVENTS")?;
        let host_events = take_ring(&mut ebpf, "HOST_EVENTS")?;
        Ok(Self {
            ebpf,
            status: Vec::new(),
            hooks: Hooks::new(cgroup),
            pins,
            unpinned: None,
            origin,
            slots,
            maps,
            aside: None,
            earlier,
            given_up: Vec::new(),
            live,
            flow_events,
            host_events,
            cpus,
            known_generation,
            namespaces,
            tells_frames,
        })
    }

    fn attach_all(&mut self, settings: &ProbeSettings) -> Result<(), ProbeError> {
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
                None => match self.attach(program, btf.as_ref()) {
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

    /// Loads and attaches one program. The error is the kernel's reason, for a person.
    fn attach(&mut self, program: &'static Program, btf: Option<&Btf>) -> Result<State, String> {
        load_program(&mut self.ebpf, program, btf)?;
        // Attached when there is an interface for it.
        if program.kind == Kind::Classifier {
            return Ok(State::Loaded);
        }
        self.hooks
            .attach(&self.ebpf, program, self.pins.as_ref())
            .map(|()| State::Attached)
            .map_err(|error| error.to_string())
    }

    /// Every program that is attached, with how it is at this moment. One system call each: cheap enough for every
    /// second.
    pub fn attachments(&mut self) -> Vec<Attachment> {
        self.hooks.attachments(&mut self.ebpf)
    }

    /// What an earlier agent had attached and was detached when this one came, which has attached it again.
    pub fn take_vanished(&mut self) -> Vec<(&'static Program, At)> {
        self.hooks.take_vanished()
    }

    /// Attaches and pins again what [`Self::attachments`] would not call attached. An interface that is gone cannot
    /// be repaired, only forgotten.
    pub fn repair(&mut self) -> Vec<Repair> {
        self.hooks.repair(&mut self.ebpf, self.pins.as_ref())
    }

    /// Detaches what earlier agents attached and this one has not taken over: programs switched off since, and
    /// interfaces that are no edge any more. To be called once, when the interfaces of now are attached.
    pub fn remove_strangers(&self) {
        let Some(pins) = &self.pins else { return };
        match self.hooks.remove_strangers(pins) {
            Ok(removed) if removed.is_empty() => {}
            Ok(removed) => {
                tracing::info!(links = removed.join(", "), "detached what an earlier agent had attached");
            }
            Err(error) => tracing::warn!(%error, "links of an earlier agent may still be attached"),
        }
    }

    /// Reads out the maps of agents before this one, which had another layout. To be called once, before the first
    /// commit, when all programs are attached and those of the agents before have ended. The maps go with the commit.
    ///
    /// # Errors
    ///
    /// When such maps cannot be read: what they counted since the last commit is lost.
    pub fn drain(&mut self, mut take: impl FnMut(Reading)) -> Result<Asides, ProbeError> {
        let mut asides = Asides::default();
        let mut failed = None;
        for Earlier { set, table, committed } in std::mem::take(&mut self.earlier) {
            match drain::drain(&set, &table, committed, &mut take) {
                Ok(drained) => asides.entries.extend(drained.entries),
                Err(error) => failed = Some(error),
            }
            self.given_up.push(set);
        }
        match failed {
            None => Ok(asides),
            Some(error) => Err(ProbeError::Map { map: "maps of another layout", error }),
        }
    }

    /// Whether there are maps to be read out by [`Self::drain`].
    pub const fn has_earlier(&self) -> bool {
        !self.earlier.is_empty()
    }

    /// What was found of an earlier agent.
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether counting went on from an earlier agent.
    pub const fn is_resumed(&self) -> bool {
        matches!(self.origin, Origin::Resumed { .. })
    }

    /// Whether counting goes on when the agent ends.
    pub const fn is_pinned(&self) -> bool {
        self.pins.is_some()
    }

    /// Why nothing is pinned although it should be.
    pub fn unpinned(&self) -> Option<&str> {
        self.unpinned.as_deref()
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

    /// Whether interface programs are attached as tcx links, not as clsact filters.
    pub fn attaches_to_tcx(&self) -> bool {
        hooks::has_tcx()
    }

    /// How the programs tell the network namespace of a packet.
    pub const fn namespaces(&self) -> NamespaceBy {
        self.namespaces
    }

    /// Slots in use, and how many there are.
    pub const fn slot_use(&self) -> (u32, u32) {
        (self.slots.in_use(), self.slots.capacity())
    }

    /// What is new in the slot that an event spoke of; `None` when the slot has moved on (the sweep read it).
    pub fn read_slot(&mut self, slot: u32, generation: u32, now: KernelTime) -> Option<Reading> {
        self.slots.read(slot, generation, now)
    }

    /// How well the owner of a slot is known by now (`QUALITY_*`); `None` when the slot has moved on.
    pub fn owner_quality(&self, slot: u32, generation: u32) -> Option<u8> {
        self.slots.owner_quality(slot, generation)
    }

    /// What a slot holds by now, without reading it; `None` when it has moved on.
    pub fn look_at_slot(&self, slot: u32, generation: u32) -> Option<(SlotHot, SlotCold)> {
        self.slots.look(slot, generation)
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
    ) -> Option<u32> {
        self.slots.sweep(from, now, ready, take)
    }

    /// A whole sweep at once, for measurements.
    ///
    /// # Errors
    ///
    /// When a map cannot be read or written.
    pub fn sweep_all(
        &mut self,
        now: KernelTime,
        mut take: impl FnMut(Reading),
    ) -> Result<Asides, ProbeError> {
        let mut next = Some(0);
        while let Some(from) = next {
            next = self.sweep(from, now, |_| true, &mut take);
        }
        let asides = self.sweep_asides()?;
        self.committed()?;
        Ok(asides)
    }

    /// What had no slot until the sweep before: two sweeps read everything. It is kept until the commit.
    ///
    /// # Errors
    ///
    /// When a map cannot be read.
    pub fn sweep_asides(&mut self) -> Result<Asides, ProbeError> {
        let mut asides = Asides::default();
        if self.aside.is_some() {
            // The commit that would let it be emptied is late.
            return Ok(asides);
        }
        // The map that has been idle since the sweep before: every program that still saw it in use has ended, and
        // the slots of the same packets have been read, so that forwarded frames find their sockets counted.
        let idle = self.live.idle_aside();
        let map = map_fd(&self.ebpf, aside_name(idle))?;
        sys::read_all(map, |key: AsideKey, value: AsideValue| {
            if value != AsideValue::default() {
                asides.entries.push((key, value));
            }
        })
        .map_err(|error| ProbeError::Map { map: "ASIDE", error })?;
        if asides.entries.is_empty() {
            self.live.flip_aside();
        } else {
            self.aside = Some(idle);
        }
        Ok(asides)
    }

    /// Whether a frame that no socket of this network namespace sent has passed one of `interfaces` on its way to
    /// `remote`, in this second or the one before. When that cannot be told, it is taken to have.
    pub fn has_forwarded(
        &self,
        remote: [u8; 16],
        protocol: u8,
        interfaces: impl IntoIterator<Item = u32>,
    ) -> bool {
        let key = |ifindex| AsideKey {
            remote,
            ifindex,
            protocol,
            class: CLASS_FORWARDED,
            way: WAY_DIRECT,
            ..AsideKey::default()
        };
        // What found no room has lost its destination.
        let keys = interfaces.into_iter().map(key).chain([AsideKey::rest(CLASS_FORWARDED, WAY_DIRECT)]);
        keys.into_iter().any(|key| {
            [0, 1].into_iter().any(|idx| {
                let found = map_fd(&self.ebpf, aside_name(idx))
                    .map_err(io::Error::other)
                    .and_then(|map| sys::lookup::<_, AsideValue>(map, &key));
                !matches!(found, Ok(None)) && !matches!(found, Ok(Some(AsideValue { packets: 0, .. })))
            })
        })
    }

    /// Whether the interface programs can tell frames of sockets in other network namespaces from those of our own.
    pub const fn tells_frames(&self) -> bool {
        self.tells_frames
    }

    /// Sockets of other network namespaces send: from here on frames at the edge are asked whose they are.
    pub fn there_are_others(&self) {
        self.live.there_are_others();
    }

    /// The commit that has to be written next, if there is anything new in it.
    pub const fn uncommitted(&self) -> Option<Committed> {
        if self.slots.is_changed() || self.aside.is_some() { Some(self.next_commit()) } else { None }
    }

    /// The commit that would be written next.
    pub const fn next_commit(&self) -> Committed {
        Committed { epoch: self.slots.epoch(), maps: self.maps, aside: self.aside }
    }

    /// Everything that was read until now is committed: what had to be kept for that is let go, and a new epoch
    /// begins.
    ///
    /// # Errors
    ///
    /// When a map cannot be written. What was not let go is tried again with the next commit.
    pub fn committed(&mut self) -> Result<(), ProbeError> {
        let (index, free) = (map_fd(&self.ebpf, "INDEX")?, map_fd(&self.ebpf, "FREE")?);
        self.slots.committed(index, free).map_err(|error| ProbeError::Map { map: "FREE", error })?;
        for set in self.given_up.drain(..) {
            // The next agent removes what is older than the maps of the commit.
            if let Err(error) = Pins::remove_set(&set) {
                tracing::warn!(%error, set = set.number, "maps that are read out could not be removed");
            }
        }
        if let Some(idle) = self.aside {
            let map = map_fd(&self.ebpf, aside_name(idle))?;
            sys::clear::<AsideKey, AsideValue>(map)
                .and_then(|()| make_rests(map))
                .map_err(|error| ProbeError::Map { map: "ASIDE", error })?;
            self.aside = None;
            self.live.flip_aside();
        }
        Ok(())
    }

    /// Stops or resumes events of a slot.
    pub fn set_quiet(&self, slot: u32, generation: u32, quiet: bool) {
        self.slots.set_quiet(slot, generation, quiet);
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
}

const fn aside_name(idx: u32) -> &'static str {
    if idx == 0 { "ASIDE_0" } else { "ASIDE_1" }
}

/// Makes the entries that take what finds no room, before the map is written to.
fn make_rests(map: BorrowedFd<'_>) -> io::Result<()> {
    for class in CLASSES {
        for way in WAYS {
            sys::insert_new(map, &AsideKey::rest(class, way), &AsideValue::default())?;
        }
    }
    Ok(())
}

/// Maps of an agent before this one that cannot be gone on with.
struct Earlier {
    set: Set,
    table: Box<[u64; TABLE_ENTRIES as usize]>,
    committed: Option<Committed>,
}

/// What is pinned, in order.
struct Found {
    origin: Origin,
    /// To be gone on with.
    set: Option<Set>,
    /// To be read out.
    earlier: Vec<Earlier>,
    /// Given only if the maps that it speaks of are there.
    committed: Option<Committed>,
}

impl Default for Found {
    fn default() -> Self {
        Self { origin: Origin::Fresh, set: None, earlier: Vec::new(), committed: None }
    }
}

/// What a new set goes on with of the `earlier` ones.
fn predecessor(earlier: &[Earlier]) -> Option<Predecessor<'_>> {
    let newest = earlier.last()?;
    let highest = earlier.iter().map(|earlier| drain::highest_generation(&earlier.set, &earlier.table));
    let highest_generation = match highest.reduce(|left, right| Ok(left?.max(right?))) {
        Some(Ok(highest)) => Some(highest),
        Some(Err(error)) => {
            tracing::warn!(%error, "maps of the agent before cannot be read: who opened older connections is forgotten");
            None
        }
        None => None,
    };
    Some(Predecessor { set: &newest.set, table: &newest.table, highest_generation })
}

/// Finds out which maps to go on with and which to read out. Those of no use are removed, their links first.
///
/// A commit speaks of one set of maps. Older sets were read out before it. Newer ones were made by agents that did
/// not live to their first commit: all that was counted there is new.
fn find_sets(pins: &Pins, scale: Scale, committed: Option<Committed>) -> io::Result<Found> {
    let unusable = |reason: String| {
        pins.clear()?;
        Ok(Found { origin: Origin::Unusable(reason), ..Found::default() })
    };
    let mut sets = Vec::new();
    for set in pins.sets()? {
        match set.state(scale) {
            Ok(state) => sets.push((set, state)),
            Err(reason) => return unusable(format!("the pinned maps are damaged: {reason}")),
        }
    }
    if sets.is_empty() {
        if pins.links()?.is_empty() {
            return Ok(Found::default());
        }
        return unusable("links without maps were pinned".to_owned());
    }
    let known = committed.and_then(|committed| {
        sets.iter().position(|(_, state)| state.table[Field::Identity as usize] == committed.maps)
    });
    let committed = committed.filter(|_| known.is_some());
    for (set, _) in sets.drain(..known.unwrap_or(0)) {
        Pins::remove_set(&set)?;
    }
    let newest_is_same = sets.last().is_some_and(|(_, state)| state.is_same);
    let set = if newest_is_same { sets.pop().map(|(set, _)| set) } else { None };
    let earlier = sets
        .into_iter()
        .map(|(set, state)| {
            let aside = committed
                .filter(|committed| state.table[Field::Identity as usize] == committed.maps)
                .and_then(|committed| committed.aside);
            let committed = committed.map(|committed| Committed { aside, ..committed });
            Earlier { set, table: state.table, committed }
        })
        .collect();
    Ok(Found { origin: Origin::Fresh, set, earlier, committed })
}

/// Whether somebody keeps the wall clock right.
///
/// # Errors
///
/// When the kernel does not say.
pub fn clock_discipline() -> io::Result<Synchronized> {
    sys::clock_discipline()
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

/// Bytes per interface, as the agent keeps them.
pub type InterfaceCounts = std::collections::HashMap<u32, homeport_ebpf::aside::InterfaceCount>;
