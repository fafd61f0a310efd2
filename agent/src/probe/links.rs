//! Interfaces of the agent's network namespace, as rtnetlink tells them: a list, and a bell that rings on changes.

use std::{collections::HashMap, io, net::IpAddr};

use futures_util::{StreamExt as _, TryStreamExt as _};
use netlink_packet_route::{
    address::AddressAttribute,
    link::{LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage},
    tc::{TcAttribute, TcHandle, TcStats2},
};
use rtnetlink::MulticastGroup;
use tokio::sync::mpsc;

use super::{
    edge::{self, Link},
    sessions,
};
use crate::reconcile::Queue;

/// Longest buffer where the kernel does not say (IFLA_GSO_MAX_SIZE; what it says may be more).
const DEFAULT_BUFFER: u32 = 65_536;

/// A connection to rtnetlink.
#[derive(Debug)]
pub struct Links {
    handle: rtnetlink::Handle,
    changes: mpsc::Receiver<()>,
}

impl Links {
    /// Connects. Needs a running tokio runtime, which serves the connection from then on.
    ///
    /// # Errors
    ///
    /// When the netlink socket cannot be opened.
    pub fn connect() -> io::Result<Self> {
        let (connection, handle, mut messages) = rtnetlink::new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
        ])?;
        tokio::spawn(connection);
        // One place: a bell that has not been answered need not ring twice.
        let (bell, changes) = mpsc::channel(1);
        tokio::spawn(async move {
            while messages.next().await.is_some() {
                if let Err(mpsc::error::TrySendError::Closed(())) = bell.try_send(()) {
                    break;
                }
            }
        });
        Ok(Self { handle, changes })
    }

    /// Waits until an interface or address came, went or changed.
    pub async fn changed(&mut self) {
        if self.changes.recv().await.is_none() {
            // The connection ended; the sweep goes on listing interfaces each second.
            std::future::pending::<()>().await;
        }
    }

    /// All interfaces, with addresses and counters.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the request.
    pub async fn list(&self) -> Result<Vec<Link>, rtnetlink::Error> {
        let mut addresses: HashMap<u32, Vec<IpAddr>> = HashMap::new();
        let mut stream = std::pin::pin!(self.handle.address().get().execute());
        while let Some(message) = stream.try_next().await? {
            for attribute in message.attributes {
                if let AddressAttribute::Address(address) = attribute {
                    addresses.entry(message.header.index).or_default().push(address);
                }
            }
        }
        let mut links = Vec::new();
        let mut stream = std::pin::pin!(self.handle.link().get().execute());
        while let Some(message) = stream.try_next().await? {
            links.push(link(message, &mut addresses));
        }
        let kinds: HashMap<u32, String> =
            links.iter().map(|link: &Link| (link.index, link.kind.clone())).collect();
        for link in &mut links {
            link.controller_kind = link.controller.and_then(|index| kinds.get(&index).cloned());
        }
        sessions::mark(&mut links);
        let conduits: Vec<u32> =
            links.iter().filter(|link| link.kind == "dsa").filter_map(|link| link.lower).collect();
        for link in &mut links {
            link.serves_switch = conduits.contains(&link.index);
        }
        edge::mark_used(&mut links);
        Ok(links)
    }
}

impl Links {
    /// All interfaces with their counters, without addresses: one request, so that little is sent meanwhile.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the request.
    pub async fn counters(&self) -> Result<Vec<Link>, rtnetlink::Error> {
        let mut links = Vec::new();
        let mut stream = std::pin::pin!(self.handle.link().get().execute());
        while let Some(message) = stream.try_next().await? {
            links.push(link(message, &mut HashMap::new()));
        }
        Ok(links)
    }

    /// The queues in front of the interfaces, by interface.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the request.
    pub async fn queues(&self) -> Result<HashMap<u32, Queue>, rtnetlink::Error> {
        let mut queues = HashMap::new();
        let mut stream = std::pin::pin!(self.handle.qdisc().get().execute());
        while let Some(message) = stream.try_next().await? {
            // The one at the root answers for all below it; clsact and ingress are no queues.
            if message.header.parent == TcHandle::ROOT
                && let Ok(index) = u32::try_from(message.header.index)
                && let Some(queue) = message.attributes.iter().find_map(queue)
            {
                queues.insert(index, queue);
            }
        }
        Ok(queues)
    }
}

fn queue(attribute: &TcAttribute) -> Option<Queue> {
    let TcAttribute::Stats2(stats) = attribute else { return None };
    stats.iter().find_map(|stats| match stats {
        TcStats2::Queue(queue) => {
            Some(Queue { backlog_bytes: queue.backlog.into(), dropped: queue.drops.into() })
        }
        _ => None,
    })
}

fn link(message: LinkMessage, addresses: &mut HashMap<u32, Vec<IpAddr>>) -> Link {
    let header = &message.header;
    let mut link = Link {
        index: header.index,
        name: String::new(),
        kind: String::new(),
        ethernet: header.link_layer_type == LinkLayerType::Ether,
        loopback: header.flags.contains(LinkFlags::Loopback),
        up: header.flags.contains(LinkFlags::Up),
        mtu: 0,
        buffer: DEFAULT_BUFFER,
        controller: None,
        controller_kind: None,
        lower: None,
        session: None,
        parent: None,
        serves_switch: false,
        is_used: false,
        addresses: addresses.remove(&header.index).unwrap_or_default(),
        tx_bytes: 0,
        tx_packets: 0,
        tx_dropped: 0,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::GsoMaxSize(bytes) => link.buffer = link.buffer.max(bytes),
            LinkAttribute::Link(index) => link.lower = (index != 0).then_some(index),
            LinkAttribute::ParentDevName(name) => link.parent = Some(name),
            LinkAttribute::Controller(index) => link.controller = (index != 0).then_some(index),
            LinkAttribute::Stats64(stats) => {
                link.tx_bytes = stats.tx_bytes;
                link.tx_packets = stats.tx_packets;
                link.tx_dropped = stats.tx_dropped;
            }
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    if let LinkInfo::Kind(kind) = info {
                        link.kind = kind.to_string();
                    }
                }
            }
            _ => {}
        }
    }
    link
}
