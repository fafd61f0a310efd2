//! OpenTelemetry logs over HTTP, protobuf (OTLP 1.10).
//!
//! One request per batch. What the answer means is the OTLP specification's word, see [`answer`].

mod answer;
mod record;

use std::time::Duration;

use prost::Message as _;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};

use super::{
    appetite::Appetite,
    deliver::{Deliver, Outcome, Rejected},
    format::Speaker,
    http::Http,
    settings::{Compression, OtlpSettings},
    webhook::gzip,
};
use crate::ledger::Entry;

/// Media type of requests and answers.
const PROTOBUF: &str = "application/x-protobuf";

/// An OTLP receiver.
pub(super) struct Otlp {
    settings: OtlpSettings,
    speaker: Speaker,
    http: Http,
    appetite: Appetite,
}

/// A request.
struct Packed {
    headers: HeaderMap,
    body: Vec<u8>,
    /// The entries in it.
    sent: Vec<u64>,
    /// Entries that cannot be said.
    unreadable: Vec<Rejected>,
}

impl Otlp {
    pub(super) fn new(settings: OtlpSettings, speaker: Speaker, timeout: Duration) -> Self {
        let http = Http::new(settings.http.clone(), timeout);
        Self { settings, speaker, http, appetite: Appetite::new() }
    }

    async fn hand_over(&mut self, batch: &[Entry]) -> Outcome {
        let (speaker, compression, entries) =
            (self.speaker.clone(), self.settings.compression, batch.to_vec());
        // Converting and compressing a megabyte takes time that other sinks should have.
        let packed = tokio::task::spawn_blocking(move || pack(&speaker, compression, &entries)).await;
        let packed = match packed.map_err(|error| error.to_string()).and_then(|packed| packed) {
            Ok(packed) => packed,
            Err(reason) => return Outcome::Retry { reason, after: None },
        };
        if packed.sent.is_empty() {
            return Outcome::Taken { entries: batch.len(), rejected: packed.unreadable };
        }
        match self.http.post(&self.settings.url, packed.headers, packed.body).await {
            Ok(answer) => with_unreadable(answer::outcome(&answer, &packed.sent), batch, packed.unreadable),
            Err(reason) => Outcome::Retry { reason, after: None },
        }
    }
}

impl Deliver for Otlp {
    async fn deliver(&mut self, batch: &[Entry]) -> Outcome {
        let batch = self.appetite.begin(batch);
        let outcome = self.hand_over(batch).await;
        match &outcome {
            Outcome::Taken { .. } => self.appetite.succeeded(),
            Outcome::Retry { .. } | Outcome::Refused { .. } => self.appetite.failed(),
        }
        outcome
    }
}

fn pack(speaker: &Speaker, compression: Compression, batch: &[Entry]) -> Result<Packed, String> {
    let (request, unreadable) = record::request(speaker, batch);
    let is_said = |entry: &&Entry| !unreadable.iter().any(|rejected| rejected.index == entry.index);
    let sent = batch.iter().filter(is_said).map(|entry| entry.index).collect();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
    let mut body = request.encode_to_vec();
    if compression == Compression::Gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        body = gzip(&body).map_err(|error| error.to_string())?;
    }
    Ok(Packed { headers, body, sent, unreadable })
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
