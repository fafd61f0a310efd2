//! The writer against a file system that fails on command, and once against a real one.

use std::{cell::RefCell, collections::HashMap, path::Path, rc::Rc};

use proptest::prelude::*;
use rustix::io::Errno;

use super::{files::Files, *};
use crate::{
    clock::Clock,
    record::{Context, Record, lifecycle},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Op {
    Open,
    IsCurrent,
    Length,
    Append,
    Truncate,
    Sync,
    Tail,
}

const OPS: [Op; 7] = [Op::Open, Op::IsCurrent, Op::Length, Op::Append, Op::Truncate, Op::Sync, Op::Tail];

#[derive(Default)]
struct State {
    files: Vec<Vec<u8>>,
    /// What the path leads to.
    path: Option<usize>,
    /// Operations that fail, and how often.
    failing: HashMap<Op, u32>,
    /// Bytes that still fit on the disk.
    room: Option<usize>,
}

#[derive(Clone, Default)]
struct Fake(Rc<RefCell<State>>);

impl Fake {
    fn check(&self, op: Op) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        match state.failing.get_mut(&op) {
            Some(left) if *left > 0 => {
                *left -= 1;
                Err(Errno::IO.into())
            }
            _ => Ok(()),
        }
    }

    fn fail(&self, op: Op, times: u32) {
        self.0.borrow_mut().failing.insert(op, times);
    }

    fn heal(&self) {
        let mut state = self.0.borrow_mut();
        state.failing.clear();
        state.room = None;
    }

    fn text(&self) -> String {
        let state = self.0.borrow();
        let mut text = String::new();
        for file in &state.files {
            // Each file is read for itself: a torn end of one is not the begin of the next.
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(&String::from_utf8_lossy(file));
        }
        text
    }

    /// Sequence numbers of all lines that can be read, in all files, in order.
    fn sequences(&self) -> Vec<u64> {
        let lines = self.text();
        let parsed = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        parsed.filter_map(|line| line["metadata"]["sequence"].as_u64()).collect()
    }
}

impl Files for Fake {
    type File = usize;

    fn open(&mut self, _: &Path) -> io::Result<usize> {
        self.check(Op::Open)?;
        let mut state = self.0.borrow_mut();
        let next = state.files.len();
        let idx = *state.path.get_or_insert(next);
        if idx == next {
            state.files.push(Vec::new());
        }
        Ok(idx)
    }

    fn is_current(&mut self, file: &usize, _: &Path) -> io::Result<bool> {
        self.check(Op::IsCurrent)?;
        Ok(self.0.borrow().path == Some(*file))
    }

    fn length(&mut self, file: &usize) -> io::Result<u64> {
        self.check(Op::Length)?;
        Ok(self.0.borrow().files[*file].len() as u64)
    }

    fn append(&mut self, file: &mut usize, bytes: &[u8]) -> io::Result<usize> {
        let room = self.0.borrow().room.unwrap_or(usize::MAX);
        // A failing write leaves half of the bytes behind, as disks do.
        let failed = self.check(Op::Append);
        let count = if failed.is_err() { bytes.len() / 2 } else { bytes.len().min(room) };
        let mut state = self.0.borrow_mut();
        if let Some(room) = &mut state.room {
            *room -= count.min(*room);
        }
        state.files[*file].extend_from_slice(&bytes[..count]);
        failed?;
        if count == 0 && !bytes.is_empty() { Err(Errno::NOSPC.into()) } else { Ok(count) }
    }

    fn truncate(&mut self, file: &mut usize, length: u64) -> io::Result<()> {
        self.check(Op::Truncate)?;
        let mut state = self.0.borrow_mut();
        let cut = state.files[*file].len() - length as usize;
        state.files[*file].truncate(length as usize);
        if let Some(room) = &mut state.room {
            *room += cut;
        }
        Ok(())
    }

    fn sync(&mut self, _: &mut usize) -> io::Result<()> {
        self.check(Op::Sync)
    }

