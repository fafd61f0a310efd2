//! Writes records to the ledger, or, where there is none, as JSON lines to a file; and to standard output.
//!
//! **Promise**: [`Writer::append`] returns [`Accepted`] after the lines were written and synced (`fdatasync`), in
//! the order in which they came. The ledger, or the file, is what counts and standard output is a copy that
//! may lose lines (counted) when nobody reads it; without either, flushed standard output is all there is. A file
//! beside a ledger is none of this module's business: it is a sink, and gets what the ledger has.
//!
//! **Faults**: a disk that is full, read-only or broken never stops the agent. Records wait in memory (bounded, see
//! `queue`), [`Health`] says so, and on recovery they are written in order, followed by a gap record with exact
//! counts. A half-written batch is taken back; a line torn by a power cut is ended at start. A file that is
//! renamed, removed or cut from outside (`logrotate`, with or without `copytruncate`) is noticed before each batch;
//! [`Writer::reopen`] (SIGHUP) opens it again in any case, and ends the wait for a retry.
//!
//! **Numbers**: `metadata.sequence` grows by one per record and continues from the last line of the file, so a
//! hole is visible; records that were dropped leave one, explained by the gap record. Whoever appends gives them,
//! with [`Writer::numbering`]; the gap record takes the next one when it is made, and may overtake records that
//! are on their way. `metadata.uid` also carries
//! the instance, so it stays unique when a file was removed and the numbers start again. After a crash *during* an
//! outage the records in memory are gone and their numbers are used again: no writer can know better.
//!
//! **Repetition**: when lines were written but neither synced nor taken back, they are written again. A reader
//! drops repetitions by `metadata.uid`.
//!
//! The work is done by one thread. Callers await its answer, and room in its queue of `QUEUE_BATCHES` batches when
//! the disk stalls; no runtime is ever blocked.

mod copy;
mod engine;
pub(crate) mod files;
mod ledger;
mod queue;
pub mod tail;
pub(crate) mod target;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::{mpsc, oneshot, watch};

use copy::Copy;
pub use engine::{Degraded, Health, Outage};
use engine::{Engine, Now};
use files::{Disk, Files as _, directory};
pub use ledger::LedgerSettings;
use ledger::LedgerTarget;
use target::{ConsoleTarget, FileTarget, Target};

use crate::{
    clock::{KernelTime, WallTime},
    ledger::Ledger,
    record::{Line, Numbering, Origin},
};

/// Batches on their way to the thread. Whoever appends waits beyond that: the disk stalls, but has not failed.
const QUEUE_BATCHES: usize = 256;

/// Batches that share one sync.
const GROUP_BATCHES: usize = 64;

/// How long the app should wait for [`Writer::stop`] before it gives up on a hung disk.
pub const STOP_GRACE: Duration = Duration::from_secs(5);

/// What to write to, and how.
#[derive(Clone, Debug)]
pub struct WriterSettings {
    /// The ledger, if any.
    pub ledger: Option<LedgerSettings>,
    /// The file, if any. Beside a ledger it is only asked which numbers it has.
    pub file: Option<PathBuf>,
    /// Also (or only) standard output.
    pub stdout: bool,
    /// Bytes that may wait in memory while the disk takes nothing.
    pub queue_bytes: usize,
    /// Tells runs of the agent apart in `metadata.uid`.
    pub instance: String,
    /// Numbers continue after this, if the file does not say more.
    pub sequence_floor: u64,
}

impl WriterSettings {
    /// Default of `queue_bytes`: about ten thousand records.
    pub const QUEUE_BYTES: usize = 16 << 20;
}

/// What was found at start.
#[derive(Clone, Debug, Default)]
pub struct Started {
    /// Numbers continue after this one.
    pub last_sequence: u64,
    /// Bytes of a torn last line that was ended.
    pub torn_bytes: usize,
    /// Numbers of the last records that are everywhere they should be; none when nobody can know.
    pub written: HashSet<u64>,
    /// The ledger, for readers.
    pub ledger: Option<Ledger>,
}

