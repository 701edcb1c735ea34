//! `/metrics`: a [`Status`] in the text format of OpenMetrics, which Prometheus reads; and dist/docs/metrics.md.
//!
//! What there is to tell is a row of [`FAMILIES`] (`families`); how a row is written is the same for all (`encode`).

mod document;
mod encode;
mod families;

pub use document::document;
pub use encode::page;
pub use families::FAMILIES;

use crate::control::status::{Depths, Latency, Status};

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only rises, but for a restart or a CONFIG RESETSTAT.
    Counter,
    /// It is what it is now.
    Gauge,
    /// Latencies: how many took at most so many seconds, their number and their sum.
    Histogram,
}

/// A metric.
#[derive(Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
    source: Source,
}

/// Where the values of a metric come from.
#[derive(Debug, Clone, Copy)]
enum Source {
    /// Counters of the workers, each with its label, if there are labels.
    Counters(&'static [(&'static str, &'static str)]),
    /// The status.
    Status(fn(&Status) -> Vec<Sample>),
}

/// One value and its labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    labels: Vec<String>,
    value: Value,
}

#[derive(Debug, Clone, PartialEq)]
enum Value {
    Integer(u64),
    Number(f64),
    Latency(Latency),
    Depths(Depths),
}

impl Family {
    fn samples(&self, status: &Status) -> Vec<Sample> {
        match self.source {
            Source::Status(samples) => samples(status),
            Source::Counters(counters) => {
                let value = |name: &str| status.counters.get(name).copied().unwrap_or(0);
                let counters = counters.iter();
                let samples = counters.map(|(name, label)| Sample {
                    labels: self.labels.iter().map(|_| label.to_string()).collect(),
                    value: Value::Integer(value(name)),
                });
                samples.collect()
            }
        }
    }
}
