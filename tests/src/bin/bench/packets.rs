//! What one packet costs.

use std::{net::UdpSocket, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    Scale, bpf, datagrams,
    datagrams::SendBurst,
    hooks::{self, Hooks, Reader},
    lab::{Family, Lab, SINK_PORT, Side},
    report::{Report, Table},
    slices::{Candidate, Clock, Cost, Effort, compare},
};

const SOCKETS: usize = 15_000;

type Open = fn(Family) -> Result<SendBurst>;

/// What the near side sends.
const WORKLOADS: [(&str, Open); 3] = [
    ("one known destination", datagrams::one_destination),
    ("64 alternating destinations, one socket", datagrams::many_destinations),
    ("15,000 sockets in turn", |family| datagrams::many_sockets(family, SOCKETS)),
];

/// The sender that the budget of both ledgers speaks of.
const NS_PER_PACKET_AT_1_4_MILLION: f64 = 714.0;

const EMPTY: &str = "`return 1`";
const COUNTER: &str = "owner ledger without sender stamp";
const OWNER: &str = "owner ledger";
const TRUTH: &str = "truth ledger";
const EMPTY_BOTH: &str = "`return 1` at both hooks";
const BOTH: &str = "both ledgers";

pub(crate) fn run(lab: &Arc<Lab>, scale: Scale, report: &mut Report) -> Result<()> {
    allow_many_sockets()?;
    let effort = Effort {
        triples: scale.pick(150, 3),
        slice: Duration::from_millis(scale.pick(5, 3)),
        clock: Clock::Thread,
    };
    let probe = hooks::load(lab)?;
    let hooks = Hooks::new(&probe, lab)?;
    let reader = Reader::start(probe, lab);
    let mut rows = Vec::new();
    let mut kernel_rows = Vec::new();
    for (workload, open) in WORKLOADS {
        for family in Family::BOTH {
            let _sink = sink(lab, family)?;
            let (costs, times) = lab.on(Side::Near, || {
                let mut send = open(family)?;
                warm_up(&hooks, &mut send)?;
                let costs = costs(&hooks, effort, &mut send)?;
                Ok((costs, kernel_times(&hooks, scale, &mut send)?))
            })?;
            judge(report, workload, family, &costs);
            rows.extend(costs.iter().map(|cost| row(workload, family, cost)));
            kernel_rows.extend(times.into_iter().map(|time| {
                let label = format!("{workload}, {}", family.name());
                [vec![label], time].concat()
            }));
        }
    }
    let losses = reader.stop()?.losses()?;
    report.table(Table {
        title: "Per packet, end to end",
        text: format!(
            "Datagrams of {} bytes over a veth pair, sent by one thread on one processor: `sendmmsg` of {}, or `send` \
             for many sockets. Processor time of that thread added to each, against nothing attached. {} triples of {} ms each.",
            datagrams::PAYLOAD_BYTES,
            datagrams::BURST,
            effort.triples,
            effort.slice.as_millis()
        ),
        columns: vec!["sender", "attached", "ns without", "ns added", "% of the rate"],
        rows,
    });
    report.table(Table {
        title: "Per run, as the kernel measures",
        text:
            "`run_time_ns / run_cnt` of each program with everything attached, and of an empty program for \
               comparison: each figure includes about as much for the measurement itself."
                .to_owned(),
        columns: vec!["sender", "`return 1`", "`account_egress`", "`stamp_sender`", "`frames_ethernet`"],
        rows: kernel_rows,
    });
    let lost: Vec<_> = losses.iter().enumerate().filter(|(_, cell)| cell.events > 0).collect();
    if !lost.is_empty() {
        report.remark(format!("packets: the programs counted losses (cause, cell): {lost:?}"));
    }
    Ok(())
}

/// A receiver that never reads: its queue is full at once, and what follows is dropped after the lookup.
pub(crate) fn sink(lab: &Lab, family: Family) -> Result<UdpSocket> {
    lab.on(Side::Far, || {
        let mut address = family.unspecified();
        address.set_port(SINK_PORT);
        let socket = UdpSocket::bind(address).context("bind the receiver")?;
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 1)?;
        Ok(socket)
    })
}

/// As many open files as this process may have; raising the limit itself takes rights that a container lacks.
pub(crate) fn allow_many_sockets() -> Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .context("allow open files up to the limit")?;
    let needed = SOCKETS as u64 + 200;
    ensure!(
        maximum.is_none_or(|maximum| maximum >= needed),
        "the bench needs {needed} open files: see ulimit -Hn"
    );
    Ok(())
}

