//! Witness and client against each other, over loopback.

use std::{fs, path::Path, sync::Arc};

use tokio::{net::TcpListener, sync::oneshot};

use super::{
    client::{Client, OfferError, Witness as Configured},
    memory::{Memory, key},
    protocol::Request,
    server::{Answer, Witness, serve},
};
use crate::ledger::audit::{
    Reader,
    fixture::{ReferenceLedger, record},
    merkle::prove_consistency,
    note::{Checkpoint, Key, SignatureLine, Signed},
    reader::{Tree, WITNESSED},
};

const ORIGIN: &str = "homeport/test-host";
const NAME: &str = "witness.example/w1";

fn ledger(directory: &Path, sizes: &[u64]) -> ReferenceLedger {
    let mut ledger = ReferenceLedger::new(directory, ORIGIN);
    for size in sizes {
        grow(&mut ledger, *size);
    }
    ledger
}

fn grow(ledger: &mut ReferenceLedger, size: u64) {
    while ledger.size() < size {
        ledger.append(record(ledger.size() + 1).as_bytes());
    }
    ledger.publish();
}

fn witness(state: &Path, log: &str) -> Witness {
    let memory = Memory::open(state).expect("made for this test");
    Witness::new(
        key(state, NAME).expect("made for this test"),
        [Key::parse(log).expect("made for this test")],
        memory,
    )
}

/// The request from `old` entries to what is published.
fn request(directory: &Path, old: u64) -> Request {
    let reader = Reader::open(directory).expect("made for this test");
    let checkpoint = Checkpoint::parse(&fs::read(directory.join("checkpoint")).expect("made for this test"))
        .expect("made for this test");
    let proof = prove_consistency(&mut Tree::new(&reader, checkpoint.size), old, checkpoint.size)
        .expect("made for this test");
    Request { old, proof, checkpoint }
}

fn ask(witness: &Witness, request: &Request) -> Answer {
    witness.add_checkpoint(request.to_text().as_bytes(), 1_767_000_000)
}

#[test]
fn a_witness_answers_as_the_specification_says() {
    let (directory, state) =
        (tempfile::tempdir().expect("made for this test"), tempfile::tempdir().expect("made for this test"));
    let mut log = ledger(directory.path(), &[300]);
    let witness = witness(state.path(), &log.key);
    let first = request(directory.path(), 0);

    let Answer::Cosigned(lines) = ask(&witness, &first) else { panic!("not signed") };
    let mut head = first.checkpoint.clone();
    head.signatures.extend(lines.lines().filter_map(SignatureLine::parse));
    let public = Key::parse(&fs::read_to_string(state.path().join("key.pub")).expect("made for this test"))
        .expect("made for this test");
    assert_eq!(head.by(&public), Signed::Valid(1_767_000_000));

    assert_eq!(ask(&witness, &first), Answer::Conflict(300), "it has seen these");
    assert!(matches!(ask(&witness, &request(directory.path(), 300)), Answer::Cosigned(_)), "the same again");
    grow(&mut log, 700);
    assert_eq!(ask(&witness, &request(directory.path(), 200)), Answer::Conflict(300));
    let mut unproven = request(directory.path(), 300);
    unproven.proof.pop();
    assert_eq!(ask(&witness, &unproven), Answer::Inconsistent);
    let mut larger = request(directory.path(), 700);
    larger.old = 701;
    assert!(matches!(ask(&witness, &larger), Answer::BadRequest(_)));
    let mut unknown = request(directory.path(), 300);
    unknown.checkpoint.text = unknown.checkpoint.text.replace(ORIGIN, "homeport/other");
    assert_eq!(ask(&witness, &unknown), Answer::UnknownLog);
    let mut unsigned = request(directory.path(), 300);
    unsigned.checkpoint.text = unsigned.checkpoint.text.replace("\n700\n", "\n701\n");
    assert_eq!(ask(&witness, &unsigned), Answer::Forbidden);
    for body in ["", "old 1\n", "old 01\n\nx", "new 1\n\nx", "old 1\nx\n\nx"] {
        assert!(matches!(witness.add_checkpoint(body.as_bytes(), 0), Answer::BadRequest(_)), "{body:?}");
    }
    let long = format!("old 1\n{}\nx", format!("{}\n", first.checkpoint.root).repeat(64));
    assert!(matches!(witness.add_checkpoint(long.as_bytes(), 0), Answer::BadRequest(_)));
    assert!(matches!(ask(&witness, &request(directory.path(), 300)), Answer::Cosigned(_)));
}

