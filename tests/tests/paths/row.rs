//! One line of the page's data: a path on this kernel.

use std::{env, fs, io::Write as _, path::PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;

use homeport_tests::kernel;

use crate::Path;

/// What happened. Bytes are of layer 3 unless they say something else.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) path: &'static str,
    pub(crate) group: &'static str,
    pub(crate) title: &'static str,
    pub(crate) kernel: String,
    /// `counted`, `bypass` or `impossible`.
    pub(crate) state: &'static str,
    pub(crate) sent_bytes: u64,
    pub(crate) nic_bytes: u64,
    pub(crate) counted_bytes: u64,
    pub(crate) residual_bytes: i64,
    /// Who was named, and how well.
    pub(crate) owner: String,
    pub(crate) quality: String,
    pub(crate) sensor: String,
    pub(crate) initiator: String,
    /// What the kernel said when it was tried.
    pub(crate) reason: String,
}

impl Row {
    /// A row for what this kernel cannot do.
    pub(crate) fn impossible(path: &Path, reason: &str) -> Self {
        Self { state: "impossible", reason: reason.to_owned(), ..Self::of(path) }
    }

    /// A row without numbers.
    pub(crate) fn of(path: &Path) -> Self {
        Self {
            path: path.name,
            group: path.group,
            title: path.title,
            kernel: kernel::release(),
            state: "counted",
            sent_bytes: 0,
            nic_bytes: 0,
            counted_bytes: 0,
            residual_bytes: 0,
            owner: String::new(),
            quality: String::new(),
            sensor: String::new(),
            initiator: String::new(),
            reason: String::new(),
        }
    }

    /// Appends it. Of several rows for one path the last one counts.
    pub(crate) fn write(&self) -> Result<()> {
        let directory = directory()?;
        fs::create_dir_all(&directory)?;
        let file = directory.join(format!("{}.jsonl", self.kernel));
        let mut line = serde_json::to_string(self)?;
        line.push('\n');
        let mut file = fs::File::options()
            .create(true)
            .append(true)
            .open(&file)
            .with_context(|| format!("open {}", file.display()))?;
        file.write_all(line.as_bytes())?;
        Ok(())
    }
}

fn directory() -> Result<PathBuf> {
    let out = match env::var_os("HOMEPORT_VM_OUT") {
        Some(out) => PathBuf::from(out),
        // target/debug/deps/paths-...
        None => env::current_exe()?.ancestors().nth(3).context("no target directory")?.to_owned(),
    };
    Ok(out.join("visibility"))
}
