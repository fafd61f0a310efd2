//! Country databases: loaded at start, followed while running.
//!
//! A database that cannot be used at start stops the start: an operator who named a file wants that file. While
//! running, a replacement that cannot be used is refused, said, and recorded; the one before stays.

use std::{
    collections::HashSet,
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use crate::{
    clock::WallTime,
    config::{self, Config, OverrideLocation},
    geo::{
        Location, UnknownReason,
        asn::AsnDatabase,
        database::Database,
        embedded,
        embedded_v4::Nat64Prefix,
        fault::LoadError,
        gate,
        locator::{Locator, LocatorSettings, Override, Site},
        prefix::PrefixMap,
    },
};

/// Writers of a database file usually rename it into place; some write in place and take a while. Events within
/// this time are one change.
const SETTLE: Duration = Duration::from_millis(300);

/// The databases in use.
pub struct Databases {
    country: Vec<Arc<Database>>,
    asn: Option<Arc<AsnDatabase>>,
    paths: Vec<PathBuf>,
    asn_path: Option<PathBuf>,
    watcher: Option<RecommendedWatcher>,
    changes: (mpsc::Sender<PathBuf>, Option<mpsc::Receiver<PathBuf>>),
}

/// Loads what the configuration names, or the embedded database.
///
/// # Errors
///
/// Names the file, what is wrong with it, and what would be accepted.
pub fn open_databases(config: &Config, now: WallTime) -> Result<Databases, LoadError> {
    let paths = config.geo.databases.clone();
    let mut country = Vec::new();
    for path in &paths {
        let (database, report) = gate::open(path, now)?;
        for warning in &report.warnings {
            tracing::warn!(database = %path.display(), "database {warning}");
        }
        tracing::info!(%report, "database loaded");
        country.push(Arc::new(database));
    }
    if country.is_empty() {
        let database = embedded::load()?;
        tracing::info!(report = %gate::report(&database), attribution = embedded::ATTRIBUTION, "embedded database loaded");
        country.push(Arc::new(database));
    }
    let asn_path = config.geo.asn_database.clone();
    let asn = match &asn_path {
        Some(path) => Some(Arc::new(AsnDatabase::open(path)?)),
        None => None,
    };
    let (sender, receiver) = mpsc::channel(16);
    Ok(Databases { country, asn, paths, asn_path, watcher: None, changes: (sender, Some(receiver)) })
}

impl Databases {
    /// A locator over these databases and the configuration's own networks.
    pub fn locator(&self, config: &Config) -> Locator {
        locator(config, self.country.clone(), self.asn.clone())
    }

    pub(super) fn paths(&self) -> (&[PathBuf], Option<&Path>) {
        (&self.paths, self.asn_path.as_deref())
    }

    pub(super) fn country(&self) -> &[Arc<Database>] {
        &self.country
    }

    pub(super) fn asn(&self) -> Option<&Arc<AsnDatabase>> {
        self.asn.as_ref()
    }

    pub(super) fn replace_country(&mut self, idx: usize, database: Arc<Database>) {
        if let Some(place) = self.country.get_mut(idx) {
            *place = database;
        }
    }

    pub(super) fn replace_asn(&mut self, database: Arc<AsnDatabase>) {
        self.asn = Some(database);
    }

    /// Other databases, which are followed from now on.
    pub(super) fn replace(&mut self, other: Self) {
        let Self { country, asn, paths, asn_path, .. } = other;
        (self.country, self.asn, self.paths, self.asn_path) = (country, asn, paths, asn_path);
        self.follow();
    }

    /// Paths whose files have changed, each some time after the last of a run of events. Asked for once.
    pub(super) fn changes(&mut self) -> mpsc::Receiver<PathBuf> {
        self.follow();
        self.changes.1.take().unwrap_or_else(|| mpsc::channel(1).1)
    }

    fn follow(&mut self) {
        let changes = self.changes.0.clone();
        let watched: HashSet<PathBuf> = self.paths.iter().chain(&self.asn_path).cloned().collect();
        self.watcher = None;
        if watched.is_empty() {
            return;
        }
        let (raw, mut events) = mpsc::unbounded_channel::<OsString>();
        let handler = move |event: notify::Result<notify::Event>| {
            // Reading a file, our own too, is no change of it.
            let Ok(event) = event else { return };
            if event.kind.is_access()
                && !matches!(
                    event.kind,
                    notify::EventKind::Access(notify::event::AccessKind::Close(
                        notify::event::AccessMode::Write
                    ))
                )
            {
                return;
            }
            for path in event.paths {
                let _ = raw.send(path.into_os_string());
            }
        };
        match notify::recommended_watcher(handler) {
            Ok(mut watcher) => {
                // Directories, because a file that is renamed into place is another file.
                for directory in watched.iter().filter_map(|path| path.parent()).collect::<HashSet<_>>() {
                    if let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive) {
                        tracing::error!(directory = %directory.display(), %error, "a replaced database will only be seen on SIGHUP");
                    }
                }
                self.watcher = Some(watcher);
            }
            Err(error) => tracing::error!(%error, "a replaced database will only be seen on SIGHUP"),
        }
        tokio::spawn(async move {
            while let Some(first) = events.recv().await {
                let mut changed = HashSet::from([PathBuf::from(first)]);
                while let Ok(Some(next)) = tokio::time::timeout(SETTLE, events.recv()).await {
                    changed.insert(PathBuf::from(next));
                }
                for path in changed.into_iter().filter(|path| watched.contains(path)) {
                    if changes.send(path).await.is_err() {
                        return;
                    }
                }
            }
        });
    }
}

/// A locator over given databases and the configuration's own networks.
fn locator(config: &Config, databases: Vec<Arc<Database>>, asn: Option<Arc<AsnDatabase>>) -> Locator {
    let mut sites = PrefixMap::new();
    for config::Site { name, country, networks } in &config.sites {
        for network in networks {
            sites.insert(*network, Site { name: Arc::clone(name), country: *country });
        }
    }
    let mut overrides = PrefixMap::new();
    for correction in &config.overrides {
        let location = match correction.location {
            OverrideLocation::Country(code) => Location::Country(code),
            OverrideLocation::Unknown => Location::Unknown(UnknownReason::NoCountry),
            OverrideLocation::Anycast => Location::Anycast(None),
        };
        overrides.insert(correction.network, Override { location, reason: Arc::clone(&correction.reason) });
    }
    Locator::new(LocatorSettings {
        sites,
        overrides,
        // The configuration accepts the lengths of RFC 6052 only.
        nat64_prefixes: config
            .geo
            .nat64_prefixes
            .iter()
            .filter_map(|prefix| Nat64Prefix::new(*prefix).ok())
            .collect(),
        databases,
        asn,
        registered_country_fallback: config.geo.registered_country,
    })
}
