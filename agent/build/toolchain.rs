//! Which compiler builds the eBPF programs, and how it is called.
//!
//! Rust ships no standard library for the BPF target, so `core` comes by one of two routes:
//!
//! - **debian**: the compiler of Debian's `rustc-web` with the prebuilt `core` of `libstd-rust-web-dev-bpf`.
//! - **nightly**: rustup's nightly compiles `core` itself, from the component `rust-src`.
//!
//! The first one that is complete is taken, unless [`ROUTE_VARIABLE`] names one. Both link with `bpf-linker`.
//! The build script of `agent` and the tasks (setup, lint) share this file, so that they always agree.

use std::{
    env,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

/// Environment variable that chooses the route: `debian` or `nightly`.
pub(crate) const ROUTE_VARIABLE: &str = "HOMEPORT_BPF_TOOLCHAIN";

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CLIPPY: &str = "/usr/bin/cargo-clippy";
const SETUP_HINT: &str = "run `cargo xtask setup`";

/// Everything needed to compile and link for the BPF target.
pub(crate) struct Toolchain {
    pub(crate) route: Route,
    pub(crate) linker: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Debian,
    Nightly,
}

impl Toolchain {
    /// Fails with everything that is missing in one message, and the command that brings it.
    pub(crate) fn find() -> Result<Self> {
        match (Route::find(), find_linker()) {
            (Ok(route), Ok(linker)) => Ok(Self { route, linker }),
            (Err(route), Err(linker)) => bail!("{route:#}; {linker:#}; {SETUP_HINT}"),
            (Err(error), Ok(_)) | (Ok(_), Err(error)) => bail!("{error:#}; {SETUP_HINT}"),
        }
    }

    /// A cargo call for the BPF target, to be completed with packages and a target directory.
    ///
    /// `arch` is the architecture of the machine the program will run on: `pt_regs` differs between them.
    pub(crate) fn cargo(&self, subcommand: &str, target: &str, arch: &str) -> Command {
        let mut command = match (self.route, subcommand) {
            // Debian's clippy, since a lint driver only understands the `core` of its own compiler version.
            (Route::Debian, "clippy") => Command::new(DEBIAN_CLIPPY),
            (Route::Debian, _) => Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into())),
            (Route::Nightly, _) => rustup_nightly("cargo"),
        };
        remove_outer_settings(&mut command);
        command.arg(subcommand).args(["--target", target]);
        match self.route {
            // aya-ebpf turns on `asm_experimental_arch`, which a stable compiler refuses without this variable.
            Route::Debian => command.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1"),
            Route::Nightly => command.args(["-Z", "build-std=core"]),
        };
        let linker_variable = format!("CARGO_TARGET_{}_LINKER", target.replace('-', "_").to_uppercase());
        command.env(linker_variable, &self.linker);
        command.env("CARGO_ENCODED_RUSTFLAGS", rustflags(arch));
        command
    }
}

/// Debug information becomes BTF, which the loader needs for maps and for functions.
///
/// Instruction set v2 is the newest one that every supported kernel's verifier and JIT take without surprises:
/// later ones add 32-bit jumps and atomics that 5.10 knows in part only.
fn rustflags(arch: &str) -> OsString {
    let arch = format!("--cfg=bpf_target_arch=\"{arch}\"");
    [arch.as_str(), "-Cdebuginfo=2", "-Clink-arg=--btf", "-Ctarget-cpu=v2"].join("\x1f").into()
}

/// The outer cargo, clippy and a developer's shell describe a build for the host. None of it may reach this one:
/// a wrapper would lint with the wrong compiler, a profile setting could strip the BTF.
fn remove_outer_settings(command: &mut Command) {
    const NAMES: [&str; 9] = [
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_INCREMENTAL",
        "CARGO_TARGET_DIR",
        "CLIPPY_ARGS",
        "RUSTC",
        "RUSTC_LINKER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTFLAGS",
    ];
    const PREFIXES: [&str; 5] =
        ["CARGO_BUILD_", "CARGO_CFG_", "CARGO_FEATURE_", "CARGO_PKG_", "CARGO_PROFILE_"];

    for (name, _) in env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        if NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
}

pub(crate) fn target(endian: &str) -> &'static str {
    if endian == "big" { "bpfeb-unknown-none" } else { "bpfel-unknown-none" }
}

impl Route {
    pub(crate) fn find() -> Result<Self> {
        match env::var(ROUTE_VARIABLE) {
            Ok(name) => Self::named(&name),
            Err(_) => Self::first_complete(),
        }
    }

    fn named(name: &str) -> Result<Self> {
        match name {
            "debian" => check_debian().map(|()| Self::Debian),
            "nightly" => check_nightly().map(|()| Self::Nightly),
            _ => bail!("{ROUTE_VARIABLE}={name} is unknown: accepted are `debian` and `nightly`"),
        }
    }

    fn first_complete() -> Result<Self> {
        let Err(debian) = check_debian() else { return Ok(Self::Debian) };
        let Err(nightly) = check_nightly() else { return Ok(Self::Nightly) };
        bail!("no Rust compiler for the BPF target: {debian:#}; {nightly:#}")
    }
}

impl fmt::Display for Route {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Debian => "debian",
            Self::Nightly => "nightly",
        })
    }
}

fn check_debian() -> Result<()> {
    let version = stdout(Command::new(DEBIAN_RUSTC).arg("--version"))
        .with_context(|| format!("{DEBIAN_RUSTC} is missing (Debian package rustc-web)"))?;
    ensure!(
        is_new_enough(&version),
        "{DEBIAN_RUSTC} is {version}, needed is {} or newer (Debian package rustc-web)",
        env!("CARGO_PKG_RUST_VERSION")
    );
    let sysroot = stdout(Command::new(DEBIAN_RUSTC).args(["--print", "sysroot"]))?;
    let core = Path::new(&sysroot).join("lib/rustlib").join(target(native_endian())).join("lib");
    ensure!(core.is_dir(), "{} is missing (Debian package libstd-rust-web-dev-bpf)", core.display());
    Ok(())
}

fn check_nightly() -> Result<()> {
    let sysroot = stdout(rustup_nightly("rustc").args(["--print", "sysroot"]))
        .context("rustup has no nightly (rustup toolchain install nightly --component rust-src)")?;
    let core = Path::new(&sysroot).join("lib/rustlib/src/rust/library/core/src/lib.rs");
    ensure!(core.is_file(), "nightly has no rust-src (rustup component add rust-src --toolchain nightly)");
    Ok(())
}

pub(crate) fn find_linker() -> Result<PathBuf> {
    const LINKER: &str = "bpf-linker";
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(cargo_home.map(|home| home.join("bin")))
        .map(|directory| directory.join(LINKER))
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("{LINKER} is neither on PATH nor in cargo's bin directory"))
}

/// `rustup run` with its automatic installation off: a check must not start a download.
fn rustup_nightly(program: &str) -> Command {
    let mut command = Command::new("rustup");
    command.env("RUSTUP_AUTO_INSTALL", "0").args(["run", "nightly", program]);
    command
}

/// Compares "rustc 1.96.0 (...)" with the manifest's `rust-version`, major and minor only.
fn is_new_enough(version: &str) -> bool {
    let number = version.split_whitespace().nth(1).unwrap_or_default();
    major_minor(number) >= major_minor(env!("CARGO_PKG_RUST_VERSION"))
}

fn major_minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

/// The BPF target follows the byte order of the machine the agent is built for; for the check here, of this one.
fn native_endian() -> &'static str {
    if cfg!(target_endian = "big") { "big" } else { "little" }
}

fn stdout(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("start {}", command.get_program().display()))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
