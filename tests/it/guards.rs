//! What a client may change at the nodes, by where it comes from: through the proxy nobody gets more than a
//! server would give.

use crate::support::{Cluster, Conn, Port, Proxy, Reply, outer};

/// One setting for all that servers protect.
fn protecting(masters: usize, replicas: usize, whom: &str) -> Cluster {
    let names = ["protected-configs", "debug-command", "module-command"];
    let names = names.map(|name| format!("--enable-{name}"));
    let args: Vec<&str> = names.iter().flat_map(|name| [name, whom]).collect();
    Cluster::start_with(masters, replicas, &args)
}

fn value(reply: &Reply) -> String {
    let items = reply.items();
    let value = items.get(1);
    value
        .unwrap_or_else(|| panic!("no value: {reply:?}"))
        .text()
}

/// Everything that `local` guards, asked for by a client from outside through a proxy beside the nodes.
#[test]
fn a_stranger_gets_no_more_than_from_the_servers() {
    let Some((address, _interface)) = outer::address() else {
        eprintln!("skipped: there is no address but loopback, and none can be made");
        return;
    };
    let cluster = protecting(2, 1, "local");
    let strict = protecting(1, 0, "no");
    let port = Port::reserve();
    let listen = format!("0.0.0.0:{}", port.number());
    let flags = ["-addr", &listen, "-protected-mode=false"];
    let proxy = Proxy::start(&cluster, &flags);
    let mut stranger = Conn::connect(&format!("{address}:{}", port.number()));
    let mut server = strict.raw(strict.ports()[0]);
    for line in [
        "CONFIG SET dir /tmp",
        "CONFIG SET DIR /tmp",
        "config set dbfilename x.rdb",
        "CONFIG SET maxmemory 0 dbfilename x.rdb",
        "CONFIG SET dir /tmp dbfilename x.rdb",
        "DEBUG SLEEP 0",
        "MODULE LOAD /tmp/none.so",
        "MODULE UNLOAD none",
    ] {
        for protocol in ["2", "3"] {
            stranger.command(&["HELLO", protocol]);
            server.command(&["HELLO", protocol]);
            let refused = stranger.line(line);
            assert!(refused.is_error(), "{line}: {refused:?}");
            // A server that protects all of it says the same.
            assert_eq!(refused, server.line(line), "{line}");
        }
    }
    // On ways around: in a transaction, in a script, as the second of a pipeline.
    for line in ["MULTI", "CONFIG SET dbfilename x.rdb", "EXEC"] {
        assert_eq!(stranger.line(line), server.line(line), "{line}");
    }
    let script = "return redis.call('CONFIG', 'SET', 'dbfilename', 'x.rdb')";
    assert!(stranger.command(&["EVAL", script, "1", "a"]).is_error());
    for port in cluster.ports() {
        let name = value(&cluster.raw(port).line("CONFIG GET dbfilename"));
        assert_eq!(name, "dump.rdb", "{port}");
    }
    // What the server lets local clients do, those of the proxy may.
    let mut local = proxy.conn();
    proxy.wait_until_replicas_are_known(2);
    assert_eq!(local.line("CONFIG SET dbfilename other.rdb"), "OK");
    for port in cluster.ports() {
        let name = value(&cluster.raw(port).line("CONFIG GET dbfilename"));
        assert_eq!(name, "other.rdb", "{port}");
    }
    assert_eq!(local.line("DEBUG SLEEP 0"), "OK");

    // What changes what a node is.
    for name in [
        "cluster-node-timeout",
        "tls-cert-file",
        "maxmemory-clients",
        "maxclients",
    ] {
        let refused = stranger.command(&["CONFIG", "SET", name, "5000"]);
        let refused = refused.error().expect("an error");
        assert!(
            refused.contains(&format!("'{name}'")) && refused.contains("only local clients"),
            "{refused}"
        );
    }
    assert_eq!(local.line("CONFIG SET cluster-node-timeout 1500"), "OK");
    for conn in [&mut stranger, &mut local] {
        for name in [
            "cluster-announce-port",
            "cluster-announce-ip",
            "bind-source-addr",
        ] {
            let refused = conn.command(&["CONFIG", "SET", "maxmemory", "0", name, "7000"]);
            let refused = refused.error().expect("an error");
            assert!(
                refused.contains(&format!("'{name}'")) && refused.contains("on the node itself"),
                "{refused}"
            );
        }
    }
    for port in cluster.ports() {
        let mut node = cluster.raw(port);
        assert_eq!(value(&node.line("CONFIG GET cluster-announce-port")), "0");
        assert_eq!(value(&node.line("CONFIG GET cluster-node-timeout")), "1500");
    }
    // The rest is for everybody, as on a server.
    assert_eq!(stranger.line("CONFIG SET maxmemory-samples 6"), "OK");
}

