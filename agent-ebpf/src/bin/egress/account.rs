//! The hot path: one packet of one local socket.
//!
//! Usual case: socket storage, slot, same destination, add. Everything else is [`find_slot`].

use aya_ebpf::{
    bindings::{__sk_buff, BPF_ANY, bpf_sock},
    helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_ktime_get_ns, bpf_skb_cgroup_id},
};
use homeport_ebpf::{
    aside::{CLASS_CONTROL, CLASS_OVERFLOW, ELSEWHERE},
    event::FLOW_BYTES,
    loss::{LOSS_INDEX, LOSS_SLOTS, LOSS_STORAGE, LOSS_UNPARSED},
    settings::{EVENT_STEP_BYTES, NETNS_COOKIE, NETNS_INODE},
    slot::*,
};

use crate::{
    asides,
    kernel::{self, KIND_VRF, add, load},
    maps::{self, FREE, INDEX, KNOWN, LIVE, MTUS, SEES_ANSWERS6, SLOTS, TURNS},
    packet::Packet,
    tell,
};

/// Loopback has this index in every network namespace. What it carries does not leave.
const LOOPBACK_IFINDEX: u32 = 1;

#[inline(always)]
pub(crate) fn account(skb: *mut __sk_buff) {
    // SAFETY: plain fields of the context.
    let (ifindex, sk) = unsafe { ((*skb).ifindex, (*skb).__bindgen_anon_2.sk) };
    if ifindex == LOOPBACK_IFINDEX || sk.is_null() {
        return;
    }
    if maps::scope_netns() != 0 && netns(skb, sk) != maps::scope_netns() {
        return;
    }
    let state = maps::socket_state(sk);
    if !state.is_null() && count_known(skb, state) {
        return;
    }
    let Some(mut packet) = Packet::read(skb, 0) else {
        // SAFETY: a plain field of the context.
        tell::lose(LOSS_UNPARSED, unsafe { (*skb).len } as u64);
        return;
    };
    if packet.may_fragment {
        let mut mtu = 0;
        if !kernel::ignores_route(sk, packet.is_ipv6) {
            mtu = kernel::route_mtu(skb, packet.is_ipv6);
        }
        if mtu == 0 {
            mtu = kernel::device_mtu(skb);
        }
        if mtu == 0
            && let Some(of_interface) = MTUS.get_ptr(ifindex)
        {
            // SAFETY: checked by the lookup.
            mtu = unsafe { *of_interface };
        }
        packet.fragment(mtu as u64);
    }
    if !state.is_null() {
        // SAFETY: checked above; one aligned load, so slot and generation belong together.
        let reference = unsafe { (*state).slot_ref };
        if let Some(slot) = SLOTS.get_ptr_mut(slot_of(reference))
            && serves(slot, generation_of(reference), &packet)
        {
            count(slot, slot_of(reference), &packet);
            return;
        }
    }
    count_elsewhere(skb, sk, state, &packet);
}

/// The usual packet of a socket that stays with its destination. False: not counted.
#[inline(always)]
fn count_known(skb: *mut __sk_buff, state: *mut SocketState) -> bool {
    // SAFETY: checked by the caller; one aligned load, so slot and generation belong together.
    let reference = unsafe { (*state).slot_ref };
    let Some(slot) = SLOTS.get_ptr_mut(slot_of(reference)) else { return false };
    let generation = generation_of(reference);
    // Two copies of what follows, one per protocol: joined, they would pass everything through the stack.
    if let Some(packet) = Packet::read_plain_ipv4(skb) {
        if serves(slot, generation, &packet) {
            count(slot, slot_of(reference), &packet);
            return true;
        }
        count_turned(skb, state, slot, &packet)
    } else if let Some(packet) = Packet::read_plain_ipv6(skb) {
        if serves(slot, generation, &packet) {
            count(slot, slot_of(reference), &packet);
            return true;
        }
        count_turned(skb, state, slot, &packet)
    } else {
        false
    }
}

