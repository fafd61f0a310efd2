//! What the RPM package does: installed, started, upgraded and erased by rpm itself, under systemd.
//!
//! On Debian, because its package source is at hand and Red Hat's is not. So `--nodeps`: Debian's packages are not in rpm's
//! database. Files, owners, modes, scripts and what rpm does with a configuration that somebody has changed are rpm's own.
//! What an agent does on a server is the business of [`super::trial`]: it is the same program with the same unit.

use std::{fs, path::Path, time::Instant};

use anyhow::{Result, ensure};

use super::{
    machine::{self, Machine},
    server::{DROP_INS, Server as _, eventually},
};

/// The day of the trial is no concern of the package.
const CONFIGURATION: &str = "
# A change of the administrator's.
[geo]
warn_after_days = 36500
stale_after_days = 36500
";

/// A step: what it shows, and how.
type Step = (&'static str, fn(&Machine) -> Result<()>);

const STEPS: &[Step] = &[
    ("rpm: installs, and starts nothing by itself", installs),
    ("rpm: the service starts and covers the host", starts),
    ("rpm: an upgrade restarts it and keeps configuration and ledger", upgrades),
    ("rpm: erasing stops it, leaves nothing in the kernel, and keeps the ledger", erases),
];

/// Runs every step with the two packages, the second one newer.
pub(super) fn run(packages: [&Path; 2], directory: &Path) -> Result<()> {
    let base = machine::base(directory, "root-rpm", &["systemd-sysv", "rpm"])?;
    let machine = Machine::start(&fs::canonicalize(base)?, &fs::canonicalize(directory)?)?;
    machine.connect("10.99.0.2", "10.99.0.1", &[])?;
    for (package, name) in packages.into_iter().zip(["old", "new"]) {
        machine.bring(package, &format!("/srv/{name}.rpm"))?;
    }
    for (name, step) in STEPS {
        let begun = Instant::now();
        if let Err(error) = step(&machine) {
            println!("failed  {name}");
            return Err(error.context(format!("{name}; the agent's log:\n{}", machine.log())));
        }
        println!("ok      {name} ({:.1} s)", begun.elapsed().as_secs_f64());
    }
    Ok(())
}

fn installs(machine: &Machine) -> Result<()> {
    machine.show("rpm --install --nodeps /srv/old.rpm")?;
    // Size, digest, mode, owner and type of every file.
    machine.sh("rpm --verify --nodeps homeport")?;
    let files = machine.sh(
        "rpm --query --queryformat '[%{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILENAMES}\n]' homeport",
    )?;
    for line in files.lines() {
        ensure!(line.contains(" root:root /"), "files belong to root: {line}");
        let mode = if line.ends_with(" /usr/bin/homeport") || line.starts_with('d') {
            "rwxr-xr-x"
        } else {
            "rw-r--r--"
        };
        ensure!(line.get(1..10) == Some(mode), "{mode} expected: {line}");
    }
    println!("        {} files and directories", files.lines().count());
    let configuration = machine.says("rpm --query --configfiles homeport")?;
    ensure!(configuration == "/etc/homeport/homeport.toml", "configuration: {configuration}");
    machine.sh("getent passwd homeport && homeport check && test -f /usr/share/man/man1/homeport.1.gz")?;
    ensure!(machine.says("systemctl is-enabled homeport || true")? == "disabled", "not enabled by itself");
    ensure!(machine.says("systemctl is-active homeport || true")? == "inactive", "not started by itself");
    if let Some(crutch) = machine.crutch() {
        machine.sh(&format!("mkdir -p {DROP_INS}"))?;
        machine.append(&format!("{DROP_INS}/crutch.conf"), crutch)?;
    }
    machine.append("/etc/homeport/homeport.toml", CONFIGURATION)
}

fn starts(machine: &Machine) -> Result<()> {
    machine.sh("systemctl daemon-reload && systemctl enable --now homeport")?;
    ensure!(machine.says("systemctl is-active homeport")? == "active", "active");
    let pid = machine.property("MainPID")?;
    ensure!(machine.says(&format!("stat --format=%U /proc/{pid}"))? == "homeport", "a user of its own");
    eventually(machine, || {
        machine.sh("homeport coverage && test -s /var/lib/homeport/ledger/checkpoint").map(drop)
    })
}

fn upgrades(machine: &Machine) -> Result<()> {
    let before = machine.property("MainPID")?;
    machine.show("rpm --upgrade --nodeps /srv/new.rpm")?;
    let version = machine.says("rpm --query homeport")?;
    ensure!(version.contains("trial"), "{version}");
    ensure!(machine.says("systemctl is-active homeport")? == "active", "active after the upgrade");
    ensure!(machine.property("MainPID")? != before, "the new program runs");
    machine.sh("grep 'A change of the administrator' /etc/homeport/homeport.toml")?;
    machine.sh("systemctl is-enabled homeport && homeport ledger verify /var/lib/homeport/ledger").map(drop)
}

fn erases(machine: &Machine) -> Result<()> {
    machine.show("rpm --erase homeport")?;
    ensure!(machine.says("systemctl is-active homeport || true")? != "active", "stopped");
    ensure!(machine.agents()?.is_empty(), "no process");
    let pins = machine.says("find /sys/fs/bpf")?;
    ensure!(!pins.contains("homeport"), "pins are left: {pins}");
    let left = machine.says("find /usr /etc -xdev -name '*homeport*' | sort | tr '\n' ' '")?;
    // rpm keeps what was changed under another name.
    ensure!(left == "/etc/homeport /etc/homeport/homeport.toml.rpmsave", "left behind: {left}");
    machine.sh("test -s /var/lib/homeport/ledger/checkpoint").map(drop)
}
