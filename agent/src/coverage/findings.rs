//! Episodes of coverage: what could not be seen, since when, and how much of it.
//!
//! | subject | opens | updates | closes |
//! |---|---|---|---|
//! | bytes past us, or missing, at an interface | an interval whose residual is beyond the tolerance | bytes have doubled, or it became worse | [`QUIET_INTERVALS`] intervals balance |
//! | bytes of sockets that did not leave, or that left without an owner | an interval in which they are beyond the tolerance | as above | as above |
//! | an attachment that vanished | somebody detached it, or what it was attached to is gone | never | it is attached again, and the bytes of the gap are known |
//! | a sink without some records | its receiver refused them for good, or retention was faster | never | an hour without another one |
//! | a witness that has not signed for long, or refuses to | its answer, or none in time | never | it signs, or is not configured any more |
//! | an interface that was made again or renamed | at once | never | at once |
//! | an interface whose bytes may be counted twice | it is watched | never | it is gone, or known by now |
//!
//! One episode per subject: a host that leaks all day is one finding that grows, whatever happens to the agent. What is
//! open when it ends is taken up by the next one ([`Findings::restore`]).

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    alert::{Identity, Level},
    clock::KernelTime,
    reconcile::{Comparison, Discards, OwnersReport, TOLERANCE_BYTES},
};

/// Balanced intervals after which a residual is over.
pub const QUIET_INTERVALS: u32 = 5;

/// Unexplained bytes from which a residual is of high severity: more than control traffic comes to.
const HIGH_BYTES: u64 = 1 << 20;
/// Unexplained bytes from which it is critical: a data set, not a mishap.
const CRITICAL_BYTES: u64 = 1 << 30;

/// What an episode is about; there is one at a time for each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Subject {
    /// The card of this interface sent what we did not see.
    Bypass {
        /// Its name.
        interface: Arc<str>,
    },
    /// We saw what the card of this interface did not send, and nobody says that it was dropped.
    Missing {
        /// Its name.
        interface: Arc<str>,
    },
    /// Sockets sent what did not reach an edge interface, and the kernel says that it discarded packets.
    Discarded,
    /// Sockets sent what did not reach an edge interface, and nobody says why.
    Unsent,
    /// Frames of local sockets left that the socket ledger does not have.
    Unattributed,
    /// A program is not attached any more.
    Detached {
        /// The program.
        program: Arc<str>,
        /// Where it was attached: an interface, a cgroup, or `kernel`.
        place: Arc<str>,
        /// What it is for.
        purpose: Arc<str>,
    },
    /// The pin that lets a program go on without the agent was removed.
    Unpinned {
        /// The program.
        program: Arc<str>,
        /// Where it is attached.
        place: Arc<str>,
    },
    /// An edge interface came into being while we watched, or was made again under its name.
    Appeared {
        /// Its name.
        interface: Arc<str>,
    },
    /// An edge interface has another name.
    Renamed {
        /// The new one.
        interface: Arc<str>,
        /// The old one.
        before: Arc<str>,
    },
    /// Bytes are counted at an interface that may send through another one, where they are counted, too.
    Doubtful {
        /// Its name.
        interface: Arc<str>,
    },
    /// A witness has not signed the ledger for too long.
    Unwitnessed {
        /// Name of the witness.
        witness: Arc<str>,
    },
    /// A witness has seen another ledger than the one that is here.
    Contradicted {
        /// Name of the witness.
        witness: Arc<str>,
    },
    /// A receiver will never have some records.
    Undelivered {
        /// Name of the sink.
        sink: Arc<str>,
    },
}

