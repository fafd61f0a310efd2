//! An alert as a person wants to read it.
//!
//! Two forms: [`paragraph`] for a terminal (not wider than 96 columns unless a word is), [`line()`] for logs.

use crate::{
    alert::{Count, Destination, Episode, Kind, Level, Transition},
    flow::class::Place,
    geo::Source,
    record::{Context, human},
};

/// Columns of a paragraph.
const WIDTH: usize = 96;
/// Columns of the words at its left.
const INDENT: usize = 13;

/// Whether a terminal understands colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Text only.
    Plain,
    /// ANSI colours for the headline.
    Ansi,
}

/// `Data left for Germany (DE), which the policy does not allow`: what it is, without details.
pub fn title(context: &Context<'_>, episode: &Episode) -> String {
    let place = place(context, &episode.key.place);
    match episode.kind {
        Kind::Transfer => format!("Data left for {place} against policy {}", episode.policy.name),
        Kind::Attempt => format!("Connection attempt to {place} against policy {}", episode.policy.name),
        Kind::Exception => {
            let id = episode.key.cause.exception().map_or("", |id| id);
            format!("Data left for {place} under exception {id}")
        }
    }
}

/// One line: what changed, where to, who, how much, and the episode to look up.
pub fn line(context: &Context<'_>, transition: &Transition) -> String {
    let episode = transition.episode();
    let change = match transition {
        Transition::Open(_) => "opened".to_owned(),
        Transition::Update(_, reason) => format!("updated ({})", reason.as_str()),
        Transition::Close(_, reason) => format!("closed ({})", reason.as_str()),
    };
    let first = episode.destinations.first().map_or_else(String::new, |first| format!(" {}", first.address));
    human::harmless(&format!(
        "{}:{first} by {}: {} ({} bytes), initiator {}, rule {}, {change}, episode {}",
        title(context, episode),
        episode.key.owner_label,
        human::bytes(episode.tally.volume.wire_bytes),
        episode.tally.volume.wire_bytes,
        episode.key.initiator.as_str(),
        episode.key.cause.as_str(),
        episode.id,
    ))
}

/// Several lines, ending with a newline.
pub fn paragraph(context: &Context<'_>, transition: &Transition, style: Style) -> String {
    let episode = transition.episode();
    let mut text = headline(context, episode, style);
    let mut row = |word: &str, value: &str| wrap(&mut text, word, &human::harmless(value));

    row("what", &change(context, transition));
    row("where", &destinations(context, episode));
    row("who", &human::owner(&episode.key.owner_label, &episode.owner));
    if episode.n_processes.value > 1 {
        row("", &format!("{} took part", count(episode.n_processes, "process", "processes")));
    }
    if let Some(process) = episode.owner.process() {
        row("command", &process.command_line);
    }
    row("how", &how(episode, human::initiator(episode)));
    row("how much", &how_much(episode));
    if episode.pre_existing {
        row("", "a socket is older than the agent: what left before its start is not counted");
    }
    row("why", &episode.reason);
    row("rule", &rule(episode));
    if let Some(first) = episode.destinations.first() {
        row("evidence", &evidence(first));
    }
    row("episode", &episode.id);
    text
}

fn headline(context: &Context<'_>, episode: &Episode, style: Style) -> String {
    let level = match episode.level {
        Level::Informational => "INFO",
        Level::Low => "LOW",
        Level::Medium => "MEDIUM",
        Level::High => "HIGH",
        Level::Critical => "CRITICAL",
    };
    let title = human::harmless(&title(context, episode));
    let colour = match episode.level {
        Level::Informational => "36",
        Level::Low => "33",
        Level::Medium => "1;33",
        Level::High | Level::Critical => "1;31",
    };
    match style {
        Style::Plain => format!("{level}  {title}\n"),
        Style::Ansi => format!("\x1b[{colour}m{level}\x1b[0m  \x1b[1m{title}\x1b[0m\n"),
    }
}

fn change(context: &Context<'_>, transition: &Transition) -> String {
    let episode = transition.episode();
    let first = context.clock.wall_of(episode.first_seen);
    let last = context.clock.wall_of(episode.last_seen);
    match transition {
        Transition::Open(_) => format!("opened; first packet {first}"),
        Transition::Update(_, reason) => {
            format!("{}, update {}; {first} to {last}", reason.as_str().replace('-', " "), episode.n_updates)
        }
        Transition::Close(_, reason) => {
            format!("closed ({}); {first} to {last}", reason.as_str().replace('-', " "))
        }
    }
}

