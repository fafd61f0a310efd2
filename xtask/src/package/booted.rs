//! A virtual machine that boots Debian from a disk of its own: systemd is its first process, and it can be booted again.
//!
//! The kernel is one of the matrix ([`crate::vm`]), the disk is what `debootstrap` makes of this machine's own release,
//! the cable is a network card of virtio's. Without a boot loader and without Debian's own first file system: the kernel
//! is handed over by QEMU, with a dozen modules and a script that mounts the disk. Scripts go in and out over a line that
//! no network knows ([`LINE`]), so that the card has sent what the machine has sent, and nothing of ours.

use std::{
    cell::RefCell,
    fs,
    io::{BufReader, Write as _},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    machine,
    server::{Ran, Server},
    world::World,
};
use crate::{
    packages, setup, tool,
    vm::{
        self,
        emulator::Emulator,
        initramfs::{self, First},
        kernels::{Kernel, Unpacked},
    },
};

/// In the machine: takes scripts.
const LINE: &str = include_str!("booted.sh");

const FIRST: First = First {
    // The disk, and how it comes to it.
    modules: &["virtio_pci", "virtio_blk", "ext4"],
    init: include_str!("booted-init.sh"),
};

/// Beside a bare system: devices and modules as on any server, and what looks at the network.
const PACKAGES: [&str; 5] = ["systemd-sysv", "udev", "kmod", "iproute2", "curl"];

/// What is to be booted.
pub(super) struct Plan<'a> {
    /// A kernel of the matrix.
    pub(super) kernel: &'a str,
    /// Name of its base system.
    pub(super) base: &'a str,
    /// Debian packages that it has in addition.
    pub(super) packages: &'a [&'a str],
    /// Files of this machine that it has, and where.
    pub(super) files: &'a [(&'a Path, &'a str)],
    /// Its own address.
    pub(super) address: &'a str,
    /// Everybody else's address at the other end of its cable.
    pub(super) gateway: &'a str,
    /// Those behind.
    pub(super) addresses: &'a [&'a str],
}

const LINE_UNIT: &str = "[Unit]
Description=Takes scripts from whoever tries this machine out
[Service]
ExecStart=/usr/local/sbin/trial
Restart=always
[Install]
WantedBy=multi-user.target
";

/// In the world: the machine's cable ends there.
const TAP: &str = "edge0";

/// Enough for an agent, its databases and what systemd keeps in memory.
const MEMORY_MIB: u32 = 2048;

/// Sparse: what is written counts.
const DISK: &str = "4G";

/// As on a server, but for what protects it from neighbours, which costs an emulator most of its time.
const KERNEL_ARGUMENTS: &str = "root=/dev/vda console=ttyS0 panic=-1 oops=panic quiet mitigations=off \
     tsc=reliable no_timer_check nowatchdog";

/// Until a script has ended, and until a machine is there. An emulated processor is 10 to 30 times slower.
const HANG: Duration = Duration::from_secs(15 * 60);

/// See [`Server::slowness`].
const SLOWNESS: u32 = 6;

/// Runs until this is dropped.
pub(super) struct Booted {
    qemu: Child,
    world: World,
    to: RefCell<ChildStdin>,
    from: Receiver<Message>,
    console: PathBuf,
}

/// What the machine says.
enum Message {
    /// It was booted, and takes scripts.
    Ready,
    /// A script has ended.
    Ran(Ran),
}

