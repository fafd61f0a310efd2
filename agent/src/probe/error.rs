//! Why the kernel side does not run.

use std::{io, path::PathBuf};

use super::{pins::PinError, programs::Program};

/// Why the kernel side does not run.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Not enough rights.
    #[error(
        "not permitted to load eBPF programs: run as root, or with the capabilities CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
    )]
    NotPermitted,
    /// A required program was refused.
    #[error("this kernel refuses {} ({}): {reason}; without it {}", program.name, program.hook, program.without)]
    Required {
        /// Which.
        program: &'static Program,
        /// The kernel's words.
        reason: String,
    },
    /// The cgroup directory could not be opened.
    #[error("opening cgroup {path}: {error}")]
    Cgroup {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The object could not be loaded.
    #[error("loading the eBPF object: {0}")]
    Load(String),
    /// The directory of pins cannot be used.
    #[error(transparent)]
    Pins(#[from] PinError),
    /// A map operation failed.
    #[error("map {map}: {error}")]
    Map {
        /// Which.
        map: &'static str,
        /// Why.
        error: io::Error,
    },
}
