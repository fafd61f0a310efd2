//! Rights that parts of the agent give up once they do not need them any more.
//!
//! | who | when | what is left |
//! |---|---|---|
//! | the loop | it has attached and looked into all network namespaces | everything but `CAP_SYS_ADMIN`: programs are attached anew, and owners looked up, for as long as it runs |
//! | the threads of page, sinks, witnesses and records, which read what strangers send or write what others read | they start | reading and writing files; no system call that loads, traces, starts, mounts or enters anything |
//!
//! Linux keeps capabilities and filters per thread. All of them share one memory: whoever takes a thread over
//! completely can wait for another one. What this ends is every shorter way: a path that is opened with rights that
//! its request should not have, a system call from code that was led astray. `agent/docs/HARDENING.md` has the rest.

use std::{collections::BTreeMap, io, thread};

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities,
    set_no_new_privs,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// For files: certificates, tokens and secrets of others, and, where root started the agent by hand, places of others.
const FILES: CapabilitySet = CapabilitySet::DAC_READ_SEARCH.union(CapabilitySet::DAC_OVERRIDE);

/// What a thread that handles bytes of strangers never calls. A list of what it does call would be one of what libc,
/// the allocator and the resolver call on every system; systemd has such a list for the service as a whole.
const REFUSED: &[libc::c_long] = &[
    // Programs in the kernel, and looking into other processes.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_userfaultfd,
    // Other programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other views of the system.
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    // The kernel itself.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    // More rights, and ways around a filter.
    libc::SYS_capset,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_io_uring_setup,
    libc::SYS_personality,
];

/// The loop has attached everything: what only starting needs is given up. Threads that are started later do not have
/// it either.
pub(crate) fn after_start() {
    let result = capabilities(None).map_err(io::Error::from).and_then(|sets| {
        // Before Linux 5.8 there is no other right to load programs with.
        if !sets.permitted.contains(CapabilitySet::BPF | CapabilitySet::PERFMON) {
            return Ok(());
        }
        reduce(sets, !CapabilitySet::SYS_ADMIN)
    });
    if let Err(error) = result {
        tracing::warn!(%error, "CAP_SYS_ADMIN is kept");
    }
}

/// The calling thread, and those that it starts, handle bytes of strangers. It works without this, too: a system that
/// knows no filters is told of in the log.
pub(crate) fn thread() {
    if let Err(error) = try_thread() {
        let name = thread::current().name().unwrap_or("a thread").to_owned();
        tracing::warn!(%error, thread = name, "a thread keeps rights that it does not need");
    }
}

fn try_thread() -> io::Result<()> {
    reduce(capabilities(None)?, FILES)?;
    // Without it only the administrator may set a filter.
    set_no_new_privs(true)?;
    seccompiler::apply_filter(&filter()?).map_err(io::Error::other)
}

/// No more than `keep` of what there is.
fn reduce(sets: CapabilitySets, keep: CapabilitySet) -> io::Result<()> {
    let kept = sets.permitted & keep;
    clear_ambient_capability_set()?;
    let sets = CapabilitySets {
        effective: sets.effective & keep,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    Ok(set_capabilities(None, sets)?)
}

fn filter() -> io::Result<BpfProgram> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    let rules: BTreeMap<_, _> = REFUSED.iter().map(|number| (*number, Vec::new())).collect();
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter =
        SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture).map_err(io::Error::other)?;
    filter.try_into().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn in_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        thread::spawn(work).join().expect("the thread ends well")
    }

    #[test]
    fn a_confined_thread_reads_files_and_starts_threads_and_nothing_else() {
        in_a_thread(|| {
            try_thread().expect("this kernel has filters");
            let status = std::fs::read_to_string("/proc/thread-self/status").expect("readable");
            assert!(status.contains("Seccomp:\t2") && status.contains("NoNewPrivs:\t1"), "{status}");
            let error = Command::new("/bin/true").status().expect_err("no other program");
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            // Its own threads are confined like it.
            let sets = in_a_thread(|| capabilities(None).expect("readable"));
            assert!((sets.permitted & !FILES).is_empty(), "{sets:?}");
            assert!(in_a_thread(|| Command::new("/bin/true").status()).is_err());
        });
        // Nobody else is.
        assert!(Command::new("/bin/true").status().expect("runs").success());
    }

    #[test]
    fn what_only_starting_needs_is_given_up_afterwards() {
        in_a_thread(|| {
            let before = capabilities(None).expect("readable").permitted;
            after_start();
            let after = capabilities(None).expect("readable").permitted;
            if before.contains(CapabilitySet::BPF | CapabilitySet::PERFMON) {
                assert_eq!(after, before & !CapabilitySet::SYS_ADMIN);
            } else {
                assert_eq!(after, before);
            }
        });
    }
}