impl Booted {
    /// Boots it; what it needs and prints is in `directory`.
    pub(super) fn start(plan: &Plan<'_>, directory: &Path) -> Result<Self> {
        setup::ensure_programs(&packages::VM)?;
        let vm = vm::directory();
        let emulator = Emulator::ensure(&vm)?;
        let kernel = Kernel::named(plan.kernel)?;
        let kernel = kernel.unpack(&kernel.download(&vm)?, &vm)?;
        let first = directory.join("initramfs");
        initramfs::make(&kernel, &vm, &FIRST, &first)?;
        let base = machine::base(directory, plan.base, &[&PACKAGES, plan.packages].concat())?;
        let disk = disk(&base, &kernel, plan, directory)?;

        let world = World::new()?;
        world.ip(&format!("tuntap add dev {TAP} mode tap"))?;
        world.settle(TAP, plan.gateway, plan.addresses)?;
        let console = directory.join("vm-console.log");
        let mut qemu = world.enter();
        let emulated = emulator.command();
        qemu.arg(emulated.get_program()).args(emulated.get_args());
        qemu.envs(emulated.get_envs().filter_map(|(name, value)| Some((name, value?))));
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35"]);
        // Without hardware support, like the kernel matrix: the same everywhere, in virtual machines too.
        qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1"]);
        qemu.args(["-m", &MEMORY_MIB.to_string()]).arg("-kernel").arg(&kernel.image);
        qemu.arg("-initrd").arg(&first).args(["-append", KERNEL_ARGUMENTS]);
        qemu.args(["-drive", &format!("file={},format=raw,if=virtio", escaped(&disk))]);
        qemu.args(["-netdev", &format!("tap,id=edge,ifname={TAP},script=no,downscript=no")]);
        // Without firmware: nobody boots from this card.
        qemu.args(["-device", "virtio-net-pci,netdev=edge,romfile="]);
        qemu.args(["-serial", &format!("file:{}", escaped(&console))]);
        qemu.args(["-chardev", "stdio,id=line,signal=off", "-device", "virtio-serial-pci"]);
        qemu.args(["-device", "virtserialport,chardev=line,name=trial"]);
        qemu.stdin(Stdio::piped()).stdout(Stdio::piped());
        tool::announce(&qemu);
        println!("        kernel {}", kernel.release);
        let mut qemu = qemu.spawn().context("start qemu-system-x86_64")?;
        let to = qemu.stdin.take().context("qemu reads from a pipe")?;
        let stdout = qemu.stdout.take().context("qemu writes to a pipe")?;
        let (sender, from) = channel();
        thread::spawn(move || {
            // Whoever waits is told by the channel's end.
            let _ = listen(&mut BufReader::new(stdout), &sender);
        });
        let booted = Self { qemu, world, to: RefCell::new(to), from, console };
        booted.is_there()?;
        Ok(booted)
    }

    /// Waits until it was booted, and until systemd has started what it starts.
    fn is_there(&self) -> Result<()> {
        while !matches!(self.hear()?, Message::Ready) {}
        let state = self.says("systemctl is-system-running --wait || true")?;
        // For the reader; a unit that has failed is the business of the steps.
        println!("        the machine is {state} after {} s", self.says("cut -d' ' -f1 /proc/uptime")?);
        ensure!(matches!(state.as_str(), "running" | "degraded"), "systemd says {state}");
        if state == "degraded" {
            self.show("systemctl --failed --no-legend --no-pager")?;
        }
        Ok(())
    }

    fn hear(&self) -> Result<Message> {
        match self.from.recv_timeout(HANG) {
            Ok(message) => Ok(message),
            Err(RecvTimeoutError::Timeout) => bail!("the machine said nothing for {HANG:?}; {}", self.end()),
            Err(RecvTimeoutError::Disconnected) => bail!("the machine has ended; {}", self.end()),
        }
    }

    /// The end of what the kernel and systemd said.
    fn end(&self) -> String {
        const LINES: usize = 40;
        let text = fs::read(&self.console).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        format!("its console:\n{}", lines[lines.len().saturating_sub(LINES)..].join("\n"))
    }
}

impl Server for Booted {
    fn run(&self, script: &str) -> Result<Ran> {
        let mut to = self.to.borrow_mut();
        write!(to, "{}\n{script}", script.len()).and_then(|()| to.flush()).context("tell the machine")?;
        match self.hear()? {
            Message::Ran(ran) => Ok(ran),
            Message::Ready => bail!("it was booted during `{script}`; {}", self.end()),
        }
    }

    fn network(&self, script: &str) -> Result<Ran> {
        self.run(script)
    }

    fn world(&self) -> &World {
        &self.world
    }

