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
use homeport::clock::KernelTime;

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
            let wake = wake_up_us(lab, scale)?;
            let why = format!(
                "a thread that sleeps on the other processor is woken by a bare `eventfd` after {:.1} us here (median; p99 \
                 {:.0} us), and no event can be faster",
                wake.0, wake.1
            );
            report.budget(("first packet to user space, median", 15.0, "us"), median, why.clone());
            report.budget(("first packet to user space, p99", 400.0, "us"), high, why);
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
               program takes to the clock when the event is read. Half of \
               the events tell of the packet, the other half that the sender is known."
                .to_owned(),
        columns: vec!["load", "events", "median, us", "p99, us", "longest, us"],
        rows,
    });
    Ok(())
}

/// What waking costs without us: from a write to an `eventfd` until a thread on the other processor has read it, in
/// microseconds, median and p99.
fn wake_up_us(lab: &Arc<Lab>, scale: Scale) -> Result<(f64, f64)> {
    let count = scale.pick(4_000, 300);
    let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::empty())?;
    let (there, lab_there) = (event.try_clone()?, Arc::clone(lab));
    let (sent, seen) = std::sync::mpsc::channel();
    let reader = thread::spawn(move || -> Result<()> {
        lab_there.pin(Side::Far)?;
        for _ in 0..count {
            rustix::io::read(&there, &mut [0; 8])?;
            let _ = sent.send(KernelTime::now());
        }
        Ok(())
    });
    let event = &event;
    let mut times = lab.on(Side::Near, move || {
        let mut times = Vec::new();
        for _ in 0..count {
            thread::sleep(Duration::from_micros(500));
            let start = KernelTime::now();
            rustix::io::write(event, &1_u64.to_ne_bytes())?;
            times.push(seen.recv().context("the reader has ended")?.since(start).as_secs_f64() * 1e6);
        }
        Ok(times)
    })?;
    reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    Ok((percentile(&mut times, 0.5), percentile(&mut times, 0.99)))
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
