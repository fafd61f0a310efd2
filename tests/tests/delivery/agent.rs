//! The real agent with sinks: real packets, real programs in the kernel, real receivers.

use std::{
    collections::{BTreeMap, HashSet},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use homeport_tests::{
    agent::{Agent, binary, eventually},
    lab::{Family, Host, Lab},
    ledger,
    patience::patient,
    receiver::alertmanager::Alertmanager,
    records::Records,
    scene::{Scene, scene},
    settings::Settings,
};
use serde_json::Value;

use crate::receiver::Receiver;

/// Everything here takes a second or two.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Ports of the loopback interface of the storage host: nobody else is there.
const SIEM: u16 = 8443;
const DEAD: u16 = 8444;
const ALERTMANAGER: u16 = 9093;

/// Violations whose way to Alertmanager is measured.
const MEASURED: usize = 12;

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// A receiver on the storage host.
fn receiver(lab: &Lab, port: u16) -> Result<Receiver> {
    let bind = || {
        // Connections of the one before may linger.
        eventually(Duration::from_secs(10), || Ok(TcpListener::bind(local(port))?))
    };
    Ok(Receiver::serve(lab.within(Host::Storage, bind)?, None))
}

fn webhook(name: &str, port: u16) -> String {
    format!(
        "[[sink]]\nname = \"{name}\"\nkind = \"webhook\"\nurl = \"http://127.0.0.1:{port}/in\"\nlinger_ms = 0\n\
         timeout_secs = 2\nretry_max_secs = 2\n\n"
    )
}

fn file(name: &str, path: &std::path::Path) -> String {
    format!("[[sink]]\nname = \"{name}\"\nkind = \"jsonl\"\npath = \"{}\"\nlinger_ms = 0\n\n", path.display())
}

/// A transfer to a country that is not approved.
fn violate(lab: &Lab, host: Host) -> Result<()> {
    let at: SocketAddr = (host.address(Family::V4), 9000).into();
    let _sink = lab.listener(host, "tcp-sink", at, "")?;
    lab.send(Host::Storage, &format!("tcp-push --to {at} --bytes 20000")).map(drop)
}

pub(crate) fn status(agent: &Agent) -> Result<Value> {
    let mut command = Command::new(binary()?);
    command.args(["status", "--json", "--socket"]).arg(agent.directory().join("control.sock"));
    Ok(serde_json::from_slice(&command.output()?.stdout)?)
}

fn sink_row(agent: &Agent, name: &str) -> Result<Value> {
    let status = status(agent)?;
    let rows = status["sinks"].as_array().context("sinks")?;
    rows.iter().find(|row| row["name"] == name).cloned().with_context(|| format!("no sink {name}: {rows:#?}"))
}

pub(crate) fn ledger_dir(agent: &Agent) -> PathBuf {
    agent.directory().join("state/ledger")
}

fn uids(records: &[Value]) -> Vec<String> {
    records.iter().map(|record| record["metadata"]["uid"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Everything that the ledger has came, the first of each in its order.
fn check_complete(received: &[Value], signed: &Records) -> Result<()> {
    let mut seen = HashSet::new();
    let firsts: Vec<String> = uids(received).into_iter().filter(|uid| seen.insert(uid.clone())).collect();
    let expected = uids(&signed.0);
    let missing: Vec<&String> = expected.iter().filter(|uid| !seen.contains(*uid)).collect();
    ensure!(missing.is_empty(), "{} of {} did not come: {missing:?}", missing.len(), expected.len());
    ensure!(firsts == expected, "out of order, or not of this ledger: {firsts:#?}");
    Ok(())
}

/// All that was written, as an outsider reads it.
fn signed(agent: &Agent) -> Result<Records> {
    ledger::verify(&ledger_dir(agent))?.records()
}

fn has_violation(records: &[Value], country: &str) -> bool {
    !Records(records.to_vec()).episodes_in(country).is_empty()
}

#[test]
fn a_violation_reaches_webhook_file_and_alertmanager_whatever_a_dead_sink_does() {
    let mut more: String = (1..=MEASURED)
        .map(|number| {
            format!(
                "[[site]]\nname = \"site-{number}\"\ncountry = \"DE\"\nnetworks = [\"2001:db8:0:113:1::{number:x}\"]\n"
            )
        })
        .collect();
    more += &webhook("siem", SIEM);
    more += &webhook("dead", DEAD);
    more += &format!(
        "[[sink]]\nname = \"oncall\"\nkind = \"alertmanager\"\nurls = [\"http://127.0.0.1:{ALERTMANAGER}\"]\n\
         resend_secs = 5\nheartbeat = true\n"
    );
    let settings = Settings { interval_secs: 1, more, ..Settings::default() };
    let lab = Lab::new().expect("a lab");
    let siem = receiver(&lab, SIEM).expect("a receiver");
    let directory = tempfile::tempdir().expect("a directory");
    let mut scene = Scene::start_in(lab, &settings).expect("the agent watches");
    let alertmanager = Alertmanager::on(&scene.lab, Host::Storage, directory.path(), ALERTMANAGER)
        .expect("Alertmanager is ready");
    let outcome = (|| -> Result<()> {
        violate(&scene.lab, Host::Foreign)?;
        let fires = |country: &str| {
            let alerts = alertmanager.alerts().context("Alertmanager answers")?;
            let found = alerts.iter().find(|alert| {
                alert["labels"]["alertname"] == "EgressResidencyViolation"
                    && alert["labels"]["country"] == country
            });
            found.cloned().with_context(|| format!("no alert for {country}: {alerts:#?}"))
        };
        let alert = eventually(SOON, || fires("DE"))?;
        ensure!(alert["labels"]["host"] == "storage-1" && alert["labels"]["policy"] == "lab", "{alert:#}");
        eventually(SOON, || {
            let alerts = alertmanager.alerts().context("Alertmanager answers")?;
            let beats = alerts.iter().any(|alert| alert["labels"]["alertname"] == "HomeportHeartbeat");
            ensure!(beats, "{alerts:#?}");
            ensure!(has_violation(&siem.records(), "DE"), "the webhook has not got it");
            ensure!(!scene.agent.records()?.episodes_in("DE").is_empty(), "the file has not got it");
            let row = sink_row(&scene.agent, "dead")?;
            ensure!(row["state"] == "failing" && row["delivered"] == 0, "{row:#}");
            ensure!(
                sink_row(&scene.agent, "siem")?["state"] == "delivering",
                "one dead sink has harmed another"
            );
            Ok(())
        })?;
        let mut times = measure(&scene, &alertmanager)?;
        times.sort();
        eprintln!(
            "from a program that begins to send to Alertmanager showing it, of {}: p50 {:?}, longest {:?}",
            times.len(),
            times[times.len() / 2],
            times[times.len() - 1]
        );
        let in_file = scene.finish()?;
        let signed = signed(&scene.agent)?;
        check_complete(&siem.records(), &signed).context("webhook")?;
        ensure!(uids(&in_file.0) == uids(&signed.0), "the file is the ledger");
        Ok(())
    })();
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}

/// One violation after the other, each at a place of its own.
fn measure(scene: &Scene, alertmanager: &Alertmanager) -> Result<Vec<Duration>> {
    let network = "2001:db8:0:113:1::";
    scene.lab.shell(Host::Foreign, &format!("ip -6 route add local {network}/96 dev lo"))?;
    let via = Host::Foreign.address(Family::V6);
    scene.lab.shell(Host::Router, &format!("ip -6 route add {network}/96 via {via}"))?;
    let _sink = scene.lab.listener(Host::Foreign, "tcp-sink", "[::]:9001".parse()?, "")?;
    (1..=MEASURED)
        .map(|number| {
            let mut actor = scene
                .lab
                .actor(Host::Storage, &format!("tcp-push --to [{network}{number:x}]:9001 --bytes 20000"))?;
            let begin = Instant::now();
            let site = format!("site-{number}");
            while !alertmanager
                .alerts()
                .is_some_and(|alerts| alerts.iter().any(|alert| alert["labels"]["site"] == site.as_str()))
            {
                ensure!(begin.elapsed() < patient(SOON), "no alert for {site}");
                thread::sleep(Duration::from_millis(2));
            }
            let took = begin.elapsed();
            actor.succeed()?;
            Ok(took)
        })
        .collect()
}

/// D3, rows 1 and 2, with the agent itself (thousands of kills are a campaign).
#[test]
fn an_agent_that_is_stopped_or_killed_goes_on_where_its_receivers_were() {
    let settings = Settings { interval_secs: 1, more: webhook("siem", SIEM), ..Settings::pinned() };
    scene(&settings, |scene| {
        let mut received: Vec<Value> = Vec::new();
        let siem = receiver(&scene.lab, SIEM)?;
        violate(&scene.lab, Host::Foreign)?;
        eventually(SOON, || {
            ensure!(has_violation(&siem.records(), "DE"), "the first violation has not come");
            Ok(())
        })?;

        // Killed while it delivers.
        scene.agent.kill()?;
        scene.agent.start_again(&scene.lab)?;
        eventually(SOON, || {
            let lifecycle =
                Records(siem.records()).lifecycle().iter().filter(|event| **event == "start").count();
            ensure!(lifecycle == 2, "{lifecycle} starts have come");
            Ok(())
        })?;

        // Stopped while the receiver is away, with a violation that nobody has.
        received.extend(siem.records());
        drop(siem);
        eventually(SOON, || {
            let row = sink_row(&scene.agent, "siem")?;
            ensure!(row["state"] == "failing", "{row:#}");
            Ok(())
        })?;
        violate(&scene.lab, Host::Denied)?;
        eventually(SOON, || {
            ensure!(!signed(&scene.agent)?.episodes_in("CN").is_empty(), "not in the ledger");
            Ok(())
        })?;
        ensure!(scene.agent.stop()?.success(), "a good end");
        let siem = receiver(&scene.lab, SIEM)?;
        scene.agent.start_again(&scene.lab)?;
        eventually(SOON, || {
            ensure!(has_violation(&siem.records(), "CN"), "what nobody had has not come");
            Ok(())
        })?;
        let in_file = scene.finish()?;
        received.extend(siem.records());
        let signed = signed(&scene.agent)?;
        check_complete(&received, &signed)?;
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        uids(&in_file.0).into_iter().for_each(|uid| *counts.entry(uid).or_default() += 1);
        let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
        ensure!(twice.is_empty(), "in the file twice: {twice:?}");
        ensure!(uids(&in_file.0) == uids(&signed.0), "the file is the ledger");
        Ok(())
    });
}

#[test]
fn a_reload_adds_changes_and_removes_sinks() {
    let settings = Settings { interval_secs: 1, more: webhook("siem", SIEM), ..Settings::default() };
    scene(&settings, |scene| {
        let siem = receiver(&scene.lab, SIEM)?;
        violate(&scene.lab, Host::Foreign)?;
        eventually(SOON, || {
            ensure!(has_violation(&siem.records(), "DE"), "the violation has not come");
            Ok(())
        })?;
        let path = scene.agent.directory().join("copy.jsonl");
        let changed = webhook("siem", SIEM) + "headers = [\"X-Site: fra\"]\n\n";
        let other = Settings { more: changed + &file("copy", &path), ..settings.clone() };
        scene.agent.reload(&other.toml(scene.agent.directory()))?;
        eventually(SOON, || {
            // A new sink begins with the oldest record.
            ensure!(!Records::read(&path)?.episodes_in("DE").is_empty(), "the new sink has nothing");
            let requests = siem.requests();
            let last = requests.last().context("a request")?;
            ensure!(last.head.to_lowercase().contains("x-site: fra"), "{}", last.head);
            Ok(())
        })?;
        let fewer = Settings { more: file("copy", &path), ..settings.clone() };
        scene.agent.reload(&fewer.toml(scene.agent.directory()))?;
        eventually(SOON, || {
            let row = sink_row(&scene.agent, "siem")?;
            ensure!(row["state"] == "removed", "{row:#}");
            Ok(())
        })?;
        let count = siem.requests().len();
        violate(&scene.lab, Host::Denied)?;
        eventually(SOON, || {
            ensure!(!Records::read(&path)?.episodes_in("CN").is_empty(), "the other sink has not got it");
            Ok(())
        })?;
        ensure!(siem.requests().len() == count, "who was removed got something");
        let records = scene.finish()?;
        let changes: Vec<String> = records
            .0
            .iter()
            .filter(|record| record["unmapped"]["homeport"]["event"] == "configuration-change")
            .flat_map(|record| {
                record["unmapped"]["homeport"]["changes"].as_array().cloned().unwrap_or_default()
            })
            .filter_map(|change| change.as_str().map(str::to_owned))
            .collect();
        ensure!(
            changes == ["sink copy: added (jsonl)", "sink siem: changed", "sink siem: removed (webhook)"],
            "{changes:#?}"
        );
        check_complete(&Records::read(&path)?.0, &signed(&scene.agent)?)
    });
}
