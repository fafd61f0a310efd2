//! Starts the programs of `src/bin/actor` on hosts of the lab. Each says as JSON who it is and what it sent.

use std::{fmt, net::SocketAddr, path::PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{
    lab::{Host, Lab},
    running::Running,
};

/// Where the actor is: cargo builds it with the tests.
///
/// # Errors
///
/// When it has not been built.
pub fn binary() -> Result<PathBuf> {
    built("actor", "HOMEPORT_ACTOR", "cargo build --package homeport-tests")
}

/// What a sender said at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The process that wrote to the socket.
    pub pid: u32,
    /// Bytes it wrote.
    pub bytes: u64,
}

/// What this kernel cannot do, in the words of whoever tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Impossible(pub String);

impl fmt::Display for Impossible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Impossible {}

/// An actor that found out that this kernel has no such thing says so instead of what it should say.
fn check_possible(line: &Value) -> Result<(), Impossible> {
    match line["impossible"].as_str() {
        Some(reason) => Err(Impossible(reason.to_owned())),
        None => Ok(()),
    }
}

impl Sent {
    /// Reads `{"pid": 1, "bytes": 2}`.
    ///
    /// # Errors
    ///
    /// When it says something else; [`Impossible`] when the kernel lacks what it wanted to send with.
    pub fn from_line(line: &Value) -> Result<Self> {
        check_possible(line)?;
        let number = |name: &str| line[name].as_u64().with_context(|| format!("{name} in {line}"));
        Ok(Self { pid: u32::try_from(number("pid")?)?, bytes: number("bytes")? })
    }
}

impl Lab {
    /// Starts an actor; `words` is its command line.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn actor(&self, host: Host, words: &str) -> Result<Running> {
        Running::start(self.command(host, binary()?).args(words.split_whitespace()))
    }

    /// Starts an actor that listens, and waits until it does.
    ///
    /// # Errors
    ///
    /// When it does not get that far.
    pub fn listener(&self, host: Host, kind: &str, at: SocketAddr, words: &str) -> Result<Running> {
        let mut actor = self.actor(host, &format!("{kind} --listen {at} {words}"))?;
        check_possible(&actor.line().with_context(|| format!("{kind} on host {host}"))?)?;
        Ok(actor)
    }

    /// Runs an actor that sends, to its end.
    ///
    /// # Errors
    ///
    /// When it fails.
    pub fn send(&self, host: Host, words: &str) -> Result<Sent> {
        let mut actor = self.actor(host, words)?;
        let sent = Sent::from_line(&actor.line().with_context(|| format!("{words} on host {host}"))?)?;
        actor.succeed()?;
        Ok(sent)
    }
}

/// A program of this workspace: named by a variable, or beside the running test or task.
pub(crate) fn built(name: &str, variable: &str, how: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return PathBuf::from(&path).canonicalize().with_context(|| format!("{variable}={}", path.display()));
    }
    let own = std::env::current_exe()?;
    // target/debug/deps/test, or target/debug/xtask.
    own.ancestors()
        .skip(1)
        .take(3)
        .flat_map(|directory| [directory.join(name), directory.join("release").join(name)])
        .find(|path| path.is_file())
        .with_context(|| format!("no program {name} near {}: run `{how}`, or set {variable}", own.display()))
}
