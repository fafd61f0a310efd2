//! Records as log records of OpenTelemetry.
//!
//! Names of the semantic conventions are those of version 1.44; what they have no stable name for stands under
//! `egress.` and is frozen: never renamed, never given another meaning. `geo.country.iso_code` is where the recipient
//! is. `network.io.direction` is not used: the convention keeps it for the direction of a transfer at an interface.

use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber},
    resource::v1::Resource,
};

use crate::{
    clock::WallTime,
    ledger::Entry,
    sink::{
        Rejected,
        format::{Reading, Speaker, Topic},
    },
};

/// The version of the semantic conventions that names follow.
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

/// The request for a batch, and the entries that cannot be said. Neighbours of one host and version share a resource, so
/// that the order stays.
pub(super) fn request(speaker: &Speaker, batch: &[Entry]) -> (ExportLogsServiceRequest, Vec<Rejected>) {
    let mut resource_logs: Vec<ResourceLogs> = Vec::new();
    let mut unreadable = Vec::new();
    for entry in batch {
        let reading = match Reading::of(&entry.record) {
            Ok(reading) => reading,
            Err(error) => {
                unreadable.push(Rejected { index: entry.index, reason: error.to_string() });
                continue;
            }
        };
        let (resource, record) = (resource(speaker, &reading), record(speaker, entry, &reading));
        let scope = resource_logs
            .last_mut()
            .filter(|logs| logs.resource.as_ref() == Some(&resource))
            .and_then(|logs| logs.scope_logs.last_mut());
        match scope {
            Some(scope) => scope.log_records.push(record),
            None => resource_logs.push(ResourceLogs {
                resource: Some(resource),
                scope_logs: vec![ScopeLogs {
                    scope: Some(InstrumentationScope {
                        name: "homeport".to_owned(),
                        version: reading.text("/metadata/product/version").unwrap_or_default().to_owned(),
                        ..InstrumentationScope::default()
                    }),
                    log_records: vec![record],
                    schema_url: SCHEMA_URL.to_owned(),
                }],
                schema_url: SCHEMA_URL.to_owned(),
            }),
        }
    }
    (ExportLogsServiceRequest { resource_logs }, unreadable)
}

fn resource(speaker: &Speaker, reading: &Reading) -> Resource {
    let mut attributes = Attributes::default();
    attributes.set("service.name", "homeport");
    attributes.set("service.version", reading.text("/metadata/product/version"));
    attributes.set("service.instance.id", reading.text("/device/uid"));
    attributes.set("host.id", reading.text("/device/uid"));
    attributes.set("host.name", reading.text("/device/hostname"));
    attributes.set("os.type", "linux");
    attributes.set("egress.ledger.origin", speaker.origin.as_str());
    Resource { attributes: attributes.0, ..Resource::default() }
}

fn record(speaker: &Speaker, entry: &Entry, reading: &Reading) -> LogRecord {
    let message = reading.text("/message").unwrap_or(&entry.record);
    LogRecord {
        time_unix_nano: reading.time("/time").map_or(0, nanoseconds),
        observed_time_unix_nano: reading
            .time("/metadata/logged_time")
            .or_else(|| reading.time("/time"))
            .map_or(0, nanoseconds),
        severity_number: severity(reading.severity()) as i32,
        severity_text: reading.text("/severity").unwrap_or_default().to_owned(),
        body: Some(AnyValue { value: Some(Value::StringValue(message.to_owned())) }),
        attributes: attributes(speaker, entry, reading),
        event_name: event_name(reading.topic()).to_owned(),
        ..LogRecord::default()
    }
}

/// The words of OCSF on the scale of OpenTelemetry.
const fn severity(ocsf: u64) -> SeverityNumber {
    match ocsf {
        1 => SeverityNumber::Info,
        2 => SeverityNumber::Warn,
        3 => SeverityNumber::Warn2,
        4 => SeverityNumber::Error,
        5 | 6 => SeverityNumber::Fatal,
        _ => SeverityNumber::Unspecified,
    }
}

const fn event_name(topic: Topic) -> &'static str {
    match topic {
        Topic::Violation => "egress.violation",
        Topic::Exception => "egress.exception",
        Topic::Coverage => "egress.coverage",
        Topic::SelfTest => "egress.self_test",
        Topic::Interval => "egress.interval",
        Topic::Lifecycle => "egress.lifecycle",
        Topic::Other => "egress.other",
    }
}

