//! HTTP POST of batches. Only a 2xx counts.
//!
//! The signature is over what is sent, so a receiver checks it before it unpacks anything:
//! `X-Homeport-Signature: t=<seconds since 1970>,v1=<hex HMAC-SHA256 of "<t>." and the body>`.

use std::time::Duration;

use flate2::{Compression as Level, write::GzEncoder};
use hmac::{Hmac, Mac as _};
use reqwest::{
    StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use sha2::Sha256;

use super::{
    deliver::{Deliver, Outcome, Rejected},
    format::{self, Format, Speaker},
    http::{Answer, Http},
    secret::{Secret, SetupError},
    settings::{Body, Compression, WebhookSettings},
};
use crate::{clock::WallTime, ledger::Entry};

const SIGNATURE: HeaderName = HeaderName::from_static("x-homeport-signature");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// See the module.
pub(super) struct Webhook {
    settings: WebhookSettings,
    format: Format,
    speaker: Speaker,
    http: Http,
}

/// A request.
struct Packed {
    headers: HeaderMap,
    body: Vec<u8>,
    rejected: Vec<Rejected>,
}

impl Webhook {
    pub(super) fn new(
        settings: WebhookSettings,
        format: Format,
        speaker: Speaker,
        timeout: Duration,
    ) -> Self {
        let http = Http::new(settings.http.clone(), timeout);
        Self { settings, format, speaker, http }
    }
}

impl Deliver for Webhook {
    async fn deliver(&mut self, batch: &[Entry]) -> Outcome {
        let (settings, format, speaker) = (self.settings.clone(), self.format, self.speaker.clone());
        let entries = batch.to_vec();
        // Converting and compressing a megabyte takes time that other sinks should have.
        let packed =
            tokio::task::spawn_blocking(move || pack(&settings, format, &speaker, &entries, WallTime::now()));
        let packed = match packed.await.map_err(|error| error.to_string()) {
            Ok(Ok(packed)) => packed,
            Ok(Err(error)) => return Outcome::Retry { reason: error.to_string(), after: None },
            Err(reason) => return Outcome::Retry { reason, after: None },
        };
        if packed.rejected.len() == batch.len() {
            return Outcome::Taken { entries: batch.len(), rejected: packed.rejected };
        }
        match self.http.post(&self.settings.url, packed.headers, packed.body).await {
            Ok(answer) => outcome(&answer, batch.len(), packed.rejected),
            Err(reason) => Outcome::Retry { reason, after: None },
        }
    }
}

/// What an answer means for a batch.
fn outcome(answer: &Answer, entries: usize, rejected: Vec<Rejected>) -> Outcome {
    match answer.status {
        status if status.is_success() => Outcome::Taken { entries, rejected },
        // About these records: they will never be taken as they are.
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
            Outcome::Refused { reason: answer.reason() }
        }
        // Everything else is about the receiver, the way to it, or our credentials, and a person can mend it:
        // records wait.
        _ => Outcome::Retry { reason: answer.reason(), after: answer.retry_after },
    }
}

fn pack(
    settings: &WebhookSettings,
    format: Format,
    speaker: &Speaker,
    batch: &[Entry],
    now: WallTime,
) -> Result<Packed, SetupError> {
    let mut rejected = Vec::new();
    let mut records = Vec::with_capacity(batch.len());
    for entry in batch {
        match format::body(format, speaker, entry) {
            Ok(body) => records.push(body),
            Err(error) => rejected.push(Rejected { index: entry.index, reason: error.to_string() }),
        }
    }
    let (text, media_type) = match settings.body {
        Body::Array => (format!("[{}]", records.join(",")), format.batch_media_type()),
        Body::Lines => (records.iter().flat_map(|record| [record, "\n"]).collect(), "application/x-ndjson"),
    };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    let body = match settings.compression {
        Compression::None => text.into_bytes(),
        Compression::Gzip => {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            gzip(text.as_bytes())?
        }
    };
    if let (Some(first), Some(last)) = (batch.first(), batch.last()) {
        let key = format!("{}#{}-{}", speaker.origin, first.index, last.index);
        if let Ok(key) = HeaderValue::try_from(key) {
            headers.insert(IDEMPOTENCY_KEY, key);
        }
    }
    if let Some(path) = &settings.hmac_key_file {
        let key = Secret::read_line(path)?;
        let signature = sign(key.expose(), now.unix_seconds(), &body)?;
        let signature =
            HeaderValue::try_from(signature).map_err(|error| SetupError::Other(error.to_string()))?;
        headers.insert(SIGNATURE, signature);
    }
    Ok(Packed { headers, body, rejected })
}

