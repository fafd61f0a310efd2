//! Everybody else: a network namespace at the other end of a server's cable, with addresses of the world in it.
//!
//! It has no way out: whatever is sent there stays on this machine.

use std::{
    fs,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::tool;

/// Runs until this is dropped.
pub(super) struct World(Child);

impl World {
    pub(super) fn new() -> Result<Self> {
        let mut holder = Command::new("setpriv");
        holder.args(["--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"]).stdin(Stdio::null());
        let world = Self(holder.spawn().context("start unshare")?);
        // Whoever enters too early enters this machine's own.
        let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/net"));
        let own = namespace("self").context("look at this process's namespace")?;
        for _ in 0..500 {
            if namespace(&world.id().to_string()).is_ok_and(|namespace| namespace != own) {
                return Ok(world);
            }
            thread::sleep(Duration::from_millis(20));
        }
        bail!("unshare has made no network namespace")
    }

    /// The process whose namespace it is.
    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    /// A program of this machine there.
    pub(super) fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.id())).arg("--net").stdin(Stdio::null());
        command
    }

    /// One of the programs that configure it.
    pub(super) fn ip(&self, words: &str) -> Result<()> {
        tool::run_quietly(self.enter().arg("ip").args(words.split_whitespace()))
    }

    /// Gives it its addresses: those of a router at `device`, and the others behind it.
    pub(super) fn settle(&self, device: &str, gateway: &str, addresses: &[&str]) -> Result<()> {
        self.ip("link set lo up")?;
        self.ip(&format!("address add {gateway}/24 dev {device}"))?;
        for address in addresses {
            self.ip(&format!("address add {address}/32 dev lo"))?;
        }
        self.ip(&format!("link set {device} up"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
