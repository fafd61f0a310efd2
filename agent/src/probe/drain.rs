//! Reads maps of another layout for the last time.
//!
//! A build whose maps differ makes its own, and hands the links over to its programs: each packet is counted by
//! exactly one side. When the programs of the old side have ended, what the old maps counted since the last commit
//! is read here, through the table that lies beside them; with the next commit they are removed.

use std::{io, os::fd::OwnedFd};

use homeport_ebpf::{
    aside::{AsideKey, AsideValue},
    baseline::Baseline,
    layout::{self, Field, TABLE_ENTRIES},
    slot::{SlotCold, SlotHot, Stamp},
};

use super::{
    Asides, Committed,
    baselines::Baselines,
    pins::Set,
    slots::{Baseline as Read, Reading},
    sys::{
        self, RawArray,
        objects::{MapInfo, map_info, open_pinned},
    },
};

type Table = [u64; TABLE_ENTRIES as usize];

/// Bytes of one element, and where its fields are.
struct Element<'a> {
    bytes: &'a [u8],
    table: &'a Table,
}

impl Element<'_> {
    fn get<const N: usize>(&self, field: Field) -> io::Result<[u8; N]> {
        let at = usize::try_from(self.table[field as usize]).unwrap_or(usize::MAX);
        self.bytes
            .get(at..)
            .and_then(|bytes| bytes.first_chunk())
            .copied()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{field:?} is outside")))
    }

    fn number(&self, field: Field) -> io::Result<u64> {
        self.get(field).map(u64::from_ne_bytes)
    }

    fn short(&self, field: Field) -> io::Result<u32> {
        self.get(field).map(u32::from_ne_bytes)
    }

    fn byte(&self, field: Field) -> io::Result<u8> {
        self.get(field).map(|[byte]| byte)
    }
}

fn of_map(set: &Set, name: &str) -> io::Result<OwnedFd> {
    open_pinned(&set.map(name))
        .map_err(|error| io::Error::new(error.kind(), format!("{name} of set {}: {error}", set.number)))
}

/// The highest generation of any slot of `set`: no socket refers to a higher one there.
pub(super) fn highest_generation(set: &Set, table: &Table) -> io::Result<u32> {
    let map = of_map(set, "SLOTS")?;
    let info = map_info(&map)?;
    let slots = slots(&info, &map, table)?;
    let mut highest = 0;
    for slot in 0..info.max_entries {
        let bytes = slots.element(slot as usize);
        highest = highest.max(Element { bytes: &bytes, table }.short(Field::SlotGeneration)?);
    }
    Ok(highest)
}

/// Maps the slots of `set`, if they are as its table says.
fn slots(info: &MapInfo, map: &OwnedFd, table: &Table) -> io::Result<RawArray> {
    if u64::from(info.value_size) != table[Field::SlotSize as usize] || !info.value_size.is_multiple_of(8) {
        let error = "slots of another size than their table says";
        return Err(io::Error::new(io::ErrorKind::InvalidData, error));
    }
    RawArray::new(map, info.value_size as usize, info.max_entries as usize)
}

/// Everything that was counted in the maps of `set` since `committed`, or since it was read last.
pub(super) fn drain(
    set: &Set,
    table: &Table,
    committed: Option<Committed>,
    mut take: impl FnMut(Reading),
) -> io::Result<Asides> {
    if table[Field::BaselineSize as usize] != size_of::<Baseline>() as u64 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "baselines of another kind"));
    }
    let map = of_map(set, "SLOTS")?;
    let info = map_info(&map)?;
    let slots = slots(&info, &map, table)?;
    let baselines = of_map(set, layout::BASELINES.name)?;
    let epoch = committed.map(|committed| committed.epoch);
    let baselines = Baselines::resume(std::os::fd::AsFd::as_fd(&baselines), info.max_entries, epoch)?;
    for slot in 0..info.max_entries {
        let bytes = slots.element(slot as usize);
        let element = Element { bytes: &bytes, table };
        let hot = hot(&element)?;
        let saved = baselines.saved(slot);
        let volume = Read::from(saved).until(&hot);
        if !volume.is_zero() {
            take(Reading {
                slot,
                generation: hot.generation,
                cold: cold(&element)?,
                closed: hot.closed != 0,
                hot,
                volume,
                since: None,
                resumed: saved.phase != super::baselines::SavedPhase::Free,
                drained: true,
            });
        }
    }
    asides(set, table, committed)
}

