//! The campaign `verify`: a ledger of many entries, written by homeport's own writer, is verified by homeport and by
//! somebody else's program, and damage of any kind to a copy is found by both.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{Progress, Random, Report};
use crate::{
    actor, agent,
    foreign::{Answer, Foreign, Job},
};

/// The largest memory that verifying may take, in bytes.
const MEMORY_LIMIT: u64 = 1 << 30;

/// How long homeport may take for a million entries. A build for tests is slower and not measured.
const MICROSECONDS_PER_ENTRY: u64 = 60_000_000 / 535_600;

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Repeats the run.
    pub seed: u64,
    /// Entries of the ledger.
    pub entries: u64,
    /// Checkpoints on the way there.
    pub checkpoints: u64,
    /// Entries that are proven one by one.
    pub proofs: u64,
    /// Damaged copies.
    pub corruptions: u64,
    /// Whether time is a promise: only for optimized builds.
    pub is_timed: bool,
}

impl Plan {
    /// A million entries, two hundred damages.
    pub const fn long(seed: u64) -> Self {
        Self { seed, entries: 1_000_000, checkpoints: 20, proofs: 200, corruptions: 200, is_timed: true }
    }

    /// A few seconds.
    pub const fn short(seed: u64) -> Self {
        Self { seed, entries: 3_000, checkpoints: 7, proofs: 20, corruptions: 20, is_timed: false }
    }
}

/// Runs it.
///
/// # Errors
///
/// When something could not be done at all; broken promises are in the report.
pub fn run(plan: &Plan, progress: Progress) -> Result<Report> {
    let mut random = Random::from_seed(plan.seed);
    let mut report = Report::default();
    let work = tempfile::tempdir()?;
    let directory = work.path().join("ledger");

    progress.tell(format_args!("writing {} entries", plan.entries));
    let started = Instant::now();
    let (key, old) = write(plan, &directory, work.path())?;
    report.figure("entries", plan.entries);
    report.figure("written in s", format!("{:.1}", started.elapsed().as_secs_f64()));
    report.figure("size in MB", bytes_below(&directory)? / 1_000_000);

    progress.tell("homeport verifies it");
    let sound = verify(&directory, &key)?;
    report.promise("homeport verifies it", sound.code, "0", sound.code == 0);
    report.promise("highest memory in MB", sound.memory / 1_000_000, "< 1000", sound.memory < MEMORY_LIMIT);
    let seconds = format!("{:.1}", sound.took.as_secs_f64());
    if plan.is_timed {
        let limit = Duration::from_micros(plan.entries * MICROSECONDS_PER_ENTRY);
        let promised = format!("< {:.0}", limit.as_secs_f64());
        report.promise("homeport took s", seconds, promised, sound.took < limit);
    } else {
        report.figure("homeport took s", seconds);
    }

    progress.tell("somebody else's program verifies it");
    let proofs: Vec<u64> = (0..plan.proofs).map(|_| random.within(0..=plan.entries - 1)).collect();
    let files = proof_files(&directory, &key, &proofs[..proofs.len().min(5)], work.path())?;
    let mut foreign = Foreign::start()?;
    let job = Job { dir: directory.clone(), key: key.clone(), ..Job::default() };
    let started = Instant::now();
    let all = Job { old: old.clone(), indexes: proofs.clone(), proofs: files.clone(), ..job.clone() };
    let answer = foreign.verify(&all)?;
    report.figure("the other took s", format!("{:.1}", started.elapsed().as_secs_f64()));
    let expected = Answer {
        ok: true,
        size: plan.entries,
        tiles: answer.tiles,
        bundles: plan.entries.div_ceil(256),
        proofs: (proofs.len() + files.len()) as u64,
        consistent: old.len() as u64,
        error: None,
    };
    report.promise("the other verifies it", format!("{answer:?}"), "everything", answer == expected);

    let (mut by_us, mut located, mut by_other) = (0, 0, 0);
    for number in 1..=plan.corruptions {
        let damage = Damage::any(&directory, plan.entries, &mut random)?;
        progress.tell(format_args!("{number} of {}: {}", plan.corruptions, damage.what));
        let found = verify(&directory, &key)?;
        let answer = foreign.verify(&job)?;
        // A bundle is missing under both of its names, and is told by the plain one.
        let names_it = found.text.contains(damage.path.trim_end_matches(".gz"));
        by_us += u64::from(found.code == 10);
        located += u64::from(names_it);
        by_other += u64::from(!answer.ok);
        if found.code != 10 || !names_it || answer.ok {
            let text = found.text.lines().next().unwrap_or_default().to_owned();
            report.figure(
                format!("NOT FOUND: {}", damage.what),
                format!("homeport {} {text}; {answer:?}", found.code),
            );
        }
        damage.mend(&directory)?;
    }
    report.exactly("damaged copies found by homeport", plan.corruptions, by_us);
    report.exactly("of which it names the file", plan.corruptions, located);
    report.exactly("damaged copies found by the other", plan.corruptions, by_other);
    let mended = verify(&directory, &key)?;
    report.promise("homeport verifies it after all", mended.code, "0", mended.code == 0);
    Ok(report)
}

