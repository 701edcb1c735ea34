//! The two faces: one server, or a cluster of one master (`-cluster-face`), for the tools and the client
//! library of real clusters.

use std::process::Command;

use crate::support::{Cluster, Conn, Port, Proxy, Reply, Server, key_in_slot, slot_of};

fn error(reply: &Reply) -> &str {
    reply.error().unwrap_or_else(|| panic!("{reply:?}"))
}

/// A proxy that is told its own address, on this port.
fn start_cluster_face(cluster: &Cluster, port: &Port) -> Proxy {
    let addr = format!("127.0.0.1:{}", port.number());
    Proxy::start(cluster, &["-addr", &addr, "-cluster-face", &addr])
}

#[test]
fn both_faces() {
    let cluster = Cluster::start(3, 0);
    one_server(&cluster);
    let port = Port::reserve();
    let proxy = start_cluster_face(&cluster, &port);
    one_master(&cluster, &proxy);
    as_a_real_cluster_of_one(&proxy);
    databases(&cluster, &proxy);
    tools(&proxy);
    a_cluster_client(&proxy);
}

fn one_server(cluster: &Cluster) {
    let proxy = Proxy::start(cluster, &[]);
    let mut conn = proxy.conn();
    for words in [
        &["CLUSTER", "SLOTS"][..],
        &["CLUSTER", "KEYSLOT", "a"],
        &["CLUSTER", "HELP"],
        &["CLUSTER", "MEET", "127.0.0.1", "1"],
        &["READONLY"],
        &["READWRITE"],
        &["ASKING"],
    ] {
        let expected = "ERR This instance has cluster support disabled";
        assert_eq!(error(&conn.command(words)), expected, "{words:?}");
    }
    assert!(
        conn.command(&["INFO"])
            .text()
            .contains("redis_mode:standalone\r\n")
    );
    assert!(
        conn.command(&["INFO", "cluster"])
            .text()
            .contains("cluster_enabled:0\r\n")
    );
}

fn one_master(cluster: &Cluster, proxy: &Proxy) {
    let mut conn = proxy.conn();
    let port: i64 = proxy
        .addr()
        .rsplit_once(':')
        .expect("a port")
        .1
        .parse()
        .expect("a number");
    let id = conn.command(&["CLUSTER", "MYID"]).text();
    assert_eq!(id.len(), 40);
    let slots = conn.command(&["CLUSTER", "SLOTS"]);
    let range = slots.items()[0].items();
    assert_eq!((range[0].int(), range[1].int()), (0, 16383));
    let node = range[2].items();
    assert_eq!(
        (node[0].text(), node[1].int(), node[2].text()),
        ("127.0.0.1".into(), port, id.clone())
    );
    let nodes = conn.command(&["CLUSTER", "NODES"]).text();
    let bus = port + 10000;
    let bus = if bus > 65535 { 0 } else { bus };
    let rest = "master - 0 0 1 connected 0-16383";
    let node = format!("{id} 127.0.0.1:{port}@{bus}");
    assert_eq!(nodes, format!("{node} myself,{rest}\n{node} {rest}\n"));
    assert!(
        conn.command(&["CLUSTER", "INFO"])
            .text()
            .contains("cluster_state:ok\r\n")
    );
    assert!(
        conn.command(&["INFO"])
            .text()
            .contains("redis_mode:cluster\r\n")
    );
    assert!(
        conn.command(&["INFO", "cluster"])
            .text()
            .contains("cluster_enabled:1\r\n")
    );
    for words in [&["READONLY"][..], &["READWRITE"], &["ASKING"]] {
        assert_eq!(conn.command(words), "OK");
    }
    // Keys are counted where they are.
    for slot in [0, 8000, 16383] {
        assert!(cluster.find_master_of(slot).is_some());
        let key = key_in_slot(slot, "counted");
        assert_eq!(conn.command(&["SET", &key, "v"]), "OK");
        assert_eq!(
            conn.command(&["CLUSTER", "KEYSLOT", &key]).int(),
            i64::from(slot_of(&key))
        );
        let slot = slot.to_string();
        assert_eq!(
            conn.command(&["CLUSTER", "COUNTKEYSINSLOT", &slot]).int(),
            1
        );
        let keys = conn.command(&["CLUSTER", "GETKEYSINSLOT", &slot, "10"]);
        assert_eq!(keys.items()[0].text(), key);
    }
    assert!(error(&conn.command(&["CLUSTER", "DELSLOTS", "1"])).contains("not supported"));
    let hello = conn.command(&["HELLO", "3"]);
    let Reply::Map(fields) = hello else {
        panic!("{hello:?}")
    };
    assert!(
        fields
            .iter()
            .any(|(name, value)| name.text() == "mode" && value.text() == "cluster")
    );
}

