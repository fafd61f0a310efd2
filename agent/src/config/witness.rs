//! `[[witness]]`: who is offered the checkpoints of the ledger.

use std::{collections::BTreeSet, time::Duration};

use crate::ledger::{
    audit::note::{Algorithm, Key},
    witness::{client::Witness, watch::WitnessSettings},
};

use super::{
    keys,
    reader::{Section, parsed, whole},
    report::Report,
    sink::{Target, sink_name, url},
    values::{self, Refusal},
};

/// Between two offers: the interval record comes as often.
pub(super) const DEFAULT_EVERY: Duration = Duration::from_secs(60);

/// Restarts and hiccups of a witness are shorter.
pub(super) const DEFAULT_ALERT_AFTER: Duration = Duration::from_secs(300);

/// A quorum is a handful; each is asked every minute.
const MAX_WITNESSES: usize = 16;

pub(super) fn read(
    report: &mut Report<'_>,
    root: &mut Section<'_>,
    has_ledger: bool,
) -> Vec<WitnessSettings> {
    let sections = root.sections(report, "witness", &keys::WITNESS);
    if let Some(section) = sections.get(MAX_WITNESSES) {
        let place = section.place.clone();
        report.fault_without_value(&place, "is one too many", format!("at most {MAX_WITNESSES} witnesses"));
    }
    let mut names = BTreeSet::new();
    let mut witnesses = Vec::new();
    for mut section in sections {
        let place = section.place.clone();
        if !has_ledger {
            let accepted = "a ledger: ledger.dir is a path, or is not set";
            report.fault_without_value(&place, "would have nothing to sign", accepted);
        }
        let name = section.required(report, "name", |report, item| parsed(report, item, sink_name));
        if let Some(name) = &name
            && !names.insert(name.value.clone())
        {
            report.fault(&name.place, "is the name of two witnesses", "one [[witness]] for each name");
        }
        let url = section.required(report, "url", |report, item| parsed(report, item, prefix));
        let key = section.required(report, "key", |report, item| parsed(report, item, key));
        let ca_file = section.optional(report, "ca_file", |report, item| parsed(report, item, values::path));
        let every = section.optional(report, "every_secs", |report, item| whole(report, item, 1..=86_400));
        let alert_after =
            section.optional(report, "alert_after_secs", |report, item| whole(report, item, 1..=604_800));
        section.finish(report);
        let (Some(name), Some(url), Some(key)) = (name, url, key) else { continue };
        witnesses.push(WitnessSettings {
            witness: Witness { name: name.value, url: url.value, key: key.value },
            ca_file,
            every: every.map_or(DEFAULT_EVERY, Duration::from_secs),
            alert_after: alert_after.map_or(DEFAULT_ALERT_AFTER, Duration::from_secs),
        });
    }
    witnesses
}

/// Where `add-checkpoint` is, without it.
fn prefix(text: &str) -> Result<String, Refusal> {
    let Target { text, .. } = url(text)?;
    if text.ends_with("/add-checkpoint") {
        let accepted = "the prefix alone, such as https://witness.example.org/storage";
        return Err(Refusal::new("has /add-checkpoint, which is put behind it", accepted));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn key(text: &str) -> Result<Key, Refusal> {
    let accepted = "the public key of a witness, as it prints it: NAME+ID+KEY";
    let key = Key::parse(text).map_err(|fault| Refusal::new(format!("is not a key: {fault}"), accepted))?;
    match key.algorithm() {
        Algorithm::Witness => Ok(key),
        Algorithm::Log => Err(Refusal::new("is the key of a log, not of a witness", accepted)),
    }
}
