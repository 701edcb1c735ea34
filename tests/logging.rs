//! The log as a whole: one logger for the process, so one test.

use std::fs;
use std::path::Path;

use log::LevelFilter;
use redis_cluster_proxy::config::{Config, Limits};
use redis_cluster_proxy::logging;
use redis_cluster_proxy::proxy::observe::access_log::TARGET;

/// Access lines that fill both files.
const MANY: usize = 1000;

fn messages(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).expect("the log file");
    text.lines()
        .map(|line| {
            let (time, rest) = line.split_once(' ').expect("a time");
            assert_eq!(time.len(), "1970-01-01T00:00:00.000Z".len(), "{line}");
            assert!(time.ends_with('Z'), "{line}");
            rest.to_string()
        })
        .collect()
}

#[test]
fn levels_move_and_the_file_is_opened_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("proxy.log");
    let aside = folder.path().join("aside.log");
    let config = Config {
        log_file: Some(path.clone()),
        log_level: LevelFilter::Info,
        limits: Limits {
            log_file_bytes: 1 << 20,
            ..Limits::default()
        },
        ..Config::default()
    };
    let handle = logging::start(&config).expect("a log");
    assert_eq!(handle.level(), LevelFilter::Info);
    log::debug!("unheard");
    log::info!("first\nline");
    handle.set_level(LevelFilter::Debug);
    log::debug!("heard");
    assert!(handle.flush());
    assert_eq!(messages(&path), ["INFO first\\nline", "DEBUG heard"]);

    fs::rename(&path, &aside).expect("rename");
    let other = handle.clone();
    std::thread::spawn(move || {
        other.reopen();
        other.set_level(LevelFilter::Error);
        log::warn!("unheard");
        log::error!("in the new file");
    })
    .join()
    .expect("a thread");
    assert!(handle.flush());
    assert_eq!(messages(&path), ["ERROR in the new file"]);
    assert_eq!(messages(&aside).len(), 2);

    // Access lines are apart: however many there are, no warning leaves the log for them.
    let access = folder.path().join("proxy-access.log");
    handle.set_level(LevelFilter::Info);
    log::warn!("before");
    let line = "x".repeat(1000);
    for number in 0..10 * MANY {
        log::info!(target: TARGET, "{number} {line}");
        if number % 1000 == 0 {
            assert!(handle.flush());
        }
    }
    log::warn!("behind");
    assert!(handle.flush());
    let rest = messages(&path);
    assert_eq!(rest[rest.len() - 2..], ["WARN before", "WARN behind"]);
    assert!(!rest.iter().any(|line| line.contains("INFO")));
    let last = messages(&access).pop().expect("access lines");
    assert_eq!(last, format!("INFO {} {line}", 10 * MANY - 1));
    let size = |path: &Path| fs::metadata(path).expect("a file").len();
    let older = folder.path().join("proxy-access.log.1");
    assert!(size(&access) <= 1 << 20 && size(&older) <= 1 << 20);

    assert_eq!(handle.dropped(), 0);
    // There is one logger in a process; a second one is refused.
    assert!(logging::start(&config).is_err());
}
