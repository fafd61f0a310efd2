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
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::tool;

const START: &str = include_str!("machine.sh");

/// A drop-in for units that have to find processes by the kernel's numbers.
pub(super) const PROC: &str = "[Service]\nBindReadOnlyPaths=/run/host-proc:/proc\n";

/// Of this boot: they are no part of a package.
pub(super) const DROP_INS: &str = "/run/systemd/system/homeport.service.d";

/// Until something that takes a sweep, a write or a request has happened.
const PATIENCE: Duration = Duration::from_secs(120);

/// Until systemd answers.
const START_PATIENCE: Duration = Duration::from_secs(180);

/// Runs until this is dropped.
pub(super) struct Machine {
    unshare: Child,
    /// The first process, by its number here.
    init: u32,
    /// A network namespace beside it: everybody else in the world.
    outside: Child,
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
        let mut outside = Command::new("setpriv");
        outside.args(["--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"]).stdin(Stdio::null());
        let outside = outside.spawn().context("start unshare")?;
        let mut machine = Self { unshare, init: 0, outside, group };
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
    pub(super) fn enter(&self, script: &str) -> Command {
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

    /// A program of this machine in the network of that one, such as a browser on the server.
    pub(super) fn network(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.init)).arg("--net").stdin(Stdio::null());
        command
    }

    /// The same in the network of everybody else.
    pub(super) fn outside(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.outside.id())).arg("--net").stdin(Stdio::null());
        command
    }

    /// A cable from the machine to everybody else, who has `addresses`.
    pub(super) fn connect(&self, inside: &str, gateway: &str, addresses: &[&str]) -> Result<()> {
        let (init, outside) = (self.init.to_string(), self.outside.id().to_string());
        let mut add = Command::new("ip");
        add.args(["link", "add", "eth0", "netns", &init, "type", "veth", "peer", "name", "eth0"]);
        tool::run_quietly(add.args(["netns", &outside]))?;
        let ip = |mut enter: Command, words: &str| {
            tool::run_quietly(enter.arg("ip").args(words.split_whitespace()))
        };
        ip(self.outside(), "link set lo up")?;
        ip(self.outside(), &format!("address add {gateway}/24 dev eth0"))?;
        for address in addresses {
            ip(self.outside(), &format!("address add {address}/32 dev lo"))?;
        }
        ip(self.outside(), "link set eth0 up")?;
        ip(self.network(), &format!("address add {inside}/24 dev eth0"))?;
        ip(self.network(), "link set eth0 up")?;
        ip(self.network(), &format!("route add default via {gateway}"))
    }

    /// What a script prints.
    pub(super) fn sh(&self, script: &str) -> Result<String> {
        let output = self.enter(script).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`{script}` ended with {}: {text}{errors}", output.status);
        Ok(text)
    }

    /// The same for the reader of the trial: DEPLOY.md shows what is printed here.
    pub(super) fn show(&self, script: &str) -> Result<String> {
        let text = self.sh(&format!("({script}) 2>&1 || echo \"(exit code $?)\""))?;
        println!("        # {script}");
        for line in text.lines() {
            println!("        {line}");
        }
        Ok(text)
    }

    /// One line of it.
    pub(super) fn says(&self, script: &str) -> Result<String> {
        Ok(self.sh(script)?.trim().to_owned())
    }

    /// What systemd knows about the service.
    pub(super) fn property(&self, name: &str) -> Result<String> {
        self.says(&format!("systemctl show --property={name} --value homeport"))
    }

    /// What the service has logged.
    pub(super) fn log(&self) -> String {
        self.sh("journalctl --no-pager --lines=60 --unit=homeport").unwrap_or_default()
    }

    /// Adds text to a file.
    pub(super) fn append(&self, file: &str, text: &str) -> Result<()> {
        let mut command = self.enter(&format!("cat >> {file}"));
        let mut child = command.stdin(Stdio::piped()).spawn().context("start a shell")?;
        child.stdin.take().context("a pipe")?.write_all(text.as_bytes())?;
        ensure!(child.wait()?.success(), "{file} cannot be written");
        Ok(())
    }

    /// Puts a file of this machine into that one.
    pub(super) fn bring(&self, file: &Path, to: &str) -> Result<()> {
        let mut command = self.enter(&format!("cat > {to}"));
        let input = fs::File::open(file).with_context(|| format!("open {}", file.display()))?;
        tool::run_quietly(command.stdin(input))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for child in [&mut self.unshare, &mut self.outside] {
            // With `unshare` its child goes, which is the first process of the machine, and everything with that.
            let _ = child.kill();
            let _ = child.wait();
        }
        remove_group(&self.group);
    }
}

pub(super) fn eventually(mut attempt: impl FnMut() -> Result<()>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(300)),
            result => return result.with_context(|| format!("still so after {PATIENCE:?}")),
        }
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