/// Settings that the proxy has itself: changed at the proxy, or refused with the name of its flag.
#[test]
fn settings_of_the_proxy_are_set_by_their_server_names() {
    let cluster = Cluster::start(1, 0);
    let proxy = Proxy::start(&cluster, &["-max-procs", "2"]);
    let mut conn = proxy.conn();
    for (name, value_set, flag, value_of_flag) in [
        ("timeout", "77", "client-idle-timeout", "1m17s"),
        ("maxclients", "500", "max-clients", "500"),
        ("loglevel", "debug", "log-level", "debug"),
        ("protected-mode", "no", "protected-mode", "false"),
        (
            "slowlog-log-slower-than",
            "12345",
            "slowlog-log-slower-than",
            "12345",
        ),
    ] {
        assert_eq!(
            conn.command(&["CONFIG", "SET", name, value_set]),
            "OK",
            "{name}"
        );
        assert_eq!(
            value(&conn.command(&["CONFIG", "GET", name])),
            value_set,
            "{name}"
        );
        let own = conn.command(&["PROXY", "CONFIG", "GET", flag]);
        assert_eq!(value(&own), value_of_flag, "{flag}");
    }
    let mut node = cluster.raw(cluster.ports()[0]);
    // The nodes keep the connections of the proxy, and their slow log is the one that clients see.
    assert_eq!(value(&node.line("CONFIG GET timeout")), "0");
    assert_eq!(value(&node.line("CONFIG GET maxclients")), "10000");
    assert_eq!(
        value(&node.line("CONFIG GET slowlog-log-slower-than")),
        "12345"
    );
    for (line, flag) in [
        ("CONFIG SET port 7", "-addr"),
        ("CONFIG SET bind 0.0.0.0", "-addr"),
        ("CONFIG SET requirepass x", "-client-password"),
    ] {
        let refused = conn.line(line);
        let refused = refused.error().expect("an error");
        assert!(refused.contains(flag), "{refused}");
    }
    // Both kinds in one request; and all or nothing.
    assert_eq!(conn.line("CONFIG SET timeout 5 maxmemory-samples 7"), "OK");
    assert_eq!(value(&conn.line("CONFIG GET timeout")), "5");
    assert_eq!(value(&node.line("CONFIG GET maxmemory-samples")), "7");
    for line in [
        "CONFIG SET timeout 6 maxmemory-samples x",
        "CONFIG SET maxmemory-samples 8 timeout x",
        "CONFIG SET maxmemory-samples 8 timeout 6 TIMEOUT 7",
        "CONFIG SET maxmemory-samples 8 timeout 6 port 7",
    ] {
        assert!(conn.line(line).is_error(), "{line}");
        assert_eq!(value(&conn.line("CONFIG GET timeout")), "5", "{line}");
        assert_eq!(
            value(&node.line("CONFIG GET maxmemory-samples")),
            "7",
            "{line}"
        );
    }
    // Words of a server.
    let single = Cluster::start(1, 0);
    let mut server = single.raw(single.ports()[0]);
    for line in [
        "CONFIG SET timeout x",
        "CONFIG SET timeout -1",
        "CONFIG SET timeout 1 timeout 2",
        "CONFIG SET maxclients 0",
        "CONFIG SET protected-mode maybe",
        "CONFIG SET slowlog-log-slower-than -2",
        "CONFIG SET TIMEOUT x",
        "CONFIG SET logfile x",
        "CONFIG SET daemonize yes",
        "CONFIG SET timeout",
        "CONFIG SET timeout 1 loglevel",
        "CONFIG SET tcp-keepalive x",
        "CONFIG SET tcp-keepalive -1",
        "CONFIG SET tcp-keepalive 99999999999",
        "CONFIG SET tcp-keepalive 60",
        "CONFIG SET tcp-keepalive 60 maxmemory-samples 9",
        "CONFIG SET proto-max-bulk-len x",
        "CONFIG SET proto-max-bulk-len 1",
        "CONFIG SET proto-max-bulk-len 512mb",
        "CONFIG SET client-output-buffer-limit x",
        "CONFIG SET client-output-buffer-limit \"master 1 2 3\"",
        "CONFIG SET client-output-buffer-limit \"normal 1 2 x\"",
    ] {
        assert_eq!(conn.line(line), server.line(line), "{line}");
    }
    // What is fixed keeps its value, and only the nodes' part goes to the nodes.
    assert_eq!(value(&node.line("CONFIG GET maxmemory-samples")), "9");
    assert_eq!(conn.line("CONFIG SET timeout 7 tcp-keepalive 60"), "OK");
    assert_eq!(value(&conn.line("CONFIG GET timeout")), "7");
    let refused = conn.line("CONFIG SET maxmemory-samples 8 tcp-keepalive 300");
    assert_eq!(
        refused.error(),
        Some(
            "ERR CONFIG SET failed (possibly related to argument 'tcp-keepalive') - can't set immutable config: this proxy has a fixed value, 60"
        )
    );
    assert_eq!(value(&node.line("CONFIG GET maxmemory-samples")), "9");
}

/// `-admin-commands no` binds what clients send. Scripts run at the nodes: there the ACL of the proxy's user binds.
#[test]
fn scripts_are_bound_by_the_acl_of_the_backend_user() {
    let cluster = Cluster::start(1, 0);
    let script = ["EVAL", "return redis.call('FLUSHALL')", "0"];
    let open = Proxy::start(&cluster, &["-admin-commands", "no"]);
    let mut conn = open.conn();
    assert!(conn.line("FLUSHALL").is_error());
    assert_eq!(conn.command(&script), "OK");
    assert!(
        open.log().contains("does not cover scripts"),
        "{}",
        open.log()
    );

    let mut node = cluster.raw(cluster.ports()[0]);
    assert_eq!(
        node.line("ACL SETUSER bound on >secret ~* &* +@all -flushall"),
        "OK"
    );
    let flags = [
        "-admin-commands",
        "no",
        "-backend-user",
        "bound",
        "-backend-password",
        "secret",
    ];
    let bound = Proxy::start(&cluster, &flags);
    let mut conn = bound.conn();
    conn.line("SET a 1");
    let refused = conn.command(&script);
    assert!(refused.is_error(), "{refused:?}");
    assert_eq!(conn.line("GET a"), "1");
    assert!(
        !bound.log().contains("does not cover scripts"),
        "{}",
        bound.log()
    );
}