/// Every socket gets its slot, and queues fill.
fn warm_up(hooks: &Hooks, send: &mut SendBurst) -> Result<()> {
    let _links = hooks.both()?;
    for _ in 0..2 * SOCKETS / datagrams::BURST {
        send().context("send")?;
    }
    Ok(())
}

fn costs(hooks: &Hooks, effort: Effort, send: &mut SendBurst) -> Result<Vec<Cost>> {
    let candidates = [
        Candidate { name: EMPTY, attach: Box::new(|| hooks.empty()) },
        Candidate { name: COUNTER, attach: Box::new(|| hooks.counter()) },
        Candidate { name: OWNER, attach: Box::new(|| hooks.owner()) },
        Candidate { name: TRUTH, attach: Box::new(|| hooks.truth()) },
        Candidate { name: EMPTY_BOTH, attach: Box::new(|| hooks.empty_both()) },
        Candidate { name: BOTH, attach: Box::new(|| hooks.both()) },
    ];
    compare(&candidates, effort, || Ok(send().context("send")? as u64))
}

fn kernel_times(hooks: &Hooks, scale: Scale, send: &mut SendBurst) -> Result<Option<Vec<String>>> {
    let _stats = bpf::enable_stats().context("switch on BPF statistics")?;
    let bursts = scale.pick(8_000, 1_000);
    let mut measure = |name: &str, links: Vec<_>| -> Result<String> {
        let before = bpf::runs(hooks.program(name)?)?;
        for _ in 0..bursts {
            send().context("send")?;
        }
        let after = bpf::runs(hooks.program(name)?)?;
        drop(links);
        let (time_ns, count) = (after.time_ns - before.time_ns, after.count - before.count);
        Ok(format!("{:.1} ns", time_ns as f64 / count.max(1) as f64))
    };
    Ok(Some(vec![
        measure("empty_egress", hooks.empty()?)?,
        measure("account_egress", hooks.both()?)?,
        measure("stamp_sender", hooks.both()?)?,
        measure("frames_ethernet", hooks.both()?)?,
    ]))
}

fn row(workload: &str, family: Family, cost: &Cost) -> Vec<String> {
    vec![
        format!("{workload}, {}", family.name()),
        cost.name.to_owned(),
        format!("{:.0}", cost.off_ns.median),
        format!("{:.1}", cost.added_ns),
        format!("{:.1}", cost.loss_percent),
    ]
}

/// The two families share their budgets.
fn judge(report: &mut Report, workload: &str, family: Family, costs: &[Cost]) {
    let added =
        |name| costs.iter().find(|cost| cost.name == name).map_or(f64::NAN, |cost| cost.added_ns.median);
    match (workload, family) {
        ("one known destination", family) => {
            let (counter, owner, both, above) = match family {
                Family::V4 => (
                    "owner ledger without sender stamp, known destination, v4",
                    "owner ledger, known destination, v4",
                    "both ledgers, known destination, v4",
                    "the same, above `return 1`, v4",
                ),
                Family::V6 => (
                    "owner ledger without sender stamp, known destination, v6",
                    "owner ledger, known destination, v6",
                    "both ledgers, known destination, v6",
                    "the same, above `return 1`, v6",
                ),
            };
            report.budget(counter, "ns", 40.0, added(COUNTER));
            report.budget(above, "ns", 15.0, added(COUNTER) - added(EMPTY));
            report.budget(owner, "ns", 40.0, added(OWNER));
            report.budget(both, "ns", 90.0, added(BOTH));
            if family == Family::V4 {
                let share = added(BOTH) / (NS_PER_PACKET_AT_1_4_MILLION + added(BOTH)) * 100.0;
                report.budget("both ledgers, of a sender of 1.4 M packets/s", "%", 10.0, share);
                let empty = added(EMPTY);
                report.remark(format!(
                    "An empty program costs {empty:.0} ns per packet on this machine. The budgets were set on one \
                     where it costs 20 ns: the owner ledger was to stay below 2 times the empty program, and is at \
                     {:.1} times; both ledgers below 4.5 times, and are at {:.1} times.",
                    added(OWNER) / empty,
                    added(BOTH) / empty
                ));
            }
        }
        ("64 alternating destinations, one socket", Family::V4) => {
            report.budget("owner ledger, 64 alternating destinations, v4", "ns", 100.0, added(OWNER));
        }
        ("64 alternating destinations, one socket", Family::V6) => {
            report.budget("owner ledger, 64 alternating destinations, v6", "ns", 100.0, added(OWNER));
        }
        (_, _) => {}
    }
}
