//! A country database of a few networks.
//!
//! Reading the embedded one takes a second, and half a minute on an emulated processor. Documentation addresses are in
//! no country, and sites put them where the lab wants them, so that most tests need no more than a file that is accepted.

use std::time::SystemTime;

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use mmdb_writer::{Ipv4Aliasing, Value, Writer};

/// Its name in the agent's directory.
pub const FILE: &str = "countries.mmdb";

const NETWORKS: [(&str, &str); 4] =
    [("1.0.0.0/8", "AU"), ("5.0.0.0/8", "DE"), ("8.0.0.0/8", "US"), ("2a00::/12", "DE")];

/// The file, built now.
///
/// # Errors
///
/// When the library that writes it refuses a network.
pub fn small() -> Result<Vec<u8>> {
    let mut writer = Writer::builder("homeport-tests")
        .build_epoch(SystemTime::now())
        .ipv4_aliasing(Ipv4Aliasing::Disabled)
        .build();
    for (network, country) in NETWORKS {
        let value = Value::map([("country_code", Value::from(country))]);
        writer.insert_value(network.parse::<IpNet>()?, value).with_context(|| format!("insert {network}"))?;
    }
    writer.to_bytes().context("write the database")
}
