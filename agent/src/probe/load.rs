//! The object file into the kernel: constants, maps new or pinned, programs.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd},
    path::Path,
};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Map, MapData, RingBuf},
    programs::{CgroupSkb, Program as AyaProgram, ProgramError},
};
use homeport_ebpf::{
    layout::MAPS,
    settings::{KIND_BYTES, MAX_TUNNEL_KINDS, Offsets},
};

use super::{
    ProbeSettings, btf, edge,
    error::ProbeError,
    namespace::{NamespaceBy, own_inode, own_namespace},
    programs::{Kind, Program},
    sys::AsGlobal,
};

/// The programs, compiled by the build script.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/egress.bpf.o"));

/// Which maps the programs are to work with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Maps<'a> {
    /// Where they are pinned; `None`: they are made, and end with the agent.
    pub(super) directory: Option<&'a Path>,
    /// No slot has had a generation below.
    pub(super) first_generation: u32,
}

/// Makes the maps, or opens those that are pinned, and loads the program that counts.
///
/// Returns also how namespaces of packets are told, and whether those of frames are.
pub(super) fn open(
    settings: &ProbeSettings,
    maps: &Maps<'_>,
) -> Result<(Ebpf, NamespaceBy, bool), ProbeError> {
    let offsets = match btf::kernel_offsets(Path::new("/sys/kernel/btf/vmlinux")) {
        Ok(offsets) => offsets,
        Err(error) => {
            tracing::warn!(%error, "kernel layout unknown: names of short-lived processes will be missing");
            Offsets::default()
        }
    };
    // Older kernels lack the helper that tells the namespace of a packet; the verifier is the one who knows.
    let mut found = None;
    for namespaces in [NamespaceBy::Cookie, NamespaceBy::Inode] {
        let possible = match namespaces {
            NamespaceBy::Cookie => matches!(own_namespace(namespaces), Ok(Some(_))),
            NamespaceBy::Inode => offsets.sock_net != 0 && offsets.net_inum != 0,
            NamespaceBy::Nothing => true,
        };
        if !possible {
            continue;
        }
        if let Some(ebpf) = load(settings, &offsets, namespaces, maps)? {
            found = Some((ebpf, namespaces));
            break;
        }
    }
    let (ebpf, namespaces) = match found {
        Some(found) => found,
        None => (load_unchecked(settings, &offsets, NamespaceBy::Nothing, maps)?, NamespaceBy::Nothing),
    };
    if settings.own_namespace_only && namespaces == NamespaceBy::Nothing {
        return Err(ProbeError::Load(
            "this kernel cannot tell the network namespace of a packet, so `host.namespaces = \"own\"` is not \
             possible; use \"all\" and narrow with `host.cgroup`"
                .to_owned(),
        ));
    }
    Ok((ebpf, namespaces, offsets.sock_net != 0 && offsets.net_inum != 0))
}

/// Loads the object and the egress program; `None` when the kernel refuses the program because of a helper.
fn load(
    settings: &ProbeSettings,
    offsets: &Offsets,
    namespaces: NamespaceBy,
    maps: &Maps<'_>,
) -> Result<Option<Ebpf>, ProbeError> {
    let mut ebpf = load_unchecked(settings, offsets, namespaces, maps)?;
    let program: &mut CgroupSkb = match ebpf.program_mut("account_egress").map(TryInto::try_into) {
        Some(Ok(program)) => program,
        Some(Err(_)) | None => {
            return Err(ProbeError::Load("the object has no program account_egress".to_owned()));
        }
    };
    Ok(program.load().is_ok().then_some(ebpf))
}

fn load_unchecked(
    settings: &ProbeSettings,
    offsets: &Offsets,
    namespaces: NamespaceBy,
    maps: &Maps<'_>,
) -> Result<Ebpf, ProbeError> {
    let unknown = |error| ProbeError::Map { map: "own network namespace", error };
    let own = own_namespace(namespaces).map_err(unknown)?.unwrap_or_default();
    let scope = if settings.own_namespace_only { own } else { 0 };
    let own_inode = if offsets.sock_net == 0 { 0 } else { own_inode().map_err(unknown)? };
    let netns_by = namespaces.as_setting();
    let tunnel_kinds = tunnel_kinds();
    let offsets = AsGlobal(*offsets);
    let mut loader = EbpfLoader::new();
    if let Some(directory) = maps.directory {
        for shape in &MAPS {
            loader.map_pin_path(shape.name, directory.join(shape.name));
        }
    }
    loader
        .override_global("OFFSETS", &offsets, true)
        .override_global("FIRST_GENERATION", &maps.first_generation, true)
        .override_global("SCOPE_NETNS", &scope, true)
        .override_global("OWN_NETNS", &own, true)
        .override_global("OWN_INODE", &own_inode, true)
        .override_global("TUNNEL_KINDS", &tunnel_kinds, true)
        .override_global("NETNS_BY", &netns_by, true)
        .map_max_entries("SLOTS", settings.slots)
        .map_max_entries("FREE", settings.slots)
        .map_max_entries("INDEX", settings.slots)
        .map_max_entries("FLOW_EVENTS", settings.ring_bytes)
        .load(OBJECT)
        .map_err(|error| {
            let text = chain(&error);
            if text.contains("Operation not permitted") || text.contains("EPERM") {
                ProbeError::NotPermitted
            } else {
                ProbeError::Load(text)
            }
        })
}

