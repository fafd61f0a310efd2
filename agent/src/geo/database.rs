//! A country database: what a file says about an address.
//!
//! Databases come in three shapes. The first that gives a country wins:
//!
//! | shape | who | where |
//! |---|---|---|
//! | flat | IPinfo Lite, the embedded database | `country_code` |
//! | nested | GeoIP2, GeoLite2, DB-IP | `country.iso_code` |
//! | flat, old | IPinfo country | `country`, if it is two capitals (in IPinfo Lite it is the *name*) |
//!
//! Besides: `registered_country.iso_code` (where the block was registered), and `traits.is_anycast` or `is_anycast`.
//!
//! Millions of networks share few records (the embedded database: 1.4 million and 250). So every distinct record is
//! decoded once, when the file is loaded; a lookup is a walk down the search tree and a binary search by the
//! record's offset. No cache to fill, no lock, and no decoding of untrusted bytes after the load.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    path::Path,
    sync::Arc,
};

use ipnet::IpNet;
use maxminddb::{MaxMindDbError, path};

use super::{
    CountryCode, DatabaseId,
    fault::{Fault, LoadError},
    mmdb::{Found, MmdbFile},
    special,
};

/// What one record says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    /// The country. `None` where the file has a continent only, a pseudo code (`EU`, `AP`), or nothing.
    pub country: Option<CountryCode>,
    /// The country the block is registered in.
    pub registered: Option<CountryCode>,
    /// The file says that the network is in many places.
    pub is_anycast: bool,
}

/// What a whole file holds. Counted once, when it is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Networks with a record.
    pub networks: u64,
    /// Networks whose record has no usable country.
    pub networks_without_country: u64,
    /// Distinct records.
    pub records: u64,
    /// Distinct countries.
    pub countries: u64,
    /// Public IPv4 addresses with a country.
    pub ipv4_addresses: u64,
    /// IPv6 networks of length 64, out of the space allocated to registries, with a country.
    pub ipv6_subnets: u64,
    /// Whether the file can hold IPv6 at all.
    pub has_ipv6: bool,
}

/// Public IPv4 addresses: all that are not in a special range.
pub const PUBLIC_IPV4_ADDRESSES: u64 = 3_702_258_432;

impl Contents {
    /// Share of the public IPv4 addresses that have a country, 0 to 1.
    pub fn ipv4_coverage(&self) -> f64 {
        self.ipv4_addresses as f64 / PUBLIC_IPV4_ADDRESSES as f64
    }
}

/// A country database in memory.
#[derive(Debug)]
pub struct Database {
    file: MmdbFile,
    /// Every distinct record by its offset in the file, in order.
    records: Box<[(usize, Record)]>,
    contents: Contents,
}

impl Database {
    /// Takes the bytes of a file, reads all of it, and refuses it if anything in it is broken. `name` is what records
    /// will call it. Whether it is good enough to be used is asked by [`super::gate::check`].
    pub fn from_bytes(bytes: Vec<u8>, name: &str) -> Result<Self, LoadError> {
        Self::from_file(MmdbFile::from_bytes(bytes, name)?)
    }

