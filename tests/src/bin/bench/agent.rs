//! The real agent: what it needs when nothing happens, with many flows, and how soon an alert is on disk.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use crate::{
    Scale,
    lab::{Family, Lab, Side},
    memory::{resident_bytes, resident_map_bytes},
    report::{Report, Table},
    stats::{Quartiles, percentile},
};

const MIB: f64 = 1024.0 * 1024.0;

/// Countries that `us-only` does not approve: an episode is opened for each.
const COUNTRIES: &str = "AD AE AF AG AL AM AO AR AT AU AZ BA BB BD BE BF BG BH BI BJ BN BO BR BS BT BW BY BZ CA CD CF \
    CG CH CI CL CM CN CO CR CU CV CY CZ DE DJ DK DM DO DZ EC EE EG ER ES ET FI FJ FM FR GA GB GD GE GH GM GN GQ GR GT \
    GW GY HN HR HT HU ID IE IL IN IQ IR IS IT JM JO JP KE KG KH KI KM KN KP KR KW KZ LA LB LC LI LK LR LS LT LU LV LY \
    MA MC MD ME MG MH MK ML MM MN MR MT MU MV MW MX MY MZ NA NE NG NI NL NO NP NR NZ OM PA PE PG PH PK PL PT PW PY QA \
    RO RS RU RW SA SB SC SD SE SG SI SK SL SM SN SO SR ST SV SY SZ TD TG TH TJ TL TM TN TO TR TT TV TZ UA UG UY UZ VA \
    VC VE VN VU WS YE ZA ZM ZW";

/// Where the page of the agent in the near namespace listens.
const PAGE: &str = "127.0.0.1:9646";

const ONE_SITE: &str = r#"
[[site]]
name = "far"
country = "DE"
networks = ["203.0.113.0/24"]
"#;

pub(crate) fn run(lab: &Arc<Lab>, scale: Scale, report: &mut Report) -> Result<()> {
    let program = std::env::current_exe()?.with_file_name("homeport");
    if !program.exists() {
        report.remark("The agent is not measured: there is no `homeport` beside the bench.".to_owned());
        return Ok(());
    }
    memory_and_idle(lab, &program, scale, report).context("memory and idle time")?;
    durable(lab, &program, scale, report).context("first packet to record")
}

fn memory_and_idle(lab: &Arc<Lab>, program: &Path, scale: Scale, report: &mut Report) -> Result<()> {
    let mut rows = Vec::new();
    let mut scraped = None;
    let window = Duration::from_secs(scale.pick(20, 2));
    let counts: &[u32] = scale.pick(&[0, 1_000, 10_000, 100_000], &[0, 10_000]);
    for &flows in counts {
        let agent = Agent::start(lab, program, ONE_SITE)?;
        let pid = agent.pid();
        lab.on(Side::Near, || {
            let socket = UdpSocket::bind(Family::V4.unspecified())?;
            for idx in 0..flows {
                socket.send_to(&[0; 64], Family::V4.dropped(idx)).context("send")?;
            }
            // The socket lives on: its slots are in use while memory is measured.
            thread::sleep(Duration::from_secs(3));
            let resident = resident_bytes(pid)? as f64 / MIB;
            let maps = resident_map_bytes(pid)? as f64 / MIB;
            let percent = cpu_percent(pid, window)?;
            rows.push(vec![
                flows.to_string(),
                format!("{resident:.1}"),
                format!("{maps:.1}"),
                format!("{percent:.2}"),
            ]);
            match flows {
                0 => report.budget(
                    ("agent, processor time when idle", 0.5, "% of one"),
                    percent,
                    "one sweep a second, and the names of processes that start on this host meanwhile",
                ),
                10_000 => {
                    let times = scrapes(scale)?;
                    let what = "agent, `/metrics` with 10,000 flows";
                    report.budget((what, 20.0, "ms"), times, "the answer is made when it is asked for");
                    scraped = Some(times);
                }
                100_000 => report.budget(
                    ("agent, own memory with 100,000 flows", 64.0, "MB"),
                    (resident - maps) * MIB / 1e6,
                    "program, databases, and a row with its owner for each flow",
                ),
                _ => {}
            }
            Ok(())
        })?;
        agent.stop()?;
    }
    report.table(Table {
        title: "The agent",
        text: format!(
            "`homeport run` with the embedded database, watching the bench's cgroup. Destinations of one socket, one \
             datagram each, all in a country that is not approved; memory three seconds later, processor time over \
             the {} s after that, without traffic. `/metrics` with 10,000 flows, over HTTP on loopback, each time when \
             the answer before is out of date: {} ms.",
            window.as_secs(),
            scraped.map_or("not measured".to_owned(), |times| format!("{times:.2}"))
        ),
        columns: vec!["flows", "resident, MiB", "of it maps shared with the kernel, MiB", "processor, % of one"],
        rows,
    });
    Ok(())
}

