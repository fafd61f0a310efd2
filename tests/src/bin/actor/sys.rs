//! The two system calls that no safe crate here wraps.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _},
};

/// Which of the two processes runs on.
pub(crate) enum Fork {
    /// The one that called, with the id of the other.
    Parent(rustix::process::Pid),
    /// The other.
    Child,
}

/// A second process with the same sockets and the same program: no exec, so nothing announces its name again.
pub(crate) fn fork() -> io::Result<Fork> {
    // SAFETY: the actor has one thread, so the child inherits no lock that somebody else holds.
    let pid = unsafe { libc::fork() };
    match rustix::process::Pid::from_raw(pid) {
        Some(pid) => Ok(Fork::Parent(pid)),
        None if pid == 0 => Ok(Fork::Child),
        None => Err(io::Error::last_os_error()),
    }
}

/// The kernel cuts each buffer that is sent into datagrams of this many bytes (`UDP_SEGMENT`).
pub(crate) fn set_udp_segment(socket: impl AsFd, bytes: u16) -> io::Result<()> {
    let value = libc::c_int::from(bytes);
    // SAFETY: the pointer and the length are those of `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