/// Kinds of tunnel devices as the programs compare them: the first bytes as one number.
fn tunnel_kinds() -> [u64; MAX_TUNNEL_KINDS] {
    let mut numbers = [0; MAX_TUNNEL_KINDS];
    let tunnels = edge::KINDS.iter().filter(|(_, role, _)| *role == edge::Role::Tunnel);
    for (number, (kind, ..)) in numbers.iter_mut().zip(tunnels) {
        let mut bytes = [0; KIND_BYTES];
        for (to, from) in bytes.iter_mut().zip(kind.bytes()) {
            *to = from;
        }
        *number = u64::from_ne_bytes(bytes);
    }
    numbers
}

pub(super) fn load_program(ebpf: &mut Ebpf, program: &Program, btf: Option<&Btf>) -> Result<(), String> {
    let handle = ebpf.program_mut(program.name).ok_or_else(|| "not in the object".to_owned())?;
    let result = match (program.kind, handle) {
        (Kind::CgroupSkb, AyaProgram::CgroupSkb(handle)) => load_once(handle.load()),
        (Kind::CgroupSockAddr, AyaProgram::CgroupSockAddr(handle)) => handle.load(),
        (Kind::CgroupSock, AyaProgram::CgroupSock(handle)) => handle.load(),
        (Kind::RawTracepoint, AyaProgram::RawTracePoint(handle)) => handle.load(),
        (Kind::BtfTracepoint, AyaProgram::BtfTracePoint(handle)) => {
            let btf = btf.ok_or_else(|| "the kernel has no BTF (/sys/kernel/btf/vmlinux)".to_owned())?;
            handle.load(program.hook, btf)
        }
        (Kind::Classifier, AyaProgram::SchedClassifier(handle)) => handle.load(),
        (_, _) => return Err("the object has another kind of program under this name".to_owned()),
    };
    result.map_err(|error| chain(&error))
}

/// The egress program was loaded before, to find out about helpers.
fn load_once(result: Result<(), ProgramError>) -> Result<(), ProgramError> {
    match result {
        Err(ProgramError::AlreadyLoaded) => Ok(()),
        other => other,
    }
}

pub(super) fn map_fd<'a>(ebpf: &'a Ebpf, name: &'static str) -> Result<BorrowedFd<'a>, ProbeError> {
    match ebpf.map(name) {
        Some(
            Map::Array(data)
            | Map::HashMap(data)
            | Map::LruHashMap(data)
            | Map::PerCpuArray(data)
            | Map::PerCpuHashMap(data)
            | Map::Stack(data),
        ) => Ok(data.fd().as_fd()),
        Some(_) | None => Err(ProbeError::Map {
            map: name,
            error: io::Error::new(io::ErrorKind::NotFound, "not in the object"),
        }),
    }
}

pub(super) fn take_ring(ebpf: &mut Ebpf, name: &'static str) -> Result<RingBuf<MapData>, ProbeError> {
    let missing = || ProbeError::Map { map: name, error: io::ErrorKind::NotFound.into() };
    let map = ebpf.take_map(name).ok_or_else(missing)?;
    RingBuf::try_from(map)
        .map_err(|error| ProbeError::Map { map: name, error: io::Error::other(chain(&error)) })
}

/// An error with all its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::OBJECT;

    /// In programs with more than one function the verifier of 5.10 takes every number for significant. It finds no two
    /// paths alike then, and refuses programs of this size after a million steps.
    #[test]
    fn packet_programs_are_one_function_each() {
        for name in ["cgroup_skb/egress", "classifier"] {
            let code = section(name).expect("a section of the object");
            let calls = calls_of_functions(code);
            assert!(calls.is_empty(), "{name} calls functions of its own (memset, memmove?) at {calls:?}");
        }
    }

    /// Positions of the instructions that call another function of the object.
    fn calls_of_functions(code: &[u8]) -> Vec<usize> {
        const CALL: u8 = 0x85;
        const FUNCTION: u8 = 1;
        let instructions = code.as_chunks::<8>().0.iter().enumerate();
        instructions
            .filter(|(_, code)| code[0] == CALL && code[1] >> 4 == FUNCTION)
            .map(|(at, _)| at)
            .collect()
    }

    /// The bytes of a section, found as in the ELF specification for 64-bit little-endian files.
    fn section(name: &str) -> Option<&'static [u8]> {
        let number = |at: usize, size: usize| -> Option<usize> {
            let bytes = OBJECT.get(at..at + size)?;
            Some(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
        };
        let (headers, size) = (number(0x28, 8)?, number(0x3a, 2)?);
        let (count, names_idx) = (number(0x3c, 2)?, number(0x3e, 2)?);
        let content = |idx: usize| {
            let header = headers + idx * size;
            let (start, length) = (number(header + 0x18, 8)?, number(header + 0x20, 8)?);
            OBJECT.get(start..start + length)
        };
        let names = content(names_idx)?;
        (0..count).find_map(|idx| {
            let found = names.get(number(headers + idx * size, 4)?..)?;
            let is_it = found.strip_prefix(name.as_bytes())?.first() == Some(&0);
            if is_it { content(idx) } else { None }
        })
    }
}
