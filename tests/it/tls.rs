//! TLS with clients and with nodes: real nodes with `tls-cluster` and mutual TLS, redis-cli as a client that is not ours,
//! wrong certificates and wrong clients, and the tests of other subjects a second time over TLS on both sides.

use crate::support::{self, Cluster, Conn, Port, Proxy, key_in_slot, tls, wait_for};
use std::process::{Command, Output};
use std::sync::LazyLock;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

fn refs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

fn start(args: &[&str]) -> Cluster {
    let mut all = tls::server_args();
    all.extend(args.iter().map(ToString::to_string));
    Cluster::start_with(3, 0, &refs(&all))
}

/// Nodes with both ports.
fn cluster() -> &'static Cluster {
    static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| start(&[]));
    &CLUSTER
}

/// A proxy that serves by TLS beside its own address, and where.
struct Served {
    proxy: Proxy,
    port: Port,
}

impl Served {
    fn start(cluster: &Cluster, flags: &[&str]) -> Served {
        let (port, mut all) = (Port::reserve(), Vec::new());
        all.extend(tls::client_side(&format!("127.0.0.1:{}", port.number())));
        all.extend(tls::node_side());
        all.extend(flags.iter().map(ToString::to_string));
        let proxy = Proxy::start(cluster, &refs(&all));
        Served { proxy, port }
    }

    fn conn(&self) -> Conn {
        Conn::connect(&format!("tls:127.0.0.1:{}", self.port.number()))
    }

    /// redis-cli by TLS.
    fn cli(&self, args: &[&str]) -> Output {
        let port = self.port.number().to_string();
        let authority = tls::file("ca.crt");
        Command::new("redis-cli")
            .args(["-p", &port, "--tls", "--cacert", &authority])
            .args(args)
            .output()
            .expect("redis-cli")
    }