fn hot(element: &Element<'_>) -> io::Result<SlotHot> {
    Ok(SlotHot {
        wire_bytes: element.number(Field::SlotWireBytes)?,
        payload_bytes: element.number(Field::SlotPayloadBytes)?,
        packets: element.number(Field::SlotPackets)?,
        remote: element.get(Field::SlotRemote)?,
        generation: element.short(Field::SlotGeneration)?,
        remote_port: element.get(Field::SlotRemotePort)?,
        protocol: element.byte(Field::SlotProtocol)?,
        active: element.byte(Field::SlotActive)?,
        closed: element.byte(Field::SlotClosed)?,
        ..SlotHot::default()
    })
}

fn cold(element: &Element<'_>) -> io::Result<SlotCold> {
    Ok(SlotCold {
        owner: Stamp {
            start_boot_ns: element.number(Field::SlotOwnerStart)?,
            cgroup_id: element.number(Field::SlotOwnerCgroup)?,
            pid: element.short(Field::SlotOwnerPid)?,
            uid: element.short(Field::SlotOwnerUid)?,
            login_uid: element.short(Field::SlotOwnerLoginUid)?,
            comm: element.get(Field::SlotOwnerComm)?,
            ..Stamp::default()
        },
        cookie: element.number(Field::SlotCookie)?,
        socket_cgroup_id: element.number(Field::SlotSocketCgroup)?,
        netns: element.number(Field::SlotNetns)?,
        first_ns: element.number(Field::SlotFirst)?,
        local: element.get(Field::SlotLocal)?,
        ifindex: element.short(Field::SlotIfindex)?,
        local_port: element.get(Field::SlotLocalPort)?,
        quality: element.byte(Field::SlotQuality)?,
        initiator: element.byte(Field::SlotInitiator)?,
        way: element.byte(Field::SlotWay)?,
        ..SlotCold::default()
    })
}

/// Both aside maps, but for the one that was read and committed already, and not emptied.
fn asides(set: &Set, table: &Table, committed: Option<Committed>) -> io::Result<Asides> {
    let live = of_map(set, "LIVE")?;
    let size = map_info(&live)?.value_size as usize;
    let mut bytes = Vec::new();
    sys::each(&live, 4, size, |_, value| bytes = value.to_vec())?;
    let active = Element { bytes: &bytes, table }.short(Field::LiveAside)?.min(1);
    let consumed = committed.and_then(|committed| committed.aside).filter(|idx| *idx != active);
    let (key_size, value_size) =
        (table[Field::AsideKeySize as usize] as usize, table[Field::AsideValueSize as usize] as usize);
    let mut asides = Asides::default();
    for idx in 0..2 {
        if consumed == Some(idx) {
            continue;
        }
        let map = of_map(set, super::aside_name(idx))?;
        let info = map_info(&map)?;
        if (info.key_size as usize, info.value_size as usize) != (key_size, value_size) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "asides of another size than their table says",
            ));
        }
        let mut failed = None;
        sys::each(&map, key_size, value_size, |key, value| {
            match aside(&Element { bytes: key, table }, &Element { bytes: value, table }) {
                // Nothing was put there: the entry was made to take what finds no room.
                Ok((_, value)) if value == AsideValue::default() => {}
                Ok(entry) => asides.entries.push(entry),
                Err(error) => failed = Some(error),
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
    }
    Ok(asides)
}

fn aside(key: &Element<'_>, value: &Element<'_>) -> io::Result<(AsideKey, AsideValue)> {
    let key = AsideKey {
        remote: key.get(Field::AsideRemote)?,
        ifindex: key.short(Field::AsideIfindex)?,
        protocol: key.byte(Field::AsideProtocol)?,
        class: key.byte(Field::AsideClass)?,
        way: key.byte(Field::AsideWay)?,
        ..AsideKey::default()
    };
    let value = AsideValue {
        wire_bytes: value.number(Field::AsideWireBytes)?,
        payload_bytes: value.number(Field::AsidePayloadBytes)?,
        packets: value.number(Field::AsidePackets)?,
    };
    Ok((key, value))
}
