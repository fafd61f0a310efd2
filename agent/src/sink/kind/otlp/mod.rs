//! OpenTelemetry logs over HTTP, protobuf (OTLP 1.10).
//!
//! One request per batch. What the answer means is the OTLP specification's word, see [`answer`].

mod answer;
mod record;

use std::{io::Write as _, time::Duration};

use flate2::{Compression, write::GzEncoder};
use prost::Message as _;
use reqwest::{
    Client, Response,
    header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER},
};

use super::appetite::Appetite;
use crate::{
    clock::WallTime,
    ledger::Entry,
    sink::{Deliver, Outcome, Rejected, format::Speaker},
};

/// The answer to a request is a few bytes; more than this is no answer to it. In bytes.
const LONGEST_ANSWER: usize = 1 << 20;

/// Media type of requests and answers.
const PROTOBUF: &str = "application/x-protobuf";

/// An OTLP receiver.
#[derive(Clone, Debug)]
pub struct Otlp {
    client: Client,
    url: String,
    is_compressed: bool,
    speaker: Speaker,
    appetite: Appetite,
}

impl Otlp {
    /// `client` knows whom to trust and which headers to send; `url` is the whole one, such as
    /// `https://collector.example.org:4318/v1/logs`.
    pub const fn new(client: Client, url: String, is_compressed: bool, speaker: Speaker) -> Self {
        Self { client, url, is_compressed, speaker, appetite: Appetite::new() }
    }

    async fn send(&self, body: Vec<u8>) -> Result<answer::Answer, reqwest::Error> {
        let mut request = self.client.post(&self.url).header(CONTENT_TYPE, PROTOBUF);
        if self.is_compressed {
            request = request.header(CONTENT_ENCODING, "gzip");
        }
        let response = request.body(body).send().await?;
        let header =
            |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let status = response.status().as_u16();
        let retry_after = header(RETRY_AFTER).and_then(|text| answer::retry_after(&text, WallTime::now()));
        let is_protobuf = header(CONTENT_TYPE).is_none_or(|text| {
            text.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(PROTOBUF))
        });
        let body = read(response).await?;
        Ok(answer::Answer { status, retry_after, is_protobuf, body })
    }
}

impl Deliver for Otlp {
    async fn deliver(&mut self, batch: &[Entry]) -> Outcome {
        let batch = self.appetite.begin(batch);
        let (request, unreadable) = record::request(&self.speaker, batch);
        let outcome = if request.resource_logs.is_empty() {
            Outcome::Taken { entries: batch.len(), rejected: Vec::new() }
        } else {
            let body = match encode(&request.encode_to_vec(), self.is_compressed) {
                Ok(body) => body,
                Err(error) => return Outcome::Retry { reason: format!("compress: {error}"), after: None },
            };
            match self.send(body).await {
                Ok(answer) => answer::outcome(&answer, &said(batch, &unreadable)),
                Err(error) => Outcome::Retry { reason: chain(&error), after: None },
            }
        };
        match &outcome {
            Outcome::Taken { .. } => self.appetite.succeeded(),
            Outcome::Retry { .. } | Outcome::Refused { .. } => self.appetite.failed(),
        }
        with_unreadable(outcome, batch, unreadable)
    }
}

/// The entries that were in the request.
fn said(batch: &[Entry], unreadable: &[Rejected]) -> Vec<u64> {
    let is_said = |entry: &&Entry| !unreadable.iter().any(|rejected| rejected.index == entry.index);
    batch.iter().filter(is_said).map(|entry| entry.index).collect()
}

/// Entries that could not be said count as taken once the others are, and go to the dead-letter file.
fn with_unreadable(outcome: Outcome, batch: &[Entry], unreadable: Vec<Rejected>) -> Outcome {
    match outcome {
        Outcome::Taken { rejected, .. } => {
            let mut rejected: Vec<_> = rejected.into_iter().chain(unreadable).collect();
            rejected.sort_by_key(|rejected| rejected.index);
            Outcome::Taken { entries: batch.len(), rejected }
        }
        other => other,
    }
}

fn encode(body: &[u8], is_compressed: bool) -> std::io::Result<Vec<u8>> {
    if !is_compressed {
        return Ok(body.to_vec());
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::default());
    encoder.write_all(body)?;
    encoder.finish()
}

/// The body of the answer; what is beyond [`LONGEST_ANSWER`] is cut.
async fn read(mut response: Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(chunk.get(..LONGEST_ANSWER.saturating_sub(body.len())).unwrap_or(&chunk));
        if body.len() >= LONGEST_ANSWER {
            break;
        }
    }
    Ok(body)
}

/// An error with its causes: "error sending request" alone helps nobody.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// As long as a receiver may ask us to wait; a longer wait is cut to it. Somebody's wrong clock must not silence us.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(3_600);
