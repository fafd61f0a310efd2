//! Tunnels made on this host: what leaves it is the outer packet, and that is counted; the inner one is told.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use homeport_tests::{
    lab::{Family, Host, Lab},
    scene::scene,
    settings::Settings,
};

/// Somewhere behind the far end, where nobody answers.
pub(crate) const BEYOND: &str = "10.99.5.5:9000";
/// The far end inside the tunnel.
const INNER: &str = "10.99.0.2";

pub(crate) fn build(lab: &Lab) -> Result<()> {
    let ends = [(Host::Storage, Host::Foreign, "10.99.0.1"), (Host::Foreign, Host::Storage, INNER)];
    for (host, peer, address) in ends {
        lab.shell(
            host,
            &format!(
                "ip link add tunnel0 mtu 1450 address 02:00:00:00:99:{} type vxlan id 7 dstport 4789 local {} remote {} &&
                 echo 1 >/proc/sys/net/ipv6/conf/tunnel0/disable_ipv6 &&
                 ip address add {address}/24 dev tunnel0 && ip link set tunnel0 up",
                &address[address.len() - 1..].repeat(2),
                host.address(Family::V4),
                peer.address(Family::V4),
            ),
        )?;
    }
    Ok(())
}

#[test]
fn the_outside_of_a_tunnel_is_counted_once_and_the_inside_is_told() {
    scene(&Settings::default(), |scene| {
        build(&scene.lab)?;
        let at = format!("{INNER}:9000").parse()?;
        let _sink = scene.lab.listener(Host::Foreign, "tcp-sink", at, "")?;
        let sent = scene.lab.send(Host::Storage, &format!("tcp-push --to {at} --bytes 200000"))?;
        // Sessions that they open, whose first packet has no flow of its own.
        let server = "10.99.0.1:8080".parse()?;
        let mut serve = scene.lab.listener(Host::Storage, "tcp-serve", server, "--bytes 50000")?;
        scene.lab.actor(Host::Foreign, &format!("tcp-pull --from {server}"))?.succeed()?;
        serve.succeed()?;

        let flows = scene.accounted()?;
        let inner = flows.check_sender(INNER.parse()?, "tcp", sent, scene.resent()?)?;
        ensure!(inner.sensor == "tunnel", "{inner:#?}");
        let gateway = Host::Foreign.address(Family::V4);
        // With the kernel's own packets inside, which ask for addresses and have no socket.
        let outer: Vec<_> = flows.with_data_to(gateway).filter(|flow| flow.initiator == "unknown").collect();
        let [outer] = outer[..] else { anyhow::bail!("one flow to the gateway expected: {outer:#?}") };
        ensure!(outer.protocol == "udp" && outer.sensor == "interface", "{outer:#?}");
        ensure!(outer.owner.label == "kernel:udp-tunnel", "{outer:#?}");
        ensure!(outer.country.as_deref() == Some("DE") && outer.verdict == "violation", "{outer:#?}");
        ensure!(outer.payload_bytes > 250_000, "both directions of use: {outer:#?}");
        let edge = flows.interfaces.first().context("an interface")?;
        ensure!(edge.tunnel.bytes > outer.payload_bytes, "{edge:#?}");
        Ok(())
    });
}

#[test]
fn a_tunnel_behind_a_bridge_of_the_host_is_counted_once() {
    scene(&Settings::default(), |scene| {
        build(&scene.lab)?;
        let bridge = "ip link add br1 address 02:00:00:00:99:11 type bridge
             echo 1 >/proc/sys/net/ipv6/conf/br1/disable_ipv6
             ip address flush dev tunnel0; ip link set tunnel0 master br1
             ip link set br1 up; ip address add 10.99.0.1/24 dev br1
             ip route add 10.99.5.0/24 via 10.99.0.2";
        scene.lab.shell(Host::Storage, bridge)?;
        // The agent has looked at the edge twice.
        std::thread::sleep(Duration::from_secs(3));
        let at: SocketAddr = BEYOND.parse()?;
        let words = format!("udp-send --to {at} --size 1000 --count 100");
        let sent = scene.lab.send(Host::Storage, &words)?;
        let flows = scene.accounted()?;
        let inner = flows.check_sender(at.ip(), "udp", sent, 0)?;
        ensure!(inner.sensor == "tunnel", "{inner:#?}");
        let gateway = Host::Foreign.address(Family::V4);
        ensure!(
            flows.with_data_to(gateway).all(|flow| flow.owner.label == "kernel:udp-tunnel"),
            "{flows:#?}"
        );
        Ok(())
    });
}
