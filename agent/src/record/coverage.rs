//! A finding about coverage as OCSF Detection Finding (class 2004): what could not be seen, and how much of it.

use serde::Serialize;

use crate::{
    clock::KernelTime,
    coverage::findings::{Gap, Subject, Transition},
    record::{
        Context, Record, SCHEMA,
        finding::{self, Analytic, FindingInfo},
        human,
        interval::DiscardsExtra,
        ocsf,
    },
};

/// The kind of such a finding, as records have it.
pub const KIND: &str = "coverage";

/// See the module.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are OCSF's")]
pub struct CoverageFinding {
    #[serde(flatten)]
    pub base: ocsf::Base,
    pub status_id: u8,
    pub status: &'static str,
    /// True when the episode opens or becomes worse.
    pub is_alert: bool,
    pub action_id: u8,
    pub action: &'static str,
    pub disposition_id: u8,
    pub disposition: &'static str,
    pub finding_info: FindingInfo,
    pub evidences: [Evidence; 1],
    pub unmapped: ocsf::Unmapped<Extra>,
}

/// This host: where the bytes went is what is not known.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are OCSF's")]
pub struct Evidence {
    pub src_endpoint: ocsf::Endpoint,
    pub connection_info: ocsf::ConnectionInfo,
}

/// `unmapped.homeport` of a finding about coverage.
#[derive(Clone, Debug, Serialize)]
pub struct Extra {
    /// Version of this object.
    pub schema: u32,
    /// `coverage`.
    pub kind: &'static str,
    /// `bypass`, `missing`, `discarded`, `unsent`, `unattributed`, `detached`, `unpinned`, `interface-appeared`,
    /// `interface-renamed`, `interface-doubtful`, `unwitnessed`, `contradicted` or `undelivered`.
    pub subject: &'static str,
    /// `open`, `update` or `close`.
    pub transition: &'static str,
    /// Why it was updated or closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transition_reason: Option<&'static str>,
    /// Updates so far.
    pub updates: u32,
    /// The interface or cgroup concerned, `kernel` or `host`.
    pub place: String,
    /// The program concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// What left past us or is missing.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub residual: Option<ResidualExtra>,
    /// The time in which something was not watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<GapExtra>,
    /// What it may be.
    pub suspects: &'static [&'static str],
}

/// What left past us or is missing.
#[derive(Clone, Debug, Serialize)]
pub struct ResidualExtra {
    /// Frame bytes that nothing explains, signed: positive ones left past us.
    pub residual_bytes: i64,
    /// Of these, beyond the tolerance.
    pub certain_bytes: i64,
    /// Frames that nothing explains, signed.
    pub residual_packets: i64,
    /// What may mean nothing, in bytes.
    pub tolerance_bytes: u64,
    /// Buffers that were dropped behind us meanwhile; as much may be hidden.
    pub dropped_packets: u64,
    /// What the kernel says it discarded before the edge meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discards: Option<DiscardsExtra>,
}

/// Time in which something was not watched.
#[derive(Clone, Debug, Serialize)]
pub struct GapExtra {
    /// Last seen as it should be, milliseconds since 1970.
    pub from: i64,
    /// As it should be again; absent while it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<i64>,
    /// Bytes that were not observed meanwhile; absent while or where that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unobserved_bytes: Option<i64>,
    /// Why it could not be repaired at the first attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl GapExtra {
    fn new(context: &Context<'_>, gap: &Gap) -> Self {
        let millis = |time: KernelTime| context.clock.wall_of(time).unix_millis();
        Self {
            from: millis(gap.from),
            to: gap.to.map(millis),
            unobserved_bytes: gap.unobserved_bytes,
            failure: gap.failure.clone(),
        }
    }
}