fn durable(lab: &Arc<Lab>, program: &Path, scale: Scale, report: &mut Report) -> Result<()> {
    let countries: Vec<_> = COUNTRIES.split_whitespace().collect();
    let mut sites = String::new();
    for (idx, country) in countries.iter().enumerate() {
        let address = destination(idx);
        sites +=
            &format!("[[site]]\nname = \"s{idx}\"\ncountry = \"{country}\"\nnetworks = [\"{address}\"]\n");
    }
    let mut latencies = Vec::new();
    let mut missing = 0;
    for _ in 0..scale.pick(6, 1) {
        let agent = Agent::start(lab, program, &sites)?;
        let sent = lab.on(Side::Near, || {
            let mut sent = HashMap::new();
            for idx in 0..countries.len() {
                let address = destination(idx);
                let socket = UdpSocket::bind(Family::V4.unspecified())?;
                sent.insert(address, Instant::now());
                socket.send_to(&[0; 64], (address, 4000)).context("send")?;
                thread::sleep(Duration::from_millis(10));
            }
            Ok(sent)
        })?;
        // Everything is told long before the agent is asked to stop, which would close the episodes.
        thread::sleep(Duration::from_secs(2));
        let opened: HashMap<IpAddr, Instant> = agent.alerts.try_iter().collect();
        for (address, sent) in sent {
            match opened.get(&address) {
                Some(seen) => latencies.push(seen.duration_since(sent).as_secs_f64() * 1e3),
                None => missing += 1,
            }
        }
        agent.stop()?;
    }
    let count = latencies.len();
    let mut at = |share| percentile(&mut latencies, share);
    let (median, high, highest) = (at(0.5), at(0.99), at(1.0));
    let why = "a sync of the disk for the ledger, and one for the record file; *Append and sync* says what one takes here";
    report.budget(("first packet to synced record, p99", 50.0, "ms"), high, why);
    report.table(Table {
        title: "First packet to synced record",
        text: "From before the send call to the moment when `homeport run --human` has told of the alert, which it \
               does once the record is written and synced. A datagram every 10 ms, each to another country that is not approved, \
               so that each opens an episode."
            .to_owned(),
        columns: vec!["alerts", "without", "median, ms", "p99, ms", "longest, ms"],
        rows: vec![vec![
            count.to_string(),
            missing.to_string(),
            format!("{median:.2}"),
            format!("{high:.2}"),
            format!("{highest:.2}"),
        ]],
    });
    Ok(())
}

fn destination(idx: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1 + idx as u8))
}

/// `homeport run`, killed when it is dropped.
struct Agent {
    child: Child,
    /// Destinations of opened episodes, and when they were told.
    alerts: Receiver<(IpAddr, Instant)>,
    directory: TempDir,
}

