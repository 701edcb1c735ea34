//! [`FAMILIES`], the one table: METRICS.md is made from it, and each counter of the workers has a row in it.
//!
//! A row must never know how it is written.

use std::collections::BTreeMap;

use super::Value::{Integer, Number};
use super::{Family, Kind, Sample, Source, Value};
use crate::control::status::{Command, Node, Status, Worker};

/// All metrics.
pub const FAMILIES: &[Family] = &[
    from_status(
        "redis_proxy_build_info",
        Kind::Gauge,
        &["version", "commit", "rustc"],
        "1, with the version of the program, the commit that a release was built from, and the compiler",
        |status| {
            let program = &status.program;
            vec![with(
                [&program.version, &program.commit, &program.rustc],
                Integer(1),
            )]
        },
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
        "Workers that are not stuck: none of their turns has taken a second, as /healthz says it",
        |status| {
            let up = status.workers.iter().filter(|worker| worker.up);
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
        "redis_proxy_tls_certificate_days_left",
        Kind::Gauge,
        &["flag"],
        "For how many days the certificate of this flag is valid, as it is in force",
        |status| {
            let certificates = status.program.certificates.iter();
            let samples = certificates.map(|(flag, days)| with([flag], Number(*days)));
            samples.collect()
        },
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
                ("clients_unread", "query_limit"),
                ("subscribers_cut", "pubsub_limit"),
                ("clients_severed", "reply_lost"),
                ("clients_left", "eof"),
                ("clients_broken", "error"),
                ("clients_confused", "protocol"),
                ("clients_refused", "refused"),
                ("clients_drained", "drain"),
            ],
            "Clients closed: idle (-client-idle-timeout), stalled (-write-stall), kill (CLIENT KILL), output_limit, \
             pubsub_limit (both -client-output-buffer-limit), query_limit (-client-query-buffer-limit), reply_lost (a node was lost in the middle of a large reply), eof (they left), error (their connection broke), protocol (they broke it), \
             refused (turned away when they came), drain (the proxy ends)",
        ),
        &["reason"],
    ),
    labelled(
        counter(
            "redis_proxy_client_connections_rejected_total",
            &[
                ("clients_rejected", "maxclients"),
                ("clients_denied", "protected"),
                ("accepts_failed", "emfile"),
            ],
            "Clients refused: maxclients (-max-clients), protected (-protected-mode), or emfile: attempts to accept one \
             that failed for want of descriptors or memory",
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
    from_status(
        "redis_proxy_client_output_buffer_bytes",
        Kind::Gauge,
        &[],
        "Bytes of replies that clients have not taken (looked at once a second)",
        |status| one(Integer(status.sample.client_output_bytes)),
    ),
    from_status(
        "redis_proxy_client_output_buffer_max_bytes",
        Kind::Gauge,
        &[],
        "The same, of the client that has most (looked at once a second)",
        |status| one(Integer(status.sample.client_output_bytes_max)),
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
    from_status(
        "redis_proxy_requests_in_flight",
        Kind::Gauge,
        &[],
        "Requests taken and not answered (looked at once a second)",
        |status| one(Integer(status.sample.requests_in_flight)),
    ),
    counter(
        "redis_proxy_slow_requests_total",
        &[("slow_requests", "")],
        "Requests, or their parts, that took longer than -slowlog-log-slower-than",
    ),
    counter(
        "redis_proxy_unsupported_commands_total",
        &[("unsupported", "")],
        "Requests for commands that are unknown, or not served by this proxy",
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
    from_status(
        "redis_proxy_multikey_fragments_total",
        Kind::Counter,
        &["cmd"],
        "Parts of such requests, and of those that were put to several nodes",
        |status| {
            let cut = status.commands.iter().filter(|command| command.parts > 0);
            let samples = cut.map(|command| with([&command.name], Integer(command.parts)));
            samples.collect()
        },
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
        "Whether the node is there: 0 if a worker's last attempt to reach it failed, or it could not be asked for the \
         topology, or the cluster takes it for dead. It has a series as long as the cluster lists it",
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
        &["backend", "state"],
        "Connections to the node: active (they owe replies, or are lent to one client), idle, or connecting; active and \
         connecting are looked at once a second",
        |status| {
            let samples = status.nodes.iter().flat_map(|node| {
                let busy = node.busy.min(node.connections);
                [
                    ("active", busy),
                    ("idle", node.connections - busy),
                    ("connecting", node.connecting),
                ]
                .map(|(state, count)| with([&node.address, state], Integer(count)))
            });
            samples.collect()
        },
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
        &["backend", "reason"],
        "Connections to the node that never became ready (connect; handshake, if it refused that), or were lost: closed \
         (by it or the network), timeout (a reply did not come), gone (silent while the cluster does without it), protocol",
        |status| by_node_and(status, |node| &node.failed),
    ),
    from_status(
        "redis_proxy_backend_connect_duration_seconds",
        Kind::Histogram,
        &[],
        "From the beginning of a connection to a node until it was ready, its handshake included",
        |status| one(Value::Latency(status.connect_time.clone())),
    ),
    from_status(
        "redis_proxy_backend_requests_total",
        Kind::Counter,
        &["backend"],
        "Requests that the node answered, or will answer no more. Its role is a label of redis_proxy_backend_up: it \
         changes at a failover, where a counter must not begin anew",
        |status| by_node(status, |node| Integer(node.requests())),
    ),
    from_status(
        "redis_proxy_backend_request_errors_total",
        Kind::Counter,
        &["backend", "reason"],
        "Requests that the node did not answer in time (timeout) or not before its connection was lost (lost), or \
         answered with an error: unavailable (CLUSTERDOWN, LOADING, MASTERDOWN, READONLY), tryagain, or any other (error)",
        |status| by_node_and(status, |node| &node.errors),
    ),
    from_status(
        "redis_proxy_backend_in_flight",
        Kind::Gauge,
        &["backend"],
        "Replies that the node owes (looked at once a second)",
        |status| by_node(status, |node| Integer(node.in_flight)),
    ),
    from_status(
        "redis_proxy_backend_pipeline_depth",
        Kind::Histogram,
        &[],
        "Replies that a node owed on a connection when all that waited for it had been written, of one write in 16",
        |status| one(Value::Depths(status.depths.clone())),
    ),
    counter(
        "redis_proxy_backends_writes_total",
        &[("backend_writes", "")],
        "Times that all that waited for a connection to a node was written: redis_proxy_backends_requests_total by this is \
         how many requests one write carries",
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
        "redis_proxy_backends_heads_overdue_total",
        &[("heads_overdue", "")],
        "Times that a reply was overdue on a shared connection, or a large one began, so that clients who had nothing \
         outstanding there were to take another",
    ),
    counter(
        "redis_proxy_backends_replacements_total",
        &[("backend_replacements", "")],
        "Connections to any node that were opened for them and became ready",
    ),
    counter(
        "redis_proxy_backends_reads_moved_total",
        &[("reads_moved", "")],
        "Reads that were stuck behind an overdue reply and were sent again by such a connection",
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
        "redis_proxy_doubted_total",
        &[("doubted", "")],
        "Errors of scripts, functions and module commands that read like a refusal, so that their node was asked",
    ),
    counter(
        "redis_proxy_disbelieved_total",
        &[("disbelieved", "")],
        "Those of them that the node did not confirm: the script had made them up",
    ),
    labelled(
        counter(
            "redis_proxy_replica_reads_total",
            &[
                ("replica_reads", "replica"),
                ("replica_fallbacks", "fallback_master"),
            ],
            "Reads that -read-prefer gives to replicas: served by one, or by the master since none was up",
        ),
        &["outcome"],
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
        "redis_proxy_slots_served",
        Kind::Gauge,
        &[],
        "Slots with an owner that is up; 16384 are all. /readyz names the others",
        |status| one(Integer(status.ready.slots_served as u64)),
    ),
    from_status(
        "redis_proxy_slots_migrating",
        Kind::Gauge,
        &[],
        "Slots whose requests a node answered with ASK or TRYAGAIN in the last ten seconds; PROXY REDIRECTS and \
         /api/v1/status name them",
        |status| one(Integer(status.redirects.migrating as u64)),
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
        "redis_proxy_cluster_nodes_down",
        Kind::Gauge,
        &[],
        "Nodes that the cluster lists and takes for dead, or that the node which gave the topology cannot reach",
        |status| {
            let down = status.nodes.iter().filter(|node| node.down);
            one(Integer(down.count() as u64))
        },
    ),
    from_status(
        "redis_proxy_backend_silent_seconds",
        Kind::Gauge,
        &["backend"],
        "How long the node has owed a reply and sent nothing; 0 if it owes none (looked at once a second)",
        |status| by_node(status, |node| Integer(node.silent)),
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
    labelled(
        counter(
            "redis_proxy_event_loop_long_turns_total",
            &[
                ("turns_10_ms", "0.01"),
                ("turns_100_ms", "0.1"),
                ("turns_1000_ms", "1"),
            ],
            "Turns that took at least so many seconds. The log tells what those of 0.1 s and more did",
        ),
        &["seconds"],
    ),
    from_status(
        "redis_proxy_event_loop_longest_turn_seconds",
        Kind::Gauge,
        &["worker"],
        "How long the longest turn took; 0 if none took 10 ms",
        |status| {
            let workers = status.workers.iter();
            let samples = workers.map(|worker| {
                let longest = Number(worker.longest_turn);
                with([&worker.worker.to_string()], longest)
            });
            samples.collect()
        },
    ),
    from_status(
        "redis_proxy_event_loop_current_turn_seconds",
        Kind::Gauge,
        &["worker"],
        "How long the turn under way has taken; 0 if there is none",
        |status| {
            let workers = status.workers.iter();
            let samples = workers.map(|worker| {
                let turning = Number(worker.turning);
                with([&worker.worker.to_string()], turning)
            });
            samples.collect()
        },
    ),
    from_status(
        "redis_proxy_standstill_seconds_total",
        Kind::Counter,
        &[],
        "Time in which the program did not run: stopped, or without a processor. No deadline counts it",
        |status| one(Number(status.program.stood_still)),
    ),
    from_status(
        "redis_proxy_buffer_pool_bytes",
        Kind::Gauge,
        &["state"],
        "Memory of buffers: used, or kept for the next ones (free) (looked at once a second)",
        |status| {
            vec![
                with(["used"], Integer(status.sample.buffer_used_bytes)),
                with(["free"], Integer(status.sample.buffer_free_bytes)),
            ]
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

fn by_worker(status: &Status, value: fn(&Worker) -> u64) -> Vec<Sample> {
    let workers = status.workers.iter();
    let samples = workers.map(|worker| with([&worker.worker.to_string()], Integer(value(worker))));
    samples.collect()
}

fn by_command(status: &Status, value: fn(&Command) -> Value) -> Vec<Sample> {
    let commands = status.commands.iter();
    let samples = commands.map(|command| with([&command.name], value(command)));
    samples.collect()
}

fn by_node(status: &Status, value: fn(&Node) -> Value) -> Vec<Sample> {
    let nodes = status.nodes.iter();
    let samples = nodes.map(|node| with([&node.address], value(node)));
    samples.collect()
}

/// One sample for each node and reason.
fn by_node_and(status: &Status, reasons: fn(&Node) -> &BTreeMap<String, u64>) -> Vec<Sample> {
    let samples = status.nodes.iter().flat_map(|node| {
        let reasons = reasons(node).iter();
        reasons.map(|(reason, count)| with([&node.address, reason], Integer(*count)))
    });
    samples.collect()
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
        // These are shown by worker, and by command.
        let by_worker = ["clients_connected", "turns", "split_parts"];
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
            if family.kind == Kind::Histogram && name != "redis_proxy_backend_pipeline_depth" {
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
