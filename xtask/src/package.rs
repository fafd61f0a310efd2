//! Makes packages: `cargo xtask package [--deb] [--rpm]`.
//!
//! Both are made from one tree of files ([`tree`]), by the distributions' own tools: `dpkg-deb` and `rpmbuild` know
//! their formats better than anybody.

mod deb;
mod rpm;
mod tree;

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};

use crate::{packages, setup, tool};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only the Debian package
    #[arg(long, conflicts_with = "rpm")]
    deb: bool,
    /// Only the RPM package
    #[arg(long)]
    rpm: bool,
    /// Where the packages go [default: target/package]
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
    /// Package the debug build, which the tests have made already
    #[arg(long, hide = true)]
    debug: bool,
}

/// What a package is about, for both formats.
struct About {
    version: String,
    summary: &'static str,
    description: &'static [&'static str],
}

const SUMMARY: &str = "proves where a storage server's data goes";
const DESCRIPTION: &[&str] = &[
    "homeport accounts for every byte that leaves the host with eBPF programs,",
    "places each destination in a country, and raises one alert when that country",
    "is not approved. Its records are a signed, append-only ledger that an",
    "outsider verifies offline.",
];

pub(crate) fn run(args: Args) -> Result<()> {
    setup::ensure()?;
    setup::ensure_programs(&packages::PACKAGE)?;
    let profile = if args.debug { "debug" } else { "release" };
    let mut build = tool::cargo("build");
    build.args(["--locked", "--package", "homeport", "--bin", "homeport"]);
    if !args.debug {
        build.arg("--release");
    }
    tool::run(&mut build)?;

    let out = args.out.unwrap_or_else(|| tool::target_dir().join("package"));
    fs::create_dir_all(&out).with_context(|| format!("create {}", out.display()))?;
    let about =
        About { version: env!("CARGO_PKG_VERSION").to_owned(), summary: SUMMARY, description: DESCRIPTION };
    let binary = tool::target_dir().join(profile).join("homeport");
    if !args.rpm {
        let package = deb::make(&about, &binary, &out)?;
        println!("package: {}", package.display());
    }
    if !args.deb {
        let package = rpm::make(&about, &binary, &out)?;
        println!("package: {}", package.display());
    }
    Ok(())
}
