//! QEMU: the machine's own, or else Debian's, unpacked below `target`.
//!
//! It is not installed. A machine may have parts of another version (qemu-utils from backports, for one) that apt would
//! have to remove first; unpacked, it disturbs nothing. It finds its firmware and its parts relative to itself.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::archive;
use crate::tool;

const PACKAGE: &str = "qemu-system-x86";
const PROGRAM: &str = "qemu-system-x86_64";

/// A QEMU that starts.
pub(crate) struct Emulator {
    program: PathBuf,
    /// Where its libraries are, if not where the loader looks.
    libraries: Option<OsString>,
}

impl Emulator {
    /// Finds it, or fetches it.
    ///
    /// # Errors
    ///
    /// When there is none and none can be had.
    pub(crate) fn ensure(vm: &Path) -> Result<Self> {
        if let Some(program) = tool::find(PROGRAM) {
            return Ok(Self { program, libraries: None });
        }
        let root = vm.join("qemu");
        if !root.exists() {
            fetch(&root).with_context(|| format!("{PROGRAM} is missing and cannot be fetched"))?;
        }
        let directories = ["lib", "usr/lib"].map(|parent| root.join(parent).join("x86_64-linux-gnu"));
        let emulator = Self {
            program: root.join("usr/bin").join(PROGRAM),
            libraries: Some(env::join_paths(directories).context("the path of QEMU's libraries")?),
        };
        let version = tool::output(emulator.command().arg("-version"))?;
        ensure!(version.contains("QEMU emulator"), "{PROGRAM} -version says {version:?}");
        Ok(emulator)
    }

    /// The machine ends with this process, however that ends.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(&self.program);
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command
    }
}

/// Fetches it with what it needs and this machine lacks. Complete or not there.
fn fetch(root: &Path) -> Result<()> {
    let unfinished = root.with_extension("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    fs::create_dir_all(&unfinished).with_context(|| format!("create {}", unfinished.display()))?;
    for package in archive::download_here(&archive::would_install(PACKAGE)?, &unfinished)? {
        archive::unpack(&package, &unfinished, &["./usr/share/doc"])?;
        fs::remove_file(package)?;
    }
    fs::rename(&unfinished, root).with_context(|| format!("move {}", unfinished.display()))
}
