//! How much of each exception is used.
//!
//! The byte ceiling is a promise to the approver, so the reading that crosses it counts as exceeding it, as a
//! whole: a reading cannot be split, and rounding in favour of the sender would let every sweep overshoot.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    clock::WallTime,
    flow::Volume,
    policy::{ExceptionUse, Judge, Judgement, Subject, Verdict},
};

/// Wire bytes that went out under each exception. The app persists it: a restart must not refill an exception.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExceptionLedger {
    used: BTreeMap<Arc<str>, u64>,
}

impl ExceptionLedger {
    /// Nothing used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts bytes under an exception. Saturates: a full counter keeps the exception exceeded.
    pub fn add(&mut self, id: &Arc<str>, wire_bytes: u64) {
        match self.used.get_mut(id) {
            Some(used) => *used = used.saturating_add(wire_bytes),
            None => {
                self.used.insert(Arc::clone(id), wire_bytes);
            }
        }
    }

    /// Judges a reading and counts it under the exception that covers it.
    ///
    /// The reading is counted first and then judged again, so that the one which crosses the ceiling is already a
    /// violation. It stays counted: the ceiling is then plainly behind us, and what is reported as used includes
    /// everything that left while the exception was in force.
    pub fn judge(
        &mut self,
        judge: &dyn Judge,
        subject: &Subject<'_>,
        volume: Volume,
        now: WallTime,
    ) -> Judgement {
        let judgement = judge.judge(subject, self, now);
        let Verdict::Excepted { id } = &judgement.verdict else { return judgement };
        if volume.wire_bytes == 0 {
            return judgement;
        }
        self.add(id, volume.wire_bytes);
        judge.judge(subject, self, now)
    }

    /// All entries, to be written to disk.
    pub fn snapshot(&self) -> impl Iterator<Item = (&str, u64)> {
        self.used.iter().map(|(id, used)| (&**id, *used))
    }

    /// Takes entries back. For an exception that is known on both sides the larger number stays.
    pub fn restore(&mut self, entries: impl IntoIterator<Item = (Arc<str>, u64)>) {
        for (id, used) in entries {
            let entry = self.used.entry(id).or_default();
            *entry = used.max(*entry);
        }
    }
}

impl ExceptionUse for ExceptionLedger {
    fn used_bytes(&self, id: &str) -> u64 {
        self.used.get(id).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::{
        flow::{Initiator, Owner, Protocol},
        geo::{Evidence, Located, Location, Source},
        policy::{PolicyId, Rule, Severity},
    };

    /// Excepted up to a ceiling of 1,000 bytes.
    struct Ceiling;

    impl Judge for Ceiling {
        fn judge(&self, _: &Subject<'_>, used: &dyn ExceptionUse, _: WallTime) -> Judgement {
            let id: Arc<str> = "E1".into();
            let verdict = if used.used_bytes(&id) > 1_000 {
                Verdict::Violation {
                    rule: Rule::ExceptionExceeded,
                    severity: Severity::High,
                    exception: Some(id),
                }
            } else {
                Verdict::Excepted { id }
            };
            let policy = PolicyId { name: "p".into(), preset: None, hash: "".into() };
            Judgement { policy: Arc::new(policy), verdict, reason: "".into() }
        }
    }

    fn judge(ledger: &mut ExceptionLedger, wire_bytes: u64) -> Verdict {
        let located = Located {
            location: Location::Private,
            evidence: Evidence {
                embedded: None,
                via: None,
                source: Source::Nothing,
                prefix: None,
                answers: Vec::new(),
                autonomous_system: None,
            },
        };
        let subject = Subject {
            owner: &Owner::unowned(),
            remote: Ipv4Addr::LOCALHOST.into(),
            located: &located,
            protocol: Protocol::TCP,
            local_port: 1,
            remote_port: 2,
            initiator: Initiator::Local,
        };
        let volume = Volume { wire_bytes, payload_bytes: wire_bytes, packets: 1 };
        ledger.judge(&Ceiling, &subject, volume, WallTime(0)).verdict
    }

    #[test]
    fn the_reading_that_crosses_the_ceiling_is_a_violation_even_if_nothing_follows() {
        let mut ledger = ExceptionLedger::new();
        assert!(matches!(judge(&mut ledger, 1_000), Verdict::Excepted { .. }));
        assert!(matches!(judge(&mut ledger, 1), Verdict::Violation { rule: Rule::ExceptionExceeded, .. }));
        assert_eq!(ledger.used_bytes("E1"), 1_001);
    }

    #[test]
    fn a_reading_without_bytes_uses_nothing() {
        let mut ledger = ExceptionLedger::new();
        judge(&mut ledger, 0);
        assert_eq!(ledger.snapshot().count(), 0);
    }

    #[test]
    fn a_restart_does_not_refill_an_exception() {
        let mut before = ExceptionLedger::new();
        judge(&mut before, 600);
        let saved: Vec<(Arc<str>, u64)> = before.snapshot().map(|(id, used)| (id.into(), used)).collect();
        let mut after = ExceptionLedger::new();
        after.restore(saved);
        assert!(matches!(judge(&mut after, 600), Verdict::Violation { .. }));
    }

    #[test]
    fn restoring_never_lowers_a_number() {
        let mut ledger = ExceptionLedger::new();
        ledger.add(&"E1".into(), 500);
        ledger.restore([("E1".into(), 200), ("E2".into(), 7)]);
        assert_eq!((ledger.used_bytes("E1"), ledger.used_bytes("E2")), (500, 7));
    }
}
