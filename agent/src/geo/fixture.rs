//! Small databases, made in the test that uses them.

use std::time::{Duration, UNIX_EPOCH};

use ipnet::IpNet;
use mmdb_writer::{IpVersion, Ipv4Aliasing, Value, Writer};

use crate::clock::WallTime;

/// When fixtures were built: 2026-06-01.
pub(crate) const BUILT: WallTime = WallTime::from_unix_seconds(1_780_272_000);

/// Ten days later: "now" in tests.
pub(crate) const NOW: WallTime = WallTime::from_unix_seconds(1_780_272_000 + 10 * 86_400);

/// `{"country_code": "DE"}`, as in the embedded database: dual stack, no description, no aliases.
pub(crate) fn flat(rows: &[(&str, &str)]) -> Vec<u8> {
    values(rows.iter().map(|(network, code)| (*network, Value::map([("country_code", Value::from(*code))]))))
}

/// The shape of GeoIP2 and GeoLite2: nested, with the IPv4 part aliased.
pub(crate) fn nested(rows: &[(&str, &str, &str)]) -> Vec<u8> {
    let mut writer = Writer::builder("test").build_epoch(built()).build();
    for (network, country, registered) in rows {
        let place = |code: &str| Value::map([("iso_code", Value::from(code))]);
        let mut record = vec![("continent", Value::map([("code", Value::from("EU"))]))];
        if !country.is_empty() {
            record.push(("country", place(country)));
        }
        if !registered.is_empty() {
            record.push(("registered_country", place(registered)));
        }
        writer.insert_value(net(network), Value::map(record)).expect("insert");
    }
    writer.to_bytes().expect("database")
}

/// Any records: dual stack, without aliases.
pub(crate) fn values<'a>(rows: impl IntoIterator<Item = (&'a str, Value)>) -> Vec<u8> {
    let mut writer =
        Writer::builder("test").build_epoch(built()).ipv4_aliasing(Ipv4Aliasing::Disabled).build();
    for (network, value) in rows {
        writer.insert_value(net(network), value).expect("insert");
    }
    writer.to_bytes().expect("database")
}

/// A file that holds only IPv4.
pub(crate) fn ipv4_only(rows: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = Writer::builder("test").build_epoch(built()).ip_version(IpVersion::V4).build();
    for (network, code) in rows {
        writer
            .insert_value(net(network), Value::map([("country_code", Value::from(*code))]))
            .expect("insert");
    }
    writer.to_bytes().expect("database")
}

/// `{"autonomous_system_number": 15169, "autonomous_system_organization": "GOOGLE"}`
pub(crate) fn asn(rows: &[(&str, u32, &str)]) -> Vec<u8> {
    values(rows.iter().map(|(network, number, organization)| {
        let mut record = vec![("autonomous_system_number", Value::from(*number))];
        if !organization.is_empty() {
            record.push(("autonomous_system_organization", Value::from(*organization)));
        }
        (*network, Value::map(record))
    }))
}

/// Metadata with another number under `key`. Only for numbers that are stored in up to four bytes.
pub(crate) fn with_metadata_number(metadata: &[u8], key: &str, number: u32) -> Vec<u8> {
    let position = metadata.windows(key.len()).position(|window| window == key.as_bytes()).expect("key");
    let control = position + key.len();
    let old_length = usize::from(metadata[control] & 0x1f);
    // Type 6 (uint32), four bytes.
    let mut changed = metadata[..control].to_vec();
    changed.push(0b110_00100);
    changed.extend_from_slice(&number.to_be_bytes());
    changed.extend_from_slice(&metadata[control + 1 + old_length..]);
    changed
}

fn built() -> std::time::SystemTime {
    UNIX_EPOCH + Duration::from_secs(BUILT.unix_seconds() as u64)
}

fn net(text: &str) -> IpNet {
    text.parse().expect("network")
}