    fn tail(&mut self, file: &usize, max_bytes: usize) -> io::Result<Vec<u8>> {
        self.check(Op::Tail)?;
        let state = self.0.borrow();
        let bytes = &state.files[*file];
        Ok(bytes[bytes.len().saturating_sub(max_bytes)..].to_vec())
    }
}

fn origin() -> Origin {
    Origin {
        version: "0.1.0".to_owned(),
        hostname: "storage-1".to_owned(),
        host_uid: "h1".to_owned(),
        country_name: |_| None,
    }
}

fn record() -> Record {
    let clock = Clock::with_epoch(WallTime(0));
    let origin = origin();
    let context = Context { origin: &origin, clock: &clock, booted: None, now: WallTime(0) };
    let event = lifecycle::Event::Degraded { part: "test".to_owned(), reason: "x".repeat(50) };
    lifecycle::lifecycle(&context, event)
}

struct Lab {
    fake: Fake,
    engine: Engine<FileTarget<Fake>>,
    now: Now,
}

impl Lab {
    fn new(max_bytes: usize) -> Self {
        Self::on(Fake::default(), max_bytes)
    }

    fn on(fake: Fake, max_bytes: usize) -> Self {
        let (target, tail) = FileTarget::open(fake.clone(), Path::new("records"));
        let tail = tail.expect("nothing fails yet");
        let sequence = tail.last_sequence.unwrap_or(0);
        let engine = Engine::new(target, origin(), "i1", sequence, max_bytes);
        Self { fake, engine, now: Now { kernel: KernelTime(0), wall: WallTime(0) } }
    }

    fn append(&mut self, count: usize) -> Result<Accepted, AppendError> {
        let numbering = self.engine.numbering();
        self.engine.enqueue((0..count).filter_map(|_| numbering.line(record())).collect());
        self.engine.flush(self.now);
        answer(self.engine.health())
    }

    fn wait(&mut self, seconds: u64) {
        self.now.kernel = self.now.kernel + Duration::from_secs(seconds);
        self.now.wall = WallTime(self.now.wall.0 + seconds as i64 * 1_000_000_000);
        if self.engine.retry_at().is_some_and(|due| due <= self.now.kernel) {
            self.engine.flush(self.now);
        }
    }
}

const ROOMY: usize = 1 << 20;

#[test]
fn accepted_records_are_in_the_file_in_order() {
    let mut lab = Lab::new(ROOMY);
    assert_eq!(lab.append(2), Ok(Accepted { sequence: 2 }));
    assert_eq!(lab.append(1), Ok(Accepted { sequence: 3 }));
    assert_eq!(lab.fake.sequences(), [1, 2, 3]);
    assert!(lab.fake.text().contains("\"uid\":\"h1:i1:3\""));
}

#[test]
fn whatever_fails_nothing_is_accepted_and_everything_is_written_once_it_works_again() {
    for op in OPS {
        let mut lab = Lab::new(ROOMY);
        lab.append(1).expect("works");
        lab.fake.fail(op, u32::MAX);
        let refused = lab.append(2);
        match op {
            // Not needed while nothing goes wrong.
            Op::Open | Op::Tail | Op::Truncate => assert!(refused.is_ok(), "{op:?}"),
            _ => assert!(matches!(refused, Err(AppendError::Deferred(_))), "{op:?}: {refused:?}"),
        }
        lab.fake.heal();
        lab.wait(60);
        assert_eq!(lab.append(1), Ok(Accepted { sequence: 4 }), "{op:?}");
        assert_eq!(lab.fake.sequences(), [1, 2, 3, 4], "{op:?}");
    }
}

#[test]
fn a_half_written_batch_is_taken_back() {
    let mut lab = Lab::new(ROOMY);
    lab.append(1).expect("works");
    let before = lab.fake.text();
    lab.fake.0.borrow_mut().room = Some(100);
    assert!(lab.append(3).is_err());
    assert_eq!(lab.fake.text(), before);
}

