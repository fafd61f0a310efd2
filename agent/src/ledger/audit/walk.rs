//! Goes through the tree: every tile against the one above it, every entry against its hash.
//!
//! Tiles are read from the edge down, so that a tile is judged by hashes that are signed for; bundles are hashed and
//! their records read on all cores, and put in order again here. Nothing is kept but the tiles on the way down and a
//! few bundles in work, whatever the size of the ledger.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        mpsc::{self, Receiver, Sender, SyncSender},
    },
    thread,
};

use super::{
    content::{Content, Facts},
    edge::{self, Edge, differences, unreadable},
    format::{Kind, TILE_WIDTH, Tile},
    merkle::{HASH_BYTES, Hash, fold},
    problem::{Problem, Problems},
    reader::{ReadError, Reader, entries_tile},
};

/// Bundles in work for each core: enough that none waits, few enough to stay small (16 MiB each at the very most,
/// half a megabyte as a rule).
const BUNDLES_PER_CORE: usize = 4;

/// A tree of which so much is wrong is not walked to its end.
const GIVE_UP_AFTER: u64 = 100_000;

/// What a tile must be.
#[derive(Clone, Debug)]
enum Trust {
    /// It folds to this hash.
    Root(Hash),
    /// It is exactly this.
    Hashes(Vec<Hash>),
    /// Nobody knows.
    Nothing,
}

/// One bundle to check.
struct Job {
    bundle: Tile,
    trust: Trust,
    entries_are_kept: bool,
    answer: SyncSender<Checked>,
}

/// What became of it.
struct Checked {
    bundle: Tile,
    problems: Vec<Problem>,
    /// Empty when the entries cannot be read.
    facts: Vec<Facts>,
    bytes: u64,
    entries_were_there: bool,
}

/// What was gone through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// Entries read and compared with their hashes.
    pub(super) entries: u64,
    /// Bytes of records.
    pub(super) bytes: u64,
    /// Hash tiles compared.
    pub(super) tiles: u64,
    /// Whether the walk was given up because so much was wrong.
    pub(super) gave_up: bool,
}

/// Where the walk has come to: entries, and of how many.
pub type Tell<'a> = dyn FnMut(u64, u64) + 'a;

struct Walk<'a, 'b> {
    reader: &'a Reader,
    size: u64,
    jobs: Sender<Job>,
    waiting: VecDeque<Receiver<Checked>>,
    most_waiting: usize,
    problems: &'b mut Problems,
    content: &'b mut Content,
    extent: Extent,
    tell: &'b mut Tell<'b>,
}

/// Goes through the tree of this size, from its edge.
pub(super) fn walk<'b>(
    reader: &Reader,
    size: u64,
    edges: Vec<Edge>,
    problems: &'b mut Problems,
    content: &'b mut Content,
    tell: &'b mut Tell<'b>,
) -> Extent {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let (jobs, work) = mpsc::channel();
    let work = Mutex::new(work);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let job: Result<Job, _> = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = job else { return };
                    let answer = job.answer.clone();
                    // Nobody waits for it only when the walk ended early.
                    let _ = answer.send(check(reader, job));
                }
            });
        }
        let mut walk = Walk {
            reader,
            size,
            jobs,
            waiting: VecDeque::new(),
            most_waiting: cores * BUNDLES_PER_CORE,
            problems,
            content,
            extent: Extent::default(),
            tell,
        };
        // Entries come in order when the highest level is first: it covers the oldest ones.
        for edge in edges.into_iter().rev() {
            let trust = match edge.hashes {
                Some(hashes) if edge.proven => Trust::Hashes(hashes),
                _ => Trust::Nothing,
            };
            if !walk.tile(edge.tile, trust) {
                walk.extent.gave_up = true;
                break;
            }
        }
        while !walk.waiting.is_empty() {
            walk.collect();
        }
        walk.extent
        // The channel closes here, and the threads end.
    })
}

