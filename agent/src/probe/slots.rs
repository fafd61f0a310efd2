//! The agent's side of the slots: takes readings, and takes slots back.
//!
//! A *reading* is what a slot counted since the reading before. Readings are taken by the sweep each second and
//! by events in between, from the same baseline, so each byte is read exactly once. How a slot changes hands
//! without losing or doubling a byte is told in `homeport_ebpf::slot`, how it survives the agent in
//! `homeport_ebpf::baseline`.

use std::{collections::HashSet, io, os::fd::BorrowedFd};

use homeport_ebpf::slot::{CLOSED_MANY, IndexKey, SlotCold, SlotHot, slot_of};

use super::{
    baselines::{Baselines, Saved, SavedPhase},
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
    /// When the slot was looked at before: what is new left after that. `None` the first time, and as long as this agent
    /// has not looked at all of them once.
    pub since: Option<KernelTime>,
    /// Nothing more will come.
    pub closed: bool,
    /// An agent before this one has read this life of the slot.
    pub resumed: bool,
    /// The slot is one of maps that are being given up: nothing can be told to it any more.
    pub drained: bool,
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
    /// The last bytes were read. It waits for the commit that says so.
    Drained,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Baseline {
    wire_bytes: u64,
    payload_bytes: u64,
    packets: u64,
    last_growth: KernelTime,
    phase: Phase,
    resumed: bool,
}

/// Every slot, with what has been read of it.
#[derive(Debug)]
pub(super) struct Slots {
    array: SlotArray,
    baselines: Vec<Baseline>,
    saved: Baselines,
    /// Slots to be freed at the next commit.
    drained: Vec<u32>,
    in_use: u32,
    /// Something was stored since the last commit.
    changed: bool,
    /// When the last whole sweep began.
    swept: Option<KernelTime>,
    pressure: Pressure,
    /// Cookies of sockets that are gone and had slots for many destinations.
    gone: HashSet<u64>,
}

/// What an agent found in slots that were counted in before it came.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    /// Counted since the last commit.
    pub(super) away: Volume,
    /// Slots that were being put back when the agent before was killed: in the stack, or lost to it.
    pub(super) uncertain: u32,
}

impl Slots {
    /// Maps the slots and puts all of them on the stack of free ones, the lowest on top. Each begins its first life
    /// with this generation.
    pub(super) fn new(
        slots: BorrowedFd<'_>,
        free: BorrowedFd<'_>,
        (len, generation): (u32, u32),
        saved: Baselines,
    ) -> io::Result<Self> {
        let array = SlotArray::new(slots, len)?;
        for slot in (0..len).rev() {
            array.set_generation(slot, generation);
            sys::push(free, &slot)?;
        }
        Ok(Self::of(array, vec![Baseline::default(); len as usize], saved))
    }

    fn of(array: SlotArray, baselines: Vec<Baseline>, saved: Baselines) -> Self {
        Self {
            array,
            baselines,
            saved,
            drained: Vec::new(),
            in_use: 0,
            changed: false,
            swept: None,
            pressure: Pressure::default(),
            gone: HashSet::new(),
        }
    }

    /// Goes on with slots in which counting went on.
    pub(super) fn resume(
        slots: BorrowedFd<'_>,
        index: BorrowedFd<'_>,
        free: BorrowedFd<'_>,
        len: u32,
        saved: Baselines,
    ) -> io::Result<(Self, Found)> {
        let array = SlotArray::new(slots, len)?;
        let now = KernelTime::now();
        let mut found = Found::default();
        let mut drained = Vec::new();
        let mut baselines = Vec::with_capacity(len as usize);
        for slot in 0..len {
            let (hot, known) = (array.hot(slot), saved.saved(slot));
            let phase = match known.phase {
                SavedPhase::Live if hot.active != 0 => Phase::Live,
                SavedPhase::Retiring => Phase::Retiring,
                SavedPhase::Drained => {
                    drained.push(slot);
                    Phase::Drained
                }
                SavedPhase::Pushing => {
                    found.uncertain += u32::from(hot.active == 0);
                    Phase::Free
                }
                SavedPhase::Free | SavedPhase::Live => Phase::Free,
            };
            let baseline = Baseline {
                wire_bytes: known.wire_bytes,
                payload_bytes: known.payload_bytes,
                packets: known.packets,
                last_growth: now,
                phase,
                resumed: matches!(phase, Phase::Live | Phase::Retiring),
            };
            found.away.add(baseline.until(&hot));
            baselines.push(baseline);
        }
        let mut slots = Self { drained, ..Self::of(array, baselines, saved) };
        slots.free_drained(index, free)?;
        Ok((slots, found))
    }

    /// The epoch being built.
    pub(super) const fn epoch(&self) -> u64 {
        self.saved.epoch()
    }

    /// Whether a commit would say anything new.
    pub(super) const fn is_changed(&self) -> bool {
        self.changed
    }

