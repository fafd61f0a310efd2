//! Records become a statement.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashSet, VecDeque},
    fs,
};

use serde::{Deserialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

use super::{
    entry::{Database, Event, Finding, Interval, Line, Place},
    episodes::Episodes,
    nothing::NothingOnRecord,
    statement::{
        Coverage, CoverageRow, DatabaseRow, EpisodeRow, EventRow, ExceptionRow, GapRow, Host, InterfaceRow,
        LossRow, PlaceRow, PolicyChange, PolicyRow, Proof as Proven, ReasonRow, SCHEMA, Statement, Witness,
        Witnessed,
    },
    time::{Timeline, Watch},
    words,
};
use crate::{
    clock::WallTime,
    ledger::audit::{
        Options, Reader, Report, Tell, format::TILE_WIDTH, proof::Proof, reader::ReadError, verify,
    },
    policy::canonical,
};

/// Latest entries with which a repeated one is compared, as verifying does.
const RECENT: usize = 1 << 16;

/// What a statement is asked for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// From this time on, in milliseconds since 1970; without, all records, from the first interval on.
    pub from: Option<i64>,
    /// Until this time, which is not included; without, all records, until the last interval ends.
    pub to: Option<i64>,
    /// How to verify.
    pub options: Options,
}

/// Verifies a ledger and makes the statement. What does not verify is told in it.
///
/// # Errors
///
/// When the ledger is what was signed, and has no record of the period.
pub fn make<'b>(
    reader: &Reader,
    asked: &Asked,
    now: WallTime,
    tell: &'b mut Tell<'b>,
) -> Result<Statement, NothingOnRecord> {
    let report = verify(reader, &asked.options, tell);
    let mut collector = Collector::new(asked);
    collector.before(reader);
    if let Some(size) = report.size {
        collector.all(reader, size);
    }
    let made = collector.made;
    let mut statement = collector.finish();
    statement.schema = SCHEMA;
    statement.made = now.to_string();
    statement.version = env!("CARGO_PKG_VERSION").to_owned();
    prove(&mut statement.proof, report, reader);
    // Of a ledger that was changed the statement says so, whatever is left of the period.
    if statement.proof.verified && statement.proof.entries == 0 {
        return Err(NothingOnRecord::new(asked, made));
    }
    (statement.answer.word, statement.answer.sentences) = words::answer(&statement);
    Ok(statement)
}

fn prove(proof: &mut Proven, report: Report, reader: &Reader) {
    // An entry that no number contains is for the answer to tell; a signature that does not hold is worse.
    proof.verified = report.is_verified();
    proof.witnessed = report.witnessed.map(|seen| Witnessed {
        size: seen.size,
        by: seen
            .by
            .into_iter()
            .map(|(name, time)| {
                let time = WallTime::from_unix_seconds(i64::try_from(time).unwrap_or(i64::MAX)).to_string();
                Witness { name, time }
            })
            .collect(),
    });
    proof.origin = report.origin;
    proof.key = report.signed_by;
    proof.key_was_given = report.key_was_given;
    proof.size = report.size;
    proof.root = report.root;
    proof.bundle_made = reader.manifest().map(|manifest| manifest.made.clone());
    proof.entries_checked = report.entries;
    proof.declared_missing = report.declared_missing;
    proof.wrong = report.wrong;
    proof.notes = report.notes;
    proof.problems = report.problems;
}

/// What a record says it is, and when it was made.
#[derive(Deserialize)]
struct Head {
    class_uid: u64,
    metadata: Metadata,
    unmapped: Unmapped,
}

#[derive(Deserialize)]
struct Metadata {
    logged_time: i64,
}

#[derive(Deserialize)]
struct Unmapped {
    homeport: Extra,
}

#[derive(Deserialize)]
struct Extra {
    kind: Option<String>,
    event: Option<String>,
}

/// Where a record lies.
#[derive(Clone, Copy)]
struct At {
    index: u64,
    logged: i64,
}

/// The latest entries: a writer that was killed may have written some of them again, unchanged.
#[derive(Default)]
struct Recent {
    known: HashSet<[u8; 32]>,
    order: VecDeque<[u8; 32]>,
}

impl Recent {
    /// Whether it is there already.
    fn has_or_takes(&mut self, entry: &[u8]) -> bool {
        let digest: [u8; 32] = Sha256::digest(entry).into();
        if !self.known.insert(digest) {
            return true;
        }
        self.order.push_back(digest);
        if self.order.len() > RECENT
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        false
    }
}

