//! Very many flows: at once, and one after the other.
//!
//! Everything is real: sockets of real processes on the storage host, packets on its network card. What leaves for
//! UDP ends at the router, which drops it; TCP is answered by one process abroad, for all addresses of a prefix.
//!
//! The promise: the bytes that the agent accounts for are those of the network card, whatever the pressure. Bytes
//! that found no counter of their own are in the totals, too, and the table at the end says how many.

use std::{net::Ipv6Addr, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};

use super::{
    Figure, Progress, Random, Report,
    memory::{Memory, map_bytes},
};
use crate::{
    actor::Sent,
    agent::eventually,
    flows::{Flows, SweepTime},
    lab::{Host, Lab, Nic},
    running::Running,
    scene::Scene,
    settings::Settings,
};

/// UDP goes here, and no further than the router: one half to a country that is not approved, one half to one that is.
const DROPPED: [&str; 2] = ["2001:db8:0:113:b::", "2001:db8:0:51:b::"];
/// TCP goes here, and is answered by one process.
const ANSWERED: &str = "2001:db8:0:113:a::";
const KEPT_PORT: u16 = 9001;
const BRIEF_PORT: u16 = 8001;
/// Sockets of one process: machines may allow no more than 20,000 files to be open.
const PER_PROCESS: u64 = 15_000;

/// Memory of the agent at 100,000 flows, in MB.
const MEMORY_BUDGET_MB: f64 = 64.0;
/// Reading the counters of 100,000 flows, in ms.
const SWEEP_BUDGET_MS: f64 = 50.0;

/// How much.
#[derive(Clone, Debug)]
pub struct Plan {
    /// For sizes of packets.
    pub seed: u64,
    /// Connected UDP sockets, all open at once, each to its own destination.
    pub kept_datagrams: u64,
    /// TCP connections, all open at once, each to its own destination.
    pub kept_connections: u64,
    /// How often each of them sends.
    pub rounds: u32,
    /// Pairs of socket and destination, one after the other, of a few UDP sockets.
    pub shared_datagrams: u64,
    /// The same of UDP sockets that are closed at once.
    pub brief_datagrams: u64,
    /// TCP connections that are closed at once.
    pub brief_connections: u64,
    /// Those three come within this time, if the machine can.
    pub within: Duration,
    /// Whether memory and times are promises. A debug build on a busy machine has none to keep.
    pub judge_budgets: bool,
    /// Counters of the kernel side.
    pub max_sockets: u32,
}

impl Plan {
    /// 100,000 at once, then a million in a minute.
    pub const fn long(seed: u64) -> Self {
        Self {
            seed,
            kept_datagrams: 60_000,
            kept_connections: 40_000,
            rounds: 5,
            shared_datagrams: 400_000,
            brief_datagrams: 400_000,
            brief_connections: 200_000,
            within: Duration::from_secs(60),
            judge_budgets: true,
            max_sockets: 131_072,
        }
    }

    /// A few seconds, with so few counters that the pressure is the same.
    pub const fn short(seed: u64) -> Self {
        Self {
            seed,
            kept_datagrams: 600,
            kept_connections: 300,
            rounds: 2,
            shared_datagrams: 6_000,
            brief_datagrams: 3_000,
            brief_connections: 500,
            within: Duration::from_secs(6),
            judge_budgets: false,
            max_sockets: 2_048,
        }
    }
}

/// Runs it.
///
/// # Errors
///
/// When it cannot run. Broken promises are in the report.
pub fn run(plan: &Plan, progress: Progress) -> Result<Report> {
    let mut report = Report::default();
    let settings = Settings {
        more: format!("[limits]\nmax_sockets = {}\n", plan.max_sockets),
        // As a unit file should say: the senders take every processor there is.
        wrapper: if plan.judge_budgets { &["nice", "-n", "-10"] } else { &[] },
        ..Settings::default()
    };
    let mut scene = Scene::start(&settings).context("start the lab and the agent")?;
    prepare(&scene.lab)?;
    let start = Start { nic: scene.lab.nic()?, flows: scene.agent.summary()? };
    at_once(plan, &scene, &start, progress, &mut report).context("flows at once")?;
    one_after_the_other(plan, &scene, &start, progress, &mut report).context("one after the other")?;
    scene.finish()?;
    Ok(report)
}

/// Routes for destinations that nobody has.
fn prepare(lab: &Lab) -> Result<()> {
    for prefix in DROPPED {
        lab.shell(Host::Router, &format!("ip route add blackhole {prefix}/80"))?;
    }
    let foreign = Host::Foreign.address(crate::lab::Family::V6);
    lab.shell(Host::Router, &format!("ip route add {ANSWERED}/80 via {foreign}"))?;
    lab.shell(Host::Foreign, &format!("ip route add local {ANSWERED}/80 dev lo"))?;
    // Connections that wait for the one who accepts.
    lab.shell(Host::Foreign, "echo 8192 >/proc/sys/net/core/somaxconn")
}

/// Both sides before anything was sent.
struct Start {
    nic: Nic,
    flows: Flows,
}

