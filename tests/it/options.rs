//! The command line of the real program: exit codes, streams, spellings, every flag, every variable. And
//! dist/docs/flags.md, whose table is made from the same rows; to write it anew:
//! `UPDATE_README=1 cargo test --test it options::`.
//!
//! No test lets the program serve: a good command line is shown to be good by `-version` at its end, which
//! is looked at when everything before it has been accepted.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::TcpListener;
use std::os::unix::ffi::OsStringExt;
use std::process::Command;

use redis_cluster_proxy::config::Config;
use redis_cluster_proxy::options::{self, FLAGS, Flag, Kind, Parsed};

struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

fn run<S: AsRef<OsStr>>(args: &[S], env: &[(&str, &OsStr)]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redis-cluster-proxy"));
    for flag in FLAGS {
        if let Some(variable) = flag.variable() {
            command.env_remove(variable);
        }
    }
    let output = command
        .args(args)
        .envs(env.iter().copied())
        .output()
        .expect("the program");
    Outcome {
        code: output.status.code().expect("an exit code"),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

fn check_refused<S: AsRef<OsStr>>(args: &[S], env: &[(&str, &OsStr)], reason: &str) {
    let outcome = run(args, env);
    assert_eq!(outcome.code, 2, "{reason}");
    assert_eq!(outcome.stdout, "");
    assert_eq!(
        outcome.stderr,
        format!("{reason} ({})\n", options::USAGE_AT)
    );
}

fn check_accepted(args: &[&str]) {
    let outcome = run(&[args, &["-version"]].concat(), &[]);
    assert_eq!(outcome.stderr, "", "{args:?}");
    let version = format!(
        "redis-cluster-proxy {} (commit {})\n",
        env!("CARGO_PKG_VERSION"),
        env!("BUILD_COMMIT")
    );
    assert_eq!(outcome.stdout, version, "{args:?}");
    assert_eq!(outcome.code, 0, "{args:?}");
}

/// A value that is not the default, and one that is refused if there is any. A new flag needs its own.
fn samples(flag: &Flag) -> (&'static str, Option<&'static str>) {
    match flag.name {
        "addr" => ("127.0.0.1:8089", Some("nowhere")),
        "unix-socket-perm" => ("770", Some("8")),
        "reuse-port" => ("true", Some("maybe")),
        "startup-nodes" => ("a:7001,b:7001", Some("a")),
        "node-map" => ("a:1=b:2", Some("a")),
        "password" | "client-password" | "backend-password" | "debug-token" => ("sesame", Some("")),
        "password-old" | "client-password-old" | "backend-password-old" => ("sesame", Some("")),
        // Any file with a first line.
        "password-file" => ("Cargo.toml", Some("/nowhere/at/all")),
        "password-old-file" => ("/dev/null", Some("/nowhere/at/all")),
        "user-rate-limit" => ("app=10,b=1", Some("app=0")),
        "auth" => ("backend", Some("both")),
        "max-users" => ("7", Some("0")),
        "user-max-clients" => ("app=10,b=0", Some("app")),
        "user-settings" => ("a:read-prefer=1;admin=no", Some("a:admin=maybe")),
        "proxy-protocol" => ("10.0.0.0/8,::1/128", Some("10.0.0.0/33")),
        "nodes-allowed" => ("10.0.0.0/8,::1/128", Some("10.0.0.0/33")),
        "config" => ("/dev/null", Some("/nowhere/at/all")),
        "check" => ("false", Some("maybe")),
        "top" => ("http://127.0.0.1:9090", Some("127.0.0.1:9090")),
        "backend-user" => ("app", None),
        "protected-mode" => ("false", Some("maybe")),
        "admin-commands" => ("loopback", Some("maybe")),
        "namespace" => ("jobs", Some("a}b")),
        "namespace-addrs" => (
            "a=127.0.0.1:8089,b=unix:/tmp/b.sock",
            Some("127.0.0.1:8089"),
        ),
        "namespace-channels" => ("true", Some("maybe")),
        "near-cache" => ("64mb", Some("1kb")),
        "near-cache-prefixes" => ("user:,product:", None),
        "near-cache-min-reads" => ("5", Some("0")),
        "near-cache-staleness" => ("500ms", Some("1ms")),
        "near-cache-tracking" => ("keys", Some("some")),
        "namespace-users" => ("default=jobs", Some("jobs")),
        "databases" => ("4", Some("0")),
        "cluster-face" => ("127.0.0.1:8088", Some("nowhere")),
        "read-prefer" => ("READ_PREFER_SLAVE", Some("3")),
        "idc-prefixes" => ("10.1.,10.2.", None),
        "connect-timeout" => ("1.5s", Some("0s")),
        "request-timeout" => ("1m30s", Some("10")),
        "park-timeout" => ("100ms", Some("-1s")),
        "coalesce" => ("0s", Some("-1us")),
        "busy-poll" => ("true", Some("maybe")),
        "cpu-affinity" => ("0,2-3", Some("a-b")),
        "client-idle-timeout" => ("10s", Some("-1s")),
        "write-stall" => ("1s", Some("-1s")),
        "client-query-buffer-limit" => ("64mb", Some("1023kb")),
        "client-output-buffer-limit" => ("normal 1mb 0 0 pubsub 2mb 1mb 5", Some("normal 1mb")),
        "pubsub-output" => ("1024", Some("0")),
        "slots-reload-interval" => ("10s", Some("1d")),
        "backend-connections" => ("2", Some("0")),
        "backend-init-connections" => ("1", Some("x")),
        "backend-idle-connections" => ("6", Some("1.5")),
        "backend-idle-timeout" => ("1m0s", Some("-1s")),
        "max-clients" => ("10", Some("0")),
        "max-memory" => ("64mb", Some("1kb")),
        "take-over" => ("/run/proxy/take-over", None),
        "drain-grace" => ("5s", Some("-1s")),
        "tracking-max-keys" => ("500", Some("0")),
        "drain-timeout" => ("1m0s", Some("-1s")),
        "login-timeout" => ("1s", Some("-1s")),
        "max-blocked-clients" => ("10", Some("-1")),
        "max-transactions" => ("10", Some("-1")),
        "transaction-idle-timeout" => ("10s", Some("-1s")),
        "cross-slot-transactions" => ("per-slot", Some("maybe")),
        "pubsub-order" => ("channel", Some("none")),
        "max-procs" => ("2", Some("-1")),
        "auth-failure-delay" => ("5s", Some("61s")),
        "acl-scripts" => ("true", Some("maybe")),
        "acl-file" => ("users.acl", None),
        "log-file" => ("other.log", None),
        "access-log-file" => ("access.log", None),
        "log-level" => ("DEBUG", Some("loud")),
        "log-format" => ("json", Some("xml")),
        "slowlog-log-slower-than" => ("-1", Some("-2")),
        "log-every-n" => ("0", Some("-1")),
        "debug-addr" => ("127.0.0.1:9090", Some("9090")),
        "ready-when" => ("any-slot", Some("some")),
        "version" => ("false", Some("maybe")),
        "tls-addr" => ("127.0.0.1:8090", Some("nowhere")),
        "tls-cert-file" | "tls-key-file" | "tls-ca-cert-file" => ("a.pem", None),
        "tls-auth-clients-user" => ("SAN-URI", Some("DNS")),
        "tls-auth-clients" => ("optional", Some("maybe")),
        "tls-protocols" => ("TLSv1.3", Some("SSLv3")),
        "tls-ciphersuites" => ("TLS_CHACHA20_POLY1305_SHA256", None),
        "backend-tls" => ("true", Some("maybe")),
        "backend-tls-ca-cert-file" => ("a.pem", None),
        "backend-tls-cert-file" | "backend-tls-key-file" => ("a.pem", None),
        "backend-tls-server-name" => ("node.test", None),
        "debug-tls" => ("true", Some("maybe")),
        "backend-tls-verify" => ("false", Some("maybe")),
        other => panic!("a sample is wanted for -{other}"),
    }
}

fn config(args: Vec<OsString>, env: impl Fn(&str) -> Option<OsString>) -> Config {
    match options::parse(args.into_iter(), env) {
        Ok(Parsed::Run(config)) => config,
        other => panic!("not a config: {other:?}"),
    }
}

#[test]
fn help_goes_to_standard_output() {
    for arg in ["-h", "--h", "-help", "--help"] {
        let outcome = run(&[arg], &[]);
        assert_eq!(outcome.code, 0, "{arg}");
        assert_eq!(outcome.stdout, options::usage(), "{arg}");
        assert_eq!(outcome.stderr, "", "{arg}");
    }
}

#[test]
fn the_version_is_one_line() {
    check_accepted(&[]);
    check_accepted(&["--version"]);
}

#[test]
fn every_flag_is_accepted_in_every_spelling() {
    for flag in FLAGS {
        let (good, _) = samples(flag);
        let name = flag.name;
        check_accepted(&[&format!("-{name}={good}")]);
        check_accepted(&[&format!("--{name}={good}")]);
        if flag.kind.needs_value() {
            check_accepted(&[&format!("-{name}"), good]);
            check_accepted(&[&format!("--{name}"), good]);
        } else {
            check_accepted(&[&format!("-{name}")]);
            check_accepted(&[&format!("--{name}")]);
        }
        check_accepted(&[&format!("-{name}={good}"), &format!("-{name}={good}")]);
    }
}

#[test]
fn a_fault_in_a_file_is_told_by_its_line_and_without_the_usage() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bad.conf");
    std::fs::write(&path, "# comment\nmax-clients 5\nno-such-flag 3\n").expect("written");
    let name = path.to_str().expect("text");
    let reason = format!("{name}: line 3: there is no flag of this name\n");
    for (args, env) in [
        (
            vec![format!("-config={name}"), "-check".to_string()],
            vec![],
        ),
        (vec![format!("-config={name}")], vec![]),
        (vec![], vec![("REDIS_PROXY_CONFIG", OsStr::new(name))]),
    ] {
        let outcome = run(&args, &env);
        assert_eq!((outcome.code, &outcome.stderr), (2, &reason));
    }
}

/// A value as a refusal has it: that of a secret is not shown.
fn shown(flag: &Flag, value: &str) -> String {
    match flag.kind {
        Kind::Secret => "value".to_string(),
        _ => format!("value \"{value}\""),
    }
}

#[test]
fn every_flag_refuses_what_it_must() {
    for flag in FLAGS {
        let (_, bad) = samples(flag);
        if let Some(bad) = bad {
            let outcome = run(&[format!("-{}={bad}", flag.name)], &[]);
            assert_eq!(outcome.code, 2, "-{}", flag.name);
            assert_eq!(outcome.stdout, "");
            let reason = outcome.stderr.lines().next().expect("a reason");
            let value = shown(flag, bad);
            assert!(reason.starts_with("invalid "), "{reason}");
            assert!(reason.contains(&format!("{value} for ")), "{reason}");
            assert!(reason.contains(&format!("-{}: ", flag.name)), "{reason}");
            assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
        }
        if flag.kind.needs_value() {
            let name = format!("-{}", flag.name);
            check_refused(&[&name], &[], &format!("flag needs an argument: {name}"));
        }
    }
}

#[test]
fn bad_usage_is_refused_with_its_reason() {
    check_refused(&["-foo"], &[], "flag provided but not defined: -foo");
    check_refused(
        &["-max-procs", "x"],
        &[],
        "invalid value \"x\" for flag -max-procs: is not a whole number: give one such as 10",
    );
    check_refused(
        &["serve"],
        &[],
        "unexpected argument after the flags: \"serve\"",
    );
    check_refused(
        &["-backend-idle-connections", "1"],
        &[],
        "-backend-init-connections (5) must not be more than -backend-idle-connections (1)",
    );
}

#[test]
fn a_check_says_whether_all_is_well_and_serves_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("proxy.conf");
    let file = file.to_str().expect("a plain path");
    let check = |text: &str| {
        fs::write(file, text).expect("a file");
        run(&["-check", "-config", file], &[])
    };
    let log = folder.path().join("own.log");
    let log = log.to_str().expect("a plain path");
    let free = format!("addr 127.0.0.1:0\nlog-file {log}\npassword sesame\n");
    let good = check(&free);
    assert_eq!(
        (good.code, good.stdout.as_str()),
        (0, "configuration is OK\n")
    );
    assert_eq!(good.stderr, "");
    assert!(
        !fs::exists(log).expect("a folder"),
        "nothing is left behind"
    );
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("an address");
    for (text, reason) in [
        (
            format!("{free}addr {taken}"),
            format!("cannot listen on {taken} (-addr): "),
        ),
        (
            format!("{free}addr {taken}"),
            format!("process {} (", std::process::id()),
        ),
        (
            format!("{free}addr {taken}"),
            "line 4: addr is already set in line 1".to_string(),
        ),
        (
            format!("{free}debug-addr {taken}"),
            format!("cannot listen on {taken} (-debug-addr)"),
        ),
        (
            format!("{free}addr unix:/nowhere/at/all"),
            "/nowhere/at/all (-addr)".to_string(),
        ),
        (
            format!("{free}access-log-file /nowhere/a"),
            "-access-log-file: cannot open /nowhere/a".to_string(),
        ),
        (
            format!("{free}cpu-affinity 1023"),
            "processor 1023 (-cpu-affinity)".to_string(),
        ),
    ] {
        let bad = check(&text);
        assert_eq!((bad.code, bad.stdout.as_str()), (1, ""), "{text}");
        assert!(bad.stderr.contains(&reason), "{reason}: {}", bad.stderr);
        assert!(!bad.stderr.contains("sesame"));
    }
    let misspelt = [("REDIS_PROXY_MAX_PROC", OsStr::new("2"))];
    let bad = run(
        &["-check", "-addr", "127.0.0.1:0", "-log-file", "-"],
        &misspelt,
    );
    let told = "environment variable REDIS_PROXY_MAX_PROC belongs to no flag; did you mean REDIS_PROXY_MAX_PROCS?\n";
    assert_eq!((bad.code, bad.stderr.as_str()), (1, told));
    for (text, reason) in [
        ("max-procs x", "line 1: -max-procs: is not a whole number"),
        ("\ncolour red", "line 2: there is no flag of this name"),
        (
            "password sesame\npassword-file /nowhere",
            "line 2: -password-file: cannot read it: ",
        ),
    ] {
        let bad = check(text);
        assert_eq!(bad.code, 2, "{text}");
        assert!(bad.stderr.contains(reason), "{}", bad.stderr);
        assert!(!bad.stderr.contains("sesame"));
    }
    let bad = check("backend-idle-connections 1\n");
    assert_eq!(bad.code, 2, "what only several flags show is checked, too");
}

