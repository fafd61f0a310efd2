//! A bare Debian with systemd as its first process, in namespaces of this kernel: what a package meets on a server.
//!
//! Not a virtual machine, so it starts in a second and the kernel is this one. Not a container engine either, because
//! none of them leaves a guest the rights that eBPF needs and a bpffs of its own. The base system is what `debootstrap`
//! makes of this machine's own release and package source, once; every machine writes to a layer in memory.
//!
//! One thing is not as on a server: processes have other numbers here than in the kernel. [`PROC`] gives the service,
//! and nobody else, the files that go with the kernel's numbers.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    server::{Ran, Server, ran},
    world::World,
};
use crate::tool;

const START: &str = include_str!("machine.sh");

/// A drop-in for units that have to find processes by the kernel's numbers.
const PROC: &str = "[Service]\nBindReadOnlyPaths=/run/host-proc:/proc\n";

/// Until systemd answers.
const START_PATIENCE: Duration = Duration::from_secs(180);

/// Runs until this is dropped.
pub(super) struct Machine {
    unshare: Child,
    /// The first process, by its number here.
    init: u32,
    world: World,
    group: PathBuf,
}

/// The base system, made when there is none: a bare one, and `packages` in it.
pub(super) fn base(directory: &Path, name: &str, packages: &[&str]) -> Result<PathBuf> {
    let (root, complete) = (directory.join(name), directory.join(format!("{name}.complete")));
    if complete.exists() {
        return Ok(root);
    }
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("remove {}", root.display()))?;
    }
    fs::create_dir_all(directory)?;
    let suite = release()?;
    let mut targets = Command::new("apt-get");
    targets.args(["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]);
    let sources = tool::output(targets.arg(format!("Codename: {suite}")))?;
    let source = sources.lines().next().with_context(|| format!("apt has no source for {suite}"))?;
    let directory = fs::canonicalize(directory)?;
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.args(["--variant=minbase", &format!("--include={}", packages.join(","))]);
    debootstrap.arg(format!("--cache-dir={}", directory.display()));
    tool::run(debootstrap.arg(&suite).arg(directory.join(name)).arg(source))?;
    fs::write(complete, suite)?;
    Ok(root)
}

/// Name of this machine's release: what is built here runs there.
fn release() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("read /etc/os-release")?;
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(name.context("/etc/os-release has no VERSION_CODENAME")?.trim_matches('"').to_owned())
}