fn destinations(context: &Context<'_>, episode: &Episode) -> String {
    let mut text = place(context, &episode.key.place);
    let named = episode.destinations.iter().take(3);
    for (idx, destination) in named.clone().enumerate() {
        text.push_str(if idx == 0 { ": " } else { ", " });
        text.push_str(&destination.address.to_string());
    }
    let more = episode.n_destinations.value.saturating_sub(named.len() as u32);
    if more > 0 {
        let rest = Count { value: more, ..episode.n_destinations };
        text.push_str(&format!(" and {}", count(rest, "more address", "more addresses")));
    }
    text
}

fn how(episode: &Episode, initiator: &str) -> String {
    let Some(first) = episode.destinations.first() else { return initiator.to_owned() };
    match (first.local_port, first.port) {
        (0, 0) => format!("{initiator}, over {}", first.protocol),
        (ours, theirs) => {
            format!("{initiator}, over {}, our port {ours}, their port {theirs}", first.protocol)
        }
    }
}

fn how_much(episode: &Episode) -> String {
    let volume = episode.tally.volume;
    format!(
        "{}: {} on the wire, {} of it payload, in {}",
        human::bytes(volume.wire_bytes),
        human::counted(volume.wire_bytes, "byte"),
        human::number(volume.payload_bytes),
        human::counted(volume.packets, "packet"),
    )
}

fn rule(episode: &Episode) -> String {
    let policy = &episode.policy;
    let hash = policy.hash.get(..12).unwrap_or(&policy.hash);
    let mut text = episode.key.cause.as_str().to_owned();
    if let Some(id) = episode.key.cause.exception() {
        text.push_str(&format!(", exception {id}"));
    }
    text.push_str(&format!(", policy {}", policy.name));
    if let Some(preset) = policy.preset {
        text.push_str(&format!(", preset {preset}"));
    }
    text.push_str(&format!(", hash {hash}"));
    text
}

fn evidence(destination: &Destination) -> String {
    let evidence = &destination.located.evidence;
    let matched = match evidence.prefix {
        Some(prefix) => prefix.to_string(),
        None => evidence.looked_up(destination.address).to_string(),
    };
    let mut text = match &evidence.source {
        Source::Site => format!("{matched} is a site of the configuration"),
        Source::Override(reason) => format!("{matched} is an override of the configuration: {reason}"),
        Source::SpecialRange(name) => format!("{matched} is {name}"),
        Source::Anycast(name) => format!("{matched} is anycast: {name}"),
        Source::Database(database) => {
            let built: String = database.built.to_string().chars().take(10).collect();
            format!("{matched} in {} of {built}", database.name)
        }
        Source::Nothing => format!("nothing is known of {matched}"),
    };
    if let (Some(via), Some(embedded)) = (evidence.via, evidence.embedded) {
        text.push_str(&format!(" ({embedded}, embedded by {})", via.as_str()));
    }
    if let Some(system) = &evidence.autonomous_system {
        let name = system.organization.as_deref().unwrap_or("name unknown");
        text.push_str(&format!(", AS{} {name}", system.number));
    }
    text
}

fn place(context: &Context<'_>, place: &Place) -> String {
    match place {
        Place::Country(code) => human::country(*code, context.origin.country_name),
        Place::Site { name, country } => {
            format!("site {name} in {}", human::country(*country, context.origin.country_name))
        }
        Place::Private => "a private network of unknown place".to_owned(),
        Place::Local => "the local link".to_owned(),
        Place::Unknown => "an unknown place".to_owned(),
        Place::Disputed => "a disputed place".to_owned(),
        Place::Anycast => "an anycast address".to_owned(),
        Place::Several => "several places".to_owned(),
    }
}

fn count(count: Count, one: &str, many: &str) -> String {
    let at_least = if count.at_least { "at least " } else { "" };
    let noun = if count.value == 1 { one } else { many };
    format!("{at_least}{} {noun}", human::number(u64::from(count.value)))
}

/// Appends one row, broken between words.
fn wrap(text: &mut String, word: &str, value: &str) {
    let mut line = format!("  {word:<width$}", width = INDENT - 2);
    let mut is_fresh = true;
    for part in value.split(' ') {
        let width = line.chars().count() + 1 + part.chars().count();
        if !is_fresh && width > WIDTH {
            text.push_str(line.trim_end());
            text.push('\n');
            line = " ".repeat(INDENT);
            is_fresh = true;
        }
        if !is_fresh {
            line.push(' ');
        }
        line.push_str(part);
        is_fresh = false;
    }
    text.push_str(line.trim_end());
    text.push('\n');
}
