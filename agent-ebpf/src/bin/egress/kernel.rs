//! Small safe doors to atomics and to kernel memory whose layout the agent has looked up.

use core::{arch::asm, mem::MaybeUninit};

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock},
    cty::c_void,
    helpers::generated::{
        bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_task,
        bpf_get_current_uid_gid, bpf_jiffies64, bpf_probe_read_kernel, bpf_probe_read_kernel_str,
        bpf_sk_fullsock,
    },
    programs::SockAddrContext,
};
use homeport_ebpf::{
    settings::KIND_BYTES,
    slot::{Stamp, WAY_CABLE, WAY_CABLE_RAW, WAY_DIRECT, WAY_SHARED, WAY_TUNNEL},
};

use crate::maps::{self, offset};

/// Where the length of a TCP header is in it.
const TCP_DATA_OFFSET: u32 = 12;

/// Adds without losing what other processors add.
///
/// As an instruction, because `core` offers no atomics for BPF CPU version 2, which 5.10 kernels need; and because
/// LLVM would turn an addition of zero into an atomic "or", which those kernels refuse.
#[inline(always)]
pub(crate) fn add(counter: *mut u64, value: u64) {
    // SAFETY: every caller passes a field of a map value, aligned to eight bytes by its layout.
    unsafe {
        asm!("lock *(u64 *)({counter} + 0) += {value}", counter = in(reg) counter, value = in(reg) value);
    }
}

/// Reads what others write.
///
/// # Safety
///
/// `counter` points into a map value.
#[inline(always)]
pub(crate) unsafe fn load(counter: *const u64) -> u64 {
    // SAFETY: by contract.
    unsafe { core::ptr::read_volatile(counter) }
}

/// The socket of a connect hook.
#[inline(always)]
pub(crate) fn sock_of_address(ctx: &SockAddrContext) -> *mut bpf_sock {
    // SAFETY: a field of the context, which the verifier types as a socket.
    unsafe { (*ctx.sock_addr).__bindgen_anon_1.sk }
}

/// Reads a value from kernel memory; zero when it cannot be read.
#[inline(always)]
pub(crate) fn peek<T: Copy + Default>(base: u64, offset: u32) -> T {
    let mut value = T::default();
    // SAFETY: the helper checks the address and fills exactly `size_of::<T>()` bytes, or none.
    unsafe {
        bpf_probe_read_kernel(
            (&raw mut value).cast::<c_void>(),
            size_of::<T>() as u32,
            (base + offset as u64) as *const c_void,
        )
    };
    value
}

/// Inode number of the network namespace that a socket belongs to, for kernels whose cgroup_skb programs may not
/// ask for its cookie.
///
/// A socket pointer of the verifier's kind cannot be added to. Read back from the stack by a helper it is a number.
#[inline(always)]
pub(crate) fn netns_inode(sk: *mut bpf_sock) -> u64 {
    let address: u64 = peek((&raw const sk) as u64, 0);
    let net: u64 = peek(address, offset!(sock_net));
    u64::from(peek::<u32>(net, offset!(net_inum)))
}

/// Bytes from the start of the buffer to the innermost payload, of a buffer that tunnels have wrapped.
#[inline(always)]
pub(crate) fn inner_headers(skb: *mut __sk_buff, is_tcp: bool) -> Option<u64> {
    /// No real stack of headers is longer: what is, was misread.
    const MAX_HEADERS: u64 = 512;
    const UDP_HEADER: u64 = 8;
    if offset!(skb_inner_transport) == 0 || offset!(skb_head) == 0 || offset!(skb_data) == 0 {
        return None;
    }
    let buffer: u64 = peek((&raw const skb) as u64, 0);
    let head: u64 = peek(buffer, offset!(skb_head));
    let data: u64 = peek(buffer, offset!(skb_data));
    let transport = head + u64::from(peek::<u16>(buffer, offset!(skb_inner_transport)));
    let length = if is_tcp { u64::from(peek::<u8>(transport, TCP_DATA_OFFSET) >> 4) * 4 } else { UDP_HEADER };
    let headers = (transport + length).wrapping_sub(data);
    if headers < MAX_HEADERS { Some(headers) } else { None }
}

