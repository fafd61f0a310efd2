//! What reading the counters costs, and what the counters take.

use std::{net::UdpSocket, sync::Arc, time::Instant};

use anyhow::{Context as _, Result, ensure};
use homeport::{clock::KernelTime, probe::Probe};

use crate::{
    Scale,
    hooks::{self, Hooks},
    lab::{Family, Lab, Side},
    memory::{Kernel, resident_bytes},
    report::{Report, Table},
    stats::Quartiles,
};

const MIB: f64 = 1024.0 * 1024.0;

pub(crate) fn run(lab: &Arc<Lab>, scale: Scale, report: &mut Report) -> Result<()> {
    let kernel = Kernel::open(lab)?;
    let mut rows = Vec::new();
    for flows in [1_000, 10_000, 100_000] {
        let start = (resident_bytes(std::process::id())?, kernel.bytes()?);
        let mut probe = hooks::load(lab)?;
        let loaded = (resident_bytes(std::process::id())?, kernel.bytes()?);
        let hooks = Hooks::new(&probe, lab)?;
        let times = lab.on(Side::Near, || {
            let _links = hooks.both()?;
            let socket = UdpSocket::bind(Family::V4.unspecified())?;
            let mut grown = Vec::new();
            let mut idle = Vec::new();
            for _ in 0..scale.pick(15, 3) {
                for idx in 0..flows {
                    socket.send_to(&[0; 64], Family::V4.dropped(idx)).context("send")?;
                }
                while probe.next_flow_event().is_some() {}
                grown.push(sweep(&mut probe, flows)?);
                idle.push(sweep(&mut probe, 0)?);
            }
            Ok((Quartiles::of(grown), Quartiles::of(idle)))
        })?;
        let end = (resident_bytes(std::process::id())?, kernel.bytes()?);
        let mib = |from: u64, to: u64| format!("{:.1}", (to as f64 - from as f64) / MIB);
        rows.push(vec![
            flows.to_string(),
            format!("{:.2}", times.0),
            format!("{:.2}", times.1),
            mib(start.0, end.0),
            mib(start.1, loaded.1),
            mib(loaded.1, end.1),
        ]);
        if flows == 100_000 {
            let what = "sweep of 100,000 flows that all grew";
            report.budget((what, 50.0, "ms"), times.0, "each slot is read from memory that both sides map");
        }
    }
    report.table(Table {
        title: "Sweep and memory of the probe",
        text: format!(
            "`Probe::sweep` in this process, after one datagram to each destination of one socket, and again \
             without any. Kernel memory: {}.",
            kernel.method()
        ),
        columns: vec![
            "flows",
            "sweep, all grew, ms",
            "sweep, none grew, ms",
            "process, MiB",
            "kernel at start, MiB",
            "kernel for the flows, MiB",
        ],
        rows,
    });
    Ok(())
}

/// Milliseconds of one sweep, which must see the whole traffic.
fn sweep(probe: &mut Probe, expected: u32) -> Result<f64> {
    let mut packets = 0;
    let start = Instant::now();
    probe.sweep_all(KernelTime::now(), |reading| packets += reading.volume.packets)?;
    let passed = start.elapsed();
    ensure!(packets == u64::from(expected), "the sweep saw {packets} packets of {expected}");
    Ok(passed.as_secs_f64() * 1e3)
}
