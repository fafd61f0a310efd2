//! Links that come and go within a slice, empty programs as the floor, and the kernel's own run times.
//!
//! aya keeps what it attaches; here every link is a file descriptor, and closing it detaches.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_RAW_TRACEPOINT_OPEN: libc::c_long = 17;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_ENABLE_STATS: libc::c_long = 32;

const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_PROG_TYPE_CGROUP_SKB: u32 = 8;

/// `enum bpf_attach_type`.
pub(crate) const CGROUP_INET_EGRESS: u32 = 1;
pub(crate) const CGROUP_INET4_CONNECT: u32 = 10;
pub(crate) const CGROUP_INET6_CONNECT: u32 = 11;
pub(crate) const CGROUP_INET4_POST_BIND: u32 = 12;
pub(crate) const CGROUP_INET6_POST_BIND: u32 = 13;
pub(crate) const CGROUP_INET_SOCK_RELEASE: u32 = 34;
pub(crate) const TCX_EGRESS: u32 = 47;

#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    program_type: u32,
    instructions: u32,
    instructions_at: u64,
    license_at: u64,
    log_level: u32,
    log_size: u32,
    log_at: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    ifindex: u32,
    expected_attach_type: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkAttr {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    // The rest, zero: no relative position.
    rest: [u64; 4],
}

#[repr(C)]
struct RawTracepointAttr {
    name_at: u64,
    program: u32,
    _pad: u32,
}

#[repr(C)]
struct InfoAttr {
    fd: u32,
    length: u32,
    info_at: u64,
}

#[repr(C)]
#[derive(Default)]
struct TestRunAttr {
    program: u32,
    result: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in_at: u64,
    data_out_at: u64,
    repeat: u32,
    duration_ns: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in_at: u64,
    context_out_at: u64,
}

/// The front of `struct bpf_prog_info`, up to what is read here.
#[repr(C, align(8))]
struct ProgramInfo([u8; 232]);

/// `offsetof(struct bpf_prog_info, run_time_ns)`; `run_cnt` follows.
const RUN_TIME_AT: usize = 192;

/// How often a program ran, and for how long.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Runs {
    pub(crate) time_ns: u64,
    pub(crate) count: u64,
}

fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: `attr` is one of the structures above, a prefix of `union bpf_attr` as the size says, and the
    // addresses in it are of live values of the callers in this file.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>() as libc::c_uint)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}

fn bpf_fd<T>(command: libc::c_long, attr: &mut T) -> io::Result<OwnedFd> {
    let fd = bpf(command, attr)?;
    // SAFETY: these commands return a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn number(fd: impl AsFd) -> u32 {
    fd.as_fd().as_raw_fd() as u32
}

/// cgroup_skb/egress that lets everything pass: the floor of any such program.
pub(crate) fn empty_egress() -> io::Result<OwnedFd> {
    empty(BPF_PROG_TYPE_CGROUP_SKB, CGROUP_INET_EGRESS, 1)
}

/// tc egress that does nothing.
pub(crate) fn empty_classifier() -> io::Result<OwnedFd> {
    empty(BPF_PROG_TYPE_SCHED_CLS, TCX_EGRESS, -1)
}

/// `r0 = result; exit`.
fn empty(program_type: u32, expected_attach_type: u32, result: i32) -> io::Result<OwnedFd> {
    const MOV_R0_IMMEDIATE: u64 = 0xb7;
    const EXIT: u64 = 0x95;
    let program = [MOV_R0_IMMEDIATE | u64::from(result as u32) << 32, EXIT];
    let attr = &mut LoadAttr {
        program_type,
        expected_attach_type,
        instructions: program.len() as u32,
        instructions_at: program.as_ptr() as u64,
        license_at: c"GPL".as_ptr() as u64,
        name: *b"empty\0\0\0\0\0\0\0\0\0\0\0",
        ..LoadAttr::default()
    };
    bpf_fd(BPF_PROG_LOAD, attr)
}

/// Attaches to a cgroup directory, or to an interface of the caller's network namespace.
pub(crate) fn link(program: BorrowedFd<'_>, target: u32, attach_type: u32) -> io::Result<OwnedFd> {
    let attr = &mut LinkAttr { program: number(program), target, attach_type, ..LinkAttr::default() };
    bpf_fd(BPF_LINK_CREATE, attr)
}

/// Attaches to a tracepoint; without a name to the one that the program was loaded for.
pub(crate) fn link_tracepoint(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let attr = &mut RawTracepointAttr { name_at: 0, program: number(program), _pad: 0 };
    bpf_fd(BPF_RAW_TRACEPOINT_OPEN, attr)
}

/// The kernel measures every program until the descriptor is closed.
pub(crate) fn enable_stats() -> io::Result<OwnedFd> {
    const BPF_STATS_RUN_TIME: u32 = 0;
    bpf_fd(BPF_ENABLE_STATS, &mut [BPF_STATS_RUN_TIME, 0])
}

/// What the kernel measured since the program was loaded.
pub(crate) fn runs(program: BorrowedFd<'_>) -> io::Result<Runs> {
    let mut info = ProgramInfo([0; 232]);
    let attr = &mut InfoAttr {
        fd: number(program),
        length: size_of::<ProgramInfo>() as u32,
        info_at: std::ptr::from_mut(&mut info) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, attr)?;
    let word = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&info.0[at..at + 8]);
        u64::from_ne_bytes(bytes)
    };
    Ok(Runs { time_ns: word(RUN_TIME_AT), count: word(RUN_TIME_AT + 8) })
}

/// Runs the program `repeat` times over one frame as if it left by `ifindex`; nanoseconds of one run.
///
/// The kernel makes a socket for the frame, so the first run takes a slot and all others find it.
pub(crate) fn test_run(program: BorrowedFd<'_>, frame: &[u8], ifindex: u32, repeat: u32) -> io::Result<u32> {
    // `struct __sk_buff` up to `ifindex`, which is its eleventh word. All else must be zero.
    let mut context = [0_u32; 11];
    context[10] = ifindex;
    let attr = &mut TestRunAttr {
        program: number(program),
        data_size_in: frame.len() as u32,
        data_in_at: frame.as_ptr() as u64,
        repeat,
        context_size_in: size_of_val(&context) as u32,
        context_in_at: context.as_ptr() as u64,
        ..TestRunAttr::default()
    };
    bpf(BPF_PROG_TEST_RUN, attr)?;
    Ok(attr.duration_ns)
}