/// Builds the record of a transition.
pub fn coverage(context: &Context<'_>, transition: &Transition) -> Record {
    let episode = transition.episode();
    let (activity, word, reason) = match transition {
        Transition::Open(_) => ((finding::CREATE, "Create"), "open", None),
        Transition::Update(_, reason) => ((finding::UPDATE, "Update"), "update", Some(*reason)),
        Transition::Close(_, reason) => ((finding::CLOSE, "Close"), "close", Some(*reason)),
    };
    let (status_id, status) = match transition {
        Transition::Open(_) => (1, "New"),
        Transition::Update(..) | Transition::Close(_, "agent-stop") => (2, "In Progress"),
        Transition::Close(..) => (4, "Resolved"),
    };
    let first_seen = context.clock.wall_of(episode.first_seen);
    let last_seen = context.clock.wall_of(episode.last_seen);
    let title = title(&episode.subject);
    let severity = finding::severity(episode.level);
    let mut base = ocsf::Base::new(context, finding::CLASS, activity, severity, line(transition));
    base.span(first_seen, last_seen);
    base.metadata.correlation_uid = Some(episode.id.to_string());
    Record::Coverage(Box::new(CoverageFinding {
        base,
        status_id,
        status,
        is_alert: transition.is_alert(),
        action_id: 3,
        action: "Observed",
        disposition_id: 19,
        disposition: "Alert",
        finding_info: FindingInfo {
            uid: episode.id.to_string(),
            title,
            desc: format!("possible causes: {}", episode.subject.suspects().join("; ")),
            types: [KIND],
            first_seen_time: first_seen.unix_millis(),
            last_seen_time: last_seen.unix_millis(),
            analytic: Analytic {
                type_id: 1,
                kind: "Rule",
                name: episode.subject.as_str().to_owned(),
                uid: format!("coverage/{}", episode.subject.as_str()),
            },
            tags: Vec::new(),
        },
        evidences: [Evidence {
            src_endpoint: ocsf::Endpoint {
                hostname: Some(context.origin.hostname.clone()),
                uid: Some(context.origin.host_uid.clone()),
                ..ocsf::Endpoint::default()
            },
            connection_info: ocsf::ConnectionInfo::outbound(),
        }],
        unmapped: ocsf::Unmapped {
            homeport: Extra {
                schema: SCHEMA,
                kind: KIND,
                subject: episode.subject.as_str(),
                transition: word,
                transition_reason: reason,
                updates: episode.n_updates,
                place: episode.subject.place().to_string(),
                program: episode.subject.program().map(|program| program.to_string()),
                residual: episode.gap.is_none().then_some(ResidualExtra {
                    residual_bytes: episode.unseen.bytes,
                    certain_bytes: episode.unseen.certain_bytes,
                    residual_packets: episode.unseen.frames,
                    tolerance_bytes: episode.unseen.tolerance_bytes,
                    dropped_packets: episode.unseen.dropped,
                    discards: episode.unseen.discards.map(DiscardsExtra::from),
                }),
                gap: episode.gap.as_ref().map(|gap| GapExtra::new(context, gap)),
                suspects: episode.subject.suspects(),
            },
        },
    }))
}

fn title(subject: &Subject) -> String {
    let place = human::harmless(subject.place());
    match subject {
        Subject::Bypass { .. } => format!("Frames left {place} past every observer"),
        Subject::Missing { .. } => format!("Frames that were seen did not leave {place}"),
        Subject::Discarded => {
            "The kernel discarded packets of local sockets before they reached an edge interface".to_owned()
        }
        Subject::Unsent => {
            "Bytes of local sockets did not reach an edge interface, and the kernel does not say why"
                .to_owned()
        }
        Subject::Unattributed => {
            "Bytes of local sockets left that the socket ledger does not have".to_owned()
        }
        Subject::Detached { program, purpose, .. } => {
            format!("The program {program} is not attached at {place} any more ({purpose})")
        }
        Subject::Unpinned { program, .. } => {
            format!("The program {program} at {place} would not outlive the agent any more")
        }
        Subject::Appeared { .. } => format!("The interface {place} came into being"),
        Subject::Doubtful { .. } => {
            format!("Bytes that leave through the interface {place} may be counted twice")
        }
        Subject::Unwitnessed { .. } => format!("The witness {place} does not sign the ledger"),
        Subject::Contradicted { .. } => {
            format!("The witness {place} has seen another ledger than the one that is here")
        }
        Subject::Undelivered { .. } => format!("Records will never arrive at the sink {place}"),
        Subject::Renamed { before, .. } => {
            format!("The interface {} is called {place}", human::harmless(before))
        }
    }
}

/// One line for logs.
pub fn line(transition: &Transition) -> String {
    let episode = transition.episode();
    let change = match transition {
        Transition::Open(_) => "opened".to_owned(),
        Transition::Update(_, reason) => format!("updated ({reason})"),
        Transition::Close(_, reason) => format!("closed ({reason})"),
    };
    // What is wrong is said in words, and no bytes are missing.
    let has_words = matches!(
        episode.subject,
        Subject::Unwitnessed { .. } | Subject::Contradicted { .. } | Subject::Doubtful { .. }
    );
    let how_much = match &episode.gap {
        Some(Gap { failure: Some(failure), .. }) if has_words => human::harmless(failure).to_string(),
        None if matches!(episode.subject, Subject::Discarded | Subject::Unsent | Subject::Unattributed) => {
            format!("{} bytes", episode.unseen.bytes.unsigned_abs())
        }
        None => {
            let unseen = episode.unseen;
            format!(
                "{} bytes in {} frames that nothing explains, {} of them certain",
                unseen.bytes, unseen.frames, unseen.certain_bytes
            )
        }
        Some(Gap { unobserved_bytes: Some(bytes), .. }) => format!("{bytes} bytes were not observed"),
        Some(Gap { failure: Some(failure), to: None, .. }) => {
            format!("not repaired: {}", human::harmless(failure))
        }
        Some(Gap { .. }) => "how many bytes were not observed is not known".to_owned(),
    };
    format!("{}: {how_much}, {change}, episode {}", title(&episode.subject), episode.id)
}
