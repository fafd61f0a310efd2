//! `[[sink]]`: where records are delivered.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use crate::sink::{
    SinkSettings,
    format::Format,
    http::check_url,
    select::{About, Selection},
    settings::{
        AlertmanagerSettings, Batch, Body, ClientFiles, Compression, DEFAULT_TIMEOUT, HttpSettings,
        JsonlSettings, Kind, Message, OtlpSettings, Retry, Start, SyslogSettings, TlsSettings, Transport,
        WebhookSettings,
    },
};

use super::{
    keys::{self, Keys},
    reader::{Item, Section, flag, parsed, whole},
    report::{Placed, Report},
    values::{self, Refusal},
};

/// How often open alerts are sent again.
pub(super) const DEFAULT_RESEND: Duration = Duration::from_secs(60);

/// Log audit.
pub(super) const DEFAULT_FACILITY: u8 = 13;

/// The private enterprise number for examples (RFC 5424, 7.2.2); an organisation has one of its own from IANA.
pub(super) const DEFAULT_ENTERPRISE: u32 = 32_473;

/// Bounds of `max_message_bytes`. Every receiver should take 2 KiB, and our structured data may fill that; no record
/// is longer than 64 KiB, in no format more than twice that.
const SYSLOG_MESSAGE_BYTES: std::ops::RangeInclusive<u64> = 2_048..=262_144;

/// Bytes of the longest name: it is the name of a file.
const MAX_NAME_BYTES: usize = 64;

/// Bounds of `batch_bytes`. A batch is in memory up to a few times while it is on its way.
const BATCH_BYTES: std::ops::RangeInclusive<u64> = 4 << 10..=64 << 20;

/// Sinks of one agent: each costs memory for two pages of records.
const MAX_SINKS: usize = 32;

const KINDS: [(&str, &Keys); 5] = [
    ("jsonl", &keys::SINK_JSONL),
    ("webhook", &keys::SINK_WEBHOOK),
    ("alertmanager", &keys::SINK_ALERTMANAGER),
    ("otlp", &keys::SINK_OTLP),
    ("syslog", &keys::SINK_SYSLOG),
];

pub(super) fn read(report: &mut Report<'_>, root: &mut Section<'_>, has_ledger: bool) -> Vec<SinkSettings> {
    let mut names = BTreeSet::new();
    let sections = root.sections(report, "sink", &keys::SINK_JSONL);
    if let Some(section) = sections.get(MAX_SINKS) {
        let place = section.place.clone();
        report.fault_without_value(&place, "is one too many", format!("at most {MAX_SINKS} sinks"));
    }
    if let (Some(section), false) = (sections.first(), has_ledger) {
        let place = section.place.clone();
        let accepted = "a ledger: ledger.dir is a path, or is not set";
        report.fault_without_value(&place, "would have nothing to deliver: sinks read the ledger", accepted);
    }
    sections.into_iter().filter_map(|section| read_sink(report, section, &mut names)).collect()
}

