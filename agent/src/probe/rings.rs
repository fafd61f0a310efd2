//! Events of the programs, as they come.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use homeport_ebpf::event::{FlowEvent, HostEvent};
use tokio::io::unix::AsyncFd;

use super::{Probe, sys};

impl Probe {
    /// Becomes readable when there are flow events.
    ///
    /// # Errors
    ///
    /// When the descriptor cannot be watched.
    pub fn watch_flow_events(&self) -> io::Result<AsyncFd<OwnedFd>> {
        sys::watch(self.flow_event_fd().try_clone_to_owned()?)
    }

    /// The same for those who wait without a runtime.
    pub fn flow_event_fd(&self) -> BorrowedFd<'_> {
        self.flow_events.as_fd()
    }

    /// Becomes readable when there are host events.
    ///
    /// # Errors
    ///
    /// When the descriptor cannot be watched.
    pub fn watch_host_events(&self) -> io::Result<AsyncFd<OwnedFd>> {
        sys::watch(self.host_events.as_fd().try_clone_to_owned()?)
    }

    /// Takes the next flow event.
    pub fn next_flow_event(&mut self) -> Option<FlowEvent> {
        loop {
            let item = self.flow_events.next()?;
            if let Some(event) = sys::from_bytes(&item) {
                return Some(event);
            }
        }
    }

    /// Takes the next host event.
    pub fn next_host_event(&mut self) -> Option<HostEvent> {
        loop {
            let item = self.host_events.next()?;
            if let Some(event) = sys::from_bytes(&item) {
                return Some(event);
            }
        }
    }
}
