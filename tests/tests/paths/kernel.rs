//! What this kernel is, and whether it tells who sends.

use std::{fs, sync::LazyLock};

/// As in `uname -r`.
pub(crate) fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The tracepoint that names the sender is in the kernel's type information (6.3 and newer).
pub(crate) fn tells_sender() -> bool {
    static TELLS: LazyLock<bool> = LazyLock::new(|| {
        let types = fs::read("/sys/kernel/btf/vmlinux").unwrap_or_default();
        let name = b"\0btf_trace_sock_send_length\0";
        types.windows(name.len()).any(|window| window == name)
    });
    *TELLS
}
