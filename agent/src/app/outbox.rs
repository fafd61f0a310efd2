//! Records on their way to the writer.
//!
//! The loop never waits for the disk: it hands records to a task that does. When that task is stuck behind a disk
//! that hangs (not one that fails: the writer answers then), a bounded number of batches waits; beyond it,
//! updates and intervals are dropped and counted, opens and closes are kept.

use std::{
    collections::VecDeque,
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use crate::record::{
    Priority, Record,
    writer::{AppendError, Health, Writer},
};

/// Batches between the loop and the task.
const WAITING_BATCHES: usize = 4096;

/// What people are told once a record is durable.
pub(super) struct Told {
    /// For the log.
    pub(super) line: String,
    /// For the terminal.
    pub(super) paragraph: Option<String>,
    /// An alert, not mere information.
    pub(super) is_alert: bool,
    /// Who waits to hear whether it became durable.
    pub(super) confirm: Option<oneshot::Sender<bool>>,
}

type Item = (Record, Option<Told>);

enum Command {
    Item(Box<Item>),
    Reopen,
    Stop,
}

pub(super) struct Outbox {
    commands: mpsc::Sender<Command>,
    /// What found no place and must not be lost. As many as there are episodes and events of the agent.
    kept: VecDeque<Item>,
    dropped: Arc<AtomicU64>,
    health: watch::Receiver<Health>,
    task: Option<JoinHandle<Health>>,
}

impl Outbox {
    pub(super) fn start(writer: Writer) -> Self {
        let (commands, inbox) = mpsc::channel(WAITING_BATCHES);
        let health = writer.health();
        let task = Some(tokio::spawn(forward(writer, inbox)));
        Self { commands, kept: VecDeque::new(), dropped: Arc::new(AtomicU64::new(0)), health, task }
    }

    pub(super) fn send(&mut self, record: Record, told: Option<Told>) {
        while let Some(item) = self.kept.pop_front() {
            if let Err(error) = self.commands.try_send(Command::Item(Box::new(item))) {
                if let Command::Item(item) = error.into_inner() {
                    self.kept.push_front(*item);
                }
                break;
            }
        }
        let keep = record.priority() == Priority::Transition;
        let command = Command::Item(Box::new((record, told)));
        let refused = if self.kept.is_empty() {
            self.commands.try_send(command).err().map(|e| e.into_inner())
        } else {
            Some(command)
        };
        if let Some(Command::Item(item)) = refused {
            if keep {
                self.kept.push_back(*item);
            } else {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Updates and intervals dropped since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// How the writer is.
    pub(super) fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// The file is opened again.
    pub(super) async fn reopen(&self) {
        // A task that has ended has nothing to open.
        let _ = self.commands.send(Command::Reopen).await;
    }

    /// Everything is written; the answer says whether it is durable.
    pub(super) async fn stop(&mut self) -> Health {
        for item in std::mem::take(&mut self.kept) {
            let _ = self.commands.send(Command::Item(Box::new(item))).await;
        }
        let _ = self.commands.send(Command::Stop).await;
        match self.task.take() {
            Some(task) => task.await.unwrap_or_else(|_| self.health()),
            None => self.health(),
        }
    }
}

/// Takes whatever waits as one batch: one sync for all of it.
async fn forward(writer: Writer, mut inbox: mpsc::Receiver<Command>) -> Health {
    let mut commands = Vec::new();
    'work: loop {
        if inbox.recv_many(&mut commands, 256).await == 0 {
            break;
        }
        let mut records = Vec::new();
        let mut told = Vec::new();
        let (mut reopen, mut stop) = (false, false);
        for command in commands.drain(..) {
            match command {
                Command::Item(item) => {
                    records.push(item.0);
                    told.extend(item.1);
                }
                Command::Reopen => reopen = true,
                Command::Stop => stop = true,
            }
        }
        if reopen {
            writer.reopen().await;
        }
        if !records.is_empty() {
            let result = writer.append(records).await;
            tell(told, result.as_ref().err());
        }
        if stop {
            break 'work;
        }
    }
    writer.stop().await
}

/// People hear of an alert once it is durable; when it cannot be made durable they hear all the same, with a word
/// about that.
fn tell(told: Vec<Told>, error: Option<&AppendError>) {
    for told in told {
        match (error, told.is_alert) {
            (Some(error), _) => tracing::error!(%error, "{}", told.line),
            (None, true) => tracing::warn!("{}", told.line),
            (None, false) => tracing::info!("{}", told.line),
        }
        if let Some(confirm) = told.confirm {
            // Whoever asked may be gone.
            let _ = confirm.send(error.is_none());
        }
        if let Some(paragraph) = &told.paragraph {
            // A terminal that is gone does not stop the agent.
            let _ = writeln!(std::io::stdout(), "{paragraph}");
        }
    }
}
