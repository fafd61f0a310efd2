//! A small reference witness: `homeport witness`.
//!
//! It follows C2SP tlog-witness to the letter. It speaks plain HTTP: its answers are signed, so the transport need not
//! be trusted; put a proxy in front of it where the network asks for TLS.

use std::{
    collections::HashMap,
    future::Future,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header},
    response::Response,
    routing::post,
};
use tokio::net::TcpListener;

use super::{
    memory::Memory,
    protocol::{MAX_REQUEST_BYTES, Request, SIZE_TYPE},
};
use crate::{
    clock::WallTime,
    ledger::audit::{
        merkle::{Hash, is_consistent},
        note::{Cosigner, Key, Signed},
    },
};

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200: the signature lines.
    Cosigned(String),
    /// 400: no request, or one against the rules.
    BadRequest(String),
    /// 403: no signature by a key of this log.
    Forbidden,
    /// 404: not a log that this witness watches.
    UnknownLog,
    /// 409: the witness has signed this size last.
    Conflict(u64),
    /// 422: the proof does not hold.
    Inconsistent,
    /// 500: it could not be remembered, so it was not signed.
    Failed(String),
}

/// A witness.
#[derive(Debug)]
pub struct Witness {
    cosigner: Cosigner,
    logs: HashMap<String, Vec<Key>>,
    /// Comparing with what is remembered and remembering are one step.
    memory: Mutex<Memory>,
}

impl Witness {
    /// A witness of these logs.
    pub fn new(cosigner: Cosigner, logs: impl IntoIterator<Item = Key>, memory: Memory) -> Self {
        let mut known: HashMap<String, Vec<Key>> = HashMap::new();
        for key in logs {
            known.entry(key.name().to_owned()).or_default().push(key);
        }
        Self { cosigner, logs: known, memory: Mutex::new(memory) }
    }

    /// Answers a request; `now` in seconds since 1970.
    pub fn add_checkpoint(&self, body: &[u8], now: u64) -> Answer {
        let Request { old, proof, mut checkpoint } = match Request::parse(body) {
            Ok(request) => request,
            Err(fault) => return Answer::BadRequest(fault.to_string()),
        };
        let Some(keys) = self.logs.get(&checkpoint.origin) else { return Answer::UnknownLog };
        if !keys.iter().any(|key| matches!(checkpoint.by(key), Signed::Valid(_))) {
            return Answer::Forbidden;
        }
        if old > checkpoint.size {
            return Answer::BadRequest(format!("old size {old} is larger than size {}", checkpoint.size));
        }
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let (size, root) =
            memory.latest(&checkpoint.origin).map_or((0, Hash::empty()), |latest| (latest.size, latest.root));
        if old != size {
            return Answer::Conflict(size);
        }
        if checkpoint.size == size && checkpoint.root != root {
            tracing::error!(
                origin = checkpoint.origin,
                size,
                remembered = %root,
                offered = %checkpoint.root,
                "a log was signed twice with another root: one of its readers is shown something else"
            );
            return Answer::Conflict(size);
        }
        if !is_consistent(&proof, size, root, checkpoint.size, checkpoint.root) {
            tracing::warn!(
                origin = checkpoint.origin,
                old = size,
                new = checkpoint.size,
                "a log did not prove that it goes on where it was"
            );
            return Answer::Inconsistent;
        }
        // Lines by others are not ours to keep.
        checkpoint.signatures = keys.iter().flat_map(|key| checkpoint.lines_by(key)).cloned().collect();
        let line = self.cosigner.cosign(&checkpoint.text, now).to_string();
        match memory.remember(checkpoint) {
            Ok(()) => Answer::Cosigned(line),
            Err(error) => {
                tracing::error!(%error, "a checkpoint could not be remembered, and was not signed");
                Answer::Failed(error.to_string())
            }
        }
    }
}

impl From<Answer> for Response {
    fn from(answer: Answer) -> Self {
        let (status, kind, body) = match answer {
            Answer::Cosigned(lines) => (StatusCode::OK, "text/plain; charset=utf-8", lines),
            Answer::BadRequest(why) => (StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", why + "\n"),
            Answer::Forbidden => {
                (StatusCode::FORBIDDEN, "text/plain", "no signature by a known key of this log\n".to_owned())
            }
            Answer::UnknownLog => {
                (StatusCode::NOT_FOUND, "text/plain", "this log is not watched\n".to_owned())
            }
            Answer::Conflict(size) => (StatusCode::CONFLICT, SIZE_TYPE, format!("{size}\n")),
            Answer::Inconsistent => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "text/plain",
                "the consistency proof does not hold\n".to_owned(),
            ),
            Answer::Failed(why) => (StatusCode::INTERNAL_SERVER_ERROR, "text/plain", why + "\n"),
        };
        let mut response = Self::new(Body::from(body));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
        response
    }
}

/// Serves until `stop` is there, then answers what has begun.
///
/// # Errors
///
/// When the socket fails.
pub async fn serve(
    witness: Arc<Witness>,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let router = Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(witness);
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

async fn add_checkpoint(State(witness): State<Arc<Witness>>, body: Bytes) -> Response {
    let now = u64::try_from(WallTime::now().unix_seconds()).unwrap_or_default();
    // It waits for the disk.
    let answer = tokio::task::spawn_blocking(move || witness.add_checkpoint(&body, now)).await;
    answer.unwrap_or_else(|error| Answer::Failed(error.to_string())).into()
}
