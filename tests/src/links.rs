//! Detaches what an agent has attached, as `bpftool link detach` would.

use std::{ffi::CString, io, os::unix::ffi::OsStrExt as _, path::Path};

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
    use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let fd = bpf(BPF_OBJ_GET, &ObjectAttr { path: path.as_ptr() as u64, ..ObjectAttr::default() })?;
    // SAFETY: the kernel has just made this descriptor for us.
    let link = unsafe { OwnedFd::from_raw_fd(fd) };
    bpf(BPF_LINK_DETACH, &DetachAttr { link: link.as_raw_fd() as u32, _pad: 0 }).map(drop)
}
