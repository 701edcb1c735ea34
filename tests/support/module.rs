//! A module for redis-server, built where it is needed: `cc` is there, as Rust links with it.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use super::reaper;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/module.c");

/// The file to be loaded: a module `probe` with the commands `PROBE.ECHO text` and `PROBE.SAY key error`.
pub fn file() -> &'static str {
    static FILE: OnceLock<String> = OnceLock::new();
    FILE.get_or_init(|| {
        let path: PathBuf = reaper::folder().join("probe.so");
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(&path)
            .arg(SOURCE)
            .status()
            .expect("cc runs");
        assert!(status.success(), "cc cannot build {SOURCE}");
        path.to_string_lossy().into_owned()
    })
}