#[test]
fn a_witness_remembers_after_a_restart_and_refuses_a_rollback() {
    let (directory, state) =
        (tempfile::tempdir().expect("made for this test"), tempfile::tempdir().expect("made for this test"));
    let log = ledger(directory.path(), &[300]);
    let before = key(state.path(), NAME).expect("made for this test").to_text();
    assert!(matches!(
        ask(&witness(state.path(), &log.key), &request(directory.path(), 0)),
        Answer::Cosigned(_)
    ));
    let again = witness(state.path(), &log.key);
    assert_eq!(key(state.path(), NAME).expect("made for this test").to_text(), before, "the key is the same");

    let old = tempfile::tempdir().expect("made for this test");
    ledger(old.path(), &[200]);
    assert_eq!(ask(&again, &request(old.path(), 0)), Answer::Conflict(300));
    let mut claimed = request(old.path(), 200);
    claimed.old = 300;
    assert!(matches!(ask(&again, &claimed), Answer::BadRequest(_)), "300 is more than 200");
}

#[test]
fn a_witness_that_cannot_read_its_memory_does_not_start() {
    let (directory, state) =
        (tempfile::tempdir().expect("made for this test"), tempfile::tempdir().expect("made for this test"));
    let log = ledger(directory.path(), &[3]);
    ask(&witness(state.path(), &log.key), &request(directory.path(), 0));
    let file = fs::read_dir(state.path().join("logs"))
        .expect("made for this test")
        .next()
        .expect("made for this test")
        .expect("made for this test")
        .path();
    fs::write(&file, "").expect("made for this test");
    assert!(Memory::open(state.path()).expect_err("refused").to_string().contains("must not forget"));
    fs::remove_file(&file).expect("made for this test");
    fs::write(file.with_extension("new"), "half").expect("made for this test");
    assert!(Memory::open(state.path()).is_ok(), "what was never renamed was never said");
    assert!(key(state.path(), "another").expect_err("refused").to_string().contains("not of another"));
}

#[test]
fn a_split_view_is_refused() {
    let (directory, other, state) = (
        tempfile::tempdir().expect("made for this test"),
        tempfile::tempdir().expect("made for this test"),
        tempfile::tempdir().expect("made for this test"),
    );
    let log = ledger(directory.path(), &[300]);
    let mut fork = ReferenceLedger::new(other.path(), ORIGIN);
    assert_eq!(fork.key, log.key);
    for sequence in 1..=500 {
        fork.append(record(sequence + 1).as_bytes());
        if sequence == 300 {
            fork.publish();
        }
    }
    let same_size = request(other.path(), 300);
    let witness = witness(state.path(), &log.key);
    assert!(matches!(ask(&witness, &request(directory.path(), 0)), Answer::Cosigned(_)));
    assert_eq!(ask(&witness, &same_size), Answer::Conflict(300), "the same size, another root");
    fork.publish();
    assert_eq!(ask(&witness, &request(other.path(), 300)), Answer::Inconsistent, "a larger one");
}

#[test]
fn of_requests_at_once_the_memory_never_goes_back() {
    let (directory, state) =
        (tempfile::tempdir().expect("made for this test"), tempfile::tempdir().expect("made for this test"));
    let mut log = ledger(directory.path(), &[100]);
    let mut requests = Vec::new();
    for size in [100, 200, 300, 400, 500, 600] {
        grow(&mut log, size);
        requests.extend([0, size - 100].map(|old| request(directory.path(), old)));
    }
    let witness = witness(state.path(), &log.key);
    let signed: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let (witness, requests) = (&witness, &requests);
                scope.spawn(move || {
                    let mut signed = Vec::new();
                    for round in 0..60 {
                        let request = &requests[(round * 7 + thread * 5) % requests.len()];
                        if matches!(ask(witness, request), Answer::Cosigned(_)) {
                            signed.push(request.checkpoint.size);
                        }
                    }
                    signed
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| {
                let signed = thread.join().expect("made for this test");
                assert!(signed.is_sorted(), "{signed:?}");
                signed
            })
            .collect()
    });
    let last = Memory::open(state.path())
        .expect("made for this test")
        .latest(ORIGIN)
        .expect("made for this test")
        .size;
    assert_eq!(Some(&last), signed.iter().max());
}