    fn logged(&self, what: &str) {
        wait_for(what, LIMIT, || {
            self.proxy.log().contains(what).then_some(())
        });
    }
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn own() -> [String; 4] {
    let file = tls::file;
    [
        "--cert".into(),
        file("own.crt"),
        "--key".into(),
        file("own.key"),
    ]
}

#[test]
fn clients_and_nodes_speak_tls_and_others_go_on_without() {
    let served = Served::start(cluster(), &[]);
    let own = own();
    let reply = served.cli(&[&refs(&own)[..], &["SET", "by", "tls"]].concat());
    assert_eq!(text(&reply), "OK\n");
    assert_eq!(served.proxy.conn().line("GET by"), "tls");
    for (name, more) in [
        (
            "TLSv1.2",
            &["--tls-ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256"][..],
        ),
        (
            "TLSv1.3",
            &["--tls-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"],
        ),
    ] {
        let reply = served.cli(&[&refs(&own)[..], more, &["GET", "by"]].concat());
        assert_eq!(text(&reply), "tls\n", "{name}");
    }
    let mut conn = served.conn();
    for slot in (0..16384).step_by(512) {
        let key = key_in_slot(slot, "each");
        assert_eq!(conn.command(&["SET", &key, &key]), "OK");
        assert_eq!(conn.command(&["GET", &key]), key.as_str());
    }
    // Nodes are spoken to by TLS alone: a plain connection of theirs is ours.
    let listed = cluster()
        .raw(cluster().ports()[0])
        .line("CLIENT LIST")
        .text();
    let tls_port = cluster().server(cluster().ports()[0]).cluster_port();
    assert!(
        listed.contains(&format!("laddr=127.0.0.1:{tls_port}")),
        "{listed}"
    );
    let list = conn.line("CLIENT LIST").text();
    let laddr = format!("laddr=127.0.0.1:{}", served.port.number());
    assert!(list.contains(&laddr), "{list}");
}

#[test]
fn large_values_arrive_whole_and_what_is_owed_is_sent_before_the_end() {
    let served = Served::start(cluster(), &[]);
    let value: Vec<u8> = (0..3_000_000u32)
        .map(|byte| (byte * 7 + byte / 251) as u8)
        .collect();
    let mut conn = served.conn();
    assert_eq!(conn.command(&[b"SET".as_slice(), b"large", &value]), "OK");
    // It asks much, says that it sends no more, and only then reads.
    conn.send(Conn::encode(&["GET", "large"]).repeat(5));
    conn.finish().expect("a half-closed stream");
    for _ in 0..5 {
        assert!(
            conn.read_reply()
                .bulk_text()
                .is_some_and(|own| own.len() > 1_000_000)
        );
    }
    assert!(conn.read_to_close().expect("an end").is_empty());
    // QUIT: the client is done with, and its last bytes are not.
    let mut conn = served.conn();
    conn.send([Conn::encode(&["GET", "large"]), Conn::encode(&["QUIT"])].concat());
    std::thread::sleep(Duration::from_millis(100));
    let bytes = conn.read_to_close().expect("an end");
    assert!(bytes.ends_with(b"\r\n+OK\r\n"));
    assert_eq!(bytes.len(), value.len() + "$3000000\r\n\r\n+OK\r\n".len());
    let (head, body) = bytes.split_at(10);
    assert!(head == b"$3000000\r\n" && body.starts_with(&value));
}

#[test]
fn clients_show_certificates_as_the_flag_says() {
    let other = tls::folder().join("others");
    tls::make(&other, &["own"]);
    let other = |name: &str| other.join(name).display().to_string();
    let stranger = [
        "--cert".into(),
        other("own.crt"),
        "--key".into(),
        other("own.key"),
    ];
    for (auth, with, without, strange) in [
        ("yes", true, false, false),
        ("optional", true, true, false),
        ("no", true, true, true),
    ] {
        let served = Served::start(cluster(), &["-tls-auth-clients", auth]);
        for (args, expected) in [(&own()[..], with), (&[], without), (&stranger, strange)] {
            let reply = text(&served.cli(&[&refs(args)[..], &["PING"]].concat()));
            assert_eq!(reply == "PONG\n", expected, "{auth} {args:?}: {reply}");
        }
        if !strange {
            served.logged("TLS handshake failed with client 127.0.0.1:");
        }
    }
}

/// redis-cli with a certificate of this name, which is for these names.
fn cli_as(served: &Served, name: &str, names: &str, args: &[&str]) -> String {
    let folder = tls::folder();
    tls::make(folder, &[name, names]);
    let file = |end: &str| tls::file(&format!("{name}.{end}"));
    let (certificate, key) = (file("crt"), file("key"));
    let shown = ["--cert", &certificate, "--key", &key];
    text(&served.cli(&[&shown[..], args].concat()))
}

#[test]
fn certificates_name_users() {
    let users = tls::folder().join("named.acl");
    let lines = "user default off\nuser app on >pw ~app:* +@all\nuser spiffe://a/app on ~uri:* +@all\n\
                 user gone off >pw ~* +@all\n";
    std::fs::write(&users, lines).expect("a file");
    let file = users.display().to_string();
    let flags = ["-acl-file", &file, "-tls-auth-clients-user"];
    let none = "DNS:localhost";
    let by_name = Served::start(cluster(), &[&flags[..], &["CN"]].concat());
    assert_eq!(cli_as(&by_name, "app", none, &["ACL", "WHOAMI"]), "app\n");
    let denied = cli_as(&by_name, "app", none, &["GET", "other"]);
    assert!(denied.starts_with("NOPERM"), "{denied}");
    // Names of no user, and of one who may not log in; a URI is no common name.
    for (name, names) in [("nobody", none), ("gone", none), ("uri", "URI:app")] {
        let reply = cli_as(&by_name, name, names, &["PING"]);
        assert!(reply.starts_with("NOAUTH"), "{name}: {reply}");
    }
    // One line a second: the first at least.
    by_name.logged("names \"nobody\", which is not a user who may log in");
    // ACL LOG says each of them.
    let log = cli_as(
        &by_name,
        "uri",
        none,
        &[
            "--user",
            "app",
            "--pass",
            "pw",
            "--no-auth-warning",
            "ACL",
            "LOG",
        ],
    );
    for name in ["nobody", "gone", "uri"] {
        assert!(
            log.contains("tls-cert") && log.contains(name),
            "{name}: {log}"
        );
    }
    // Who is asked for a password can give one all the same.
    let args = [
        "--user",
        "app",
        "--pass",
        "pw",
        "--no-auth-warning",
        "GET",
        "app:1",
    ];
    assert_eq!(cli_as(&by_name, "nobody", none, &args), "\n");
    let by_uri = Served::start(cluster(), &[&flags[..], &["SAN-URI"]].concat());
    let names = "URI:spiffe://a/none,DNS:app,URI:spiffe://a/app,URI:app";
    let reply = cli_as(&by_uri, "app", names, &["ACL", "WHOAMI"]);
    assert_eq!(reply, "spiffe://a/app\n");
    let reply = cli_as(&by_uri, "app", "DNS:app", &["PING"]);
    assert!(reply.starts_with("NOAUTH"), "{reply}");
}

#[test]
fn who_resumes_a_session_is_the_user_of_its_certificate() {
    let users = tls::folder().join("resumed.acl");
    std::fs::write(&users, "user default off\nuser own on nopass ~* +@all\n").expect("a file");
    let file = users.display().to_string();
    let flags = [
        "-acl-file",
        &file,
        "-tls-auth-clients-user",
        "CN",
        "-max-procs",
        "2",
    ];
    let served = Served::start(cluster(), &flags);
    let addr = format!("127.0.0.1:{}", served.port.number());
    let mut resumed = 0;
    for _ in 0..6 {
        let (answer, is_resumed) =
            tls::exchange(&addr, b"ACL WHOAMI\r\nQUIT\r\n").expect("an answer");
        assert_eq!(String::from_utf8_lossy(&answer), "$3\r\nown\r\n+OK\r\n");
        resumed += usize::from(is_resumed);
    }
    assert!(resumed > 0, "no session was resumed");
}

#[test]
fn a_user_by_certificate_needs_a_certificate() {
    let args = [
        "-check",
        "-tls-auth-clients-user",
        "CN",
        "-tls-auth-clients",
        "no",
    ];
    let output = Command::new(env!("CARGO_BIN_EXE_redis-cluster-proxy"))
        .args(args)
        .output();
    let told = text(&output.expect("the program"));
    assert!(told.contains("-tls-auth-clients-user CN needs"), "{told}");
}

#[test]
fn clients_at_the_wrong_address_are_closed_and_told_of_once() {
    let served = Served::start(cluster(), &[]);
    for _ in 0..30 {
        let mut plain = Conn::connect(&format!("127.0.0.1:{}", served.port.number()));
        plain.send("PING\r\n");
        // TLS has words of its own for that, which are no RESP.
        assert!(plain.read_to_close().expect("an end").len() < 16);
        let own_port = served.proxy.addr().to_string();
        let error = tls::connect(&own_port).and_then(|mut channel| {
            std::io::Write::write_all(channel.as_mut(), b"PING\r\n")?;
            std::io::Read::read(channel.as_mut(), &mut [0; 16])
        });
        assert!(error.is_err(), "{error:?}");
    }
    served.logged("it does not speak TLS, which -tls-addr requires");
    served.logged("it speaks TLS, which is for -tls-addr");
    let log = served.proxy.log();
    for what in ["it does not speak TLS", "it speaks TLS"] {
        // One line a second.
        let lines = log.lines().filter(|line| line.contains(what)).count();
        assert!((1..20).contains(&lines), "{lines}\n{log}");
    }
    assert_eq!(served.conn().line("PING"), "PONG");
}

/// What a probe without a certificate is answered by the debug address.
fn probe(addr: &str, path: &str) -> String {
    let script = r#"printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$1" |
        openssl s_client -quiet -verify_return_error -connect "$2" -CAfile "$3" 2>/dev/null"#;
    let authority = tls::file("ca.crt");
    let output = Command::new("bash")
        .args(["-c", script, "bash", path, addr, &authority])
        .output();
    text(&output.expect("openssl"))
}

#[test]
fn the_debug_address_speaks_tls() {
    let port = Port::reserve();
    let addr = format!("127.0.0.1:{}", port.number());
    let served = Served::start(cluster(), &["-debug-addr", &addr, "-debug-tls"]);
    let url = format!("https://localhost:{}", port.number());
    // A probe shows no certificate, whatever -tls-auth-clients says.
    assert!(probe(&addr, "/healthz").ends_with("\r\n\r\nok\n"));
    assert!(probe(&addr, "/metrics").ends_with("# EOF\n"));
    // Many requests on one connection, all written before the first answer is read.
    let mut stream = tls::connect(&addr).expect("a stream");
    let one = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let last = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    std::io::Write::write_all(
        stream.as_mut(),
        format!("{}{last}", one.repeat(50)).as_bytes(),
    )
    .expect("it is taken");
    let mut answers = String::new();
    std::io::Read::read_to_string(stream.as_mut(), &mut answers).expect("text");
    assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), 51);
    assert!(answers.ends_with("\r\n\r\nok\n"));
    // A peer without TLS gets nothing, and the log says why.
    let mut plain = Conn::connect(&addr);
    plain.send("GET /healthz HTTP/1.0\r\n\r\n");
    let answer = plain.read_to_close().expect("an end");
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    served.logged("debug address: a peer does not speak TLS, which -debug-tls demands");
    let top = |url: &str, more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_redis-cluster-proxy"))
            .args(["-top", url])
            .args(more)
            .output();
        text(&output.expect("the program"))
    };
    let authority = tls::file("ca.crt");
    let shown = top(&url, &["-tls-ca-cert-file", &authority]);
    assert!(shown.contains("COMMAND"), "{shown}");
    let shown = top(&url, &[]);
    assert!(shown.contains("UnknownIssuer"), "{shown}");
    assert_eq!(served.conn().line("PING"), "PONG");
}