struct Collector {
    from: Option<i64>,
    to: Option<i64>,
    statement: Statement,
    places: BTreeMap<Place, PlaceRow>,
    transfers: Episodes<EpisodeRow>,
    attempts: Episodes<EpisodeRow>,
    uses: Episodes<EpisodeRow>,
    gaps: Episodes<CoverageRow>,
    losses: BTreeMap<String, LossRow>,
    interfaces: BTreeMap<String, InterfaceRow>,
    reasons: BTreeMap<String, u64>,
    hosts: BTreeMap<Host, ()>,
    timeline: Timeline,
    /// Times whose bytes are missing, with the reason.
    missing: Vec<(i64, i64, String)>,
    not_covered: Vec<String>,
    recent: Recent,
    /// When the first record of the ledger was made and when the last, of whatever period.
    made: Option<(i64, i64)>,
    /// When the first record of the period was made and when the last: the period, as long as there is no interval.
    logged: Option<(i64, i64)>,
    /// Begin of the first interval and end of the last one: the period, if none was asked for.
    watched: Option<(i64, i64)>,
}

impl Collector {
    fn new(asked: &Asked) -> Self {
        Self {
            from: asked.from,
            to: asked.to,
            statement: Statement::default(),
            places: BTreeMap::new(),
            transfers: Episodes::default(),
            attempts: Episodes::default(),
            uses: Episodes::default(),
            gaps: Episodes::default(),
            losses: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            reasons: BTreeMap::new(),
            hosts: BTreeMap::new(),
            timeline: Timeline::default(),
            missing: Vec::new(),
            not_covered: Vec::new(),
            recent: Recent::default(),
            made: None,
            logged: None,
            watched: None,
        }
    }

    /// What a bundle of evidence says about the time before it: entries with a proof of their own.
    fn before(&mut self, reader: &Reader) {
        if reader.manifest().is_none() {
            return;
        }
        let Ok(names) = fs::read_dir(reader.directory().join("proofs")) else { return };
        let mut proven: Vec<(u64, Vec<u8>)> = names
            .flatten()
            .filter_map(|name| {
                let path = format!("proofs/{}", name.file_name().to_str()?);
                let bytes = reader.file(&path, crate::ledger::audit::proof::MAX_PROOF_BYTES).ok()?;
                let proof = Proof::parse(&bytes).ok()?;
                let entry = proof.extra.clone()?;
                // Verifying told of those that show nothing.
                proof.shows(&entry).then_some((proof.index, entry))
            })
            .collect();
        proven.sort();
        for (index, entry) in proven {
            self.take(index, &entry, true);
        }
    }

    fn all(&mut self, reader: &Reader, size: u64) {
        let kept = reader.kept();
        let end = kept.end.min(size);
        let mut start = kept.start;
        while start < end {
            let next = ((start / TILE_WIDTH + 1) * TILE_WIDTH).min(end);
            let mut read = start;
            let taken = reader.entries(size, start..next, |index, entry| {
                self.take(index, entry, false);
                read = index + 1;
                Ok::<_, ReadError>(())
            });
            if taken.is_err() {
                // Verifying has said which file it is.
                self.statement.proof.unreadable += next - read;
            }
            start = next;
        }
    }

    fn take(&mut self, index: u64, entry: &[u8], only_before: bool) {
        let Ok(head) = serde_json::from_slice::<Head>(entry) else {
            self.statement.proof.unreadable += 1;
            return;
        };
        let logged = head.metadata.logged_time;
        let at = At { index, logged };
        let is_before = self.from.is_some_and(|from| logged < from);
        let is_after = self.to.is_some_and(|to| logged >= to);
        let is_within = !is_before && !is_after && !only_before;
        self.made = widened(self.made, logged);
        if is_within {
            let proof = &mut self.statement.proof;
            proof.first_entry.get_or_insert(index);
            proof.last_entry = Some(index);
            proof.entries += 1;
            self.logged = widened(self.logged, logged);
        }
        if self.recent.has_or_takes(entry) {
            // It is in every number once.
            self.statement.proof.repeated += u64::from(is_within);
            return;
        }
        let kind = head.unmapped.homeport.kind.as_deref();
        let read = match (head.class_uid, kind) {
            (4001, _) => read(entry).and_then(|line| self.interval(line, is_within)),
            (2004, Some("coverage")) if is_within => read(entry).and_then(|line| self.gaps.take(index, line)),
            (2004, Some("self-test")) if is_within => {
                self.statement.self_tests += 1;
                Ok(())
            }
            (2004, Some("transfer")) if is_within => {
                read::<Line<Finding>>(entry).and_then(|line| self.transfers.take(index, line))
            }
            (2004, Some("attempt")) if is_within => {
                read::<Line<Finding>>(entry).and_then(|line| self.attempts.take(index, line))
            }
            (2004, Some("exception")) if is_within => {
                read::<Line<Finding>>(entry).and_then(|line| self.uses.take(index, line))
            }
            (2004, _) if !is_within => Ok(()),
            (6002, _) => {
                let event = head.unmapped.homeport.event.unwrap_or_default();
                read(entry).map(|line| self.event(at, &event, line, is_within, is_after))
            }
            _ => Err("no record that this version knows"),
        };
        if read.is_err() && is_within {
            self.statement.proof.unreadable += 1;
        }
    }

