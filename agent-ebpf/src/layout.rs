//! What a build must have in common with another one to go on with its maps, and what it must know of the other's
//! maps to read them out for the last time.
//!
//! Two builds with the same [`hash`] share maps: a restart goes on with them. With another hash new maps are made,
//! and the old ones are *drained*: read a last time through the [`table`] that lies beside them, which says where
//! their fields are, so that a build can read maps of builds that it knows nothing else about.
//!
//! Maps that say nothing of slots go on in the new set, if what is in them is the same to both builds ([`Shared`]).
//! What sockets remember is among them: who opened a connection is seen once, with its first packet, and who sends must
//! not be forgotten either. The storage also refers to slots, of the old maps as of the new ones; so that no such
//! reference is taken for one of the new maps, their generations begin beyond all of the old ones
//! ([`Field::FirstGeneration`]).

use core::mem::offset_of;

use crate::{
    aside::{AsideKey, AsideValue, InterfaceCount},
    baseline::{Baseline, BaselineCopy},
    event::{FlowEvent, HostEvent},
    loss::{LOSS_CAUSES, LossCell},
    settings::Live,
    slot::{IndexKey, Slot, SlotCold, SlotHot, SocketState, Stamp},
};

/// Raised when a field means something else without moving.
pub const VERSION: u64 = 1;
/// The same for maps that no other build goes on with. 2: the outside of tunnels is in [`InterfaceCount::tunnel`], whether a
/// local socket's packet is inside or not.
///
/// [`InterfaceCount::tunnel`]: crate::aside::InterfaceCount::tunnel
const VERSION_OF_COUNTS: u64 = 2;

/// Entries of `KNOWN`.
pub const KNOWN_ENTRIES: u32 = 16_384;
/// Entries of `TURNS`, as a power of two: 128 KiB.
pub const TURNS_BITS: u32 = 14;
/// Entries of each aside map.
pub const ASIDE_ENTRIES: u32 = 65_536;
/// Entries of `INTERFACES`: interface indexes below it are counted there.
pub const LOW_INTERFACES: u32 = 256;
/// Entries of `HIGH_INTERFACES` and of `MTUS`.
pub const HIGH_INTERFACES: u32 = 1024;
/// Bytes of `HOST_EVENTS`.
pub const HOST_RING_BYTES: u32 = 2 * 1024 * 1024;

/// How many entries a map has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entries {
    /// Always so many.
    Fixed(u32),
    /// As many as there are slots (`limits.max_sockets`).
    Slots,
    /// As many bytes as the ring of flow events has (`limits.ring_mib`).
    FlowRing,
}

/// One map, as the kernel describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapShape {
    /// Its name.
    pub name: &'static str,
    /// `enum bpf_map_type`.
    pub kind: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Its size.
    pub entries: Entries,
    /// `BPF_F_*`.
    pub flags: u32,
    /// Whether it goes on when other maps are replaced.
    pub shared: Shared,
}

/// Whether a map goes on in a new set, provided that its own shape is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shared {
    /// Never: it speaks of the slots of its set.
    Not,
    /// Always: plain numbers, that mean the same to every build.
    Numbers,
    /// If the builds agree on what is in it: the entry of both tables is the same, [`content`].
    Content(Field),
}

const HASH: u32 = 1;
const ARRAY: u32 = 2;
const PERCPU_HASH: u32 = 5;
const PERCPU_ARRAY: u32 = 6;
const LRU_HASH: u32 = 9;
const STACK: u32 = 23;
const SK_STORAGE: u32 = 24;
const RINGBUF: u32 = 27;
const NO_PREALLOC: u32 = 1;
const CLONE: u32 = 1 << 9;
const MMAPABLE: u32 = 1 << 10;

const fn map(
    name: &'static str,
    kind: u32,
    (key_size, value_size): (usize, usize),
    entries: Entries,
    flags: u32,
) -> MapShape {
    MapShape {
        name,
        kind,
        key_size: key_size as u32,
        value_size: value_size as u32,
        entries,
        flags,
        shared: Shared::Not,
    }
}

