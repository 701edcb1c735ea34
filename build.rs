//! What only the build knows: the commit and the compiler, and how the debug information of a release is kept.

use std::env;
use std::path::Path;
use std::process::Command;

/// What a command says in one line.
fn line(command: &mut Command) -> Option<String> {
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_string()).filter(|text| !text.is_empty())
}

fn git(words: &[&str]) -> Option<String> {
    line(Command::new("git").args(words))
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let unknown = || "unknown".to_string();
    let rustc = env::var("RUSTC").ok();
    let rustc = rustc.and_then(|rustc| line(Command::new(rustc).arg("--version")));
    println!(
        "cargo::rustc-env=BUILD_RUSTC={}",
        rustc.unwrap_or_else(unknown)
    );
    // A build for tests is not made anew for each commit.
    let commit = release
        .then(|| git(&["rev-parse", "--short=12", "HEAD"]))
        .flatten();
    println!(
        "cargo::rustc-env=BUILD_COMMIT={}",
        commit.unwrap_or_else(unknown)
    );
    if release {
        // It grows with every commit and every other branch taken.
        let log = git(&["rev-parse", "--git-path", "logs/HEAD"]);
        if let Some(log) = log.filter(|log| Path::new(log).exists()) {
            println!("cargo::rerun-if-changed={log}");
        }
        // The names for profiles are five sixths of the program; perf and the proxy's own profiler read them packed.
        if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
            println!("cargo::rustc-link-arg-bins=-Wl,--compress-debug-sections=zlib");
        }
    }
}
