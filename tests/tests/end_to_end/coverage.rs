//! What the agent says of its own eyes: a statement that is true, and findings with numbers when somebody covers them.

use std::{path::PathBuf, process::Output, time::Duration};

use anyhow::{Context as _, Result, ensure};
use homeport_tests::{
    agent::{Agent, binary, eventually},
    lab::{Family, Host},
    links,
    patience::patient,
    records::{Episode, Records},
    scene::{Scene, scene},
    settings::Settings,
};
use serde_json::Value;

use crate::sink_at;

const PATIENCE: Duration = Duration::from_secs(20);
/// Noticed, repaired and reported within this time, says the promise; a loaded machine may be late with it.
const PROMISE: Duration = Duration::from_secs(5);

pub(crate) fn extra(record: &Value) -> &Value {
    &record["unmapped"]["homeport"]
}

pub(crate) fn about(records: &Records, subject: &str) -> Vec<Episode> {
    let is_it =
        |episode: &Episode| episode.kind() == Some("coverage") && extra(episode.last())["subject"] == subject;
    records.episodes().into_iter().filter(is_it).collect()
}

/// Waits for a finding that is over, and says what it is about; in time from its begin to its end.
fn repaired(scene: &Scene, subject: &str) -> Result<Value> {
    let episode = eventually(PATIENCE, || {
        let episode =
            about(&scene.agent.records()?, subject).pop().with_context(|| format!("nothing {subject}"))?;
        episode.check_complete()?;
        Ok(episode)
    })?;
    let last = episode.last().clone();
    let gap = &extra(&last)["gap"];
    let (from, to) = (gap["from"].as_u64().context("from")?, gap["to"].as_u64().context("to")?);
    ensure!(to - from <= patient(PROMISE).as_millis() as u64, "repaired after {} ms: {last:#}", to - from);
    Ok(last)
}

fn unobserved(finding: &Value) -> Result<i64> {
    extra(finding)["gap"]["unobserved_bytes"].as_i64().with_context(|| format!("a number: {finding:#}"))
}

/// The pinned link of a program; at an interface its name has the interface's number.
pub(crate) fn pin(agent: &Agent, program: &str) -> Result<PathBuf> {
    let directory = agent.pin_dir().join("links");
    let mut names = std::fs::read_dir(&directory)?.filter_map(|entry| Some(entry.ok()?.path()));
    names
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(program)))
        .with_context(|| format!("no link of {program} in {}", directory.display()))
}

fn coverage(agent: &Agent) -> Result<(Output, Value)> {
    let mut command = std::process::Command::new(binary()?);
    command.args(["coverage", "--json", "--socket"]).arg(agent.directory().join("control.sock"));
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let value = serde_json::from_str(&text)
        .with_context(|| format!("{text} {}", String::from_utf8_lossy(&output.stderr)))?;
    Ok((output, value))
}

#[test]
fn a_filter_that_somebody_detaches_is_attached_again_and_the_bytes_in_between_are_a_number() {
    scene(&Settings::pinned(), |scene| {
        let at = sink_at(Host::Foreign, Family::V4);
        let _sink = scene.lab.listener(Host::Foreign, "udp-sink", at, "")?;
        scene.lab.send(Host::Storage, &format!("udp-send --to {at} --size 1000 --count 10"))?;
        let before = scene.accounted()?;
        let card = scene.lab.nic()?;
        links::detach(&pin(&scene.agent, "frames_ethernet")?)?;
        scene.lab.send(Host::Storage, &format!("udp-send --to {at} --size 1000 --count 100"))?;
        let finding = repaired(scene, "detached")?;
        ensure!(
            extra(&finding)["program"] == "frames_ethernet" && extra(&finding)["place"] == "eth0",
            "{finding:#}"
        );

        scene.lab.send(Host::Storage, &format!("udp-send --to {at} --size 1000 --count 10"))?;
        let unobserved = unobserved(&finding)?;
        eventually(PATIENCE, || {
            let sent = scene.lab.nic()?.since(card);
            let flows = scene.agent.flows()?;
            let seen = flows.frames().bytes - before.frames().bytes;
            let sum = i64::try_from(seen)? + unobserved;
            ensure!(sum == i64::try_from(sent.bytes)?, "{seen} seen and {unobserved} not: {sent:?}");
            // Attribution goes on meanwhile: the socket ledger was never away.
            let payload: u64 = flows.with_data_to(at.ip()).map(|flow| flow.payload_bytes).sum();
            ensure!(payload == 120_000, "{payload} bytes by their owners");
            Ok(())
        })?;
        ensure!(unobserved > 0, "it was detached while datagrams left");
        let records = scene.finish()?;
        ensure!(
            about(&records, "bypass").is_empty(),
            "the gap is no bypass: {:#?}",
            about(&records, "bypass")
        );
        Ok(())
    });
}

