//! Tests of `options`.

use super::*;
use crate::config::{Listen, ReadPreference};
use std::time::Duration;

fn parse_with(args: &[&str], env: &[(&str, &str)]) -> Result<Parsed, String> {
    parse(args.iter().map(OsString::from), |name| {
        env.iter()
            .find(|(variable, _)| *variable == name)
            .map(|(_, value)| OsString::from(value))
    })
    .map_err(|error| error.reason().to_string())
}

fn config_with(args: &[&str], env: &[(&str, &str)]) -> Config {
    match parse_with(args, env) {
        Ok(Parsed::Run(config)) => config,
        other => panic!("{args:?} {env:?}: {other:?}"),
    }
}

fn config(args: &[&str]) -> Config {
    config_with(args, &[])
}

fn check_refused(args: &[&str], expected: &str) {
    assert_eq!(parse_with(args, &[]), Err(expected.to_string()), "{args:?}");
}

#[test]
fn nothing_typed_is_the_default() {
    assert_eq!(config(&[]), Config::default());
    assert_eq!(config(&["--"]), Config::default());
}

#[test]
fn all_spellings_are_one_and_the_last_wins() {
    for args in [
        &["-max-procs", "3"][..],
        &["--max-procs", "3"],
        &["-max-procs=3"],
        &["--max-procs=3"],
        &["-max-procs", "2", "-max-procs=3"],
    ] {
        assert_eq!(config(args).workers, 3, "{args:?}");
    }
    for (args, expected) in [
        (&["-protected-mode"][..], true),
        (&["-protected-mode=false"], false),
        (&["--protected-mode=F"], false),
        (&["-protected-mode=0", "-protected-mode"], true),
        (&["-protected-mode", "-protected-mode=0"], false),
    ] {
        assert_eq!(config(args).protected_mode, expected, "{args:?}");
    }
}

#[test]
fn refusals_are_in_the_words_of_go() {
    check_refused(&["-foo"], "flag provided but not defined: -foo");
    check_refused(&["--foo=secret"], "flag provided but not defined: -foo");
    check_refused(&["-x"], "flag provided but not defined: -x");
    check_refused(&["---addr"], "bad flag syntax: ---addr");
    check_refused(&["-=x"], "bad flag syntax: -=");
    check_refused(&["-addr"], "flag needs an argument: -addr");
    check_refused(
        &["-max-procs", "x"],
        "invalid value \"x\" for flag -max-procs: is not a whole number: give one such as 10",
    );
    // What is overridden later is checked as well.
    check_refused(
        &["-max-procs", "x", "-max-procs", "1"],
        "invalid value \"x\" for flag -max-procs: is not a whole number: give one such as 10",
    );
    check_refused(
        &["-connect-timeout", "1d"],
        "invalid value \"1d\" for flag -connect-timeout: is not a duration: give numbers with units, such as 10s, 250ms or 1m30s",
    );
    check_refused(
        &["-protected-mode=maybe"],
        "invalid boolean value \"maybe\" for -protected-mode: must be true or false",
    );
}

#[test]
fn a_switch_takes_a_second_word_that_switches() {
    let protected = |args: &[&str]| config(args).protected_mode;
    assert!(protected(&["-protected-mode"]));
    for word in ["false", "no", "off", "0"] {
        assert!(!protected(&["-protected-mode", word]), "{word}");
        let args = ["--protected-mode", word, "-max-procs", "3"];
        assert_eq!(config(&args).workers, 3, "what follows still counts");
    }
    assert!(protected(&["-protected-mode", "yes"]));
    assert!(protected(&[
        "-protected-mode=false",
        "-protected-mode",
        "true"
    ]));
    // A value may look like a flag.
    let secret = config(&["-password", "-busy-poll", "-protected-mode", "no"]);
    assert_eq!(secret.client_password, Some(Secret::new("-busy-poll")));
    assert!(!secret.protected_mode && !secret.busy_poll);
}

