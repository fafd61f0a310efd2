//! Where agents under test pin their maps: each in a directory of its own, removed with the agent.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Once,
};

const BPFFS: &str = "/sys/fs/bpf";
/// Directories are called `homeport-test-<process id>-<name of the agent's directory>`.
const PREFIX: &str = "homeport-test-";

/// Where the agent that keeps its files in `directory` pins its maps.
pub fn directory(directory: &Path) -> PathBuf {
    static LEFTOVERS: Once = Once::new();
    LEFTOVERS.call_once(remove_leftovers);
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let name = name.trim_start_matches('.');
    Path::new(BPFFS).join(format!("{PREFIX}{}-{name}", std::process::id()))
}

/// Removes what the agent of `directory` pinned: counting ends.
///
/// # Errors
///
/// When something cannot be removed.
pub fn remove(directory: &Path) -> io::Result<()> {
    remove_tree(&self::directory(directory))
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Directories of test processes that were killed.
fn remove_leftovers() {
    let Ok(entries) = fs::read_dir(BPFFS) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid =
            name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = remove_tree(&entry.path());
        }
    }
}
