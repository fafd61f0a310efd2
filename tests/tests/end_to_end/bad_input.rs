//! What operators get wrong: said at once, completely, with an exit code that a service manager understands.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use homeport_tests::{
    agent,
    lab::{Family, Host, Lab, Nic},
    patience::patient,
    scene::scene,
    settings::Settings,
};
use tempfile::TempDir;

use crate::{check_violation, sink_at};

/// The configuration is wrong; trying again does not help.
const EXIT_CONFIGURATION: i32 = 3;
/// Rights are missing.
const EXIT_RIGHTS: i32 = 4;

/// Nobody answers on the control socket.
const EXIT_NO_AGENT: i32 = 7;

/// Writes the file and starts the agent, which must refuse.
fn run_refused(toml: &str) -> Result<Output> {
    let lab = Lab::new()?;
    let directory = TempDir::new()?;
    let path = directory.path().join("homeport.toml");
    fs::write(&path, toml)?;
    let mut command = lab.command(Host::Storage, "timeout");
    // One that is not refused would run forever.
    command
        .arg(patient(Duration::from_secs(30)).as_secs().to_string())
        .arg(agent::binary()?)
        .arg("run")
        .arg("--config")
        .arg(path);
    Ok(command.stdin(Stdio::null()).output()?)
}

#[track_caller]
fn check_refused(toml: &str, code: i32, words: &[&str]) {
    let output = run_refused(toml).expect("a lab");
    check_output(&output, code, words);
}

#[track_caller]
fn check_output(output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} expected in:\n{text}");
    }
}

fn lab_settings(policies: &str) -> String {
    // These never get as far as to read a database.
    let settings = Settings { policies: policies.to_owned(), geo: String::new(), ..Settings::default() };
    settings.toml("/nonexistent".as_ref())
}

#[test]
fn a_file_that_is_not_toml_is_refused_with_its_place() {
    check_refused("[host\nname = 1", EXIT_CONFIGURATION, &["homeport.toml", "1"]);
}

#[test]
fn all_faults_of_a_file_are_told_at_once() {
    let policies = "[[policy]]\nname = \"a\"\npreset = \"us-onyl\"\napproved_countries = [\"XX\"]\n\
                    approved_country = [\"US\"]\nunknown = \"ignore\"\n";
    check_refused(
        &lab_settings(policies),
        EXIT_CONFIGURATION,
        &["us-onyl", "us-only", "XX", "approved_country", "ignore", "treat-as-denied"],
    );
}

#[test]
fn lists_that_contradict_each_other_are_refused() {
    let policies =
        "[[policy]]\nname = \"a\"\napproved_countries = [\"US\", \"CN\"]\ndenied_countries = [\"CN\"]\n";
    check_refused(&lab_settings(policies), EXIT_CONFIGURATION, &["CN"]);
}

#[test]
fn a_file_that_is_missing_is_refused_with_its_path() {
    let lab = Lab::new().expect("a lab");
    let mut command = lab.command(Host::Storage, agent::binary().expect("the agent"));
    let output = command.args(["run", "--config", "/nonexistent/homeport.toml"]).output().expect("it starts");
    check_output(&output, EXIT_CONFIGURATION, &["/nonexistent/homeport.toml"]);
}

#[test]
fn check_reports_what_run_would_refuse() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("homeport.toml");
    fs::write(&path, lab_settings("[[policy]]\nname = \"a\"\npreset = \"eu-only\"\n")).expect("written");
    let mut command = Command::new(agent::binary().expect("the agent"));
    let output = command.args(["check", "--config"]).arg(&path).output().expect("it starts");
    check_output(&output, EXIT_CONFIGURATION, &["eu-only", "gdpr-eea"]);
}