impl Subject {
    /// The word used in records.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Bypass { .. } => "bypass",
            Self::Missing { .. } => "missing",
            Self::Discarded => "discarded",
            Self::Unsent => "unsent",
            Self::Unattributed => "unattributed",
            Self::Detached { .. } => "detached",
            Self::Unpinned { .. } => "unpinned",
            Self::Appeared { .. } => "interface-appeared",
            Self::Renamed { .. } => "interface-renamed",
            Self::Doubtful { .. } => "interface-doubtful",
            Self::Unwitnessed { .. } => "unwitnessed",
            Self::Contradicted { .. } => "contradicted",
            Self::Undelivered { .. } => "undelivered",
        }
    }

    /// Where: the interface, the cgroup, the sink, the witness, `kernel`, or `host` for what is compared over all interfaces.
    pub fn place(&self) -> &str {
        match self {
            Self::Bypass { interface }
            | Self::Missing { interface }
            | Self::Appeared { interface }
            | Self::Renamed { interface, .. }
            | Self::Doubtful { interface }
            | Self::Detached { place: interface, .. }
            | Self::Unpinned { place: interface, .. }
            | Self::Unwitnessed { witness: interface }
            | Self::Contradicted { witness: interface }
            | Self::Undelivered { sink: interface } => interface,
            Self::Discarded | Self::Unsent | Self::Unattributed => "host",
        }
    }

    /// It is about the first identity, at one interface.
    const fn is_of_interface(&self) -> bool {
        !matches!(
            self,
            Self::Discarded
                | Self::Unsent
                | Self::Unattributed
                | Self::Unwitnessed { .. }
                | Self::Contradicted { .. }
                | Self::Undelivered { .. }
        )
    }

    /// The program concerned.
    pub const fn program(&self) -> Option<&Arc<str>> {
        match self {
            Self::Detached { program, .. } | Self::Unpinned { program, .. } => Some(program),
            Self::Bypass { .. }
            | Self::Missing { .. }
            | Self::Discarded
            | Self::Unsent
            | Self::Unattributed
            | Self::Appeared { .. }
            | Self::Renamed { .. }
            | Self::Doubtful { .. }
            | Self::Unwitnessed { .. }
            | Self::Contradicted { .. }
            | Self::Undelivered { .. } => None,
        }
    }

    /// What it may be, for a person who has to look.
    pub const fn suspects(&self) -> &'static [&'static str] {
        match self {
            Self::Bypass { .. } => &[
                "AF_XDP socket",
                "packet socket with PACKET_QDISC_BYPASS",
                "XDP_TX or XDP_REDIRECT",
                "RDMA, DPDK or another stack beside the kernel's",
                "a driver that counts in another way than any known one",
            ],
            Self::Missing { .. } => &[
                "another tc program behind ours that drops",
                "a driver that drops without counting",
                "a driver that counts in another way than any known one",
            ],
            Self::Discarded => &[
                "a neighbour whose hardware address is not known, or not in time",
                "another program at the egress of a cgroup that drops",
                "a netfilter hook at the egress of an interface",
                "a queue or a tc program that drops what is counted there",
            ],
            Self::Unsent => &[
                "a program or filter between the socket layer and tc that drops without counting",
                "a route that changed from an edge interface to another device",
                "a device between the socket and the edge that keeps packets on this host",
            ],
            Self::Unattributed => &[
                "a socket of a kind that the socket ledger is not shown",
                "fragments on a path with smaller packets than the interface's",
                "a device that hands on packets of sockets in another network namespace",
            ],
            Self::Detached { .. } => {
                &["somebody with root detached it", "what it was attached to was removed"]
            }
            Self::Unpinned { .. } => &["somebody with root removed the pin"],
            Self::Appeared { .. } => &["a driver was loaded again", "somebody made the interface again"],
            Self::Renamed { .. } => &["udev", "somebody with root"],
            Self::Doubtful { .. } => &[
                "a virtual device of a kind that this version does not know",
                "a line of its own, such as a modem: then nothing is counted twice",
            ],
            Self::Unwitnessed { .. } => {
                &["the witness or the way to it is down", "the witness does not know the key of this ledger"]
            }
            Self::Contradicted { .. } => &[
                "an old state of the ledger was put back, with all its copies",
                "somebody else signs with the key of this ledger: a host that was cloned, a key that was copied",
                "history was rewritten",
                "the witness was replaced, or lost its memory",
            ],
            Self::Undelivered { .. } => &[
                "the receiver expects another format",
                "it was away for longer than the ledger keeps records",
            ],
        }
    }
}

/// The bytes of an episode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unseen {
    /// Frame bytes, signed as in the residual: positive bytes left past us.
    pub bytes: i64,
    /// Of these, beyond every tolerance.
    pub certain_bytes: i64,
    /// Frames.
    pub frames: i64,
    /// How much of it may mean nothing, in bytes, at the latest report.
    pub tolerance_bytes: u64,
    /// Buffers dropped meanwhile, which may hide as much.
    pub dropped: u64,
    /// What the kernel says it discarded meanwhile: for [`Subject::Discarded`].
    pub discards: Option<Discards>,
}

