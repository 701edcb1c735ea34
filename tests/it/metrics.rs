//! `/metrics`, `/readyz` and `/api/v1` of the real program under load; and dist/docs/metrics.md, which is made from the table
//! of metrics: `UPDATE_METRICS=1 cargo test --test it metrics::`.

use crate::support::{self, Cluster, Conn, Port, Proxy, http, key_in_slot, wait_for};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis_cluster_proxy::control::metrics::{FAMILIES, Kind, document};
use redis_cluster_proxy::control::status::Status;

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(2, 0))
}

/// A proxy and its debug address.
fn start(flags: &[&str]) -> (Proxy, String, Port) {
    let port = Port::reserve();
    let addr = format!("127.0.0.1:{}", port.number());
    let flags = [&["-debug-addr", &addr], flags].concat();
    (Proxy::start(cluster(), &flags), addr, port)
}

#[test]
fn every_metric_is_documented() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/dist/docs/metrics.md");
    if std::env::var_os("UPDATE_METRICS").is_some() {
        std::fs::write(path, document()).expect("dist/docs/metrics.md can be written");
        return;
    }
    let text = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        text == document(),
        "dist/docs/metrics.md is behind the table: UPDATE_METRICS=1 cargo test --test it metrics::"
    );
}

/// What one scrape says: each series with its value. Everything that the format forbids is a failure.
#[derive(Debug, Default)]
struct Scrape {
    kinds: BTreeMap<String, String>,
    series: BTreeMap<String, f64>,
}

/// Splits `name{a="b"}` in the name and the labels.
fn labels(series: &str) -> (&str, Vec<(String, String)>) {
    let Some((name, rest)) = series.split_once('{') else {
        return (series, Vec::new());
    };
    let mut rest = rest.strip_suffix('}').expect("labels are closed");
    let mut labels = Vec::new();
    while !rest.is_empty() {
        let (name, value) = rest.split_once("=\"").expect("a label has a value");
        let mut escaped = false;
        let end = value.find(|byte: char| {
            let ends = byte == '"' && !escaped;
            escaped = byte == '\\' && !escaped;
            ends
        });
        let end = end.expect("a value is closed");
        labels.push((name.to_string(), value[..end].to_string()));
        rest = &value[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    (name, labels)
}

impl Scrape {
    fn parse(text: &str) -> Scrape {
        let mut scrape = Scrape::default();
        let text = text.strip_suffix("# EOF\n").expect("it ends");
        let mut family = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type");
                let before = scrape.kinds.insert(name.to_string(), kind.to_string());
                assert_eq!(before, None, "{name} comes twice");
                family = name.to_string();
            } else if let Some(rest) = line.strip_prefix("# HELP ") {
                let (_, help) = rest.split_once(' ').expect("a help");
                assert!(!help.is_empty());
            } else {
                assert!(!line.starts_with('#') && !line.is_empty(), "{line:?}");
                let (series, value) = line.rsplit_once(' ').expect("a value");
                let (name, labels) = labels(series);
                let suffix = name.strip_prefix(&family).expect("families stay together");
                let suffixes: &[&str] = match scrape.kinds[&family].as_str() {
                    "counter" => &["_total"],
                    "gauge" => &[""],
                    "histogram" => &["_sum", "_count", "_bucket"],
                    other => panic!("{other}"),
                };
                assert!(suffixes.contains(&suffix), "{line}");
                for (label, _) in &labels {
                    let plain = |byte: char| byte.is_ascii_lowercase() || byte == '_';
                    assert!(label.chars().all(plain), "{line}");
                }
                let value: f64 = value.parse().expect("a number");
                let before = scrape.series.insert(series.to_string(), value);
                assert_eq!(before, None, "{series} comes twice");
            }
        }
        scrape.check_histograms();
        scrape
    }

    /// Buckets rise, and the last one is the count.
    fn check_histograms(&self) {
        let mut last: BTreeMap<String, (f64, f64)> = BTreeMap::new();
        let mut buckets: Vec<(String, f64, f64)> = Vec::new();
        for (series, value) in &self.series {
            let (name, labels) = labels(series);
            let Some(name) = name.strip_suffix("_bucket") else {
                continue;
            };
            let (bounds, rest): (Vec<_>, Vec<_>) =
                labels.into_iter().partition(|(label, _)| label == "le");
            let bound = match bounds[0].1.as_str() {
                "+Inf" => f64::INFINITY,
                bound => bound.parse().expect("a bound"),
            };
            let rest: Vec<String> = rest.iter().map(|(l, v)| format!("{l}=\"{v}\"")).collect();
            let count = match rest.is_empty() {
                true => format!("{name}_count"),
                false => format!("{name}_count{{{}}}", rest.join(",")),
            };
            buckets.push((count, bound, *value));
        }
        buckets.sort_by(|a, b| (&a.0, a.1).partial_cmp(&(&b.0, b.1)).expect("numbers"));
        for (count, bound, value) in buckets {
            let before = last.insert(count.clone(), (bound, value));
            assert!(
                before.is_none_or(|(_, before)| before <= value),
                "{count} {bound}"
            );
        }
        for (count, (bound, value)) in last {
            assert_eq!(bound, f64::INFINITY, "{count}");
            assert_eq!(self.series[&count], value, "{count}");
        }
    }

    fn kind_of(&self, series: &str) -> &str {
        let (name, _) = labels(series);
        let mut families = self.kinds.iter();
        let own = |family: &str| {
            ["", "_total", "_sum", "_count", "_bucket"]
                .iter()
                .any(|suffix| name.strip_suffix(suffix) == Some(family))
        };
        families
            .find_map(|(family, kind)| own(family).then_some(kind))
            .expect("each series has a family")
    }

    /// Nothing that was there is gone, and no counter went back.
    fn check_follows(&self, before: &Scrape) {
        for (series, value) in &before.series {
            let now = self.series.get(series);
            let now = *now.unwrap_or_else(|| panic!("a gap: {series} is gone"));
            if self.kind_of(series) != "gauge" {
                assert!(now >= *value, "{series} went back: {value}, {now}");
            }
        }
    }
}