    fn interval(&mut self, line: Line<Interval>, is_within: bool) -> Result<(), &'static str> {
        let (Some(start), Some(end)) = (line.start_time, line.end_time) else {
            return Err("an interval without begin or end");
        };
        let interval = line.unmapped.homeport;
        let watch = match interval.state.as_str() {
            "covered" => Watch::Covered,
            "reduced" => Watch::Reduced,
            _ => Watch::NotCovered,
        };
        // Time is cut at the borders: what was recorded later may be about the period.
        self.timeline.add(start, end, watch);
        let (first, last) = self.watched.unwrap_or((start, end));
        self.watched = Some((first.min(start), last.max(end)));
        if !is_within {
            return Ok(());
        }
        if let Some(device) = line.device {
            self.hosts.insert(Host { name: device.hostname, uid: device.uid }, ());
        }
        let totals = &mut self.statement.totals;
        totals.intervals += 1;
        totals.all.add(interval.bytes, interval.control);
        let missed = line.traffic.and_then(|traffic| traffic.bytes_missed).unwrap_or(0);
        totals.missed_bytes = totals.missed_bytes.saturating_add(missed);
        for class in interval.classes {
            let row = self.places.entry(class.place.clone()).or_insert_with(|| PlaceRow {
                name: words::place(&class.place),
                kind: class.place.kind.clone(),
                country: class.place.country.clone(),
                site: class.place.site.clone(),
                ..PlaceRow::default()
            });
            let (sum, total) = match class.verdict.as_str() {
                "approved" => (&mut row.approved, &mut totals.approved),
                "excepted" => (&mut row.excepted, &mut totals.excepted),
                // Whatever else it is called: it was not approved.
                _ => (&mut row.violation, &mut totals.violation),
            };
            sum.add(class.bytes, class.control);
            total.add(class.bytes, class.control);
            if let Some(rule) = class.rule {
                let bytes = row.rules.entry(rule).or_default();
                *bytes = bytes.saturating_add(class.bytes.wire);
            }
        }
        for loss in interval.losses {
            let row = self.losses.entry(loss.cause.clone()).or_insert_with(|| LossRow {
                means: words::loss(&loss.cause).to_owned(),
                cause: loss.cause,
                ..LossRow::default()
            });
            row.count = row.count.saturating_add(loss.count);
            row.bytes = row.bytes.saturating_add(loss.bytes);
        }
        for reason in interval.reasons {
            *self.reasons.entry(reason).or_default() += 1;
        }
        for card in interval.interfaces {
            let row = self
                .interfaces
                .entry(card.name.clone())
                .or_insert_with(|| InterfaceRow { name: card.name.clone(), ..InterfaceRow::default() });
            let Some(nic_bytes) = card.nic_bytes else {
                row.not_compared += 1;
                continue;
            };
            row.compared += 1;
            row.nic_bytes = row.nic_bytes.saturating_add(nic_bytes);
            row.counted_bytes = row.counted_bytes.saturating_add(card.counted_bytes);
            row.dropped_packets = row.dropped_packets.saturating_add(card.dropped_packets);
            row.residual_bytes = row.residual_bytes.saturating_add(card.residual_bytes);
            row.unexplained_bytes = row.unexplained_bytes.saturating_add(card.unexplained_bytes);
            row.explained_bytes =
                card.explained.values().fold(row.explained_bytes, |sum, bytes| sum.saturating_add(*bytes));
        }
        let (sum, next) = (&mut self.statement.attribution, interval.attribution);
        sum.socket = sum.socket.saturating_add(next.socket);
        sum.owned = sum.owned.saturating_add(next.owned);
        sum.unnamed = sum.unnamed.saturating_add(next.unnamed);
        sum.discarded = sum.discarded.saturating_add(next.discarded);
        sum.stayed = sum.stayed.saturating_add(next.stayed);
        sum.rest = sum.rest.saturating_add(next.rest);
        Ok(())
    }

    fn event(&mut self, at: At, word: &str, line: Line<Event>, is_within: bool, is_after: bool) {
        if is_within {
            self.statement.events.push(EventRow {
                time: words::time(at.logged),
                entry: at.index,
                event: word.to_owned(),
                severity: line.severity.to_lowercase(),
                message: line.message,
            });
            if let Some(device) = line.device {
                self.hosts.insert(Host { name: device.hostname, uid: device.uid }, ());
            }
        }
        match line.unmapped.homeport {
            // Found later, and about a time that may be within.
            Event::CountingGap { from, to, detail } => {
                self.timeline.add(from, to, Watch::NotCovered);
                self.missing.push((from, to, format!("bytes may be missing: {detail}")));
            }
            _ if is_after => {}
            Event::Start { policy_hash, policies, statements, databases, not_covered } => {
                self.policy(at, policy_hash, policies, statements);
                self.start_databases(at, databases);
                self.not_covered = not_covered;
            }
            Event::PolicyChange { before_hash, after_hash, changes, statements } => {
                if is_within {
                    self.statement.policy_changes.push(PolicyChange {
                        time: words::time(at.logged),
                        entry: at.index,
                        taken: true,
                        before: before_hash,
                        after: Some(after_hash.clone()),
                        lines: changes,
                    });
                }
                self.policy(at, after_hash, Vec::new(), statements);
            }
            Event::PolicyRejected { policy_hash, faults } if is_within => {
                self.statement.policy_changes.push(PolicyChange {
                    time: words::time(at.logged),
                    entry: at.index,
                    taken: false,
                    before: policy_hash,
                    after: None,
                    lines: faults,
                });
            }
            Event::DatabaseChange { before, after } => {
                if let Some(before) = before {
                    self.end_database(at, &before);
                }
                self.begin_database(at, after);
            }
            Event::PolicyRejected { .. } | Event::Other => {}
        }
    }

    /// A policy is in force from here on; if it is the one before, nothing changes.
    fn policy(&mut self, at: At, hash: String, mut names: Vec<String>, says: Vec<[String; 3]>) {
        let parts = says.iter().map(|[about, key, value]| [about.as_str(), key.as_str(), value.as_str()]);
        let says_is_hashed = !says.is_empty() && canonical::hash_of(parts) == hash;
        if names.is_empty() {
            let order = says.iter().find(|[about, key, _]| about == "policies" && key == "order");
            names =
                order.map(|[.., order]| order.split(", ").map(str::to_owned).collect()).unwrap_or_default();
        }
        match self.statement.policies.last_mut() {
            Some(known) if known.hash == hash => {
                if known.says.is_empty() {
                    (known.says, known.says_is_hashed, known.entry) = (says, says_is_hashed, at.index);
                }
                return;
            }
            Some(known) => known.until = Some(words::time(at.logged)),
            None => {}
        }
        let (since, entry) = (words::time(at.logged), at.index);
        self.statement.policies.push(PolicyRow {
            hash,
            since,
            until: None,
            entry,
            names,
            says,
            says_is_hashed,
        });
    }

    fn start_databases(&mut self, at: At, databases: Vec<Database>) {
        for row in self.statement.databases.iter_mut().filter(|row| row.until.is_none()) {
            let goes_on = |database: &Database| database.sha256 == row.sha256 && database.name == row.name;
            if !databases.iter().any(goes_on) {
                row.until = Some(words::time(at.logged));
            }
        }
        for database in databases {
            self.begin_database(at, database);
        }
    }

    fn begin_database(&mut self, at: At, database: Database) {
        let Database { name, kind, built, sha256 } = database;
        let is_known = |row: &DatabaseRow| row.until.is_none() && row.name == name && row.sha256 == sha256;
        if !self.statement.databases.iter().any(is_known) {
            let (since, entry) = (words::time(at.logged), at.index);
            self.statement.databases.push(DatabaseRow {
                name,
                kind,
                built,
                sha256,
                since,
                until: None,
                entry,
            });
        }
    }

    fn end_database(&mut self, at: At, database: &Database) {
        let open = self.statement.databases.iter_mut().filter(|row| row.until.is_none());
        for row in open.filter(|row| row.name == database.name && row.sha256 == database.sha256) {
            row.until = Some(words::time(at.logged));
        }
    }

    /// From when until when: as asked, else what the intervals cover. It is of no length only without a record.
    fn period(&self) -> (i64, i64) {
        let logged = self.logged.map(|(first, last)| (first, last + 1));
        let between = |(first, last): (i64, i64)| (self.from.unwrap_or(first), self.to.unwrap_or(last));
        let (from, to) = between(self.watched.or(logged).unwrap_or_default());
        if from < to {
            return (from, to);
        }
        // Asked for from behind the last interval on, or until before the first one: what is there was made beside them.
        let (from, to) = between(logged.unwrap_or_default());
        (from, to.max(from))
    }

    fn finish(self) -> Statement {
        let (from, to) = self.period();
        let mut statement = self.statement;
        statement.period.from = words::time(from);
        statement.period.to = words::time(to);
        statement.period.milliseconds = to - from;
        statement.hosts = self.hosts.into_keys().collect();
        // Times are of one form and compare as text.
        let begin = &statement.period.from;
        let goes_on = |until: &Option<String>| until.as_ref().is_none_or(|until| until > begin);
        statement.policies.retain(|row| goes_on(&row.until));
        statement.databases.retain(|row| goes_on(&row.until));
        statement.places = self.places.into_values().collect();
        statement.places.sort_by_key(|row| (Reverse(row.violation.data()), Reverse(row.all().bytes.wire)));
        statement.violations = self.transfers.into_rows();
        statement.attempts = self.attempts.into_rows();
        statement.exceptions = exceptions(self.uses.into_rows(), &statement.policies);
        statement.losses = self.losses.into_values().collect();
        statement.interfaces = self.interfaces.into_values().collect();
        statement.coverage = coverage(&self.timeline, self.missing, (from, to));
        statement.coverage.findings = self.gaps.into_rows();
        statement.coverage.reasons =
            self.reasons.into_iter().map(|(reason, intervals)| ReasonRow { reason, intervals }).collect();
        statement.coverage.reasons.sort_by_key(|row| Reverse(row.intervals));
        statement.limits = words::limits(&self.not_covered);
        statement
    }
}

