//! Installs the other implementation that verifies our ledgers: Python packages in a directory of their own, pinned by
//! version and hash in `tests/foreign/requirements.txt`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::tool;

/// Where the tests find its Python.
pub(crate) const VARIABLE: &str = "HOMEPORT_FOREIGN_PYTHON";

/// How often installing is tried: package registries have bad moments.
const ATTEMPTS: u32 = 3;

/// Its Python. Returns at once when all is there.
pub(crate) fn ensure() -> Result<PathBuf> {
    if let Some(python) = env::var_os(VARIABLE) {
        return Ok(python.into());
    }
    let directory = tool::target_dir().join("foreign-verifier");
    let python = directory.join("bin/python3");
    let requirements = tool::workspace().join("tests/foreign/requirements.txt");
    let wanted = fs::read(&requirements).with_context(|| requirements.display().to_string())?;
    let stamp = directory.join("installed.txt");
    if python.exists() && fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    println!("setup: installing another implementation of the ledger's formats into {}", directory.display());
    make(&directory)?;
    install(&python, &requirements)?;
    fs::write(&stamp, wanted).with_context(|| stamp.display().to_string())?;
    Ok(python)
}

fn make(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| directory.display().to_string()),
    }
    tool::run(Command::new("python3").args(["-m", "venv"]).arg(directory))
        .context("Python's venv is needed (Debian package python3-venv)")
}

fn install(python: &Path, requirements: &Path) -> Result<()> {
    let mut attempt = 1;
    loop {
        let mut pip = Command::new(python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
        pip.args(["--only-binary=:all:", "--require-hashes", "--retries", "5", "--timeout", "60"]);
        // It asks for Python 3.12 and needs nothing that Debian 12's 3.11 lacks: the tests would tell.
        pip.arg("--ignore-requires-python").arg("--requirement").arg(requirements);
        match tool::run(&mut pip) {
            Ok(()) => return Ok(()),
            Err(error) if attempt == ATTEMPTS => return Err(error),
            Err(error) => eprintln!("setup: {error:#}, once more"),
        }
        attempt += 1;
    }
}
