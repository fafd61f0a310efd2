//! Restarts at random moments under four transfers: does the sum of the records still equal what the card sent?
//!
//! One TCP bulk, one UDP, one accepted pull and one storm of short connections run all the time, while the agent is
//! killed, stopped, killed while it starts, given another size of its maps, or replaced by a build with another
//! layout. In the end every interval record is added up and compared with the network card, record numbers must have
//! no hole and no repetition, and the alerts must be the same as in the beginning.

use std::{
    collections::HashSet,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::{
    agent::{Agent, binary, eventually},
    campaign::{Progress, Random, Report},
    lab::{ETHERNET_HEADER_BYTES, Family, Host, Lab, Nic},
    records::{INTERVAL, Records},
    running::Running,
    settings::Settings,
};

/// Where the receivers abroad listen, and where the server does.
const SINK_PORT: u16 = 9_100;
const SERVER_PORT: u16 = 8_100;

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How often the agent goes and comes back.
    pub cycles: u32,
    /// The same seed takes the same steps.
    pub seed: u64,
    /// A build with another layout, if upgrades are to be among the steps.
    pub other_build: Option<PathBuf>,
    /// Change `limits.max_sockets` now and then.
    pub resize: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Steps {
    kills: u32,
    stops: u32,
    killed_starts: u32,
    resizes: u32,
    upgrades: u32,
}

fn wait(random: &mut Random, most_ms: u64) {
    thread::sleep(Duration::from_millis(random.within(0..=most_ms)));
}

/// The transfers. They end when this is dropped.
#[derive(Debug)]
pub struct Transfers {
    senders: Vec<Running>,
    puller: Running,
    _sinks: [Running; 2],
}

impl Transfers {
    /// Starts all four.
    ///
    /// # Errors
    ///
    /// When one does not start.
    pub fn start(lab: &Lab) -> Result<Self> {
        let foreign = Host::Foreign.address(Family::V4);
        let sink = (foreign, SINK_PORT).into();
        let server = (Host::Storage.address(Family::V4), SERVER_PORT);
        let sinks = [
            lab.listener(Host::Foreign, "tcp-sink", sink, "")?,
            lab.listener(Host::Foreign, "udp-sink", sink, "")?,
        ];
        let stream = |kind: &str, at: std::net::SocketAddr, bytes: u32, pause_ms: u32| -> Result<Running> {
            let words = format!("stream --kind {kind} --at {at} --bytes {bytes} --pause-ms {pause_ms}");
            let mut sender = lab.actor(Host::Storage, &words)?;
            sender.line().with_context(|| words.clone())?;
            Ok(sender)
        };
        let mut senders = vec![stream("serve", server.into(), 30_000, 5)?];
        let puller = lab.actor(Host::Foreign, &format!("tcp-pull --from {}:{}", server.0, server.1))?;
        senders.push(stream("push", sink, 60_000, 5)?);
        senders.push(stream("datagrams", sink, 1_200, 2)?);
        senders.push(stream("storm", sink, 700, 4)?);
        Ok(Self { senders, puller, _sinks: sinks })
    }

    /// Ends them and waits until everything is out.
    ///
    /// # Errors
    ///
    /// When one fails.
    pub fn finish(mut self) -> Result<()> {
        for sender in &mut self.senders {
            sender.succeed()?;
        }
        self.puller.succeed()
    }
}

/// Runs it.
///
/// # Errors
///
/// With the first thing that is not as it should be.
pub fn run(plan: &Plan, progress: Progress) -> Result<Report> {
    let lab = Lab::new()?;
    let before = lab.nic()?;
    let settings = Settings { interval_secs: 2, ..Settings::pinned() };
    let agent = Agent::start(&lab, &settings)?;
    ensure!(lab.nic()? == before, "the lab was not silent while the agent started");
    let mut run = Run {
        random: Random::from_seed(plan.seed),
        plan,
        agent,
        lab,
        steps: Steps::default(),
        slots: 131_072,
        binary: binary()?,
    };
    let started = Instant::now();
    let transfers = Transfers::start(&run.lab)?;
    for cycle in 0..plan.cycles {
        progress.tell(format_args!("cycle {cycle}: {:?}", run.steps));
        run.cycle().with_context(|| {
            format!("cycle {cycle} of seed {}: {:?}\n{}", plan.seed, run.steps, run.agent.log())
        })?;
    }
    transfers.finish()?;
    let seconds = started.elapsed().as_secs();
    run.check(before, seconds).with_context(|| format!("seed {}", plan.seed))
}

struct Run<'a> {
    plan: &'a Plan,
    random: Random,
    agent: Agent,
    lab: Lab,
    steps: Steps,
    slots: u32,
    binary: PathBuf,
}

