use super::*;
use crate::reconcile::{Amount, Difference, Discards};

fn findings() -> Findings {
    Findings::new(Identity { host: "h".into(), boot: "b".into() })
}

fn unexplained(bytes: i64, frames: i64) -> Comparison {
    Comparison { unexplained: Difference::new(bytes, frames), ..Comparison::default() }
}

const SPAN: (KernelTime, KernelTime) = (KernelTime(1_000), KernelTime(2_000));

fn eth0() -> Arc<str> {
    "eth0".into()
}

#[test]
fn bypass_is_one_episode_that_grows_and_ends() {
    let mut findings = findings();
    let opened = findings.interval(&eth0(), Some(&unexplained(1000, 1)), SPAN);
    let [Transition::Open(episode)] = opened.as_slice() else { panic!("{opened:?}") };
    assert_eq!(
        (episode.level, episode.unseen.bytes, episode.subject.as_str()),
        (Level::Medium, 1000, "bypass")
    );
    let id = Arc::clone(&episode.id);
    assert_eq!(findings.interval(&eth0(), Some(&unexplained(500, 1)), SPAN), []);
    let updated = findings.interval(&eth0(), Some(&unexplained(500, 1)), SPAN);
    let [Transition::Update(episode, "doubled")] = updated.as_slice() else { panic!("{updated:?}") };
    assert_eq!((episode.unseen.bytes, episode.unseen.frames, &episode.id), (2000, 3, &id));
    let worse = findings.interval(&eth0(), Some(&unexplained(1 << 20, 1000)), SPAN);
    assert!(
        matches!(worse.as_slice(), [Transition::Update(episode, "escalated")] if episode.level == Level::High)
    );
    for _ in 1..QUIET_INTERVALS {
        assert_eq!(findings.interval(&eth0(), None, SPAN), []);
    }
    let closed = findings.interval(&eth0(), None, SPAN);
    assert!(matches!(closed.as_slice(), [Transition::Close(episode, "balanced")] if episode.id == id));
    assert_eq!(findings.open().count(), 0);
}

#[test]
fn what_is_missing_is_another_finding_than_what_went_past_us() {
    let cases = [
        (unexplained(1, 1), "bypass", Level::Medium),
        (unexplained(0, 3), "bypass", Level::Medium),
        (unexplained(1 << 30, 1), "bypass", Level::Critical),
        (unexplained(-1, -1), "missing", Level::Low),
        (unexplained(0, -1), "missing", Level::Low),
        (unexplained(-(1 << 30), -1), "missing", Level::Medium),
    ];
    for (comparison, word, level) in cases {
        let mut findings = findings();
        let opened = findings.interval(&eth0(), Some(&comparison), SPAN);
        let [Transition::Open(episode)] = opened.as_slice() else { panic!("{opened:?}") };
        assert_eq!((episode.subject.as_str(), episode.level), (word, level), "{comparison:?}");
    }
}

#[test]
fn only_what_is_beyond_the_tolerance_is_certain() {
    let mut findings = findings();
    let comparison = Comparison { over: Amount::new(300, 1), ..unexplained(1000, 5) };
    let opened = findings.interval(&eth0(), Some(&comparison), SPAN);
    let unseen = opened[0].episode().unseen;
    assert_eq!((unseen.bytes, unseen.certain_bytes, unseen.tolerance_bytes), (1000, 700, 300));
}

#[test]
fn an_interface_that_goes_and_an_agent_that_stops_end_their_episodes() {
    let mut findings = findings();
    findings.interval(&eth0(), Some(&unexplained(1, 1)), SPAN);
    findings.interval(&"eth1".into(), Some(&unexplained(1, 1)), SPAN);
    assert!(matches!(findings.interface_gone("eth0").as_slice(), [Transition::Close(_, "interface-gone")]));
    assert!(matches!(findings.stop().as_slice(), [Transition::Close(_, "agent-stop")]));
}