/// Ends the load when it is dropped.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_hundred_scrapes_under_load_have_no_gap_and_no_counter_goes_back() {
    let (proxy, addr, _port) = start(&["-max-procs", "2"]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for client in 0..4 {
            let (proxy, stop) = (&proxy, &stop);
            scope.spawn(move || {
                let mut conn = proxy.conn();
                for round in (0..160u16).cycle() {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let key = key_in_slot(round * 97 + client, "scrape");
                    conn.command(&["SET", &key, "v"]);
                    conn.command(&["GET", &key]);
                    conn.command(&["LPUSH", &key, "v"]);
                    conn.command(&["MGET", &key, "other"]);
                    conn.command(&["NOSUCH", "a"]);
                }
            });
        }
        // Also when the test fails, or the clients would go on for ever.
        let _stop = Stop(&stop);
        let mut last = Scrape::default();
        for _ in 0..100 {
            let (status, text) = http::get(&addr, "/metrics");
            assert_eq!(status, 200);
            let scrape = Scrape::parse(&text);
            scrape.check_follows(&last);
            last = scrape;
        }
        // Every metric of the table is there, and nothing else.
        for family in FAMILIES {
            let name = family.name.strip_suffix("_total").unwrap_or(family.name);
            let kind = last.kinds.remove(name);
            let expected = match family.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            assert_eq!(kind.as_deref(), Some(expected), "{}", family.name);
        }
        assert_eq!(last.kinds, BTreeMap::new());
        let value = |series: &str| last.series.get(series).copied().unwrap_or(-1.0);
        assert!(value("redis_proxy_requests_total{cmd=\"get\"}") > 0.0);
        assert!(value("redis_proxy_request_errors_total{cmd=\"lpush\",reason=\"failed\"}") > 0.0);
        assert_eq!(value("redis_proxy_slots_assigned"), 16384.0);
        assert_eq!(value("redis_proxy_ready"), 1.0);
        assert!(value("redis_proxy_client_connections{worker=\"1\"}") >= 0.0);
        let node = format!("127.0.0.1:{}", cluster().ports()[0]);
        let up = format!("redis_proxy_backend_up{{backend=\"{node}\",role=\"master\"}}");
        assert_eq!(value(&up), 1.0);
        assert!(
            value(&format!(
                "redis_proxy_backend_connections{{backend=\"{node}\",state=\"active\"}}"
            )) + value(&format!(
                "redis_proxy_backend_connections{{backend=\"{node}\",state=\"idle\"}}"
            )) >= 1.0
        );
        // Every request of the load that went to a node is counted there.
        let sent = value(&format!(
            "redis_proxy_backend_requests_total{{backend=\"{node}\"}}"
        ));
        let replies = value(&format!(
            "redis_proxy_backend_duration_seconds_count{{backend=\"{node}\"}}"
        ));
        assert!(sent >= replies && replies > 0.0, "{sent} {replies}");
        let errors = value(&format!(
            "redis_proxy_backend_request_errors_total{{backend=\"{node}\",reason=\"error\"}}"
        ));
        assert!(errors > 0.0, "{errors}");
        assert!(value("redis_proxy_multikey_fragments_total{cmd=\"mget\"}") > 0.0);
        assert!(value("redis_proxy_unsupported_commands_total") > 0.0);
        assert!(value("redis_proxy_backend_connect_duration_seconds_count") >= 2.0);
        let writes = value("redis_proxy_backends_writes_total");
        let looked = value("redis_proxy_backend_pipeline_depth_count");
        assert!(
            writes > 0.0 && looked >= writes / 16.0 - 2.0 && looked <= writes / 16.0,
            "{writes} {looked}"
        );
    });
}

