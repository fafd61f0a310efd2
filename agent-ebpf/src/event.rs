//! What the ring buffers carry.
//!
//! Events only make alerts fast and names available. Losing one never changes a total: the next sweep reads the
//! same slots.

use crate::Plain;

/// The first payload, or another step of payload, left.
pub const FLOW_BYTES: u32 = 1;
/// A more exact owner was found.
pub const FLOW_OWNER: u32 = 2;

/// Something happened to a slot. The slot itself holds the details.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowEvent {
    /// `bpf_ktime_get_ns`.
    pub ktime_ns: u64,
    /// `FLOW_*`.
    pub kind: u32,
    /// Which slot.
    pub slot: u32,
    /// Its generation then: when it differs, the slot has moved on and the event is void.
    pub generation: u32,
    /// Zero.
    pub _pad: u32,
}

/// A process replaced its image.
pub const HOST_EXEC: u32 = 1;
/// A process was forked.
pub const HOST_FORK: u32 = 2;
/// A process ended.
pub const HOST_EXIT: u32 = 3;
/// A cgroup was made.
pub const HOST_CGROUP: u32 = 4;

/// Longest executable or cgroup path carried, in bytes; longer ones are cut.
pub const PATH_BYTES: usize = 256;
/// Longest command line carried, in bytes; longer ones are cut.
pub const ARGS_BYTES: usize = 512;

/// A process or cgroup came or went.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostEvent {
    /// `bpf_ktime_get_ns`.
    pub ktime_ns: u64,
    /// Start of the thread group leader, nanoseconds since boot.
    pub start_boot_ns: u64,
    /// cgroup2 id: of the process, or of the new cgroup.
    pub cgroup_id: u64,
    /// `HOST_*`.
    pub kind: u32,
    /// Thread group id.
    pub pid: u32,
    /// Thread group id of the parent, for forks.
    pub parent: u32,
    /// Effective user id.
    pub uid: u32,
    /// Audit login user id; `u32::MAX`: none.
    pub login_uid: u32,
    /// Bytes used in `path`, without the terminating zero.
    pub path_len: u32,
    /// Bytes used in `args`; arguments are separated by zero bytes.
    pub args_len: u32,
    /// Zero.
    pub _pad: u32,
    /// Command name.
    pub comm: [u8; 16],
    /// The file that is run (the interpreter, for a script), or the path of the cgroup.
    pub path: [u8; PATH_BYTES],
    /// Command line.
    pub args: [u8; ARGS_BYTES],
}

// SAFETY: repr(C), integers and byte arrays only, padding explicit (sizes below).
unsafe impl Plain for FlowEvent {}
// SAFETY: as above.
unsafe impl Plain for HostEvent {}

const _: () = assert!(size_of::<FlowEvent>() == 24);
const _: () = assert!(size_of::<HostEvent>() == 72 + PATH_BYTES + ARGS_BYTES);
