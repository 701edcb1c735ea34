//! The log as a whole: one logger for the process, so one test.

use std::fs;
use std::path::Path;

use log::LevelFilter;
use redis_cluster_proxy::config::Config;
use redis_cluster_proxy::logging;

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

    assert_eq!(handle.dropped(), 0);
    // There is one logger in a process; a second one is refused.
    assert!(logging::start(&config).is_err());
}
