//! What rows of the table are made of: where a family takes its samples, and one sample for each worker, command, node or
//! database of a namespace.

use std::collections::BTreeMap;

use super::super::Value::Integer;
use super::super::{Family, Kind, Sample, Source, Value};
use crate::control::status::{Command, Namespace, Node, Status, Worker};

/// A counter that is the sum of one of the workers' counters.
pub(super) const fn counter(
    name: &'static str,
    counters: &'static [(&'static str, &'static str)],
    help: &'static str,
) -> Family {
    Family {
        name,
        kind: Kind::Counter,
        labels: &[],
        help,
        source: Source::Counters(counters),
    }
}

pub(super) const fn gauge_of(
    name: &'static str,
    counters: &'static [(&'static str, &'static str)],
    help: &'static str,
) -> Family {
    Family {
        kind: Kind::Gauge,
        ..counter(name, counters, help)
    }
}

pub(super) const fn from_status(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
    samples: fn(&Status) -> Vec<Sample>,
) -> Family {
    Family {
        name,
        kind,
        labels,
        help,
        source: Source::Status(samples),
    }
}

pub(super) const fn labelled(family: Family, labels: &'static [&'static str]) -> Family {
    Family { labels, ..family }
}

pub(super) fn one(value: Value) -> Vec<Sample> {
    vec![Sample {
        labels: Vec::new(),
        value,
    }]
}

pub(super) fn with<const N: usize>(labels: [&str; N], value: Value) -> Sample {
    Sample {
        labels: labels.map(str::to_string).to_vec(),
        value,
    }
}

pub(super) fn by_worker(status: &Status, value: fn(&Worker) -> u64) -> Vec<Sample> {
    let workers = status.workers.iter();
    let samples = workers.map(|worker| with([&worker.worker.to_string()], Integer(value(worker))));
    samples.collect()
}

pub(super) fn by_command(status: &Status, value: fn(&Command) -> Value) -> Vec<Sample> {
    let commands = status.commands.iter();
    let samples = commands.map(|command| with([&command.name], value(command)));
    samples.collect()
}

pub(super) fn by_node(status: &Status, value: fn(&Node) -> Value) -> Vec<Sample> {
    let nodes = status.nodes.iter();
    let samples = nodes.map(|node| with([&node.address], value(node)));
    samples.collect()
}

/// The labels of what is told of namespaces.
pub(super) const NAMESPACE: &[&str] = &["namespace", "database"];

/// One sample for each database of a namespace of which the number is known.
pub(super) fn by_namespace(status: &Status, number: fn(&Namespace) -> Option<u64>) -> Vec<Sample> {
    let samples = status.namespaces.iter().filter_map(|own| {
        let database = own.database.to_string();
        Some(with([&own.name, &database], Integer(number(own)?)))
    });
    samples.collect()
}

/// One sample for each node and reason.
pub(super) fn by_node_and(
    status: &Status,
    reasons: fn(&Node) -> &BTreeMap<String, u64>,
) -> Vec<Sample> {
    let samples = status.nodes.iter().flat_map(|node| {
        let reasons = reasons(node).iter();
        reasons.map(|(reason, count)| with([&node.address, reason], Integer(*count)))
    });
    samples.collect()
}