/// Every map that outlives the agent. The last two belong to the agent, the programs do not know them.
pub const MAPS: [MapShape; 19] = [
    map("SLOTS", ARRAY, (4, size_of::<Slot>()), Entries::Slots, MMAPABLE),
    map("FREE", STACK, (0, 4), Entries::Slots, 0),
    map("INDEX", HASH, (size_of::<IndexKey>(), 8), Entries::Slots, NO_PREALLOC),
    map("TURNS", ARRAY, (4, 8), Entries::Fixed(1 << TURNS_BITS), 0),
    map("KNOWN", LRU_HASH, (16, 4), Entries::Fixed(KNOWN_ENTRIES), 0),
    map("ASIDE_0", HASH, ASIDE, Entries::Fixed(ASIDE_ENTRIES), NO_PREALLOC),
    map("ASIDE_1", HASH, ASIDE, Entries::Fixed(ASIDE_ENTRIES), NO_PREALLOC),
    map("INTERFACES", PERCPU_ARRAY, (4, size_of::<InterfaceCount>()), Entries::Fixed(LOW_INTERFACES), 0)
        .shared(Shared::Content(Field::InterfaceContent)),
    map(
        "HIGH_INTERFACES",
        PERCPU_HASH,
        (4, size_of::<InterfaceCount>()),
        Entries::Fixed(HIGH_INTERFACES),
        NO_PREALLOC,
    )
    .shared(Shared::Content(Field::InterfaceContent)),
    map("MTUS", HASH, (4, 4), Entries::Fixed(HIGH_INTERFACES), 0).shared(Shared::Numbers),
    map("SEES_ANSWERS6", ARRAY, (4, 4), Entries::Fixed(1), 0).shared(Shared::Numbers),
    map("LOSSES", PERCPU_ARRAY, (4, size_of::<LossCell>()), Entries::Fixed(LOSS_CAUSES), 0)
        .shared(Shared::Content(Field::LossContent)),
    map("FLOW_EVENTS", RINGBUF, (0, 0), Entries::FlowRing, 0),
    map("HOST_EVENTS", RINGBUF, (0, 0), Entries::Fixed(HOST_RING_BYTES), 0)
        .shared(Shared::Content(Field::HostEventContent)),
    map("LIVE", ARRAY, (4, size_of::<Live>()), Entries::Fixed(1), MMAPABLE),
    SOCKETS,
    map("LISTENERS", SK_STORAGE, (4, size_of::<Stamp>()), Entries::Fixed(0), NO_PREALLOC | CLONE)
        .shared(Shared::Content(Field::StampContent)),
    BASELINES,
    LAYOUT,
];

/// What each socket remembers.
pub const SOCKETS: MapShape =
    map("SOCKETS", SK_STORAGE, (4, size_of::<SocketState>()), Entries::Fixed(0), NO_PREALLOC)
        .shared(Shared::Content(Field::SocketContent));

const ASIDE: (usize, usize) = (size_of::<AsideKey>(), size_of::<AsideValue>());

/// Baselines of the slots, mapped by the agent.
pub const BASELINES: MapShape = map("BASELINES", ARRAY, (4, size_of::<Baseline>()), Entries::Slots, MMAPABLE);

/// The [`table`], as an array of 64-bit numbers.
pub const LAYOUT: MapShape = map("LAYOUT", ARRAY, (4, 8), Entries::Fixed(TABLE_ENTRIES), 0);

/// Entries of the table; those without meaning are zero.
pub const TABLE_ENTRIES: u32 = 64;

/// First entry of every table: "homeport" in ASCII.
pub const MAGIC: u64 = u64::from_be_bytes(*b"homeport");

/// Entries of the table, by what they say. Numbers are never given a new meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[expect(
    missing_docs,
    reason = "offsets within the structure that the name begins with, and sizes, in bytes"
)]
pub enum Field {
    Magic = 0,
    /// [`hash`] of the build that made the maps.
    Hash = 1,
    /// Inode number of the network namespace that the interfaces belong to.
    Namespace = 2,
    SlotSize = 3,
    SlotWireBytes = 4,
    SlotPayloadBytes = 5,
    SlotPackets = 6,
    SlotRemote = 7,
    SlotGeneration = 8,
    SlotRemotePort = 9,
    SlotProtocol = 10,
    SlotActive = 11,
    SlotClosed = 12,
    SlotOwnerStart = 13,
    SlotOwnerCgroup = 14,
    SlotOwnerPid = 15,
    SlotOwnerUid = 16,
    SlotOwnerLoginUid = 17,
    SlotOwnerComm = 18,
    SlotCookie = 19,
    SlotSocketCgroup = 20,
    SlotNetns = 21,
    SlotFirst = 22,
    SlotLocal = 23,
    SlotIfindex = 24,
    SlotLocalPort = 25,
    SlotQuality = 26,
    SlotInitiator = 27,
    BaselineSize = 28,
    AsideKeySize = 29,
    AsideRemote = 30,
    AsideIfindex = 31,
    AsideProtocol = 32,
    AsideClass = 33,
    AsideValueSize = 34,
    AsideWireBytes = 35,
    AsidePayloadBytes = 36,
    AsidePackets = 37,
    InterfaceSize = 38,
    LiveAside = 39,
    LossSize = 40,
    LossCauses = 41,
    SlotWay = 42,
    AsideWay = 43,
    /// When the maps were made, nanoseconds since 1970: tells them from any others.
    Identity = 44,
    /// [`content`] of `SOCKETS`, and of the others in turn.
    SocketContent = 45,
    StampContent = 46,
    InterfaceContent = 47,
    LossContent = 48,
    HostEventContent = 49,
    /// No slot of this set ever had a generation below. Sockets may remember slots of earlier sets: all of those do.
    FirstGeneration = 50,
}