/// The output cannot be used, and waiting will not help.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Neither file nor standard output.
    #[error("there is no output: name a file, or write to standard output")]
    NoOutput,
    /// The directory is not there.
    #[error("the directory {} of the record file does not exist; create it first", .0.display())]
    NoDirectory(PathBuf),
    /// The file cannot be opened.
    #[error("the record file {} cannot be opened", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// The ledger cannot be opened.
    #[error("the ledger in {} cannot be opened", path.display())]
    Ledger {
        /// Its directory.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// No thread.
    #[error("the writer's thread cannot be started")]
    Thread(#[source] io::Error),
}

/// The records are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Number of the last one.
    pub sequence: u64,
}

/// The records are not durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// They wait in memory and will be written when the disk takes them. Do not append them again.
    #[error("records wait in memory: {}", .0.reason)]
    Deferred(Box<Degraded>),
    /// The writer has stopped.
    #[error("the writer has stopped")]
    Stopped,
}

enum Command {
    Append { lines: Vec<Line>, reply: oneshot::Sender<Result<Accepted, AppendError>> },
    Reopen,
    Stop { reply: oneshot::Sender<Health> },
}

/// See the module.
#[derive(Debug)]
pub struct Writer {
    commands: mpsc::Sender<Command>,
    health: watch::Receiver<Health>,
    numbering: Numbering,
    copy_lost_batches: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Opens the outputs and starts the thread.
    ///
    /// A disk that is full or broken at start is no error: the writer starts degraded.
    pub fn spawn(settings: WriterSettings, origin: Origin) -> Result<(Self, Started), OpenError> {
        let now = Now::read();
        let copy_lost_batches = Arc::new(AtomicU64::new(0));
        if settings.file.is_none() && settings.ledger.is_none() {
            if !settings.stdout {
                return Err(OpenError::NoOutput);
            }
            let target = ConsoleTarget::new(io::stdout());
            let sequence = settings.sequence_floor;
            let engine = Engine::new(target, origin, &settings.instance, sequence, settings.queue_bytes);
            let writer = Self::start(engine, None, copy_lost_batches)?;
            return Ok((writer, Started { last_sequence: sequence, ..Started::default() }));
        }

        let ledger = settings.ledger.clone().map(|ledger| open_ledger(ledger, now)).transpose()?;
        let in_file = settings.file.as_deref().map(tail::sequences);
        let file = match (&settings.file, &ledger) {
            (Some(path), Some(_)) => {
                // It is written by a sink, later; what an operator has to mend is better told at once.
                check_file(path)?;
                None
            }
            (Some(path), None) => Some(open_file(path)?),
            (None, _) => None,
        };
        let in_ledger = ledger.as_ref().map(|ledger| tail::ledger_sequences(&ledger.target.handle()));
        // The numbers of a ledger that was lost are in the file still.
        let last = in_ledger.iter().chain(&in_file).flatten().max().copied();
        let sequence = last.unwrap_or(0).max(settings.sequence_floor);
        let started = Started {
            last_sequence: sequence,
            torn_bytes: file.as_ref().map_or(0, |file| file.tail.torn_bytes),
            written: in_ledger.or(in_file).unwrap_or_default(),
            ledger: ledger.as_ref().map(|ledger| ledger.target.handle()),
        };
        let failure = ledger.as_ref().and_then(|ledger| ledger.failure.as_ref());
        let failure = failure.or_else(|| file.as_ref()?.failure.as_ref()).map(ToString::to_string);
        let copy = match settings.stdout {
            true => Some(Copy::start(Arc::clone(&copy_lost_batches)).map_err(OpenError::Thread)?),
            false => None,
        };
        let begin = Begin { origin, settings: &settings, sequence, now, failure, copy, copy_lost_batches };
        let writer = match (ledger, file) {
            (Some(ledger), _) => begin.with(ledger.target),
            (None, Some(file)) => begin.with(file.target),
            (None, None) => Err(OpenError::NoOutput),
        };
        Ok((writer?, started))
    }

