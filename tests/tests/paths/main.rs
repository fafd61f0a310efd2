//! Every way out of a host, one test each: what was sent, what the network card counted, what the agent counted,
//! and who it says sent it.
//!
//! The table is in [`table`]; how each path is played is in [`play`]. Each test adds a row to
//! `target/visibility/<kernel>.jsonl` (`HOMEPORT_VM_OUT` names another directory than `target`), from which
//! `cargo xtask visibility` makes the page. A path that this kernel cannot do says what it said when it was tried;
//! [`required`] names kernels on which that is a failure.

mod check;
mod play;
mod required;
mod row;
mod stage;
mod table;

use std::net::IpAddr;

use homeport_tests::{
    actor::{Impossible, Sent},
    lab::Nic,
    running::Running,
};

use self::stage::Stage;

/// One way out.
struct Path {
    /// Its name, which is the name of its test, too.
    name: &'static str,
    /// The family it belongs to: a heading of the page.
    group: &'static str,
    /// In words.
    title: &'static str,
    /// Who is expected to be named.
    owner: Owner,
    /// Who is expected to have begun.
    initiator: &'static str,
    /// Plays it.
    play: fn() -> anyhow::Result<Played>,
}

/// Who is expected to be named.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// The process that sends: exactly where the kernel tells who sends, else the one that opened the socket.
    Process,
    /// The process that opened the socket, on every kernel: what sends is a socket of the kernel's below it.
    Opener,
    /// A service of the kernel.
    Kernel(&'static str),
    /// Nobody on this host: the frames only pass.
    Forwarded,
    /// A packet socket.
    PacketSocket,
    /// Nobody: it goes past everything but the card.
    Bypass,
}

/// What was played, on a stage that still stands.
struct Played {
    stage: Stage,
    parts: Vec<Part>,
    /// What went past everything but the card.
    bypass: Nic,
    /// Whoever must not end before the end.
    _keep: Vec<Running>,
}

/// One sender and one destination.
struct Part {
    remote: IpAddr,
    protocol: &'static str,
    /// Who sent, and how much.
    sent: Sent,
    /// Who opened the socket, where that is another process.
    opener: Option<u32>,
    /// Bytes that must be counted as payload; as many as were sent, where nothing is added below.
    payload: Payload,
    /// Where the destination is said to be, where that matters.
    location: Option<&'static str>,
    /// What a tunnel carries there: told with its owner, but counted outside only.
    inside: Vec<Inside>,
}

/// One sender and one destination inside a tunnel.
struct Inside {
    remote: IpAddr,
    protocol: &'static str,
    sent: Sent,
}

/// How the payload that is counted compares with what was sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Payload {
    /// The same; TCP may send some of it again.
    Same,
    /// So much more.
    With(u64),
    /// Protocols below ours add something that we cannot know.
    AtLeast,
}

impl Part {
    const fn new(remote: IpAddr, protocol: &'static str, sent: Sent) -> Self {
        Self {
            remote,
            protocol,
            sent,
            opener: None,
            payload: Payload::Same,
            location: None,
            inside: Vec::new(),
        }
    }
}

/// Plays a path and compares.
#[track_caller]
fn run(path: &Path) {
    let outcome = (path.play)().and_then(|played| check::compare(path, played));
    let written = match outcome {
        Ok(row) => row.write(),
        Err(error) => match error.downcast_ref::<Impossible>() {
            Some(Impossible(reason)) => {
                println!("{}: not possible here: {reason}", path.name);
                assert!(!required::is_required(path.name), "{} has to be possible here: {reason}", path.name);
                row::Row::impossible(path, reason).write()
            }
            None => panic!("{}: {error:#}", path.name),
        },
    };
    written.expect("the row is written");
}
