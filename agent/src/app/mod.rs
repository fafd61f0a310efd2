//! The one place where the parts meet: builds everything from the configuration, runs the loop, orders the end.
//!
//! ```text
//!   events, sweep --> observe --> table (judges) --> episodes --> outbox --> writer
//!                        |            |                  |
//!                      owners   locator, policies    exceptions
//! ```
//!
//! One task owns all of it, so nothing is shared and nothing is locked; what may block (the disk, a client of the
//! control socket, reading a database) happens elsewhere and talks to it through channels.
//!
//! | file | what for |
//! |---|---|
//! | `observe` | readings become observations, judged and alerted on |
//! | `sweep_time` | how long sweeps take |
//! | `edges` | interface programs follow the interfaces; counters of both |
//! | `destinations` | frames without a socket of ours at the edge: whose they are |
//! | `stays` | what containers and the host send each other has not left |
//! | `databases` | loads country databases, follows their files |
//! | `reload` | another policy or database: everything is judged again |
//! | `minute` | the interval record, coverage and losses |
//! | `selftest` | a datagram of our own must come out as a finding |
//! | `watch` | what is attached is looked after, and repaired |
//! | `outbox` | records on their way to the writer |
//! | `commit` | from when on what was read and recorded counts |
//! | `run_state` | what one agent leaves for the next, until the next boot |
//! | `delivery` | sinks, and what happens at them |
//! | `witnesses` | who signs the checkpoints of the ledger, and who does not |
//! | `service` | the service manager is told, and never waited for |
//! | `state` | what outlives a boot |
//! | `coverage` | the statement of what is seen and what not |
//! | `snapshot`, `status` | what the control socket is told |
//! | `overview` | what the status page is told beyond that |

mod commit;
pub mod coverage;
mod databases;
mod delivery;
mod destinations;
mod edges;
pub mod figures;
mod identity;
mod minute;
mod observe;
mod outbox;
pub mod overview;
mod reload;
mod roles;
mod run_state;
pub mod selftest;
mod service;
pub mod snapshot;
mod state;
pub mod status;
mod stays;
mod sweep_time;
mod watch;
mod witnesses;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::IpAddr,
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use sd_notify::NotifyState;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use self::{
    commit::{Before, Commits, LastCommit},
    delivery::Delivery,
    edges::Edges,
    identity::HostIdentity,
    minute::MinuteState,
    observe::Ring,
    outbox::Outbox,
    run_state::RunState,
    selftest::SelfTest,
    state::StateFile,
    stays::Stays,
    sweep_time::SweepTimes,
    watch::Watch,
    witnesses::Watched,
};
pub use self::{
    databases::{Databases, open_databases},
    identity::find_cgroup,
};
use crate::{
    alert::{EpisodeSettings, Episodes, ExceptionLedger, Identity},
    clock::{Clock, ClockSteps, KernelTime, WallTime},
    config::{Config, Namespaces},
    confine, control,
    coverage::findings::Findings,
    exit::{Exit, Failure},
    flow::{
        FlowKey, Volume,
        table::{FlowTable, TableSettings},
    },
    geo::{CountryCode, locator::Locator},
    ledger::Ledger,
    page,
    policy::PolicySet,
    probe::{
        DirectoryLock, NamespaceBy, Pace, PinError, Probe, ProbeError, ProbeSettings, Reading, links::Links,
    },
    process::{
        Owners,
        sockets::{Older, Scan},
    },
    record::{
        Context, Origin,
        lifecycle::{Event, Resumed},
        person::Style,
        writer::{LedgerSettings, OpenError, STOP_GRACE, Writer, WriterSettings},
    },
};

/// Sweeps per second: one. Every flow is seen within it, whatever happens to events.
const SWEEP: Duration = Duration::from_secs(1);

/// Programs run for microseconds: after this long, all that began before have ended.
const TURN: Duration = Duration::from_millis(20);

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file, read again on SIGHUP.
    pub config_path: Option<PathBuf>,
    /// Print alerts for a person to standard output.
    pub person: Option<Style>,
}

