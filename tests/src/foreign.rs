//! Another implementation of the ledger's formats, by somebody else: `aics-tlog`, in Python.
//!
//! `cargo xtask setup` installs it, pinned by hash, and `cargo xtask test` says where. It runs as one process that
//! answers a line of JSON with a line of JSON.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

/// What to verify.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Job {
    /// Directory of the ledger.
    pub dir: PathBuf,
    /// Verifier key.
    pub key: String,
    /// Older checkpoints that it has to continue.
    pub old: Vec<PathBuf>,
    /// Entries to prove.
    pub indexes: Vec<u64>,
    /// Files that prove an entry.
    pub proofs: Vec<PathBuf>,
    /// Verifier keys of witnesses that must have signed.
    pub witnesses: Vec<String>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// Everything that was asked for holds.
    pub ok: bool,
    /// Entries.
    pub size: u64,
    /// Hash tiles that were compared.
    pub tiles: u64,
    /// Bundles whose entries were hashed.
    pub bundles: u64,
    /// Proofs of inclusion that were checked.
    pub proofs: u64,
    /// Proofs of consistency that were checked.
    pub consistent: u64,
    /// What does not hold.
    pub error: Option<String>,
}

/// The other implementation.
#[derive(Debug)]
pub struct Foreign {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Foreign {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// When it is not installed.
    pub fn start() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = env::var_os("HOMEPORT_FOREIGN_PYTHON").map_or_else(
            || {
                let target =
                    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("../target"), PathBuf::from);
                target.join("foreign-verifier/bin/python3")
            },
            PathBuf::from,
        );
        ensure!(python.exists(), "{} is missing: run `cargo xtask setup`", python.display());
        let mut process = Command::new(&python)
            .arg(root.join("foreign/audit.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| python.display().to_string())?;
        let input = process.stdin.take().context("standard input")?;
        let output = BufReader::new(process.stdout.take().context("standard output")?);
        Ok(Self { process, input, output })
    }

    /// Lets it verify a ledger.
    ///
    /// # Errors
    ///
    /// When it does not answer; what it finds wrong is in the answer.
    pub fn verify(&mut self, job: &Job) -> Result<Answer> {
        let mut line = serde_json::to_string(job)?;
        line.push('\n');
        self.input.write_all(line.as_bytes()).context("the other implementation has ended")?;
        let mut answer = String::new();
        self.output.read_line(&mut answer)?;
        serde_json::from_str(&answer).with_context(|| format!("the other implementation said {answer:?}"))
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
