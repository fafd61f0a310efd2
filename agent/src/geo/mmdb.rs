//! One MaxMind DB file in memory: read, bounded, hashed. What its records mean is for [`super::database`] and
//! [`super::asn`].
//!
//! The file is read whole. Mapping it (`mmap`) would save some memory, but a file that is truncated in place under a
//! mapping kills the process with SIGBUS at the next lookup; ours must survive what happens to files.
//!
//! Nothing in a file is trusted. The `maxminddb` reader is safe Rust with limits for each record; what it leaves to
//! its caller is the search tree, where a small file can describe 2^128 networks. `MmdbFile::scan` has the limits
//! for that. Its `verify()` is of no use as a gate: it refuses every database without a description, which includes
//! the one we embed.

use std::{
    fs::{self, File},
    io::Read,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use maxminddb::{LookupResult, MaxMindDbError, Reader, WithinOptions};
use sha2::{Digest, Sha256};

use super::{
    DatabaseId, embedded_v4,
    fault::{Fault, LoadError},
};
use crate::clock::WallTime;

/// The largest file we read, in bytes. Country databases have 5 to 10 MB, the largest city databases about 500 MB.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// Leaves of the search tree we visit, per node. A tree of n nodes has n + 1 leaves; files may hang the IPv4 part
/// into the tree three more times, as aliases. A tree with more is a graph built to be walked forever.
const MAX_LEAVES_PER_NODE: u64 = 5;

/// Errors after which we stop counting: one is enough to refuse the file.
const MAX_ERRORS: u64 = 100;

/// Time for one scan. The largest real files take seconds. It ends what stays within all other limits and yet decodes
/// a hundred thousand values for each of a million records.
const SCAN_DEADLINE: Duration = Duration::from_secs(60);

/// Characters of a file's type string that we keep.
const MAX_KIND_CHARS: usize = 64;

/// A record where the search found it.
pub(super) type Found<'a> = LookupResult<'a, Vec<u8>>;

/// A MaxMind DB file in memory.
#[derive(Debug)]
pub struct MmdbFile {
    reader: Reader<Vec<u8>>,
    id: Arc<DatabaseId>,
}

impl MmdbFile {
    /// Takes the bytes of a file. `name` is what records will call it.
    pub fn from_bytes(bytes: Vec<u8>, name: &str) -> Result<Self, LoadError> {
        let fail = |fault| LoadError { file: name.into(), fault };
        if bytes.is_empty() {
            return Err(fail(Fault::Empty));
        }
        let sha256 = hex(&Sha256::digest(&bytes));
        let reader =
            Reader::from_source(bytes).map_err(|error| fail(Fault::NotADatabase(error.to_string())))?;
        let metadata = reader.metadata();
        let built = i64::try_from(metadata.build_epoch).unwrap_or(i64::MAX);
        let printable = |c: char| if c.is_control() { '?' } else { c };
        let kind: String = metadata.database_type.chars().take(MAX_KIND_CHARS).map(printable).collect();
        let id = Arc::new(DatabaseId {
            name: name.into(),
            kind: kind.into(),
            built: WallTime::from_unix_seconds(built),
            sha256: sha256.into(),
        });
        Ok(Self { reader, id })
    }

    /// Reads a file. Records will call it by its file name, errors by its path.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let fail = |fault| LoadError { file: path.display().to_string().into(), fault };
        let bytes = read_whole(path).map_err(fail)?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        Self::from_bytes(bytes, &name).map_err(|error| fail(error.fault))
    }

    /// What evidence calls it.
    pub const fn id(&self) -> &Arc<DatabaseId> {
        &self.id
    }

    /// Whether it can hold IPv6 networks.
    pub fn has_ipv6(&self) -> bool {
        self.reader.metadata().ip_version == 6
    }

    /// An error about this file.
    pub(super) fn fail(&self, fault: Fault) -> LoadError {
        LoadError { file: Arc::clone(&self.id.name), fault }
    }

    /// The record of an address and its network.
    ///
    /// An IPv4 address can end in the IPv6 part of a file without an IPv4 part. That record is not about it.
    pub(super) fn lookup(&self, address: IpAddr) -> Option<(IpNet, Found<'_>)> {
        let found = self.reader.lookup(address).ok()?;
        let network = network_of(&found).filter(|network| network.addr().is_ipv4() == address.is_ipv4())?;
        found.has_data().then_some((network, found))
    }

    /// Visits every network with a record, once, and reports the first error together with a count.
    ///
    /// IPv6 networks whose addresses are unwrapped before anyone looks them up are left out: in real files they are
    /// aliases of the IPv4 part.
    pub(super) fn scan(
        &self,
        mut visit: impl FnMut(IpNet, &Found<'_>) -> Result<(), MaxMindDbError>,
    ) -> Result<u64, LoadError> {
        let started = Instant::now();
        let nodes = u64::from(self.reader.metadata().node_count);
        let max_leaves = (nodes + 1) * MAX_LEAVES_PER_NODE;
        // With both options each step of the iterator yields a leaf. Without them it may skip without end.
        let options = WithinOptions::default().include_aliased_networks().include_networks_without_data();
        let leaves = self
            .reader
            .networks(options)
            .map_err(|error| self.fail(Fault::NotADatabase(error.to_string())))?;
        let (mut networks, mut errors, mut first) = (0, 0, None);
        for (idx, leaf) in (0_u64..).zip(leaves) {
            if idx == max_leaves {
                return Err(self.fail(Fault::TreeWithoutEnd { nodes, leaves: max_leaves }));
            }
            if idx % 4096 == 0 && started.elapsed() > SCAN_DEADLINE {
                return Err(self.fail(Fault::TooSlow { seconds: SCAN_DEADLINE.as_secs() }));
            }
            let visited = leaf.and_then(|found| match network_of(&found) {
                Some(network)
                    if found.has_data() && embedded_v4::always_unwrapped(network, &[]).is_none() =>
                {
                    visit(network, &found).map(|()| networks += 1)
                }
                _ => Ok(()),
            });
            if let Err(error) = visited {
                errors += 1;
                first.get_or_insert_with(|| error.to_string());
                if errors == MAX_ERRORS {
                    break;
                }
            }
        }
        match first {
            Some(first) => Err(self.fail(Fault::Damaged { networks, errors, first })),
            None if networks == 0 => Err(self.fail(Fault::NoNetworks)),
            None => Ok(networks),
        }
    }
}

/// Reads a regular file of bearable size that nobody writes to meanwhile.
fn read_whole(path: &Path) -> Result<Vec<u8>, Fault> {
    // Asked before opening: opening a pipe would wait for a writer.
    if !fs::metadata(path).map_err(Fault::Read)?.is_file() {
        return Err(Fault::NotAFile);
    }
    let file = File::open(path).map_err(Fault::Read)?;
    let before = file.metadata().map_err(Fault::Read)?;
    if before.len() > MAX_FILE_BYTES {
        return Err(Fault::TooLarge(before.len()));
    }
    let mut bytes = Vec::with_capacity(before.len() as usize);
    (&file).take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(Fault::Read)?;
    let after = file.metadata().map_err(Fault::Read)?;
    let same_time =
        matches!((before.modified(), after.modified()), (Ok(before), Ok(after)) if before == after);
    if !same_time || bytes.len() as u64 != before.len() || after.len() != before.len() {
        return Err(Fault::ChangedWhileReading);
    }
    Ok(bytes)
}

/// The network of a record. IPv4 hangs below `::/96`; a record exactly there is one for all of IPv4.
fn network_of(found: &Found<'_>) -> Option<IpNet> {
    let network = found.network().ok()?;
    match IpNet::new(network.ip(), network.prefix()).ok()? {
        ALL_IPV4_IN_IPV6 => Some(IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0))),
        network => Some(network),
    }
}

