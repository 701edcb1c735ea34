//! The text: each row of the table with its samples, by the library's encoder.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::Value::{Integer, Number};
use super::{FAMILIES, Family, Kind, Value};
use crate::control::message::Response;
use crate::control::status::{BOUNDS_MICROS, DEPTHS, Status};

/// The media type of the text.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The answer to `GET /metrics`.
pub fn page(status: Status) -> Response {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(status));
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => Response::new(CONTENT_TYPE, text.into_bytes()),
        Err(fmt::Error) => Response::text(500, "the metrics could not be written"),
    }
}

impl Collector for Status {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        FAMILIES
            .iter()
            .try_for_each(|family| family.encode(self, &mut encoder))
    }
}

impl Family {
    fn encode(
        &self,
        status: &Status,
        encoder: &mut DescriptorEncoder<'_>,
    ) -> Result<(), fmt::Error> {
        let name = self.name.strip_suffix("_total").unwrap_or(self.name);
        let kind = match self.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
        };
        let mut encoder = encoder.encode_descriptor(name, self.help, None, kind)?;
        for sample in self.samples(status) {
            debug_assert_eq!(sample.labels.len(), self.labels.len(), "{}", self.name);
            let labels = self.labels.iter().copied().zip(sample.labels);
            let labels: Vec<(&str, String)> = labels.collect();
            if labels.is_empty() {
                put(&mut encoder, self.kind, &sample.value)?;
            } else {
                put(
                    &mut encoder.encode_family(&labels)?,
                    self.kind,
                    &sample.value,
                )?;
            }
        }
        Ok(())
    }
}

fn put(encoder: &mut MetricEncoder<'_>, kind: Kind, value: &Value) -> Result<(), fmt::Error> {
    match (kind, value) {
        (Kind::Counter, Integer(value)) => {
            encoder.encode_counter::<NoLabelSet, _, u64>(value, None)
        }
        (Kind::Counter, Number(value)) => encoder.encode_counter::<NoLabelSet, _, u64>(value, None),
        (Kind::Gauge, Integer(value)) => encoder.encode_gauge(value),
        (Kind::Gauge, Number(value)) => encoder.encode_gauge(value),
        (Kind::Histogram, Value::Latency(latency)) => {
            let bounds = BOUNDS_MICROS.iter().map(|micros| *micros as f64 / 1e6);
            let (sum, count) = (latency.seconds, latency.count);
            put_histogram(encoder, sum, count, bounds, &latency.at_most)
        }
        (Kind::Histogram, Value::Depths(depths)) => {
            let bounds = DEPTHS.iter().map(|depth| *depth as f64);
            let (sum, count) = (depths.sum as f64, depths.count);
            put_histogram(encoder, sum, count, bounds, &depths.at_most)
        }
        (Kind::Histogram, _) | (_, Value::Latency(_) | Value::Depths(_)) => {
            debug_assert!(false, "a histogram is made of latencies or depths");
            Ok(())
        }
    }
}

fn put_histogram(
    encoder: &mut MetricEncoder<'_>,
    sum: f64,
    count: u64,
    bounds: impl Iterator<Item = f64>,
    at_most: &[u64],
) -> Result<(), fmt::Error> {
    let mut before = 0;
    let reached = at_most.iter().copied().chain([count]);
    // The library wants the numbers between the bounds, and makes sums of them again.
    let buckets = bounds
        .chain([f64::INFINITY])
        .zip(reached)
        .map(|(bound, reached)| {
            let between = reached - before;
            before = reached;
            (bound, between)
        });
    let buckets: Vec<(f64, u64)> = buckets.collect();
    encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
}
