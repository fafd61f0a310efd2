//! Any bytes as a database file: refused or used, never a panic, never without end.
//!
//! Good seeds are small real databases; the tests of `geo::database` make some.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use homeport::{
    clock::WallTime,
    geo::{asn::AsnDatabase, database::Database, gate},
};
use libfuzzer_sys::fuzz_target;

/// Far in the future, so that build dates get past the gate.
const NOW: WallTime = WallTime::from_unix_seconds(4_000_000_000);

fuzz_target!(|bytes: &[u8]| {
    let addresses = addresses(bytes);
    if let Ok(database) = Database::from_bytes(bytes.to_vec(), "fuzz") {
        for address in addresses {
            if let Some((network, _)) = database.lookup(address) {
                assert!(network.contains(&address));
            }
        }
        let mut networks = 0;
        let all = database.for_each_network(|network, record| {
            assert_eq!(database.lookup(network.network()), Some((network, record)));
            networks += 1;
        });
        assert!(all.is_ok());
        assert_eq!(networks, database.contents().networks);
        let _ = gate::check(&database, NOW).map(|report| report.to_string());
    }
    if let Ok(database) = AsnDatabase::from_bytes(bytes.to_vec(), "fuzz") {
        for address in addresses {
            let _ = database.lookup(address);
        }
    }
});

/// Addresses to look up: fixed ones and two out of the input.
fn addresses(bytes: &[u8]) -> [IpAddr; 4] {
    let mut seed = [0; 16];
    let length = bytes.len().min(16);
    seed[..length].copy_from_slice(&bytes[bytes.len() - length..]);
    [
        Ipv4Addr::new(1, 1, 1, 1).into(),
        Ipv4Addr::from([seed[0], seed[1], seed[2], seed[3]]).into(),
        Ipv6Addr::new(0x2001, 0x200, 0, 0, 0, 0, 0, 1).into(),
        Ipv6Addr::from(seed).into(),
    ]
}