#[test]
fn a_session_is_resumed_by_its_ticket() {
    let served = Served::start(cluster(), &["-tls-auth-clients", "no"]);
    let session = tls::folder().join("session.pem").display().to_string();
    let addr = format!("127.0.0.1:{}", served.port.number());
    let client = |version: &str, which: &str| {
        let script = r#"printf 'PING\r\nQUIT\r\n' | exec openssl s_client -ign_eof -connect "$1" -CAfile "$2" "$3" "$4" "$5" 2>&1"#;
        let authority = tls::file("ca.crt");
        let output = Command::new("bash")
            .args([
                "-c", script, "bash", &addr, &authority, version, which, &session,
            ])
            .output();
        text(&output.expect("openssl"))
    };
    for version in ["-tls1_2", "-tls1_3"] {
        let first = client(version, "-sess_out");
        assert!(
            first.contains("New, TLSv1") && first.contains("+PONG"),
            "{first}"
        );
        let second = client(version, "-sess_in");
        assert!(
            second.contains("Reused, TLSv1") && second.contains("+PONG"),
            "{second}"
        );
    }
}

#[test]
fn nodes_prove_their_names() {
    let names = |args: &[&str]| {
        let (own, key) = (tls::file("node.crt"), tls::file("node.key"));
        let files = ["--tls-cert-file", &own, "--tls-key-file", &key];
        start(&[&files[..], args].concat())
    };
    tls::make(tls::folder(), &["node", "DNS:node.test"]);
    let announced = names(&["--cluster-announce-hostname", "node.test"]);
    let served = Served::start(
        &announced,
        &[
            "-node-map",
            "node.test=127.0.0.1",
            "-backend-tls-server-name",
            "node.test",
        ],
    );
    assert_eq!(served.conn().line("SET a 1"), "OK");
    // Its name is known from the topology, which the first node told: that one was typed by its address.
    let mut nodes = announced.addrs();
    let nameless = |flags: &[&str], nodes: &[String]| {
        let port = Port::reserve();
        let mut all = tls::client_side(&format!("127.0.0.1:{}", port.number()));
        all.extend(tls::node_side());
        all.extend(flags.iter().map(ToString::to_string));
        let proxy = Proxy::spawn(nodes, &refs(&all), &[]);
        proxy.wait_until_answering();
        Served { proxy, port }
    };
    let served = nameless(&[], &nodes);
    served.logged("certificate not valid for name \"127.0.0.1\"");
    assert!(served.conn().line("SET a 1").is_error());
    let served = nameless(&["-backend-tls-verify=false"], &nodes);
    served.proxy.wait_until_serving(&announced);
    served.logged("node certificates are not verified");
    // Nobody vouches for these nodes.
    nodes.truncate(1);
    let served = nameless(
        &[
            "-backend-tls-ca-cert-file",
            "/etc/ssl/certs/ca-certificates.crt",
        ],
        &nodes,
    );
    served.logged("UnknownIssuer");
}