/// Compresses a body.
///
/// # Errors
///
/// None that memory does not give.
pub(super) fn gzip(bytes: &[u8]) -> Result<Vec<u8>, SetupError> {
    use std::io::Write as _;
    let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .map_err(|error| SetupError::Other(error.to_string()))
}

fn sign(key: &[u8], seconds: i64, body: &[u8]) -> Result<String, SetupError> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key).map_err(|error| SetupError::Other(error.to_string()))?;
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body);
    let sum: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("t={seconds},v1={sum}"))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn answer(status: u16) -> Answer {
        let status = StatusCode::from_u16(status).expect("a status");
        Answer {
            status,
            retry_after: Some(Duration::from_secs(3)),
            media_type: None,
            body: b"no\n".to_vec(),
            is_whole: true,
        }
    }

    #[test]
    fn only_2xx_is_taken_and_only_what_is_about_the_records_is_given_up() {
        for status in [200, 201, 202, 204] {
            assert_eq!(outcome(&answer(status), 3, vec![]), Outcome::Taken { entries: 3, rejected: vec![] });
        }
        for status in [400, 413, 422] {
            let Outcome::Refused { reason } = outcome(&answer(status), 3, vec![]) else { panic!("{status}") };
            assert!(
                reason.starts_with(&format!("answered {status}")) && reason.ends_with(": no"),
                "{reason}"
            );
        }
        for status in [301, 302, 304, 401, 403, 404, 405, 407, 408, 409, 425, 429, 500, 501, 502, 503, 504] {
            let outcome = outcome(&answer(status), 3, vec![]);
            let Outcome::Retry { after, .. } = outcome else { panic!("{status}: {outcome:?}") };
            assert_eq!(after, Some(Duration::from_secs(3)), "{status}");
        }
    }

    fn settings(body: Body, compression: Compression) -> WebhookSettings {
        WebhookSettings {
            url: "https://siem.example.org".to_owned(),
            http: super::super::settings::HttpSettings::default(),
            hmac_key_file: None,
            body,
            compression,
        }
    }

    fn packed(body: Body, compression: Compression) -> Packed {
        let batch = [4, 5].map(|index| Entry { index, record: format!("{{\"n\":{index}}}").into() });
        let speaker = Speaker { origin: "homeport/h1".to_owned() };
        pack(&settings(body, compression), Format::Ocsf, &speaker, &batch, WallTime(0)).expect("packed")
    }

    #[test]
    fn bodies_are_arrays_or_lines() {
        let array = packed(Body::Array, Compression::None);
        assert_eq!(array.body, b"[{\"n\":4},{\"n\":5}]");
        assert_eq!(array.headers[CONTENT_TYPE], "application/json");
        assert_eq!(array.headers[IDEMPOTENCY_KEY], "homeport/h1#4-5");
        let lines = packed(Body::Lines, Compression::None);
        assert_eq!(lines.body, b"{\"n\":4}\n{\"n\":5}\n");
        assert_eq!(lines.headers[CONTENT_TYPE], "application/x-ndjson");
    }

    #[test]
    fn what_is_compressed_can_be_unpacked() {
        let packed = packed(Body::Lines, Compression::Gzip);
        assert_eq!(packed.headers[CONTENT_ENCODING], "gzip");
        let mut text = String::new();
        flate2::read::GzDecoder::new(&*packed.body).read_to_string(&mut text).expect("unpacked");
        assert_eq!(text, "{\"n\":4}\n{\"n\":5}\n");
    }

    /// The expected sum was made with Python's hmac module.
    #[test]
    fn the_signature_is_hmac_sha256_over_time_and_body() {
        let signature = sign(b"Jefe", 7, b"what do ya want for nothing?").expect("signed");
        assert_eq!(signature, "t=7,v1=239f4b39fd23f4376db46b239fae471e7c6824b3931bc60f4c0b745bef8de34f");
    }
}
