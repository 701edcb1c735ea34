//! The crates that this one is built from: where they come from, under which licences they may be used, which must not be among
//! them, and which versions have known faults. All of it is read from `Cargo.lock` and from the crates that cargo has fetched
//! already, so it costs CI no time and needs no network.
//!
//! Not checked: advisories that are newer than `dependencies/advisories.txt`, and whether a version was yanked. Both need the
//! registry or its database, which a build must not depend on; `cargo deny check advisories` on a machine that has them tells.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

const LOCK: &str = include_str!("../../Cargo.lock");
const MANIFEST: &str = include_str!("../../Cargo.toml");
const ADVISORIES: &str = include_str!("dependencies/advisories.txt");

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Licences that ask for no more than to be named, so that the binary may be given away under our own.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// What must not come in by way of another crate, and why.
const BANNED: &[(&str, &str)] = &[
    ("openssl-sys", "TLS is rustls: no C library is linked"),
    ("native-tls", "TLS is rustls: no C library is linked"),
    (
        "aws-lc-sys",
        "cryptography is ring: the build needs no cmake",
    ),
    ("jemalloc-sys", "the allocator is that of the system"),
    ("git2", "nothing is fetched by a build"),
];

/// The same, of what the binary is made of. A test may use it, as our clients do.
const BANNED_FROM_BINARY: &[(&str, &str)] = &[
    (
        "tokio",
        "the proxy has its own loop, and nothing runs beside it",
    ),
    ("redis", "the proxy speaks the protocol itself"),
];

#[derive(Debug, Default)]
struct Locked {
    name: String,
    version: String,
    source: Option<String>,
    has_checksum: bool,
    /// Names of the crates that it may be built with.
    dependencies: Vec<String>,
}

fn locked() -> Vec<Locked> {
    let tables = LOCK.split("[[package]]").skip(1);
    let package = |table: &str| {
        let mut own = Locked::default();
        for line in table.lines() {
            if let Some(name) = line.strip_prefix(" \"") {
                let name = name.split(['"', ' ']).next().unwrap_or_default();
                own.dependencies.push(name.to_string());
            }
            let Some((key, value)) = line.split_once(" = ") else {
                continue;
            };
            let value = value.trim_matches('"').to_string();
            match key {
                "name" => own.name = value,
                "version" => own.version = value,
                "source" => own.source = Some(value),
                "checksum" => own.has_checksum = value.len() == 64,
                _ => {}
            }
        }
        own
    };
    let all: Vec<Locked> = tables.map(package).collect();
    assert!(all.len() > 50, "{} crates", all.len());
    all
}

#[test]
fn crates_come_from_the_registry_with_their_checksums() {
    for own in locked() {
        let Some(source) = &own.source else {
            assert_eq!(own.name, env!("CARGO_PKG_NAME"), "a path is no source");
            continue;
        };
        assert_eq!(source, REGISTRY, "{}", own.name);
        assert!(own.has_checksum, "{} has no checksum", own.name);
    }
    for line in MANIFEST.lines() {
        let is_open = ["\"*\"", "git =", "path = \"..", "[patch"]
            .iter()
            .any(|word| line.contains(word));
        assert!(!is_open, "no version is named: {line}");
    }
}

#[test]
fn what_must_not_be_linked_is_not_there() {
    for own in locked() {
        let banned = BANNED.iter().find(|(name, _)| *name == own.name);
        assert!(banned.is_none(), "{banned:?}");
    }
    let shipped = shipped();
    assert!(shipped.contains("mio") && !shipped.contains("tempfile"));
    for (name, reason) in BANNED_FROM_BINARY {
        assert!(!shipped.contains(*name), "{name}: {reason}");
    }
}

/// The names of all crates that the binary may be made of: of those that its manifest names, and so on.
fn shipped() -> BTreeSet<String> {
    let of: BTreeMap<String, Vec<String>> = locked()
        .into_iter()
        .map(|own| (own.name, own.dependencies))
        .collect();
    let table = MANIFEST.split("[dependencies]").nth(1).expect("a table");
    let table = table.split("\n[").next().expect("its lines");
    let names = table.lines().filter(|line| !line.starts_with('#'));
    let names = names.filter_map(|line| Some(line.split_once(" = ")?.0.to_string()));
    let mut left: Vec<String> = names.collect();
    let mut shipped = BTreeSet::new();
    while let Some(name) = left.pop() {
        if shipped.insert(name.clone()) {
            left.extend_from_slice(of.get(&name).expect("it is locked"));
        }
    }
    shipped
}

/// Numbers of a version; what stands behind a hyphen or a plus does not count.
fn numbers(version: &str) -> Vec<u64> {
    let plain = version.split(['-', '+']).next().unwrap_or_default();
    let numbers = plain.split('.').map(|part| part.parse());
    numbers.collect::<Result<_, _>>().expect("a version")
}

#[test]
fn no_version_has_a_fault_that_is_known() {
    let locked = locked();
    let rows = ADVISORIES.lines().filter(|line| !line.starts_with('#'));
    for row in rows {
        let words: Vec<&str> = row.split_whitespace().collect();
        let [name, advisory, right, reason @ ..] = &words[..] else {
            panic!("no row: {row}");
        };
        let excepted = match reason {
            ["except", version, _, ..] => version.trim_end_matches(':'),
            [] => "",
            _ => panic!("no reason: {row}"),
        };
        let of_name: Vec<&Locked> = locked.iter().filter(|own| own.name == *name).collect();
        assert!(!of_name.is_empty(), "{name} is not used any more: {row}");
        for own in &of_name {
            let is_right = numbers(&own.version) >= numbers(right);
            assert!(
                is_right || own.version == excepted,
                "{name} {}: {advisory}, mended in {right}",
                own.version
            );
        }
        let is_there = of_name.iter().any(|own| own.version == excepted);
        assert!(excepted.is_empty() || is_there, "nothing to except: {row}");
    }
}

/// Whether one of the choices that an expression gives is allowed.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    expression.split(" AND ").all(|part| {
        let part = part.trim().trim_matches(['(', ')']);
        part.split(" OR ")
            .any(|licence| LICENCES.contains(&licence.trim()))
    })
}

#[test]
fn licences_allow_that_the_binary_is_given_away() {
    for (expression, expected) in [
        ("MIT", true),
        ("MIT/Apache-2.0", true),
        ("GPL-3.0 OR MIT", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("MIT AND GPL-3.0", false),
        ("LGPL-2.1-or-later", false),
        ("", false),
    ] {
        assert_eq!(is_allowed(expression), expected, "{expression}");
    }
    // What is built on this machine, tests and build scripts included: that has been fetched.
    let rustc = Command::new("rustc").arg("-vV").output().expect("rustc");
    let said = String::from_utf8_lossy(&rustc.stdout).into_owned();
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--format-version", "1"])
        .args(["--filter-platform", host.expect("a platform")])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{error}");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("a list");
    let mut count = 0;
    let mut wrong = BTreeMap::new();
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        let licence = package["license"].as_str().unwrap_or_default();
        count += 1;
        if !is_allowed(licence) {
            wrong.insert(name, licence);
        }
    }
    assert!(count > 50 && wrong.is_empty(), "{count} crates: {wrong:?}");
}