/// What does not name a node is what a real cluster of one node answers, byte for byte.
fn as_a_real_cluster_of_one(proxy: &Proxy) {
    let server = Server::start(&["--cluster-enabled", "yes"]);
    let mut real = server.conn();
    assert_eq!(
        real.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]),
        "OK"
    );
    for protocol in ["2", "3"] {
        let (mut ours, mut real) = (proxy.conn(), server.conn());
        ours.command(&["HELLO", protocol]);
        real.command(&["HELLO", protocol]);
        for words in [
            &["CLUSTER", "LINKS"][..],
            &["CLUSTER", "REPLICAS", "nobody"],
            &["CLUSTER", "KEYSLOT", "{a}b"],
            &["CLUSTER", "COUNTKEYSINSLOT", "x"],
            &["CLUSTER", "COUNTKEYSINSLOT", "16384"],
            &["CLUSTER", "COUNTKEYSINSLOT", "-1"],
            &["CLUSTER", "COUNTKEYSINSLOT", "17"],
            &["CLUSTER", "GETKEYSINSLOT", "17", "x"],
            &["CLUSTER", "GETKEYSINSLOT", "17", "-1"],
            &["CLUSTER", "GETKEYSINSLOT", "17", "1"],
            &["CLUSTER", "SLOTS", "x"],
            &["CLUSTER", "nonsense"],
        ] {
            let frame = |conn: &mut Conn| {
                conn.send(Conn::encode(words));
                String::from_utf8_lossy(&conn.read_frame()).into_owned()
            };
            assert_eq!(frame(&mut ours), frame(&mut real), "{words:?}");
        }
        let shape = |conn: &mut Conn, words: &[&str]| {
            let reply = format!("{:?}", conn.command(words));
            let kinds = reply.chars().filter(|c| "[](){}".contains(*c));
            kinds.collect::<String>()
        };
        for words in [&["CLUSTER", "SLOTS"], &["CLUSTER", "SHARDS"]] {
            assert_eq!(
                shape(&mut ours, words),
                shape(&mut real, words),
                "{words:?}"
            );
        }
    }
}

/// SELECT as a node of the cluster answers it, with either face.
fn databases(cluster: &Cluster, proxy: &Proxy) {
    let mut real = cluster.raw(cluster.masters()[0]);
    let mut ours = proxy.conn();
    for index in [
        "0",
        "1",
        "15",
        "16",
        "-1",
        "+1",
        "00",
        "x",
        "",
        "2147483648",
        "99999999999999999999",
    ] {
        let select = ["SELECT", index];
        assert_eq!(ours.command(&select), real.command(&select), "{index}");
    }
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect(program);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout) + &text(&output.stderr)
}

fn tools(proxy: &Proxy) {
    let (host, port) = proxy.addr().rsplit_once(':').expect("host:port");
    let cli = |args: &[&str]| {
        run(
            "redis-cli",
            &[&["-c", "-h", host, "-p", port], args].concat(),
        )
    };
    for key in ["a", "b", "c", "{tag}d"] {
        assert_eq!(cli(&["SET", key, key]), "OK\n");
        assert_eq!(cli(&["GET", key]), format!("{key}\n"));
    }
    let benchmark = run(
        "redis-benchmark",
        &[
            "--cluster",
            "-h",
            host,
            "-p",
            port,
            "-n",
            "2000",
            "-c",
            "10",
            "-r",
            "1000",
            "-t",
            "set,get",
            "-q",
        ],
    );
    assert!(
        benchmark.contains("Cluster has 2 master nodes"),
        "{benchmark}"
    );
    assert!(
        benchmark.contains("GET: ") && !benchmark.to_lowercase().contains("error"),
        "{benchmark}"
    );
}

fn a_cluster_client(proxy: &Proxy) {
    let client = redis::cluster::ClusterClient::new(vec![format!("redis://{}/", proxy.addr())]);
    let mut conn = client
        .and_then(|client| client.get_connection())
        .expect("a connection");
    for number in 0..100 {
        let key = format!("client:{number}");
        let _: () = redis::cmd("SET")
            .arg(&key)
            .arg(number)
            .query(&mut conn)
            .expect("SET");
        let value: i64 = redis::cmd("GET").arg(&key).query(&mut conn).expect("GET");
        assert_eq!(value, number);
    }
}