/// The socket turns from `old` to a destination that it had before. False: not counted, the index knows more.
#[inline(always)]
fn count_turned(skb: *mut __sk_buff, state: *mut SocketState, old: *mut Slot, packet: &Packet) -> bool {
    // A slot that the index does not know yet must become known before the socket leaves it: not here.
    // SAFETY: the caller checked both.
    if unsafe { (*state).many == 0 || (*old).hot.indexed == 0 } {
        return false;
    }
    // SAFETY: `skb` is the context.
    let cookie = unsafe { bpf_get_socket_cookie(skb.cast()) };
    let Some(turn) = TURNS.get_ptr(turn(cookie, packet.remote, packet.remote_port)) else { return false };
    // SAFETY: checked by the lookup; one aligned load.
    let reference = unsafe { load(turn) };
    let Some(slot) = SLOTS.get_ptr_mut(slot_of(reference)) else { return false };
    // The slot was taken for one socket and process, and as long as its generation lasts it is theirs.
    // SAFETY: both from checked lookups.
    let own = unsafe { (*slot).cold.cookie == cookie && (*slot).hot.taken_for == (*state).owner.pid };
    if !own || !serves(slot, generation_of(reference), packet) {
        return false;
    }
    // SAFETY: checked by the caller; one aligned store.
    unsafe { (*state).slot_ref = reference };
    count(slot, slot_of(reference), packet);
    true
}

/// The slot is still the one that was referred to, and for this destination. Comparing with the slot itself, not
/// with the socket's memory of it, is what makes racing senders on one socket harmless.
#[inline(always)]
fn serves(slot: *mut Slot, generation: u32, packet: &Packet) -> bool {
    // SAFETY: `slot` comes from a checked lookup.
    unsafe {
        let remote: *const u64 = (&raw const (*slot).hot.remote).cast();
        (*slot).hot.generation == generation
            && *remote.add(1) == packet.remote[1]
            && *remote == packet.remote[0]
            && (*slot).hot.remote_port == packet.remote_port
            && (*slot).hot.protocol == packet.protocol
            && (*slot).hot.via == packet.via
    }
}

/// Adds the packet, and tells when payload passes the next step.
#[inline(always)]
fn count(slot: *mut Slot, slot_idx: u32, packet: &Packet) {
    // SAFETY: `slot` comes from a checked lookup.
    let hot = unsafe { &raw mut (*slot).hot };
    // SAFETY: a field of it. Atomic: other processors may send on the same socket.
    add(unsafe { &raw mut (*hot).wire_bytes }, packet.wire_bytes);
    // SAFETY: as above.
    add(unsafe { &raw mut (*hot).packets }, packet.packets);
    if packet.payload_bytes == 0 {
        return;
    }
    // SAFETY: as above.
    let (payload, due) =
        unsafe { (load(&raw const (*hot).payload_bytes), load(&raw const (*hot).next_event_at)) };
    // SAFETY: as above.
    add(unsafe { &raw mut (*hot).payload_bytes }, packet.payload_bytes);
    let payload = payload + packet.payload_bytes;
    if payload > due {
        // SAFETY: as above. Two processors may both pass the step: one event too many, nothing lost.
        unsafe { (*hot).next_event_at = payload + EVENT_STEP_BYTES };
        tell::flow(FLOW_BYTES, slot_idx, slot);
    }
}

