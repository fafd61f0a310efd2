//! What the control socket is told: a snapshot of the running agent, as versioned JSON.
//!
//! The loop only collects references; the text is made by the task that serves the client.

use std::{cmp::Reverse, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{
    App,
    coverage::CoverageSnapshot,
    edges::Edge,
    minute::CAUSES,
    overview::OverviewSnapshot,
    selftest::SelfTestView,
    status::StatusView,
    sweep_time::{SweepTime, SweepTimes},
};
use crate::{
    clock::{Clock, WallTime},
    flow::{
        Actor, FlowKey, Volume,
        class::{Class, OwnerClass, Tally},
        table::{Flow, TableCounters},
    },
    ledger,
    policy::Verdict,
    reconcile::{Amount, Discards, Explained, InterfaceLedger, attribution::Attribution},
};

/// Version of everything the control socket says.
pub const SCHEMA: u32 = 1;

/// A question of a client.
pub enum Query {
    /// The flow table, and what goes with it.
    Flows {
        /// Only so many flows, those with the most bytes.
        limit: Option<u32>,
        /// Where the answer goes.
        reply: oneshot::Sender<FlowsSnapshot>,
    },
    /// What is covered, and what not.
    Coverage(oneshot::Sender<CoverageSnapshot>),
    /// Policies, exceptions, sites, receivers, and what is being counted.
    Overview(oneshot::Sender<OverviewSnapshot>),
    /// One screen of everything.
    Status(oneshot::Sender<StatusView>),
    /// Send a datagram and see whether it comes out as a finding.
    SelfTest(oneshot::Sender<SelfTestView>),
}

/// The flow table at one moment, before it becomes text.
pub struct FlowsSnapshot {
    taken: WallTime,
    started: WallTime,
    clock: Clock,
    host: String,
    policy_hash: Arc<str>,
    flows: Vec<(FlowKey, Flow)>,
    rows: usize,
    counters: TableCounters,
    classes: Vec<(Class, Tally)>,
    overflow: Vec<(Class, Tally)>,
    retired: Tally,
    totals: Tally,
    losses: Vec<LossRow>,
    interfaces: Vec<(u32, Edge)>,
    attribution: Attribution,
    discards: Option<Discards>,
    slots: (u32, u32),
    sweeps: SweepTimes,
    conditions: Vec<(String, String)>,
    ledger: Option<ledger::Status>,
}

/// Answer to `flows`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct FlowsView {
    pub schema: u32,
    pub time: String,
    pub started: String,
    pub host: String,
    pub policy_hash: String,
    pub flows: Vec<FlowRow>,
    pub rows: u64,
    pub table: TableRow,
    pub classes: Vec<ClassRow>,
    pub overflow: Vec<ClassRow>,
    pub retired: VolumeRow,
    pub totals: VolumeRow,
    pub losses: Vec<LossRow>,
    pub interfaces: Vec<InterfaceRow>,
    pub attribution: AttributionRow,
    pub slots: SlotsRow,
    pub sweep: SweepRow,
    pub degraded: Vec<ConditionRow>,
    #[serde(default)]
    pub ledger: Option<LedgerRow>,
}

/// One flow.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct FlowRow {
    pub owner: OwnerRow,
    pub remote: String,
    pub remote_port: u16,
    pub local: Option<String>,
    pub local_port: u16,
    pub protocol: String,
    pub service_port: u16,
    pub initiator: String,
    pub sensor: String,
    pub location: String,
    pub country: Option<String>,
    pub verdict: String,
    pub rule: Option<String>,
    pub exception: Option<String>,
    pub policy: String,
    pub reason: String,
    #[serde(flatten)]
    pub volume: VolumeRow,
    pub control_bytes: u64,
    pub violating_bytes: u64,
    pub first_seen: String,
    pub last_seen: String,
    pub pre_existing: bool,
    pub closed: bool,
}

/// Who sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct OwnerRow {
    pub label: String,
    pub kind: String,
    pub pid: Option<u32>,
    pub start_boot_ns: Option<u64>,
    pub exe: Option<String>,
    pub command_line: Option<String>,
    pub uid: Option<u32>,
    pub user: Option<String>,
    pub login_uid: Option<u32>,
    pub unit: Option<String>,
    pub container: Option<String>,
    pub cgroup: Option<String>,
    pub quality: String,
}

/// Bytes and packets.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct VolumeRow {
    pub wire_bytes: u64,
    pub payload_bytes: u64,
    pub packets: u64,
}

/// Bytes of one class.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct ClassRow {
    pub location: String,
    pub country: Option<String>,
    pub verdict: String,
    pub owner_class: String,
    #[serde(flatten)]
    pub volume: VolumeRow,
}

