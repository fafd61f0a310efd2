//! A real Prometheus scrapes the real agent by the rules that we ship, and a real Alertmanager gets their alert.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use homeport_tests::{
    agent::eventually,
    lab::{Family, Host},
    running::Running,
    scene::{Scene, scene},
    settings::Settings,
};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

const METRICS: &str = "http://127.0.0.1:9646/metrics";
const PROMETHEUS: &str = "http://127.0.0.1:9090";
const ALERTMANAGER: &str = "http://127.0.0.1:9093";

const ALERTMANAGER_CONFIG: &str = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n";

/// Flows that a scrape has to bear; `cargo xtask bench` measures what it takes.
const FLOWS: u64 = 10_000;

fn settings() -> Settings {
    Settings { more: "[page]\nlisten = \"127.0.0.1:9646\"\n".to_owned(), ..Settings::default() }
}

fn config(directory: &Path) -> Result<()> {
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../agent/deploy/prometheus/homeport.rules.yml");
    let text = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [\"{rules}\"]\nscrape_configs:\n  \
         - job_name: homeport\n    static_configs: [{{targets: [\"127.0.0.1:9646\"]}}]\nalerting:\n  alertmanagers:\n  \
         - static_configs: [{{targets: [\"127.0.0.1:9093\"]}}]\n"
    );
    fs::write(directory.join("prometheus.yml"), text)?;
    fs::write(directory.join("alertmanager.yml"), ALERTMANAGER_CONFIG)?;
    Ok(())
}

fn get(scene: &Scene, url: &str) -> Result<String> {
    scene.lab.ask(Host::Storage, &format!("curl --silent --fail --globoff '{url}'"))
}

fn json(scene: &Scene, url: &str) -> Result<Value> {
    serde_json::from_str(&get(scene, url)?).context("JSON expected")
}

#[test]
fn prometheus_scrapes_the_agent_and_alertmanager_gets_the_alert() {
    scene(&settings(), |scene| {
        let directory = tempfile::tempdir()?;
        let path = directory.path();
        config(path)?;
        let mut alertmanager = scene.lab.command(Host::Storage, "prometheus-alertmanager");
        alertmanager
            .arg(format!("--config.file={}", path.join("alertmanager.yml").display()))
            .arg(format!("--storage.path={}", path.join("alerts").display()))
            .args(["--web.listen-address=127.0.0.1:9093", "--cluster.listen-address="]);
        let _alertmanager = Running::start(&mut alertmanager)?;
        let mut prometheus = scene.lab.command(Host::Storage, "prometheus");
        prometheus
            .arg(format!("--config.file={}", path.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", path.join("data").display()))
            .arg("--web.listen-address=127.0.0.1:9090");
        let _prometheus = Running::start(&mut prometheus)?;
        let value = |query: &str| -> Result<f64> {
            let answer = json(scene, &format!("{PROMETHEUS}/api/v1/query?query={query}"))?;
            let text = answer["data"]["result"][0]["value"][1].as_str().context(query.to_owned())?.to_owned();
            Ok(text.parse()?)
        };
        eventually(PATIENCE, || {
            ensure!(value("up")? == 1.0, "not scraped yet");
            ensure!(value("homeport_episodes_open{kind=\"transfer\"}")? == 0.0, "nothing has happened");
            Ok(())
        })?;

        let at = crate::sink_at(Host::Denied, Family::V4);
        let _sink = scene.lab.listener(Host::Denied, "tcp-sink", at, "")?;
        scene.lab.send(Host::Storage, &format!("tcp-push --to {at} --bytes 50000"))?;
        let labels = eventually(PATIENCE, || {
            let alerts = json(scene, &format!("{ALERTMANAGER}/api/v2/alerts"))?;
            let alerts = alerts.as_array().context("a list")?.clone();
            let found = alerts.iter().find(|alert| alert["labels"]["alertname"] == "HomeportViolationOpen");
            Ok(found.context("the alert has not come")?["labels"].clone())
        })?;
        ensure!(labels["instance"] == "127.0.0.1:9646" && labels["severity"] == "critical", "{labels:#}");
        // What Prometheus has is what the agent says, to the byte.
        eventually(PATIENCE, || {
            let flows = scene.agent.summary()?;
            let told = value("sum(homeport_egress_wire_bytes_total)")?;
            ensure!(told as u64 == flows.totals.wire_bytes, "{told}, not {}", flows.totals.wire_bytes);
            Ok(())
        })?;
        ensure!(value("homeport_ledger_checkpoint_time_seconds")? > 1e9, "a checkpoint was signed");
        Ok(())
    });
}

#[test]
fn ten_thousand_flows_make_no_series() {
    scene(&settings(), |scene| {
        let series = |scene: &Scene| -> Result<usize> {
            Ok(get(scene, METRICS)?.lines().filter(|line| !line.starts_with('#')).count())
        };
        let before = series(scene)?;
        let words =
            "fan --first 2001:db8:0:51:b:: --addresses 4000000000 --port 4000 --seed 1 --sockets udp-kept";
        let mut fan = scene.lab.actor(Host::Storage, words)?;
        fan.line()?;
        fan.tell(&format!("send 0 {FLOWS}"))?;
        fan.line_within(PATIENCE)?;
        eventually(PATIENCE, || {
            let rows = scene.agent.summary()?.rows;
            ensure!(rows >= FLOWS, "{rows} flows");
            Ok(())
        })?;
        let after = series(scene)?;
        ensure!(after <= before + 8, "{before} series before, {after} with {FLOWS} flows");
        fan.tell("end")?;
        fan.succeed()
    });
}
