//! From the first packet to a foreign destination to the event in user space.

use std::{
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{
    Scale,
    hooks::{self, Hooks, Reader},
    lab::{Family, Lab, Side},
    report::{Report, Table},
    stats::percentile,
};

pub(crate) fn run(lab: &Arc<Lab>, scale: Scale, report: &mut Report) -> Result<()> {
    let mut rows = Vec::new();
    for (load, busy, pause) in [
        ("idle, 2,000 first packets a second", false, Duration::from_micros(500)),
        ("idle, 200 first packets a second", false, Duration::from_millis(5)),
        ("both processors busy, 2,000 a second", true, Duration::from_micros(500)),
    ] {
        let probe = hooks::load(lab)?;
        let hooks = Hooks::new(&probe, lab)?;
        let reader = Reader::start(probe, lab);
        let count = scale.pick(4_000, 300);
        let mut latencies = lab.on(Side::Near, || {
            let _load = busy.then(|| Load::start(lab));
            let _links = hooks.both()?;
            reader.take_seen();
            for idx in 0..count {
                let socket = UdpSocket::bind(Family::V4.unspecified())?;
                socket.send_to(&[0; 64], Family::V4.dropped(idx)).context("send")?;
                thread::sleep(pause);
            }
            thread::sleep(Duration::from_millis(100));
            Ok(reader.take_seen().latencies_ns)
        })?;
        reader.stop()?;
        let mut at = |share| percentile(&mut latencies, share) / 1e3;
        let (median, high, highest) = (at(0.5), at(0.99), at(1.0));
        if !busy && pause < Duration::from_millis(1) {
            report.budget("first packet to user space, median", "us", 15.0, median);
            report.budget("first packet to user space, p99", "us", 400.0, high);
        }
        rows.push(vec![
            load.to_owned(),
            latencies.len().to_string(),
            format!("{median:.1}"),
            format!("{high:.1}"),
            format!("{highest:.1}"),
        ]);
    }
    report.table(Table {
        title: "First packet to user space",
        text:
            "A new socket each time; sender and reader on different processors. From the time stamp that the \
               program takes to the clock when the event is read. Events at close count as well."
                .to_owned(),
        columns: vec!["load", "events", "median, us", "p99, us", "longest, us"],
        rows,
    });
    Ok(())
}

/// Keeps both processors busy until it is dropped.
struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Load {
    fn start(lab: &Arc<Lab>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = [Side::Near, Side::Far]
            .map(|side| {
                let (lab, stop) = (Arc::clone(lab), Arc::clone(&stop));
                thread::spawn(move || {
                    let _ = lab.pin(side);
                    while !stop.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                })
            })
            .into_iter()
            .collect();
        Self { stop, threads }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
