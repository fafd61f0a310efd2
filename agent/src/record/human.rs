//! Numbers and words for people.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    alert::{Episode, Kind},
    flow::{Actor, Initiator, Owner},
    geo::CountryCode,
};

/// `1.5 kB`, `12 GB`: powers of 1,000, two or three digits.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1_000.0;
    let mut unit_idx = 0;
    // 999.95 would be printed as 1000.0.
    while value >= 999.95 && unit_idx + 1 < UNITS.len() {
        value /= 1_000.0;
        unit_idx += 1;
    }
    format!("{value:.1} {}", UNITS[unit_idx])
}

/// `1,234,567`.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (idx, digit) in digits.chars().enumerate() {
        if idx > 0 && (digits.len() - idx).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 packet`, `2 packets`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{} {noun}s", number(count)) }
}

/// Text from outside (a command line, a reason) with control characters made visible: a terminal must not obey it.
pub(crate) fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for letter in text.chars() {
        // Bidirectional controls reorder what a person reads.
        let reorders =
            matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if letter.is_control() || reorders {
            harmless.extend(letter.escape_default());
        } else {
            harmless.push(letter);
        }
    }
    harmless
}

/// The same, with every text in it [`harmless`].
///
/// # Errors
///
/// When the type cannot be read back from its own JSON.
pub(crate) fn harmless_copy<T: Serialize + DeserializeOwned>(original: &T) -> serde_json::Result<T> {
    serde_json::to_value(original).map(harmless_value).and_then(serde_json::from_value)
}

fn harmless_value(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(harmless(&text)),
        Value::Array(values) => Value::Array(values.into_iter().map(harmless_value).collect()),
        Value::Object(fields) => Value::Object(
            fields.into_iter().map(|(key, value)| (harmless(&key), harmless_value(value))).collect(),
        ),
        other => other,
    }
}

/// `Germany (DE)`, or the bare code without a name.
pub(super) fn country(code: CountryCode, name: fn(CountryCode) -> Option<&'static str>) -> String {
    match name(code) {
        Some(name) => format!("{name} ({code})"),
        None => code.to_string(),
    }
}

/// Who opened, as a sentence.
pub(super) const fn initiator(episode: &Episode) -> &'static str {
    match (episode.key.initiator, episode.kind) {
        (Initiator::Local, Kind::Attempt) => "we tried to connect out; no data left",
        (Initiator::Local, Kind::Transfer | Kind::Exception) => "we connected out and sent",
        // Only a place with a country can be said to be abroad.
        (Initiator::Remote, _) if episode.key.place.country().is_some() => "a client abroad pulled from us",
        (Initiator::Remote, _) => "a client connected and pulled from us",
        (Initiator::Unknown, _) => "nobody knows who opened: older than the agent, or without roles",
    }
}

/// Who sends, with what is known of it.
pub(super) fn owner(label: &str, owner: &Owner) -> String {
    let quality = owner.quality.as_str();
    match &owner.actor {
        Actor::Process(process) => {
            let user = match &process.user {
                Some(user) => format!("{} ({})", harmless(user), process.uid),
                None => process.uid.to_string(),
            };
            let (label, exe) = (harmless(label), harmless(&process.exe));
            format!("{label}: {exe}, pid {}, user {user} ({quality})", process.pid)
        }
        Actor::Kernel(_) => format!("{} (a service of the kernel, {quality})", harmless(label)),
        Actor::Forwarded => "forwarded: routed, bridged, or of a virtual machine".to_owned(),
        Actor::PacketSocket => format!("a packet socket ({quality})"),
        Actor::Unowned => "a local socket whose owner could not be found".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_well_at_every_size() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (1_500, "1.5 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (12_300_000_000, "12.3 GB"),
            (u64::MAX, "18.4 EB"),
        ];
        for (input, expected) in cases {
            assert_eq!(bytes(input), expected);
        }
    }

    #[test]
    fn numbers_have_groups_of_three() {
        for (input, expected) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(number(input), expected);
        }
    }

    #[test]
    fn a_command_line_cannot_drive_the_terminal() {
        assert_eq!(harmless("rm\x1b[2J\n\u{202e}x"), "rm\\u{1b}[2J\\n\\u{202e}x");
        assert_eq!(harmless("naïve 文件"), "naïve 文件");
    }

    #[test]
    fn a_harmless_copy_has_every_text_in_it() {
        let original = vec![(Some("a\u{9b}2J".to_owned()), vec!["b\u{7}".to_owned()], 7_u64)];
        let copy = harmless_copy(&original).expect("the same type");
        assert_eq!(copy, [(Some("a\\u{9b}2J".to_owned()), vec!["b\\u{7}".to_owned()], 7)]);
    }
}
