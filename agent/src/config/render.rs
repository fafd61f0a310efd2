//! Faults, warnings and the effective policy as text for a person: what `homeport check` prints.

use std::{collections::BTreeSet, fmt::Write as _};

use crate::{
    clock::WallTime,
    geo::CountryCode,
    policy::{
        Severity,
        describe::PolicyDescription,
        exception::Exception,
        preset::Mode,
        reason::{moment, size},
        rules::Meaning,
    },
};

use super::{
    Config,
    fault::{Fault, Position, Warning},
    site::OverrideLocation,
};

/// Countries on one line, so that it fits into 100 columns beside its label.
const COUNTRIES_PER_LINE: usize = 24;

/// Every fault, with the line it is on, in the way of a compiler.
pub fn faults(faults: &[Fault], colour: bool) -> String {
    let paint = Paint { colour };
    let mut text = String::new();
    for fault in faults {
        let seen = fault.seen.as_ref().map_or_else(String::new, |seen| format!("{seen} "));
        let message = keyed(&fault.key, &format!("{seen}{}", fault.problem));
        let _ = writeln!(text, "{}: {message}", paint.red("error"));
        excerpt(&mut text, &paint, &fault.file, fault.position.as_ref());
        if !fault.accepted.is_empty() {
            let _ = writeln!(text, "  = accepted: {}", fault.accepted);
        }
        text.push('\n');
    }
    let files: BTreeSet<&str> = faults.iter().map(|fault| fault.file.as_ref()).collect();
    let files: Vec<&str> = files.into_iter().collect();
    let plural = if faults.len() == 1 { "" } else { "s" };
    let _ = writeln!(text, "{} fault{plural} in {}", faults.len(), files.join(", "));
    text
}

/// Every warning, with the line it is on.
pub fn warnings(warnings: &[Warning], colour: bool) -> String {
    let paint = Paint { colour };
    let mut text = String::new();
    for warning in warnings {
        let _ = writeln!(text, "{}: {}", paint.yellow("warning"), keyed(&warning.key, &warning.message));
        excerpt(&mut text, &paint, &warning.file, warning.position.as_ref());
        text.push('\n');
    }
    text
}

/// What is in force: policies in the order in which they are asked, exceptions, sites, databases.
pub fn effective(config: &Config, now: WallTime, colour: bool) -> String {
    let paint = Paint { colour };
    let mut text = String::new();
    let descriptions = config.policies.describe();
    let n_policies = descriptions.len();
    let _ = writeln!(text, "{}", paint.bold("Policies, asked in this order; the first that applies decides"));
    for (idx, description) in descriptions.iter().enumerate() {
        let last = if idx + 1 == n_policies { " (default)" } else { "" };
        let _ = writeln!(text, "\n{}. {}{last}", idx + 1, paint.bold(&description.name));
        policy(&mut text, description, now);
    }
    exceptions(&mut text, &paint, config.policies.exceptions(), now);
    geography(&mut text, &paint, config);
    let _ = writeln!(text, "\n{}\n  sha256 {}", paint.bold("Policy set"), config.policies.hash());
    text
}

