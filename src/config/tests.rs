//! Tests of `config`.

use super::*;

#[test]
fn a_network_has_the_addresses_that_begin_like_it() {
    let check = |address: &str, prefix: u8, ip: &str, expected: bool| {
        let network = Network {
            address: address.parse().unwrap(),
            prefix,
        };
        assert_eq!(
            network.contains(ip.parse().unwrap()),
            expected,
            "{network} {ip}"
        );
    };
    check("10.0.0.0", 8, "10.255.1.2", true);
    check("10.0.0.0", 8, "11.0.0.0", false);
    check("10.1.2.3", 32, "10.1.2.3", true);
    check("10.1.2.3", 32, "10.1.2.2", false);
    check("0.0.0.0", 0, "255.1.2.3", true);
    check("0.0.0.0", 0, "::1", false);
    check("10.0.0.0", 8, "::ffff:10.1.1.1", true);
    check("fd00::", 8, "fd12::1", true);
    check("fd00::", 8, "fe80::1", false);
    check("::1", 128, "::1", true);
    check("::", 0, "2001:db8::1", true);
}

#[test]
fn secrets_are_renewed_and_no_door_is_opened() {
    let secret = |text: &str| (!text.is_empty()).then(|| Secret::new(text));
    let config = |client: &str, old: &str, token: &str| Config {
        client_password: secret(client),
        client_password_old: secret(old),
        debug_token: secret(token),
        ..Config::default()
    };
    let check = |before: &Config, new: &Config, expected: &Config, kept: &[&str]| {
        assert_eq!(
            before.with_secrets_of(new),
            (expected.clone(), kept.to_vec())
        );
    };
    let (a, ba, open) = (
        config("a", "", "t"),
        config("b", "a", "u"),
        config("", "", ""),
    );
    check(&a, &ba, &ba, &[]);
    check(&ba, &a, &a, &[]);
    check(&open, &ba, &ba, &[]);
    check(&ba, &open, &ba, &["client-password", "debug-token"]);
    assert!(ba.admits(b"a") && ba.admits(b"b") && !ba.admits(b"c") && !ba.admits(b""));
    assert!(open.admits(b"anything"));
}

#[test]
fn a_secret_matches_itself_only_and_never_prints() {
    let secret = Secret::new("sesame");
    assert!(secret.matches(b"sesame"));
    for wrong in ["", "s", "sesam", "sesamf", "sesamesesame", "SESAME"] {
        assert!(!secret.matches(wrong.as_bytes()), "{wrong}");
    }
    assert_eq!(format!("{secret:?}"), "***");
    assert!(Secret::new("").matches(b""));
    assert!(!Secret::new("").matches(b"x"));
}
