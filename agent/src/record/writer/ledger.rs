//! The ledger as a target of the writer: opens it when the disk lets it, signs now and then, keeps what retention
//! says.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::fs::FlockOperation;

use crate::{
    clock::{KernelTime, WallTime},
    ledger::{self, Found, Ledger, Lost, Pruning, RealDisk, Retention, Shared, Source as _, Store},
    record::{
        lifecycle::{Event, LedgerGap, Retained},
        writer::{engine::Now, target::Target},
    },
};

/// Signing takes at most this part of the time: the next checkpoint waits as many times as the last one took.
const PAUSE: u32 = 10;

/// Within these bounds. A reader sees entries at once; only their proof waits.
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// The next bundle is packed after so many times as long as the last one took: records wait for as long as one takes.
const PACK_PAUSE: u32 = 2;

/// After a failure.
const RETRY: Duration = Duration::from_secs(2);

/// How often retention is looked at.
const RETENTION: Duration = Duration::from_secs(60);

/// Where the ledger is, and what it is called.
#[derive(Clone, Debug)]
pub struct LedgerSettings {
    /// Its directory.
    pub directory: PathBuf,
    /// Files that keep copies of its head.
    pub copies: Vec<PathBuf>,
    /// Its origin, when it is begun.
    pub origin: String,
    /// What is kept.
    pub retention: Retention,
}

/// See the module.
pub(crate) struct LedgerTarget {
    settings: LedgerSettings,
    shared: Arc<Shared>,
    store: Option<Store<RealDisk>>,
    events: Vec<Event>,
    publish_at: KernelTime,
    pack_at: KernelTime,
    retention_at: KernelTime,
    pruning: Option<Pruning>,
    /// Nobody else writes to the ledger for as long as this lives.
    lock: Option<File>,
}

/// Two writers would sign two histories.
fn lock(directory: &Path) -> io::Result<File> {
    fs::DirBuilder::new().recursive(true).mode(0o750).create(directory)?;
    let directory = File::open(directory)?;
    match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(directory),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(io::Error::other("another process writes to it")),
        Err(error) => Err(error.into()),
    }
}

impl LedgerTarget {
    /// Does not open it yet.
    pub(crate) fn new(settings: LedgerSettings) -> Self {
        let shared = Shared::new(&settings.directory);
        let (publish_at, pack_at, retention_at) = (KernelTime(0), KernelTime(0), KernelTime(0));
        Self {
            settings,
            shared,
            store: None,
            events: Vec::new(),
            publish_at,
            pack_at,
            retention_at,
            pruning: None,
            lock: None,
        }
    }

    /// For readers.
    pub(crate) fn handle(&self) -> Ledger {
        Ledger::new(Arc::clone(&self.shared))
    }