/// What cannot be counted at each request is looked at once a second: clients that wait, and do not read.
#[test]
fn what_is_in_flight_and_owed_is_seen_within_seconds() {
    let (proxy, addr, _port) = start(&["-max-procs", "2"]);
    let mut waiting = proxy.conn();
    waiting.send(support::Conn::encode(&["BLPOP", "nobody pushes", "0"]));
    let mut lazy = proxy.conn();
    let big = "x".repeat(1 << 20);
    lazy.command(&["SET", "big", &big]);
    for _ in 0..16 {
        lazy.send(support::Conn::encode(&["GET", "big"]));
    }
    let seen = |name: &str, least: f64| {
        wait_for(name, Duration::from_secs(20), || {
            let scrape = Scrape::parse(&http::get(&addr, "/metrics").1);
            (scrape.series[name] >= least).then_some(())
        });
    };
    seen("redis_proxy_requests_in_flight", 1.0);
    seen("redis_proxy_client_output_buffer_bytes", 1e6);
    seen("redis_proxy_client_output_buffer_max_bytes", 1e6);
    seen("redis_proxy_buffer_pool_bytes{state=\"used\"}", 1e6);
    // Then they leave, each in its way.
    for _ in 0..16 {
        lazy.read_reply();
    }
    drop(lazy);
    let mut odd = proxy.conn();
    odd.send(b"*1\r\n$x\r\n");
    let told = odd.read_reply();
    assert!(
        told.error()
            .expect("told")
            .starts_with("ERR Protocol error")
    );
    drop(odd);
    let closed = |reason: &str| {
        let series = format!("redis_proxy_client_connections_closed_total{{reason=\"{reason}\"}}");
        seen(&series, 1.0);
    };
    closed("eof");
    closed("protocol");
    drop(waiting);
}