impl Run<'_> {
    fn cycle(&mut self) -> Result<()> {
        wait(&mut self.random, 2_500);
        if self.random.within(0..=2) == 0 {
            let status = self.agent.stop()?;
            ensure!(status.success(), "the agent ended with {status}");
            self.steps.stops += 1;
        } else {
            self.agent.kill()?;
            self.steps.kills += 1;
        }
        wait(&mut self.random, 700);
        match self.random.within(0..=3) {
            0 if self.plan.resize => {
                self.slots = if self.slots == 131_072 { 65_536 } else { 131_072 };
                self.steps.resizes += 1;
                self.configure()?;
            }
            1 if self.plan.other_build.is_some() => {
                let own = binary()?;
                let other = self.plan.other_build.clone().unwrap_or_default();
                self.binary = if self.binary == own { other } else { own };
                self.steps.upgrades += 1;
            }
            2 => {
                // A crash loop: killed at any moment of its start.
                for _ in 0..=self.random.within(0..=2) {
                    self.agent.launch_again(&self.lab, &self.binary)?;
                    wait(&mut self.random, 1_500);
                    self.agent.kill()?;
                    self.steps.killed_starts += 1;
                }
            }
            _ => {}
        }
        self.agent.start_build_again(&self.lab, &self.binary)?;
        Ok(())
    }

    fn configure(&self) -> Result<()> {
        let settings = Settings {
            interval_secs: 2,
            more: format!("[limits]\nmax_sockets = {}\n", self.slots),
            ..Settings::pinned()
        };
        self.agent.configure(&settings.toml(self.agent.directory()))
    }

    fn check(mut self, before: Nic, seconds: u64) -> Result<Report> {
        let sent = eventually(Duration::from_secs(20), || {
            let first = self.lab.nic()?;
            thread::sleep(Duration::from_millis(500));
            ensure!(self.lab.nic()? == first, "the card does not rest");
            Ok(first.since(before))
        })?;
        // Two sweeps, so that slots of ended connections are read to the end.
        thread::sleep(Duration::from_secs(3));
        let flows = self.agent.flows()?;
        let non_ip: u64 = flows
            .interfaces
            .iter()
            .map(|interface| interface.non_ip.bytes - interface.non_ip.frames * ETHERNET_HEADER_BYTES)
            .sum();
        ensure!(self.agent.stop()?.success(), "the agent ended badly");
        let records = self.agent.records()?;
        check_numbers(&records)?;
        let in_records: u64 =
            records.of_class(INTERVAL).filter_map(|record| record["traffic"]["bytes_out"].as_u64()).sum();
        let mut report = Report::default();
        report.figure("seconds under four transfers", seconds);
        report.figure("times killed and started again", self.steps.kills);
        report.figure("times stopped and started again", self.steps.stops);
        report.figure("starts killed on their way", self.steps.killed_starts);
        report.figure("changes of limits.max_sockets", self.steps.resizes);
        report.figure("changes of build", self.steps.upgrades);
        report.figure("frames sent by the card", sent.packets);
        report.figure("records, without hole or repetition", records.0.len());
        report.exactly("episodes, opened once and still open", 2, records.episodes().len());
        let recorded = in_records + non_ip;
        report.exactly("bytes on record (layer 3, without link headers)", sent.layer3_bytes(), recorded);
        for event in ["counting-gap", "gap"] {
            let count = records.lifecycle().iter().filter(|seen| **seen == event).count();
            report.exactly(format!("records of kind {event}"), 0, count);
        }
        if let Err(error) = report.check().and_then(|()| check_episodes(&records)) {
            bail!("{error:#}\n{report}\n{}", self.agent.log());
        }
        Ok(report)
    }
}

/// Numbers of records grow by one, and no line is there twice.
///
/// # Errors
///
/// With what is missing or doubled.
pub fn check_numbers(records: &Records) -> Result<()> {
    let number = |record: &Value| record["metadata"]["sequence"].as_u64().context("a number");
    let mut expected = None;
    for record in &records.0 {
        let seen = number(record)?;
        ensure!(expected.is_none_or(|expected| expected == seen), "{expected:?} expected, {seen} seen");
        expected = Some(seen + 1);
    }
    let uids: HashSet<&str> =
        records.0.iter().filter_map(|record| record["metadata"]["uid"].as_str()).collect();
    ensure!(uids.len() == records.0.len(), "a record is there twice");
    Ok(())
}

/// What is sent abroad is one episode for who connects or sends datagrams, and one for the server, from the first byte
/// to the last.
fn check_episodes(records: &Records) -> Result<()> {
    let episodes = records.episodes_in("DE");
    let ids: Vec<String> = episodes
        .iter()
        .map(|episode| {
            let (first, last) = (&episode.findings[0], episode.last());
            format!(
                "{}: {} findings; {} by {:?}, {} bytes; first {}",
                episode.id,
                episode.findings.len(),
                last["unmapped"]["homeport"]["owner"],
                last["unmapped"]["homeport"]["initiator"],
                last["unmapped"]["homeport"]["bytes"]["wire"],
                first["message"],
            )
        })
        .collect();
    ensure!(episodes.len() == 2, "two episodes expected: {ids:#?}");
    for episode in &episodes {
        let opened = episode.findings.iter().filter(|finding| finding["activity_id"] == 1).count();
        let closed = episode.findings.iter().filter(|finding| finding["activity_id"] == 3).count();
        ensure!((opened, closed) == (1, 0), "opened {opened} times, closed {closed} times: {ids:#?}");
    }
    Ok(())
}
