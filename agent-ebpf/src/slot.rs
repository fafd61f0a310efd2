//! Slots: where the bytes of a socket are counted.
//!
//! A slot belongs to one (socket, sending process, destination). The programs take a free slot from a queue at
//! the first packet, remember it in the socket's local storage, and from then on only add to it. The agent maps
//! the array of slots and reads it without a system call.
//!
//! ```text
//!   socket --SK_STORAGE--> [slot | generation] ---> SLOTS[slot].generation equal, destination equal: add
//!                                  |                                  no: find or take another slot
//!                                  '-- storage refused, or many destinations: INDEX[cookie, process, destination]
//! ```
//!
//! A socket that turns to another destination with every packet asks `TURNS` first, which holds the slot that the index
//! named last for such a socket and destination. It is never believed: the slot itself says whose it is.
//!
//! **Nothing is missed and nothing counted twice when a slot changes hands.** The counters of a slot only grow,
//! through all its lives: the agent attributes differences. To take a slot back it first raises `generation`,
//! which no socket refers to, so that the next packet of the old socket takes a new slot; a whole sweep later
//! (programs run for microseconds) it reads the difference of the old life for the last time and puts the slot
//! back into the queue.
//!
//! **Sockets outlive the maps of slots.** When those are replaced (other limits, another layout) the storage of sockets
//! goes on, and with it who opened a connection. It then refers to slots that are gone. No generation of a new slot is
//! as low as any of theirs, so such a reference is like one to a slot that was taken back: the socket takes another.

use crate::Plain;

/// [`SlotCold::quality`]: nobody has been named.
pub const QUALITY_UNKNOWN: u8 = 0;
/// [`SlotCold::quality`]: the process that bound the listening socket this one was accepted from.
pub const QUALITY_LISTENER: u8 = 1;
/// [`SlotCold::quality`]: the process that created or connected the socket.
pub const QUALITY_OPENER: u8 = 2;
/// [`SlotCold::quality`]: the task that sent.
pub const QUALITY_SENDER: u8 = 3;

/// [`SlotCold::initiator`]: not known.
pub const INITIATOR_UNKNOWN: u8 = 0;
/// [`SlotCold::initiator`]: we connected.
pub const INITIATOR_LOCAL: u8 = 1;
/// [`SlotCold::initiator`]: they connected.
pub const INITIATOR_REMOTE: u8 = 2;

/// The packet leaves through a card, or through a device that hands it on as it is.
pub const WAY_DIRECT: u8 = 0;
/// Through a tunnel of this host, whose outer packets are counted as well.
pub const WAY_TUNNEL: u8 = 1;
/// Through a virtual cable (veth, netkit): it arrives in another network namespace of this host.
pub const WAY_CABLE: u8 = 2;
/// Through a device that shares a card with others (macvlan, ipvlan): past that card, or to a neighbour on it. Not said
/// of raw sockets.
pub const WAY_SHARED: u8 = 3;
/// As [`WAY_CABLE`], of a raw socket: at an edge, its frames are not told from those of the kernel's own sockets.
pub const WAY_CABLE_RAW: u8 = 4;

/// All of them.
pub const WAYS: [u8; 5] = [WAY_DIRECT, WAY_TUNNEL, WAY_CABLE, WAY_SHARED, WAY_CABLE_RAW];

/// [`SlotHot::closed`]: the socket is gone.
pub const CLOSED: u8 = 1;
/// [`SlotHot::closed`]: the socket is gone, and had more slots than this one.
pub const CLOSED_MANY: u8 = 2;

/// The first cache line: all that a packet touches.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotHot {
    /// Layer 3 bytes as segmented on the wire. Only grows.
    pub wire_bytes: u64,
    /// Layer 4 payload bytes. Only grows.
    pub payload_bytes: u64,
    /// Packets on the wire. Only grows.
    pub packets: u64,
    /// `payload_bytes` beyond which an event is due.
    pub next_event_at: u64,
    /// Destination; IPv4 as `::ffff:a.b.c.d`.
    pub remote: [u8; 16],
    /// Raised by the agent each time the slot is taken back. Never zero once the slot is in use.
    pub generation: u32,
    /// Destination port, big-endian; for ICMP the type in the first byte.
    pub remote_port: [u8; 2],
    /// IP protocol.
    pub protocol: u8,
    /// [`via`] of the interface. A packet that leaves through another one takes another slot.
    pub via: u8,
    /// Process the slot was taken for, zero if unknown then.
    pub taken_for: u32,
    /// Non-zero: somebody counts here. Written by the programs when they take the slot.
    pub active: u8,
    /// Non-zero: `INDEX` has an entry that leads here. Written by the programs.
    pub indexed: u8,
    /// Non-zero: the socket is gone, nothing more will come. [`CLOSED`] or [`CLOSED_MANY`]. Written by the programs
    /// in the slot that served last, and by the agent in the other slots of that socket.
    pub closed: u8,
    /// Non-zero: nobody waits for events of this slot. Written by the programs when they take it, then by the
    /// agent. Each mark is a byte of its own, because both sides write without a lock.
    pub quiet: u8,
}

/// The process behind a socket, as a program in task context sees it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Start of the thread group leader, nanoseconds since boot; zero when the kernel's layout is unknown.
    pub start_boot_ns: u64,
    /// cgroup2 id of the task.
    pub cgroup_id: u64,
    /// Thread group id; zero: nobody.
    pub pid: u32,
    /// Effective user id.
    pub uid: u32,
    /// Audit login user id; `u32::MAX`: nobody logged in, or unknown.
    pub login_uid: u32,
    /// Zero.
    pub _pad: u32,
    /// Command name of the task.
    pub comm: [u8; 16],
}

