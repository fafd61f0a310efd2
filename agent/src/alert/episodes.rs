//! All open episodes of this host, and when each changes.
//!
//! **Update**: at once when it escalates; when its bytes have doubled since the last transition, but not within
//! [`EpisodeSettings::update_floor`]; every [`EpisodeSettings::update_every`] while bytes flow.
//!
//! **Close**: after [`EpisodeSettings::quiet`] without bytes. When every known connection is closed the wait is
//! only [`EpisodeSettings::closed_grace`] (or the quiet time, if that is shorter): a stream of short connections
//! that follow each other within the grace stays one episode.
//!
//! **Bytes that keep it alive**: payload, and acknowledgements of conversations that we opened. Packets without
//! data towards someone who connected to us do not, or a scanner could hold an episode open forever; they are
//! counted in it all the same.
//!
//! **Bound**: [`EpisodeSettings::max_open`]. Beyond it violations go to one catch-all episode per policy (owner
//! `*`, place `several`), so they still alert and no byte is lost, only detail; attempts beyond it are counted.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    alert::{
        Cause, CloseReason, Episode, EpisodeKey, Identity, Kind, Level, Transition, UpdateReason,
        episode::{Destination, Distinct, MAX_DISTINCT},
    },
    clock::KernelTime,
    flow::{
        Actor, Initiator, Observation, Owner,
        table::{Assessment, Judged},
    },
    policy::{Judgement, Verdict},
};

/// When episodes change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpisodeSettings {
    /// An outgoing attempt is a finding when no payload followed within this time.
    pub attempt_grace: Duration,
    /// While bytes flow, an update at least this often.
    pub update_every: Duration,
    /// Not more than one update for doubled bytes within this time.
    pub update_floor: Duration,
    /// Without bytes for this long an episode is over.
    pub quiet: Duration,
    /// With all connections closed for this long it is over, too.
    pub closed_grace: Duration,
    /// Episodes at the same time, pending attempts included; one more per policy collects the rest.
    pub max_open: usize,
}

impl Default for EpisodeSettings {
    fn default() -> Self {
        Self {
            attempt_grace: Duration::from_secs(3),
            update_every: Duration::from_secs(60),
            update_floor: Duration::from_secs(1),
            quiet: Duration::from_secs(60),
            closed_grace: Duration::from_secs(10),
            max_open: 4_096,
        }
    }
}

/// What changed, when flows are judged again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejudgeCause {
    /// The policy.
    Policy,
    /// A location database, a site or an override.
    Location,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EpisodeCounters {
    /// Opened.
    pub opened: u64,
    /// Updates.
    pub updated: u64,
    /// Closed.
    pub closed: u64,
    /// Readings that went to a catch-all episode.
    pub caught_all_readings: u64,
    /// Readings of attempts that found no room and are in the totals only.
    pub untracked_attempt_readings: u64,
}

/// An open episode with all that is remembered of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct OpenEpisode {
    episode: Episode,
    distinct: Distinct,
    /// Not yet reported: an attempt that may still become a transfer, until this time.
    pending_until: Option<KernelTime>,
    live: Connections,
    last_activity: KernelTime,
    last_transition: KernelTime,
    wire_at_transition: u64,
}

/// The connections of an episode that are open, as hashes.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Connections {
    open: HashSet<u64>,
    /// More were open at once than we remember: only the quiet time closes the episode.
    lost_track: bool,
    last_closed: Option<KernelTime>,
}

/// What a reading means for an episode.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Signal {
    /// Data left.
    Payload,
    /// We try to connect.
    Attempt,
    /// Neither, within a conversation that we opened.
    OwnControl,
    /// Neither.
    Control,
}

/// See the module.
#[derive(Debug)]
pub struct Episodes {
    settings: EpisodeSettings,
    identity: Identity,
    slots: HashMap<EpisodeKey, OpenEpisode>,
    counters: EpisodeCounters,
}

impl Episodes {
    /// No episodes yet.
    pub fn new(settings: EpisodeSettings, identity: Identity) -> Self {
        Self { settings, identity, slots: HashMap::new(), counters: EpisodeCounters::default() }
    }

