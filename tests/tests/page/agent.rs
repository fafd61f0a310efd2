//! With the real agent: a violation is shown as it happens, and whatever clients do leaves the accounting untouched.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use homeport_tests::{
    agent::eventually,
    lab::{Family, Host},
    page::browser::{Browser, View},
    running::Running,
    scene::{Scene, scene},
    settings::Settings,
};

/// A sweep, a record, a checkpoint.
const PATIENCE: Duration = Duration::from_secs(30);

const URL: &str = "http://127.0.0.1:9646/";

/// Opens a thousand connections, begins a request on each, and asks for the status on one more when they have gone.
/// In Python, because it has to run in the network namespace of the storage host.
const CROWD: &str = r#"
import socket, sys
crowd = []
for number in range(1000):
    s = socket.create_connection(("127.0.0.1", 9646), timeout=60)
    try:
        s.sendall([b"GET / HTTP/1.1\r\nHost: loc", b"\x00\xff" * 40 + b"\r\n\r\n", b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n"][number % 3])
    except OSError:
        pass
    crowd.append(s)
print(len(crowd), flush=True)
sys.stdin.readline()
"#;

#[test]
fn a_violation_is_on_the_page_while_it_happens() {
    let settings =
        Settings { more: "[page]\nlisten = \"127.0.0.1:9646\"\n".to_owned(), ..Settings::default() };
    scene(&settings, |scene| {
        let mut browser = Browser::start(|program| scene.lab.command(Host::Storage, program))?;
        browser.set_view(View { width: 1440, height: 900, dark: false })?;
        browser.open(URL)?;
        browser.eventually("document.documentElement.dataset.state !== undefined")?;
        let state = browser.evaluate("document.documentElement.dataset.state")?;
        ensure!(state != "violation", "nothing has happened yet: {state}");
        browser.evaluate("window.notReloaded = true")?;

        let at = crate::sink_at(Host::Denied, Family::V4);
        let _sink = scene.lab.listener(Host::Denied, "tcp-sink", at, "")?;
        scene.lab.send(Host::Storage, &format!("tcp-push --to {at} --bytes 200000"))?;

        browser.eventually("document.documentElement.dataset.state === 'violation'")?;
        browser.eventually("document.querySelector('.episode') !== null")?;
        let row = browser.evaluate("document.querySelector('.episode').innerText")?;
        let row = row.as_str().unwrap_or_default().to_owned();
        ensure!(row.contains("critical") && row.contains("China") && row.contains("actor"), "{row}");
        browser.evaluate("document.querySelector('.episode').click()")?;
        browser.eventually("document.querySelector('.details dl') !== null")?;
        let details = browser.evaluate("document.querySelector('.details').innerText")?;
        let details = details.as_str().unwrap_or_default().to_owned();
        ensure!(details.contains(&at.ip().to_string()) && details.contains("lab"), "{details}");
        // It came by itself.
        let state = browser.evaluate("window.notReloaded === true")?;
        ensure!(state == true, "the page was loaded again");
        // What is being counted is on the map before its minute is over.
        browser.eventually("document.getElementById('m-CN').classList.contains('against')")?;
        let complaints = browser.complaints();
        ensure!(complaints.is_empty(), "the browser complains: {complaints:#?}");
        Ok(())
    });
}

/// What the page knows is in the ledger: an agent that is started again has everything that the one before it had.
#[test]
fn the_next_agent_has_the_history_of_the_one_before_it_and_tells_of_its_receivers() {
    // Nobody listens there: what is not delivered is told.
    let dead = "[[sink]]\nname = \"siem\"\nkind = \"webhook\"\nurl = \"http://127.0.0.1:9/records\"\n";
    let settings = Settings {
        more: format!("[page]\nlisten = \"127.0.0.1:9646\"\n{dead}"),
        interval_secs: 1,
        ..Settings::default()
    };
    scene(&settings, |scene| {
        let at = crate::sink_at(Host::Denied, Family::V4);
        let _sink = scene.lab.listener(Host::Denied, "tcp-sink", at, "")?;
        scene.lab.send(Host::Storage, &format!("tcp-push --to {at} --bytes 200000"))?;
        // Recorded, which is more than being counted: it must not come from what is in memory of this run.
        let before = eventually(PATIENCE, || Shown::read(scene, |shown| shown.violating >= 200_000))?;
        ensure!(scene.agent.stop()?.success(), "a good end");
        scene.agent.start_again(&scene.lab)?;
        let after = eventually(PATIENCE, || Shown::read(scene, |shown| shown.violating >= 200_000))?;
        ensure!(
            after.violating < 2 * before.violating,
            "counted once: {before:?}, after the restart {after:?}"
        );
        ensure!(
            after.episode == before.episode && after.first_entry == before.first_entry,
            "{before:?} {after:?}"
        );
        ensure!(after.since == before.since, "records begin with the ledger: {before:?} {after:?}");
        ensure!(after.sealed > before.sealed, "the strip shows the latest checkpoint: {before:?} {after:?}");
        ensure!(after.behind >= before.behind, "nothing was delivered: {before:?} {after:?}");
        Ok(())
    });
}

/// What the page says, for comparing.
#[derive(Debug)]
struct Shown {
    episode: String,
    first_entry: u64,
    violating: u64,
    since: i64,
    sealed: u64,
    behind: u64,
}

impl Shown {
    fn read(scene: &Scene, enough: impl Fn(&Self) -> bool) -> anyhow::Result<Self> {
        let ask = |path: &str| -> anyhow::Result<serde_json::Value> {
            let url = format!("curl --silent --fail {URL}api/v1/{path}");
            serde_json::from_str(&scene.lab.ask(Host::Storage, &url)?).context("JSON expected")
        };
        let (status, history, episodes) = (ask("status")?, ask("history?range=day")?, ask("episodes")?);
        let rows = episodes["episodes"].as_array().context("episodes")?;
        let row = rows.iter().find(|row| row["place"]["country"] == "CN").context("no episode yet")?;
        let id = row["id"].as_str().context("an id")?;
        let view = ask(&format!("episodes/{id}"))?;
        let places = history["places"].as_array().context("places")?;
        let china = places.iter().find(|place| place["country"] == "CN").context("no bytes yet")?;
        let sinks = status["sinks"].as_array().context("sinks")?;
        let sink = sinks.iter().find(|sink| sink["name"] == "siem").context("the sink is not shown")?;
        ensure!(sink["state"] == "retrying" && sink["last_error"].is_string(), "{sink:#}");
        let number =
            |value: &serde_json::Value| value.as_u64().with_context(|| format!("{status:#} {view:#}"));
        let shown = Self {
            episode: id.to_owned(),
            first_entry: number(&view["entries"]["first"])?,
            violating: number(&china["violation"])?,
            since: status["records_since"].as_i64().context("records_since")?,
            sealed: number(&status["checkpoint"]["size"])?,
            behind: number(&sink["lag_entries"])?,
        };
        ensure!(enough(&shown) && shown.behind > 0, "{shown:?}");
        Ok(shown)
    }
}

#[test]
fn a_thousand_clients_leave_the_accounting_untouched() {
    let settings =
        Settings { more: "[page]\nlisten = \"127.0.0.1:9646\"\n".to_owned(), ..Settings::default() };
    scene(&settings, |scene| {
        let mut python = scene.lab.command(Host::Storage, "python3");
        python.args(["-c", CROWD]);
        let mut crowd = Running::start(&mut python)?;
        let size = crowd.line()?;
        ensure!(size == 1000, "a thousand connections expected: {size}");
        let at = crate::sink_at(Host::Foreign, Family::V4);
        let _sink = scene.lab.listener(Host::Foreign, "tcp-sink", at, "")?;
        let sent = scene.lab.send(Host::Storage, &format!("tcp-push --to {at} --bytes 3000000"))?;
        // To the byte, with the crowd there.
        let flows = scene.accounted()?;
        let payload: u64 = flows.with_data_to(at.ip()).map(|flow| flow.payload_bytes).sum();
        ensure!(payload >= sent.bytes, "{payload} of {} bytes", sent.bytes);
        crowd.tell("go")?;
        crowd.succeed()?;
        eventually(Duration::from_secs(30), || {
            let answer = scene.lab.ask(Host::Storage, &format!("curl --silent --fail {URL}api/v1/status"))?;
            let status: serde_json::Value = serde_json::from_str(&answer).context("JSON expected")?;
            ensure!(status["host"] == "storage-1", "{status:#}");
            let lost = status["losses"].as_array().context("losses")?;
            ensure!(lost.iter().all(|loss| loss["events"] == 0), "{lost:#?}");
            Ok(())
        })
    });
}
