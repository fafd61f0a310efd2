//! Who is behind a socket. All of these run in the context of the task that acts.
//!
//! Opener and listener are provisional: the first task that really sends replaces them, with everything counted
//! so far. When another task sends later (a socket passed on), what follows is counted for that task.

use aya_ebpf::{bindings::bpf_sock, cty::c_void};
use homeport_ebpf::{
    event::FLOW_OWNER,
    loss::{LOSS_OTHER_SOCKETS, LOSS_STORAGE},
    slot::*,
};

use crate::{
    account::remember_old_slot,
    kernel::{current, current_pid, netns_inode, peek},
    maps::{self, SLOTS, offset},
    tell,
};

const IPPROTO_TCP: u32 = 6;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// Families whose bytes leave the host, or may, without IP and without a frame at a network card, as bits: AF_RDS,
/// AF_CAN, AF_BLUETOOTH, AF_IUCV, AF_VSOCK, AF_QIPCRTR, AF_SMC, AF_MCTP. What SMC and RDS send over TCP is counted there,
/// too: too much is said rather than too little.
const OTHER_FAMILIES: u64 = 1 << 21 | 1 << 29 | 1 << 31 | 1 << 32 | 1 << 40 | 1 << 42 | 1 << 43 | 1 << 45;

/// connect(2): the task is known before the first packet, and we are the side that opens.
#[inline(always)]
pub(crate) fn stamp_opener(sk: *mut bpf_sock) {
    let state = new_state(sk);
    if state.is_null() {
        return;
    }
    // SAFETY: checked above.
    let state = unsafe { &mut *state };
    state.initiator = INITIATOR_LOCAL;
    if state.quality != QUALITY_SENDER {
        state.owner = current();
        state.quality = QUALITY_OPENER;
    }
}

/// bind(2): for TCP probably a listener, whose accepted sockets inherit the stamp; otherwise a first guess.
#[inline(always)]
pub(crate) fn stamp_binder(sk: *mut bpf_sock) {
    // SAFETY: a plain field of the context.
    if unsafe { (*sk).protocol } == IPPROTO_TCP {
        let stamp = maps::listener_or_new(sk);
        if !stamp.is_null() {
            // SAFETY: checked above.
            unsafe { *stamp = current() };
        }
        return;
    }
    stamp_creator(sk);
}

/// socket(2), where the kernel cannot tell who sends.
#[inline(always)]
pub(crate) fn stamp_creator(sk: *mut bpf_sock) {
    let state = new_state(sk);
    if state.is_null() {
        return;
    }
    // SAFETY: checked above.
    let state = unsafe { &mut *state };
    if state.quality == QUALITY_UNKNOWN {
        state.owner = current();
        state.quality = QUALITY_OPENER;
    }
}

/// A send call returned: the task that runs is the one that sent `sent` bytes.
#[inline(always)]
pub(crate) fn stamp_sender(sk: *mut bpf_sock, sent: i32) {
    if sent <= 0 {
        return;
    }
    let pid = current_pid();
    let mut state = maps::socket_state(sk);
    if state.is_null() {
        // Unix, netlink and packet sockets pass here too, and need no storage.
        let family: u16 = peek(sk as u64, offset!(sock_family));
        if offset!(sock_family) == 0 || (family != AF_INET && family != AF_INET6) {
            count_other_family(sk, family, sent);
            return;
        }
        state = new_state(sk);
        if state.is_null() {
            return;
        }
    }
    // SAFETY: checked above.
    let known = unsafe { &mut *state };
    let set = maps::first_generation();
    if known.owner.pid == pid && known.quality == QUALITY_SENDER && known.stamped == set {
        return;
    }
    // While maps are replaced the program of the other set may have been here first, and could not correct our slot.
    let elsewhere = known.stamped != set;
    let provisional = known.quality != QUALITY_SENDER;
    known.owner = current();
    known.quality = QUALITY_SENDER;
    known.stamped = set;
    let reference = known.slot_ref;
    let Some(slot) = SLOTS.get_ptr_mut(slot_of(reference)) else { return };
    // SAFETY: from a checked lookup.
    let Slot { hot, cold } = unsafe { &mut *slot };
    if hot.generation != generation_of(reference) {
        return;
    }
    if elsewhere && cold.quality == QUALITY_SENDER && cold.owner.pid == pid {
        return;
    }
    if provisional || (elsewhere && cold.quality != QUALITY_SENDER) {
        cold.owner = known.owner;
        cold.quality = QUALITY_SENDER;
        if hot.quiet == 0 {
            tell::flow(FLOW_OWNER, slot_of(reference), slot);
        }
    } else {
        remember_old_slot(state);
        // SAFETY: checked above. The next packet finds or takes a slot for the new task.
        unsafe { (*state).slot_ref = 0 };
    }
}

/// A socket that has nothing to do with IP: nobody else sees what it sends, such as to the host of a virtual machine.
#[inline(always)]
fn count_other_family(sk: *mut bpf_sock, family: u16, sent: i32) {
    if family >= 64 || OTHER_FAMILIES >> family & 1 == 0 {
        return;
    }
    let own = maps::own_inode();
    if maps::scope_netns() != 0 && own != 0 && netns_inode(sk) != own {
        return;
    }
    tell::lose(LOSS_OTHER_SOCKETS, sent as u64);
}

/// close(2) of the last descriptor. TCP goes on sending after it and ends in [`close_tcp`].
#[inline(always)]
pub(crate) fn close_socket(sk: *mut bpf_sock) {
    // SAFETY: a plain field of the context.
    if unsafe { (*sk).protocol } != IPPROTO_TCP {
        close(maps::socket_state(sk));
    }
}

/// The kernel destroys a TCP socket: its last packet is out.
#[inline(always)]
pub(crate) fn close_tcp(sk: *mut c_void) {
    close(maps::socket_state(sk.cast()));
}

#[inline(always)]
fn close(state: *mut SocketState) {
    if state.is_null() {
        return;
    }
    // SAFETY: checked above.
    let (reference, many) = unsafe { ((*state).slot_ref, (*state).many) };
    let Some(slot) = SLOTS.get_ptr_mut(slot_of(reference)) else { return };
    // SAFETY: from a checked lookup.
    let hot = unsafe { &mut (*slot).hot };
    if hot.generation != generation_of(reference) {
        return;
    }
    // The sweep sees the mark. An event would wake the agent for every connection, and tell nothing urgent.
    hot.closed = if many != 0 { CLOSED_MANY } else { CLOSED };
}

#[inline(always)]
fn new_state(sk: *mut bpf_sock) -> *mut SocketState {
    let state = maps::socket_state_or_new(sk);
    if state.is_null() {
        tell::lose(LOSS_STORAGE, 0);
    }
    state
}