/// A sender to many destinations.
struct Fan {
    process: Running,
}

impl Fan {
    fn start(
        scene: &Scene,
        random: &mut Random,
        sockets: &str,
        (first, port): (&str, u16),
        pace: Option<u64>,
    ) -> Result<Self> {
        let seed = random.next();
        let pace = pace.map(|pace| format!("--per-second {pace}")).unwrap_or_default();
        let words = format!(
            "fan --first {first} --addresses 4000000000 --port {port} --seed {seed} {pace} --sockets {sockets}"
        );
        let mut process = scene.lab.actor(Host::Storage, &words)?;
        process.line()?;
        Ok(Self { process })
    }

    /// Returns at once.
    fn send(&mut self, first: u64, count: u64) -> Result<()> {
        self.process.tell(&format!("send {first} {count}"))
    }

    fn sent(&mut self) -> Result<u64> {
        /// A loaded machine takes its time.
        const PATIENCE: Duration = Duration::from_secs(600);
        Ok(Sent::from_line(&self.process.line_within(PATIENCE)?)?.bytes)
    }

    fn end(mut self) -> Result<()> {
        self.process.tell("end")?;
        self.process.succeed()
    }
}

fn at_once(plan: &Plan, scene: &Scene, start: &Start, progress: Progress, report: &mut Report) -> Result<()> {
    let mut random = Random::from_seed(plan.seed);
    let n_flows = plan.kept_datagrams + plan.kept_connections;
    let mut senders = Vec::new();
    let mut receivers = Vec::new();
    for (to, share) in DROPPED.iter().zip([plan.kept_datagrams / 2, plan.kept_datagrams.div_ceil(2)]) {
        for (first, count) in portions(share) {
            let fan = Fan::start(scene, &mut random, "udp-kept", (to, 4000), None)?;
            senders.push((fan, first, count));
        }
    }
    for ((first, count), port) in portions(plan.kept_connections).zip(KEPT_PORT..) {
        receivers.push(receiver(scene, port, "--keep")?);
        let fan = Fan::start(scene, &mut random, "tcp-kept", (ANSWERED, port), None)?;
        senders.push((fan, first, count));
    }

    let mut payload = 0;
    for round in 1..=plan.rounds {
        progress.tell(format_args!("{n_flows} flows at once, round {round} of {}", plan.rounds));
        for (fan, first, count) in &mut senders {
            fan.send(*first, *count)?;
        }
        for (fan, _, _) in &mut senders {
            payload += fan.sent()?;
        }
        // The next round is one that the agent reads in one sweep.
        balance(scene, start)?;
    }
    let (flows, difference) = balance(scene, start)?;
    let memory = Memory::of(scene.agent.pid())?;
    report.figure("flows at once: UDP sockets", plan.kept_datagrams);
    report.figure("flows at once: TCP connections", plan.kept_connections);
    report.promise("rows in the table", flows.rows, format!(">= {n_flows}"), flows.rows >= n_flows);
    report.exactly("difference to the network card, bytes", 0, difference);
    let seen = flows.totals.payload_bytes - start.flows.totals.payload_bytes;
    report.promise("payload counted, bytes", seen, format!(">= {payload}"), seen >= payload);
    losses(report, "", &flows);
    report.figure("counters in use", flows.slots.in_use);
    let ms = |micros: u64| micros as f64 / 1e3;
    let (read, sweep) = (flows.sweep.read_longest, flows.sweep.longest);
    budget(
        plan,
        report,
        "longest reading of the counters, ms of processor time",
        SWEEP_BUDGET_MS,
        ms(read.processor_us),
    );
    report.figure("the same on the clock of a busy machine, ms", format!("{:.1}", ms(read.wall_us)));
    report.figure(
        "longest sweep, judging included, ms of processor time",
        format!("{:.1}", ms(sweep.processor_us)),
    );
    report.figure("the same on the clock of a busy machine, ms", format!("{:.1}", ms(sweep.wall_us)));
    budget(plan, report, "agent, own memory, MB", MEMORY_BUDGET_MB, memory.own() as f64 / 1e6);
    report.figure("agent, resident with shared maps, MB", format!("{:.1}", memory.resident as f64 / 1e6));
    report.figure("agent, highest resident, MB", format!("{:.1}", memory.highest as f64 / 1e6));
    report.figure("kernel maps, charged, MB", format!("{:.1}", map_bytes(scene.agent.pid())? as f64 / 1e6));
    for (fan, _, _) in senders {
        fan.end()?;
    }
    Ok(())
}

/// Cuts a number into what one process can have open: first and count.
fn portions(total: u64) -> impl Iterator<Item = (u64, u64)> {
    (0..total.div_ceil(PER_PROCESS))
        .map(move |idx| (idx * PER_PROCESS, PER_PROCESS.min(total - idx * PER_PROCESS)))
}

/// Answers TCP abroad, for every address.
fn receiver(scene: &Scene, port: u16, words: &str) -> Result<Running> {
    scene.lab.listener(Host::Foreign, "tcp-absorb", (Ipv6Addr::UNSPECIFIED, port).into(), words)
}

