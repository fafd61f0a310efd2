//! Everything about a ledger that can be checked offline.

use std::path::PathBuf;

use serde::Serialize;

use super::{
    content::{Content, time},
    edge,
    merkle::root,
    note::{Checkpoint, Key, MAX_NOTE_BYTES, Signed},
    policy::Policy,
    problem::{Problem, Problems, Weight},
    reader::{CHECKPOINT, MINIMUM_INDEX, PUBLIC_KEY, ReadError, Reader, Tree, WITNESSED},
    stray,
    walk::{Extent, Tell, walk},
};

/// Problems that are told one by one, if nobody says otherwise. More are counted.
pub const DEFAULT_PROBLEMS: usize = 100;

/// How to verify.
#[derive(Clone, Debug)]
pub struct Options {
    /// The keys by which the ledger may be signed. When there are none its own word is taken, and that is told.
    pub keys: Vec<Key>,
    /// Who has to have seen it.
    pub policy: Option<Policy>,
    /// Problems that are told one by one.
    pub problems: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { keys: Vec::new(), policy: None, problems: DEFAULT_PROBLEMS }
    }
}

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Where.
    pub directory: PathBuf,
    /// Whose ledger the checkpoint is of.
    pub origin: Option<String>,
    /// Entries that the checkpoint covers.
    pub size: Option<u64>,
    /// The root that it signs, in base64.
    pub root: Option<String>,
    /// The key that signed it.
    pub signed_by: Option<String>,
    /// The key came from outside, not from the ledger itself.
    pub key_was_given: bool,
    /// The first entry that should be here.
    pub first: u64,
    /// The index behind the last one.
    pub end: u64,
    /// Entries read, hashed and compared.
    pub entries: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Hash tiles compared.
    pub tiles: u64,
    /// Time of the first record, RFC 3339.
    pub from: Option<String>,
    /// Time of the last record.
    pub to: Option<String>,
    /// Numbers of the first and the last record.
    pub sequences: Option<(u64, u64)>,
    /// Records that the ledger itself says are missing.
    pub declared_missing: u64,
    /// Records that were written again, unchanged, after a crash.
    pub repeated: u64,
    /// Up to which size witnesses have seen it, with who and when (seconds since 1970).
    pub witnessed: Option<Witnessed>,
    /// How many things are wrong.
    pub wrong: u64,
    /// How many more an auditor should know.
    pub notes: u64,
    /// Both, up to the limit.
    pub problems: Vec<Problem>,
}

/// What witnesses have seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Witnessed {
    /// Entries.
    pub size: u64,
    /// Who, and when (seconds since 1970).
    pub by: Vec<(String, u64)>,
}

impl Report {
    /// Whether everything is as it was signed.
    pub const fn is_verified(&self) -> bool {
        self.wrong == 0
    }
}

/// Verifies a directory. `tell` hears how far it has come: entries, and of how many.
pub fn verify<'b>(reader: &Reader, options: &Options, tell: &'b mut Tell<'b>) -> Report {
    let mut report = Report { directory: reader.directory().to_owned(), ..Report::default() };
    let mut problems = Problems::new(options.problems);
    if let Some(checkpoint) = read_checkpoint(reader, CHECKPOINT, &mut problems) {
        report.origin = Some(checkpoint.origin.clone());
        report.size = Some(checkpoint.size);
        report.root = Some(checkpoint.root.to_string());
        let key = signature(reader, options, &checkpoint, CHECKPOINT, &mut report, &mut problems);
        tree(reader, &checkpoint, &mut report, &mut problems, tell);
        witnesses(reader, options, &checkpoint, key.as_ref(), &mut report, &mut problems);
        super::export::check(reader, &checkpoint, &mut |problem| problems.push(problem));
        stray::check(reader, checkpoint.size, &mut |problem| problems.push(problem));
    }
    report.wrong = problems.wrong;
    report.notes = problems.notes;
    report.problems = problems.into_kept();
    // Within a weight the order is that of the walk.
    report.problems.sort_by_key(|problem| problem.weight == Weight::Note);
    report
}