/// What is known of a set only when it is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// [`Field::Hash`]
    pub hash: u64,
    /// [`Field::Namespace`]
    pub namespace: u64,
    /// [`Field::Identity`]
    pub identity: u64,
    /// [`Field::FirstGeneration`]
    pub first_generation: u32,
}

/// Where the fields are in the maps of this build.
pub const fn table(made: Made) -> [u64; TABLE_ENTRIES as usize] {
    let hot = offset_of!(Slot, hot);
    let cold = offset_of!(Slot, cold);
    let owner = cold + offset_of!(SlotCold, owner);
    let entries: [(Field, u64); 51] = [
        (Field::Magic, MAGIC),
        (Field::Hash, made.hash),
        (Field::Namespace, made.namespace),
        (Field::SlotSize, size_of::<Slot>() as u64),
        (Field::SlotWireBytes, (hot + offset_of!(SlotHot, wire_bytes)) as u64),
        (Field::SlotPayloadBytes, (hot + offset_of!(SlotHot, payload_bytes)) as u64),
        (Field::SlotPackets, (hot + offset_of!(SlotHot, packets)) as u64),
        (Field::SlotRemote, (hot + offset_of!(SlotHot, remote)) as u64),
        (Field::SlotGeneration, (hot + offset_of!(SlotHot, generation)) as u64),
        (Field::SlotRemotePort, (hot + offset_of!(SlotHot, remote_port)) as u64),
        (Field::SlotProtocol, (hot + offset_of!(SlotHot, protocol)) as u64),
        (Field::SlotActive, (hot + offset_of!(SlotHot, active)) as u64),
        (Field::SlotClosed, (hot + offset_of!(SlotHot, closed)) as u64),
        (Field::SlotOwnerStart, (owner + offset_of!(Stamp, start_boot_ns)) as u64),
        (Field::SlotOwnerCgroup, (owner + offset_of!(Stamp, cgroup_id)) as u64),
        (Field::SlotOwnerPid, (owner + offset_of!(Stamp, pid)) as u64),
        (Field::SlotOwnerUid, (owner + offset_of!(Stamp, uid)) as u64),
        (Field::SlotOwnerLoginUid, (owner + offset_of!(Stamp, login_uid)) as u64),
        (Field::SlotOwnerComm, (owner + offset_of!(Stamp, comm)) as u64),
        (Field::SlotCookie, (cold + offset_of!(SlotCold, cookie)) as u64),
        (Field::SlotSocketCgroup, (cold + offset_of!(SlotCold, socket_cgroup_id)) as u64),
        (Field::SlotNetns, (cold + offset_of!(SlotCold, netns)) as u64),
        (Field::SlotFirst, (cold + offset_of!(SlotCold, first_ns)) as u64),
        (Field::SlotLocal, (cold + offset_of!(SlotCold, local)) as u64),
        (Field::SlotIfindex, (cold + offset_of!(SlotCold, ifindex)) as u64),
        (Field::SlotLocalPort, (cold + offset_of!(SlotCold, local_port)) as u64),
        (Field::SlotQuality, (cold + offset_of!(SlotCold, quality)) as u64),
        (Field::SlotInitiator, (cold + offset_of!(SlotCold, initiator)) as u64),
        (Field::BaselineSize, size_of::<Baseline>() as u64),
        (Field::AsideKeySize, size_of::<AsideKey>() as u64),
        (Field::AsideRemote, offset_of!(AsideKey, remote) as u64),
        (Field::AsideIfindex, offset_of!(AsideKey, ifindex) as u64),
        (Field::AsideProtocol, offset_of!(AsideKey, protocol) as u64),
        (Field::AsideClass, offset_of!(AsideKey, class) as u64),
        (Field::AsideValueSize, size_of::<AsideValue>() as u64),
        (Field::AsideWireBytes, offset_of!(AsideValue, wire_bytes) as u64),
        (Field::AsidePayloadBytes, offset_of!(AsideValue, payload_bytes) as u64),
        (Field::AsidePackets, offset_of!(AsideValue, packets) as u64),
        (Field::InterfaceSize, size_of::<InterfaceCount>() as u64),
        (Field::LiveAside, offset_of!(Live, aside) as u64),
        (Field::LossSize, size_of::<LossCell>() as u64),
        (Field::LossCauses, LOSS_CAUSES as u64),
        (Field::SlotWay, (cold + offset_of!(SlotCold, way)) as u64),
        (Field::AsideWay, offset_of!(AsideKey, way) as u64),
        (Field::Identity, made.identity),
        (Field::SocketContent, content(Field::SocketContent)),
        (Field::StampContent, content(Field::StampContent)),
        (Field::InterfaceContent, content(Field::InterfaceContent)),
        (Field::LossContent, content(Field::LossContent)),
        (Field::HostEventContent, content(Field::HostEventContent)),
        (Field::FirstGeneration, made.first_generation as u64),
    ];
    let mut table = [0; TABLE_ENTRIES as usize];
    let mut idx = 0;
    while idx < entries.len() {
        table[entries[idx].0 as usize] = entries[idx].1;
        idx += 1;
    }
    table
}