    /// Like [`Database::from_bytes`], for a file.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let file = MmdbFile::open(path)?;
        Self::from_file(file).map_err(|error| LoadError { file: path.display().to_string().into(), ..error })
    }

    fn from_file(file: MmdbFile) -> Result<Self, LoadError> {
        let mut counter = Counter::new(file.has_ipv6());
        let mut decoded = Decoded::new();
        let networks = file.scan(|network, found| {
            let Some(offset) = found.offset() else { return Ok(()) };
            counter.add(network, decoded.at(offset, found)?);
            Ok(())
        })?;
        let records = decoded.in_order();
        let contents = counter.finish(networks, &records);
        if contents.countries == 0 && records.iter().all(|(_, record)| record.registered.is_none()) {
            return Err(file.fail(Fault::NoCountries { kind: Arc::clone(&file.id().kind), networks }));
        }
        Ok(Self { file, records, contents })
    }

    /// What evidence calls it.
    pub const fn id(&self) -> &Arc<DatabaseId> {
        self.file.id()
    }

    /// What it holds.
    pub const fn contents(&self) -> &Contents {
        &self.contents
    }

    /// The record of an address and its network. The address is unwrapped already ([`super::embedded_v4`]).
    pub fn lookup(&self, address: IpAddr) -> Option<(IpNet, Record)> {
        let (network, found) = self.file.lookup(address)?;
        Some((network, self.record_at(found.offset()?)))
    }

    /// Visits every network once, in order, IPv4 first. For building tables out of the whole database.
    ///
    /// What was fine at load is fine here, but for the time limit of a scan: an error means that some networks have
    /// not been visited.
    pub fn for_each_network(&self, mut visit: impl FnMut(IpNet, Record)) -> Result<(), LoadError> {
        let visited = self.file.scan(|network, found| {
            if let Some(offset) = found.offset() {
                visit(network, self.record_at(offset));
            }
            Ok(())
        });
        visited.map(|_networks| ())
    }

    fn record_at(&self, offset: usize) -> Record {
        match self.records.binary_search_by_key(&offset, |(offset, _)| *offset) {
            Ok(idx) => self.records[idx].1,
            // Not reached: the scan at load has seen every leaf. "No country" is the safe answer all the same.
            Err(_) => Record::default(),
        }
    }
}

/// The distinct records of a file while it is scanned.
struct Decoded {
    records: HashMap<usize, Record>,
    /// The last record seen in each slot. Networks are many and records few: most are found here, without the hash
    /// that offsets out of an untrusted file need.
    recent: Box<[Option<(usize, Record)>]>,
}

impl Decoded {
    /// A power of two. Real country databases have 250 records.
    const SLOTS: usize = 1024;

    fn new() -> Self {
        Self { records: HashMap::new(), recent: vec![None; Self::SLOTS].into() }
    }

    /// The record at `offset`, which is the one of `found`.
    fn at(&mut self, offset: usize, found: &Found<'_>) -> Result<Record, MaxMindDbError> {
        let slot = &mut self.recent[offset % Self::SLOTS];
        if let Some((_, record)) = slot.filter(|(recent, _)| *recent == offset) {
            return Ok(record);
        }
        let record = match self.records.get(&offset) {
            Some(record) => *record,
            None => *self.records.entry(offset).or_insert(decode(found)?),
        };
        *slot = Some((offset, record));
        Ok(record)
    }

    fn in_order(self) -> Box<[(usize, Record)]> {
        let mut records: Box<[_]> = self.records.into_iter().collect();
        records.sort_unstable_by_key(|(offset, _)| *offset);
        records
    }
}

/// Reads one record. A shape that does not fit is no error as long as another one does; a record that none of them
/// can read is damaged.
fn decode(found: &Found<'_>) -> Result<Record, MaxMindDbError> {
    let flat = found.decode_path::<&str>(&path!["country_code"]);
    let nested = found.decode_path::<&str>(&path!["country", "iso_code"]);
    let old = found.decode_path::<&str>(&path!["country"]);
    let code = match (&flat, &nested, &old) {
        (Ok(Some(code)), ..) | (_, Ok(Some(code)), _) => Some(*code),
        (.., Ok(Some(code))) => Some(*code),
        _ => None,
    };
    if code.is_none() {
        flat?;
        if old.is_err() {
            nested?;
        }
    }
    let registered = found.decode_path::<&str>(&path!["registered_country", "iso_code"]).ok().flatten();
    let traits = found.decode_path::<bool>(&path!["traits", "is_anycast"]).ok().flatten();
    let is_anycast = traits.or_else(|| found.decode_path::<bool>(&path!["is_anycast"]).ok().flatten());
    Ok(Record {
        country: code.and_then(CountryCode::from_database),
        registered: registered.and_then(CountryCode::from_database),
        is_anycast: is_anycast.unwrap_or(false),
    })
}