#[test]
fn a_socket_ledger_that_somebody_detaches_is_attached_again_and_the_bytes_in_between_are_a_number() {
    scene(&Settings::pinned(), |scene| {
        let at = sink_at(Host::Foreign, Family::V4);
        let _sink = scene.lab.listener(Host::Foreign, "udp-sink", at, "")?;
        scene.lab.send(Host::Storage, &format!("udp-send --to {at} --size 1000 --count 10"))?;
        let before = scene.accounted()?;
        let card = scene.lab.nic()?;
        links::detach(&pin(&scene.agent, "account_egress")?)?;
        scene.lab.send(Host::Storage, &format!("udp-send --to {at} --size 1000 --count 100"))?;
        let finding = repaired(scene, "detached")?;
        ensure!(extra(&finding)["program"] == "account_egress", "{finding:#}");
        let unobserved = unobserved(&finding)?;
        ensure!(unobserved > 0, "it was detached while datagrams left: {finding:#}");

        scene.lab.send(Host::Storage, &format!("udp-send --to {at} --size 1000 --count 10"))?;
        eventually(PATIENCE, || {
            let sent = scene.lab.nic()?.since(card);
            let flows = scene.agent.flows()?;
            let owned = flows.accounted_bytes() - before.accounted_bytes();
            let sum = i64::try_from(owned)? + unobserved;
            ensure!(
                sum == i64::try_from(sent.layer3_bytes())?,
                "{owned} owned and {unobserved} not: {sent:?}"
            );
            ensure!(flows.attribution.rest == unobserved, "the rest says the same: {:?}", flows.attribution);
            Ok(())
        })
    });
}

#[test]
fn an_interface_that_is_renamed_is_counted_on_and_told() {
    scene(&Settings::pinned(), |scene| {
        let lab = &scene.lab;
        let at = sink_at(Host::Foreign, Family::V4);
        let _sink = lab.listener(Host::Foreign, "udp-sink", at, "")?;
        let before = (lab.nic()?, scene.agent.flows()?);
        // Newer kernels rename interfaces that are up, others have to be taken down.
        lab.shell(
            Host::Storage,
            "ip link set eth0 name uplink || {
                 ip link set eth0 down; ip link set eth0 name uplink; ip link set uplink up; }
             ip route replace default via 192.0.2.1",
        )?;
        repaired(scene, "interface-renamed")?;
        lab.send(Host::Storage, &format!("udp-send --to {at} --size 1000 --count 50"))?;
        eventually(PATIENCE, || {
            let sent = lab.nic_of("uplink")?.since(before.0);
            let flows = scene.agent.flows()?;
            ensure!(flows.interfaces.iter().all(|row| row.name == "uplink"), "{:?}", flows.interfaces);
            let (now, then) = (flows.frames(), before.1.frames());
            let seen = homeport_tests::lab::Nic::from(now).since(then.into());
            sent.check_seen(seen)
        })
    });
}

