//! Detaches what an agent has attached, as `bpftool link detach` would, and attaches what others might have at a cgroup.

use std::{
    ffi::CString,
    fs::File,
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_ATTACH: libc::c_long = 8;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_LINK_DETACH: libc::c_long = 34;

/// The part of `union bpf_attr` for `BPF_OBJ_GET`.
#[repr(C)]
#[derive(Default)]
struct ObjectAttr {
    path: u64,
    fd: u32,
    flags: u32,
}

/// The part for `BPF_LINK_DETACH`.
#[repr(C)]
#[derive(Default)]
struct DetachAttr {
    link: u32,
    _pad: u32,
}

/// The part for `BPF_PROG_LOAD`, as far as a program needs it that only returns a number.
#[repr(C)]
struct LoadAttr {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
}

/// The part for `BPF_PROG_ATTACH`.
#[repr(C)]
struct AttachAttr {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// How a program at a cgroup gets on with those of cgroups below it.
#[derive(Clone, Copy, Debug)]
pub enum Sharing {
    /// BPF_F_ALLOW_OVERRIDE: one below takes its place.
    Override,
    /// BPF_F_ALLOW_MULTI: all of them run.
    Multi,
}

/// Attaches a program to what leaves a cgroup, which lets everything pass or nothing. It goes with the cgroup.
///
/// # Errors
///
/// When the kernel refuses.
pub fn attach_egress(cgroup: &Path, sharing: Sharing, lets_pass: bool) -> io::Result<()> {
    const CGROUP_SKB: u32 = 8;
    const CGROUP_INET_EGRESS: u32 = 1;
    const MOVE_TO_R0: u64 = 0xb7;
    const EXIT: u64 = 0x95;
    let code = [MOVE_TO_R0 | u64::from(lets_pass) << 32, EXIT];
    let load = LoadAttr {
        kind: CGROUP_SKB,
        instructions: code.len() as u32,
        code: code.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
    };
    let fd = bpf(BPF_PROG_LOAD, &load)?;
    // SAFETY: the kernel has just made this descriptor for us.
    let program = unsafe { OwnedFd::from_raw_fd(fd) };
    let cgroup = File::open(cgroup)?;
    let flags = match sharing {
        Sharing::Override => 1,
        Sharing::Multi => 2,
    };
    let attach = AttachAttr {
        target: cgroup.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        kind: CGROUP_INET_EGRESS,
        flags,
    };
    bpf(BPF_PROG_ATTACH, &attach).map(drop)
}

fn bpf<T>(command: libc::c_long, attr: &T) -> io::Result<i32> {
    // SAFETY: the structure is a prefix of `union bpf_attr` as the length says; what it points to outlives the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<T>() as libc::c_uint)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

/// Detaches the link that is pinned at `pin`. The link, and its pin, stay: there is nothing at its other end any more.
///
/// # Errors
///
/// When there is no such link, or the kernel refuses.
pub fn detach(pin: &Path) -> io::Result<()> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let fd = bpf(BPF_OBJ_GET, &ObjectAttr { path: path.as_ptr() as u64, ..ObjectAttr::default() })?;
    // SAFETY: the kernel has just made this descriptor for us.
    let link = unsafe { OwnedFd::from_raw_fd(fd) };
    bpf(BPF_LINK_DETACH, &DetachAttr { link: link.as_raw_fd() as u32, _pad: 0 }).map(drop)
}