fn read_checkpoint(reader: &Reader, path: &str, problems: &mut Problems) -> Option<Checkpoint> {
    match reader.file(path, MAX_NOTE_BYTES as u64) {
        Ok(bytes) => match Checkpoint::parse(&bytes) {
            Ok(checkpoint) => return Some(checkpoint),
            Err(fault) => problems.push(Problem::wrong(format!("this is no checkpoint: {fault}")).file(path)),
        },
        Err(error) => problems.push(edge::unreadable(&error, None)),
    }
    None
}

/// Checks who signed; returns the key.
fn signature(
    reader: &Reader,
    options: &Options,
    checkpoint: &Checkpoint,
    path: &str,
    report: &mut Report,
    problems: &mut Problems,
) -> Option<Key> {
    let given = options.policy.iter().flat_map(|policy| &policy.logs).chain(&options.keys);
    let mut keys: Vec<Key> = given.cloned().collect();
    report.key_was_given = !keys.is_empty();
    match reader.file(PUBLIC_KEY, MAX_NOTE_BYTES as u64) {
        Ok(bytes) => match Key::parse(&String::from_utf8_lossy(&bytes)) {
            Ok(own) if keys.is_empty() => {
                problems.push(
                    Problem::note(
                        "no key was given: this one lies beside what it has to prove, so compare it with the one \
                         that you were told",
                    )
                    .file(PUBLIC_KEY),
                );
                keys.push(own);
            }
            Ok(own) if !keys.iter().any(|key| key.is_same_point(&own)) => problems.push(
                Problem::wrong("this is not the key that was given").file(PUBLIC_KEY).values(&keys[0], &own),
            ),
            Ok(_) => {}
            Err(fault) => {
                problems.push(Problem::wrong(format!("this is no public key: {fault}")).file(PUBLIC_KEY))
            }
        },
        Err(ReadError::Missing { .. }) if !keys.is_empty() => {}
        Err(error) => problems.push(edge::unreadable(&error, None)),
    }
    for key in &keys {
        let what = match checkpoint.by(key) {
            Signed::Valid(_) if key.name() != checkpoint.origin => {
                problems.push(
                    Problem::wrong("the key that signed is that of another ledger")
                        .file(path)
                        .values(key.name(), &checkpoint.origin),
                );
                return Some(key.clone());
            }
            Signed::Valid(_) => {
                report.signed_by = Some(key.to_string());
                return Some(key.clone());
            }
            Signed::Invalid => {
                "the signature is not by the key whose name it bears: the text was changed, or forged"
            }
            Signed::Absent => continue,
        };
        problems.push(Problem::wrong(what).file(path));
        return None;
    }
    if let Some(key) = keys.first() {
        let names: Vec<_> = checkpoint.signatures.iter().map(|line| line.name().to_owned()).collect();
        problems.push(
            Problem::wrong("there is no signature by the key of the ledger")
                .file(path)
                .values(key.name(), if names.is_empty() { "none".to_owned() } else { names.join(", ") }),
        );
    }
    None
}

/// Checks tiles and entries.
fn tree<'b>(
    reader: &Reader,
    checkpoint: &Checkpoint,
    report: &mut Report,
    problems: &mut Problems,
    tell: &'b mut Tell<'b>,
) {
    let size = checkpoint.size;
    let kept = reader.kept();
    report.first = kept.start.min(size);
    report.end = kept.end.min(size);
    if let Some(manifest) = reader.manifest() {
        if manifest.origin != checkpoint.origin || manifest.size != size {
            problems.push(
                Problem::wrong("the evidence is described as that of another checkpoint")
                    .file(super::reader::MANIFEST)
                    .values(
                        format_args!("{}, {size} entries", checkpoint.origin),
                        format_args!("{}, {} entries", manifest.origin, manifest.size),
                    ),
            );
        }
    } else if kept.start > size {
        problems.push(
            Problem::wrong("more is said to be removed than the checkpoint covers")
                .file(MINIMUM_INDEX)
                .values(format_args!("at most {size}"), kept.start),
        );
    }
    let edges = edge::check(reader, size, checkpoint.root, &mut |problem| problems.push(problem));
    let mut content = Content::default();
    let extent = go(reader, size, edges, problems, &mut content, tell);
    content.finish(kept.end < size, &mut |problem| problems.push(problem));
    if extent.gave_up {
        problems.push(Problem::note("so much is wrong that the rest was not looked at"));
    }
    if reader.manifest().is_none() && kept.start > 0 {
        removed(kept.start, content.declared_minimum, problems);
    }
    report.entries = extent.entries;
    report.bytes = extent.bytes;
    report.tiles = extent.tiles;
    report.sequences = content.sequences;
    report.declared_missing = content.declared_missing;
    report.repeated = content.repeated;
    if let Some((from, to)) = content.times {
        (report.from, report.to) = (Some(time(from)), Some(time(to)));
    }
}

