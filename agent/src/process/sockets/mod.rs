//! Sockets that are older than the agent: whose they are, and who opened them.
//!
//! The kernel side stamps sockets when they are made, connected, or used; one that was there before has no stamp on
//! kernels that do not tell who sends. So everything is enumerated once, in every network namespace that is watched,
//! and the processes that hold the sockets with it. A slot's cookie then names its process.
//!
//! Looked twice, before the programs are attached and right after, so that no socket falls between; one that was
//! opened within these milliseconds counts as older, too.
//!
//! A listener that is older hands out sockets that are not: these are found by their address.
//!
//! | file | what for |
//! |---|---|
//! | `namespaces` | every network namespace, once each |
//! | `diag` | sockets with their cookies |
//! | `proc_net` | sockets without, for kernels that lack the former |
//!
//! **Memory**: some 30 bytes a socket (3.2 MB for 105,000, measured), as many as there were at the start. A socket whose
//! end the sweep sees is forgotten; one that never sent is not seen to end, so the number only never grows.

mod diag;
mod namespaces;
mod proc_net;

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    path::Path,
};

pub use self::proc_net::{Line, parse};
use super::procfs;
use crate::flow::{Initiator, Protocol};

const TCP_LISTEN: u8 = 10;
const UDPLITE: Protocol = Protocol(136);
/// `IPPROTO_RAW` stands for all raw sockets.
const RAW: Protocol = Protocol(255);

/// A socket that the kernel told of.
#[derive(Clone, Copy, Debug)]
struct Seen {
    protocol: Protocol,
    /// TCP state number.
    state: u8,
    local: SocketAddr,
    /// Port zero when there is none.
    remote: SocketAddr,
    /// Zero: not told.
    cookie: u64,
    /// Zero: no process has it open.
    inode: u32,
}

impl Seen {
    const fn is_listener(&self) -> bool {
        self.state == TCP_LISTEN
    }
}

/// A process that had an older socket open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// Its start, as `/proc` tells it: a number alone may be somebody else by now.
    pub start_boot_ns: u64,
    /// Command name.
    pub comm: [u8; 16],
}

/// What is known of an older socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OlderSocket {
    holder: u32,
    /// Who opened it.
    pub initiator: Initiator,
}

/// [`OlderSocket::holder`]: no process.
const NOBODY: u32 = u32::MAX;

/// A network namespace by both of its names. Programs tell one or the other, and the numbers do not meet: cookies count
/// from one, inodes of namespaces from 0xf0000000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Namespace {
    /// Zero: the kernel does not tell.
    cookie: u64,
    inode: u64,
}

impl Namespace {
    /// Whether a program may have told it as `told`; zero is what programs say that cannot tell.
    const fn may_be(self, told: u64) -> bool {
        told == 0 || told == self.cookie || told == self.inode
    }
}

#[derive(Clone, Copy, Debug)]
struct Listener {
    netns: Namespace,
    at: SocketAddr,
    holder: u32,
}

/// What was there when the agent started.
#[derive(Debug, Default)]
pub struct Older {
    by_cookie: HashMap<u64, OlderSocket>,
    /// Only where the kernel tells no cookies.
    by_addresses: HashMap<(Protocol, SocketAddr, SocketAddr), OlderSocket>,
    listeners: HashMap<(Protocol, u16), Vec<Listener>>,
    holders: Vec<Holder>,
}

/// Collects what there is.
#[derive(Debug)]
pub struct Scan {
    own_namespace_only: bool,
    sockets: Vec<(Namespace, Seen)>,
}

impl Scan {
    /// Nothing yet.
    pub const fn new(own_namespace_only: bool) -> Self {
        Self { own_namespace_only, sockets: Vec::new() }
    }

    /// Looks at all sockets that there are now. `netns_cookie` tells the cookie of the namespace that its thread is in.
    pub fn look(&mut self, netns_cookie: fn() -> Option<u64>) {
        let sockets = &mut self.sockets;
        namespaces::visit(self.own_namespace_only, netns_cookie, &mut |netns| {
            // Asking for SCTP would load it.
            let sctp = Path::new("/proc/thread-self/net/sctp").exists().then_some(Protocol::SCTP);
            for protocol in [Protocol::TCP, Protocol::UDP, UDPLITE, RAW].into_iter().chain(sctp) {
                let mut take = |seen| sockets.push((netns, seen));
                match diag::dump(protocol, &mut take) {
                    Ok(()) => {}
                    Err(error) if protocol == Protocol::TCP || protocol == Protocol::UDP => {
                        tracing::debug!(%protocol, %error, "sock_diag");
                        proc_net::read(protocol, &mut take);
                    }
                    Err(error) => tracing::debug!(%protocol, %error, "sock_diag"),
                }
            }
        });
        // Seen twice, or with every member of a group of namespaces.
        sockets.sort_unstable_by_key(|(_, seen)| (seen.cookie, seen.inode, seen.local, seen.remote));
        sockets.dedup_by_key(|(_, seen)| (seen.cookie, seen.inode, seen.local, seen.remote));
    }