impl Agent {
    fn start(lab: &Lab, program: &Path, sites: &str) -> Result<Self> {
        // Beside the program, not in /tmp, which may be memory: syncing must cost what it costs.
        let beside = program.parent().context("the program is in a directory")?;
        let directory = tempfile::Builder::new().prefix("bench-").tempdir_in(beside)?;
        let config = write_config(lab, directory.path(), sites)?;
        let errors = fs::File::create(directory.path().join("log"))?;
        let mut command = Command::new(program);
        command.args(["run", "--human", "--config"]).arg(config);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        let mut child = lab.spawn(&mut command)?;
        let stdout = child.stdout.take().context("standard output is piped")?;
        let (sender, alerts) = channel();
        thread::spawn(move || {
            let mut opened = false;
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let seen = Instant::now();
                let mut words = line.split_whitespace();
                match words.next() {
                    Some("what") => opened = line.contains("opened"),
                    // "where  Germany (DE): 203.0.113.7"
                    Some("where") if opened => {
                        let address =
                            words.next_back().and_then(|word| word.trim_end_matches(',').parse().ok());
                        if address.is_some_and(|address| sender.send((address, seen)).is_err()) {
                            return;
                        }
                    }
                    Some(_) | None => {}
                }
            }
        });
        let mut agent = Self { child, alerts, directory };
        agent.wait_until_it_runs()?;
        Ok(agent)
    }

    /// Until it answers, and has attached everything.
    fn wait_until_it_runs(&mut self) -> Result<()> {
        let directory = self.directory.path();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !directory.join("control.sock").exists() {
            if Instant::now() > deadline || self.child.try_wait()?.is_some() {
                bail!("the agent does not start; its log: {}", fs::read_to_string(directory.join("log"))?);
            }
            thread::sleep(Duration::from_millis(20));
        }
        thread::sleep(Duration::from_millis(1500));
        Ok(())
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn stop(mut self) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                if !status.success() {
                    bail!("the agent ended with {status}");
                }
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        bail!("the agent did not end")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_config(lab: &Lab, directory: &Path, sites: &str) -> Result<PathBuf> {
    let (cgroup, at) = (lab.cgroup().display(), directory.display());
    let path = directory.join("homeport.toml");
    let text = format!(
        "[host]\nname = \"bench\"\nnamespaces = \"own\"\ncgroup = \"{cgroup}\"\n\n\
         [records]\nfile = \"{at}/records.jsonl\"\nstdout = true\n\n\
         [page]\nlisten = \"{PAGE}\"\n\n\
         [agent]\nsocket = \"{at}/control.sock\"\nstate_dir = \"{at}/state\"\n\
         run_dir = \"{at}/run\"\npin_dir = \"none\"\n\n{sites}"
    );
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

/// Milliseconds of one scrape of `/metrics`; the agent is asked anew each time.
fn scrapes(scale: Scale) -> Result<Quartiles> {
    let mut times = Vec::new();
    for _ in 0..scale.pick(10, 2) {
        thread::sleep(Duration::from_millis(1100));
        let start = Instant::now();
        let mut stream = TcpStream::connect(PAGE).context("connect to the status page")?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        ensure!(answer.starts_with("HTTP/1.1 200 "), "the page answers {:?}", answer.lines().next());
    }
    Ok(Quartiles::of(times))
}

/// Share of one processor that a process takes over `window`.
fn cpu_percent(pid: u32, window: Duration) -> Result<f64> {
    let before = cpu_ticks(pid)?;
    thread::sleep(window);
    let ticks = cpu_ticks(pid)? - before;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64 / window.as_secs_f64() * 100.0)
}

/// User and system time of a process and all its threads.
fn cpu_ticks(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in brackets, may contain anything; the fields behind it are numbers.
    let (_, fields) = stat.rsplit_once(") ").context("no name in stat")?;
    let field = |idx: usize| fields.split(' ').nth(idx).and_then(|value| value.parse::<u64>().ok());
    // utime and stime are fields 14 and 15; the state, field 3, is the first here.
    field(11).zip(field(12)).map(|(user, system)| user + system).context("no times in stat")
}
