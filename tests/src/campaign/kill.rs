//! Kills at random moments under load: is what receivers got what the ledger has?
//!
//! Two parts, with the same questions after each kill (`SIGKILL`) and at the end.
//!
//! - **The ledger and the sinks alone**, in a small process that writes violations as fast as the disk takes them and
//!   delivers them to a webhook and to a file: killed hundreds of times while it opens the ledger, appends, signs,
//!   sends, or moves a cursor. The webhook takes records and then fails, now and then.
//! - **The whole agent**, with its programs in the kernel, in the lab: senders make violations all the time, and it is
//!   killed while it starts, reads, commits, writes or delivers.
//!
//! After each kill the ledger is verified as it lies there, by `homeport ledger verify`. In the end everything is
//! delivered, and each receiver must have exactly the violations of the ledger, in its order but for repetitions.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs::{self, File},
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::{
    Progress, Random, Report,
    inbox::{Inbox, number_and_id},
    restart::Transfers,
};
use crate::{
    actor,
    agent::{Agent, binary, eventually},
    lab::{Family, Host, Lab},
    ledger,
    records::FINDING,
    running::Running,
    settings::Settings,
};

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How often the process with ledger and sinks is killed.
    pub kills: u32,
    /// The longest it may live, in milliseconds: three in four from their first record on, the others from their start.
    pub most_ms: u64,
    /// Entries from which on another ledger is begun: each is verified from its begin after each kill.
    pub most_entries: usize,
    /// How often the whole agent is killed.
    pub agent_kills: u32,
    /// The longest the agent may live, in milliseconds: three in four once they watch, the others from their start.
    pub agent_most_ms: u64,
    /// The same seed takes the same steps.
    pub seed: u64,
}

impl Plan {
    /// A few seconds, without the agent.
    pub const fn short(seed: u64) -> Self {
        Self { kills: 25, most_ms: 150, most_entries: 2_000, agent_kills: 0, agent_most_ms: 0, seed }
    }

    /// The agent alone, a few seconds.
    pub const fn short_agent(seed: u64) -> Self {
        Self { kills: 0, agent_kills: 4, agent_most_ms: 2_500, ..Self::short(seed) }
    }
}

/// Runs it.
///
/// # Errors
///
/// When something could not be done at all; broken promises are in the report.
pub fn run(plan: &Plan, progress: Progress) -> Result<Report> {
    let mut report = Report::default();
    if plan.kills > 0 {
        let mut random = Random::from_seed(plan.seed);
        let begun = Instant::now();
        let parts = parts(plan, &mut random, progress)
            .with_context(|| format!("ledger and sinks, seed {}", plan.seed))?;
        report.exactly("ledger and sinks: kills", plan.kills, parts.kills);
        report.figure("seconds", begun.elapsed().as_secs());
        parts.tell(&mut report, "ledger and sinks: ");
    }
    if plan.agent_kills > 0 {
        let mut random = Random::from_seed(plan.seed.wrapping_add(1));
        let begun = Instant::now();
        let whole =
            whole(plan, &mut random, progress).with_context(|| format!("agent, seed {}", plan.seed))?;
        report.exactly("whole agent with its programs in the kernel: kills", plan.agent_kills, whole.kills);
        report.figure("seconds", begun.elapsed().as_secs());
        whole.tell(&mut report, "whole agent: ");
    }
    Ok(report)
}

#[derive(Debug, Default)]
pub(super) struct Figures {
    kills: u32,
    ledgers: u64,
    entries: u64,
    violations: u64,
    accepted: u64,
    missing: u64,
    changed: u64,
    unverified: u64,
    holes: u64,
    faults: u64,
    torn: u64,
    receivers: BTreeMap<&'static str, Receiver>,
}

/// What a receiver has, compared with the ledger.
#[derive(Debug, Default)]
struct Receiver {
    received: u64,
    repeated: u64,
    lost: u64,
    unknown: u64,
    disordered: u64,
}

