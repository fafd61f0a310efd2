//! Makes packages: `cargo xtask package [--deb] [--rpm] [--static] [--test [--vm [KERNEL]]]`.
//!
//! Both are made from one tree of files ([`tree`]), by the distributions' own tools: `dpkg-deb` and `rpmbuild` know
//! their formats better than anybody. With `--test` they live a whole life under systemd ([`trial`],
//! [`rpm_trial`]), in namespaces of this kernel ([`machine`]) or in a machine that boots
//! ([`booted`]).

mod booted;
mod deb;
mod machine;
mod rpm;
mod rpm_trial;
mod server;
mod tree;
mod trial;
mod world;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

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
    /// Install, start, use, upgrade and remove them on a bare system with systemd (needs root)
    #[arg(long)]
    test: bool,
    /// With --test: the Debian package, in a virtual machine that boots this kernel of the matrix [default: 6.1], with a
    /// reboot and a power cut
    #[arg(
        long,
        value_name = "KERNEL",
        num_args = 0..=1,
        default_missing_value = "6.1",
        requires = "test",
        conflicts_with = "rpm"
    )]
    vm: Option<String>,
    /// With a program that needs no library of the host's, for distributions older than this one; the packages are in
    /// target/package/static
    #[arg(long = "static", conflicts_with_all = ["debug", "binary"])]
    is_static: bool,
    /// Package the debug build, which the tests have made already
    #[arg(long, hide = true)]
    debug: bool,
    /// Package this program, which has been built already
    #[arg(long, hide = true, value_name = "FILE", conflicts_with = "debug")]
    binary: Option<PathBuf>,
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
    ensure!(!args.test || tool::is_root()?, "the test of packages needs root");
    setup::ensure_programs(&packages::PACKAGE)?;
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None if args.is_static => build_static()?,
        None => build(args.debug)?,
    };

    let default = if args.is_static { "package/static" } else { "package" };
    let out = args.out.unwrap_or_else(|| tool::target_dir().join(default));
    fs::create_dir_all(&out).with_context(|| format!("create {}", out.display()))?;
    let about =
        About { version: env!("CARGO_PKG_VERSION").to_owned(), summary: SUMMARY, description: DESCRIPTION };
    if !args.rpm {
        let package = deb::make(&about, &binary, &out, args.test)?;
        println!("package: {}", package.display());
        if args.test {
            setup::ensure_programs(&packages::PACKAGE_TRIAL)?;
            let directory = tool::target_dir().join("package/machine");
            fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
            match &args.vm {
                Some(kernel) => {
                    trial::run_booted([&package, &trial::newer(&package, &directory)?], &directory, kernel)?;
                }
                None => trial::run([&package, &trial::newer(&package, &directory)?], &directory)?,
            }
        }
    }
    if !args.deb && args.vm.is_none() {
        let package = rpm::make(&about, &binary, &out, args.test)?;
        println!("package: {}", package.display());
        if args.test {
            setup::ensure_programs(&packages::PACKAGE_TRIAL)?;
            let directory = tool::target_dir().join("package/machine");
            fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
            let newer = About { version: format!("{}+trial", about.version), ..about };
            rpm_trial::run([&package, &rpm::make(&newer, &binary, &directory, true)?], &directory)?;
        }
    }
    Ok(())
}

fn build(debug: bool) -> Result<PathBuf> {
    setup::ensure()?;
    let mut build = tool::cargo("build");
    build.arg("--locked").args(tool::PRODUCT).args(["--bin", "homeport"]);
    if !debug {
        build.arg("--release");
    }
    tool::run(&mut build)?;
    Ok(tool::target_dir().join(if debug { "debug" } else { "release" }).join("homeport"))
}

/// With musl: glibc cannot be linked in whole, because it loads what finds users and names while it runs.
fn build_static() -> Result<PathBuf> {
    setup::ensure()?;
    setup::ensure_programs(&packages::STATIC)?;
    let target = tool::host_triple()?.replace("-gnu", "-musl");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let libraries =
        tool::output(Command::new(rustc).args(["--print", "target-libdir", "--target", &target]))?;
    if !Path::new(libraries.trim()).exists() {
        tool::run(Command::new("rustup").args(["target", "add", &target]))?;
    }
    let mut build = tool::cargo("build");
    build.args(["--locked", "--release", "--target", &target]);
    tool::run(build.args(["--package", "homeport", "--bin", "homeport"]))?;
    Ok(tool::target_dir().join(target).join("release/homeport"))
}
