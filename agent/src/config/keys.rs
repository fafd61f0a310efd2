//! Every key of the configuration: a table, and therefore long.
//!
//! The reader knows no other keys, and the documentation is made of nothing else. Defaults are not written here:
//! they are taken out of a default [`Config`].

use super::{
    Config,
    sink::{DEFAULT_ENTERPRISE, DEFAULT_FACILITY, DEFAULT_RESEND},
};
use crate::{
    policy::rules::Meanings,
    sink::{
        format::Format,
        settings::{Batch, DEFAULT_TIMEOUT, Retry},
    },
};

/// One section.
pub(super) struct Keys {
    /// How it is written.
    pub(super) header: &'static str,
    /// What it is about, for the documentation.
    pub(super) about: &'static str,
    /// Its keys.
    pub(super) list: &'static [Key],
    /// Keys that it shares with others, documented there.
    pub(super) shared: Option<&'static Keys>,
}

/// One key.
pub(super) struct Key {
    pub(super) name: &'static str,
    /// What is accepted.
    pub(super) kind: &'static str,
    pub(super) shown: Shown,
    pub(super) meaning: &'static str,
}

/// What the documentation shows as its value.
pub(super) enum Shown {
    /// The default, as TOML.
    Default(fn(&Config) -> String),
    /// There is no value unless one is given: what happens then, and an example as TOML.
    Absent(&'static str, &'static str),
    /// A value has to be given; an example as TOML.
    Required(&'static str),
    /// A section of its own.
    Section,
}

const fn key(name: &'static str, kind: &'static str, shown: Shown, meaning: &'static str) -> Key {
    Key { name, kind, shown, meaning }
}

/// A text as TOML writes it.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

const PATTERNS: &str = "pattern, or list of patterns";
const COUNTRIES: &str = "list of ISO 3166-1 codes";
const NETWORKS: &str = "list of networks or addresses";
const SITES: &str = "list of site names";
const ASNS: &str = "list of numbers, or \"AS64500\"";
const MEANING: &str = "`alert`, `treat-as-denied` or `approve`";
const TIME: &str = "time with offset (RFC 3339)";
const NONE: &str = "none";
const FORMATS: &str = "`ocsf`, `ecs` or `cloudevents`";

fn meanings() -> Meanings {
    Meanings::default()
}

pub(super) static ROOT: Keys = Keys {
    header: "homeport.toml",
    about: "",
    list: &[
        key("host", "table", Shown::Section, ""),
        key("geo", "table", Shown::Section, ""),
        key("site", "list of tables", Shown::Section, ""),
        key("override", "list of tables", Shown::Section, ""),
        key("policy", "list of tables", Shown::Section, ""),
        key("exception", "list of tables", Shown::Section, ""),
        key("alert", "table", Shown::Section, ""),
        key("ledger", "table", Shown::Section, ""),
        key("records", "table", Shown::Section, ""),
        key("sink", "list of tables", Shown::Section, ""),
        key("witness", "list of tables", Shown::Section, ""),
        key("selftest", "table", Shown::Section, ""),
        key("page", "table", Shown::Section, ""),
        key("limits", "table", Shown::Section, ""),
        key("agent", "table", Shown::Section, ""),
    ],
    shared: None,
};

pub(super) static HOST: Keys = Keys {
    header: "[host]",
    about: "What is watched.",
    list: &[
        key(
            "name",
            "host name",
            Shown::Absent("the host's own name", "\"storage-1\""),
            "Name of this host in every record.",
        ),
        key(
            "cgroup",
            "absolute path",
            Shown::Absent("found in /proc/self/mountinfo", "\"/sys/fs/cgroup\""),
            "Root of the cgroup2 hierarchy: what runs below it is watched.",
        ),
        key(
            "namespaces",
            "`auto`, `all` or `own`",
            Shown::Default(|config| quoted(config.host.namespaces.as_str())),
            "Network namespaces observed. `auto`: all when the agent runs in the host's, only its own otherwise.",
        ),
        key(
            "interfaces",
            "list of interface names",
            Shown::Absent("found by themselves, and followed", "[\"eth0\"]"),
            "Edge interfaces: where frames leave the host.",
        ),
        key(
            "exact_owners",
            "true or false",
            Shown::Default(|config| config.host.exact_owners.to_string()),
            "Names the task that really sends, where the kernel (6.3 and newer) can tell.",
        ),
    ],
    shared: None,
};

pub(super) static GEO: Keys = Keys {
    header: "[geo]",
    about: "Which databases say where an address is.",
    list: &[
        key(
            "databases",
            "list of absolute paths",
            Shown::Absent("the embedded database", "[\"/usr/share/GeoIP/GeoLite2-Country.mmdb\"]"),
            "Country databases (MaxMind DB format). Several vote: where they disagree, the location is disputed.",
        ),
        key(
            "asn_database",
            "absolute path",
            Shown::Absent(NONE, "\"/usr/share/GeoIP/GeoLite2-ASN.mmdb\""),
            "Database of autonomous systems; policies with lists of them need it.",
        ),
        key(
            "registered_country",
            "true or false",
            Shown::Default(|config| config.geo.registered_country.to_string()),
            "Uses the country of registration where a record has no country. It says who holds the block, not where \
             it is used.",
        ),
        key(
            "warn_after_days",
            "days, 1 to 36500",
            Shown::Default(|config| config.geo.warn_after_days.to_string()),
            "Age from which a database is reported as old.",
        ),
        key(
            "stale_after_days",
            "days, 1 to 36500",
            Shown::Default(|config| config.geo.stale_after_days.to_string()),
            "Age from which a database is reported as stale.",
        ),
        key(
            "nat64_prefixes",
            "list of IPv6 prefixes of length 32, 40, 48, 56, 64 or 96",
            Shown::Absent("only the well-known 64:ff9b::/96", "[\"64:ff9b:1::/96\"]"),
            "Further prefixes of NAT64 gateways: the IPv4 address inside is what is located.",
        ),
        key(
            "partial_databases",
            "true or false",
            Shown::Default(|config| config.geo.partial_databases.to_string()),
            "Accepts a replacement that answers for much less of the world than the database in use; otherwise such a file is taken for truncated.",
        ),
    ],
    shared: None,
};

pub(super) static SITE: Keys = Keys {
    header: "[[site]]",
    about: "The operator's own networks in one place, private ones above all. A site wins over every database. \
            Where networks of sites contain each other, the longer prefix wins.",
    list: &[
        key("name", "text", Shown::Required("\"frankfurt\""), "Its name, unique among sites."),
        key("country", "ISO 3166-1 code", Shown::Required("\"DE\""), "The country it is in."),
        key(
            "networks",
            NETWORKS,
            Shown::Required("[\"10.20.0.0/16\", \"2001:db8:20::/48\"]"),
            "Its networks, one at least.",
        ),
    ],
    shared: None,
};

pub(super) static OVERRIDE: Keys = Keys {
    header: "[[override]]",
    about: "A correction of the databases, with its reason. It wins over sites too, whichever prefix is longer. It is \
            evidence: every record that rests on it says so.",
    list: &[
        key("network", "network or address", Shown::Required("\"203.0.113.0/24\""), "What is corrected."),
        key("country", "ISO 3166-1 code, `unknown` or `anycast`", Shown::Required("\"SG\""), "Where it is."),
        key("reason", "text", Shown::Required("\"provider moved it, ticket NET-7\""), "Why."),
    ],
    shared: None,
};

pub(super) static POLICY: Keys = Keys {
    header: "[[policy]]",
    about: "Who may send where. Policies are asked in this order; the first whose `match` fits and whose dates \
            include the moment decides alone. The one without `match`, `from` and `until` is the default and comes \
            last; where none is given, it is called `default` and has preset `us-only`. Denials win over \
            approvals. A policy that lists only denials approves every other country; every other policy approves \
            only what it lists.",
    list: &[
        key("name", "text", Shown::Required("\"user-data\""), "Its name, unique among policies."),
        key("match", "table", Shown::Section, "Who it is about; see below. Everybody, if missing."),
        key(
            "preset",
            "name of a preset, or `custom`",
            Shown::Absent("none: own lists only, like `custom`", "\"us-ca-au-nz\""),
            "A list of countries with a source and a date; see the table of presets. The lists below add to it.",
        ),
        key("approved_countries", COUNTRIES, Shown::Absent(NONE, "[\"US\"]"), "Countries data may go to."),
        key(
            "denied_countries",
            COUNTRIES,
            Shown::Absent(NONE, "[\"CN\"]"),
            "Countries data must not go to, approved or not.",
        ),
        key(
            "approved_networks",
            NETWORKS,
            Shown::Absent(NONE, "[\"198.51.100.0/24\"]"),
            "Networks data may go to, wherever they are, unless something denies them.",
        ),
        key(
            "denied_networks",
            NETWORKS,
            Shown::Absent(NONE, "[\"192.0.2.0/24\"]"),
            "Networks data must not go to.",
        ),
        key(
            "approved_sites",
            SITES,
            Shown::Absent(NONE, "[\"frankfurt\"]"),
            "Sites data may go to. A site in an approved country is approved anyway.",
        ),
        key("denied_sites", SITES, Shown::Absent(NONE, "[\"singapore\"]"), "Sites data must not go to."),
        key(
            "approved_asns",
            ASNS,
            Shown::Absent(NONE, "[64500]"),
            "Autonomous systems data may go to. Needs `geo.asn_database`.",
        ),
        key(
            "denied_asns",
            ASNS,
            Shown::Absent(NONE, "[\"AS64501\"]"),
            "Autonomous systems data must not go to. Needs `geo.asn_database`.",
        ),
        key(
            "unknown",
            MEANING,
            Shown::Default(|_| quoted(meanings().unknown.as_str())),
            "What an address means that nobody can place. `alert`: medium severity; `treat-as-denied`: high.",
        ),
        key(
            "private",
            MEANING,
            Shown::Default(|_| quoted(meanings().private.as_str())),
            "What a private address means that no site maps to a country. `alert`: low severity.",
        ),
        key(
            "disputed",
            MEANING,
            Shown::Default(|_| quoted(meanings().disputed.as_str())),
            "What it means when databases disagree and the candidates would be judged differently. `alert`: medium.",
        ),
        key(
            "anycast",
            MEANING,
            Shown::Default(|_| quoted(meanings().anycast.as_str())),
            "What an address means that is served from many places. `alert`: medium severity.",
        ),
        key("from", TIME, Shown::Absent("always", "\"2026-01-01T00:00:00Z\""), "Asked from this instant on."),
        key("until", TIME, Shown::Absent("always", "\"2099-01-01T00:00:00Z\""), "Asked before this instant."),
    ],
    shared: None,
};

const WORKLOAD: &[Key] = &[
    key("unit", PATTERNS, Shown::Absent("any", "\"nginx.service\""), "systemd unit."),
    key(
        "container",
        PATTERNS,
        Shown::Absent("any", "\"*\""),
        "Container id, full or its first twelve digits; `*` is any container.",
    ),
    key("cgroup", PATTERNS, Shown::Absent("any", "\"/machine.slice/*\""), "cgroup2 path from the root."),
    key("user", PATTERNS, Shown::Absent("any", "\"www-data\""), "User name, or user id in quotes."),
    key(
        "exe",
        PATTERNS,
        Shown::Absent("any", "[\"/usr/sbin/nginx\", \"kernel:nfsd\"]"),
        "Path of the executable; `kernel:nfsd`, `forwarded`, `packet-socket` or `unowned` for what has none.",
    ),
    key(
        "local_port",
        "port, range such as \"8000-8100\", or list of them",
        Shown::Absent("any", "[443, \"8000-8100\"]"),
        "Our port.",
    ),
];

pub(super) static MATCH: Keys = Keys {
    header: "policy.match = { ... }",
    about: "All keys given must match; of a list, one entry is enough. In patterns `*` is any run of characters, \
            slashes included, and `?` is one character. Case matters.",
    list: WORKLOAD,
    shared: None,
};

pub(super) static EXCEPTION: Keys = Keys {
    header: "[[exception]]",
    about: "What may go all the same. It is recorded, never hidden. Exceeding or outliving an exception is a \
            violation of its own. Of several that cover the same traffic, the first with room left counts.",
    list: &[
        key(
            "id",
            "text",
            Shown::Required("\"EX-2026-014\""),
            "Its id, unique among exceptions; part of every record.",
        ),
        key(
            "policy",
            "name of a policy",
            Shown::Absent("every policy", "\"user-data\""),
            "The policy it is from.",
        ),
        key("destination", "table", Shown::Section, "Where it may go; see below. Must be given."),
        key(
            "owner",
            "table",
            Shown::Section,
            "Who may send it: the same keys as `policy.match`. Everybody, if missing.",
        ),
        key(
            "max_bytes",
            "size such as \"10 GiB\", or bytes",
            Shown::Absent("no ceiling", "\"10 GiB\""),
            "Wire bytes that may go, headers included.",
        ),
        key(
            "start",
            TIME,
            Shown::Absent("always", "\"2026-11-01T00:00:00Z\""),
            "In force from this instant on.",
        ),
        key("expires", TIME, Shown::Required("\"2099-12-01T00:00:00Z\""), "In force before this instant."),
        key("approver", "text", Shown::Required("\"Jane Doe\""), "Who approved it."),
        key("ticket", "text", Shown::Absent(NONE, "\"LEGAL-1\""), "Where the approval is filed."),
        key("reason", "text", Shown::Required("\"yearly audit copy\""), "What for."),
    ],
    shared: None,
};

pub(super) static DESTINATION: Keys = Keys {
    header: "exception.destination = { ... }",
    about: "At least one key. All keys given must match; of a list, one entry is enough.",
    list: &[
        key(
            "country",
            "ISO 3166-1 code, or list of codes",
            Shown::Absent("any", "\"SG\""),
            "The country, that of a site included.",
        ),
        key(
            "network",
            "network or address, or list of them",
            Shown::Absent("any", "\"203.0.113.0/24\""),
            "The network.",
        ),
        key("site", "site name, or list of names", Shown::Absent("any", "\"frankfurt\""), "The site."),
    ],
    shared: None,
};

pub(super) static OWNER: Keys = Keys {
    header: "exception.owner = { ... }",
    about: "The same keys, with the same meaning, as `policy.match`.",
    list: WORKLOAD,
    shared: None,
};

pub(super) static ALERT: Keys = Keys {
    header: "[alert]",
    about: "When violations become episodes, and when episodes end.",
    list: &[
        key(
            "attempt_grace_ms",
            "milliseconds, 0 to 600000",
            Shown::Default(|config| config.alert.attempt_grace.as_millis().to_string()),
            "An outgoing connection attempt that carried no payload is reported after this.",
        ),
        key(
            "quiet_secs",
            "seconds, 1 to 86400",
            Shown::Default(|config| config.alert.quiet.as_secs().to_string()),
            "An episode closes after this long without bytes.",
        ),
        key(
            "update_secs",
            "seconds, 1 to 86400",
            Shown::Default(|config| config.alert.update.as_secs().to_string()),
            "An open episode is updated at least this often while bytes flow, and whenever its bytes have doubled.",
        ),
    ],
    shared: None,
};

pub(super) static LEDGER: Keys = Keys {
    header: "[ledger]",
    about: "The signed, append-only log of every record; see LEDGER.md.",
    list: &[
        key(
            "dir",
            "absolute path, or `none`",
            Shown::Absent("`ledger` in agent.state_dir", "\"/var/lib/homeport/ledger\""),
            "Its directory. `none`: there is no ledger, and records have to go elsewhere.",
        ),
        key(
            "origin",
            "text without blanks and +",
            Shown::Absent("`homeport/` and the host's machine id", "\"example.org/homeport/storage-1\""),
            "Name of the ledger in every checkpoint, for life: it is asked when a ledger is begun.",
        ),
        key(
            "retain_days",
            "days, 1 to 36500",
            Shown::Default(|config| config.ledger.retention.days.to_string()),
            "Entries older than this are removed, in bundles of 256. Their hashes stay.",
        ),
        key(
            "retain_bytes",
            "size such as \"10 GiB\", or bytes; at least 64 MiB",
            Shown::Default(|config| quoted(&crate::policy::reason::size(config.ledger.retention.bytes))),
            "Beyond this the oldest entries are removed, delivered or not.",
        ),
    ],
    shared: None,
};

pub(super) static RECORDS: Keys = Keys {
    header: "[records]",
    about: "Where records go, besides the ledger.",
    list: &[
        key(
            "file",
            "absolute path",
            Shown::Absent(NONE, "\"/var/log/homeport/records.jsonl\""),
            "File of JSON lines. Beside a ledger it is a sink like any other (`records.file` in `homeport status`): it \
             gets every record that the ledger has, whatever happened in between.",
        ),
        key(
            "stdout",
            "true or false",
            Shown::Default(|config| config.records.stdout.to_string()),
            "Also to standard output: a copy for people, which loses lines when nobody reads it, unless it is all there \
             is. With a `file`, the default is false. With neither ledger nor `file` it cannot be \
             false: no record is thrown away.",
        ),
        key(
            "interval_secs",
            "seconds, 1 to 86400",
            Shown::Default(|config| config.records.interval.as_secs().to_string()),
            "Time that one interval record covers. It is written even when nothing happened.",
        ),
    ],
    shared: None,
};

/// What every sink has. Its `kind` decides about the other keys.
pub(super) static SINK: Keys = Keys {
    header: "[[sink]]",
    about: "Where records are delivered: each sink gets every record at least once and in order, whatever happens to \
            the others. Its `kind` decides which further keys it has; they are listed by kind below, and these are \
            those of every kind. Secrets are in files of their own, which only root or the agent's user can read.",
    list: &[
        key(
            "records",
            "list of `findings`, `coverage`, `lifecycle`, `intervals`",
            Shown::Absent("all of them", "[\"findings\", \"coverage\"]"),
            "Which records. The cursor passes the others.",
        ),
        key(
            "min_severity",
            "`informational`, `low`, `medium`, `high` or `critical`",
            Shown::Default(|_| quoted("informational")),
            "Findings, coverage and lifecycle records below it are passed. Intervals have no severity.",
        ),
        key(
            "heartbeat",
            "true or false",
            Shown::Default(|_| "true".to_owned()),
            "Where `records` leaves intervals out: sends them all the same, cut down to a heartbeat, so that the \
             receiver can tell silence from death. For an Alertmanager: keeps an alert firing for that (default \
             there: false).",
        ),
        key(
            "start",
            "`oldest` or `newest`",
            Shown::Default(|_| quoted("oldest")),
            "Where a sink begins that was never there before. A sink whose cursor was damaged begins with the oldest \
             record in any case.",
        ),
        key(
            "batch_records",
            "records, 1 to 10000",
            Shown::Default(|_| Batch::default().entries.to_string()),
            "At most so many at once.",
        ),
        key(
            "batch_bytes",
            "size, 4 KiB to 64 MiB",
            Shown::Default(|_| quoted("1 MiB")),
            "At most so much at once, before conversion and compression; a single larger record goes alone.",
        ),
        key(
            "linger_ms",
            "milliseconds, 0 to 60000",
            Shown::Default(|_| Batch::default().linger.as_millis().to_string()),
            "A batch that is not full waits this long for more.",
        ),
        key(
            "timeout_secs",
            "seconds, 1 to 600",
            Shown::Default(|_| DEFAULT_TIMEOUT.as_secs().to_string()),
            "An attempt without an answer has failed after this.",
        ),
        key(
            "retry_max_secs",
            "seconds, 1 to 3600",
            Shown::Default(|_| Retry::default().longest.as_secs().to_string()),
            "Failed attempts are repeated for ever, after a random time below a bound that doubles from one second \
             up to this. What a receiver asks for (`Retry-After`) is honoured up to this too.",
        ),
        key(
            "max_per_sec",
            "records a second, 1 to 1000000",
            Shown::Absent("as many as the receiver takes", "1000"),
            "Limit of delivery, for receivers that suffer when a host catches up.",
        ),
    ],
    shared: None,
};

const FORMAT: Key = key(
    "format",
    FORMATS,
    Shown::Default(|_| quoted(Format::default().as_str())),
    "What a record looks like there; `ocsf` is the record as it stands in the ledger.",
);
const TOKEN_FILE: Key = key(
    "token_file",
    "absolute path",
    Shown::Absent(NONE, "\"/etc/homeport/siem.token\""),
    "File with the bearer token of each request; needs https, or an address of this host.",
);
const HEADERS: Key = key(
    "headers",
    "list of `Name: value`",
    Shown::Absent(NONE, "[\"X-Scope-OrgID: storage\"]"),
    "Further headers of each request. Not for secrets.",
);
const CA_FILE: Key = key(
    "ca_file",
    "absolute path",
    Shown::Absent("the host's authorities", "\"/etc/homeport/siem-ca.pem\""),
    "PEM file of the certification authorities that may vouch for the receiver, instead of the host's.",
);
const CLIENT_CERT_FILE: Key = key(
    "client_cert_file",
    "absolute path",
    Shown::Absent(NONE, "\"/etc/homeport/client.pem\""),
    "PEM file of our certificate with its chain, for receivers that ask who we are.",
);
const CLIENT_KEY_FILE: Key = key(
    "client_key_file",
    "absolute path",
    Shown::Absent(NONE, "\"/etc/homeport/client.key\""),
    "PEM file of its private key.",
);
const COMPRESSION: Key =
    key("compression", "`none` or `gzip`", Shown::Default(|_| quoted("none")), "How bodies are compressed.");

/// A name and a kind, which every kind shows with its own example.
const fn name(example: &'static str) -> Key {
    key(
        "name",
        "text of letters, digits, `-` and `_`, at most 64",
        Shown::Required(example),
        "Its name, unique among sinks: the name of its cursor.",
    )
}

const fn kind(example: &'static str, meaning: &'static str) -> Key {
    key("kind", "`jsonl`, `webhook`, `alertmanager`, `otlp` or `syslog`", Shown::Required(example), meaning)
}

pub(super) static SINK_JSONL: Keys = Keys {
    header: "[[sink]] kind = \"jsonl\"",
    about: "A file of JSON lines, synced, that follows rotation.",
    list: &[
        name("\"local\""),
        kind("\"jsonl\"", "A file."),
        key(
            "path",
            "absolute path",
            Shown::Required("\"/var/log/homeport/delivered.jsonl\""),
            "The file. Its directory has to exist.",
        ),
        FORMAT,
    ],
    shared: Some(&SINK),
};

pub(super) static SINK_WEBHOOK: Keys = Keys {
    header: "[[sink]] kind = \"webhook\"",
    about: "HTTP POST of batches; only a 2xx answer counts.",
    list: &[
        name("\"siem\""),
        kind("\"webhook\"", "An HTTP receiver."),
        key(
            "url",
            "https or http URL",
            Shown::Required("\"https://siem.example.org/homeport\""),
            "Where to.",
        ),
        FORMAT,
        key(
            "body",
            "`array` or `ndjson`",
            Shown::Default(|_| quoted("array")),
            "One JSON array, or one JSON object per line.",
        ),
        COMPRESSION,
        TOKEN_FILE,
        key(
            "hmac_key_file",
            "absolute path",
            Shown::Absent(NONE, "\"/etc/homeport/siem.key\""),
            "File with the key of the signature in `X-Homeport-Signature`; see SINKS.md.",
        ),
        HEADERS,
        CA_FILE,
        CLIENT_CERT_FILE,
        CLIENT_KEY_FILE,
    ],
    shared: Some(&SINK),
};

pub(super) static SINK_ALERTMANAGER: Keys = Keys {
    header: "[[sink]] kind = \"alertmanager\"",
    about: "Prometheus Alertmanager, API v2. Not a queue: every open finding is kept firing at every member of the \
            cluster. `format`, `records = [\"intervals\"]` and batches mean nothing here.",
    list: &[
        name("\"oncall\""),
        kind("\"alertmanager\"", "An Alertmanager."),
        key(
            "urls",
            "list of https or http URLs",
            Shown::Required("[\"https://am-1.example.org:9093\", \"https://am-2.example.org:9093\"]"),
            "Every member of the cluster, without `/api/v2/alerts`.",
        ),
        key(
            "resend_secs",
            "seconds, 5 to 3600",
            Shown::Default(|_| DEFAULT_RESEND.as_secs().to_string()),
            "How often every open alert is sent again. Without us it ends after three times that.",
        ),
        key(
            "labels",
            "list of `name=value`",
            Shown::Absent(NONE, "[\"cluster=storage\"]"),
            "Labels that every alert gets.",
        ),
        TOKEN_FILE,
        HEADERS,
        CA_FILE,
        CLIENT_CERT_FILE,
        CLIENT_KEY_FILE,
    ],
    shared: Some(&SINK),
};

pub(super) static SINK_OTLP: Keys = Keys {
    header: "[[sink]] kind = \"otlp\"",
    about: "OpenTelemetry logs over HTTP (OTLP, protobuf).",
    list: &[
        name("\"collector\""),
        kind("\"otlp\"", "An OpenTelemetry collector."),
        key(
            "url",
            "https or http URL",
            Shown::Required("\"https://collector.example.org:4318/v1/logs\""),
            "Where to, with the path.",
        ),
        COMPRESSION,
        TOKEN_FILE,
        HEADERS,
        CA_FILE,
        CLIENT_CERT_FILE,
        CLIENT_KEY_FILE,
    ],
    shared: Some(&SINK),
};

pub(super) static SINK_SYSLOG: Keys = Keys {
    header: "[[sink]] kind = \"syslog\"",
    about: "Syslog, RFC 5424. Over TCP and TLS frames are octet-counted (RFC 6587, RFC 5425).",
    list: &[
        name("\"loghost\""),
        kind("\"syslog\"", "A syslog server."),
        key(
            "address",
            "`host:port`, with IPv6 addresses in brackets",
            Shown::Required("\"loghost.example.org:6514\""),
            "Where to.",
        ),
        key(
            "transport",
            "`udp`, `tcp` or `tls`",
            Shown::Default(|_| quoted("tls")),
            "How messages travel. Syslog has no answers: over TCP and TLS a record counts as delivered once the \
             server's program has read it, over UDP once it is sent.",
        ),
        key(
            "facility",
            "number, 0 to 23",
            Shown::Default(|_| DEFAULT_FACILITY.to_string()),
            "Facility of each message; 13 is `log audit`.",
        ),
        key(
            "message",
            "`record` or `text`",
            Shown::Default(|_| quoted("record")),
            "What stands in the message: the record in its `format`, or one sentence. The structured data is the \
             same.",
        ),
        key(
            "max_message_bytes",
            "bytes, 2048 to 262144",
            Shown::Absent("2048 over udp, else 8192", "131072"),
            "The longest message that the server takes. A longer record goes as its sentence, with its id and its \
             hash in the ledger. rsyslog takes 8 KiB unless its `maxMessageSize` says more.",
        ),
        key(
            "enterprise",
            "number",
            Shown::Default(|_| DEFAULT_ENTERPRISE.to_string()),
            "Private enterprise number in the name of the structured data. The default is the number for examples; \
             an organisation has one of its own from IANA.",
        ),
        FORMAT,
        CA_FILE,
        CLIENT_CERT_FILE,
        CLIENT_KEY_FILE,
    ],
    shared: Some(&SINK),
};

pub(super) static WITNESS: Keys = Keys {
    header: "[[witness]]",
    about: "Who is offered the checkpoints of the ledger, and remembers how far it had come (C2SP tlog-witness): what a \
            witness has signed cannot be taken back by anybody on this host. See LEDGER.md.",
    list: &[
        key(
            "name",
            "text of letters, digits, `-` and `_`, at most 64",
            Shown::Required("\"audit\""),
            "What it is called here, unique among witnesses: the name of the file with its signatures.",
        ),
        key(
            "url",
            "https or http URL, without `/add-checkpoint`",
            Shown::Required("\"https://witness.example.org\""),
            "Where it takes checkpoints. Its answers are signed, so plain HTTP gives away only how many records there are.",
        ),
        key(
            "key",
            "public key of a witness",
            Shown::Required("\"witness.example.org+173386f4+BDtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop\""),
            "By which it signs, as the witness prints it. A signature by another key counts as none.",
        ),
        CA_FILE,
        key(
            "every_secs",
            "seconds, 1 to 86400",
            Shown::Default(|_| super::witness::DEFAULT_EVERY.as_secs().to_string()),
            "Time between two offers, give or take a tenth. One that failed is repeated sooner.",
        ),
        key(
            "alert_after_secs",
            "seconds, 1 to 604800",
            Shown::Default(|_| super::witness::DEFAULT_ALERT_AFTER.as_secs().to_string()),
            "A witness that has not signed for this long is a finding (`unwitnessed`). One that has seen another \
             ledger is one at once (`contradicted`).",
        ),
    ],
    shared: None,
};

pub(super) static SELFTEST: Keys = Keys {
    header: "[selftest]",
    about: "A datagram of the agent's own must come out of its own pipeline as a finding that is on disk; \
            otherwise coverage says that nothing can be trusted.",
    list: &[
        key(
            "every_secs",
            "seconds, 0 to 86400",
            Shown::Default(|config| config.selftest.every.map_or(0, |every| every.as_secs()).to_string()),
            "How often; 0: only when `homeport selftest` asks for it.",
        ),
        key(
            "destination",
            "address",
            Shown::Default(|config| quoted(&config.selftest.destination.to_string())),
            "Where the datagram goes, to UDP port 9. It dies at the first router (TTL 1). The default is an address \
             for documentation, which nobody has; it needs a route that leads there.",
        ),
    ],
    shared: None,
};

pub(super) static PAGE: Keys = Keys {
    header: "[page]",
    about: "The status page, which the agent serves itself: read only, and without a request to any other host. Every \
            user of this host can read it on a loopback address, unless there is a token. Any other address needs a \
            token and TLS. Changes take effect at the next start.",
    list: &[
        key(
            "listen",
            "address with port, or `none`",
            Shown::Default(|config| {
                let listen = config.page.listen.map(|address| address.to_string());
                quoted(listen.as_deref().unwrap_or("none"))
            }),
            "Where it listens. `none`: there is no page.",
        ),
        key(
            "token_file",
            "absolute path",
            Shown::Absent("no token", "\"/etc/homeport/page.token\""),
            "File with the token that readers have to show: 16 to 512 printable characters on one line, readable by \
             its owner only.",
        ),
        key(
            "certificate",
            "absolute path",
            Shown::Absent("no TLS", "\"/etc/homeport/page.pem\""),
            "Chain of certificates in PEM. It is read again when it changes.",
        ),
        key(
            "key",
            "absolute path",
            Shown::Absent("no TLS", "\"/etc/homeport/page.key\""),
            "Its private key in PEM.",
        ),
        key(
            "host_names",
            "list of host names",
            Shown::Absent(NONE, "[\"storage-1.example.org\"]"),
            "Names by which browsers reach the page, besides its address, `localhost` and the name of the host. A \
             request for any other name is refused.",
        ),
    ],
    shared: None,
};

pub(super) static LIMITS: Keys = Keys {
    header: "[limits]",
    about: "How much is kept at once. What happens beyond is counted and told.",
    list: &[
        key(
            "max_sockets",
            "entries, 1024 to 16777216",
            Shown::Default(|config| config.limits.max_sockets.to_string()),
            "Sockets the kernel keeps counters for.",
        ),
        key(
            "max_flows",
            "entries, 1024 to 16777216",
            Shown::Default(|config| config.limits.max_flows.to_string()),
            "Flows the agent keeps apart. Bytes of further ones are still kept per country.",
        ),
        key(
            "ring_mib",
            "MiB, a power of two, 1 to 256",
            Shown::Default(|config| config.limits.ring_mib.to_string()),
            "Ring buffer for early alerts. When it is full, alerts come with the next sweep instead.",
        ),
        key(
            "record_queue",
            "size, 64 KiB to 1 GiB",
            Shown::Default(|config| quoted(&crate::policy::reason::size(config.limits.record_queue))),
            "Records that wait in memory while the disk takes none. Beyond it intervals are dropped first, then updates, \
             then the rest, and a `gap` record counts them.",
        ),
    ],
    shared: None,
};

pub(super) static AGENT: Keys = Keys {
    header: "[agent]",
    about: "The agent's own files.",
    list: &[
        key(
            "socket",
            "absolute path, at most 107 bytes",
            Shown::Default(|config| quoted(&config.agent.socket.display().to_string())),
            "Control socket, for `homeport flows` and its like.",
        ),
        key(
            "state_dir",
            "absolute path",
            Shown::Default(|config| quoted(&config.agent.state_dir.display().to_string())),
            "What outlives a restart.",
        ),
        key(
            "run_dir",
            "absolute path",
            Shown::Default(|config| quoted(&config.agent.run_dir.display().to_string())),
            "What outlives the agent, but not the boot: what has been counted and is not in a record yet. Best in \
             memory (tmpfs): it is written every second.",
        ),
        key(
            "pin_dir",
            "absolute path in a bpffs, or `none`",
            Shown::Default(|config| {
                let path = config.agent.pin_dir.as_ref().map(|path| path.display().to_string());
                quoted(path.as_deref().unwrap_or("none"))
            }),
            "Where the kernel side is kept, so that it goes on counting while the agent is stopped, killed or \
             upgraded; `homeport cleanup` ends it. `none`: counting ends with the agent.",
        ),
    ],
    shared: None,
};
