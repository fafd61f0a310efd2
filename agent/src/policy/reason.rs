//! Why, as sentences for a person.
//!
//! A reason names where an address is, what says so with its date, and the list that decides. It contains nothing
//! that changes while bytes flow, and not the address itself, so that flows to one network share one judgement.

use crate::{
    clock::WallTime,
    geo::{Located, Location, Source},
};

use super::Subject;

/// `is in SG (GeoLite2-Country.mmdb built 2026-11-01, prefix 203.0.113.0/24)`, to be read behind the address.
pub(super) fn whereabouts(subject: &Subject<'_>) -> String {
    let Located { location, evidence } = subject.located;
    let inside = match (evidence.via, evidence.embedded) {
        (Some(via), Some(embedded)) => format!("({} for {embedded}) ", via.as_str()),
        (None, _) | (_, None) => String::new(),
    };
    let place = match location {
        Location::Country(code) => format!("is in {code}"),
        Location::Site { name, country } => format!("is in site {name}, which is in {country}"),
        Location::Private => "is a private address that no site maps to a country".to_owned(),
        Location::Local => "never leaves the link".to_owned(),
        Location::Unknown(reason) => format!("cannot be located: {}", reason.as_str()),
        Location::Disputed(_) => format!("is disputed: {}", answers(subject.located)),
        Location::Anycast(Some(code)) => {
            format!("is an anycast address, served from many places and registered in {code}")
        }
        Location::Anycast(None) => "is an anycast address, served from many places".to_owned(),
    };
    let evidence = evidence_words(subject.located);
    if evidence.is_empty() { format!("{inside}{place}") } else { format!("{inside}{place} ({evidence})") }
}

/// What said so, and the prefix that matched in it.
fn evidence_words(located: &Located) -> String {
    let evidence = &located.evidence;
    let source = match &evidence.source {
        Source::Site => "configured site".to_owned(),
        Source::Override(reason) => format!("configured override: {reason}"),
        Source::SpecialRange(name) => format!("special range {name}"),
        Source::Anycast(name) => format!("anycast by {name}"),
        Source::Database(database) => format!("{} built {}", database.name, day(database.built)),
        Source::Nothing => String::new(),
    };
    match evidence.prefix {
        Some(prefix) if source.is_empty() => format!("prefix {prefix}"),
        Some(prefix) => format!("{source}, prefix {prefix}"),
        None => source,
    }
}

/// `US by a.mmdb built 2026-11-01, CA by b.mmdb built 2026-10-01`
fn answers(located: &Located) -> String {
    let words: Vec<String> = located
        .evidence
        .answers
        .iter()
        .map(|answer| {
            let country = answer.country.map_or_else(|| "no country".to_owned(), |code| code.to_string());
            format!("{country} by {} built {}", answer.database.name, day(answer.database.built))
        })
        .collect();
    if words.is_empty() { located.location.to_string() } else { words.join(", ") }
}

/// `2026-11-01`
pub(crate) fn day(time: WallTime) -> String {
    time.to_string().chars().take("2026-11-01".len()).collect()
}

/// `2026-11-01T00:00:00Z`: seconds are what an operator writes.
pub(crate) fn moment(time: WallTime) -> String {
    time.to_string().replace(".000Z", "Z")
}

/// `10 GiB` where it comes out even, bytes otherwise.
pub(crate) fn size(bytes: u64) -> String {
    for (unit, shift) in [("PiB", 50), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes >= 1 << shift && bytes.trailing_zeros() >= shift {
            return format!("{} {unit}", bytes >> shift);
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_only_where_that_is_exact() {
        for (bytes, expected) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1 KiB"),
            (10 << 30, "10 GiB"),
            (u64::MAX, "18446744073709551615 bytes"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn times_are_written_as_an_operator_writes_them() {
        let time = WallTime::from_unix_seconds(1_796_083_200);
        assert_eq!(moment(time), "2026-12-01T00:00:00Z");
        assert_eq!(day(time), "2026-12-01");
    }
}
