//! `[selftest]`: the agent tests itself.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use super::{
    keys,
    reader::{Section, parsed, whole},
    report::Report,
    values::{self, Refusal},
};

/// The agent tests itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelfTest {
    /// How often; never, if none.
    pub every: Option<Duration>,
    /// Where the datagram goes, port 9.
    pub destination: IpAddr,
}

impl Default for SelfTest {
    fn default() -> Self {
        // TEST-NET-1 (RFC 5737): never anybody's address.
        Self { every: Some(Duration::from_secs(3600)), destination: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)) }
    }
}

/// An address that a packet leaves for.
fn destination(text: &str) -> Result<IpAddr, Refusal> {
    let address = values::address(text)?.to_canonical();
    let never_leaves = address.is_loopback() || address.is_unspecified() || address.is_multicast();
    if never_leaves || matches!(address, IpAddr::V4(address) if address.is_broadcast()) {
        let accepted = "an address of another host, such as 192.0.2.1 (nobody's)";
        return Err(Refusal::new("is no address that a datagram leaves this host for", accepted));
    }
    Ok(address)
}

pub(super) fn read(report: &mut Report<'_>, root: &mut Section<'_>) -> SelfTest {
    let default = SelfTest::default();
    let Some(mut section) = root.section(report, "selftest", &keys::SELFTEST) else { return default };
    let every = section.optional(report, "every_secs", |report, item| whole(report, item, 0..=86_400));
    let destination =
        section.optional(report, "destination", |report, item| parsed(report, item, destination));
    section.finish(report);
    SelfTest {
        every: every.map_or(default.every, |every| (every > 0).then(|| Duration::from_secs(every))),
        destination: destination.unwrap_or(default.destination),
    }
}
