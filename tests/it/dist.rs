//! What `dist/` holds is true: documents that are made from the table of flags are up to date
//! (`UPDATE_DIST=1 cargo test --test it dist::` writes them), and shells, man and systemd understand what is theirs,
//! where they are installed.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use redis_cluster_proxy::config::Limits;
use redis_cluster_proxy::options::{FLAGS, documents};

fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/dist")).join(name)
}

#[track_caller]
fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("dist/{name}: {error}"))
}

/// What a program says, if it is installed.
fn output(program: &str, args: &[&str]) -> Option<Output> {
    match Command::new(program).args(args).output() {
        Ok(output) => Some(output),
        Err(_) => {
            eprintln!("skipped: {program} is not installed");
            None
        }
    }
}

/// The program succeeds and says nothing, if it is installed.
#[track_caller]
fn check_silent(program: &str, args: &[&str]) {
    if let Some(output) = output(program, args) {
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(
            output.status.success() && said.trim().is_empty(),
            "{program} {args:?}: {said}"
        );
    }
}

#[test]
fn what_is_made_from_the_flags_is_up_to_date() {
    for (name, text) in [
        ("man/redis-cluster-proxy.1", documents::man()),
        ("completions/redis-cluster-proxy.bash", documents::bash()),
        ("completions/_redis-cluster-proxy", documents::zsh()),
        ("completions/redis-cluster-proxy.fish", documents::fish()),
        ("redis-cluster-proxy.conf", documents::example()),
    ] {
        if std::env::var_os("UPDATE_DIST").is_some() {
            fs::write(path(name), text).expect("it can be written");
            continue;
        }
        assert!(
            fs::read_to_string(path(name)).is_ok_and(|found| found == text),
            "dist/{name} is behind the table of flags: UPDATE_DIST=1 cargo test --test it dist::"
        );
    }
}