impl Walk<'_, '_> {
    /// Checks a tile and all below it. False: it makes no sense to go on.
    fn tile(&mut self, tile: Tile, trust: Trust) -> bool {
        if self.problems.wrong >= GIVE_UP_AFTER {
            return false;
        }
        let kept = tile.span().is_some_and(|span| self.reader.is_kept(&span));
        if tile.level() == 0 {
            let bundle = entries_tile(tile.index, self.size);
            self.bundle(bundle, trust, kept);
            return true;
        }
        let below = match trust {
            Trust::Hashes(hashes) => {
                self.extent.tiles += 1;
                hashes.into_iter().map(Trust::Root).collect()
            }
            Trust::Root(expected) => match self.reader.hashes(tile) {
                Err(ReadError::Missing { .. }) if !kept => return true,
                stored => self.judge(tile, &stored, Some(expected)),
            },
            Trust::Nothing => match self.reader.hashes(tile) {
                Err(ReadError::Missing { .. }) if !kept => return true,
                stored => self.judge(tile, &stored, None),
            },
        };
        for (place, trust) in below.into_iter().enumerate() {
            let child = Tile::full(Kind::Hashes(tile.level() - 1), tile.index * TILE_WIDTH + place as u64);
            if !self.tile(child, trust) {
                return false;
            }
        }
        true
    }

    /// What the tiles below this one have to be.
    fn judge(
        &mut self,
        tile: Tile,
        stored: &Result<Vec<Hash>, ReadError>,
        expected: Option<Hash>,
    ) -> Vec<Trust> {
        if let (Ok(stored), Some(expected)) = (stored, expected)
            && fold(stored) == expected
        {
            self.extent.tiles += 1;
            return stored.iter().copied().map(Trust::Root).collect();
        }
        let computed = edge::compute(self.reader, tile, self.size);
        let is_proven =
            matches!((&computed, expected), (Some(hashes), Some(expected)) if fold(hashes) == expected);
        let problems = &mut *self.problems;
        match stored {
            Err(error) => problems.push(unreadable(error, tile.span().map(|span| span.start))),
            Ok(stored) => {
                if let Some(computed) = &computed {
                    differences(tile, stored, computed, is_proven, &mut |problem| problems.push(problem));
                }
                if let Some(expected) = expected
                    && !is_proven
                {
                    let mut problem = Problem::other_tile(tile, expected, fold(stored));
                    problem.entry = tile.span().map(|span| span.start);
                    problems.push(problem);
                }
            }
        }
        match (computed, stored) {
            (Some(computed), _) if is_proven => computed.into_iter().map(Trust::Root).collect(),
            (_, Ok(stored)) => stored.iter().map(|_| Trust::Nothing).collect(),
            (_, Err(_)) => (0..tile.width).map(|_| Trust::Nothing).collect(),
        }
    }

    fn bundle(&mut self, bundle: Tile, trust: Trust, entries_are_kept: bool) {
        if self.waiting.len() == self.most_waiting {
            self.collect();
        }
        let (answer, checked) = mpsc::sync_channel(1);
        // The threads end only after this.
        if self.jobs.send(Job { bundle, trust, entries_are_kept, answer }).is_ok() {
            self.waiting.push_back(checked);
        }
    }

    /// Takes the oldest bundle in work.
    fn collect(&mut self) {
        let Some(Ok(checked)) = self.waiting.pop_front().map(|checked| checked.recv()) else { return };
        let first = checked.bundle.index * TILE_WIDTH;
        self.problems.extend(checked.problems);
        let problems = &mut *self.problems;
        if checked.facts.len() < usize::from(checked.bundle.width) {
            self.content.forget(first + checked.facts.len() as u64);
        }
        self.extent.entries += checked.facts.len() as u64;
        self.extent.bytes += checked.bytes;
        self.extent.tiles += u64::from(checked.entries_were_there);
        for (place, facts) in checked.facts.into_iter().enumerate() {
            self.content.next(first + place as u64, facts, &mut |problem| problems.push(problem));
        }
        (self.tell)(first + u64::from(checked.bundle.width), self.size);
    }
}

