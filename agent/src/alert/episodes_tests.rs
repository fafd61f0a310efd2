//! Time is moved by hand; a reading is one line.

use std::net::Ipv4Addr;

use super::*;
use crate::{
    alert::MAX_DESTINATIONS,
    flow::{FlowKey, Process, Protocol, Quality, Sensor, Volume, Workload},
    geo::{CountryCode, Evidence, Located, Location, Source},
    policy::{PolicyId, Rule, Severity},
};

struct Lab {
    episodes: Episodes,
    now: KernelTime,
}

/// A reading, to be changed field by field.
#[derive(Clone)]
struct Send {
    exe: &'static str,
    pid: u32,
    actor: Option<Actor>,
    remote: [u8; 4],
    local_port: u16,
    country: [u8; 2],
    initiator: Initiator,
    wire_bytes: u64,
    payload_bytes: u64,
    verdict: Verdict,
    closed: bool,
    had_payload: bool,
}

fn violation(severity: Severity) -> Verdict {
    Verdict::Violation { rule: Rule::NotApproved, severity, exception: None }
}

/// 1,500 bytes to a country that is not approved, by a client abroad that pulls.
fn pull() -> Send {
    Send {
        exe: "/usr/sbin/nginx",
        pid: 10,
        actor: None,
        remote: [203, 0, 113, 7],
        local_port: 443,
        country: *b"DE",
        initiator: Initiator::Remote,
        wire_bytes: 1_500,
        payload_bytes: 1_448,
        verdict: violation(Severity::High),
        closed: false,
        had_payload: false,
    }
}

/// A handshake packet of our own.
fn syn() -> Send {
    Send { initiator: Initiator::Local, wire_bytes: 60, payload_bytes: 0, local_port: 40_000, ..pull() }
}

fn closed(send: Send) -> Send {
    Send { closed: true, ..send }
}

fn located(country: [u8; 2]) -> Arc<Located> {
    Arc::new(Located {
        location: Location::Country(CountryCode::from_letters(country).expect("two capital letters")),
        evidence: Evidence {
            embedded: None,
            via: None,
            source: Source::Nothing,
            prefix: None,
            answers: Vec::new(),
            autonomous_system: None,
        },
    })
}

fn judgement(policy: &str, verdict: Verdict) -> Arc<Judgement> {
    let policy = PolicyId { name: policy.into(), preset: Some("us-only"), hash: "0".repeat(64).into() };
    Arc::new(Judgement { policy: Arc::new(policy), verdict, reason: "DE is not on the list".into() })
}

/// So many episodes, open: countries and directions are what tells them apart.
pub(crate) fn many_open(n_episodes: u32) -> Episodes {
    let mut lab = Lab::new();
    for idx in 0..n_episodes {
        let letter = |number: u32| b'A' + (number % 26) as u8;
        let initiator = if idx < 26 * 26 { Initiator::Remote } else { Initiator::Local };
        lab.send(Send { country: [letter(idx), letter(idx / 26)], initiator, ..pull() });
    }
    lab.episodes
}

impl Lab {
    fn new() -> Self {
        Self::with(EpisodeSettings::default())
    }

    fn with(settings: EpisodeSettings) -> Self {
        let identity = Identity { host: "host".into(), boot: "boot".into() };
        Self { episodes: Episodes::new(settings, identity), now: KernelTime(1_000_000_000_000) }
    }

    fn send(&mut self, send: Send) -> Option<Transition> {
        let actor = send.actor.unwrap_or_else(|| {
            Actor::Process(Process {
                pid: send.pid,
                start_boot_ns: u64::from(send.pid),
                exe: send.exe.into(),
                command_line: send.exe.into(),
                uid: 33,
                user: None,
                login_uid: None,
            })
        });
        let owner = Owner { actor, workload: Workload::default(), quality: Quality::Exact };
        let judged = Judged {
            observation: Observation {
                key: FlowKey {
                    owner: Arc::new(owner),
                    remote: Ipv4Addr::from(send.remote).into(),
                    protocol: Protocol::TCP,
                    service_port: 443,
                    initiator: send.initiator,
                    sensor: Sensor::Socket,
                },
                local: None,
                local_port: send.local_port,
                remote_port: 50_000,
                volume: Volume {
                    wire_bytes: send.wire_bytes,
                    payload_bytes: send.payload_bytes,
                    packets: send.wire_bytes.div_ceil(1_500),
                },
                first_seen: self.now,
                seen: self.now,
                pre_existing: false,
                closed: send.closed,
            },
            assessment: Assessment {
                located: located(send.country),
                judgement: judgement("default", send.verdict),
            },
            is_new: true,
            had_payload: send.had_payload,
        };
        self.episodes.observe(&judged, self.now)
    }

