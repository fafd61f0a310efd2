//! Everyday programs, as they would run on real hosts.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use homeport_tests::{
    agent::eventually,
    lab::{Family, Host, Lab},
    running::Running,
};
use tempfile::TempDir;

/// Python's own web server, on both families. Its usual class asks the name service who this host is, and there is
/// none in the lab.
const WEB_SERVER: &str = "\
import http.server, socket, socketserver, sys
class Server(socketserver.ThreadingTCPServer):
    address_family, allow_reuse_address = socket.AF_INET6, True
class Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *connection):
        super().__init__(*connection, directory=sys.argv[1])
Server(('::', 8080), Handler).serve_forever()
";

const UDP_RECEIVER: &str = "
import socket
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind(('0.0.0.0', 514))
while True:
    receiver.recv(65536)
";

/// What is stored on the storage host, and a place to receive it.
#[derive(Debug)]
pub(crate) struct Files {
    directory: TempDir,
}

impl Files {
    pub(crate) fn new() -> Result<Self> {
        let files = Self { directory: tempfile::Builder::new().prefix("storage-").tempdir()? };
        for name in ["videos", "received"] {
            fs::create_dir(files.path(name))?;
        }
        // Not compressible, as videos are.
        let video: Vec<u8> =
            (0_u32..5 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        fs::write(files.path("videos/clip.mp4"), video)?;
        let line = "user 4711 liked clip 42 ".repeat(20);
        fs::write(files.path("events.log"), format!("{line}\n").repeat(400))?;
        fs::write(files.path("webserver.py"), WEB_SERVER)?;
        let received = files.path("received");
        fs::write(
            files.path("rsyncd.conf"),
            format!(
                "use chroot = no\nreverse lookup = no\nuid = root\ngid = root\nlog file = /dev/null\n\
                 [backup]\npath = {}\nread only = no\n",
                received.display()
            ),
        )?;
        Ok(files)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// The servers of the story: HTTP on the storage host, rsync and syslog in Frankfurt.
pub(crate) fn start_servers(lab: &Lab, files: &Files) -> Result<Vec<Running>> {
    let mut web_server = lab.command(Host::Storage, "python3");
    web_server.arg(files.path("webserver.py")).arg(files.path("videos")).stderr(Stdio::null());
    let mut rsync = lab.command(Host::Foreign, "rsync");
    rsync.args(["--daemon", "--no-detach", "--port=873", "--config"]).arg(files.path("rsyncd.conf"));
    let mut syslog = lab.command(Host::Foreign, "python3");
    syslog.args(["-c", UDP_RECEIVER]);
    let servers =
        vec![Running::start(&mut web_server)?, Running::start(&mut rsync)?, Running::start(&mut syslog)?];
    wait_for_listener(lab, Host::Storage, "-tln", 8080)?;
    wait_for_listener(lab, Host::Foreign, "-tln", 873)?;
    wait_for_listener(lab, Host::Foreign, "-uln", 514)?;
    Ok(servers)
}

/// Looks instead of knocking: a connection would be one more in the agent's table.
fn wait_for_listener(lab: &Lab, host: Host, kind: &str, port: u16) -> Result<()> {
    eventually(Duration::from_secs(15), || {
        let sockets = lab.ask(host, &format!("ss {kind}"))?;
        ensure!(sockets.contains(&format!(":{port} ")), "nobody listens at port {port} of host {host}");
        Ok(())
    })
}

pub(crate) fn web_address(family: Family) -> String {
    format!("http://{}/clip.mp4", SocketAddr::from((Host::Storage.address(family), 8080)))
}

/// Runs a program on a host to its end; what it prints is of no interest unless it fails.
pub(crate) fn run(lab: &Lab, host: Host, program: &str, words: &[&str]) -> Result<()> {
    let mut command: Command = lab.command(host, program);
    let output =
        command.args(words).stdin(Stdio::null()).output().with_context(|| format!("start {program}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{program} on host {host} ended with {}: {}",
        output.status,
        errors.trim()
    );
    Ok(())
}