#[test]
fn a_name_that_is_nearly_one_is_told() {
    check_refused(
        &["-max-proc", "2"],
        "flag provided but not defined: -max-proc; did you mean -max-procs?",
    );
    let names = [
        "REDIS_PROXY_ADR",
        "REDIS_PROXY_ADDR",
        "REDIS_PORT",
        "REDIS_PROXY_X",
    ];
    let told = remarks(&Config::default(), names.iter().map(OsString::from));
    assert_eq!(
        told,
        [
            "environment variable REDIS_PROXY_ADR belongs to no flag; did you mean REDIS_PROXY_ADDR?",
            "environment variable REDIS_PROXY_X belongs to no flag",
        ]
    );
}

#[test]
fn leftovers_are_refused_and_hidden_beside_a_password() {
    check_refused(
        &["-protected-mode", "perhaps"],
        "unexpected argument after the flags: \"perhaps\"",
    );
    check_refused(&["-"], "unexpected argument after the flags: \"-\"");
    check_refused(&["--", "x"], "unexpected argument after the flags: \"x\"");
    check_refused(
        &["-password", "open", "sesame"],
        "unexpected argument after the flags",
    );
}

#[test]
fn live_settings_change_and_others_do_not() {
    let config = Config::default();
    let changed = |name, value| change(&config, name, value);
    let faster = changed("Slots-Reload-Interval", "500ms").unwrap();
    assert_eq!(faster.slots_reload_interval, Duration::from_millis(500));
    assert_eq!(changed("max-procs", "2"), Err(Unchanged::Fixed));
    assert_eq!(changed("password", "x"), Err(Unchanged::Fixed));
    assert_eq!(changed("version", "true"), Err(Unchanged::Unknown));
    assert_eq!(changed("colour", "red"), Err(Unchanged::Unknown));
    assert!(matches!(
        changed("max-clients", "0"),
        Err(Unchanged::Invalid(_))
    ));
    let names: Vec<_> = list(&config).into_iter().map(|(name, _)| name).collect();
    assert!(names.contains(&"log-level") && !names.contains(&"password"));
}

#[test]
fn values_out_of_range_are_refused() {
    for (flag, value, reason) in [
        ("max-procs", "-1", "must be between 0 and 1024"),
        ("backend-connections", "0", "must be between 1 and 1024"),
        ("max-clients", "0", "must be between 1 and 10000000"),
        ("max-clients", "9223372036854775808", "value out of range"),
        (
            "backend-init-connections",
            "-1",
            "must be between 0 and 65535",
        ),
        (
            "log-every-n",
            "-1",
            "must be between 0 and 9223372036854775807",
        ),
        ("connect-timeout", "0", "must be more than 0"),
        ("connect-timeout", "-1s", "must be more than 0"),
        ("request-timeout", "0s", "must be more than 0"),
        ("slots-reload-interval", "0s", "must be more than 0"),
        ("park-timeout", "-1ns", "must not be negative, or auto"),
        (
            "log-level",
            "loud",
            "must be debug, info, warn, error, fatal or panic",
        ),
    ] {
        check_refused(
            &[&format!("-{flag}"), value],
            &format!("invalid value {value:?} for flag -{flag}: {reason}"),
        );
    }
    check_refused(
        &["-backend-init-connections", "513"],
        "-backend-init-connections (513) must not be more than -backend-idle-connections (512)",
    );
    let park = |value| config(&["-park-timeout", value]).park_timeout;
    assert_eq!(park("0"), Some(Duration::ZERO));
    assert_eq!(park("auto"), None);
    assert!(config(&["-max-procs", "0"]).workers >= 1);
}

#[test]
fn help_and_version_win_in_the_order_typed() {
    for args in [&["-h"][..], &["-help"], &["--help"], &["-version", "-h"]] {
        assert_eq!(parse_with(args, &[]), Ok(Parsed::Help(usage())), "{args:?}");
    }
    assert_eq!(
        parse_with(&["-version"], &[("REDIS_PROXY_MAX_PROCS", "x")]),
        Ok(Parsed::Version(version()))
    );
    assert!(matches!(
        parse_with(&["-version=false"], &[]),
        Ok(Parsed::Run(_))
    ));
    check_refused(
        &["-max-procs", "x", "-h"],
        "invalid value \"x\" for flag -max-procs: is not a whole number: give one such as 10",
    );
}