impl Machine {
    /// Starts one with the base system `base`; what it prints goes to `directory`.
    pub(super) fn start(base: &Path, directory: &Path) -> Result<Self> {
        let work = directory.join("layer");
        fs::create_dir_all(&work)?;
        let script = directory.join("machine.sh");
        fs::write(&script, START)?;
        let console = fs::File::create(directory.join("console.log"))?;
        let group = cgroup2()?.join(format!("homeport-package-{}", std::process::id()));
        fs::create_dir(&group).with_context(|| format!("create {}", group.display()))?;
        // Into the group first: its namespace begins where the process is.
        let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", group.display());
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "sh", "-c", &enter, "sh", "unshare"]);
        command.args(["--mount", "--pid", "--cgroup", "--net", "--uts", "--ipc", "--fork", "--kill-child"]);
        command.arg("sh").arg(&script).arg(base).arg(&work);
        command.stdin(Stdio::null()).stdout(console.try_clone()?).stderr(console);
        tool::announce(&command);
        let unshare = command.spawn().context("start unshare")?;
        let mut machine = Self { unshare, init: 0, world: World::new()?, group };
        machine.wait().with_context(|| {
            let text = fs::read_to_string(directory.join("console.log")).unwrap_or_default();
            format!("the machine does not start; its console:\n{text}")
        })?;
        Ok(machine)
    }

    fn wait(&mut self) -> Result<()> {
        let children = format!("/proc/{0}/task/{0}/children", self.unshare.id());
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            let init = fs::read_to_string(&children).unwrap_or_default();
            self.init = init.trim().parse().unwrap_or(self.init);
            if self.init != 0 {
                let state = self.enter("systemctl is-system-running").output()?;
                let state = String::from_utf8_lossy(&state.stdout).trim().to_owned();
                // Units that fail in every container, such as those for consoles, are no concern of ours.
                if matches!(state.as_str(), "running" | "degraded") {
                    return Ok(());
                }
            }
            if let Some(status) = self.unshare.try_wait()? {
                bail!("it ended with {status}");
            }
            ensure!(Instant::now() < deadline, "systemd did not answer within {START_PATIENCE:?}");
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Shell in the machine, as root, outside of its control groups: for what administrators do.
    fn enter(&self, script: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.init));
        command.args(["--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--root", "--wd"]);
        command.args([
            "env",
            "-i",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL=C.UTF-8",
            "DEBIAN_FRONTEND=noninteractive",
        ]);
        command.args(["sh", "-ec", &format!("cd /; {script}")]).stdin(Stdio::null());
        command
    }

    /// A cable from the machine to everybody else, who has `addresses`.
    pub(super) fn connect(&self, inside: &str, gateway: &str, addresses: &[&str]) -> Result<()> {
        let (init, world) = (self.init.to_string(), self.world.id().to_string());
        let mut add = Command::new("ip");
        add.args(["link", "add", "eth0", "netns", &init, "type", "veth", "peer", "name", "eth0"]);
        tool::run_quietly(add.args(["netns", &world]))?;
        self.world.settle("eth0", gateway, addresses)?;
        let script = format!(
            "ip address add {inside}/24 dev eth0; ip link set eth0 up; ip route add default via {gateway}"
        );
        let Ran { code, errors, .. } = self.network(&script)?;
        ensure!(code == Some(0), "the machine has no network: {errors}");
        Ok(())
    }

    /// Puts a file of this machine into that one.
    pub(super) fn bring(&self, file: &Path, to: &str) -> Result<()> {
        let mut command = self.enter(&format!("cat > {to}"));
        let input = fs::File::open(file).with_context(|| format!("open {}", file.display()))?;
        tool::run_quietly(command.stdin(input))
    }
}

impl Server for Machine {
    fn run(&self, script: &str) -> Result<Ran> {
        ran(&mut self.enter(script))
    }

    /// The programs are those of this machine.
    fn network(&self, script: &str) -> Result<Ran> {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.init)).arg("--net").stdin(Stdio::null());
        ran(command.args(["sh", "-ec", script]))
    }

    fn world(&self) -> &World {
        &self.world
    }

    fn installer(&self) -> &'static str {
        "dpkg --install"
    }

    fn crutch(&self) -> Option<&'static str> {
        Some(PROC)
    }

    fn reboot(&self, _: &str) -> Result<()> {
        bail!("it runs on this kernel, which nobody wants to boot")
    }

    fn slowness(&self) -> u32 {
        1
    }

    fn excuses(&self) -> &'static [&'static str] {
        &[]
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // With `unshare` its child goes, which is the first process of the machine, and everything with that.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        remove_group(&self.group);
    }
}

/// Groups go when their processes are gone, which takes a moment.
fn remove_group(group: &Path) {
    for _ in 0..50 {
        let mut inside = vec![group.to_owned()];
        let mut idx = 0;
        while let Some(directory) = inside.get(idx) {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            let more: Vec<_> =
                entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.path()).collect();
            inside.extend(more);
            idx += 1;
        }
        let gone = inside.iter().rev().all(|directory| fs::remove_dir(directory).is_ok());
        if gone {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// Where the unified hierarchy is mounted.
fn cgroup2() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("read /proc/self/mounts")?;
    let place = mounts.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let place = words.nth(1)?;
        (words.next() == Some("cgroup2")).then(|| PathBuf::from(place))
    });
    place.context("no cgroup2 is mounted here")
}
