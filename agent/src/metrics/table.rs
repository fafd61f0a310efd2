//! Every metric there is.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::family::{
    Family,
    Kind::{Counter, Gauge, Histogram},
    Measure::{Bytes, Number, Seconds},
};
use crate::app::snapshot::{ClassRow, FrameRow, InterfaceRow, VolumeRow};

/// Seconds since 1970 of a time as views write it.
fn seconds(text: &str) -> Option<f64> {
    let time: Timestamp = text.parse().ok()?;
    Some(time.as_millisecond() as f64 / 1000.0)
}

/// States of an exception, as the overview has them.
const EXCEPTION_STATES: [&str; 5] = ["not-started", "active", "near-limit", "exceeded", "expired"];

/// States of a witness.
const WITNESS_STATES: [&str; 4] = ["starting", "signing", "failing", "refusing"];

/// States of a sink.
const SINK_STATES: [&str; 4] = ["starting", "delivering", "failing", "removed"];

/// The terms of the identity of an interface, in the words of the records.
fn terms(interface: &InterfaceRow) -> [(&'static str, FrameRow); 6] {
    [
        ("socket", interface.socket),
        ("forwarded", interface.forwarded),
        ("packet", interface.packet),
        ("tunnel", interface.tunnel),
        ("time_wait", interface.time_wait),
        ("non_ip", interface.non_ip),
    ]
}

/// Bytes by country, place, verdict and class of owner: classes that differ in more than that, as in the rule that was
/// broken, are one series.
fn classes(rows: &[ClassRow], bytes: impl Fn(&VolumeRow) -> u64) -> BTreeMap<[&str; 4], u64> {
    let mut sums = BTreeMap::new();
    for row in rows {
        let country = row.country.as_deref().unwrap_or_default();
        let labels = [country, &row.location, &row.verdict, &row.owner_class];
        *sums.entry(labels).or_default() += bytes(&row.volume);
    }
    sums
}

/// See the module above. In the order in which they are told.
pub static FAMILIES: &[Family] = &[
    Family {
        stem: "homeport_build_info",
        kind: Gauge,
        measure: Number,
        labels: &["version"],
        help: "Always 1; the version is the label.",
        samples: |scrape, out| out.of(&[scrape.version], 1_u64),
    },
    Family {
        stem: "homeport_start_time",
        kind: Gauge,
        measure: Seconds,
        labels: &[],
        help: "When this agent began to count, since 1970.",
        samples: |scrape, out| {
            if let Some(started) = seconds(&scrape.flows.started) {
                out.one(started);
            }
        },
    },
    Family {
        stem: "homeport_policy_info",
        kind: Gauge,
        measure: Number,
        labels: &["hash"],
        help: "Always 1; the SHA-256 of the policy in force is the label.",
        samples: |scrape, out| out.of(&[&scrape.flows.policy_hash], 1_u64),
    },
    Family {
        stem: "homeport_egress_wire",
        kind: Counter,
        measure: Bytes,
        labels: &["country", "place", "verdict", "owner_class"],
        help: "Bytes of layer 3 that left, as on the wire; `country` is empty where there is none.",
        samples: |scrape, out| {
            for (labels, bytes) in classes(&scrape.flows.classes, |volume| volume.wire_bytes) {
                out.of(&labels, bytes);
            }
        },
    },
    Family {
        stem: "homeport_egress_payload",
        kind: Counter,
        measure: Bytes,
        labels: &["country", "place", "verdict", "owner_class"],
        help: "The payload of layer 4 in it.",
        samples: |scrape, out| {
            for (labels, bytes) in classes(&scrape.flows.classes, |volume| volume.payload_bytes) {
                out.of(&labels, bytes);
            }
        },
    },
    Family {
        stem: "homeport_episodes_open",
        kind: Gauge,
        measure: Number,
        labels: &["kind", "severity"],
        help: "Episodes that are open: `transfer` and `attempt` are violations, `exception` is use of one. 0 when none.",
        samples: |scrape, out| {
            // A kind that was never seen is 0 and not absent: a rule can tell it from an agent that is gone.
            for kind in ["transfer", "attempt", "exception"] {
                if !scrape.figures.episodes.keys().any(|(known, _)| *known == kind) {
                    out.of(&[kind, ""], 0_u64);
                }
            }
            for ((kind, severity), count) in &scrape.figures.episodes {
                out.of(&[kind, severity], *count);
            }
        },
    },
    Family {
        stem: "homeport_coverage_findings_open",
        kind: Gauge,
        measure: Number,
        labels: &["subject"],
        help: "Findings about what could not be seen that are open, by subject.",
        samples: |scrape, out| {
            for (subject, count) in &scrape.figures.coverage_findings {
                out.of(&[subject], *count);
            }
        },
    },
    Family {
        stem: "homeport_exception_state",
        kind: Gauge,
        measure: Number,
        labels: &["exception", "state"],
        help: "1 for the state that holds: `not-started`, `active`, `near-limit`, `exceeded` or `expired`.",
        samples: |scrape, out| {
            for row in &scrape.exceptions {
                for state in EXCEPTION_STATES {
                    out.of(&[&row.id, state], row.state == state);
                }
            }
        },
    },
    Family {
        stem: "homeport_exception_expiry_time",
        kind: Gauge,
        measure: Seconds,
        labels: &["exception"],
        help: "When an exception ends, since 1970.",
        samples: |scrape, out| {
            for row in &scrape.exceptions {
                if let Some(expires) = seconds(&row.expires) {
                    out.of(&[&row.id], expires);
                }
            }
        },
    },
    Family {
        stem: "homeport_exception_used",
        kind: Gauge,
        measure: Bytes,
        labels: &["exception"],
        help: "Wire bytes that have left under an exception.",
        samples: |scrape, out| {
            for row in &scrape.exceptions {
                out.of(&[&row.id], row.used_bytes);
            }
        },
    },
    Family {
        stem: "homeport_exception_ceiling",
        kind: Gauge,
        measure: Bytes,
        labels: &["exception"],
        help: "Wire bytes that may leave under an exception; absent where it has no ceiling.",
        samples: |scrape, out| {
            for row in &scrape.exceptions {
                if let Some(ceiling) = row.max_bytes {
                    out.of(&[&row.id], ceiling);
                }
            }
        },
    },
    Family {
        stem: "homeport_sink_state",
        kind: Gauge,
        measure: Number,
        labels: &["sink", "state"],
        help: "1 for the state that holds: `starting`, `delivering`, `failing` or `removed`.",
        samples: |scrape, out| {
            for row in &scrape.figures.sinks {
                for state in SINK_STATES {
                    out.of(&[&row.name, state], row.state == state);
                }
            }
        },
    },
    Family {
        stem: "homeport_sink_behind_entries",
        kind: Gauge,
        measure: Number,
        labels: &["sink"],
        help: "Entries of the ledger that a sink has not delivered yet.",
        samples: |scrape, out| {
            for row in &scrape.figures.sinks {
                out.of(&[&row.name], row.behind_entries);
            }
        },
    },
    Family {
        stem: "homeport_sink_lag",
        kind: Gauge,
        measure: Seconds,
        labels: &["sink"],
        help: "Age of the oldest entry that a sink has not delivered yet; 0 when there is none.",
        samples: |scrape, out| {
            for row in &scrape.figures.sinks {
                out.of(&[&row.name], row.behind_secs);
            }
        },
    },
    Family {
        stem: "homeport_sink_delivered",
        kind: Counter,
        measure: Number,
        labels: &["sink"],
        help: "Entries that a receiver has taken.",
        samples: |scrape, out| {
            for row in &scrape.figures.sinks {
                out.of(&[&row.name], row.delivered);
            }
        },
    },
    Family {
        stem: "homeport_sink_retries",
        kind: Counter,
        measure: Number,
        labels: &["sink"],
        help: "Attempts to deliver that had to be repeated.",
        samples: |scrape, out| {
            for row in &scrape.figures.sinks {
                out.of(&[&row.name], row.retries);
            }
        },
    },
    Family {
        stem: "homeport_sink_refused",
        kind: Counter,
        measure: Number,
        labels: &["sink"],
        help: "Entries that a receiver refused for good; they are in the dead-letter file.",
        samples: |scrape, out| {
            for row in &scrape.figures.sinks {
                out.of(&[&row.name], row.dead_letters);
            }
        },
    },
    Family {
        stem: "homeport_sink_lost",
        kind: Counter,
        measure: Number,
        labels: &["sink"],
        help: "Entries that were removed from the ledger before a receiver had them.",
        samples: |scrape, out| {
            for row in &scrape.figures.sinks {
                out.of(&[&row.name], row.skipped);
            }
        },
    },
    Family {
        stem: "homeport_ledger_entries",
        kind: Gauge,
        measure: Number,
        labels: &[],
        help: "Durable entries of the ledger since its begin; absent without a ledger, as all that follows.",
        samples: |scrape, out| {
            if let Some(ledger) = &scrape.flows.ledger {
                out.one(ledger.size);
            }
        },
    },
    Family {
        stem: "homeport_ledger_signed_entries",
        kind: Gauge,
        measure: Number,
        labels: &[],
        help: "Entries that the last checkpoint signs.",
        samples: |scrape, out| {
            if let Some(ledger) = &scrape.flows.ledger {
                out.one(ledger.checkpoint_size);
            }
        },
    },
    Family {
        stem: "homeport_ledger_checkpoint_time",
        kind: Gauge,
        measure: Seconds,
        labels: &[],
        help: "When the last checkpoint was signed, since 1970; absent until then.",
        samples: |scrape, out| {
            let signed = scrape.flows.ledger.as_ref().and_then(|ledger| ledger.checkpoint_time.as_deref());
            if let Some(signed) = signed.and_then(seconds) {
                out.one(signed);
            }
        },
    },
    Family {
        stem: "homeport_ledger_size",
        kind: Gauge,
        measure: Bytes,
        labels: &[],
        help: "Kept entries and hashes of the ledger on disk.",
        samples: |scrape, out| {
            if let Some(ledger) = &scrape.flows.ledger {
                out.one(ledger.bytes);
            }
        },
    },
    Family {
        stem: "homeport_ledger_append_duration",
        kind: Histogram,
        measure: Seconds,
        labels: &[],
        help: "How long it took to append records to the ledger and sync them, batch by batch, whether it worked or not.",
        samples: |scrape, out| {
            if let Some(appends) = &scrape.figures.appends {
                out.one(appends.clone());
            }
        },
    },
    Family {
        stem: "homeport_ledger_faulty",
        kind: Gauge,
        measure: Number,
        labels: &["what"],
        help: "1 when the ledger cannot go on (`fault`), or was found damaged (`damage`); 0 when not.",
        samples: |scrape, out| {
            if let Some(ledger) = &scrape.flows.ledger {
                out.of(&["fault"], ledger.fault.is_some());
                out.of(&["damage"], ledger.damage.is_some());
            }
        },
    },
    Family {
        stem: "homeport_unwritten_records",
        kind: Gauge,
        measure: Number,
        labels: &[],
        help: "Records that wait in memory because the disk does not take them.",
        samples: |scrape, out| out.one(scrape.figures.unwritten),
    },
    Family {
        stem: "homeport_witness_state",
        kind: Gauge,
        measure: Number,
        labels: &["witness", "state"],
        help: "1 for the state that holds: `starting`, `signing`, `failing` or `refusing` (it has seen another ledger).",
        samples: |scrape, out| {
            for row in &scrape.figures.witnesses {
                for state in WITNESS_STATES {
                    out.of(&[&row.name, state], row.state == state);
                }
            }
        },
    },
    Family {
        stem: "homeport_witness_signed_entries",
        kind: Gauge,
        measure: Number,
        labels: &["witness"],
        help: "Entries of the ledger that a witness has signed for.",
        samples: |scrape, out| {
            for row in &scrape.figures.witnesses {
                if let Some(entries) = row.signed_entries {
                    out.of(&[&row.name], entries);
                }
            }
        },
    },
    Family {
        stem: "homeport_coverage",
        kind: Gauge,
        measure: Number,
        labels: &["state"],
        help: "1 for the state that holds: `covered`, `reduced` or `not covered`; 0 for the others.",
        samples: |scrape, out| {
            for state in crate::coverage::statement::State::ALL {
                out.of(&[state.as_str()], scrape.coverage.state == state.as_str());
            }
        },
    },
    Family {
        stem: "homeport_degraded",
        kind: Gauge,
        measure: Number,
        labels: &["part"],
        help: "1 for each part that does not do what it promises; absent when it does.",
        samples: |scrape, out| {
            for row in &scrape.flows.degraded {
                out.of(&[&row.part], 1_u64);
            }
        },
    },
    Family {
        stem: "homeport_losses",
        kind: Counter,
        measure: Number,
        labels: &["cause"],
        help: "Events that were lost in the kernel, by cause; the causes are those of the interval record.",
        samples: |scrape, out| {
            for row in &scrape.flows.losses {
                out.of(&[&row.cause], row.events);
            }
        },
    },
    Family {
        stem: "homeport_losses",
        kind: Counter,
        measure: Bytes,
        labels: &["cause"],
        help: "Bytes that were lost for the tables by destination, by cause.",
        samples: |scrape, out| {
            for row in &scrape.flows.losses {
                out.of(&[&row.cause], row.bytes);
            }
        },
    },
    Family {
        stem: "homeport_interface_seen",
        kind: Counter,
        measure: Bytes,
        labels: &["interface", "term"],
        help: "Frame bytes seen leaving an edge interface, by the terms of the reconciliation.",
        samples: |scrape, out| {
            for row in &scrape.flows.interfaces {
                for (term, amount) in terms(row) {
                    out.of(&[&row.name, term], amount.bytes);
                }
            }
        },
    },
    Family {
        stem: "homeport_interface_transmitted",
        kind: Counter,
        measure: Bytes,
        labels: &["interface"],
        help: "Frame bytes that the card of an edge interface says it sent.",
        samples: |scrape, out| {
            for row in &scrape.flows.interfaces {
                out.of(&[&row.name], row.nic_tx_bytes);
            }
        },
    },
    Family {
        stem: "homeport_interface_dropped_packets",
        kind: Counter,
        measure: Number,
        labels: &["interface"],
        help: "Frames that an edge interface was given and dropped.",
        samples: |scrape, out| {
            for row in &scrape.flows.interfaces {
                out.of(&[&row.name], row.nic_tx_dropped);
            }
        },
    },
    Family {
        stem: "homeport_interface_residual",
        kind: Gauge,
        measure: Bytes,
        labels: &["interface"],
        help: "What the card says minus what was seen, since both are compared; positive left past the agent.",
        samples: |scrape, out| {
            for row in &scrape.flows.interfaces {
                if let Some(balance) = &row.balance {
                    out.of(&[&row.name], balance.residual_bytes);
                }
            }
        },
    },
    Family {
        stem: "homeport_interface_unexplained",
        kind: Gauge,
        measure: Bytes,
        labels: &["interface"],
        help: "The part of the residual that nothing explains.",
        samples: |scrape, out| {
            for row in &scrape.flows.interfaces {
                if let Some(balance) = &row.balance {
                    out.of(&[&row.name], balance.unexplained_bytes);
                }
            }
        },
    },
    Family {
        stem: "homeport_attribution_socket",
        kind: Counter,
        measure: Bytes,
        labels: &[],
        help: "Bytes of layer 3 of local sockets at the edge interfaces.",
        samples: |scrape, out| out.one(scrape.flows.attribution.socket),
    },
    Family {
        stem: "homeport_attribution_owned",
        kind: Counter,
        measure: Bytes,
        labels: &[],
        help: "Those that have an owner.",
        samples: |scrape, out| out.one(scrape.flows.attribution.owned),
    },
    Family {
        stem: "homeport_attribution_unnamed",
        kind: Counter,
        measure: Bytes,
        labels: &[],
        help: "Those for which nobody could be named.",
        samples: |scrape, out| out.one(scrape.flows.attribution.unnamed),
    },
    Family {
        stem: "homeport_stayed",
        kind: Counter,
        measure: Bytes,
        labels: &[],
        help: "Bytes of layer 3 that sockets of this host sent each other, and that never came to an edge interface.",
        samples: |scrape, out| out.one(scrape.flows.attribution.stayed),
    },
    Family {
        stem: "homeport_fill_used",
        kind: Gauge,
        measure: Number,
        labels: &["what"],
        help: "How much of a bounded table is in use.",
        samples: |scrape, out| {
            for row in &scrape.coverage.fill {
                out.of(&[&row.what], row.used);
            }
        },
    },
    Family {
        stem: "homeport_fill_capacity",
        kind: Gauge,
        measure: Number,
        labels: &["what"],
        help: "How much that table can hold.",
        samples: |scrape, out| {
            for row in &scrape.coverage.fill {
                out.of(&[&row.what], row.capacity);
            }
        },
    },
    Family {
        stem: "homeport_programs",
        kind: Gauge,
        measure: Number,
        labels: &["state"],
        help: "eBPF programs by state: `attached`, `unpinned`, `gone`, `loaded`, `not needed`, `refused`.",
        samples: |scrape, out| {
            for state in ["attached", "unpinned", "gone", "loaded", "not needed", "refused"] {
                let n = scrape.coverage.programs.iter().filter(|row| row.state == state).count();
                out.of(&[state], n as u64);
            }
        },
    },
    Family {
        stem: "homeport_database_build_time",
        kind: Gauge,
        measure: Seconds,
        labels: &["database"],
        help: "When a geolocation database was built, since 1970.",
        samples: |scrape, out| {
            for row in &scrape.coverage.databases {
                if let Some(built) = seconds(&row.built) {
                    out.of(&[&row.name], built);
                }
            }
        },
    },
    Family {
        stem: "homeport_clock_synchronized",
        kind: Gauge,
        measure: Number,
        labels: &[],
        help: "1 when the kernel says that the wall clock is synchronized.",
        samples: |scrape, out| {
            if let Some(synchronized) = scrape.coverage.clock.synchronized {
                out.one(synchronized);
            }
        },
    },
    Family {
        stem: "homeport_sweep_duration",
        kind: Gauge,
        measure: Seconds,
        labels: &[],
        help: "How long the last sweep over the kernel's counters took.",
        samples: |scrape, out| out.one(scrape.flows.sweep.last.wall_us as f64 / 1e6),
    },
];
