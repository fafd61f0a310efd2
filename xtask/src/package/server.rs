//! A server that packages are tried on, whatever it is made of.

use std::{
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::world::World;

/// Of this boot: they are no part of a package.
pub(super) const DROP_INS: &str = "/run/systemd/system/homeport.service.d";

/// Until something that takes a sweep, a write or a request has happened.
const PATIENCE: Duration = Duration::from_secs(120);

/// How a script ended.
pub(super) struct Ran {
    pub(super) code: Option<i32>,
    pub(super) output: String,
    pub(super) errors: String,
}

/// A running server, where a script is run as root, outside of the control groups of services: as administrators do.
pub(super) trait Server {
    /// Runs a script that stops at its first failure.
    fn run(&self, script: &str) -> Result<Ran>;

    /// The same on this server's network, with programs that a bare system lacks: `ip` and `curl`.
    fn network(&self, script: &str) -> Result<Ran>;

    /// Everybody else, at the other end of the server's cable.
    fn world(&self) -> &World;

    /// How a package is installed by whoever sits here.
    fn installer(&self) -> &'static str;

    /// A drop-in that the service needs here, and on no real server.
    fn crutch(&self) -> Option<&'static str>;

    /// How many times longer than on a real server things may take.
    fn slowness(&self) -> u32;

    /// Parts that coverage may be reduced by here, and what for is known.
    fn excuses(&self) -> &'static [&'static str];

    /// Starts it anew in the way that `script` does, and waits until it is there again.
    fn reboot(&self, script: &str) -> Result<()>;

    /// What a script prints.
    fn sh(&self, script: &str) -> Result<String> {
        let Ran { code, output, errors } = self.run(script)?;
        ensure!(code == Some(0), "`{script}` ended with {code:?}: {output}{errors}");
        Ok(output)
    }

    /// The same for the reader of the trial: DEPLOY.md shows what is printed here.
    fn show(&self, script: &str) -> Result<String> {
        let text = self.sh(&format!("({script}) 2>&1 || echo \"(exit code $?)\""))?;
        println!("        # {script}");
        for line in text.lines() {
            println!("        {line}");
        }
        Ok(text)
    }

    /// One line of it.
    fn says(&self, script: &str) -> Result<String> {
        Ok(self.sh(script)?.trim().to_owned())
    }

    /// What systemd knows about the service.
    fn property(&self, name: &str) -> Result<String> {
        self.says(&format!("systemctl show --property={name} --value homeport"))
    }

    /// What the service has logged.
    fn log(&self) -> String {
        self.sh("journalctl --no-pager --lines=60 --unit=homeport").unwrap_or_default()
    }

    /// Adds text to a file.
    fn append(&self, file: &str, text: &str) -> Result<()> {
        // A word of its own ends it, so that nothing in the text means anything to the shell.
        self.sh(&format!("cat >> {file} <<'END-OF-TEXT'\n{text}\nEND-OF-TEXT\n")).map(drop)
    }

    /// Numbers of the agents that run. A bare system has no `pgrep`.
    fn agents(&self) -> Result<String> {
        self.says("grep -lsx homeport /proc/[0-9]*/comm || true")
    }
}

/// Tries until it succeeds, or the patience that one has with that server ends.
pub(super) fn eventually(server: &dyn Server, mut attempt: impl FnMut() -> Result<()>) -> Result<()> {
    let patience = PATIENCE * server.slowness();
    let deadline = Instant::now() + patience;
    loop {
        match attempt() {
            Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(300)),
            result => return result.with_context(|| format!("still so after {patience:?}")),
        }
    }
}

/// What a command on this machine has printed, as [`Server::run`] returns it.
pub(super) fn ran(command: &mut Command) -> Result<Ran> {
    let output =
        command.output().with_context(|| format!("start {}", Path::new(command.get_program()).display()))?;
    Ok(Ran {
        code: output.status.code(),
        output: String::from_utf8_lossy(&output.stdout).into_owned(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
