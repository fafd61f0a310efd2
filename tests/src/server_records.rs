//! Records as the agent of a storage server writes them, made by the agent's own code from invented numbers: a day, a
//! year or a million of them in a moment, with the lengths of real ones.
//!
//! The server has two cards and a dozen classes of traffic a minute. After every 52 minutes there is a violation: one
//! record that opens an episode, one that closes it. A year of minutes has ten thousand.

use std::{net::IpAddr, sync::Arc};

use homeport::{
    alert::{EpisodeSettings, Episodes, Identity},
    clock::{Clock, KernelTime, WallTime},
    flow::{
        Actor, FlowKey, Initiator, Observation, Owner, Process, Protocol, Quality, Sensor, Volume, Workload,
        class::{Class, OwnerClass, Place, Totals, VerdictClass},
        table::{Assessment, Judged},
    },
    geo::{Answer, AutonomousSystem, CountryCode, DatabaseId, Evidence, Located, Location, Source},
    policy::{Judgement, PolicyId, Rule, Severity, Verdict},
    reconcile::{
        Amount, Comparison, Counting, Difference, Discards, Explained, Seen, attribution::Attribution,
    },
    record::{
        Context, Origin, Record,
        finding::finding,
        interval::{Balance, Coverage, Flows, Interface, Minute, interval},
    },
};

use crate::campaign::Random;

/// Minutes between two violations.
const MINUTES: u64 = 52;

/// Records of those minutes and the violation after them.
const BLOCK: u64 = MINUTES + 2;

/// 2026-03-01T00:00:00Z, when the server was booted.
const BOOTED: WallTime = WallTime::from_unix_seconds(1_772_323_200);

/// Every part that is told of each minute.
const PARTS: [&str; 15] = [
    "host_exec",
    "host_fork",
    "host_exit",
    "host_cgroup",
    "stamp_connect4",
    "stamp_connect6",
    "stamp_bind4",
    "stamp_bind6",
    "stamp_sender",
    "stamp_create",
    "account_egress",
    "close_tcp",
    "close_socket",
    "frames_ethernet",
    "frames_raw",
];

/// Who sends where, on a server that is nothing special: clients and replicas at home, updates, a few strangers.
const CLASSES: [(OwnerClass, &[u8; 2], Option<&str>); 10] = [
    (OwnerClass::Process, b"US", Some("ashburn")),
    (OwnerClass::Process, b"US", Some("dallas")),
    (OwnerClass::Kernel, b"US", Some("ashburn")),
    (OwnerClass::Kernel, b"US", Some("dallas")),
    (OwnerClass::Process, b"US", None),
    (OwnerClass::Kernel, b"US", None),
    (OwnerClass::Process, b"CA", None),
    (OwnerClass::Forwarded, b"US", None),
    (OwnerClass::Kernel, b"DE", None),
    (OwnerClass::Kernel, b"CN", None),
];

const COUNTRIES: [&[u8; 2]; 8] = [b"DE", b"CN", b"RU", b"FR", b"SG", b"BR", b"NL", b"IN"];

/// The server.
#[derive(Debug)]
pub struct Server {
    origin: Origin,
    random: Random,
    database: Arc<DatabaseId>,
    policy: Arc<PolicyId>,
    open: Option<Episodes>,
}

/// How many records a period has, in whole blocks: at least so many minutes, and a violation after each 52.
pub const fn records_of(minutes: u64) -> u64 {
    minutes.div_ceil(MINUTES) * BLOCK
}

/// How many of so many records are minutes, and how many violations are told of by the others.
pub const fn minutes_and_violations(records: u64) -> (u64, u64) {
    let (blocks, rest) = (records / BLOCK, records % BLOCK);
    let (minutes, begun) = if rest > MINUTES { (MINUTES, 1) } else { (rest, 0) };
    (blocks * MINUTES + minutes, blocks + begun)
}

impl Server {
    /// The same seed makes the same records.
    pub fn new(seed: u64) -> Self {
        Self {
            origin: Origin {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                hostname: "storage-1.example.org".to_owned(),
                host_uid: "5d1c0b6f9f0e4d0a8f6f3c2b1a000001".to_owned(),
                country_name: |code| code.name(),
            },
            random: Random::from_seed(seed),
            database: Arc::new(DatabaseId {
                name: "embedded DB-IP Lite Country".into(),
                kind: "DBIP-Country-Lite".into(),
                built: WallTime::from_unix_seconds(1_771_891_200),
                sha256: "4b7c1a".repeat(10).into(),
            }),
            policy: Arc::new(PolicyId {
                name: "storage".into(),
                preset: Some("us-only"),
                hash: "0123456789abcdef".repeat(4).into(),
            }),
            open: None,
        }
    }

