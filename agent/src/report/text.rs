//! The statement as plain text.

use std::fmt::{self, Write as _};

use super::{
    statement::{EpisodeRow, Statement, Sum},
    words::{self, bytes, duration, shown_percent, signed},
};
use crate::{
    record::{counted, number},
    table,
};

/// As many rows of what happened to the agent; the JSON has all.
pub(super) const MAX_EVENTS: usize = 100;

/// The statement as plain text, for a terminal or a letter.
pub fn text(statement: &Statement) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut out, &statement.harmless());
    out
}

fn write(out: &mut String, statement: &Statement) -> fmt::Result {
    writeln!(out, "DATA RESIDENCY STATEMENT")?;
    for host in &statement.hosts {
        writeln!(out, "host    {} ({})", host.name, host.uid)?;
    }
    let period = &statement.period;
    writeln!(
        out,
        "period  {} to {} (not included), {}",
        period.from,
        period.to,
        duration(period.milliseconds)
    )?;
    writeln!(out, "made    {} by homeport {}", statement.made, statement.version)?;
    writeln!(out, "\n{}", words::headline(statement.answer.word))?;
    for sentence in &statement.answer.sentences {
        writeln!(out, "  {sentence}")?;
    }
    places(out, statement)?;
    if !statement.violations.is_empty() {
        heading(out, "VIOLATIONS")?;
        statement.violations.iter().try_for_each(|row| episode(out, row))?;
    }
    if !statement.attempts.is_empty() {
        heading(out, "ATTEMPTS (no data left)")?;
        statement.attempts.iter().try_for_each(|row| episode(out, row))?;
    }
    if !statement.exceptions.is_empty() {
        heading(out, "EXCEPTIONS USED")?;
        for exception in &statement.exceptions {
            writeln!(
                out,
                "{}: {} in {}",
                exception.id,
                bytes(exception.in_period.wire),
                counted(exception.uses.len() as u64, "episode")
            )?;
            for [key, value] in &exception.says {
                writeln!(out, "  {key}: {value}")?;
            }
            exception.uses.iter().try_for_each(|row| episode(out, row))?;
        }
    }
    policy(out, statement)?;
    coverage(out, statement)?;
    reconciliation(out, statement)?;
    heading(out, "DATABASES")?;
    for row in &statement.databases {
        let until = row.until.as_ref().map_or_else(String::new, |until| format!(" until {until}"));
        writeln!(out, "{} ({}), built {}, since {}{until}", row.name, row.kind, row.built, row.since)?;
        writeln!(out, "  sha256 {}", row.sha256)?;
    }
    events(out, statement)?;
    proof(out, statement)?;
    heading(out, "LIMITS OF THIS STATEMENT")?;
    statement.limits.iter().try_for_each(|limit| writeln!(out, "- {limit}"))
}

fn heading(out: &mut String, name: &str) -> fmt::Result {
    writeln!(out, "\n{name}")
}

fn policy(out: &mut String, statement: &Statement) -> fmt::Result {
    heading(out, "POLICY")?;
    if statement.policies.is_empty() {
        writeln!(out, "no record says which policy was in force")?;
    }
    for row in &statement.policies {
        let until = row.until.as_deref().unwrap_or("the end of the period");
        writeln!(out, "{}: since {} until {until} (entry {})", row.names.join(", "), row.since, row.entry)?;
        writeln!(out, "  set {}", row.hash)?;
        writeln!(out, "  {}", says(row.says.is_empty(), row.says_is_hashed))?;
        for (about, lines) in grouped(&row.says) {
            writeln!(out, "  {about}")?;
            for (key, values) in lines {
                writeln!(out, "    {key}: {}", values.join(", "))?;
            }
        }
    }
    for change in &statement.policy_changes {
        let what = if change.taken { "changed" } else { "a change was refused, the policy stayed" };
        writeln!(out, "{}: {what} (entry {})", change.time, change.entry)?;
        change.lines.iter().try_for_each(|line| writeln!(out, "  {line}"))?;
    }
    Ok(())
}

/// How well what a policy says is known.
pub(super) const fn says(is_empty: bool, is_hashed: bool) -> &'static str {
    match (is_empty, is_hashed) {
        (true, _) => "what it says is not in the ledger; its hash identifies it",
        (_, true) => "what it says is in the ledger, and has this hash",
        (_, false) => "what it says is in the ledger, shortened: it does not have this hash",
    }
}

/// A property with its values.
pub(super) type Line<'a> = (&'a str, Vec<&'a str>);

