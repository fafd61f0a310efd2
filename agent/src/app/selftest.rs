//! The canary: a datagram of our own must come out of our own pipeline as a finding that is on disk.
//!
//! ```text
//!   sent -> counted (kernel) -> owned (it is us) -> judged (denied by a policy of its own) -> recorded -> durable
//! ```
//!
//! Everything is the real thing: the socket, the programs, the owner, the policy engine, the episode, the record, the
//! writer. Only the policy is built in, and the record is of kind `self-test` and informational: it must not page
//! anybody. The destination is a documentation address and the datagram dies at the first router. Its bytes have left,
//! so they are in the totals like any others, as excepted by `homeport-selftest`.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{App, outbox::Told, snapshot::SCHEMA};
use crate::{
    alert::{EpisodeSettings, Episodes, ExceptionLedger, Identity},
    clock::{KernelTime, WallTime},
    coverage::selftest::Stage,
    flow::{
        Observation,
        table::{Assessment, Judged},
    },
    geo::Locate as _,
    policy::{
        Judge as _, Judgement, PolicySet, Subject, Verdict,
        rules::{Lists, Policy},
    },
    record::finding,
};

/// Exception that the datagram leaves under, and the policy that denies it.
const NAME: &str = "homeport-selftest";
/// The discard service: nobody answers.
const PORT: u16 = 9;
/// Two sweeps and a slow disk. Less than a client of the control socket waits.
const DEADLINE: Duration = Duration::from_secs(6);

/// How it went.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct SelfTestView {
    pub schema: u32,
    pub time: String,
    pub destination: String,
    pub passed: bool,
    pub reached: Option<String>,
    pub failed: Option<String>,
    pub reason: Option<String>,
    pub took_ms: u64,
}

/// The one under way, and the last one.
#[derive(Debug, Default)]
pub(super) struct SelfTest {
    running: Option<Running>,
    waiting: Vec<oneshot::Sender<SelfTestView>>,
    pub(super) last: Option<SelfTestView>,
    last_began: KernelTime,
}

#[derive(Debug)]
struct Running {
    nonce: String,
    /// Open until the end: a closed socket would be another case.
    _socket: UdpSocket,
    local_port: u16,
    to: SocketAddr,
    began: KernelTime,
    reached: Stage,
    failure: Option<String>,
    durable: Option<oneshot::Receiver<bool>>,
}

impl SelfTest {
    /// Whether these are the bytes of the datagram.
    pub(super) fn is_mine(&self, observation: &Observation) -> bool {
        self.running.as_ref().is_some_and(|running| {
            observation.local_port == running.local_port
                && observation.remote_port == PORT
                && observation.key.remote == running.to.ip()
                && observation.volume.payload_bytes > 0
        })
    }
}

/// Whether something left as a datagram of a self-test: no policy of anybody's says anything about it.
pub(super) fn is_excepted(judgement: &Judgement) -> bool {
    matches!(&judgement.verdict, Verdict::Excepted { id } if **id == *NAME)
}

/// Sends the datagram.
fn send(to: SocketAddr, nonce: &str) -> io::Result<UdpSocket> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    if to.is_ipv4() {
        socket.set_ttl(1)?;
    } else {
        rustix::net::sockopt::set_ipv6_unicast_hops(&socket, Some(1))?;
    }
    // Connected, so that the kernel chooses one address and one route, and says when there is none.
    socket.connect(to)?;
    socket.set_nonblocking(true)?;
    socket.send(format!("homeport self-test {nonce}").as_bytes())?;
    Ok(socket)
}

impl App {
    /// Begins a self-test that somebody asked for, or waits for the one under way.
    pub(super) fn ask_selftest(&mut self, reply: oneshot::Sender<SelfTestView>) {
        self.selftest.waiting.push(reply);
        if self.selftest.running.is_none() {
            self.begin_selftest(KernelTime::now());
        }
    }

    fn begin_selftest(&mut self, now: KernelTime) {
        self.selftest.last_began = now;
        let to = SocketAddr::new(self.config.selftest.destination, PORT);
        let nonce = format!("{:016x}", now.0);
        let sent = send(to, &nonce).and_then(|socket| Ok((socket.local_addr()?.port(), socket)));
        match sent {
            Ok((local_port, socket)) => {
                self.selftest.running = Some(Running {
                    nonce,
                    _socket: socket,
                    local_port,
                    to,
                    began: now,
                    reached: Stage::Sent,
                    failure: None,
                    durable: None,
                });
            }
            Err(error) => self.end_selftest(to, now, None, Stage::Sent, &error.to_string()),
        }
    }

