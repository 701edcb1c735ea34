//! `/metrics`: a [`Status`] in the text format of OpenMetrics, which Prometheus reads.
//!
//! [`FAMILIES`] is the one table: METRICS.md is made from it, and each counter of the workers has a row in it.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::control::message::Response;
use crate::control::status::{BOUNDS_MICROS, Latency, Status};

/// The media type of the text.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

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
}

fn one(value: Value) -> Vec<Sample> {
    vec![Sample {
        labels: Vec::new(),
        value,
    }]
}

fn with<const N: usize>(labels: [&str; N], value: Value) -> Sample {
    Sample {
        labels: labels.map(str::to_string).to_vec(),
        value,
    }
}

use Value::{Integer, Number};

/// A counter that is the sum of one of the workers' counters.
const fn counter(
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

const fn from_status(
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

const fn labelled(family: Family, labels: &'static [&'static str]) -> Family {
    Family { labels, ..family }
}

/// All metrics.
pub const FAMILIES: &[Family] = &[
    from_status(
        "redis_proxy_build_info",
        Kind::Gauge,
        &["version"],
        "1, with the version of the program",
        |status| vec![with([&status.program.version], Integer(1))],
    ),
    from_status(
        "redis_proxy_start_time_seconds",
        Kind::Gauge,
        &[],
        "When the program started, in seconds since 1970",
        |status| one(Number(status.program.started)),
    ),
    from_status(
        "redis_proxy_up_workers",
        Kind::Gauge,
        &[],
        "Workers that turn",
        |status| {
            let up = status.workers.iter().filter(|worker| worker.silent < 5.0);
            one(Integer(up.count() as u64))
        },
    ),
    from_status(
        "redis_proxy_ready",
        Kind::Gauge,
        &[],
        "Whether clients should be sent here: 1 or 0, as /readyz says it",
        |status| one(Integer(u64::from(status.ready.ready))),
    ),
    from_status(
        "redis_proxy_draining",
        Kind::Gauge,
        &[],
        "Whether clients are being sent away: 1 or 0",
        |status| one(Integer(u64::from(status.ready.draining))),
    ),
    from_status(
        "redis_proxy_client_connections",
        Kind::Gauge,
        &["worker"],
        "Clients connected",
        |status| by_worker(status, |worker| worker.clients),
    ),
    counter(
        "redis_proxy_client_connections_opened_total",
        &[("clients_accepted", "")],
        "Clients accepted",
    ),
    labelled(
        counter(
            "redis_proxy_client_connections_closed_total",
            &[
                ("clients_idle", "idle"),
                ("clients_stalled", "stalled"),
                ("clients_killed", "kill"),
                ("clients_overfull", "output_limit"),
                ("subscribers_cut", "pubsub_limit"),
                ("clients_left", "gone"),
            ],
            "Clients closed: idle (-client-idle-timeout), stalled (-write-stall), kill (CLIENT KILL), output_limit, \
             pubsub_limit (-pubsub-output), or gone for any other reason: they left, broke the protocol, were refused or drained",
        ),
        &["reason"],
    ),
    labelled(
        counter(
            "redis_proxy_client_connections_rejected_total",
            &[
                ("clients_rejected", "maxclients"),
                ("clients_denied", "protected"),
            ],
            "Clients refused: maxclients (-max-clients), or protected (-protected-mode)",
        ),
        &["reason"],
    ),
    counter(
        "redis_proxy_client_receive_bytes_total",
        &[("client_bytes_in", "")],
        "Bytes read from clients",
    ),
    counter(
        "redis_proxy_client_transmit_bytes_total",
        &[("client_bytes_out", "")],
        "Bytes written to clients",
    ),
    counter(
        "redis_proxy_commands_taken_total",
        &[("commands", "")],
        "Requests taken from clients",
    ),
    from_status(
        "redis_proxy_requests_total",
        Kind::Counter,
        &["cmd"],
        "Requests answered",
        |status| by_command(status, |command| Integer(command.latency.count)),
    ),
    from_status(
        "redis_proxy_request_errors_total",
        Kind::Counter,
        &["cmd", "reason"],
        "Requests answered with an error: failed after they were sent, or rejected before",
        |status| {
            let commands = status.commands.iter();
            let samples = commands.flat_map(|command| {
                [
                    with([&command.name, "failed"], Integer(command.failed)),
                    with([&command.name, "rejected"], Integer(command.rejected)),
                ]
            });
            samples.collect()
        },
    ),
    from_status(
        "redis_proxy_error_replies_total",
        Kind::Counter,
        &["code"],
        "Errors given to clients, by their first word",
        |status| {
            let errors = status.errors.iter();
            let samples = errors.map(|(code, count)| with([code], Integer(*count)));
            samples.collect()
        },
    ),
    from_status(
        "redis_proxy_request_duration_seconds",
        Kind::Histogram,
        &["cmd"],
        "From a request's arrival to its reply",
        |status| by_command(status, |command| Value::Latency(command.latency.clone())),
    ),
    counter(
        "redis_proxy_refusals_total",
        &[("refusals", "")],
        "Requests answered with an error that the proxy made",
    ),
    counter(
        "redis_proxy_multikey_requests_total",
        &[("splits", "")],
        "Requests that were cut in parts",
    ),
    counter(
        "redis_proxy_multikey_fragments_total",
        &[("split_parts", "")],
        "Parts of such requests",
    ),
    counter(
        "redis_proxy_protocol_errors_total",
        &[("protocol_errors", "")],
        "Clients that broke the protocol",
    ),
    counter(
        "redis_proxy_pubsub_messages_total",
        &[("messages", "")],
        "Messages handed to subscribers",
    ),
    counter(
        "redis_proxy_auth_failures_total",
        &[("auth_failures", "")],
        "Wrong passwords",
    ),
    from_status(
        "redis_proxy_backend_up",
        Kind::Gauge,
        &["backend", "role"],
        "Whether no worker's last attempt to reach the node failed: 1 or 0",
        |status| {
            let nodes = status.nodes.iter();
            let samples =
                nodes.map(|node| with([&node.address, &node.role], Integer(u64::from(node.up))));
            samples.collect()
        },
    ),
    from_status(
        "redis_proxy_backend_connections",
        Kind::Gauge,
        &["backend"],
        "Connections to the node that are ready",
        |status| by_node(status, |node| Integer(node.connections)),
    ),
    from_status(
        "redis_proxy_backend_connect_total",
        Kind::Counter,
        &["backend"],
        "Connections to the node that became ready",
        |status| by_node(status, |node| Integer(node.connects)),
    ),
    from_status(
        "redis_proxy_backend_connect_failures_total",
        Kind::Counter,
        &["backend"],
        "Connections to the node that could not be made, or were lost",
        |status| by_node(status, |node| Integer(node.failures)),
    ),
    from_status(
        "redis_proxy_backend_duration_seconds",
        Kind::Histogram,
        &["backend"],
        "From the moment that a request was written to the node until its reply was read; what \
         redis_proxy_request_duration_seconds has more is the proxy's",
        |status| by_node(status, |node| Value::Latency(node.latency.clone())),
    ),
    from_status(
        "redis_proxy_backend_receive_bytes_total",
        Kind::Counter,
        &["backend"],
        "Bytes of the node's replies",
        |status| by_node(status, |node| Integer(node.bytes_in)),
    ),
    from_status(
        "redis_proxy_backend_transmit_bytes_total",
        Kind::Counter,
        &["backend"],
        "Bytes written to the node",
        |status| by_node(status, |node| Integer(node.bytes_out)),
    ),
    from_status(
        "redis_proxy_backend_redirects_total",
        Kind::Counter,
        &["backend", "type"],
        "Redirects that the node gave: moved or ask",
        |status| {
            let samples = status.nodes.iter().flat_map(|node| {
                [
                    with([&node.address, "moved"], Integer(node.moved)),
                    with([&node.address, "ask"], Integer(node.ask)),
                ]
            });
            samples.collect()
        },
    ),
    counter(
        "redis_proxy_backends_receive_bytes_total",
        &[("backend_bytes_in", "")],
        "Bytes read from all nodes",
    ),
    counter(
        "redis_proxy_backends_transmit_bytes_total",
        &[("backend_bytes_out", "")],
        "Bytes written to all nodes",
    ),
    counter(
        "redis_proxy_backends_connect_total",
        &[("backend_connects", "")],
        "Connections to any node that became ready",
    ),
    counter(
        "redis_proxy_backends_connect_failures_total",
        &[("backend_failures", "")],
        "Connections to any node that could not be made, or were lost",
    ),
    counter(
        "redis_proxy_backends_requests_total",
        &[("backend_requests", "")],
        "Requests sent to nodes",
    ),
    counter(
        "redis_proxy_backend_protocol_errors_total",
        &[("backend_protocol_errors", "")],
        "Nodes that broke the protocol",
    ),
    labelled(
        counter(
            "redis_proxy_redirects_total",
            &[
                ("moved", "moved"),
                ("ask", "ask"),
                ("tryagain", "tryagain"),
                ("unavailable", "unavailable"),
            ],
            "Answers of nodes that were followed or waited out; unavailable are CLUSTERDOWN, LOADING, MASTERDOWN \
             and READONLY",
        ),
        &["type"],
    ),
    counter(
        "redis_proxy_held_total",
        &[("held", "")],
        "Requests that were held for a time",
    ),
    counter(
        "redis_proxy_retries_total",
        &[("retries", "")],
        "Requests sent again",
    ),
    counter(
        "redis_proxy_retries_exhausted_total",
        &[("expired", "")],
        "Requests that waited too long and were answered with an error",
    ),
    counter(
        "redis_proxy_unknown_outcomes_total",
        &[("unknown_outcomes", "")],
        "Requests of which nobody knows whether they were executed",
    ),
    counter(
        "redis_proxy_parts_left_out_total",
        &[("left_out", "")],
        "Parts left out of a reply because their node was not there",
    ),
    counter(
        "redis_proxy_scripts_healed_total",
        &[("healed", "")],
        "Missing scripts and functions that were loaded again",
    ),
    counter(
        "redis_proxy_replica_reads_total",
        &[("replica_reads", "")],
        "Reads served by a replica",
    ),
    counter(
        "redis_proxy_leases_granted_total",
        &[("leases", "")],
        "Times that an exclusive connection was lent to a transaction or a blocking command",
    ),
    counter(
        "redis_proxy_leases_idle_total",
        &[("leases_idle", "")],
        "Transactions whose connections were taken back because nobody went on with them",
    ),
    from_status(
        "redis_proxy_leases",
        Kind::Gauge,
        &["kind"],
        "Connections lent now: blocking or transaction",
        |status| {
            vec![
                with(["blocking"], Integer(status.leases.blocking)),
                with(["transaction"], Integer(status.leases.transactions)),
            ]
        },
    ),
    from_status(
        "redis_proxy_slots_assigned",
        Kind::Gauge,
        &[],
        "Slots with an owner; 16384 are all",
        |status| one(Integer(status.topology.slots_assigned as u64)),
    ),
    from_status(
        "redis_proxy_cluster_nodes",
        Kind::Gauge,
        &["role"],
        "Nodes of the topology",
        |status| {
            let shards = &status.topology.shards;
            let replicas: usize = shards.iter().map(|shard| shard.replicas.len()).sum();
            vec![
                with(["master"], Integer(shards.len() as u64)),
                with(["replica"], Integer(replicas as u64)),
            ]
        },
    ),
    from_status(
        "redis_proxy_topology_epoch",
        Kind::Gauge,
        &[],
        "The cluster's epoch, as the node knows it that answered last",
        |status| one(Integer(status.topology.epoch)),
    ),
    from_status(
        "redis_proxy_topology_last_success_timestamp_seconds",
        Kind::Gauge,
        &[],
        "When the topology was last fetched, in seconds since 1970; 0 is never",
        |status| one(Number(status.topology.last_success)),
    ),
    from_status(
        "redis_proxy_topology_reloads_total",
        Kind::Counter,
        &["trigger", "outcome"],
        "Refreshes of the topology, by what they were made for (interval, moved, error, manual) and whether they \
         succeeded",
        |status| {
            let reloads = status.topology.reloads.iter();
            let samples = reloads.flat_map(|(trigger, reloads)| {
                [
                    with([trigger, "success"], Integer(reloads.succeeded)),
                    with([trigger, "failure"], Integer(reloads.failed)),
                ]
            });
            samples.collect()
        },
    ),
    from_status(
        "redis_proxy_event_loop_iterations_total",
        Kind::Counter,
        &["worker"],
        "Turns of a worker's loop",
        |status| by_worker(status, |worker| worker.turns),
    ),
    from_status(
        "redis_proxy_event_loop_busy_seconds_total",
        Kind::Counter,
        &["worker"],
        "Time that a worker's turns took, from the events to the last write",
        |status| {
            let workers = status.workers.iter();
            let samples = workers.map(|worker| {
                let busy = Number(worker.turn_time.seconds);
                with([&worker.worker.to_string()], busy)
            });
            samples.collect()
        },
    ),
    from_status(
        "redis_proxy_event_loop_turn_seconds",
        Kind::Histogram,
        &["worker"],
        "How long turns took: as long as this whoever comes next may have to wait",
        |status| {
            let workers = status.workers.iter();
            let samples = workers.map(|worker| {
                let times = Value::Latency(worker.turn_time.clone());
                with([&worker.worker.to_string()], times)
            });
            samples.collect()
        },
    ),
    from_status(
        "redis_proxy_thread_cpu_seconds_total",
        Kind::Counter,
        &["thread"],
        "Processor time of a thread, by its name: worker-0, control, log, topology",
        |status| {
            let threads = status.process.threads.iter();
            let samples = threads.map(|thread| with([&thread.name], Number(thread.cpu)));
            samples.collect()
        },
    ),
    from_status(
        "redis_proxy_log_dropped_total",
        Kind::Counter,
        &[],
        "Lines of the log that were lost, for a full queue or a write that failed",
        |status| one(Integer(status.log.dropped)),
    ),
    from_status(
        "process_cpu_seconds_total",
        Kind::Counter,
        &[],
        "Processor time of this process",
        |status| one(Number(status.process.cpu)),
    ),
    from_status(
        "process_resident_memory_bytes",
        Kind::Gauge,
        &[],
        "Memory in RAM",
        |status| one(Integer(status.process.resident_bytes)),
    ),
    from_status(
        "process_virtual_memory_bytes",
        Kind::Gauge,
        &[],
        "Address space",
        |status| one(Integer(status.process.virtual_bytes)),
    ),
    from_status(
        "process_open_fds",
        Kind::Gauge,
        &[],
        "Open descriptors",
        |status| one(Integer(status.process.open_fds)),
    ),
    from_status(
        "process_max_fds",
        Kind::Gauge,
        &[],
        "Descriptors that may be open",
        |status| one(Integer(status.process.max_fds)),
    ),
    from_status("process_threads", Kind::Gauge, &[], "Threads", |status| {
        one(Integer(status.process.threads.len() as u64))
    }),
    from_status(
        "process_start_time_seconds",
        Kind::Gauge,
        &[],
        "When the process started, in seconds since 1970",
        |status| one(Number(status.program.started)),
    ),
];

fn by_worker(status: &Status, value: fn(&crate::control::status::Worker) -> u64) -> Vec<Sample> {
    let workers = status.workers.iter();
    let samples = workers.map(|worker| with([&worker.worker.to_string()], Integer(value(worker))));
    samples.collect()
}

fn by_command(
    status: &Status,
    value: fn(&crate::control::status::Command) -> Value,
) -> Vec<Sample> {
    let commands = status.commands.iter();
    let samples = commands.map(|command| with([&command.name], value(command)));
    samples.collect()
}

fn by_node(status: &Status, value: fn(&crate::control::status::Node) -> Value) -> Vec<Sample> {
    let nodes = status.nodes.iter();
    let samples = nodes.map(|node| with([&node.address], value(node)));
    samples.collect()
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
                    value: Integer(value(name)),
                });
                samples.collect()
            }
        }
    }

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
        (Kind::Histogram, Value::Latency(latency)) => put_histogram(encoder, latency),
        (Kind::Histogram, _) | (_, Value::Latency(_)) => {
            debug_assert!(false, "a histogram is made of latencies");
            Ok(())
        }
    }
}

