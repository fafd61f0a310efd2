//! A sink against a receiver that does what it is told to, and a ledger in memory. Time is simulated: an hour of
//! outage takes a moment.

use std::{
    io,
    ops::Range,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::{
    cursor::CursorFile,
    dead_letter::DeadLetters,
    deliver::{Deliver, Outcome, Rejected},
    select::{About, Selection},
    settings::{Batch, JsonlSettings, Kind, Retry, SinkSettings, Start},
    status::{Board, Notice, SinkRow},
    worker::{Order, Worker},
};
use crate::{
    clock::WallTime,
    ledger::{Entry, Page, Source},
};

const SINK: &str = "siem";

/// In simulated time: nothing takes that long.
const FOREVER: Duration = Duration::from_secs(100_000);

/// A ledger in memory.
struct Memory {
    kept: Mutex<(u64, Vec<Entry>)>,
    size: watch::Sender<u64>,
    /// The most entries that were ever held by others at the same time.
    most_held: Mutex<usize>,
}

impl Memory {
    fn new() -> Arc<Self> {
        Arc::new(Self { kept: Mutex::default(), size: watch::channel(0).0, most_held: Mutex::default() })
    }

    fn with(count: u64) -> Arc<Self> {
        let memory = Self::new();
        memory.append(count);
        memory
    }

    fn append(&self, count: u64) {
        for _ in 0..count {
            let index = *self.size.borrow();
            let record = format!("{{\"class_uid\":6002,\"severity_id\":1,\"n\":{index}}}");
            self.push(&record);
        }
    }

    fn push(&self, record: &str) {
        let mut kept = self.kept.lock().expect("not poisoned");
        let index = kept.0 + kept.1.len() as u64;
        kept.1.push(Entry { index, record: record.into() });
        drop(kept);
        self.size.send_replace(index + 1);
    }

    fn forget_before(&self, first: u64) {
        let mut kept = self.kept.lock().expect("not poisoned");
        let count = (first - kept.0) as usize;
        kept.1.drain(..count);
        kept.0 = first;
    }
}

impl Source for Memory {
    fn first(&self) -> u64 {
        self.kept.lock().expect("not poisoned").0
    }

    fn size(&self) -> watch::Receiver<u64> {
        self.size.subscribe()
    }

    fn read(&self, from: u64, page: Page) -> io::Result<Vec<Entry>> {
        let kept = self.kept.lock().expect("not poisoned");
        let held = kept.1.iter().filter(|entry| Arc::strong_count(&entry.record) > 1).count();
        let mut most_held = self.most_held.lock().expect("not poisoned");
        *most_held = held.max(*most_held);
        let start = from.checked_sub(kept.0).ok_or(io::ErrorKind::NotFound)? as usize;
        Ok(kept.1.iter().skip(start).take(page.entries).cloned().collect())
    }
}

type Answer = Box<dyn FnMut(&[Entry]) -> Outcome + Send>;

/// What was asked, and what it answers.
struct Receiver {
    answer: Answer,
    /// How long it takes.
    takes: Duration,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    attempts: Mutex<Vec<(Instant, Range<u64>)>>,
    taken: Mutex<Vec<u64>>,
    records: Mutex<Vec<String>>,
}

impl Log {
    fn taken(&self) -> Vec<u64> {
        self.taken.lock().expect("not poisoned").clone()
    }

    fn n_attempts(&self) -> usize {
        self.attempts.lock().expect("not poisoned").len()
    }
}

impl Deliver for Receiver {
    async fn deliver(&mut self, batch: &[Entry]) -> Outcome {
        let (first, last) = (batch[0].index, batch[batch.len() - 1].index);
        self.log.attempts.lock().expect("not poisoned").push((Instant::now(), first..last + 1));
        sleep(self.takes).await;
        let outcome = (self.answer)(batch);
        if let Outcome::Taken { entries, rejected } = &outcome {
            let taken =
                batch[..*entries].iter().filter(|entry| !rejected.iter().any(|no| no.index == entry.index));
            for entry in taken {
                self.log.taken.lock().expect("not poisoned").push(entry.index);
                self.log.records.lock().expect("not poisoned").push(entry.record.to_string());
            }
        }
        outcome
    }
}

fn settings() -> SinkSettings {
    SinkSettings {
        name: SINK.to_owned(),
        kind: Kind::Jsonl(JsonlSettings { path: "/nowhere".into() }),
        format: super::format::Format::Ocsf,
        selection: Selection::default(),
        start: Start::Oldest,
        batch: Batch { entries: 10, bytes: 1 << 20, linger: Duration::from_millis(100) },
        timeout: Duration::from_secs(10),
        retry: Retry { first: Duration::from_secs(1), longest: Duration::from_secs(60) },
        max_per_sec: None,
    }
}

/// A sink at work.
struct Bench {
    directory: TempDir,
    memory: Arc<Memory>,
    log: Arc<Log>,
    board: Board,
    order: watch::Sender<Order>,
    task: JoinHandle<()>,
}

impl Bench {
    fn start(memory: &Arc<Memory>, answer: impl FnMut(&[Entry]) -> Outcome + Send + 'static) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self::start_with(directory, memory, settings(), Duration::ZERO, answer)
    }

    fn start_with(
        directory: TempDir,
        memory: &Arc<Memory>,
        settings: SinkSettings,
        takes: Duration,
        answer: impl FnMut(&[Entry]) -> Outcome + Send + 'static,
    ) -> Self {
        let log = Arc::new(Log::default());
        let board = Board::new(SINK, "test");
        let (order, orders) = watch::channel(Order::Run);
        let worker = Worker {
            settings,
            source: Arc::clone(memory) as Arc<dyn Source>,
            cursor_file: CursorFile::new(directory.path(), SINK),
            dead_letters: DeadLetters::new(directory.path(), SINK),
            board: board.clone(),
            order: orders,
        };
        let receiver = Receiver { answer: Box::new(answer), takes, log: Arc::clone(&log) };
        let task = tokio::spawn(worker.run(receiver));
        Self { directory, memory: Arc::clone(memory), log, board, order, task }
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !is_so(self) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(timeout(FOREVER, waiting).await.is_ok(), "never: {what}; {:?}", self.row());
    }

    async fn until_taken(&self, count: usize) {
        self.until("everything is taken", |bench| bench.log.taken().len() >= count).await;
        self.until("the cursor moves", |bench| bench.row().behind_entries == 0).await;
    }

    fn row(&self) -> SinkRow {
        self.board.row(*self.memory.size.borrow(), WallTime::now())
    }

    async fn end(self, order: Order) -> TempDir {
        self.order.send_replace(order);
        timeout(FOREVER, self.task).await.expect("it ends").expect("no panic");
        self.directory
    }

    fn dead_letters(&self) -> Vec<serde_json::Value> {
        lines(&self.directory.path().join(format!("{SINK}.jsonl")))
    }
}

fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn take_all(batch: &[Entry]) -> Outcome {
    Outcome::Taken { entries: batch.len(), rejected: Vec::new() }
}

fn retry(reason: &str) -> Outcome {
    Outcome::Retry { reason: reason.to_owned(), after: None }
}

fn indices(range: Range<u64>) -> Vec<u64> {
    range.collect()
}

#[tokio::test(start_paused = true)]
async fn everything_is_delivered_once_and_in_order() {
    let memory = Memory::with(95);
    let bench = Bench::start(&memory, take_all);
    bench.until_taken(95).await;
    memory.append(30);
    bench.until_taken(125).await;
    assert_eq!(bench.log.taken(), indices(0..125));
    let row = bench.row();
    assert_eq!((row.delivered, row.retries, row.dead_letters, row.state.as_str()), (125, 0, 0, "delivering"));
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_outage_delays_everything_and_loses_nothing_and_memory_stays_flat() {
    let memory = Memory::with(1);
    let down_until = Instant::now() + Duration::from_secs(3_600);
    let bench = Bench::start(&memory, move |batch| {
        if Instant::now() < down_until { retry("connection refused") } else { take_all(batch) }
    });
    for _ in 0..3_600 {
        memory.append(1);
        sleep(Duration::from_secs(1)).await;
    }
    assert!(bench.log.taken().is_empty());
    let row = bench.row();
    assert_eq!((row.state.as_str(), row.behind_entries), ("failing", 3_601));
    assert!(row.last_error.is_some_and(|error| error.reason == "connection refused"));
    let back = Instant::now();
    bench.until_taken(3_601).await;
    assert_eq!(bench.log.taken(), indices(0..3_601));
    // One a second is the live rate, and the longest wait is a minute.
    assert!(back.elapsed() < Duration::from_secs(60 + 360), "{:?}", back.elapsed());
    let attempts = bench.log.n_attempts();
    assert!((60..900).contains(&attempts), "{attempts} attempts");
    // Two pages of four batches, and what was just read.
    let most_held = *memory.most_held.lock().expect("not poisoned");
    assert!(most_held <= 3 * 4 * 10, "{most_held} entries in memory");
    assert_eq!(bench.row().failing_since, None);
}

#[tokio::test(start_paused = true)]
async fn catching_up_overlaps_reading_and_takes_a_fraction_of_the_time_that_it_took_to_fall_behind() {
    let memory = Memory::with(6_000);
    let directory = tempfile::tempdir().expect("a directory");
    let began = Instant::now();
    // A receiver that needs 20 ms for 10 records: 500 a second at best.
    let bench = Bench::start_with(directory, &memory, settings(), Duration::from_millis(20), take_all);
    bench.until_taken(6_000).await;
    assert_eq!(bench.log.n_attempts(), 600);
    assert!(began.elapsed() < Duration::from_secs(13), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_never_answers_is_given_up_in_time_and_asked_again() {
    let memory = Memory::with(3);
    let directory = tempfile::tempdir().expect("a directory");
    let bench = Bench::start_with(directory, &memory, settings(), Duration::from_secs(3_600), take_all);
    bench.until("three attempts", |bench| bench.log.n_attempts() >= 3).await;
    assert!(bench.log.taken().is_empty());
    let reason = bench.row().last_error.expect("an error").reason;
    assert_eq!(reason, "no answer within 10000 ms");
}

#[tokio::test(start_paused = true)]
async fn what_the_receiver_asks_for_is_waited_for() {
    let memory = Memory::with(1);
    let mut left = 2;
    let bench = Bench::start(&memory, move |batch| {
        left -= 1;
        match left {
            1 => Outcome::Retry { reason: "busy".to_owned(), after: Some(Duration::from_secs(30)) },
            _ => take_all(batch),
        }
    });
    bench.until_taken(1).await;
    let attempts = bench.log.attempts.lock().expect("not poisoned").clone();
    let waited = attempts[1].0 - attempts[0].0;
    assert!((30..34).contains(&waited.as_secs()), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_refused_is_split_until_the_one_to_blame_is_alone() {
    let memory = Memory::with(40);
    let bench = Bench::start(&memory, |batch| {
        if batch.iter().any(|entry| entry.index == 17) {
            Outcome::Refused { reason: "400: field n is 17".to_owned() }
        } else {
            take_all(batch)
        }
    });
    bench.until_taken(39).await;
    let expected: Vec<u64> = (0..40).filter(|index| *index != 17).collect();
    assert_eq!(bench.log.taken(), expected);
    let letters = bench.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!((&letters[0]["index"], &letters[0]["record"]["n"]), (&17.into(), &17.into()));
    assert_eq!(letters[0]["reason"], "400: field n is 17");
    let notices = bench.board.take_notices();
    assert!(
        matches!(&notices[..], [Notice::Refused(range)] if range.first == 17 && range.count == 1),
        "{notices:?}"
    );
    assert_eq!(bench.board.take_notices(), []);
    assert_eq!((bench.row().dead_letters, bench.row().delivered), (1, 39));
    // The size is back to what it was, at once.
    let sizes: Vec<u64> = bench
        .log
        .attempts
        .lock()
        .expect("not poisoned")
        .iter()
        .skip_while(|(_, range)| *range != (17..18))
        .map(|(_, range)| range.end - range.start)
        .collect();
    assert_eq!(sizes, [1, 10, 10, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_takes_part_of_a_batch_gets_the_rest_next() {
    let memory = Memory::with(20);
    let bench = Bench::start(&memory, |batch| Outcome::Taken {
        entries: batch.len().min(3),
        rejected: batch[..batch.len().min(3)]
            .iter()
            .filter(|entry| entry.index % 7 == 0)
            .map(|entry| Rejected { index: entry.index, reason: "partial".to_owned() })
            .collect(),
    });
    bench.until_taken(17).await;
    let expected: Vec<u64> = (0..20).filter(|index| index % 7 != 0).collect();
    assert_eq!(bench.log.taken(), expected);
    let buried: Vec<u64> =
        bench.dead_letters().iter().filter_map(|letter| letter["index"].as_u64()).collect();
    assert_eq!(buried, [0, 7, 14]);
}

#[tokio::test(start_paused = true)]
async fn what_retention_took_is_skipped_and_said() {
    let memory = Memory::with(100);
    let mut is_first = true;
    let bench =
        Bench::start(
            &memory,
            move |batch| {
                if std::mem::take(&mut is_first) { retry("down") } else { take_all(batch) }
            },
        );
    bench.until("a failure", |bench| bench.log.n_attempts() >= 1).await;
    let directory = bench.end(Order::Stop).await;
    memory.forget_before(60);
    let bench = Bench::start_with(directory, &memory, settings(), Duration::ZERO, take_all);
    bench.until_taken(40).await;
    assert_eq!(bench.log.taken(), indices(60..100));
    let notices = bench.board.take_notices();
    let [Notice::Skipped(range)] = &notices[..] else { panic!("{notices:?}") };
    assert_eq!((range.first, range.last, range.count, bench.row().skipped), (0, 59, 60, 60));
}

#[tokio::test(start_paused = true)]
async fn a_sink_goes_on_where_it_was_and_told_to_drain_delivers_what_there_is() {
    let memory = Memory::with(25);
    let bench = Bench::start(&memory, take_all);
    bench.until_taken(25).await;
    let directory = bench.end(Order::Stop).await;
    memory.append(25);
    let bench = Bench::start_with(directory, &memory, settings(), Duration::ZERO, take_all);
    bench.until_taken(25).await;
    memory.append(25);
    let log = Arc::clone(&bench.log);
    let directory = bench.end(Order::Drain).await;
    assert_eq!(log.taken(), indices(25..75));
    // A receiver that is down keeps nobody from ending, and the backlog is intact.
    memory.append(5);
    let bench = Bench::start_with(directory, &memory, settings(), Duration::ZERO, |_| retry("down"));
    bench.until("a failure", |bench| bench.log.n_attempts() >= 1).await;
    let directory = bench.end(Order::Drain).await;
    let bench = Bench::start_with(directory, &memory, settings(), Duration::ZERO, take_all);
    bench.until_taken(5).await;
    assert_eq!(bench.log.taken(), indices(75..80));
}

/// Each way in which a cursor can be worth nothing, and what follows.
#[tokio::test(start_paused = true)]
async fn a_cursor_that_is_worth_nothing_repeats_and_never_loses() {
    type Case = (&'static str, fn(&Path));
    let cases: [Case; 6] = [
        ("missing", |path| std::fs::remove_file(path).expect("removed")),
        ("empty", |path| std::fs::write(path, "").expect("written")),
        ("cut", |path| {
            let bytes = std::fs::read(path).expect("read");
            std::fs::write(path, &bytes[..bytes.len() / 2]).expect("written");
        }),
        ("changed", |path| {
            let text = std::fs::read_to_string(path).expect("read");
            std::fs::write(path, text.replace("\"next\":30", "\"next\":29")).expect("written");
        }),
        ("zeroes", |path| std::fs::write(path, [0; 200]).expect("written")),
        ("a directory", |path| {
            std::fs::remove_file(path).expect("removed");
            std::fs::create_dir(path).expect("made");
        }),
    ];
    for (case, damage) in cases {
        let memory = Memory::with(30);
        let bench = Bench::start(&memory, take_all);
        bench.until_taken(30).await;
        let directory = bench.end(Order::Stop).await;
        damage(&directory.path().join(SINK));
        let bench = Bench::start_with(directory, &memory, settings(), Duration::ZERO, take_all);
        bench.until_taken(30).await;
        assert_eq!(bench.log.taken(), indices(0..30), "{case}");
        let is_told = matches!(bench.board.take_notices().as_slice(), [Notice::CursorLost(_)]);
        assert_eq!(is_told, case != "missing", "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_is_another_one_is_delivered_from_its_begin() {
    let memory = Memory::with(30);
    let bench = Bench::start(&memory, take_all);
    bench.until_taken(30).await;
    let mut directory = bench.end(Order::Stop).await;
    // Shorter, then as long but of other entries.
    for count in [12, 30] {
        let other = Memory::new();
        for n in 0..count {
            other.push(&format!("{{\"other\":{n},\"of\":{count}}}"));
        }
        let bench = Bench::start_with(directory, &other, settings(), Duration::ZERO, take_all);
        bench.until_taken(count as usize).await;
        assert_eq!(bench.log.taken(), indices(0..count));
        directory = bench.end(Order::Stop).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_sink_may_begin_with_what_comes_next_and_keeps_that_place() {
    let memory = Memory::with(10);
    let directory = tempfile::tempdir().expect("a directory");
    let settings = SinkSettings { start: Start::Newest, ..settings() };
    let bench = Bench::start_with(directory, &memory, settings.clone(), Duration::ZERO, take_all);
    bench.until("it begins", |bench| bench.row().state == "delivering").await;
    let directory = bench.end(Order::Stop).await;
    // Appended while nobody looked: the place was taken before.
    memory.append(5);
    let bench = Bench::start_with(directory, &memory, settings, Duration::ZERO, take_all);
    bench.until_taken(5).await;
    assert_eq!(bench.log.taken(), indices(10..15));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_wanted_is_passed_and_intervals_become_heartbeats() {
    let memory = Memory::new();
    for record in [
        include_str!("../record/golden/interval.json"),
        include_str!("../record/golden/finding-open.json"),
        include_str!("../record/golden/lifecycle-start.json"),
    ] {
        memory.push(record);
    }
    let selection = Selection { about: vec![About::Findings], min_severity: 1, heartbeat: true };
    let directory = tempfile::tempdir().expect("a directory");
    let settings = SinkSettings { selection, ..settings() };
    let bench = Bench::start_with(directory, &memory, settings.clone(), Duration::ZERO, take_all);
    bench.until_taken(2).await;
    assert_eq!(bench.log.taken(), [0, 1]);
    let records = bench.log.records.lock().expect("not poisoned").clone();
    assert!(records[0].contains("\"heartbeat\":true"), "{}", records[0]);
    assert_eq!(records[1], include_str!("../record/golden/finding-open.json"));
    // The cursor remembers entries as they stand in the ledger, passed ones too: nothing is repeated.
    let directory = bench.end(Order::Stop).await;
    memory.append(1);
    memory.push(include_str!("../record/golden/finding-open.json"));
    let bench = Bench::start_with(directory, &memory, settings, Duration::ZERO, take_all);
    bench.until_taken(1).await;
    assert_eq!((bench.log.taken(), bench.board.take_notices()), (vec![4], vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_records_a_second_holds() {
    let memory = Memory::with(1_000);
    let directory = tempfile::tempdir().expect("a directory");
    let settings = SinkSettings { max_per_sec: Some(100), ..settings() };
    let began = Instant::now();
    let bench = Bench::start_with(directory, &memory, settings, Duration::ZERO, take_all);
    bench.until_taken(1_000).await;
    assert!((9..12).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}
