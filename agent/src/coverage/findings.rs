//! Episodes of coverage: what could not be seen, since when, and how much of it.
//!
//! | subject | opens | updates | closes |
//! |---|---|---|---|
//! | bytes past us, or missing, at an interface | an interval whose residual is beyond the tolerance | bytes have doubled, or it became worse | [`QUIET_INTERVALS`] intervals balance |
//! | an attachment that vanished | somebody detached it, or what it was attached to is gone | never | it is attached again, and the bytes of the gap are known |
//! | a sink without some records | its receiver refused them for good, or retention was faster | never | an hour without another one |
//! | an interface that was made again or renamed | at once | never | at once |
//!
//! One episode per subject: a host that leaks all day is one finding that grows.

use std::{collections::BTreeMap, sync::Arc};

use sha2::{Digest, Sha256};

use crate::{
    alert::{Identity, Level},
    clock::KernelTime,
    reconcile::Comparison,
};

/// Balanced intervals after which a residual is over.
pub const QUIET_INTERVALS: u32 = 5;

/// Unexplained bytes from which a residual is of high severity: more than control traffic comes to.
const HIGH_BYTES: u64 = 1 << 20;
/// Unexplained bytes from which it is critical: a data set, not a mishap.
const CRITICAL_BYTES: u64 = 1 << 30;

/// What an episode is about; there is one at a time for each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// A program is not attached any more.
    Detached {
        /// The program.
        program: &'static str,
        /// Where it was attached: an interface, a cgroup, or `kernel`.
        place: Arc<str>,
        /// What it is for.
        purpose: &'static str,
    },
    /// The pin that lets a program go on without the agent was removed.
    Unpinned {
        /// The program.
        program: &'static str,
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
            Self::Detached { .. } => "detached",
            Self::Unpinned { .. } => "unpinned",
            Self::Appeared { .. } => "interface-appeared",
            Self::Renamed { .. } => "interface-renamed",
            Self::Undelivered { .. } => "undelivered",
        }
    }

    /// Where: the interface, the cgroup, the sink, or `kernel`.
    pub const fn place(&self) -> &Arc<str> {
        match self {
            Self::Bypass { interface }
            | Self::Missing { interface }
            | Self::Appeared { interface }
            | Self::Renamed { interface, .. }
            | Self::Detached { place: interface, .. }
            | Self::Unpinned { place: interface, .. }
            | Self::Undelivered { sink: interface } => interface,
        }
    }

    /// The program concerned.
    pub const fn program(&self) -> Option<&'static str> {
        match self {
            Self::Detached { program, .. } | Self::Unpinned { program, .. } => Some(program),
            Self::Bypass { .. }
            | Self::Missing { .. }
            | Self::Appeared { .. }
            | Self::Renamed { .. }
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
            Self::Detached { .. } => {
                &["somebody with root detached it", "what it was attached to was removed"]
            }
            Self::Unpinned { .. } => &["somebody with root removed the pin"],
            Self::Appeared { .. } => &["a driver was loaded again", "somebody made the interface again"],
            Self::Renamed { .. } => &["udev", "somebody with root"],
            Self::Undelivered { .. } => &[
                "the receiver expects another format",
                "it was away for longer than the ledger keeps records",
            ],
        }
    }
}

/// The bytes of an episode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
}

/// Time in which something was not watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
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
                Some(comparison) => self.unseen(subject, comparison, (began, ended)),
                None => self.quiet(&subject),
            });
        }
        transitions
    }

    fn unseen(
        &mut self,
        subject: Subject,
        comparison: &Comparison,
        (began, ended): (KernelTime, KernelTime),
    ) -> Option<Transition> {
        let id = self.id(&subject, began);
        let is_new = !self.open.contains_key(&subject);
        let episode = self.open.entry(subject).or_insert_with_key(|subject| Episode {
            id,
            subject: subject.clone(),
            level: Level::Low,
            first_seen: began,
            last_seen: ended,
            unseen: Unseen::default(),
            gap: None,
            n_updates: 0,
            told_bytes: 0,
            quiet: 0,
        });
        let tolerance = if comparison.unexplained.bytes > 0 { comparison.over } else { comparison.under };
        let unseen = &mut episode.unseen;
        unseen.bytes = unseen.bytes.saturating_add(comparison.unexplained.bytes);
        unseen.certain_bytes = unseen.certain_bytes.saturating_add(comparison.certain_bytes());
        unseen.frames = unseen.frames.saturating_add(comparison.unexplained.frames);
        unseen.tolerance_bytes = tolerance.bytes;
        unseen.dropped = unseen.dropped.saturating_add(comparison.dropped);
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

    /// The interface is gone: what is known of it is final.
    pub fn interface_gone(&mut self, interface: &str) -> Vec<Transition> {
        self.close(|episode| &**episode.subject.place() == interface, "interface-gone")
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
            subject.program().unwrap_or(""),
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
        Subject::Detached { .. }
        | Subject::Unpinned { .. }
        | Subject::Appeared { .. }
        | Subject::Renamed { .. }
        | Subject::Undelivered { .. } => false,
    }
}

/// How bad it is. What is missing did not leave, so it is never worse than medium.
const fn level(subject: &Subject, bytes: u64) -> Level {
    match subject {
        Subject::Bypass { .. } if bytes >= CRITICAL_BYTES => Level::Critical,
        Subject::Bypass { .. } if bytes >= HIGH_BYTES => Level::High,
        Subject::Bypass { .. } => Level::Medium,
        Subject::Missing { .. } if bytes >= HIGH_BYTES => Level::Medium,
        Subject::Missing { .. } => Level::Low,
        // Without these nothing adds up; without others names are missing.
        Subject::Detached { program, .. } => match program.as_bytes() {
            b"account_egress" | b"frames_ethernet" | b"frames_raw" => Level::High,
            _ => Level::Medium,
        },
        Subject::Unpinned { .. } | Subject::Undelivered { .. } => Level::Medium,
        Subject::Appeared { .. } => Level::Low,
        Subject::Renamed { .. } => Level::Informational,
    }
}

#[cfg(test)]
#[path = "findings_tests.rs"]
mod tests;