/// Counts what a file holds while it is scanned.
struct Counter {
    contents: Contents,
    /// First and last address of the special IPv4 ranges.
    special_v4: Vec<(u64, u64)>,
    /// First and last network of length 64 of the allocated IPv6 blocks.
    allocated_v6: Vec<(u64, u64)>,
}

impl Counter {
    fn new(has_ipv6: bool) -> Self {
        let widen = |(first, last)| (u64::from(first), u64::from(last));
        Self {
            contents: Contents { has_ipv6, ..Contents::default() },
            special_v4: special::special_ranges_v4().into_iter().map(widen).collect(),
            allocated_v6: special::allocated_v6().map(span).collect(),
        }
    }

    fn add(&mut self, network: IpNet, record: Record) {
        if record.country.is_none() {
            self.contents.networks_without_country += 1;
            return;
        }
        let (first, last) = span(network);
        match network {
            IpNet::V4(_) => {
                self.contents.ipv4_addresses += last - first + 1 - overlap(&self.special_v4, first, last);
            }
            IpNet::V6(network) if network.prefix_len() <= 64 => {
                self.contents.ipv6_subnets += overlap(&self.allocated_v6, first, last);
            }
            IpNet::V6(_) => {}
        }
    }

    fn finish(self, networks: u64, records: &[(usize, Record)]) -> Contents {
        let countries: BTreeSet<_> = records.iter().filter_map(|(_, record)| record.country).collect();
        Contents {
            networks,
            records: records.len() as u64,
            countries: countries.len() as u64,
            ..self.contents
        }
    }
}

/// First and last: addresses for IPv4, networks of length 64 for IPv6.
fn span(network: IpNet) -> (u64, u64) {
    let length = u32::from(network.prefix_len());
    let (first, host_bits) = match network {
        IpNet::V4(network) => (u64::from(network.addr().to_bits()), 32 - length),
        IpNet::V6(network) => ((network.addr().to_bits() >> 64) as u64, 64_u32.saturating_sub(length)),
    };
    (first, first | u64::MAX.checked_shr(64 - host_bits).unwrap_or(0))
}

/// How much of `first..=last` lies in `ranges`, which are in order and do not overlap.
fn overlap(ranges: &[(u64, u64)], first: u64, last: u64) -> u64 {
    let start = ranges.partition_point(|(_, range_last)| *range_last < first);
    let touching = ranges[start..].iter().take_while(|(range_first, _)| *range_first <= last);
    touching.map(|(range_first, range_last)| last.min(*range_last) - first.max(*range_first) + 1).sum()
}

#[cfg(test)]
mod tests {
    use mmdb_writer::Value;

    use super::*;
    use crate::geo::fixture;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    fn code(text: &str) -> Option<CountryCode> {
        (!text.is_empty()).then(|| CountryCode::parse(text).expect("country"))
    }

    fn place(code: &str) -> Value {
        Value::map([("iso_code", Value::from(code))])
    }

    #[track_caller]
    fn check(record: Value, country: &str, registered: &str, is_anycast: bool) {
        let other = Value::map([("country_code", Value::from("DE"))]);
        let bytes = fixture::values([("1.0.0.0/24", record), ("2.0.0.0/24", other)]);
        let database = Database::from_bytes(bytes, "test").expect("valid");
        let expected = Record { country: code(country), registered: code(registered), is_anycast };
        assert_eq!(database.lookup(ip("1.0.0.1")), Some(("1.0.0.0/24".parse().expect("network"), expected)));
    }

