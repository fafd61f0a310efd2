//! The agent's own network namespace, as the programs tell namespaces apart.

use std::{io, os::unix::fs::MetadataExt as _};

use homeport_ebpf::settings::{NETNS_COOKIE, NETNS_INODE, NETNS_NONE};

use super::sys;

/// How the programs tell the network namespace of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceBy {
    /// They cannot.
    Nothing,
    /// By its cookie, with a helper (6.18 and newer).
    Cookie,
    /// By its inode number, from the socket; kernels with BTF.
    Inode,
}

impl NamespaceBy {
    pub(super) const fn as_setting(self) -> u32 {
        match self {
            Self::Nothing => NETNS_NONE,
            Self::Cookie => NETNS_COOKIE,
            Self::Inode => NETNS_INODE,
        }
    }
}

/// The network namespace the agent runs in, as the programs would tell it; `None` when they cannot.
///
/// # Errors
///
/// When the kernel does not say.
pub fn own_namespace(by: NamespaceBy) -> io::Result<Option<u64>> {
    match by {
        NamespaceBy::Nothing => Ok(None),
        NamespaceBy::Cookie => match sys::netns_cookie() {
            Ok(cookie) => Ok(Some(cookie)),
            // Before 5.14 no namespace has a cookie.
            Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(None),
            Err(error) => Err(error),
        },
        NamespaceBy::Inode => own_inode().map(Some),
    }
}

/// Inode number of the network namespace the agent runs in.
pub(super) fn own_inode() -> io::Result<u64> {
    Ok(std::fs::metadata("/proc/self/ns/net")?.ino())
}