/// Everything that the loop owns.
struct App {
    config: Config,
    options: Options,
    probe: Probe,
    owners: Owners,
    older: Older,
    locator: Arc<Locator>,
    policies: Arc<PolicySet>,
    table: FlowTable,
    episodes: Episodes,
    exceptions: ExceptionLedger,
    findings: Findings,
    watch: Watch,
    selftest: SelfTest,
    scope: Scope,
    clock_steps: ClockSteps,
    clock: Clock,
    origin: Origin,
    booted: Option<WallTime>,
    outbox: Outbox,
    delivery: Delivery,
    witnesses: Watched,
    /// For whoever reads the records.
    ledger: Option<Ledger>,
    edges: Edges,
    stays: Stays,
    databases: Databases,
    minute: MinuteState,
    state: StateFile,
    /// Slots whose exact owner is about to be told, with the time until which we wait.
    waiting: VecDeque<(KernelTime, u32, u32)>,
    waiting_slots: HashSet<u32>,
    /// What was counted for a provisional owner of a slot, by the slot: its generation, whose, how much.
    provisional: HashMap<u32, (u32, FlowKey, Volume)>,
    /// Destinations that the kernel side has been told to be silent about.
    known: HashSet<IpAddr>,
    ephemeral_ports: std::ops::RangeInclusive<u16>,
    own_netns: Option<u64>,
    started: WallTime,
    sweeps: SweepTimes,
    /// Between sweeps it is empty; kept for its memory.
    readings: Vec<Reading>,
    /// What the last look at each lasting condition said, so that only changes are told.
    conditions: HashMap<String, String>,
    condition_since: HashMap<String, KernelTime>,
    /// Times that the disk took no records, of those that were told.
    outages_seen: u64,
    warned_age: HashSet<String>,
    commits: Commits,
    boot: Arc<str>,
    /// When this process began to watch.
    born: KernelTime,
    /// For the start record.
    resumed: Option<Resumed>,
    /// A sweep has just been taken.
    swept: bool,
    save_state_due: bool,
    /// For the status page.
    records: Arc<page::Ring>,
    /// Nobody else works with the run directory.
    _lock: Option<DirectoryLock>,
}

/// Whose sockets are observed.
struct Scope {
    cgroup: PathBuf,
    /// Only those of the agent's own network namespace.
    own_only: bool,
}

