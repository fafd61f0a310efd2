//! A client's end of the control socket.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::de::DeserializeOwned;

use super::{Refusal, Request};
use crate::app::{
    coverage::CoverageView,
    selftest::SelfTestView,
    snapshot::{FlowsView, SCHEMA},
    status::StatusView,
};

/// How long to wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error("no agent answers on {path}: {error}; is `homeport run` active, and is this its agent.socket?")]
    NoAgent {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It refused.
    #[error("the agent refused: {0}")]
    Refused(String),
    /// It spoke another language.
    #[error("the agent answered something else: {0}; are agent and client of the same version?")]
    Garbled(String),
}

/// The flow table of the running agent, or the largest `limit` flows of it, and the text it sent.
///
/// # Errors
///
/// [`AskError`].
pub fn ask_flows(socket: &Path, limit: Option<u32>) -> Result<(FlowsView, String), AskError> {
    ask_for(socket, &Request::Flows { limit }, |view: &FlowsView| view.schema)
}

/// The statement of the running agent about its coverage, and the text it sent.
///
/// # Errors
///
/// [`AskError`].
pub fn ask_coverage(socket: &Path) -> Result<(CoverageView, String), AskError> {
    ask_for(socket, &Request::Coverage {}, |view: &CoverageView| view.schema)
}

/// Lets the running agent test itself: how it went, and the text it sent.
///
/// # Errors
///
/// [`AskError`].
pub fn ask_selftest(socket: &Path) -> Result<(SelfTestView, String), AskError> {
    ask_for(socket, &Request::Selftest {}, |view: &SelfTestView| view.schema)
}

/// The status of the running agent, and the text it sent.
///
/// # Errors
///
/// [`AskError`].
pub fn ask_status(socket: &Path) -> Result<(StatusView, String), AskError> {
    ask_for(socket, &Request::Status {}, |view: &StatusView| view.schema)
}

fn ask_for<T: DeserializeOwned>(
    socket: &Path,
    request: &Request,
    schema: impl Fn(&T) -> u32,
) -> Result<(T, String), AskError> {
    let text = ask(socket, request).map_err(|error| AskError::NoAgent { path: socket.to_owned(), error })?;
    match serde_json::from_str::<T>(&text) {
        Ok(view) if schema(&view) == SCHEMA => Ok((view, text)),
        Ok(view) => Err(AskError::Garbled(format!("schema {}, not {SCHEMA}", schema(&view)))),
        Err(error) => match serde_json::from_str::<Refusal>(&text) {
            Ok(refusal) => Err(AskError::Refused(refusal.error)),
            Err(_) => Err(AskError::Garbled(error.to_string())),
        },
    }
}

fn ask(socket: &Path, request: &Request) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
