//! One family of metrics, and how it becomes text.

use std::fmt;

use prometheus_client::{
    encoding::{
        DescriptorEncoder, EncodeLabel as _, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet,
    },
    metrics::MetricType,
    registry::Unit,
};

use super::Scrape;
use crate::ledger::Timing;

/// What a value does over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the agent starts again.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How many of something were in which class, since the agent started.
    Histogram,
}

/// The unit of a value; it is part of the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// A number of things, which the name says.
    Number,
    /// Bytes.
    Bytes,
    /// Seconds, also since 1970.
    Seconds,
}

/// Metrics of one name.
pub struct Family {
    /// Without the unit and without `_total`.
    pub(super) stem: &'static str,
    pub(super) kind: Kind,
    pub(super) measure: Measure,
    /// Names of its labels, in the order of the values.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
    pub(super) samples: fn(&Scrape, &mut Samples),
}

/// A number as it is kept: counters beyond 2^53 stay exact.
#[derive(Clone, Debug)]
pub(super) enum Number {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    /// Of a histogram.
    Times(Box<Timing>),
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Self::Unsigned(value)
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Self::Signed(value)
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<Timing> for Number {
    fn from(times: Timing) -> Self {
        Self::Times(Box::new(times))
    }
}

impl From<bool> for Number {
    fn from(value: bool) -> Self {
        Self::Unsigned(value.into())
    }
}

/// What a family says at one moment.
#[derive(Debug, Default)]
pub(super) struct Samples(Vec<(Vec<String>, Number)>);

impl Samples {
    /// A value without labels.
    pub(super) fn one(&mut self, number: impl Into<Number>) {
        self.0.push((Vec::new(), number.into()));
    }

    /// A value with its labels, as many as the family has.
    pub(super) fn of(&mut self, labels: &[&str], number: impl Into<Number>) {
        self.0.push((labels.iter().map(|&label| label.to_owned()).collect(), number.into()));
    }
}

impl Family {
    /// Counter, gauge or histogram.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The name under which it is found in Prometheus.
    pub fn name(&self) -> String {
        let unit = match self.measure {
            Measure::Number => "",
            Measure::Bytes => "_bytes",
            Measure::Seconds => "_seconds",
        };
        let total = match self.kind {
            Kind::Counter => "_total",
            Kind::Gauge | Kind::Histogram => "",
        };
        format!("{}{unit}{total}", self.stem)
    }

    /// A family that has nothing to say is left out.
    pub(super) fn encode(&self, scrape: &Scrape, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut samples = Samples::default();
        (self.samples)(scrape, &mut samples);
        if samples.0.is_empty() {
            return Ok(());
        }
        let unit = match self.measure {
            Measure::Number => None,
            Measure::Bytes => Some(Unit::Bytes),
            Measure::Seconds => Some(Unit::Seconds),
        };
        let kind = match self.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
        };
        // The library ends the help with a full stop.
        let help = self.help.trim_end_matches('.');
        let mut family = encoder.encode_descriptor(self.stem, help, unit.as_ref(), kind)?;
        for (values, number) in samples.0 {
            debug_assert_eq!(values.len(), self.labels.len(), "labels of {}", self.name());
            if self.labels.is_empty() {
                self.encode_number(&mut family, number)?;
            } else {
                let labels = Labels { names: self.labels, values };
                self.encode_number(&mut family.encode_family(&labels)?, number)?;
            }
        }
        Ok(())
    }

    fn encode_number(&self, metric: &mut MetricEncoder<'_>, number: Number) -> fmt::Result {
        match (self.kind, number) {
            (Kind::Counter, Number::Unsigned(value)) => {
                metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
            }
            (Kind::Counter, Number::Float(value)) => {
                metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
            }
            // What only grows from nothing is never negative.
            (Kind::Counter, Number::Signed(value)) => {
                metric.encode_counter::<NoLabelSet, _, u64>(&value.unsigned_abs(), None)
            }
            (Kind::Gauge, Number::Unsigned(value)) => metric.encode_gauge(&value),
            (Kind::Gauge, Number::Signed(value)) => metric.encode_gauge(&value),
            (Kind::Gauge, Number::Float(value)) => metric.encode_gauge(&value),
            (Kind::Histogram, Number::Times(times)) => {
                let classes: Vec<_> = times.classes().collect();
                metric.encode_histogram::<NoLabelSet>(
                    times.total().as_secs_f64(),
                    times.count(),
                    &classes,
                    None,
                )
            }
            // A family of another kind than its numbers would be found by the first test that renders it.
            (Kind::Counter | Kind::Gauge, Number::Times(_)) | (Kind::Histogram, _) => Err(fmt::Error),
        }
    }
}

struct Labels {
    names: &'static [&'static str],
    values: Vec<String>,
}

impl EncodeLabelSet for Labels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.names
            .iter()
            .zip(&self.values)
            .try_for_each(|(&name, value)| (name, value.as_str()).encode(encoder.encode_label()))
    }
}
