//! Texts that become values: each function says what it accepts when it refuses.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use ipnet::{IpNet, Ipv6Net};

use super::ledger::{self, LedgerDir};
use crate::{
    clock::WallTime,
    geo::CountryCode,
    policy::{glob::Glob, workload::PortRange},
};

/// Bytes of the longest text: names and reasons are copied into every record.
const MAX_TEXT_BYTES: usize = 256;

/// Bytes of the longest interface name (`IFNAMSIZ` less the final zero).
const MAX_INTERFACE_BYTES: usize = 15;

/// Prefix lengths that can carry an IPv4 address (RFC 6052, section 2.2).
const NAT64_PREFIX_LENGTHS: [u8; 6] = [32, 40, 48, 56, 64, 96];

/// Why a value is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) problem: String,
    pub(super) accepted: String,
}

impl Refusal {
    pub(super) fn new(problem: impl Into<String>, accepted: impl Into<String>) -> Self {
        Self { problem: problem.into(), accepted: accepted.into() }
    }
}

/// A text that is not empty, fits on a line and can be printed.
pub(super) fn line(text: &str) -> Result<String, Refusal> {
    let accepted = || format!("a text of 1 to {MAX_TEXT_BYTES} bytes on one line");
    if text.trim().is_empty() {
        return Err(Refusal::new("is empty", accepted()));
    }
    if text.len() > MAX_TEXT_BYTES {
        return Err(Refusal::new(format!("has {} bytes", text.len()), accepted()));
    }
    if text.chars().any(char::is_control) {
        return Err(Refusal::new("contains a control character", accepted()));
    }
    Ok(text.to_owned())
}

/// A pattern for names.
pub(super) fn glob(text: &str) -> Result<Glob, Refusal> {
    line(text).map(|text| Glob::new(&text))
}

/// An ISO 3166-1 code.
pub(super) fn country(text: &str) -> Result<CountryCode, Refusal> {
    CountryCode::parse(text).map_err(|error| {
        let accepted = "ISO 3166-1 alpha-2 codes in upper case, such as US or DE";
        // Without better advice, the hint only repeats what is accepted.
        let hint = if error.hint.contains(accepted) { String::new() } else { format!("; {}", error.hint) };
        Refusal::new(format!("is not a country code{hint}"), accepted)
    })
}

/// A network, or a single address.
pub(super) fn network(text: &str) -> Result<IpNet, Refusal> {
    const ACCEPTED: &str = "a network such as 10.20.0.0/16 or 2001:db8::/32, or a single address";
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    let network: IpNet = text.parse().map_err(|_| Refusal::new("is not a network", ACCEPTED))?;
    if network.trunc() != network {
        // One address or the whole network? Guessing wrong approves or denies the wrong thing.
        let problem = "has bits set beyond its prefix length";
        return Err(Refusal::new(problem, format!("{} or {}", network.trunc(), network.addr())));
    }
    if let IpNet::V6(v6) = network
        && v6.prefix_len() >= 96
        && v6.addr().to_ipv4_mapped().is_some()
    {
        return Err(Refusal::new("is an IPv4-mapped network, which never matches", "the IPv4 network"));
    }
    Ok(network)
}

/// A prefix of a NAT64 gateway.
pub(super) fn nat64_prefix(text: &str) -> Result<Ipv6Net, Refusal> {
    const ACCEPTED: &str = "an IPv6 prefix of length 32, 40, 48, 56, 64 or 96, such as 64:ff9b:1::/96";
    match network(text)? {
        IpNet::V6(prefix) if NAT64_PREFIX_LENGTHS.contains(&prefix.prefix_len()) => Ok(prefix),
        IpNet::V6(_) | IpNet::V4(_) => Err(Refusal::new("is not a NAT64 prefix", ACCEPTED)),
    }
}

/// A path from the root.
pub(super) fn path(text: &str) -> Result<PathBuf, Refusal> {
    // A service starts in `/` and a shell does not: a relative path would mean two files.
    if !text.starts_with('/') {
        return Err(Refusal::new("is a relative path", "a path that begins with /"));
    }
    if text.chars().any(char::is_control) {
        return Err(Refusal::new("contains a control character", "a path that can be printed"));
    }
    if Path::new(text).components().any(|part| part == std::path::Component::ParentDir) {
        return Err(Refusal::new("contains ..", "a path without .."));
    }
    Ok(PathBuf::from(text))
}