/// A cause of loss, since the start.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct LossRow {
    pub cause: String,
    pub events: u64,
    pub bytes: u64,
}

/// An edge interface, since it was attached.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct InterfaceRow {
    pub name: String,
    pub index: u32,
    pub since: String,
    pub nic_tx_bytes: u64,
    pub nic_tx_packets: u64,
    pub nic_tx_dropped: u64,
    pub socket: FrameRow,
    pub forwarded: FrameRow,
    pub packet: FrameRow,
    pub tunnel: FrameRow,
    pub time_wait: FrameRow,
    pub non_ip: FrameRow,
    pub folded: FrameRow,
    pub balance: Option<BalanceRow>,
}

/// Card minus us, since both are compared, and what explains it. Signed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct BalanceRow {
    pub residual_bytes: i64,
    pub residual_frames: i64,
    pub buffers_bytes: i64,
    pub framing_bytes: i64,
    pub dropped_bytes: i64,
    pub dropped_packets: u64,
    pub unexplained_bytes: i64,
    pub unexplained_frames: i64,
    pub counting: Option<String>,
    pub counter_resets: u64,
}

/// What local sockets sent over the edge, against what has an owner: bytes of layer 3.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct AttributionRow {
    pub socket: u64,
    pub owned: u64,
    pub unnamed: u64,
    #[serde(default)]
    pub discarded: u64,
    /// Sockets of this host sent it to each other, and it never came to an edge; beside the identity.
    #[serde(default)]
    pub stayed: u64,
    pub rest: i64,
    #[serde(default)]
    pub discards: Option<DiscardsRow>,
}

/// What the kernel says it discarded before the edge, since the boot.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct DiscardsRow {
    pub neighbour_packets: u64,
    pub neighbour_failures: u64,
    pub output_packets: u64,
}

/// Frames with their link header.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct FrameRow {
    pub bytes: u64,
    pub frames: u64,
}

/// Kernel slots.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct SlotsRow {
    pub in_use: u32,
    pub capacity: u32,
}

/// What became of flows since the start.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct TableRow {
    pub added: u64,
    pub retired: u64,
    pub evicted: u64,
    pub overflowed_readings: u64,
}

/// How long the last sweep took, and the longest one.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct SweepRow {
    pub last: SweepTimeRow,
    pub longest: SweepTimeRow,
    pub read_last: SweepTimeRow,
    pub read_longest: SweepTimeRow,
}

/// Microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct SweepTimeRow {
    pub wall_us: u64,
    pub processor_us: u64,
}

/// The ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct LedgerRow {
    pub origin: String,
    pub verifier_key: String,
    pub size: u64,
    pub first: u64,
    pub bytes: u64,
    pub checkpoint_size: u64,
    pub checkpoint_time: Option<String>,
    pub fault: Option<String>,
    pub damage: Option<String>,
}

/// A part that does not do what it promises.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct ConditionRow {
    pub part: String,
    pub reason: String,
}

impl FlowsView {
    /// All but the flows themselves.
    pub fn without_rows(&self) -> Self {
        let Self { schema, time, started, host, policy_hash, flows: _, rows, table, .. } = self;
        Self {
            schema: *schema,
            time: time.clone(),
            started: started.clone(),
            host: host.clone(),
            policy_hash: policy_hash.clone(),
            flows: Vec::new(),
            rows: *rows,
            table: *table,
            classes: self.classes.clone(),
            overflow: self.overflow.clone(),
            retired: self.retired,
            totals: self.totals,
            losses: self.losses.clone(),
            interfaces: self.interfaces.clone(),
            attribution: self.attribution,
            slots: self.slots,
            sweep: self.sweep,
            degraded: self.degraded.clone(),
            ledger: self.ledger.clone(),
        }
    }
}

impl App {
    pub(super) fn answer(&mut self, query: Query) {
        match query {
            // A client that is gone needs no answer.
            Query::Flows { limit, reply } => drop(reply.send(self.flows_snapshot(limit))),
            Query::Coverage(reply) => drop(reply.send(self.coverage_snapshot())),
            Query::Overview(reply) => drop(reply.send(self.overview_snapshot())),
            Query::Status(reply) => drop(reply.send(self.status_view())),
            Query::SelfTest(reply) => self.ask_selftest(reply),
        }
    }

    fn largest_flows(&self, limit: Option<u32>) -> impl Iterator<Item = (&FlowKey, &Flow)> {
        let mut flows: Vec<(&FlowKey, &Flow)> = Vec::new();
        let limit = limit.map_or(usize::MAX, |limit| limit as usize);
        if limit > 0 {
            flows.extend(self.table.iter());
        }
        if limit < flows.len() {
            flows.select_nth_unstable_by_key(limit, |(_, flow)| Reverse(flow.total.wire_bytes));
            flows.truncate(limit);
        }
        flows.into_iter()
    }