    /// Finds the processes of everything seen, in one walk over `/proc`.
    pub fn finish(self) -> Older {
        let (holders, by_inode) = holders(self.sockets.iter().map(|(_, seen)| seen.inode).collect());
        let mut older = Older { holders, ..Older::default() };
        let holder = |seen: &Seen| by_inode.get(&seen.inode).copied().unwrap_or(NOBODY);
        for (netns, seen) in self.sockets.iter().filter(|(_, seen)| seen.is_listener()) {
            let listener = Listener { netns: *netns, at: seen.local, holder: holder(seen) };
            older.listeners.entry((seen.protocol, seen.local.port())).or_default().push(listener);
        }
        for (netns, seen) in &self.sockets {
            let accepted = older.listener(netns.inode, seen.protocol, seen.local).is_some();
            let initiator = if accepted { Initiator::Remote } else { Initiator::Unknown };
            let socket = OlderSocket { holder: holder(seen), initiator };
            if seen.cookie != 0 {
                older.by_cookie.insert(seen.cookie, socket);
            } else if seen.remote.port() != 0 {
                older.by_addresses.insert((seen.protocol, seen.local, seen.remote), socket);
            }
        }
        older
    }
}

/// The processes that have one of these sockets open, and which of them by inode. Of several processes that share a
/// socket the oldest counts: it most likely made it.
fn holders(inodes: HashSet<u32>) -> (Vec<Holder>, HashMap<u32, u32>) {
    let mut holders: Vec<Holder> = Vec::new();
    let mut by_inode: HashMap<u32, u32> = HashMap::new();
    for pid in procfs::pids() {
        let mut own = None;
        for inode in procfs::socket_inodes(pid) {
            let Some(inode) = u32::try_from(inode).ok().filter(|inode| inodes.contains(inode)) else {
                continue;
            };
            let own = *own.get_or_insert_with(|| {
                let status = procfs::status(pid)?;
                let comm = procfs::command_name(pid)?;
                holders.push(Holder { pid, start_boot_ns: status.start_boot_ns, comm });
                u32::try_from(holders.len() - 1).ok()
            });
            let Some(own) = own else { break };
            let start = |holder: u32| holders[holder as usize].start_boot_ns;
            by_inode
                .entry(inode)
                .and_modify(|other| {
                    if start(own) < start(*other) {
                        *other = own;
                    }
                })
                .or_insert(own);
        }
    }
    (holders, by_inode)
}

impl Older {
    /// Sockets known.
    pub fn len(&self) -> usize {
        self.by_cookie.len() + self.by_addresses.len()
    }

    /// Whether there were none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this socket is older than the agent.
    pub fn find(
        &self,
        cookie: u64,
        protocol: Protocol,
        (local, remote): (SocketAddr, SocketAddr),
    ) -> Option<OlderSocket> {
        let by_addresses = || self.by_addresses.get(&(protocol, local, remote));
        self.by_cookie.get(&cookie).or_else(by_addresses).copied()
    }

    /// The process that had it open.
    pub fn holder(&self, socket: OlderSocket) -> Option<&Holder> {
        self.holders.get(socket.holder as usize)
    }

    /// The listener that a connection at `local` was accepted from, if one was there at the start. The most specific
    /// address counts. Nothing where namespaces are not told apart and several have one.
    pub fn listener(&self, netns: u64, protocol: Protocol, local: SocketAddr) -> Option<OlderSocket> {
        let rank = |listener: &Listener| {
            let address = listener.at.ip();
            if address == local.ip() {
                Some(0)
            } else if !address.is_unspecified() || (address.is_ipv4() && local.is_ipv6()) {
                None
            } else {
                Some(if address.is_ipv4() == local.is_ipv4() { 1 } else { 2 })
            }
        };
        let (mut best, mut best_rank, mut unsure) = (None::<&Listener>, u8::MAX, false);
        for listener in self.listeners.get(&(protocol, local.port()))? {
            if !listener.netns.may_be(netns) {
                continue;
            }
            let Some(rank) = rank(listener) else { continue };
            unsure |= best.is_some_and(|best| best.netns != listener.netns);
            if rank < best_rank {
                (best, best_rank) = (Some(listener), rank);
            }
        }
        let holder = if unsure { NOBODY } else { best?.holder };
        Some(OlderSocket { holder, initiator: Initiator::Remote })
    }

