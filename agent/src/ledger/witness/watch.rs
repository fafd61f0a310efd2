//! The witnesses of an agent: each is offered the newest checkpoint now and then, and what it says is kept.
//!
//! Nobody waits for a witness. One that does not answer is asked again, sooner than usual; one that refuses has seen
//! something else, and goes on being asked, since only its next signature says that all is well again. All of them
//! share one thread of their own: they read the ledger's directory as any outsider would, and a disk that hangs holds
//! up nobody else.
//!
//! Witnesses are offered the same checkpoint where that is possible: what a policy counts is signatures below one note.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use rand::Rng as _;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::client::{Client, Cosigned, OfferError, Witness, own_checkpoint};
use crate::{
    clock::{KernelTime, WallTime},
    ledger::audit::note::Checkpoint,
};

/// The first wait after a failure; it doubles up to the usual one.
const FIRST_RETRY: Duration = Duration::from_secs(2);

/// The last checkpoint of an agent that stops is offered within this time.
const FAREWELL: Duration = Duration::from_secs(3);

/// Offers in a row after which files that do not fit the checkpoint are believed to be wrong. The ledger is written
/// meanwhile: a single look may come between two of its files.
const LOOKS: u32 = 3;

/// What an operator decides about a witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessSettings {
    /// Who, where, and by which key.
    pub witness: Witness,
    /// Who may vouch for its server; the host's authorities if there is none.
    pub ca_file: Option<PathBuf>,
    /// Between two offers.
    pub every: Duration,
    /// A witness that has not signed for this long is a finding.
    pub alert_after: Duration,
}

/// How it stands with a witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// What it signed last.
    pub cosigned: Option<Cosigned>,
    /// Why it did not sign since, and since when.
    pub failing: Option<(KernelTime, WallTime, String)>,
    /// It says that it has seen another ledger; stays until it signs again.
    pub contradiction: Option<String>,
    /// As configured.
    pub alert_after: Duration,
}

/// A witness as the control socket tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented in agent/docs/CONTROL.md")]
pub struct WitnessRow {
    pub name: String,
    pub url: String,
    /// `starting`, `signing`, `failing` or `refusing`.
    pub state: String,
    pub signed_entries: Option<u64>,
    pub signed_at: Option<String>,
    pub failing_since: Option<String>,
    pub reason: Option<String>,
}

impl Standing {
    fn new(settings: &WitnessSettings) -> Self {
        Self {
            name: settings.witness.name.clone(),
            url: settings.witness.url.clone(),
            cosigned: None,
            failing: None,
            contradiction: None,
            alert_after: settings.alert_after,
        }
    }

    /// It has signed, and nothing was wrong since.
    pub const fn is_well(&self) -> bool {
        self.cosigned.is_some() && self.failing.is_none() && self.contradiction.is_none()
    }

    /// As the control socket tells it.
    pub fn row(&self) -> WitnessRow {
        let state = match self {
            Self { contradiction: Some(_), .. } => "refusing",
            Self { failing: Some(_), .. } => "failing",
            Self { cosigned: Some(_), .. } => "signing",
            _ => "starting",
        };
        let failure = self.failing.as_ref();
        let seconds = |time: u64| WallTime::from_unix_seconds(i64::try_from(time).unwrap_or(i64::MAX));
        WitnessRow {
            name: self.name.clone(),
            url: self.url.clone(),
            state: state.to_owned(),
            signed_entries: self.cosigned.map(|signed| signed.size),
            signed_at: self.cosigned.map(|signed| seconds(signed.time).to_string()),
            failing_since: failure.map(|(_, since, _)| since.to_string()),
            reason: self.contradiction.clone().or_else(|| failure.map(|(.., reason)| reason.clone())),
        }
    }

    fn signed(&mut self, cosigned: Cosigned) {
        if self.failing.is_some() || self.contradiction.is_some() {
            tracing::info!(witness = self.name, entries = cosigned.size, "the witness signs again");
        }
        self.cosigned = Some(cosigned);
        self.failing = None;
        self.contradiction = None;
    }

