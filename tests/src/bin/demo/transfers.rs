//! What happens in the demo, and what the agent must make of it.

use std::net::IpAddr;

use anyhow::Result;
use homeport_tests::{
    lab::{Family, Host, Lab},
    records::{Episode, Records},
};

use crate::programs::{self, Files};

/// What the agent must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Nothing.
    Nothing,
    /// An alert that names this program and at least so many bytes.
    Violation {
        /// How the name of its executable begins; Python's ends with its version.
        program: &'static str,
        /// What was sent, without headers.
        bytes: u64,
    },
}

pub(crate) struct Transfer {
    pub(crate) title: &'static str,
    /// Where the program runs.
    pub(crate) on: Host,
    /// Its command line, as one would type it.
    pub(crate) shown: fn(&Files) -> String,
    pub(crate) run: fn(&Lab, &Files) -> Result<()>,
    /// The country and address of whoever receives.
    pub(crate) country: &'static str,
    pub(crate) recipient: IpAddr,
    pub(crate) expected: Expected,
}

/// An address in China of its own, so that what the scanner gets cannot be mistaken for the pull from there.
const SCANNER: &str = "203.0.113.140";

const SCAN: &str = "
import socket, struct
for port in [*range(1, 200), 8080]:
    probe = socket.socket()
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    probe.bind(('203.0.113.140', 0))
    probe.connect_ex(('192.0.2.10', port))
    probe.close()
";

const CLIP_BYTES: u64 = 5 << 20;

pub(crate) const TRANSFERS: [Transfer; 6] = [
    Transfer {
        title: "A client in the United States downloads from the web server",
        on: Host::Approved,
        shown: |_| format!("curl -O {}", programs::web_address(Family::V4)),
        run: |lab, _| download(lab, Host::Approved, Family::V4),
        country: "US",
        recipient: Host::Approved.address(Family::V4),
        expected: Expected::Nothing,
    },
    Transfer {
        title: "A scanner in China knocks at 200 ports",
        on: Host::Denied,
        shown: |_| format!("scan 192.0.2.10 --from {SCANNER}"),
        run: |lab, _| {
            lab.shell(Host::Denied, &format!("ip address add {SCANNER}/25 dev eth0"))?;
            programs::run(lab, Host::Denied, "python3", &["-c", SCAN])
        },
        country: "CN",
        recipient: IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 140)),
        expected: Expected::Nothing,
    },
    Transfer {
        title: "A client in China downloads from the web server",
        on: Host::Denied,
        shown: |_| format!("curl -O {}", programs::web_address(Family::V4)),
        run: |lab, _| download(lab, Host::Denied, Family::V4),
        country: "CN",
        recipient: Host::Denied.address(Family::V4),
        expected: Expected::Violation { program: "python3", bytes: CLIP_BYTES },
    },
    Transfer {
        title: "A client in Germany downloads over IPv6",
        on: Host::Foreign,
        shown: |_| format!("curl -O '{}'", programs::web_address(Family::V6)),
        run: |lab, _| download(lab, Host::Foreign, Family::V6),
        country: "DE",
        recipient: Host::Foreign.address(Family::V6),
        expected: Expected::Violation { program: "python3", bytes: CLIP_BYTES },
    },
    Transfer {
        title: "A backup is pushed to Germany",
        on: Host::Storage,
        shown: |_| "rsync clip.mp4 rsync://203.0.113.10/backup/".to_owned(),
        run: |lab, files| {
            let clip = files.path("videos/clip.mp4").display().to_string();
            programs::run(lab, Host::Storage, "rsync", &[&clip, "rsync://203.0.113.10/backup/"])
        },
        country: "DE",
        recipient: Host::Foreign.address(Family::V4),
        expected: Expected::Violation { program: "rsync", bytes: CLIP_BYTES },
    },
    Transfer {
        title: "A log is sent to Germany over UDP",
        on: Host::Storage,
        shown: |_| "logger --udp --server 203.0.113.10 --file events.log".to_owned(),
        run: |lab, files| {
            let log = files.path("events.log").display().to_string();
            let words = ["--udp", "--server", "203.0.113.10", "--port", "514", "--file", &log];
            programs::run(lab, Host::Storage, "logger", &words)
        },
        country: "DE",
        recipient: Host::Foreign.address(Family::V4),
        expected: Expected::Violation { program: "logger", bytes: 400 * 480 },
    },
];

fn download(lab: &Lab, host: Host, family: Family) -> Result<()> {
    let address = programs::web_address(family);
    programs::run(
        lab,
        host,
        "curl",
        &["--silent", "--show-error", "--fail", "--output", "/dev/null", &address],
    )
}

impl Transfer {
    /// The alert about it: its recipient, and its program.
    pub(crate) fn find(&self, records: &Records) -> Option<Episode> {
        let Expected::Violation { program, .. } = self.expected else { return self.find_any(records) };
        self.to_recipient(records).find(|episode| {
            episode.exe().and_then(|exe| exe.rsplit('/').next()).is_some_and(|name| name.starts_with(program))
        })
    }

    /// Any finding about its recipient.
    pub(crate) fn find_any(&self, records: &Records) -> Option<Episode> {
        self.to_recipient(records).next()
    }

    fn to_recipient(&self, records: &Records) -> impl Iterator<Item = Episode> {
        let recipient = self.recipient.to_string();
        records.episodes().into_iter().filter(move |episode| {
            let evidences = episode.last()["evidences"].as_array();
            evidences
                .is_some_and(|list| list.iter().any(|one| one["dst_endpoint"]["ip"] == recipient.as_str()))
        })
    }

    /// Country, bytes and policy are there and right; it was opened once and closed once.
    pub(crate) fn is_complete(&self, episode: &Episode) -> bool {
        let Expected::Violation { bytes, .. } = self.expected else { return false };
        episode.country() == Some(self.country)
            && episode.kind() == Some("transfer")
            && episode.policy() == Some("user-data")
            && episode.payload_bytes() >= Some(bytes)
            && episode.check_complete().is_ok()
    }
}
