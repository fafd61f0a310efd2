//! The real agent, in the lab.

use std::{
    ffi::OsString,
    fs,
    net::Shutdown,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    actor::built,
    database,
    flows::Flows,
    lab::{Host, Lab, output},
    patience::patient,
    pins,
    records::Records,
    running::Running,
    settings::Settings,
};

/// Loading the programs and the database takes a second or two on a slow machine with a debug build.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Where the agent is: named by `HOMEPORT_BIN`, or in the target directory.
///
/// # Errors
///
/// When it has not been built.
pub fn binary() -> Result<PathBuf> {
    built("homeport", "HOMEPORT_BIN", "cargo build --package homeport")
}

/// Where the agent with another layout of its maps is: named by `HOMEPORT_WIDE_BIN`, or in the target directory.
///
/// # Errors
///
/// When it has not been built.
pub fn wide_binary() -> Result<PathBuf> {
    let how = "cargo build --package homeport --features wide-slots, then rename the program";
    built("homeport-wide", "HOMEPORT_WIDE_BIN", how)
}

/// A running agent with its files. It is killed when this is dropped, and shows its log when a test fails.
#[derive(Debug)]
pub struct Agent {
    process: Running,
    notify: UnixDatagram,
    /// Messages of the service protocol, in order.
    notified: Receiver<String>,
    directory: TempDir,
    settings: Settings,
}

impl Agent {
    /// Starts it on the storage host and waits until it says that it watches.
    ///
    /// # Errors
    ///
    /// When it ends or hangs before that, with its log.
    pub fn start(lab: &Lab, settings: &Settings) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let toml = settings.toml(directory.path());
        Self::start_with(lab, settings, directory, &toml)
    }

    /// The same with a file of configuration that is not just its settings, in a directory that exists.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn start_with(lab: &Lab, settings: &Settings, directory: TempDir, toml: &str) -> Result<Self> {
        let mut agent = Self::launch(lab, settings, directory, toml)?;
        agent.wait_until_ready()?;
        Ok(agent)
    }

    fn launch(lab: &Lab, settings: &Settings, directory: TempDir, toml: &str) -> Result<Self> {
        fs::write(directory.path().join("homeport.toml"), toml)?;
        fs::write(directory.path().join(database::FILE), database::small()?)?;
        let notify = UnixDatagram::bind(directory.path().join("notify.sock"))?;
        let notified = read_messages(notify.try_clone()?, settings.deaf_manager);
        let process = run(lab, settings, directory.path(), &binary()?)?;
        Ok(Self { process, notify, notified, directory, settings: settings.clone() })
    }

    /// Starts it again after it has ended, with its files as they are.
    ///
    /// # Errors
    ///
    /// As for [`Self::start`].
    pub fn start_again(&mut self, lab: &Lab) -> Result<()> {
        self.start_build_again(lab, &binary()?)
    }

    /// The same with the program of another build.
    ///
    /// # Errors
    ///
    /// As for [`Self::start`].
    pub fn start_build_again(&mut self, lab: &Lab, binary: &Path) -> Result<()> {
        while self.notified.try_recv().is_ok() {}
        self.launch_again(lab, binary)?;
        self.wait_until_ready()
    }

    /// The same without waiting until it watches.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn launch_again(&mut self, lab: &Lab, binary: &Path) -> Result<()> {
        self.process = run(lab, &self.settings, self.directory.path(), binary)?;
        Ok(())
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        match self.wait_until("READY=1") {
            Ok(()) => Ok(()),
            Err(error) => bail!("{error:#}\n{}", self.log()),
        }
    }

    /// Kills it (`SIGKILL`): it can do nothing more.
    ///
    /// # Errors
    ///
    /// When it cannot be waited for.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Where its maps and links are pinned.
    pub fn pin_dir(&self) -> PathBuf {
        pins::directory(self.directory.path())
    }

    /// What it keeps in memory for the next one.
    pub fn run_dir(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    /// Writes another configuration, for the next start.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn configure(&self, toml: &str) -> Result<()> {
        Ok(fs::write(self.config_path(), toml)?)
    }

    /// Waits for a message of the service protocol, such as `READY=1`.
    ///
    /// # Errors
    ///
    /// When the agent ends, or says nothing of the kind.
    pub fn wait_until(&mut self, message: &str) -> Result<()> {
        let deadline = Instant::now() + patient(START_TIMEOUT);
        while Instant::now() < deadline {
            if let Ok(text) = self.notified.recv_timeout(Duration::from_millis(100))
                && text.lines().any(|line| line == message)
            {
                return Ok(());
            }
            if let Some(status) = self.process.ended()? {
                bail!("the agent ended with {status} before it said {message}");
            }
        }
        bail!("the agent did not say {message} within {:?}", patient(START_TIMEOUT))
    }

    /// The current table.
    ///
    /// # Errors
    ///
    /// When the agent does not answer.
    pub fn flows(&self) -> Result<Flows> {
        let mut command = Command::new(binary()?);
        command.args(["flows", "--json", "--socket"]).arg(self.directory.path().join("control.sock"));
        Flows::parse(&output(&mut command)?)
    }

    /// Everything but the rows of the table: cheap, however many there are.
    ///
    /// # Errors
    ///
    /// When the agent does not answer.
    pub fn summary(&self) -> Result<Flows> {
        let mut command = Command::new(binary()?);
        command.args(["flows", "--json", "--limit", "0", "--socket"]);
        command.arg(self.directory.path().join("control.sock"));
        Flows::parse(&output(&mut command)?)
    }

    /// What people see of the current table.
    ///
    /// # Errors
    ///
    /// When the agent does not answer.
    pub fn flows_for_people(&self) -> Result<String> {
        let mut command = Command::new(binary()?);
        command.args(["flows", "--socket"]).arg(self.directory.path().join("control.sock"));
        output(&mut command)
    }

    /// What it has written so far.
    ///
    /// # Errors
    ///
    /// When a line is not JSON.
    pub fn records(&self) -> Result<Records> {
        Records::read(&self.records_path())
    }

    /// Where records go.
    pub fn records_path(&self) -> PathBuf {
        self.directory.path().join(&self.settings.records)
    }

    /// Its configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.directory.path().join("homeport.toml")
    }

    /// The directory of all its files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What it has printed to its standard output since the last call.
    pub fn printed(&self) -> impl Iterator<Item = String> {
        self.process.lines()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Writes another configuration and asks the agent to read it.
    ///
    /// # Errors
    ///
    /// When the file cannot be written, or the agent has ended.
    pub fn reload(&self, toml: &str) -> Result<()> {
        fs::write(self.config_path(), toml)?;
        self.process.signal(Signal::HUP)
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Waits until its log has a line with all these words.
    ///
    /// # Errors
    ///
    /// When none appears.
    pub fn wait_for_log(&self, words: &[&str]) -> Result<()> {
        eventually(Duration::from_secs(10), || {
            let log = self.log();
            let found = log.lines().any(|line| words.iter().all(|word| line.contains(word)));
            ensure!(found, "no line with {words:?} in the log");
            Ok(())
        })
    }

    /// Asks it to end and returns how it did. Its files stay until this is dropped.
    ///
    /// # Errors
    ///
    /// When it does not end.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.process.signal(Signal::TERM)?;
        self.process.wait()
    }

    /// Whether it still runs.
    ///
    /// # Errors
    ///
    /// When it has ended, with how.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.process.ended()? {
            Some(status) => bail!("the agent ended with {status}"),
            None => Ok(()),
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.notify.shutdown(Shutdown::Both);
        // Its programs stay until the pins are gone, and it must not be there to make new ones.
        let _ = self.process.kill();
        let _ = pins::remove(self.directory.path());
        if thread::panicking() {
            let config = fs::read_to_string(self.config_path()).unwrap_or_default();
            eprintln!("--- configuration\n{config}--- log of the agent\n{}---", self.log());
        }
    }
}