    /// `in_a_row` counts this failure.
    fn failed(&mut self, error: &OfferError, in_a_row: u32) {
        let reason = error.to_string();
        let is_contradiction =
            error.is_alarm() && (in_a_row >= LOOKS || !matches!(error, OfferError::NotOurs));
        if is_contradiction && self.contradiction.is_none() {
            tracing::error!(witness = self.name, reason, "the witness does not sign this ledger");
        } else if self.failing.is_none() {
            tracing::warn!(witness = self.name, reason, "the witness has not signed; asked again");
        }
        if is_contradiction {
            self.contradiction = Some(reason.clone());
        }
        let (kernel, wall) = self
            .failing
            .as_ref()
            .map_or((KernelTime::now(), WallTime::now()), |&(kernel, wall, _)| (kernel, wall));
        self.failing = Some((kernel, wall, reason));
    }
}

/// See the module.
pub struct Witnesses {
    standings: Standings,
    commands: mpsc::UnboundedSender<Command>,
    _thread: JoinHandle<()>,
}

type Standings = Arc<Mutex<Vec<Arc<Mutex<Standing>>>>>;

enum Command {
    Settle(Vec<WitnessSettings>),
    End(oneshot::Sender<()>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Run,
    Farewell,
    Stop,
}

impl Witnesses {
    /// Begins to offer the checkpoint in this directory.
    ///
    /// # Errors
    ///
    /// When there is no thread to be had.
    pub fn start(directory: PathBuf, settings: Vec<WitnessSettings>) -> io::Result<Self> {
        let (commands, inbox) = mpsc::unbounded_channel();
        let standings = Standings::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let offered = Offered::default();
        let circle = Circle { directory, offered, standings: Arc::clone(&standings), members: Vec::new() };
        let thread = std::thread::Builder::new().name("witnesses".to_owned()).spawn(move || {
            crate::confine::thread();
            runtime.block_on(circle.run(inbox));
        })?;
        let witnesses = Self { standings, commands, _thread: thread };
        witnesses.settle(settings);
        Ok(witnesses)
    }

    /// These witnesses, and no others, from now on. One that stays the same is not disturbed.
    pub fn settle(&self, settings: Vec<WitnessSettings>) {
        // A thread that has ended has no witnesses.
        let _ = self.commands.send(Command::Settle(settings));
    }

    /// How it stands with each.
    pub fn standings(&self) -> Vec<Standing> {
        lock(&self.standings).iter().map(|standing| lock(standing).clone()).collect()
    }

    /// Offers the last checkpoint, and ends.
    pub async fn stop(self) {
        let (done, ended) = oneshot::channel();
        let _ = self.commands.send(Command::End(done));
        // A thread that does not answer hangs in a file system, and is left behind.
        let _ = timeout(FAREWELL * 2, ended).await;
    }
}

/// What is in it is whole after each statement: whoever panicked left nothing half-written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Member {
    settings: WitnessSettings,
    standing: Arc<Mutex<Standing>>,
    order: watch::Sender<Order>,
    task: tokio::task::JoinHandle<()>,
}

/// The checkpoint that is offered, and when it was read.
type Offered = Arc<Mutex<Option<(Instant, Checkpoint)>>>;

struct Circle {
    directory: PathBuf,
    offered: Offered,
    standings: Standings,
    members: Vec<Member>,
}

