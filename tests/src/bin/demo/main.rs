//! Shows the agent at work: `cargo xtask demo`.
//!
//! A storage host and three peers as network namespaces, the real agent on the storage host, and everyday programs
//! that move data out of it: some where it may go, some where it may not. At the end it compares what the agent
//! said with what really happened, and fails when they differ.

mod programs;
mod transfers;

use std::{
    io::Write as _,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use homeport_tests::{
    agent::eventually,
    lab::{Family, Host},
    records::{Episode, Records},
    scene::Scene,
    settings::Settings,
};

use self::{
    programs::Files,
    transfers::{Expected, TRANSFERS, Transfer},
};

const POLICY: &str = "\
[[policy]]
name = \"user-data\"
preset = \"us-only\"
denied_countries = [\"CN\"]
";

fn main() -> ExitCode {
    match demo() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo() -> Result<()> {
    let started = Instant::now();
    title("A storage host, a router, and peers in three countries");
    for (host, place) in [
        (Host::Storage, "watched"),
        (Host::Approved, "approved"),
        (Host::Foreign, "not approved"),
        (Host::Denied, "denied"),
    ] {
        println!(
            "  {host:<9} {}  {:<14} {:<19} {place}",
            host.country(),
            host.address(Family::V4),
            host.address(Family::V6),
        );
    }
    println!(
        "\nThe policy: user data stays in the United States, and never goes to China.\n\n{}",
        indent(POLICY)
    );

    let settings = Settings {
        policies: POLICY.to_owned(),
        quiet_secs: 2,
        arguments: &["--human"],
        // The embedded database, as on a host without a configuration.
        geo: String::new(),
        ..Settings::default()
    };
    let mut scene = Scene::start(&settings).context("start the lab and the agent")?;
    println!("The agent watches the storage host (process {}).", scene.agent.pid());

    let files = Files::new()?;
    let _servers = programs::start_servers(&scene.lab, &files)?;
    for (number, transfer) in TRANSFERS.iter().enumerate() {
        title(&format!("{}. {}", number + 1, transfer.title));
        println!("  {} $ {}\n", transfer.on, (transfer.shown)(&files));
        (transfer.run)(&scene.lab, &files).with_context(|| transfer.title.to_owned())?;
        pause_for_alert(&scene, transfer)?;
        show_printed(&scene, |_| true);
    }

    title("Is that all? The network card knows");
    let flows = scene.accounted().context("compare with the network card")?;
    let sent = scene.sent_by_card()?;
    println!(
        "  network card: {} bytes in {} packets left the host, link headers aside",
        sent.layer3_bytes(),
        sent.packets
    );
    println!("  agent:        {} bytes accounted for, difference 0", sent.layer3_bytes());
    title("homeport flows");
    print!("{}", indent(&scene.agent.flows_for_people()?));
    drop(flows);

    let records = scene.finish().context("stop the agent")?;
    title("The agent is told to stop, and closes what is open");
    show_printed(&scene, is_about_the_end);
    let kept = keep_records(&scene)?;

    title("Expected and seen");
    let failed = TRANSFERS.iter().filter(|transfer| !show_verdict(transfer, &records)).count();
    println!("\nRecords (OCSF 1.8, one JSON object per line): {}", kept.display());
    println!("The demo took {:.1} s.", started.elapsed().as_secs_f64());
    if failed > 0 {
        bail!("{failed} of {} transfers were not judged as expected", TRANSFERS.len());
    }
    Ok(())
}

/// Waits until the alert that must come has come, so that it is shown below its transfer.
fn pause_for_alert(scene: &Scene, transfer: &Transfer) -> Result<()> {
    if transfer.expected == Expected::Nothing {
        // Nothing to wait for: an alert that should not come would come within this time.
        std::thread::sleep(Duration::from_millis(1_500));
        return Ok(());
    }
    eventually(Duration::from_secs(5), || {
        ensure!(transfer.find(&scene.agent.records()?).is_some(), "no alert for: {}", transfer.title);
        Ok(())
    })
    .or_else(|error| {
        println!("  {error:#}");
        Ok(())
    })
}

fn show_printed(scene: &Scene, is_shown: fn(&str) -> bool) {
    // What the agent prints passes through a pipe.
    std::thread::sleep(Duration::from_millis(100));
    for line in scene.agent.printed().filter(|line| is_shown(line)) {
        println!("{}", format!("  {line}").trim_end());
    }
}

/// The rest was told when the episode began.
fn is_about_the_end(line: &str) -> bool {
    !line.starts_with(' ') || ["  what ", "  how much "].iter().any(|word| line.starts_with(word))
}

/// One row of the table at the end. False when it is not what was expected.
fn show_verdict(transfer: &Transfer, records: &Records) -> bool {
    let found = transfer.find(records);
    let seen = found.as_ref().map_or_else(|| "no alert".to_owned(), describe);
    let good = match transfer.expected {
        Expected::Nothing => transfer.find_any(records).is_none(),
        Expected::Violation { .. } => found.as_ref().is_some_and(|episode| transfer.is_complete(episode)),
    };
    let expected = match transfer.expected {
        Expected::Nothing => "no alert",
        Expected::Violation { .. } => "alert",
    };
    println!(
        "  {:<4} {:<58} expected {expected:<8}  seen {seen}",
        if good { "ok" } else { "FAIL" },
        transfer.title
    );
    good
}

fn describe(episode: &Episode) -> String {
    format!(
        "{}, {}, {} bytes, policy {}, {}",
        episode.country().unwrap_or("no country"),
        episode.exe().unwrap_or("no executable"),
        episode.wire_bytes().unwrap_or_default(),
        episode.policy().unwrap_or("none"),
        episode.rule().unwrap_or("no rule"),
    )
}

/// The lab goes away with all its files; the records stay for whoever wants to look at them.
fn keep_records(scene: &Scene) -> Result<PathBuf> {
    let mut kept = tempfile::Builder::new().prefix("homeport-demo-").suffix(".jsonl").tempfile()?;
    kept.write_all(&std::fs::read(scene.agent.records_path())?)?;
    let (_, path) = kept.keep()?;
    Ok(path)
}

fn title(text: &str) {
    println!("\n== {text}\n");
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}
