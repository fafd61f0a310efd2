//! The statement as one HTML file: no script, no request, and nothing from a record that is not escaped.
//!
//! `maud` escapes what is put in; control characters and those that turn the direction of text were made visible before.
//! The policy of the page allows its own style and nothing else, so that a mistake here still runs nothing.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use super::{
    statement::{EpisodeRow, Statement, Sum, Word},
    text::{MAX_DESTINATIONS, MAX_EVENTS, grouped, how_much, parts, proof_rows, says},
    words::{self, bytes, duration, shown_percent, signed},
};
use crate::record::{counted, number};

const STYLE: &str = include_str!("style.css");

/// The statement as one self-contained HTML file.
pub fn html(statement: &Statement) -> String {
    let statement = &statement.harmless();
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    let rules = format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'");
    let hosts: Vec<&str> = statement.hosts.iter().map(|host| host.name.as_str()).collect();
    let day = |time: &str| time.get(..10).unwrap_or(time).to_owned();
    let (from, to) = (day(&statement.period.from), day(&statement.period.to));
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(rules);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                title { "Data residency statement " (hosts.join(", ")) " " (from) " to " (to) }
                style { (PreEscaped(STYLE)) }
            }
            body { main { (document(statement)) } }
        }
    };
    page.into_string()
}

fn document(statement: &Statement) -> Markup {
    let period = &statement.period;
    html! {
        header {
            p.kind { "Data residency statement" }
            h1 {
                @for host in &statement.hosts { span { (host.name) } " " }
                @if statement.hosts.is_empty() { "Unknown host" }
            }
            dl.facts {
                dt { "Period" } dd { time { (period.from) } " to " time { (period.to) } " (not included), " (duration(period.milliseconds)) }
                @for host in &statement.hosts { dt { "Host" } dd { (host.name) " " code { (host.uid) } } }
                dt { "Made" } dd { (statement.made) " by homeport " (statement.version) ", from the signed ledger alone" }
            }
        }
        (answer(statement))
        (places(statement))
        (episodes(statement))
        (policy(statement))
        (coverage(statement))
        (reconciliation(statement))
        (databases(statement))
        (proof(statement))
        (events(statement))
        section {
            h2 { "Limits of this statement" }
            ul { @for limit in &statement.limits { li { (limit) } } }
        }
        footer { p { "Times are UTC. Whoever has the ledger or a bundle of evidence from it can make this statement again: " code { "homeport report" } ", and add up " code { "homeport ledger show --json" } "." } }
    }
}

fn answer(statement: &Statement) -> Markup {
    let (class, sign) = match statement.answer.word {
        Word::NotProven => ("answer bad", "\u{2716}"),
        Word::OutOfPolicy => ("answer bad", "\u{2716}"),
        Word::InPolicyAsFarAsSeen => ("answer some", "\u{25d0}"),
        Word::InPolicy => ("answer good", "\u{2714}"),
    };
    let totals = &statement.totals;
    html! {
        section class=(class) {
            h2 { span.sign aria-hidden="true" { (sign) } " " (words::headline(statement.answer.word)) }
            @for sentence in &statement.answer.sentences { p { (sentence) } }
        }
        div.figures {
            (figure("Left this host", &crate::record::human_bytes(totals.all.bytes.wire), &format!("{} bytes", number(totals.all.bytes.wire))))
            (figure("Data against policy", &crate::record::human_bytes(totals.violation.data()), &counted(statement.violations.len() as u64, "violation")))
            (figure("Under exceptions", &crate::record::human_bytes(totals.excepted.bytes.wire), &counted(statement.exceptions.len() as u64, "exception")))
            (figure("Every byte counted", &shown_percent(statement.coverage.counted_percent), "of the period"))
            (figure("Ledger", if statement.proof.verified { "verified" } else { "NOT VERIFIED" }, &format!("{} entries of the period", number(statement.proof.entries))))
        }
    }
}

fn figure(name: &str, value: &str, more: &str) -> Markup {
    html! { div.figure { span.name { (name) } span.value { (value) } span.more { (more) } } }
}

fn places(statement: &Statement) -> Markup {
    let totals = &statement.totals;
    let cells = |approved: &Sum, excepted: &Sum, violation: &Sum| {
        html! {
            td.number { (number(approved.bytes.wire)) }
            td.number { (number(excepted.bytes.wire)) }
            td.number.hit[violation.data() > 0] { (number(violation.bytes.wire)) }
            td.number.hit[violation.data() > 0] { (number(violation.data())) }
        }
    };
    html! {
        section {
            h2 { "Bytes by country" }
            p { (bytes(totals.all.bytes.wire)) " left in " (counted(totals.all.bytes.packets, "packet")) ", " (bytes(totals.all.bytes.payload)) " of it payload; from " (counted(totals.intervals, "interval record")) "." }
            div.wide tabindex="0" { table {
                thead { tr { th { "To" } th.number { "Approved" } th.number { "Excepted" } th.number { "Not approved" } th.number { "of it with data" } th { "Rule" } } }
                tbody { @for row in &statement.places {
                    tr {
                        th scope="row" { (row.name) }
                        (cells(&row.approved, &row.excepted, &row.violation))
                        td { @for (rule, _) in &row.rules { span.tag { (rule) } " " } }
                    }
                } }
                tfoot { tr { th scope="row" { "All" } (cells(&totals.approved, &totals.excepted, &totals.violation)) td {} } }
            } }
            p.note { "Bytes of layer 3 on the wire. \"Not approved\" includes answers to scanners and refused connections, which carry no data; \"of it with data\" is what counts as a violation." }
        }
    }
}

