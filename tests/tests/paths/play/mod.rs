//! How each path is played.

pub(crate) mod packet;
pub(crate) mod raw;
pub(crate) mod tcp;
pub(crate) mod transit;
pub(crate) mod udp;

use std::net::SocketAddr;

use homeport_tests::lab::{Family, Host};

/// Where receivers abroad listen.
const SINK_PORT: u16 = 9000;
/// Where servers on the storage host listen.
const SERVER_PORT: u16 = 8080;

fn sink_at(family: Family) -> SocketAddr {
    (Host::Foreign.address(family), SINK_PORT).into()
}

fn server_at(family: Family) -> SocketAddr {
    (Host::Storage.address(family), SERVER_PORT).into()
}