/// Checks a bundle and its hash tile.
fn check(reader: &Reader, job: Job) -> Checked {
    let bundle = job.bundle;
    let first = bundle.index * TILE_WIDTH;
    let mut checked =
        Checked { bundle, problems: Vec::new(), facts: Vec::new(), bytes: 0, entries_were_there: false };
    let tile = Tile { kind: Kind::Hashes(0), ..bundle };

    // What the entries should hash to, and whether that is signed for.
    let stored = match &job.trust {
        Trust::Hashes(hashes) => Ok(hashes.clone()),
        Trust::Root(_) | Trust::Nothing => reader.hashes(tile),
    };
    let tile_is_proven = match (&job.trust, &stored) {
        (Trust::Hashes(_), _) => true,
        (Trust::Root(root), Ok(stored)) => fold(stored) == *root,
        _ => false,
    };

    let read = reader.bundle(bundle);
    let read = match read {
        Ok(read) => Some(read),
        Err(ReadError::Missing { .. }) if !job.entries_are_kept => None,
        Err(error) => {
            checked.problems.push(unreadable(&error, Some(first)));
            None
        }
    };
    let ranges = read.as_ref().map(|read| match read.entries() {
        Ok(ranges) => ranges,
        Err(error) => {
            checked.problems.push(unreadable(&error, Some(first)));
            read.readable()
        }
    });
    let leaves: Option<Vec<Hash>> = match (&read, &ranges) {
        (Some(read), Some(ranges)) => {
            Some(ranges.iter().map(|range| Hash::leaf(&read.bytes()[range.clone()])).collect())
        }
        _ => None,
    };
    let entries_are_proven = match (&job.trust, &leaves) {
        (Trust::Root(root), Some(leaves)) => {
            leaves.len() == usize::from(bundle.width) && fold(leaves) == *root
        }
        _ => false,
    };

    match &stored {
        Err(ReadError::Missing { .. }) if !job.entries_are_kept => {}
        Err(error) => checked.problems.push(unreadable(error, Some(first))),
        Ok(stored) => {
            if let Some(leaves) = &leaves
                && entries_are_proven
                && !tile_is_proven
            {
                differences(tile, stored, leaves, true, &mut |problem| checked.problems.push(problem));
            } else if let (Trust::Root(root), false) = (&job.trust, tile_is_proven) {
                checked.problems.push(Problem::other_tile(tile, *root, fold(stored)).entry(first));
            }
        }
    }

    let (Some(read), Some(ranges), Some(leaves)) = (read, ranges, leaves) else { return checked };
    if let (Ok(stored), false) = (&stored, entries_are_proven) {
        for (place, (leaf, expected)) in leaves.iter().zip(stored).enumerate().filter(|(_, (a, b))| a != b) {
            let what = if tile_is_proven {
                "the entry is not the one whose hash is signed for"
            } else {
                "the entry does not fit to its hash"
            };
            checked.problems.push(
                Problem::wrong(what)
                    .file(read.path())
                    .offset(ranges[place].start as u64)
                    .entry(first + place as u64)
                    .values(
                        format_args!("{expected} ({}, byte {})", tile.path(), place * HASH_BYTES),
                        format_args!(
                            "{leaf} ({} bytes: {})",
                            ranges[place].len(),
                            excerpt(&read.bytes()[ranges[place].clone()])
                        ),
                    ),
            );
        }
    }
    checked.bytes = ranges.iter().map(|range| range.len() as u64).sum();
    checked.facts = ranges.into_iter().map(|range| Facts::of(&read.bytes()[range])).collect();
    checked.entries_were_there = stored.is_ok();
    checked
}

/// The beginning of an entry, as far as it can be printed.
fn excerpt(entry: &[u8]) -> String {
    const SHOWN: usize = 48;
    let text = String::from_utf8_lossy(&entry[..entry.len().min(SHOWN)]);
    let mut text: String =
        text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect();
    if entry.len() > SHOWN {
        text.push_str("...");
    }
    text
}
