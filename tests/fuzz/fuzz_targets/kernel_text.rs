//! Any bytes as the kernel's text files: lines of processes, sockets and addresses. Names in them are chosen by processes.
#![no_main]

use homeport::process::{addresses, procfs, sockets};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = procfs::join_arguments(bytes);
    let text = String::from_utf8_lossy(bytes);
    let _ = procfs::flags_and_start(&text);
    let _ = procfs::effective_uid(&text);
    let _ = procfs::socket_inode(&text);
    let _ = addresses::parse_fib_trie(&text).count();
    let _ = addresses::parse_if_inet6(&text).count();
    for line in text.lines() {
        let _ = sockets::parse(line);
    }
});