#[test]
fn a_proxy_without_tls_finds_the_other_ports_of_the_same_nodes() {
    let ports = cluster().ports();
    let seed = [format!("127.0.0.1:{}", ports[0])];
    let proxy = Proxy::spawn(&seed, &[], &[]);
    proxy.wait_until_serving(cluster());
    assert_eq!(proxy.conn().line("SET a 1"), "OK");
}

#[test]
fn bad_files_are_named_in_one_line_and_nothing_starts() {
    let folder = tls::folder();
    tls::make(folder, &["another"]);
    let text = |name: &str, text: &str| {
        std::fs::write(folder.join(name), text).expect("a file");
        tls::file(name)
    };
    let (empty, garbage) = (
        text("empty.pem", ""),
        text("garbage.pem", "-----BEGIN CERTIFICATE-----\n!\n"),
    );
    let no_x509 = text(
        "none.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let (cert, key, other) = (
        tls::file("own.crt"),
        tls::file("own.key"),
        tls::file("another.key"),
    );
    let expired = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/expired.crt");
    let addr = format!("127.0.0.1:{}", Port::reserve().number());
    let check = |flags: &[&str], reason: &str| {
        for check in [&["-check"][..], &[]] {
            let output = Command::new(env!("CARGO_BIN_EXE_redis-cluster-proxy"))
                .args(["-addr", "127.0.0.1:0", "-log-file", "/dev/null"])
                .args(flags)
                .args(check)
                .output()
                .expect("the proxy");
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{flags:?}: {stderr}");
            assert_eq!(stderr.lines().count(), 1, "{stderr}");
            assert!(stderr.contains(reason), "{reason:?} in {stderr:?}");
        }
    };
    let clients = |certificate: &str, key: &str, reason: &str| {
        let flags = [
            "-tls-addr",
            &addr,
            "-tls-auth-clients",
            "no",
            "-tls-cert-file",
            certificate,
        ];
        check(&[&flags[..], &["-tls-key-file", key]].concat(), reason);
    };
    clients(
        "/no/such.pem",
        &key,
        "-tls-cert-file: /no/such.pem: No such file or directory",
    );
    clients(
        &empty,
        &key,
        &format!("-tls-cert-file: {empty}: there is no certificate in it"),
    );
    clients(
        &garbage,
        &key,
        &format!("-tls-cert-file: {garbage}: it is malformed"),
    );
    clients(
        &no_x509,
        &key,
        &format!("-tls-cert-file: {no_x509}: it is not an X.509 certificate"),
    );
    clients(
        &cert,
        &cert,
        &format!("-tls-key-file: {cert}: there is no private key in it"),
    );
    clients(
        &cert,
        &other,
        &format!("-tls-key-file: {other}: the key does not belong to the certificate in {cert}"),
    );
    clients(
        expired,
        &key,
        &format!("-tls-cert-file: {expired}: the certificate expired"),
    );
    check(
        &["-tls-addr", &addr],
        "-tls-addr needs -tls-cert-file and -tls-key-file",
    );
    check(
        &["-debug-tls"],
        "-debug-tls needs -tls-cert-file and -tls-key-file",
    );
    let pair = [
        "-tls-addr",
        &addr,
        "-tls-cert-file",
        &cert,
        "-tls-key-file",
        &key,
    ];
    check(&pair, "-tls-auth-clients yes needs -tls-ca-cert-file");
    let reason = format!("-tls-ca-cert-file: {empty}: there is no certificate in it");
    check(
        &[&pair[..], &["-tls-ca-cert-file", &empty]].concat(),
        &reason,
    );
    check(
        &[&pair[..4], &["-tls-auth-clients", "no"]].concat(),
        "-tls-cert-file needs -tls-key-file",
    );
    let suites = ["-tls-auth-clients", "no", "-tls-ciphersuites", "TLS_NULL"];
    check(
        &[&pair[..], &suites].concat(),
        "\"TLS_NULL\" is not known; there are TLS_AES_256_GCM_SHA384:",
    );
    let nodes = ["-backend-tls", "-backend-tls-ca-cert-file"];
    let reason = format!("-backend-tls-ca-cert-file: {garbage}: it is malformed");
    check(&[&nodes[..], &[&garbage]].concat(), &reason);
    let own = [
        "-backend-tls-cert-file",
        &cert,
        "-backend-tls-key-file",
        &other,
    ];
    let reason = format!("-backend-tls-key-file: {other}: the key does not belong");
    check(
        &[&nodes[..], &[&tls::file("ca.crt")], &own].concat(),
        &reason,
    );
}

