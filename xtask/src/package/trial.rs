//! What a package does on a server: installed, started, put to work, upgraded, removed and purged, in that order.
//!
//! Everything is the real thing but the world: the package's files, systemd, the sandbox of the unit, the programs in
//! the kernel, a browser's requests, an Alertmanager. The world is one namespace with an address in China. The server
//! is a namespace of this kernel ([`super::machine`]), or a machine that boots one ([`super::booted`]).

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{
    booted::{Booted, Plan},
    machine::{self, Machine},
    server::{self, DROP_INS, Ran, Server},
};
use crate::tool;

/// In China, as the embedded database has it.
const ABROAD: &str = "114.114.114.114";
const GATEWAY: &str = "10.99.0.1";
/// Who sends there.
const BACKUP: &str = "backup.service/tail";
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
    machine: Box<dyn Server>,
    directory: PathBuf,
    helpers: Vec<Child>,
    received: BufReader<std::process::ChildStdout>,
}

/// What a sender does with its connection in the end.
enum Then {
    Exit,
    Stay,
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
];

/// Only where there is a machine to boot, and where processes have the kernel's numbers.
const BOOT_STEPS: &[Step] = &[
    ("it proves that it sees: a datagram of its own is a finding on disk", Trial::proves_itself),
    ("every byte that the card has sent is accounted for", Trial::balances),
    ("a reboot: it counts before the network is up, and tells what it cannot know", Trial::reboots),
    ("a power cut: what was told as recorded is there", Trial::loses_power),
];

const LAST_STEPS: &[Step] = &[
    ("a removal stops it and leaves nothing in the kernel", Trial::removes),
    ("a purge leaves the ledger and nothing else", Trial::purges),
];

/// Runs every step in namespaces of this kernel, with the two packages, the second one newer.
pub(super) fn run(packages: [&Path; 2], directory: &Path) -> Result<()> {
    let base = machine::base(directory, "root", &["systemd-sysv"])?;
    let machine = Machine::start(&fs::canonicalize(base)?, &fs::canonicalize(directory)?)?;
    machine.connect(SERVER, GATEWAY, &[ABROAD])?;
    for (package, name) in packages.into_iter().zip(["old", "new"]) {
        machine.bring(package, &format!("/srv/{name}.deb"))?;
    }
    live(Box::new(machine), directory, &[STEPS, LAST_STEPS])
}

/// Runs every step in a machine that boots a kernel of the matrix, with reboots.
pub(super) fn run_booted(packages: [&Path; 2], directory: &Path, kernel: &str) -> Result<()> {
    let [old, new] = packages;
    let plan = Plan {
        kernel,
        base: "root-vm",
        packages: &[],
        files: &[(old, "srv/old.deb"), (new, "srv/new.deb")],
        address: SERVER,
        gateway: GATEWAY,
        addresses: &[ABROAD],
    };
    let machine = Booted::start(&plan, &fs::canonicalize(directory)?)?;
    live(Box::new(machine), directory, &[STEPS, BOOT_STEPS, LAST_STEPS])
}

