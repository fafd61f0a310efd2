//! Who sent how much to where.
//!
//! A *flow* is (owner, remote address, protocol, service port, initiator, sensor) with the bytes that left.
//! This module has never heard of aya, tokio, JSON or a clock.

pub mod class;
mod owners;
mod shared;
pub mod table;

use std::{fmt, net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::clock::KernelTime;

/// Bytes and packets that left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Layer 3 bytes as segmented on the wire, retransmissions included: they add up to the NIC's counter.
    pub wire_bytes: u64,
    /// Layer 4 payload bytes, retransmissions included. Zero for handshakes, bare ACKs and resets.
    pub payload_bytes: u64,
    /// Packets on the wire (a GSO buffer of n segments counts n).
    pub packets: u64,
}

impl Volume {
    /// Adds another volume. Counters saturate: a plateau is honest, a wrap to zero would be a lie.
    pub const fn add(&mut self, other: Self) {
        self.wire_bytes = self.wire_bytes.saturating_add(other.wire_bytes);
        self.payload_bytes = self.payload_bytes.saturating_add(other.payload_bytes);
        self.packets = self.packets.saturating_add(other.packets);
    }

    /// True when nothing was counted.
    pub const fn is_zero(&self) -> bool {
        self.wire_bytes == 0 && self.payload_bytes == 0 && self.packets == 0
    }
}

/// A process, as exactly as it could be known.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Process {
    /// Process id (thread group) in the host's pid namespace.
    pub pid: u32,
    /// Start time in nanoseconds since boot; with `pid` it names one process for the life of the host.
    pub start_boot_ns: u64,
    /// Path of the executable; a bare command name in brackets (`[nfsd]`) when that is all that is left.
    pub exe: Arc<str>,
    /// Command line, arguments joined by spaces, cut at 4 KiB.
    pub command_line: Arc<str>,
    /// Effective user at the time the socket was stamped.
    pub uid: u32,
    /// User name of `uid`, if the host knows one.
    pub user: Option<Arc<str>>,
    /// User who logged in (audit login uid), if any.
    pub login_uid: Option<u32>,
}

/// The workload a process belongs to, read from its cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Workload {
    /// cgroup2 path from the root, such as `/system.slice/nginx.service`.
    pub cgroup: Option<Arc<str>>,
    /// systemd unit, such as `nginx.service`.
    pub unit: Option<Arc<str>>,
    /// Container id (64 hexadecimal digits, or the runtime's own name).
    pub container: Option<Arc<str>>,
}

/// What sends.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Actor {
    /// A user-space process.
    Process(Process),
    /// A service inside the kernel: `nfsd`, `nvmet`, `iscsi`, `ksmbd`, `icmp`, `tcp`...
    Kernel(Arc<str>),
    /// Frames that cross the host: routed, bridged, or of a virtual machine.
    Forwarded,
    /// Frames from a packet socket (AF_PACKET).
    PacketSocket,
    /// A local socket whose owner could not be found.
    Unowned,
}

/// How the owner of a socket was established.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Quality {
    /// Nobody could be named.
    Unknown,
    /// Found afterwards, by searching the process table for the socket.
    Resolved,
    /// Inherited from the listening socket, or stamped by the process that connected or created it.
    Inherited,
    /// The task that really sent.
    Exact,
}

impl Quality {
    /// The word used in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Resolved => "resolved",
            Self::Inherited => "inherited",
            Self::Exact => "exact",
        }
    }
}

/// Who sends: the actor, its workload, and how well it is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// What sends.
    pub actor: Actor,
    /// Where it runs.
    pub workload: Workload,
    /// How it was established.
    pub quality: Quality,
}

impl Owner {
    /// An owner nobody could name.
    pub fn unowned() -> Self {
        Self { actor: Actor::Unowned, workload: Workload::default(), quality: Quality::Unknown }
    }

    /// The process, if the actor is one.
    pub const fn process(&self) -> Option<&Process> {
        match &self.actor {
            Actor::Process(process) => Some(process),
            Actor::Kernel(_) | Actor::Forwarded | Actor::PacketSocket | Actor::Unowned => None,
        }
    }

