//! TCP and what is built like it.

use std::{fs, path::PathBuf, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use homeport_tests::{
    actor::{self, Sent},
    lab::{Family, Host, Lab, Nic},
    running::Running,
    settings::Settings,
};

use super::{possible, server_at, sink_at};
use crate::{Part, Payload, Played, stage::Stage};

const BYTES: u64 = 1024 * 1024;

/// A client on the storage host, over both families.
pub(crate) fn push(protocol: &'static str, listen: &str, words: &str) -> Result<Played> {
    push_on(Stage::shared()?, protocol, listen, words, BYTES)
}

fn push_on(stage: Stage, protocol: &'static str, listen: &str, words: &str, bytes: u64) -> Result<Played> {
    let (mut parts, mut keep) = (Vec::new(), Vec::new());
    for family in Family::BOTH {
        let at = sink_at(family);
        keep.push(stage.lab.listener(Host::Foreign, "tcp-sink", at, listen)?);
        let words = format!("tcp-push --to {at} --bytes {bytes} {words}");
        parts.push(Part::new(at.ip(), protocol, stage.lab.send(Host::Storage, &words)?));
    }
    Ok(Played { stage, parts, bypass: Nic::default(), _keep: keep })
}

/// The kernel cuts each write into records of at most 16 KiB, and adds header, nonce and tag to each.
pub(crate) fn encrypted() -> Result<Played> {
    const RECORD_BYTES: u64 = 16 * 1024;
    const RECORD_OVERHEAD: u64 = 5 + 8 + 16;
    let mut played = push("tcp", "", "--how tls")?;
    for part in &mut played.parts {
        part.payload = Payload::With(BYTES / RECORD_BYTES * RECORD_OVERHEAD);
    }
    Ok(played)
}

/// SCTP wraps each message in chunks.
pub(crate) fn sctp() -> Result<Played> {
    let mut played = push("sctp", "--via sctp", "--via sctp")?;
    for part in &mut played.parts {
        part.payload = Payload::AtLeast;
    }
    Ok(played)
}

/// Many connections, each ended at once.
pub(crate) fn resets() -> Result<Played> {
    let stage = Stage::shared()?;
    let (mut parts, mut keep) = (Vec::new(), Vec::new());
    for family in Family::BOTH {
        let at = sink_at(family);
        keep.push(stage.lab.listener(Host::Foreign, "tcp-sink", at, "")?);
        let words = format!("tcp-burst --to {at} --bytes 1000 --count 300 --reset");
        parts.push(Part::new(at.ip(), "tcp", stage.lab.send(Host::Storage, &words)?));
    }
    Ok(Played { stage, parts, bypass: Nic::default(), _keep: keep })
}

/// A connection on which nothing is said for some time but whether both ends are there.
pub(crate) fn kept_alive() -> Result<Played> {
    let stage = Stage::shared()?;
    let at = sink_at(Family::V4);
    let sink = stage.lab.listener(Host::Foreign, "tcp-sink", at, "")?;
    let words = format!("tcp-push --to {at} --bytes 1000 --on-command --keep-alive");
    let mut push = stage.lab.actor(Host::Storage, &words)?;
    push.line().context("connected")?;
    let before = stage.lab.nic()?;
    thread::sleep(Duration::from_secs(5));
    let probes = stage.lab.nic()?.since(before).packets;
    ensure!(probes >= 3, "only {probes} packets in five seconds");
    push.tell("send")?;
    let sent = Sent::from_line(&push.line()?)?;
    thread::sleep(Duration::from_secs(3));
    push.tell("end")?;
    push.succeed()?;
    let part = Part::new(at.ip(), "tcp", sent);
    Ok(Played { stage, parts: vec![part], bypass: Nic::default(), _keep: vec![sink] })
}

/// Some packets are lost on the way, and leave again.
pub(crate) fn lossy() -> Result<Played> {
    let lab = Lab::new()?;
    let rules = "nft add table inet lab
        nft 'add chain inet lab pass { type filter hook forward priority 0; }'
        nft add rule inet lab pass meta l4proto tcp numgen inc mod 20 0 drop";
    possible(lab.shell(Host::Router, rules))?;
    let stage = Stage::own(lab)?;
    let before = stage.lab.resent_bytes_at_most()?;
    let played = push_on(stage, "tcp", "", "", 300_000)?;
    let again = played.stage.lab.resent_bytes_at_most()? - before;
    ensure!(again > 10 * 1460, "at most {again} bytes left again");
    Ok(played)
}

/// Both ends say at the same time that no more comes.
pub(crate) fn crossing_ends() -> Result<Played> {
    const PEER: &str = "
import socket, sys
listener = socket.create_server((sys.argv[1], 9000), family=socket.AF_INET)
print('{}', flush=True)
peer, _ = listener.accept()
left = int(sys.argv[2])
while left:
    left -= len(peer.recv(left))
sys.stdin.readline()
peer.shutdown(socket.SHUT_WR)
print('{}', flush=True)
while peer.recv(1000):
    pass
";
    let stage = Stage::own(Lab::new()?)?;
    let at = sink_at(Family::V4);
    let mut command = stage.lab.command(Host::Foreign, "python3");
    command.args(["-c", PEER, &at.ip().to_string(), &BYTES.to_string()]);
    let mut peer = Running::start(&mut command)?;
    peer.line()?;
    let mut push = stage.lab.actor(Host::Storage, &push_on_command())?;
    push.line().context("connected")?;
    push.tell("send")?;
    let sent = Sent::from_line(&push.line()?)?;
    let rest =
        "i=0; until ! ss -Htn | awk '$3 > 0' | grep -q .; do sleep 0.1; i=$((i + 1)); [ $i -lt 100 ]; done";
    stage.lab.shell(Host::Storage, rest)?;
    let wall =
        "nft add table inet lab; nft 'add chain inet lab pass { type filter hook forward priority 0; }'
        nft add rule inet lab pass drop";
    possible(stage.lab.shell(Host::Router, wall))?;
    push.tell("end")?;
    peer.tell("end")?;
    peer.line()?;
    thread::sleep(Duration::from_millis(50));
    stage.lab.shell(Host::Router, "nft delete table inet lab")?;
    push.succeed()?;
    peer.succeed()?;
    let part = Part::new(at.ip(), "tcp", sent);
    Ok(Played { stage, parts: vec![part], bypass: Nic::default(), _keep: Vec::new() })
}

/// Data with the SYN, to a server that knows nobody.
pub(crate) fn fast_open() -> Result<Played> {
    let stage = Stage::shared()?;
    stage.lab.shell(Host::Storage, "echo 5 >/proc/sys/net/ipv4/tcp_fastopen")?;
    stage.lab.shell(Host::Foreign, "echo 1539 >/proc/sys/net/ipv4/tcp_fastopen")?;
    let before = opened_with_data(&stage)?;
    let played = push_on(stage, "tcp", "", "--via fast-open", 100_000)?;
    let opened = opened_with_data(&played.stage)? - before;
    ensure!(opened == 2, "the SYN of both connections should have carried data, {opened} did");
    Ok(played)
}

/// Connections of the storage host whose SYN carried data that was acknowledged.
fn opened_with_data(stage: &Stage) -> Result<u64> {
    let table = stage.lab.ask(Host::Storage, "grep ^TcpExt: /proc/self/net/netstat")?;
    let mut lines = table.lines().map(str::split_whitespace);
    let (names, values) = lines.next().zip(lines.next()).context("two lines")?;
    let value = names.zip(values).find(|(name, _)| *name == "TCPFastOpenActive");
    Ok(value.context("TCPFastOpenActive")?.1.parse()?)
}

/// The process ends while most of what it wrote waits for the peer to read.
pub(crate) fn process_gone() -> Result<Played> {
    let stage = Stage::shared()?;
    let sizes = stage.lab.ask(Host::Storage, "cat /proc/sys/net/ipv4/tcp_wmem")?;
    stage.lab.shell(Host::Storage, "echo 4096 2000000 4000000 >/proc/sys/net/ipv4/tcp_wmem")?;
    let played = push_on(stage, "tcp", "--slow-ms 500", "--quick", 400_000)?;
    played.stage.lab.shell(Host::Storage, &format!("echo {} >/proc/sys/net/ipv4/tcp_wmem", sizes.trim()))?;
    Ok(played)
}

/// A server on the storage host, from which a client abroad pulls.
pub(crate) fn serve(mode: &str) -> Result<Played> {
    let stage = Stage::shared()?;
    let mut parts = Vec::new();
    for family in Family::BOTH {
        let at = server_at(family);
        let words = format!("tcp-serve --listen {at} --bytes {BYTES} --mode {mode}");
        let mut server = stage.lab.actor(Host::Storage, &words)?;
        let opener = server.line()?["pid"].as_u64().context("pid of the server")?;
        let mut client = stage.lab.actor(Host::Foreign, &format!("tcp-pull --from {at}"))?;
        let sent = Sent::from_line(&server.line()?)?;
        client.succeed()?;
        server.succeed()?;
        let opener = Some(u32::try_from(opener)?);
        parts.push(Part { opener, ..Part::new(Host::Foreign.address(family), "tcp", sent) });
    }
    Ok(Played { stage, parts, bypass: Nic::default(), _keep: Vec::new() })
}

/// A connection that was there before the agent.
pub(crate) fn older() -> Result<Played> {
    let lab = Lab::new()?;
    let at = sink_at(Family::V4);
    let sink = lab.listener(Host::Foreign, "tcp-sink", at, "")?;
    let push = lab.actor(Host::Storage, &push_on_command())?;
    speak(lab, sink, push, || Ok(()))
}

/// The same, and the cgroup in which the socket was made has been removed.
pub(crate) fn cgroup_gone() -> Result<Played> {
    let lab = Lab::new()?;
    let at = sink_at(Family::V4);
    let sink = lab.listener(Host::Foreign, "tcp-sink", at, "")?;
    let root = cgroup_root()?;
    let cgroup = root.join(format!("homeport-paths-{}", std::process::id()));
    fs::create_dir(&cgroup)?;
    let join = format!("echo $$ >{}/cgroup.procs; exec \"$0\" \"$@\"", cgroup.display());
    let mut command = lab.command(Host::Storage, "sh");
    command.args(["-ec", &join]).arg(actor::binary()?).args(push_on_command().split_whitespace());
    let push = Running::start(&mut command)?;
    let pid = push.pid();
    speak(lab, sink, push, || {
        fs::write(root.join("cgroup.procs"), pid.to_string())?;
        fs::remove_dir(&cgroup).context("remove the cgroup")
    })
}

fn push_on_command() -> String {
    format!("tcp-push --to {} --bytes {BYTES} --on-command", sink_at(Family::V4))
}

/// The connection is made, `before` happens, the agent starts, and then it sends.
fn speak(lab: Lab, sink: Running, mut push: Running, before: impl FnOnce() -> Result<()>) -> Result<Played> {
    push.line().context("connected")?;
    before()?;
    let stage = Stage::own_with(lab, &Settings::default())?;
    push.tell("send")?;
    let sent = Sent::from_line(&push.line()?)?;
    ensure!(sent.bytes == BYTES, "{sent:?}");
    push.tell("end")?;
    push.succeed()?;
    let part = Part::new(Host::Foreign.address(Family::V4), "tcp", sent);
    Ok(Played { stage, parts: vec![part], bypass: Nic::default(), _keep: vec![sink] })
}

/// Where the second version of cgroups is mounted.
pub(crate) fn cgroup_root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    mounts
        .lines()
        .filter_map(|line| line.split_once(' ')?.1.split_once(' '))
        .find(|(_, rest)| rest.starts_with("cgroup2 "))
        .map(|(path, _)| PathBuf::from(path))
        .context("cgroup2 is not mounted")
}
