//! What `homeport flows --json` prints, as far as the tests look at it.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::{
    actor::Sent,
    lab::{ETHERNET_HEADER_BYTES, Nic},
};

/// The document.
#[derive(Clone, Debug, Deserialize)]
pub struct Flows {
    /// Its version.
    pub schema: u32,
    /// One row per flow.
    pub flows: Vec<Flow>,
    /// Flows in the table, shown or not.
    pub rows: u64,
    /// What became of flows.
    pub table: Table,
    /// What left since the start, by verdict among others.
    pub classes: Vec<Class>,
    /// Bytes of flows that found no row.
    pub overflow: Vec<Volume>,
    /// Bytes of flows that have left the table.
    pub retired: Volume,
    /// Everything that left sockets of this host, or left without one.
    pub totals: Volume,
    /// What the kernel side could not count, by cause.
    pub losses: Vec<Loss>,
    /// The edge.
    pub interfaces: Vec<Interface>,
    /// Frames of local sockets at the edge against bytes with an owner.
    pub attribution: Attribution,
    /// The kernel's counters in use.
    pub slots: Slots,
    /// How long sweeps take.
    pub sweep: Sweep,
    /// What does not do what it promises.
    pub degraded: Vec<Condition>,
    /// The ledger, if there is one.
    pub ledger: Option<Ledger>,
}

/// A part that does not do what it promises.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Condition {
    pub part: String,
    pub reason: String,
}

/// The ledger.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Ledger {
    pub size: u64,
    pub first: u64,
    pub bytes: u64,
    pub checkpoint_size: u64,
}

/// Bytes of one place, verdict and class of owner.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Class {
    pub location: String,
    pub verdict: String,
    pub wire_bytes: u64,
}

/// What became of flows since the start.
#[derive(Clone, Copy, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Table {
    pub added: u64,
    pub retired: u64,
    pub evicted: u64,
    pub overflowed_readings: u64,
}

/// The kernel's counters.
#[derive(Clone, Copy, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Slots {
    pub in_use: u32,
    pub capacity: u32,
}

/// How long the last sweep took, and the longest one; of it, reading the kernel's counters.
#[derive(Clone, Copy, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Sweep {
    pub last: SweepTime,
    pub longest: SweepTime,
    pub read_last: SweepTime,
    pub read_longest: SweepTime,
}

/// Microseconds on the clock, and on a processor.
#[derive(Clone, Copy, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct SweepTime {
    pub wall_us: u64,
    pub processor_us: u64,
}

/// One cause of loss.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Loss {
    pub cause: String,
    pub events: u64,
    pub bytes: u64,
}

/// Bytes and packets.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Volume {
    /// Layer 3 bytes on the wire.
    pub wire_bytes: u64,
    /// Layer 4 payload.
    pub payload_bytes: u64,
    /// Packets on the wire.
    pub packets: u64,
}

/// One flow.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names say it, and `homeport::flow` documents them")]
pub struct Flow {
    pub owner: Owner,
    pub remote: IpAddr,
    pub protocol: String,
    pub service_port: u16,
    pub initiator: String,
    pub sensor: String,
    pub location: String,
    pub country: Option<String>,
    pub verdict: String,
    pub rule: Option<String>,
    pub wire_bytes: u64,
    pub payload_bytes: u64,
    pub packets: u64,
    pub control_bytes: u64,
    pub pre_existing: bool,
}

/// Who sends.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct Owner {
    pub label: String,
    pub kind: String,
    pub pid: Option<u32>,
    pub exe: Option<String>,
    pub quality: String,
}

/// A network card.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct Interface {
    pub name: String,
    pub socket: Frames,
    pub forwarded: Frames,
    pub packet: Frames,
    pub tunnel: Frames,
    /// See there.
    pub time_wait: Frames,
    pub non_ip: Frames,
    pub folded: Frames,
    pub balance: Option<Balance>,
}

/// The card minus the agent, and what explains it.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct Balance {
    pub residual_bytes: i64,
    pub residual_frames: i64,
    pub buffers_bytes: i64,
    pub dropped_bytes: i64,
    pub dropped_packets: u64,
    pub unexplained_bytes: i64,
    pub unexplained_frames: i64,
    pub counting: Option<String>,
}

/// The second identity, in bytes of layer 3.
#[derive(Clone, Copy, Debug, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct Attribution {
    pub socket: u64,
    pub owned: u64,
    pub unnamed: u64,
    pub stayed: u64,
    pub rest: i64,
}

/// Frames of one class, link headers included.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Frames {
    /// Bytes.
    pub bytes: u64,
    /// Frames.
    pub frames: u64,
}

impl Flow {
    fn is_row_of(&self, other: &Self) -> bool {
        let key = |flow: &Self| (flow.remote, flow.service_port, flow.owner.pid);
        let words = |flow: &'_ Self| {
            [&flow.owner.label, &flow.owner.quality, &flow.protocol, &flow.initiator, &flow.sensor]
                .map(String::clone)
        };
        key(self) == key(other) && words(self) == words(other)
    }
}

impl From<Frames> for Nic {
    fn from(frames: Frames) -> Self {
        Self { bytes: frames.bytes, packets: frames.frames, dropped: 0 }
    }
}