    /// Other settings, for what happens from now on.
    pub const fn set(&mut self, settings: EpisodeSettings) {
        self.settings = settings;
    }

    /// Takes one judged reading.
    pub fn observe(&mut self, judged: &Judged, now: KernelTime) -> Option<Transition> {
        let observation = &judged.observation;
        let (cause, level) = offence(&judged.assessment.judgement)?;
        let is_exception = matches!(cause, Cause::Exception { .. });
        let signal = signal(judged, is_exception);
        let mut key = EpisodeKey::new(
            &observation.key.owner,
            observation.key.initiator,
            &judged.assessment.located,
            &judged.assessment.judgement,
            cause,
        );

        if !self.slots.contains_key(&key) {
            let may_open = match signal {
                Signal::Payload => true,
                Signal::Attempt => !is_exception,
                Signal::OwnControl | Signal::Control => false,
            };
            let is_full = self.slots.len() >= self.settings.max_open;
            if !may_open {
                return None;
            }
            if is_full && signal == Signal::Attempt {
                self.counters.untracked_attempt_readings += 1;
                return None;
            }
            if is_full {
                self.counters.caught_all_readings += 1;
                key = key.catch_all();
            }
        }

        let settings = self.settings;
        let identity = &self.identity;
        let slot = self.slots.entry(key).or_insert_with_key(|key| {
            let kind = if is_exception { Kind::Exception } else { Kind::Attempt };
            let first_level = if is_exception { Level::Informational } else { Level::Low };
            OpenEpisode {
                episode: Episode::new(identity, key.clone(), kind, first_level, judged),
                distinct: Distinct::default(),
                pending_until: Some(now + settings.attempt_grace),
                live: Connections::default(),
                last_activity: now,
                last_transition: now,
                wire_at_transition: 0,
            }
        });
        slot.take(judged, signal, now);

        let mut escalated = false;
        if signal == Signal::Payload {
            if slot.episode.kind == Kind::Attempt {
                slot.episode.kind = Kind::Transfer;
                escalated = true;
            }
            escalated |= slot.episode.raise(level, judged);
        }
        let transition = if slot.pending_until.is_some() {
            (signal == Signal::Payload).then(|| slot.open(now))
        } else if escalated {
            Some(slot.update(now, UpdateReason::Escalated))
        } else {
            slot.due_update(&settings, now).map(|reason| slot.update(now, reason))
        };
        self.counters.count(transition.iter());
        transition
    }

    /// Lets time pass: attempts become findings, quiet episodes close, flowing ones are updated.
    pub fn tick(&mut self, now: KernelTime) -> Vec<Transition> {
        let settings = self.settings;
        let mut transitions = Vec::new();
        self.slots.retain(|_, slot| {
            if let Some(until) = slot.pending_until {
                if now >= until {
                    transitions.push(slot.open(now));
                }
                return true;
            }
            let (close_at, reason) = slot.close_at(&settings);
            if now >= close_at {
                transitions.push(slot.close(reason));
                return false;
            }
            if let Some(reason) = slot.due_update(&settings, now) {
                transitions.push(slot.update(now, reason));
            }
            true
        });
        self.counters.count(transitions.iter());
        in_order(transitions)
    }

    /// When [`Self::tick`] has something to do next. Reads all episodes: at most `max_open` and one per policy.
    pub fn next_deadline(&self, now: KernelTime) -> Option<KernelTime> {
        self.slots.values().map(|slot| slot.next_deadline(&self.settings)).min().map(|due| due.max(now))
    }