/// The socket has no slot for this destination: find or take one.
#[inline(always)]
fn count_elsewhere(skb: *mut __sk_buff, sk: *mut bpf_sock, known: *mut SocketState, packet: &Packet) {
    // A handshake answer, or an ACK or reset of a socket that never sent data to be counted: control packets,
    // kept per destination, so that a scanner costs no slot and wakes nobody.
    let new = known.is_null() || never_counted(known);
    if packet.is_tcp_control() && (packet.is_tcp_answer() || (new && !packet.is_tcp_open())) {
        if packet.is_ipv6
            && packet.is_tcp_answer()
            && let Some(seen) = SEES_ANSWERS6.get_ptr_mut(0)
        {
            // SAFETY: checked by the lookup; whoever writes, writes the same.
            unsafe { *seen = 1 };
        }
        let kind = kernel::device_kind(skb);
        if kind != KIND_VRF {
            asides::add(CLASS_CONTROL, place(skb, sk), kernel::way(kind, sk), packet);
        }
        return;
    }
    let state = if known.is_null() { maps::socket_state_or_new(sk) } else { known };
    if state.is_null() {
        tell::lose(LOSS_STORAGE, 0);
    } else {
        inherit(sk, state, packet);
    }
    // SAFETY: `skb` is the context.
    let cookie = unsafe { bpf_get_socket_cookie(skb.cast()) };
    let mut key = IndexKey {
        cookie,
        remote_port: packet.remote_port,
        protocol: packet.protocol,
        via: packet.via,
        ..EMPTY_KEY
    };
    if !state.is_null() {
        // SAFETY: checked above.
        key.taken_for = unsafe { (*state).owner.pid };
    }
    // SAFETY: sixteen bytes into sixteen bytes.
    unsafe { (&raw mut key.remote).cast::<[u64; 2]>().write_unaligned(packet.remote) };

    if !state.is_null() {
        remember_old_slot(state);
    }
    // SAFETY: checked above.
    let many = state.is_null() || unsafe { (*state).many } != 0;
    if many && let Some(reference) = INDEX.get_ptr(key) {
        // SAFETY: checked by the lookup; one aligned load.
        let reference = unsafe { *reference };
        if let Some(slot) = SLOTS.get_ptr_mut(slot_of(reference))
            && serves(slot, generation_of(reference), packet)
        {
            if !state.is_null() {
                // SAFETY: checked above; one aligned store.
                unsafe { (*state).slot_ref = reference };
                if let Some(turn) = TURNS.get_ptr_mut(turn(cookie, packet.remote, packet.remote_port)) {
                    // SAFETY: checked by the lookup; one aligned store.
                    unsafe { turn.write_volatile(reference) };
                }
            }
            count(slot, slot_of(reference), packet);
            return;
        }
    }
    let kind = kernel::device_kind(skb);
    if kind == KIND_VRF {
        return;
    }
    let way = kernel::way(kind, sk);
    let Ok(Some(slot_idx)) = FREE.pop() else {
        tell::lose(LOSS_SLOTS, packet.wire_bytes);
        asides::add(CLASS_OVERFLOW, place(skb, sk), way, packet);
        return;
    };
    let Some(slot) = SLOTS.get_ptr_mut(slot_idx) else { return };
    take((skb, sk), slot, state, &key, (packet, way));
    // SAFETY: from a checked lookup.
    let reference = slot_ref(slot_idx, unsafe { (*slot).hot.generation });
    if state.is_null() {
        index(slot, &key, reference);
    } else {
        // SAFETY: checked above; one aligned store.
        unsafe { (*state).slot_ref = reference };
    }
    count(slot, slot_idx, packet);
}

const EMPTY_KEY: IndexKey =
    IndexKey { cookie: 0, remote: [0; 16], taken_for: 0, remote_port: [0; 2], protocol: 0, via: 0 };

/// No slot yet, not even of another destination or an earlier sender.
#[inline(always)]
fn never_counted(state: *mut SocketState) -> bool {
    // SAFETY: callers check for null.
    unsafe { generation_of((*state).slot_ref) == 0 && (*state).many == 0 }
}

/// First packet of a socket: an accepted one takes its owner from the listener, one that opens says so.
#[inline(always)]
fn inherit(sk: *mut bpf_sock, state: *mut SocketState, packet: &Packet) {
    // SAFETY: `state` was checked by the caller.
    let state = unsafe { &mut *state };
    if packet.is_tcp_open() {
        state.initiator = INITIATOR_LOCAL;
    }
    if state.quality != QUALITY_UNKNOWN || state.initiator != INITIATOR_UNKNOWN {
        return;
    }
    let stamp = maps::listener(sk);
    if !stamp.is_null() {
        // SAFETY: both checked.
        unsafe { kernel::copy_stamp(stamp, &raw mut state.owner) };
        state.quality = QUALITY_LISTENER;
        state.initiator = INITIATOR_REMOTE;
    }
}

/// The socket turns to another destination: make sure that its old slot is found again.
#[inline(always)]
pub(crate) fn remember_old_slot(state: *mut SocketState) {
    // SAFETY: `state` was checked by the caller.
    let reference = unsafe { (*state).slot_ref };
    if generation_of(reference) == 0 {
        return;
    }
    let Some(slot) = SLOTS.get_ptr_mut(slot_of(reference)) else { return };
    // SAFETY: from a checked lookup.
    let hot = unsafe { &(*slot).hot };
    // Taken back, or of earlier maps: nobody needs to find it any more.
    if hot.generation != generation_of(reference) {
        return;
    }
    // SAFETY: as above.
    unsafe { (*state).many = 1 };
    if hot.indexed != 0 {
        return;
    }
    let key = IndexKey {
        // SAFETY: from a checked lookup.
        cookie: unsafe { (*slot).cold.cookie },
        remote: hot.remote,
        taken_for: hot.taken_for,
        remote_port: hot.remote_port,
        protocol: hot.protocol,
        via: hot.via,
    };
    index(slot, &key, reference);
}

