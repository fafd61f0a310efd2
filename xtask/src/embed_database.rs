//! Compresses a country database into the agent: `cargo xtask embed-database SRC.mmdb`.

use std::{
    fs,
    io::{Read as _, Write as _},
    path::PathBuf,
};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::tool;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Country database in MaxMind DB format
    source: PathBuf,
}

/// The file is unpacked once per start and shipped with every agent: size counts, time to compress does not.
const COMPRESSION_LEVEL: i32 = 19;

/// Matches up to 128 MiB back (2^27 bytes), as `zstd --long` does. Since the size is stated in the frame, the window
/// the agent keeps while unpacking is the database's own size, not this bound.
const WINDOW_LOG: u32 = 27;

const EMBEDDED: &str = "dbip-country.mmdb.zst";

pub(crate) fn run(args: Args) -> Result<()> {
    let source = args.source.display();
    let database = fs::read(&args.source).with_context(|| format!("read {source}"))?;
    let reader = maxminddb::Reader::from_source(&database)
        .with_context(|| format!("{source} is not a database in MaxMind DB format"))?;
    let built = i64::try_from(reader.metadata().build_epoch)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .with_context(|| format!("{source} claims a build time of {} s", reader.metadata().build_epoch))?;

    let compressed = compress(&database).with_context(|| format!("compress {source}"))?;
    ensure!(restore(&compressed)? == database, "{source} does not survive compression");

    let directory = tool::workspace().join("agent/data");
    fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    let description = describe(&database, &compressed, &reader.metadata().database_type, built);
    for (name, content) in [(EMBEDDED, compressed.as_slice()), ("README.md", description.as_bytes())] {
        let path = directory.join(name);
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        println!("{}: {} bytes", path.display(), content.len());
    }
    Ok(())
}

fn compress(database: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::new(), COMPRESSION_LEVEL)?;
    encoder.long_distance_matching(true)?;
    encoder.window_log(WINDOW_LOG)?;
    encoder.include_checksum(true)?;
    encoder.set_pledged_src_size(Some(u64::try_from(database.len())?))?;
    encoder.write_all(database)?;
    Ok(encoder.finish()?)
}

/// Unpacks with the agent's decoder, whose limits are narrower than those of the encoder.
fn restore(compressed: &[u8]) -> Result<Vec<u8>> {
    let mut decoder =
        ruzstd::decoding::StreamingDecoder::new(compressed).context("open what was compressed")?;
    let mut restored = Vec::new();
    decoder.read_to_end(&mut restored).context("unpack what was compressed")?;
    Ok(restored)
}

fn describe(database: &[u8], compressed: &[u8], database_type: &str, built: Timestamp) -> String {
    format!(
        "# The embedded country database\n\n\
         `{EMBEDDED}` is DB-IP's IP to Country Lite database, compressed with zstd and otherwise unmodified.\n\
         Licence: CC BY 4.0, see `LICENSE.dbip-country.txt`. Attribution: IP Geolocation by DB-IP, <https://db-ip.com>.\n\n\
         Written by `cargo xtask embed-database SRC.mmdb`; do not edit by hand.\n\n\
         | | |\n\
         |---|---|\n\
         | type | {database_type} |\n\
         | built | {built} |\n\
         | size | {} bytes, compressed {} |\n\
         | sha256 | {} |\n\
         | sha256, compressed | {} |\n",
        database.len(),
        compressed.len(),
        sha256(database),
        sha256(compressed),
    )
}

fn sha256(data: &[u8]) -> String {
    Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect()
}