/// Where maps are pinned, or that they are not.
pub(super) fn pin_dir(text: &str) -> Result<Option<PathBuf>, Refusal> {
    if text.is_empty() || text == "none" { Ok(None) } else { path(text).map(Some) }
}

/// Where the ledger is, or that there is none.
pub(super) fn ledger_dir(text: &str) -> Result<LedgerDir, Refusal> {
    if text == "none" { Ok(LedgerDir::None) } else { path(text).map(LedgerDir::Path) }
}

/// The origin of a ledger: the name of its key, too.
pub(super) fn origin(text: &str) -> Result<String, Refusal> {
    const ACCEPTED: &str = "printable text without blanks and +, such as example.org/homeport/storage-1";
    let is_wrong = |letter: char| letter == '+' || letter.is_whitespace() || letter.is_control();
    if text.is_empty() || text.len() > 200 || text.chars().any(is_wrong) {
        return Err(Refusal::new("is no name for a key", ACCEPTED));
    }
    Ok(text.to_owned())
}

/// How much the ledger may take.
pub(super) fn ledger_bytes(text: &str) -> Result<u64, Refusal> {
    let bytes = size(text)?;
    if bytes < ledger::MIN_BYTES {
        return Err(Refusal::new("is less than 64 MiB", "at least \"64 MiB\""));
    }
    Ok(bytes)
}

/// Where a server listens, or that there is none.
pub(super) fn listen(text: &str) -> Result<Option<SocketAddr>, Refusal> {
    const ACCEPTED: &str = "an address with a port such as 127.0.0.1:9646 or [::1]:9646, or none";
    if text == "none" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| Refusal::new("is not an address with a port", ACCEPTED))
}

/// A DNS name, in lower case.
pub(super) fn host_name(text: &str) -> Result<String, Refusal> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if text.len() <= 253 && text.split('.').all(is_label) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(Refusal::new("is not a host name", "a name such as storage-1.example.org, without port"))
}

/// An address.
pub(super) fn address(text: &str) -> Result<IpAddr, Refusal> {
    text.parse().map_err(|_| Refusal::new("is not an address", "an IPv4 or IPv6 address"))
}

/// An instant.
pub(super) fn time(text: &str) -> Result<WallTime, Refusal> {
    const ACCEPTED: &str = "a time with its offset, such as 2026-12-01T00:00:00Z, in the years 1970 to 2261";
    let refuse = || Refusal::new("is not a time", ACCEPTED);
    let timestamp: jiff::Timestamp = text.parse().map_err(|_| refuse())?;
    let nanoseconds = i64::try_from(timestamp.as_nanosecond()).map_err(|_| refuse())?;
    if nanoseconds < 0 { Err(refuse()) } else { Ok(WallTime(nanoseconds)) }
}

/// A number of bytes with its unit.
pub(super) fn size(text: &str) -> Result<u64, Refusal> {
    const ACCEPTED: &str = "a whole number with a unit, such as \"10 GiB\" (B, kB, MB, GB, TB, PB, KiB, MiB, GiB, \
                            TiB, PiB), above zero";
    let refuse = || Refusal::new("is not a size", ACCEPTED);
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let number: u64 = digits.parse().map_err(|_| refuse())?;
    let factor: u64 = match unit.trim() {
        "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "PB" => 1_000_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "PiB" => 1 << 50,
        _ => return Err(refuse()),
    };
    number.checked_mul(factor).filter(|bytes| *bytes > 0).ok_or_else(refuse)
}

/// `443` or `8000-8100`.
pub(super) fn port_range(text: &str) -> Result<PortRange, Refusal> {
    let refuse = || Refusal::new("is not a port or a range of ports", "443, \"443\" or \"8000-8100\"");
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(refuse);
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    if first > last { Err(refuse()) } else { Ok(PortRange { first, last }) }
}

/// `AS64500` or `64500`.
pub(super) fn asn(text: &str) -> Result<u32, Refusal> {
    let refuse = || Refusal::new("is not an autonomous system", "64500 or \"AS64500\"");
    let digits = text.strip_prefix("AS").unwrap_or(text);
    digits.parse().ok().filter(|number| *number > 0).ok_or_else(refuse)
}

