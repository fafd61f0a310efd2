//! Destinations that every policy approves for everybody: the programs tell nothing of them.

use std::{io, net::IpAddr};

use super::{Probe, address_bytes, load::map_fd, sys};

/// Key of the map.
#[repr(C)]
#[derive(Clone, Copy)]
struct KnownKey([u8; 16]);

// SAFETY: sixteen bytes.
unsafe impl homeport_ebpf::Plain for KnownKey {}

impl Probe {
    /// Every policy approves this destination for everyone: no events for it until the next change.
    pub fn know(&self, remote: IpAddr) {
        let result = map_fd(&self.ebpf, "KNOWN")
            .map(|map| sys::update(map, &KnownKey(address_bytes(remote)), &self.known_generation));
        if let Err(error) | Ok(Err(error)) = result.map_err(|error| io::Error::other(error.to_string())) {
            tracing::debug!(%error, "remembering an approved destination");
        }
    }

    /// Policy or databases changed: nothing is known any more.
    pub fn forget_known(&mut self) {
        self.known_generation = self.live.next_known_generation();
    }
}
