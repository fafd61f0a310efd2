//! What a package does on a server: installed, started, put to work, upgraded, removed and purged, in that order.
//!
//! Everything is the real thing but the world: the package's files, systemd, the sandbox of the unit, the programs in
//! the kernel, a browser's requests, an Alertmanager. The world is one namespace with an address in China.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::machine::{self, DROP_INS, Machine, eventually};
use crate::tool;

/// In China, as the embedded database has it.
const ABROAD: &str = "114.114.114.114";
const GATEWAY: &str = "10.99.0.1";
/// Who sends there.
const BACKUP: &str = "backup.service/head";
const SERVER: &str = "10.99.0.2";
const PAGE: &str = "http://127.0.0.1:9646";
/// A listener that takes whatever comes, and says how much it was when its connection ends.
const LISTENER: &str = r#"
import socket, threading
server = socket.create_server(("0.0.0.0", 9000))
print("ready", flush=True)
def take(client):
    total = 0
    while data := client.recv(65536):
        total += len(data)
    print(total, flush=True)
while True:
    client, _ = server.accept()
    threading.Thread(target=take, args=(client,), daemon=True).start()
"#;

/// Beside what the package brings: where addresses of the world are, and who is told.
const CONFIGURATION: &str = r#"
[[site]]
name = "rack"
country = "US"
networks = ["10.99.0.0/24"]

[[sink]]
name = "oncall"
kind = "alertmanager"
urls = ["http://10.99.0.1:9093"]
resend_secs = 10

[ledger]
origin = "storage-1.example/homeport"

# The day of the trial is no concern of the package.
[geo]
warn_after_days = 36500
stale_after_days = 36500
"#;

struct Trial {
    machine: Machine,
    directory: PathBuf,
    helpers: Vec<Child>,
    received: BufReader<std::process::ChildStdout>,
}