/// Starts the agent of a directory; its log is appended to.
fn run(lab: &Lab, settings: &Settings, directory: &Path, binary: &Path) -> Result<Running> {
    let log = fs::OpenOptions::new().create(true).append(true).open(directory.join("log"))?;
    let mut words = settings.wrapper.iter().map(OsString::from).chain([binary.into()]);
    let mut command = lab.command(Host::Storage, words.next().context("a program")?);
    command
        .args(words)
        .arg("run")
        .args(settings.arguments)
        .arg("--config")
        .arg(directory.join("homeport.toml"))
        .env("NOTIFY_SOCKET", directory.join("notify.sock"))
        .env_remove("JOURNAL_STREAM")
        .stderr(Stdio::from(log));
    Running::start(&mut command)
}

/// Reads what the agent tells its service manager until the socket is shut down, or, if the manager is `deaf`, until
/// the agent is ready.
fn read_messages(notify: UnixDatagram, deaf: bool) -> Receiver<String> {
    let (sender, messages) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = notify.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let is_ready = text.lines().any(|line| line == "READY=1");
            if sender.send(text).is_err() || (deaf && is_ready) {
                return;
            }
        }
    });
    messages
}

/// Repeats until it succeeds. After the time given (see [`patience`](crate::patience)), the latest failure counts.
///
/// # Errors
///
/// The latest failure.
pub fn eventually<T>(within: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let within = patient(within);
    let deadline = Instant::now() + within;
    loop {
        match attempt() {
            Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(50)),
            result => return result.with_context(|| format!("still so after {within:?}")),
        }
    }
}