    /// Everything read so far is committed: what waited for that may be used again.
    pub(super) fn committed(&mut self, index: BorrowedFd<'_>, free: BorrowedFd<'_>) -> io::Result<()> {
        self.saved.next_epoch();
        self.changed = false;
        self.free_drained(index, free)
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

    /// What a slot holds by now, without reading it; `None` when it has moved on.
    pub(super) fn look(&self, slot: u32, generation: u32) -> Option<(SlotHot, SlotCold)> {
        if slot >= self.array.len() {
            return None;
        }
        let hot = self.array.hot(slot);
        (hot.generation == generation && hot.active != 0).then(|| (hot, self.array.cold(slot)))
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
        from: u32,
        now: KernelTime,
        ready: impl Fn(u32) -> bool,
        mut take: impl FnMut(Reading),
    ) -> Option<u32> {
        if from == 0 {
            self.in_use = 0;
        }
        let mut n_readings = 0;
        for slot in from..self.array.len() {
            if n_readings == MAX_READINGS {
                return Some(slot);
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
            if baseline.phase == Phase::Drained || !ready(slot) {
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
                Phase::Retiring => self.drain(slot),
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
                Phase::Free | Phase::Fresh | Phase::Live | Phase::Drained => self.pressure.held(),
            }
        }
        self.make_room(now);
        self.swept = Some(now);
        None
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
        let volume = baseline.until(&hot);
        let is_first = matches!(baseline.phase, Phase::Free | Phase::Fresh);
        if is_first {
            self.pressure.begun();
        }
        let since = if is_first { None } else { self.swept.map(|swept| swept.max(baseline.last_growth)) };
        let phase = if baseline.phase == Phase::Retiring { Phase::Retiring } else { Phase::Live };
        *baseline = Baseline {
            wire_bytes: hot.wire_bytes,
            payload_bytes: hot.payload_bytes,
            packets: hot.packets,
            last_growth: now,
            phase,
            resumed: baseline.resumed,
        };
        let resumed = baseline.resumed;
        self.store(slot);
        // The last bytes of a slot belong to the life that ended; who reads them must not touch the next one.
        let generation =
            if phase == Phase::Retiring { hot.generation.wrapping_sub(1) } else { hot.generation };
        Reading {
            slot,
            generation,
            hot,
            cold: self.array.cold(slot),
            volume,
            since,
            closed: hot.closed != 0,
            resumed,
            drained: false,
        }
    }

    /// Writes a baseline down for the agent after this one.
    fn store(&mut self, slot: u32) {
        let baseline = &self.baselines[slot as usize];
        self.saved.store(
            slot,
            Saved {
                wire_bytes: baseline.wire_bytes,
                payload_bytes: baseline.payload_bytes,
                packets: baseline.packets,
                phase: match baseline.phase {
                    Phase::Free | Phase::Fresh => SavedPhase::Free,
                    Phase::Live => SavedPhase::Live,
                    Phase::Retiring => SavedPhase::Retiring,
                    Phase::Drained => SavedPhase::Drained,
                },
            },
        );
        self.changed = true;
    }

    /// From here on no socket finds the slot: all of them remember the old generation.
    fn retire(&mut self, slot: u32, generation: u32) {
        // Zero is what sockets without a slot remember.
        let next = generation.wrapping_add(1).max(1);
        self.array.set_generation(slot, next);
        self.baselines[slot as usize].phase = Phase::Retiring;
        self.store(slot);
    }

    /// A whole sweep has passed since it was retired: every program that could still add has ended, and the last
    /// bytes have been read.
    fn drain(&mut self, slot: u32) {
        self.baselines[slot as usize].phase = Phase::Drained;
        self.store(slot);
        self.drained.push(slot);
    }

    /// Puts drained slots back. Each step is written down before it is taken, so that a slot is never put back
    /// twice; whoever is killed in the middle leaves one slot of which nobody knows.
    fn free_drained(&mut self, index: BorrowedFd<'_>, free: BorrowedFd<'_>) -> io::Result<()> {
        while let Some(slot) = self.drained.pop() {
            self.forget_index(slot, index)?;
            self.array.set_inactive(slot);
            self.saved.step(slot, SavedPhase::Pushing);
            sys::push(free, &slot)?;
            self.saved.step(slot, SavedPhase::Free);
            let baseline = &mut self.baselines[slot as usize];
            (baseline.phase, baseline.resumed) = (Phase::Free, false);
        }
        Ok(())
    }

    fn forget_index(&self, slot: u32, index: BorrowedFd<'_>) -> io::Result<()> {
        let hot = self.array.hot(slot);
        if hot.indexed == 0 {
            return Ok(());
        }
        let key = IndexKey {
            cookie: self.array.cold(slot).cookie,
            remote: hot.remote,
            taken_for: hot.taken_for,
            remote_port: hot.remote_port,
            protocol: hot.protocol,
            via: hot.via,
        };
        // Another slot may have taken the place in the index.
        if sys::lookup::<_, u64>(index, &key)?.map(slot_of) == Some(slot) {
            sys::delete(index, &key)?;
        }
        Ok(())
    }
}

impl From<Saved> for Baseline {
    fn from(saved: Saved) -> Self {
        Self {
            wire_bytes: saved.wire_bytes,
            payload_bytes: saved.payload_bytes,
            packets: saved.packets,
            ..Self::default()
        }
    }
}

impl Baseline {
    /// What was counted since.
    pub(super) const fn until(&self, hot: &SlotHot) -> Volume {
        Volume {
            wire_bytes: hot.wire_bytes.wrapping_sub(self.wire_bytes),
            payload_bytes: hot.payload_bytes.wrapping_sub(self.payload_bytes),
            packets: hot.packets.wrapping_sub(self.packets),
        }
    }
}
