//! Records on their way to the writer.
//!
//! The loop never waits for the disk: it hands records to a task that does. When that task is stuck behind a disk
//! that hangs (not one that fails: the writer answers then), a bounded number of batches waits; beyond it,
//! updates and intervals are dropped and counted, opens and closes are kept.
//!
//! *Commit, then publish*: a record gets its number when it is made, and is handed on only when the commit that
//! knows of it has been written (see `run_state`). An agent that is killed in between owes it, and its successor
//! hands on the very same line, unless it is in the file.

use std::{
    collections::{HashSet, VecDeque},
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

use crate::{
    page::Ring,
    record::{
        Line, Numbering, Priority, Record,
        writer::{AppendError, Health, Writer},
    },
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

type Item = (Arc<Line>, Option<Told>);

enum Command {
    Item(Box<Item>),
    Reopen,
    Stop,
}

pub(super) struct Outbox {
    commands: mpsc::Sender<Command>,
    numbering: Numbering,
    /// Made, and not yet committed.
    staged: VecDeque<Item>,
    /// Made, and not yet known to be on disk: what the next agent would owe.
    owed: VecDeque<Arc<Line>>,
    /// What found no place and must not be lost. As many as there are episodes and events of the agent.
    kept: VecDeque<Item>,
    dropped: Arc<AtomicU64>,
    health: watch::Receiver<Health>,
    /// What the status page follows.
    page: Arc<Ring>,
    task: Option<JoinHandle<Health>>,
}

impl Outbox {
    pub(super) fn start(writer: Writer, page: Arc<Ring>) -> Self {
        let (commands, inbox) = mpsc::channel(WAITING_BATCHES);
        let (health, numbering) = (writer.health(), writer.numbering());
        let task = Some(tokio::spawn(forward(writer, inbox)));
        Self {
            commands,
            numbering,
            staged: VecDeque::new(),
            owed: VecDeque::new(),
            kept: VecDeque::new(),
            dropped: Arc::new(AtomicU64::new(0)),
            health,
            page,
            task,
        }
    }

    /// Lines that an agent before this one made and may not have written: those that are not among the last ones
    /// `written` come first. Where nobody can know, all of them are written; readers drop repetitions.
    pub(super) fn resume(&mut self, lines: Vec<Arc<Line>>, written: &HashSet<u64>) {
        for line in lines.into_iter().filter(|line| !written.contains(&line.sequence)) {
            self.owed.push_back(Arc::clone(&line));
            self.staged.push_back((line, None));
        }
    }

    /// Gives the record its number. It waits for [`Self::publish`].
    pub(super) fn send(&mut self, record: Record, told: Option<Told>) {
        let keep = record.priority() == Priority::Transition;
        // Only this task fills the channel, so what has a place now has one later.
        let waiting = self.staged.len() + self.kept.len();
        if !keep && self.commands.capacity() <= waiting {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if let Some(line) = self.numbering.line(record).map(Arc::new) {
            self.owed.push_back(Arc::clone(&line));
            self.staged.push_back((line, told));
        }
    }

    /// Whether there is anything to commit and publish.
    pub(super) fn is_staged(&self) -> bool {
        !self.staged.is_empty()
    }

    /// Number of the last record that was made.
    pub(super) fn last_sequence(&self) -> u64 {
        self.numbering.last()
    }

    /// What may not be on disk.
    pub(super) fn owed(&mut self) -> Vec<Arc<Line>> {
        let accepted = self.health.borrow().accepted_sequence;
        while self.owed.front().is_some_and(|line| line.sequence <= accepted) {
            self.owed.pop_front();
        }
        self.owed.iter().cloned().collect()
    }

    /// The commit that knows of them is written: hands records on.
    pub(super) fn publish(&mut self) {
        for (line, _) in &self.staged {
            self.page.push(&line.text);
        }
        self.kept.append(&mut self.staged);
        while let Some(item) = self.kept.pop_front() {
            if let Err(error) = self.commands.try_send(Command::Item(Box::new(item))) {
                if let Command::Item(item) = error.into_inner() {
                    self.kept.push_front(*item);
                }
                break;
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
        self.publish();
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
        let mut lines = Vec::new();
        let mut told = Vec::new();
        let (mut reopen, mut stop) = (false, false);
        for command in commands.drain(..) {
            match command {
                Command::Item(item) => {
                    lines.push(Arc::unwrap_or_clone(item.0));
                    told.extend(item.1);
                }
                Command::Reopen => reopen = true,
                Command::Stop => stop = true,
            }
        }
        if reopen {
            writer.reopen().await;
        }
        if !lines.is_empty() {
            let result = writer.append(lines).await;
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