/// What an interval adds to an episode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Added {
    bytes: i64,
    certain_bytes: i64,
    frames: i64,
    tolerance_bytes: u64,
    dropped: u64,
    discards: Option<Discards>,
}

impl From<&Comparison> for Added {
    fn from(comparison: &Comparison) -> Self {
        let tolerance = if comparison.unexplained.bytes > 0 { comparison.over } else { comparison.under };
        Self {
            bytes: comparison.unexplained.bytes,
            certain_bytes: comparison.certain_bytes(),
            frames: comparison.unexplained.frames,
            tolerance_bytes: tolerance.bytes,
            dropped: comparison.dropped,
            discards: None,
        }
    }
}

impl Added {
    /// Of the second identity: what it tells is certain, and nobody knows the number of packets.
    const fn certain(bytes: i64) -> Self {
        Self {
            bytes,
            certain_bytes: bytes,
            frames: 0,
            tolerance_bytes: TOLERANCE_BYTES,
            dropped: 0,
            discards: None,
        }
    }
}

/// Time in which something was not watched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Last seen as it should be.
    pub from: KernelTime,
    /// As it should be again; none while it is not.
    pub to: Option<KernelTime>,
    /// Bytes that were not observed meanwhile; none where nobody can know.
    pub unobserved_bytes: Option<i64>,
    /// Why it could not be repaired at the first attempt.
    pub failure: Option<String>,
}

/// A finding with a life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Episode {
    /// Stable and unique: 32 hexadecimal digits.
    pub id: Arc<str>,
    /// What it is about.
    pub subject: Subject,
    /// The highest level so far.
    pub level: Level,
    /// Begin of the first interval concerned.
    pub first_seen: KernelTime,
    /// End of the latest interval concerned.
    pub last_seen: KernelTime,
    /// For bytes past us or missing: everything so far.
    pub unseen: Unseen,
    /// For everything else.
    pub gap: Option<Gap>,
    /// Updates so far.
    pub n_updates: u32,
    /// As of the latest transition.
    told_bytes: u64,
    quiet: u32,
}