#[test]
fn the_environment_is_a_fallback_that_a_flag_overrides() {
    let env = [("REDIS_PROXY_MAX_PROCS", "4")];
    assert_eq!(config_with(&[], &env).workers, 4);
    assert_eq!(config_with(&["-max-procs", "2"], &env).workers, 2);
    assert_eq!(
        config_with(&[], &[("REDIS_PROXY_MAX_PROCS", "")]),
        Config::default()
    );
    let bad = [("REDIS_PROXY_MAX_PROCS", "x")];
    assert_eq!(
            parse_with(&[], &bad),
            Err(
                "invalid value \"x\" for environment variable REDIS_PROXY_MAX_PROCS: is not a whole number: give one such as 10"
                    .to_string()
            )
        );
    assert_eq!(config_with(&["-max-procs", "2"], &bad).workers, 2);
}

#[test]
fn who_gets_which_password() {
    let check = |args: &[&str], client: Option<&str>, backend: Option<&str>| {
        let config = config(args);
        assert_eq!(config.client_password, client.map(Secret::new), "{args:?}");
        assert_eq!(
            config.backend_password,
            backend.map(Secret::new),
            "{args:?}"
        );
    };
    check(&["-password", "p"], Some("p"), Some("p"));
    check(
        &["-password", "p", "-client-password", "c"],
        Some("c"),
        Some("p"),
    );
    check(
        &["-backend-password", "b", "-password", "p"],
        Some("p"),
        Some("b"),
    );
    check(&["-backend-password", "b"], None, Some("b"));
    let config = config_with(&["-password", "p"], &[("REDIS_PROXY_CLIENT_PASSWORD", "c")]);
    assert_eq!(config.client_password, Some(Secret::new("c")));
    assert_eq!(config.backend_password, Some(Secret::new("p")));
}

#[test]
fn while_a_password_is_changed_each_side_has_its_old_one_too() {
    let check = |args: &[&str], client: Option<&str>, backend: Option<&str>| {
        let config = config(args);
        let old = [config.client_password_old, config.backend_password_old];
        let expected = [client, backend].map(|old| old.map(Secret::new));
        assert_eq!(old, expected, "{args:?}");
    };
    check(&["-password", "p"], None, None);
    check(
        &["-password", "p", "-password-old", "o"],
        Some("o"),
        Some("o"),
    );
    // A side of its own.
    let apart = [
        "-password",
        "p",
        "-password-old",
        "o",
        "-client-password",
        "c",
    ];
    check(&apart, None, Some("o"));
    let both = [&apart[..], &["-client-password-old", "d"]].concat();
    check(&both, Some("d"), Some("o"));
    check(
        &["-backend-password", "b", "-backend-password-old", "a"],
        None,
        Some("a"),
    );
    for args in [
        &["-password-old", "o"][..],
        &["-client-password-old", "o"],
        &["-client-password", "c", "-backend-password-old", "o"],
    ] {
        let refused = parse_with(args, &[]).expect_err("an old one alone");
        assert!(
            refused.ends_with("needs the new password, too"),
            "{refused}"
        );
    }
}

