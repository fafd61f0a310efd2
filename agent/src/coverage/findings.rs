//! Episodes of coverage: what could not be seen, since when, and how much of it.
//!
//! | subject | opens | updates | closes |
//! |---|---|---|---|
//! | bytes past us, or missing, at an interface | an interval whose residual is beyond the tolerance | bytes have doubled, or it became worse | [`QUIET_INTERVALS`] intervals balance |
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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
}

impl Subject {
    /// The word used in records.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Bypass { .. } => "bypass",
            Self::Missing { .. } => "missing",
        }
    }

    /// Which one of its kind.
    pub const fn name(&self) -> &Arc<str> {
        match self {
            Self::Bypass { interface } | Self::Missing { interface } => interface,
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
    /// Everything so far.
    pub unseen: Unseen,
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

    /// The interface is gone: what is known of it is final.
    pub fn interface_gone(&mut self, interface: &str) -> Vec<Transition> {
        self.close(|episode| &**episode.subject.name() == interface, "interface-gone")
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
        for part in ["coverage", &self.identity.host, &self.identity.boot, subject.as_str(), subject.name()] {
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
    }
}

/// What is missing did not leave, so it is never worse than medium.
const fn level(subject: &Subject, bytes: u64) -> Level {
    match subject {
        Subject::Bypass { .. } if bytes >= CRITICAL_BYTES => Level::Critical,
        Subject::Bypass { .. } if bytes >= HIGH_BYTES => Level::High,
        Subject::Bypass { .. } => Level::Medium,
        Subject::Missing { .. } if bytes >= HIGH_BYTES => Level::Medium,
        Subject::Missing { .. } => Level::Low,
    }
}

#[cfg(test)]
#[path = "findings_tests.rs"]
mod tests;