/// A change of an episode, with the episode as it is after the change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    /// It began.
    Open(Box<Episode>),
    /// It goes on; the word says why this is told.
    Update(Box<Episode>, &'static str),
    /// It is over; the word says why.
    Close(Box<Episode>, &'static str),
}

impl Transition {
    /// The episode.
    pub const fn episode(&self) -> &Episode {
        match self {
            Self::Open(episode) | Self::Update(episode, _) | Self::Close(episode, _) => episode,
        }
    }

    /// Somebody should look at it: it opens or becomes worse, and the kernel does not say why by itself.
    pub fn is_alert(&self) -> bool {
        let is_explained = matches!(self.episode().subject, Subject::Discarded);
        !is_explained && matches!(self, Self::Open(_) | Self::Update(_, "escalated"))
    }
}

/// All open episodes of coverage.
#[derive(Debug)]
pub struct Findings {
    identity: Identity,
    open: BTreeMap<Subject, Episode>,
}

impl Findings {
    /// None yet.
    pub const fn new(identity: Identity) -> Self {
        Self { identity, open: BTreeMap::new() }
    }

    /// Episodes that are open.
    pub fn open(&self) -> impl Iterator<Item = &Episode> {
        self.open.values()
    }

    /// What the next agent must know to go on with what is open.
    pub fn snapshot(&self) -> Vec<&Episode> {
        self.open.values().collect()
    }

    /// Goes on with what was open when an agent before this one ended.
    pub fn restore(&mut self, open: Vec<Episode>) {
        self.open = open.into_iter().map(|episode| (episode.subject.clone(), episode)).collect();
    }

    /// An interval of an interface has ended, with or without something that nothing explains.
    pub fn interval(
        &mut self,
        interface: &Arc<str>,
        finding: Option<&Comparison>,
        (began, ended): (KernelTime, KernelTime),
    ) -> Vec<Transition> {
        let subjects = [
            Subject::Bypass { interface: Arc::clone(interface) },
            Subject::Missing { interface: Arc::clone(interface) },
        ];
        let mut transitions = Vec::new();
        for subject in subjects {
            let concerned = finding.filter(|comparison| concerns(&subject, comparison));
            transitions.extend(match concerned {
                Some(comparison) => self.unseen(subject, &comparison.into(), (began, ended)),
                None => self.quiet(&subject),
            });
        }
        transitions
    }

    /// An interval of the second identity has ended.
    pub fn owners(&mut self, report: &OwnersReport, span: (KernelTime, KernelTime)) -> Vec<Transition> {
        let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let discarded = report
            .discarded
            .map(|(missing, discards)| Added { discards: Some(discards), ..Added::certain(-bytes(missing)) });
        let unsent = report.unsent.map(|missing| Added::certain(-bytes(missing)));
        let unattributed = report.unattributed.map(|found| Added::certain(bytes(found)));
        [(Subject::Discarded, discarded), (Subject::Unsent, unsent), (Subject::Unattributed, unattributed)]
            .into_iter()
            .filter_map(|(subject, added)| match added {
                Some(added) => self.unseen(subject, &added, span),
                None => self.quiet(&subject),
            })
            .collect()
    }

    fn unseen(
        &mut self,
        subject: Subject,
        added: &Added,
        (began, ended): (KernelTime, KernelTime),
    ) -> Option<Transition> {
        let id = self.id(&subject, began);
        let is_new = !self.open.contains_key(&subject);
        let episode = self.open.entry(subject).or_insert_with_key(|subject| Episode {
            id,
            subject: subject.clone(),
            level: Level::Informational,
            first_seen: began,
            last_seen: ended,
            unseen: Unseen::default(),
            gap: None,
            n_updates: 0,
            told_bytes: 0,
            quiet: 0,
        });
        let unseen = &mut episode.unseen;
        unseen.bytes = unseen.bytes.saturating_add(added.bytes);
        unseen.certain_bytes = unseen.certain_bytes.saturating_add(added.certain_bytes);
        unseen.frames = unseen.frames.saturating_add(added.frames);
        unseen.tolerance_bytes = added.tolerance_bytes;
        unseen.dropped = unseen.dropped.saturating_add(added.dropped);
        if let Some(discards) = added.discards {
            unseen.discards = Some(unseen.discards.unwrap_or_default().plus(&discards));
        }
        episode.last_seen = ended;
        episode.quiet = 0;
        let level = level(&episode.subject, unseen.bytes.unsigned_abs());
        let is_worse = level > episode.level;
        episode.level = episode.level.max(level);
        let bytes = episode.unseen.bytes.unsigned_abs();
        let word = match (is_worse, bytes >= episode.told_bytes.saturating_mul(2)) {
            (true, _) => "escalated",
            (false, true) => "doubled",
            (false, false) => return None,
        };
        episode.told_bytes = bytes;
        if is_new {
            return Some(Transition::Open(Box::new(episode.clone())));
        }
        episode.n_updates += 1;
        Some(Transition::Update(Box::new(episode.clone()), word))
    }

    fn quiet(&mut self, subject: &Subject) -> Option<Transition> {
        let episode = self.open.get_mut(subject)?;
        episode.quiet += 1;
        if episode.quiet < QUIET_INTERVALS {
            return None;
        }
        let episode = self.open.remove(subject)?;
        Some(Transition::Close(Box::new(episode), "balanced"))
    }

    /// Something is not as it should be since `from`.
    pub fn lost(
        &mut self,
        subject: Subject,
        from: KernelTime,
        now: KernelTime,
        failure: Option<String>,
    ) -> Option<Transition> {
        if let Some(episode) = self.open.get_mut(&subject) {
            episode.last_seen = now;
            if let Some(gap) = &mut episode.gap
                && failure.is_some()
            {
                gap.failure = failure;
                gap.to = None;
            }
            return None;
        }
        let episode = Episode {
            id: self.id(&subject, from),
            level: level(&subject, 0),
            subject: subject.clone(),
            first_seen: from,
            last_seen: now,
            unseen: Unseen::default(),
            gap: Some(Gap { from, to: None, unobserved_bytes: None, failure }),
            n_updates: 0,
            told_bytes: 0,
            quiet: 0,
        };
        self.open.insert(subject, episode.clone());
        Some(Transition::Open(Box::new(episode)))
    }

    /// It is as it should be again; this many bytes were not observed.
    pub fn repaired(
        &mut self,
        subject: &Subject,
        to: KernelTime,
        unobserved_bytes: Option<i64>,
    ) -> Option<Transition> {
        let mut episode = self.open.remove(subject)?;
        episode.last_seen = to;
        if let Some(gap) = &mut episode.gap {
            gap.to = Some(to);
            gap.unobserved_bytes = unobserved_bytes;
        }
        Some(Transition::Close(Box::new(episode), "repaired"))
    }

    /// Nobody asks for it any more.
    pub fn dropped(&mut self, subject: &Subject) -> Vec<Transition> {
        self.close(|episode| episode.subject == *subject, "not-configured")
    }

    /// The interface is gone: what is known of it is final.
    pub fn interface_gone(&mut self, interface: &str) -> Vec<Transition> {
        self.close(
            |episode| episode.subject.is_of_interface() && episode.subject.place() == interface,
            "interface-gone",
        )
    }

    /// The agent stops.
    pub fn stop(&mut self) -> Vec<Transition> {
        self.close(|_| true, "agent-stop")
    }

    fn close(&mut self, is_over: impl Fn(&Episode) -> bool, reason: &'static str) -> Vec<Transition> {
        self.open
            .extract_if(.., |_, episode| is_over(episode))
            .map(|(_, episode)| Transition::Close(Box::new(episode), reason))
            .collect()
    }

    fn id(&self, subject: &Subject, began: KernelTime) -> Arc<str> {
        let mut hash = Sha256::new();
        for part in [
            "coverage",
            &self.identity.host,
            &self.identity.boot,
            subject.as_str(),
            subject.place(),
            subject.program().map_or("", |program| &**program),
        ] {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        hash.update(began.0.to_le_bytes());
        hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>().into()
    }
}

/// Frames decide where bytes are not beyond the tolerance.
const fn concerns(subject: &Subject, comparison: &Comparison) -> bool {
    let (bytes, frames) = (comparison.unexplained.bytes, comparison.unexplained.frames);
    let is_bypass = bytes > 0 || (bytes == 0 && frames > 0);
    match subject {
        Subject::Bypass { .. } => is_bypass,
        Subject::Missing { .. } => !is_bypass,
        Subject::Discarded
        | Subject::Unsent
        | Subject::Unattributed
        | Subject::Detached { .. }
        | Subject::Unpinned { .. }
        | Subject::Appeared { .. }
        | Subject::Renamed { .. }
        | Subject::Doubtful { .. }
        | Subject::Unwitnessed { .. }
        | Subject::Contradicted { .. }
        | Subject::Undelivered { .. } => false,
    }
}

/// How bad it is. What is missing did not leave, so it is never worse than medium.
fn level(subject: &Subject, bytes: u64) -> Level {
    match subject {
        Subject::Bypass { .. } if bytes >= CRITICAL_BYTES => Level::Critical,
        Subject::Bypass { .. } if bytes >= HIGH_BYTES => Level::High,
        Subject::Bypass { .. } => Level::Medium,
        Subject::Missing { .. } | Subject::Unsent if bytes >= HIGH_BYTES => Level::Medium,
        Subject::Missing { .. } | Subject::Unsent => Level::Low,
        // The kernel says why.
        Subject::Discarded => Level::Informational,
        // It left, and nobody knows whose it was nor where to.
        Subject::Unattributed if bytes >= HIGH_BYTES => Level::High,
        Subject::Unattributed => Level::Medium,
        // Without these nothing adds up; without others names are missing.
        Subject::Detached { program, .. } => match &**program {
            "account_egress" | "frames_ethernet" | "frames_raw" => Level::High,
            _ => Level::Medium,
        },
        Subject::Unpinned { .. } | Subject::Unwitnessed { .. } | Subject::Undelivered { .. } => Level::Medium,
        // Nothing that this ledger says can be relied on until somebody knows why.
        Subject::Contradicted { .. } => Level::Critical,
        // Too much is said, if anything.
        Subject::Appeared { .. } | Subject::Doubtful { .. } => Level::Low,
        Subject::Renamed { .. } => Level::Informational,
    }
}

#[cfg(test)]
#[path = "findings_tests.rs"]
mod tests;