impl Figures {
    pub(super) fn tell(&self, report: &mut Report, whose: &str) {
        report.figure(format!("{whose}ledgers"), self.ledgers);
        report.figure(format!("{whose}entries"), self.entries);
        report.promise(format!("{whose}violations in them"), self.violations, "> 0", self.violations > 0);
        report.exactly(
            format!("{whose}times that `ledger verify` found something wrong"),
            0,
            self.unverified,
        );
        report.exactly(format!("{whose}entries that changed after they were signed"), 0, self.changed);
        report.exactly(format!("{whose}holes and repetitions in metadata.sequence"), 0, self.holes);
        if self.accepted > 0 {
            report.figure(format!("{whose}records that were told to be accepted"), self.accepted);
            report.exactly(format!("{whose}accepted records that are missing"), 0, self.missing);
        }
        report.figure(format!("{whose}requests that were taken and answered with an error"), self.faults);
        report.figure(format!("{whose}lines of the file torn by a kill, and ended"), self.torn);
        for (name, receiver) in &self.receivers {
            let Receiver { received, repeated, lost, unknown, disordered } = receiver;
            report.exactly(format!("{whose}different violations at the {name}"), self.violations, *received);
            report.figure(format!("{whose}that came again"), repeated);
            report.exactly(format!("{whose}of the ledger, missing at the {name}"), 0, *lost);
            report.exactly(format!("{whose}at the {name}, and not in the ledger"), 0, *unknown);
            report.exactly(format!("{whose}at the {name} before one that is older"), 0, *disordered);
        }
    }
    /// What has to hold when nobody is killed any more; the number of entries.
    fn settle(&mut self, path: &Path, known: &[String], file: &Path, inbox: &Inbox) -> Result<usize> {
        self.unverified += u64::from(!verifies(path)?);
        let entries = ledger::verify(path)?.entries;
        ensure!(entries.starts_with(known), "what was signed has changed");
        ensure!(!path.join("quarantine").exists(), "a ledger was given up");
        let (in_file, torn) = lines(file)?;
        self.torn += torn;
        let received = inbox.received();
        ensure!(received.garbled.is_empty(), "{:?}", received.garbled);
        self.faults += received.faults;
        self.compare(&entries, [("webhook", &received.records), ("file", &in_file)])?;
        Ok(entries.len())
    }

    /// One ledger is at its end: everything is delivered.
    pub(super) fn compare(
        &mut self,
        entries: &[String],
        received: [(&'static str, &[(u64, String)]); 2],
    ) -> Result<()> {
        let mut violations = HashSet::new();
        let mut before = 0;
        for entry in entries {
            let record: Value = serde_json::from_str(entry)?;
            let (number, id) = number_and_id(&record)?;
            self.holes += u64::from(number != before + 1);
            before = number;
            if record["class_uid"] == FINDING {
                violations.insert(id);
            }
        }
        self.ledgers += 1;
        self.entries += entries.len() as u64;
        self.violations += violations.len() as u64;
        for (name, records) in received {
            let receiver = self.receivers.entry(name).or_default();
            let mut seen = HashSet::new();
            let mut latest = 0;
            for (number, id) in records {
                if !seen.insert(id) {
                    receiver.repeated += 1;
                    continue;
                }
                receiver.disordered += u64::from(*number <= latest);
                latest = latest.max(*number);
                receiver.unknown += u64::from(!violations.contains(id));
            }
            receiver.received += seen.len() as u64;
            receiver.lost += violations.iter().filter(|id| !seen.contains(id)).count() as u64;
        }
        Ok(())
    }
}

/// Whether the ledger is found to be right as it lies there. There is none before the first checkpoint.
fn verifies(path: &Path) -> Result<bool> {
    if !path.join("checkpoint").exists() {
        return Ok(true);
    }
    let key = fs::read_to_string(path.join("key.pub")).context("key.pub")?;
    let mut command = Command::new(binary()?);
    command.args(["ledger", "verify", "--key", key.trim_end()]).arg(path).stdin(Stdio::null());
    let output = command.output()?;
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stdout));
    }
    Ok(output.status.success())
}