/// Runs the agent until it is told to stop.
///
/// # Errors
///
/// When it cannot start: rights, kernel, databases, outputs. Once it runs, it does not end by itself.
pub async fn run(config: Config, options: Options) -> Result<(), Failure> {
    let identity = HostIdentity::read(config.host.name.as_deref());
    let now = WallTime::now();
    let databases = open_databases(&config, now).map_err(|error| Failure::new(Exit::Unusable, error))?;
    let locator = Arc::new(databases.locator(&config));
    let state = StateFile::open(&config.agent.state_dir);
    let saved = state.load();
    let mut exceptions = ExceptionLedger::new();
    exceptions.restore(saved.exceptions.iter().map(|(id, used)| (Arc::from(id.as_str()), *used)));

    let origin = Origin {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hostname: identity.hostname.clone(),
        host_uid: identity.host_uid.clone(),
        country_name: |code: CountryCode| code.name(),
    };
    let (lock, run_state) = open_run_dir(&config)?;
    let (left, unreadable) = match run_state.as_ref().map(RunState::load) {
        Some(Ok(left)) => (left, None),
        Some(Err(reason)) => {
            tracing::error!(reason, "what the agent before left cannot be used");
            (None, Some(reason))
        }
        None => (None, None),
    };
    // Numbers go on across boots, everything else in it is of one.
    let last_sequence = left.as_ref().map_or(0, |left| left.ledger.sequence);
    let left = left.filter(|left| left.ledger.boot == identity.boot);
    let before = Before {
        committed: left
            .as_ref()
            .map(|left| LastCommit { time: left.ledger.written, cards: left.ledger.edges.edges.clone() }),
        unreadable,
        mark: saved.mark.clone(),
        boot: identity.boot.as_str().into(),
        booted: identity.booted,
    };

    let (writer, started) = Writer::spawn(
        WriterSettings {
            ledger: ledger_settings(&config, &origin.host_uid),
            file: config.records.file.clone(),
            stdout: config.records.stdout,
            queue_bytes: usize::try_from(config.limits.record_queue).unwrap_or(usize::MAX),
            instance: format!("{}-{}", &identity.boot[..8.min(identity.boot.len())], std::process::id()),
            sequence_floor: saved.sequence.max(last_sequence),
        },
        origin.clone(),
    )
    .map_err(|error: OpenError| Failure::new(Exit::Unusable, error))?;
    if started.torn_bytes > 0 {
        tracing::warn!(bytes = started.torn_bytes, "the record file ended in a torn line; it was closed");
    }

    let cgroup = find_cgroup(config.host.cgroup.as_deref())?;
    let own_namespace_only = match config.host.namespaces {
        Namespaces::All => false,
        Namespaces::Own => true,
        Namespaces::Auto => identity::in_another_network_namespace(),
    };
    let probe_settings = ProbeSettings {
        cgroup: cgroup.path.clone(),
        own_namespace_only,
        exact_owners: config.host.exact_owners,
        slots: config.limits.max_sockets,
        ring_bytes: config.limits.ring_mib << 20,
        pin_dir: config.agent.pin_dir.clone(),
    };
    // Names first: the table of processes is complete when the first packet is counted.
    let netns_cookie = || crate::probe::own_namespace(NamespaceBy::Cookie).ok().flatten();
    let mut sockets = Scan::new(own_namespace_only);
    sockets.look(netns_cookie);
    let owners = Owners::new(&cgroup.path);
    let born = KernelTime::now();
    let probe = Probe::start(&probe_settings, commit::committed(left.as_ref())).map_err(|error| {
        let exit = match error {
            ProbeError::NotPermitted => Exit::NotPermitted,
            ProbeError::Cgroup { .. } | ProbeError::Required { .. } | ProbeError::Load(_) => {
                Exit::Unsupported
            }
            ProbeError::Map { .. } | ProbeError::Pins(_) => Exit::Failure,
        };
        Failure::new(exit, error)
    })?;

    sockets.look(netns_cookie);
    let older = sockets.finish();

    let clock = Clock::sample();
    let records = Arc::new(page::Ring::default());
    let policies = Arc::new(config.policies.clone());
    let named = Identity { host: identity.host_uid.as_str().into(), boot: identity.boot.as_str().into() };
    let mut app = App {
        table: FlowTable::new(TableSettings {
            max_flows: config.limits.max_flows as usize,
            ..TableSettings::default()
        }),
        episodes: Episodes::new(episode_settings(&config), named.clone()),
        findings: Findings::new(named),
        watch: Watch::default(),
        selftest: SelfTest::default(),
        scope: Scope { cgroup: cgroup.path.clone(), own_only: own_namespace_only },
        clock_steps: ClockSteps::default(),
        outbox: Outbox::start(writer, Arc::clone(&records)),
        delivery: Delivery::default(),
        witnesses: Watched::default(),
        ledger: started.ledger,
        minute: MinuteState::new(KernelTime::now(), WallTime::now()),
        booted: identity.booted,
        edges: Edges::default(),
        stays: Stays::default(),
        waiting: VecDeque::new(),
        waiting_slots: HashSet::new(),
        provisional: HashMap::new(),
        known: HashSet::new(),
        ephemeral_ports: identity::ephemeral_ports(),
        own_netns: crate::probe::own_namespace(probe.namespaces()).ok().flatten(),
        started: WallTime::now(),
        sweeps: SweepTimes::default(),
        readings: Vec::new(),
        conditions: HashMap::new(),
        condition_since: HashMap::new(),
        outages_seen: 0,
        warned_age: HashSet::new(),
        config,
        options,
        probe,
        owners,
        older,
        locator,
        policies,
        exceptions,
        clock,
        origin,
        databases,
        state,
        commits: Commits::new(run_state),
        boot: identity.boot.as_str().into(),
        born,
        resumed: None,
        swept: false,
        save_state_due: false,
        records,
        _lock: lock,
    };
    if !app.probe.is_pinned() {
        app.commits = Commits::new(None);
    }
    if let Some(left) = left {
        app.resume(left, &started.written);
    }
    tracing::info!(
        cgroup = %cgroup.path.display(),
        private_cgroup = cgroup.private,
        own_namespace_only,
        older_sockets = app.older.len(),
        processes = app.owners.len(),
        policy_hash = %app.policies.hash(),
        "watching"
    );
    if let Some(ledger) = &app.ledger
        && let Err(error) = app.delivery.start(&app.config, ledger, &app.origin.host_uid)
    {
        // The records are safe; `look_at_sinks` says that nobody gets them.
        tracing::error!(%error, "sinks cannot be started");
    }
    if let Some(ledger) = &app.ledger
        && let Err(error) = app.witnesses.start(&app.config, ledger)
    {
        tracing::error!(%error, "witnesses cannot be asked");
    }
    app.serve(&before).await
}

