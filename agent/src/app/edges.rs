//! The edge of the host: interface programs follow the interfaces as they come and go, and the counters of the
//! drivers are read beside our own.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use homeport_ebpf::aside::{FrameCount, InterfaceCount};
use serde::{Deserialize, Serialize};

use super::{App, coverage::LinkRow, destinations::Destinations};
use crate::{
    clock::{KernelTime, WallTime},
    coverage::findings::Subject,
    flow::Volume,
    probe::{
        edge::{self, Link},
        links::Links,
    },
    reconcile::{
        Amount, Discards, InterfaceLedger, Limits, Look, OwnersLedger, OwnersReport, Report, Sample, Seen,
        attribution::Attribution,
    },
};

/// One edge interface.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    pub(super) name: Arc<str>,
    pub(super) since: WallTime,
    /// The last time that its card was read.
    looked_at: KernelTime,
    /// It did not exist at this time, when we looked; none if it was there before us.
    appeared_after: Option<KernelTime>,
    /// Has Ethernet headers.
    ethernet: bool,
    /// Counters of the driver when we began, and at the last look.
    pub(super) nic_first: Counters,
    pub(super) nic: Counters,
    /// What tc counted.
    pub(super) seen: Seen,
    /// Both compared; none until both have been read together.
    pub(super) ledger: Option<InterfaceLedger>,
}

/// What the next agent must know of an interface to go on with its interval.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SavedEdge {
    pub(super) index: u32,
    pub(super) name: Arc<str>,
    since: WallTime,
    nic_first: Counters,
    pub(super) nic: Counters,
    /// What `tc` had counted; the rest is for the second identity of whoever goes on.
    #[serde(default)]
    seen: Option<Seen>,
    ledger: Option<InterfaceLedger>,
}

/// The same of all of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct SavedEdges {
    pub(super) edges: Vec<SavedEdge>,
    attribution: Attribution,
    attribution_at_minute: Attribution,
    #[serde(default)]
    owners: OwnersLedger,
    #[serde(default)]
    elsewhere_bytes: u64,
    #[serde(default)]
    discards_at_minute: Option<Discards>,
}

/// What a driver counts.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Counters {
    pub(super) bytes: u64,
    pub(super) packets: u64,
    pub(super) dropped: u64,
}

impl Counters {
    const fn of(link: &Link) -> Self {
        Self { bytes: link.tx_bytes, packets: link.tx_packets, dropped: link.tx_dropped }
    }

    /// What was counted since `earlier`; zero when the driver began again.
    pub(super) const fn since(self, earlier: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(earlier.bytes),
            packets: self.packets.saturating_sub(earlier.packets),
            dropped: self.dropped.saturating_sub(earlier.dropped),
        }
    }
}

/// The cells of the kernel side as terms.
fn seen(count: &InterfaceCount) -> Seen {
    let InterfaceCount { socket, forwarded, packet, tunnel, time_wait, non_ip, folded } = *count;
    let amount = |count: FrameCount| Amount::new(count.frame_bytes, count.frames);
    Seen {
        socket: amount(socket),
        forwarded: amount(forwarded),
        packet: amount(packet),
        tunnel: amount(tunnel),
        time_wait: amount(time_wait),
        non_ip: amount(non_ip),
        folded: amount(folded),
    }
}

const fn limits(link: &Link) -> Limits {
    /// Ethernet header with two tags.
    const LINK_HEADER: u32 = 22;
    Limits {
        frame: link.mtu.saturating_add(LINK_HEADER) as u64,
        buffer: link.buffer.saturating_add(LINK_HEADER) as u64,
    }
}

/// Bytes of layer 3 in frames of an interface.
const fn layer3_bytes(frames: Amount, ethernet: bool) -> u64 {
    /// Tags are not in the frame where `tc` sees it.
    const ETHERNET_HEADER: u64 = 14;
    let header = if ethernet { ETHERNET_HEADER } else { 0 };
    frames.bytes.saturating_sub(frames.frames.saturating_mul(header))
}