#[test]
fn a_file_gives_what_neither_flags_nor_variables_say() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("proxy.conf");
    let secret = folder.path().join("secret");
    fs::write(&secret, "sesame\nmore\n").expect("a file");
    let text = "max-procs 2\nmax-clients 3\nlog-every-n 4\npassword open\n";
    fs::write(&path, text).expect("a file");
    let args = |more: &[&str]| {
        let mut args = vec![OsString::from("-config"), path.clone().into()];
        args.extend(more.iter().map(OsString::from));
        args
    };
    let env = |name: &str| (name == "REDIS_PROXY_MAX_CLIENTS").then(|| OsString::from("5"));
    let found = config(args(&["-max-procs", "6"]), env);
    assert_eq!(
        (found.workers, found.limits.clients, found.log_every_n),
        (6, 5, 4)
    );
    assert!(found.client_password.expect("one").matches(b"open"));
    let found = config(
        args(&["-password-file", secret.to_str().expect("plain")]),
        |_| None,
    );
    assert!(found.client_password.expect("one").matches(b"sesame"));
    let by_variable = config(Vec::new(), |name| {
        (name == "REDIS_PROXY_CONFIG").then(|| path.clone().into())
    });
    assert_eq!(by_variable.workers, 2);
}

#[test]
fn every_flag_and_its_variable_do_the_same() {
    for flag in FLAGS {
        let Some(variable) = flag.variable() else {
            continue;
        };
        let (good, _) = samples(flag);
        // An old password is worth nothing without a new one.
        let new = if flag.name.contains("-old") {
            &[
                "-password=new",
                "-client-password=new",
                "-backend-password=new",
            ][..]
        } else {
            &[]
        };
        let new: Vec<OsString> = new.iter().map(OsString::from).collect();
        let given = OsString::from(format!("-{}={good}", flag.name));
        let by_flag = config([&new[..], &[given]].concat(), |_| None);
        let by_variable = config(new, |name| (name == variable).then(|| OsString::from(good)));
        assert_eq!(by_flag, by_variable, "{variable}");
        assert_ne!(by_flag, Config::default(), "{variable}");
        // The flag wins: its default undoes the variable. What guards a door has no default to be typed.
        if flag.guards() {
            continue;
        }
        let both = config(
            vec![format!("-{}={}", flag.name, flag.default).into()],
            |name| (name == variable).then(|| OsString::from(good)),
        );
        assert_eq!(both, Config::default(), "{variable}");
    }
}

