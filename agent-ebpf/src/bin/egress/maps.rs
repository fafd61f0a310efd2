//! Every map, with its size and what happens when it is full.
//!
//! Sizes marked *default* are set by the agent before loading (`limits` in its configuration). All of them are
//! pinned and outlive the agent: a new or changed map belongs into `homeport_ebpf::layout::MAPS`, too.

use aya_ebpf::{
    bindings::{
        BPF_F_CLONE, BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_SK_STORAGE_GET_F_CREATE, bpf_map_type::*,
        bpf_sock,
    },
    btf_maps::SkStorage,
    cty::c_void,
    helpers::generated::bpf_sk_storage_get,
    macros::{btf_map, map},
    maps::{Array, HashMap, LruHashMap, PerCpuArray, PerCpuHashMap, RingBuf, Stack},
};
use homeport_ebpf::{
    aside::{AsideKey, AsideValue, InterfaceCount},
    layout,
    loss::{LOSS_CAUSES, LossCell},
    settings::{Live, MAX_TUNNEL_KINDS, Offsets},
    slot::{IndexKey, Slot, SocketState, Stamp},
};

/// The counters. Both sides map it. Default 131,072 slots of 192 bytes: 24 MiB.
#[map]
pub(crate) static SLOTS: Array<Slot> = Array::with_max_entries(131_072, BPF_F_MMAPABLE);

/// Free slots, filled by the agent. A stack, so that the slots in use stay together at the low end and the agent
/// reads few cache lines. Empty: bytes go to the overflow class of the aside maps.
#[map]
pub(crate) static FREE: Stack<u32> = Stack::with_max_entries(131_072, 0);

/// Slots of sockets without storage, and of sockets with many destinations. As many entries as slots.
/// Full: the socket takes another slot each time (counted, nothing lost).
#[map]
pub(crate) static INDEX: HashMap<IndexKey, u64> = HashMap::with_max_entries(131_072, BPF_F_NO_PREALLOC);

/// Where sockets with many destinations found their slots: a cache in front of `INDEX`, direct-mapped, see
/// `homeport_ebpf::slot::turn`. Each entry is one word, so that no two processors can leave half of one there.
#[map]
pub(crate) static TURNS: Array<u64> = Array::with_max_entries(1 << layout::TURNS_BITS, 0);

/// Destinations that every policy approves, with the generation of that judgement. A cache, hence LRU:
/// an entry that falls out costs one needless event.
#[map]
pub(crate) static KNOWN: LruHashMap<[u64; 2], u32> = LruHashMap::with_max_entries(layout::KNOWN_ENTRIES, 0);

/// Bytes without slot, one of two.
#[map]
pub(crate) static ASIDE_0: HashMap<AsideKey, AsideValue> =
    HashMap::with_max_entries(layout::ASIDE_ENTRIES, BPF_F_NO_PREALLOC);

/// Bytes without slot, the other.
#[map]
pub(crate) static ASIDE_1: HashMap<AsideKey, AsideValue> =
    HashMap::with_max_entries(layout::ASIDE_ENTRIES, BPF_F_NO_PREALLOC);

/// Frames per edge interface with a low index, as network cards have. Looking up an array costs half of a hash.
#[map]
pub(crate) static INTERFACES: PerCpuArray<InterfaceCount> =
    PerCpuArray::with_max_entries(layout::LOW_INTERFACES, 0);

/// Frames per edge interface with a higher index. The agent makes the cell before it attaches; 1,024 interfaces.
#[map]
pub(crate) static HIGH_INTERFACES: PerCpuHashMap<u32, InterfaceCount> =
    PerCpuHashMap::with_max_entries(layout::HIGH_INTERFACES, BPF_F_NO_PREALLOC);

/// MTU of interfaces in the agent's network namespace, for datagrams that will be fragmented.
#[map]
pub(crate) static MTUS: HashMap<u32, u32> = HashMap::with_max_entries(layout::HIGH_INTERFACES, 0);