#[test]
fn an_attachment_that_vanished_is_told_once_and_ends_with_the_bytes_of_the_gap() {
    let mut findings = findings();
    let subject = Subject::Detached {
        program: "frames_ethernet".into(),
        place: eth0(),
        purpose: "every frame at Ethernet edge interfaces".into(),
    };
    let (from, noticed, later) = (KernelTime(1_000), KernelTime(2_000), KernelTime(3_000));
    let opened = findings.lost(subject.clone(), from, noticed, Some("no such device".to_owned()));
    let Some(Transition::Open(episode)) = opened else { panic!("{opened:?}") };
    assert_eq!((episode.level, episode.first_seen), (Level::High, from));
    assert_eq!(findings.lost(subject.clone(), from, later, Some("still not".to_owned())), None);
    let closed = findings.repaired(&subject, later, Some(4711));
    let Some(Transition::Close(episode, "repaired")) = closed else { panic!("{closed:?}") };
    let gap = episode.gap.expect("a gap");
    assert_eq!((gap.from, gap.to, gap.unobserved_bytes), (from, Some(later), Some(4711)));
    assert_eq!(gap.failure.as_deref(), Some("still not"));
    assert_eq!(findings.repaired(&subject, later, None), None);
}

#[test]
fn what_the_kernel_discarded_is_information_and_what_nobody_explains_is_not() {
    let discards = Discards { neighbour_packets: 3, ..Discards::default() };
    let discarded = OwnersReport { discarded: Some((1 << 30, discards)), ..OwnersReport::default() };
    let unsent = OwnersReport { unsent: Some(20_000), ..OwnersReport::default() };
    let unattributed = OwnersReport { unattributed: Some(1 << 20), ..OwnersReport::default() };
    let cases = [
        (discarded, "discarded", Level::Informational, -(1 << 30), false),
        (unsent, "unsent", Level::Low, -20_000, true),
        (unattributed, "unattributed", Level::High, 1 << 20, true),
    ];
    let mut findings = findings();
    for (report, word, level, bytes, is_alert) in cases {
        let opened = findings.owners(&report, SPAN);
        let [transition @ Transition::Open(episode)] = opened.as_slice() else { panic!("{opened:?}") };
        assert_eq!((episode.subject.as_str(), episode.level, episode.unseen.bytes), (word, level, bytes));
        assert_eq!(transition.is_alert(), is_alert, "{word}");
    }
    assert_eq!(findings.interface_gone("host"), [], "an interface of that name is something else");
    let updated = findings.owners(&discarded, SPAN);
    let [Transition::Update(episode, "doubled")] = updated.as_slice() else { panic!("{updated:?}") };
    assert_eq!(episode.unseen.discards, Some(discards.plus(&discards)));
}

#[test]
fn what_is_open_goes_on_with_the_next_agent() {
    let mut before = findings();
    let opened = before.interval(&eth0(), Some(&unexplained(1000, 1)), SPAN);
    let id = Arc::clone(&opened[0].episode().id);
    // One of the balanced intervals that end it was seen by the agent before.
    assert_eq!(before.interval(&eth0(), None, SPAN), []);
    let subject = Subject::Unpinned { program: "account_egress".into(), place: "/cgroup".into() };
    before.lost(subject.clone(), KernelTime(1), KernelTime(2), Some("full".to_owned()));

    let bytes = rmp_serde::to_vec_named(&before.snapshot()).expect("written");
    let mut after = findings();
    after.restore(rmp_serde::from_slice(&bytes).expect("read"));
    assert_eq!(after.open().collect::<Vec<_>>(), before.open().collect::<Vec<_>>());

    for _ in 2..QUIET_INTERVALS {
        assert_eq!(after.interval(&eth0(), None, SPAN), []);
    }
    let grown = after.interval(&eth0(), Some(&unexplained(3000, 3)), SPAN);
    let [Transition::Update(episode, "doubled")] = grown.as_slice() else { panic!("{grown:?}") };
    assert_eq!((&episode.id, episode.unseen.bytes), (&id, 4000));
    let closed = after.repaired(&subject, KernelTime(3), None);
    assert!(matches!(closed, Some(Transition::Close(_, "repaired"))), "{closed:?}");
}
