//! Objects that outlive their process: maps, programs and links, pinned in a bpffs; and links without aya, which
//! does not replace the program of every kind of link.

use std::{
    ffi::{CStr, CString},
    io,
    mem::size_of,
    os::{
        fd::{AsFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use super::{bpf, bpf_raw, fd_number};

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_RAW_TRACEPOINT_OPEN: libc::c_long = 17;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_UPDATE: libc::c_long = 29;

/// Where a cgroup or tcx program is attached, by the kernel's `enum bpf_attach_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(in crate::probe) enum AttachType {
    CgroupEgress = 1,
    CgroupSockCreate = 2,
    CgroupConnect4 = 10,
    CgroupConnect6 = 11,
    CgroupPostBind4 = 12,
    CgroupPostBind6 = 13,
    CgroupSockRelease = 34,
    TcxEgress = 47,
}

/// `BPF_LINK_TYPE_CGROUP`
const LINK_CGROUP: u32 = 3;
/// `BPF_LINK_TYPE_TCX`
const LINK_TCX: u32 = 11;

#[repr(C)]
#[derive(Default)]
struct MapCreateAttr {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct ObjectAttr {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct InfoAttr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

#[repr(C)]
#[derive(Default)]
struct TracepointAttr {
    name: u64,
    prog_fd: u32,
    _pad: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkCreateAttr {
    prog_fd: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkUpdateAttr {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// `struct bpf_map_info`, its beginning.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::probe) struct MapInfo {
    pub(in crate::probe) map_type: u32,
    pub(in crate::probe) id: u32,
    pub(in crate::probe) key_size: u32,
    pub(in crate::probe) value_size: u32,
    pub(in crate::probe) max_entries: u32,
    pub(in crate::probe) map_flags: u32,
}

/// `struct bpf_link_info`, its beginning and the first words of its union.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    prog_id: u32,
    _pad: u32,
    first: u64,
    second: u64,
}

/// What a link hangs on, as the kernel tells it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::probe) enum LinkTarget {
    /// A cgroup, by its id; zero when the link was detached or the cgroup is gone.
    Cgroup(u64),
    /// An interface, by its index; zero when the link was detached or the interface is gone.
    Interface(u32),
    /// A tracepoint: such links cannot be detached while they exist.
    Tracepoint,
}

impl LinkTarget {
    /// Whether the program still runs there.
    pub(in crate::probe) const fn is_alive(self) -> bool {
        !matches!(self, Self::Cgroup(0) | Self::Interface(0))
    }
}

fn path_bytes(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)
}

fn owned(number: libc::c_long) -> OwnedFd {
    // SAFETY: the kernel has just returned this descriptor, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(number as libc::c_int) }
}

/// Makes a map that no program knows.
pub(in crate::probe) fn create_map(shape: MapInfo) -> io::Result<OwnedFd> {
    let mut attr = MapCreateAttr {
        map_type: shape.map_type,
        key_size: shape.key_size,
        value_size: shape.value_size,
        max_entries: shape.max_entries,
        map_flags: shape.map_flags,
    };
    bpf_raw(BPF_MAP_CREATE, &mut attr).map(owned)
}

/// Gives a map or link a name in a bpffs, where it stays when all descriptors are closed.
pub(in crate::probe) fn pin(object: impl AsFd, path: &Path) -> io::Result<()> {
    let path = path_bytes(path)?;
    let mut attr =
        ObjectAttr { pathname: path.as_ptr() as u64, bpf_fd: fd_number(&object), ..ObjectAttr::default() };
    bpf(BPF_OBJ_PIN, &mut attr)
}

/// Opens what has a name in a bpffs.
pub(in crate::probe) fn open_pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = path_bytes(path)?;
    let mut attr = ObjectAttr { pathname: path.as_ptr() as u64, ..ObjectAttr::default() };
    bpf_raw(BPF_OBJ_GET, &mut attr).map(owned)
}

fn info<T: Default>(object: impl AsFd) -> io::Result<T> {
    let mut info = T::default();
    let mut attr = InfoAttr {
        bpf_fd: fd_number(&object),
        info_len: size_of::<T>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}

/// What a map is.
pub(in crate::probe) fn map_info(map: impl AsFd) -> io::Result<MapInfo> {
    info(map)
}

/// What a link hangs on now.
pub(in crate::probe) fn link_target(link: impl AsFd) -> io::Result<LinkTarget> {
    let info: LinkInfo = info(link)?;
    Ok(match info.kind {
        LINK_CGROUP => LinkTarget::Cgroup(info.first),
        LINK_TCX => LinkTarget::Interface(info.first as u32),
        _ => LinkTarget::Tracepoint,
    })
}

/// Attaches a program to a cgroup, beside whatever else is attached there.
pub(in crate::probe) fn attach_to_cgroup(
    program: impl AsFd,
    cgroup: impl AsFd,
    attach_type: AttachType,
) -> io::Result<OwnedFd> {
    attach(program, fd_number(&cgroup), attach_type)
}

/// Attaches a program to an interface, behind whatever else is attached there (Linux 6.6).
pub(in crate::probe) fn attach_to_interface(
    program: impl AsFd,
    ifindex: u32,
    attach_type: AttachType,
) -> io::Result<OwnedFd> {
    attach(program, ifindex, attach_type)
}

fn attach(program: impl AsFd, target: u32, attach_type: AttachType) -> io::Result<OwnedFd> {
    let mut attr =
        LinkCreateAttr { prog_fd: fd_number(&program), target, attach_type: attach_type as u32, flags: 0 };
    bpf_raw(BPF_LINK_CREATE, &mut attr).map(owned)
}

/// Attaches a program to a tracepoint; one with BTF arguments knows which (`None`).
pub(in crate::probe) fn attach_to_tracepoint(program: impl AsFd, name: Option<&CStr>) -> io::Result<OwnedFd> {
    let mut attr = TracepointAttr {
        name: name.map_or(0, |name| name.as_ptr() as u64),
        prog_fd: fd_number(&program),
        _pad: 0,
    };
    bpf_raw(BPF_RAW_TRACEPOINT_OPEN, &mut attr).map(owned)
}

/// Replaces the program of a cgroup or tcx link. Each packet is seen by exactly one of both programs.
pub(in crate::probe) fn replace_program(link: impl AsFd, program: impl AsFd) -> io::Result<()> {
    let mut attr = LinkUpdateAttr {
        link_fd: fd_number(&link),
        new_prog_fd: fd_number(&program),
        ..LinkUpdateAttr::default()
    };
    bpf(BPF_LINK_UPDATE, &mut attr)
}