/// What is said, about what.
pub(super) fn grouped(says: &[[String; 3]]) -> Vec<(&str, Vec<Line<'_>>)> {
    let mut groups: Vec<(&str, Vec<Line<'_>>)> = Vec::new();
    for [about, key, value] in says {
        if groups.last().is_none_or(|(known, _)| known != about) {
            groups.push((about, Vec::new()));
        }
        let Some((_, lines)) = groups.last_mut() else { continue };
        match lines.last_mut() {
            Some((known, values)) if known == key => values.push(value),
            _ => lines.push((key, vec![value])),
        }
    }
    groups
}

fn places(out: &mut String, statement: &Statement) -> fmt::Result {
    heading(out, "BYTES BY PLACE (on the wire)")?;
    let shown = |sum: &Sum| number(sum.bytes.wire);
    let mut rows: Vec<Vec<String>> = statement
        .places
        .iter()
        .map(|row| {
            vec![
                row.name.clone(),
                shown(&row.approved),
                shown(&row.excepted),
                shown(&row.violation),
                number(row.violation.data()),
                row.rules.keys().cloned().collect::<Vec<_>>().join(", "),
            ]
        })
        .collect();
    let totals = &statement.totals;
    rows.push(vec![
        "ALL".to_owned(),
        shown(&totals.approved),
        shown(&totals.excepted),
        shown(&totals.violation),
        number(totals.violation.data()),
        String::new(),
    ]);
    write!(
        out,
        "{}",
        table::render(&["TO", "APPROVED", "EXCEPTED", "NOT APPROVED", "OF IT WITH DATA", "RULE"], &rows)
    )?;
    writeln!(
        out,
        "{} left in {} and {}; {} of it payload",
        bytes(totals.all.bytes.wire),
        counted(totals.all.bytes.packets, "packet"),
        counted(totals.intervals, "interval"),
        bytes(totals.all.bytes.payload)
    )
}

fn episode(out: &mut String, row: &EpisodeRow) -> fmt::Result {
    let open = if row.open { ", still open" } else { "" };
    writeln!(out, "{} [{}{open}]", row.title, row.severity)?;
    writeln!(out, "  {} to {}; {}", row.first_seen, row.last_seen, words::initiator(&row.initiator))?;
    let so_far = if row.open { ", by its last record" } else { "" };
    writeln!(
        out,
        "  {} in the period, {} altogether{so_far}",
        bytes(row.in_period.wire),
        bytes(row.altogether.wire)
    )?;
    writeln!(out, "  by {} ({})", row.owner, row.owner_quality)?;
    for (name, value) in
        [("executable", &row.executable), ("command line", &row.command_line), ("user", &row.user)]
    {
        if let Some(value) = value {
            writeln!(out, "    {name}: {value}")?;
        }
    }
    writeln!(out, "  policy {}, rule {}: {}", row.policy, row.rule, row.reason)?;
    for destination in row.destinations.iter().take(MAX_DESTINATIONS) {
        let why = [destination.prefix.clone(), destination.database.clone()].into_iter().flatten();
        let why: Vec<String> = why.collect();
        writeln!(
            out,
            "  to {} in {} ({}): {}",
            destination.ip,
            destination.location,
            if why.is_empty() { destination.source.clone() } else { why.join(", ") },
            bytes(destination.bytes.wire)
        )?;
    }
    let more = row.n_destinations.saturating_sub(row.destinations.len().min(MAX_DESTINATIONS) as u64);
    if more > 0 {
        writeln!(out, "  and {} more", counted(more, "destination"))?;
    }
    writeln!(out, "  episode {}, entries {} to {}", row.id, row.first_entry, row.last_entry)
}

/// Destinations of an episode that are shown; the JSON has those of the record.
pub(super) const MAX_DESTINATIONS: usize = 5;

fn coverage(out: &mut String, statement: &Statement) -> fmt::Result {
    heading(out, "COVERAGE")?;
    let coverage = &statement.coverage;
    writeln!(out, "every byte counted  {} of the period", shown_percent(coverage.counted_percent))?;
    for (name, millis) in parts(statement) {
        writeln!(out, "  {name:<18}{}", duration(millis))?;
    }
    for gap in coverage.gaps.iter().take(MAX_EVENTS) {
        writeln!(out, "gap  {} to {} ({}): {}", gap.from, gap.to, duration(gap.milliseconds), gap.why)?;
    }
    if coverage.gaps.len() > MAX_EVENTS {
        writeln!(out, "and {} more gaps, all shorter", coverage.gaps.len() - MAX_EVENTS)?;
    }
    for reason in &coverage.reasons {
        writeln!(out, "{}: {}", counted(reason.intervals, "interval"), reason.reason)?;
    }
    for row in &coverage.findings {
        let open = if row.open { ", still open" } else { "" };
        writeln!(out, "{} [{}{open}]", row.title, row.severity)?;
        writeln!(out, "  {} to {}{}", row.first_seen, row.last_seen, how_much(row))?;
    }
    heading(out, "LOSSES")?;
    if statement.losses.is_empty() {
        writeln!(out, "none")?;
    }
    for loss in &statement.losses {
        writeln!(out, "{}: {} times, {}; {}", loss.cause, number(loss.count), bytes(loss.bytes), loss.means)?;
    }
    Ok(())
}

/// How the period is divided.
pub(super) fn parts(statement: &Statement) -> [(&'static str, i64); 4] {
    let coverage = &statement.coverage;
    [
        ("covered", coverage.covered_ms),
        ("reduced", coverage.reduced_ms),
        ("not covered", coverage.not_covered_ms),
        ("without record", coverage.unrecorded_ms),
    ]
}

/// How many bytes a finding about coverage is about.
pub(super) fn how_much(row: &super::statement::CoverageRow) -> String {
    match (row.residual_bytes, row.certain_bytes, row.unobserved_bytes) {
        (Some(residual), Some(certain), _) => {
            format!("; {} bytes without explanation, {} of them certain", signed(residual), signed(certain))
        }
        (.., Some(unobserved)) => format!("; {} bytes were not observed", signed(unobserved)),
        _ => String::new(),
    }
}

fn reconciliation(out: &mut String, statement: &Statement) -> fmt::Result {
    heading(out, "RECONCILIATION WITH THE NETWORK CARDS (frame bytes)")?;
    let rows: Vec<Vec<String>> = statement
        .interfaces
        .iter()
        .map(|row| {
            vec![
                row.name.clone(),
                number(row.nic_bytes),
                number(row.counted_bytes),
                signed(row.residual_bytes),
                signed(row.explained_bytes),
                signed(row.unexplained_bytes),
                number(row.compared),
                number(row.not_compared),
            ]
        })
        .collect();
    let header =
        ["CARD", "SENT", "COUNTED", "DIFFERENCE", "EXPLAINED", "UNEXPLAINED", "COMPARED", "NOT COMPARED"];
    write!(out, "{}", table::render(&header, &rows))?;
    let sum = &statement.attribution;
    writeln!(
        out,
        "local sockets: {} bytes at the edge; {} with an owner, {} without a name, {} discarded by the kernel before \
         it, {} unexplained; {} more went between sockets of this host and never came to an edge",
        number(sum.socket),
        number(sum.owned),
        number(sum.unnamed),
        number(sum.discarded),
        signed(sum.rest),
        number(sum.stayed)
    )
}

fn events(out: &mut String, statement: &Statement) -> fmt::Result {
    heading(out, "WHAT HAPPENED TO THE AGENT")?;
    for row in statement.events.iter().take(MAX_EVENTS) {
        writeln!(out, "{}  {:<20} {} (entry {})", row.time, row.event, row.message, row.entry)?;
    }
    if statement.events.len() > MAX_EVENTS {
        writeln!(out, "and {} more; --json has all", statement.events.len() - MAX_EVENTS)?;
    }
    if statement.self_tests > 0 {
        writeln!(
            out,
            "{} of a self-test went from packet to record",
            counted(statement.self_tests, "record")
        )?;
    }
    Ok(())
}

fn proof(out: &mut String, statement: &Statement) -> fmt::Result {
    heading(out, "PROOF")?;
    for (name, value) in proof_rows(statement) {
        writeln!(out, "{name:<11} {value}")?;
    }
    for problem in &statement.proof.problems {
        writeln!(out, "- {problem}")?;
    }
    Ok(())
}

/// Why the numbers can be believed, and how to check it.
pub(super) fn proof_rows(statement: &Statement) -> Vec<(&'static str, String)> {
    let proof = &statement.proof;
    let unknown = || "unknown: there is no checkpoint".to_owned();
    let mut rows = vec![
        (
            "result",
            if proof.verified {
                format!("verified: {} are those that were signed", entries(proof.entries_checked))
            } else {
                format!("NOT VERIFIED: {}", counted(proof.wrong, "problem"))
            },
        ),
        ("ledger", proof.origin.clone().unwrap_or_else(unknown)),
        (
            "head",
            match (proof.size, &proof.root) {
                (Some(size), Some(root)) => format!("{} entries, root {root}", number(size)),
                _ => unknown(),
            },
        ),
        (
            "signed by",
            match &proof.key {
                Some(key) if proof.key_was_given => format!("{key}, the key that was given"),
                Some(key) => format!("{key}, by its own word: compare it with the one that you were told"),
                None => "nobody who is known".to_owned(),
            },
        ),
        (
            "witnesses",
            match &proof.witnessed {
                Some(seen) if !seen.by.is_empty() => {
                    let by: Vec<String> = seen
                        .by
                        .iter()
                        .map(|witness| format!("{} at {}", witness.name, witness.time))
                        .collect();
                    format!("{} entries, seen by {}", number(seen.size), by.join(", "))
                }
                _ => "none was asked about (--witness-policy)".to_owned(),
            },
        ),
        (
            "entries",
            match (proof.first_entry, proof.last_entry) {
                (Some(first), Some(last)) => {
                    format!("{} of the period, from {first} to {last}", number(proof.entries))
                }
                _ => "none of the period".to_owned(),
            },
        ),
        (
            "missing",
            format!("{} that the ledger itself says are missing", counted(proof.declared_missing, "record")),
        ),
    ];
    if let Some(made) = &proof.bundle_made {
        rows.push(("bundle", format!("a bundle of evidence, taken {made}")));
    }
    if proof.repeated > 0 {
        let count = number(proof.repeated);
        rows.push(("repeated", format!("{count} written again after a crash, unchanged; counted once")));
    }
    if proof.unreadable > 0 {
        rows.push(("unreadable", format!("{} of the entries, in no number", number(proof.unreadable))));
    }
    rows
}

fn entries(count: u64) -> String {
    if count == 1 { "1 entry".to_owned() } else { format!("{} entries", number(count)) }
}