fn policy(statement: &Statement) -> Markup {
    html! {
        section {
            h2 { "Policy" }
            @if statement.policies.is_empty() { p { "No record says which policy was in force." } }
            @for row in &statement.policies {
                h3 { (row.names.join(", ")) }
                dl.facts {
                    dt { "In force" } dd { (row.since) " until " (row.until.as_deref().unwrap_or("the end of the period")) " (entry " (row.entry) ")" }
                    dt { "SHA-256" } dd { code { (row.hash) } " " (says(row.says.is_empty(), row.says_is_hashed)) }
                }
                @if !row.says.is_empty() {
                    div.wide tabindex="0" { table.says {
                        @for (about, lines) in grouped(&row.says) {
                            tbody {
                                tr { th colspan="2" scope="rowgroup" { (about) } }
                                @for (key, values) in lines { tr { td { (key) } td { (values.join(", ")) } } }
                            }
                        }
                    } }
                }
            }
            h3 { "Changes in the period" }
            @if statement.policy_changes.is_empty() { p { "None." } }
            @for change in &statement.policy_changes {
                p { time { (change.time) } @if change.taken { ": another policy came into force" } @else { ": a change was refused, the policy stayed" } " (entry " (change.entry) ")" }
                ul { @for line in &change.lines { li { (line) } } }
            }
        }
    }
}

fn episodes(statement: &Statement) -> Markup {
    html! {
        section {
            h2 { "Violations" }
            @if statement.violations.is_empty() { p { "None was recorded." } }
            @for row in &statement.violations { (episode(row)) }
        }
        @if !statement.attempts.is_empty() {
            section {
                h2 { "Attempts" }
                p { "Connections that this host tried to open against policy; no data left." }
                @for row in &statement.attempts { (episode(row)) }
            }
        }
        section {
            h2 { "Exceptions used" }
            @if statement.exceptions.is_empty() { p { "None was used." } }
            @for exception in &statement.exceptions {
                h3 { (exception.id) ": " (bytes(exception.in_period.wire)) }
                @if !exception.says.is_empty() {
                    dl.facts { @for [key, value] in &exception.says { dt { (key) } dd { (value) } } }
                }
                @for row in &exception.uses { (episode(row)) }
            }
        }
    }
}

fn episode(row: &EpisodeRow) -> Markup {
    let shown = row.destinations.len().min(MAX_DESTINATIONS);
    let more = row.n_destinations.saturating_sub(shown as u64);
    html! {
        article {
            h3 { (row.title) " " span.tag { (row.severity) } @if row.open { " " span.tag { "still open" } } }
            dl.facts {
                dt { "When" } dd { (row.first_seen) " to " (row.last_seen) }
                dt { "How much" } dd { (bytes(row.in_period.wire)) " in the period, " (bytes(row.altogether.wire)) " altogether, " (bytes(row.altogether.payload)) " of it payload" @if row.open { ", by its last record" } }
                dt { "Who" } dd {
                    (row.owner) " (" (row.owner_quality) "); " (words::initiator(&row.initiator))
                    @for (name, value) in [("Executable", &row.executable), ("Command line", &row.command_line), ("User", &row.user)] {
                        @if let Some(value) = value { br; (name) ": " code { (value) } }
                    }
                }
                dt { "Why" } dd { "policy " (row.policy) ", rule " (row.rule) ": " (row.reason) }
                dt { "Where" } dd {
                    @for destination in row.destinations.iter().take(MAX_DESTINATIONS) {
                        code { (destination.ip) } " in " (destination.location) ": " (bytes(destination.bytes.wire))
                        " (" (destination.source)
                        @for detail in [&destination.prefix, &destination.database] { @if let Some(detail) = detail { ", " (detail) } }
                        ")" br;
                    }
                    @if more > 0 { "and " (counted(more, "more destination")) }
                }
                dt { "Evidence" } dd { "episode " code { (row.id) } ", " (counted(row.records, "record")) ", ledger entries " (row.first_entry) " to " (row.last_entry) }
            }
        }
    }
}

