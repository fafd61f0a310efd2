//! CloudEvents 1.0 in structured mode, with the line of the ledger as `data`.
//!
//! `data` is that line byte for byte, not another writing of the same values: a receiver can compute the leaf hash of
//! the ledger from it. Together with the envelope a long record may pass the 64 KiB that every receiver has to accept.

use serde::Serialize;

use super::{Reading, Speaker, Topic, Unreadable};
use crate::ledger::Entry;

/// See `https://github.com/cloudevents/spec`; in the order that readers expect.
#[derive(Debug, Serialize)]
struct Envelope<'a> {
    specversion: &'static str,
    /// With `source` unique, also over repetitions.
    id: String,
    source: &'a str,
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    datacontenttype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataschema: Option<String>,
    /// The extension of that name: sorts as text, hence the zeros.
    sequence: String,
}

/// One entry.
///
/// # Errors
///
/// When the entry is not a JSON object.
pub fn line(speaker: &Speaker, entry: &Entry) -> Result<String, Unreadable> {
    let reading = Reading::of(&entry.record)?;
    let envelope = Envelope {
        specversion: "1.0",
        id: speaker.id(entry.index),
        source: &speaker.origin,
        kind: kind(&reading),
        subject: reading.text("/finding_info/uid"),
        time: reading.time("/time").map(|time| time.to_string()),
        datacontenttype: "application/json",
        dataschema: schema(&reading),
        sequence: format!("{:020}", entry.index),
    };
    let mut text = serde_json::to_string(&envelope).map_err(|error| Unreadable(error.to_string()))?;
    // The envelope is an object with at least one field: its last character is the brace.
    text.pop();
    text.push_str(",\"data\":");
    text.push_str(&entry.record);
    text.push('}');
    Ok(text)
}

/// `homeport.violation.open`, `homeport.interval`, `homeport.lifecycle.start`...
fn kind(reading: &Reading) -> String {
    let topic = reading.topic();
    match reading.event() {
        Some(event) => format!("homeport.{topic}.{event}"),
        None => format!("homeport.{topic}"),
    }
}

fn schema(reading: &Reading) -> Option<String> {
    let class = match reading.topic() {
        Topic::Violation | Topic::Exception | Topic::Coverage | Topic::SelfTest => "detection_finding",
        Topic::Interval => "network_activity",
        Topic::Lifecycle => "application_lifecycle",
        Topic::Other => return None,
    };
    let version = reading.text("/metadata/version")?;
    Some(format!("https://schema.ocsf.io/{version}/classes/{class}"))
}
