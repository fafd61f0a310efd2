//! `[limits]`: how much is kept at once.

use super::{
    keys,
    reader::{Section, parsed, whole},
    report::Report,
    values,
};
use crate::record::writer::WriterSettings;

/// Bounds of both tables. Fewer entries than the lower bound overflow on a quiet machine; the upper bound is
/// what a terabyte machine needs.
const TABLE_ENTRIES: std::ops::RangeInclusive<u64> = 1_024..=16_777_216;

/// Largest ring in MiB.
const MAX_RING_MIB: u64 = 256;

/// Bounds of the records that wait: a single one may have 64 KiB.
const RECORD_QUEUE_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=1 << 30;

/// How much is kept at once. What happens beyond is counted, and told in `homeport status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sockets the kernel keeps counters for.
    pub max_sockets: u32,
    /// Flows the agent keeps apart; bytes of further ones are kept per country.
    pub max_flows: u32,
    /// Size of the ring buffer in MiB, a power of two.
    pub ring_mib: u32,
    /// Bytes of records that wait in memory while the disk takes none.
    pub record_queue: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_sockets: 131_072,
            max_flows: 114_688,
            ring_mib: 4,
            record_queue: WriterSettings::QUEUE_BYTES as u64,
        }
    }
}

pub(super) fn read(report: &mut Report<'_>, root: &mut Section<'_>) -> Limits {
    let default = Limits::default();
    let Some(mut section) = root.section(report, "limits", &keys::LIMITS) else { return default };
    let entries = |report: &mut Report<'_>, item: &_| whole(report, item, TABLE_ENTRIES).map(narrow);
    let max_sockets = section.optional(report, "max_sockets", entries);
    let max_flows = section.optional(report, "max_flows", entries);
    let ring_mib = section.placed(report, "ring_mib", |report, item| whole(report, item, 1..=MAX_RING_MIB));
    let record_queue =
        section.placed(report, "record_queue", |report, item| parsed(report, item, values::size));
    section.finish(report);
    if let Some(bytes) = &record_queue
        && !RECORD_QUEUE_BYTES.contains(&bytes.value)
    {
        report.fault(&bytes.place, "is out of bounds", "64 KiB to 1 GiB");
    }

    let ring_mib = ring_mib.map(|ring_mib| {
        // The kernel refuses other sizes (kernel/bpf/ringbuf.c, ringbuf_map_alloc).
        if !ring_mib.value.is_power_of_two() {
            report.fault(&ring_mib.place, "is not a power of two", "1, 2, 4, 8, 16, 32, 64, 128 or 256");
        }
        narrow(ring_mib.value)
    });
    Limits {
        max_sockets: max_sockets.unwrap_or(default.max_sockets),
        max_flows: max_flows.unwrap_or(default.max_flows),
        ring_mib: ring_mib.unwrap_or(default.ring_mib),
        record_queue: record_queue.map_or(default.record_queue, |bytes| bytes.value),
    }
}

/// Values are within bounds far below 2^32.
fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
