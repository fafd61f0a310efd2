//! The product's programs, loaded once, attached and detached as a measurement needs them.
//!
//! While it measures, a thread does what the agent does: it waits for events and sweeps every second.

use std::{
    collections::HashMap,
    fs::File,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use homeport::{
    clock::KernelTime,
    probe::{Pace, Probe, ProbeSettings},
};
use rustix::event::{PollFd, PollFlags, poll};

use crate::{
    bpf,
    lab::{self, Lab, Side},
};

/// As in the agent's defaults.
pub(crate) const SLOTS: u32 = 131_072;
const RING_BYTES: u32 = 4 * 1024 * 1024;

/// The owner ledger's programs besides the one that counts, and where they go.
const STAMPS: [(&str, u32); 5] = [
    ("stamp_connect4", bpf::CGROUP_INET4_CONNECT),
    ("stamp_connect6", bpf::CGROUP_INET6_CONNECT),
    ("stamp_bind4", bpf::CGROUP_INET4_POST_BIND),
    ("stamp_bind6", bpf::CGROUP_INET6_POST_BIND),
    ("close_socket", bpf::CGROUP_INET_SOCK_RELEASE),
];
pub(crate) const TRACEPOINTS: [&str; 2] = ["stamp_sender", "close_tcp"];

/// Loads the product's programs for the cgroup of the lab.
pub(crate) fn load(lab: &Lab) -> Result<Probe> {
    let settings = ProbeSettings {
        cgroup: lab.cgroup().to_owned(),
        own_namespace_only: false,
        exact_owners: true,
        slots: SLOTS,
        ring_bytes: RING_BYTES,
        pin_dir: None,
    };
    let probe =
        Probe::load(&settings).context("load the programs (the bench needs Linux 6.6 with BTF, and root)")?;
    probe.expect_interface(lab.ifindex()?)?;
    Ok(probe)
}

/// Descriptors of everything that can be attached.
pub(crate) struct Hooks {
    programs: HashMap<&'static str, OwnedFd>,
    cgroup: File,
    ifindex: u32,
}

impl Hooks {
    pub(crate) fn new(probe: &Probe, lab: &Lab) -> Result<Self> {
        let mut programs = HashMap::new();
        let names = STAMPS.map(|(name, _)| name).into_iter().chain(TRACEPOINTS);
        for name in names.chain(["account_egress", "frames_ethernet"]) {
            let fd = probe.program_fd(name).with_context(|| format!("program {name} is not loaded"))?;
            programs.insert(name, fd.try_clone_to_owned()?);
        }
        programs.insert("empty_egress", bpf::empty_egress().context("load an empty program")?);
        programs.insert("empty_classifier", bpf::empty_classifier().context("load an empty program")?);
        Ok(Self { programs, cgroup: lab.cgroup_dir()?, ifindex: lab.ifindex()? })
    }

    pub(crate) fn program(&self, name: &str) -> Result<BorrowedFd<'_>> {
        self.programs.get(name).map(AsFd::as_fd).with_context(|| format!("no program {name}"))
    }

    fn at_cgroup(&self, name: &str, attach_type: u32) -> Result<OwnedFd> {
        bpf::link(self.program(name)?, lab::target(&self.cgroup), attach_type)
            .with_context(|| format!("attach {name}"))
    }

    fn at_interface(&self, name: &str) -> Result<OwnedFd> {
        bpf::link(self.program(name)?, self.ifindex, bpf::TCX_EGRESS)
            .with_context(|| format!("attach {name}"))
    }

    fn at_tracepoint(&self, name: &str) -> Result<OwnedFd> {
        bpf::link_tracepoint(self.program(name)?).with_context(|| format!("attach {name}"))
    }

    /// `return 1` in place of the owner ledger.
    pub(crate) fn empty(&self) -> Result<Vec<OwnedFd>> {
        Ok(vec![self.at_cgroup("empty_egress", bpf::CGROUP_INET_EGRESS)?])
    }

    /// Programs that do nothing in place of both ledgers.
    pub(crate) fn empty_both(&self) -> Result<Vec<OwnedFd>> {
        Ok(vec![
            self.at_cgroup("empty_egress", bpf::CGROUP_INET_EGRESS)?,
            self.at_interface("empty_classifier")?,
        ])
    }

    /// The owner ledger's counting program alone.
    pub(crate) fn counter(&self) -> Result<Vec<OwnedFd>> {
        Ok(vec![self.at_cgroup("account_egress", bpf::CGROUP_INET_EGRESS)?])
    }

    /// The owner ledger as the agent attaches it.
    pub(crate) fn owner(&self) -> Result<Vec<OwnedFd>> {
        let mut links = Vec::new();
        for name in TRACEPOINTS {
            links.push(self.at_tracepoint(name)?);
        }
        for (name, attach_type) in STAMPS {
            links.push(self.at_cgroup(name, attach_type)?);
        }
        links.extend(self.counter()?);
        Ok(links)
    }

    /// The truth ledger alone.
    pub(crate) fn truth(&self) -> Result<Vec<OwnedFd>> {
        Ok(vec![self.at_interface("frames_ethernet")?])
    }

    /// Everything that a packet meets.
    pub(crate) fn both(&self) -> Result<Vec<OwnedFd>> {
        let mut links = self.owner()?;
        links.extend(self.truth()?);
        Ok(links)
    }
}

