//! Interfaces of the agent's network namespace, as rtnetlink tells them: a list, and a bell that rings on changes.

use std::{collections::HashMap, io, net::IpAddr};

use futures_util::{StreamExt as _, TryStreamExt as _};
use netlink_packet_route::{
    address::AddressAttribute,
    link::{LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage},
};
use rtnetlink::MulticastGroup;
use tokio::sync::mpsc;

use super::edge::Link;

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
        Ok(links)
    }
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
        controller: None,
        controller_kind: None,
        addresses: addresses.remove(&header.index).unwrap_or_default(),
        tx_bytes: 0,
        tx_packets: 0,
        tx_dropped: 0,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
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