    #[test]
    fn every_shape_of_record_is_understood() {
        check(Value::map([("country_code", Value::from("AU"))]), "AU", "", false);
        check(Value::map([("country", place("GB")), ("registered_country", place("US"))]), "GB", "US", false);
        check(Value::map([("country", Value::from("FR"))]), "FR", "", false);
        let ipinfo_lite =
            [("country", "Japan"), ("country_code", "JP"), ("continent_code", "AS"), ("asn", "AS2500")];
        check(Value::map(ipinfo_lite.map(|(key, value)| (key, Value::from(value)))), "JP", "", false);
        let anycast = Value::map([("is_anycast", Value::from(true))]);
        check(Value::map([("traits", anycast)]), "", "", true);
        check(
            Value::map([("country_code", Value::from("US")), ("is_anycast", Value::from(true))]),
            "US",
            "",
            true,
        );
    }

    #[test]
    fn a_record_without_a_country_is_a_record() {
        check(Value::map([("continent", Value::map([("code", Value::from("EU"))]))]), "", "", false);
        check(Value::map([("country", Value::from("Japan"))]), "", "", false);
        check(Value::map([("country", Value::map([("geoname_id", Value::from(1_u32))]))]), "", "", false);
        check(Value::map([("registered_country", place("US"))]), "", "US", false);
        for pseudo in ["EU", "AP", "A1", "ZZ", "AN", "--", "us", ""] {
            check(Value::map([("country_code", Value::from(pseudo))]), "", "", false);
        }
        check(Value::map([("country_code", Value::from("UK"))]), "GB", "", false);
        check(Value::map([("country_code", Value::from("XK"))]), "XK", "", false);
    }

    #[test]
    fn a_field_of_the_wrong_type_falls_through_to_the_next_shape() {
        check(Value::map([("country_code", Value::from(7_u32)), ("country", place("SE"))]), "SE", "", false);
        check(
            Value::map([("country", place("SE")), ("registered_country", Value::from("DE"))]),
            "SE",
            "",
            false,
        );
        check(Value::map([("country", place("SE")), ("traits", Value::from(1_u32))]), "SE", "", false);
    }

    #[test]
    fn a_record_that_no_shape_can_read_refuses_the_file() {
        for record in
            [Value::from("US"), Value::from(1_u32), Value::map([("country_code", Value::from(7_u32))])]
        {
            let bytes = fixture::values([("1.0.0.0/24", record)]);
            let error = Database::from_bytes(bytes, "test").expect_err("refused");
            assert!(matches!(error.fault, Fault::Damaged { errors: 1, .. }), "{error}");
        }
    }

    #[test]
    fn the_most_specific_network_answers() {
        let bytes = fixture::flat(&[
            ("1.0.0.0/8", "AU"),
            ("1.2.0.0/16", "CN"),
            ("1.2.3.4/32", "JP"),
            ("2001:220::/32", "KR"),
            ("2001:220::/128", "SE"),
        ]);
        let database = Database::from_bytes(bytes, "test").expect("valid");
        let country = |text| database.lookup(ip(text)).and_then(|(_, record)| record.country);
        assert_eq!(country("1.9.9.9"), code("AU"));
        assert_eq!(country("1.2.9.9"), code("CN"));
        assert_eq!(country("1.2.3.4"), code("JP"));
        assert_eq!(country("2001:220::1"), code("KR"));
        assert_eq!(country("2001:220::"), code("SE"));
        assert_eq!(database.lookup(ip("9.9.9.9")), None);
        assert_eq!(database.lookup(ip("2a00::1")), None);
    }

    #[test]
    fn a_family_that_the_file_does_not_hold_has_no_record() {
        let v4 = Database::from_bytes(fixture::ipv4_only(&[("1.0.0.0/24", "AU")]), "v4").expect("valid");
        assert!(v4.lookup(ip("1.0.0.1")).is_some());
        assert_eq!(v4.lookup(ip("2001:200::1")), None);
        assert!(!v4.contents().has_ipv6);
        let v6 = Database::from_bytes(fixture::flat(&[("::/1", "JP"), ("2001:200::/32", "JP")]), "v6")
            .expect("valid");
        assert!(v6.lookup(ip("2001:200::1")).is_some());
        assert_eq!(v6.lookup(ip("1.0.0.1")), None, "a record about IPv6 says nothing about IPv4");
    }