fn live(machine: Box<dyn Server>, directory: &Path, parts: &[&[Step]]) -> Result<()> {
    let mut listener = machine.world().enter();
    let mut listener = listener.args(["python3", "-c", LISTENER]).stdout(Stdio::piped()).spawn()?;
    let received = BufReader::new(listener.stdout.take().context("a pipe")?);
    let (directory, helpers) = (directory.to_owned(), vec![listener]);
    let mut trial = Trial { machine, directory, helpers, received };
    ensure!(trial.line()? == "ready", "the listener is ready");
    for (name, step) in parts.iter().copied().flatten() {
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
        self.machine.show(&format!("{} /srv/old.deb", self.machine.installer()))?;
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
        if let Some(crutch) = self.machine.crutch() {
            self.machine.append(&format!("{DROP_INS}/crutch.conf"), crutch)?;
        }
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
        self.machine.show("homeport coverage | head -20")?;
        // The sandbox takes nothing away that the agent promises.
        self.eventually(|| covered(&*self.machine, "homeport coverage --json"))?;
        ensure!(!self.machine.sh("ls /sys/fs/bpf/homeport/links")?.trim().is_empty(), "programs are pinned");
        // No self-test: it compares its own number with the kernel's, see `machine`.
        Ok(())
    }

    /// What the agent gives up by itself, on top of what the unit takes away.
    fn has_confined_threads(&self, pid: &str) -> Result<()> {
        const SYS_ADMIN: u64 = 1 << 21;
        const DAC_READ_SEARCH: u64 = 1 << 2;
        const CONFINED: [&str; 4] = ["page", "sinks", "witnesses", "records"];
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
            if CONFINED.contains(name) {
                ensure!(capabilities == DAC_READ_SEARCH, "{name} has capabilities {capabilities:x}");
                seen.push(*name);
            }
        }
        ensure!(CONFINED.iter().all(|name| seen.contains(name)), "{CONFINED:?} are threads: {threads}");
        let log = self.machine.log();
        ensure!(!log.contains("keeps rights") && !log.contains("CAP_SYS_ADMIN is kept"), "{log}");
        Ok(())
    }

    /// A backup that goes to the wrong place: 300,000 bytes, by a unit of its own, over a connection that stays.
    fn violation(&mut self) -> Result<()> {
        self.start("backup", 300_000, Then::Stay)?;
        self.eventually(|| {
            let flow = self.flow("backup.service")?;
            ensure!(flow["verdict"] == "violation" && flow["country"] == "CN", "{flow:#}");
            carried(&flow, 300_000)?;
            let exe = flow["owner"]["exe"].as_str().unwrap_or_default();
            ensure!(exe.ends_with("/tail"), "the sender's program, through /proc: {flow:#}");
            Ok(())
        })
    }

    fn on_the_page(&mut self) -> Result<()> {
        self.machine.show("homeport status")?;
        self.eventually(|| {
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
        ensure!(found && top.starts_with("1 violation open"), "not among the owners: {top}");
        let top = self.machine.show("homeport top violations --once")?;
        ensure!(top.lines().any(|line| is_there(line, [BACKUP, "CN", "high"])), "no open episode: {top}");
        let top = self.machine.sh("homeport top countries --once --filter cn")?;
        ensure!(top.lines().any(|line| is_there(line, ["VIOLATION", "CN", " kB"])), "no such country: {top}");
        Ok(())
    }

    fn recorded(&mut self) -> Result<()> {
        self.eventually(|| {
            let text = self.machine.sh("homeport ledger verify /var/lib/homeport/ledger")?;
            let file = self.machine.sh("cat /var/lib/homeport/records.jsonl")?;
            let found = file.lines().any(|line| line.contains(&format!("\"{}\"", BACKUP)));
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
        let mut command = self.machine.world().enter();
        command
            .arg("prometheus-alertmanager")
            .arg(format!("--config.file={}", work.join("alertmanager.yml").display()));
        command.arg(format!("--storage.path={}", work.display())).arg("--cluster.listen-address=");
        let log = fs::File::create(work.join("log"))?;
        self.helpers
            .push(command.stdout(log.try_clone()?).stderr(log).spawn().context("start Alertmanager")?);
        self.eventually(|| {
            let mut curl = self.machine.world().enter();
            curl.args(["curl", "--silent", "--fail", "http://127.0.0.1:9093/api/v2/alerts"]);
            let alerts: Value = serde_json::from_str(&tool::output(&mut curl)?)?;
            let alert = alerts.as_array().and_then(|alerts| {
                alerts.iter().find(|alert| alert["labels"]["alertname"] == "EgressResidencyViolation")
            });
            let labels = &alert.with_context(|| {
                let sinks = self.machine.sh("homeport status || true").unwrap_or_default();
                format!("no alert: {alerts:#}; the agent says\n{sinks}")
            })?["labels"];
            ensure!(labels["country"] == "CN" && labels["process"] == BACKUP, "{labels:#}");
            println!("        {labels}");
            Ok(())
        })
    }

    /// Made from the ledger alone, once the minute that has the violation is recorded.
    fn reported(&mut self) -> Result<()> {
        self.eventually(|| {
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
        self.eventually(|| {
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
        self.eventually(|| {
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
        self.machine.append(
            &format!("{DROP_INS}/short.conf"),
            &format!("[Service]\nWatchdogSec={}s\n", 5 * self.machine.slowness()),
        )?;
        self.machine.sh("systemctl daemon-reload && systemctl restart homeport")?;
        let before = self.machine.property("MainPID")?;
        self.machine.sh(&format!("kill -STOP {before}"))?;
        self.eventually(|| {
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
        // Before Linux 6.6 the programs at interfaces are filters, which nobody has to pin.
        let pinned = |trial: &Self| {
            let links = trial.machine.sh("ls /sys/fs/bpf/homeport/links")?;
            anyhow::Ok(links.lines().filter(|link| link.starts_with("frames_")).count())
        };
        let before = pinned(self)?;
        self.network(
            "ip link add edge1 type veth peer name edge2 && ip address add 192.0.2.7/24 dev edge1 && \
             ip link set edge2 up && ip link set edge1 up",
        )?;
        self.eventually(|| {
            let coverage = self.page("status")?;
            let seen = coverage["coverage"]["programs"].to_string();
            ensure!(seen.contains("edge1"), "no program at the new interface: {seen}");
            ensure!(before == 0 || pinned(self)? > before, "its link is pinned");
            Ok(())
        })?;
        self.network("ip link delete edge1").map(drop)
    }

    fn upgrades(&mut self) -> Result<()> {
        // Its exit code says whether a violation is open, or something is not seen: here both may be.
        let size = |trial: &Self| -> Result<u64> {
            let status: Value =
                serde_json::from_str(&trial.machine.sh("homeport status --json || test $? -ge 8")?)?;
            status["ledger"]["checkpoint_size"].as_u64().context("a checkpoint")
        };
        let (before, sealed) = (self.machine.property("MainPID")?, size(self)?);
        let checkpoint = self.machine.sh("cat /var/lib/homeport/ledger/checkpoint")?;
        self.machine.sh("cp -a /var/lib/homeport/ledger /srv/ledger.before")?;
        // The agent is gone for a while in the middle of it: what leaves then is counted all the same.
        self.machine.sh("systemctl stop homeport")?;
        self.send("meanwhile", 123_456)?;
        self.machine.sh(&format!("systemctl start homeport && {} /srv/new.deb", self.machine.installer()))?;
        let version = self.machine.says("dpkg-query --show --showformat='${Version}' homeport")?;
        ensure!(version.contains("+trial"), "{version}");
        ensure!(self.machine.says("systemctl is-active homeport")? == "active", "active after the upgrade");
        ensure!(self.machine.property("MainPID")? != before, "the new program runs");
        self.eventually(|| {
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

    fn proves_itself(&mut self) -> Result<()> {
        self.machine.show("homeport selftest").map(drop)
    }

    /// The card's own counter against what was accounted for.
    fn balances(&mut self) -> Result<()> {
        self.eventually(|| {
            let status = self.page("status")?;
            let rows = status["interfaces"].as_array().context("interfaces")?;
            let row =
                rows.iter().find(|row| row["balance"].is_object()).context("no interface is compared")?;
            ensure!(row["balance"]["unexplained_bytes"] == 0, "{row:#}");
            ensure!(row["balance"]["unexplained_frames"] == 0, "{row:#}");
            println!(
                "        {}: the card has sent {} bytes in {} frames, difference {}",
                row["name"], row["nic_tx_bytes"], row["nic_tx_packets"], row["balance"]["residual_bytes"]
            );
            Ok(())
        })
    }

    fn reboots(&mut self) -> Result<()> {
        let gaps = self.gaps()?;
        self.boot("systemctl reboot")?;
        self.is_back(gaps)?;
        // Bytes cannot leave before the network is up.
        let since = |unit: &str, name: &str| -> Result<u64> {
            let text = self.machine.says(&format!("systemctl show --property={name} --value {unit}"))?;
            text.parse().with_context(|| format!("{name} of {unit}: {text}"))
        };
        let counting = since("homeport", "ActiveEnterTimestampMonotonic")?;
        let network = since("systemd-networkd", "ExecMainStartTimestampMonotonic")?;
        println!(
            "        counting {:.1} s after the kernel began, the network {:.1} s after it",
            counting as f64 / 1e6,
            network as f64 / 1e6
        );
        ensure!(counting < network, "the network is up before it counts");
        self.send("later", 50_000)?;
        self.eventually(|| {
            let row = self.episode("later.service/head")?;
            ensure!(row["wire_bytes"].as_u64() > Some(50_000), "{row:#}");
            Ok(())
        })?;
        // What was before is still there.
        ensure!(self.episode(BACKUP).is_ok(), "the episode from before the reboot is on the page");
        self.machine.show("homeport status")?;
        self.balances()
    }

    /// Nobody has said goodbye: no service was stopped, no file system unmounted, nothing in memory written.
    fn loses_power(&mut self) -> Result<()> {
        self.send("lastly", 77_777)?;
        let mut recorded = Value::Null;
        self.eventually(|| {
            recorded = self.episode("lastly.service/head")?;
            let id = recorded["id"].as_str().context("an id")?;
            let view = self.page(&format!("episodes/{id}"))?;
            ensure!(view["entries"]["last"].is_u64(), "no place in the ledger: {view:#}");
            Ok(())
        })?;
        let gaps = self.gaps()?;
        self.boot("(sleep 1; echo b > /proc/sysrq-trigger) > /dev/null 2>&1 &")?;
        self.is_back(gaps)?;
        let row = self.episode("lastly.service/head")?;
        ensure!(row["id"] == recorded["id"], "another episode: {row:#}");
        let (before, after) = (&recorded["wire_bytes"], &row["wire_bytes"]);
        ensure!(after.as_u64() >= before.as_u64(), "{before} bytes before the power cut, {after} after it");
        Ok(())
    }

    /// Starts the machine anew, in the way that `script` does.
    fn boot(&self, script: &str) -> Result<()> {
        let id = "cat /proc/sys/kernel/random/boot_id";
        let before = self.machine.says(id)?;
        self.machine.reboot(script)?;
        ensure!(self.machine.says(id)? != before, "it was not booted");
        Ok(())
    }

    /// Everything is as it was, but for one more gap that names the boot.
    fn is_back(&self, gaps: usize) -> Result<()> {
        self.eventually(|| {
            ensure!(self.machine.says("systemctl is-active homeport || true")? == "active", "not active");
            let told = self.gaps()?;
            ensure!(told == gaps + 1, "{told} gaps on record, {gaps} before");
            Ok(())
        })?;
        let log = self.machine.says("grep counting-gap /var/lib/homeport/records.jsonl | tail -1")?;
        let gap: Value = serde_json::from_str(&log)?;
        println!("        {}", gap["unmapped"]["homeport"]);
        ensure!(gap["unmapped"]["homeport"]["cause"] == "reboot", "{gap:#}");
        ensure!(self.machine.property("NRestarts")? == "0", "at the first attempt");
        self.machine.sh("homeport ledger verify /var/lib/homeport/ledger")?;
        self.eventually(|| covered(&*self.machine, "homeport coverage --json"))
    }

    /// How many gaps in counting are on record.
    fn gaps(&self) -> Result<usize> {
        let text = self.machine.says("grep -c counting-gap /var/lib/homeport/records.jsonl || true")?;
        text.parse().with_context(|| format!("a number: {text}"))
    }

    fn removes(&mut self) -> Result<()> {
        self.machine.show("dpkg --remove homeport")?;
        ensure!(self.machine.says("systemctl is-active homeport || true")? != "active", "stopped");
        ensure!(self.machine.agents()?.is_empty(), "no process");
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
        self.machine.sh(&format!("rm -rf {DROP_INS}"))?;
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

    /// Starts a unit that sends so many bytes abroad, and then ends or keeps its connection open.
    fn start(&self, unit: &str, bytes: u64, then: Then) -> Result<()> {
        // One process connects and sends, so that it has its name on every kernel.
        let (kind, send) = match then {
            Then::Exit => ("oneshot", format!("exec head -c {bytes} /dev/zero")),
            Then::Stay => (
                "exec",
                format!("head -c {bytes} /dev/zero > /run/{unit}; exec tail -c {bytes} -f /run/{unit}"),
            ),
        };
        let service =
            format!("[Service]\nType={kind}\nExecStart=/bin/bash -c '{send} > /dev/tcp/{ABROAD}/9000'\n");
        self.machine.append(&format!("/run/systemd/system/{unit}.service"), &service)?;
        self.machine.sh(&format!("systemctl daemon-reload && systemctl start {unit}")).map(drop)
    }

    /// The same, and waits until the bytes have arrived.
    fn send(&mut self, unit: &str, bytes: u64) -> Result<()> {
        self.start(unit, bytes, Then::Exit)?;
        // Connections of before a reboot end late, and are told first.
        let mut told = Vec::new();
        while told.len() < 4 {
            told.push(self.line()?);
            if told.last().is_some_and(|arrived| *arrived == bytes.to_string()) {
                return Ok(());
            }
        }
        anyhow::bail!("{told:?} of {bytes} bytes have arrived")
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
        Ok(serde_json::from_str(
            &self.network(&format!("curl --silent --show-error --fail {PAGE}/api/v1/{path}"))?,
        )?)
    }

    fn network(&self, script: &str) -> Result<String> {
        let Ran { code, output, errors } = self.machine.network(script)?;
        ensure!(code == Some(0), "`{script}` ended with {code:?}: {output}{errors}");
        Ok(output)
    }

    fn eventually(&self, attempt: impl FnMut() -> Result<()>) -> Result<()> {
        server::eventually(&*self.machine, attempt)
    }
}

/// Every byte is counted, and nothing is missing but what cannot be had on that server.
fn covered(server: &dyn Server, ask: &str) -> Result<()> {
    let Ran { code, output, errors } = server.run(ask)?;
    let view: Value = serde_json::from_str(&output).with_context(|| format!("{output}{errors}"))?;
    let reasons = view["reasons"].as_array().context("reasons")?;
    let is_excused = |reason: &Value| server.excuses().iter().any(|part| reason["part"] == *part);
    ensure!(reasons.iter().all(is_excused), "coverage ends with {code:?}: {reasons:#?}");
    let state = if reasons.is_empty() { "covered" } else { "reduced" };
    ensure!(view["state"] == state, "{:#}", view["state"]);
    Ok(())
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