#[test]
fn what_cannot_be_taken_back_is_ended_with_a_newline_and_written_again() {
    let mut lab = Lab::new(ROOMY);
    lab.append(1).expect("works");
    lab.fake.fail(Op::Append, 1);
    lab.fake.fail(Op::Truncate, 1);
    assert!(lab.append(1).is_err());
    lab.wait(60);
    assert_eq!(lab.append(1), Ok(Accepted { sequence: 3 }));
    assert_eq!(lab.fake.sequences(), [1, 2, 3]);
    assert_eq!(lab.fake.text().lines().count(), 4, "one line is torn");
}

#[test]
fn a_full_disk_drops_only_what_memory_cannot_hold_and_says_exactly_how_much() {
    let line = {
        let mut lab = Lab::new(ROOMY);
        lab.append(1).expect("works");
        lab.fake.text().len()
    };
    let mut lab = Lab::new(line * 10);
    lab.fake.0.borrow_mut().room = Some(0);
    for _ in 0..25 {
        assert!(lab.append(1).is_err());
    }
    let Err(AppendError::Deferred(degraded)) = lab.append(0) else { panic!("not degraded") };
    assert_eq!(degraded.queued_records as u64 + degraded.dropped.total(), 25);
    assert!(degraded.queued_bytes <= line * 10);
    assert_eq!(degraded.since, WallTime(0));
    lab.fake.heal();
    lab.wait(60);
    assert!(lab.engine.health().degraded.is_none());
    let sequences = lab.fake.sequences();
    assert_eq!(sequences.last(), Some(&26), "the gap record comes last");
    let text = lab.fake.text();
    let gap: serde_json::Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    let gap = &gap["unmapped"]["homeport"];
    assert_eq!(gap["event"], "gap");
    let dropped = gap["transitions"].as_u64().expect("a number");
    assert_eq!(dropped + sequences.len() as u64 - 1, 25);
    assert_eq!(gap["first_sequence"], 1);
    assert_eq!(gap["last_sequence"].as_u64(), Some(dropped), "holes are where the gap says");
}