impl Circle {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Command>) {
        while let Some(command) = inbox.recv().await {
            match command {
                Command::Settle(settings) => self.settle(settings).await,
                Command::End(done) => {
                    self.end(Order::Farewell, |_| true).await;
                    // Whoever asked may have stopped waiting.
                    let _ = done.send(());
                    return;
                }
            }
        }
    }

    async fn settle(&mut self, settings: Vec<WitnessSettings>) {
        self.end(Order::Stop, |member| !settings.contains(&member.settings)).await;
        for settings in settings {
            if !self.members.iter().any(|member| member.settings == settings) {
                let standing = Arc::new(Mutex::new(Standing::new(&settings)));
                let (order, orders) = watch::channel(Order::Run);
                let attendant = Attendant {
                    directory: self.directory.clone(),
                    offered: Arc::clone(&self.offered),
                    settings: settings.clone(),
                    standing: Arc::clone(&standing),
                    failures: 0,
                };
                let task = tokio::spawn(attendant.run(orders));
                self.members.push(Member { settings, standing, order, task });
            }
        }
        *lock(&self.standings) = self.members.iter().map(|member| Arc::clone(&member.standing)).collect();
    }

    async fn end(&mut self, order: Order, is_over: impl Fn(&Member) -> bool) {
        let mut tasks = JoinSet::new();
        for Member { order: orders, task, .. } in self.members.extract_if(.., |member| is_over(member)) {
            tasks.spawn(async move {
                let _ = orders.send(order);
                let abort = task.abort_handle();
                if timeout(FAREWELL, task).await.is_err() {
                    abort.abort();
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    }
}

/// Asks one witness.
struct Attendant {
    directory: PathBuf,
    offered: Offered,
    settings: WitnessSettings,
    standing: Arc<Mutex<Standing>>,
    failures: u32,
}

impl Attendant {
    async fn run(mut self, mut orders: watch::Receiver<Order>) {
        loop {
            let wait = tokio::select! {
                wait = self.offer() => wait,
                _ = orders.wait_for(|order| *order != Order::Run) => break,
            };
            tokio::select! {
                () = sleep(wait) => {}
                _ = orders.wait_for(|order| *order != Order::Run) => break,
            }
        }
        if *orders.borrow() == Order::Farewell {
            *lock(&self.offered) = None;
            self.offer().await;
        }
    }

    /// Once. How long to wait for the next time.
    async fn offer(&mut self) -> Duration {
        let every = self.settings.every;
        let offered = self.ask().await;
        // A fleet does not ask its witness at the same moment.
        let usual = every.mul_f64(rand::rng().random_range(0.9..1.1));
        match offered {
            Ok(cosigned) => {
                self.failures = 0;
                lock(&self.standing).signed(cosigned);
                usual
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                lock(&self.standing).failed(&error, self.failures);
                let doubled =
                    FIRST_RETRY.saturating_mul(1_u32.checked_shl(self.failures - 1).unwrap_or(u32::MAX));
                usual.min(doubled)
            }
        }
    }
}

impl Attendant {
    async fn ask(&self) -> Result<Cosigned, OfferError> {
        let WitnessSettings { witness, ca_file, .. } = &self.settings;
        let client = Client::trusting(ca_file.as_deref())?;
        client.offer_this(&self.directory, witness, &self.checkpoint()?).await
    }

    /// The one that others are offered, unless this witness has it or it is getting old.
    fn checkpoint(&self) -> Result<Checkpoint, OfferError> {
        let signed = lock(&self.standing).cosigned.map_or(0, |signed| signed.size);
        let mut offered = lock(&self.offered);
        if let Some((read, checkpoint)) = &*offered
            && self.failures == 0
            && read.elapsed() < self.settings.every / 2
            && checkpoint.size > signed
        {
            return Ok(checkpoint.clone());
        }
        let checkpoint = own_checkpoint(&self.directory)?;
        *offered = Some((Instant::now(), checkpoint.clone()));
        Ok(checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::audit::note::{Algorithm, Cosigner};

    fn standing() -> Standing {
        let key = Cosigner::new("witness.example.org", &[1; 32]).expect("a key").key().clone();
        assert_eq!(key.algorithm(), Algorithm::Witness);
        Standing::new(&WitnessSettings {
            witness: Witness { name: "w".to_owned(), url: "http://127.0.0.1:1".to_owned(), key },
            ca_file: None,
            every: Duration::from_secs(60),
            alert_after: Duration::from_secs(300),
        })
    }

    #[test]
    fn a_contradiction_stays_until_the_witness_signs_again() {
        let mut standing = standing();
        assert_eq!(standing.row().state, "starting");
        standing.signed(Cosigned { size: 7, time: 1 });
        assert_eq!((standing.row().state.as_str(), standing.is_well()), ("signing", true));
        standing.failed(&OfferError::Rollback { theirs: 7, ours: 3 }, 1);
        assert_eq!(standing.row().state, "refusing");
        let unreachable = OfferError::Unreachable { url: String::new(), reason: "no route".to_owned() };
        standing.failed(&unreachable, 2);
        let row = standing.row();
        assert_eq!(row.state, "refusing");
        assert!(row.reason.is_some_and(|reason| reason.contains("old state")));
        standing.signed(Cosigned { size: 9, time: 2 });
        assert_eq!((standing.row().signed_entries, standing.is_well()), (Some(9), true));
    }

    #[test]
    fn one_look_at_files_that_are_being_written_is_no_contradiction() {
        let mut standing = standing();
        for in_a_row in 1..LOOKS {
            standing.failed(&OfferError::NotOurs, in_a_row);
            assert_eq!(standing.row().state, "failing");
        }
        standing.failed(&OfferError::NotOurs, LOOKS);
        assert_eq!(standing.row().state, "refusing");
    }
}