/// Lines of a file of records, and how many of them were torn when the writer was killed.
pub(super) fn lines(path: &Path) -> Result<(Vec<(u64, String)>, u64)> {
    let text = fs::read(path).unwrap_or_default();
    let (mut records, mut torn) = (Vec::new(), 0);
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice(line) {
            Ok(record) => records.push(number_and_id(&record)?),
            Err(_) => torn += 1,
        }
    }
    Ok((records, torn))
}

fn parts(plan: &Plan, random: &mut Random, progress: Progress) -> Result<Figures> {
    let mut figures = Figures::default();
    while figures.kills < plan.kills {
        let directory = tempfile::tempdir()?;
        let (path, file) = (directory.path().join("ledger"), directory.path().join("violations.jsonl"));
        let inbox = Inbox::start(30, random.next())?;
        let start = |words: &[&str]| {
            let mut command = Command::new(actor::binary()?);
            command.args(["ledger-deliver", "--webhook", &inbox.url()]);
            command.arg("--directory").arg(&path).arg("--jsonl").arg(&file).args(words);
            Running::start(&mut command)
        };
        let mut known: Vec<String> = Vec::new();
        let mut accepted = 0;
        while figures.kills < plan.kills && known.len() < plan.most_entries {
            figures.kills += 1;
            progress.tell(format_args!("kill {}: {} entries", figures.kills, known.len()));
            let is_started = random.within(0..=3) > 0;
            let batch = [1, 8, 40][random.within(0..=2) as usize].to_string();
            let pause = random.within(0..=4).to_string();
            let mut process = start(&["--batch", &batch, "--pause-ms", &pause])?;
            // Once it writes, as a rule; else while it starts, which takes longer on a busy machine.
            if is_started {
                let line = process.line()?;
                accepted = accepted.max(line["last"].as_u64().context("a number")?);
            }
            thread::sleep(Duration::from_millis(random.within(0..=plan.most_ms)));
            process.kill()?;
            // Its lines are read by a thread of their own, which ends when the pipe does; the last one may be torn.
            while let Ok(line) = process.line() {
                accepted = line["accepted"].as_u64().or(line["last"].as_u64()).context("a number")?;
            }
            figures.unverified += u64::from(!verifies(&path)?);
            let entries =
                if path.join("checkpoint").exists() { ledger::verify(&path)?.entries } else { Vec::new() };
            let kept = known.iter().zip(&entries).filter(|(before, now)| before == now).count();
            figures.changed += (known.len() - kept) as u64;
            known = entries;
        }
        // What is left is delivered, however often the receiver fails.
        start(&["--drain"])?.succeed().context("delivering the rest")?;
        let entries = figures.settle(&path, &known, &file, &inbox)?;
        figures.accepted += accepted;
        figures.missing += accepted.saturating_sub(entries as u64);
    }
    Ok(figures)
}

/// A listener on the storage host, for a receiver that lives here: descriptors know no namespaces.
fn listen_on_storage(lab: &Lab) -> Result<TcpListener> {
    let file = File::open(Path::new("/run/netns").join(lab.namespace(Host::Storage)))?;
    thread::spawn(move || -> Result<TcpListener> {
        rustix::thread::move_into_link_name_space(
            std::os::fd::AsFd::as_fd(&file),
            Some(rustix::thread::LinkNameSpaceType::Network),
        )?;
        Ok(TcpListener::bind("127.0.0.1:0")?)
    })
    .join()
    .map_err(|_| anyhow::anyhow!("the thread that listens has panicked"))?
}

