//! What an operator decides about a sink. Only valid values fit in.

use std::{path::PathBuf, time::Duration};

use super::{format::Format, select::Selection};

/// One sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkSettings {
    /// Its name: unique, and the name of its cursor.
    pub name: String,
    /// Where to, and how.
    pub kind: Kind,
    /// What a record looks like there.
    pub format: Format,
    /// Which records.
    pub selection: Selection,
    /// Where a sink begins that was never there before.
    pub start: Start,
    /// How much goes at once.
    pub batch: Batch,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// When to try again.
    pub retry: Retry,
    /// At most so many records a second; as many as the receiver takes, if none.
    pub max_per_sec: Option<u32>,
}

/// Where a sink begins that was never there before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the oldest entry that the ledger still has.
    #[default]
    Oldest,
    /// With what comes next.
    Newest,
}

/// How much goes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// At most so many records.
    pub entries: usize,
    /// No further record once so many bytes of records are in it.
    pub bytes: usize,
    /// A batch that is not full waits this long for more.
    pub linger: Duration,
}

impl Default for Batch {
    fn default() -> Self {
        Self { entries: 500, bytes: 1 << 20, linger: Duration::from_millis(100) }
    }
}

/// When to try again: after a random time between zero and a bound that doubles with each failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The first bound.
    pub first: Duration,
    /// The last bound, and the longest wait that a receiver can ask for.
    pub longest: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_secs(60) }
    }
}

/// Time limit of an attempt, unless said otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where to, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file, one line each.
    Jsonl(JsonlSettings),
    /// HTTP POST.
    Webhook(WebhookSettings),
    /// Prometheus Alertmanager, API v2.
    Alertmanager(AlertmanagerSettings),
    /// OpenTelemetry logs over HTTP.
    Otlp(OtlpSettings),
    /// Syslog, RFC 5424.
    Syslog(SyslogSettings),
}

impl Kind {
    /// The word of the configuration.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Jsonl(_) => "jsonl",
            Self::Webhook(_) => "webhook",
            Self::Alertmanager(_) => "alertmanager",
            Self::Otlp(_) => "otlp",
            Self::Syslog(_) => "syslog",
        }
    }
}

/// A file of JSON lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonlSettings {
    /// Which.
    pub path: PathBuf,
}

/// How an HTTP receiver is spoken to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpSettings {
    /// File with a bearer token.
    pub token_file: Option<PathBuf>,
    /// Further headers that are no secret.
    pub headers: Vec<(String, String)>,
    /// Whom to trust, and who we are.
    pub tls: TlsSettings,
}

/// Whom to trust, and who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// PEM file of certification authorities, instead of the host's.
    pub ca_file: Option<PathBuf>,
    /// PEM files of our certificate with its chain, and of its private key.
    pub client: Option<ClientFiles>,
}

/// Our certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    /// With its chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// How a body is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip.
    Gzip,
}

/// How records stand in the body of a webhook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Body {
    /// One JSON array.
    #[default]
    Array,
    /// One JSON object per line.
    Lines,
}

/// HTTP POST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookSettings {
    /// Where to.
    pub url: String,
    /// How.
    pub http: HttpSettings,
    /// File with the key of the signature.
    pub hmac_key_file: Option<PathBuf>,
    /// How records stand in it.
    pub body: Body,
    /// How it is compressed.
    pub compression: Compression,
}

/// Prometheus Alertmanager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertmanagerSettings {
    /// Every member of the cluster, without `/api/v2/alerts`.
    pub urls: Vec<String>,
    /// How.
    pub http: HttpSettings,
    /// How often every open alert is sent again; three times that is how long one lives without us.
    pub resend: Duration,
    /// An alert that always fires, so that its absence can be noticed.
    pub heartbeat: bool,
    /// Labels that every alert gets.
    pub labels: Vec<(String, String)>,
}

/// OpenTelemetry logs over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpSettings {
    /// The whole URL, such as `https://collector.example.org:4318/v1/logs`.
    pub url: String,
    /// How.
    pub http: HttpSettings,
    /// How it is compressed.
    pub compression: Compression,
}

/// How syslog messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams: nobody answers, so nothing can be known to have arrived.
    Udp,
    /// Octet-counted frames on a connection (RFC 6587, 3.4.1).
    Tcp,
    /// The same with TLS (RFC 5425).
    Tls,
}

impl Transport {
    /// What receivers should take: of datagrams 2,048 bytes (RFC 5426, 3.2), on TLS 8,192 (RFC 5425, 4.3.1), which is
    /// also what rsyslog takes unless told otherwise.
    pub const fn default_max_bytes(self) -> usize {
        match self {
            Self::Udp => 2_048,
            Self::Tcp | Self::Tls => 8_192,
        }
    }
}

/// What stands in a syslog message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Message {
    /// The record in its format.
    #[default]
    Record,
    /// One sentence.
    Text,
}

/// Syslog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogSettings {
    /// Host name or address, of IPv6 without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How messages travel.
    pub transport: Transport,
    /// Facility, 0 to 23.
    pub facility: u8,
    /// Private enterprise number in the name of our structured data.
    pub enterprise: u32,
    /// What stands in the message.
    pub message: Message,
    /// The longest message that the receiver takes, in bytes, without the count before it.
    pub max_bytes: usize,
    /// For [`Transport::Tls`].
    pub tls: TlsSettings,
}