/// What two builds must have in common to share maps: the maps with their sizes, and where every field is.
pub const fn hash(slots: u32, flow_ring_bytes: u32) -> u64 {
    let mut sum = Fnv::new();
    sum.add(VERSION);
    sum.add(VERSION_OF_COUNTS);
    let mut idx = 0;
    while idx < MAPS.len() {
        let shape = &MAPS[idx];
        let name = shape.name.as_bytes();
        let mut at = 0;
        while at < name.len() {
            sum.add(name[at] as u64);
            at += 1;
        }
        sum.add(shape.kind as u64);
        sum.add(shape.key_size as u64);
        sum.add(shape.value_size as u64);
        sum.add(shape.max_entries(slots, flow_ring_bytes) as u64);
        sum.add(shape.flags as u64);
        idx += 1;
    }
    sum.add_all(&table(Made { hash: 0, namespace: 0, identity: 0, first_generation: 0 }));
    // Fields that only the programs and the agent of one build exchange, no drain needs, and no other build goes on with.
    sum.add_all(&[
        offset_of!(SlotHot, next_event_at) as u64,
        offset_of!(SlotHot, taken_for) as u64,
        offset_of!(SlotHot, via) as u64,
        offset_of!(SlotHot, indexed) as u64,
        offset_of!(SlotHot, quiet) as u64,
        offset_of!(IndexKey, cookie) as u64,
        offset_of!(IndexKey, remote) as u64,
        offset_of!(IndexKey, taken_for) as u64,
        offset_of!(IndexKey, via) as u64,
        offset_of!(Live, known_generation) as u64,
        offset_of!(Live, others) as u64,
        offset_of!(BaselineCopy, mark) as u64,
        size_of::<FlowEvent>() as u64,
        offset_of!(FlowEvent, slot) as u64,
        offset_of!(FlowEvent, generation) as u64,
    ]);
    sum.0
}

