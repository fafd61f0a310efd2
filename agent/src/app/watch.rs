//! What is attached is looked at every second. What is not as it should be is repaired, and told as a finding that
//! says from when to when, and how many bytes were not observed meanwhile.
//!
//! | what was detached | bytes not observed |
//! |---|---|
//! | a program at an interface | what the card has counted beyond `tc` since both last balanced |
//! | the socket ledger at the cgroup | what `tc` has seen of local sockets beyond the ledger, a few sweeps later |
//! | others | none: they name owners, and count nothing |

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

impl App {
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
    let program = repair.program.name;
    let place = place(&repair.at);
    match repair.was {
        Condition::Unpinned => Subject::Unpinned { program, place },
        Condition::Gone | Condition::Attached => {
            Subject::Detached { program, place, purpose: repair.program.purpose }
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