/// The walk borrows the problems and what the records say for as long as `tell`.
fn go<'b>(
    reader: &Reader,
    size: u64,
    edges: Vec<edge::Edge>,
    problems: &mut Problems,
    content: &mut Content,
    tell: &'b mut Tell<'b>,
) -> Extent {
    walk(reader, size, edges, problems, content, tell)
}

/// Entries were removed from the front: an entry must say so, or it may have been anybody.
fn removed(minimum: u64, declared: u64, problems: &mut Problems) {
    if declared < minimum {
        problems.push(
            Problem::wrong("entries were removed from the front, and no entry says that they may be")
                .file(MINIMUM_INDEX)
                .values(format_args!("at most {declared}"), minimum),
        );
    } else {
        problems.push(
            Problem::note(format!("entries 0 to {} are past their retention and were removed", minimum - 1))
                .file(MINIMUM_INDEX),
        );
    }
}

/// Checks what witnesses have said.
fn witnesses(
    reader: &Reader,
    options: &Options,
    checkpoint: &Checkpoint,
    key: Option<&Key>,
    report: &mut Report,
    problems: &mut Problems,
) {
    let mut heads = vec![(CHECKPOINT, checkpoint.clone())];
    match reader.optional(WITNESSED, MAX_NOTE_BYTES as u64) {
        Ok(Some(_)) => {
            heads.extend(read_checkpoint(reader, WITNESSED, problems).map(|head| (WITNESSED, head)))
        }
        Ok(None) => {}
        Err(error) => problems.push(edge::unreadable(&error, None)),
    }
    if let Some((path, head)) = heads.get(1) {
        // What witnesses have seen must be the beginning of what is here.
        if head.origin != checkpoint.origin || head.size > checkpoint.size {
            problems.push(
                Problem::wrong(
                    "witnesses have seen more of this ledger than is here: an old state was put back",
                )
                .file(*path)
                .values(
                    format_args!("{}, at most {} entries", checkpoint.origin, checkpoint.size),
                    format_args!("{}, {} entries", head.origin, head.size),
                ),
            );
        } else if head.size >= report.first || head.size == 0 {
            match root(&mut Tree::new(reader, head.size), head.size) {
                Ok(root) if root == head.root => {}
                Ok(root) => problems.push(
                    Problem::wrong("witnesses have seen another ledger under this name")
                        .file(*path)
                        .values(head.root, root),
                ),
                // The file it needs has been told of already, or is not part of this evidence.
                Err(error) => problems.push(Problem::note(format!(
                    "what witnesses have seen cannot be compared with what is here: {error}"
                ))),
            }
        }
        if key.is_some_and(|key| !matches!(head.by(key), Signed::Valid(_))) {
            problems.push(Problem::wrong("the ledger's own signature is missing or not valid").file(*path));
        }
    }
    let Some(policy) = &options.policy else { return };
    let mut best: Option<Witnessed> = None;
    for (path, head) in &heads {
        let seen = policy.judge(head);
        for name in &seen.forged {
            problems.push(
                Problem::wrong(format!("the signature under the name of witness {name} is not by it"))
                    .file(*path),
            );
        }
        if seen.quorum && best.as_ref().is_none_or(|best| best.size < head.size) {
            best = Some(Witnessed { size: head.size, by: seen.by });
        }
    }
    match &best {
        None => problems.push(Problem::wrong(
            "not enough of the witnesses that the policy asks for have seen this ledger",
        )),
        Some(best) if best.size < checkpoint.size && !policy.asks_for_none() => {
            problems.push(Problem::note(format!(
                "witnesses have seen {} entries; the last {} nobody has seen yet",
                best.size,
                checkpoint.size - best.size
            )))
        }
        Some(_) => {}
    }
    report.witnessed = best;
}
