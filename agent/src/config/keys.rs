//! Every key of the configuration: a table, and therefore long.
//!
//! The reader knows no other keys, and the documentation is made of nothing else. Defaults are not written here:
//! they are taken out of a default [`Config`].

use super::Config;
use crate::policy::rules::Meanings;

/// One section.
pub(super) struct Keys {
    /// How it is written.
    pub(super) header: &'static str,
    /// What it is about, for the documentation.
    pub(super) about: &'static str,
    /// Its keys.
    pub(super) list: &'static [Key],
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
        key("records", "table", Shown::Section, ""),
        key("selftest", "table", Shown::Section, ""),
        key("page", "table", Shown::Section, ""),
        key("limits", "table", Shown::Section, ""),
        key("agent", "table", Shown::Section, ""),
    ],
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
};

pub(super) static OWNER: Keys = Keys {
    header: "exception.owner = { ... }",
    about: "The same keys, with the same meaning, as `policy.match`.",
    list: WORKLOAD,
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
};

pub(super) static RECORDS: Keys = Keys {
    header: "[records]",
    about: "Where records go.",
    list: &[
        key(
            "file",
            "absolute path",
            Shown::Absent(NONE, "\"/var/log/homeport/records.jsonl\""),
            "File of JSON lines.",
        ),
        key(
            "stdout",
            "true or false",
            Shown::Default(|config| config.records.stdout.to_string()),
            "Also to standard output. With a `file`, the default is false. Without one it cannot be false: no record \
             is thrown away.",
        ),
        key(
            "interval_secs",
            "seconds, 1 to 86400",
            Shown::Default(|config| config.records.interval.as_secs().to_string()),
            "Time that one interval record covers. It is written even when nothing happened.",
        ),
    ],
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
    ],
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
};
