//! The residency statement of a real ledger, against sums made by hand from what `ledger show` prints.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use homeport_tests::{
    agent::{binary, eventually},
    lab::{Family, Host},
    ledger,
    page::browser::{Browser, View},
    scene::scene,
    settings::Settings,
};
use serde_json::{Value, json};

use crate::sink_at;

const AXE: &str = include_str!("../page/axe/axe.min.js");

const EXCEPTION: &str = r#"
[[exception]]
id = "EX-1"
destination = { country = "DE" }
expires = "2099-01-01T00:00:00Z"
approver = "J. Doe"
reason = "a test"
max_bytes = 1000000
"#;

fn homeport(arguments: &[&str], directory: &Path) -> Result<(i32, String)> {
    let output = Command::new(binary()?).args(arguments).arg(directory).output()?;
    let code = output.status.code().context("a signal")?;
    Ok((code, String::from_utf8(output.stdout)?))
}

fn sum<'a>(values: impl Iterator<Item = &'a Value>) -> u64 {
    values.filter_map(Value::as_u64).sum()
}

#[test]
fn the_statement_has_the_numbers_of_the_ledger() {
    let settings = Settings { interval_secs: 1, more: EXCEPTION.to_owned(), ..Settings::default() };
    scene(&settings, |scene| {
        let path = scene.agent.directory().join("state/ledger");
        for (host, bytes) in [(Host::Approved, 30_000), (Host::Foreign, 20_000), (Host::Denied, 10_000)] {
            let at = sink_at(host, Family::V4);
            let _sink = scene.lab.listener(host, "tcp-sink", at, "")?;
            scene.lab.send(Host::Storage, &format!("tcp-push --to {at} --bytes {bytes}"))?;
        }
        eventually(Duration::from_secs(30), || {
            let records = ledger::verify(&path)?.records()?;
            ensure!(!records.episodes_in("CN").is_empty(), "the violation is not signed yet");
            Ok(())
        })?;
        ensure!(scene.agent.stop()?.success(), "a good end");

        let (code, statement) = homeport(&["report", "--json"], &path)?;
        ensure!(code == 0, "the ledger verifies: {code}");
        let statement: Value = serde_json::from_str(&statement)?;
        let (_, shown) = homeport(&["ledger", "show", "--json"], &path)?;
        let records: Vec<Value> = shown
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).map(|mut line| line["record"].take()))
            .collect::<Result<_, _>>()?;
        let of = |class: u64| records.iter().filter(move |record| record["class_uid"] == class);
        let classes: Vec<&Value> = of(4001)
            .filter_map(|record| record["unmapped"]["homeport"]["classes"].as_array())
            .flatten()
            .collect();
        for verdict in ["approved", "excepted", "violation"] {
            let own = || classes.iter().filter(|class| class["verdict"] == verdict);
            for what in ["wire", "payload", "packets"] {
                let by_hand = sum(own().map(|class| &class["bytes"][what]));
                ensure!(by_hand > 0, "nothing was {verdict}");
                let told = &statement["totals"][verdict]["bytes"][what];
                ensure!(told == by_hand, "{verdict} {what}: {told}, by hand {by_hand}");
                let places = statement["places"].as_array().context("places")?;
                let places = sum(places.iter().map(|place| &place[verdict]["bytes"][what]));
                ensure!(places == by_hand, "{verdict} {what}: {places} by place, by hand {by_hand}");
            }
        }
        for (list, kind) in [("violations", "transfer"), ("attempts", "attempt")] {
            let rows = statement[list].as_array().context("rows")?;
            let own = of(2004).filter(|record| record["unmapped"]["homeport"]["kind"] == kind);
            let by_hand = sum(own.map(|record| &record["unmapped"]["homeport"]["bytes_since_last"]["wire"]));
            let told = sum(rows.iter().map(|row| &row["in_period"]["wire"]));
            ensure!(told == by_hand, "{list}: {told}, by hand {by_hand}");
        }
        let violations = statement["violations"].as_array().context("violations")?;
        ensure!(violations.iter().any(|row| row["place"] == "site shanghai, China (CN)"), "{violations:#?}");
        let exception = &statement["exceptions"][0];
        ensure!(exception["id"] == "EX-1", "{exception:#}");
        ensure!(exception["says"].to_string().contains("J. Doe"), "{exception:#}");
        let policy = &statement["policies"][0];
        ensure!(policy["says_is_hashed"] == true, "what the policy says has its hash: {policy:#}");
        ensure!(statement["answer"]["word"] == "out-of-policy", "{:#}", statement["answer"]);
        ensure!(statement["coverage"]["unrecorded_ms"] == 0, "{:#}", statement["coverage"]);
        ensure!(statement["proof"]["entries"] == records.len(), "{:#}", statement["proof"]);

        look_at_html(&path)?;

        // A byte of the ledger is changed: the statement says that it proves nothing.
        let bundle = path.join(format!("tile/entries/000.p/{}", records.len()));
        if bundle.exists() {
            let mut bytes = std::fs::read(&bundle)?;
            let last = bytes.len() - 10;
            bytes[last] ^= 1;
            std::fs::write(&bundle, bytes)?;
            let (code, statement) = homeport(&["report"], &path)?;
            ensure!(code == 10 && statement.contains("NOT PROVEN"), "{code}: {statement}");
        }
        Ok(())
    });
}

