//! `homeport cleanup`

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

use super::ConfigArgs;
use crate::{
    control,
    exit::{Exit, Failure},
    probe::{self, PinError},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    let (config, _) = args.config.load()?;
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::new(Exit::NotPermitted, anyhow::anyhow!("cleaning up needs root")));
    }
    let mut found = false;
    if let Some(pin_dir) = &config.agent.pin_dir {
        let removed = probe::cleanup(pin_dir).map_err(|error| {
            let exit = match error {
                PinError::InUse { .. } => Exit::Failure,
                PinError::Unusable { .. } => Exit::Unusable,
            };
            Failure::new(exit, error)
        })?;
        found |= removed != probe::Removed::default();
        if removed.sets > 0 || !removed.links.is_empty() {
            say(&format!(
                "removed {}: {} sets of maps, {} programs detached ({})",
                pin_dir.display(),
                removed.sets,
                removed.links.len(),
                removed.links.join(", ")
            ));
        }
        for (program, interface) in &removed.filters {
            say(&format!("removed the tc filter {program} from {interface}"));
        }
        for interface in &removed.qdiscs {
            say(&format!("removed the clsact qdisc from interface {interface}"));
        }
    }
    for name in ["run.state", "run.names"] {
        found |= remove(&config.agent.run_dir.join(name))?;
    }
    found |= control::remove_socket(&config.agent.socket)
        .map(|removed| told(&config.agent.socket, removed))
        .map_err(|error| not_removed(&config.agent.socket, &error))?;
    // Only if it is empty: others may keep things there.
    let _ = fs::remove_dir(&config.agent.run_dir);
    if !found {
        say("nothing to remove: no agent has left anything in the kernel");
    }
    say(&format!("records and the state in {} were left as they are", config.agent.state_dir.display()));
    Ok(Exit::Success)
}

/// Cleaning goes on when nobody can be told of it.
fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// Removes a file and says so; false when there is none.
fn remove(path: &Path) -> Result<bool, Failure> {
    match fs::remove_file(path) {
        Ok(()) => Ok(told(path, true)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(not_removed(path, &error)),
    }
}

fn told(path: &Path, removed: bool) -> bool {
    if removed {
        say(&format!("removed {}", path.display()));
    }
    removed
}

fn not_removed(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Unusable, anyhow::anyhow!("removing {}: {error}", path.display()))
}
