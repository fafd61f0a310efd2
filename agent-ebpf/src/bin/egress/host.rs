//! Names, told early: a process that lives 5 ms is gone before anybody could look it up.

use aya_ebpf::{
    cty::c_void,
    helpers::generated::{
        bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_task,
        bpf_get_current_uid_gid, bpf_ktime_get_ns, bpf_probe_read_kernel_str, bpf_probe_read_user,
    },
};
use homeport_ebpf::{
    event::{ARGS_BYTES, HOST_CGROUP, HOST_EXEC, HOST_EXIT, HOST_FORK, HostEvent, PATH_BYTES},
    loss::LOSS_HOST_RING,
};

use crate::{
    kernel::{login_uid, peek, start_boot_ns},
    maps::{HOST_EVENTS, offset},
    tell,
};

/// As in `/proc/PID/cgroup`.
const CGROUP2_HIERARCHY: u32 = 0;

/// The current process has a new image.
#[inline(always)]
pub(crate) fn exec(bprm: *const c_void) {
    with_event(HOST_EXEC, |event, task| {
        if offset!(bprm_interp) != 0 {
            let name: u64 = peek(bprm as u64, offset!(bprm_interp));
            read_path(event, name);
        }
        if offset!(task_mm) != 0 && offset!(mm_arg_start) != 0 && offset!(mm_arg_end) != 0 {
            let mm: u64 = peek(task, offset!(task_mm));
            let start: u64 = peek(mm, offset!(mm_arg_start));
            let end: u64 = peek(mm, offset!(mm_arg_end));
            let length = end.saturating_sub(start).min(ARGS_BYTES as u64) as u32;
            // SAFETY: at most `ARGS_BYTES` into a buffer of that size.
            let failed = unsafe {
                bpf_probe_read_user((&raw mut (*event).args).cast(), length, start as *const c_void)
            };
            // SAFETY: the event is ours until submitted.
            unsafe { (*event).args_len = if failed == 0 { length } else { 0 } };
        }
    });
}

/// The current process has a child. Threads are not processes.
#[inline(always)]
pub(crate) fn fork(child: *const c_void) {
    if offset!(task_tgid) == 0 || offset!(task_pid) == 0 {
        return;
    }
    let pid: u32 = peek(child as u64, offset!(task_tgid));
    let thread: u32 = peek(child as u64, offset!(task_pid));
    if pid != thread {
        return;
    }
    with_event(HOST_FORK, |event, _| {
        // SAFETY: the event is ours until submitted.
        unsafe {
            (*event).parent = (*event).pid;
            (*event).pid = pid;
            (*event).start_boot_ns = start_boot_ns(child as u64);
        }
    });
}

/// The current process ends.
#[inline(always)]
pub(crate) fn exit() {
    // SAFETY: no arguments.
    let ids = unsafe { bpf_get_current_pid_tgid() };
    if (ids >> 32) as u32 == ids as u32 {
        with_event(HOST_EXIT, |_, _| {});
    }
}

/// A cgroup was made. Its name is told now: a unit that lives shortly is gone before a lookup.
#[inline(always)]
pub(crate) fn cgroup(cgroup: *const c_void, path: *const c_void) {
    if offset!(cgroup_kn) == 0 {
        return;
    }
    // Hierarchies of cgroup v1 number their directories too, from one as cgroup2 does.
    if offset!(cgroup_root) != 0 && offset!(root_hierarchy) != 0 {
        let root: u64 = peek(cgroup as u64, offset!(cgroup_root));
        let hierarchy: u32 = peek(root, offset!(root_hierarchy));
        if hierarchy != CGROUP2_HIERARCHY {
            return;
        }
    }
    let node: u64 = peek(cgroup as u64, offset!(cgroup_kn));
    let id: u64 = peek(node, offset!(kernfs_id));
    with_event(HOST_CGROUP, |event, _| {
        read_path(event, path as u64);
        // SAFETY: the event is ours until submitted.
        unsafe { (*event).cgroup_id = id };
    });
}

#[inline(always)]
fn read_path(event: *mut HostEvent, from: u64) {
    // SAFETY: at most `PATH_BYTES` into a buffer of that size, zero-terminated by the helper.
    let length = unsafe {
        bpf_probe_read_kernel_str((&raw mut (*event).path).cast(), PATH_BYTES as u32, from as *const c_void)
    };
    if length > 0 {
        // SAFETY: the event is ours until submitted.
        unsafe { (*event).path_len = length as u32 - 1 };
    }
}

/// Reserves an event, fills what every kind has, lets `fill` add the rest, and sends it.
#[inline(always)]
fn with_event(kind: u32, fill: impl FnOnce(*mut HostEvent, u64)) {
    let Some(mut entry) = HOST_EVENTS.reserve::<HostEvent>(0) else {
        tell::lose(LOSS_HOST_RING, 0);
        return;
    };
    let event = entry.as_mut_ptr();
    // SAFETY: no arguments.
    let task = unsafe { bpf_get_current_task() };
    // SAFETY: `event` is reserved memory of that type, ours until submitted; the helpers have no preconditions.
    unsafe {
        (*event).ktime_ns = bpf_ktime_get_ns();
        (*event).start_boot_ns = start_boot_ns(task);
        (*event).cgroup_id = bpf_get_current_cgroup_id();
        (*event).kind = kind;
        (*event).pid = (bpf_get_current_pid_tgid() >> 32) as u32;
        (*event).parent = 0;
        (*event).uid = bpf_get_current_uid_gid() as u32;
        (*event).login_uid = login_uid(task);
        (*event).path_len = 0;
        (*event).args_len = 0;
        (*event)._pad = 0;
        bpf_get_current_comm((&raw mut (*event).comm).cast(), 16);
    }
    fill(event, task);
    entry.submit(0);
}