#[test]
fn percentiles_are_of_the_last_ten_seconds_too() {
    let (proxy, addr, _port) = start(&[]);
    let mut conn = proxy.conn();
    let status = || -> Status {
        serde_json::from_str(&http::get(&addr, "/api/v1/status").1).expect("a status")
    };
    wait_for("a first second", Duration::from_secs(20), || {
        (status().recent.seconds > 0.0).then_some(())
    });
    for _ in 0..50 {
        conn.command(&["GET", "a"]);
    }
    let get = |status: &Status| {
        let mut commands = status.commands.iter();
        let own = commands.find(|command| command.name == "get");
        own.expect("GET was called").clone()
    };
    let seen = wait_for("the requests", Duration::from_secs(20), || {
        let status = status();
        (get(&status).recent.count >= 50).then_some(status)
    });
    assert!(seen.recent.requests.count >= 50 && seen.recent.nodes.count >= 50);
    let node = seen.nodes.iter().find(|node| node.recent.count >= 50);
    assert!(node.is_some_and(|node| node.recent.p50_us > 0));
    // Then nothing, for longer than that: they are of the past.
    let later = wait_for("ten seconds", Duration::from_secs(30), || {
        let status = status();
        (get(&status).recent.count == 0).then_some(status)
    });
    assert!(get(&later).latency.count >= 50);
    assert!((9.0..30.0).contains(&later.recent.seconds));
}

/// What redis_exporter reads of INFO, and its dashboards show.
const EXPORTED: &[&str] = &[
    "redis_version",
    "redis_mode",
    "role",
    "os",
    "tcp_port",
    "run_id",
    "process_id",
    "uptime_in_seconds",
    "connected_clients",
    "blocked_clients",
    "maxclients",
    "used_memory",
    "used_memory_rss",
    "used_memory_peak",
    "maxmemory",
    "total_system_memory",
    "total_connections_received",
    "total_commands_processed",
    "rejected_connections",
    "total_net_input_bytes",
    "total_net_output_bytes",
    "instantaneous_ops_per_sec",
    "keyspace_hits",
    "keyspace_misses",
    "expired_keys",
    "evicted_keys",
    "used_cpu_sys",
    "used_cpu_user",
    "cluster_enabled",
    "loading",
];

#[test]
fn info_has_all_that_redis_exporter_reads() {
    let (proxy, _addr, _port) = start(&[]);
    let mut conn = proxy.conn();
    conn.command(&["SET", "exported", "v"]);
    conn.command(&["LPUSH", "exported", "v"]);
    let info = conn.info("ALL");
    for name in EXPORTED {
        let value = info.get(*name);
        assert!(value.is_some_and(|value| !value.is_empty()), "{name}");
    }
    // The exporter cuts these by their commas and equals signs.
    let fields = |name: &str| -> Vec<String> {
        let value = info.get(name).unwrap_or_else(|| panic!("{name}: {info:?}"));
        let fields = value.split(',').map(|field| {
            let (name, number) = field.split_once('=').expect("a field");
            number.parse::<f64>().expect("a number");
            name.to_string()
        });
        fields.collect()
    };
    let stat = [
        "calls",
        "usec",
        "usec_per_call",
        "rejected_calls",
        "failed_calls",
    ];
    assert_eq!(fields("cmdstat_set"), stat);
    assert_eq!(fields("errorstat_WRONGTYPE"), ["count"]);
    let percentiles = ["p50", "p99", "p99.9"];
    assert_eq!(fields("latency_percentiles_usec_set"), percentiles);
}

#[test]
fn readiness_says_why_not() {
    let port = Port::reserve();
    let nowhere = Port::reserve();
    let addr = format!("127.0.0.1:{}", port.number());
    let startup = format!("127.0.0.1:{}", nowhere.number());
    let proxy = Proxy::spawn(&[startup], &["-debug-addr", &addr], &[]);
    proxy.wait_until_answering();
    let (status, body) = http::get(&addr, "/readyz");
    assert_eq!(status, 503);
    assert!(body.contains("0 of 16384 slots have an owner"), "{body}");
    assert!(body.contains("no master is up"), "{body}");
    assert_eq!(http::get(&addr, "/healthz").0, 200);

    let (_proxy, addr, _port) = start(&[]);
    let (status, body) = http::get(&addr, "/readyz");
    assert_eq!(status, 200, "{body}");
}

