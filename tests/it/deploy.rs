//! The container files, the Kubernetes manifest, the dashboard and the alerts of `dist/`: what they name exists. Flags,
//! variables and pages are those of the program, metrics those of its table. The tools that know these files better look at
//! them where they are installed.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::process::Command;

use redis_cluster_proxy::config::{Config, Limits, Listen};
use redis_cluster_proxy::control::metrics::{FAMILIES, Kind};
use redis_cluster_proxy::options::{FLAGS, Flag, Parsed, parse};
use serde_json::Value;

const DIST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dist/");

#[track_caller]
fn read(name: &str) -> String {
    fs::read_to_string(format!("{DIST}{name}"))
        .unwrap_or_else(|error| panic!("dist/{name}: {error}"))
}

/// What the program takes such arguments and variables for.
#[track_caller]
fn config(args: &[&str], variables: &[(&str, &str)]) -> Config {
    for (name, _) in variables {
        let known = FLAGS.iter().filter_map(Flag::variable);
        assert!(known.into_iter().any(|known| known == *name), "{name}");
    }
    let value = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| OsString::from(value))
    };
    match parse(args.iter().map(OsString::from), value) {
        Ok(Parsed::Run(config)) => config,
        other => panic!("{args:?} {variables:?}: {other:?}"),
    }
}

/// The instructions of a Dockerfile, continued lines put together.
fn instructions(text: &str) -> Vec<(String, String)> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    let pairs = joined.lines().filter_map(|line| line.split_once(' '));
    let words = |rest: &str| rest.split_whitespace().collect::<Vec<_>>().join(" ");
    pairs
        .map(|(name, rest)| (name.to_string(), words(rest)))
        .collect()
}

#[test]
fn the_image_is_the_binary_alone_and_runs_as_nobody() {
    let text = read("Dockerfile");
    let found = instructions(&text);
    let of = |name: &str| -> Vec<&str> {
        let found = found.iter().filter(|(found, _)| found == name);
        found.map(|(_, rest)| rest.as_str()).collect()
    };
    let names: BTreeSet<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "COPY",
        "ENTRYPOINT",
        "ENV",
        "EXPOSE",
        "FROM",
        "HEALTHCHECK",
        "USER",
    ];
    assert!(
        names.into_iter().eq(expected),
        "a scratch image has nothing to RUN"
    );
    assert_eq!(of("FROM"), ["scratch"]);
    assert_eq!(of("COPY"), ["redis-cluster-proxy /redis-cluster-proxy"]);
    assert_eq!(of("USER"), ["65534:65534"]);
    let entry: Vec<String> = serde_json::from_str(of("ENTRYPOINT")[0]).expect("the exec form");
    assert_eq!(entry, ["/redis-cluster-proxy"]);

    let variables: Vec<(&str, &str)> = of("ENV")[0]
        .split(' ')
        .filter_map(|pair| pair.split_once('='))
        .collect();
    let served = config(&[], &variables);
    assert!(!served.protected_mode);
    assert_eq!(
        served.log_file, None,
        "standard error is the log of a container"
    );
    let why = "# Protected mode is off, because ";
    assert!(text.lines().any(|line| line.starts_with(why)));
    let [Listen::Tcp(listen)] = served.listen[..] else {
        panic!("a port");
    };
    assert_eq!(of("EXPOSE"), [listen.port().to_string()]);

    let (_, check) = of("HEALTHCHECK")[0].split_once(" CMD ").expect("a command");
    let check: Vec<String> = serde_json::from_str(check).expect("the exec form");
    let check: Vec<&str> = check.iter().map(String::as_str).collect();
    assert_eq!(check[0], entry[0]);
    let url = config(&check[1..], &variables).top.expect("-top");
    let debug = served.debug_addr.expect("-debug-addr");
    assert_eq!(url, format!("http://{debug}"));
}

/// The items behind `key: [` or in the lines that follow `key:`, without quotes.
fn items(text: &str, key: &str) -> Vec<String> {
    let clean = |item: &str| item.trim().trim_matches(['"', '\'']).to_string();
    let mut lines = text
        .lines()
        .skip_while(|line| line.trim().split(':').next() != Some(key));
    let first = lines.next().unwrap_or_else(|| panic!("no {key}"));
    if let Some((_, list)) = first.split_once('[') {
        let list = list.trim_end_matches(']');
        return list.split(", ").map(clean).collect();
    }
    let lines = lines.map(str::trim).filter(|line| !line.starts_with('#'));
    lines
        .map_while(|line| line.strip_prefix("- ").map(clean))
        .collect()
}