    /// Moves time and returns the words of what happened.
    fn wait(&mut self, milliseconds: u64) -> Vec<String> {
        self.now = self.now + Duration::from_millis(milliseconds);
        self.episodes.tick(self.now).iter().map(words).collect()
    }
}

fn words(transition: &Transition) -> String {
    let episode = transition.episode();
    let change = match transition {
        Transition::Open(_) => "open".to_owned(),
        Transition::Update(_, reason) => format!("update {}", reason.as_str()),
        Transition::Close(_, reason) => format!("close {}", reason.as_str()),
    };
    format!("{change}: {} {} {}", episode.kind.as_str(), episode.level.as_str(), episode.key.place)
}

fn opened(transition: Option<Transition>) -> Box<Episode> {
    match transition {
        Some(Transition::Open(episode)) => episode,
        other => panic!("not opened: {other:?}"),
    }
}

#[test]
fn the_first_payload_byte_opens() {
    let mut lab = Lab::new();
    let episode = opened(lab.send(Send { payload_bytes: 1, wire_bytes: 53, ..pull() }));
    assert_eq!((episode.kind, episode.level), (Kind::Transfer, Level::High));
    assert_eq!(episode.tally.volume.payload_bytes, 1);
    assert_eq!(episode.id.len(), 32);
}

#[test]
fn approved_traffic_never_opens() {
    let mut lab = Lab::new();
    assert!(lab.send(Send { verdict: Verdict::Approved, ..pull() }).is_none());
    assert!(lab.wait(100_000).is_empty());
}

#[test]
fn a_scanner_never_alerts() {
    let mut lab = Lab::new();
    for port in [22, 80, 443] {
        for wire_bytes in [40, 60] {
            let answer = Send { payload_bytes: 0, wire_bytes, local_port: port, ..pull() };
            assert!(lab.send(answer).is_none());
        }
    }
    assert!(lab.wait(100_000).is_empty());
}

#[test]
fn the_kernels_own_icmp_replies_never_alert() {
    let mut lab = Lab::new();
    for initiator in [Initiator::Local, Initiator::Remote, Initiator::Unknown] {
        let reply = Send { actor: Some(Actor::Kernel("icmp".into())), initiator, ..pull() };
        assert!(lab.send(reply).is_none());
    }
    assert!(lab.wait(100_000).is_empty());
}

#[test]
fn data_of_a_kernel_service_alerts() {
    let mut lab = Lab::new();
    for service in ["nfsd", "tcp"] {
        opened(lab.send(Send { actor: Some(Actor::Kernel(service.into())), ..pull() }));
    }
}

#[test]
fn an_outgoing_attempt_is_a_low_finding_after_the_grace() {
    let mut lab = Lab::new();
    assert!(lab.send(syn()).is_none());
    assert!(lab.wait(2_999).is_empty());
    assert_eq!(lab.wait(1), ["open: attempt low DE"]);
    assert_eq!(lab.wait(60_000), ["close quiet: attempt low DE"]);
}

#[test]
fn an_attempt_that_sends_within_the_grace_is_only_a_transfer() {
    let mut lab = Lab::new();
    lab.send(syn());
    assert!(lab.wait(100).is_empty());
    let episode = opened(lab.send(Send { payload_bytes: 1_448, wire_bytes: 1_500, ..syn() }));
    assert_eq!((episode.kind, episode.level), (Kind::Transfer, Level::High));
    assert_eq!(episode.tally.volume.wire_bytes, 1_560, "the handshake belongs to it");
    assert_eq!(episode.tally.control.wire_bytes, 60);
    assert!(lab.wait(5_000).is_empty());
}