impl Interface {
    /// All classes together.
    pub fn all(&self) -> Frames {
        [self.socket, self.forwarded, self.packet, self.tunnel, self.time_wait, self.non_ip].iter().fold(
            Frames::default(),
            |sum, part| Frames { bytes: sum.bytes + part.bytes, frames: sum.frames + part.frames },
        )
    }
}

impl Flows {
    /// Reads the document.
    ///
    /// # Errors
    ///
    /// When it has another shape.
    pub fn parse(text: &str) -> Result<Self> {
        let flows: Self = serde_json::from_str(text).with_context(|| format!("flows --json: {text}"))?;
        ensure!(flows.schema == 1, "schema {}", flows.schema);
        Ok(flows)
    }

    /// Layer 3 bytes of everything the agent has accounted for: flows, and frames that are not IP.
    pub fn accounted_bytes(&self) -> u64 {
        let non_ip = self.interfaces.iter().map(|interface| interface.non_ip);
        let non_ip: u64 = non_ip.map(|frames| frames.bytes - frames.frames * ETHERNET_HEADER_BYTES).sum();
        self.totals.wire_bytes + non_ip
    }

    /// Frames and bytes that the agent saw leave its interfaces.
    pub fn frames(&self) -> Frames {
        self.interfaces.iter().map(Interface::all).fold(Frames::default(), |sum, part| Frames {
            bytes: sum.bytes + part.bytes,
            frames: sum.frames + part.frames,
        })
    }

    /// Rows, overflow and what has left the table are the total.
    ///
    /// # Errors
    ///
    /// When they are not.
    pub fn check_sum(&self) -> Result<()> {
        // What enters a tunnel is told; what leaves the host is the outer packet.
        let counted = self.flows.iter().filter(|flow| flow.sensor != "tunnel");
        let rows: u64 = counted.map(|flow| flow.wire_bytes).sum();
        let overflow: u64 = self.overflow.iter().map(|part| part.wire_bytes).sum();
        let retired = self.retired.wire_bytes;
        ensure!(
            rows + overflow + retired == self.totals.wire_bytes,
            "rows {rows} + overflow {overflow} + retired {retired} != total {}",
            self.totals.wire_bytes
        );
        Ok(())
    }

    /// What each flow has carried since `earlier`; those that carried nothing are left out.
    pub fn since(&self, earlier: &Self) -> Vec<Flow> {
        let difference = |flow: &Flow| {
            let mut flow = flow.clone();
            // A row that is smaller than before has left the table and come again.
            if let Some(before) = earlier.flows.iter().find(|before| before.is_row_of(&flow))
                && before.wire_bytes <= flow.wire_bytes
            {
                flow.wire_bytes -= before.wire_bytes;
                flow.payload_bytes -= before.payload_bytes;
                flow.packets -= before.packets;
            }
            flow
        };
        self.flows.iter().map(difference).filter(|flow| flow.wire_bytes > 0).collect()
    }

    /// Nothing was lost.
    ///
    /// # Errors
    ///
    /// With what was.
    pub fn check_no_loss(&self) -> Result<()> {
        // What other families than IP take is a matter of its own, and of the machine that the tests run on.
        let lost: Vec<&Loss> =
            self.losses.iter().filter(|loss| loss.events > 0 && loss.cause != "other-sockets").collect();
        ensure!(lost.is_empty(), "lost: {lost:?}");
        Ok(())
    }

    /// Flows with data to an address.
    pub fn with_data_to(&self, remote: IpAddr) -> impl Iterator<Item = &Flow> {
        self.flows.iter().filter(move |flow| flow.remote == remote && flow.payload_bytes > 0)
    }

    /// One process sent exactly this to an address, and nobody else sent data there.
    ///
    /// `resent` are payload bytes that left once more; at most so many are added.
    ///
    /// # Errors
    ///
    /// With what was seen instead.
    pub fn check_only_sender(
        &self,
        remote: IpAddr,
        protocol: &str,
        sent: Sent,
        resent: u64,
    ) -> Result<&Flow> {
        let seen: Vec<&Flow> = self.with_data_to(remote).collect();
        ensure!(seen.len() == 1, "one flow with data to {remote} expected, seen: {seen:#?}");
        self.check_sender(remote, protocol, sent, resent)
    }

    /// One process sent exactly this to an address; others may have sent there, too.
    ///
    /// # Errors
    ///
    /// With what was seen instead.
    pub fn check_sender(&self, remote: IpAddr, protocol: &str, sent: Sent, resent: u64) -> Result<&Flow> {
        let flow = self
            .with_data_to(remote)
            .find(|flow| flow.protocol == protocol && flow.owner.pid == Some(sent.pid))
            .with_context(|| {
                let seen: Vec<&Flow> = self.with_data_to(remote).collect();
                format!("no {protocol} flow of process {} to {remote}, seen: {seen:#?}", sent.pid)
            })?;
        let payload = flow.payload_bytes;
        ensure!(
            payload >= sent.bytes && payload <= sent.bytes + resent,
            "{} bytes sent (at most {resent} again), {payload} counted: {flow:#?}",
            sent.bytes
        );
        Ok(flow)
    }
}
