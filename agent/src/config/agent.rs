//! `[agent]`: the agent's own files.

use std::path::PathBuf;

use super::{
    keys,
    reader::{Section, parsed},
    report::Report,
    values,
};

/// Bytes of the longest path of a Unix socket (`sun_path` less the final zero).
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// The agent's own files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Control socket.
    pub socket: PathBuf,
    /// What outlives a restart.
    pub state_dir: PathBuf,
    /// What outlives the process, but not the boot.
    pub run_dir: PathBuf,
    /// Where maps and links are pinned; `None`: counting ends with the agent.
    pub pin_dir: Option<PathBuf>,
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            socket: "/run/homeport/control.sock".into(),
            state_dir: "/var/lib/homeport".into(),
            run_dir: "/run/homeport".into(),
            pin_dir: Some("/sys/fs/bpf/homeport".into()),
        }
    }
}

pub(super) fn read(report: &mut Report<'_>, root: &mut Section<'_>) -> Agent {
    let default = Agent::default();
    let Some(mut section) = root.section(report, "agent", &keys::AGENT) else { return default };
    let socket = section.placed(report, "socket", |report, item| parsed(report, item, values::path));
    let state_dir = section.optional(report, "state_dir", |report, item| parsed(report, item, values::path));
    let run_dir = section.optional(report, "run_dir", |report, item| parsed(report, item, values::path));
    let pin_dir = section.optional(report, "pin_dir", |report, item| parsed(report, item, values::pin_dir));
    section.finish(report);

    if let Some(socket) = &socket
        && socket.value.as_os_str().len() > MAX_SOCKET_PATH_BYTES
    {
        let accepted = format!("a path of at most {MAX_SOCKET_PATH_BYTES} bytes");
        report.fault(&socket.place, "is too long for a Unix socket", accepted);
    }
    Agent {
        socket: socket.map_or(default.socket, |socket| socket.value),
        state_dir: state_dir.unwrap_or(default.state_dir),
        run_dir: run_dir.unwrap_or(default.run_dir),
        pin_dir: pin_dir.unwrap_or(default.pin_dir),
    }
}