    /// The stable name that groups episodes: unit and executable name, never a pid.
    ///
    /// `nginx.service/nginx`, `container:0123456789ab/python3.11`, `rsync`, `kernel:nfsd`, `forwarded`.
    pub fn label(&self) -> String {
        let name = match &self.actor {
            Actor::Process(process) => process.exe.rsplit('/').next().unwrap_or(&process.exe).to_owned(),
            Actor::Kernel(service) => return format!("kernel:{service}"),
            Actor::Forwarded => "forwarded".to_owned(),
            Actor::PacketSocket => "packet-socket".to_owned(),
            Actor::Unowned => "unowned".to_owned(),
        };
        if let Some(container) = &self.workload.container {
            return format!("container:{}/{name}", container.get(..12).unwrap_or(container));
        }
        match &self.workload.unit {
            Some(unit) => format!("{unit}/{name}"),
            None => name,
        }
    }
}

/// Who opened the conversation. Data leaves either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Initiator {
    /// We connected, or sent first.
    Local,
    /// They connected, and pull from us.
    Remote,
    /// Older than the agent, or a protocol without roles.
    Unknown,
}

impl Initiator {
    /// The word used in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
            Self::Unknown => "unknown",
        }
    }
}

/// IP protocol number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Protocol(pub u8);

impl Protocol {
    /// ICMP for IPv4.
    pub const ICMP: Self = Self(1);
    /// Transmission Control Protocol.
    pub const TCP: Self = Self(6);
    /// User Datagram Protocol.
    pub const UDP: Self = Self(17);
    /// ICMP for IPv6.
    pub const ICMPV6: Self = Self(58);
    /// Stream Control Transmission Protocol.
    pub const SCTP: Self = Self(132);
}

/// The IANA keyword in lower case, or `ip-N`.
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            1 => "icmp",
            2 => "igmp",
            4 => "ipip",
            6 => "tcp",
            17 => "udp",
            41 => "ipv6",
            47 => "gre",
            50 => "esp",
            51 => "ah",
            58 => "ipv6-icmp",
            89 => "ospf",
            112 => "vrrp",
            132 => "sctp",
            136 => "udplite",
            other => return write!(f, "ip-{other}"),
        };
        f.write_str(name)
    }
}

/// Which ledger saw the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sensor {
    /// cgroup_skb egress: a local socket.
    Socket,
    /// tc egress at an edge interface: a frame without a local socket.
    Interface,
    /// cgroup_skb egress: a local socket whose packets enter a tunnel made on this host. Told and judged, but in no
    /// total: the tunnel's outer packets are counted.
    Tunnel,
}

impl Sensor {
    /// The word used in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Interface => "interface",
            Self::Tunnel => "tunnel",
        }
    }

    /// Whether these bytes are part of what left the host.
    pub const fn is_counted(self) -> bool {
        match self {
            Self::Socket | Self::Interface => true,
            Self::Tunnel => false,
        }
    }
}

/// What makes two observations the same flow.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Who sends.
    pub owner: Arc<Owner>,
    /// Where to. IPv4-mapped addresses are already IPv4 here.
    pub remote: IpAddr,
    /// IP protocol.
    pub protocol: Protocol,
    /// The well-known side: the remote port when we opened, ours when they did. Zero without ports.
    pub service_port: u16,
    /// Who opened.
    pub initiator: Initiator,
    /// Which ledger saw it.
    pub sensor: Sensor,
}

/// One reading from the kernel, ready for judgement: what was sent since the reading before.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The flow.
    pub key: FlowKey,
    /// Our address, if known.
    pub local: Option<IpAddr>,
    /// Our port; zero when unknown or not a port protocol.
    pub local_port: u16,
    /// Their port; zero when unknown or not a port protocol.
    pub remote_port: u16,
    /// What left since the last reading.
    pub volume: Volume,
    /// No packet of this reading is older: the first one of its socket to this destination, or the look before it.
    pub first_seen: KernelTime,
    /// When this reading was taken.
    pub seen: KernelTime,
    /// The socket is older than the agent.
    pub pre_existing: bool,
    /// The socket is gone: nothing more will come.
    pub closed: bool,
}