/// The end of an interval.
pub(super) struct EndOfMinute {
    pub(super) interfaces: Vec<Balanced>,
    pub(super) attribution: Attribution,
    /// What the kernel says it discarded.
    pub(super) discards: Option<Discards>,
    pub(super) owners: OwnersReport,
}

/// The end of an interval at one interface.
pub(super) struct Balanced {
    pub(super) name: Arc<str>,
    pub(super) report: Report,
    pub(super) n_resets: u64,
}

#[derive(Debug, Default)]
pub(super) struct Edges {
    attached: HashMap<u32, Edge>,
    refused: HashSet<u32>,
    mtus: HashMap<u32, u32>,
    own_addresses: HashSet<IpAddr>,
    /// What left without a socket of our own namespace.
    pub(super) destinations: Destinations,
    /// The second identity, since the start and at the end of the last interval.
    pub(super) attribution: Attribution,
    attribution_at_minute: Attribution,
    /// What is certain about it.
    pub(super) owners: OwnersLedger,
    /// Bytes that sockets in other network namespaces of this host sent.
    elsewhere_bytes: u64,
    discards_at_minute: Option<Discards>,
    /// Interfaces of the latest list, edge or not, with the reason.
    judged: Vec<(u32, String, &'static str)>,
    /// The same with a time at which each did not exist yet, when we looked; none if it was there before us.
    listed: HashMap<u32, Option<KernelTime>>,
    listed_at: Option<KernelTime>,
    /// Interfaces that send through an edge.
    above: HashSet<u32>,
    /// Interfaces that are no edge and send through none: what takes them goes to containers and virtual machines.
    inside: HashSet<u32>,
    /// Interfaces that put packets into other packets.
    wrapping: HashSet<u32>,
    /// Interfaces that send through one of those.
    above_tunnels: HashSet<u32>,
    /// Every interface that looks like an edge is watched.
    are_complete: bool,
    /// Edge interfaces that are gone, with the time of the last look at them.
    former: HashMap<Arc<str>, KernelTime>,
    /// Interfaces of an agent before this one, until they are attached.
    earlier: Vec<SavedEdge>,
    /// The last commit of that agent.
    last_committed: KernelTime,
}

/// Names of interfaces that are gone which are remembered.
const MAX_FORMER: usize = 1024;

impl Edges {
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Edge)> {
        self.attached.iter().map(|(index, edge)| (*index, edge))
    }

    /// What the next agent must know.
    pub(super) fn save(&self) -> SavedEdges {
        let attached = self.attached.iter().map(|(index, edge)| SavedEdge {
            index: *index,
            name: Arc::clone(&edge.name),
            since: edge.since,
            nic_first: edge.nic_first,
            nic: edge.nic,
            seen: Some(edge.seen),
            ledger: edge.ledger.clone(),
        });
        SavedEdges {
            edges: attached.chain(self.earlier.iter().cloned()).collect(),
            attribution: self.attribution,
            attribution_at_minute: self.attribution_at_minute,
            owners: self.owners.clone(),
            elsewhere_bytes: self.elsewhere_bytes,
            discards_at_minute: self.discards_at_minute,
        }
    }

    /// Goes on with what an agent before this one knew.
    pub(super) fn restore(&mut self, saved: SavedEdges, destinations: Destinations, committed: KernelTime) {
        self.earlier = saved.edges;
        self.last_committed = committed;
        self.attribution = saved.attribution;
        self.attribution_at_minute = saved.attribution_at_minute;
        self.owners = saved.owners;
        self.elsewhere_bytes = saved.elsewhere_bytes;
        self.discards_at_minute = saved.discards_at_minute;
        self.destinations = destinations;
    }

    /// Ends an interval: what is counted from here on belongs to the next.
    pub(super) fn end_minute(&mut self) -> EndOfMinute {
        let interfaces = self
            .attached
            .values_mut()
            .filter_map(|edge| {
                let ledger = edge.ledger.as_mut()?;
                let report = ledger.end_interval();
                Some(Balanced { name: Arc::clone(&edge.name), report, n_resets: ledger.n_resets() })
            })
            .collect();
        let attribution = self.attribution.since(&self.attribution_at_minute);
        self.attribution_at_minute = self.attribution;
        let discards = self.owners.discards();
        let discarded = discards.zip(self.discards_at_minute).map(|(now, before)| now.since(&before));
        self.discards_at_minute = discards;
        EndOfMinute { interfaces, attribution, discards: discarded, owners: self.owners.end_interval() }
    }

