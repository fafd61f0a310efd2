//! The agent's side of the slots: takes readings, and takes slots back.
//!
//! A *reading* is what a slot counted since the reading before. Readings are taken by the sweep each second and
//! by events in between, from the same baseline, so each byte is read exactly once. How a slot changes hands
//! without losing or doubling a byte is told in `homeport_ebpf::slot`.

use std::{collections::HashSet, io, os::fd::BorrowedFd};

use homeport_ebpf::slot::{CLOSED_MANY, IndexKey, SlotCold, SlotHot, slot_ref};

use super::{
    reclaim::{IDLE_LIMIT, Pressure},
    sys::{self, SlotArray},
};
use crate::{clock::KernelTime, flow::Volume};

/// Readings taken before others get their turn: whoever takes them keeps no more than so many.
const MAX_READINGS: usize = 1024;

/// What a slot counted since it was read last.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Which slot.
    pub slot: u32,
    /// Which life of it.
    pub generation: u32,
    /// Counters and destination as they are.
    pub hot: SlotHot,
    /// Who, when, where from.
    pub cold: SlotCold,
    /// What is new.
    pub volume: Volume,
    /// Nothing more will come.
    pub closed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// In the stack of free slots, or just taken from it.
    #[default]
    Free,
    /// Seen by one sweep, without payload, and not read yet.
    Fresh,
    /// Read at least once in this life.
    Live,
    /// Its generation was raised; the last bytes are read at the next sweep.
    Retiring,
}

#[derive(Clone, Copy, Debug, Default)]
struct Baseline {
    wire_bytes: u64,
    payload_bytes: u64,
    packets: u64,
    last_growth: KernelTime,
    phase: Phase,
}

/// Every slot, with what has been read of it.
#[derive(Debug)]
pub(super) struct Slots {
    array: SlotArray,
    baselines: Vec<Baseline>,
    in_use: u32,
    pressure: Pressure,
    /// Cookies of sockets that are gone and had slots for many destinations.
    gone: HashSet<u64>,
}

impl Slots {
    /// Maps the slots and puts all of them on the stack of free ones, the lowest on top.
    pub(super) fn new(slots: BorrowedFd<'_>, free: BorrowedFd<'_>, len: u32) -> io::Result<Self> {
        let array = SlotArray::new(slots, len)?;
        for slot in (0..len).rev() {
            array.set_generation(slot, 1);
            sys::push(free, &slot)?;
        }
        Ok(Self {
            array,
            baselines: vec![Baseline::default(); len as usize],
            in_use: 0,
            pressure: Pressure::default(),
            gone: HashSet::new(),
        })
    }

    /// Maps slots in which counting went on, from where they stand now.
    pub(super) fn resume(slots: BorrowedFd<'_>, len: u32) -> io::Result<Self> {
        let array = SlotArray::new(slots, len)?;
        let now = KernelTime::now();
        let baselines = (0..len)
            .map(|slot| {
                let hot = array.hot(slot);
                Baseline {
                    wire_bytes: hot.wire_bytes,
                    payload_bytes: hot.payload_bytes,
                    packets: hot.packets,
                    last_growth: now,
                    phase: if hot.active == 0 { Phase::Free } else { Phase::Live },
                }
            })
            .collect();
        Ok(Self { array, baselines, in_use: 0, pressure: Pressure::default(), gone: HashSet::new() })
    }

    /// Slots in use at the last sweep.
    pub(super) const fn in_use(&self) -> u32 {
        self.in_use
    }

    pub(super) const fn capacity(&self) -> u32 {
        self.array.len()
    }

    /// What is new in a slot, if it still lives the life that an event spoke of.
    pub(super) fn read(&mut self, slot: u32, generation: u32, now: KernelTime) -> Option<Reading> {
        if slot >= self.array.len() {
            return None;
        }
        let hot = self.array.hot(slot);
        if hot.generation != generation || hot.active == 0 {
            return None;
        }
        Some(self.take_reading(slot, hot, now))
    }

    /// How well the owner of a slot is known by now; `None` when the slot has moved on.
    pub(super) fn owner_quality(&self, slot: u32, generation: u32) -> Option<u8> {
        (slot < self.array.len() && self.array.hot(slot).generation == generation)
            .then(|| self.array.cold(slot).quality)
    }

