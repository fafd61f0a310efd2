//! Where the running kernel keeps a field: byte offsets out of its BTF.
//!
//! Rust programs cannot be relocated by field name (CO-RE), so the agent looks the few offsets up and hands them
//! over as constants. The parser reads the format of Documentation/bpf/btf.rst; a library would do, but the
//! maintained one is LGPL, and aya keeps its own private.

use std::path::Path;

use homeport_ebpf::settings::Offsets;

const MAGIC: u16 = 0xeb9f;
const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_ENUM64: u32 = 19;

/// Why a kernel's BTF is of no use.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The file could not be read.
    #[error("reading {path}: {error}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// It is not BTF, or cut short.
    #[error("malformed BTF: {0}")]
    Malformed(&'static str),
}

/// Parsed type information, borrowed from the raw bytes.
pub struct Btf<'a> {
    types: Vec<Type<'a>>,
    strings: &'a [u8],
}

/// Where a member is.
#[derive(Clone, Copy)]
struct Found {
    /// From the start of the structure.
    bits: u32,
    /// Bits of a field of bits; zero for other members.
    width: u32,
}

#[derive(Clone, Copy)]
struct Type<'a> {
    name: u32,
    kind: u32,
    /// Members of structures and unions; bit offsets may be packed with bit field sizes.
    packed: bool,
    body: &'a [u8],
    /// Size, or the type referred to.
    reference: u32,
}

impl<'a> Btf<'a> {
    /// Parses raw BTF of this machine's byte order.
    ///
    /// # Errors
    ///
    /// [`BtfError::Malformed`] when the bytes are not BTF.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BtfError> {
        let short = || BtfError::Malformed("cut short");
        if u16_at(bytes, 0).ok_or_else(short)? != MAGIC {
            return Err(BtfError::Malformed("wrong magic number"));
        }
        let header = u32_at(bytes, 4).ok_or_else(short)? as usize;
        let section = |offset_at, length_at| {
            let start = header.checked_add(u32_at(bytes, offset_at)? as usize)?;
            bytes.get(start..start.checked_add(u32_at(bytes, length_at)? as usize)?)
        };
        let mut rest = section(8, 12).ok_or_else(short)?;
        let strings = section(16, 20).ok_or_else(short)?;
        // Type 0 is void and not in the file.
        let mut types = vec![Type { name: 0, kind: 0, packed: false, body: &[], reference: 0 }];
        while !rest.is_empty() {
            let (name, info, reference) =
                (u32_at(rest, 0), u32_at(rest, 4).ok_or_else(short)?, u32_at(rest, 8).ok_or_else(short)?);
            let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            let length = match kind {
                KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
                KIND_ARRAY => 12,
                KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => count * 12,
                KIND_ENUM | KIND_FUNC_PROTO => count * 8,
                _ => 0,
            };
            let body = rest.get(12..12 + length).ok_or_else(short)?;
            types.push(Type { name: name.unwrap_or(0), kind, packed: info >> 31 != 0, body, reference });
            rest = &rest[12 + length..];
        }
        Ok(Self { types, strings })
    }

    /// Byte offset of `structure.member`; members of anonymous structures inside count as its own.
    pub fn offset(&self, structure: &str, member: &str) -> Option<u32> {
        self.find(structure, member).map(|found| found.bits / 8)
    }

    /// The same, unless the member is a field of bits.
    fn offset_of_whole(&self, structure: &str, member: &str) -> Option<u32> {
        let found = self.find(structure, member)?;
        (found.width == 0 && found.bits.is_multiple_of(8)).then_some(found.bits / 8)
    }

    /// The byte that a small number is in, and which of its bits: how many others are below, and how many they are. A
    /// number that is no field of bits has all eight of the byte it begins with.
    fn bits_in_byte(&self, structure: &str, member: &str) -> Option<(u32, u32, u32)> {
        let found = self.find(structure, member)?;
        let (byte, below) = (found.bits / 8, found.bits % 8);
        let width = if found.width == 0 { 8 } else { found.width };
        // Numbers of bits count from the lowest, where the lowest byte comes first.
        (cfg!(target_endian = "little") && below + width <= 8).then_some((byte, below, width))
    }

    fn find(&self, structure: &str, member: &str) -> Option<Found> {
        self.types
            .iter()
            .filter(|kind| kind.kind == KIND_STRUCT && self.string(kind.name) == structure.as_bytes())
            .find_map(|kind| self.member(kind, member, 0))
    }

    fn member(&self, structure: &Type<'a>, wanted: &str, depth: u32) -> Option<Found> {
        /// Anonymous structures inside each other; the kernel uses two. A bound, because the bytes could lie.
        const MAX_DEPTH: u32 = 8;
        if depth > MAX_DEPTH {
            return None;
        }
        structure.body.chunks_exact(12).find_map(|bytes| {
            let (name, kind, offset) = (u32_at(bytes, 0)?, u32_at(bytes, 4)?, u32_at(bytes, 8)?);
            let bits = if structure.packed { offset & 0x00ff_ffff } else { offset };
            if self.string(name) == wanted.as_bytes() {
                return Some(Found { bits, width: if structure.packed { offset >> 24 } else { 0 } });
            }
            let inner = self.resolve(kind)?;
            if name != 0 || !matches!(inner.kind, KIND_STRUCT | KIND_UNION) {
                return None;
            }
            let found = self.member(inner, wanted, depth + 1)?;
            Some(Found { bits: bits.checked_add(found.bits)?, ..found })
        })
    }

    /// Looks through const, volatile, typedef and tags.
    fn resolve(&self, mut id: u32) -> Option<&Type<'a>> {
        for _ in 0..16 {
            let kind = self.types.get(id as usize)?;
            match kind.kind {
                8..=11 | 18 => id = kind.reference,
                _ => return Some(kind),
            }
        }
        None
    }

    fn string(&self, offset: u32) -> &'a [u8] {
        let rest = self.strings.get(offset as usize..).unwrap_or(&[]);
        rest.split(|byte| *byte == 0).next().unwrap_or(&[])
    }
}