    fn start<T: Target + Send + 'static>(
        engine: Engine<T>,
        copy: Option<Copy>,
        copy_lost_batches: Arc<AtomicU64>,
    ) -> Result<Self, OpenError> {
        let (commands, inbox) = mpsc::channel(QUEUE_BATCHES);
        let (health_sender, health) = watch::channel(engine.health().clone());
        let numbering = engine.numbering();
        // The runtime only waits, for commands and for the time of a retry; files block this thread and no other.
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(OpenError::Thread)?;
        let thread = std::thread::Builder::new()
            .name("records".to_owned())
            .spawn(move || {
                crate::confine::thread();
                runtime.block_on(run(engine, inbox, health_sender, copy))
            })
            .map_err(OpenError::Thread)?;
        Ok(Self { commands, health, numbering, copy_lost_batches, thread })
    }

    /// Writes a batch. Returns when it is durable, or at once when the disk takes nothing.
    ///
    /// The answer may be dropped without waiting for it: the records are written all the same.
    pub async fn append(&self, lines: Vec<Line>) -> Result<Accepted, AppendError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Append { lines, reply };
        self.commands.send(command).await.map_err(|_| AppendError::Stopped)?;
        answer.await.map_err(|_| AppendError::Stopped)?
    }

    /// Opens the file again: after a rotation, or when there is room again.
    pub async fn reopen(&self) {
        // A writer that has stopped has nothing to open.
        let _ = self.commands.send(Command::Reopen).await;
    }

    /// Who gives records their numbers, before they are appended.
    pub fn numbering(&self) -> Numbering {
        self.numbering.clone()
    }

    /// How the writer is, and each change of it.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    /// Batches that the copy on standard output lost because nobody read it.
    pub fn copy_lost_batches(&self) -> u64 {
        self.copy_lost_batches.load(Ordering::Relaxed)
    }

    /// Writes what waits, with one last attempt, and ends the thread. The answer says whether all is durable.
    pub async fn stop(self) -> Health {
        let (reply, answer) = oneshot::channel();
        let last = self.health.borrow().clone();
        if self.commands.send(Command::Stop { reply }).await.is_err() {
            return last;
        }
        let health = answer.await.unwrap_or(last);
        drop(self.commands);
        // The thread has answered and only returns; it touches nothing any more.
        if self.thread.join().is_err() {
            tracing::error!("the writer's thread has panicked");
        }
        health
    }
}

struct OpenLedger {
    target: LedgerTarget,
    failure: Option<io::Error>,
}

fn open_ledger(settings: LedgerSettings, now: Now) -> Result<OpenLedger, OpenError> {
    let directory = settings.directory.clone();
    let mut target = LedgerTarget::new(settings);
    let failure = target.open(now.wall).err();
    match failure {
        Some(error) if !may_pass(&error) => Err(OpenError::Ledger { path: directory, error }),
        failure => Ok(OpenLedger { target, failure }),
    }
}

struct OpenFile {
    target: FileTarget<Disk>,
    tail: tail::Tail,
    failure: Option<io::Error>,
}

/// Whether the file could be opened, or the reason may pass.
fn check_file(path: &Path) -> Result<(), OpenError> {
    let directory = directory(path);
    if !directory.is_dir() {
        return Err(OpenError::NoDirectory(directory));
    }
    match Disk.open(path) {
        Err(error) if !may_pass(&error) => Err(OpenError::File { path: path.to_owned(), error }),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn open_file(path: &Path) -> Result<OpenFile, OpenError> {
    let directory = directory(path);
    if !directory.is_dir() {
        return Err(OpenError::NoDirectory(directory));
    }
    let (target, tail) = FileTarget::open(Disk, path);
    match tail {
        Ok(tail) => Ok(OpenFile { target, tail, failure: None }),
        Err(error) if may_pass(&error) => {
            Ok(OpenFile { target, tail: tail::Tail::default(), failure: Some(error) })
        }
        Err(error) => Err(OpenError::File { path: path.to_owned(), error }),
    }
}

/// What every writer begins with, whatever it writes to.
struct Begin<'a> {
    origin: Origin,
    settings: &'a WriterSettings,
    sequence: u64,
    now: Now,
    failure: Option<String>,
    copy: Option<Copy>,
    copy_lost_batches: Arc<AtomicU64>,
}

impl Begin<'_> {
    fn with<T: Target + Send + 'static>(self, target: T) -> Result<Writer, OpenError> {
        let WriterSettings { instance, queue_bytes, .. } = self.settings;
        let mut engine = Engine::new(target, self.origin, instance, self.sequence, *queue_bytes);
        if let Some(failure) = self.failure {
            engine.degrade(self.now, &io::Error::other(failure));
        }
        Writer::start(engine, self.copy, self.copy_lost_batches)
    }
}

