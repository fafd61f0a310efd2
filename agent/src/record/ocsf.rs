//! The objects of OCSF 1.8.0 that records are made of, with the fields we fill.
//!
//! Names are OCSF's own. An optional field that has no value is left out.

use serde::Serialize;

use crate::{
    clock::WallTime,
    record::{Context, Origin},
};

/// The version of OCSF that records follow.
pub const VERSION: &str = "1.8.0";

/// `severity_id`, with its caption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Severity(pub u8, pub &'static str);

impl Severity {
    /// No action required.
    pub const INFORMATIONAL: Self = Self(1, "Informational");
    /// The user decides.
    pub const LOW: Self = Self(2, "Low");
    /// Action is required, not serious.
    pub const MEDIUM: Self = Self(3, "Medium");
    /// Action is required at once.
    pub const HIGH: Self = Self(4, "High");
    /// Action is required at once, and the scope is broad.
    pub const CRITICAL: Self = Self(5, "Critical");
}

/// What every event has.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are OCSF's")]
pub struct Base {
    pub activity_id: u8,
    pub activity_name: &'static str,
    pub category_uid: u16,
    pub category_name: &'static str,
    pub class_uid: u16,
    pub class_name: &'static str,
    pub type_uid: u32,
    pub type_name: String,
    pub time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<i64>,
    pub severity_id: u8,
    pub severity: &'static str,
    pub message: String,
    pub metadata: Metadata,
    pub device: Device,
}

/// A class with its category.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Class {
    pub(crate) category_uid: u16,
    pub(crate) category_name: &'static str,
    pub(crate) class_uid: u16,
    pub(crate) class_name: &'static str,
    pub(crate) profiles: &'static [&'static str],
}

impl Base {
    pub(crate) fn new(
        context: &Context<'_>,
        class: Class,
        (activity_id, activity_name): (u8, &'static str),
        severity: Severity,
        message: String,
    ) -> Self {
        Self {
            activity_id,
            activity_name,
            category_uid: class.category_uid,
            category_name: class.category_name,
            class_uid: class.class_uid,
            class_name: class.class_name,
            type_uid: u32::from(class.class_uid) * 100 + u32::from(activity_id),
            type_name: format!("{}: {activity_name}", class.class_name),
            time: context.now.unix_millis(),
            start_time: None,
            end_time: None,
            severity_id: severity.0,
            severity: severity.1,
            message,
            metadata: Metadata::new(context, class.profiles),
            device: Device::of(context.origin),
        }
    }

    pub(crate) const fn span(&mut self, start: WallTime, end: WallTime) {
        self.start_time = Some(start.unix_millis());
        self.end_time = Some(end.unix_millis());
    }
}

/// About the record itself.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are OCSF's")]
pub struct Metadata {
    pub version: &'static str,
    pub product: Product,
    pub profiles: &'static [&'static str],
    /// Set by the writer: `<host uid>:<instance>:<sequence>`, unique; receivers drop repetitions by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Set by the writer: counts the records of this host, without holes unless records were lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    pub logged_time: i64,
    /// The episode, for findings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_uid: Option<String>,
}

impl Metadata {
    fn new(context: &Context<'_>, profiles: &'static [&'static str]) -> Self {
        Self {
            version: VERSION,
            product: Product::of(context.origin),
            profiles,
            uid: None,
            sequence: None,
            logged_time: context.now.unix_millis(),
            correlation_uid: None,
        }
    }
}

/// A product.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are OCSF's")]
pub struct Product {
    pub name: &'static str,
    pub vendor_name: &'static str,
    pub version: String,
}

impl Product {
    pub(crate) fn of(origin: &Origin) -> Self {
        Self { name: "homeport", vendor_name: "homeport", version: origin.version.clone() }
    }
}

/// This host.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are OCSF's")]
pub struct Device {
    /// 0, unknown: whether this is a server, a virtual machine or a laptop makes no difference here.
    pub type_id: u8,
    pub hostname: String,
    pub uid: String,
}

impl Device {
    fn of(origin: &Origin) -> Self {
        Self { type_id: 0, hostname: origin.hostname.clone(), uid: origin.host_uid.clone() }
    }
}

/// One end of the flow of data.
#[derive(Clone, Debug, Default, Serialize)]
#[expect(missing_docs, reason = "the names are OCSF's")]
pub struct Endpoint {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<GeoLocation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autonomous_system: Option<AutonomousSystem>,
}

/// Where an address is. OCSF wants a country (or city, or region), so an unknown place has no such object.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are OCSF's")]
pub struct GeoLocation {
    /// ISO 3166-1 alpha-2, upper case.
    pub country: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desc: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
}

/// Whose network an address is in.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are OCSF's")]
pub struct AutonomousSystem {
    pub number: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// How it went.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are OCSF's")]
pub struct ConnectionInfo {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol_num: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol_ver_id: Option<u8>,
    /// 2: the data goes out, whoever opened.
    pub direction_id: u8,
    pub direction: &'static str,
}

impl ConnectionInfo {
    /// Data that goes out, over whatever protocol.
    pub const fn outbound() -> Self {
        Self {
            protocol_name: None,
            protocol_num: None,
            protocol_ver_id: None,
            direction_id: 2,
            direction: "Outbound",
        }
    }
}

/// Who sent.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are OCSF's")]
pub struct Process {
    pub pid: u32,
    /// Process id and start time: unique for the life of the host.
    pub uid: String,
    pub name: String,
    pub cmd_line: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_time: Option<i64>,
    pub file: File,
    pub user: User,
}

/// An executable.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are OCSF's")]
pub struct File {
    pub name: String,
    pub path: String,
    /// 1: a regular file.
    pub type_id: u8,
}

/// A user.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are OCSF's")]
pub struct User {
    pub uid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A container.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are OCSF's")]
pub struct Container {
    pub uid: String,
}

/// Bytes of an interval.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are OCSF's")]
pub struct Traffic {
    pub bytes_out: u64,
    pub packets_out: u64,
    /// What the network cards sent and we did not see; absent when that could not be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_missed: Option<u64>,
}

/// `unmapped`: what OCSF has no field for.
#[derive(Clone, Debug, Serialize)]
pub struct Unmapped<T> {
    /// Ours.
    pub homeport: T,
}
