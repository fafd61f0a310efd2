//! A real Prometheus Alertmanager, as a process of its own.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::fd::AsFd as _,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{
    agent::eventually,
    lab::{Host, Lab},
    patience::patient,
};

/// As Debian calls it.
const PROGRAM: &str = "prometheus-alertmanager";

/// It starts within a second or two, and answers at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// How it is reached.
type Connect = Box<dyn Fn(SocketAddr) -> Option<TcpStream> + Send + Sync>;

/// See the module. It ends when this is dropped, and forgets everything then.
pub struct Alertmanager {
    address: SocketAddr,
    process: Child,
    connect: Connect,
}

impl Alertmanager {
    /// On this machine. What fires is sent to `receiver`.
    ///
    /// # Errors
    ///
    /// When it cannot be started, or does not answer.
    pub fn here(directory: &Path, address: SocketAddr, receiver: &str) -> Result<Self> {
        let connect = Box::new(|address| TcpStream::connect(address).ok());
        Self::run(Command::new(PROGRAM), connect, directory, address, receiver)
    }

    /// On the loopback interface of a host of the lab. It tells nobody.
    ///
    /// # Errors
    ///
    /// When it cannot be started, or does not answer.
    pub fn on(lab: &Lab, host: Host, directory: &Path, port: u16) -> Result<Self> {
        let namespace = lab.namespace(host);
        let connect = move |address| {
            let file = File::open(format!("/run/netns/{namespace}")).ok()?;
            let connect = move || {
                let kind = Some(rustix::thread::LinkNameSpaceType::Network);
                rustix::thread::move_into_link_name_space(file.as_fd(), kind).ok()?;
                TcpStream::connect(address).ok()
            };
            thread::spawn(connect).join().ok()?
        };
        let address = ([127, 0, 0, 1], port).into();
        let nobody = "http://127.0.0.1:1/nobody";
        Self::run(lab.command(host, PROGRAM), Box::new(connect), directory, address, nobody)
    }

    fn run(
        mut command: Command,
        connect: Connect,
        directory: &Path,
        address: SocketAddr,
        receiver: &str,
    ) -> Result<Self> {
        let config = directory.join("alertmanager.yml");
        let text = format!(
            "route:\n  receiver: test\n  group_by: ['...']\n  group_wait: 0s\n  group_interval: 1s\n  \
             repeat_interval: 1h\nreceivers:\n- name: test\n  webhook_configs:\n  - url: {receiver}\n    \
             send_resolved: true\n"
        );
        fs::write(&config, text)?;
        let process = command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", directory.join("alertmanager").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("prometheus-alertmanager is installed (cargo xtask setup)")?;
        let this = Self { address, process, connect };
        eventually(PATIENCE, || this.alerts().context("Alertmanager does not answer"))?;
        Ok(this)
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What fires, with labels and times; none while it does not answer.
    pub fn alerts(&self) -> Option<Vec<Value>> {
        let mut stream = (self.connect)(self.address)?;
        stream.set_read_timeout(Some(patient(PATIENCE))).ok()?;
        let request = "GET /api/v2/alerts HTTP/1.0\r\nhost: alertmanager\r\n\r\n";
        stream.write_all(request.as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        if !head.contains(" 200 ") {
            return None;
        }
        serde_json::from_str(body).ok()
    }

    /// Whether an alert fires whose label is this.
    pub fn shows(&self, label: &str, value: &str) -> bool {
        self.alerts().is_some_and(|alerts| alerts.iter().any(|alert| alert["labels"][label] == value))
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