/// What an alert watches tells when that dies, at a proxy that nobody asks for anything.
#[test]
fn metrics_of_the_cluster_tell_its_deaths_to_an_idle_proxy() {
    let cluster = Cluster::start_with(3, 1, &["--cluster-replica-no-failover", "yes"]);
    let port = Port::reserve();
    let addr = format!("127.0.0.1:{}", port.number());
    let flags = ["-debug-addr", &addr, "-slots-reload-interval", "1s"];
    let proxy = Proxy::start(&cluster, &flags);
    let scrape = || Scrape::parse(&http::get(&addr, "/metrics").1).series;
    let one = |name: &str| scrape()[name];
    let up = |node: u16, role: &str| {
        let name =
            format!("redis_proxy_backend_up{{backend=\"127.0.0.1:{node}\",role=\"{role}\"}}");
        scrape().get(&name).copied()
    };
    let limit = Duration::from_secs(20);
    let becomes = |what: &str, is: &dyn Fn() -> bool| wait_for(what, limit, || is().then_some(()));
    let master = cluster.master_of(0);
    let replica = cluster.replicas_of(master)[0];
    for node in cluster.ports() {
        let role = if cluster.masters().contains(&node) {
            "master"
        } else {
            "replica"
        };
        becomes("a node to be shown as up", &|| up(node, role) == Some(1.0));
    }
    becomes("no node to be down", &|| {
        one("redis_proxy_cluster_nodes_down") == 0.0
    });
    becomes("all slots to be served", &|| {
        one("redis_proxy_slots_served") == 16384.0
    });
    assert_eq!(http::get(&addr, "/healthz"), (200, "ok\n".to_string()));

    cluster.kill(replica);
    becomes("the replica to be shown as down", &|| {
        up(replica, "replica") == Some(0.0)
    });
    becomes("the cluster to say so", &|| {
        one("redis_proxy_cluster_nodes_down") == 1.0
    });
    // It is not forgotten while the cluster lists it.
    let reloads = || {
        let series = scrape();
        let own = series.iter().filter(|(name, _)| {
            name.starts_with("redis_proxy_topology_reloads_total") && name.contains("success")
        });
        own.map(|(_, value)| value).sum::<f64>()
    };
    let before = reloads();
    wait_for("more refreshes", limit, || {
        assert_eq!(up(replica, "replica"), Some(0.0));
        (reloads() >= before + 5.0).then_some(())
    });
    assert_eq!(http::get(&addr, "/readyz").0, 200);
    cluster.restart(replica);
    becomes("the replica to be back", &|| {
        up(replica, "replica") == Some(1.0)
    });
    becomes("the log to say so", &|| {
        let back = format!("node 127.0.0.1:{replica} is back after ");
        proxy.log().contains(&back)
    });

    cluster.kill(master);
    becomes("the master to be shown as down", &|| {
        up(master, "master") == Some(0.0)
    });
    becomes("its slots to be missed", &|| {
        one("redis_proxy_slots_assigned") < 16384.0
    });
    becomes("the log to tell of both", &|| {
        let log = proxy.log();
        log.contains(&format!("node 127.0.0.1:{master} (master"))
            && log.contains(" of 16384 slots have no reachable master")
    });
    assert!(one("redis_proxy_slots_served") < 16384.0);
    assert_eq!(one("redis_proxy_ready"), 0.0);
    let (code, body) = http::get(&addr, "/readyz");
    assert!(
        code == 503 && body.contains("slots have an owner"),
        "{body}"
    );
    assert!(body.contains("\"uncovered\":[\"0-"), "{body}");
    // The program is well all the same.
    assert_eq!(http::get(&addr, "/healthz"), (200, "ok\n".to_string()));
    // Whoever wants to be ready for the rest says so.
    let change = http::change(
        &addr,
        "POST",
        "/api/v1/config",
        "name=ready-when&value=any-slot",
    );
    assert_eq!(change.0, 200, "{}", change.1);
    let (code, body) = http::get(&addr, "/readyz");
    assert!(
        code == 200 && body.contains("\"uncovered\":[\"0-"),
        "{body}"
    );

    for node in cluster.ports() {
        if node != master {
            cluster.kill(node);
        }
    }
    becomes("all to be shown as down", &|| {
        let series = scrape();
        let ups = series
            .iter()
            .filter(|(name, _)| name.starts_with("redis_proxy_backend_up"));
        ups.map(|(_, value)| value).sum::<f64>() == 0.0
    });
    let failed =
        || one("redis_proxy_topology_reloads_total{trigger=\"interval\",outcome=\"failure\"}");
    becomes("refreshes to fail", &|| failed() > 0.0);
    let success = "redis_proxy_topology_last_success_timestamp_seconds";
    let last = one(success);
    let before = failed();
    becomes("more to fail", &|| failed() > before);
    assert_eq!(one(success), last);
    assert_eq!(http::get(&addr, "/readyz").0, 503);
    // The log tells of each once when it begins and once when it ends.
    let last = "topology: no node answers; keeping the last topology";
    becomes("the last to be told", &|| proxy.log().contains(last));
    let log = proxy.log();
    let warned = |text: &str| {
        let lines = log.lines().filter(|line| line.contains(" WARN "));
        lines.filter(|line| line.contains(text)).count()
    };
    for (text, count) in [
        (format!("node 127.0.0.1:{replica} (replica) is lost"), 1..3),
        (format!("node 127.0.0.1:{replica} is back after "), 1..2),
        (format!("node 127.0.0.1:{master} (master"), 1..3),
        (" of 16384 slots have no reachable master".to_string(), 1..3),
        (
            "topology: no node answers; keeping the last topology".to_string(),
            1..2,
        ),
    ] {
        assert!(count.contains(&warned(&text)), "{text}: {log}");
    }
}

