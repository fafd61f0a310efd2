//! A record as an RFC 5424 message.
//!
//! ```text
//! <109>1 2026-03-01T00:01:30.123Z storage-1 homeport - violation [homeport@32473 id="..." ...][meta sequenceId="8"] {...}
//! ```
//!
//! The structured data has what a rule needs to filter; the message is the record, or a sentence. A record that is too
//! long for the receiver goes as its sentence, with `shortened="yes"`: `id` and `leaf` find it in the ledger.
//!
//! There is no byte order mark before the message, so that receivers read it as JSON; it is UTF-8 nevertheless.

use crate::{
    ledger::Entry,
    sink::{
        format::{self, Format, Reading, Speaker, Topic, Unreadable, leaf_hash},
        settings::{Message, SyslogSettings},
    },
};

/// Nothing shorter is configured: the structured data alone may take this much, in bytes.
#[cfg(test)]
const LEAST_BYTES: usize = 2_048;

/// A value in structured data is cut to this, in bytes: all of them together then fit in 2,048 bytes.
const LONGEST_VALUE: usize = 96;

/// One entry.
///
/// # Errors
///
/// When the entry is not a JSON object.
pub(super) fn message(
    settings: &SyslogSettings,
    format: Format,
    speaker: &Speaker,
    entry: &Entry,
) -> Result<String, Unreadable> {
    let reading = Reading::of(&entry.record)?;
    let is_shortened = settings.message == Message::Record;
    if settings.message == Message::Record {
        let record = format::body(format, speaker, entry)?;
        let whole = format!("{} {record}", head(settings, speaker, entry, &reading, false));
        if whole.len() <= settings.max_bytes {
            return Ok(whole);
        }
    }
    let sentence: String = reading
        .text("/message")
        .unwrap_or_default()
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    let mut text = format!("{} {sentence}", head(settings, speaker, entry, &reading, is_shortened));
    cut(&mut text, settings.max_bytes);
    Ok(text)
}

fn head(
    settings: &SyslogSettings,
    speaker: &Speaker,
    entry: &Entry,
    reading: &Reading,
    is_shortened: bool,
) -> String {
    let priority = u32::from(settings.facility) * 8 + severity(reading.severity());
    let time = reading.time("/time").map_or_else(|| "-".to_owned(), |time| time.to_string());
    let hostname = name(reading.text("/device/hostname").unwrap_or_default(), 255);
    let topic = reading.topic();
    let mut head = format!("<{priority}>1 {time} {hostname} homeport - {topic} ");

    let first = |field: &str| reading.text(&format!("/evidences/0/{field}"));
    let extra = |field: &str| reading.text(&format!("/unmapped/homeport/{field}"));
    let mut data = Element::begin(&mut head, &format!("homeport@{}", settings.enterprise));
    data.set("id", Some(&speaker.id(entry.index)));
    data.set("index", Some(&entry.index.to_string()));
    data.set("leaf", (is_shortened && !reading.is_shortened()).then(|| leaf_hash(&entry.record)).as_deref());
    data.set("shortened", is_shortened.then_some("yes"));
    data.set("event", reading.event());
    data.set("severity", reading.text("/severity"));
    data.set("episode", reading.text("/finding_info/uid"));
    data.set("kind", extra("kind"));
    data.set("rule", extra("rule"));
    data.set("policy", reading.text("/policy/name"));
    data.set("country", first("dst_endpoint/location/country"));
    data.set("ip", first("dst_endpoint/ip"));
    data.set("port", reading.count("/evidences/0/dst_endpoint/port").map(|port| port.to_string()).as_deref());
    data.set("process", first("process/name"));
    data.set("initiator", extra("initiator"));
    data.set("exception", extra("exception"));
    let bytes =
        reading.count("/traffic/bytes_out").or_else(|| reading.count("/unmapped/homeport/bytes/wire"));
    data.set("bytes", bytes.map(|bytes| bytes.to_string()).as_deref());
    if topic == Topic::Interval {
        data.set("state", extra("state"));
    }
    data.end();

    // A receiver sees by it that messages are missing (RFC 5424, 7.3.1): 1 to 2147483647, then again.
    let mut meta = Element::begin(&mut head, "meta");
    meta.set("sequenceId", Some(&(entry.index % 2_147_483_647 + 1).to_string()));
    meta.end();
    head
}

/// The severities of syslog for those of OCSF: informational, notice, warning, error, critical.
const fn severity(ocsf: u64) -> u32 {
    match ocsf {
        2 => 5,
        3 => 4,
        4 => 3,
        5 | 6 => 2,
        _ => 6,
    }
}

/// Printable ASCII without blanks, as names in the header have to be; `-` when nothing is left.
fn name(text: &str, longest: usize) -> String {
    let name: String = text.chars().filter(char::is_ascii_graphic).take(longest).collect();
    if name.is_empty() { "-".to_owned() } else { name }
}

/// An element of structured data.
struct Element<'a>(&'a mut String);

impl<'a> Element<'a> {
    fn begin(head: &'a mut String, id: &str) -> Self {
        head.push('[');
        head.push_str(id);
        Self(head)
    }

    fn set(&mut self, name: &str, value: Option<&str>) {
        let Some(value) = value else { return };
        self.0.push(' ');
        self.0.push_str(name);
        self.0.push_str("=\"");
        let mut length = 0;
        for letter in value.chars() {
            length += letter.len_utf8();
            if length > LONGEST_VALUE {
                break;
            }
            if matches!(letter, '"' | '\\' | ']') {
                self.0.push('\\');
            }
            self.0.push(if letter.is_control() { ' ' } else { letter });
        }
        self.0.push('"');
    }

    fn end(self) {
        self.0.push(']');
    }
}

/// At a character's border.
fn cut(text: &mut String, longest: usize) {
    while text.len() > longest {
        text.pop();
    }
}

#[cfg(test)]
mod tests;