/// Where the fields of one shared map are: builds that agree on this go on with that map. Zero for any other entry.
pub const fn content(field: Field) -> u64 {
    let mut sum = Fnv::new();
    sum.add(VERSION);
    match field {
        Field::SocketContent => {
            sum.add_all(&[
                size_of::<SocketState>() as u64,
                offset_of!(SocketState, slot_ref) as u64,
                offset_of!(SocketState, owner) as u64,
                offset_of!(SocketState, quality) as u64,
                offset_of!(SocketState, initiator) as u64,
                offset_of!(SocketState, many) as u64,
                offset_of!(SocketState, stamped) as u64,
                content(Field::StampContent),
            ]);
        }
        Field::StampContent => {
            sum.add_all(&[
                size_of::<Stamp>() as u64,
                offset_of!(Stamp, start_boot_ns) as u64,
                offset_of!(Stamp, cgroup_id) as u64,
                offset_of!(Stamp, pid) as u64,
                offset_of!(Stamp, uid) as u64,
                offset_of!(Stamp, login_uid) as u64,
                offset_of!(Stamp, comm) as u64,
            ]);
        }
        Field::InterfaceContent => {
            sum.add_all(&[
                size_of::<InterfaceCount>() as u64,
                offset_of!(InterfaceCount, socket) as u64,
                offset_of!(InterfaceCount, forwarded) as u64,
                offset_of!(InterfaceCount, packet) as u64,
                offset_of!(InterfaceCount, tunnel) as u64,
                offset_of!(InterfaceCount, time_wait) as u64,
                offset_of!(InterfaceCount, non_ip) as u64,
                offset_of!(InterfaceCount, folded) as u64,
            ]);
        }
        Field::LossContent => {
            sum.add_all(&[
                size_of::<LossCell>() as u64,
                LOSS_CAUSES as u64,
                offset_of!(LossCell, events) as u64,
                offset_of!(LossCell, bytes) as u64,
            ]);
        }
        Field::HostEventContent => {
            sum.add_all(&[
                size_of::<HostEvent>() as u64,
                offset_of!(HostEvent, pid) as u64,
                offset_of!(HostEvent, path) as u64,
                offset_of!(HostEvent, args) as u64,
            ]);
        }
        _ => return 0,
    }
    sum.0
}

impl MapShape {
    const fn shared(self, shared: Shared) -> Self {
        Self { shared, ..self }
    }

    /// Its number of entries (of bytes, for a ring) under the given limits.
    pub const fn max_entries(&self, slots: u32, flow_ring_bytes: u32) -> u32 {
        match self.entries {
            Entries::Fixed(entries) => entries,
            Entries::Slots => slots,
            Entries::FlowRing => flow_ring_bytes,
        }
    }
}

/// FNV-1a over 64-bit words: nothing here has an enemy.
struct Fnv(u64);

impl Fnv {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    const fn add(&mut self, word: u64) {
        let bytes = word.to_le_bytes();
        let mut idx = 0;
        while idx < bytes.len() {
            self.0 = (self.0 ^ bytes[idx] as u64).wrapping_mul(0x0000_0100_0000_01b3);
            idx += 1;
        }
    }

    const fn add_all(&mut self, words: &[u64]) {
        let mut idx = 0;
        while idx < words.len() {
            self.add(words[idx]);
            idx += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_of_another_size_are_another_layout() {
        assert_eq!(hash(1024, 4096), hash(1024, 4096));
        assert_ne!(hash(1024, 4096), hash(2048, 4096));
        assert_ne!(hash(1024, 4096), hash(1024, 8192));
    }

    #[test]
    fn the_table_says_where_fields_are() {
        let table = table(Made { hash: 7, namespace: 9, identity: 11, first_generation: 13 });
        assert_eq!(table[Field::Magic as usize], MAGIC);
        assert_eq!((table[Field::Hash as usize], table[Field::Namespace as usize]), (7, 9));
        assert_eq!((table[Field::Identity as usize], table[Field::FirstGeneration as usize]), (11, 13));
        assert_eq!(table[Field::SlotSize as usize], size_of::<Slot>() as u64);
        let owner = offset_of!(Slot, cold) + offset_of!(SlotCold, owner);
        assert_eq!(table[Field::SlotOwnerPid as usize], (owner + offset_of!(Stamp, pid)) as u64);
    }
    #[test]
    fn each_map_that_is_shared_says_what_is_in_it() {
        let table = table(Made::default());
        for shape in &MAPS {
            if let Shared::Content(field) = shape.shared {
                assert_ne!(table[field as usize], 0, "{}", shape.name);
                assert_eq!(table[field as usize], content(field), "{}", shape.name);
            }
        }
        // Another kind of content has another number, so that maps cannot be mistaken for each other.
        assert_ne!(content(Field::SocketContent), content(Field::StampContent));
    }

    #[test]
    fn what_sockets_remember_does_not_depend_on_the_slots() {
        assert!(matches!(SOCKETS.shared, Shared::Content(Field::SocketContent)));
        // The build with wider slots computes the same: none of its words is one of a slot.
        assert_eq!(size_of::<SocketState>(), 64);
    }
}