/// The offsets that the programs need; zero where this kernel has no such field.
///
/// # Errors
///
/// [`BtfError`] when the kernel's BTF cannot be read.
pub fn kernel_offsets(path: &Path) -> Result<Offsets, BtfError> {
    let bytes =
        std::fs::read(path).map_err(|error| BtfError::Read { path: path.display().to_string(), error })?;
    let btf = Btf::parse(&bytes)?;
    let offset = |structure, member| btf.offset(structure, member).unwrap_or(0);
    let (inet6_discovery, below, width) = btf.bits_in_byte("ipv6_pinfo", "pmtudisc").unwrap_or_default();
    Ok(Offsets {
        task_group_leader: offset("task_struct", "group_leader"),
        task_start_boottime: offset("task_struct", "start_boottime"),
        task_loginuid: offset("task_struct", "loginuid"),
        task_pid: offset("task_struct", "pid"),
        task_tgid: offset("task_struct", "tgid"),
        task_mm: offset("task_struct", "mm"),
        mm_arg_start: offset("mm_struct", "arg_start"),
        mm_arg_end: offset("mm_struct", "arg_end"),
        bprm_interp: offset("linux_binprm", "interp"),
        cgroup_kn: offset("cgroup", "kn"),
        cgroup_root: offset("cgroup", "root"),
        root_hierarchy: offset("cgroup_root", "hierarchy_id"),
        kernfs_id: offset("kernfs_node", "id"),
        sock_family: offset("sock_common", "skc_family"),
        sock_net: offset("sock_common", "skc_net"),
        net_inum: match (btf.offset("net", "ns"), btf.offset("ns_common", "inum")) {
            (Some(ns), Some(inum)) => ns + inum,
            (None, _) | (_, None) => 0,
        },
        skb_dev: offset("sk_buff", "dev"),
        device_link_ops: offset("net_device", "rtnl_link_ops"),
        link_ops_kind: offset("rtnl_link_ops", "kind"),
        skb_head: offset("sk_buff", "head"),
        skb_data: offset("sk_buff", "data"),
        skb_inner_transport: offset("sk_buff", "inner_transport_header"),
        skb_route: offset("sk_buff", "_skb_refdst"),
        route_metrics: offset("dst_entry", "_metrics"),
        route_expires: offset("dst_entry", "expires"),
        route_learned: offset("rtable", "rt_pmtu"),
        device_mtu: offset("net_device", "mtu"),
        inet_discovery: btf.offset_of_whole("inet_sock", "pmtudisc").unwrap_or(0),
        inet_pinet6: offset("inet_sock", "pinet6"),
        inet6_discovery,
        inet6_discovery_bits: below | width << 8,
        // The programs read the name without an offset of its own.
        device_type: match (btf.offset("net_device", "dev"), btf.offset("device", "type")) {
            (Some(dev), Some(kind)) if btf.offset("device_type", "name") == Some(0) => dev + kind,
            _ => 0,
        },
    })
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(offset..offset + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(offset..offset + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_running_kernel_are_found() {
        let path = Path::new("/sys/kernel/btf/vmlinux");
        if !path.exists() {
            eprintln!("skipped: this kernel has no BTF");
            return;
        }
        let offsets = kernel_offsets(path).expect("readable BTF");
        // sock_common has begun with two addresses, a hash and two ports since Linux 3.x.
        assert_eq!(offsets.sock_family, 16);
        for offset in [
            offsets.task_tgid,
            offsets.task_mm,
            offsets.mm_arg_start,
            offsets.bprm_interp,
            offsets.sock_net,
            offsets.net_inum,
            offsets.skb_dev,
            offsets.device_link_ops,
            offsets.link_ops_kind,
            offsets.skb_head,
            offsets.skb_data,
            offsets.skb_inner_transport,
            offsets.skb_route,
            offsets.route_metrics,
            offsets.route_expires,
            offsets.route_learned,
            offsets.device_mtu,
            offsets.inet_discovery,
            offsets.inet_pinet6,
            offsets.inet6_discovery,
            offsets.inet6_discovery_bits,
            offsets.device_type,
        ] {
            assert_ne!(offset, 0, "{offsets:?}");
        }
    }

    /// Found by the fuzz target: an anonymous structure at the largest offset, with a member behind it.
    #[test]
    fn offsets_beyond_the_largest_number_are_no_answer() {
        let word = |number: u32| number.to_ne_bytes();
        let one_member = KIND_STRUCT << 24 | 1;
        let types: Vec<u8> = [
            [1, one_member, 0, 0, 2, u32::MAX], // struct s { struct {...}; } with the inner one far out
            [0, one_member, 0, 3, 0, 8],        // the inner one: a member m
        ]
        .concat()
        .into_iter()
        .flat_map(word)
        .collect();
        let strings = b"\0s\0m\0";
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        for number in [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32] {
            bytes.extend(word(number));
        }
        bytes.extend(types);
        bytes.extend(strings);
        let btf = Btf::parse(&bytes).expect("well-formed");
        assert_eq!(btf.offset("s", "m"), None);
    }

    /// As 6.1 has `ipv6_pinfo.pmtudisc`: three bits behind three flags; and a field that crosses a byte.
    #[test]
    fn fields_of_bits_are_found_in_their_byte() {
        const HAS_WIDTHS: u32 = 1 << 31;
        let word = |number: u32| number.to_ne_bytes();
        let member = |name: u32, bits: u32, width: u32| [name, 0, bits | width << 24];
        let types: Vec<u8> = [
            vec![1, HAS_WIDTHS | KIND_STRUCT << 24 | 3, 0],
            member(3, 16, 0).to_vec(),
            member(5, 35, 3).to_vec(),
            member(7, 38, 3).to_vec(),
        ]
        .concat()
        .into_iter()
        .flat_map(word)
        .collect();
        let strings = b"\0s\0a\0b\0c\0";
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        for number in [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32] {
            bytes.extend(word(number));
        }
        bytes.extend(types);
        bytes.extend(strings);
        let btf = Btf::parse(&bytes).expect("well-formed");
        if cfg!(target_endian = "little") {
            assert_eq!(btf.bits_in_byte("s", "a"), Some((2, 0, 8)), "a whole byte");
            assert_eq!(btf.bits_in_byte("s", "b"), Some((4, 3, 3)));
        }
        assert_eq!(btf.bits_in_byte("s", "c"), None, "it crosses a byte");
        assert_eq!((btf.offset_of_whole("s", "a"), btf.offset_of_whole("s", "b")), (Some(2), None));
    }

    #[test]
    fn bytes_that_are_not_btf_are_refused() {
        for bytes in [&b""[..], b"\x9f\xeb", b"not btf at all, whatever the length", &[0xff; 64]] {
            assert!(Btf::parse(bytes).is_err());
        }
    }
}