/// Lets homeport's writer write the ledger, one process per checkpoint, each of which opens what the one before has
/// left; returns its key, and checkpoints on the way.
fn write(plan: &Plan, directory: &Path, work: &Path) -> Result<(String, Vec<PathBuf>)> {
    let mut old = Vec::new();
    let mut written = 0;
    while written < plan.entries {
        let count = (plan.entries / plan.checkpoints).max(1).min(plan.entries - written);
        let mut writer = Command::new(actor::binary()?);
        writer.args(["ledger-write", "--batch", "500", "--bytes", "400", "--records", &count.to_string()]);
        writer.args((written + count == plan.entries).then_some("--settle"));
        let output = writer.arg("--directory").arg(directory).stderr(Stdio::inherit()).output()?;
        ensure!(output.status.success(), "the writer ended with {}", output.status);
        written += count;
        let path = work.join(format!("checkpoint-{written}"));
        fs::copy(directory.join("checkpoint"), &path)?;
        old.push(path);
    }
    Ok((fs::read_to_string(directory.join("key.pub"))?.trim_end().to_owned(), old))
}

/// What `homeport` said, how long it took, and the most memory that it had.
pub(super) struct Said {
    pub(super) code: i32,
    pub(super) text: String,
    pub(super) took: Duration,
    pub(super) memory: u64,
}

fn homeport(words: &[&str], paths: &[&Path]) -> Result<Command> {
    let mut command = Command::new(agent::binary()?);
    command.args(words).args(paths).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

fn verify(directory: &Path, key: &str) -> Result<Said> {
    said(&["ledger", "verify", "--key", key], &[directory])
}

pub(super) fn said(words: &[&str], paths: &[&Path]) -> Result<Said> {
    let started = Instant::now();
    let child = homeport(words, paths)?.spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let done = thread::spawn(move || child.wait_with_output());
    let mut memory = 0;
    while !done.is_finished() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let highest = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = highest.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        memory = memory.max(kib.unwrap_or(0) * 1024);
        thread::sleep(Duration::from_millis(5));
    }
    let took = started.elapsed();
    let Output { status, stdout, stderr } = done.join().ok().context("waiting for homeport")??;
    ensure!(stderr.is_empty(), "homeport: {}", String::from_utf8_lossy(&stderr));
    let code = status.code().context("homeport was killed")?;
    Ok(Said { code, text: String::from_utf8_lossy(&stdout).into_owned(), took, memory })
}

/// Lets homeport make proofs.
fn proof_files(directory: &Path, key: &str, indexes: &[u64], work: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for index in indexes {
        let path = work.join(format!("{index}.tlog-proof"));
        let text = index.to_string();
        let output =
            homeport(&["ledger", "prove", "--key", key, "--output"], &[&path, directory, Path::new(&text)])?
                .output()?;
        ensure!(output.status.success(), "homeport: {}", String::from_utf8_lossy(&output.stderr));
        files.push(path);
    }
    Ok(files)
}

