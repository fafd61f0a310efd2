//! Interleaved comparison: with and without, a few milliseconds each.
//!
//! Clocks of virtual machines drift by a third within minutes, so figures from two runs say nothing. One sender
//! alternates *off, on, off* within a fraction of a second; each such triple yields one difference and one ratio,
//! and drift slower than the triple cancels out. Candidates take turns, so that they share what drift there is.

use std::{
    hint::black_box,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::stats::Quartiles;

/// What time a unit of work takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// Processor time of the calling thread: for work that never waits. What other programs of the host take from
    /// the processor in the meantime does not count.
    Thread,
    /// Time that passes: for work that waits for an answer.
    Wall,
    /// Processor time of all threads of this process: sender, receiver and reader. What waits costs nothing, and what
    /// other programs take does not count.
    Process,
}

impl Clock {
    fn now(self) -> Duration {
        let id = match self {
            Self::Thread => rustix::time::ClockId::ThreadCPUTime,
            Self::Wall => rustix::time::ClockId::Monotonic,
            Self::Process => rustix::time::ClockId::ProcessCPUTime,
        };
        let time = rustix::time::clock_gettime(id);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) triples: usize,
    pub(crate) slice: Duration,
    pub(crate) clock: Clock,
    /// Where attaching is slow (it waits for every processor), a comparison ends after this long with the triples it has.
    pub(crate) patience: Duration,
}

/// Triples that are taken however long it takes.
const LEAST_TRIPLES: usize = 25;

/// Something to attach for a slice.
pub(crate) struct Candidate<'a> {
    pub(crate) name: &'static str,
    /// Attaches; what it returns is closed to detach.
    pub(crate) attach: Box<dyn Fn() -> Result<Vec<OwnedFd>> + 'a>,
}

/// What a candidate costs.
#[derive(Clone, Debug)]
pub(crate) struct Cost {
    pub(crate) name: &'static str,
    /// Time of one unit of work without it.
    pub(crate) off_ns: Quartiles,
    /// Time it adds to one unit.
    pub(crate) added_ns: Quartiles,
    /// Share of the rate that it takes, in per cent.
    pub(crate) loss_percent: Quartiles,
    /// Processor time of the whole process that it adds to one unit, in per cent.
    pub(crate) processor_percent: Quartiles,
    /// How far two slices without anything, before and after, lie apart, in per cent: what the machine does by itself.
    pub(crate) unrest_percent: Quartiles,
}

/// Measures every candidate against nothing attached. `work` does some work and says how many units it was.
pub(crate) fn compare(
    candidates: &[Candidate<'_>],
    effort: Effort,
    mut work: impl FnMut() -> Result<u64>,
) -> Result<Vec<Cost>> {
    let mut samples = vec![Samples::default(); candidates.len()];
    let started = Instant::now();
    for triple in 0..effort.triples {
        if triple >= LEAST_TRIPLES && started.elapsed() > effort.patience {
            break;
        }
        for (sample, candidate) in samples.iter_mut().zip(candidates) {
            let before = slice(effort.clock, effort.slice, &mut work)?;
            let links = (candidate.attach)()?;
            // Attaching patches kernel code and fills caches; that is not the cost of a packet.
            black_box(slice(effort.clock, effort.slice / 2, &mut work)?);
            let on = slice(effort.clock, effort.slice, &mut work)?;
            drop(links);
            black_box(slice(effort.clock, effort.slice / 2, &mut work)?);
            let after = slice(effort.clock, effort.slice, &mut work)?;
            sample.take(before, on, after);
        }
    }
    Ok(candidates.iter().zip(samples).map(|(candidate, samples)| samples.cost(candidate.name)).collect())
}

/// Time of one unit of work in a slice, in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Unit {
    /// By the clock of the comparison.
    time: f64,
    /// Of all threads of the process.
    processor: f64,
}

/// What the triples of one candidate say.
#[derive(Clone, Debug, Default)]
struct Samples {
    off: Vec<f64>,
    added: Vec<f64>,
    loss: Vec<f64>,
    processor: Vec<f64>,
    unrest: Vec<f64>,
}

impl Samples {
    fn take(&mut self, before: Unit, on: Unit, after: Unit) {
        let without = f64::midpoint(before.time, after.time);
        self.off.push(without);
        self.added.push(on.time - without);
        self.loss.push((1.0 - without / on.time) * 100.0);
        let processor = f64::midpoint(before.processor, after.processor);
        self.processor.push((on.processor / processor - 1.0) * 100.0);
        self.unrest.push((before.time - after.time).abs() / without * 100.0);
    }

    fn cost(self, name: &'static str) -> Cost {
        Cost {
            name,
            off_ns: Quartiles::of(self.off),
            added_ns: Quartiles::of(self.added),
            loss_percent: Quartiles::of(self.loss),
            processor_percent: Quartiles::of(self.processor),
            unrest_percent: Quartiles::of(self.unrest),
        }
    }
}

/// One slice.
fn slice(clock: Clock, length: Duration, work: &mut impl FnMut() -> Result<u64>) -> Result<Unit> {
    let (start, processor) = (clock.now(), Clock::Process.now());
    let mut units = 0;
    loop {
        units += work()?;
        let passed = clock.now() - start;
        if passed >= length {
            let processor = Clock::Process.now() - processor;
            let per_unit = |time: Duration| time.as_nanos() as f64 / units.max(1) as f64;
            return Ok(Unit { time: per_unit(passed), processor: per_unit(processor) });
        }
    }
}