fn policy(text: &mut String, policy: &PolicyDescription, now: WallTime) {
    row(text, "applies to", &policy.applies_to);
    if let Some(validity) = validity(policy, now) {
        row(text, "in force", &validity);
    }
    if let Some(preset) = policy.preset {
        let words = format!("{}, version {}, effective {}", preset.name, preset.version, preset.effective);
        row(text, "preset", &words);
        row(text, "", preset.basis);
        if !preset.source.is_empty() {
            row(text, "", preset.source);
        }
    }
    let source = policy.preset.map_or_else(String::new, |preset| format!("preset {}", preset.name));
    let partial = policy.preset.map(|preset| preset.partial_countries()).unwrap_or_default();
    let by_preset: Vec<String> =
        policy.approved_by_preset.iter().map(|code| marked(*code, partial.contains(code))).collect();
    row(
        text,
        "mode",
        match policy.mode {
            Mode::Allow => "allow list: every country that is not approved is a violation",
            Mode::Deny => "deny list: every country that is not denied is approved",
        },
    );
    countries(text, "approved", &by_preset, &source);
    countries(text, "approved", &plain(&policy.approved_by_list), "approved_countries");
    lists(text, "approved", &policy.also_approved);
    countries(text, "denied", &plain(&policy.denied_by_preset), &source);
    countries(text, "denied", &plain(&policy.denied_by_list), "denied_countries");
    lists(text, "denied", &policy.also_denied);
    if policy.mode == Mode::Allow
        && policy.approved_by_preset.is_empty()
        && policy.approved_by_list.is_empty()
        && policy.also_approved.is_empty()
    {
        row(text, "approved", "nothing");
    }
    let meanings = policy.meanings.map(|(place, meaning, severity)| {
        let words = match (meaning, severity) {
            (Meaning::Approve, _) | (_, None) => "approved".to_owned(),
            (Meaning::Alert | Meaning::TreatAsDenied, Some(severity)) => {
                format!("violation, {}", severity_word(severity))
            }
        };
        format!("{place}: {words}")
    });
    row(text, "uncertain", &meanings.join("; "));
}

fn validity(policy: &PolicyDescription, now: WallTime) -> Option<String> {
    let range = match (policy.from, policy.until) {
        (None, None) => return None,
        (Some(from), None) => format!("from {}", moment(from)),
        (None, Some(until)) => format!("until {}", moment(until)),
        (Some(from), Some(until)) => format!("from {} until {}", moment(from), moment(until)),
    };
    let state = if policy.from.is_some_and(|from| now < from) {
        ", not yet"
    } else if policy.until.is_some_and(|until| until <= now) {
        ", not any more"
    } else {
        ""
    };
    Some(format!("{range}{state}"))
}

fn exceptions(text: &mut String, paint: &Paint, exceptions: &[Exception], now: WallTime) {
    if exceptions.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{}", paint.bold("Exceptions"));
    for exception in exceptions {
        let _ = writeln!(text, "\n{}: {}", paint.bold(&exception.id), exception.reason);
        row(text, "from policy", exception.policy.as_deref().unwrap_or("every policy"));
        let destination = &exception.destination;
        let parts = [
            ("country", plain(&destination.countries)),
            ("network", destination.networks.iter().map(ToString::to_string).collect()),
            ("site", destination.sites.iter().map(ToString::to_string).collect()),
        ];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(_, values)| !values.is_empty())
            .map(|(kind, values)| format!("{kind} {}", values.join(" or ")))
            .collect();
        row(text, "destination", &parts.join(", and "));
        row(text, "owner", &exception.owner.to_string());
        let ceiling = exception.max_bytes.map_or_else(|| "no ceiling".to_owned(), size);
        row(text, "ceiling", &ceiling);
        row(text, "in force", &remaining(exception, now));
        let ticket =
            exception.ticket.as_ref().map_or_else(String::new, |ticket| format!(", ticket {ticket}"));
        row(text, "approved by", &format!("{}{ticket}", exception.approver));
    }
}

fn remaining(exception: &Exception, now: WallTime) -> String {
    let start = exception.start.map_or_else(String::new, |start| format!("from {} ", moment(start)));
    let range = format!("{start}until {}", moment(exception.expires));
    if exception.expires <= now {
        return format!("{range}: EXPIRED {}", days(now.days_since(exception.expires), "ago"));
    }
    match exception.start {
        Some(start) if now < start => format!("{range}: begins in {}", days(start.days_since(now), "")),
        _ => format!("{range}: {}", days(exception.expires.days_since(now), "left")),
    }
}

fn days(number: i64, word: &str) -> String {
    let count = match number {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        _ => format!("{number} days"),
    };
    format!("{count} {word}").trim_end().to_owned()
}

