//! Elastic Common Schema 9.4.
//!
//! The source is this host and the destination the recipient, as in every record: ECS maps and rules look for a
//! country in `destination.geo`, and would miss each transfer that the recipient has asked for if it stood in
//! `source`. Who opened the connection is `labels.initiator`.
//!
//! What ECS has no field for stays under `homeport`, as in `unmapped.homeport` of the record. `event.hash` is the leaf
//! of the entry in the ledger.

use serde_json::{Map, Value, json};

use super::{Reading, Speaker, Topic, Unreadable, centroids, leaf_hash};
use crate::ledger::Entry;

/// The version of ECS that documents follow.
pub const VERSION: &str = "9.4.0";

/// One entry as one document.
///
/// # Errors
///
/// When the entry is not a JSON object.
pub fn line(speaker: &Speaker, entry: &Entry) -> Result<String, Unreadable> {
    let reading = Reading::of(&entry.record)?;
    Ok(document(speaker, entry, &reading).to_string())
}

fn document(speaker: &Speaker, entry: &Entry, reading: &Reading) -> Value {
    let mut document = Document::default();
    document.set("ecs.version", VERSION);
    document.set("event.id", speaker.id(entry.index));
    document.set("event.sequence", entry.index);
    if !reading.is_shortened() {
        document.set("event.hash", leaf_hash(&entry.record));
    }
    document.set("labels.ledger", speaker.origin.as_str());
    event(&mut document, reading);
    host_and_agent(&mut document, reading);
    network(&mut document, reading);
    owner(&mut document, reading);
    policy(&mut document, reading);
    labels(&mut document, reading);
    document.set("homeport", reading.get("/unmapped/homeport").cloned());
    document.0.into()
}

/// What kind of event it is, when, and how bad.
fn event(document: &mut Document, reading: &Reading) {
    let topic = reading.topic();
    let is_denied = reading.count("/action_id") == Some(2);
    let (kind, category, types): (&str, &str, &[&str]) = match (topic, reading.event()) {
        (Topic::Violation | Topic::Coverage, _) if is_denied => {
            ("alert", "network", &["connection", "denied"])
        }
        (Topic::Violation, _) => ("alert", "network", &["connection", "allowed"]),
        (Topic::Coverage, _) => ("alert", "network", &["info"]),
        (Topic::Exception | Topic::SelfTest, _) => ("event", "network", &["connection", "allowed"]),
        (Topic::Interval, _) => ("metric", "network", &["info"]),
        (Topic::Lifecycle, Some("start")) => ("event", "process", &["start"]),
        (Topic::Lifecycle, Some("stop")) => ("event", "process", &["end"]),
        (Topic::Lifecycle, Some("policy-change" | "database-change")) => {
            ("event", "configuration", &["change"])
        }
        (Topic::Lifecycle, Some("policy-rejected" | "database-rejected")) => {
            ("event", "configuration", &["info"])
        }
        (Topic::Lifecycle | Topic::Other, _) => ("event", "host", &["info"]),
    };
    let outcome = match (topic, reading.event()) {
        (Topic::Violation | Topic::Exception | Topic::SelfTest, _) if is_denied => Some("failure"),
        (Topic::Violation | Topic::Exception | Topic::SelfTest, _) => Some("success"),
        (Topic::Lifecycle, Some("policy-rejected" | "database-rejected")) => Some("failure"),
        (Topic::Lifecycle, Some("policy-change" | "database-change" | "start" | "stop")) => Some("success"),
        _ => None,
    };
    document
        .set("@timestamp", time(reading, "/time").unwrap_or_else(|| "1970-01-01T00:00:00.000Z".to_owned()));
    document.set("message", reading.text("/message"));
    document.set("event.kind", kind);
    document.set("event.category", json!([category]));
    document.set("event.type", json!(types));
    document.set("event.outcome", outcome);
    document.set(
        "event.action",
        match reading.event() {
            Some(event) => format!("{topic}-{event}"),
            None => topic.to_string(),
        },
    );
    document.set("event.module", "homeport");
    document.set("event.dataset", format!("homeport.{topic}"));
    document.set("event.provider", "homeport");
    document.set("event.severity", reading.count("/severity_id"));
    document.set(
        "log.level",
        match reading.severity() {
            1 => Some("info"),
            2 => Some("notice"),
            3 => Some("warning"),
            4 => Some("error"),
            5 => Some("critical"),
            _ => None,
        },
    );
    document.set("event.reason", reading.text("/finding_info/desc"));
    document.set("event.created", time(reading, "/metadata/logged_time"));
    document.set("event.start", time(reading, "/start_time"));
    document.set("event.end", time(reading, "/end_time"));
    // ECS counts in nanoseconds.
    document
        .set("event.duration", reading.count("/duration").and_then(|millis| millis.checked_mul(1_000_000)));
}

