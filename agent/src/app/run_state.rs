//! What one agent leaves for the next: everything that was counted and is not in a record that is known to be on
//! disk, and what is needed to go on without a seam.
//!
//! One file in `agent.run_dir`, which lives as long as the pinned maps: until the next boot. It is written whole
//! beside the old one and renamed over it: the rename is the *commit*. It need not be synced: what a killed process
//! has written is there, and a power cut takes the maps along.
//!
//! ```text
//!   magic (16 bytes) | checksum (8) | length (8) | ledger, MessagePack | the same of episodes | of findings
//! ```
//!
//! The parts are decoded for themselves: when a build cannot read the episodes of another one, or its findings about
//! coverage, their ids begin anew, but not a byte is missed. Fields have names there, so that later builds may add some.

use std::{
    borrow::Cow,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{destinations::Destinations, edges::SavedEdges};
use crate::{
    alert::OpenEpisode,
    clock::{KernelTime, WallTime},
    coverage::findings,
    flow::class::Totals,
    process::NamedOwner,
    record::Line,
};

const MAGIC: &[u8; 16] = b"homeport state 1";
const FILE_NAME: &str = "run.state";
/// Names of processes, written when there are new ones. Without it, who has ended is named by its command only.
const NAMES_FILE: &str = "run.names";

/// Everything but episodes and findings.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ledger<'a> {
    /// Boot id: kernel time and maps are of this boot.
    pub(super) boot: Cow<'a, str>,
    /// When this was written.
    pub(super) written: WallTime,
    pub(super) written_kernel: KernelTime,
    /// `Committed` of the probe; all zero when nothing is pinned.
    pub(super) epoch: u64,
    pub(super) maps: u64,
    pub(super) aside: Option<u32>,
    /// The interval that is being counted.
    pub(super) totals: Cow<'a, Totals>,
    pub(super) interval_started: KernelTime,
    pub(super) interval_started_wall: WallTime,
    /// Losses at its beginning, by cause: events and bytes.
    pub(super) losses_before: Vec<(u64, u64)>,
    pub(super) edges: SavedEdges,
    pub(super) destinations: Cow<'a, Destinations>,
    /// Wire bytes used, by exception.
    pub(super) exceptions: Vec<(Cow<'a, str>, u64)>,
    /// Parts that do not do what they promise, why, and since when.
    pub(super) conditions: Vec<(Cow<'a, str>, Cow<'a, str>, KernelTime)>,
    /// When every program was last seen attached, and the rest of the second identity then.
    #[serde(default)]
    pub(super) well: (KernelTime, i64),
    /// Number of the last record that was made.
    pub(super) sequence: u64,
    /// Records that may not be on disk.
    pub(super) owed: Vec<Arc<Line>>,
}

/// What an agent before this one left.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) ledger: Ledger<'static>,
    /// Why not, when they cannot be read.
    pub(super) episodes: Result<Vec<OpenEpisode>, String>,
    /// Open findings about coverage; the same.
    pub(super) findings: Result<Vec<findings::Episode>, String>,
}

/// The file.
#[derive(Debug)]
pub(super) struct RunState {
    path: PathBuf,
    buffer: Vec<u8>,
}

impl RunState {
    pub(super) fn new(directory: &Path) -> Self {
        Self { path: directory.join(FILE_NAME), buffer: Vec::new() }
    }

    /// What was left; `None` when there is nothing.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the file.
    pub(super) fn load(&self) -> Result<Option<Left>, String> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{}: {error}", self.path.display())),
        };
        decode(&bytes).map(Some).map_err(|reason| format!("{} {reason}", self.path.display()))
    }

    /// Writes all parts. When this returns without error, they are what the next agent finds.
    ///
    /// # Errors
    ///
    /// When the file cannot be written; the one before is then still there.
    pub(super) fn commit(
        &mut self,
        ledger: &Ledger<'_>,
        episodes: &[&OpenEpisode],
        findings: &[&findings::Episode],
    ) -> io::Result<()> {
        encode(&mut self.buffer, ledger, episodes, findings)?;
        let temporary = self.path.with_extension("new");
        let mut file = File::create(&temporary)?;
        file.write_all(&self.buffer)?;
        drop(file);
        fs::rename(&temporary, &self.path)
    }

    /// Writes the names of processes that may have ended when the next agent comes.
    pub(super) fn save_names(&self, named: &[NamedOwner]) -> io::Result<()> {
        let path = self.path.with_file_name(NAMES_FILE);
        let temporary = path.with_extension("new");
        fs::write(&temporary, rmp_serde::to_vec_named(named).map_err(io::Error::other)?)?;
        fs::rename(&temporary, &path)
    }

    /// The names that an agent before this one wrote. None when they cannot be read: they are a help, no evidence.
    pub(super) fn names(&self) -> Vec<NamedOwner> {
        let bytes = fs::read(self.path.with_file_name(NAMES_FILE)).unwrap_or_default();
        rmp_serde::from_slice(&bytes).unwrap_or_default()
    }

    /// The next agent finds nothing: what this one cannot keep true must not be believed.
    pub(super) fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

fn encode(
    buffer: &mut Vec<u8>,
    ledger: &Ledger<'_>,
    episodes: &[&OpenEpisode],
    findings: &[&findings::Episode],
) -> io::Result<()> {
    buffer.clear();
    buffer.extend_from_slice(MAGIC);
    buffer.extend_from_slice(&[0; 8]);
    part(buffer, ledger)?;
    part(buffer, &episodes)?;
    part(buffer, &findings)?;
    let sum = checksum(&buffer[24..]);
    buffer[16..24].copy_from_slice(&sum.to_le_bytes());
    Ok(())
}