    /// Reads what grew since the last sweep, and takes back what ended or fell silent. Slots that are not `ready` are
    /// left for the next sweep.
    ///
    /// Begins with slot `from`, and ends after some readings: a whole sweep begins with 0, and goes on with what is
    /// returned until that is `None`.
    pub(super) fn sweep(
        &mut self,
        (index, free): (BorrowedFd<'_>, BorrowedFd<'_>),
        from: u32,
        now: KernelTime,
        ready: impl Fn(u32) -> bool,
        mut take: impl FnMut(Reading),
    ) -> io::Result<Option<u32>> {
        if from == 0 {
            self.in_use = 0;
        }
        let mut n_readings = 0;
        for slot in from..self.array.len() {
            if n_readings == MAX_READINGS {
                return Ok(Some(slot));
            }
            let hot = self.array.hot(slot);
            let baseline = self.baselines[slot as usize];
            if hot.active == 0 {
                // Slots are taken lowest first, so behind one that was never used there is none in use.
                if hot.packets == 0 {
                    break;
                }
                continue;
            }
            self.in_use += 1;
            if !ready(slot) {
                continue;
            }
            // A handshake that is a moment old waits one sweep: its first payload brings the exact owner.
            if baseline.phase == Phase::Free && hot.payload_bytes == baseline.payload_bytes && hot.closed == 0
            {
                self.baselines[slot as usize].phase = Phase::Fresh;
                continue;
            }
            let grown = hot.packets != baseline.packets;
            // An end is told, even of a socket that has been silent.
            let ended = hot.closed != 0 && baseline.phase != Phase::Retiring;
            if grown || ended || matches!(baseline.phase, Phase::Free | Phase::Fresh) {
                take(self.take_reading(slot, hot, now));
                n_readings += 1;
            }
            match baseline.phase {
                Phase::Retiring => self.free(slot, &hot, index, free)?,
                // What came after the reading is read before it is freed.
                _ if ended => {
                    if hot.closed == CLOSED_MANY {
                        self.gone.insert(self.array.cold(slot).cookie);
                    }
                    self.retire(slot, hot.generation);
                }
                Phase::Live if !grown => {
                    let silent = now.since(baseline.last_growth);
                    if silent > IDLE_LIMIT {
                        self.retire(slot, hot.generation);
                    } else {
                        self.pressure.held();
                        self.pressure.silent(silent);
                    }
                }
                Phase::Free | Phase::Fresh | Phase::Live => self.pressure.held(),
            }
        }
        self.make_room(now);
        Ok(None)
    }

    /// Takes back what is silent the longest when slots run short, and marks the slots of sockets that are gone, of
    /// which the programs mark only one.
    fn make_room(&mut self, now: KernelTime) {
        let limit = std::mem::take(&mut self.pressure).idle_limit(self.array.len());
        let gone = std::mem::take(&mut self.gone);
        if limit == IDLE_LIMIT && gone.is_empty() {
            return;
        }
        for slot in 0..self.array.len() {
            let Baseline { phase: Phase::Live, last_growth, .. } = self.baselines[slot as usize] else {
                continue;
            };
            if !gone.is_empty() {
                let hot = self.array.hot(slot);
                if hot.closed == 0 && hot.indexed != 0 && gone.contains(&self.array.cold(slot).cookie) {
                    // The next sweep reads it for the last time, as any that was marked by the programs.
                    self.array.set_closed(slot);
                    continue;
                }
            }
            if limit < IDLE_LIMIT && now.since(last_growth) >= limit {
                self.retire(slot, self.array.hot(slot).generation);
            }
        }
    }

    /// Stops or resumes the events of a slot.
    pub(super) fn set_quiet(&self, slot: u32, generation: u32, quiet: bool) {
        let hot = self.array.hot(slot);
        if hot.generation == generation && (hot.quiet != 0) != quiet {
            let step = homeport_ebpf::settings::EVENT_STEP_BYTES;
            self.array.set_quiet(slot, quiet, hot.payload_bytes.saturating_add(step));
        }
    }

    fn take_reading(&mut self, slot: u32, hot: SlotHot, now: KernelTime) -> Reading {
        let baseline = &mut self.baselines[slot as usize];
        let volume = Volume {
            wire_bytes: hot.wire_bytes.wrapping_sub(baseline.wire_bytes),
            payload_bytes: hot.payload_bytes.wrapping_sub(baseline.payload_bytes),
            packets: hot.packets.wrapping_sub(baseline.packets),
        };
        if matches!(baseline.phase, Phase::Free | Phase::Fresh) {
            self.pressure.begun();
        }
        let phase = if baseline.phase == Phase::Retiring { Phase::Retiring } else { Phase::Live };
        *baseline = Baseline {
            wire_bytes: hot.wire_bytes,
            payload_bytes: hot.payload_bytes,
            packets: hot.packets,
            last_growth: now,
            phase,
        };
        // The last bytes of a slot belong to the life that ended; who reads them must not touch the next one.
        let generation =
            if phase == Phase::Retiring { hot.generation.wrapping_sub(1) } else { hot.generation };
        Reading { slot, generation, hot, cold: self.array.cold(slot), volume, closed: hot.closed != 0 }
    }

    /// From here on no socket finds the slot: all of them remember the old generation.
    fn retire(&mut self, slot: u32, generation: u32) {
        // Zero is what sockets without a slot remember.
        let next = generation.wrapping_add(1).max(1);
        self.array.set_generation(slot, next);
        self.baselines[slot as usize].phase = Phase::Retiring;
    }

    /// A whole sweep has passed since it was retired: every program that could still add has ended.
    fn free(
        &mut self,
        slot: u32,
        hot: &SlotHot,
        index: BorrowedFd<'_>,
        free: BorrowedFd<'_>,
    ) -> io::Result<()> {
        if hot.indexed != 0 {
            let key = IndexKey {
                cookie: self.array.cold(slot).cookie,
                remote: hot.remote,
                taken_for: hot.taken_for,
                remote_port: hot.remote_port,
                protocol: hot.protocol,
                via: hot.via,
            };
            let old = slot_ref(slot, hot.generation.wrapping_sub(1));
            // Another slot may have taken the place in the index.
            if sys::lookup::<_, u64>(index, &key)? == Some(old) {
                sys::delete(index, &key)?;
            }
        }
        self.array.set_inactive(slot);
        self.baselines[slot as usize].phase = Phase::Free;
        sys::push(free, &slot)
    }
}