impl App {
    async fn serve(&mut self, before: &Before) -> Result<(), Failure> {
        let mut links = Links::connect()?;
        self.follow_links(&links).await;
        self.probe.remove_strangers();
        self.drain().await;
        if let Some(reason) = self.probe.unpinned() {
            let reason = format!("counting stops whenever the agent does: {reason}");
            self.degraded("restart", &reason);
        }
        let (queries_in, mut queries) = mpsc::channel(16);
        let pages_in = queries_in.clone();
        // Without a control socket the agent still protects; `flows` and `status` will not answer.
        let _control = match control::serve(&self.config.agent.socket, queries_in) {
            Ok(server) => Some(server),
            Err(error) => {
                tracing::error!(socket = %self.config.agent.socket.display(), %error, "no control socket");
                None
            }
        };
        let _page = self.open_page(pages_in);
        let mut file_changes = self.databases.changes();
        let flow_events = self.probe.watch_flow_events()?;
        let mut pace = Pace::default();
        let mut gathering_until: Option<KernelTime> = None;
        let host_events = self.probe.watch_host_events()?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);

        self.record_start();
        self.record_gap(before, &links.list().await.unwrap_or_default());
        self.take_up_findings(&links).await;
        self.commit();
        self.save_state();
        confine::after_start();
        service::tell(&[NotifyState::Ready]);