#[test]
fn an_attempt_that_sends_later_escalates_the_same_episode() {
    let mut lab = Lab::new();
    lab.send(syn());
    lab.wait(3_000);
    let transition = lab.send(Send { payload_bytes: 10, wire_bytes: 62, ..syn() }).expect("an update");
    assert_eq!(words(&transition), "update escalated: transfer high DE");
}

#[test]
fn attempts_again_and_again_are_one_quiet_finding() {
    let mut lab = Lab::new();
    let mut seen = Vec::new();
    for _ in 0..100 {
        lab.send(syn());
        seen.extend(lab.wait(1_000));
    }
    assert_eq!(seen, ["open: attempt low DE", "update still-flowing: attempt low DE"]);
}

#[test]
fn acknowledgements_of_an_old_transfer_are_no_attempt() {
    let mut lab = Lab::new();
    assert!(lab.send(Send { had_payload: true, ..syn() }).is_none());
    assert!(lab.wait(10_000).is_empty());
}

#[test]
fn one_transfer_is_one_open_updates_and_one_close() {
    let mut lab = Lab::new();
    let id = opened(lab.send(pull())).id;
    let mut seen = Vec::new();
    for _ in 0..180 {
        seen.extend(lab.wait(1_000));
        seen.extend(
            lab.send(Send { wire_bytes: 1_000_000, payload_bytes: 960_000, ..pull() }).iter().map(words),
        );
    }
    seen.extend(lab.wait(60_000));
    let doubled = seen.iter().filter(|words| words.contains("doubled")).count();
    assert!((6..=9).contains(&doubled), "{seen:?}");
    assert!(seen.iter().any(|words| words.contains("still-flowing")), "{seen:?}");
    assert_eq!(seen.last().map(String::as_str), Some("close quiet: transfer high DE"));
    assert_eq!(lab.episodes.open().count(), 0);
    assert_ne!(opened(lab.send(pull())).id, id, "a later transfer is another episode");
}

#[test]
fn an_update_says_what_left_since_the_last_transition() {
    let mut lab = Lab::new();
    lab.send(pull());
    lab.wait(1_000);
    let update = lab.send(Send { wire_bytes: 5_000, payload_bytes: 4_800, ..pull() }).expect("an update");
    assert_eq!(update.episode().since_transition.wire_bytes, 5_000);
    assert_eq!(update.episode().tally.volume.wire_bytes, 6_500);
    assert_eq!(update.episode().n_updates, 1);
}

#[test]
fn doubling_fast_does_not_flood() {
    let mut lab = Lab::new();
    lab.send(pull());
    let mut n_updates = 0;
    for step in 1..20 {
        let wire_bytes = 1_500 << step;
        n_updates += usize::from(lab.send(Send { wire_bytes, payload_bytes: 1, ..pull() }).is_some());
        lab.wait(10);
    }
    assert_eq!(n_updates, 0);
    assert_eq!(lab.wait(1_000), ["update doubled: transfer high DE"]);
}

#[test]
fn closed_connections_close_the_episode_early() {
    let mut lab = Lab::new();
    lab.send(closed(pull()));
    assert!(lab.wait(9_999).is_empty());
    assert_eq!(lab.wait(1), ["close connections-closed: transfer high DE"]);
}

#[test]
fn short_connections_within_the_grace_are_one_episode() {
    let mut lab = Lab::new();
    let mut n_opened = 0;
    for port in 0..50 {
        let send = closed(Send { local_port: 1_000 + port, initiator: Initiator::Local, ..pull() });
        n_opened += usize::from(matches!(lab.send(send), Some(Transition::Open(_))));
        lab.wait(9_000);
    }
    assert_eq!(n_opened, 1);
}