/// A variable that was not set, a file that was not written: the door must not stay open for it.
#[test]
fn a_secret_that_is_empty_ends_the_start() {
    let secrets = FLAGS.iter().filter(|flag| flag.kind == Kind::Secret);
    for flag in secrets {
        let name = flag.name;
        let variable = flag.variable().expect("a setting");
        for empty in ["", " ", "\t"] {
            let reason = "is empty: give a value, or leave it out";
            check_refused(
                &[&format!("-{name}"), empty],
                &format!("invalid value for flag -{name}: {reason}"),
            );
            check_refused(
                &[
                    &format!("-{name}={empty}"),
                    "-password",
                    "p",
                    &format!("-{name}=x"),
                ],
                &format!("invalid value for flag -{name}: {reason}"),
            );
            let refused = parse_with(&[], &[(&variable, empty)]);
            let expected = format!("invalid value for environment variable {variable}: {reason}");
            assert_eq!(refused, Err(expected));
        }
    }
    for name in ["password-file", "config"] {
        let flag = format!("-{name}");
        let refused = parse_with(&[&flag, ""], &[]).expect_err("an empty name");
        assert!(
            refused.contains("is empty: it must be the name of a file"),
            "{refused}"
        );
        let variable = format!("REDIS_PROXY_{}", name.replace('-', "_").to_uppercase());
        assert!(parse_with(&[], &[(&variable, "")]).is_err(), "{variable}");
    }
}

#[test]
fn values_reach_the_config() {
    assert_eq!(
        config(&["-addr", "unix:/tmp/x"]).listen,
        [Listen::Unix("/tmp/x".into())]
    );
    for (value, expected) in [
        ("0", ReadPreference::Master),
        ("1", ReadPreference::Replica),
        ("2", ReadPreference::ReplicaSameIdc),
        ("READ_PREFER_MASTER", ReadPreference::Master),
        ("read_prefer_slave", ReadPreference::Replica),
        ("READ_PREFER_SLAVE_IDC", ReadPreference::ReplicaSameIdc),
        ("master", ReadPreference::Master),
        ("Replica", ReadPreference::Replica),
        ("replica-idc", ReadPreference::ReplicaSameIdc),
    ] {
        let config = config(&["-read-prefer", value]);
        assert_eq!(config.read_preference, expected, "{value}");
    }
    assert_eq!(config(&["-log-file", "-"]).log_file, None);
    assert_eq!(config(&["-backend-user", ""]).backend_user, None);
    assert_eq!(
        config(&["-idc-prefixes", "10.1., 10.2.,"]).idc_prefixes,
        ["10.1.", "10.2."]
    );
}

#[test]
fn bytes_that_are_no_text_are_refused_unseen() {
    use std::os::unix::ffi::OsStringExt;
    let bytes = || OsString::from_vec(b"ses\xffame".to_vec());
    let error = parse([OsString::from("-password"), bytes()].into_iter(), |_| None);
    assert_eq!(error.unwrap_err().reason(), "argument 2 is not valid UTF-8");
    let error = parse(std::iter::empty(), |name| {
        (name == "REDIS_PROXY_PASSWORD").then(bytes)
    });
    assert_eq!(
        error.unwrap_err().reason(),
        "invalid value for environment variable REDIS_PROXY_PASSWORD: not valid UTF-8"
    );
}

#[test]
fn the_command_line_is_shown_without_secrets() {
    let args = [
        "proxy",
        "-password",
        "open sesame",
        "--client-password=sesame",
        "-addr",
        "sesame:1",
    ];
    assert_eq!(
        command_line(args.iter().map(OsString::from)),
        [
            "proxy",
            "-password",
            "***",
            "--client-password=***",
            "-addr",
            "sesame:1"
        ]
    );
}

#[test]
fn a_debug_address_that_others_reach_needs_a_token() {
    let reason = "-debug-addr 0.0.0.0:9090 is not a loopback address: set -debug-token";
    check_refused(&["-debug-addr", ":9090"], reason);
    let open = config(&["-debug-addr", ":9090", "-debug-token", "sesame"]);
    assert_eq!(open.debug_token, Some(Secret::new("sesame")));
    assert_eq!(config(&["-debug-addr", "[::1]:9090"]).debug_token, None);
}

#[test]
fn passwords_do_not_print() {
    let parsed = parse_with(
        &[
            "-password",
            "sesame",
            "-client-password",
            "sesame",
            "-backend-password",
            "sesame",
        ],
        &[],
    );
    assert!(!format!("{parsed:?}").contains("sesame"));
}
