//! Any bytes as the kernel's type information: offsets or none, never a panic, never without end.
#![no_main]

use homeport::probe::btf::Btf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(btf) = Btf::parse(bytes) {
        let _ = btf.offset("task_struct", "mm");
        let _ = btf.offset("", "");
    }
});