#[test]
fn the_man_page_has_every_flag_and_no_fault() {
    let page = path("man/redis-cluster-proxy.1");
    let page = page.to_str().expect("plain");
    check_silent("mandoc", &["-Tlint", "-Werror", page]);
    let rendered = output(
        "man",
        &["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page],
    );
    if let Some(rendered) = rendered {
        assert_eq!(String::from_utf8_lossy(&rendered.stderr), "");
    }
    let text = read("man/redis-cluster-proxy.1");
    for flag in FLAGS {
        let head = format!("\n.B \\-{}", flag.name.replace('-', "\\-"));
        assert!(text.contains(&head), "-{}", flag.name);
    }
}

/// What bash offers for the last of the words.
fn offered(words: &[&str]) -> Vec<String> {
    let script = r#"source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        _redis_cluster_proxy; printf '%s\n' "${COMPREPLY[@]}""#;
    let file = path("completions/redis-cluster-proxy.bash");
    let output = Command::new("bash")
        .args(["-c", script, "bash"])
        .arg(file)
        .arg("redis-cluster-proxy")
        .args(words)
        .output()
        .expect("bash");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{words:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(str::to_string).collect()
}

#[test]
fn bash_completes_flags_and_values() {
    assert_eq!(offered(&["-"]).len(), FLAGS.len());
    assert_eq!(offered(&[""]).len(), FLAGS.len());
    assert_eq!(offered(&["-log-f"]), ["-log-file", "-log-format"]);
    assert_eq!(offered(&["--log-fo"]), ["--log-format"]);
    assert_eq!(offered(&["-log-level", "w"]), ["warn"]);
    assert_eq!(offered(&["--log-format", "="]), ["text", "json"]);
    assert_eq!(offered(&["-reuse-port", "=", "t"]), ["true"]);
    assert_eq!(offered(&["-reuse-port", "-log-l"]), ["-log-level"]);
    assert_eq!(offered(&["-config", "Cargo.t"]), ["Cargo.toml"]);
    assert_eq!(offered(&["-addr", ""]), [""; 0]);
}

#[test]
fn zsh_and_fish_complete_too() {
    let zsh = path("completions/_redis-cluster-proxy");
    let zsh = zsh.to_str().expect("plain");
    check_silent("zsh", &["-n", zsh]);
    // What _arguments is given is what was meant: quotes and brackets have not come apart.
    let script = format!("_arguments() {{ print -l -- \"$@\" }}; source {zsh}");
    if let Some(output) = output("zsh", &["-fc", &script]) {
        let text = String::from_utf8(output.stdout).expect("text");
        assert_eq!(text.lines().count(), FLAGS.len() + 1, "{text}");
        for line in text.lines() {
            let plain = line.replace("\\[", "").replace("\\]", "");
            assert!(line.starts_with('-'), "{line}");
            assert_eq!(plain.matches('[').count(), 1, "{line}");
            assert_eq!(plain.matches(']').count(), 1, "{line}");
        }
    }
    let fish = path("completions/redis-cluster-proxy.fish");
    let fish = fish.to_str().expect("plain");
    check_silent("fish", &["-n", fish]);
    let script = format!("source {fish}; complete -C 'redis-cluster-proxy -log-format '");
    if let Some(output) = output("fish", &["--no-config", "-c", &script]) {
        let text = String::from_utf8(output.stdout).expect("text");
        let words: Vec<_> = text
            .lines()
            .filter_map(|line| line.split('\t').next())
            .collect();
        assert_eq!(words, ["json", "text"]);
    }
    for flag in FLAGS {
        assert!(read("completions/_redis-cluster-proxy").contains(&format!("  '-{}", flag.name)));
        assert!(
            read("completions/redis-cluster-proxy.fish").contains(&format!(" -o {} ", flag.name))
        );
    }
}

/// The values of a key in a unit file.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    let lines = unit.lines().filter_map(|line| line.split_once('='));
    lines
        .filter(|(name, _)| *name == key)
        .map(|(_, value)| value)
        .collect()
}

#[test]
fn the_unit_fits_the_program() {
    let unit = read("systemd/redis-cluster-proxy.service");
    assert_eq!(values(&unit, "Type"), ["notify"]);
    assert_eq!(
        values(&unit, "ExecReload"),
        ["/bin/sh -c 'kill -HUP $MAINPID'"]
    );
    let seconds = |key: &str| -> u64 {
        let value = values(&unit, key)[0].strip_suffix('s').expect("seconds");
        value.parse().expect("a number")
    };
    // A turn of five seconds is for /healthz to tell, not for the watchdog to end.
    assert!(seconds("WatchdogSec") >= 10);
    let limits = Limits::default();
    let stop = limits.drain_grace + limits.drain;
    assert!(seconds("TimeoutStopSec") > stop.as_secs());
    let start = values(&unit, "ExecStart")[0];
    let words: Vec<&str> = start.split(' ').collect();
    assert_eq!(words[0], "/usr/bin/redis-cluster-proxy");
    for word in words.iter().filter_map(|word| word.strip_prefix('-')) {
        assert!(FLAGS.iter().any(|flag| flag.name == word), "-{word}");
    }
    // One descriptor for each client, and some for the nodes.
    let descriptors: usize = values(&unit, "LimitNOFILE")[0].parse().expect("a number");
    assert!(descriptors > 2 * Limits::default().clients);
    let socket = read("systemd/redis-cluster-proxy.socket");
    assert_eq!(values(&socket, "ListenStream"), ["8088"], "one is served");
    assert_eq!(values(&socket, "Accept"), [""; 0]);
}

#[test]
fn systemd_finds_the_unit_well_guarded() {
    let unit = path("systemd/redis-cluster-proxy.service");
    let unit = unit.to_str().expect("plain");
    // 2.0 of 10 is where the better half of what it calls OK begins.
    let args = [
        "security",
        "--offline=true",
        "--threshold=20",
        "--no-pager",
        unit,
    ];
    if let Some(output) = output("systemd-analyze", &args) {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}");
        assert!(said.contains("Overall exposure level"), "{said}");
    }
}