/// Where it was seen, and by what.
fn host_and_agent(document: &mut Document, reading: &Reading) {
    let (hostname, uid) = (reading.text("/device/hostname"), reading.text("/device/uid"));
    let version = reading.text("/metadata/product/version");
    document.set("host.hostname", hostname);
    document.set("host.name", hostname);
    document.set("host.id", uid);
    document.set("agent.id", uid);
    document.set("agent.name", hostname);
    document.set("agent.type", "homeport");
    document.set("agent.version", version);
    document.set("observer.vendor", reading.text("/metadata/product/vendor_name"));
    document.set("observer.product", reading.text("/metadata/product/name"));
    document.set("observer.type", "sensor");
    document.set("observer.version", version);
}

/// From here to the recipient, and how much.
fn network(document: &mut Document, reading: &Reading) {
    let first = |field: &str| format!("/evidences/0/{field}");
    for (side, endpoint) in [("source", "src_endpoint"), ("destination", "dst_endpoint")] {
        let ip = reading.text(&first(&format!("{endpoint}/ip")));
        document.set(&format!("{side}.address"), ip);
        document.set(&format!("{side}.ip"), ip);
        document.set(&format!("{side}.port"), reading.count(&first(&format!("{endpoint}/port"))));
    }
    document.set("destination.domain", reading.text(&first("dst_endpoint/hostname")));
    document.set("destination.as.number", reading.count(&first("dst_endpoint/autonomous_system/number")));
    document
        .set("destination.as.organization.name", reading.text(&first("dst_endpoint/autonomous_system/name")));
    let country = reading.text(&first("dst_endpoint/location/country"));
    document.set("destination.geo.country_iso_code", country);
    // A map shows nothing without a point. This is the middle of the country and no more is known.
    document.set(
        "destination.geo.location",
        country.and_then(centroids::of).map(|(lat, lon)| json!({ "lat": lat, "lon": lon })),
    );

    let extra = |field: &str| format!("/unmapped/homeport/{field}");
    let bytes = reading.count("/traffic/bytes_out").or_else(|| reading.count(&extra("bytes/wire")));
    let packets = reading.count("/traffic/packets_out").or_else(|| reading.count(&extra("bytes/packets")));
    document.set("source.bytes", bytes);
    document.set("source.packets", packets);
    document.set("network.bytes", bytes);
    document.set("network.packets", packets);
    document.set("network.transport", reading.text(&first("connection_info/protocol_name")));
    document.set(
        "network.iana_number",
        reading.count(&first("connection_info/protocol_num")).map(|number| number.to_string()),
    );
    document.set(
        "network.type",
        match reading.count(&first("connection_info/protocol_ver_id")) {
            Some(4) => Some("ipv4"),
            Some(6) => Some("ipv6"),
            _ => None,
        },
    );
    if !matches!(reading.topic(), Topic::Lifecycle | Topic::Other) {
        document.set("network.direction", "egress");
    }

    let addresses = ["src_endpoint/ip", "dst_endpoint/ip"].map(|field| reading.text(&first(field)));
    document.set_list("related.ip", addresses);
    document.set_list(
        "related.hosts",
        [reading.text("/device/hostname"), reading.text(&first("dst_endpoint/hostname"))],
    );
    document.set_list("related.user", [reading.text(&first("process/user/name"))]);
}