#[test]
fn an_interface_that_is_made_again_is_watched_again_with_what_left_in_between() {
    scene(&Settings::pinned(), |scene| {
        let lab = &scene.lab;
        let router = lab.namespace(Host::Router);
        lab.shell(Host::Storage, "ip link delete eth0")?;
        // The other end is up first, and data leaves in the very line that makes the interface.
        lab.shell(
            Host::Storage,
            &format!(
                "ip link add eth0 type veth peer name storage netns {router}
                 ip -n {router} address add 192.0.2.1/24 dev storage
                 ip -n {router} link set storage up
                 ethtool -K eth0 tso off gso off >/dev/null
                 ip address add 192.0.2.10/24 dev eth0
                 ip link set eth0 up
                 ip route add default via 192.0.2.1
                 ping -q -c 20 -i 0.002 -W 1 192.0.2.1 >/dev/null || true"
            ),
        )?;
        let finding = repaired(scene, "interface-appeared")?;
        let unobserved = unobserved(&finding)?;
        eventually(PATIENCE, || {
            let sent = lab.nic()?;
            let flows = scene.agent.flows()?;
            let row = flows.interfaces.iter().find(|row| row.name == "eth0").context("eth0")?;
            let seen = i64::try_from(row.all().bytes)?;
            // Frames before the other end listened were seen, and dropped.
            let dropped = sent.dropped;
            let missing = seen + unobserved - i64::try_from(sent.bytes)?;
            let plausible = 0..=i64::try_from(dropped * 1514)?;
            ensure!(plausible.contains(&missing), "{seen} seen and {unobserved} not: {sent:?}");
            Ok(())
        })
    });
}

/// A cgroup below the root of the host's hierarchy, gone with the test.
struct OwnCgroup(PathBuf);