    fn flows_snapshot(&self, limit: Option<u32>) -> FlowsSnapshot {
        let losses = self.probe.losses().unwrap_or_default();
        FlowsSnapshot {
            taken: WallTime::now(),
            started: self.started,
            clock: self.clock,
            host: self.origin.hostname.clone(),
            policy_hash: Arc::clone(self.policies.hash()),
            flows: self.largest_flows(limit).map(|(key, flow)| (key.clone(), flow.clone())).collect(),
            rows: self.table.len(),
            counters: self.table.counters(),
            classes: self.table.totals().iter().map(|(class, tally)| (class.clone(), *tally)).collect(),
            overflow: self.table.overflow().iter().map(|(class, tally)| (class.clone(), *tally)).collect(),
            retired: self.table.evicted(),
            totals: self.table.totals().sum(),
            losses: CAUSES
                .iter()
                .filter_map(|(cause, word)| {
                    let cell = losses.get(*cause as usize)?;
                    Some(LossRow { cause: (*word).to_owned(), events: cell.events, bytes: cell.bytes })
                })
                .collect(),
            attribution: self.edges.attribution,
            discards: self.edges.owners.discards(),
            interfaces: self.edges.iter().map(|(index, edge)| (index, edge.clone())).collect(),
            slots: self.probe.slot_use(),
            sweeps: self.sweeps,
            conditions: self.conditions.iter().map(|(part, reason)| (part.clone(), reason.clone())).collect(),
            ledger: self.ledger.as_ref().map(ledger::Ledger::status),
        }
    }
}

fn class_row((class, tally): &(Class, Tally)) -> ClassRow {
    ClassRow {
        location: class.place.to_string(),
        country: class.place.country().map(|code| code.to_string()),
        verdict: class.verdict.as_str().to_owned(),
        owner_class: class.owner.as_str().to_owned(),
        volume: volume_row(tally.volume),
    }
}

pub(super) fn ledger_row(status: ledger::Status) -> LedgerRow {
    LedgerRow {
        origin: status.origin,
        verifier_key: status.verifier_key,
        size: status.size,
        first: status.first,
        bytes: status.bytes,
        checkpoint_size: status.checkpoint_size,
        checkpoint_time: status.checkpoint_time.map(|time| time.to_string()),
        fault: status.fault,
        damage: status.damage,
    }
}

fn sweep_time_row(time: SweepTime) -> SweepTimeRow {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    SweepTimeRow { wall_us: micros(time.wall), processor_us: micros(time.processor) }
}

impl FlowsSnapshot {
    /// The outward form. Takes time in proportion to the flows: not for the loop.
    pub fn view(self) -> FlowsView {
        let clock = self.clock;
        FlowsView {
            schema: SCHEMA,
            time: self.taken.to_string(),
            started: self.started.to_string(),
            host: self.host,
            policy_hash: self.policy_hash.to_string(),
            flows: self.flows.iter().map(|(key, flow)| flow_row(key, flow, &clock)).collect(),
            rows: self.rows as u64,
            table: TableRow {
                added: self.counters.added_flows,
                retired: self.counters.retired_flows,
                evicted: self.counters.evicted_flows,
                overflowed_readings: self.counters.overflowed_readings,
            },
            classes: self.classes.iter().map(class_row).collect(),
            overflow: self.overflow.iter().map(class_row).collect(),
            retired: volume_row(self.retired.volume),
            totals: volume_row(self.totals.volume),
            losses: self.losses,
            interfaces: self.interfaces.iter().map(|(index, edge)| interface_row(*index, edge)).collect(),
            attribution: attribution_row(self.attribution, self.discards),
            slots: SlotsRow { in_use: self.slots.0, capacity: self.slots.1 },
            sweep: SweepRow {
                last: sweep_time_row(self.sweeps.last),
                longest: sweep_time_row(self.sweeps.longest),
                read_last: sweep_time_row(self.sweeps.read_last),
                read_longest: sweep_time_row(self.sweeps.read_longest),
            },
            degraded: self
                .conditions
                .into_iter()
                .map(|(part, reason)| ConditionRow { part, reason })
                .collect(),
            ledger: self.ledger.map(ledger_row),
        }
    }
}

