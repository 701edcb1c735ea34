//! [`FAMILIES`], the one table: dist/docs/metrics.md is made from it, and each counter of the workers has a row in it.
//!
//! A row must never know how it is written.

mod row;

use super::Value::{Integer, Number};
use super::{Family, Kind, Value};
use row::{
    NAMESPACE, by_command, by_namespace, by_node, by_node_and, by_worker, counter, from_status,
    gauge_of, labelled, one, with,
};

/// All metrics.
pub const FAMILIES: &[Family] = &[
    from_status(
        "redis_proxy_build_info",
        Kind::Gauge,
        &["version", "commit", "rustc"],
        "Always 1. The labels name the program's version, the commit of a release build, and the compiler",
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
        "Workers that are not stuck, as /healthz sees it: no turn of their loop has taken a second",
        |status| {
            let up = status.workers.iter().filter(|worker| worker.up);
            one(Integer(up.count() as u64))
        },
    ),
    from_status(
        "redis_proxy_ready",
        Kind::Gauge,
        &[],
        "1 if clients should be sent here, else 0; the same as /readyz",
        |status| one(Integer(u64::from(status.ready.ready))),
    ),
    from_status(
        "redis_proxy_tls_certificate_days_left",
        Kind::Gauge,
        &["flag"],
        "Days until the certificate in use for this flag expires",
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
        "1 while the proxy is shutting down and finishes requests in flight, else 0",
        |status| one(Integer(u64::from(status.ready.draining))),
    ),
    from_status(
        "redis_proxy_client_connections",
        Kind::Gauge,
        &["worker"],
        "Connected clients",
        |status| by_worker(status, |worker| worker.clients),
    ),
    counter(
        "redis_proxy_client_connections_opened_total",
        &[("clients_accepted", "")],
        "Client connections accepted",
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
                ("clients_memory", "memory"),
                ("clients_stopped", "request_timeout"),
                ("clients_not_logged_in", "login_timeout"),
                ("subscribers_cut", "pubsub_limit"),
                ("clients_severed", "reply_lost"),
                ("clients_left", "eof"),
                ("clients_broken", "error"),
                ("clients_confused", "protocol"),
                ("clients_refused", "refused"),
                ("clients_drained", "drain"),
            ],
            "Client connections closed, by reason: eof (the client left), error (the connection broke), idle \
         (-client-idle-timeout), stalled (-write-stall), kill (CLIENT KILL), output_limit and pubsub_limit \
         (-client-output-buffer-limit), query_limit (-client-query-buffer-limit), memory (-max-memory), login_timeout (-login-timeout), \
         request_timeout (stopped in the middle of a large request), protocol (malformed request), \
         refused (turned away on arrival), reply_lost (a node was lost in the middle of a large reply), drain \
         (shutdown)",
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
            "Clients turned away, by reason: maxclients (-max-clients), protected (-protected-mode), emfile (no file \
         descriptor or memory left to accept one)",
        ),
        &["reason"],
    ),
    counter(
        "redis_proxy_client_receive_bytes_total",
        &[("client_bytes_in", "")],
        "Bytes received from clients",
    ),
    counter(
        "redis_proxy_client_transmit_bytes_total",
        &[("client_bytes_out", "")],
        "Bytes sent to clients",
    ),
    from_status(
        "redis_proxy_client_output_buffer_bytes",
        Kind::Gauge,
        &[],
        "Bytes of replies that clients have not read yet (sampled once a second)",
        |status| one(Integer(status.sample.client_output_bytes)),
    ),
    from_status(
        "redis_proxy_client_output_buffer_max_bytes",
        Kind::Gauge,
        &[],
        "The same for the client with the most unread bytes (sampled once a second)",
        |status| one(Integer(status.sample.client_output_bytes_max)),
    ),
    counter(
        "redis_proxy_commands_taken_total",
        &[("commands", "")],
        "Requests received from clients",
    ),
    from_status(
        "redis_proxy_requests_total",
        Kind::Counter,
        &["cmd"],
        "Requests answered, by command",
        |status| by_command(status, |command| Integer(command.latency.count)),
    ),
    from_status(
        "redis_proxy_request_errors_total",
        Kind::Counter,
        &["cmd", "reason"],
        "Requests answered with an error: failed (in execution) or rejected (before it)",
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
        "Errors sent to clients, by error code (the first word)",
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
        "Time from the arrival of a request to its reply: what clients wait",
        |status| by_command(status, |command| Value::Latency(command.latency.clone())),
    ),
    from_status(
        "redis_proxy_requests_in_flight",
        Kind::Gauge,
        &[],
        "Requests received and not answered yet (sampled once a second)",
        |status| one(Integer(status.sample.requests_in_flight)),
    ),
    counter(
        "redis_proxy_slow_requests_total",
        &[("slow_requests", "")],
        "Requests, or parts of split ones, that took longer than -slowlog-log-slower-than",
    ),
    counter(
        "redis_proxy_unsupported_commands_total",
        &[("unsupported", "")],
        "Requests for commands that are unknown or not supported by the proxy",
    ),
    counter(
        "redis_proxy_refusals_total",
        &[("refusals", "")],
        "Requests answered with an error of the proxy itself",
    ),
    counter(
        "redis_proxy_multikey_requests_total",
        &[("splits", "")],
        "Requests that were split",
    ),
    from_status(
        "redis_proxy_multikey_fragments_total",
        Kind::Counter,
        &["cmd"],
        "Parts of split requests and of requests to several nodes",
        |status| {
            let cut = status.commands.iter().filter(|command| command.parts > 0);
            let samples = cut.map(|command| with([&command.name], Integer(command.parts)));
            samples.collect()
        },
    ),
    counter(
        "redis_proxy_protocol_errors_total",
        &[("protocol_errors", "")],
        "Clients that sent malformed requests",
    ),
    counter(
        "redis_proxy_pubsub_messages_total",
        &[("messages", "")],
        "Published messages delivered to subscribers",
    ),
    gauge_of(
        "redis_proxy_tracking_clients",
        &[("tracking_clients", "")],
        "Clients that use CLIENT TRACKING",
    ),
    gauge_of(
        "redis_proxy_tracking_keys",
        &[("tracking_keys", "")],
        "Keys tracked for these clients, all workers together (-tracking-max-keys limits each worker)",
    ),
    labelled(
        counter(
            "redis_proxy_tracking_pushes_total",
            &[
                ("tracking_pushes_in", "from_nodes"),
                ("tracking_pushes", "to_clients"),
            ],
            "Invalidation messages about tracked keys, by direction: from_nodes or to_clients",
        ),
        &["direction"],
    ),
    counter(
        "redis_proxy_tracking_evictions_total",
        &[("tracking_evictions", "")],
        "Tracked keys that the proxy forgot because there were too many (-tracking-max-keys). It told their readers that they have changed",
    ),
    counter(
        "redis_proxy_auth_failures_total",
        &[("auth_failures", "")],
        "Logins with a wrong password",
    ),
    counter(
        "redis_proxy_logins_delayed_total",
        &[("logins_delayed", "")],
        "Logins that were delayed because many from the same address had failed (-auth-failure-delay)",
    ),
    counter(
        "redis_proxy_verdicts_total",
        &[("verdicts", "")],
        "Times that the proxy asked a node whether a login is valid or a command is allowed (-auth backend)",
    ),
    counter(
        "redis_proxy_users_ended_total",
        &[("users_ended", "")],
        "Users whose clients were closed because a node no longer accepts their login (-auth backend)",
    ),
    counter(
        "redis_proxy_commands_over_rate_total",
        &[("commands_over_rate", "")],
        "Commands refused because their user was above its -user-rate-limit",
    ),
    from_status(
        "redis_proxy_backend_up",
        Kind::Gauge,
        &["backend", "role"],
        "1 if the node is reachable. 0 if the last attempt to connect to it failed, if it does not answer when \
         asked for the topology, or if the cluster marks it as failed. The series exists as long as the cluster \
         lists the node",
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
        "Connections to the node, by state: active (waiting for replies, or reserved for one client), idle, \
         connecting. Active and connecting are sampled once a second",
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
        "Connections to the node that were established",
        |status| by_node(status, |node| Integer(node.connects)),
    ),
    from_status(
        "redis_proxy_backend_connect_failures_total",
        Kind::Counter,
        &["backend", "reason"],
        "Connections to the node that failed, by reason: connect, handshake, closed (by the node or the network), \
         timeout (no reply in time), gone (silent, and the cluster considers the node failed), protocol (malformed \
         reply)",
        |status| by_node_and(status, |node| &node.failed),
    ),
    from_status(
        "redis_proxy_backend_connect_duration_seconds",
        Kind::Histogram,
        &[],
        "Time to establish a connection to a node, handshake included",
        |status| one(Value::Latency(status.connect_time.clone())),
    ),
    from_status(
        "redis_proxy_backend_requests_total",
        Kind::Counter,
        &["backend"],
        "Requests sent to the node that were answered or failed. The node's role is a label of \
         redis_proxy_backend_up",
        |status| by_node(status, |node| Integer(node.requests())),
    ),
    from_status(
        "redis_proxy_backend_request_errors_total",
        Kind::Counter,
        &["backend", "reason"],
        "Requests to the node that failed, by reason: timeout (no reply in time), lost (connection lost), \
         unavailable (CLUSTERDOWN, LOADING, MASTERDOWN, READONLY), tryagain, error (any other error reply)",
        |status| by_node_and(status, |node| &node.errors),
    ),
    from_status(
        "redis_proxy_backend_in_flight",
        Kind::Gauge,
        &["backend"],
        "Requests that the node has not answered yet (sampled once a second)",
        |status| by_node(status, |node| Integer(node.in_flight)),
    ),
    from_status(
        "redis_proxy_backend_pipeline_depth",
        Kind::Histogram,
        &[],
        "Requests in flight on a connection to a node after a write; one write in 16 is sampled",
        |status| one(Value::Depths(status.depths.clone())),
    ),
    counter(
        "redis_proxy_backends_writes_total",
        &[("backend_writes", "")],
        "Writes to node connections. redis_proxy_backends_requests_total divided by this is the number of requests \
         in one write",
    ),
    from_status(
        "redis_proxy_backend_duration_seconds",
        Kind::Histogram,
        &["backend"],
        "Time from writing a request to a node until its reply was read. What redis_proxy_request_duration_seconds \
         has on top is time in the proxy",
        |status| by_node(status, |node| Value::Latency(node.latency.clone())),
    ),
    from_status(
        "redis_proxy_backend_receive_bytes_total",
        Kind::Counter,
        &["backend"],
        "Bytes received from the node",
        |status| by_node(status, |node| Integer(node.bytes_in)),
    ),
    from_status(
        "redis_proxy_backend_transmit_bytes_total",
        Kind::Counter,
        &["backend"],
        "Bytes sent to the node",
        |status| by_node(status, |node| Integer(node.bytes_out)),
    ),
    from_status(
        "redis_proxy_backend_redirects_total",
        Kind::Counter,
        &["backend", "type"],
        "Redirects given by the node, by type: moved or ask",
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
        "Bytes received from all nodes",
    ),
    counter(
        "redis_proxy_backends_transmit_bytes_total",
        &[("backend_bytes_out", "")],
        "Bytes sent to all nodes",
    ),
    counter(
        "redis_proxy_backends_connect_total",
        &[("backend_connects", "")],
        "Connections to any node that were established",
    ),
    counter(
        "redis_proxy_backends_connect_failures_total",
        &[("backend_failures", "")],
        "Connections to any node that could not be established or were lost",
    ),
    counter(
        "redis_proxy_backends_heads_overdue_total",
        &[("heads_overdue", "")],
        "Times that a reply on a shared connection was late or very large, so that other clients were moved to \
         another connection",
    ),
    counter(
        "redis_proxy_backends_replacements_total",
        &[("backend_replacements", "")],
        "Connections opened for clients that were moved in this way",
    ),
    counter(
        "redis_proxy_backends_reads_moved_total",
        &[("reads_moved", "")],
        "Reads that waited behind a late reply and were sent again on another connection",
    ),
    counter(
        "redis_proxy_backends_requests_total",
        &[("backend_requests", "")],
        "Requests sent to all nodes",
    ),
    counter(
        "redis_proxy_backend_protocol_errors_total",
        &[("backend_protocol_errors", "")],
        "Malformed replies from nodes",
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
            "Node replies that the proxy handled itself, by type: moved, ask, tryagain, unavailable (CLUSTERDOWN, \
         LOADING, MASTERDOWN, READONLY)",
        ),
        &["type"],
    ),
    counter(
        "redis_proxy_held_total",
        &[("held", "")],
        "Requests held back until their slot was available again",
    ),
    counter(
        "redis_proxy_retries_total",
        &[("retries", "")],
        "Requests sent again",
    ),
    counter(
        "redis_proxy_retries_exhausted_total",
        &[("expired", "")],
        "Requests that were held for too long and answered with an error",
    ),
    counter(
        "redis_proxy_unknown_outcomes_total",
        &[("unknown_outcomes", "")],
        "Requests whose outcome is unknown: the error says that the command may have been executed",
    ),
    counter(
        "redis_proxy_parts_left_out_total",
        &[("left_out", "")],
        "Parts missing from a merged reply because their node was not available",
    ),
    counter(
        "redis_proxy_scripts_healed_total",
        &[("healed", "")],
        "Scripts and functions that a node had lost and the proxy loaded again",
    ),
    counter(
        "redis_proxy_doubted_total",
        &[("doubted", "")],
        "Error replies of scripts, functions and module commands that look like a refusal by the node, so that the \
         proxy checked with the node",
    ),
    counter(
        "redis_proxy_disbelieved_total",
        &[("disbelieved", "")],
        "Error replies of that kind that the node did not confirm, because the script itself had made them",
    ),
    labelled(
        counter(
            "redis_proxy_replica_reads_total",
            &[
                ("replica_reads", "replica"),
                ("replica_fallbacks", "fallback_master"),
            ],
            "Reads that -read-prefer allows on replicas, by outcome: served by a replica, or by the master because no \
         replica was up",
        ),
        &["outcome"],
    ),
    labelled(
        counter(
            "redis_proxy_near_cache_requests_total",
            &[("near_hits", "hit"), ("near_misses", "miss")],
            "Reads that the near cache (-near-cache) can serve, by outcome: hit or miss",
        ),
        &["outcome"],
    ),
    labelled(
        counter(
            "redis_proxy_near_cache_fills_total",
            &[("near_fills", "kept"), ("near_fills_spoiled", "spoiled")],
            "Replies fetched for the near cache, by outcome: kept, or spoiled (the key was written or invalidated meanwhile)",
        ),
        &["outcome"],
    ),
    labelled(
        counter(
            "redis_proxy_near_cache_drops_total",
            &[
                ("near_invalidations", "invalidated"),
                ("near_evictions", "evicted"),
            ],
            "Keys dropped from the near cache, by reason: invalidated (a node reported a change; one report about all of its \
         keys counts once) or evicted (no room)",
        ),
        &["reason"],
    ),
    counter(
        "redis_proxy_near_cache_stale_total",
        &[("near_stale", "")],
        "Reads that bypassed the near cache because the node had not answered within -near-cache-staleness",
    ),
    gauge_of(
        "redis_proxy_near_cache_keys",
        &[("near_keys", "")],
        "Keys in the near cache",
    ),
    gauge_of(
        "redis_proxy_near_cache_bytes",
        &[("near_bytes", "")],
        "Bytes in the near cache",
    ),
    counter(
        "redis_proxy_requests_streamed_total",
        &[("requests_streamed", "")],
        "Large requests that the proxy sent on to a node while still receiving them",
    ),
    counter(
        "redis_proxy_reply_pauses_total",
        &[("reply_pauses", "")],
        "Times that the proxy paused reading from a node because the client of a large reply read slowly",
    ),
    counter(
        "redis_proxy_memory_pauses_total",
        &[("memory_pauses", "")],
        "Times that the proxy paused reading from a client because it held the most memory, near the limit of -max-memory",
    ),
    counter(
        "redis_proxy_leases_granted_total",
        &[("leases", "")],
        "Exclusive connections given to transactions, blocking commands and large requests",
    ),
    counter(
        "redis_proxy_leases_idle_total",
        &[("leases_idle", "")],
        "Transactions that lost their exclusive connection because they were idle (-transaction-idle-timeout)",
    ),
    from_status(
        "redis_proxy_leases",
        Kind::Gauge,
        &["kind"],
        "Exclusive connections in use now, by kind: blocking or transaction",
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
        "Slots that have a master; 16384 is all",
        |status| one(Integer(status.topology.slots_assigned as u64)),
    ),
    from_status(
        "redis_proxy_slots_served",
        Kind::Gauge,
        &[],
        "Slots whose master is up; 16384 is all. /readyz lists the others",
        |status| one(Integer(status.ready.slots_served as u64)),
    ),
    from_status(
        "redis_proxy_slots_migrating",
        Kind::Gauge,
        &[],
        "Slots for which a node answered ASK or TRYAGAIN in the last ten seconds. PROXY REDIRECTS and \
         /api/v1/status list them",
        |status| one(Integer(status.redirects.migrating as u64)),
    ),
    from_status(
        "redis_proxy_cluster_nodes",
        Kind::Gauge,
        &["role"],
        "Nodes in the topology, by role",
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
        "Nodes that the cluster marks as failed, or that the node which gave the topology cannot reach",
        |status| {
            let down = status.nodes.iter().filter(|node| node.down);
            one(Integer(down.count() as u64))
        },
    ),
    from_status(
        "redis_proxy_backend_silent_seconds",
        Kind::Gauge,
        &["backend"],
        "How long the node has not answered although requests are waiting; 0 if none are (sampled once a second)",
        |status| by_node(status, |node| Integer(node.silent)),
    ),
    from_status(
        "redis_proxy_topology_epoch",
        Kind::Gauge,
        &[],
        "Configuration epoch of the cluster, as reported by the last node that answered",
        |status| one(Integer(status.topology.epoch)),
    ),
    from_status(
        "redis_proxy_topology_last_success_timestamp_seconds",
        Kind::Gauge,
        &[],
        "When the topology was last fetched, in seconds since 1970; 0 if never",
        |status| one(Number(status.topology.last_success)),
    ),
    from_status(
        "redis_proxy_topology_reloads_total",
        Kind::Counter,
        &["trigger", "outcome"],
        "Topology refreshes, by trigger (interval, moved, error, manual) and outcome",
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
        "Turns of a worker's event loop",
        |status| by_worker(status, |worker| worker.turns),
    ),
    from_status(
        "redis_proxy_event_loop_busy_seconds_total",
        Kind::Counter,
        &["worker"],
        "Time that a worker spent working, rather than waiting for events",
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
        "Duration of a worker's turns. A new request may have to wait for as long",
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
            "Turns that took at least this many seconds. The log describes those of 0.1 s and more",
        ),
        &["seconds"],
    ),
    from_status(
        "redis_proxy_event_loop_longest_turn_seconds",
        Kind::Gauge,
        &["worker"],
        "Duration of the longest turn; 0 if none took 10 ms",
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
        "How long the current turn has taken; 0 if the worker is waiting",
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
        "Time during which the process did not run: it was stopped, or got no processor time. Deadlines are \
         extended by it",
        |status| one(Number(status.program.stood_still)),
    ),
    from_status(
        "redis_proxy_buffer_pool_bytes",
        Kind::Gauge,
        &["state"],
        "Memory of buffers, by state: used or free (kept for reuse) (sampled once a second)",
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
        "Processor time by thread: worker-0, control, log, topology and so on",
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
        "Log lines lost because the queue was full or a write failed",
        |status| one(Integer(status.log.dropped)),
    ),
    from_status(
        "process_cpu_seconds_total",
        Kind::Counter,
        &[],
        "Processor time of the process, user and system",
        |status| one(Number(status.process.cpu)),
    ),
    from_status(
        "process_resident_memory_bytes",
        Kind::Gauge,
        &[],
        "Resident memory",
        |status| one(Integer(status.process.resident_bytes)),
    ),
    from_status(
        "process_virtual_memory_bytes",
        Kind::Gauge,
        &[],
        "Virtual memory",
        |status| one(Integer(status.process.virtual_bytes)),
    ),
    from_status(
        "process_open_fds",
        Kind::Gauge,
        &[],
        "Open file descriptors",
        |status| one(Integer(status.process.open_fds)),
    ),
    from_status(
        "process_max_fds",
        Kind::Gauge,
        &[],
        "Limit of open file descriptors",
        |status| one(Integer(status.process.max_fds)),
    ),
    from_status(
        "process_threads",
        Kind::Gauge,
        &[],
        "Number of threads",
        |status| one(Integer(status.process.threads.len() as u64)),
    ),
    from_status(
        "process_start_time_seconds",
        Kind::Gauge,
        &[],
        "When the process started, in seconds since 1970",
        |status| one(Number(status.program.started)),
    ),
    from_status(
        "redis_proxy_namespace_clients",
        Kind::Gauge,
        NAMESPACE,
        "Clients in a database of a namespace (counted once a second)",
        |status| by_namespace(status, |own| Some(own.clients)),
    ),
    from_status(
        "redis_proxy_namespace_requests_total",
        Kind::Counter,
        NAMESPACE,
        "Requests in a database of a namespace",
        |status| by_namespace(status, |own| Some(own.requests)),
    ),
    from_status(
        "redis_proxy_namespace_receive_bytes_total",
        Kind::Counter,
        NAMESPACE,
        "Bytes received from clients in a database of a namespace (counted once a second)",
        |status| by_namespace(status, |own| Some(own.bytes_in)),
    ),
    from_status(
        "redis_proxy_namespace_transmit_bytes_total",
        Kind::Counter,
        NAMESPACE,
        "Bytes sent to clients in a database of a namespace (counted once a second)",
        |status| by_namespace(status, |own| Some(own.bytes_out)),
    ),
    from_status(
        "redis_proxy_namespace_keys",
        Kind::Gauge,
        NAMESPACE,
        "Keys in the hash slot of a database of a namespace (the proxy asks the slot's master every ten seconds; other \
         keys of the slot are included)",
        |status| by_namespace(status, |own| own.keys),
    ),
];

#[cfg(test)]
mod tests;