    /// Who writes.
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Record `number` of the server's life, from zero, at its own time.
    pub fn record(&mut self, number: u64) -> Record {
        let (block, place) = (number / BLOCK, number % BLOCK);
        let minute = block * MINUTES + place.min(MINUTES);
        let clock = Clock::with_epoch(BOOTED);
        let seen = KernelTime(minute * 60_000_000_000 + place * 1_000_000);
        let origin = self.origin.clone();
        let context =
            Context { origin: &origin, clock: &clock, booted: Some(BOOTED), now: clock.wall_of(seen) };
        if place < MINUTES {
            return interval(&context, self.minute(context.now));
        }
        self.finding(&context, block, seen)
    }

    /// A record of the minute that ends now.
    pub fn minute_now(&mut self) -> Record {
        let origin = self.origin.clone();
        let (clock, now) = (Clock::sample(), WallTime::now());
        let context = Context { origin: &origin, clock: &clock, booted: Some(BOOTED), now };
        interval(&context, self.minute(now))
    }

    /// A record of a violation, now.
    pub fn violation(&mut self, number: u64) -> Record {
        let origin = self.origin.clone();
        let (clock, now) = (Clock::sample(), WallTime::now());
        let context = Context { origin: &origin, clock: &clock, booted: Some(BOOTED), now };
        self.finding(&context, number, KernelTime::now())
    }

    /// Opens an episode, or closes the one that is open.
    fn finding(&mut self, context: &Context<'_>, number: u64, seen: KernelTime) -> Record {
        let transition = match self.open.take() {
            Some(mut episodes) => episodes.stop(seen).pop(),
            None => {
                let identity = Identity { host: self.origin.host_uid.as_str().into(), boot: "b".into() };
                let mut episodes = Episodes::new(EpisodeSettings::default(), identity);
                let opened = episodes.observe(&self.judged(number, seen), seen);
                self.open = Some(episodes);
                opened
            }
        };
        match transition {
            Some(transition) => finding(context, &transition, Vec::new()),
            None => self.finding(context, number, seen),
        }
    }

    fn below(&mut self, most: u64) -> u64 {
        self.random.within(0..=most)
    }

    /// Mostly data; the rest is acknowledgements.
    fn volume(&mut self) -> Volume {
        let packets = 1 + self.below(4_000_000);
        let payload_bytes = packets * self.random.within(200..=1_400);
        Volume { wire_bytes: payload_bytes + packets * 52, payload_bytes, packets }
    }

    fn minute(&mut self, end: WallTime) -> Minute {
        let mut totals = Totals::default();
        for (owner, country, site) in CLASSES {
            let Some(country) = CountryCode::from_letters(*country) else { continue };
            let place = match site {
                Some(name) => Place::Site { name: name.into(), country },
                None => Place::Country(country),
            };
            let verdict = match country.as_str() {
                "US" => VerdictClass::Approved,
                _ => VerdictClass::Violation(Rule::NotApproved),
            };
            let class = Class { owner, place, verdict };
            totals.count(class.clone(), self.volume());
            let packets = self.below(9_000);
            totals.count(class, Volume { wire_bytes: packets * 52, payload_bytes: 0, packets });
        }
        let interfaces = ["bond0", "mgmt0"].map(|name| self.interface(name)).into();
        let socket_bytes = totals.sum().volume.wire_bytes;
        Minute {
            start: WallTime(end.0 - 60_000_000_000),
            end,
            totals,
            losses: Vec::new(),
            coverage: PARTS
                .map(|part| Coverage { part: part.to_owned(), state: "full", detail: None })
                .into(),
            state: "covered",
            reasons: Vec::new(),
            interfaces,
            attribution: Attribution {
                socket_bytes,
                owned_bytes: socket_bytes,
                unnamed_bytes: 0,
                discarded_bytes: 0,
                stayed_bytes: 0,
            },
            discards: Some(Discards { neighbour_packets: 0, neighbour_failures: 0, output_packets: 0 }),
            flows: Flows {
                rows: 900 + self.below(4_000),
                evicted: 0,
                overflowed_readings: 0,
                open_episodes: self.below(2),
            },
            policy_hash: self.policy.hash.to_string(),
        }
    }

