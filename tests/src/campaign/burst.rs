//! A burst of violations: how long from the first byte of each until a real Alertmanager shows it?
//!
//! The real agent on the storage host of the lab, with an Alertmanager on the loopback interface of that host. Programs
//! begin to send to hundreds of places abroad, one after the other and quickly; each is a violation with an alert of its
//! own. Alertmanager is asked again and again what it shows, so the times have what asking takes in them.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};

use serde_json::Value;

use super::{Progress, Report};
use crate::{
    lab::{Family, Host, Lab},
    patience::patient,
    receiver::alertmanager::Alertmanager,
    scene::Scene,
    settings::Settings,
};

/// What 99 of 100 violations may take until somebody can be told.
const SHOWN_WITHIN: Duration = Duration::from_secs(1);

/// Between two questions to Alertmanager. Its answer is half a megabyte in the end: more questions would be load.
const ASKED_EVERY: Duration = Duration::from_millis(20);

/// Every place has an address in here.
const NETWORK: &str = "2001:db8:0:113:1::";

const PORT: u16 = 9000;
const ALERTMANAGER: u16 = 9093;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Violations, each at a place of its own.
    pub violations: u32,
    /// Milliseconds between two of them.
    pub pause_ms: u64,
    /// Whether time is a promise: only for optimized builds.
    pub is_timed: bool,
}

impl Plan {
    /// A few seconds.
    pub const fn short() -> Self {
        Self { violations: 40, pause_ms: 5, is_timed: false }
    }
}

/// Runs it.
///
/// # Errors
///
/// When something could not be done at all; broken promises are in the report.
pub fn run(plan: &Plan, progress: Progress) -> Result<Report> {
    let count = plan.violations;
    ensure!((1..=10_000).contains(&count), "1 to 10,000 violations");
    let mut more = String::new();
    for number in 1..=count {
        // Writing to a string cannot fail.
        let _ = writeln!(
            more,
            "[[site]]\nname = \"site-{number}\"\ncountry = \"DE\"\nnetworks = [\"{NETWORK}{number:x}\"]\n"
        );
    }
    more += &format!(
        "[[sink]]\nname = \"oncall\"\nkind = \"alertmanager\"\nurls = [\"http://127.0.0.1:{ALERTMANAGER}\"]\n"
    );
    let directory = tempfile::tempdir()?;
    let mut scene = Scene::start_in(Lab::new()?, &Settings { more, ..Settings::default() })?;
    let alertmanager = Alertmanager::on(&scene.lab, Host::Storage, directory.path(), ALERTMANAGER)?;
    scene.lab.shell(Host::Foreign, &format!("ip -6 route add local {NETWORK}/96 dev lo"))?;
    let via = Host::Foreign.address(Family::V6);
    scene.lab.shell(Host::Router, &format!("ip -6 route add {NETWORK}/96 via {via}"))?;
    let _sink = scene.lab.listener(Host::Foreign, "tcp-sink", format!("[::]:{PORT}").parse()?, "")?;

    progress.tell(format_args!("{count} violations"));
    let is_over = AtomicBool::new(false);
    let (sent, shown) = thread::scope(|scope| -> Result<_> {
        let alertmanager = &alertmanager;
        let watch = scope.spawn(|| watch(alertmanager, count as usize, &is_over));
        let sent = (|| -> Result<Value> {
            let words = format!(
                "tcp-sprinkle --first {NETWORK}1 --count {count} --port {PORT} --bytes 2000 --pause-ms {}",
                plan.pause_ms
            );
            let mut sprinkle = scene.lab.actor(Host::Storage, &words)?;
            let sent = sprinkle.line()?;
            sprinkle.succeed()?;
            // Until all are shown, or patience ends.
            let mut waited = Duration::ZERO;
            while !is_over.load(Ordering::Relaxed) && waited < patient(Duration::from_secs(30)) {
                thread::sleep(ASKED_EVERY);
                waited += ASKED_EVERY;
            }
            Ok(sent)
        })();
        is_over.store(true, Ordering::Relaxed);
        let shown = watch.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((sent?, shown?))
    })?;

    let mut delays = Vec::new();
    for (number, connection) in (1..).zip(sent["sent"].as_array().context("a list")?) {
        let at_ns = connection["at_ns"].as_u64().context("a time")?;
        if let Some(shown_ns) = shown.get(&format!("site-{number}")) {
            delays.push(Duration::from_nanos(shown_ns.saturating_sub(at_ns)));
        }
    }
    delays.sort_unstable();
    let mut report = Report::default();
    report.figure("violations", count);
    report.figure("milliseconds between two", plan.pause_ms);
    report.exactly("shown by Alertmanager", count as usize, delays.len());
    if let Some(last) = delays.len().checked_sub(1) {
        let at = |share: f64| delays[(last as f64 * share).ceil() as usize];
        let millis = |time: Duration| format!("{:.0}", time.as_secs_f64() * 1e3);
        report.figure("first byte to shown, median, ms", millis(at(0.5)));
        if plan.is_timed {
            let is_kept = at(0.99) < SHOWN_WITHIN;
            let limit = format!("< {}", SHOWN_WITHIN.as_millis());
            report.promise("first byte to shown, p99, ms", millis(at(0.99)), limit, is_kept);
        } else {
            report.figure("first byte to shown, p99, ms", millis(at(0.99)));
        }
        report.figure("first byte to shown, longest, ms", millis(at(1.0)));
    }
    let records = scene.finish()?;
    let episodes = records.episodes_in("DE").len();
    report.promise("episodes on record", episodes, count, episodes >= count as usize);
    Ok(report)
}

/// When each site was shown first, in nanoseconds since 1970, until `count` of them are or somebody says that it is over.
fn watch(alertmanager: &Alertmanager, count: usize, is_over: &AtomicBool) -> Result<HashMap<String, u64>> {
    let mut shown = HashMap::new();
    while !is_over.load(Ordering::Relaxed) {
        let alerts = alertmanager.alerts().context("Alertmanager does not answer")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
        for site in alerts.iter().filter_map(|alert| alert["labels"]["site"].as_str()) {
            shown.entry(site.to_owned()).or_insert(now);
        }
        if shown.len() >= count {
            is_over.store(true, Ordering::Relaxed);
        }
        thread::sleep(ASKED_EVERY);
    }
    Ok(shown)
}