#[test]
fn certificates_are_renewed_under_load_without_an_error() {
    let folder = tls::folder().join("renewed");
    std::fs::create_dir_all(&folder).expect("a folder");
    for name in ["ca.crt", "ca.key"] {
        std::fs::copy(tls::file(name), folder.join(name)).expect("a file");
    }
    let renew = |days: &str| tls::make(&folder, &["own", "DNS:localhost,IP:127.0.0.1", days]);
    renew("40");
    let (own, key) = (folder.join("own.crt"), folder.join("own.key"));
    let (own, key) = (own.display().to_string(), key.display().to_string());
    let clients = ["-tls-cert-file", &own, "-tls-key-file", &key];
    let nodes = [
        "-backend-tls-cert-file",
        &own,
        "-backend-tls-key-file",
        &key,
    ];
    let served = Served::start(cluster(), &[clients, nodes].concat());
    let days = |conn: &mut Conn| {
        let info = conn.info("proxy");
        let days = |flag: &str| info[flag].parse::<f64>().expect("a number").round();
        let both = [
            "proxy_tls_cert_file_days_left",
            "proxy_backend_tls_cert_file_days_left",
        ];
        both.map(days)
    };
    let mut old = served.conn();
    assert_eq!(days(&mut old), [40.0, 40.0]);
    assert_eq!(old.info("proxy")["proxy_backend_tls"], "yes");
    let hup = || support::signal(served.proxy.pid(), "HUP");
    let ended = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let loads = [0, 1].map(|load| {
            let (served, ended) = (&served, &ended);
            scope.spawn(move || {
                let (mut count, mut conn) = (0, served.conn());
                while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                    let key = format!("renewed{load}-{}", count % 50);
                    assert_eq!(conn.command(&["SET", &key, "1"]), "OK");
                    count += 1;
                    if count % 10 == 0 {
                        conn = served.conn();
                    }
                }
                count
            })
        });
        for round in 1..=5 {
            renew(&(50 + round).to_string());
            hup();
            let expected = f64::from(50 + round);
            let what = format!("the certificate of round {round}");
            wait_for(&what, LIMIT, || {
                (days(&mut old) == [expected; 2]).then_some(())
            });
        }
        // One that is broken changes nothing, and is told of.
        std::fs::write(folder.join("own.crt"), "").expect("a file");
        hup();
        served.logged("TLS: keeping the old certificates: -tls-cert-file: ");
        assert_eq!(days(&mut old), [55.0, 55.0]);
        renew("5");
        hup();
        served.logged("TLS: the certificate of -tls-cert-file expires in 5.0 days");
        ended.store(true, std::sync::atomic::Ordering::Relaxed);
        for load in loads {
            assert!(load.join().expect("no error") > 10);
        }
    });
}

/// Tests of other modules whose clients and nodes are those of `support`: some of each, as all of them take minutes.
const AGAIN: &[&str] = &[
    "clients::redis_rs",
    "routing::",
    "transactions::a_slot_may_move_at_any_point",
    "transactions::a_transaction_is_answered_as_by_one_node",
    "transactions::a_lost_connection_before_exec_is_not_seen",
    "blocking::nobody_else_waits",
    "blocking::who_leaves_frees_its_place",
    "pubsub::a_shard_channel_follows_its_slot",
    "pubsub::a_slow_subscriber_is_cut_and_nobody_else",
    "pubsub::replies_are_those_of_redis",
    "large::large_values_are_whole",
    "large::many_large_values_in_one_reply",
];

#[test]
fn tests_of_other_subjects_pass_over_tls() {
    tls::again(AGAIN);
}

#[test]
#[ignore = "takes two minutes"]
fn all_tests_of_these_subjects_pass_over_tls() {
    let large = [
        "large::large_values_are_whole",
        "large::many_large_values_in_one_reply",
    ];
    tls::again(
        &[
            &["routing::", "transactions::", "blocking::", "pubsub::"][..],
            &large,
        ]
        .concat(),
    );
}