/// The second and third cache line: written when the slot is taken, read when someone asks.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotCold {
    /// Nothing: moves all that follows.
    #[cfg(feature = "wide-slots")]
    pub _wide: [[u8; 32]; 2],
    /// Who sends.
    pub owner: Stamp,
    /// Socket cookie.
    pub cookie: u64,
    /// cgroup2 id of the socket (of its creation).
    pub socket_cgroup_id: u64,
    /// Network namespace, as a cookie or an inode number (`settings::NETNS_*`); zero when the kernel cannot say.
    pub netns: u64,
    /// `bpf_ktime_get_ns` of the first packet.
    pub first_ns: u64,
    /// Our address; IPv4 as `::ffff:a.b.c.d`.
    pub local: [u8; 16],
    /// Interface of the first packet, in its own network namespace.
    pub ifindex: u32,
    /// Our port, big-endian.
    pub local_port: [u8; 2],
    /// `QUALITY_*`.
    pub quality: u8,
    /// `INITIATOR_*`.
    pub initiator: u8,
    /// `WAY_*`: the device of the first packet.
    pub way: u8,
    /// Zero.
    pub _pad: [u8; 23],
}

/// One slot: three cache lines.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// Counters and identity.
    pub hot: SlotHot,
    /// Who, when, where from.
    pub cold: SlotCold,
}

/// Key of `INDEX`, for sockets without storage and sockets with many destinations.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct IndexKey {
    /// Socket cookie.
    pub cookie: u64,
    /// [`SlotHot::remote`].
    pub remote: [u8; 16],
    /// [`SlotHot::taken_for`].
    pub taken_for: u32,
    /// [`SlotHot::remote_port`].
    pub remote_port: [u8; 2],
    /// [`SlotHot::protocol`].
    pub protocol: u8,
    /// [`SlotHot::via`].
    pub via: u8,
}

/// What a socket remembers in its storage.
///
/// The kernel puts a value eight bytes behind the start of a cache line. What packets and send calls look at comes first,
/// so that it is in that line: with many sockets, another line is another cache miss for each call.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketState {
    /// Where it counts: slot in the low half, generation in the high half. Zero: nowhere yet.
    pub slot_ref: u64,
    /// `QUALITY_*`.
    pub quality: u8,
    /// `INITIATOR_*`.
    pub initiator: u8,
    /// Non-zero: the socket has had more than one destination, look into `INDEX` too.
    pub many: u8,
    /// Zero.
    pub _pad: u8,
    /// The set of maps, by its first generation, whose program has named the sender. While maps are replaced, programs
    /// of both sets run for a moment, and each can correct only the slots of its own.
    pub stamped: u32,
    /// Who sends.
    pub owner: Stamp,
}

/// An interface index in one byte. Two interfaces of a host may share it, which costs nothing but the distinction.
#[inline(always)]
pub const fn via(ifindex: u32) -> u8 {
    (ifindex ^ ifindex >> 8 ^ ifindex >> 16 ^ ifindex >> 24) as u8
}

/// Where `TURNS` remembers the slot of a socket's destination. Two that share a place cost each other a lookup.
#[inline(always)]
pub const fn turn(cookie: u64, remote: [u64; 2], remote_port: [u8; 2]) -> u32 {
    // Odd constants without structure (the golden ratio, and two more of its kind): high bits depend on all others.
    let mixed = remote[0].wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ remote[1].wrapping_mul(0xc2b2_ae3d_27d4_eb4f)
        ^ cookie.wrapping_mul(0x1656_67b1_9e37_79f9)
        ^ u16::from_ne_bytes(remote_port) as u64;
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - crate::layout::TURNS_BITS)) as u32
}

/// Joins slot and generation.
#[inline(always)]
pub const fn slot_ref(slot: u32, generation: u32) -> u64 {
    slot as u64 | (generation as u64) << 32
}

/// Slot number of a reference.
#[inline(always)]
pub const fn slot_of(slot_ref: u64) -> u32 {
    slot_ref as u32
}

/// Generation of a reference.
#[inline(always)]
pub const fn generation_of(slot_ref: u64) -> u32 {
    (slot_ref >> 32) as u32
}

// SAFETY: repr(C), integers and byte arrays only, padding explicit (sizes below).
unsafe impl Plain for Slot {}
// SAFETY: as above.
unsafe impl Plain for SlotHot {}
// SAFETY: as above.
unsafe impl Plain for SlotCold {}
// SAFETY: as above.
unsafe impl Plain for IndexKey {}

const _: () = assert!(size_of::<SlotHot>() == 64);
const _: () = assert!(size_of::<Stamp>() == 48);
const _: () = assert!(size_of::<SlotCold>() == 128 + WIDER);
const _: () = assert!(size_of::<Slot>() == 192 + WIDER);

/// Bytes that a slot is longer in the build that tests upgrades.
const WIDER: usize = if cfg!(feature = "wide-slots") { 64 } else { 0 };
const _: () = assert!(size_of::<IndexKey>() == 32);
const _: () = assert!(size_of::<SocketState>() == 64);
const _: () = assert!(
    core::mem::offset_of!(SocketState, owner) + core::mem::offset_of!(Stamp, pid) + size_of::<u32>()
        <= 64 - 8
);
