//! What the agent tells the programs.
//!
//! Constants are set once, before loading, so that the verifier removes what they rule out; [`Live`] changes
//! while the programs run.

use crate::Plain;

/// Payload bytes of one slot after which another `FLOW_BYTES` event is due.
///
/// 64 MiB is at most 20 events a second for one flow at 10 Gbit/s; the sweep sees every flow each second anyway.
pub const EVENT_STEP_BYTES: u64 = 64 * 1024 * 1024;

/// Most kinds of tunnel devices that the programs tell apart.
pub const MAX_TUNNEL_KINDS: usize = 32;
/// Bytes of a kind that are compared; shorter ones end in zeros.
pub const KIND_BYTES: usize = 8;

/// How the namespace of a packet is found: not at all.
pub const NETNS_NONE: u32 = 0;
/// By `bpf_get_netns_cookie`, which cgroup_skb programs may call from 6.18 on.
pub const NETNS_COOKIE: u32 = 1;
/// By the inode number that the socket leads to, on older kernels.
pub const NETNS_INODE: u32 = 2;

/// Settings that change at run time; one element array, mapped by the agent.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// Which of the two aside maps is written: 0 or 1.
    pub aside: u32,
    /// Entries of `KNOWN` with another number are void.
    pub known_generation: u32,
    /// Non-zero: sockets of other network namespaces send, and frames at the edge may carry them.
    pub others: u32,
}

// SAFETY: repr(C), three integers.
unsafe impl Plain for Live {}

/// Where the kernel keeps what the programs read, in bytes from the start of each structure.
///
/// Taken from the running kernel's BTF by the agent. Zero means unknown: the field is then not read.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// `task_struct.group_leader`
    pub task_group_leader: u32,
    /// `task_struct.start_boottime`
    pub task_start_boottime: u32,
    /// `task_struct.loginuid`
    pub task_loginuid: u32,
    /// `task_struct.pid`
    pub task_pid: u32,
    /// `task_struct.tgid`
    pub task_tgid: u32,
    /// `task_struct.mm`
    pub task_mm: u32,
    /// `mm_struct.arg_start`
    pub mm_arg_start: u32,
    /// `mm_struct.arg_end`
    pub mm_arg_end: u32,
    /// `linux_binprm.interp`: the file that is really run, an interpreter for scripts
    pub bprm_interp: u32,
    /// `cgroup.kn`
    pub cgroup_kn: u32,
    /// `cgroup.root`
    pub cgroup_root: u32,
    /// `cgroup_root.hierarchy_id`
    pub root_hierarchy: u32,
    /// `kernfs_node.id`
    pub kernfs_id: u32,
    /// `sock_common.skc_family`
    pub sock_family: u32,
    /// `sock_common.skc_net`
    pub sock_net: u32,
    /// `net.ns.inum`: the inode number of the namespace
    pub net_inum: u32,
    /// `sk_buff.dev`
    pub skb_dev: u32,
    /// `net_device.rtnl_link_ops`
    pub device_link_ops: u32,
    /// `rtnl_link_ops.kind`: what kind of virtual device, as text
    pub link_ops_kind: u32,
    /// `sk_buff.head`
    pub skb_head: u32,
    /// `sk_buff.data`
    pub skb_data: u32,
    /// `sk_buff.inner_transport_header`, counted from the head
    pub skb_inner_transport: u32,
    /// `sk_buff._skb_refdst`: the route, and a bit
    pub skb_route: u32,
    /// `dst_entry._metrics`: what the route was configured with, and two bits
    pub route_metrics: u32,
    /// `dst_entry.expires`: when what was learned is forgotten, in jiffies
    pub route_expires: u32,
    /// `rtable.rt_pmtu`, of IPv4: what was learned of the path; 31 bits above another one
    pub route_learned: u32,
    /// `net_device.mtu`
    pub device_mtu: u32,
    /// `inet_sock.pmtudisc`: whether what is known of the path matters (`IP_MTU_DISCOVER`)
    pub inet_discovery: u32,
    /// `inet_sock.pinet6`: what a socket of IPv6 has beside
    pub inet_pinet6: u32,
    /// `ipv6_pinfo.pmtudisc`: a byte of its own from 6.8 on, before that a field of bits; then the byte that they are in
    pub inet6_discovery: u32,
    /// Which bits of that byte: how many others are below them, and how many they are in the second byte of this number
    pub inet6_discovery_bits: u32,
    /// `net_device.dev.type`: what a device without `rtnl_link_ops` may say of its kind; its name comes first there
    pub device_type: u32,
}

// SAFETY: repr(C), integers only.
unsafe impl Plain for Offsets {}

const _: () = assert!(size_of::<Live>() == 12);
const _: () = assert!(size_of::<Offsets>() == 128);
