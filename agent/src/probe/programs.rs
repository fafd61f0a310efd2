//! Which program needs which kernel, and what is lost without it. `doctor`, coverage and the README's table all
//! come from here.

/// One program in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its name in the object file.
    pub name: &'static str,
    /// The hook, in the kernel's words.
    pub hook: &'static str,
    /// What kind of hook that is.
    pub kind: Kind,
    /// First kernel that has it, of those we require at all.
    pub since: (u8, u8),
    /// Without it the agent does not start.
    pub required: bool,
    /// What it is for.
    pub purpose: &'static str,
    /// What is lost without it.
    pub without: &'static str,
}

/// Kind of hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// cgroup_skb/egress.
    CgroupSkb,
    /// cgroup/connect*.
    CgroupSockAddr,
    /// cgroup/sock_create, post_bind*, sock_release.
    CgroupSock,
    /// A tracepoint with BTF arguments.
    BtfTracepoint,
    /// A tracepoint with raw arguments.
    RawTracepoint,
    /// tc egress.
    Classifier,
}

/// Oldest kernel the agent supports.
pub const OLDEST_KERNEL: (u8, u8) = (5, 10);

/// Every program, in the order in which they are attached: who sends is known before the first byte is counted.
pub const PROGRAMS: &[Program] = &[
    Program {
        name: "host_exec",
        hook: "sched_process_exec",
        kind: Kind::RawTracepoint,
        since: (4, 17),
        required: false,
        purpose: "executable and command line, even of processes that end at once",
        without: "processes that end within milliseconds are recorded without executable and command line",
    },
    Program {
        name: "host_fork",
        hook: "sched_process_fork",
        kind: Kind::RawTracepoint,
        since: (4, 17),
        required: false,
        purpose: "children inherit the names of their parents",
        without: "short-lived children of long-lived processes are recorded by command name only",
    },
    Program {
        name: "host_exit",
        hook: "sched_process_exit",
        kind: Kind::RawTracepoint,
        since: (4, 17),
        required: false,
        purpose: "forget processes that are gone",
        without: "names are kept until their number is used again",
    },
    Program {
        name: "host_cgroup",
        hook: "cgroup_mkdir",
        kind: Kind::RawTracepoint,
        since: (4, 17),
        required: false,
        purpose: "units and containers by name, even short-lived ones",
        without: "units that end within milliseconds are recorded without their name",
    },
    Program {
        name: "stamp_connect4",
        hook: "connect4",
        kind: Kind::CgroupSockAddr,
        since: (4, 17),
        required: true,
        purpose: "who opens IPv4 connections",
        without: "the owner of connections is unknown until it sends",
    },
    Program {
        name: "stamp_connect6",
        hook: "connect6",
        kind: Kind::CgroupSockAddr,
        since: (4, 17),
        required: true,
        purpose: "who opens IPv6 connections",
        without: "the owner of connections is unknown until it sends",
    },
    Program {
        name: "stamp_bind4",
        hook: "post_bind4",
        kind: Kind::CgroupSock,
        since: (4, 17),
        required: true,
        purpose: "who listens on IPv4; accepted sessions inherit it",
        without: "accepted sessions have no owner until they send",
    },
    Program {
        name: "stamp_bind6",
        hook: "post_bind6",
        kind: Kind::CgroupSock,
        since: (4, 17),
        required: true,
        purpose: "who listens on IPv6; accepted sessions inherit it",
        without: "accepted sessions have no owner until they send",
    },
    Program {
        name: "stamp_sender",
        hook: "sock_send_length",
        kind: Kind::BtfTracepoint,
        since: (6, 3),
        required: false,
        purpose: "the task that really sends: pre-forked workers, inherited and passed sockets",
        without: "sessions are attributed to the process that listened, connected or created the socket",
    },
    Program {
        name: "stamp_create",
        hook: "sock_create",
        kind: Kind::CgroupSock,
        since: (4, 10),
        required: false,
        purpose: "who creates a socket; attached only where sock_send_length is missing",
        without: "unconnected sockets have no owner",
    },
    Program {
        name: "account_egress",
        hook: "cgroup_skb/egress",
        kind: Kind::CgroupSkb,
        since: (4, 10),
        required: true,
        purpose: "every packet of every local socket",
        without: "nothing is accounted for",
    },
    Program {
        name: "close_tcp",
        hook: "tcp_destroy_sock",
        kind: Kind::BtfTracepoint,
        since: (5, 11),
        required: false,
        purpose: "the end of TCP connections",
        without: "ended connections are noticed when they fall idle, and hold their slots until then",
    },
    Program {
        name: "close_socket",
        hook: "sock_release",
        kind: Kind::CgroupSock,
        since: (5, 9),
        required: false,
        purpose: "the end of other sockets",
        without: "ended sockets are noticed when they fall idle, and hold their slots until then",
    },
    Program {
        name: "frames_ethernet",
        hook: "tc egress (tcx from 6.6, clsact before)",
        kind: Kind::Classifier,
        since: (4, 1),
        required: true,
        purpose: "every frame at Ethernet edge interfaces: truth, and what has no local socket",
        without: "nothing can be reconciled, and forwarded traffic is not seen",
    },
    Program {
        name: "frames_raw",
        hook: "tc egress (tcx from 6.6, clsact before)",
        kind: Kind::Classifier,
        since: (4, 1),
        required: false,
        purpose: "the same at edge interfaces without link header",
        without: "nothing can be reconciled on such interfaces",
    },
];

/// The table entry of `name`.
pub fn program(name: &str) -> Option<&'static Program> {
    PROGRAMS.iter().find(|program| program.name == name)
}

/// What became of a program on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Attached and running.
    Attached,
    /// Loaded; attached when there is an interface for it.
    Loaded,
    /// Left out, because another program or the configuration makes it needless.
    NotNeeded(&'static str),
    /// This kernel refuses it, with its reason.
    Refused(String),
}

/// One line of coverage: a program and its state.
#[derive(Clone, Debug)]
pub struct ProgramStatus {
    /// Which.
    pub program: &'static Program,
    /// What became of it.
    pub state: State,
}