fn coverage(statement: &Statement) -> Markup {
    let coverage = &statement.coverage;
    let whole = statement.period.milliseconds;
    html! {
        section {
            h2 { "Coverage" }
            p { "Every byte was counted in " strong { (shown_percent(coverage.counted_percent)) } " of the period; all that is promised held in " (shown_percent(coverage.covered_percent)) "." }
            div.wide tabindex="0" { table {
                thead { tr { th { "State" } th.number { "Time" } th.number { "Of the period" } th { "Meaning" } } }
                tbody { @for ((name, millis), meaning) in parts(statement).into_iter().zip([
                    "everything that is promised held",
                    "every byte was counted, something else was missing",
                    "bytes may have left uncounted",
                    "nobody says what left",
                ]) {
                    tr { th scope="row" { (name) } td.number { (duration(millis)) } td.number { (shown_percent(words::percent(millis, whole))) } td { (meaning) } }
                } }
            } }
            h3 { "Gaps" }
            @if coverage.gaps.is_empty() { p { "None." } } @else {
                ul { @for gap in coverage.gaps.iter().take(MAX_EVENTS) { li { (gap.from) " to " (gap.to) " (" (duration(gap.milliseconds)) "): " (gap.why) } } }
                @if coverage.gaps.len() > MAX_EVENTS { p { "And " (coverage.gaps.len() - MAX_EVENTS) " more, all shorter." } }
            }
            @if !coverage.reasons.is_empty() {
                h3 { "Why it was not better" }
                ul { @for row in &coverage.reasons { li { (counted(row.intervals, "interval")) ": " (row.reason) } } }
            }
            @if !coverage.findings.is_empty() {
                h3 { "Findings about what could not be seen" }
                ul { @for row in &coverage.findings { li {
                    (row.title) " " span.tag { (row.severity) } @if row.open { " " span.tag { "still open" } }
                    br; (row.first_seen) " to " (row.last_seen) (how_much(row)) " (ledger entries " (row.first_entry) " to " (row.last_entry) ")"
                } } }
            }
            h3 { "Losses" }
            @if statement.losses.is_empty() { p { "None." } } @else {
                div.wide tabindex="0" { table {
                    thead { tr { th { "Cause" } th.number { "Times" } th.number { "Bytes" } th { "Consequence" } } }
                    tbody { @for row in &statement.losses { tr { th scope="row" { (row.cause) } td.number { (number(row.count)) } td.number { (number(row.bytes)) } td { (row.means) } } } }
                } }
            }
        }
    }
}

fn reconciliation(statement: &Statement) -> Markup {
    let sum = &statement.attribution;
    html! {
        section {
            h2 { "Reconciliation with the network cards" }
            p { "What the cards say they sent against what was counted on its way to them, in frame bytes." }
            div.wide tabindex="0" { table {
                thead { tr { th { "Card" } th.number { "Sent" } th.number { "Counted" } th.number { "Difference" } th.number { "Explained" } th.number { "Unexplained" } th.number { "Intervals" } th.number { "Not compared" } } }
                tbody { @for row in &statement.interfaces { tr {
                    th scope="row" { (row.name) }
                    td.number { (number(row.nic_bytes)) } td.number { (number(row.counted_bytes)) }
                    td.number { (signed(row.residual_bytes)) } td.number { (signed(row.explained_bytes)) }
                    td.number.hit[row.unexplained_bytes > 0] { (signed(row.unexplained_bytes)) }
                    td.number { (number(row.compared)) } td.number { (number(row.not_compared)) }
                } } }
            } }
            p { "Local sockets sent " (number(sum.socket)) " bytes over the edge: " (number(sum.owned)) " have an owner, " (number(sum.unnamed)) " no name; " (number(sum.discarded)) " the kernel discarded before the edge, " (signed(sum.rest)) " nothing explains. " (number(sum.stayed)) " more went between sockets of this host and never came to an edge." }
        }
    }
}

fn databases(statement: &Statement) -> Markup {
    html! {
        section {
            h2 { "Geolocation databases" }
            div.wide tabindex="0" { table {
                thead { tr { th { "Database" } th { "Built" } th { "In use" } th { "SHA-256" } } }
                tbody { @for row in &statement.databases { tr {
                    th scope="row" { (row.name) br; span.note { (row.kind) } }
                    td.brief { (row.built.get(..10).unwrap_or(&row.built)) }
                    td { (row.since) " until " (row.until.as_deref().unwrap_or("the end")) }
                    td { code { (row.sha256) } }
                } } }
            } }
        }
    }
}

fn proof(statement: &Statement) -> Markup {
    html! {
        section {
            h2 { "Proof" }
            dl.facts { @for (name, value) in proof_rows(statement) { dt { (name) } dd.long { (value) } } }
            @if !statement.proof.problems.is_empty() {
                h3 { "Problems and notes" }
                ul { @for problem in &statement.proof.problems { li { (problem.to_string()) } } }
            }
        }
    }
}

fn events(statement: &Statement) -> Markup {
    html! {
        section {
            h2 { "What happened to the agent" }
            @if statement.self_tests > 0 { p { (counted(statement.self_tests, "record")) " of a self-test went all the way from packet to record." } }
            div.wide tabindex="0" { table {
                thead { tr { th { "Time" } th { "Event" } th { "What" } th.number { "Entry" } } }
                tbody { @for row in statement.events.iter().take(MAX_EVENTS) { tr { td.brief { (row.time) } td.brief { (row.event) } td { (row.message) } td.number { (row.entry) } } } }
            } }
            @if statement.events.len() > MAX_EVENTS { p { "And " (statement.events.len() - MAX_EVENTS) " more; the JSON form of this statement has all." } }
        }
    }
}