#[test]
fn retries_are_spaced_out() {
    let mut lab = Lab::new(ROOMY);
    lab.fake.fail(Op::Append, u32::MAX);
    assert!(lab.append(1).is_err());
    let mut waits = Vec::new();
    for _ in 0..9 {
        let due = lab.engine.retry_at().expect("a retry");
        waits.push(due.since(lab.now.kernel).as_millis());
        assert!(!lab.engine.flush(Now { kernel: KernelTime(due.0 - 1), wall: WallTime(0) }));
        lab.now.kernel = due;
        lab.engine.flush(lab.now);
    }
    assert_eq!(waits, [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
}

#[test]
fn an_outage_that_is_over_is_known_with_its_times() {
    let mut lab = Lab::new(ROOMY);
    assert_eq!((lab.engine.health().outages, &lab.engine.health().last_outage), (0, &None));
    for number in 1..3 {
        lab.fake.fail(Op::Sync, 1);
        let since = lab.now.kernel;
        assert!(lab.append(1).is_err());
        assert_eq!(lab.engine.health().outages, number, "one that lasts is counted");
        lab.now.kernel = lab.engine.retry_at().expect("a retry");
        assert!(lab.engine.flush(lab.now));
        let outage = lab.engine.health().last_outage.clone().expect("one that is over");
        assert_eq!((outage.since, outage.until), (since, lab.now.kernel));
        assert!(outage.reason.contains("Input/output error"), "{}", outage.reason);
        assert_eq!(lab.engine.health().outages, number);
    }
}

#[test]
fn opening_again_ends_the_wait() {
    let mut lab = Lab::new(ROOMY);
    lab.fake.fail(Op::Sync, u32::MAX);
    assert!(lab.append(1).is_err());
    lab.fake.heal();
    lab.engine.reopen(lab.now);
    assert!(lab.engine.health().degraded.is_none());
}

#[test]
fn a_renamed_or_removed_file_is_opened_again() {
    let mut lab = Lab::new(ROOMY);
    lab.append(1).expect("works");
    lab.fake.0.borrow_mut().path = None;
    lab.append(1).expect("works");
    let state = lab.fake.0.borrow();
    assert_eq!(state.files.len(), 2);
    assert!(String::from_utf8_lossy(&state.files[1]).contains("\"sequence\":2"));
}

#[test]
fn a_file_cut_from_outside_is_appended_to_from_its_new_end() {
    let mut lab = Lab::new(ROOMY);
    lab.append(3).expect("works");
    lab.fake.0.borrow_mut().files[0].clear();
    lab.append(1).expect("works");
    assert_eq!(lab.fake.sequences(), [4]);
    assert!(!lab.fake.text().contains('\0'));
}

#[test]
fn a_torn_last_line_is_ended_and_numbers_continue() {
    let mut lab = Lab::new(ROOMY);
    lab.append(2).expect("works");
    let fake = lab.fake.clone();
    fake.0.borrow_mut().files[0].extend_from_slice(b"{\"metadata\":{\"seq");
    let mut lab = Lab::on(fake, ROOMY);
    assert_eq!(lab.append(1), Ok(Accepted { sequence: 3 }));
    assert_eq!(lab.fake.sequences(), [1, 2, 3]);
    assert_eq!(lab.fake.text().lines().count(), 4);
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Fail(usize, u32),
    Room(usize),
    Heal,
    Rotate,
    Wait(u64),
    /// The agent is killed and starts again; lines are where they are.
    Kill,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1usize..4).prop_map(Step::Append),
        2 => (0usize..OPS.len(), 1u32..3).prop_map(|(op, times)| Step::Fail(op, times)),
        1 => (0usize..3_000).prop_map(Step::Room),
        1 => Just(Step::Heal),
        1 => Just(Step::Rotate),
        2 => (0u64..40).prop_map(Step::Wait),
        1 => Just(Step::Kill),
    ];
    prop::collection::vec(step, 0..40)
}

proptest! {
    /// Whatever fails in whatever order: what was accepted is in the files; what is in no file was either dropped
    /// and counted in a gap, or died in memory with the agent and was never accepted.
    #[test]
    fn no_accepted_record_is_lost_and_no_dropped_one_uncounted(steps in steps()) {
        let mut lab = Lab::new(4_000);
        // Lines that could be neither synced nor taken back may be there although they were dropped afterwards.
        let may_stay = steps.iter().any(|step| {
            matches!(step, Step::Fail(op, _) if matches!(OPS[*op], Op::Truncate | Op::Length))
        });
        let mut accepted: u64 = 0;
        let mut died = 0;
        for step in steps {
            match step {
                Step::Append(count) => match lab.append(count) {
                    Ok(through) => accepted = accepted.max(through.sequence),
                    Err(_) => prop_assert!(lab.engine.retry_at().is_some()),
                },
                Step::Fail(op, times) => lab.fake.fail(OPS[op], times),
                Step::Room(bytes) => lab.fake.0.borrow_mut().room = Some(bytes),
                Step::Heal => lab.fake.heal(),
                Step::Rotate => lab.fake.0.borrow_mut().path = None,
                Step::Wait(seconds) => lab.wait(seconds),
                Step::Kill => {
                    if lab.engine.health().degraded.is_some() {
                        died += 1;
                    }
                    lab.fake.heal();
                    let now = lab.now;
                    let floor = lab.engine.health().accepted_sequence;
                    lab = Lab::on(lab.fake.clone(), 4_000);
                    lab.now = now;
                    // After a rotation the new file says nothing; the app keeps the number elsewhere.
                    lab.engine = {
                        let (target, tail) = FileTarget::open(lab.fake.clone(), Path::new("records"));
                        let last = tail.expect("healed").last_sequence.unwrap_or(0).max(floor);
                        Engine::new(target, origin(), "i2", last, 4_000)
                    };
                }
            }
        }
        lab.fake.heal();
        prop_assert!(lab.engine.finish(lab.now));
        let health = lab.engine.health().clone();
        prop_assert!(health.degraded.is_none());

        let text = lab.fake.text();
        let lines: Vec<serde_json::Value> =
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let mut present: std::collections::BTreeSet<u64> = Default::default();
        let mut in_gaps: std::collections::BTreeSet<u64> = Default::default();
        let mut counted = 0;
        for line in &lines {
            present.extend(line["metadata"]["sequence"].as_u64());
            let extra = &line["unmapped"]["homeport"];
            if extra["event"] == "gap" {
                counted += extra["transitions"].as_u64().unwrap_or(0);
                let first = extra["first_sequence"].as_u64().unwrap_or(1);
                let last = extra["last_sequence"].as_u64().unwrap_or(0);
                in_gaps.extend(first..=last);
            }
        }
        if died == 0 {
            let missing: Vec<u64> =
                (1..=health.accepted_sequence).filter(|sequence| !present.contains(sequence)).collect();
            prop_assert!(missing.len() as u64 <= counted, "{:?}", missing);
            prop_assert!(may_stay || missing.len() as u64 == counted, "{:?}", missing);
            prop_assert!(missing.iter().all(|sequence| in_gaps.contains(sequence)));
        }
        for sequence in 1..=accepted {
            prop_assert!(present.contains(&sequence) || in_gaps.contains(&sequence) || died > 0);
        }
    }
}