    /// Opens it, unless it is open.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    pub(crate) fn open(&mut self, now: WallTime) -> io::Result<&mut Store<RealDisk>> {
        if self.store.is_none() {
            let LedgerSettings { directory, copies, origin, .. } = &self.settings;
            if self.lock.is_none() {
                self.lock = Some(lock(directory)?);
            }
            let (store, found) =
                ledger::open(RealDisk, copies.clone(), origin, Arc::clone(&self.shared), now)?;
            self.tell(&found);
            self.store = Some(store);
        }
        self.store.as_mut().ok_or_else(|| io::Error::other("the ledger is not open"))
    }

    fn tell(&mut self, found: &Found) {
        let status = self.handle().status();
        tracing::info!(
            directory = %self.settings.directory.display(),
            origin = status.origin,
            entries = status.size,
            unsigned = found.unsigned,
            "the ledger is open"
        );
        if status.origin != self.settings.origin && found.lost.is_none() {
            tracing::warn!(
                origin = status.origin,
                configured = self.settings.origin,
                "a ledger keeps its origin for life"
            );
        }
        for what in &found.repaired {
            tracing::warn!("ledger repaired: {what}");
        }
        let mut gaps = gaps(found, &status.origin);
        if gaps.is_empty() && found.has_quarantine && status.size == 0 {
            // Whoever found it did not live to say so.
            gaps.push(LedgerGap {
                cause: "damaged",
                origin: String::new(),
                first_index: 0,
                count: 0,
                root: None,
                quarantine: Some("quarantine".to_owned()),
                detail: format!(
                    "a ledger before {} could not be gone on with; it is in quarantine/",
                    status.origin
                ),
            });
        }
        for gap in &gaps {
            tracing::error!(
                cause = gap.cause,
                count = gap.count,
                "entries of the ledger are lost: {}",
                gap.detail
            );
        }
        let known = found.has_quarantine.then(|| {
            let quarantine = self.settings.directory.join("quarantine");
            format!("{} holds what was lost; remove it when somebody has looked", quarantine.display())
        });
        self.shared.state().status.damage = gaps.first().map(|gap| gap.detail.clone()).or(known);
        self.events.extend(gaps.into_iter().map(Event::LedgerGap));
    }

    fn publish(&mut self, now: Now) {
        let Some(store) = self.store.as_mut().filter(|store| store.is_unpublished()) else { return };
        if now.kernel < self.publish_at {
            return;
        }
        let result = store.publish(now.wall);
        let finished = KernelTime::now();
        let took = finished.since(now.kernel);
        let mut state = self.shared.state();
        let fault = match result {
            Ok(()) => {
                self.publish_at = finished + (took * PAUSE).clamp(MIN_PAUSE, MAX_PAUSE);
                None
            }
            Err(error) => {
                self.publish_at = finished + RETRY;
                Some(error.to_string())
            }
        };
        if fault.is_some() && state.status.fault.is_none() {
            tracing::error!(error = fault, "no checkpoint of the ledger could be written");
        }
        state.status.fault = fault;
    }

    fn pack(&mut self, now: Now) {
        let Some(store) = self.store.as_mut().filter(|store| store.is_packable()) else { return };
        if now.kernel < self.pack_at {
            return;
        }
        let started = KernelTime::now();
        let result = store.pack();
        let finished = KernelTime::now();
        self.pack_at = finished
            + match result {
                Ok(()) => finished.since(started) * PACK_PAUSE,
                Err(error) => {
                    tracing::warn!(%error, "an old bundle of the ledger was not packed; it stays as it is");
                    RETENTION
                }
            };
    }

    /// First it is said what will go, durably; then it goes.
    fn retain(&mut self, now: Now) {
        let Some(store) = &mut self.store else { return };
        if let Some(pruning) = self.pruning.take() {
            if let Err(error) = store.prune(pruning.first) {
                tracing::warn!(%error, "old entries of the ledger could not be removed");
            }
            return;
        }
        if now.kernel < self.retention_at {
            return;
        }
        self.retention_at = now.kernel + RETENTION;
        let ledger = Ledger::new(Arc::clone(&self.shared));
        let Some(pruning) = self.settings.retention.due(&ledger, now.wall) else { return };
        tracing::info!(first = pruning.first, "old entries of the ledger are removed");
        self.events.push(Event::Retention(Retained {
            first_kept: pruning.first,
            first_removed: ledger.first(),
            count: pruning.first - ledger.first(),
            retain_days: self.settings.retention.days,
            retain_bytes: self.settings.retention.bytes,
        }));
        self.pruning = Some(pruning);
    }
}

impl Target for LedgerTarget {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let now = WallTime::now();
        let lines = std::str::from_utf8(lines).map_err(io::Error::other)?;
        let entries: Vec<Arc<str>> = lines.lines().map(Arc::from).collect();
        let store = self.open(now)?;
        let started = KernelTime::now();
        let result = store.append(&entries, now);
        self.shared.state().status.appends.took(KernelTime::now().since(started));
        result
    }

    fn reopen(&mut self) {}

    fn due(&self) -> Option<KernelTime> {
        let store = self.store.as_ref()?;
        let publish = store.is_unpublished().then_some(self.publish_at);
        let retain = if self.pruning.is_some() { KernelTime(0) } else { self.retention_at };
        let pack = store.is_packable().then_some(self.pack_at);
        publish.into_iter().chain(pack).chain([retain]).min()
    }

    fn tick(&mut self, now: Now) {
        // Never together: what is to be removed has been announced by an entry that is written in between.
        self.publish(now);
        self.retain(now);
        self.pack(now);
    }

    fn finish(&mut self, now: Now) {
        self.publish_at = KernelTime(0);
        self.publish(now);
    }

    fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}

/// What has to be said about what was found.
fn gaps(found: &Found, origin: &str) -> Vec<LedgerGap> {
    let mut gaps = Vec::new();
    if let Some(Lost { cause, origin: before, size, root, quarantine }) = &found.lost {
        gaps.push(LedgerGap {
            cause,
            origin: before.clone(),
            first_index: 0,
            count: *size,
            root: (!root.is_empty()).then(|| root.clone()),
            quarantine: Some(quarantine.display().to_string()),
            detail: format!(
                "the ledger {before} could not be gone on with ({cause}); what is left of it is in {}, and {origin} \
                 was begun",
                quarantine.display()
            ),
        });
    }
    for (from, until) in &found.missing {
        gaps.push(LedgerGap {
            cause: "missing",
            origin: origin.to_owned(),
            first_index: *from,
            count: until - from,
            root: None,
            quarantine: None,
            detail: format!("bundles with entries {from} to {} are missing", until - 1),
        });
    }
    if found.stranded > 0 {
        gaps.push(LedgerGap {
            cause: "damaged-journal",
            origin: origin.to_owned(),
            first_index: 0,
            count: found.stranded,
            root: None,
            quarantine: Some("quarantine".to_owned()),
            detail: "the journal of the open bundle is damaged: entries that no checkpoint had signed are lost, or \
                     in quarantine/open-*"
                .to_owned(),
        });
    }
    gaps
}