    #[test]
    fn only_public_space_counts_as_covered() {
        let rows = [
            ("1.0.0.0/24", "AU"),
            ("192.0.0.0/16", "US"),
            ("10.0.0.0/8", "DE"),
            ("3.0.0.0/24", "EU"),
            ("2001:200::/32", "JP"),
            ("2001:db8::/32", "JP"),
            ("3000::/16", "CA"),
        ];
        let database = Database::from_bytes(fixture::flat(&rows), "test").expect("valid");
        let contents = database.contents();
        assert_eq!(contents.countries, 5);
        assert_eq!(contents.networks_without_country, 1);
        // 192.0.0.0/24 and 192.0.2.0/24 are special; so are 10.0.0.0/8 and 3000::/16. 2001:db8::/32 lies in a block of
        // APNIC and is counted: one block of documentation does not move a ratio.
        assert_eq!(contents.ipv4_addresses, 256 + 65_536 - 512);
        assert_eq!(contents.ipv6_subnets, 2 << 32);
        let everything = Database::from_bytes(fixture::flat(&[("0.0.0.0/0", "DE")]), "test").expect("valid");
        assert_eq!(everything.contents().ipv4_addresses, PUBLIC_IPV4_ADDRESSES);
        assert!((everything.contents().ipv4_coverage() - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_database_about_something_else_is_refused() {
        let error = Database::from_bytes(fixture::asn(&[("1.0.0.0/24", 13335, "X")]), "asn.mmdb")
            .expect_err("refused");
        assert!(matches!(error.fault, Fault::NoCountries { networks: 1, .. }), "{error}");
        let error = Database::from_bytes(fixture::flat(&[]), "empty.mmdb").expect_err("refused");
        assert!(
            error.to_string().contains("empty.mmdb: is a valid file without a single network"),
            "{error}"
        );
        assert!(Database::from_bytes(fixture::nested(&[("1.0.0.0/24", "", "AU")]), "registered").is_ok());
    }

    #[test]
    fn all_networks_can_be_visited_with_what_a_lookup_would_say() {
        let bytes = fixture::flat(&[("1.0.0.0/8", "AU"), ("1.2.0.0/16", "CN"), ("2001:220::/32", "KR")]);
        let database = Database::from_bytes(bytes, "test").expect("valid");
        let mut visited = 0;
        let all = database.for_each_network(|network, record| {
            visited += 1;
            assert_eq!(database.lookup(network.addr()), Some((network, record)));
        });
        assert!(all.is_ok());
        assert_eq!(visited, database.contents().networks);
    }

    /// Truncation and changed bytes: any answer but a panic or a hang.
    #[test]
    fn no_mutation_of_a_file_can_hurt() {
        let files = [
            fixture::flat(&[("1.0.0.0/24", "AU"), ("2.0.0.0/8", "FR"), ("2001:200::/23", "JP")]),
            fixture::nested(&[
                ("1.0.0.0/24", "AU", "US"),
                ("2.0.0.0/8", "FR", ""),
                ("2001:200::/32", "JP", "JP"),
            ]),
        ];
        let addresses = ["1.0.0.1", "2.3.4.5", "2001:200::1", "::1", "255.255.255.255"].map(ip);
        let try_bytes = |bytes: Vec<u8>| {
            if let Ok(database) = Database::from_bytes(bytes, "mutated") {
                for address in addresses {
                    let _ = database.lookup(address);
                }
            }
        };
        for file in files {
            for length in (0..file.len()).step_by(7).chain(file.len() - 40..file.len()) {
                let cut = Database::from_bytes(file[..length].to_vec(), "cut");
                // The last field of the metadata may be cut away only if it was complete before.
                assert!(cut.is_err(), "cut to {length} of {}", file.len());
            }
            for position in 0..file.len() {
                for flip in [0x01, 0x80, 0xff] {
                    let mut bytes = file.clone();
                    bytes[position] ^= flip;
                    try_bytes(bytes);
                }
            }
        }
    }
}