/// One test on a real file system, through the thread.
#[test]
fn a_real_file_is_private_durable_and_survives_rotation() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("records.jsonl");
    let settings = WriterSettings {
        ledger: None,
        file: Some(path.clone()),
        stdout: false,
        queue_bytes: WriterSettings::QUEUE_BYTES,
        instance: "i1".to_owned(),
        sequence_floor: 0,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (writer, started) = Writer::spawn(settings.clone(), origin()).expect("starts");
        assert_eq!((started.last_sequence, started.torn_bytes), (0, 0));
        let line = |writer: &Writer| writer.numbering().line(record()).expect("a line");
        assert_eq!(writer.append(vec![line(&writer), line(&writer)]).await, Ok(Accepted { sequence: 2 }));
        let mode = path.metadata().expect("a file").permissions().mode() & 0o777;
        assert_eq!(mode & !0o640, 0, "{mode:o}");
        std::fs::rename(&path, directory.path().join("records.jsonl.1")).expect("renamed");
        assert_eq!(writer.append(vec![line(&writer)]).await, Ok(Accepted { sequence: 3 }));
        writer.reopen().await;
        let health = writer.stop().await;
        assert_eq!(health, Health { accepted_sequence: 3, ..Health::default() });

        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|mut file| io::Write::write_all(&mut file, b"{\"torn"))
            .expect("torn");
        let (writer, started) = Writer::spawn(settings, origin()).expect("starts again");
        assert_eq!((started.last_sequence, started.torn_bytes), (3, 6));
        assert_eq!(writer.append(vec![line(&writer)]).await, Ok(Accepted { sequence: 4 }));
        writer.stop().await;
        let text = std::fs::read_to_string(&path).expect("read");
        assert_eq!(text.lines().count(), 3);
    });
}

#[test]
fn an_output_that_cannot_be_used_is_an_error_that_says_what_to_do() {
    let directory = tempfile::tempdir().expect("a directory");
    let spawn = |file: Option<PathBuf>| {
        let settings = WriterSettings {
            ledger: None,
            file,
            stdout: false,
            queue_bytes: 1_000,
            instance: String::new(),
            sequence_floor: 0,
        };
        Writer::spawn(settings, origin()).map(|_| ()).expect_err("refused").to_string()
    };
    assert!(spawn(None).starts_with("there is no output"));
    assert!(spawn(Some(directory.path().join("no/such.jsonl"))).contains("does not exist; create it first"));
    assert!(spawn(Some(directory.path().to_owned())).contains("cannot be opened"));
}
