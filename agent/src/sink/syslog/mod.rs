//! Syslog: RFC 5424 messages in datagrams (RFC 5426), on TCP (RFC 6587, octet counting) or on TLS (RFC 5425).
//!
//! Syslog has no answer. What takes its place:
//!
//! - **TCP, TLS**: every batch has a connection of its own. After the last message we close our direction and wait until
//!   the receiver closes its own, and until its kernel has acknowledged every byte. A program that ends or is killed
//!   with unread messages makes its kernel reset the connection instead, so a close without a reset says that the
//!   program has read all of it. An acknowledgement alone would not: it says that the bytes reached the receiver's
//!   kernel, and with a kill they are gone.
//! - **UDP**: handed to our kernel, and no host said within the batch that nobody listens. Datagrams get lost: whoever
//!   needs every record takes another way.
//!
//! What the receiver does with a message it has read is between it and its disk.
//!
//! The crates that write RFC 5424 bring a blocking connection of their own that forgets what was under way when it
//! breaks, and none frames for TLS; the format itself is two pages, see `message`.

mod message;
mod stream;

use std::{io, net::SocketAddr, sync::Arc};

use rustls::ClientConfig;
use tokio::net::{TcpStream, UdpSocket, lookup_host};

use super::{
    appetite::Appetite,
    deliver::{Deliver, Outcome, Rejected},
    format::{Format, Speaker},
    settings::{SyslogSettings, Transport},
    tls,
};
use crate::ledger::Entry;

/// A syslog receiver.
pub(super) struct Syslog {
    settings: SyslogSettings,
    format: Format,
    speaker: Speaker,
    appetite: Appetite,
    /// Made with the first connection, and anew after a failure: certificates may have been renewed.
    tls: Option<Arc<ClientConfig>>,
}

impl Syslog {
    pub(super) const fn new(settings: SyslogSettings, format: Format, speaker: Speaker) -> Self {
        Self { settings, format, speaker, appetite: Appetite::new(), tls: None }
    }

    async fn hand_over(&mut self, messages: &[String]) -> io::Result<()> {
        // First: a receiver is not to see connections that end because of a file of ours.
        let config = match self.settings.transport {
            Transport::Tls => Some(self.config().await?),
            Transport::Tcp | Transport::Udp => None,
        };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let target = (self.settings.host.as_str(), self.settings.port);
        let addresses: Vec<SocketAddr> = lookup_host(target).await?.collect();
        for address in addresses {
            let outcome = match self.settings.transport {
                Transport::Udp => datagrams(address, messages).await,
                // Only a connection that did not come about may go elsewhere: otherwise messages were under way.
                Transport::Tcp | Transport::Tls => match TcpStream::connect(address).await {
                    Ok(stream) => return self.over(stream, config, messages).await,
                    Err(error) => Err(error),
                },
            };
            match outcome {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn over(
        &mut self,
        stream: TcpStream,
        config: Option<Arc<ClientConfig>>,
        messages: &[String],
    ) -> io::Result<()> {
        let frames: Vec<u8> =
            messages.iter().flat_map(|message| format!("{} {message}", message.len()).into_bytes()).collect();
        let Some(config) = config else { return stream::plain(stream, &frames).await };
        let outcome = stream::encrypted(stream, config, &self.settings.host, &frames).await;
        let outcome = outcome.map_err(|error| match is_not_tls(&error) {
            true => io::Error::new(
                error.kind(),
                "it does not speak TLS there: is the transport tcp, or the port another?",
            ),
            false => error,
        });
        if outcome.is_err() {
            self.tls = None;
        }
        outcome
    }

    async fn config(&mut self) -> io::Result<Arc<ClientConfig>> {
        if let Some(config) = &self.tls {
            return Ok(Arc::clone(config));
        }
        let settings = self.settings.tls.clone();
        let config =
            tokio::task::spawn_blocking(move || tls::client_config(&settings, tls::Use::Tls)).await?;
        Ok(Arc::clone(self.tls.insert(Arc::new(config.map_err(io::Error::other)?))))
    }
}

impl Deliver for Syslog {
    async fn deliver(&mut self, batch: &[Entry]) -> Outcome {
        let batch = self.appetite.begin(batch);
        let mut messages = Vec::with_capacity(batch.len());
        let mut rejected = Vec::new();
        for entry in batch {
            match message::message(&self.settings, self.format, &self.speaker, entry) {
                Ok(message) => messages.push(message),
                Err(error) => rejected.push(Rejected { index: entry.index, reason: error.to_string() }),
            }
        }
        if !messages.is_empty()
            && let Err(error) = self.hand_over(&messages).await
        {
            self.appetite.failed();
            return Outcome::Retry { reason: format!("{}: {error}", self.settings.host), after: None };
        }
        self.appetite.succeeded();
        Outcome::Taken { entries: batch.len(), rejected }
    }
}

/// Whoever answers an offer of TLS with something else speaks another protocol.
fn is_not_tls(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    matches!(error, Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)))
}

/// One message each. A host where nobody listens says so, to the datagram after it at the latest.
async fn datagrams(address: SocketAddr, messages: &[String]) -> io::Result<()> {
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    for message in messages {
        socket.send(message.as_bytes()).await?;
    }
    socket.take_error()?.map_or(Ok(()), Err)
}
