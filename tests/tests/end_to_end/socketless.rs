//! What leaves without a socket of a process that asked for it: forwarded frames, packet sockets, the kernel's own
//! answers. None of it may be missing in the sum.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use homeport_tests::{
    agent::eventually,
    flows::Flow,
    lab::{Family, Host, Lab},
    scene::{Scene, scene},
    settings::Settings,
};

use crate::sink_at;

#[test]
fn frames_of_a_container_are_reported_as_forwarded_and_counted_to_the_byte() {
    let lab = Lab::new().expect("a lab");
    lab.add_guest().expect("a container");
    let mut scene = Scene::start_in(lab, &Settings::default()).expect("the agent starts");
    let outcome = (|| -> Result<()> {
        let at = sink_at(Host::Foreign, Family::V4);
        let _sink = scene.lab.listener(Host::Foreign, "udp-sink", at, "")?;
        let sent = scene.lab.send(Host::Guest, &format!("udp-send --to {at} --size 1000 --count 100"))?;
        let flows = scene.accounted()?;
        let flow = the_flow_to_germany(&flows.flows)?;
        ensure!(flow.owner.kind == "forwarded" && flow.sensor == "interface", "{flow:#?}");
        ensure!(flow.payload_bytes == sent.bytes && flow.verdict == "violation", "{flow:#?}");
        let records = scene.finish()?;
        ensure!(records.episodes_in("DE").len() == 1, "one alert: {:#?}", records.episodes());
        Ok(())
    })();
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}

/// Sends datagrams past the network stack, through a packet socket.
const PACKET_SENDER: &str = "
import socket, struct, subprocess
subprocess.run(['ping', '-c1', '-W1', '192.0.2.1'], stdout=subprocess.DEVNULL, check=True)
neighbour = subprocess.check_output(['ip', 'neigh', 'show', '192.0.2.1', 'dev', 'eth0'], text=True).split()
to = bytes.fromhex(neighbour[neighbour.index('lladdr') + 1].replace(':', ''))
sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sender.bind(('eth0', 0))
udp = struct.pack('!HHHH', 4000, 9000, 1008, 0) + b'x' * 1000
ip = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 1028, 0, 0, 64, 17, 0, bytes([192, 0, 2, 10]), bytes([203, 0, 113, 10]))
for _ in range(100):
    sender.send(to + sender.getsockname()[4] + b'\\x08\\x00' + ip + udp)
";

#[test]
fn a_packet_socket_is_reported_even_though_it_goes_past_the_network_stack() {
    scene(&Settings::default(), |scene| {
        let mut sender = scene.lab.command(Host::Storage, "python3");
        ensure!(sender.args(["-c", PACKET_SENDER]).status()?.success(), "the sender failed");
        let flows = scene.accounted()?;
        let flow = the_flow_to_germany(&flows.flows)?;
        ensure!(flow.owner.kind == "packet-socket" && flow.sensor == "interface", "{flow:#?}");
        ensure!(flow.payload_bytes == 100_000 && flow.verdict == "violation", "{flow:#?}");
        let records = scene.finish()?;
        ensure!(records.episodes_in("DE").len() == 1, "one alert: {:#?}", records.episodes());
        Ok(())
    });
}

#[test]
fn what_asks_for_a_neighbour_is_no_ip_and_in_the_sum() {
    scene(&Settings::default(), |scene| {
        // Nobody has the address, so the kernel asks three times.
        scene.lab.shell(Host::Storage, "ip neighbour add 192.0.2.77 dev eth0 nud none use")?;
        eventually(Duration::from_secs(20), || {
            let flows = scene.accounted()?;
            let asked: u64 = flows.interfaces.iter().map(|row| row.non_ip.frames).sum();
            let bytes: u64 = flows.interfaces.iter().map(|row| row.non_ip.bytes).sum();
            ensure!(asked == 3 && bytes == 3 * 42, "{:#?}", flows.interfaces);
            ensure!(flows.flows.is_empty(), "no flow: {:#?}", flows.flows);
            Ok(())
        })
    });
}

#[test]
fn answers_to_a_ping_are_the_kernels_and_alert_nobody() {
    scene(&Settings::default(), |scene| {
        for family in Family::BOTH {
            let storage = Host::Storage.address(family);
            scene.lab.shell(Host::Denied, &format!("ping -q -c 5 -i 0.01 {storage} >/dev/null"))?;
        }
        let flows = scene.accounted()?;
        for family in Family::BOTH {
            let denied = Host::Denied.address(family);
            let answers: Vec<_> = flows.flows.iter().filter(|flow| flow.remote == denied).collect();
            ensure!(!answers.is_empty(), "counted: {:#?}", flows.flows);
            ensure!(answers.iter().all(|flow| flow.owner.kind == "kernel"), "the kernel's own: {answers:#?}");
        }
        let records = scene.finish()?;
        ensure!(records.episodes().is_empty(), "no findings expected: {:#?}", records.episodes());
        Ok(())
    });
}

#[test]
fn a_ping_that_we_send_is_a_transfer_by_the_program_that_sends_it() {
    scene(&Settings::default(), |scene| {
        for family in Family::BOTH {
            let foreign = Host::Foreign.address(family);
            scene.lab.shell(Host::Storage, &format!("ping -q -c 5 -i 0.01 -s 1000 {foreign} >/dev/null"))?;
        }
        let flows = scene.accounted()?;
        for family in Family::BOTH {
            let foreign = Host::Foreign.address(family);
            let flow = flows.with_data_to(foreign).next().with_context(|| format!("no flow to {foreign}"))?;
            ensure!(flow.owner.exe.as_deref().is_some_and(|exe| exe.ends_with("/ping")), "{flow:#?}");
            ensure!(flow.payload_bytes == 5000 && flow.verdict == "violation", "{flow:#?}");
        }
        Ok(())
    });
}

fn the_flow_to_germany(flows: &[Flow]) -> Result<&Flow> {
    let foreign = Host::Foreign.address(Family::V4);
    let seen: Vec<&Flow> =
        flows.iter().filter(|flow| flow.remote == foreign && flow.payload_bytes > 0).collect();
    ensure!(seen.len() == 1, "one flow expected: {seen:#?}");
    Ok(seen[0])
}
