//! Room for the maps on kernels that count them as locked memory.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::support;

/// From here on the memory of maps is counted by cgroup, and the limit is of no interest.
const COUNTED_BY_CGROUP: support::Version = (5, 11);

/// Lifts the limit for locked memory where it applies to maps. It is 64 KiB by default; the maps take megabytes, and the
/// kernel refuses them with nothing but EPERM.
pub(super) fn make_room() {
    if support::running() >= Some(COUNTED_BY_CGROUP) {
        return;
    }
    if getrlimit(Resource::Memlock).current.is_none() {
        return;
    }
    if let Err(error) = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None }) {
        tracing::warn!(%error, "the limit for locked memory (RLIMIT_MEMLOCK) stays: this kernel may refuse the maps");
    }
}