/// A step: what it shows, and how.
type Step = (&'static str, fn(&mut Trial) -> Result<()>);

const STEPS: &[Step] = &[
    ("installs on a bare system and starts nothing by itself", Trial::installs),
    ("starts: systemd hears that it is ready", Trial::starts),
    ("in its sandbox: covered, as a user of its own, no capability too many", Trial::is_confined),
    ("a violation is counted, with the unit that sent it", Trial::violation),
    ("it is on the page, with its place in the ledger", Trial::on_the_page),
    ("it is in `homeport top`, by unit and by country", Trial::on_top),
    ("it is in the signed ledger and in the record file", Trial::recorded),
    ("it is at Alertmanager", Trial::alerted),
    ("it is in the residency statement, to the byte", Trial::reported),
    ("a reload takes another policy", Trial::reloads),
    ("a configuration with faults is refused, and the agent goes on", Trial::refuses),
    ("a hanging agent is ended by the watchdog and comes back", Trial::watchdog),
    ("a new edge gets its program, though rights were given up", Trial::repairs),
    ("an upgrade keeps the ledger, and counts what left meanwhile", Trial::upgrades),
    ("a removal stops it and leaves nothing in the kernel", Trial::removes),
    ("a purge leaves the ledger and nothing else", Trial::purges),
];

/// Runs every step with the two packages, the second one newer.
pub(super) fn run(packages: [&Path; 2], directory: &Path) -> Result<()> {
    let base = machine::base(directory, "root", &["systemd-sysv"])?;
    let machine = Machine::start(&fs::canonicalize(base)?, &fs::canonicalize(directory)?)?;
    machine.connect(SERVER, GATEWAY, &[ABROAD])?;
    for (package, name) in packages.into_iter().zip(["old", "new"]) {
        machine.bring(package, &format!("/srv/{name}.deb"))?;
    }
    let mut listener = machine.outside();
    let mut listener = listener.args(["python3", "-c", LISTENER]).stdout(Stdio::piped()).spawn()?;
    let received = BufReader::new(listener.stdout.take().context("a pipe")?);
    let mut trial = Trial { machine, directory: directory.to_owned(), helpers: vec![listener], received };
    ensure!(trial.line()? == "ready", "the listener is ready");
    for (name, step) in STEPS {
        let begun = Instant::now();
        if let Err(error) = step(&mut trial) {
            println!("failed  {name}");
            let log = trial.machine.log();
            return Err(error.context(format!("{name}; the agent's log:\n{log}")));
        }
        println!("ok      {name} ({:.1} s)", begun.elapsed().as_secs_f64());
    }
    Ok(())
}

impl Drop for Trial {
    fn drop(&mut self) {
        for helper in &mut self.helpers {
            let _ = helper.kill();
            let _ = helper.wait();
        }
    }
}

impl Trial {
    fn installs(&mut self) -> Result<()> {
        self.machine.show("dpkg --install /srv/old.deb")?;
        ensure!(
            self.machine.says("systemctl is-enabled homeport || true")? == "disabled",
            "not enabled by itself"
        );
        ensure!(
            self.machine.says("systemctl is-active homeport || true")? == "inactive",
            "not started by itself"
        );
        // Everything is there, and every library is found.
        self.machine
            .sh("homeport --version && homeport check && test -f /usr/share/man/man1/homeport.1.gz")?;
        self.machine.sh("dpkg --verify homeport && getent passwd homeport")?;
        let unwanted = self.machine.says(
            "systemd-analyze verify /usr/lib/systemd/system/homeport.service 2>&1 | grep homeport | grep -v 'failed with code 1' || true",
        )?;
        ensure!(unwanted.is_empty(), "systemd says about the unit: {unwanted}");
        let explained = self.machine.sh(&format!("homeport explain {ABROAD}"))?;
        ensure!(explained.contains("CN"), "the trial wants an address in China: {explained}");
        self.machine.append("/etc/homeport/homeport.toml", CONFIGURATION)?;
        self.machine.sh(&format!("mkdir -p {DROP_INS}"))?;
        self.machine.append(&format!("{DROP_INS}/proc.conf"), machine::PROC)?;
        self.machine.sh("systemctl daemon-reload && homeport check").map(drop)
    }

    fn starts(&mut self) -> Result<()> {
        let begun = Instant::now();
        self.machine.show("systemctl enable --now homeport")?;
        println!("        ready after {} ms", begun.elapsed().as_millis());
        ensure!(self.machine.says("systemctl is-active homeport")? == "active", "active");
        ensure!(self.machine.property("Type")? == "notify", "systemd waits for it");
        ensure!(self.machine.property("NRestarts")? == "0", "at the first attempt");
        Ok(())
    }

    fn is_confined(&mut self) -> Result<()> {
        let pid = self.machine.property("MainPID")?;
        ensure!(
            self.machine.says(&format!("stat --format=%U /proc/{pid}"))? == "homeport",
            "a user of its own"
        );
        let status = self.machine.sh(&format!("cat /proc/{pid}/status"))?;
        let field = |name: &str| -> Result<String> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            Ok(line.with_context(|| format!("{name} in {status}"))?.trim().to_owned())
        };
        ensure!(field("NoNewPrivs:")? == "1" && field("Seccomp:")? == "2", "{status}");
        println!("        capabilities: bounding {}, effective {}", field("CapBnd:")?, field("CapEff:")?);
        self.has_confined_threads(&pid)?;
        // What it would need if it were to write where it must not.
        for capability in
            ["CAP_DAC_OVERRIDE", "CAP_SYS_MODULE", "CAP_SETUID", "CAP_NET_RAW", "CAP_SYS_RESOURCE"]
        {
            let number = capability_number(capability)?;
            let bounding = u64::from_str_radix(&field("CapBnd:")?, 16)?;
            ensure!(bounding & (1 << number) == 0, "{capability} is not taken away");
        }
        let exposure = self.machine.sh("systemd-analyze security --no-pager homeport | tail -1")?;
        println!("        {}", exposure.trim());
        // The sandbox takes nothing away that the agent promises.
        eventually(|| {
            let (code, text) = self.coverage()?;
            ensure!(code == Some(0), "coverage ends with {code:?}: {text}");
            Ok(())
        })?;
        ensure!(!self.machine.sh("ls /sys/fs/bpf/homeport/links")?.trim().is_empty(), "programs are pinned");
        // No self-test: it compares its own number with the kernel's, see `machine`.
        Ok(())
    }

    /// What the agent gives up by itself, on top of what the unit takes away.
    fn has_confined_threads(&self, pid: &str) -> Result<()> {
        const SYS_ADMIN: u64 = 1 << 21;
        const DAC_READ_SEARCH: u64 = 1 << 2;
        let threads = self
            .machine
            .sh(&format!("grep -h '^Name:\\|^CapEff:\\|^Seccomp_filters:' /proc/{pid}/task/*/status"))?;
        let words: Vec<&str> = threads.split_whitespace().collect();
        let mut seen = Vec::new();
        for thread in words.chunks_exact(6) {
            let [_, name, _, capabilities, _, filters] = thread else { continue };
            let capabilities = u64::from_str_radix(capabilities, 16)?;
            println!("        thread {name}: capabilities {capabilities:x}, {filters} filters");
            ensure!(
                capabilities & SYS_ADMIN == 0 || !matches!(*name, "homeport"),
                "{name} keeps CAP_SYS_ADMIN"
            );
            if matches!(*name, "page" | "sinks" | "records") {
                ensure!(capabilities == DAC_READ_SEARCH, "{name} has capabilities {capabilities:x}");
                seen.push(*name);
            }
        }
        ensure!(seen.len() == 3, "page, sinks and records are threads: {threads}");
        let log = self.machine.log();
        ensure!(!log.contains("keeps rights") && !log.contains("CAP_SYS_ADMIN is kept"), "{log}");
        Ok(())
    }

    /// A backup that goes to the wrong place: 300,000 bytes, by a unit of its own, over a connection that stays.
    fn violation(&mut self) -> Result<()> {
        self.start("backup", 300_000, "exec sleep 3600")?;
        eventually(|| {
            let flow = self.flow("backup.service")?;
            ensure!(flow["verdict"] == "violation" && flow["country"] == "CN", "{flow:#}");
            carried(&flow, 300_000)?;
            let exe = flow["owner"]["exe"].as_str().unwrap_or_default();
            ensure!(exe.ends_with("/head"), "the sender's program, through /proc: {flow:#}");
            Ok(())
        })
    }

    fn on_the_page(&mut self) -> Result<()> {
        self.machine.show("homeport status")?;
        eventually(|| {
            let status = self.page("status")?;
            ensure!(status["state"] == "violation", "{status:#}");
            ensure!(
                status["checkpoint"]["origin"] == "storage-1.example/homeport",
                "{:#}",
                status["checkpoint"]
            );
            let sinks = status["sinks"].as_array().context("sinks")?;
            ensure!(sinks.iter().any(|sink| sink["name"] == "oncall"), "{sinks:#?}");
            let row = self.episode(BACKUP)?;
            ensure!(
                sinks.iter().any(|sink| sink["lag_entries"].as_u64() > Some(0)),
                "nobody listens yet: {sinks:#?}"
            );
            let id = row["id"].as_str().context("an id")?.to_owned();
            let view = self.page(&format!("episodes/{id}"))?;
            ensure!(view["entries"]["last"].is_u64(), "no place in the ledger: {view:#}");
            Ok(())
        })
    }

    fn on_top(&mut self) -> Result<()> {
        let top = self.machine.show("homeport top --once")?;
        let is_there = |line: &str, words: [&str; 3]| words.iter().all(|word| line.contains(word));
        let found = top.lines().any(|line| is_there(line, ["VIOLATION", BACKUP, " kB"]));
        ensure!(found && top.starts_with("1 violations open"), "not among the owners: {top}");
        let top = self.machine.show("homeport top violations --once")?;
        ensure!(top.lines().any(|line| is_there(line, [BACKUP, "CN", "high"])), "no open episode: {top}");
        let top = self.machine.sh("homeport top countries --once --filter cn")?;
        ensure!(top.lines().any(|line| is_there(line, ["VIOLATION", "CN", " kB"])), "no such country: {top}");
        Ok(())
    }

    fn recorded(&mut self) -> Result<()> {
        eventually(|| {
            let text = self.machine.sh("homeport ledger verify /var/lib/homeport/ledger")?;
            let file = self.machine.sh("cat /var/lib/homeport/records.jsonl")?;
            let found = file.lines().any(|line| line.contains(r#""backup.service/head""#));
            ensure!(found, "not in the record file");
            ensure!(!text.is_empty(), "it says what it has verified");
            Ok(())
        })?;
        self.machine.show("homeport ledger verify /var/lib/homeport/ledger").map(drop)
    }

    fn alerted(&mut self) -> Result<()> {
        let work = self.directory.join("alertmanager");
        let _ = fs::remove_dir_all(&work);
        fs::create_dir_all(&work)?;
        fs::write(work.join("alertmanager.yml"), "route: {receiver: none}\nreceivers: [{name: none}]\n")?;
        let mut command = self.machine.outside();
        command
            .arg("prometheus-alertmanager")
            .arg(format!("--config.file={}", work.join("alertmanager.yml").display()));
        command.arg(format!("--storage.path={}", work.display())).arg("--cluster.listen-address=");
        let log = fs::File::create(work.join("log"))?;
        self.helpers
            .push(command.stdout(log.try_clone()?).stderr(log).spawn().context("start Alertmanager")?);
        eventually(|| {
            let mut curl = self.machine.outside();
            curl.args(["curl", "--silent", "--fail", "http://127.0.0.1:9093/api/v2/alerts"]);
            let alerts: Value = serde_json::from_str(&tool::output(&mut curl)?)?;
            let alert = alerts.as_array().and_then(|alerts| {
                alerts.iter().find(|alert| alert["labels"]["alertname"] == "EgressResidencyViolation")
            });
            let labels = &alert.with_context(|| {
                let sinks = self.machine.sh("homeport status || true").unwrap_or_default();
                format!("no alert: {alerts:#}; the agent says\n{sinks}")
            })?["labels"];
            ensure!(labels["country"] == "CN" && labels["process"] == "backup.service/head", "{labels:#}");
            println!("        {labels}");
            Ok(())
        })
    }

    /// Made from the ledger alone, once the minute that has the violation is recorded.
    fn reported(&mut self) -> Result<()> {
        eventually(|| {
            let statement: Value = serde_json::from_str(&self.machine.sh("homeport report --json")?)?;
            ensure!(statement["answer"]["word"] == "out-of-policy", "{:#}", statement["answer"]);
            ensure!(
                statement["totals"]["violation"]["bytes"]["wire"].as_u64() > Some(0),
                "no minute has it yet"
            );
            ensure!(statement["proof"]["verified"] == true, "{:#}", statement["proof"]);
            let violations = statement["violations"].as_array().context("violations")?;
            let told = violations.iter().find(|row| row["owner"] == BACKUP).context("not among them")?;
            // The same number as the page's, which has it from the same records.
            let wire = self.episode(BACKUP)?["wire_bytes"].clone();
            ensure!(told["altogether"]["wire"] == wire, "{wire} on the page: {told:#}");
            Ok(())
        })?;
        self.machine.show("homeport report | head -40")?;
        self.machine.sh("homeport report --html --output /srv/statement.html")?;
        let html = self.machine.sh("cat /srv/statement.html")?;
        ensure!(html.contains(BACKUP) && html.contains("China"), "not in the HTML form: {html}");
        Ok(())
    }

    fn reloads(&mut self) -> Result<()> {
        self.machine.sh("sed -i 's/us-only/us-ca-au-nz/' /etc/homeport/homeport.toml")?;
        self.machine.sh("homeport check && systemctl reload homeport")?;
        eventually(|| {
            let status = self.page("status")?;
            let policies = status["policies"].as_array().context("policies")?;
            ensure!(policies.iter().any(|policy| policy["preset"] == "us-ca-au-nz"), "{policies:#?}");
            Ok(())
        })
    }

    fn refuses(&mut self) -> Result<()> {
        self.machine.sh("cp /etc/homeport/homeport.toml /srv/good.toml")?;
        self.machine
            .append("/etc/homeport/homeport.toml", "[[policy]]\nname = \"\"\npreset = \"atlantis\"\n")?;
        self.machine.sh("systemctl reload homeport")?;
        eventually(|| {
            let records = self.machine.sh("cat /var/lib/homeport/records.jsonl")?;
            ensure!(records.contains("policy-rejected"), "no record of it");
            Ok(())
        })?;
        ensure!(self.machine.says("systemctl is-active homeport")? == "active", "active");
        self.machine
            .sh("cp /srv/good.toml /etc/homeport/homeport.toml && systemctl reload homeport")
            .map(drop)
    }

    fn watchdog(&mut self) -> Result<()> {
        self.machine.append(&format!("{DROP_INS}/short.conf"), "[Service]\nWatchdogSec=5s\n")?;
        self.machine.sh("systemctl daemon-reload && systemctl restart homeport")?;
        let before = self.machine.property("MainPID")?;
        self.machine.sh(&format!("kill -STOP {before}"))?;
        eventually(|| {
            ensure!(self.machine.property("NRestarts")? == "1", "not restarted yet");
            ensure!(self.machine.says("systemctl is-active homeport || true")? == "active", "not active yet");
            ensure!(self.machine.property("MainPID")? != before, "another process");
            // Its episode goes on, with the same id, in the eyes of the next agent.
            ensure!(self.episode(BACKUP).is_ok(), "the episode is still there");
            Ok(())
        })?;
        self.machine.sh(&format!("rm {DROP_INS}/short.conf && systemctl daemon-reload")).map(drop)
    }

    /// An edge that appears long after the agent has given up what only starting needs.
    fn repairs(&mut self) -> Result<()> {
        let pinned =
            |trial: &Self| trial.machine.sh("ls /sys/fs/bpf/homeport/links").map(|text| text.lines().count());
        let before = pinned(self)?;
        let mut ip = self.machine.network();
        let add = "ip link add edge1 type veth peer name edge2 && ip address add 192.0.2.7/24 dev edge1 && \
                   ip link set edge2 up && ip link set edge1 up";
        tool::run_quietly(ip.args(["sh", "-ec", add]))?;
        eventually(|| {
            let coverage = self.page("status")?;
            let seen = coverage["coverage"]["programs"].to_string();
            ensure!(seen.contains("edge1"), "no program at the new interface: {seen}");
            ensure!(pinned(self)? > before, "its link is pinned");
            Ok(())
        })?;
        let mut ip = self.machine.network();
        tool::run_quietly(ip.args(["ip", "link", "delete", "edge1"]))
    }

    fn upgrades(&mut self) -> Result<()> {
        // Its exit code says that a violation is open.
        let size = |trial: &Self| -> Result<u64> {
            let status: Value =
                serde_json::from_str(&trial.machine.sh("homeport status --json || test $? = 11")?)?;
            status["ledger"]["checkpoint_size"].as_u64().context("a checkpoint")
        };
        let (before, sealed) = (self.machine.property("MainPID")?, size(self)?);
        let checkpoint = self.machine.sh("cat /var/lib/homeport/ledger/checkpoint")?;
        self.machine.sh("cp -a /var/lib/homeport/ledger /srv/ledger.before")?;
        // The agent is gone for a while in the middle of it: what leaves then is counted all the same.
        self.machine.sh("systemctl stop homeport")?;
        self.send("meanwhile", 123_456)?;
        self.machine.sh("systemctl start homeport && dpkg --install /srv/new.deb")?;
        let version = self.machine.says("dpkg-query --show --showformat='${Version}' homeport")?;
        ensure!(version.contains("+trial"), "{version}");
        ensure!(self.machine.says("systemctl is-active homeport")? == "active", "active after the upgrade");
        ensure!(self.machine.property("MainPID")? != before, "the new program runs");
        eventually(|| {
            // Its row has gone with its connection, which is over; the episode is there.
            let row = self.episode("meanwhile.service/head")?;
            let wire = row["wire_bytes"].as_u64().context("wire_bytes")?;
            ensure!((123_456..200_000).contains(&wire), "{row:#}");
            ensure!(size(self)? > sealed, "the ledger has not grown");
            Ok(())
        })?;
        // The new ledger continues the old one: the old checkpoint is proven by the new tree.
        self.machine.sh("homeport ledger verify /var/lib/homeport/ledger")?;
        ensure!(checkpoint.starts_with("storage-1.example/homeport\n"), "{checkpoint}");
        let bundles = self.machine.says("cd /srv/ledger.before/tile/entries && find . -type f ! -path '*.p/*' | while read -r f; do cmp \"$f\" \"/var/lib/homeport/ledger/tile/entries/$f\"; done")?;
        ensure!(bundles.is_empty(), "{bundles}");
        ensure!(self.episode(BACKUP).is_ok(), "the episode from before is on the page");
        let restored = self.machine.says("grep -c us-ca-au-nz /etc/homeport/homeport.toml")?;
        ensure!(restored == "1", "the administrator's configuration is kept");
        Ok(())
    }

    fn removes(&mut self) -> Result<()> {
        self.machine.show("dpkg --remove homeport")?;
        ensure!(self.machine.says("systemctl is-active homeport || true")? != "active", "stopped");
        ensure!(self.machine.says("pgrep -x homeport || true")?.is_empty(), "no process");
        // systemd has pins of its own there.
        let pins = self.machine.says("find /sys/fs/bpf")?;
        ensure!(!pins.contains("homeport"), "pins are left: {pins}");
        self.machine
            .sh("test -f /etc/homeport/homeport.toml && test -f /var/lib/homeport/ledger/checkpoint")?;
        ensure!(
            self.machine.says("ls /usr/bin/homeport 2>/dev/null || true")?.is_empty(),
            "the program is gone"
        );
        // Back again, with the ledger as it was, and away once more.
        self.machine
            .sh("dpkg --install /srv/new.deb && systemctl start homeport && systemctl is-active homeport")?;
        self.machine.sh("dpkg --remove homeport").map(drop)
    }

    fn purges(&mut self) -> Result<()> {
        self.machine.show("dpkg --purge homeport")?;
        self.machine.sh(&format!("rm -r {DROP_INS}"))?;
        let left = self.machine.says(
            "find / -xdev \\( -path /proc -o -path /root -o -path '/var/lib/homeport/ledger' -o -path /var/log \\) -prune -o -name '*homeport*' -print | sort",
        )?;
        ensure!(left == "/var/lib/homeport", "left behind: {left}");
        let state = self.machine.says("ls -A /var/lib/homeport | sort | tr '\\n' ' '")?;
        ensure!(state == "ledger ledger.head", "left behind: {state}");
        ensure!(
            self.machine.says("find /run /sys/fs/bpf -name '*homeport*' | sort")?.is_empty(),
            "left behind in memory"
        );
        ensure!(
            self.machine.says("systemctl list-unit-files --no-legend 'homeport*' || true")?.is_empty(),
            "the unit is forgotten"
        );
        Ok(())
    }

    /// Starts a unit that sends so many bytes abroad, and then does something else with its connection open.
    fn start(&self, unit: &str, bytes: u64, then: &str) -> Result<()> {
        let kind = if then == "exit" { "oneshot" } else { "exec" };
        let service = format!(
            "[Service]\nType={kind}\nExecStart=/bin/bash -c 'exec 3> /dev/tcp/{ABROAD}/9000; head -c {bytes} /dev/zero >&3; {then}'\n"
        );
        self.machine.append(&format!("/run/systemd/system/{unit}.service"), &service)?;
        self.machine.sh(&format!("systemctl daemon-reload && systemctl start {unit}")).map(drop)
    }

    /// The same, and waits until the bytes have arrived.
    fn send(&mut self, unit: &str, bytes: u64) -> Result<()> {
        self.start(unit, bytes, "exit")?;
        let arrived = self.line()?;
        ensure!(arrived == bytes.to_string(), "{arrived} of {bytes} bytes have arrived");
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.received.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// The flow of a unit.
    fn flow(&self, unit: &str) -> Result<Value> {
        let flows: Value = serde_json::from_str(&self.machine.sh("homeport flows --json")?)?;
        let rows = flows["flows"].as_array().context("flows")?;
        let row = rows
            .iter()
            .find(|flow| flow["owner"]["label"].as_str().is_some_and(|label| label.starts_with(unit)));
        row.cloned().with_context(|| format!("no flow of {unit}: {rows:#?}"))
    }

    /// The episode of an owner, as the page has it.
    fn episode(&self, owner: &str) -> Result<Value> {
        let view = self.page("episodes")?;
        let rows = view["episodes"].as_array().context("episodes")?;
        let row = rows.iter().find(|row| row["kind"] == "transfer" && row["owner"] == owner);
        row.cloned().with_context(|| format!("no such episode: {rows:#?}"))
    }

    fn page(&self, path: &str) -> Result<Value> {
        let mut curl = self.machine.network();
        curl.args(["curl", "--silent", "--show-error", "--fail", &format!("{PAGE}/api/v1/{path}")]);
        Ok(serde_json::from_str(&tool::output(&mut curl)?)?)
    }

    fn coverage(&self) -> Result<(Option<i32>, String)> {
        let output = self.machine.enter("homeport coverage").output()?;
        Ok((output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()))
    }
}

/// Every byte, and not much that had to be sent twice.
fn carried(flow: &Value, bytes: u64) -> Result<()> {
    let payload = flow["payload_bytes"].as_u64().context("payload_bytes")?;
    ensure!((bytes..bytes + bytes / 4).contains(&payload), "{bytes} bytes were sent: {flow:#}");
    Ok(())
}

fn capability_number(name: &str) -> Result<u32> {
    // As `linux/capability.h` has them.
    let known = [
        ("CAP_DAC_OVERRIDE", 1),
        ("CAP_SETUID", 7),
        ("CAP_NET_RAW", 13),
        ("CAP_SYS_MODULE", 16),
        ("CAP_SYS_RESOURCE", 24),
    ];
    let found = known.iter().find(|(known, _)| *known == name);
    found.map(|(_, number)| *number).with_context(|| format!("no number for {name}"))
}

/// The same package with a later version.
pub(super) fn newer(package: &Path, directory: &Path) -> Result<PathBuf> {
    let root = directory.join("newer");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    tool::run_quietly(Command::new("dpkg-deb").arg("--raw-extract").arg(package).arg(&root))?;
    let control = root.join("DEBIAN/control");
    let text = fs::read_to_string(&control)?;
    let line = text.lines().find(|line| line.starts_with("Version: ")).context("a version")?;
    fs::write(&control, text.replace(line, &format!("{line}+trial")))?;
    let newer = directory.join("newer.deb");
    tool::run_quietly(
        Command::new("dpkg-deb").args(["-Znone", "--root-owner-group", "--build"]).arg(&root).arg(&newer),
    )?;
    Ok(newer)
}