fn read_sink(
    report: &mut Report<'_>,
    mut section: Section<'_>,
    names: &mut BTreeSet<String>,
) -> Option<SinkSettings> {
    let name = section.required(report, "name", |report, item| parsed(report, item, sink_name));
    if let Some(name) = &name
        && !names.insert(name.value.clone())
    {
        report.fault(&name.place, "is the name of two sinks", "one [[sink]] for each name");
    }
    // Without a kind nobody knows which keys belong here.
    let kind_keys = section.required(report, "kind", |report, item| {
        parsed(report, item, |text| values::word(text, KINDS.into_iter()))
    })?;
    section.read_as(kind_keys.value);
    let is_alertmanager = std::ptr::eq(kind_keys.value, &keys::SINK_ALERTMANAGER);

    let default = Batch::default();
    let selection = read_selection(report, &mut section);
    let heartbeat = section.optional(report, "heartbeat", flag);
    let start = one_of(report, &mut section, "start", [("oldest", Start::Oldest), ("newest", Start::Newest)]);
    let entries = section.optional(report, "batch_records", |report, item| whole(report, item, 1..=10_000));
    let bytes = section.placed(report, "batch_bytes", |report, item| parsed(report, item, values::size));
    let linger = section.optional(report, "linger_ms", |report, item| whole(report, item, 0..=60_000));
    let timeout = section.optional(report, "timeout_secs", |report, item| whole(report, item, 1..=600));
    let longest = section.optional(report, "retry_max_secs", |report, item| whole(report, item, 1..=3_600));
    let max_per_sec =
        section.optional(report, "max_per_sec", |report, item| whole(report, item, 1..=1_000_000));
    if let Some(bytes) = &bytes
        && !BATCH_BYTES.contains(&bytes.value)
    {
        report.fault(&bytes.place, "is out of bounds", "4 KiB to 64 MiB");
    }

    let mut format = Format::default();
    let kind = match kind_keys.value {
        keys if std::ptr::eq(keys, &keys::SINK_JSONL) => {
            format = read_format(report, &mut section);
            let path = section.required(report, "path", |report, item| parsed(report, item, values::path));
            path.map(|path| Kind::Jsonl(JsonlSettings { path: path.value }))
        }
        keys if std::ptr::eq(keys, &keys::SINK_WEBHOOK) => {
            format = read_format(report, &mut section);
            read_webhook(report, &mut section)
        }
        keys if std::ptr::eq(keys, &keys::SINK_ALERTMANAGER) => {
            read_alertmanager(report, &mut section, heartbeat.unwrap_or(false))
        }
        keys if std::ptr::eq(keys, &keys::SINK_OTLP) => read_otlp(report, &mut section),
        _ => {
            format = read_format(report, &mut section);
            read_syslog(report, &mut section)
        }
    };
    section.finish(report);
    Some(SinkSettings {
        name: name?.value,
        kind: kind?,
        format,
        selection: Selection { heartbeat: heartbeat.unwrap_or(!is_alertmanager), ..selection },
        start,
        batch: Batch {
            entries: entries.map_or(default.entries, size),
            bytes: bytes.map_or(default.bytes, |bytes| size(bytes.value)),
            linger: linger.map_or(default.linger, Duration::from_millis),
        },
        timeout: timeout.map_or(DEFAULT_TIMEOUT, Duration::from_secs),
        retry: Retry {
            longest: longest.map_or(Retry::default().longest, Duration::from_secs),
            ..Retry::default()
        },
        max_per_sec: max_per_sec.map(|rate| u32::try_from(rate).unwrap_or(u32::MAX)),
    })
}

fn read_selection(report: &mut Report<'_>, section: &mut Section<'_>) -> Selection {
    let default = Selection::default();
    let about = section.list(report, "records", |report, item| {
        parsed(report, item, |text| values::word(text, About::ALL.into_iter()))
    });
    let about: BTreeSet<About> = about.into_iter().map(|about| about.value).collect();
    let severities = [("informational", 1), ("low", 2), ("medium", 3), ("high", 4), ("critical", 5)];
    let min_severity = section.optional(report, "min_severity", |report, item| {
        parsed(report, item, |text| values::word(text, severities.into_iter()))
    });
    Selection {
        about: if about.is_empty() { default.about } else { about.into_iter().collect() },
        min_severity: min_severity.unwrap_or(default.min_severity),
        heartbeat: default.heartbeat,
    }
}

fn read_webhook(report: &mut Report<'_>, section: &mut Section<'_>) -> Option<Kind> {
    let url = section.required(report, "url", |report, item| parsed(report, item, url));
    let hmac_key_file =
        section.optional(report, "hmac_key_file", |report, item| parsed(report, item, values::path));
    let body = one_of(report, section, "body", [("array", Body::Array), ("ndjson", Body::Lines)]);
    let compression = read_compression(report, section);
    let http = read_http(report, section, url.as_slice());
    Some(Kind::Webhook(WebhookSettings { url: url?.value.text, http, hmac_key_file, body, compression }))
}

