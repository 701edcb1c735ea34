//! The flags of what is logged, and where: rows of the [table](super::table) as the others are.

use std::path::PathBuf;

use super::flag::{Flag, Kind, choice};
use super::number;
use crate::config::LogFormat;
use crate::logging;

/// The flags.
pub(super) const FLAGS: [Flag; 6] = [
    Flag {
        name: "log-file",
        kind: Kind::String,
        default: "redis-cluster-proxy.log",
        help: "log file. It is rotated at 64 MiB, and one older file is kept. - is standard error",
        apply: |options, value| {
            options.config.log_file = (!matches!(value, "" | "-")).then(|| value.into());
            Ok(())
        },
        show: |config| show_path(&config.log_file),
        live: false,
    },
    Flag {
        name: "access-log-file",
        kind: Kind::String,
        default: "",
        help: "file for access log lines (-log-every-n), rotated in the same way. - is standard error. Empty is a \
               file next to -log-file: proxy-access.log for proxy.log",
        apply: |options, value| {
            options.config.access_log_file = (!value.is_empty()).then(|| value.into());
            Ok(())
        },
        show: |config| {
            let path = config.access_log_file.as_ref();
            path.map_or(String::new(), |path| path.display().to_string())
        },
        live: false,
    },
    Flag {
        name: "log-level",
        kind: Kind::String,
        default: "info",
        help: "lowest level to log: debug, info, warn, error, fatal or panic (fatal and panic mean error)",
        apply: |options, value| {
            options.config.log_level = logging::parse_level(value)
                .ok_or("must be debug, info, warn, error, fatal or panic")?;
            Ok(())
        },
        show: |config| logging::level_name(config.log_level).to_string(),
        live: true,
    },
    Flag {
        name: "log-format",
        kind: Kind::String,
        default: "text",
        help: "format of the log lines: text or json (one object on each line)",
        apply: |options, value| {
            options.config.log_format = choice(value, &LogFormat::ALL, LogFormat::name)?;
            Ok(())
        },
        show: |config| config.log_format.name().to_string(),
        live: false,
    },
    Flag {
        name: "log-every-n",
        kind: Kind::Int,
        default: "100",
        help: "write one access log line for every N commands. 0 writes none",
        apply: |options, value| {
            options.config.log_every_n = number::within(value, 0, i64::MAX)?;
            Ok(())
        },
        show: |config| config.log_every_n.to_string(),
        live: true,
    },
    Flag {
        name: "slowlog-log-slower-than",
        kind: Kind::Int,
        default: "10000",
        help: "log requests that take at least this many microseconds to PROXY SLOWLOG, split into proxy time and \
               node time. -1 logs none",
        apply: |options, value| {
            options.config.slowlog_log_slower_than = number::within(value, -1, i64::MAX)?;
            Ok(())
        },
        show: |config| config.slowlog_log_slower_than.to_string(),
        live: true,
    },
];

fn show_path(path: &Option<PathBuf>) -> String {
    path.as_ref()
        .map_or("-".to_string(), |path| path.display().to_string())
}