#[test]
fn the_compose_file_has_a_cluster_of_six_and_the_proxy() {
    let text = read("compose.yaml");
    let nodes: Vec<String> = (1..=6).map(|node| format!("node-{node}")).collect();
    for node in &nodes {
        assert!(text.contains(&format!("\n  {node}: *node\n")), "{node}");
        assert!(text.contains(&format!("\n      {node}: {{condition: service_healthy}}\n")));
    }
    assert!(text.contains(&format!("for name in {}; do", nodes.join(" "))));
    assert!(text.contains("--cluster-replicas 1 --cluster-yes"));

    let (_, proxy) = text.split_once("\n  proxy:\n").expect("a proxy");
    let command = items(proxy, "command");
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    for node in config(&command, &[]).startup_nodes {
        let (host, port) = node.split_once(':').expect("host:port");
        assert!(nodes.iter().any(|known| known == host), "{node}");
        assert_eq!(port, "6379");
    }
    assert_eq!(items(proxy, "ports"), ["127.0.0.1:8088:8088"]);
    // Both paths lead to what is there, or what `make release` makes.
    let value = |key: &str| {
        let mut lines = proxy
            .lines()
            .filter_map(|line| line.trim().split_once(": "));
        lines.find(|(name, _)| *name == key).map(|(_, value)| value)
    };
    assert_eq!(value("context"), Some("../target/release-files/image"));
    assert_eq!(value("dockerfile"), Some("../../../dist/Dockerfile"));
    let grace = value("stop_grace_period")
        .expect("one")
        .trim_end_matches('s');
    let grace: u64 = grace.parse().expect("seconds");
    assert!(grace > Limits::default().drain.as_secs());
    if Command::new("docker")
        .args(["compose", "version"])
        .output()
        .is_ok_and(|output| output.status.success())
    {
        let args = [
            "compose",
            "-f",
            &format!("{DIST}compose.yaml"),
            "config",
            "--quiet",
        ];
        let output = Command::new("docker")
            .args(args)
            .output()
            .expect("it is there");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn the_kubernetes_manifest_starts_probes_and_drains_the_proxy() {
    let text = read("kubernetes.yaml");
    let kinds: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("kind: "))
        .collect();
    assert_eq!(kinds, ["Deployment", "Service", "PodDisruptionBudget"]);

    let args = items(&text, "args");
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- name: REDIS_"))
        .collect();
    assert_eq!(names, ["PROXY_PASSWORD", "PROXY_DEBUG_TOKEN"]);
    let variables = [
        ("REDIS_PROXY_PASSWORD", "a"),
        ("REDIS_PROXY_DEBUG_TOKEN", "b"),
    ];
    let served = config(&args, &variables);
    assert_eq!(served.log_file, None);
    let [Listen::Tcp(listen)] = served.listen[..] else {
        panic!("a port");
    };
    let debug = served.debug_addr.expect("for the probes");
    assert!(debug.ip().is_unspecified(), "the kubelet is not local");
    for (name, port) in [("redis", listen.port()), ("debug", debug.port())] {
        assert!(text.contains(&format!("- {{name: {name}, containerPort: {port}}}")));
    }
    for (probe, page) in [
        ("startup", "healthz"),
        ("liveness", "healthz"),
        ("readiness", "readyz"),
    ] {
        let lines = format!(
            "          {probe}Probe:\n            httpGet: {{path: /{page}, port: debug}}\n"
        );
        assert!(text.contains(&lines), "{lines}");
    }
    let number = |key: &str| -> u64 {
        let (_, rest) = text.split_once(key).unwrap_or_else(|| panic!("no {key}"));
        let end = rest.find(|digit: char| !digit.is_ascii_digit());
        rest[..end.unwrap_or(rest.len())].parse().expect(key)
    };
    let grace = number("terminationGracePeriodSeconds: ");
    assert!(grace > number("-drain-grace=") + Limits::default().drain.as_secs());
    assert!(
        number("minAvailable: ") < number("replicas: "),
        "or no machine could be drained"
    );
    for hardened in [
        "runAsNonRoot: true",
        "readOnlyRootFilesystem: true",
        "allowPrivilegeEscalation: false",
        "capabilities: {drop: [ALL]}",
        "seccompProfile: {type: RuntimeDefault}",
    ] {
        assert!(text.contains(hardened), "{hardened}");
    }
    // One label holds it together: of the pods, and in all that select them.
    let label = "app.kubernetes.io/name: redis-cluster-proxy}";
    assert_eq!(text.matches(label).count(), 7);
}

/// The names of all series that the program has.
fn series() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for family in FAMILIES {
        match family.kind {
            Kind::Histogram => {
                names.extend(
                    ["_bucket", "_sum", "_count"].map(|end| format!("{}{end}", family.name)),
                );
            }
            Kind::Counter | Kind::Gauge => {
                names.insert(family.name.to_string());
            }
        }
    }
    names
}