    /// Asks again about every remembered destination, after policy or databases changed.
    ///
    /// An episode none of whose destinations would still belong to it is closed; what flows on opens another one
    /// under the new judgement, if that is a violation. Catch-all episodes stay until they are quiet.
    pub fn rejudge(
        &mut self,
        cause: RejudgeCause,
        mut assess: impl FnMut(&Owner, Initiator, &Destination) -> Assessment,
    ) -> Vec<Transition> {
        let reason = match cause {
            RejudgeCause::Policy => CloseReason::PolicyChange,
            RejudgeCause::Location => CloseReason::LocationChange,
        };
        let mut transitions = Vec::new();
        self.slots.retain(|key, slot| {
            if key.is_catch_all() {
                return true;
            }
            let mut stays = false;
            let (owner, initiator) = (Arc::clone(&slot.episode.owner), key.initiator);
            for destination in &mut slot.episode.destinations {
                let assessment = assess(&owner, initiator, destination);
                let Some((cause, _)) = offence(&assessment.judgement) else { continue };
                let after =
                    EpisodeKey::new(&owner, initiator, &assessment.located, &assessment.judgement, cause);
                if after == *key {
                    stays = true;
                    destination.located = assessment.located;
                    // The level follows with the next bytes: nothing has left under the new policy yet.
                    slot.episode.policy = Arc::clone(&assessment.judgement.policy);
                }
            }
            if stays {
                return true;
            }
            if slot.pending_until.is_none() {
                transitions.push(slot.close(reason));
            }
            false
        });
        self.counters.count(transitions.iter());
        in_order(transitions)
    }

    /// Closes everything, because the agent stops. Attempts too young to be sure are reported rather than lost.
    pub fn stop(&mut self, now: KernelTime) -> Vec<Transition> {
        let mut transitions = Vec::new();
        for (_, mut slot) in self.slots.drain() {
            if slot.pending_until.is_some() {
                transitions.push(slot.open(now));
            }
            transitions.push(slot.close(CloseReason::AgentStop));
        }
        self.counters.count(transitions.iter());
        in_order(transitions)
    }

    /// Everything that is open, pending attempts included, to be gone on with by [`Self::restore`].
    pub fn snapshot(&self) -> Vec<&OpenEpisode> {
        self.slots.values().collect()
    }

    /// Goes on with what an agent before this one had open on the same boot.
    pub fn restore(&mut self, open: Vec<OpenEpisode>) {
        self.slots.extend(open.into_iter().map(|slot| (slot.episode.key.clone(), slot)));
    }

    /// Episodes that were opened and not closed.
    pub fn open(&self) -> impl Iterator<Item = &Episode> {
        self.slots.values().filter(|slot| slot.pending_until.is_none()).map(|slot| &slot.episode)
    }

    /// What happened so far.
    pub const fn counters(&self) -> EpisodeCounters {
        self.counters
    }
}

impl OpenEpisode {
    fn take(&mut self, judged: &Judged, signal: Signal, now: KernelTime) {
        self.episode.add(&mut self.distinct, judged);
        self.live.take(&judged.observation, now);
        let keeps_alive = signal != Signal::Control;
        if keeps_alive && !judged.observation.volume.is_zero() {
            self.last_activity = now;
        }
    }

    fn open(&mut self, now: KernelTime) -> Transition {
        self.pending_until = None;
        let snapshot = Box::new(self.episode.clone());
        self.turn(now);
        Transition::Open(snapshot)
    }

    fn update(&mut self, now: KernelTime, reason: UpdateReason) -> Transition {
        self.episode.n_updates += 1;
        let snapshot = Box::new(self.episode.clone());
        self.turn(now);
        Transition::Update(snapshot, reason)
    }

    fn close(&self, reason: CloseReason) -> Transition {
        Transition::Close(Box::new(self.episode.clone()), reason)
    }

    fn turn(&mut self, now: KernelTime) {
        self.last_transition = now;
        self.wire_at_transition = self.episode.tally.volume.wire_bytes;
        self.episode.since_transition = crate::flow::Volume::default();
    }

    fn due_update(&self, settings: &EpisodeSettings, now: KernelTime) -> Option<UpdateReason> {
        self.next_update(settings).filter(|(due, _)| now >= *due).map(|(_, reason)| reason)
    }

    /// Attempts are not updated for doubled bytes: retries of a few dozen bytes say nothing new.
    fn next_update(&self, settings: &EpisodeSettings) -> Option<(KernelTime, UpdateReason)> {
        let wire_bytes = self.episode.tally.volume.wire_bytes;
        if wire_bytes == self.wire_at_transition {
            return None;
        }
        let periodic = self.last_transition + settings.update_every;
        let doubled = self.last_transition + settings.update_floor;
        if wire_bytes / 2 >= self.wire_at_transition
            && self.episode.kind != Kind::Attempt
            && doubled < periodic
        {
            return Some((doubled, UpdateReason::Doubled));
        }
        Some((periodic, UpdateReason::StillFlowing))
    }

