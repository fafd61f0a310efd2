//! What the kernel says it discarded on the way out: files below `/proc/net`.
//!
//! Neighbour tables are of the whole machine, and only the first network namespace shows their counters; the IP layer's
//! are of the agent's own.

use std::{fs, io};

use crate::reconcile::Discards;

/// Reads all of them. Takes four small files.
///
/// # Errors
///
/// When one of them is not there or not readable, as in a container without the host's processes.
pub fn read() -> io::Result<Discards> {
    let mut discards = Discards::default();
    for table in ["arp_cache", "ndisc_cache"] {
        let text = fs::read_to_string(format!("/proc/1/net/stat/{table}"))
            .or_else(|_| fs::read_to_string(format!("/proc/self/net/stat/{table}")))?;
        let column = |name| neighbour_column(&text, name).ok_or(io::ErrorKind::InvalidData);
        discards.neighbour_packets += column("unresolved_discards")?;
        discards.neighbour_failures += column("res_failed")?;
    }
    let version4 = fs::read_to_string("/proc/self/net/snmp")?;
    discards.output_packets += ip_counter(&version4).ok_or(io::ErrorKind::InvalidData)?;
    // Not there where IPv6 is switched off.
    if let Ok(version6) = fs::read_to_string("/proc/self/net/snmp6") {
        discards.output_packets += ip6_counter(&version6).ok_or(io::ErrorKind::InvalidData)?;
    }
    Ok(discards)
}

/// One line of names, then one of hexadecimal numbers per processor.
fn neighbour_column(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    let idx = lines.next()?.split_whitespace().position(|word| word == name)?;
    lines.try_fold(0_u64, |sum, line| {
        let word = line.split_whitespace().nth(idx)?;
        Some(sum.saturating_add(u64::from_str_radix(word, 16).ok()?))
    })
}

/// Two lines that begin with `Ip:`, names and numbers.
fn ip_counter(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with("Ip:")).map(str::split_whitespace);
    let (names, values) = lines.next().zip(lines.next())?;
    names.zip(values).find(|(name, _)| *name == "OutDiscards")?.1.parse().ok()
}

/// One line per counter.
fn ip6_counter(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with("Ip6OutDiscards"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_name_and_summed_over_processors() {
        let table = "entries  res_failed unresolved_discards table_fulls\n\
                     00000004 00000005   00000000            00000000\n\
                     00000004 00000003   00000284            00000000\n";
        assert_eq!(neighbour_column(table, "unresolved_discards"), Some(0x284));
        assert_eq!(neighbour_column(table, "res_failed"), Some(8));
        assert_eq!(neighbour_column(table, "no_such_thing"), None);
        let snmp = "Ip: Forwarding OutRequests OutDiscards\nIp: 1 500 7\nIcmp: InMsgs\nIcmp: 0\n";
        assert_eq!(ip_counter(snmp), Some(7));
        assert_eq!(ip_counter("Ip: Forwarding\nIp: 1\n"), None);
        assert_eq!(ip6_counter("Ip6InReceives \t3\nIp6OutDiscards                  \t9\n"), Some(9));
    }

    #[test]
    fn this_kernel_has_all_of_them() {
        let discards = read();
        assert!(discards.is_ok(), "{discards:?}");
    }
}
