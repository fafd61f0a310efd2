//! All sinks of an agent: started, changed by a reload, ended.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};

use super::{
    alertmanager,
    cursor::{self, CursorFile},
    dead_letter::DeadLetters,
    format::Speaker,
    jsonl::Jsonl,
    otlp::Otlp,
    settings::{Kind, SinkSettings},
    status::{Board, Notice, SinkRow},
    syslog::Syslog,
    webhook::Webhook,
    worker::{Order, Worker},
};
use crate::{clock::WallTime, ledger::Source};

/// How long sinks may go on delivering at the end.
const DRAIN: Duration = Duration::from_secs(3);

/// How long a sink that ends by itself waits before it begins again. It never should.
const AGAIN: Duration = Duration::from_secs(10);

/// Where sinks keep what they must not forget.
#[derive(Clone, Debug)]
pub struct Place {
    /// Directory of cursors.
    pub cursors: PathBuf,
    /// Directory of dead-letter files.
    pub dead_letters: PathBuf,
}

/// See the module.
pub struct Sinks {
    source: Arc<dyn Source>,
    place: Place,
    boards: Arc<Mutex<Vec<Board>>>,
    commands: mpsc::UnboundedSender<Command>,
    thread: Option<JoinHandle<()>>,
}

enum Command {
    Settle(Vec<SinkSettings>),
    End(tokio::sync::oneshot::Sender<()>),
}