/// One thing that was done to the copy.
struct Damage {
    what: String,
    path: String,
    before: Vec<(String, Vec<u8>)>,
}

impl Damage {
    /// Damages a file that the ledger's checkpoint needs. A few bits of a packed bundle say nothing, and to change one
    /// of those is no damage.
    fn any(directory: &Path, entries: u64, random: &mut Random) -> Result<Self> {
        loop {
            let damage = Self::try_any(directory, entries, random)?;
            let now = fs::read(directory.join(&damage.path)).unwrap_or_default();
            if !damage.path.ends_with(".gz") || unpack(&now) != unpack(&damage.before[0].1) {
                return Ok(damage);
            }
            damage.mend(directory)?;
        }
    }

    fn try_any(directory: &Path, entries: u64, random: &mut Random) -> Result<Self> {
        let needed = needed(directory, entries);
        let path = needed[random.within(0..=needed.len() as u64 - 1) as usize].clone();
        let file = directory.join(&path);
        let bytes = fs::read(&file).with_context(|| path.clone())?;
        let at = random.within(0..=bytes.len() as u64 - 1) as usize;
        let mut before = vec![(path.clone(), bytes.clone())];
        let what = match random.within(0..=4) {
            0 => {
                fs::remove_file(&file)?;
                format!("{path} removed")
            }
            1 => {
                fs::write(&file, &bytes[..at])?;
                format!("{path} cut to {at} bytes")
            }
            2 => {
                let other = directory.join(&needed[random.within(0..=needed.len() as u64 - 1) as usize]);
                let theirs = fs::read(&other)?;
                // One of the same kind only says nothing when it is the same.
                if theirs == bytes {
                    fs::remove_file(&file)?;
                    format!("{path} removed")
                } else {
                    let name = other.strip_prefix(directory)?.display().to_string();
                    before.push((name.clone(), theirs.clone()));
                    fs::write(&file, &theirs)?;
                    format!("{path} replaced by {name}")
                }
            }
            3 => {
                let mut other = bytes.clone();
                let end = (at + 32).min(other.len());
                for byte in &mut other[at..end] {
                    *byte = !*byte;
                }
                fs::write(&file, other)?;
                format!("{path} bytes {at} to {end} inverted")
            }
            _ => {
                let mut other = bytes;
                let bit = random.within(0..=7);
                other[at] ^= 1 << bit;
                fs::write(&file, other)?;
                format!("{path} bit {bit} of byte {at} flipped")
            }
        };
        Ok(Self { what, path, before })
    }

    fn mend(self, directory: &Path) -> Result<()> {
        for (path, bytes) in self.before {
            fs::write(directory.join(path), bytes)?;
        }
        Ok(())
    }
}

/// The files of a tree of this size, without older partial tiles: nothing needs those, so somebody else's program need
/// not look at them.
fn needed(directory: &Path, entries: u64) -> Vec<String> {
    use homeport::ledger::audit::format::{Kind, Tile, tiles_at};
    let mut files = vec!["checkpoint".to_owned()];
    for level in 0..4 {
        let (full, width) = tiles_at(entries, level);
        for index in 0..full + u64::from(width > 0) {
            let width = if index < full { 256 } else { width };
            files.push(Tile { kind: Kind::Hashes(level), index, width }.path());
            if level == 0 {
                let plain = Tile { kind: Kind::Entries, index, width }.path();
                let packed = format!("{plain}.gz");
                files.push(if directory.join(&packed).exists() { packed } else { plain });
            }
        }
    }
    files
}

/// What a packed bundle says, if it begins and ends as it should.
fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let mut decoder = flate2::bufread::GzDecoder::new(packed);
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut decoder, &mut bytes).ok()?;
    let is_framed = packed.get(..10)? == [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    (is_framed && decoder.into_inner().is_empty()).then_some(bytes)
}

pub(super) fn bytes_below(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { bytes_below(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}