/// A node that nobody can call dead, as it is the only one.
#[test]
fn a_node_that_owes_a_reply_and_says_nothing_is_seen() {
    let cluster = Cluster::start(1, 0);
    let port = Port::reserve();
    let addr = format!("127.0.0.1:{}", port.number());
    let proxy = Proxy::start(&cluster, &["-debug-addr", &addr]);
    let node = cluster.ports()[0];
    let name = format!("redis_proxy_backend_silent_seconds{{backend=\"127.0.0.1:{node}\"}}");
    let silent = || Scrape::parse(&http::get(&addr, "/metrics").1).series[&name];
    let limit = Duration::from_secs(30);
    wait_for("it to owe nothing", limit, || {
        (silent() == 0.0).then_some(())
    });
    cluster.freeze(node);
    let mut conn = proxy.conn();
    conn.send(Conn::encode(&["GET", "silent"]));
    wait_for("it to be shown as silent", limit, || {
        (silent() >= 2.0).then_some(())
    });
    wait_for("the log to say so", limit, || {
        let text = format!("WARN node 127.0.0.1:{node} has not replied for ");
        proxy.log().contains(&text).then_some(())
    });
    cluster.thaw(node);
    conn.read_reply();
    wait_for("it to speak again", limit, || {
        (silent() == 0.0).then_some(())
    });
    wait_for("the log to say so", limit, || {
        let text = format!("WARN node 127.0.0.1:{node} replies again after ");
        proxy.log().contains(&text).then_some(())
    });
}

