//! What one packet costs.

use std::{net::UdpSocket, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    Scale, bpf, datagrams,
    datagrams::SendBurst,
    hooks::{self, Hooks, Reader},
    lab::{Family, Lab, SINK_PORT, Side},
    report::{Measured, Report, Table},
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
        patience: Duration::from_secs(scale.pick(35, 2)),
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
             for many sockets. Processor time of that thread added to each, against nothing attached. Up to {} triples of \
             {} ms each. Unrest: how far two slices without anything, before and after, lie apart.",
            datagrams::PAYLOAD_BYTES,
            datagrams::BURST,
            effort.triples,
            effort.slice.as_millis()
        ),
        columns: vec!["sender", "attached", "ns without", "ns added", "% of the rate", "triples", "unrest, %"],
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
        cost.added_ns.count.to_string(),
        format!("{:.0}", cost.unrest_percent.median),
    ]
}

/// What an empty program costs where the budgets come from.
const EMPTY_NS_THERE: f64 = 20.0;

/// The two families share their budgets.
fn judge(report: &mut Report, workload: &str, family: Family, costs: &[Cost]) {
    let added = |name| {
        let cost = costs.iter().find(|cost| cost.name == name);
        cost.map_or(Measured::from(f64::NAN), |cost| cost.added_ns.into())
    };
    let empty = added(EMPTY).value;
    let machine = format!(
        "an empty program (`return 1`) costs {empty:.0} ns here, {:.1} times as much as where the budget was set",
        empty / EMPTY_NS_THERE
    );
    let stamp = (added(OWNER) - added(COUNTER)).value;
    let sender = format!(
        "{machine}; {stamp:.0} ns of it are the sender stamp, which the budget was set without and `host.exact_owners = \
         false` switches off"
    );
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
            report.budget((counter, 40.0, "ns"), added(COUNTER), machine.clone());
            let above_empty = added(COUNTER) - added(EMPTY);
            let lines = "socket storage, the slot, and three atomic additions; the test runs above say what that takes \
                         when all of it is in the cache";
            report.budget((above, 15.0, "ns"), above_empty, format!("{lines}; {machine}"));
            report.budget((owner, 40.0, "ns"), added(OWNER), sender.clone());
            report.budget((both, 90.0, "ns"), added(BOTH), sender);
            if family == Family::V4 {
                let Measured { value, uncertainty } = added(BOTH);
                let share = Measured {
                    value: value / (NS_PER_PACKET_AT_1_4_MILLION + value) * 100.0,
                    uncertainty: uncertainty / (NS_PER_PACKET_AT_1_4_MILLION + value) * 100.0,
                };
                let why = format!(
                    "computed: {value:.0} ns on top of the 714 ns that such a sender has for a packet, while a packet takes \
                     {:.0} ns here without us",
                    costs.first().map_or(f64::NAN, |cost| cost.off_ns.median)
                );
                report.budget(("both ledgers, of a sender of 1.4 M packets/s", 10.0, "%"), share, why);
                report.remark(format!(
                    "An empty program costs {empty:.0} ns per packet on this machine. The budgets were set on one \
                     where it costs {EMPTY_NS_THERE:.0} ns: the owner ledger was to stay below 2 times the empty \
                     program, and is at {:.1} times; both ledgers below 4.5 times, and are at {:.1} times.",
                    added(OWNER).value / empty,
                    value / empty
                ));
            }
        }
        ("64 alternating destinations, one socket", family) => {
            let what = match family {
                Family::V4 => "owner ledger, 64 alternating destinations, v4",
                Family::V6 => "owner ledger, 64 alternating destinations, v6",
            };
            let why = format!(
                "each packet looks its slot up, and touches two cache lines of another one; {sender}"
            );
            report.budget((what, 100.0, "ns"), added(OWNER), why);
        }
        (_, _) => {}
    }
}
