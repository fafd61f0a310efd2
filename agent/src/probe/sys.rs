//! The system calls that aya does not wrap: batched map operations, mapped arrays, pins and links, the network
//! namespace cookie.
//!
//! This is the only room of the agent with unsafe code, behind functions that cannot be misused: sizes come from
//! the types, lengths from the slices, and every type read from the kernel is [`Plain`].

mod baselines;
pub(super) mod objects;
mod raw;

pub(super) use baselines::BaselineArray;
pub(super) use raw::{RawArray, each};

use std::{
    io,
    marker::PhantomData,
    mem::{MaybeUninit, size_of},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
};

use homeport_ebpf::{
    Plain,
    settings::Live,
    slot::{Slot, SlotCold, SlotHot},
};
use tokio::io::{Interest, unix::AsyncFd};

use crate::clock::Synchronized;

const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_MAP_DELETE_ELEM: libc::c_long = 3;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const BPF_MAP_LOOKUP_AND_DELETE_BATCH: libc::c_long = 25;

/// `bpf_attr` for single elements.
#[repr(C)]
#[derive(Default)]
struct ElementAttr {
    map_fd: u32,
    _pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `bpf_attr` for batches.
#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<()> {
    bpf_raw(command, attr).map(drop)
}

/// The same with what the kernel returns, a new descriptor for some commands.
fn bpf_raw<T>(command: libc::c_long, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is one of the structures called `...Attr` in this room, a prefix of `union bpf_attr` as `size`
    // says; the pointers in it were made from live slices or values by the callers in this room.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>() as libc::c_uint)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn fd_number(map: &impl AsFd) -> u32 {
    map.as_fd().as_raw_fd() as u32
}

/// Sets one element.
pub(super) fn update<K: Plain, V: Plain>(map: impl AsFd, key: &K, value: &V) -> io::Result<()> {
    bpf(
        BPF_MAP_UPDATE_ELEM,
        &mut ElementAttr {
            map_fd: fd_number(&map),
            key: std::ptr::from_ref(key) as u64,
            value: std::ptr::from_ref(value) as u64,
            ..ElementAttr::default()
        },
    )
}

/// Sets one element unless there is one.
pub(super) fn insert_new<K: Plain, V: Plain>(map: impl AsFd, key: &K, value: &V) -> io::Result<()> {
    const BPF_NOEXIST: u64 = 1;
    let result = bpf(
        BPF_MAP_UPDATE_ELEM,
        &mut ElementAttr {
            map_fd: fd_number(&map),
            key: std::ptr::from_ref(key) as u64,
            value: std::ptr::from_ref(value) as u64,
            flags: BPF_NOEXIST,
            ..ElementAttr::default()
        },
    );
    match result {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        other => other,
    }
}

/// Sets one element of a per-CPU map to `value` on every processor.
pub(super) fn update_per_cpu<K: Plain, V: Plain>(
    map: impl AsFd,
    key: &K,
    value: V,
    cpus: usize,
) -> io::Result<()> {
    const { assert!(size_of::<V>().is_multiple_of(8), "the kernel rounds per-CPU values up to eight bytes") };
    let values = vec![value; cpus];
    bpf(
        BPF_MAP_UPDATE_ELEM,
        &mut ElementAttr {
            map_fd: fd_number(&map),
            key: std::ptr::from_ref(key) as u64,
            value: values.as_ptr() as u64,
            ..ElementAttr::default()
        },
    )
}

/// Pushes onto a stack map, which has no keys.
pub(super) fn push<V: Plain>(map: impl AsFd, value: &V) -> io::Result<()> {
    bpf(
        BPF_MAP_UPDATE_ELEM,
        &mut ElementAttr {
            map_fd: fd_number(&map),
            value: std::ptr::from_ref(value) as u64,
            ..ElementAttr::default()
        },
    )
}

