//! `/metrics`: the figures of the agent in OpenMetrics text, for Prometheus and whatever speaks its language.
//!
//! [`FAMILIES`] is the one table of what there is: the text, the page `agent/docs/METRICS.md` and the checks of the
//! alerting rules and dashboards are made of it. Names and units follow the conventions of Prometheus: base units
//! (bytes, seconds), `_total` for counters, no unit twice.
//!
//! **Labels are bounded** by what an operator configures and a host has: countries, verdicts, owner classes,
//! interfaces, causes. An address, a process or a flow is never a label; those are in records and on the page.

mod family;
mod table;

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text},
    registry::Registry,
};

pub use family::{Family, Kind};
pub use table::FAMILIES;

use crate::app::{coverage::CoverageView, figures::Figures, overview::ExceptionRow, snapshot::FlowsView};

/// What the text is.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that one scrape tells, taken from the agent beforehand.
#[derive(Clone, Debug)]
pub struct Scrape {
    /// Version of the agent.
    pub version: &'static str,
    /// The flow table, without its rows.
    pub flows: FlowsView,
    /// The statement of coverage.
    pub coverage: CoverageView,
    /// Exceptions of the policy, and how much of them is used.
    pub exceptions: Vec<ExceptionRow>,
    /// Episodes and sinks.
    pub figures: Figures,
}

/// The text of a scrape.
///
/// # Errors
///
/// Never in practice: writing to a string does not fail.
pub fn render(scrape: Scrape) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Shared(Arc::new(scrape))));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Shared(Arc<Scrape>);

impl Collector for Shared {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        FAMILIES.iter().try_for_each(|family| family.encode(&self.0, &mut encoder))
    }
}

#[cfg(test)]
mod tests;