/// A witness on loopback; it stops when the sender is dropped.
async fn start(state: &Path, log: &str) -> (Configured, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    let witness = Arc::new(witness(state, log));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("made for this test");
    let url = format!("http://{}", listener.local_addr().expect("made for this test"));
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(async move {
        let stopped = async { drop(stopped.await) };
        serve(witness, listener, stopped).await.expect("made for this test");
    });
    let key = Key::parse(&fs::read_to_string(state.join("key.pub")).expect("made for this test"))
        .expect("made for this test");
    (Configured { name: "w1".to_owned(), url, key }, stop, task)
}

#[tokio::test]
async fn signatures_are_kept_beside_the_checkpoint() {
    let (directory, state) =
        (tempfile::tempdir().expect("made for this test"), tempfile::tempdir().expect("made for this test"));
    let mut log = ledger(directory.path(), &[300]);
    let (configured, stop, task) = start(state.path(), &log.key).await;
    let client = Client::new().expect("made for this test");
    assert_eq!(client.offer(directory.path(), &configured).await.expect("made for this test").size, 300);
    grow(&mut log, 1000);
    assert_eq!(client.offer(directory.path(), &configured).await.expect("made for this test").size, 1000);
    let kept = Checkpoint::parse(&fs::read(directory.path().join(WITNESSED)).expect("made for this test"))
        .expect("made for this test");
    assert_eq!(kept.size, 1000);
    assert!(matches!(kept.by(&configured.key), Signed::Valid(_)));
    assert!(matches!(kept.by(&Key::parse(&log.key).expect("made for this test")), Signed::Valid(_)));

    // What we knew of the witness is lost: it says itself how far it has come.
    fs::remove_file(directory.path().join("witness/w1")).expect("made for this test");
    grow(&mut log, 1001);
    assert_eq!(client.offer(directory.path(), &configured).await.expect("made for this test").size, 1001);
    drop(stop);
    task.await.expect("made for this test");
    assert!(matches!(client.offer(directory.path(), &configured).await, Err(OfferError::Unreachable { .. })));
}

#[tokio::test]
async fn a_ledger_that_went_back_or_was_rewritten_raises_an_alarm() {
    let (directory, state) =
        (tempfile::tempdir().expect("made for this test"), tempfile::tempdir().expect("made for this test"));
    let log = ledger(directory.path(), &[300]);
    let (configured, _stop, _task) = start(state.path(), &log.key).await;
    let client = Client::new().expect("made for this test");
    client.offer(directory.path(), &configured).await.expect("made for this test");

    let old = tempfile::tempdir().expect("made for this test");
    ledger(old.path(), &[200]);
    let error = client.offer(old.path(), &configured).await.expect_err("refused");
    assert!(matches!(error, OfferError::Rollback { theirs: 300, ours: 200 }) && error.is_alarm(), "{error}");

    for size in [300, 500] {
        let other = tempfile::tempdir().expect("made for this test");
        let mut fork = ReferenceLedger::new(other.path(), ORIGIN);
        for sequence in 1..=size {
            fork.append(record(sequence + 1).as_bytes());
        }
        fork.publish();
        let error = client.offer(other.path(), &configured).await.expect_err("refused");
        assert!(matches!(error, OfferError::SplitView { size: 300 }) && error.is_alarm(), "{size}: {error}");
    }

    // Another witness answers under this address: its signature is not what we asked for.
    let stranger = tempfile::tempdir().expect("made for this test");
    let (_, seed) = (stranger.path(), [9; 32]);
    let forged = super::super::audit::note::Cosigner::new(NAME, &seed).expect("made for this test");
    let wrong = Configured { key: forged.key().clone(), ..configured };
    assert!(matches!(client.offer(directory.path(), &wrong).await, Err(OfferError::Forged)));
}