#[inline(always)]
fn index(slot: *mut Slot, key: &IndexKey, reference: u64) {
    match INDEX.insert(key, reference, u64::from(BPF_ANY)) {
        // SAFETY: `slot` comes from a checked lookup.
        Ok(()) => unsafe { (*slot).hot.indexed = 1 },
        Err(_) => tell::lose(LOSS_INDEX, 0),
    }
}

/// Writes the identity of a fresh slot. Its generation was set by the agent, its counters stay as they are.
#[inline(always)]
fn take(
    (skb, sk): (*mut __sk_buff, *mut bpf_sock),
    slot: *mut Slot,
    state: *mut SocketState,
    key: &IndexKey,
    (packet, way): (&Packet, u8),
) {
    let known = match (KNOWN.get_ptr(packet.remote), LIVE.get(0)) {
        // SAFETY: checked by the lookup.
        (Some(generation), Some(live)) => unsafe { *generation == live.known_generation },
        (None, _) | (_, None) => false,
    };
    let (local, local_port) = packet.local(skb);
    // SAFETY: `slot` comes from a checked lookup, and nobody else has it: it was popped from the queue.
    let Slot { hot, cold } = unsafe { &mut *slot };
    hot.remote = key.remote;
    hot.remote_port = key.remote_port;
    hot.protocol = key.protocol;
    hot.via = key.via;
    hot.taken_for = key.taken_for;
    hot.next_event_at = if known { u64::MAX } else { hot.payload_bytes };
    hot.indexed = 0;
    hot.closed = 0;
    hot.quiet = known as u8;
    cold.cookie = key.cookie;
    // SAFETY: `skb` is the context.
    cold.socket_cgroup_id = unsafe { bpf_skb_cgroup_id(skb) };
    cold.netns = netns(skb, sk);
    cold.way = way;
    // SAFETY: no arguments.
    cold.first_ns = unsafe { bpf_ktime_get_ns() };
    // SAFETY: sixteen bytes into sixteen bytes.
    unsafe { (&raw mut cold.local).cast::<[u64; 2]>().write_unaligned(local) };
    cold.local_port = local_port;
    // SAFETY: a plain field of the context.
    cold.ifindex = unsafe { (*skb).ifindex };
    if state.is_null() {
        cold.owner = NOBODY;
        cold.quality = QUALITY_UNKNOWN;
        cold.initiator = if packet.is_tcp_open() { INITIATOR_LOCAL } else { INITIATOR_UNKNOWN };
    } else {
        // SAFETY: checked above.
        let state = unsafe { &*state };
        // SAFETY: both checked.
        unsafe { kernel::copy_stamp(&raw const state.owner, &raw mut cold.owner) };
        cold.quality = state.quality;
        cold.initiator = state.initiator;
    }
    hot.active = 1;
}

const NOBODY: Stamp =
    Stamp { start_boot_ns: 0, cgroup_id: 0, pid: 0, uid: 0, login_uid: u32::MAX, _pad: 0, comm: [0; 16] };

/// The interface of a packet without a slot, or [`ELSEWHERE`] when it is not one of the agent's own namespace.
#[inline(always)]
fn place(skb: *mut __sk_buff, sk: *mut bpf_sock) -> u32 {
    // Where only the own namespace is accounted for, no other packet comes here.
    if maps::scope_netns() == 0 && maps::own_netns() != 0 && netns(skb, sk) != maps::own_netns() {
        return ELSEWHERE;
    }
    // SAFETY: a plain field of the context.
    unsafe { (*skb).ifindex }
}

/// The network namespace of a packet and its socket; zero when it cannot be told.
#[inline(always)]
fn netns(skb: *mut __sk_buff, sk: *mut bpf_sock) -> u64 {
    match maps::netns_by() {
        // SAFETY: `skb` is the context; only called where the helper exists.
        NETNS_COOKIE => unsafe { bpf_get_netns_cookie(skb.cast()) },
        NETNS_INODE => kernel::netns_inode(sk),
        _ => 0,
    }
}