/// Non-zero once the socket ledger has seen an IPv6 handshake answer. Kernels before 6.6 do not show it those; then
/// they are counted at the interface. The packet passes the socket ledger first, so none is counted twice.
#[map]
pub(crate) static SEES_ANSWERS6: Array<u32> = Array::with_max_entries(1, 0);

/// Losses by cause.
#[map]
pub(crate) static LOSSES: PerCpuArray<LossCell> = PerCpuArray::with_max_entries(LOSS_CAUSES, 0);

/// Flow events. Default 4 MiB: 100,000 events.
#[map]
pub(crate) static FLOW_EVENTS: RingBuf = RingBuf::with_byte_size(4 * 1024 * 1024, 0);

/// Host events. 2 MiB: 2,400 executions between two wake-ups of the agent.
#[map]
pub(crate) static HOST_EVENTS: RingBuf = RingBuf::with_byte_size(layout::HOST_RING_BYTES, 0);

/// Settings that change at run time.
#[map]
pub(crate) static LIVE: Array<Live> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// What each socket remembers. Not cloned: an accepted socket must not start with its listener's slot. It outlives the
/// maps of slots, see `homeport_ebpf::layout`.
#[btf_map]
pub(crate) static SOCKETS: SkStorage<SocketState> = SkStorage::new();

/// Who bound a listening socket. Cloned: accepted sockets inherit it.
#[btf_map]
pub(crate) static LISTENERS: ClonedSkStorage<Stamp> = ClonedSkStorage::new();

/// Settings that are constant after loading: the verifier removes what they rule out.
#[unsafe(no_mangle)]
static OFFSETS: [u32; size_of::<Offsets>() / 4] = [0; size_of::<Offsets>() / 4];

/// No slot has had a generation below: sockets that refer to such ones speak of earlier maps.
#[unsafe(no_mangle)]
static FIRST_GENERATION: u32 = 0;

/// Network namespace to account for, as [`netns_by`] tells it; zero: all of them.
#[unsafe(no_mangle)]
static SCOPE_NETNS: u64 = 0;

/// The agent's own network namespace, as [`netns_by`] tells it, whatever is accounted for; zero: unknown.
#[unsafe(no_mangle)]
static OWN_NETNS: u64 = 0;

/// The inode number of the agent's own network namespace; zero: unknown.
#[unsafe(no_mangle)]
static OWN_INODE: u64 = 0;

/// Kinds of tunnel devices, unused places zero.
#[unsafe(no_mangle)]
static TUNNEL_KINDS: [u64; MAX_TUNNEL_KINDS] = [0; MAX_TUNNEL_KINDS];

/// `NETNS_*`: how the network namespace of a packet is found.
#[unsafe(no_mangle)]
static NETNS_BY: u32 = 0;

/// One of the layout offsets.
macro_rules! offset {
    ($field:ident) => {
        $crate::maps::offset_at(core::mem::offset_of!(homeport_ebpf::settings::Offsets, $field) / 4)
    };
}
pub(crate) use offset;

#[inline(always)]
pub(crate) fn offset_at(idx: usize) -> u32 {
    // SAFETY: `idx` comes from `offset_of` of a structure as large as the static. Volatile, because the agent
    // writes the value into the object file after compilation.
    unsafe { core::ptr::read_volatile((&raw const OFFSETS).cast::<u32>().add(idx)) }
}

#[inline(always)]
pub(crate) fn first_generation() -> u32 {
    // SAFETY: a static; volatile because the agent writes it before loading.
    unsafe { core::ptr::read_volatile(&raw const FIRST_GENERATION) }
}

#[inline(always)]
pub(crate) fn scope_netns() -> u64 {
    // SAFETY: a static; volatile because the agent writes it before loading.
    unsafe { core::ptr::read_volatile(&raw const SCOPE_NETNS) }
}

#[inline(always)]
pub(crate) fn own_netns() -> u64 {
    // SAFETY: a static; volatile because the agent writes it before loading.
    unsafe { core::ptr::read_volatile(&raw const OWN_NETNS) }
}