const ALL_IPV4_IN_IPV6: IpNet = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 96));

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::fixture;

    #[test]
    fn a_file_is_known_by_name_type_date_and_hash() {
        let bytes = fixture::flat(&[("1.0.0.0/24", "AU")]);
        let file = MmdbFile::from_bytes(bytes.clone(), "test.mmdb").expect("valid");
        assert_eq!(&*file.id().name, "test.mmdb");
        assert_eq!(&*file.id().kind, "test");
        assert_eq!(file.id().built, fixture::BUILT);
        assert_eq!(*file.id().sha256, hex(&Sha256::digest(&bytes)));
        assert_eq!(file.id().sha256.len(), 64);
    }

    #[test]
    fn what_is_not_a_readable_regular_file_is_refused_by_name() {
        let dir = tempfile::tempdir().expect("directory");
        #[track_caller]
        fn check(path: &Path, expected: &str) {
            let error = MmdbFile::open(path).expect_err("refused").to_string();
            assert!(error.contains(expected), "{error}");
            assert!(error.contains(&path.display().to_string()), "{error}");
        }
        check(&dir.path().join("missing.mmdb"), "cannot be read");
        check(dir.path(), "is not a regular file");
        check(Path::new("/dev/zero"), "is not a regular file");
        let path = dir.path().join("file.mmdb");
        fs::write(&path, b"").expect("write");
        check(&path, "is empty");
        fs::write(&path, b"hello").expect("write");
        check(&path, "is not a complete MaxMind DB file");
        let sparse = File::create(&path).expect("create");
        sparse.set_len(MAX_FILE_BYTES + 1).expect("sparse file");
        check(&path, "are accepted");
    }

    #[test]
    fn aliases_of_the_ipv4_part_are_visited_once() {
        let aliased = fixture::nested(&[("81.2.69.160/27", "GB", "US")]);
        let file = MmdbFile::from_bytes(aliased, "aliased").expect("valid");
        let mut seen = Vec::new();
        let networks = file.scan(|network, _| {
            seen.push(network.to_string());
            Ok(())
        });
        assert_eq!(networks.expect("scanned"), 1);
        assert_eq!(seen, ["81.2.69.160/27"]);
    }

    #[test]
    fn a_tree_that_visits_the_same_nodes_over_and_over_is_given_up() {
        // Both children of each node are the next node: 128 nodes, 2^128 networks.
        let valid = fixture::flat(&[("::/0", "DE")]);
        let marker =
            valid.windows(14).rposition(|window| window == b"\xab\xcd\xefMaxMind.com").expect("metadata");
        let (nodes, data) = (128_u32, &valid[6..]);
        for ends_in_data in [false, true] {
            let mut bytes = Vec::new();
            for node in 1..=nodes {
                let next = if node == nodes && ends_in_data { nodes + 16 } else { node };
                bytes.extend_from_slice(&next.to_be_bytes()[1..]);
                bytes.extend_from_slice(&next.to_be_bytes()[1..]);
            }
            bytes.extend_from_slice(&data[..marker - 6]);
            let metadata = fixture::with_metadata_number(&valid[marker..], "node_count", nodes);
            bytes.extend_from_slice(&metadata);
            let file = MmdbFile::from_bytes(bytes, "graph").expect("opens");
            let error = file.scan(|_, _| Ok(())).expect_err("refused").to_string();
            assert!(error.contains("search tree of 128 nodes has more than 645 ends"), "{error}");
        }
    }
}
