//! An ASN database: which network operator announces an address.
//!
//! Optional and supplied by the operator. It never places an address: the operator of a network says little about
//! where its servers are. It is evidence, and policies may name autonomous systems.
//!
//! Known shapes: `autonomous_system_number` with `autonomous_system_organization` (GeoLite2, DB-IP), and `asn`
//! (`"AS15169"`) with `as_name` or `name` (IPinfo).

use std::{collections::HashSet, net::IpAddr, path::Path, sync::Arc};

use maxminddb::{MaxMindDbError, path};

use super::{
    AutonomousSystem, DatabaseId,
    fault::{Fault, LoadError},
    mmdb::{Found, MmdbFile},
};

/// An ASN database in memory.
#[derive(Debug)]
pub struct AsnDatabase {
    file: MmdbFile,
    networks: u64,
}

impl AsnDatabase {
    /// Takes the bytes of a file, reads all of it, and refuses it if anything in it is broken or if it knows no
    /// autonomous system. `name` is what records will call it.
    pub fn from_bytes(bytes: Vec<u8>, name: &str) -> Result<Self, LoadError> {
        Self::from_file(MmdbFile::from_bytes(bytes, name)?)
    }

    /// Like [`AsnDatabase::from_bytes`], for a file.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let file = MmdbFile::open(path)?;
        Self::from_file(file).map_err(|error| LoadError { file: path.display().to_string().into(), ..error })
    }

    fn from_file(file: MmdbFile) -> Result<Self, LoadError> {
        let mut seen = HashSet::new();
        let mut known = 0_u64;
        let networks = file.scan(|_, found| {
            if found.offset().is_some_and(|offset| seen.insert(offset)) {
                known += u64::from(decode(found)?.is_some());
            }
            Ok(())
        })?;
        if known == 0 {
            return Err(file.fail(Fault::NoAutonomousSystems { kind: Arc::clone(&file.id().kind), networks }));
        }
        Ok(Self { file, networks })
    }

    /// What evidence calls it.
    pub const fn id(&self) -> &Arc<DatabaseId> {
        self.file.id()
    }

    /// How many networks have a record.
    pub const fn networks(&self) -> u64 {
        self.networks
    }

    /// The autonomous system of an address, if the file knows it. Decodes the record each time: there are a hundred
    /// thousand of them with names, of which a host sees a few.
    pub fn lookup(&self, address: IpAddr) -> Option<AutonomousSystem> {
        let (_, found) = self.file.lookup(address)?;
        decode(&found).ok()?
    }
}

/// Reads one record. `None` where it names no autonomous system, an error where it cannot be read at all.
fn decode(found: &Found<'_>) -> Result<Option<AutonomousSystem>, MaxMindDbError> {
    let text = |key: &str| found.decode_path::<&str>(&path![key]).ok().flatten();
    if let Some(number) = found.decode_path::<u32>(&path!["autonomous_system_number"])? {
        let organization = text("autonomous_system_organization").map(Arc::from);
        return Ok(Some(AutonomousSystem { number, organization }));
    }
    let digits = text("asn").and_then(|asn| asn.strip_prefix("AS"));
    let number = digits.and_then(|digits| digits.parse().ok());
    let organization = || text("as_name").or_else(|| text("name")).map(Arc::from);
    Ok(number.map(|number| AutonomousSystem { number, organization: organization() }))
}

#[cfg(test)]
mod tests {
    use mmdb_writer::Value;

    use super::*;
    use crate::geo::fixture;

    fn system(number: u32, organization: Option<&str>) -> AutonomousSystem {
        AutonomousSystem { number, organization: organization.map(Arc::from) }
    }

    #[test]
    fn both_shapes_are_understood() {
        let ipinfo =
            [("asn", "AS1221"), ("as_name", "Telstra")].map(|(key, value)| (key, Value::from(value)));
        let mut rows = vec![("1.128.0.0/11", Value::map(ipinfo))];
        let number = |number: u32| ("autonomous_system_number", Value::from(number));
        let organization = ("autonomous_system_organization", Value::from("GOOGLE"));
        rows.push(("8.8.8.0/24", Value::map([number(15169), organization])));
        rows.push(("2001:db8::/32", Value::map([number(64496)])));
        let database = AsnDatabase::from_bytes(fixture::values(rows), "asn").expect("valid");
        let lookup = |text: &str| database.lookup(text.parse().expect("address"));
        assert_eq!(lookup("8.8.8.8"), Some(system(15169, Some("GOOGLE"))));
        assert_eq!(lookup("1.128.0.1"), Some(system(1221, Some("Telstra"))));
        assert_eq!(lookup("2001:db8::1"), Some(system(64496, None)));
        assert_eq!(lookup("9.9.9.9"), None);
        assert_eq!(database.networks(), 3);
    }

    #[test]
    fn a_country_database_is_refused() {
        let error = AsnDatabase::from_bytes(fixture::flat(&[("1.0.0.0/24", "AU")]), "country.mmdb")
            .expect_err("refused");
        assert!(matches!(error.fault, Fault::NoAutonomousSystems { .. }), "{error}");
    }
}