    /// Both sides of the second identity have been read; `tc` had seen `socket_before` before that.
    pub(super) fn look_at_owners(&mut self, socket_before: u64, discards: Option<Discards>) {
        self.owners.observe(&Look {
            socket_before,
            ledger: self.attribution.ledger_bytes(),
            socket_after: self.attribution.socket_bytes,
            elsewhere: self.elsewhere_bytes,
            discards,
        });
        self.discards_at_minute = self.discards_at_minute.or(discards);
        self.attribution.discarded_bytes = self.owners.discarded_bytes();
    }

    /// Remembers which interfaces there are.
    fn list(&mut self, links: &[Link], now: KernelTime) {
        let before = std::mem::take(&mut self.listed);
        let since = |index: &u32| before.get(index).copied().unwrap_or(self.listed_at);
        self.listed = links.iter().map(|link| (link.index, since(&link.index))).collect();
        self.listed_at = Some(now);
    }

    /// Every interface, with whether it counts and why.
    pub(super) fn link_rows(&self) -> Vec<LinkRow> {
        self.judged
            .iter()
            .map(|(index, name, reason)| {
                let edge = self.attached.get(index);
                let ledger = edge.and_then(|edge| edge.ledger.as_ref());
                LinkRow {
                    name: name.clone(),
                    index: *index,
                    edge: edge.is_some(),
                    why: (*reason).to_owned(),
                    unexplained_bytes: ledger.map(|ledger| ledger.cumulative().unexplained.bytes),
                }
            })
            .collect()
    }

    /// Nobody counted at an interface for a while: how much its card sent meanwhile.
    pub(super) fn settle_gap(&mut self, index: u32) -> Option<i64> {
        let ledger = self.attached.get_mut(&index)?.ledger.as_mut()?;
        Some(ledger.settle_gap().bytes)
    }

    /// The socket ledger has these bytes of a socket of our own namespace, which began at interface `ifindex`
    /// (zero: not known).
    pub(super) fn attributed(&mut self, ifindex: u32, wire_bytes: u64, has_owner: bool) {
        if ifindex != 0 && !self.attached.contains_key(&ifindex) && !self.above.contains(&ifindex) {
            return;
        }
        let sum =
            if has_owner { &mut self.attribution.owned_bytes } else { &mut self.attribution.unnamed_bytes };
        *sum = sum.saturating_add(wire_bytes);
    }

    /// Whether a socket with this address is in another network namespace, for kernels that do not tell: the
    /// address is none of ours.
    pub(super) fn is_elsewhere(&self, local: IpAddr) -> bool {
        !self.own_addresses.is_empty() && !local.is_unspecified() && !self.own_addresses.contains(&local)
    }

    /// Whether an interface of ours is no edge and sends through none. Not as long as there is no edge at all: then it
    /// was not found.
    pub(super) fn leads_nowhere(&self, ifindex: u32) -> bool {
        !self.attached.is_empty() && self.inside.contains(&ifindex)
    }

    /// Whether an interface of ours puts packets into other packets. One that the operator has named an edge is one.
    pub(super) fn wraps(&self, ifindex: u32) -> bool {
        self.wrapping.contains(&ifindex) && !self.attached.contains_key(&ifindex)
    }

    /// Whether an interface of ours sends through one that does: a bridge with the end of a tunnel.
    pub(super) fn leads_to_tunnel(&self, ifindex: u32) -> bool {
        self.above_tunnels.contains(&ifindex)
    }

    /// Whether a bridge of ours has the end of a tunnel.
    pub(super) fn has_bridged_tunnel(&self) -> bool {
        !self.above_tunnels.is_empty()
    }