    fn close_at(&self, settings: &EpisodeSettings) -> (KernelTime, CloseReason) {
        let quiet_at = self.last_activity + settings.quiet;
        match self.live.all_closed_since() {
            Some(closed) => {
                let grace = settings.closed_grace.min(settings.quiet);
                let closed_at = self.last_activity.max(closed) + grace;
                if closed_at < quiet_at {
                    return (closed_at, CloseReason::ConnectionsClosed);
                }
                (quiet_at, CloseReason::Quiet)
            }
            None => (quiet_at, CloseReason::Quiet),
        }
    }

    fn next_deadline(&self, settings: &EpisodeSettings) -> KernelTime {
        if let Some(until) = self.pending_until {
            return until;
        }
        let (close_at, _) = self.close_at(settings);
        self.next_update(settings).map_or(close_at, |(update_at, _)| close_at.min(update_at))
    }
}

impl Connections {
    fn take(&mut self, observation: &Observation, now: KernelTime) {
        let mut hasher = DefaultHasher::new();
        let key = &observation.key;
        (key.remote, key.protocol, observation.local, observation.local_port, observation.remote_port)
            .hash(&mut hasher);
        let connection = hasher.finish();
        if observation.closed {
            self.open.remove(&connection);
            self.last_closed = Some(now);
        } else if self.open.len() < MAX_DISTINCT {
            self.open.insert(connection);
        } else if !self.open.contains(&connection) {
            self.lost_track = true;
        }
    }

    fn all_closed_since(&self) -> Option<KernelTime> {
        if self.lost_track || !self.open.is_empty() { None } else { self.last_closed }
    }
}

impl EpisodeCounters {
    fn count<'a>(&mut self, transitions: impl Iterator<Item = &'a Transition>) {
        for transition in transitions {
            match transition {
                Transition::Open(_) => self.opened += 1,
                Transition::Update(..) => self.updated += 1,
                Transition::Close(..) => self.closed += 1,
            }
        }
    }
}

/// What a judgement makes of traffic with payload; nothing for approved traffic.
fn offence(judgement: &Judgement) -> Option<(Cause, Level)> {
    match &judgement.verdict {
        Verdict::Approved => None,
        Verdict::Excepted { id } => Some((Cause::Exception { id: Arc::clone(id) }, Level::Informational)),
        Verdict::Violation { rule, severity, exception } => {
            Some((Cause::Rule { rule: *rule, exception: exception.clone() }, Level::from(*severity)))
        }
    }
}

fn signal(judged: &Judged, is_exception: bool) -> Signal {
    let observation = &judged.observation;
    let kernel_service = match &observation.key.owner.actor {
        Actor::Kernel(service) => &**service,
        Actor::Process(_) | Actor::Forwarded | Actor::PacketSocket | Actor::Unowned => "",
    };
    // An echo reply carries what the other side sent: no data of ours.
    if kernel_service == "icmp" {
        return Signal::Control;
    }
    if observation.volume.payload_bytes > 0 {
        return Signal::Payload;
    }
    // Resets and time-wait acknowledgements of the TCP stack itself are no attempt of anybody.
    if observation.key.initiator != Initiator::Local || kernel_service == "tcp" {
        return Signal::Control;
    }
    let acknowledges = judged.had_payload || observation.pre_existing || is_exception;
    if acknowledges || observation.volume.is_zero() { Signal::OwnControl } else { Signal::Attempt }
}

/// By first packet, then id: the same input gives the same output, whatever order the hash map has.
fn in_order(mut transitions: Vec<Transition>) -> Vec<Transition> {
    transitions.sort_by(|a, b| {
        let (a, b) = (a.episode(), b.episode());
        (a.first_seen, &a.id).cmp(&(b.first_seen, &b.id))
    });
    transitions
}

#[cfg(test)]
#[path = "episodes_tests.rs"]
pub(crate) mod tests;
