//! How each path is played.

pub(crate) mod cgroup;
pub(crate) mod packet;
pub(crate) mod raw;
pub(crate) mod route;
pub(crate) mod service;
pub(crate) mod stacked;
pub(crate) mod tcp;
pub(crate) mod transit;
pub(crate) mod tunnel;
pub(crate) mod udp;

use std::net::SocketAddr;

use anyhow::Result;
use homeport_tests::{
    actor::Impossible,
    lab::{Family, Host},
};

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

/// The outcome of commands that fail only where the kernel has not got what they ask for.
fn possible(outcome: Result<()>) -> Result<()> {
    outcome.map_err(|error| Impossible(said(&error)).into())
}

/// What a program complained about, without its command line.
fn said(error: &anyhow::Error) -> String {
    let text = error.root_cause().to_string();
    text.rsplit_once("exit status: ").map_or(text.clone(), |(_, rest)| {
        rest.trim_start_matches(|letter: char| letter.is_ascii_digit() || ": ".contains(letter)).to_owned()
    })
}