        let reason = loop {
            let due = [self.next_wait(), self.next_commit(), gathering_until].into_iter().flatten().min();
            tokio::select! {
                biased;
                _ = terminate.recv() => break "SIGTERM",
                _ = interrupt.recv() => break "SIGINT",
                _ = hangup.recv() => self.reload_configuration().await,
                // Before the events: a flood of them must not hold up the sweep.
                _ = sweep.tick() => {
                    self.sweep(&links).await;
                    service::alive();
                }
                () = sleep_until(due) => {
                    let now = KernelTime::now();
                    gathering_until = gathering_until.filter(|until| *until > now);
                    self.take_waiting(now);
                }
                ready = host_events.readable() => {
                    self.take_host_events();
                    ready?.clear_ready();
                }
                ready = flow_events.readable(), if gathering_until.is_none() => {
                    // Names before flows: they were told before.
                    self.take_host_events();
                    let mut ready = ready?;
                    // The kernel rings only for a reader that has caught up: an unfinished ring stays ready.
                    match self.take_flow_events() {
                        Ring::Empty { taken } => {
                            ready.clear_ready();
                            let now = KernelTime::now();
                            gathering_until = pace.after(taken, now).map(|pause| now + pause);
                        }
                        Ring::More => ready.retain_ready(),
                    }
                }
                () = links.changed() => self.follow_links(&links).await,
                Some(path) = file_changes.recv() => self.reload_database(&path).await,
                Some(query) = queries.recv() => self.answer(query),
            }
            self.commit_when_due();
        };
        tracing::info!(reason, "stopping");
        service::tell(&[NotifyState::Stopping]);
        self.stop(reason, &links).await;
        Ok(())
    }

    /// Without a page the agent still protects.
    fn open_page(&self, queries: mpsc::Sender<snapshot::Query>) -> Option<page::Server> {
        let mut settings = page::Settings::new(&self.config.page)?;
        settings.host_names.push(self.origin.hostname.to_ascii_lowercase());
        let records = page::Records {
            ledger: self.ledger.clone().map(|ledger| Arc::new(ledger) as Arc<dyn crate::ledger::Source>),
            run: self.records.clone(),
        };
        match page::serve(settings, Arc::new(queries), records) {
            Ok(server) => {
                let scheme = if self.config.page.tls.is_some() { "https" } else { "http" };
                tracing::info!("status page on {scheme}://{}/", server.address());
                Some(server)
            }
            Err(error) => {
                tracing::error!(%error, "no status page");
                None
            }
        }
    }

    /// The last bytes, the last records, in this order.
    async fn stop(&mut self, reason: &str, links: &Links) {
        // Nothing waits any longer, and two sweeps read everything: the first leaves new handshakes and the last
        // bytes without slot to the second.
        self.take_waiting(KernelTime(u64::MAX));
        self.sweep(links).await;
        self.commit();
        // Whatever program still counted for a slot or map that was just turned away from has ended by then.
        tokio::time::sleep(TURN).await;
        self.sweep(links).await;
        self.commit();
        let counting_continues = self.probe.is_pinned();
        // Who goes on counting does not end what goes on: the next agent has the episode with its id.
        if !counting_continues {
            let transitions = self.episodes.stop(KernelTime::now());
            self.publish(transitions);
        }
        self.record_minute(WallTime::now());
        if !counting_continues {
            let transitions = self.findings.stop();
            self.publish_coverage(transitions);
        }
        let stop = Event::Stop {
            reason: reason.to_owned(),
            drained: true,
            counting_continues,
            open_episodes: self.episodes.open().count() as u64,
        };
        self.record_event(stop);
        self.commit();
        match tokio::time::timeout(STOP_GRACE, self.outbox.stop()).await {
            Ok(health) => {
                self.save_state();
                match health.degraded {
                    None => tracing::info!("every record is on disk"),
                    Some(degraded) => {
                        tracing::error!(reason = %degraded.reason, "stopped with records that could not be written");
                    }
                }
            }
            Err(_) => tracing::error!(
                grace_secs = STOP_GRACE.as_secs(),
                "the disk does not answer; records may be missing"
            ),
        }
        tokio::join!(self.delivery.stop(), self.witnesses.stop());
    }

    fn context(&self) -> Context<'_> {
        Context { origin: &self.origin, clock: &self.clock, booted: self.booted, now: WallTime::now() }
    }
}

fn ledger_settings(config: &Config, host_uid: &str) -> Option<LedgerSettings> {
    let directory = config.ledger.directory(&config.agent)?;
    // One lives as long as the disk, one as the boot: whoever puts back an old copy of the one has not the other.
    let copies = [&config.agent.state_dir, &config.agent.run_dir].map(|above| above.join("ledger.head"));
    Some(LedgerSettings {
        directory,
        copies: copies.to_vec(),
        origin: config.ledger.origin_on(host_uid),
        retention: config.ledger.retention,
    })
}

fn episode_settings(config: &Config) -> EpisodeSettings {
    EpisodeSettings {
        attempt_grace: config.alert.attempt_grace,
        update_every: config.alert.update,
        quiet: config.alert.quiet,
        ..EpisodeSettings::default()
    }
}

/// Where one agent leaves what the next one needs. Without it the agent works, and a restart has a gap.
fn open_run_dir(config: &Config) -> Result<(Option<DirectoryLock>, Option<RunState>), Failure> {
    let directory = &config.agent.run_dir;
    if config.agent.pin_dir.is_none() {
        return Ok((None, None));
    }
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(directory);
    let lock = made
        .map_err(|error| PinError::Unusable { path: directory.clone(), error })
        .and_then(|()| DirectoryLock::take(directory));
    match lock {
        Ok(lock) => Ok((Some(lock), Some(RunState::new(directory)))),
        Err(error @ PinError::InUse { .. }) => Err(Failure::new(Exit::Failure, error)),
        Err(error @ PinError::Unusable { .. }) => {
            tracing::error!(%error, "no run directory: what was counted while the agent is away will have a gap");
            Ok((None, None))
        }
    }
}

async fn sleep_until(due: Option<KernelTime>) {
    match due {
        Some(due) => tokio::time::sleep(due.since(KernelTime::now())).await,
        None => std::future::pending().await,
    }
}