fn flow_row(key: &FlowKey, flow: &Flow, clock: &Clock) -> FlowRow {
    let (verdict, rule, exception) = match &flow.judgement.verdict {
        Verdict::Approved => ("approved", None, None),
        Verdict::Excepted { id } => ("excepted", None, Some(id.to_string())),
        Verdict::Violation { rule, exception, .. } => {
            ("violation", Some(rule.as_str().to_owned()), exception.as_ref().map(ToString::to_string))
        }
    };
    FlowRow {
        owner: owner_row(key),
        remote: key.remote.to_string(),
        remote_port: flow.remote_port,
        local: flow.local.map(|address| address.to_string()),
        local_port: flow.local_port,
        protocol: key.protocol.to_string(),
        service_port: key.service_port,
        initiator: key.initiator.as_str().to_owned(),
        sensor: key.sensor.as_str().to_owned(),
        location: flow.located.location.to_string(),
        country: flow.located.location.country().map(|code| code.to_string()),
        verdict: verdict.to_owned(),
        rule,
        exception,
        policy: flow.judgement.policy.name.to_string(),
        reason: flow.judgement.sentence(key.remote),
        volume: volume_row(flow.total),
        control_bytes: flow.control_wire_bytes,
        violating_bytes: flow.violating_wire_bytes,
        first_seen: clock.wall_of(flow.first_seen).to_string(),
        last_seen: clock.wall_of(flow.last_seen).to_string(),
        pre_existing: flow.pre_existing,
        closed: flow.closed,
    }
}

fn owner_row(key: &FlowKey) -> OwnerRow {
    let owner = &key.owner;
    let process = owner.process();
    let text = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
    OwnerRow {
        label: owner.label(),
        kind: OwnerClass::of(owner).as_str().to_owned(),
        pid: process.map(|process| process.pid),
        start_boot_ns: process.map(|process| process.start_boot_ns),
        exe: match &owner.actor {
            Actor::Process(process) => Some(process.exe.to_string()),
            Actor::Kernel(service) => Some(format!("kernel:{service}")),
            Actor::Forwarded | Actor::PacketSocket | Actor::Unowned => None,
        },
        command_line: process.map(|process| process.command_line.to_string()),
        uid: process.map(|process| process.uid),
        user: process.and_then(|process| text(&process.user)),
        login_uid: process.and_then(|process| process.login_uid),
        unit: text(&owner.workload.unit),
        container: text(&owner.workload.container),
        cgroup: text(&owner.workload.cgroup),
        quality: owner.quality.as_str().to_owned(),
    }
}

pub(super) fn attribution_row(attribution: Attribution, discards: Option<Discards>) -> AttributionRow {
    AttributionRow {
        socket: attribution.socket_bytes,
        owned: attribution.owned_bytes,
        unnamed: attribution.unnamed_bytes,
        discarded: attribution.discarded_bytes,
        stayed: attribution.stayed_bytes,
        rest: attribution.rest(),
        discards: discards.map(|discards| {
            let Discards { neighbour_packets, neighbour_failures, output_packets } = discards;
            DiscardsRow { neighbour_packets, neighbour_failures, output_packets }
        }),
    }
}

const fn volume_row(volume: Volume) -> VolumeRow {
    VolumeRow { wire_bytes: volume.wire_bytes, payload_bytes: volume.payload_bytes, packets: volume.packets }
}

fn interface_row(index: u32, edge: &Edge) -> InterfaceRow {
    let nic = edge.nic.since(edge.nic_first);
    let row = |amount: Amount| FrameRow { bytes: amount.bytes, frames: amount.frames };
    InterfaceRow {
        name: edge.name.to_string(),
        index,
        since: edge.since.to_string(),
        nic_tx_bytes: nic.bytes,
        nic_tx_packets: nic.packets,
        nic_tx_dropped: nic.dropped,
        socket: row(edge.seen.socket),
        forwarded: row(edge.seen.forwarded),
        packet: row(edge.seen.packet),
        tunnel: row(edge.seen.tunnel),
        time_wait: row(edge.seen.time_wait),
        non_ip: row(edge.seen.non_ip),
        folded: row(edge.seen.folded),
        balance: edge.ledger.as_ref().map(balance_row),
    }
}

fn balance_row(ledger: &InterfaceLedger) -> BalanceRow {
    let comparison = ledger.cumulative();
    let Explained { buffers, framing, dropped } = comparison.explained;
    BalanceRow {
        residual_bytes: comparison.residual.bytes,
        residual_frames: comparison.residual.frames,
        buffers_bytes: buffers.bytes,
        framing_bytes: framing.bytes,
        dropped_bytes: dropped.bytes,
        dropped_packets: comparison.dropped,
        unexplained_bytes: comparison.unexplained.bytes,
        unexplained_frames: comparison.unexplained.frames,
        counting: comparison.counting.as_str().map(str::to_owned),
        counter_resets: ledger.n_resets(),
    }
}