#[test]
fn every_variable_reaches_the_program() {
    // No flag takes a value that is no text, so this is bad for all of them.
    let no_text = OsString::from_vec(b"ses\xffame".to_vec());
    for flag in FLAGS {
        let Some(variable) = flag.variable() else {
            continue;
        };
        check_refused::<&str>(
            &[],
            &[(&variable, &no_text)],
            &format!("invalid value for environment variable {variable}: not valid UTF-8"),
        );
        if let (_, Some(bad)) = samples(flag) {
            let outcome = run::<&str>(&[], &[(&variable, OsStr::new(bad))]);
            assert_eq!(outcome.code, 2, "{variable}");
            let value = shown(flag, bad);
            let reason = format!("invalid {value} for environment variable {variable}: ");
            assert!(outcome.stderr.starts_with(&reason), "{}", outcome.stderr);
        }
    }
}

#[test]
fn passwords_are_never_printed() {
    for flag in FLAGS.iter().filter(|flag| flag.kind == Kind::Secret) {
        let variable = flag.variable().expect("a variable");
        let env = [(variable.as_str(), OsStr::new("sesame"))];
        for args in [&["-max-procs=x"][..], &["-h"], &["-foo"]] {
            let outcome = run(args, &env);
            assert!(!(outcome.stdout + &outcome.stderr).contains("sesame"));
        }
        let name = format!("-{}", flag.name);
        for args in [[&name, "sesame", "-max-procs=x"], [&name, "open", "sesame"]] {
            let outcome = run(&args, &[]);
            assert_eq!(outcome.code, 2);
            assert!(!outcome.stderr.contains("sesame"), "{}", outcome.stderr);
        }
    }
}

#[test]
fn the_reference_page_shows_the_table() {
    const BEGIN: &str = "<!-- flags -->\n";
    const END: &str = "<!-- /flags -->";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/dist/docs/flags.md");
    let page = fs::read_to_string(path).expect("flags.md");
    let begin = page.find(BEGIN).expect("the first marker") + BEGIN.len();
    let end = begin + page[begin..].find(END).expect("the second marker");
    let section = options::reference_table();
    if std::env::var_os("UPDATE_README").is_some() {
        let updated = [&page[..begin], &section, &page[end..]].concat();
        fs::write(path, updated).expect("flags.md can be written");
        return;
    }
    assert!(
        page[begin..end] == section,
        "dist/docs/flags.md is behind the table of flags: UPDATE_README=1 cargo test --test it options::"
    );
}