/// The range of times with one more in it.
fn widened(range: Option<(i64, i64)>, time: i64) -> Option<(i64, i64)> {
    let (first, last) = range.unwrap_or((time, time));
    Some((first.min(time), last.max(time)))
}

fn read<T: DeserializeOwned>(entry: &[u8]) -> Result<T, &'static str> {
    serde_json::from_slice(entry).map_err(|_| "a record in another form")
}

/// Uses of exceptions by exception, with what the policy says about it.
fn exceptions(uses: Vec<EpisodeRow>, policies: &[PolicyRow]) -> Vec<ExceptionRow> {
    let mut rows: BTreeMap<String, ExceptionRow> = BTreeMap::new();
    for used in uses {
        let id = used.exception.clone().unwrap_or_default();
        let row = rows.entry(id.clone()).or_insert_with(|| {
            let about = format!("exception {id}");
            let latest = policies.iter().rev().find(|policy| policy.says.iter().any(|says| says[0] == about));
            let says = latest.map(|policy| {
                let own = policy.says.iter().filter(|says| says[0] == about);
                own.map(|[_, key, value]| [key.clone(), value.clone()]).collect()
            });
            ExceptionRow { id, says: says.unwrap_or_default(), ..ExceptionRow::default() }
        });
        row.in_period.add(used.in_period);
        row.uses.push(used);
    }
    rows.into_values().collect()
}

fn coverage(timeline: &Timeline, missing: Vec<(i64, i64, String)>, (from, to): (i64, i64)) -> Coverage {
    let split = timeline.split(from, to);
    let whole = to - from;
    let holes = split.holes.into_iter().map(|(begin, end)| {
        let why = if end == to { "there is no record yet, or none any more" } else { "there is no record" };
        (begin, end, why.to_owned())
    });
    let missing = missing
        .into_iter()
        .map(|(begin, end, why)| (begin.max(from), end.min(to), why))
        .filter(|(begin, end, _)| begin < end);
    let mut gaps: Vec<GapRow> = holes
        .chain(missing)
        .map(|(begin, end, why)| GapRow {
            from: words::time(begin),
            to: words::time(end),
            milliseconds: end - begin,
            why,
        })
        .collect();
    gaps.sort_by_key(|gap| Reverse(gap.milliseconds));
    Coverage {
        covered_ms: split.covered,
        reduced_ms: split.reduced,
        not_covered_ms: split.not_covered,
        unrecorded_ms: split.unrecorded,
        counted_percent: words::percent(split.covered + split.reduced, whole),
        covered_percent: words::percent(split.covered, whole),
        gaps,
        reasons: Vec::new(),
        findings: Vec::new(),
    }
}
