//! The baselines of the slots, mapped. Only agents write to them, one at a time.

use std::{
    io,
    os::fd::AsFd,
    sync::atomic::{AtomicU64, Ordering},
};

use homeport_ebpf::baseline::{Baseline, BaselineCopy, UNUSABLE};

use super::{MappedArray, read_words};

#[derive(Debug)]
pub(in crate::probe) struct BaselineArray(MappedArray<Baseline>);

impl BaselineArray {
    pub(in crate::probe) fn new(map: impl AsFd, len: u32) -> io::Result<Self> {
        MappedArray::new(map.as_fd(), len as usize).map(Self)
    }

    fn copy_at(&self, slot: u32, idx: usize) -> *mut BaselineCopy {
        assert!(idx < 2, "copy {idx} of two");
        let baseline = self.0.at(slot as usize).as_ptr();
        // SAFETY: a field of a live element.
        let copies = unsafe { &raw mut (*baseline).copies };
        // SAFETY: in bounds by the assertion.
        unsafe { copies.cast::<BaselineCopy>().add(idx) }
    }

    fn word(&self, field: impl FnOnce(*mut BaselineCopy) -> *mut u64, slot: u32, idx: usize) -> &AtomicU64 {
        // SAFETY: a field of a live element, aligned; the mapping lives as long as `self`.
        unsafe { AtomicU64::from_ptr(field(self.copy_at(slot, idx))) }
    }

    fn mark_of(&self, slot: u32, idx: usize) -> &AtomicU64 {
        // SAFETY: a field of a live element.
        self.word(|copy| unsafe { &raw mut (*copy).mark }, slot, idx)
    }

    /// Epoch and phase of a copy.
    pub(in crate::probe) fn mark(&self, slot: u32, idx: usize) -> u64 {
        self.mark_of(slot, idx).load(Ordering::Acquire)
    }

    pub(in crate::probe) fn set_mark(&self, slot: u32, idx: usize, mark: u64) {
        self.mark_of(slot, idx).store(mark, Ordering::SeqCst);
    }

    pub(in crate::probe) fn copy(&self, slot: u32, idx: usize) -> BaselineCopy {
        // SAFETY: a live element, aligned to half a cache line.
        unsafe { read_words(self.copy_at(slot, idx)) }
    }

    /// Writes a copy. Whoever is killed in between leaves one that says so.
    pub(in crate::probe) fn write(&self, slot: u32, idx: usize, copy: BaselineCopy) {
        self.set_mark(slot, idx, UNUSABLE);
        // SAFETY: fields of a live element, here and below.
        let wire_bytes = self.word(|copy| unsafe { &raw mut (*copy).wire_bytes }, slot, idx);
        wire_bytes.store(copy.wire_bytes, Ordering::Relaxed);
        // SAFETY: as above.
        let payload_bytes = self.word(|copy| unsafe { &raw mut (*copy).payload_bytes }, slot, idx);
        payload_bytes.store(copy.payload_bytes, Ordering::Relaxed);
        // SAFETY: as above.
        let packets = self.word(|copy| unsafe { &raw mut (*copy).packets }, slot, idx);
        packets.store(copy.packets, Ordering::Relaxed);
        self.set_mark(slot, idx, copy.mark);
    }
}
