//! Another policy or database: taken whole or not at all, then everything that is known is judged again.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use sd_notify::NotifyState;

use super::{App, databases::open_databases, minute::statements, observe::assess, selftest, service};
use crate::{
    alert::RejudgeCause,
    clock::WallTime,
    config::{Config, diff, render},
    flow::{FlowKey, Sensor, table::Assessment},
    geo::{
        DatabaseId,
        reload::{self, Reload},
    },
    record::{finding::DatabaseExtra, lifecycle::Event},
};

impl App {
    /// SIGHUP: the configuration is read again; the record file is opened again.
    pub(super) async fn reload_configuration(&mut self) {
        self.outbox.reopen().await;
        let Some(path) = self.options.config_path.clone() else {
            tracing::info!("reload: there is no configuration file, the built-in policy stays in force");
            return;
        };
        // systemd wants to know when the reload began, on the clock it uses itself.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => service::tell(&[NotifyState::Reloading, now]),
            Err(error) => tracing::debug!(%error, "reading the clock"),
        }
        match Config::load(&path, WallTime::now()) {
            Ok((config, warnings)) => {
                for warning in &warnings {
                    tracing::warn!("{}", render::warnings(std::slice::from_ref(warning), false).trim_end());
                }
                self.take_configuration(config).await;
            }
            Err(faults) => {
                tracing::error!(
                    policy_hash = %self.policies.hash(),
                    "reload refused, the configuration before stays in force:\n{}",
                    render::faults(&faults, false)
                );
                let faults = faults
                    .iter()
                    .map(|fault| render::faults(std::slice::from_ref(fault), false).trim_end().to_owned())
                    .collect();
                self.record_event(Event::PolicyRejected {
                    policy_hash: self.policies.hash().to_string(),
                    faults,
                });
            }
        }
        // Files that changed where nobody could tell: another mount, a full queue of the kernel.
        let (country, asn) = self.databases.paths();
        let paths: Vec<PathBuf> = country.iter().cloned().chain(asn.map(Path::to_owned)).collect();
        for path in paths {
            self.reload_database(&path).await;
        }
        service::tell(&[NotifyState::Ready]);
    }

    async fn take_configuration(&mut self, config: Config) {
        let now = WallTime::now();
        let other_databases = (&config.geo.databases, &config.geo.asn_database)
            != (&self.config.geo.databases, &self.config.geo.asn_database);
        if other_databases {
            let asked = config.clone();
            // Off the loop: whole databases are read and checked.
            let opened = tokio::task::spawn_blocking(move || open_databases(&asked, now)).await;
            match opened
                .map_err(|error| error.to_string())
                .and_then(|opened| opened.map_err(|error| error.to_string()))
            {
                Ok(databases) => self.databases.replace(databases),
                Err(reason) => {
                    tracing::error!(reason, policy_hash = %self.policies.hash(), "reload refused, the configuration before stays in force");
                    let policy_hash = self.policies.hash().to_string();
                    self.record_event(Event::PolicyRejected { policy_hash, faults: vec![reason] });
                    return;
                }
            }
        }
        let (old, new) = (&self.config, &config);
        let restart: Vec<&str> = [
            ("host", new.host != old.host),
            ("ledger", new.ledger != old.ledger),
            (
                "records.file",
                // Beside a ledger it is a sink.
                new.records.file != old.records.file && old.ledger.directory(&old.agent).is_none(),
            ),
            ("records.stdout", new.records.stdout != old.records.stdout),
            ("page", new.page != old.page),
            ("limits", new.limits != old.limits),
            ("agent", new.agent != old.agent),
        ]
        .into_iter()
        .filter_map(|(section, differs)| differs.then_some(section))
        .collect();
        if !restart.is_empty() {
            tracing::warn!(sections = restart.join(", "), "these changes take effect at the next start");
        }
        let differences = diff::changes(old, new);
        if !differences.is_empty() {
            for difference in &differences {
                tracing::info!("reload: {difference}");
            }
            let after_restart = restart.iter().map(|section| (*section).to_owned()).collect();
            self.record_event(Event::ConfigurationChange { changes: differences, after_restart });
        }
        self.episodes.set(super::episode_settings(&config));
        let changes = config.policies.diff(&self.policies);
        let before_hash = self.policies.hash().to_string();
        self.policies = Arc::new(config.policies.clone());
        self.locator = Arc::new(self.databases.locator(&config));
        let Config { host, ledger, limits, agent, .. } = &self.config;
        self.config = Config {
            host: host.clone(),
            ledger: ledger.clone(),
            limits: *limits,
            agent: agent.clone(),
            ..config
        };
        self.delivery.settle(&self.config);
        self.witnesses.settle(&self.config);
        let after_hash = self.policies.hash().to_string();
        if before_hash == after_hash {
            tracing::info!(policy_hash = after_hash, "reload: the policy is the same");
            if other_databases {
                self.judge_again(RejudgeCause::Location);
            }
            return;
        }
        for change in &changes {
            tracing::info!("reload: {change}");
        }
        let statements = statements(&self.policies);
        self.record_event(Event::PolicyChange { before_hash, after_hash, changes, statements });
        self.judge_again(RejudgeCause::Policy);
    }

    /// A database file was replaced, changed or removed.
    pub(super) async fn reload_database(&mut self, path: &Path) {
        let (paths, asn_path) = self.databases.paths();
        let partial = self.config.geo.partial_databases;
        let name = path
            .file_name()
            .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
        let part = format!("database {name}");
        let now = WallTime::now();
        if asn_path == Some(path) {
            let Some(current) = self.databases.asn().cloned() else { return };
            let owned = path.to_owned();
            match tokio::task::spawn_blocking(move || reload::asn(&current, &owned, now, partial)).await {
                Ok(Ok(Reload::Unchanged)) => self.recovered(&part),
                Ok(Ok(Reload::Accepted { database, .. })) => {
                    tracing::info!(database = name, built = %database.id().built, "ASN database replaced");
                    self.databases.replace_asn(database);
                    self.locator = Arc::new(self.databases.locator(&self.config));
                    self.recovered(&part);
                    self.judge_again(RejudgeCause::Location);
                }
                Ok(Err(rejected)) => self.refused(&part, &name, &rejected.to_string()),
                Err(error) => self.refused(&part, &name, &error.to_string()),
            }
            return;
        }
        let Some(idx) = paths.iter().position(|known| known == path) else { return };
        let current = Arc::clone(&self.databases.country()[idx]);
        let owned = path.to_owned();
        let before = Arc::clone(current.id());
        // Off the loop: a whole database is read and checked.
        match tokio::task::spawn_blocking(move || reload::country(&current, &owned, now, partial)).await {
            Ok(Ok((Reload::Unchanged, _))) => self.recovered(&part),
            Ok(Ok((Reload::Accepted { database, is_older }, report))) => {
                for warning in &report.warnings {
                    tracing::warn!(database = name, "database {warning}");
                }
                if is_older {
                    tracing::warn!(database = name, built = %database.id().built, before = %before.built, "the replacement is older than the database before");
                }
                tracing::info!(%report, "database replaced");
                let after = Arc::clone(database.id());
                self.databases.replace_country(idx, database);
                self.locator = Arc::new(self.databases.locator(&self.config));
                self.recovered(&part);
                self.record_event(Event::DatabaseChange {
                    before: Some(extra(&before)),
                    after: extra(&after),
                });
                self.judge_again(RejudgeCause::Location);
            }
            Ok(Err(rejected)) => self.refused(&part, &name, &rejected.to_string()),
            Err(error) => self.refused(&part, &name, &error.to_string()),
        }
    }

    fn refused(&mut self, part: &str, name: &str, reason: &str) {
        self.record_event(Event::DatabaseRejected { name: name.to_owned(), reason: reason.to_owned() });
        self.degraded(part, reason);
    }

    /// Live flows and open episodes are judged by what is in force now. Bytes keep the verdict they left under.
    pub(super) fn judge_again(&mut self, cause: RejudgeCause) {
        self.known.clear();
        self.probe.forget_known();
        let wall = WallTime::now();
        let judges = (&*self.locator, &*self.policies, &self.exceptions);
        let changed = self.table.rejudge(|key, flow| {
            if selftest::is_excepted(&flow.judgement) {
                return Assessment {
                    located: Arc::clone(&flow.located),
                    judgement: Arc::clone(&flow.judgement),
                };
            }
            assess(judges, key, (flow.local_port, flow.remote_port), wall)
        });
        let transitions = self.episodes.rejudge(cause, |owner, initiator, destination| {
            let key = FlowKey {
                owner: Arc::new(owner.clone()),
                remote: destination.address,
                protocol: destination.protocol,
                service_port: destination.port,
                initiator,
                sensor: Sensor::Socket,
            };
            assess(judges, &key, (destination.local_port, destination.port), wall)
        });
        // Bytes still flowing on what is a violation from now on open an episode with their next reading.
        tracing::info!(flows_changed = changed.len(), episodes_closed = transitions.len(), "judged again");
        self.publish(transitions);
    }
}

/// A database as records name it.
pub(super) fn extra(id: &DatabaseId) -> DatabaseExtra {
    DatabaseExtra::from(id)
}