fn geography(text: &mut String, paint: &Paint, config: &Config) {
    if !config.sites.is_empty() {
        let _ = writeln!(text, "\n{}", paint.bold("Sites"));
        for site in &config.sites {
            let networks: Vec<String> = site.networks.iter().map(ToString::to_string).collect();
            row(text, &site.name, &format!("{}: {}", site.country, networks.join(", ")));
        }
    }
    if !config.overrides.is_empty() {
        let _ = writeln!(text, "\n{}", paint.bold("Overrides"));
        for correction in &config.overrides {
            let location = match correction.location {
                OverrideLocation::Country(code) => code.to_string(),
                OverrideLocation::Unknown => "unknown".to_owned(),
                OverrideLocation::Anycast => "anycast".to_owned(),
            };
            row(text, &correction.network.to_string(), &format!("{location}: {}", correction.reason));
        }
    }
    let _ = writeln!(text, "\n{}", paint.bold("Databases"));
    if config.geo.databases.is_empty() {
        row(text, "country", "embedded");
    }
    for database in &config.geo.databases {
        row(text, "country", &database.display().to_string());
    }
    if let Some(database) = &config.geo.asn_database {
        row(text, "AS", &database.display().to_string());
    }
    let ages =
        format!("old after {} days, stale after {}", config.geo.warn_after_days, config.geo.stale_after_days);
    row(text, "age", &ages);
}

fn row(text: &mut String, label: &str, value: &str) {
    let _ = writeln!(text, "   {label:<11}  {value}");
}

fn countries(text: &mut String, label: &str, codes: &[String], source: &str) {
    let n_lines = codes.len().div_ceil(COUNTRIES_PER_LINE);
    for (idx, line) in codes.chunks(COUNTRIES_PER_LINE).enumerate() {
        let label = if idx == 0 { label } else { "" };
        let source = if idx + 1 == n_lines { format!("  ({source})") } else { String::new() };
        row(text, label, &format!("{}{source}", line.join(" ")));
    }
}

fn lists(text: &mut String, label: &str, lists: &[(&str, Vec<String>)]) {
    for (kind, values) in lists {
        row(text, label, &format!("{kind} {}", values.join(", ")));
    }
}

fn plain(codes: &BTreeSet<CountryCode>) -> Vec<String> {
    codes.iter().map(ToString::to_string).collect()
}

fn marked(code: CountryCode, partial: bool) -> String {
    if partial { format!("{code}(partial)") } else { code.to_string() }
}

const fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    }
}

fn keyed(key: &str, message: &str) -> String {
    if key.is_empty() { message.to_owned() } else { format!("{key}: {message}") }
}

fn excerpt(text: &mut String, paint: &Paint, file: &str, position: Option<&Position>) {
    let Some(position) = position else {
        let _ = writeln!(text, "  --> {file}");
        return;
    };
    let _ = writeln!(text, "  --> {file}:{}:{}", position.line, position.column);
    let Some(source) = &position.source else { return };
    let number = position.line.to_string();
    let margin = " ".repeat(number.len());
    // Tabs stay tabs and other control characters never reach the terminal.
    let shown: String = source
        .chars()
        .map(|letter| if letter.is_control() && letter != '\t' { '\u{fffd}' } else { letter })
        .collect();
    let indent: String = source
        .chars()
        .take(position.column - 1)
        .map(|letter| if letter == '\t' { '\t' } else { ' ' })
        .collect();
    let carets = paint.red(&"^".repeat(position.width));
    let _ = writeln!(text, " {margin} |\n {number} | {shown}\n {margin} | {indent}{carets}");
}

/// Colours, or none.
struct Paint {
    colour: bool,
}

impl Paint {
    fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    fn red(&self, text: &str) -> String {
        self.paint("1;31", text)
    }

    fn yellow(&self, text: &str) -> String {
        self.paint("1;33", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}