    /// Whether every interface that looks like an edge is watched.
    pub(super) const fn are_complete(&self) -> bool {
        self.are_complete
    }

    /// Whether it is an address of our own namespace.
    pub(super) fn is_own(&self, address: IpAddr) -> bool {
        self.own_addresses.contains(&address)
    }

    /// Bytes between sockets of this host that did not leave it.
    pub(super) const fn stayed(&mut self, wire_bytes: u64) {
        self.attribution.stayed_bytes = self.attribution.stayed_bytes.saturating_add(wire_bytes);
    }

    /// A socket in another network namespace of this host sent this, or the kernel did for one.
    pub(super) fn attributed_elsewhere(&mut self, remote: IpAddr, volume: Volume) {
        self.elsewhere_bytes = self.elsewhere_bytes.saturating_add(volume.wire_bytes);
        self.destinations.sent_elsewhere(remote, volume);
    }
}

impl App {
    /// Attaches to edge interfaces that are new, and forgets those that are gone.
    pub(super) async fn follow_links(&mut self, connection: &Links) {
        let now = KernelTime::now();
        let links = match connection.list().await {
            Ok(links) => links,
            Err(error) => return self.degraded("interfaces", &format!("listing interfaces: {error}")),
        };
        self.edges.own_addresses = links.iter().flat_map(|link| link.addresses.iter().copied()).collect();
        let named = self.config.host.interfaces.clone();
        self.edges.list(&links, now);
        let missing: Vec<_> =
            named.iter().filter(|name| !links.iter().any(|link| link.name == **name)).cloned().collect();
        let mut failures = Vec::new();
        for link in &links {
            if self.edges.mtus.insert(link.index, link.mtu) != Some(link.mtu) {
                self.probe.set_mtu(link.index, link.mtu);
            }
            match edge::judge_among(link, &named) {
                Ok(reason) if !self.edges.attached.contains_key(&link.index) => {
                    match self.probe.attach_interface(link) {
                        Ok(()) => self.attached(link, reason),
                        Err(error) => failures.push(error.to_string()),
                    }
                }
                Ok(_) => self.called(link.index, &link.name),
                Err(reason) => {
                    if self.edges.refused.insert(link.index) {
                        tracing::debug!(interface = link.name, reason, "not an edge interface");
                    }
                }
            }
        }
        let gone: Vec<u32> = self
            .edges
            .attached
            .keys()
            .filter(|index| !links.iter().any(|link| link.index == **index))
            .copied()
            .collect();
        if !gone.is_empty() {
            self.edges.owners.begin_again();
        }
        for index in gone {
            self.probe.forget_interface(index);
            if let Some(edge) = self.edges.attached.remove(&index) {
                tracing::warn!(interface = &*edge.name, nic_bytes = edge.nic.bytes, "edge interface is gone");
                let transitions = self.findings.interface_gone(&edge.name);
                self.publish_coverage(transitions);
                if self.edges.former.len() < MAX_FORMER {
                    self.edges.former.insert(edge.name, edge.looked_at);
                }
            }
        }
        // The maps of the kernel side hold 1,024 interfaces, and container hosts make new ones all day.
        let exists = |index: &u32| links.iter().any(|link| link.index == *index);
        self.edges.refused.retain(exists);
        for index in self.edges.mtus.extract_if(|index, _| !exists(index)).map(|(index, _)| index) {
            self.probe.forget_mtu(index);
        }
        self.edges.judged = links
            .iter()
            .map(|link| {
                let (Ok(reason) | Err(reason)) = edge::judge_among(link, &named);
                (link.index, link.name.clone(), reason)
            })
            .collect();
        self.edges.above = edge::above(&links, &self.edges.attached.keys().copied().collect());
        self.edges.inside = links
            .iter()
            .filter(|link| edge::judge(link).is_err() && !self.edges.above.contains(&link.index))
            .map(|link| link.index)
            .filter(|index| !self.edges.attached.contains_key(index))
            .collect();
        self.edges.wrapping = links.iter().filter(|link| edge::wraps(link)).map(|link| link.index).collect();
        self.edges.above_tunnels = edge::above(&links, &self.edges.wrapping);
        self.edges.are_complete = links
            .iter()
            .all(|link| edge::judge(link).is_err() || self.edges.attached.contains_key(&link.index));
        self.doubt(&links);
        // Both sides of what is new, read together, as early as possible: from here on they are compared.
        if self.edges.attached.values().any(|edge| edge.ledger.is_none()) {
            self.count_links(connection).await;
        }
        let faults = missing
            .iter()
            .map(|name| format!("interface {name} of host.interfaces does not exist"))
            .chain(failures)
            .collect::<Vec<_>>();
        if !faults.is_empty() {
            self.degraded("interfaces", &faults.join("; "));
        } else if self.edges.attached.is_empty() {
            self.degraded("interfaces", "no edge interface: frames without a local socket are not seen");
        } else {
            self.recovered("interfaces");
        }
    }