impl OwnCgroup {
    fn make() -> Result<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mounts")?;
        let root = mounts
            .lines()
            .filter_map(|line| {
                let mut words = line.split(' ').skip(1);
                let (point, kind) = (words.next()?, words.next()?);
                (kind == "cgroup2").then_some(point)
            })
            .next()
            .context("no cgroup2 is mounted")?;
        let path = PathBuf::from(root).join(format!("homeport-test-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(Self(path))
    }

    /// Sends datagrams from a process in there.
    fn send(&self, scene: &Scene, count: u32) -> Result<()> {
        let at = sink_at(Host::Foreign, Family::V4);
        let actor = homeport_tests::actor::binary()?;
        scene.lab.shell(
            Host::Storage,
            &format!(
                "echo $$ > {}/cgroup.procs; exec {} udp-send --to {at} --size 1000 --count {count}",
                self.0.display(),
                actor.display()
            ),
        )
    }

    /// Removes it. Ended processes leave it a moment after their end.
    fn remove(&self) -> Result<()> {
        eventually(PATIENCE, || Ok(std::fs::remove_dir(&self.0)?))
    }
}

impl Drop for OwnCgroup {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

#[test]
fn a_cgroup_that_is_removed_is_told_and_watched_again_when_it_is_made_again() {
    let cgroup = OwnCgroup::make().expect("a cgroup");
    let host = format!("cgroup = \"{}\"\n", cgroup.0.display());
    scene(&Settings { host, ..Settings::pinned() }, |scene| {
        let at = sink_at(Host::Foreign, Family::V4);
        let _sink = scene.lab.listener(Host::Foreign, "udp-sink", at, "")?;
        let owned = |payload: u64| {
            eventually(PATIENCE, || {
                let flows = scene.agent.flows()?;
                let own = flows.with_data_to(at.ip()).filter(|flow| flow.sensor == "socket");
                let bytes: u64 = own.map(|flow| flow.payload_bytes).sum();
                ensure!(bytes == payload, "{bytes} bytes of its sockets, {payload} expected");
                Ok(())
            })
        };
        cgroup.send(scene, 10)?;
        owned(10_000)?;

        cgroup.remove()?;
        let ledger = |records: &Records| {
            let mut episodes = about(records, "detached").into_iter();
            episodes.find(|episode| extra(episode.last())["program"] == "account_egress")
        };
        // Noticed, and told with the reason why it cannot be repaired.
        let opened = eventually(PATIENCE, || {
            let episode = ledger(&scene.agent.records()?).context("no finding about the socket ledger")?;
            Ok(episode)
        })?;
        let first = &opened.findings[0];
        let told = first["time"].as_i64().context("time")?;
        let from = extra(first)["gap"]["from"].as_i64().context("from")?;
        ensure!(told - from <= PROMISE.as_millis() as i64, "told after {} ms: {first:#}", told - from);
        ensure!(extra(first)["gap"]["failure"].is_string(), "{first:#}");

        std::fs::create_dir(&cgroup.0)?;
        let closed = eventually(PATIENCE, || {
            let episode = ledger(&scene.agent.records()?).context("the finding")?;
            episode.check_complete()?;
            Ok(episode)
        })?;
        ensure!(closed.id == opened.id, "{closed:#?}");
        ensure!(extra(closed.last())["transition_reason"] == "repaired", "{closed:#?}");
        cgroup.send(scene, 20)?;
        owned(30_000)
    });
}

#[test]
fn the_statement_says_what_is_attached_where_and_a_script_can_ask() {
    scene(&Settings::pinned(), |scene| {
        let (output, view) = coverage(&scene.agent)?;
        let programs = view["programs"].as_array().context("programs")?;
        let attached =
            |name: &str| programs.iter().any(|row| row["program"] == name && row["state"] == "attached");
        ensure!(attached("account_egress") && attached("frames_ethernet"), "{view:#}");
        let interfaces = view["interfaces"].as_array().context("interfaces")?;
        let edge = interfaces.iter().find(|row| row["name"] == "eth0").context("eth0")?;
        ensure!(edge["edge"] == true && edge["why"].is_string(), "{edge:#}");
        let loopback = interfaces.iter().find(|row| row["name"] == "lo").context("lo")?;
        ensure!(loopback["edge"] == false && loopback["why"] == "loopback", "{loopback:#}");
        ensure!(view["databases"][0]["age_days"].is_i64(), "{view:#}");
        ensure!(view["network_namespaces"]["watched"] == "own", "{view:#}");
        ensure!(view["fill"][0]["capacity"].as_u64() > Some(0), "{view:#}");
        // The clock of a test machine may be anything; the words and the exit code agree.
        let state = view["state"].as_str().context("state")?;
        let expected = match state {
            "covered" => 0,
            "reduced" => 9,
            other => anyhow::bail!("{other}: {:#}", view["reasons"]),
        };
        ensure!(output.status.code() == Some(expected), "{state}: {output:?}");
        Ok(())
    });
}

fn selftest(agent: &Agent) -> Result<(Option<i32>, Value)> {
    let mut command = std::process::Command::new(binary()?);
    command.args(["selftest", "--json", "--socket"]).arg(agent.directory().join("control.sock"));
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let value = serde_json::from_str(&text)
        .with_context(|| format!("{text} {}", String::from_utf8_lossy(&output.stderr)))?;
    Ok((output.status.code(), value))
}

/// The self-test failed at a stage, and the statement says so.
fn check_selftest_fails(agent: &Agent, stage: &str) -> Result<Value> {
    let (code, outcome) = selftest(agent)?;
    ensure!(code == Some(NOT_COVERED) && outcome["failed"] == stage, "{outcome:#}");
    let (output, view) = coverage(agent)?;
    ensure!(output.status.code() == Some(NOT_COVERED) && view["state"] == "not covered", "{view:#}");
    let reasons = view["reasons"].as_array().context("reasons")?;
    ensure!(reasons.iter().any(|reason| reason["part"] == "self-test"), "{reasons:#?}");
    Ok(outcome)
}

const NOT_COVERED: i32 = 8;

#[test]
fn a_self_test_comes_out_as_a_finding_on_disk_that_pages_nobody() {
    scene(&Settings::pinned(), |scene| {
        let (code, outcome) = selftest(&scene.agent)?;
        ensure!(code == Some(0) && outcome["passed"] == true, "{outcome:#}");
        let records = scene.agent.records()?;
        let tests: Vec<Episode> =
            records.episodes().into_iter().filter(|episode| episode.kind() == Some("self-test")).collect();
        ensure!(tests.len() == 1, "one record: {:#?}", records.episodes());
        let record = tests[0].last();
        ensure!(record["is_alert"] == false && record["severity_id"] == 1, "{record:#}");
        ensure!(tests[0].pid() == Some(scene.agent.pid().into()), "it was us: {record:#}");
        ensure!(tests[0].rule() == Some("denied"), "{record:#}");
        // It left, so it is in the totals, and in nobody's alert.
        scene.accounted()?;
        let (_, view) = coverage(&scene.agent)?;
        ensure!(view["self_test"]["passed"] == true && view["state"] != "not covered", "{view:#}");
        ensure!(scene.agent.records()?.episodes().len() == 1, "and nothing else is found");

        // The next ones meet the row of the first, whose socket was closed meanwhile.
        // Another policy has nothing to say about them.
        for approved in ["\"US\"", "\"US\", \"CA\""] {
            std::thread::sleep(Duration::from_secs(2));
            let policies = format!("[[policy]]\nname = \"lab\"\napproved_countries = [{approved}]\n");
            let changed = Settings { policies, ..Settings::pinned() };
            scene.agent.reload(&changed.toml(scene.agent.directory()))?;
            let (code, outcome) = selftest(&scene.agent)?;
            ensure!(code == Some(0), "{outcome:#}");
        }
        std::thread::sleep(Duration::from_secs(2));
        let flows = scene.accounted()?;
        let row = flows.flows.iter().find(|flow| flow.service_port == 9).context("the datagrams' row")?;
        ensure!(row.verdict == "excepted" && row.packets == 3, "{row:#?}");
        ensure!(flows.classes.iter().all(|class| class.verdict != "violation"), "{:#?}", flows.classes);
        Ok(())
    });
}

#[test]
fn a_self_test_without_a_route_says_so_and_coverage_with_it() {
    let more = "[selftest]\ndestination = \"203.0.113.200\"\n".to_owned();
    scene(&Settings { more, ..Settings::pinned() }, |scene| {
        scene.lab.shell(Host::Storage, "ip route del default")?;
        let outcome = check_selftest_fails(&scene.agent, "sent")?;
        ensure!(outcome["reason"].as_str().is_some_and(|text| text.contains("unreachable")), "{outcome:#}");
        scene.lab.shell(Host::Storage, "ip route add default via 192.0.2.1")?;
        let (code, outcome) = selftest(&scene.agent)?;
        ensure!(code == Some(0), "{outcome:#}");
        Ok(())
    });
}

#[test]
fn a_self_test_fails_while_somebody_keeps_detaching_the_socket_ledger() {
    scene(&Settings::pinned(), |scene| {
        let directory = scene.agent.pin_dir();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                let pin = directory.join("links/account_egress");
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    // Detached already, or just being attached again.
                    let _ = links::detach(&pin);
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
            std::thread::sleep(Duration::from_millis(50));
            // The datagram may leave in the moment between a repair and the next detaching.
            let outcome = eventually(3 * PATIENCE, || check_selftest_fails(&scene.agent, "counted"));
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            outcome.map(drop)
        })?;
        eventually(PATIENCE, || {
            let (code, outcome) = selftest(&scene.agent)?;
            ensure!(code == Some(0), "repaired: {outcome:#}");
            Ok(())
        })
    });
}
