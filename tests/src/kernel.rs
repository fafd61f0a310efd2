//! What the agent's table of programs promises for the kernel that the tests run on.

use homeport::probe::support::{self, Version};

use crate::{actor::Sent, flows::Flow};

/// As in `uname -r`.
pub fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Major and minor number.
///
/// # Panics
///
/// When the release has none.
pub fn version() -> Version {
    support::running().expect("a kernel's release begins with its version")
}

/// Whether owners are the tasks that send. Otherwise they are those that opened the sockets.
pub fn tells_sender() -> bool {
    support::tells_sender(version())
}

/// How sure the agent can be of an owner.
pub fn owner_quality(flow: &Flow) -> &'static str {
    match (tells_sender(), flow.pre_existing) {
        (true, _) => "exact",
        (false, false) => "inherited",
        (false, true) => "resolved",
    }
}

/// Who is named for what `sent` says, when `opener` is the process that connected or listened.
pub fn owner_of(sent: Sent, opener: u32) -> Sent {
    if tells_sender() { sent } else { Sent { pid: opener, ..sent } }
}
