//! Sinks against receivers on the network: real TLS, real faults, a real Alertmanager.

mod agent;
mod alertmanager;
mod certificates;
mod ledger;
mod receiver;
mod webhook;
mod witness;

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use homeport::{
    ledger::Source,
    sink::{
        Place, SinkRow, SinkSettings, Sinks,
        format::{Format, Speaker},
        select::Selection,
        settings::{Batch, Kind, Retry, Start},
    },
};
use tempfile::TempDir;

use crate::ledger::Memory;

/// How long to wait for what has to happen.
const PATIENCE: Duration = Duration::from_secs(120);

/// Sinks at work, in the files of a directory.
struct Team {
    directory: TempDir,
    memory: Arc<Memory>,
    sinks: Option<Sinks>,
}

impl Team {
    fn start(memory: &Arc<Memory>, settings: Vec<SinkSettings>) -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), memory, settings)
    }

    fn start_in(directory: TempDir, memory: &Arc<Memory>, settings: Vec<SinkSettings>) -> Self {
        let place = Place {
            cursors: directory.path().join("cursors"),
            dead_letters: directory.path().join("dead-letter"),
        };
        let speaker = Speaker { origin: "homeport/h1".to_owned() };
        let source = Arc::clone(memory) as Arc<dyn Source>;
        let sinks = Sinks::start(source, place, speaker, settings).expect("sinks start");
        Self { directory, memory: Arc::clone(memory), sinks: Some(sinks) }
    }

    fn sinks(&self) -> &Sinks {
        self.sinks.as_ref().expect("not stopped")
    }

    /// Sinks are settled by a thread of their own: one that was asked for comes into being a little later.
    fn row(&self, name: &str) -> SinkRow {
        let find = || self.sinks().rows().into_iter().find(|row| row.name == name);
        eventually("the sink is known", || find().is_some());
        find().expect("the sink is known")
    }

    /// Everything that the ledger has was delivered.
    fn has_delivered(&self, name: &str) -> bool {
        let row = self.sinks().rows().into_iter().find(|row| row.name == name);
        row.is_some_and(|row| row.next == *self.memory.size().borrow())
    }

    /// As the agent does at its end.
    fn stop(mut self) -> TempDir {
        let sinks = self.sinks.take().expect("not stopped");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(sinks.stop());
        self.directory
    }
}

fn settings(name: &str, kind: Kind) -> SinkSettings {
    SinkSettings {
        name: name.to_owned(),
        kind,
        format: Format::Ocsf,
        selection: Selection::default(),
        start: Start::Oldest,
        batch: Batch { entries: 50, ..Batch::default() },
        timeout: Duration::from_secs(2),
        retry: Retry { first: Duration::from_millis(50), longest: Duration::from_secs(2) },
        max_per_sec: None,
    }
}

fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "never: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