/// The words of a query that are names of metrics.
fn metrics(query: &str) -> BTreeSet<String> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = query.split(|letter| !is_part(letter));
    let named = words.filter(|word| word.starts_with("redis_") || word.starts_with("process_"));
    named.map(str::to_string).collect()
}

/// All queries name metrics that exist, and group by labels that exist.
#[track_caller]
fn check_queries<'a>(what: &str, queries: impl Iterator<Item = &'a str>) -> usize {
    let series = series();
    let mut labels: BTreeSet<&str> = FAMILIES
        .iter()
        .flat_map(|family| family.labels.iter().copied())
        .collect();
    labels.extend(["job", "instance", "le"]);
    let mut count = 0;
    for query in queries {
        let named = metrics(query);
        assert!(!named.is_empty(), "{what}: {query}");
        for name in named {
            assert!(
                series.contains(&name),
                "{what}: there is no metric {name}: {query}"
            );
        }
        for by in query.split(" by (").skip(1) {
            let (list, _) = by.split_once(')').expect("its end");
            for label in list.split(", ") {
                assert!(labels.contains(label), "{what}: no label {label}: {query}");
            }
        }
        count += 1;
    }
    count
}

#[test]
fn the_dashboard_shows_metrics_that_exist() {
    let dashboard: Value = serde_json::from_str(&read("monitoring/dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut ids = BTreeSet::new();
    let mut cells = BTreeSet::new();
    let mut queries = Vec::new();
    for panel in panels {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title}");
        let place = |key: &str| panel["gridPos"][key].as_u64().expect("a place");
        for cell in place("x")..place("x") + place("w") {
            assert!(cell < 24, "{title}");
            for line in place("y")..place("y") + place("h") {
                assert!(cells.insert((cell, line)), "{title} lies on another");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(
            panel["description"]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{title}"
        );
        let targets = panel["targets"].as_array().expect("queries");
        assert!(!targets.is_empty(), "{title}");
        queries.extend(
            targets
                .iter()
                .map(|target| target["expr"].as_str().expect("a query")),
        );
    }
    let variables = dashboard["templating"]["list"]
        .as_array()
        .expect("variables");
    let defined: Vec<&str> = variables
        .iter()
        .filter_map(|variable| variable["name"].as_str())
        .collect();
    assert_eq!(defined, ["datasource", "job", "instance"]);
    queries.extend(
        variables
            .iter()
            .filter_map(|variable| variable["definition"].as_str()),
    );
    assert!(check_queries("dashboard.json", queries.into_iter()) > 40);
}

#[test]
fn alerts_are_of_metrics_that_exist() {
    let text = read("monitoring/alerts.yml");
    // An expression is one line, or lines that are further in.
    let mut queries: Vec<String> = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(expr) = line.trim().strip_prefix("expr: ") else {
            continue;
        };
        let mut query = expr.trim_start_matches('|').to_string();
        while let Some(more) = lines.next_if(|line| line.starts_with("          ")) {
            query += more.trim();
            query.push(' ');
        }
        queries.push(query);
    }
    let alerts = text.matches("- alert: ").count();
    assert!(alerts >= 10);
    assert_eq!(
        check_queries("alerts.yml", queries.iter().map(String::as_str)),
        alerts
    );
    for part in ["labels: {severity: ", "summary: ", "description: "] {
        assert_eq!(text.matches(part).count(), alerts, "{part}");
    }
    let tests = read("monitoring/alerts_test.yml");
    for name in tests
        .lines()
        .filter_map(|line| line.split_once("alertname: "))
    {
        let name = name.1.split(',').next().expect("a name");
        assert!(text.contains(&format!("- alert: {name}\n")), "{name}");
    }
    for (verb, file) in [("check", "alerts.yml"), ("test", "alerts_test.yml")] {
        let path = format!("{DIST}monitoring/{file}");
        match Command::new("promtool")
            .args([verb, "rules", &path])
            .output()
        {
            Ok(output) => {
                let said = [output.stdout, output.stderr].concat();
                assert!(
                    output.status.success(),
                    "{}",
                    String::from_utf8_lossy(&said)
                );
            }
            Err(_) => eprintln!("skipped: promtool is not installed"),
        }
    }
}