async fn run<T: Target>(
    mut engine: Engine<T>,
    mut inbox: mpsc::Receiver<Command>,
    health: watch::Sender<Health>,
    copy: Option<Copy>,
) {
    let stopped = serve(&mut engine, &mut inbox, &health, copy.as_ref()).await;
    engine.finish(Now::read());
    publish(&health, engine.health());
    if let Some(copy) = copy {
        copy.finish();
    }
    if let Some(reply) = stopped {
        // Whoever asked may have stopped waiting.
        let _ = reply.send(engine.health().clone());
    }
}

/// Until someone says stop, or everyone who could is gone.
async fn serve<T: Target>(
    engine: &mut Engine<T>,
    inbox: &mut mpsc::Receiver<Command>,
    health: &watch::Sender<Health>,
    copy: Option<&Copy>,
) -> Option<oneshot::Sender<Health>> {
    loop {
        let command = match engine.due() {
            None => inbox.recv().await,
            Some(due) => {
                let wait = due.since(KernelTime::now());
                match tokio::time::timeout(wait, inbox.recv()).await {
                    Ok(command) => command,
                    Err(_) => {
                        engine.tick(Now::read());
                        publish(health, engine.health());
                        continue;
                    }
                }
            }
        };
        match command {
            Some(Command::Append { lines, reply }) => {
                let mut replies = vec![reply];
                let mut next = None;
                let mut text = engine.enqueue(lines);
                // One sync for all that came in during the one before.
                while replies.len() < GROUP_BATCHES && next.is_none() {
                    match inbox.try_recv() {
                        Ok(Command::Append { lines, reply }) => {
                            text.extend(engine.enqueue(lines));
                            replies.push(reply);
                        }
                        Ok(other) => next = Some(other),
                        Err(_) => break,
                    }
                }
                // The copy comes first: with a full disk it is the only one that shows anything.
                if let Some(copy) = copy {
                    copy.send(text);
                }
                engine.flush(Now::read());
                publish(health, engine.health());
                for reply in replies {
                    // Whoever asked may have stopped waiting.
                    let _ = reply.send(answer(engine.health()));
                }
                // Under load nobody waits for a moment without commands, and the target has things to do.
                engine.tick(Now::read());
                match next {
                    Some(Command::Reopen) => engine.reopen(Now::read()),
                    Some(Command::Stop { reply }) => return Some(reply),
                    Some(Command::Append { .. }) | None => {}
                }
            }
            Some(Command::Reopen) => engine.reopen(Now::read()),
            Some(Command::Stop { reply }) => return Some(reply),
            None => return None,
        }
        publish(health, engine.health());
    }
}

fn answer(health: &Health) -> Result<Accepted, AppendError> {
    match &health.degraded {
        None => Ok(Accepted { sequence: health.accepted_sequence }),
        Some(degraded) => Err(AppendError::Deferred(Box::new(degraded.clone()))),
    }
}

fn publish(health: &watch::Sender<Health>, latest: &Health) {
    health.send_if_modified(|known| {
        let is_changed = known != latest;
        if is_changed {
            known.clone_from(latest);
        }
        is_changed
    });
}

/// Faults that go away by themselves or by an operator's hand, without a restart.
fn may_pass(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let passing = [Errno::NOSPC, Errno::DQUOT, Errno::IO, Errno::ROFS, Errno::STALE, Errno::TIMEDOUT];
    let code = error.raw_os_error();
    passing.iter().any(|errno| code == Some(errno.raw_os_error()))
        || matches!(error.kind(), ErrorKind::WriteZero)
}

impl Now {
    fn read() -> Self {
        Self { kernel: KernelTime::now(), wall: WallTime::now() }
    }
}