fn part(buffer: &mut Vec<u8>, value: &impl Serialize) -> io::Result<()> {
    let at = buffer.len();
    buffer.extend_from_slice(&[0; 8]);
    rmp_serde::encode::write_named(buffer, value).map_err(io::Error::other)?;
    let length = (buffer.len() - at - 8) as u64;
    buffer[at..at + 8].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

fn decode(bytes: &[u8]) -> Result<Left, String> {
    let rest = bytes.strip_prefix(MAGIC).ok_or("is of another version")?;
    let (sum, rest) = take_number(rest)?;
    if checksum(rest) != sum {
        return Err("is damaged".to_owned());
    }
    let (ledger, rest) = take_part(rest)?;
    let (episodes, rest) = take_part(rest)?;
    let ledger: Ledger<'static> =
        rmp_serde::from_slice(ledger).map_err(|error| format!("cannot be read: {error}"))?;
    let episodes = rmp_serde::from_slice(episodes).map_err(|error| error.to_string());
    let findings = match rest {
        // Written by a build that did not keep them.
        [] => Ok(Vec::new()),
        rest => take_part(rest)
            .and_then(|(findings, _)| rmp_serde::from_slice(findings).map_err(|error| error.to_string())),
    };
    Ok(Left { ledger, episodes, findings })
}

fn take_number(bytes: &[u8]) -> Result<(u64, &[u8]), String> {
    let (number, rest) = bytes.split_first_chunk().ok_or("is cut short")?;
    Ok((u64::from_le_bytes(*number), rest))
}

fn take_part(bytes: &[u8]) -> Result<(&[u8], &[u8]), String> {
    let (length, rest) = take_number(bytes)?;
    let length = usize::try_from(length).map_err(|_| "is cut short")?;
    rest.split_at_checked(length).ok_or_else(|| "is cut short".to_owned())
}

/// FNV-1a over words of eight bytes: it guards against accidents, and is read at a gigabyte a second.
fn checksum(bytes: &[u8]) -> u64 {
    let mut sum: u64 = 0xcbf2_9ce4_8422_2325 ^ bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        sum = (sum ^ u64::from_le_bytes(word)).wrapping_mul(0x0000_0100_0000_01b3);
        sum ^= sum >> 29;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Priority;

    fn ledger() -> Ledger<'static> {
        Ledger {
            boot: "b".into(),
            written: WallTime(1),
            written_kernel: KernelTime(2),
            epoch: 7,
            maps: 8,
            aside: Some(1),
            totals: Cow::Owned(Totals::default()),
            interval_started: KernelTime(1),
            interval_started_wall: WallTime(1),
            losses_before: vec![(1, 2)],
            edges: SavedEdges::default(),
            destinations: Cow::Owned(Destinations::default()),
            exceptions: vec![("EX-1".into(), 9)],
            conditions: Vec::new(),
            well: (KernelTime(2), -5),
            sequence: 3,
            owed: vec![Arc::new(Line {
                sequence: 3,
                priority: Priority::Transition,
                text: "{}\n".to_owned(),
            })],
        }
    }

    #[test]
    fn what_was_committed_is_found_and_damage_is_noticed() {
        let directory = tempfile::tempdir().expect("directory");
        let mut state = RunState::new(directory.path());
        assert!(state.load().expect("nothing wrong").is_none());
        state.commit(&ledger(), &[], &[]).expect("written");
        let left = state.load().expect("sound").expect("there");
        assert_eq!((left.ledger.epoch, left.ledger.aside, left.ledger.sequence), (7, Some(1), 3));
        assert_eq!(left.ledger.owed[0].text, "{}\n");
        assert_eq!(left.ledger.well, (KernelTime(2), -5));
        assert!(left.episodes.expect("readable").is_empty());
        assert!(left.findings.expect("readable").is_empty());

        let path = directory.path().join(FILE_NAME);
        let whole = fs::read(&path).expect("bytes");
        for cut in 0..whole.len() {
            assert!(decode(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            assert!(decode(&bytes).is_err(), "bit at {at}");
        }
        state.remove().expect("removed");
        assert!(state.load().expect("nothing wrong").is_none());
    }
    /// Where the figures of `PERFORMANCE.md` come from: `cargo test -p homeport --lib a_thousand -- --nocapture`. Times
    /// are told, not judged; the size is what they follow.
    #[test]
    fn a_thousand_open_episodes_are_in_every_commit_and_cost_what_their_size_does() {
        let episodes = crate::alert::many_open(1_000);
        let open = episodes.snapshot();
        assert_eq!(open.len(), 1_000);
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("directory");
        let mut state = RunState::new(directory.path());
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..100 {
            for (times, open) in times.iter_mut().zip([&[][..], &open]) {
                let started = std::time::Instant::now();
                state.commit(&ledger(), open, &[]).expect("written");
                times.push(started.elapsed());
            }
        }
        let bytes = fs::metadata(directory.path().join(FILE_NAME)).expect("the file").len();
        assert_eq!(state.load().expect("sound").expect("there").episodes.expect("readable").len(), 1_000);
        assert!(bytes < 2 << 20, "{bytes} bytes for 1,000 episodes");
        let [none, thousand] = times.map(|mut times| {
            times.sort_unstable();
            times[times.len() / 2]
        });
        println!("commit without episodes {none:?}, with 1,000 {thousand:?}, {bytes} bytes");
    }
}