    fn interface(&mut self, name: &str) -> Interface {
        let frames = self.below(9_000_000);
        let seen = Seen {
            socket: Amount::new(frames * 1_100, frames),
            forwarded: Amount::new(self.below(900_000), self.below(900)),
            non_ip: Amount::new(42 * 6, 6),
            ..Seen::default()
        };
        let flying = self.below(90_000);
        let buffers = -i64::try_from(self.below(400_000)).unwrap_or(0);
        let comparison = Comparison {
            nic: Amount::new(frames * 1_100 + flying, frames + flying / 1_100),
            seen,
            residual: Difference::new(buffers, buffers / 1_400),
            explained: Explained { buffers: Difference::new(buffers, 0), ..Explained::default() },
            over: Amount::new(flying, flying / 1_100),
            counting: Counting::Segments,
            ..Comparison::default()
        };
        Interface {
            name: name.to_owned(),
            balance: Some(Balance::from(&comparison)),
            unexplained_bytes_total: 0,
            counter_resets: 0,
        }
    }

    fn judged(&mut self, number: u64, seen: KernelTime) -> Judged {
        let countries = COUNTRIES.len() as u64;
        let letters = COUNTRIES[usize::try_from(number % countries).unwrap_or(0)];
        let country = CountryCode::from_letters(*letters);
        let [_, a, b, c] = (number as u32).to_be_bytes();
        let prefix = format!("5.{a}.{b}.0/24").parse().ok();
        let located = Located {
            location: country.map_or(Location::Private, Location::Country),
            evidence: Evidence {
                embedded: None,
                via: None,
                source: Source::Database(Arc::clone(&self.database)),
                prefix,
                answers: vec![Answer {
                    database: Arc::clone(&self.database),
                    country,
                    prefix,
                    registered: None,
                }],
                autonomous_system: Some(AutonomousSystem {
                    number: 64_496 + u32::from(b),
                    organization: Some("Example Net".into()),
                }),
            },
        };
        let country = String::from_utf8_lossy(letters).into_owned();
        let owner = Owner {
            actor: Actor::Process(Process {
                pid: 1_000 + u32::try_from(self.below(3_000_000)).unwrap_or(0),
                start_boot_ns: 1 + self.below(1 << 50),
                exe: "/usr/bin/rsync".into(),
                command_line: format!("rsync --server --sender -logDtpre.iLsfxCIvu . /srv/pool/{number}")
                    .into(),
                uid: 1_001,
                user: Some("backup".into()),
                login_uid: Some(1_001),
            }),
            workload: Workload {
                cgroup: Some("/system.slice/rsync.service".into()),
                unit: Some("rsync.service".into()),
                container: None,
            },
            quality: Quality::Exact,
        };
        Judged {
            observation: Observation {
                key: FlowKey {
                    owner: Arc::new(owner),
                    remote: IpAddr::from([5, a, b, c]),
                    protocol: Protocol::TCP,
                    service_port: 873,
                    initiator: Initiator::Remote,
                    sensor: Sensor::Socket,
                },
                local: Some(IpAddr::from([192, 0, 2, 10])),
                local_port: 873,
                remote_port: 20_000 + u16::from(c),
                volume: self.volume(),
                first_seen: seen,
                seen,
                pre_existing: false,
                closed: false,
            },
            assessment: Assessment {
                located: Arc::new(located),
                judgement: Arc::new(Judgement {
                    policy: Arc::clone(&self.policy),
                    verdict: Verdict::Violation {
                        rule: Rule::NotApproved,
                        severity: Severity::High,
                        exception: None,
                    },
                    reason: format!(
                        "is in {country} (5.{a}.{b}.0/24 in embedded DB-IP Lite Country of 2026-02-24), which is not \
                         on the list of us-only"
                    )
                    .into(),
                }),
            },
            is_new: true,
            had_payload: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_has_ten_thousand_violations_and_records_as_long_as_real_ones() {
        assert_eq!(minutes_and_violations(records_of(525_600)), (525_616, 10_108));
        let mut server = Server::new(1);
        let (mut minutes, mut findings) = (Vec::new(), Vec::new());
        for number in 0..3 * BLOCK {
            let record = server.record(number);
            let length = record.to_line().expect("JSON").len();
            match record {
                Record::Interval(_) => minutes.push(length),
                Record::Finding(_) => findings.push(length),
                Record::Coverage(_) | Record::Lifecycle(_) => panic!("neither"),
            }
        }
        assert_eq!((minutes.len(), findings.len()), (156, 6));
        let mean = |lengths: &[usize]| lengths.iter().sum::<usize>() / lengths.len();
        assert!((4_000..6_500).contains(&mean(&minutes)), "{}", mean(&minutes));
        assert!((2_500..5_000).contains(&mean(&findings)), "{}", mean(&findings));
    }
}
