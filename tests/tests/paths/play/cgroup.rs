//! Processes whose cgroup changes, or goes, while they send.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use homeport_tests::{
    actor::{self, Sent},
    lab::{Host, Nic},
    running::Running,
};

use super::{sink_at, tcp};
use crate::{Part, Played, stage::Stage};

const BYTES: u64 = 300_000;

/// Cgroups of a test. They go with it.
struct Cgroups(PathBuf);

impl Cgroups {
    fn new() -> Result<Self> {
        let path = tcp::cgroup_root()?.join(format!("homeport-moves-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self(path))
    }

    fn add(&self, name: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn remove(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(path);
}

fn enter(cgroup: &Path, pid: u32) -> Result<()> {
    fs::write(cgroup.join("cgroup.procs"), pid.to_string())
        .with_context(|| format!("enter {}", cgroup.display()))
}

/// A process moves between nested cgroups, and those that it has left are removed.
pub(crate) fn moved() -> Result<Played> {
    let stage = Stage::shared()?;
    let cgroups = Cgroups::new()?;
    let (mut parts, mut keep) = (Vec::new(), Vec::new());
    for family in homeport_tests::lab::Family::BOTH {
        let at = sink_at(family);
        keep.push(stage.lab.listener(Host::Foreign, "tcp-sink", at, "")?);
        let mut command = stage.lab.command(Host::Storage, actor::binary()?);
        command.args(format!("tcp-push --to {at} --bytes {BYTES} --on-command").split_whitespace());
        let mut push = Running::start(&mut command)?;
        push.line().context("connected")?;
        let mut sent = Sent { pid: 0, bytes: 0 };
        for name in ["one/below/deep", "two", "one/other"] {
            let cgroup = cgroups.add(name)?;
            enter(&cgroup, push.pid())?;
            push.tell("send")?;
            sent = Sent::from_line(&push.line()?)?;
        }
        ensure!(sent.bytes == 3 * BYTES, "{sent:?}");
        enter(&tcp::cgroup_root()?, push.pid())?;
        remove(&cgroups.0);
        fs::create_dir(&cgroups.0)?;
        push.tell("send")?;
        sent = Sent::from_line(&push.line()?)?;
        push.tell("end")?;
        push.succeed()?;
        parts.push(Part::new(at.ip(), "tcp", sent));
    }
    Ok(Played { stage, parts, bypass: Nic::default(), _keep: keep })
}
