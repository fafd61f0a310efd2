//! Small builders for the tests of this room.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    clock::WallTime,
    flow::{Actor, Initiator, Owner, Process, Protocol, Quality, Workload},
    geo::{AutonomousSystem, CountryCode, DatabaseId, Evidence, Located, Location, Source},
};

use super::{ExceptionUse, Subject, exception::*, preset::Preset, rules::Policy, workload::WorkloadMatch};

pub(super) fn code(text: &str) -> CountryCode {
    CountryCode::from_letters(text.as_bytes().try_into().expect("two letters")).expect("capital letters")
}

pub(super) fn codes(text: &str) -> BTreeSet<CountryCode> {
    text.split_ascii_whitespace().map(code).collect()
}

/// Policy `default` on a preset.
pub(super) fn policy(preset: &str) -> Policy {
    Policy { preset: Some(Preset::find(preset).expect("a preset")), ..Policy::empty("default") }
}

/// An exception for a country that ends at the end of time.
pub(super) fn exception(id: &str, country: &str) -> Exception {
    Exception {
        id: id.into(),
        policy: None,
        destination: Destination { countries: codes(country), ..Destination::default() },
        owner: WorkloadMatch::default(),
        max_bytes: None,
        start: None,
        expires: WallTime(i64::MAX),
        approver: "Jane Doe".into(),
        ticket: Some("LEGAL-1".into()),
        reason: "audit copy".into(),
    }
}

pub(super) fn process(exe: &str, uid: u32, user: Option<&str>) -> Owner {
    let process = Process {
        pid: 1,
        start_boot_ns: 0,
        exe: exe.into(),
        command_line: exe.into(),
        uid,
        user: user.map(Arc::from),
        login_uid: None,
    };
    Owner { actor: Actor::Process(process), workload: Workload::default(), quality: Quality::Exact }
}

/// A location found in a database built on 2026-11-01, for the address 203.0.113.9.
pub(super) fn located(location: Location) -> Located {
    let database = DatabaseId {
        name: "GeoLite2-Country.mmdb".into(),
        kind: "GeoLite2-Country".into(),
        built: WallTime::from_unix_seconds(1_793_491_200),
        sha256: "0".repeat(64).into(),
    };
    let evidence = Evidence {
        embedded: None,
        via: None,
        source: Source::Database(Arc::new(database)),
        prefix: Some("203.0.113.0/24".parse().expect("a network")),
        answers: Vec::new(),
        autonomous_system: None,
    };
    Located { location, evidence }
}

pub(super) fn announced_by(number: u32, mut located: Located) -> Located {
    located.evidence.autonomous_system = Some(AutonomousSystem { number, organization: None });
    located
}

pub(super) fn subject<'a>(owner: &'a Owner, located: &'a Located) -> Subject<'a> {
    Subject {
        owner,
        remote: "203.0.113.9".parse().expect("an address"),
        located,
        protocol: Protocol::TCP,
        local_port: 40_000,
        remote_port: 443,
        initiator: Initiator::Local,
    }
}

/// The same number of bytes used of every exception.
pub(super) struct Used(pub(super) u64);

impl ExceptionUse for Used {
    fn used_bytes(&self, _id: &str) -> u64 {
        self.0
    }
}
