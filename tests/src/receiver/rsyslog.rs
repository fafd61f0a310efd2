//! rsyslog, as a process with a configuration of its own in a directory of its own.

use std::{
    fmt::Write as _,
    net::{TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::certificates::Identity;
use crate::patience::patient;

/// Where Debian has it.
const PROGRAM: &str = "/usr/sbin/rsyslogd";

/// It starts and ends within a second or two.
const HANG: Duration = Duration::from_secs(30);

/// How it listens.
#[derive(Clone, Debug)]
pub enum Input {
    /// Datagrams.
    Udp,
    /// Octet-counted frames.
    Tcp,
    /// The same on TLS, for senders whose certificate has this name.
    Tls {
        /// The authority.
        authority: PathBuf,
        /// Its own certificate.
        identity: Identity,
        /// The name that senders have to show; anybody may send if there is none.
        sender: Option<String>,
    },
}

/// A running rsyslog. It is killed when this is dropped.
#[derive(Debug)]
pub struct Rsyslog {
    directory: PathBuf,
    input: Input,
    port: u16,
    process: Child,
}

impl Rsyslog {
    /// Starts it on a free port of the loopback address, and waits until it listens.
    ///
    /// # Errors
    ///
    /// When it is not installed, or does not come up.
    pub fn start(directory: &Path, input: Input) -> Result<Self> {
        let port = match input {
            Input::Udp => UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port(),
            Input::Tcp | Input::Tls { .. } => TcpListener::bind("127.0.0.1:0")?.local_addr()?.port(),
        };
        Self::on(directory, input, port)
    }

    fn on(directory: &Path, input: Input, port: u16) -> Result<Self> {
        // AppArmor has a profile for the program's path that keeps it to the host's own configuration.
        let program = directory.join("rsyslogd");
        if !program.exists() {
            std::fs::copy(PROGRAM, &program)
                .with_context(|| format!("copy {PROGRAM}: run `cargo xtask setup`"))?;
        }
        let file = directory.join("rsyslog.conf");
        std::fs::write(&file, configuration(directory, &input, port)?)?;
        let log = std::fs::File::options().create(true).append(true).open(directory.join("rsyslog.log"))?;
        let process = Command::new(&program)
            .arg("-n")
            .args([Path::new("-f"), &file, Path::new("-i"), &directory.join("pid")])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start rsyslogd")?;
        let mut rsyslog = Self { directory: directory.to_owned(), input, port, process };
        rsyslog.wait_until_it_listens()?;
        Ok(rsyslog)
    }

    fn wait_until_it_listens(&mut self) -> Result<()> {
        let deadline = Instant::now() + patient(HANG);
        while !self.listens()? {
            if let Some(status) = self.process.try_wait()? {
                bail!("rsyslogd ended with {status}: {}", self.log());
            }
            ensure!(Instant::now() < deadline, "rsyslogd does not listen: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn listens(&self) -> Result<bool> {
        if matches!(self.input, Input::Udp) {
            let sockets = std::fs::read_to_string("/proc/net/udp")?;
            return Ok(sockets.contains(&format!("0100007F:{:04X} ", self.port)));
        }
        Ok(TcpStream::connect(("127.0.0.1", self.port)).is_ok())
    }

    /// Asks it to end, waits, and starts it again on the same port once `away` has passed.
    ///
    /// # Errors
    ///
    /// When it does not end or does not come up.
    pub fn restart(mut self, away: Duration) -> Result<Self> {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, Signal::TERM)?;
        let deadline = Instant::now() + patient(HANG);
        while self.process.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "rsyslogd does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(away);
        Self::on(&self.directory.clone(), self.input.clone(), self.port)
    }

    /// Its port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What it says about itself.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("rsyslog.log")).unwrap_or_default()
    }

    /// What it has written: every message as its parser understood it.
    ///
    /// # Errors
    ///
    /// When a line is not JSON.
    pub fn messages(&self) -> Result<Vec<Value>> {
        let text = std::fs::read_to_string(self.directory.join("messages")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }

    /// Waits until it has written messages that satisfy.
    ///
    /// # Errors
    ///
    /// When it does not, with what it has written.
    pub fn eventually(&self, satisfies: impl Fn(&[Value]) -> bool) -> Result<Vec<Value>> {
        let deadline = Instant::now() + patient(HANG);
        loop {
            let messages = self.messages()?;
            if satisfies(&messages) {
                return Ok(messages);
            }
            ensure!(Instant::now() < deadline, "rsyslog has {} messages; {}", messages.len(), self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn configuration(directory: &Path, input: &Input, port: u16) -> Result<String> {
    let directory = directory.display();
    let mut text =
        format!("global(workDirectory=\"{directory}\" maxMessageSize=\"128k\" net.enableDNS=\"off\"");
    if let Input::Tls { authority, identity, .. } = input {
        write!(
            text,
            " defaultNetstreamDriver=\"gtls\" defaultNetstreamDriverCAFile=\"{}\" \
             defaultNetstreamDriverCertFile=\"{}\" defaultNetstreamDriverKeyFile=\"{}\"",
            authority.display(),
            identity.certificate.display(),
            identity.key.display()
        )?;
    }
    text.push_str(")\nmain_queue(queue.type=\"Direct\")\nmodule(load=\"mmpstrucdata\")\n");
    match input {
        Input::Udp => writeln!(
            text,
            "module(load=\"imudp\")\ninput(type=\"imudp\" address=\"127.0.0.1\" port=\"{port}\")"
        )?,
        Input::Tcp => writeln!(
            text,
            "module(load=\"imtcp\")\ninput(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")"
        )?,
        Input::Tls { sender, .. } => {
            let senders = match sender {
                Some(name) => format!("streamDriver.authMode=\"x509/name\" permittedPeer=[\"{name}\"]"),
                None => "streamDriver.authMode=\"anon\"".to_owned(),
            };
            writeln!(
                text,
                "module(load=\"imtcp\" streamDriver.name=\"gtls\" streamDriver.mode=\"1\" {senders})\n\
                 input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")"
            )?;
        }
    }
    writeln!(
        text,
        "template(name=\"understood\" type=\"list\") {{ property(name=\"jsonmesg\") constant(value=\"\\n\") }}\n\
         action(type=\"mmpstrucdata\")\n\
         if $app-name == \"homeport\" then action(type=\"omfile\" file=\"{directory}/messages\" template=\"understood\")\n\
         else action(type=\"omfile\" file=\"{directory}/rsyslog.log\")"
    )?;
    Ok(text)
}