fn read_otlp(report: &mut Report<'_>, section: &mut Section<'_>) -> Option<Kind> {
    let url = section.required(report, "url", |report, item| parsed(report, item, url));
    let compression = read_compression(report, section);
    let http = read_http(report, section, url.as_slice());
    Some(Kind::Otlp(OtlpSettings { url: url?.value.text, http, compression }))
}

fn read_alertmanager(report: &mut Report<'_>, section: &mut Section<'_>, heartbeat: bool) -> Option<Kind> {
    let place = section.place.clone();
    let n_faults = report.faults.len();
    let urls = section.list(report, "urls", |report, item| parsed(report, item, url));
    if urls.is_empty() && report.faults.len() == n_faults {
        report.fault_without_value(&place, "has no urls", "urls = [\"https://am.example.org:9093\"]");
    }
    let resend = section.optional(report, "resend_secs", |report, item| whole(report, item, 5..=3_600));
    let labels = section.list(report, "labels", |report, item| parsed(report, item, label));
    let http = read_http(report, section, &urls);
    (!urls.is_empty()).then(|| {
        Kind::Alertmanager(AlertmanagerSettings {
            urls: urls.into_iter().map(|url| url.value.text.trim_end_matches('/').to_owned()).collect(),
            http,
            resend: resend.map_or(DEFAULT_RESEND, Duration::from_secs),
            heartbeat,
            labels: labels.into_iter().map(|label| label.value).collect(),
        })
    })
}

fn read_syslog(report: &mut Report<'_>, section: &mut Section<'_>) -> Option<Kind> {
    let address = section.required(report, "address", |report, item| parsed(report, item, address));
    let transports = [("tls", Transport::Tls), ("tcp", Transport::Tcp), ("udp", Transport::Udp)];
    let transport = one_of(report, section, "transport", transports);
    let facility = section.optional(report, "facility", |report, item| whole(report, item, 0..=23));
    let words = [("record", Message::Record), ("text", Message::Text)];
    let message = one_of(report, section, "message", words);
    let max_bytes = section
        .optional(report, "max_message_bytes", |report, item| whole(report, item, SYSLOG_MESSAGE_BYTES));
    let enterprise =
        section.optional(report, "enterprise", |report, item| whole(report, item, 1..=u64::from(u32::MAX)));
    let tls = read_tls(report, section);
    let (host, port) = address?.value;
    Some(Kind::Syslog(SyslogSettings {
        host,
        port,
        transport,
        facility: facility.map_or(DEFAULT_FACILITY, |facility| u8::try_from(facility).unwrap_or(u8::MAX)),
        enterprise: enterprise.and_then(|number| u32::try_from(number).ok()).unwrap_or(DEFAULT_ENTERPRISE),
        message,
        max_bytes: max_bytes.map_or(transport.default_max_bytes(), size),
        tls,
    }))
}

fn read_http(report: &mut Report<'_>, section: &mut Section<'_>, urls: &[Placed<Target>]) -> HttpSettings {
    let token_file = section.placed(report, "token_file", |report, item| parsed(report, item, values::path));
    let headers = section.list(report, "headers", |report, item| parsed(report, item, header));
    if let (Some(token), Some(_)) = (&token_file, urls.iter().find(|url| !url.value.is_private)) {
        let problem = "would be sent where everybody on the way can read it";
        report.fault(&token.place, problem, "https, or an address of this host");
    }
    HttpSettings {
        token_file: token_file.map(|token| token.value),
        headers: headers.into_iter().map(|header| header.value).collect(),
        tls: read_tls(report, section),
    }
}

fn read_tls(report: &mut Report<'_>, section: &mut Section<'_>) -> TlsSettings {
    let mut file = |report: &mut Report<'_>, name| -> Option<Placed<PathBuf>> {
        section.placed(report, name, |report, item| parsed(report, item, values::path))
    };
    let ca_file = file(report, "ca_file");
    let (certificate, key) = (file(report, "client_cert_file"), file(report, "client_key_file"));
    let client = match (certificate, key) {
        (Some(certificate), Some(key)) => {
            Some(ClientFiles { certificate: certificate.value, key: key.value })
        }
        (Some(alone), None) | (None, Some(alone)) => {
            let accepted = "both of client_cert_file and client_key_file, or none";
            report.fault(&alone.place, "stands alone", accepted);
            None
        }
        (None, None) => None,
    };
    TlsSettings { ca_file: ca_file.map(|file| file.value), client }
}

