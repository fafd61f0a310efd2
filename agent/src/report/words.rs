//! Words and sentences that the text and the HTML share.

use super::{
    entry::Place,
    statement::{Statement, Word},
};
use crate::{
    clock::WallTime,
    geo::CountryCode,
    record::{counted, human_bytes, number},
};

/// Milliseconds since 1970 as RFC 3339.
pub(super) fn time(millis: i64) -> String {
    WallTime(millis.saturating_mul(1_000_000)).to_string()
}

/// Where bytes went, as a person says it.
pub(super) fn place(place: &Place) -> String {
    let country = place.country.as_deref().map(|code| {
        match CountryCode::parse(code).ok().and_then(|known| known.name()) {
            Some(name) => format!("{name} ({code})"),
            None => code.to_owned(),
        }
    });
    match (place.kind.as_str(), country, &place.site) {
        ("site", Some(country), Some(site)) => format!("site {site}, {country}"),
        ("country", Some(country), _) => country,
        ("private", ..) => "Private networks without a site".to_owned(),
        ("local", ..) => "This host and its link".to_owned(),
        ("unknown", ..) => "Unknown location".to_owned(),
        ("disputed", ..) => "Disputed between databases".to_owned(),
        ("anycast", ..) => "Anycast: in many places".to_owned(),
        ("several", ..) => "Several places".to_owned(),
        (kind, Some(country), _) => format!("{kind}, {country}"),
        (kind, None, _) => kind.to_owned(),
    }
}

/// What a loss means; the causes are those of `RECORDS.md`.
pub(super) fn loss(cause: &str) -> &'static str {
    match cause {
        "unparsed-packets" => "bytes are counted without a destination",
        "slots-exhausted" => "bytes are counted by destination, without an owner",
        "destinations-exhausted" => "bytes are counted without a destination",
        "socket-storage-refused" | "index-full" => "nothing is lost: a slower path served",
        "flow-events-dropped" => "nothing is lost: alerts came up to a second later",
        "process-events-dropped" => "processes that lived shortly may have no name",
        "interface-uncounted" => "frames are missing in the comparison with the network card",
        "other-sockets" => "bytes left through sockets that are not of IP, and nobody saw where to",
        "records-dropped" => "updates or intervals found no room; opens and closes were kept",
        _ => "see the documentation of this version",
    }
}

/// In percent, cut and never rounded up: only what is all is 100 %.
pub(super) fn percent(part: i64, whole: i64) -> f64 {
    if whole <= 0 {
        return 0.0;
    }
    (i128::from(part) * 1_000_000 / i128::from(whole)) as f64 / 10_000.0
}

/// `99.9998 %`.
pub(super) fn shown_percent(percent: f64) -> String {
    let text = format!("{percent:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text} %")
}

/// `3.0 kB (3,000 bytes)`.
pub(super) fn bytes(count: u64) -> String {
    if count < 1_000 {
        counted(count, "byte")
    } else {
        format!("{} ({} bytes)", human_bytes(count), number(count))
    }
}

/// `2 h 3 min 4 s`.
pub(super) fn duration(millis: i64) -> String {
    let (seconds, rest) = (millis / 1_000, millis % 1_000);
    if seconds < 60 {
        return if rest == 0 { format!("{seconds} s") } else { format!("{seconds}.{rest:03} s") };
    }
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let parts: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count} {unit}")).collect();
    parts.join(" ")
}

/// `-1,234`.
pub(super) fn signed(count: i64) -> String {
    let sign = if count < 0 { "-" } else { "" };
    format!("{sign}{}", number(count.unsigned_abs()))
}

/// The answer in capitals.
pub(super) const fn headline(word: Word) -> &'static str {
    match word {
        Word::NotProven => "NOT PROVEN",
        Word::OutOfPolicy => "OUT OF POLICY",
        Word::InPolicyAsFarAsSeen => "IN POLICY, AS FAR AS SEEN",
        Word::InPolicy => "IN POLICY",
    }
}

/// Who opened the connection.
pub(super) fn initiator(word: &str) -> &'static str {
    match word {
        "local" => "this host connected and sent",
        "remote" => "the other side connected and pulled",
        _ => "who connected is not known",
    }
}

