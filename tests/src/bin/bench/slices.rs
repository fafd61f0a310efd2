//! Interleaved comparison: with and without, a few milliseconds each.
//!
//! Clocks of virtual machines drift by a third within minutes, so figures from two runs say nothing. One sender
//! alternates *off, on, off* within a fraction of a second; each such triple yields one difference and one ratio,
//! and drift slower than the triple cancels out. Candidates take turns, so that they share what drift there is.

use std::{hint::black_box, os::fd::OwnedFd, time::Duration};

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
}

impl Clock {
    fn now(self) -> Duration {
        let id = match self {
            Self::Thread => rustix::time::ClockId::ThreadCPUTime,
            Self::Wall => rustix::time::ClockId::Monotonic,
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
}

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
}

/// Measures every candidate against nothing attached. `work` does some work and says how many units it was.
pub(crate) fn compare(
    candidates: &[Candidate<'_>],
    effort: Effort,
    mut work: impl FnMut() -> Result<u64>,
) -> Result<Vec<Cost>> {
    let mut off = vec![Vec::new(); candidates.len()];
    let mut added = off.clone();
    let mut loss = off.clone();
    for _ in 0..effort.triples {
        for (idx, candidate) in candidates.iter().enumerate() {
            let before = slice(effort.clock, effort.slice, &mut work)?;
            let links = (candidate.attach)()?;
            // Attaching patches kernel code and fills caches; that is not the cost of a packet.
            black_box(slice(effort.clock, effort.slice / 2, &mut work)?);
            let on = slice(effort.clock, effort.slice, &mut work)?;
            drop(links);
            black_box(slice(effort.clock, effort.slice / 2, &mut work)?);
            let after = slice(effort.clock, effort.slice, &mut work)?;
            let without = f64::midpoint(before, after);
            off[idx].push(without);
            added[idx].push(on - without);
            loss[idx].push((1.0 - without / on) * 100.0);
        }
    }
    Ok(candidates
        .iter()
        .zip(off.into_iter().zip(added.into_iter().zip(loss)))
        .map(|(candidate, (off, (added, loss)))| Cost {
            name: candidate.name,
            off_ns: Quartiles::of(off),
            added_ns: Quartiles::of(added),
            loss_percent: Quartiles::of(loss),
        })
        .collect())
}

/// Nanoseconds per unit over one slice.
fn slice(clock: Clock, length: Duration, work: &mut impl FnMut() -> Result<u64>) -> Result<f64> {
    let start = clock.now();
    let mut units = 0;
    loop {
        units += work()?;
        let passed = clock.now() - start;
        if passed >= length {
            return Ok(passed.as_nanos() as f64 / units.max(1) as f64);
        }
    }
}
