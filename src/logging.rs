//! The log: records become lines on the thread that speaks, and a thread named `log` writes them.
//!
//! Between the two is a bounded queue. When it is full the line is dropped and counted: a slow disk costs
//! lines, never a worker's time. The level can be moved at run time (one relaxed atomic of the `log` crate).
//!
//! It must never know who speaks, nor wait for the disk on any thread but its own ([`LogHandle::flush`], for
//! the end of the program, is the one exception and is bounded).

mod file;
mod line;
mod queue;

use std::io;
use std::thread;
use std::time::{Duration, SystemTime};

use log::LevelFilter;

use crate::config::Config;
use file::LogFile;
use queue::{LineReceiver, LineSender};

/// How long [`LogHandle::flush`] waits at most.
const FLUSH_WAIT: Duration = Duration::from_secs(2);

/// The reins of the running log. Clones drive the same log.
#[derive(Debug, Clone)]
pub struct LogHandle {
    lines: LineSender,
}

/// Starts the log thread and makes it the program's one logger.
///
/// The file is opened by that thread; if it cannot be, the log goes to standard error, with a warning. An
/// error is a thread that cannot be made, or a logger that is already there.
pub fn start(config: &Config) -> io::Result<LogHandle> {
    let (lines, receiver) = queue::bounded(config.limits.log_lines);
    let file = LogFile::new(config.log_file.clone(), config.limits.log_file_bytes);
    let sink = lines.clone();
    let format = config.log_format;
    // The dispatch passes everything; the level is the facade's own, which can be moved.
    fern::Dispatch::new()
        .level(LevelFilter::Trace)
        .chain(fern::Output::call(move |record| {
            sink.send(line::compose(
                format,
                record.target(),
                SystemTime::now(),
                record.level(),
                *record.args(),
            ));
        }))
        .apply()
        .map_err(io::Error::other)?;
    let handle = LogHandle { lines };
    handle.set_level(config.log_level);
    // Last, so that a refused logger leaves no thread and no file behind.
    spawn_writer(receiver, file)?;
    Ok(handle)
}

fn spawn_writer(receiver: LineReceiver, file: LogFile) -> io::Result<()> {
    thread::Builder::new()
        .name("log".to_string())
        .spawn(move || receiver.write_all_to(file))
        .map(|_detached| ())
}

impl LogHandle {
    /// Sets the level from now on.
    pub fn set_level(&self, level: LevelFilter) {
        log::set_max_level(level);
    }

    /// The level in force.
    pub fn level(&self) -> LevelFilter {
        log::max_level()
    }

    /// Asks the log thread to open the file anew (SIGHUP, after the old one was renamed).
    pub fn reopen(&self) {
        self.lines.ask_reopen();
    }

    /// Lines lost so far: for a full queue, or for a write that failed.
    pub fn dropped(&self) -> u64 {
        self.lines.dropped()
    }

    /// Waits, for two seconds at most, until all that was logged before is written. For the end of the
    /// program; whether it all was written is returned.
    pub fn flush(&self) -> bool {
        self.lines.wait_written(FLUSH_WAIT)
    }
}

/// The level of a name, in any case. There is nothing quieter than `error` in the `log` crate but silence, so
/// `fatal` and `panic` are as `error`.
pub fn parse_level(name: &str) -> Option<LevelFilter> {
    match name.to_ascii_lowercase().as_str() {
        "debug" => Some(LevelFilter::Debug),
        "info" => Some(LevelFilter::Info),
        "warn" => Some(LevelFilter::Warn),
        "error" | "fatal" | "panic" => Some(LevelFilter::Error),
        _ => None,
    }
}

/// The name of a level. Those without a name of ours get the nearest one.
pub fn level_name(level: LevelFilter) -> &'static str {
    match level {
        LevelFilter::Trace | LevelFilter::Debug => "debug",
        LevelFilter::Info => "info",
        LevelFilter::Warn => "warn",
        LevelFilter::Error => "error",
        LevelFilter::Off => "panic",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_names() {
        for name in ["debug", "info", "warn", "error"] {
            assert_eq!(parse_level(name).map(level_name), Some(name));
            assert_eq!(
                parse_level(&name.to_uppercase()).map(level_name),
                Some(name)
            );
        }
        assert_eq!(parse_level("fatal"), Some(LevelFilter::Error));
        assert_eq!(parse_level("Panic"), Some(LevelFilter::Error));
        for name in ["", "trace", "off", "loud", "info "] {
            assert_eq!(parse_level(name), None, "{name:?}");
        }
    }
}