/// How long a packet may be on its route, where that was configured, or told by routers on the way. Zero: as long as the
/// interface takes.
#[inline(always)]
pub(crate) fn route_mtu(skb: *mut __sk_buff, is_ipv6: bool) -> u32 {
    /// Whether the packet holds a reference to the route.
    const ROUTE_BITS: u64 = 1;
    const METRICS_BITS: u64 = 3;
    /// RTAX_MTU is 2, and the numbers begin with 1.
    const MTU_AT: u32 = 4;
    if offset!(skb_route) == 0 || offset!(route_metrics) == 0 {
        return 0;
    }
    let buffer: u64 = peek((&raw const skb) as u64, 0);
    let route = peek::<u64>(buffer, offset!(skb_route)) & !ROUTE_BITS;
    if route == 0 {
        return 0;
    }
    if !is_ipv6 && offset!(route_learned) != 0 {
        let learned = peek::<u32>(route, offset!(route_learned)) >> 1;
        // SAFETY: no arguments.
        let now = unsafe { bpf_jiffies64() };
        if learned != 0 && peek::<u64>(route, offset!(route_expires)) > now {
            return learned;
        }
    }
    let metrics = peek::<u64>(route, offset!(route_metrics)) & !METRICS_BITS;
    peek(metrics, MTU_AT)
}

/// Longest packet of the device that this one leaves through, whatever network namespace that is in. Zero: unknown.
#[inline(always)]
pub(crate) fn device_mtu(skb: *mut __sk_buff) -> u32 {
    if offset!(skb_dev) == 0 || offset!(device_mtu) == 0 { 0 } else { peek(device(skb), offset!(device_mtu)) }
}

/// The device that the packet leaves through. Only where its offset is known.
#[inline(always)]
fn device(skb: *mut __sk_buff) -> u64 {
    let buffer: u64 = peek((&raw const skb) as u64, 0);
    peek(buffer, offset!(skb_dev))
}

/// The socket asked not to care about what the route takes (`IP_MTU_DISCOVER`), only about its interface: some name
/// servers do.
#[inline(always)]
pub(crate) fn ignores_route(sk: *mut bpf_sock, is_ipv6: bool) -> bool {
    /// IP_PMTUDISC_PROBE; INTERFACE and OMIT are behind it. IPv6 has the same numbers.
    const PROBE: u8 = 3;
    if offset!(inet_discovery) == 0 {
        return false;
    }
    let address: u64 = peek((&raw const sk) as u64, 0);
    if !is_ipv6 {
        return peek::<u8>(address, offset!(inet_discovery)) >= PROBE;
    }
    if offset!(inet_pinet6) == 0 || offset!(inet6_discovery) == 0 {
        return false;
    }
    let own: u64 = peek(address, offset!(inet_pinet6));
    // Before 6.8 a field of bits beside others.
    let (below, width) = (offset!(inet6_discovery_bits) & 7, offset!(inet6_discovery_bits) >> 8 & 15);
    let asked = u32::from(peek::<u8>(own, offset!(inet6_discovery))) >> below & ((1 << width) - 1);
    own != 0 && asked >= u32::from(PROBE)
}

/// A VRF is a table of routes. Its device sends what the host says to itself by that table; whatever leaves goes through
/// the devices that belong to it.
pub(crate) const KIND_VRF: u64 = u64::from_ne_bytes(*b"vrf\0\0\0\0\0");

/// The kind of the device that the packet leaves through, its first bytes as a number; zero for network cards.
#[inline(always)]
pub(crate) fn device_kind(skb: *mut __sk_buff) -> u64 {
    if offset!(skb_dev) == 0 || offset!(device_link_ops) == 0 {
        return 0;
    }
    let device = device(skb);
    let operations: u64 = peek(device, offset!(device_link_ops));
    let text: u64 = if operations != 0 {
        peek(operations, offset!(link_ops_kind))
    } else {
        // A pseudowire of L2TP has no kind, but a type of device by that name.
        let of_device: u64 = if offset!(device_type) == 0 { 0 } else { peek(device, offset!(device_type)) };
        if of_device == 0 {
            return 0;
        }
        peek(of_device, 0)
    };
    // The helper ends what it copies with a zero byte of its own.
    let mut kind = MaybeUninit::<[u64; 2]>::uninit();
    let first = kind.as_mut_ptr().cast::<u64>();
    // SAFETY: two words, both written. Volatile, or this becomes a call of `memset`, see `copy_stamp`.
    unsafe {
        first.write_volatile(0);
        first.add(1).write_volatile(0);
    }
    // SAFETY: at most nine bytes into sixteen; what is not written stays zero.
    unsafe {
        bpf_probe_read_kernel_str(first.cast(), KIND_BYTES as u32 + 1, text as *const c_void);
        first.read_volatile()
    }
}