fn one_after_the_other(
    plan: &Plan,
    scene: &Scene,
    start: &Start,
    progress: Progress,
    report: &mut Report,
) -> Result<()> {
    let mut random = Random::from_seed(plan.seed.wrapping_add(1));
    let pace = |count: u64| Some((count as f64 / plan.within.as_secs_f64()).ceil() as u64);
    let before = scene.agent.summary()?;
    let _receiver = receiver(scene, BRIEF_PORT, "")?;
    let mut senders = Vec::new();
    for (sockets, to, count, processes) in [
        ("udp-shared", (DROPPED[0], 5000), plan.shared_datagrams, 2),
        ("udp-brief", (DROPPED[1], 6000), plan.brief_datagrams, 2),
        ("tcp-brief", (ANSWERED, BRIEF_PORT), plan.brief_connections, 2),
    ] {
        let share = count / processes;
        for process in 0..processes {
            let fan = Fan::start(scene, &mut random, sockets, to, pace(share))?;
            senders.push((fan, process * share, share));
        }
    }
    let n_flows: u64 = senders.iter().map(|(_, _, count)| count).sum();
    progress.tell(format_args!("{n_flows} flows one after the other"));
    let started = std::time::Instant::now();
    for (fan, first, count) in &mut senders {
        fan.send(*first, *count)?;
    }
    for (fan, _, _) in &mut senders {
        fan.sent()?;
    }
    let passed = started.elapsed();
    progress.tell("waiting for the last bytes");
    let (flows, difference) = balance(scene, start)?;
    report.figure("flows one after the other", n_flows);
    report.figure("of them TCP connections", plan.brief_connections);
    report.figure("seconds they took", format!("{:.1}", passed.as_secs_f64()));
    report.exactly("difference to the network card, bytes, all in all", 0, difference);
    losses(report, "then: ", &flows);
    let table = (before.table, flows.table);
    report.figure("rows added to the table", table.1.added - table.0.added);
    report.figure("rows evicted because it was full", table.1.evicted - table.0.evicted);
    report
        .figure("readings counted without a row", table.1.overflowed_readings - table.0.overflowed_readings);
    let memory = Memory::of(scene.agent.pid())?;
    let ms =
        |time: SweepTime| format!("{:.1} ({:.1})", time.processor_us as f64 / 1e3, time.wall_us as f64 / 1e3);
    report.figure(
        "longest reading of the counters until then, ms (on the clock)",
        ms(flows.sweep.read_longest),
    );
    report.figure("longest sweep until then, ms (on the clock)", ms(flows.sweep.longest));
    report.figure("agent, own memory then, MB", format!("{:.1}", memory.own() as f64 / 1e6));
    for (fan, _, _) in senders {
        fan.end()?;
    }
    Ok(())
}

/// Bytes without owner are allowed, and counted; bytes that are not counted at all are not.
fn losses(report: &mut Report, when: &str, flows: &Flows) {
    for loss in &flows.losses {
        let what = format!("{when}{}, times", loss.cause);
        match loss.cause.as_str() {
            "unparsed-packets" | "interface-uncounted" => {
                report.exactly(what, 0, loss.events);
            }
            "slots-exhausted" => report.figure(
                format!("{when}bytes without owner, for want of a counter"),
                format!("{} ({} packets)", loss.bytes, loss.events),
            ),
            "destinations-exhausted" => report.figure(
                format!("{when}bytes without destination, for want of room"),
                format!("{} ({} packets)", loss.bytes, loss.events),
            ),
            _ if loss.events > 0 => report.figure(what, loss.events),
            _ => {}
        }
    }
}

fn budget(plan: &Plan, report: &mut Report, what: &str, limit: f64, value: f64) {
    let value = format!("{value:.1}");
    if plan.judge_budgets {
        let kept = value.parse().is_ok_and(|value: f64| value <= limit);
        report.promise(what, value, format!("<= {limit}"), kept);
    } else {
        report.figures.push(Figure { what: what.to_owned(), value, promise: None });
    }
}

/// Waits until the agent has accounted for what the card has sent since the start; returns the difference that is
/// left, in bytes of layer 3.
fn balance(scene: &Scene, start: &Start) -> Result<(Flows, i64)> {
    /// Sweeps, and connections that end.
    const PATIENCE: Duration = Duration::from_secs(60);
    let mut last = None;
    let result = eventually(PATIENCE, || {
        let nic = scene.lab.nic()?;
        let flows = scene.agent.summary()?;
        ensure!(scene.lab.nic()? == nic, "the card does not rest");
        let sent = nic.since(start.nic).layer3_bytes();
        let accounted = flows.accounted_bytes() - start.flows.accounted_bytes();
        let difference = accounted as i64 - sent as i64;
        last = Some((flows, difference));
        if difference != 0 {
            thread::sleep(Duration::from_millis(450));
        }
        ensure!(difference == 0, "{difference:+} bytes");
        Ok(())
    });
    match (result, last) {
        (_, Some(last)) => Ok(last),
        (Err(error), None) => Err(error),
        (Ok(()), None) => anyhow::bail!("no sample"),
    }
}
