//! Any bytes as the kernel's text files: lines of processes and sockets. Names in them are chosen by processes.
#![no_main]

use homeport::process::{procfs, sockets};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = procfs::join_arguments(bytes);
    let text = String::from_utf8_lossy(bytes);
    let _ = procfs::flags_and_start(&text);
    let _ = procfs::effective_uid(&text);
    let _ = procfs::socket_inode(&text);
    for line in text.lines() {
        let _ = sockets::parse(line);
    }
});
