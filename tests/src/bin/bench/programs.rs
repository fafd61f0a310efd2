//! What the programs themselves take, apart from the packet around them.
//!
//! `BPF_PROG_TEST_RUN` runs a program again and again over one frame, with everything in the cache. It says
//! nothing about a host at work, but it is steady enough to compare two versions of a program.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context as _, Result};

use crate::{
    Scale, bpf, datagrams,
    hooks::{self, Hooks},
    lab::{Family, Lab, Side},
    report::{Report, Table},
    stats::Quartiles,
};

const PROGRAMS: [&str; 4] = ["empty_egress", "account_egress", "empty_classifier", "frames_ethernet"];

pub(crate) fn run(lab: &Arc<Lab>, scale: Scale, report: &mut Report) -> Result<()> {
    let probe = hooks::load(lab)?;
    let hooks = Hooks::new(&probe, lab)?;
    let (rounds, repeat) = (scale.pick(30, 5), scale.pick(300_000, 50_000));
    let ifindex = lab.ifindex()?;
    let mut samples = vec![Vec::new(); PROGRAMS.len() * Family::BOTH.len()];
    lab.on(Side::Near, || {
        for _ in 0..rounds {
            let runs = PROGRAMS.iter().flat_map(|name| Family::BOTH.map(|family| (*name, family)));
            for (sample, (name, family)) in samples.iter_mut().zip(runs) {
                let time = bpf::test_run(hooks.program(name)?, &frame(family), ifindex, repeat);
                sample.push(f64::from(time.with_context(|| format!("test run of {name}"))?));
            }
        }
        Ok(())
    })?;
    let mut samples = samples.into_iter().map(Quartiles::of);
    report.table(Table {
        title: "Per run, same frame again and again",
        text: format!(
            "`BPF_PROG_TEST_RUN` over one {}-byte datagram of a known socket, {repeat} runs, {rounds} times. The socket \
             that a test run lends to `frames_ethernet` has no port, so that this frame is taken for the outside of a \
             tunnel and counted per destination: its dearest case. What a usual frame takes is below, as *truth ledger*.",
            datagrams::PAYLOAD_BYTES
        ),
        columns: vec!["program", "v4, ns", "v6, ns"],
        rows: PROGRAMS
            .iter()
            .map(|name| {
                let mut next = || samples.next().map(|times| times.to_string()).unwrap_or_default();
                vec![format!("`{name}`"), next(), next()]
            })
            .collect(),
    });
    Ok(())
}

/// An Ethernet frame with a datagram to the receiver. Nobody looks at checksums here.
fn frame(family: Family) -> Vec<u8> {
    const UDP: u8 = 17;
    let length = (8 + datagrams::PAYLOAD_BYTES) as u16;
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    let destination = family.received(0);
    match destination {
        SocketAddr::V4(address) => {
            frame.extend([0x08, 0x00, 0x45, 0]);
            frame.extend((20 + length).to_be_bytes());
            frame.extend([0, 0, 0x40, 0, 64, UDP, 0, 0, 192, 0, 2, 1]);
            frame.extend(address.ip().octets());
        }
        SocketAddr::V6(address) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(length.to_be_bytes());
            frame.extend([UDP, 64]);
            frame.extend([0x20, 0x01, 0x0d, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
            frame.extend(address.ip().octets());
        }
    }
    frame.extend(40_000_u16.to_be_bytes());
    frame.extend(destination.port().to_be_bytes());
    frame.extend(length.to_be_bytes());
    frame.extend([0, 0]);
    frame.resize(frame.len() + datagrams::PAYLOAD_BYTES, 0);
    frame
}