/// The answer, and how far it goes.
pub(super) fn answer(statement: &Statement) -> (Word, Vec<String>) {
    let mut sentences = Vec::new();
    let proof = &statement.proof;
    if !proof.verified {
        sentences.push(
            "The ledger is not what was signed, or not all of it is there: what follows proves nothing. The problems \
             are listed under \"Proof\"."
                .to_owned(),
        );
    }
    if proof.entries == 0 {
        sentences.push("Nothing is on record for this period.".to_owned());
    }
    let data = statement.totals.violation.data();
    let transfers = statement.violations.len() as u64;
    if data == 0 && transfers > 0 {
        // In the first minute of an agent, or of a period.
        let wire = statement.violations.iter().map(|row| row.in_period.wire).sum();
        sentences.push(format!(
            "Data left this host against policy: {} in {}, of which no interval of the period has the sum yet.",
            bytes(wire),
            counted(transfers, "violation")
        ));
    } else if data > 0 {
        sentences.push(format!(
            "Data left this host against policy: {} in packets that carried data, in {}.",
            bytes(data),
            counted(transfers, "violation")
        ));
    } else {
        sentences.push("No data was seen to leave this host against policy.".to_owned());
    }
    if !statement.attempts.is_empty() {
        let count = statement.attempts.len() as u64;
        sentences.push(format!("{} to connect against policy, without data.", counted(count, "attempt")));
    }
    if !statement.exceptions.is_empty() {
        let used = statement.totals.excepted.bytes.wire;
        let count = statement.exceptions.len() as u64;
        sentences.push(format!("{} left under {}.", bytes(used), counted(count, "exception")));
    }
    let coverage = &statement.coverage;
    let whole = statement.period.milliseconds;
    let counted_ms = coverage.covered_ms + coverage.reduced_ms;
    // Of nothing, all would be counted.
    let is_counted = whole > 0 && counted_ms >= whole;
    let has_sums = statement.totals.intervals > 0;
    sentences.push(match (is_counted, has_sums) {
        (true, true) => "Every byte was counted in all of the period.".to_owned(),
        (true, false) => {
            "Every byte was counted in all of the period, but no interval was recorded in it: the sums \
                          are in the period after it."
                .to_owned()
        }
        (false, _) => format!(
            "Every byte was counted in {} of the period; of the other {} that cannot be said.",
            shown_percent(coverage.counted_percent),
            duration(whole - counted_ms)
        ),
    });
    let missed = statement.totals.missed_bytes;
    if missed > 0 {
        sentences.push(format!("Network cards sent {} that nobody saw leave.", bytes(missed)));
    }
    if proof.unreadable > 0 {
        let count = number(proof.unreadable);
        sentences.push(format!("Of the entries, {count} could not be read and are in no number."));
    }
    let word = match () {
        () if !proof.verified => Word::NotProven,
        () if data > 0 || transfers > 0 => Word::OutOfPolicy,
        () if !is_counted || !has_sums || missed > 0 || proof.unreadable > 0 => Word::InPolicyAsFarAsSeen,
        () => Word::InPolicy,
    };
    (word, sentences)
}

/// What no statement of this kind can say.
pub(super) fn limits(not_covered: &[String]) -> Vec<String> {
    let mut limits: Vec<String> = [
        "It is about what left this host, not about what others did with it later: the exit country of a VPN, proxy \
         or mail relay at an approved address is not visible.",
        "Bytes that pass the kernel (AF_XDP, DPDK, RDMA) are seen only as a difference to the network card's own \
         counters; what firmware or a management controller sends over its own port is not seen.",
        "Where an address is, is the word of the databases named here, at their build date. It is evidence, not \
         certainty; each violation names the network and the database that decided.",
        "Bytes are layer 3 bytes on the wire, retransmissions included, unless called payload. Answers to scanners \
         and refused connections carry no data; they are counted, and not called violations.",
        "A record belongs to the period in which it was made. An interval's bytes are not divided: the first one may \
         reach back before the period by less than one interval.",
        "Signatures prove that nothing was changed after it was signed. Whoever has root rights on the host can stop \
         the agent, which shows as time without record, or have it sign false new entries; what a witness has seen \
         cannot be taken back.",
    ]
    .map(str::to_owned)
    .into();
    limits.extend(not_covered.iter().map(|part| format!("On this host: {part}")));
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_all_is_a_hundred_percent() {
        for (part, whole, text) in [
            (86_400_000, 86_400_000, "100 %"),
            (86_399_999, 86_400_000, "99.9999 %"),
            (1, 3, "33.3333 %"),
            (0, 86_400_000, "0 %"),
            (0, 0, "0 %"),
        ] {
            assert_eq!(shown_percent(percent(part, whole)), text);
        }
    }

    #[test]
    fn durations_and_signed_numbers_read_well() {
        assert_eq!(duration(93_784_000), "1 d 2 h 3 min 4 s");
        assert_eq!(duration(59_050), "59.050 s");
        assert_eq!((signed(-1_234), signed(1_234)), ("-1,234".to_owned(), "1,234".to_owned()));
    }
}