    fn installer(&self) -> &'static str {
        "apt-get install --quiet --yes"
    }

    fn crutch(&self) -> Option<&'static str> {
        None
    }

    fn slowness(&self) -> u32 {
        SLOWNESS
    }

    /// Kernels before 6.3 do not tell who really sends.
    fn excuses(&self) -> &'static [&'static str] {
        &["stamp_sender"]
    }

    fn reboot(&self, script: &str) -> Result<()> {
        let mut to = self.to.borrow_mut();
        write!(to, "{}\n{script}", script.len()).and_then(|()| to.flush()).context("tell the machine")?;
        drop(to);
        self.is_there()
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// What comes over the line, until it ends.
fn listen(from: &mut impl std::io::BufRead, to: &Sender<Message>) -> Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        if from.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let message = match words.as_slice() {
            ["ready"] => Message::Ready,
            [code, output, errors] => {
                let mut text = |length: &str| -> Result<String> {
                    let mut bytes = vec![0; length.parse()?];
                    from.read_exact(&mut bytes)?;
                    Ok(String::from_utf8_lossy(&bytes).into_owned())
                };
                let (output, errors) = (text(output)?, text(errors)?);
                Message::Ran(Ran { code: code.parse().ok(), output, errors })
            }
            // The end of an answer that a boot has cut off.
            _ => continue,
        };
        to.send(message)?;
    }
}

/// A disk with the base system, the kernel's modules, the files, and what makes it this machine.
fn disk(base: &Path, kernel: &Unpacked, plan: &Plan<'_>, directory: &Path) -> Result<PathBuf> {
    // Linked, not copied: a file that is to be another one here is removed first, and none is written to.
    let (content, disk) = (directory.join("disk.d"), directory.join("disk.ext4"));
    if content.exists() {
        fs::remove_dir_all(&content).with_context(|| format!("remove {}", content.display()))?;
    }
    let copy = |from: &Path, to: &Path| {
        tool::run_quietly(Command::new("cp").args(["--archive", "--link"]).arg(from).arg(to))
    };
    copy(base, &content)?;
    copy(&kernel.root.join("lib/modules"), &content.join("usr/lib"))?;
    for (from, to) in plan.files {
        let to = content.join(to);
        fs::create_dir_all(to.parent().context("a file is in a directory")?)?;
        fs::copy(from, &to).with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
    }
    let Plan { address, gateway, .. } = plan;
    let network = format!("[Match]\nName=en*\n[Network]\nAddress={address}/24\nGateway={gateway}\n");
    let files = [
        ("etc/hostname", "storage-1\n", 0o644),
        ("etc/hosts", "127.0.0.1 localhost storage-1\n", 0o644),
        ("etc/fstab", "/dev/vda / ext4 defaults 0 1\n", 0o644),
        ("etc/systemd/network/edge.network", &network, 0o644),
        ("etc/systemd/system/trial.service", LINE_UNIT, 0o644),
        ("usr/local/sbin/trial", LINE, 0o755),
    ];
    for (name, text, mode) in files {
        let path = content.join(name);
        if path.exists() {
            fs::remove_file(&path)?;
        }
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    let wanted = content.join("etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wanted)?;
    for unit in ["/etc/systemd/system/trial.service", "/lib/systemd/system/systemd-networkd.service"] {
        let name = Path::new(unit).file_name().context("a unit has a name")?;
        symlink(unit, wanted.join(name))?;
    }
    if disk.exists() {
        fs::remove_file(&disk)?;
    }
    let mut make = Command::new("mke2fs");
    make.args(["-q", "-t", "ext4", "-d"]).arg(&content).arg(&disk).arg(DISK);
    tool::run(&mut make)?;
    fs::remove_dir_all(&content)?;
    Ok(disk)
}

/// As an option of QEMU: a comma in a path would end it.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is heard of bytes on the line.
    fn hear(bytes: &[u8]) -> Vec<String> {
        let (to, from) = channel();
        listen(&mut &*bytes, &to).expect("bytes in memory can be read");
        drop(to);
        let say = |message| match message {
            Message::Ready => "ready".to_owned(),
            Message::Ran(Ran { code, output, errors }) => format!("{code:?} {output}|{errors}"),
        };
        from.iter().map(say).collect()
    }

    #[test]
    fn answers_may_hold_anything_and_have_no_end_of_line() {
        assert_eq!(hear(b"ready\n0 6 3\nready\nno\n"), ["ready", "Some(0) ready\n|no\n"]);
        assert_eq!(hear(b"7 0 0\n0 2 0\nokready\n"), ["Some(7) |", "Some(0) ok|", "ready"]);
    }

    #[test]
    fn what_a_boot_has_cut_off_is_passed_over() {
        assert_eq!(hear(b"0 12\nready\n"), ["ready"]);
    }
}
