//! A lab with a running agent, and the comparison of what it says with what the network card counted.

use std::{cell::Cell, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};

use crate::{
    agent::{Agent, eventually},
    flows::{Flow, Flows},
    lab::{Lab, Nic},
    records::Records,
    settings::Settings,
};

/// The agent reads its maps this often.
const SWEEP: Duration = Duration::from_secs(1);

/// Two sweeps, and a slow machine.
const SWEEPS: Duration = Duration::from_secs(6);

/// See the module. The agent goes first when this is dropped.
#[derive(Debug)]
pub struct Scene {
    /// The agent.
    pub agent: Agent,
    /// The namespaces.
    pub lab: Lab,
    before: Sample,
    /// What the card had sent when the agent last had accounted for all of it.
    settled: Cell<Nic>,
}

/// What both sides said at one time.
#[derive(Debug)]
struct Sample {
    nic: Nic,
    flows: Flows,
    resent_bytes: u64,
}

impl Scene {
    /// A fresh lab with an agent that watches.
    ///
    /// # Errors
    ///
    /// When either does not start.
    pub fn start(settings: &Settings) -> Result<Self> {
        Self::start_in(Lab::new()?, settings)
    }

    /// An agent in a lab where things have happened before.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start_in(lab: Lab, settings: &Settings) -> Result<Self> {
        let silent = lab.nic()?;
        let agent = Agent::start(&lab, settings)?;
        Self::watched(lab, agent, silent)
    }

    /// A lab with an agent that runs already; the card had sent `silent` when it was started.
    ///
    /// # Errors
    ///
    /// When the agent does not answer.
    pub fn watched(lab: Lab, agent: Agent, silent: Nic) -> Result<Self> {
        let before = settle(&lab, &agent, silent)?;
        let settled = Cell::new(before.nic);
        Ok(Self { agent, lab, before, settled })
    }

    /// Waits until the agent has accounted for every byte that the card has sent since the start; returns the
    /// table. The card is the reference: layer 3 bytes in flows and non-IP frames, and frames at the interface.
    ///
    /// # Errors
    ///
    /// When a difference stays.
    pub fn accounted(&self) -> Result<Flows> {
        self.accounted_but(Nic::default()).map(|(flows, _)| flows)
    }

    /// The same, where so much went past everything that counts but the card: exactly that, and not a byte more, may
    /// be missing. Returns also what the card has sent, at the same time.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn accounted_but(&self, bypass: Nic) -> Result<(Flows, Nic)> {
        eventually(SWEEPS, || {
            let after = sample(&self.lab, &self.agent)?;
            let all = after.nic.since(self.before.nic);
            ensure!(all.bytes >= bypass.bytes && all.packets >= bypass.packets, "{bypass:?} is yet to leave");
            let sent = all.since(bypass);
            let accounted = after.flows.accounted_bytes() - self.before.flows.accounted_bytes();
            let seen = Nic::from(after.flows.frames()).since(self.before.flows.frames().into());
            sent.check_seen(seen).with_context(|| format!("{:#?}", after.flows.interfaces))?;
            // What the card dropped has been seen, and therefore counted.
            let difference = accounted as i64 - seen.layer3_bytes() as i64;
            ensure!(
                difference == 0,
                "{} bytes in {} frames, the agent accounts for {accounted} ({difference:+}): {}",
                seen.layer3_bytes(),
                seen.packets,
                describe(&after.flows)
            );
            after.flows.check_sum()?;
            after.flows.check_no_loss()?;
            self.settled.set(after.nic);
            Ok((after.flows, all))
        })
    }

    /// From here on, only what happens now counts: for scenes with several acts.
    ///
    /// # Errors
    ///
    /// When the agent does not answer.
    pub fn mark(&mut self) -> Result<()> {
        self.before = settle(&self.lab, &self.agent, self.settled.get())?;
        self.settled.set(self.before.nic);
        Ok(())
    }

    /// What flows have carried since the mark.
    pub fn since_mark(&self, flows: &Flows) -> Vec<Flow> {
        flows.since(&self.before.flows)
    }

    /// Layer 3 bytes that the agent has accounted for since the mark.
    pub fn counted_since_mark(&self, flows: &Flows) -> u64 {
        flows.accounted_bytes() - self.before.flows.accounted_bytes()
    }

    /// What the card has sent since the start.
    ///
    /// # Errors
    ///
    /// When the card is gone.
    pub fn sent_by_card(&self) -> Result<Nic> {
        Ok(self.lab.nic()?.since(self.before.nic))
    }

    /// Payload that may have left more than once: at most so many bytes.
    ///
    /// # Errors
    ///
    /// When the kernel's table cannot be read.
    pub fn resent(&self) -> Result<u64> {
        Ok(self.lab.resent_bytes_at_most()? - self.before.resent_bytes)
    }

    /// Stops the agent, which must end well, and returns everything it wrote.
    ///
    /// # Errors
    ///
    /// When it does not end well, or a record is not JSON.
    pub fn finish(&mut self) -> Result<Records> {
        let status = self.agent.stop()?;
        ensure!(status.success(), "the agent ended with {status}");
        self.agent.records()
    }
}

/// Both sides, when the agent has read what the card has sent. It had when the card had sent `settled`; what has left
/// since then, such as an answer to a neighbour, must be in its table first.
fn settle(lab: &Lab, agent: &Agent, settled: Nic) -> Result<Sample> {
    let mut now = sample(lab, agent)?;
    let mut known = settled;
    while now.nic != known {
        thread::sleep(2 * SWEEP);
        known = now.nic;
        now = sample(lab, agent)?;
    }
    Ok(now)
}

/// Both sides at one time: the card must not have sent anything while the agent was asked.
fn sample(lab: &Lab, agent: &Agent) -> Result<Sample> {
    eventually(SWEEPS, || {
        let nic = lab.nic()?;
        let flows = agent.flows()?;
        ensure!(lab.nic()? == nic, "the card does not rest");
        Ok(Sample { nic, flows, resent_bytes: lab.resent_bytes_at_most()? })
    })
}

fn describe(flows: &Flows) -> String {
    let rows: String = flows
        .flows
        .iter()
        .map(|flow| {
            let pid = flow.owner.pid.unwrap_or_default();
            format!(
                "\n  {} {pid} -> {} {} port {} by {}, {}: wire {} payload {} packets {}",
                flow.owner.label,
                flow.remote,
                flow.protocol,
                flow.service_port,
                flow.initiator,
                flow.sensor,
                flow.wire_bytes,
                flow.payload_bytes,
                flow.packets
            )
        })
        .collect();
    format!("{rows}\n  totals {:?}\n  losses {:?}\n  {:?}", flows.totals, flows.losses, flows.interfaces)
}

/// Runs a test: a lab, an agent, and `play`. When it fails, the agent's log is shown.
///
/// # Panics
///
/// When anything fails.
#[track_caller]
pub fn scene(settings: &Settings, play: impl FnOnce(&mut Scene) -> Result<()>) {
    let mut scene = match Scene::start(settings).context("start the lab and the agent") {
        Ok(scene) => scene,
        Err(error) => panic!("{error:#}"),
    };
    if let Err(error) = play(&mut scene) {
        panic!("{error:#}");
    }
}
