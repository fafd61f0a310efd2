//! `homeport explain`

use std::{
    fmt::{self, Write as _},
    net::IpAddr,
};

use super::{ConfigArgs, out};
use crate::{
    app,
    clock::WallTime,
    exit::{Exit, Failure},
    flow::{Initiator, Owner, Protocol},
    geo::{Evidence, Locate as _, Located, Source},
    policy::{ExceptionUse, Subject, Verdict},
    record::harmless,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Addresses, IPv4 or IPv6
    #[arg(required = true, value_name = "ADDR", value_parser = address)]
    addresses: Vec<IpAddr>,
    /// Print JSON, one object per line
    #[arg(long)]
    json: bool,
}

fn address(text: &str) -> Result<IpAddr, &'static str> {
    text.parse().map_err(
        |_| "an IPv4 or IPv6 address is expected; names are not looked up, networks have many places",
    )
}

/// Nobody has used an exception: what would be said of the first byte.
struct Unused;

impl ExceptionUse for Unused {
    fn used_bytes(&self, _id: &str) -> u64 {
        0
    }
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    let (config, _) = args.config.load()?;
    let now = WallTime::now();
    let databases = app::open_databases(&config, now).map_err(|error| Failure::new(Exit::Unusable, error))?;
    let locator = databases.locator(&config);
    let owner = Owner::unowned();
    for address in args.addresses {
        let located = locator.locate(address);
        let subject = Subject {
            owner: &owner,
            remote: address,
            located: &located,
            protocol: Protocol::TCP,
            local_port: 0,
            remote_port: 0,
            initiator: Initiator::Local,
        };
        let verdicts: Vec<(String, String, String)> = config
            .policies
            .policies()
            .filter_map(|policy| {
                let judgement = config.policies.judge_under(&policy.name, &subject, &Unused, now)?;
                let verdict = match &judgement.verdict {
                    Verdict::Approved => "approved".to_owned(),
                    Verdict::Excepted { id } => format!("excepted by {id}"),
                    Verdict::Violation { rule, .. } => format!("VIOLATION ({rule})"),
                };
                Some((policy.name.to_string(), verdict, judgement.sentence(address)))
            })
            .collect();
        if args.json {
            out::line(&json(address, &located, &verdicts, now).to_string())?;
        } else {
            let mut text = String::new();
            // Writing to a string does not fail.
            let _ = write(&mut text, address, &located, &verdicts, now);
            out::print(&text)?;
        }
    }
    Ok(Exit::Success)
}

fn write(
    out: &mut String,
    address: IpAddr,
    located: &Located,
    verdicts: &[(String, String, String)],
    now: WallTime,
) -> fmt::Result {
    let Evidence { embedded, via, source, prefix, answers, autonomous_system } = &located.evidence;
    let name = located.location.country().and_then(|code| code.name());
    writeln!(out, "{address}")?;
    match name {
        Some(name) => writeln!(out, "  location   {} ({name})", located.location)?,
        None => writeln!(out, "  location   {}", located.location)?,
    }
    if let (Some(via), Some(embedded)) = (via, embedded) {
        writeln!(out, "  looked up  {embedded}, the IPv4 address inside ({})", via.as_str())?;
    }
    match prefix {
        Some(prefix) => writeln!(out, "  because    {}, network {prefix}", source_text(source))?,
        None => writeln!(out, "  because    {}", source_text(source))?,
    }
    for answer in answers {
        let country = answer.country.map_or_else(|| "no country".to_owned(), |code| code.to_string());
        let prefix = answer.prefix.map_or_else(|| "no network".to_owned(), |prefix| prefix.to_string());
        let registered = answer
            .registered
            .filter(|registered| Some(*registered) != answer.country)
            .map_or_else(String::new, |code| format!(", registered in {code}"));
        let built = answer.database.built;
        writeln!(
            out,
            "  database   {} says {country} for {prefix}{registered}; built {}, {} days ago",
            answer.database.name,
            &built.to_string()[..10],
            now.days_since(built)
        )?;
    }
    if let Some(system) = autonomous_system {
        // What a database says of a network is what the network said of itself.
        let organization = system.organization.as_deref().map(harmless).unwrap_or_default();
        writeln!(out, "  network    AS{} {organization}", system.number)?;
    }
    for (policy, verdict, reason) in verdicts {
        writeln!(out, "  policy     {policy}: {verdict}")?;
        writeln!(out, "             {reason}")?;
    }
    writeln!(out)
}

fn source_text(source: &Source) -> String {
    match source {
        Source::Site => "a [[site]] of the configuration".to_owned(),
        Source::Override(reason) => format!("an [[override]] of the configuration ({reason})"),
        Source::SpecialRange(name) => format!("special range \"{name}\""),
        Source::Anycast(name) => format!("anycast: {name}"),
        Source::Database(id) => format!("database {}", id.name),
        Source::Nothing => "nothing says where it is".to_owned(),
    }
}

fn json(
    address: IpAddr,
    located: &Located,
    verdicts: &[(String, String, String)],
    now: WallTime,
) -> serde_json::Value {
    let evidence = &located.evidence;
    serde_json::json!({
        "schema": 1,
        "address": address.to_string(),
        "location": located.location.to_string(),
        "country": located.location.country().map(|code| code.to_string()),
        "looked_up": evidence.looked_up(address).to_string(),
        "via": evidence.via.map(crate::geo::Via::as_str),
        "source": source_text(&evidence.source),
        "prefix": evidence.prefix.map(|prefix| prefix.to_string()),
        "answers": evidence.answers.iter().map(|answer| serde_json::json!({
            "database": &*answer.database.name,
            "built": answer.database.built.to_string(),
            "age_days": now.days_since(answer.database.built),
            "sha256": &*answer.database.sha256,
            "country": answer.country.map(|code| code.to_string()),
            "prefix": answer.prefix.map(|prefix| prefix.to_string()),
            "registered": answer.registered.map(|code| code.to_string()),
        })).collect::<Vec<_>>(),
        "asn": evidence.autonomous_system.as_ref().map(|system| system.number),
        "policies": verdicts.iter().map(|(policy, verdict, reason)| serde_json::json!({
            "policy": policy, "verdict": verdict, "reason": reason,
        })).collect::<Vec<_>>(),
    })
}
