//! How long it takes from the first byte of a transfer to its record in the file.
//!
//! Prints the figures and asserts only that every transfer has its record: a time that a shared machine must keep
//! would fail for reasons that are not ours. `HOMEPORT_LATENCY_CONNECTIONS` sets how many.

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs::File,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use homeport_tests::{
    lab::{Family, Host},
    patience::patient,
    scene::scene,
    settings::Settings,
};
use serde_json::Value;

const NETWORK: &str = "2001:db8:0:113:1::";
const POLL: Duration = Duration::from_micros(200);

#[test]
fn every_transfer_has_its_record_soon_after_its_first_byte() {
    let connections: u32 =
        std::env::var("HOMEPORT_LATENCY_CONNECTIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(300);
    // A site for each connection: otherwise all of them would be one episode, with one record.
    let mut sites = String::new();
    for number in 1..=connections {
        let _ = writeln!(
            sites,
            "[[site]]\nname = \"site-{number}\"\ncountry = \"DE\"\nnetworks = [\"{NETWORK}{number:x}\"]\n"
        );
    }
    let settings = Settings { more: sites, ..Settings::default() };
    scene(&settings, |scene| {
        scene.lab.shell(Host::Foreign, &format!("ip -6 route add local {NETWORK}/96 dev lo"))?;
        let via = Host::Foreign.address(Family::V6);
        scene.lab.shell(Host::Router, &format!("ip -6 route add {NETWORK}/96 via {via}"))?;
        let at = "[::]:9000".parse()?;
        let _sink = scene.lab.listener(Host::Foreign, "tcp-sink", at, "")?;
        let watch = Watch::start(scene.agent.records_path());
        let words = format!(
            "tcp-sprinkle --first {NETWORK}1 --count {connections} --port 9000 --bytes 2000 --pause-ms 5"
        );
        let mut sprinkle = scene.lab.actor(Host::Storage, &words)?;
        let sent = sprinkle.line()?;
        sprinkle.succeed()?;
        thread::sleep(patient(Duration::from_secs(2)));
        let seen = watch.stop()?;

        let mut delays = Vec::new();
        for connection in sent["sent"].as_array().context("a list")? {
            let to = connection["to"].as_str().context("an address")?;
            let sent_ns = connection["at_ns"].as_u64().context("a time")?;
            let seen_ns = seen.get(to).with_context(|| format!("no record for {to}, {} seen", seen.len()))?;
            delays.push(Duration::from_nanos(seen_ns.saturating_sub(sent_ns)));
        }
        ensure!(delays.len() == connections as usize, "{} records", delays.len());
        delays.sort_unstable();
        let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize];
        println!(
            "first byte to record in the file, {connections} connections: p50 {:?}, p99 {:?}, longest {:?}",
            at(0.5),
            at(0.99),
            at(1.0)
        );
        scene.accounted().map(drop)
    });
}

/// Reads a growing file and notes when each address was first mentioned in a finding that opens.
struct Watch {
    done: Arc<AtomicBool>,
    thread: JoinHandle<Result<HashMap<String, u64>>>,
}

impl Watch {
    fn start(path: PathBuf) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&done);
        let thread = thread::spawn(move || {
            while !path.exists() && !flag.load(Ordering::Relaxed) {
                thread::sleep(POLL);
            }
            let mut reader = BufReader::new(File::open(&path).context("open the records")?);
            let mut seen = HashMap::new();
            let mut line = String::new();
            loop {
                if reader.read_line(&mut line)? == 0 || !line.ends_with('\n') {
                    if flag.load(Ordering::Relaxed) {
                        return Ok(seen);
                    }
                    thread::sleep(POLL);
                    continue;
                }
                let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
                let record: Value = serde_json::from_str(&line)?;
                if record["class_uid"] == 2004 && record["activity_id"] == 1 {
                    let address = record["evidences"][0]["dst_endpoint"]["ip"].as_str().unwrap_or_default();
                    seen.entry(address.to_owned()).or_insert(now);
                }
                line.clear();
            }
        });
        Self { done, thread }
    }

    fn stop(self) -> Result<HashMap<String, u64>> {
        self.done.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the watching thread panicked"))?
    }
}