#[test]
fn an_open_connection_holds_the_episode_until_it_is_quiet() {
    let mut lab = Lab::new();
    lab.send(pull());
    lab.send(closed(Send { local_port: 444, ..pull() }));
    assert_eq!(lab.wait(10_000), ["update doubled: transfer high DE"]);
    assert_eq!(lab.wait(50_000), ["close quiet: transfer high DE"]);
}

#[test]
fn a_shorter_quiet_time_is_the_grace_as_well() {
    let mut lab = Lab::with(EpisodeSettings { quiet: Duration::from_secs(2), ..EpisodeSettings::default() });
    lab.send(closed(pull()));
    assert_eq!(lab.wait(2_000), ["close quiet: transfer high DE"]);
}

#[test]
fn a_scanner_does_not_hold_an_episode_open() {
    let mut lab = Lab::new();
    lab.send(pull());
    for _ in 0..59 {
        lab.wait(1_000);
        lab.send(Send { payload_bytes: 0, wire_bytes: 40, ..pull() });
    }
    assert_eq!(lab.wait(1_000), ["close quiet: transfer high DE"]);
}

#[test]
fn what_differs_in_the_key_is_another_episode() {
    let mut lab = Lab::new();
    let others = [
        Send { exe: "/usr/bin/rsync", ..pull() },
        Send { country: *b"FR", ..pull() },
        Send { initiator: Initiator::Local, ..pull() },
        Send {
            verdict: Verdict::Violation { rule: Rule::Denied, severity: Severity::Critical, exception: None },
            ..pull()
        },
    ];
    opened(lab.send(pull()));
    for other in others {
        opened(lab.send(other));
    }
}

#[test]
fn worker_processes_of_one_program_are_one_episode_and_are_counted() {
    let mut lab = Lab::new();
    opened(lab.send(pull()));
    for pid in 11..15 {
        lab.send(Send { pid, ..pull() });
    }
    let episode = lab.episodes.open().next().expect("one episode");
    assert_eq!(episode.n_processes, crate::alert::Count { value: 5, at_least: false });
    assert_eq!(episode.owner.process().map(|process| process.pid), Some(10));
}

#[test]
fn destinations_are_listed_up_to_a_bound_and_counted_beyond() {
    let mut lab = Lab::new();
    for host in 0..200u8 {
        lab.send(Send { remote: [198, 51, 100, host], wire_bytes: 100, payload_bytes: 50, ..pull() });
        lab.send(Send { remote: [203, 0, 113, host], wire_bytes: 100, payload_bytes: 50, ..pull() });
    }
    let episode = lab.episodes.open().next().expect("one episode");
    assert_eq!(episode.destinations.len(), MAX_DESTINATIONS);
    assert_eq!(episode.n_destinations, crate::alert::Count { value: 256, at_least: true });
    let listed: u64 = episode.destinations.iter().map(|destination| destination.volume.wire_bytes).sum();
    assert_eq!(listed + episode.elsewhere.wire_bytes, 40_000);
    assert_eq!(episode.tally.volume.wire_bytes, 40_000);
}

#[test]
fn a_higher_severity_escalates_at_once() {
    let mut lab = Lab::new();
    lab.send(Send { verdict: violation(Severity::Medium), ..pull() });
    let update = lab.send(Send { verdict: violation(Severity::Critical), ..pull() }).expect("an update");
    assert_eq!(words(&update), "update escalated: transfer critical DE");
    assert!(lab.send(Send { verdict: violation(Severity::Low), ..pull() }).is_none());
}

#[test]
fn use_of_an_exception_is_recorded_and_exceeding_it_is_a_violation_of_its_own() {
    let mut lab = Lab::new();
    let excepted = Send { verdict: Verdict::Excepted { id: "E1".into() }, ..pull() };
    let episode = opened(lab.send(excepted));
    assert_eq!((episode.kind, episode.level), (Kind::Exception, Level::Informational));
    let exceeded = Verdict::Violation {
        rule: Rule::ExceptionExceeded,
        severity: Severity::High,
        exception: Some("E1".into()),
    };
    let other = opened(lab.send(Send { verdict: exceeded, ..pull() }));
    assert_eq!((other.kind, other.level), (Kind::Transfer, Level::High));
    assert_ne!(other.id, episode.id);
}