fn whole(plan: &Plan, random: &mut Random, progress: Progress) -> Result<Figures> {
    let lab = Lab::new()?;
    let inbox = Inbox::on(listen_on_storage(&lab)?, 30, random.next())?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("violations.jsonl");
    let more = format!(
        "[[sink]]\nname = \"siem\"\nkind = \"webhook\"\nurl = \"{}\"\nrecords = [\"findings\"]\nheartbeat = false\n\
         retry_max_secs = 1\nlinger_ms = 5\nbatch_records = 50\n\n\
         [[sink]]\nname = \"file\"\nkind = \"jsonl\"\npath = \"{}\"\nrecords = [\"findings\"]\nheartbeat = false\n",
        inbox.url(),
        file.display()
    );
    // Episodes are over soon, so that there are many.
    let settings = Settings { interval_secs: 1, quiet_secs: 1, more, ..Settings::pinned() };
    let mut agent = Agent::start(&lab, &settings)?;
    let path = agent.directory().join("state/ledger");
    let transfers = Transfers::start(&lab)?;
    let sink = |host: Host| (host.address(Family::V4), 9_300).into();
    let _sinks = [
        lab.listener(Host::Foreign, "tcp-sink", sink(Host::Foreign), "")?,
        lab.listener(Host::Denied, "tcp-sink", sink(Host::Denied), "")?,
    ];
    let mut figures = Figures::default();
    let mut known: Vec<String> = Vec::new();
    let result = (|| -> Result<()> {
        for kill in 1..=plan.agent_kills {
            progress.tell(format_args!("kill {kill} of the agent: {} entries", known.len()));
            let until = Instant::now() + Duration::from_millis(random.within(0..=plan.agent_most_ms));
            while Instant::now() < until {
                let host = if random.within(0..=1) == 0 { Host::Foreign } else { Host::Denied };
                let to: std::net::SocketAddr = sink(host);
                let bytes = random.within(1_000..=40_000);
                lab.send(Host::Storage, &format!("tcp-push --to {to} --bytes {bytes}"))?;
                thread::sleep(Duration::from_millis(random.within(0..=200)));
            }
            agent.kill()?;
            figures.kills += 1;
            figures.unverified += u64::from(!verifies(&path)?);
            let entries =
                if path.join("checkpoint").exists() { ledger::verify(&path)?.entries } else { Vec::new() };
            let kept = known.iter().zip(&entries).filter(|(before, now)| before == now).count();
            figures.changed += (known.len() - kept) as u64;
            known = entries;
            // One in four is not waited for: the next kill may come before it watches.
            if random.within(0..=3) == 0 {
                agent.launch_again(&lab, &binary()?)?;
            } else {
                agent.start_again(&lab)?;
            }
        }
        transfers.finish()?;
        agent.kill()?;
        agent.start_again(&lab)
    })();
    result.with_context(|| agent.log())?;
    // Nothing is sent any more: episodes end, and everything is delivered.
    thread::sleep(Duration::from_secs(4));
    eventually(Duration::from_secs(60), || {
        let signed: BTreeSet<String> = ledger::verify(&path)?
            .records()?
            .of_class(FINDING)
            .map(|record| Ok(number_and_id(record)?.1))
            .collect::<Result<_>>()?;
        let received: BTreeSet<String> = inbox.received().records.iter().map(|(_, id)| id.clone()).collect();
        let in_file: BTreeSet<String> = lines(&file)?.0.into_iter().map(|(_, id)| id).collect();
        if signed.is_subset(&received) && signed.is_subset(&in_file) {
            return Ok(());
        }
        bail!("{} violations, {} received, {} in the file", signed.len(), received.len(), in_file.len())
    })
    .with_context(|| agent.log())?;
    let status = agent.stop()?;
    ensure!(status.success(), "the agent ended with {status}\n{}", agent.log());
    figures.settle(&path, &known, &file, &inbox)?;
    Ok(figures)
}