impl Sinks {
    /// Starts them. Needs no runtime: it has its own.
    ///
    /// # Errors
    ///
    /// When the directories or the thread cannot be made.
    pub fn start(
        source: Arc<dyn Source>,
        place: Place,
        speaker: Speaker,
        settings: Vec<SinkSettings>,
    ) -> io::Result<Self> {
        for directory in [&place.cursors, &place.dead_letters] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        let (commands, inbox) = mpsc::unbounded_channel();
        let boards = Arc::default();
        let team = Team {
            source: Arc::clone(&source),
            place: place.clone(),
            speaker,
            boards: Arc::clone(&boards),
            members: Vec::new(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("sinks".to_owned()).spawn(move || {
            crate::confine::thread();
            runtime.block_on(team.run(inbox));
            // A thread that hangs in a file system is left behind.
            runtime.shutdown_background();
        })?;
        let sinks = Self { source, place, boards, commands, thread: Some(thread) };
        sinks.settle(settings);
        Ok(sinks)
    }

    /// These sinks, and no others, from now on. One that stays the same is not disturbed; one that changes goes on
    /// from its cursor; the cursor of one that goes is kept.
    pub fn settle(&self, settings: Vec<SinkSettings>) {
        // A thread that has ended has no sinks.
        let _ = self.commands.send(Command::Settle(settings));
    }

    /// How they are; those that only have a cursor left come last.
    pub fn rows(&self) -> Vec<SinkRow> {
        let (size, now) = (*self.source.size().borrow(), WallTime::now());
        let mut rows: Vec<SinkRow> = boards(&self.boards).iter().map(|board| board.row(size, now)).collect();
        let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        let left = cursor::left_over(&self.place.cursors, &names);
        rows.extend(left.iter().map(|name| {
            let mut row = Board::new(name, "").row(0, now);
            "removed".clone_into(&mut row.state);
            row
        }));
        rows
    }

    /// What has to become a record, by sink. Each is told once.
    pub fn take_notices(&self) -> Vec<(String, Notice)> {
        let boards = boards(&self.boards).clone();
        boards
            .iter()
            .flat_map(|board| board.take_notices().into_iter().map(|notice| (board.name(), notice)))
            .collect()
    }

    /// Sinks that fail: since when, and why.
    pub fn failing(&self) -> Vec<(String, WallTime, String)> {
        let boards = boards(&self.boards).clone();
        boards
            .iter()
            .filter_map(|board| board.failing().map(|(since, reason)| (board.name(), since, reason)))
            .collect()
    }

    /// Delivers for a little longer what is in the ledger, and ends. What was not delivered is next time.
    pub async fn stop(mut self) {
        let (done, ended) = tokio::sync::oneshot::channel();
        let _ = self.commands.send(Command::End(done));
        // The thread answers after its own deadline; one that does not is left behind.
        let _ = timeout(DRAIN * 2, ended).await;
        self.thread = None;
    }
}

fn boards(boards: &Mutex<Vec<Board>>) -> MutexGuard<'_, Vec<Board>> {
    boards.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Member {
    settings: SinkSettings,
    board: Board,
    order: watch::Sender<Order>,
    task: tokio::task::JoinHandle<()>,
}

struct Team {
    source: Arc<dyn Source>,
    place: Place,
    speaker: Speaker,
    boards: Arc<Mutex<Vec<Board>>>,
    members: Vec<Member>,
}

impl Team {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Command>) {
        while let Some(command) = inbox.recv().await {
            match command {
                Command::Settle(settings) => self.settle(settings).await,
                Command::End(done) => {
                    self.end(Order::Drain, |_| true).await;
                    let _ = done.send(());
                    return;
                }
            }
        }
    }

    async fn settle(&mut self, settings: Vec<SinkSettings>) {
        self.end(Order::Stop, |member| !settings.contains(&member.settings)).await;
        for settings in settings {
            if !self.members.iter().any(|member| member.settings == settings) {
                let member = self.member(settings);
                self.members.push(member);
            }
        }
        *boards(&self.boards) = self.members.iter().map(|member| member.board.clone()).collect();
    }

    /// Ends some of them, all at the same time.
    async fn end(&mut self, order: Order, is_over: impl Fn(&Member) -> bool) {
        let mut tasks = JoinSet::new();
        for member in self.members.extract_if(.., |member| is_over(member)) {
            let Member { order: orders, task, settings, .. } = member;
            tasks.spawn(async move {
                let _ = orders.send(order);
                let abort = task.abort_handle();
                if timeout(DRAIN, task).await.is_err() {
                    tracing::warn!(
                        sink = settings.name,
                        "the sink did not end in time; what it had on its way is delivered again"
                    );
                    abort.abort();
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    }

    fn member(&self, settings: SinkSettings) -> Member {
        let board = Board::new(&settings.name, settings.kind.as_str());
        let (order, orders) = watch::channel(Order::Run);
        let worker = {
            let (source, place, board) = (Arc::clone(&self.source), self.place.clone(), board.clone());
            let settings = settings.clone();
            move || Worker {
                cursor_file: CursorFile::new(&place.cursors, &settings.name),
                dead_letters: DeadLetters::new(&place.dead_letters, &settings.name),
                settings: settings.clone(),
                source: Arc::clone(&source),
                board: board.clone(),
                order: orders.clone(),
            }
        };
        let speaker = self.speaker.clone();
        let (name, mut orders) = (settings.name.clone(), order.subscribe());
        let task = tokio::spawn(async move {
            // A set, so that the sink ends when this task is aborted.
            let mut tasks = JoinSet::new();
            tasks.spawn(begin(worker(), speaker.clone()));
            // A sink that panics is a bug, and must not be the end of delivery.
            while let Some(Err(error)) = tasks.join_next().await {
                tracing::error!(sink = name, %error, "the sink ended by itself; begins again");
                if timeout(AGAIN, orders.wait_for(|order| *order != Order::Run)).await.is_ok() {
                    return;
                }
                tasks.spawn(begin(worker(), speaker.clone()));
            }
        });
        Member { settings, board, order, task }
    }
}

/// From settings to the kind.
async fn begin(worker: Worker, speaker: Speaker) {
    let (format, timeout) = (worker.settings.format, worker.settings.timeout);
    match worker.settings.kind.clone() {
        Kind::Jsonl(jsonl) => worker.run(Jsonl::new(jsonl.path, format, speaker)).await,
        Kind::Webhook(webhook) => worker.run(Webhook::new(webhook, format, speaker, timeout)).await,
        Kind::Otlp(otlp) => worker.run(Otlp::new(otlp, speaker, timeout)).await,
        Kind::Syslog(syslog) => worker.run(Syslog::new(syslog, format, speaker)).await,
        Kind::Alertmanager(settings) => alertmanager::run(worker, settings, speaker).await,
    }
}
