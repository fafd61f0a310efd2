//! One boot of a kernel in QEMU: starts it, shows what the tests print, ends it when it hangs.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{emulator::Emulator, kernels::Unpacked};
use crate::{summary::Summary, tool};

/// A test prints a line when it ends. None takes this long on an emulated processor, unless it hangs.
const SILENCE_LIMIT: Duration = Duration::from_secs(15 * 60);

/// Enough for an agent, its database in memory, the tests and what they write.
const MEMORY_MIB: u32 = 3072;

/// What decides how fast and how steady an emulated kernel runs, see KERNELS.md.
///
/// Mitigations protect from neighbours that the guest does not have, and flush the emulator's caches at every system
/// call. Clearing pages, self-tests of ciphers and AppArmor cost time at boot.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 panic=-1 oops=panic quiet mitigations=off init_on_alloc=0 \
     cryptomgr.notests apparmor=0 audit=0 tsc=reliable no_timer_check nowatchdog";

const START: &str = include_str!("guest.sh");

/// A directory on this machine that the guest writes to, and what it leaves there.
pub(crate) struct Guest<'a> {
    kernel: &'a Unpacked,
    emulator: &'a Emulator,
    directory: PathBuf,
}

/// How a run ended.
#[derive(Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) summary: Summary,
    pub(crate) took: Duration,
    /// Whether all tests had their turn; otherwise the time was over.
    pub(crate) is_complete: bool,
}

impl<'a> Guest<'a> {
    /// Prepares a run in `directory`; what an earlier one left there is gone afterwards.
    pub(crate) fn new(kernel: &'a Unpacked, emulator: &'a Emulator, directory: PathBuf) -> Result<Self> {
        if directory.exists() {
            fs::remove_dir_all(&directory).with_context(|| format!("remove {}", directory.display()))?;
        }
        let out = directory.join("out");
        fs::create_dir_all(&out).with_context(|| format!("create {}", out.display()))?;
        Ok(Self { kernel, emulator, directory })
    }

    /// Runs a script that sets `failures` to how many of its commands failed, for as long as it takes or until `deadline`.
    /// What it prints is shown with `prefix` before each line.
    ///
    /// # Errors
    ///
    /// When the guest ends or falls silent before its tests have ended, with the last lines of its console.
    pub(crate) fn run(&self, job: &str, deadline: Option<Instant>, prefix: &str) -> Result<Outcome> {
        let started = Instant::now();
        fs::write(self.directory.join("guest.sh"), START)?;
        fs::write(self.directory.join("job.sh"), job)?;
        let mut qemu = self.qemu();
        tool::announce(&qemu);
        let mut machine = Machine(qemu.spawn().context("start qemu-system-x86_64")?);
        let (mut summary, is_complete) = self.follow(&mut machine, deadline, prefix)?;
        if !is_complete {
            return Ok(Outcome { summary, took: started.elapsed(), is_complete });
        }
        machine.0.wait()?;
        let status = fs::read_to_string(self.directory.join("status")).unwrap_or_default();
        let Ok(failures) = status.trim().parse::<u64>() else {
            bail!("the guest ended before its tests did; {}", self.console());
        };
        // A test binary that died has no result line, but its command failed.
        if failures > 0 && summary.failed == 0 {
            summary.failed = failures;
        }
        ensure!(summary.passed + summary.failed > 0, "no test ran: no name matches the filter");
        Ok(Outcome { summary, took: started.elapsed(), is_complete })
    }

    /// Shows what the guest prints until it ends, or time is over, and whether it ended.
    fn follow(
        &self,
        machine: &mut Machine,
        deadline: Option<Instant>,
        prefix: &str,
    ) -> Result<(Summary, bool)> {
        let (sender, lines) = channel();
        let stdout = machine.0.stdout.take().context("qemu writes to a pipe")?;
        thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned()).is_err() {
                    return;
                }
            }
        });
        let mut summary = Summary::default();
        // Of the binary that runs: its own sum comes at its end.
        let mut running = Summary::default();
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            match lines.recv_timeout(left.map_or(SILENCE_LIMIT, |left| left.min(SILENCE_LIMIT))) {
                Ok(line) => {
                    println!("{prefix}{line}");
                    running += Summary::from_test_line(&line);
                    if let Some(sum) = Summary::from_line(&line) {
                        summary += sum;
                        running = Summary::default();
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Ok((summary, true)),
                Err(RecvTimeoutError::Timeout) if deadline.is_some_and(|end| end <= Instant::now()) => {
                    summary += running;
                    return Ok((summary, false));
                }
                Err(RecvTimeoutError::Timeout) => {
                    bail!("the guest printed nothing for {SILENCE_LIMIT:?}; {}", self.console())
                }
            }
        }
    }

    fn qemu(&self) -> Command {
        let mut command = self.emulator.command();
        command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
        command.args(["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1"]);
        command.args(["-m", &MEMORY_MIB.to_string()]);
        command.arg("-kernel").arg(&self.kernel.image).arg("-initrd").arg(&self.kernel.initramfs);
        let modules = self.kernel.root.join("lib/modules");
        command.args(["-append", &format!("{KERNEL_ARGUMENTS} HOMEPORT_MODULES={}", modules.display())]);
        command.args(["-serial", &format!("file:{}", self.console_file().display()), "-serial", "stdio"]);
        command.args(["-virtfs", &shared(Path::new("/"), "host", "readonly=on,multidevs=remap")]);
        command.args(["-virtfs", &shared(&self.directory, "machine", "multidevs=remap")]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    fn console_file(&self) -> PathBuf {
        self.directory.join("console.log")
    }

    /// The end of what the kernel said.
    fn console(&self) -> String {
        const LINES: usize = 40;
        let path = self.console_file();
        let text = fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(LINES)..].join("\n");
        format!("the console, from {}:\n{tail}", path.display())
    }
}

/// The running machine. It is killed when this is dropped.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn shared(path: &Path, tag: &str, options: &str) -> String {
    // A comma in a path would end it.
    let path = path.display().to_string().replace(',', ",,");
    format!("local,path={path},mount_tag={tag},security_model=none,{options}")
}