/// What a device of this kind does with a packet of this socket (`WAY_*`).
#[inline(always)]
pub(crate) fn way(kind: u64, sk: *mut bpf_sock) -> u8 {
    match kind {
        VETH | NETKIT if is_raw(sk) => WAY_CABLE_RAW,
        VETH | NETKIT => WAY_CABLE,
        MACVLAN | IPVLAN if !is_raw(sk) => WAY_SHARED,
        _ if maps::is_tunnel_kind(kind) => WAY_TUNNEL,
        _ => WAY_DIRECT,
    }
}

/// Whose frames the interface programs do not tell from those of the kernel's own, see `is_of_another_namespace` there.
#[inline(always)]
fn is_raw(sk: *mut bpf_sock) -> bool {
    const SOCK_RAW: u32 = 3;
    // SAFETY: callers check for null; the result is checked below.
    let full = unsafe { bpf_sk_fullsock(sk) };
    // SAFETY: checked for null.
    full.is_null() || unsafe { (*full).type_ } == SOCK_RAW
}

/// Kinds of devices as they are compared: their first bytes as one number.
const VETH: u64 = u64::from_ne_bytes(*b"veth\0\0\0\0");
const NETKIT: u64 = u64::from_ne_bytes(*b"netkit\0\0");
const MACVLAN: u64 = u64::from_ne_bytes(*b"macvlan\0");
const IPVLAN: u64 = u64::from_ne_bytes(*b"ipvlan\0\0");

/// Start of the thread group that `task` belongs to, in nanoseconds since boot.
#[inline(always)]
pub(crate) fn start_boot_ns(task: u64) -> u64 {
    if offset!(task_start_boottime) == 0 || offset!(task_group_leader) == 0 {
        return 0;
    }
    let leader: u64 = peek(task, offset!(task_group_leader));
    peek(leader, offset!(task_start_boottime))
}

/// Audit login user of `task`.
#[inline(always)]
pub(crate) fn login_uid(task: u64) -> u32 {
    if offset!(task_loginuid) == 0 { u32::MAX } else { peek(task, offset!(task_loginuid)) }
}

/// Thread group id of the task that runs this program.
#[inline(always)]
pub(crate) fn current_pid() -> u32 {
    // SAFETY: no arguments.
    (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32
}

/// Copies a stamp by words.
///
/// An assignment becomes a call of `memmove`. In programs with more than one function the verifier of 5.10 takes every
/// number for significant, finds no two paths alike, and refuses the packet programs after a million steps.
///
/// # Safety
///
/// Both come from a checked lookup.
#[inline(always)]
pub(crate) unsafe fn copy_stamp(from: *const Stamp, to: *mut Stamp) {
    const WORDS: usize = size_of::<Stamp>() / size_of::<u64>();
    const { assert!(size_of::<Stamp>() == WORDS * size_of::<u64>() && align_of::<Stamp>() == align_of::<u64>()) };
    for word in 0..WORDS {
        // SAFETY: inside of both, by the caller's word. Volatile, or the compiler makes it a call of `memmove` again.
        unsafe { to.cast::<u64>().add(word).write_volatile(from.cast::<u64>().add(word).read_volatile()) };
    }
}

/// The task that runs this program. Only called where that is the task that acts: never in the egress hook.
#[inline(always)]
pub(crate) fn current() -> Stamp {
    let mut stamp = Stamp {
        pid: current_pid(),
        // SAFETY: no arguments.
        uid: unsafe { bpf_get_current_uid_gid() } as u32,
        // SAFETY: no arguments.
        cgroup_id: unsafe { bpf_get_current_cgroup_id() },
        ..Stamp::default()
    };
    // SAFETY: no arguments.
    let task = unsafe { bpf_get_current_task() };
    stamp.start_boot_ns = start_boot_ns(task);
    stamp.login_uid = login_uid(task);
    // SAFETY: sixteen bytes, as told.
    unsafe { bpf_get_current_comm((&raw mut stamp.comm).cast(), 16) };
    stamp
}