#[test]
fn without_root_the_agent_says_what_it_needs() -> Result<()> {
    let lab = Lab::new()?;
    // A place that everyone can read: the target directory may not be.
    let directory = TempDir::new()?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    let binary = directory.path().join("homeport");
    fs::copy(agent::binary()?, &binary)?;
    let state = directory.path().join("state");
    fs::create_dir(&state)?;
    fs::set_permissions(&state, fs::Permissions::from_mode(0o777))?;
    let config = state.join("homeport.toml");
    fs::write(&config, Settings { geo: String::new(), ..Settings::default() }.toml(&state))?;

    let mut command = lab.command(Host::Storage, "setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "timeout", "30"]);
    let output = command.arg(&binary).arg("run").arg("--config").arg(&config).output()?;
    check_output(&output, EXIT_RIGHTS, &["root", "CAP_BPF"]);
    Ok(())
}

#[test]
fn a_bad_file_at_reload_leaves_the_old_policy_in_force_and_says_why() {
    let settings = Settings::default();
    scene(&settings, |scene| {
        scene
            .agent
            .reload(&Settings { policies: String::new(), ..settings.clone() }.toml("relative".as_ref()))?;
        scene.agent.wait_for_log(&["relative"])?;
        let approving = "[[policy]]\nname = \"lab\"\napproved_countries = [\"DE\", \"QQ\"]\n".to_owned();
        let toml = Settings { policies: approving, ..settings.clone() }.toml(scene.agent.directory());
        scene.agent.reload(&toml)?;
        scene.agent.wait_for_log(&["QQ"])?;
        scene.agent.check_alive()?;

        let at = sink_at(Host::Foreign, Family::V4);
        let _sink = scene.lab.listener(Host::Foreign, "tcp-sink", at, "")?;
        let sent = scene.lab.send(Host::Storage, &format!("tcp-push --to {at} --bytes 1000"))?;
        let flows = scene.accounted()?;
        check_violation(&flows, (Host::Foreign, Family::V4), "tcp", sent, scene.resent()?)?;
        let records = scene.finish()?;
        let rejected = records.lifecycle().iter().filter(|event| **event == "policy-rejected").count();
        ensure!(rejected == 2, "both refusals are on record: {:?}", records.lifecycle());
        Ok(())
    });
}

#[test]
fn an_interface_may_vanish_and_another_one_come() {
    scene(&Settings::default(), |scene| {
        let lab = &scene.lab;
        lab.shell(Host::Storage, "ip link delete eth0")?;
        std::thread::sleep(Duration::from_millis(500));
        scene.agent.check_alive()?;

        let router = lab.namespace(Host::Router);
        lab.shell(
            Host::Storage,
            &format!(
                "ip link add uplink type veth peer name storage netns {router} && ip link set uplink up"
            ),
        )?;
        lab.shell(Host::Router, "ip address add 192.0.2.1/24 dev storage && ip link set storage up")?;
        lab.shell(
            Host::Storage,
            "ethtool -K uplink tso off gso off >/dev/null && ip address add 192.0.2.10/24 dev uplink &&
             ip route add default via 192.0.2.1",
        )?;
        // The agent follows links; it must have seen this one before the bytes are compared.
        agent::eventually(Duration::from_secs(10), || {
            let flows = scene.agent.flows()?;
            ensure!(flows.interfaces.iter().any(|link| link.name == "uplink"), "{:#?}", flows.interfaces);
            Ok(())
        })?;
        let at = sink_at(Host::Foreign, Family::V4);
        let _sink = lab.listener(Host::Foreign, "tcp-sink", at, "")?;
        // The agent counts once a second; the two are comparable when the card has rested for longer.
        let before = agent::eventually(Duration::from_secs(30), || {
            let card = lab.nic_of("uplink")?;
            std::thread::sleep(Duration::from_millis(2200));
            let flows = scene.agent.flows()?;
            ensure!(lab.nic_of("uplink")? == card, "the card does not rest");
            Ok((card, flows))
        })?;
        let sent = lab.send(Host::Storage, &format!("tcp-push --to {at} --bytes 100000"))?;
        agent::eventually(Duration::from_secs(6), || {
            let flows = scene.agent.flows()?;
            check_violation(&flows, (Host::Foreign, Family::V4), "tcp", sent, scene.resent()?)?;
            let card = lab.nic_of("uplink")?.since(before.0);
            let count = |flows: &homeport_tests::flows::Flows| {
                let mut links = flows.interfaces.iter();
                links
                    .find(|link| link.name == "uplink")
                    .map(|link| link.all().into())
                    .context("interface uplink")
            };
            // Its other end comes up at its own pace, and until then the cable drops what it is given.
            card.check_seen(Nic::since(count(&flows)?, count(&before.1)?))?;
            Ok(())
        })
    });
}

#[test]
fn a_directory_that_is_no_cgroup_is_refused() {
    let toml = lab_settings("").replace("[host]", "[host]\ncgroup = \"/tmp\"");
    check_refused(&toml, EXIT_CONFIGURATION, &["host.cgroup", "/tmp"]);
}

#[test]
fn on_a_host_without_a_cgroup2_mount_the_agent_makes_one_of_its_own() {
    let without_cgroups =
        &["unshare", "--mount", "sh", "-ec", "umount --lazy --all --types cgroup2; exec \"$@\"", "sh"];
    let settings = Settings { wrapper: without_cgroups, ..Settings::default() };
    scene(&settings, |scene| {
        let at = sink_at(Host::Foreign, Family::V4);
        let _sink = scene.lab.listener(Host::Foreign, "tcp-sink", at, "")?;
        let sent = scene.lab.send(Host::Storage, &format!("tcp-push --to {at} --bytes 100000"))?;
        let flows = scene.accounted()?;
        check_violation(&flows, (Host::Foreign, Family::V4), "tcp", sent, scene.resent()?).map(drop)
    });
}

#[test]
fn a_command_that_needs_a_running_agent_says_that_there_is_none() {
    let mut command = Command::new(agent::binary().expect("the agent"));
    let output =
        command.args(["flows", "--socket", "/nonexistent/control.sock"]).output().expect("it starts");
    check_output(&output, EXIT_NO_AGENT, &["/nonexistent/control.sock"]);
}
