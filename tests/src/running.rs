//! Child processes that do not outlive the test, and the lines of JSON they print.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::patience::patient;

/// Nothing in the lab takes longer than this unless it hangs.
const HANG: Duration = Duration::from_secs(20);

/// A running program. It is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    name: String,
}

impl Running {
    /// Starts it. Errors go to the test's output.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        let name = format!("{command:?}").replace('"', "");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {name}"))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("standard output is piped")?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, stdin, lines, name })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line it prints, which must be JSON.
    ///
    /// # Errors
    ///
    /// When it ends or hangs without one.
    pub fn line(&mut self) -> Result<Value> {
        self.line_within(patient(HANG))
    }

    /// The same for work that takes its time.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn line_within(&mut self, patience: Duration) -> Result<Value> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => {
                serde_json::from_str(&line).with_context(|| format!("{} printed {line:?}", self.name))
            }
            Err(RecvTimeoutError::Timeout) => bail!("{} printed nothing for {patience:?}", self.name),
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.wait()?;
                bail!("{} ended with {status} and printed nothing more", self.name)
            }
        }
    }

    /// The lines it has printed since the last call, whatever they are.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.lines.try_iter()
    }

    /// Writes a line to its standard input.
    ///
    /// # Errors
    ///
    /// When it reads no more.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().with_context(|| format!("{} reads no more", self.name))?;
        writeln!(stdin, "{line}").with_context(|| format!("tell {}", self.name))
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// When it hangs.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.stdin = None;
        let deadline = Instant::now() + patient(HANG);
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} still runs after {:?}", self.name, patient(HANG));
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for its end, which must be a good one.
    ///
    /// # Errors
    ///
    /// When it hangs or fails.
    pub fn succeed(&mut self) -> Result<()> {
        let status = self.wait()?;
        if !status.success() {
            bail!("{} ended with {status}", self.name);
        }
        Ok(())
    }

    /// Kills it and waits for its end.
    ///
    /// # Errors
    ///
    /// When it cannot be waited for.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).with_context(|| format!("signal {}", self.name))
    }

    /// The exit status, if it has ended.
    ///
    /// # Errors
    ///
    /// When the kernel does not know the child.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