#[test]
fn the_status_is_one_snapshot_and_a_stream_of_them() {
    let (proxy, addr, _port) = start(&[]);
    let mut conn = proxy.conn();
    for _ in 0..10 {
        conn.command(&["GET", "a"]);
    }
    let (code, body) = http::get(&addr, "/api/v1/status");
    assert_eq!(code, 200);
    let status: Status = serde_json::from_str(&body).expect("a status");
    let get = status.commands.iter().find(|command| command.name == "get");
    assert!(get.expect("GET was called").latency.count >= 10);
    assert_eq!(status.nodes.len(), 2);
    assert!(status.ready.ready, "{:?}", status.ready);
    let names: Vec<&str> = status
        .process
        .threads
        .iter()
        .map(|thread| thread.name.as_str())
        .collect();
    for name in ["control", "log", "signals", "topology", "worker-0"] {
        assert!(names.contains(&name), "{names:?}");
    }

    let mut stream = TcpStream::connect(&addr).expect("it listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a socket");
    write!(
        stream,
        "GET /api/v1/stream HTTP/1.1\r\nHost: {addr}\r\n\r\n"
    )
    .expect("sent");
    // A read may end within a character.
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    while text.windows(2).filter(|two| two == b"\n\n").count() < 3 {
        let len = stream.read(&mut chunk).expect("events come");
        assert!(len > 0, "the stream ended");
        text.extend_from_slice(&chunk[..len]);
    }
    let text = String::from_utf8(text).expect("text");
    assert!(text.contains("Content-Type: text/event-stream\r\n"));
    let (_, events) = text.split_once("\r\n\r\n").expect("a head");
    let mut before = 0.0;
    for event in events.split("\n\n").take(2) {
        let data = event
            .strip_prefix("event: status\ndata: ")
            .expect("an event");
        let status: Status = serde_json::from_str(data).expect("a status");
        assert!(status.program.uptime > before);
        before = status.program.uptime;
    }
}

#[test]
fn what_is_asked_for_is_done() {
    let (proxy, addr, _port) = start(&["-max-procs", "2"]);
    let post = |path: &str, body: &str| http::change(&addr, "POST", path, body);
    let mut victim = proxy.conn();
    let id = victim.command(&["CLIENT", "ID"]).int();
    assert_eq!(http::get(&addr, "/api/v1/clients/kill").0, 405);
    let (status, body) = post("/api/v1/clients/kill", &format!("id={id}"));
    assert_eq!((status, body.as_str()), (200, "{\"killed\":1}"));
    assert!(victim.try_command(&["PING"]).is_err());
    assert!(proxy.counter("proxy_clients_killed") == 1);

    let before = proxy.counter("proxy_commands");
    assert!(before > 0);
    assert_eq!(post("/api/v1/stats/reset", "").0, 200);
    assert!(proxy.counter("proxy_commands") < before);

    assert_eq!(post("/api/v1/topology/refresh", "").0, 202);
    wait_for("a refresh by hand", Duration::from_secs(20), || {
        let (_, body) = http::get(&addr, "/api/v1/status");
        let status: Status = serde_json::from_str(&body).expect("a status");
        (status.topology.reloads["manual"].succeeded > 0).then_some(())
    });

    assert_eq!(post("/api/v1/config", "name=log-every-n&value=7").0, 200);
    let told = proxy
        .conn()
        .command(&["PROXY", "CONFIG", "GET", "log-every-n"]);
    assert_eq!(told.items()[1].text(), "7");

    let (status, body) = http::get(&addr, &format!("/api/v1/slot?key={}", "foo"));
    assert_eq!(status, 200);
    let master = format!("127.0.0.1:{}", cluster().master_of(12182));
    assert_eq!(
        body,
        format!("{{\"slot\":12182,\"master\":\"{master}\",\"replicas\":[]}}")
    );

    // A client that waits for nothing is sent away, and the program ends.
    let mut proxy = proxy;
    assert_eq!(post("/api/v1/drain", "").0, 202);
    let end = proxy.wait_exit(Duration::from_secs(30)).expect("it ends");
    assert!(end.success());
}
