//! What has been read of each slot, in memory that outlives the agent.
//!
//! How epochs and copies work together is told in `homeport_ebpf::baseline`. This file writes copies of the epoch
//! being built, and finds the committed ones after a restart.

use std::{io, os::fd::BorrowedFd};

use homeport_ebpf::baseline::{BaselineCopy, PHASE_BITS, UNUSABLE};

use super::sys::BaselineArray;

/// Where a slot is in its life, as far as a later agent must know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum SavedPhase {
    /// In the stack of free slots, or taken from it and not yet read.
    #[default]
    Free = 0,
    /// Read at least once in this life.
    Live = 1,
    /// Its generation was raised; the last bytes have not been read.
    Retiring = 2,
    /// The last bytes were read. Once that is committed it goes back to the free ones.
    Drained = 3,
    /// It is being put back: whoever finds this cannot know whether that was done.
    Pushing = 4,
}

impl SavedPhase {
    const fn of(mark: u64) -> Self {
        match mark & ((1 << PHASE_BITS) - 1) {
            1 => Self::Live,
            2 => Self::Retiring,
            3 => Self::Drained,
            4 => Self::Pushing,
            _ => Self::Free,
        }
    }
}

const fn epoch_of(mark: u64) -> u64 {
    if mark == UNUSABLE { 0 } else { mark >> PHASE_BITS }
}

/// What an agent had read of a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) wire_bytes: u64,
    pub(super) payload_bytes: u64,
    pub(super) packets: u64,
    pub(super) phase: SavedPhase,
}

/// The baselines of all slots.
#[derive(Debug)]
pub(super) struct Baselines {
    /// None when nothing is pinned: nobody would read them.
    array: Option<BaselineArray>,
    /// The epoch being built.
    epoch: u64,
}

impl Baselines {
    pub(super) const fn none() -> Self {
        Self { array: None, epoch: 1 }
    }

    /// Baselines of slots that were never used. `committed` is the last epoch of the maps before.
    pub(super) fn new(map: BorrowedFd<'_>, slots: u32, committed: Option<u64>) -> io::Result<Self> {
        let epoch = committed.unwrap_or_default() + 1;
        Ok(Self { array: Some(BaselineArray::new(map, slots)?), epoch })
    }

    /// Baselines that an earlier agent wrote; `committed` is its last commit. Copies of later epochs are void.
    /// Without a commit the latest copies count, which may be a sweep ahead of what was recorded.
    pub(super) fn resume(map: BorrowedFd<'_>, slots: u32, committed: Option<u64>) -> io::Result<Self> {
        let array = BaselineArray::new(map, slots)?;
        let mut latest = 0;
        for slot in 0..slots {
            for idx in 0..2 {
                let mark = array.mark(slot, idx);
                let is_void =
                    mark == UNUSABLE || committed.is_some_and(|committed| epoch_of(mark) > committed);
                if is_void {
                    array.write(slot, idx, BaselineCopy::default());
                } else {
                    latest = latest.max(epoch_of(mark));
                }
            }
        }
        Ok(Self { array: Some(array), epoch: committed.unwrap_or(latest) + 1 })
    }

    /// The epoch being built: what is stored now counts once this epoch is committed.
    pub(super) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The epoch is committed, and the next one begins.
    pub(super) const fn next_epoch(&mut self) {
        self.epoch += 1;
    }

    /// The valid copy of a slot.
    pub(super) fn saved(&self, slot: u32) -> Saved {
        let Some(array) = &self.array else { return Saved::default() };
        let copy = array.copy(slot, latest(array, slot));
        Saved {
            wire_bytes: copy.wire_bytes,
            payload_bytes: copy.payload_bytes,
            packets: copy.packets,
            phase: SavedPhase::of(copy.mark),
        }
    }

    /// Stores what was read in the epoch being built, over the copy that the last commit does not need.
    pub(super) fn store(&self, slot: u32, saved: Saved) {
        let Some(array) = &self.array else { return };
        let idx = latest(array, slot);
        let idx = if epoch_of(array.mark(slot, idx)) == self.epoch { idx } else { 1 - idx };
        array.write(
            slot,
            idx,
            BaselineCopy {
                mark: self.epoch << PHASE_BITS | saved.phase as u64,
                wire_bytes: saved.wire_bytes,
                payload_bytes: saved.payload_bytes,
                packets: saved.packets,
            },
        );
    }

    /// Changes the phase of the valid copy at once, whatever its epoch: the next step after a commit.
    pub(super) fn step(&self, slot: u32, phase: SavedPhase) {
        let Some(array) = &self.array else { return };
        let idx = latest(array, slot);
        let epoch = epoch_of(array.mark(slot, idx));
        array.set_mark(slot, idx, epoch << PHASE_BITS | phase as u64);
    }
}

/// The copy with the higher epoch.
fn latest(array: &BaselineArray, slot: u32) -> usize {
    usize::from(epoch_of(array.mark(slot, 1)) > epoch_of(array.mark(slot, 0)))
}