fn attributes(speaker: &Speaker, entry: &Entry, reading: &Reading) -> Vec<KeyValue> {
    let first = |field: &str| format!("/evidences/0/{field}");
    let extra = |field: &str| format!("/unmapped/homeport/{field}");
    let geo = |field: &str| format!("/unmapped/homeport/destination_list/0/geo/{field}");
    let mut attributes = Attributes::default();
    attributes.set("log.record.uid", speaker.id(entry.index));
    attributes.set("egress.ledger.index", entry.index);
    // The whole evidence: the line of the ledger, byte for byte.
    attributes.set("egress.record", &*entry.record);

    attributes.set("egress.event", reading.event());
    attributes.set("egress.kind", reading.text(&extra("kind")));
    attributes.set("egress.episode.id", reading.text("/finding_info/uid"));
    attributes.set("egress.is_alert", reading.get("/is_alert").and_then(serde_json::Value::as_bool));
    attributes.set("egress.first_seen", reading.time("/start_time").map(nanoseconds));
    attributes.set("egress.last_seen", reading.time("/end_time").map(nanoseconds));
    attributes.set("egress.action", reading.text("/action").map(str::to_lowercase));
    attributes.set("egress.initiator", reading.text(&extra("initiator")));
    attributes.set("egress.reason", reading.text("/finding_info/desc"));
    attributes.set("egress.exception.id", reading.text(&extra("exception")));
    attributes.set("egress.events.lost", reading.events_lost());
    attributes.set(
        "egress.bytes.out",
        reading.count("/traffic/bytes_out").or_else(|| reading.count(&extra("bytes/wire"))),
    );
    attributes.set("egress.bytes.missed", reading.count("/traffic/bytes_missed"));
    attributes.set("egress.coverage.state", reading.text(&extra("state")));

    attributes.set("geo.country.iso_code", reading.text(&first("dst_endpoint/location/country")));
    attributes.set("egress.place", reading.text(&extra("place/kind")));
    attributes.set("egress.site", reading.text(&extra("place/site")));
    attributes.set("egress.geo.database", reading.text(&geo("database/name")));
    attributes.set("egress.geo.database.build", reading.text(&geo("database/built")));
    attributes.set("network.peer.address", reading.text(&first("dst_endpoint/ip")));
    attributes.set("network.peer.port", reading.count(&first("dst_endpoint/port")));
    attributes.set("destination.address", reading.text(&first("dst_endpoint/hostname")));
    attributes.set("egress.peer.asn", reading.count(&first("dst_endpoint/autonomous_system/number")));
    attributes.set("network.local.address", reading.text(&first("src_endpoint/ip")));
    attributes.set("network.local.port", reading.count(&first("src_endpoint/port")));
    attributes.set("network.transport", reading.text(&first("connection_info/protocol_name")));
    attributes.set(
        "network.type",
        match reading.count(&first("connection_info/protocol_ver_id")) {
            Some(4) => Some("ipv4"),
            Some(6) => Some("ipv6"),
            _ => None,
        },
    );

    attributes.set("process.pid", reading.count(&first("process/pid")));
    attributes.set("process.executable.path", reading.text(&first("process/file/path")));
    attributes.set("process.command_line", reading.text(&first("process/cmd_line")));
    attributes.set(
        "process.creation.time",
        reading.time(&first("process/created_time")).map(|time| time.to_string()),
    );
    attributes.set(
        "process.user.id",
        reading.text(&first("process/user/uid")).and_then(|uid| uid.parse::<u64>().ok()),
    );
    attributes.set("process.user.name", reading.text(&first("process/user/name")));
    attributes.set("container.id", reading.text(&first("container/uid")));
    attributes.set("egress.owner", reading.text(&extra("owner/label")));
    attributes.set("egress.owner.class", reading.text(&extra("owner/class")));
    attributes.set("egress.owner.unit", reading.text(&extra("owner/unit")));

    attributes.set("security_rule.uuid", reading.text("/finding_info/analytic/uid"));
    attributes.set("security_rule.name", reading.text("/finding_info/analytic/name"));
    attributes.set("security_rule.ruleset.name", reading.text("/policy/name"));
    attributes.set("security_rule.version", reading.text("/policy/version"));
    attributes.0
}

fn nanoseconds(time: WallTime) -> u64 {
    u64::try_from(time.0).unwrap_or(0)
}

/// Attributes in the order in which they are set; absent ones leave no trace.
#[derive(Default)]
struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn set(&mut self, key: &str, value: impl Said) {
        if let Some(value) = value.said() {
            let value = Some(AnyValue { value: Some(value) });
            self.0.push(KeyValue { key: key.to_owned(), value, ..KeyValue::default() });
        }
    }
}

/// What can be a value.
trait Said {
    fn said(self) -> Option<Value>;
}

impl Said for &str {
    fn said(self) -> Option<Value> {
        Some(Value::StringValue(self.to_owned()))
    }
}

impl Said for String {
    fn said(self) -> Option<Value> {
        Some(Value::StringValue(self))
    }
}

impl Said for bool {
    fn said(self) -> Option<Value> {
        Some(Value::BoolValue(self))
    }
}

impl Said for u64 {
    fn said(self) -> Option<Value> {
        // OpenTelemetry has signed numbers only; 8 EiB are not reached.
        Some(Value::IntValue(i64::try_from(self).unwrap_or(i64::MAX)))
    }
}

impl<T: Said> Said for Option<T> {
    fn said(self) -> Option<Value> {
        self.and_then(T::said)
    }
}