/// A network interface.
pub(super) fn interface(text: &str) -> Result<String, Refusal> {
    let usable = !text.is_empty()
        && text.len() <= MAX_INTERFACE_BYTES
        && text != "."
        && text != ".."
        && text
            .chars()
            .all(|letter| letter != '/' && letter != ':' && !letter.is_whitespace() && !letter.is_control());
    if usable {
        Ok(text.to_owned())
    } else {
        Err(Refusal::new(
            "is not an interface name",
            format!("a name of 1 to {MAX_INTERFACE_BYTES} bytes, such as eth0"),
        ))
    }
}

/// One of a few words.
pub(super) fn word<T: Copy>(
    text: &str,
    words: impl Iterator<Item = (&'static str, T)>,
) -> Result<T, Refusal> {
    let words: Vec<(&'static str, T)> = words.collect();
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let names = || words.iter().map(|(word, _)| *word);
    let hint = super::suggest::hint(text, names());
    Err(Refusal::new(format!("is not known here{hint}"), names().collect::<Vec<_>>().join(", ")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check<T: std::fmt::Debug>(parse: fn(&str) -> Result<T, Refusal>, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(parse(text).is_ok(), "{text:?} is accepted: {:?}", parse(text));
        }
        for text in bad {
            assert!(parse(text).is_err(), "{text:?} is refused: {:?}", parse(text));
        }
    }

    #[test]
    fn each_kind_accepts_what_it_says_and_refuses_the_rest() {
        check(country, &["US", "DE", "XK"], &["UK", "us", "EU", "ZZ", "USA", "", "U", "Ü"]);
        check(
            network,
            &["10.0.0.0/8", "203.0.113.7", "2001:db8::/32", "::1", "0.0.0.0/0"],
            &["10.0.0.1/8", "10.0.0.0/33", "10.0.0", "", "example.org", "::ffff:10.0.0.0/104"],
        );
        check(
            nat64_prefix,
            &["64:ff9b:1::/96", "2001:db8::/32"],
            &["64:ff9b:1::/97", "10.0.0.0/8", "2001:db8::1"],
        );
        check(path, &["/a", "/a/b.mmdb"], &["a", "./a", "~/a", "", "/a/../b", "/a\nb"]);
        check(
            time,
            &["2026-12-01T00:00:00Z", "2026-12-01T00:00:00+02:00", "2026-12-01 00:00:00Z"],
            &[
                "2026-12-01",
                "2026-12-01T00:00:00",
                "1960-01-01T00:00:00Z",
                "9000-01-01T00:00:00Z",
                "soon",
                "",
            ],
        );
        check(
            port_range,
            &["443", "8000-8100", "1-65535", "80-80"],
            &["0", "65536", "8100-8000", "", "-", "80-"],
        );
        check(asn, &["64500", "AS64500", "4294967295"], &["0", "AS", "as1", "4294967296", ""]);
        check(interface, &["eth0", "br-lan.10"], &["", "a/b", "a b", "sixteen_bytes_xx", ".."]);
        check(line, &["x", "Jané Doe"], &["", " ", "a\nb", &"x".repeat(257)]);
    }

    #[test]
    fn sizes_have_units() {
        for (text, expected) in [
            ("10 GiB", Some(10 << 30)),
            ("10GiB", Some(10 << 30)),
            ("1 kB", Some(1_000)),
            ("5 B", Some(5)),
            ("10", None),
            ("10 gib", None),
            ("1.5 GiB", None),
            ("0 B", None),
            ("-1 B", None),
            ("99999999 PiB", None),
            ("", None),
        ] {
            assert_eq!(size(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_refusal_helps() {
        let problem = |result: Result<CountryCode, Refusal>| result.expect_err("refused").problem;
        assert_eq!(problem(country("de")), "is not a country code; did you mean DE (Germany)?");
        assert_eq!(problem(country("UK")), "is not a country code; did you mean GB (United Kingdom)?");
        assert_eq!(network("10.0.0.1/8").expect_err("refused").accepted, "10.0.0.0/8 or 10.0.0.1");
    }

    proptest! {
        #[test]
        fn no_text_makes_them_panic(text in any::<String>()) {
            let _ = (country(&text), network(&text), path(&text), time(&text), size(&text), port_range(&text));
            let _ = (asn(&text), interface(&text), line(&text), nat64_prefix(&text));
        }
    }
}