    /// The socket is gone.
    pub fn forget(&mut self, cookie: u64) {
        self.by_cookie.remove(&cookie);
    }

    /// The process is gone, or another one has its number.
    pub fn forget_holder(&mut self, socket: OlderSocket) {
        if let Some(holder) = self.holders.get_mut(socket.holder as usize) {
            holder.pid = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    fn scan() -> Older {
        let mut scan = Scan::new(true);
        scan.look(|| None);
        scan.look(|| None);
        scan.finish()
    }

    fn cookie_of(older: &Older, local: SocketAddr) -> (u64, OlderSocket) {
        let mut cookie = None;
        diag::dump(Protocol::UDP, &mut |seen| {
            if seen.local == local {
                cookie = Some(seen.cookie);
            }
        })
        .expect("sock_diag");
        let cookie = cookie.expect("is there");
        (cookie, older.find(cookie, Protocol::UDP, (local, local)).expect("known by its cookie"))
    }

    #[test]
    fn an_unconnected_socket_is_found_by_its_cookie_and_forgotten_by_it() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let mut older = scan();
        let (cookie, found) = cookie_of(&older, socket.local_addr().expect("address"));
        assert_eq!(older.holder(found).expect("a process").pid, std::process::id());
        older.forget(cookie);
        let any = "0.0.0.0:0".parse().expect("address");
        assert_eq!(older.find(cookie, Protocol::UDP, (any, any)), None);
    }

    #[test]
    fn a_connection_that_was_accepted_was_opened_by_the_other_side() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let at = listener.local_addr().expect("address");
        let client = TcpStream::connect(at).expect("connect");
        let server = listener.accept().expect("accept").0;
        let older = scan();
        let initiator = |stream: &TcpStream| {
            let ends = (stream.local_addr().expect("address"), stream.peer_addr().expect("address"));
            let mut cookie = 0;
            diag::dump(Protocol::TCP, &mut |seen| {
                if (seen.local, seen.remote) == ends {
                    cookie = seen.cookie;
                }
            })
            .expect("sock_diag");
            older.find(cookie, Protocol::TCP, ends).expect("known").initiator
        };
        assert_eq!((initiator(&server), initiator(&client)), (Initiator::Remote, Initiator::Unknown));
        let found = older.listener(0, Protocol::TCP, at).expect("the listener");
        assert_eq!(older.holder(found).expect("a process").pid, std::process::id());
        assert_eq!(older.listener(0, Protocol::UDP, at), None);
    }

    fn with_listeners(listeners: &[(u64, &str, u32)]) -> Older {
        let mut older = Older::default();
        for (netns, at, holder) in listeners {
            let at: SocketAddr = at.parse().expect("address");
            let netns = Namespace { cookie: *netns, inode: *netns + 1_000 };
            let listener = Listener { netns, at, holder: *holder };
            older.listeners.entry((Protocol::TCP, at.port())).or_default().push(listener);
        }
        older
    }

    #[track_caller]
    fn check(older: &Older, netns: u64, local: &str, holder: Option<u32>) {
        let found = older.listener(netns, Protocol::TCP, local.parse().expect("address"));
        assert_eq!(found.map(|found| found.holder), holder, "{local} in {netns}");
    }

    #[test]
    fn the_most_specific_listener_counts() {
        let older = with_listeners(&[(7, "0.0.0.0:80", 1), (7, "192.0.2.1:80", 2), (7, "[::]:80", 3)]);
        check(&older, 7, "192.0.2.1:80", Some(2));
        check(&older, 7, "192.0.2.2:80", Some(1));
        check(&older, 7, "[2001:db8::1]:80", Some(3));
        check(&older, 7, "192.0.2.1:81", None);
        check(&with_listeners(&[(7, "[::]:80", 3)]), 7, "192.0.2.1:80", Some(3));
        check(&with_listeners(&[(7, "0.0.0.0:80", 3)]), 7, "[2001:db8::1]:80", None);
    }

    #[test]
    fn listeners_of_other_namespaces_are_others() {
        let older = with_listeners(&[(7, "0.0.0.0:80", 1), (8, "0.0.0.0:80", 2)]);
        check(&older, 7, "192.0.2.1:80", Some(1));
        check(&older, 8, "192.0.2.1:80", Some(2));
        check(&older, 1_008, "192.0.2.1:80", Some(2));
        check(&older, 9, "192.0.2.1:80", None);
        // The kernel does not tell: one of them, but which?
        check(&older, 0, "192.0.2.1:80", Some(NOBODY));
    }
}