/// Reads one element; `None` when there is none.
pub(super) fn lookup<K: Plain, V: Plain>(map: impl AsFd, key: &K) -> io::Result<Option<V>> {
    let mut value = MaybeUninit::<V>::uninit();
    let result = bpf(
        BPF_MAP_LOOKUP_ELEM,
        &mut ElementAttr {
            map_fd: fd_number(&map),
            key: std::ptr::from_ref(key) as u64,
            value: value.as_mut_ptr() as u64,
            ..ElementAttr::default()
        },
    );
    match result {
        // SAFETY: the kernel filled the value, and every bit pattern of a `Plain` type is one.
        Ok(()) => Ok(Some(unsafe { value.assume_init() })),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads one element of a per-CPU map: one value per possible processor.
pub(super) fn lookup_per_cpu<K: Plain, V: Plain + Default>(
    map: impl AsFd,
    key: &K,
    cpus: usize,
) -> io::Result<Option<Vec<V>>> {
    const { assert!(size_of::<V>().is_multiple_of(8), "the kernel rounds per-CPU values up to eight bytes") };
    let mut values = vec![V::default(); cpus];
    let result = bpf(
        BPF_MAP_LOOKUP_ELEM,
        &mut ElementAttr {
            map_fd: fd_number(&map),
            key: std::ptr::from_ref(key) as u64,
            value: values.as_mut_ptr() as u64,
            ..ElementAttr::default()
        },
    );
    match result {
        Ok(()) => Ok(Some(values)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Deletes one element; nothing happens when there is none.
pub(super) fn delete<K: Plain>(map: impl AsFd, key: &K) -> io::Result<()> {
    let result = bpf(
        BPF_MAP_DELETE_ELEM,
        &mut ElementAttr {
            map_fd: fd_number(&map),
            key: std::ptr::from_ref(key) as u64,
            ..ElementAttr::default()
        },
    );
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

/// Reads everything in a hash map that nobody writes to at the moment.
pub(super) fn read_all<K: Plain + Default, V: Plain + Default>(
    map: impl AsFd,
    take: impl FnMut(K, V),
) -> io::Result<()> {
    batches(BPF_MAP_LOOKUP_BATCH, map, take)
}

/// Empties a hash map that nobody writes to at the moment.
pub(super) fn clear<K: Plain + Default, V: Plain + Default>(map: impl AsFd) -> io::Result<()> {
    batches(BPF_MAP_LOOKUP_AND_DELETE_BATCH, map, |_: K, _: V| {})
}

fn batches<K: Plain + Default, V: Plain + Default>(
    command: libc::c_long,
    map: impl AsFd,
    mut take: impl FnMut(K, V),
) -> io::Result<()> {
    /// Elements per system call; a bucket must fit in whole, so it grows when the kernel says so.
    const BATCH: usize = 4096;
    let map = map.as_fd();
    let mut size = BATCH;
    let (mut keys, mut values) = (vec![K::default(); size], vec![V::default(); size]);
    let mut position = 0_u64;
    let mut first = true;
    loop {
        let mut next = 0_u64;
        let mut attr = BatchAttr {
            in_batch: if first { 0 } else { std::ptr::from_ref(&position) as u64 },
            out_batch: std::ptr::from_mut(&mut next) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: size as u32,
            map_fd: fd_number(&map),
            ..BatchAttr::default()
        };
        let result = bpf(command, &mut attr);
        let done = match result {
            Ok(()) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && attr.count == 0 => {
                size *= 2;
                keys.resize(size, K::default());
                values.resize(size, V::default());
                continue;
            }
            Err(error) => return Err(error),
        };
        for (key, value) in keys.iter().zip(&values).take(attr.count as usize) {
            take(*key, *value);
        }
        if done {
            return Ok(());
        }
        position = next;
        first = false;
    }
}

/// An array map of `T`, mapped into the agent's memory.
///
/// The kernel programs write to it at any time, so elements are never borrowed: they are read and written field
/// by field with atomic operations.
#[derive(Debug)]
struct MappedArray<T> {
    base: NonNull<T>,
    len: usize,
    _owned: PhantomData<T>,
}

// SAFETY: the mapping belongs to the value, is unmapped when it is dropped, and is only touched atomically.
unsafe impl<T> Send for MappedArray<T> {}

impl<T: Plain> MappedArray<T> {
    fn new(map: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        // SAFETY: a fresh mapping at an address of the kernel's choice; the kernel checks that the map is mappable
        // and at least this long.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len * size_of::<T>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        match NonNull::new(base.cast::<T>()) {
            Some(pointer) if base != libc::MAP_FAILED => Ok(Self { base: pointer, len, _owned: PhantomData }),
            Some(_) | None => Err(io::Error::last_os_error()),
        }
    }

    fn at(&self, idx: usize) -> NonNull<T> {
        assert!(idx < self.len, "element {idx} of an array of {}", self.len);
        // SAFETY: in bounds by the assertion.
        unsafe { self.base.add(idx) }
    }
}

impl<T> Drop for MappedArray<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, unmapped once.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len * size_of::<T>()) };
    }
}

/// Reads a value word by word, so that no word is torn.
///
/// # Safety
///
/// `from` points to a live `T` in a mapping, aligned to eight bytes; the size of `T` is a multiple of eight.
unsafe fn read_words<T: Plain + Default>(from: *const T) -> T {
    const { assert!(size_of::<T>().is_multiple_of(8), "whole words") };
    let mut value = T::default();
    let into = (&raw mut value).cast::<u64>();
    for idx in 0..size_of::<T>() / 8 {
        // SAFETY: in bounds of `T`, by contract of this function.
        let word = unsafe { AtomicU64::from_ptr(from.cast::<u64>().add(idx).cast_mut()) };
        // SAFETY: in bounds of `value`.
        unsafe { into.add(idx).write(word.load(Ordering::Relaxed)) };
    }
    value
}

/// The array of slots.
#[derive(Debug)]
pub(super) struct SlotArray(MappedArray<Slot>);

impl SlotArray {
    pub(super) fn new(map: impl AsFd, len: u32) -> io::Result<Self> {
        MappedArray::new(map.as_fd(), len as usize).map(Self)
    }

    pub(super) const fn len(&self) -> u32 {
        self.0.len as u32
    }

    fn hot_at(&self, slot: u32) -> *mut SlotHot {
        let slot = self.0.at(slot as usize).as_ptr();
        // SAFETY: a field of a live element.
        unsafe { &raw mut (*slot).hot }
    }

    /// Counters and identity.
    pub(super) fn hot(&self, slot: u32) -> SlotHot {
        // SAFETY: a live element, aligned to a cache line.
        unsafe { read_words(self.hot_at(slot)) }
    }

    /// Who, when, where from. Read twice until both agree: a program may be writing a better owner.
    pub(super) fn cold(&self, slot: u32) -> SlotCold {
        let slot = self.0.at(slot as usize).as_ptr();
        // SAFETY: a field of a live element.
        let cold = unsafe { &raw const (*slot).cold };
        // SAFETY: a live element, aligned to a cache line.
        let mut seen: SlotCold = unsafe { read_words(cold) };
        for _ in 0..3 {
            // SAFETY: as above.
            let again = unsafe { read_words(cold) };
            if again == seen {
                break;
            }
            seen = again;
        }
        seen
    }

    pub(super) fn set_generation(&self, slot: u32, generation: u32) {
        // SAFETY: a field of a live element, aligned.
        let field = unsafe { AtomicU32::from_ptr(&raw mut (*self.hot_at(slot)).generation) };
        field.store(generation, Ordering::Release);
    }

    pub(super) fn set_inactive(&self, slot: u32) {
        // SAFETY: a field of a live element.
        let field = unsafe { AtomicU8::from_ptr(&raw mut (*self.hot_at(slot)).active) };
        field.store(0, Ordering::Release);
    }

    /// The socket is gone.
    pub(super) fn set_closed(&self, slot: u32) {
        // SAFETY: a field of a live element.
        let field = unsafe { AtomicU8::from_ptr(&raw mut (*self.hot_at(slot)).closed) };
        field.store(homeport_ebpf::slot::CLOSED, Ordering::Relaxed);
    }

    /// Whether anybody waits for events of this slot.
    pub(super) fn set_quiet(&self, slot: u32, quiet: bool, next_event_at: u64) {
        // SAFETY: a field of a live element.
        let field = unsafe { AtomicU8::from_ptr(&raw mut (*self.hot_at(slot)).quiet) };
        field.store(u8::from(quiet), Ordering::Relaxed);
        // SAFETY: a field of a live element, aligned.
        let field = unsafe { AtomicU64::from_ptr(&raw mut (*self.hot_at(slot)).next_event_at) };
        field.store(if quiet { u64::MAX } else { next_event_at }, Ordering::Relaxed);
    }
}

/// The settings that change at run time.
#[derive(Debug)]
pub(super) struct LiveSettings(MappedArray<Live>);

impl LiveSettings {
    pub(super) fn new(map: impl AsFd) -> io::Result<Self> {
        MappedArray::new(map.as_fd(), 1).map(Self)
    }

    fn field(&self, field: impl FnOnce(*mut Live) -> *mut u32) -> &AtomicU32 {
        // SAFETY: a field of the live element, aligned; the mapping lives as long as `self`.
        unsafe { AtomicU32::from_ptr(field(self.0.at(0).as_ptr())) }
    }

    /// The aside map that is not written now.
    pub(super) fn idle_aside(&self) -> u32 {
        // SAFETY: a field of a live element.
        let active = self.field(|live| unsafe { &raw mut (*live).aside });
        1 - active.load(Ordering::Relaxed).min(1)
    }

    /// Turns to the other aside map.
    pub(super) fn flip_aside(&self) {
        let idle = self.idle_aside();
        // SAFETY: a field of a live element.
        let active = self.field(|live| unsafe { &raw mut (*live).aside });
        active.store(idle, Ordering::SeqCst);
    }

    /// Sockets of other network namespaces send: from here on frames at the edge are asked whose they are.
    pub(super) fn there_are_others(&self) {
        // SAFETY: a field of a live element.
        self.field(|live| unsafe { &raw mut (*live).others }).store(1, Ordering::Relaxed);
    }

    /// Voids every known destination.
    pub(super) fn next_known_generation(&self) -> u32 {
        // SAFETY: a field of a live element.
        let generation = self.field(|live| unsafe { &raw mut (*live).known_generation });
        generation.fetch_add(1, Ordering::SeqCst).wrapping_add(1)
    }
}

/// A value that goes into the constants of the programs.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct AsGlobal<T>(pub(super) T);

// SAFETY: transparent, and a `Plain` type is bytes without padding, which is what `Pod` asks for.
unsafe impl<T: Plain> aya::Pod for AsGlobal<T> {}

/// Cookie of the network namespace that the caller is in (Linux 5.14).
pub(super) fn netns_cookie() -> io::Result<u64> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    let mut cookie = 0_u64;
    let mut size = size_of::<u64>() as libc::socklen_t;
    // SAFETY: a live socket and a buffer of the size told.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut size,
        )
    };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// Bytes of a TCP connection, its end included, that the other side's kernel has not acknowledged.
pub(crate) fn unacknowledged_bytes(socket: impl AsFd) -> io::Result<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: `SIOCOUTQ`, which is `TIOCOUTQ`, writes one int where it is told; the descriptor is open while borrowed.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::try_from(bytes).unwrap_or(0))
}

/// Lets a task of tokio wait for a descriptor.
pub(super) fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` stays open and keeps its number for as long as it lives, and it moves into the result.
    unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }.map_err(io::Error::from)
}

/// Reads one `T` from the front of `bytes`; `None` when there are too few.
pub(super) fn from_bytes<T: Plain>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: enough bytes by the check, and every bit pattern of a `Plain` type is a value.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// How well the wall clock is kept.
pub(super) fn clock_discipline() -> io::Result<Synchronized> {
    // SAFETY: all zero is a valid `timex`, and means that nothing is to be changed.
    let mut timex: libc::timex = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: the pointer is to a whole structure of ours.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Synchronized {
        is_synchronized: state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0,
        max_error_us: u64::try_from(timex.maxerror).unwrap_or(0),
    })
}
