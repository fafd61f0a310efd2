//! Frames at edge interfaces: the programs there, their counters, and the MTUs that they need.

use std::io;

use homeport_ebpf::aside::InterfaceCount;

use super::{
    Probe, edge,
    error::ProbeError,
    load::map_fd,
    programs::{self, State},
    sys,
};

impl Probe {
    /// Counts frames at an interface from here on. Counting ends when the interface goes.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, with its reason.
    pub fn attach_interface(&mut self, link: &edge::Link) -> Result<(), ProbeError> {
        self.expect_interface(link.index)?;
        let name = if link.ethernet { "frames_ethernet" } else { "frames_raw" };
        let refused = |error: io::Error| ProbeError::Load(format!("tc egress at {}: {error}", link.name));
        let program = programs::program(name).ok_or_else(|| refused(io::ErrorKind::NotFound.into()))?;
        let place = (link.index, link.name.as_str());
        self.hooks.attach_interface(&mut self.ebpf, program, place, self.pins.as_ref()).map_err(refused)?;
        if let Some(status) = self.status.iter_mut().find(|status| status.program.name == name) {
            status.state = State::Attached;
        }
        Ok(())
    }

    /// Makes the counters of an interface, without which its frames are a loss.
    ///
    /// # Errors
    ///
    /// When there are too many interfaces.
    pub fn expect_interface(&self, ifindex: u32) -> Result<(), ProbeError> {
        if self.interface_cells(ifindex).is_some() {
            return Ok(());
        }
        let map = map_fd(&self.ebpf, "HIGH_INTERFACES")?;
        sys::update_per_cpu(map, &ifindex, InterfaceCount::default(), self.cpus)
            .map_err(|error| ProbeError::Map { map: "HIGH_INTERFACES", error })
    }

    /// Low indexes always have cells, in an array; others once [`Self::expect_interface`] made them.
    fn interface_cells(&self, ifindex: u32) -> Option<Vec<InterfaceCount>> {
        ["INTERFACES", "HIGH_INTERFACES"].into_iter().find_map(|name| {
            sys::lookup_per_cpu(map_fd(&self.ebpf, name).ok()?, &ifindex, self.cpus).ok().flatten()
        })
    }

    /// Tells the programs how long packets may be on an interface.
    pub fn set_mtu(&self, ifindex: u32, mtu: u32) {
        let result = map_fd(&self.ebpf, "MTUS").map(|map| sys::update(map, &ifindex, &mtu));
        if let Ok(Err(error)) = result {
            tracing::warn!(ifindex, mtu, %error, "fragments on this interface will be undercounted");
        }
    }

    /// The interface is gone.
    pub fn forget_mtu(&self, ifindex: u32) {
        self.forget("MTUS", ifindex);
    }

    /// The edge interface has another name.
    pub fn rename_interface(&mut self, ifindex: u32, name: &str) {
        self.hooks.rename_interface(ifindex, name);
    }

    /// The edge interface is gone, and nobody asks for its frames any more.
    pub fn forget_interface(&mut self, ifindex: u32) {
        self.hooks.forget_interface(ifindex);
        self.forget("HIGH_INTERFACES", ifindex);
    }

    fn forget(&self, map: &'static str, ifindex: u32) {
        let result = map_fd(&self.ebpf, map).map(|map| sys::delete(map, &ifindex));
        if let Ok(Err(error)) = result {
            tracing::debug!(ifindex, map, %error, "forgetting an interface");
        }
    }

    /// What tc saw leave an interface since it was attached, summed over processors.
    pub fn interface_count(&self, ifindex: u32) -> Option<InterfaceCount> {
        let mut sum = InterfaceCount::default();
        for cell in self.interface_cells(ifindex)? {
            for (total, part) in [
                (&mut sum.socket, cell.socket),
                (&mut sum.forwarded, cell.forwarded),
                (&mut sum.packet, cell.packet),
                (&mut sum.tunnel, cell.tunnel),
                (&mut sum.time_wait, cell.time_wait),
                (&mut sum.non_ip, cell.non_ip),
                (&mut sum.folded, cell.folded),
            ] {
                total.frame_bytes += part.frame_bytes;
                total.frames += part.frames;
            }
        }
        Some(sum)
    }
}
