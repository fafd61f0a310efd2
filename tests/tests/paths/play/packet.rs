//! Packet sockets and AF_XDP: frames made by hand.

use anyhow::Result;
use homeport_tests::{
    lab::{ETHERNET_HEADER_BYTES, Family, Host, Lab, Nic},
    settings::Settings,
};

use crate::{Part, Played, stage::Stage};

const SIZE: u64 = 1000;
const COUNT: u64 = 200;
/// IPv4 and UDP.
const HEADER_BYTES: u64 = 28;

/// Frames that pass the queue of the card.
pub(crate) fn counted(words: &str) -> Result<Played> {
    send(Stage::shared()?, &format!("frame-send {words}"), Nic::default())
}

/// Frames that go straight to the driver. The agent compares every two seconds, so that its finding comes soon.
pub(crate) fn past_everything(words: &str) -> Result<Played> {
    let bytes = COUNT * (SIZE + HEADER_BYTES + ETHERNET_HEADER_BYTES);
    let settings = Settings { interval_secs: 2, ..Settings::default() };
    send(Stage::own_with(Lab::new()?, &settings)?, words, Nic { bytes, packets: COUNT, dropped: 0 })
}

fn send(stage: Stage, words: &str, bypass: Nic) -> Result<Played> {
    let to = Host::Foreign.address(Family::V4);
    let (from, gateway) = (Host::Storage.address(Family::V4), stage.lab.gateway_mac());
    let words = format!(
        "{words} --interface eth0 --neighbour {gateway} --from {from} --to {to} --size {SIZE} --count {COUNT}"
    );
    let sent = stage.lab.send(Host::Storage, &words)?;
    Ok(Played { stage, parts: vec![Part::new(to, "udp", sent)], bypass, _keep: Vec::new() })
}