fn read_format(report: &mut Report<'_>, section: &mut Section<'_>) -> Format {
    one_of(report, section, "format", Format::ALL)
}

fn read_compression(report: &mut Report<'_>, section: &mut Section<'_>) -> Compression {
    one_of(report, section, "compression", [("none", Compression::None), ("gzip", Compression::Gzip)])
}

/// One of a few words; the first is the default.
fn one_of<T: Copy, const N: usize>(
    report: &mut Report<'_>,
    section: &mut Section<'_>,
    name: &'static str,
    words: [(&'static str, T); N],
) -> T {
    let read = |report: &mut Report<'_>, item: &Item<'_>| {
        parsed(report, item, |text| values::word(text, words.into_iter()))
    };
    section.optional(report, name, read).unwrap_or(words[0].1)
}

/// A URL, and whether what is sent there can be read on the way.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) text: String,
    is_private: bool,
}

pub(super) fn url(text: &str) -> Result<Target, Refusal> {
    let accepted = "a URL such as https://siem.example.org/homeport, without credentials";
    let text = values::line(text)?;
    match check_url(&text) {
        Ok(is_private) => Ok(Target { text, is_private }),
        Err(problem) => Err(Refusal::new(format!("is not a URL that can be posted to: {problem}"), accepted)),
    }
}

pub(super) fn sink_name(text: &str) -> Result<String, Refusal> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    if text.is_empty() || text.len() > MAX_NAME_BYTES || !text.chars().all(is_plain) {
        let accepted = format!("1 to {MAX_NAME_BYTES} letters, digits, - and _");
        return Err(Refusal::new("is not a name for a file", accepted));
    }
    Ok(text.to_owned())
}

fn header(text: &str) -> Result<(String, String), Refusal> {
    let refuse = || Refusal::new("is not a header", "a text such as \"X-Scope-OrgID: storage\"");
    let (name, value) = values::line(text)?.split_once(':').map(own).ok_or_else(refuse)?;
    let is_sound = reqwest::header::HeaderName::try_from(&name).is_ok()
        && reqwest::header::HeaderValue::try_from(&value).is_ok();
    match name.to_lowercase().as_str() {
        "authorization" => Err(Refusal::new(
            "would show a secret to whoever reads this file",
            "the token alone, in a file named by token_file",
        )),
        "content-type" | "content-encoding" | "content-length" | "host" => {
            Err(Refusal::new("would replace what is said of the body", "another header"))
        }
        _ if is_sound => Ok((name, value)),
        _ => Err(refuse()),
    }
}

fn label(text: &str) -> Result<(String, String), Refusal> {
    let refuse = || Refusal::new("is not a label", "a text such as \"cluster=storage\"");
    let (name, value) = values::line(text)?.split_once('=').map(own).ok_or_else(refuse)?;
    let starts_well = name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_');
    let is_plain = name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    if starts_well && is_plain && !value.is_empty() { Ok((name, value)) } else { Err(refuse()) }
}

fn address(text: &str) -> Result<(String, u16), Refusal> {
    let refuse = || {
        let accepted = "a host and a port, such as loghost.example.org:6514 or [2001:db8::1]:6514";
        Refusal::new("is not an address", accepted)
    };
    let (host, port) = text.rsplit_once(':').ok_or_else(refuse)?;
    let port = port.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(refuse)?;
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(host) => {
            host.parse::<std::net::Ipv6Addr>().map(|host| host.to_string()).map_err(|_| refuse())?
        }
        None if !host.contains(':') => values::line(host)?,
        None => return Err(refuse()),
    };
    if host.contains(char::is_whitespace) { Err(refuse()) } else { Ok((host, port)) }
}

fn own((left, right): (&str, &str)) -> (String, String) {
    (left.trim().to_owned(), right.trim().to_owned())
}

/// Values are within bounds far below 2^32.
fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