/// As a lawyer opens it: a file, in a browser, on paper.
fn look_at_html(ledger: &Path) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("statement.html");
    let mut report = Command::new(binary()?);
    report.args(["report", "--html", "--output"]).arg(&file).arg(ledger);
    ensure!(report.status()?.success(), "the statement is made");
    let url = format!("file://{}", file.display());
    let mut browser = Browser::start(|program| Command::new(program))?;
    for (width, dark) in [(1024, false), (1024, true), (390, false)] {
        browser.set_view(View { width, height: 900, dark })?;
        browser.call("Page.navigate", json!({"url": url}))?;
        browser.eventually(
            "document.readyState === 'complete' && document.title.startsWith('Data residency')",
        )?;
        let text = browser.evaluate("document.body.innerText")?;
        let text = text.as_str().context("text")?;
        for words in ["out of policy", "shanghai", "EX-1", "J. Doe"] {
            ensure!(text.to_lowercase().contains(&words.to_lowercase()), "{words} is missing: {text}");
        }
        let fits = browser.evaluate("document.documentElement.scrollWidth <= innerWidth")?;
        ensure!(fits == true, "wider than {width} pixels");
        // The file's policy lets no script in; the tools of the browser are not bound by it.
        browser.evaluate(&format!("{AXE}; true"))?;
        let found = browser.evaluate(
            "axe.run({ resultTypes: ['violations'] }).then((found) => found.violations.map((v) => v.id + ' (' + v.impact + '): ' + v.nodes.map((n) => n.html.slice(0, 200)).slice(0, 3).join(', ')))",
        )?;
        ensure!(found == json!([]), "axe at {width} pixels, dark: {dark}: {found:#}");
    }
    let printed = browser.call("Page.printToPDF", json!({"preferCSSPageSize": true}))?;
    let printed = printed["data"].as_str().context("a PDF")?;
    // "%PDF-1", in base64.
    ensure!(printed.starts_with("JVBERi0x") && printed.len() > 10_000, "{} letters of PDF", printed.len());
    ensure!(browser.complaints().is_empty(), "the browser complains: {:#?}", browser.complaints());
    let foreign: Vec<&str> = browser.requests().into_iter().filter(|request| *request != url).collect();
    ensure!(foreign.is_empty(), "it asks for more than itself: {foreign:?}");
    Ok(())
}

#[test]
fn without_an_agent_top_says_so_in_a_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(binary().expect("built"));
    let output = command.args(["top", "--socket"]).arg(directory.path().join("none.sock")).output();
    let output = output.expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(7), "{text}");
    assert!(text.contains("no agent answers on") && text.lines().count() == 1, "{text}");
    assert!(!text.contains('\u{1b}') && output.stdout.is_empty(), "{text}");
}