    /// Tells of edges that may be none. One that the operator has named is none of these.
    fn doubt(&mut self, links: &[Link]) {
        let now = KernelTime::now();
        let tells_parents = links.iter().any(|link| link.parent.is_some());
        let mut transitions = Vec::new();
        for link in links.iter().filter(|link| self.edges.attached.contains_key(&link.index)) {
            let subject = Subject::Doubtful { interface: link.name.as_str().into() };
            let why = edge::doubt(link, tells_parents).filter(|_| self.config.host.interfaces.is_empty());
            transitions.extend(match why {
                Some(why) => self.findings.lost(subject, now, now, Some(why)),
                None => self.findings.repaired(&subject, now, None),
            });
        }
        self.publish_coverage(transitions);
    }

    fn attached(&mut self, link: &Link, reason: &str) {
        let counters = Counters::of(link);
        let earlier = self.edges.earlier.iter().position(|edge| {
            // An interface made anew counts from zero.
            edge.index == link.index && *edge.name == *link.name && edge.nic.bytes <= counters.bytes
        });
        let earlier = earlier.map(|idx| self.edges.earlier.swap_remove(idx));
        let seen = self.seen(link.index);
        let seen_earlier = earlier.as_ref().and_then(|edge| edge.seen).filter(|before| {
            // Cells of other maps begin at zero.
            before.socket.bytes <= seen.socket.bytes && before.socket.frames <= seen.socket.frames
        });
        if seen_earlier.is_none() {
            self.edges.owners.begin_again();
        }
        let mut appeared_after = self.edges.listed.get(&link.index).copied().flatten();
        if earlier.is_none()
            && let Some(idx) = self.edges.earlier.iter().position(|edge| *edge.name == *link.name)
        {
            // Made again while no agent was there: what left before now was seen by nobody but its card.
            let SavedEdge { name, .. } = self.edges.earlier.swap_remove(idx);
            self.edges.former.insert(name, self.edges.last_committed);
            appeared_after = Some(self.edges.last_committed);
        }
        tracing::info!(interface = link.name, index = link.index, reason, "counting frames at the edge");
        self.edges.attached.insert(
            link.index,
            Edge {
                name: link.name.as_str().into(),
                since: earlier.as_ref().map_or_else(WallTime::now, |edge| edge.since),
                looked_at: KernelTime::now(),
                appeared_after,
                ethernet: link.ethernet,
                nic_first: earlier.as_ref().map_or(counters, |edge| edge.nic_first),
                nic: counters,
                // What left while no agent was there is in the slots, too.
                seen: seen_earlier.unwrap_or(seen),
                ledger: earlier.and_then(|edge| edge.ledger),
            },
        );
    }

    fn seen(&self, index: u32) -> Seen {
        self.probe.interface_count(index).as_ref().map(seen).unwrap_or_default()
    }

    /// What `tc` has seen until now of frames that no socket of our own namespace sent as they are: forwarded, and the
    /// outside of tunnels. In bytes of layer 3.
    pub(super) fn outside_bytes(&self) -> u64 {
        let of_edges = self.edges.attached.iter().map(|(index, edge)| {
            let Seen { forwarded, tunnel, .. } = self.seen(*index);
            layer3_bytes(forwarded, edge.ethernet).saturating_add(layer3_bytes(tunnel, edge.ethernet))
        });
        of_edges.fold(0, u64::saturating_add)
    }