/// What the reading thread has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// From the packet to the event in this process, in nanoseconds.
    pub(crate) latencies_ns: Vec<f64>,
    /// Readings of the sweeps and of events.
    pub(crate) readings: u64,
}

/// Does the agent's part on the far side's processor.
pub(crate) struct Reader {
    stop: Arc<AtomicBool>,
    at_once: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    thread: Option<JoinHandle<Result<Probe>>>,
}

impl Reader {
    pub(crate) fn start(probe: Probe, lab: &Arc<Lab>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let at_once = Arc::new(AtomicBool::new(false));
        let (lab, stopped, seen_there) = (Arc::clone(lab), Arc::clone(&stop), Arc::clone(&seen));
        let at_once_there = Arc::clone(&at_once);
        let thread = thread::spawn(move || {
            lab.pin(Side::Far)?;
            read(probe, (&stopped, &at_once_there), &seen_there)
        });
        Self { stop, at_once, seen, thread: Some(thread) }
    }

    /// Whether each event is read at once, however many there are, instead of as the agent does.
    pub(crate) fn read_at_once(&self, at_once: bool) {
        self.at_once.store(at_once, Ordering::Relaxed);
    }

    /// What was seen since the last call.
    pub(crate) fn take_seen(&self) -> Seen {
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends the thread and hands the probe back.
    pub(crate) fn stop(mut self) -> Result<Probe> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the reading thread runs")?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn read(mut probe: Probe, (stop, at_once): (&AtomicBool, &AtomicBool), seen: &Mutex<Seen>) -> Result<Probe> {
    let mut sweep_at = Instant::now() + Duration::from_secs(1);
    let patience = rustix::event::Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    let mut pace = Pace::default();
    while !stop.load(Ordering::Relaxed) {
        poll(&mut [PollFd::new(&probe.flow_event_fd(), PollFlags::IN)], Some(&patience))?;
        let mut new = Seen::default();
        let mut taken = 0;
        while let Some(event) = probe.next_flow_event() {
            let now = KernelTime::now();
            new.latencies_ns.push(now.0.saturating_sub(event.ktime_ns) as f64);
            new.readings += u64::from(probe.read_slot(event.slot, event.generation, now).is_some());
            taken += 1;
        }
        let pause = if taken == 0 { None } else { pace.after(taken, KernelTime::now()) };
        if Instant::now() >= sweep_at {
            sweep_at += Duration::from_secs(1);
            probe.sweep_all(KernelTime::now(), |_| new.readings += 1)?;
        }
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.latencies_ns.append(&mut new.latencies_ns);
        seen.readings += new.readings;
        drop(seen);
        if let Some(pause) = pause.filter(|_| !at_once.load(Ordering::Relaxed)) {
            thread::sleep(pause);
        }
    }
    Ok(probe)
}
