//! The database inside this program, so that the first run works offline.
//!
//! DB-IP Lite Country: 8.2 MB, 3.4 MB compressed with zstd, unpacked at start. It is as old as this program and gets
//! no updates of its own: its age is reported like that of any other. An operator's file takes its place.
//!
//! The licence (CC BY 4.0) asks for [`ATTRIBUTION`] wherever results are shown: `--version`, NOTICE, the status page.

use std::{io::Read, sync::Arc};

use ruzstd::decoding::StreamingDecoder;

use super::{
    database::Database,
    fault::{Fault, LoadError},
};

/// What evidence calls it.
pub const NAME: &str = "embedded DB-IP Lite Country";

/// To be shown wherever its answers are.
pub const ATTRIBUTION: &str = "IP Geolocation by DB-IP (https://db-ip.com), CC BY 4.0";

/// One zstd frame. Its window is the whole content (8 MB), far below the 100 MB the decoder accepts.
static COMPRESSED: &[u8] = include_bytes!("../../data/dbip-country.mmdb.zst");

/// Unpacks and loads it.
pub fn load() -> Result<Database, LoadError> {
    let fail = |error: String| LoadError { file: Arc::from(NAME), fault: Fault::NotADatabase(error) };
    let mut decoder = StreamingDecoder::new(COMPRESSED).map_err(|error| fail(error.to_string()))?;
    let mut bytes = Vec::with_capacity(decoder.decoder.content_size().min(1 << 26) as usize);
    decoder.read_to_end(&mut bytes).map_err(|error| fail(error.to_string()))?;
    Database::from_bytes(bytes, NAME)
}

#[cfg(test)]
mod tests {
    use std::{
        net::IpAddr,
        sync::LazyLock,
        time::{Duration, Instant},
    };

    use super::*;
    use crate::{
        clock::WallTime,
        geo::{database::PUBLIC_IPV4_ADDRESSES, gate},
    };

    /// Shared, since it takes a second in a debug build.
    static EMBEDDED: LazyLock<(Database, Duration)> = LazyLock::new(|| {
        let started = Instant::now();
        (load().expect("the embedded database loads"), started.elapsed())
    });

    #[test]
    fn it_passes_its_own_gate_without_a_warning() {
        let (database, elapsed) = &*EMBEDDED;
        let built_then = database.id().built;
        let report = gate::check(database, built_then).expect("used");
        assert_eq!(report.warnings, []);
        assert_eq!(report.contents.ipv4_addresses, PUBLIC_IPV4_ADDRESSES);
        assert!(report.contents.countries >= 240, "{report}");
        assert!(report.contents.networks > 1_000_000, "{report}");
        assert_eq!(&*report.id.name, NAME);
        assert!(built_then > WallTime::from_unix_seconds(1_700_000_000));
        println!("{report}; unpacked and checked in {elapsed:?}");
    }

    #[test]
    fn well_known_addresses_are_where_they_are() {
        #[track_caller]
        fn check(address: &str, expected: &str) {
            let address: IpAddr = address.parse().expect("address");
            let found = EMBEDDED.0.lookup(address).and_then(|(_, record)| record.country);
            assert_eq!(found.map(|code| code.to_string()).as_deref(), Some(expected), "{address}");
        }
        check("8.8.8.8", "US");
        check("3.120.0.1", "DE");
        check("20.50.1.1", "NL");
        check("175.45.176.1", "KP");
        check("5.160.0.1", "IR");
        check("77.88.55.242", "RU");
        check("114.114.114.114", "CN");
        check("2400:3200::1", "CN");
        check("2a02:6b8::2:242", "RU");
        check("2a01:4f8::1", "DE");
    }

    #[test]
    fn private_and_documentation_space_has_no_record() {
        for address in ["10.0.0.1", "192.0.2.1", "2001:db8::1"] {
            assert_eq!(EMBEDDED.0.lookup(address.parse().expect("address")), None, "{address}");
        }
    }
}