/// Who sent.
fn owner(document: &mut Document, reading: &Reading) {
    let process = |field: &str| format!("/evidences/0/process/{field}");
    document.set("process.pid", reading.count(&process("pid")));
    document.set("process.entity_id", reading.text(&process("uid")));
    document.set("process.name", reading.text(&process("name")));
    document.set("process.executable", reading.text(&process("file/path")));
    document.set("process.command_line", reading.text(&process("cmd_line")));
    document.set("process.start", time(reading, &process("created_time")));
    document.set("process.user.id", reading.text(&process("user/uid")));
    document.set("process.user.name", reading.text(&process("user/name")));
    document.set("user.id", reading.text(&process("user/uid")));
    document.set("user.name", reading.text(&process("user/name")));
    document.set("container.id", reading.text("/evidences/0/container/uid"));
}

/// The rule that was broken; for coverage, the question that was answered.
fn policy(document: &mut Document, reading: &Reading) {
    document.set("rule.id", reading.text("/finding_info/analytic/uid"));
    document.set("rule.name", reading.text("/finding_info/analytic/name"));
    document.set("rule.description", reading.text("/finding_info/title"));
    document.set("rule.ruleset", reading.text("/policy/name"));
    document.set("rule.version", reading.text("/policy/version"));
}

/// Words to group by: ECS wants them flat, and text.
fn labels(document: &mut Document, reading: &Reading) {
    let database = reading.get("/unmapped/homeport/destination_list/0/geo/database");
    let database = |field: &str| database.and_then(|database| database[field].as_str());
    for (label, value) in [
        ("labels.episode", reading.text("/finding_info/uid")),
        ("labels.initiator", reading.text("/unmapped/homeport/initiator")),
        ("labels.exception", reading.text("/unmapped/homeport/exception")),
        ("labels.kind", reading.text("/unmapped/homeport/kind")),
        ("labels.transition_reason", reading.text("/unmapped/homeport/transition_reason")),
        ("labels.place", reading.text("/unmapped/homeport/place/kind")),
        ("labels.site", reading.text("/unmapped/homeport/place/site")),
        ("labels.unit", reading.text("/unmapped/homeport/owner/unit")),
        ("labels.owner_class", reading.text("/unmapped/homeport/owner/class")),
        ("labels.owner_quality", reading.text("/unmapped/homeport/owner/quality")),
        ("labels.preset", reading.text("/unmapped/homeport/policy/preset")),
        ("labels.coverage", reading.text("/unmapped/homeport/state")),
        ("labels.geo_db", database("name")),
        ("labels.geo_build", database("built")),
    ] {
        document.set(label, value);
    }
    document.set("labels.is_alert", reading.get("/is_alert").map(ToString::to_string));
    document.set("labels.events_lost", reading.events_lost().map(|lost| lost.to_string()));
    document
        .set("labels.bytes_missed", reading.count("/traffic/bytes_missed").map(|missed| missed.to_string()));
}

fn time(reading: &Reading, pointer: &str) -> Option<String> {
    reading.time(pointer).map(|time| time.to_string())
}

/// Objects in objects, written by dotted names. Absent values leave no trace.
#[derive(Default)]
struct Document(Map<String, Value>);

impl Document {
    fn set(&mut self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        if value.is_null() {
            return;
        }
        let mut object = &mut self.0;
        let mut names = name.split('.').peekable();
        while let Some(name) = names.next() {
            if names.peek().is_none() {
                object.insert(name.to_owned(), value);
                return;
            }
            let inner = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(inner) = inner else { return };
            object = inner;
        }
    }

    fn set_list<const N: usize>(&mut self, name: &str, values: [Option<&str>; N]) {
        let values: Vec<&str> = values.into_iter().flatten().collect();
        if !values.is_empty() {
            self.set(name, json!(values));
        }
    }
}