#[inline(always)]
pub(crate) fn own_inode() -> u64 {
    // SAFETY: a static; volatile because the agent writes it before loading.
    unsafe { core::ptr::read_volatile(&raw const OWN_INODE) }
}

/// Whether devices of this kind put packets into other packets.
#[inline(always)]
pub(crate) fn is_tunnel_kind(kind: u64) -> bool {
    for idx in 0..MAX_TUNNEL_KINDS {
        // SAFETY: within the static; volatile because the agent writes it before loading.
        let known = unsafe { core::ptr::read_volatile((&raw const TUNNEL_KINDS).cast::<u64>().add(idx)) };
        if known == 0 {
            return false;
        }
        if known == kind {
            return true;
        }
    }
    false
}

#[inline(always)]
pub(crate) fn netns_by() -> u32 {
    // SAFETY: a static; volatile because the agent writes it before loading.
    unsafe { core::ptr::read_volatile(&raw const NETNS_BY) }
}

/// The aside map that is written now.
#[inline(always)]
pub(crate) fn aside() -> &'static HashMap<AsideKey, AsideValue> {
    match LIVE.get(0) {
        Some(live) if live.aside != 0 => &ASIDE_1,
        Some(_) | None => &ASIDE_0,
    }
}

/// What `sk` remembers, if anything. Null for sockets without storage, and for those that are not full sockets.
#[inline(always)]
pub(crate) fn socket_state(sk: *mut bpf_sock) -> *mut SocketState {
    // SAFETY: the verifier checks that `sk` is a socket pointer; a null result is for the caller to check.
    unsafe { bpf_sk_storage_get(storage(&SOCKETS), sk.cast(), core::ptr::null_mut(), 0).cast() }
}

/// What `sk` remembers, made when missing. Null when the kernel refuses.
#[inline(always)]
pub(crate) fn socket_state_or_new(sk: *mut bpf_sock) -> *mut SocketState {
    let create = u64::from(BPF_SK_STORAGE_GET_F_CREATE);
    // SAFETY: as above; a new value is zeroed by the kernel.
    unsafe { bpf_sk_storage_get(storage(&SOCKETS), sk.cast(), core::ptr::null_mut(), create).cast() }
}

/// Who bound the listener that `sk` was accepted from (or `sk` itself).
#[inline(always)]
pub(crate) fn listener(sk: *mut bpf_sock) -> *mut Stamp {
    // SAFETY: as above.
    unsafe { bpf_sk_storage_get(storage(&LISTENERS), sk.cast(), core::ptr::null_mut(), 0).cast() }
}

/// The same, made when missing.
#[inline(always)]
pub(crate) fn listener_or_new(sk: *mut bpf_sock) -> *mut Stamp {
    let create = u64::from(BPF_SK_STORAGE_GET_F_CREATE);
    // SAFETY: as above.
    unsafe { bpf_sk_storage_get(storage(&LISTENERS), sk.cast(), core::ptr::null_mut(), create).cast() }
}

/// aya's wrapper takes sock_addr contexts only; the helper itself takes any socket.
#[inline(always)]
fn storage<T>(map: &'static T) -> *mut c_void {
    core::ptr::from_ref(map).cast_mut().cast()
}

/// A socket storage that accepted sockets inherit. aya's `SkStorage` has its flags built in, so this is the same
/// map definition with `BPF_F_CLONE`.
#[repr(C)]
pub(crate) struct ClonedSkStorage<T> {
    r#type: *const [i32; BPF_MAP_TYPE_SK_STORAGE as usize],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; (BPF_F_NO_PREALLOC | BPF_F_CLONE) as usize],
}

impl<T> ClonedSkStorage<T> {
    const fn new() -> Self {
        Self {
            r#type: core::ptr::null(),
            key: core::ptr::null(),
            value: core::ptr::null(),
            max_entries: core::ptr::null(),
            map_flags: core::ptr::null(),
        }
    }
}

// SAFETY: a map definition; its pointers carry types for BTF and are never read.
unsafe impl<T> Sync for ClonedSkStorage<T> {}