fn put_histogram(encoder: &mut MetricEncoder<'_>, latency: &Latency) -> Result<(), fmt::Error> {
    let bounds = BOUNDS_MICROS.iter().map(|micros| *micros as f64 / 1e6);
    let mut before = 0;
    let reached = latency.at_most.iter().copied().chain([latency.count]);
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
    encoder.encode_histogram::<NoLabelSet>(latency.seconds, latency.count, &buckets, None)
}

impl Collector for Status {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        FAMILIES
            .iter()
            .try_for_each(|family| family.encode(self, &mut encoder))
    }
}

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

/// METRICS.md.
pub fn document() -> String {
    let mut text = "# Metrics\n\nWhat `/metrics` of the debug address (`-debug-addr`) tells, in the text format of \
        OpenMetrics. Counters count from the\nstart, or from the last CONFIG RESETSTAT. Histograms have the bounds \
        50 µs, 100 µs, 250 µs and so on to 2.5 s.\n\nThis file is made from the table in `src/control/metrics.rs`: \
        `UPDATE_METRICS=1 cargo test --test metrics`.\n\n| metric | type | labels | what it says |\n|---|---|---|---|\n"
        .to_string();
    for family in FAMILIES {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels = family.labels.join(", ");
        text += &format!(
            "| {} | {kind} | {labels} | {} |\n",
            family.name, family.help
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::stats::Stats;

    #[test]
    fn every_counter_of_the_workers_is_a_metric() {
        let shown = |name: &str| {
            FAMILIES.iter().any(|family| match family.source {
                Source::Counters(counters) => counters.iter().any(|(own, _)| *own == name),
                Source::Status(_) => false,
            })
        };
        // These are shown by worker.
        let by_worker = ["clients_connected", "turns"];
        for name in Stats::NAMES {
            assert!(shown(name) != by_worker.contains(name), "{name}");
        }
        for family in FAMILIES {
            if let Source::Counters(counters) = family.source {
                let known = |(name, _): &(&str, &str)| Stats::NAMES.contains(name);
                assert!(counters.iter().all(known), "{}", family.name);
            }
        }
    }

    #[test]
    fn names_follow_the_conventions() {
        for (index, family) in FAMILIES.iter().enumerate() {
            let name = family.name;
            assert!(
                name.starts_with("redis_proxy_") || name.starts_with("process_"),
                "{name}"
            );
            assert_eq!(
                name.ends_with("_total"),
                family.kind == Kind::Counter,
                "{name}"
            );
            if family.kind == Kind::Histogram {
                assert!(name.ends_with("_seconds"), "{name}");
            }
            // The name in the text has no such ending.
            let bare = |name: &'static str| name.strip_suffix("_total").unwrap_or(name);
            let mut others = FAMILIES[..index].iter();
            assert!(others.all(|other| bare(other.name) != bare(name)), "{name}");
            assert!(!family.help.contains(['|', '\n']) && !family.help.ends_with('.'));
        }
    }
}