    /// What `tc` has seen of local sockets until now, in bytes of layer 3.
    pub(super) fn socket_bytes(&self) -> u64 {
        let since_read = self.edges.attached.iter().map(|(index, edge)| {
            layer3_bytes(self.seen(*index).socket.since(edge.seen.socket), edge.ethernet)
        });
        since_read.fold(self.edges.attribution.socket_bytes, u64::saturating_add)
    }

    /// Reads the drivers' counters and our own. False: they cannot be read now.
    ///
    /// In the direction that frames take, so that nothing is counted behind that was not seen before: our cells,
    /// the queues, the drivers, and our cells once more.
    pub(super) async fn count_links(&mut self, links: &Links) -> bool {
        let before: HashMap<u32, Seen> =
            self.edges.attached.keys().map(|index| (*index, self.seen(*index))).collect();
        // Without it, what waits and what was dropped is not known: more is reported, not less.
        let queues = links.queues().await.unwrap_or_default();
        let Ok(counters) = links.counters().await else { return false };
        let mut n_read = 0;
        for link in counters {
            let Some(seen_before) = before.get(&link.index) else { continue };
            let seen_after = self.seen(link.index);
            let Some(edge) = self.edges.attached.get_mut(&link.index) else { continue };
            n_read += 1;
            let sample = Sample {
                nic: Amount::new(link.tx_bytes, link.tx_packets),
                nic_dropped: link.tx_dropped,
                queue: queues.get(&link.index).copied(),
                seen_before: *seen_before,
                seen_after,
            };
            let mut before_us = None;
            match &mut edge.ledger {
                Some(ledger) => {
                    ledger.set_limits(limits(&link));
                    ledger.observe(&sample);
                }
                None => {
                    edge.ledger = Some(InterfaceLedger::new(limits(&link), &sample));
                    before_us = edge
                        .appeared_after
                        .map(|after| (after, InterfaceLedger::before_first(&sample).bytes));
                }
            }
            let socket = seen_after.socket.since(edge.seen.socket);
            let attribution = &mut self.edges.attribution;
            attribution.socket_bytes =
                attribution.socket_bytes.saturating_add(layer3_bytes(socket, edge.ethernet));
            edge.seen = seen_after;
            edge.nic = Counters::of(&link);
            edge.looked_at = KernelTime::now();
            if let Some((after, bytes)) = before_us {
                let name = Arc::clone(&edge.name);
                self.appeared(name, after, bytes);
            }
        }
        n_read == before.len()
    }

    /// An edge interface came into being while we watched. What left before we were attached is known by its card.
    fn appeared(&mut self, interface: Arc<str>, after: KernelTime, bytes: i64) {
        let former = self.edges.former.remove(&interface);
        if former.is_none() && bytes == 0 {
            return;
        }
        let now = KernelTime::now();
        let subject = Subject::Appeared { interface };
        let opened = self.findings.lost(subject.clone(), former.unwrap_or(after), now, None);
        let closed = self.findings.repaired(&subject, now, Some(bytes));
        self.publish_coverage(opened.into_iter().chain(closed));
    }

    /// An edge interface may have another name by now. Counting goes on: programs and cells go by its number.
    fn called(&mut self, index: u32, name: &str) {
        let Some(edge) = self.edges.attached.get_mut(&index) else { return };
        if *edge.name == *name {
            return;
        }
        let before = std::mem::replace(&mut edge.name, name.into());
        let interface = Arc::clone(&edge.name);
        self.probe.rename_interface(index, name);
        let mut transitions = self.findings.interface_gone(&before);
        let now = KernelTime::now();
        let subject = Subject::Renamed { interface, before };
        transitions.extend(self.findings.lost(subject.clone(), now, now, None));
        transitions.extend(self.findings.repaired(&subject, now, Some(0)));
        self.publish_coverage(transitions);
    }
}