    /// Once a second: has it come out, is it too late, is the next one due?
    pub(super) fn look_at_selftest(&mut self, now: KernelTime) {
        let every = self.config.selftest.every;
        let Some(running) = &mut self.selftest.running else {
            // Not at once after the start: the first promise is to watch.
            let began = if self.selftest.last_began == KernelTime::default() {
                self.selftest.last_began = now;
                now
            } else {
                self.selftest.last_began
            };
            if every.is_some_and(|every| now.since(began) >= every) {
                self.begin_selftest(now);
            }
            return;
        };
        let (to, began, reached) = (running.to, running.began, running.reached);
        let durable = running.durable.as_mut().map(oneshot::Receiver::try_recv);
        if let Some(Ok(true)) = durable {
            return self.end_selftest(to, began, Some(Stage::Durable), Stage::Durable, "");
        }
        let failure = match (running.failure.take(), durable) {
            (Some(failure), _) => Some((reached.next(), failure)),
            (None, Some(Ok(false) | Err(oneshot::error::TryRecvError::Closed))) => {
                let health = self.outbox.health();
                let reason = health.degraded.map(|degraded| degraded.reason.to_string());
                Some((Stage::Durable, reason.unwrap_or_else(|| "the record was not written".to_owned())))
            }
            (None, _) if now.since(began) >= DEADLINE => {
                let next = reached.next();
                Some((next, next.without().to_owned()))
            }
            (None, _) => None,
        };
        if let Some((stage, reason)) = failure {
            self.end_selftest(to, began, Some(reached), stage, &reason);
        }
    }

    /// The datagram has been counted: the rest of the way.
    pub(super) fn take_selftest(&mut self, observation: Observation, now: KernelTime) {
        let wall = WallTime::now();
        let located = Arc::new(self.locator.locate(observation.key.remote));
        let judgement = judge(&observation, &located, wall);
        let excepted = Arc::new(Judgement {
            policy: Arc::clone(&judgement.policy),
            verdict: Verdict::Excepted { id: NAME.into() },
            reason: "a datagram of the agent's own self-test".into(),
        });
        let assessment = Assessment { located: Arc::clone(&located), judgement: excepted };
        self.table.observe(observation.clone(), |_| assessment);
        let pid = observation.key.owner.process().map(|process| process.pid);
        let Some(running) = self.selftest.running.as_mut() else { return };
        if running.reached != Stage::Sent {
            return;
        }
        running.reached = Stage::Counted;
        if pid != Some(std::process::id()) {
            running.failure = Some(format!("it was counted for {}", observation.key.owner.label()));
            return;
        }
        running.reached = Stage::Owned;
        if !matches!(judgement.verdict, Verdict::Violation { .. }) {
            running.failure = Some(format!("the verdict was: {}", judgement.reason));
            return;
        }
        running.reached = Stage::Judged;
        let nonce = running.nonce.clone();
        let identity = Identity { host: self.origin.host_uid.as_str().into(), boot: nonce.as_str().into() };
        let judged = Judged {
            observation,
            assessment: Assessment { located, judgement: Arc::new(judgement) },
            is_new: true,
            had_payload: false,
        };
        // Of its own, so that it is no part of anybody's alert and has no limits that others have used up.
        let opened = Episodes::new(EpisodeSettings::default(), identity).observe(&judged, now);
        let Some(transition) = opened else { return };
        let record = finding::self_test(&self.context(), &transition, &nonce);
        let (confirm, durable) = oneshot::channel();
        let line = format!("self-test {nonce} came out as a finding");
        let told = Told { line, paragraph: None, is_alert: false, confirm: Some(confirm) };
        self.outbox.send(record, Some(told));
        if let Some(running) = self.selftest.running.as_mut() {
            running.reached = Stage::Recorded;
            running.durable = Some(durable);
        }
    }

    fn end_selftest(
        &mut self,
        to: SocketAddr,
        began: KernelTime,
        reached: Option<Stage>,
        failed: Stage,
        reason: &str,
    ) {
        self.selftest.running = None;
        let passed = reached == Some(Stage::Durable);
        let view = SelfTestView {
            schema: SCHEMA,
            time: WallTime::now().to_string(),
            destination: to.to_string(),
            passed,
            reached: reached.map(|stage| stage.as_str().to_owned()),
            failed: (!passed).then(|| failed.as_str().to_owned()),
            reason: (!passed).then(|| reason.to_owned()),
            took_ms: KernelTime::now().since(began).as_millis() as u64,
        };
        for reply in self.selftest.waiting.drain(..) {
            // A client that is gone needs no answer.
            drop(reply.send(view.clone()));
        }
        self.selftest.last = Some(view);
        if passed {
            self.recovered("self-test");
        } else {
            self.degraded("self-test", &format!("failed at stage {}: {reason}", failed.as_str()));
        }
    }
}

/// The real engine, under a policy that denies the destination to everybody.
fn judge(observation: &Observation, located: &crate::geo::Located, now: WallTime) -> Judgement {
    let denied = Lists { networks: [observation.key.remote.into()].into(), ..Lists::default() };
    let policies =
        PolicySet::new(Vec::new(), Policy { denied, ..Policy::empty(NAME) }, Vec::new(), Vec::new());
    let subject = Subject {
        owner: &observation.key.owner,
        remote: observation.key.remote,
        located,
        protocol: observation.key.protocol,
        local_port: observation.local_port,
        remote_port: observation.remote_port,
        initiator: observation.key.initiator,
    };
    policies.judge(&subject, &ExceptionLedger::new(), now)
}
