//! What is attached is looked at every second. What is not as it should be is repaired, and told as a finding that
//! says from when to when, and how many bytes were not observed meanwhile.
//!
//! | what was detached | bytes not observed |
//! |---|---|
//! | a program at an interface | what the card has counted beyond `tc` since both last balanced |
//! | the socket ledger at the cgroup | what `tc` has seen of local sockets beyond the ledger, a few sweeps later |
//! | others | none: they name owners, and count nothing |
//!
//! An agent that comes looks at what the one before left open, and at what was detached meanwhile: it has attached
//! everything by then.

use std::sync::Arc;

use super::App;
use crate::{
    clock::KernelTime,
    coverage::findings::Subject,
    probe::{At, Attachment, Condition, Repair, links::Links},
};

/// After so many sweeps both sides of the second identity have been read: slots at once, bytes without slot a sweep
/// later, and one more for a sweep that was under way.
const SETTLE_SWEEPS: u32 = 3;

/// The program whose bytes the second identity knows.
const SOCKET_LEDGER: &str = "account_egress";

#[derive(Debug, Default)]
pub(super) struct Watch {
    /// When everything was last seen attached, and the rest of the second identity then.
    well: KernelTime,
    rest: i64,
    /// The socket ledger is attached again; its bytes are known when it has been read completely.
    settling: Option<Settling>,
}

#[derive(Debug)]
struct Settling {
    subject: Subject,
    repaired: KernelTime,
    rest: i64,
    sweeps: u32,
}

impl Watch {
    /// What the next agent must know.
    pub(super) const fn well(&self) -> (KernelTime, i64) {
        (self.well, self.rest)
    }

    /// Goes on where an agent before this one had looked last.
    pub(super) fn resume((well, rest): (KernelTime, i64)) -> Self {
        Self { well, rest, settling: None }
    }
}

impl App {
    /// Once, when everything is attached: what was not when the agent before ended, or has been detached since.
    pub(super) async fn take_up_findings(&mut self, links: &Links) {
        let now = KernelTime::now();
        for (program, at) in self.probe.take_vanished() {
            let subject = Subject::Detached {
                program: program.name.into(),
                place: place(&at),
                purpose: program.purpose.into(),
            };
            let well = if self.watch.well == KernelTime::default() { now } else { self.watch.well };
            let opened = self.findings.lost(subject, well, now, None);
            self.publish_coverage(opened);
        }
        if self.findings.open().next().is_none() {
            return;
        }
        self.count_links(links).await;
        let attachments = self.probe.attachments();
        let subjects: Vec<Subject> = self.findings.open().map(|episode| episode.subject.clone()).collect();
        for subject in subjects {
            let attachment = attachments.iter().find(|attachment| {
                subject.program().is_some_and(|program| **program == *attachment.program.name)
                    && *place(&attachment.at) == *subject.place()
            });
            let closed = match (&subject, attachment) {
                (Subject::Bypass { interface } | Subject::Missing { interface }, _) => {
                    if self.edges.iter().any(|(_, edge)| edge.name == *interface) {
                        continue;
                    }
                    self.findings.interface_gone(interface)
                }
                (Subject::Detached { .. } | Subject::Unpinned { .. }, Some(attachment)) => {
                    if attachment.condition != Condition::Attached {
                        continue;
                    }
                    let unobserved = match (&subject, &attachment.at) {
                        (Subject::Detached { .. }, At::Interface { index, .. }) => {
                            self.edges.settle_gap(*index)
                        }
                        (Subject::Detached { program, .. }, At::Cgroup(_)) if **program == *SOCKET_LEDGER => {
                            let rest = self.watch.rest;
                            self.watch.settling = Some(Settling { subject, repaired: now, rest, sweeps: 0 });
                            continue;
                        }
                        _ => None,
                    };
                    self.findings.repaired(&subject, now, unobserved).into_iter().collect()
                }
                (Subject::Doubtful { interface }, _) => {
                    if self.edges.iter().any(|(_, edge)| edge.name == *interface) {
                        continue;
                    }
                    self.findings.interface_gone(interface)
                }
                // These end by themselves: after quiet intervals or a quiet hour, or when a witness signs.
                (
                    Subject::Discarded
                    | Subject::Unsent
                    | Subject::Unattributed
                    | Subject::Unwitnessed { .. }
                    | Subject::Contradicted { .. }
                    | Subject::Undelivered { .. },
                    _,
                ) => continue,
                // This agent does not attach it, or not there.
                (Subject::Detached { .. } | Subject::Unpinned { .. }, None)
                | (Subject::Appeared { .. } | Subject::Renamed { .. }, _) => {
                    self.findings.repaired(&subject, now, None).into_iter().collect()
                }
            };
            self.publish_coverage(closed);
        }
    }