#[test]
fn an_attempt_within_an_exception_is_nothing() {
    let mut lab = Lab::new();
    lab.send(Send { verdict: Verdict::Excepted { id: "E1".into() }, ..syn() });
    assert!(lab.wait(10_000).is_empty());
}

#[test]
fn beyond_the_bound_violations_share_one_episode_and_no_byte_is_lost() {
    let mut lab = Lab::with(EpisodeSettings { max_open: 2, ..EpisodeSettings::default() });
    let countries = [*b"DE", *b"FR", *b"IT", *b"ES"];
    let opened: Vec<_> =
        countries.iter().filter_map(|country| lab.send(Send { country: *country, ..pull() })).collect();
    assert_eq!(opened.len(), 3);
    assert_eq!(opened[2].episode().key.to_owned().place, crate::flow::class::Place::Several);
    let wire_bytes: u64 = lab.episodes.open().map(|episode| episode.tally.volume.wire_bytes).sum();
    assert_eq!(wire_bytes, 6_000);
    assert_eq!(lab.episodes.counters().caught_all_readings, 2);
    assert!(lab.send(Send { country: *b"PL", ..syn() }).is_none());
    assert_eq!(lab.episodes.counters().untracked_attempt_readings, 1);
}

#[test]
fn a_policy_that_approves_it_closes_the_episode() {
    let mut lab = Lab::new();
    lab.send(pull());
    lab.send(Send { country: *b"FR", ..pull() });
    let germany = located(*b"DE");
    let transitions = lab.episodes.rejudge(RejudgeCause::Policy, |_, _, destination| {
        let verdict = if destination.located.location == germany.location {
            Verdict::Approved
        } else {
            violation(Severity::High)
        };
        Assessment { located: Arc::clone(&destination.located), judgement: judgement("default", verdict) }
    });
    assert_eq!(transitions.iter().map(words).collect::<Vec<_>>(), ["close policy-change: transfer high DE"]);
    assert_eq!(lab.episodes.open().count(), 1);
}

#[test]
fn a_database_that_places_it_elsewhere_closes_the_episode() {
    let mut lab = Lab::new();
    lab.send(pull());
    let transitions = lab.episodes.rejudge(RejudgeCause::Location, |_, _, _| Assessment {
        located: located(*b"FR"),
        judgement: judgement("default", violation(Severity::High)),
    });
    assert_eq!(
        transitions.iter().map(words).collect::<Vec<_>>(),
        ["close location-change: transfer high DE"]
    );
}

#[test]
fn stopping_closes_everything_and_reports_young_attempts() {
    let mut lab = Lab::new();
    lab.send(pull());
    lab.now = lab.now + Duration::from_millis(1);
    lab.send(Send { country: *b"FR", ..syn() });
    let seen: Vec<_> = lab.episodes.stop(lab.now).iter().map(words).collect();
    assert_eq!(
        seen,
        ["close agent-stop: transfer high DE", "open: attempt low FR", "close agent-stop: attempt low FR"]
    );
}

#[test]
fn the_deadline_is_when_tick_next_has_something_to_say() {
    let mut lab = Lab::new();
    assert_eq!(lab.episodes.next_deadline(lab.now), None);
    lab.send(syn());
    lab.send(pull());
    lab.send(Send { wire_bytes: 100, payload_bytes: 1, ..pull() });
    let mut seen = Vec::new();
    while let Some(due) = lab.episodes.next_deadline(lab.now) {
        assert!(lab.episodes.tick(KernelTime(due.0 - 1)).is_empty());
        lab.now = due;
        seen.extend(lab.episodes.tick(lab.now).iter().map(words));
    }
    let expected = ["open: attempt low DE", "close quiet: attempt low DE", "close quiet: transfer high DE"];
    assert_eq!(seen, expected);
}

#[test]
fn the_same_input_gives_the_same_ids() {
    let ids = |_| {
        let mut lab = Lab::new();
        opened(lab.send(pull())).id
    };
    assert_eq!(ids(0), ids(1));
}
