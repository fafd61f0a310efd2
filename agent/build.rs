//! Builds the eBPF object from source, so that the agent always carries the programs it was written with.
//!
//! The object lands in `$OUT_DIR/egress.bpf.o`. Cargo is called a second time because a dependency on another
//! target's binary cannot be written in a manifest. That inner build has a target directory of its own: the outer
//! cargo holds the lock of `target/<profile>` for as long as this script runs.

#[path = "build/toolchain.rs"]
mod toolchain;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};
use toolchain::{ROUTE_VARIABLE, Toolchain};

const PACKAGE: &str = "homeport-ebpf";
const PROGRAM: &str = "egress";

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot build the eBPF program: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<()> {
    let workspace = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("..");
    rerun_when_changed(&workspace);

    let out_dir = PathBuf::from(variable("OUT_DIR")?);
    let target_dir = shared_target_dir(&out_dir);
    let toolchain = Toolchain::find()?;
    println!("cargo::rerun-if-changed={}", toolchain.linker.display());

    let (endian, arch) = (variable("CARGO_CFG_TARGET_ENDIAN")?, variable("CARGO_CFG_TARGET_ARCH")?);
    let target = toolchain::target(&endian);
    let mut cargo = toolchain.cargo("build", target, &arch);
    cargo.args(["--quiet", "--locked", "--release", "--package", PACKAGE, "--bin", PROGRAM]);
    let features = match env::var_os("CARGO_FEATURE_WIDE_SLOTS") {
        Some(_) => "programs,wide-slots",
        None => "programs",
    };
    cargo.args(["--features", features, "--target-dir"]).arg(&target_dir).current_dir(&workspace);
    run(&mut cargo)?;

    let (built, object) =
        (target_dir.join(target).join("release").join(PROGRAM), out_dir.join("egress.bpf.o"));
    fs::copy(&built, &object).with_context(|| format!("copy {} to {}", built.display(), object.display()))?;
    Ok(())
}

/// `target/bpf`, for `target/<profile>/build/homeport-<hash>/out`.
///
/// Cargo runs this script once per profile and set of features, each time with another `OUT_DIR`. The object is the
/// same for all of them, so they share one directory (cargo locks it) and only the first one compiles.
fn shared_target_dir(out_dir: &Path) -> PathBuf {
    out_dir.ancestors().nth(4).unwrap_or(out_dir).join("bpf")
}

fn rerun_when_changed(workspace: &Path) {
    for input in ["agent-ebpf/src", "agent-ebpf/Cargo.toml", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", workspace.join(input).display());
    }
    // Naming one input turns off cargo's default of watching the whole package, this script's parts included.
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build/toolchain.rs");
    println!("cargo::rerun-if-env-changed={ROUTE_VARIABLE}");
    println!("cargo::rerun-if-env-changed=CARGO_HOME");
}

/// Runs the inner cargo. With `--quiet` it prints diagnostics only: warnings are passed on line by line, as cargo
/// wants them from a build script; errors go to stderr whole, which cargo shows unchanged when the script fails.
fn run(cargo: &mut Command) -> Result<()> {
    let output = cargo.output().with_context(|| format!("start {}", cargo.get_program().display()))?;
    let diagnostics = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        eprintln!("{diagnostics}");
        bail!("the inner cargo ended with {}; its messages are above", output.status);
    }
    for line in diagnostics.lines() {
        println!("cargo::warning={line}");
    }
    Ok(())
}

fn variable(name: &str) -> Result<String> {
    env::var(name).with_context(|| format!("{name}, which cargo sets for build scripts"))
}
