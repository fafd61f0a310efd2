//! Installs what building and testing need: `cargo xtask setup`.
//!
//! On Debian 12 and 13 (and what derives from them) the compiler for the BPF target comes from Debian's security
//! suite, see `agent/build/toolchain.rs`. Elsewhere this task installs nothing; it lists what is missing.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    foreign,
    packages::{self, COMPILER, LLVM_VERSIONS, PROGRAMS},
    tool,
    toolchain::{self, ROUTE_VARIABLE, Route},
};

/// Tested with the LLVM versions in [`LLVM_VERSIONS`]; a newer one may drop their features.
const BPF_LINKER_VERSION: &str = "0.13.0";

pub(crate) fn run() -> Result<()> {
    ensure()?;
    foreign::ensure()?;
    println!("setup: complete (eBPF programs are built by route `{}`)", Route::find()?);
    Ok(())
}

/// What every other task calls first: silent when nothing is missing.
pub(crate) fn ensure() -> Result<()> {
    check_components()?;
    if on_debian() {
        install_packages()?;
        if toolchain::find_linker().is_err() {
            install_linker()?;
        }
        toolchain::Toolchain::find().map(drop)
    } else {
        report_missing()
    }
}

/// What one task needs beyond that: packages with a program that each brings.
pub(crate) fn ensure_programs(programs: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<_> = programs.iter().filter(|(_, program)| tool::find(program).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !on_debian() {
        let names: Vec<_> =
            missing.iter().map(|(package, program)| format!("{program} ({package})")).collect();
        bail!("setup installs packages on Debian only; missing: {}", names.join(", "));
    }
    let packages: Vec<_> = missing.iter().map(|(package, _)| *package).collect();
    println!("setup: installing {}", packages.join(" "));
    tool::run(as_root("apt-get")?.args(["update", "--quiet"]))?;
    let options = ["install", "--yes", "--quiet", "--no-remove", "--no-install-recommends"];
    tool::run(as_root("apt-get")?.args(options).args(packages))
}

fn on_debian() -> bool {
    Path::new("/etc/debian_version").exists() && tool::find("apt-get").is_some()
}

/// Parts of the Rust toolchain that a minimal installation leaves out.
fn check_components() -> Result<()> {
    for component in ["fmt", "clippy"] {
        if Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args([component, "--version"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
        {
            continue;
        }
        let name = if component == "fmt" { "rustfmt" } else { component };
        bail!("cargo {component} is missing: run `rustup component add {name}`");
    }
    Ok(())
}

fn install_packages() -> Result<()> {
    let mut missing = not_installed(PROGRAMS.iter().map(|(package, _)| (*package).to_owned()))?;
    match Route::find() {
        Ok(Route::Debian) => missing.extend(not_installed(COMPILER.map(str::to_owned))?),
        Ok(Route::Nightly) => {}
        // A toolchain that was asked for by name comes from rustup; the check at the end says what it lacks.
        Err(_) if env::var_os(ROUTE_VARIABLE).is_some_and(|route| route == "nightly") => {}
        // Installed ones are named too: apt upgrades them, should they be too old.
        Err(_) => missing.extend(COMPILER.map(str::to_owned)),
    }
    let needs_llvm = toolchain::find_linker().is_err();
    if missing.is_empty() && !needs_llvm {
        return Ok(());
    }

    println!("setup: refreshing the package lists");
    tool::run(as_root("apt-get")?.args(["update", "--quiet"]))?;
    if needs_llvm {
        missing.extend(not_installed(packages::llvm(offered_llvm()?))?);
    }
    for package in &missing {
        if candidate(package)?.is_none() {
            bail!(
                "no package source offers {package}: Debian 12 and 13 have it in their main and security suites; \
                 without it, install rustup's nightly with rust-src and bpf-linker by hand"
            );
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    println!("setup: installing {}", missing.join(" "));
    // Debian's rustc-web and rustup packages exclude each other. Nothing of the user's is removed for us.
    tool::run(as_root("apt-get")?.args(["install", "--yes", "--quiet", "--no-remove"]).args(&missing)).context(
        "if apt refused to remove a package named rustc or rustup, install Rust with the rustup script instead",
    )
}

fn install_linker() -> Result<()> {
    let version = LLVM_VERSIONS
        .into_iter()
        .find(|version| llvm_prefix(*version).join("bin/llvm-config").exists())
        .context("no llvm-config to build bpf-linker with")?;
    let prefix = llvm_prefix(version);
    println!("setup: building bpf-linker {BPF_LINKER_VERSION} with LLVM {version} (about a minute)");

    // Without the prefix its build script takes the first libLLVM it meets, which may be another version's.
    let mut cargo = tool::cargo("install");
    cargo.args(["bpf-linker", "--locked", "--version", BPF_LINKER_VERSION]);
    cargo.args(["--no-default-features", "--features", &format!("llvm-{version}")]);
    cargo.env("LLVM_PREFIX", &prefix);
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = std::iter::once(prefix.join("bin")).chain(env::split_paths(&path));
    cargo.env("PATH", env::join_paths(directories).context("PATH for building bpf-linker")?);
    tool::run(&mut cargo)
}

fn llvm_prefix(version: u32) -> PathBuf {
    Path::new("/usr/lib").join(format!("llvm-{version}"))
}

fn offered_llvm() -> Result<u32> {
    for version in LLVM_VERSIONS {
        if candidate(&format!("llvm-{version}-dev"))?.is_some() {
            return Ok(version);
        }
    }
    bail!(
        "no package source offers llvm-N-dev with N one of {LLVM_VERSIONS:?}, which bpf-linker {BPF_LINKER_VERSION} \
         needs: enable the security suite, or install bpf-linker by hand"
    )
}

/// Those of `packages` that dpkg does not report as installed.
fn not_installed(packages: impl IntoIterator<Item = String>) -> Result<Vec<String>> {
    let packages: Vec<_> = packages.into_iter().collect();
    // dpkg-query fails when it has never heard of one of them, yet still prints the others.
    let answer = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"])
        .args(&packages)
        .stderr(Stdio::null())
        .output()
        .context("start dpkg-query")?;
    let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
    let is_installed = |package: &String| answer.lines().any(|line| line == format!("{package} installed"));
    Ok(packages.into_iter().filter(|package| !is_installed(package)).collect())
}

/// The version apt would install.
fn candidate(package: &str) -> Result<Option<String>> {
    let policy = tool::output(Command::new("apt-cache").env("LC_ALL", "C").args(["policy", package]))?;
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
    Ok(version.filter(|version| *version != "(none)").map(str::to_owned))
}

fn as_root(program: &str) -> Result<Command> {
    if tool::is_root()? {
        let mut command = Command::new(program);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        return Ok(command);
    }
    if tool::find("sudo").is_none() {
        bail!("installing packages needs root: run `cargo xtask setup` as root, or install sudo");
    }
    let mut command = Command::new("sudo");
    command.args(["DEBIAN_FRONTEND=noninteractive", program]);
    Ok(command)
}

fn report_missing() -> Result<()> {
    let mut missing: Vec<String> = PROGRAMS
        .iter()
        .filter(|(_, program)| tool::find(program).is_none())
        .map(|(package, program)| format!("program {program} (Debian package {package})"))
        .collect();
    missing.extend(Route::find().err().map(|error| format!("{error:#}")));
    missing.extend(
        toolchain::find_linker()
            .err()
            .map(|error| format!("{error:#} (cargo install bpf-linker, needs LLVM)")),
    );
    if missing.is_empty() {
        return Ok(());
    }
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = system.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("this system");
    bail!("setup installs packages on Debian only, not on {name}; missing:\n  - {}", missing.join("\n  - "))
}