    /// Once a second, after the counters of interfaces have been read.
    pub(super) async fn look_at_attachments(&mut self, links: &Links) {
        self.settle_socket_ledger();
        let attachments = self.probe.attachments();
        if attachments.iter().all(|attachment| attachment.condition == Condition::Attached) {
            self.watch.well = KernelTime::now();
            self.watch.rest = self.edges.attribution.rest();
            return;
        }
        // The bytes of the gap are told by the finding about it.
        self.edges.owners.begin_again();
        // An interface that is gone has nothing that could be attached again.
        if attachments.iter().any(is_gone_from_interface) {
            self.follow_links(links).await;
        }
        let repairs = self.probe.repair();
        let now = KernelTime::now();
        let mut interfaces = Vec::new();
        for repair in repairs {
            let subject = subject(&repair);
            tracing::warn!(
                program = repair.program.name,
                place = subject.place(),
                was = ?repair.was,
                failure = repair.failure,
                "a program was not attached as it should be"
            );
            let is_repaired = repair.failure.is_none();
            let opened = self.findings.lost(subject.clone(), self.watch.well, now, repair.failure);
            self.publish_coverage(opened);
            match (&repair.at, repair.was) {
                _ if !is_repaired => {}
                (At::Interface { index, .. }, Condition::Gone) => interfaces.push((*index, subject)),
                (At::Cgroup(_), Condition::Gone) if repair.program.name == SOCKET_LEDGER => {
                    let rest = self.watch.rest;
                    self.watch.settling = Some(Settling { subject, repaired: now, rest, sweeps: 0 });
                }
                _ => {
                    let closed = self.findings.repaired(&subject, now, None);
                    self.publish_coverage(closed);
                }
            }
        }
        if !interfaces.is_empty() {
            self.count_links(links).await;
        }
        for (index, subject) in interfaces {
            let unobserved = self.edges.settle_gap(index);
            let closed = self.findings.repaired(&subject, now, unobserved);
            self.publish_coverage(closed);
        }
    }

    fn settle_socket_ledger(&mut self) {
        let Some(settling) = &mut self.watch.settling else { return };
        settling.sweeps += 1;
        self.edges.owners.begin_again();
        if settling.sweeps < SETTLE_SWEEPS {
            return;
        }
        if let Some(Settling { subject, repaired, rest, .. }) = self.watch.settling.take() {
            let unobserved = self.edges.attribution.rest().saturating_sub(rest);
            let closed = self.findings.repaired(&subject, repaired, Some(unobserved));
            self.publish_coverage(closed);
        }
    }
}

const fn is_gone_from_interface(attachment: &Attachment) -> bool {
    matches!((attachment.condition, &attachment.at), (Condition::Gone, At::Interface { .. }))
}

fn subject(repair: &Repair) -> Subject {
    let program = repair.program.name.into();
    let place = place(&repair.at);
    match repair.was {
        Condition::Unpinned => Subject::Unpinned { program, place },
        Condition::Gone | Condition::Attached => {
            Subject::Detached { program, place, purpose: repair.program.purpose.into() }
        }
    }
}

/// A place in words.
pub(super) fn place(at: &At) -> Arc<str> {
    match at {
        At::Cgroup(path) => path.display().to_string().into(),
        At::Kernel => "kernel".into(),
        At::Interface { name, .. } => name.as_str().into(),
    }
}
