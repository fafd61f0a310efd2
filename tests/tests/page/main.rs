//! The status page: its answers over raw sockets, itself in a real browser, and both with the real agent.
//!
//! `HOMEPORT_WRITE_DOCS=1 cargo test -p homeport-tests --test page screenshots` writes the images in `agent/docs/page`.

mod agent;
mod browser;
mod http;
mod prometheus;

use std::net::SocketAddr;

use homeport_tests::lab::{Family, Host};

/// Where receivers abroad listen.
fn sink_at(host: Host, family: Family) -> SocketAddr {
    (host.address(family), 9000).into()
}
