//! The log: records become lines on the thread that speaks, and a thread named `log` writes them. Access lines, of
//! which there are thousands a second, have a queue, a thread (`access-log`) and a file of their own, so that they
//! never push out what else there is to tell.
//!
//! Between the two is a bounded queue. When it is full the line is dropped and counted: a slow disk costs
//! lines, never a worker's time. The level can be moved at run time (one relaxed atomic of the `log` crate).
//!
//! It must never know who speaks, nor wait for the disk on any thread but its own ([`LogHandle::flush`], for
//! the end of the program, is the one exception and is bounded).

mod file;
mod line;
mod queue;
pub mod tame;

use std::fs;
use std::io::{self, Write};
use std::thread;
use std::time::{Duration, SystemTime};

use log::LevelFilter;

use crate::config::Config;
use crate::control::TERMINAL;
use crate::proxy::observe::access_log;
use file::LogFile;
use queue::{LineReceiver, LineSender};

/// How long [`LogHandle::flush`] waits at most.
const FLUSH_WAIT: Duration = Duration::from_secs(2);

/// The reins of the running log. Clones drive the same log.
#[derive(Debug, Clone)]
pub struct LogHandle {
    lines: LineSender,
    access: LineSender,
}

/// Starts the log threads and makes them the program's one logger.
///
/// The files are opened by those threads; if one cannot be, its lines go to standard error, with a warning. An
/// error is a thread that cannot be made, or a logger that is already there.
pub fn start(config: &Config) -> io::Result<LogHandle> {
    let (lines_max, bytes_max) = (config.limits.log_lines, config.limits.log_file_bytes);
    let (lines, receiver) = queue::bounded(lines_max);
    let mut writers = vec![("log", receiver, config.log_file.clone())];
    let access_file = config.access_log_path();
    let together = access_file.is_some() && access_file == config.log_file;
    let access = if together || (config.access_log_file.is_none() && is_device(config)) {
        // Whoever wants both in one file may have it, and beside a device there is no place for files.
        lines.clone()
    } else {
        let (access, receiver) = queue::bounded(lines_max);
        writers.push(("access-log", receiver, access_file));
        access
    };
    let (sink, access_sink) = (lines.clone(), access.clone());
    let in_file = config.log_file.is_some();
    let format = config.log_format;
    // The dispatch passes everything; the level is the facade's own, which can be moved.
    fern::Dispatch::new()
        .level(LevelFilter::Trace)
        .chain(fern::Output::call(move |record| {
            let sink = match record.target() {
                access_log::TARGET => &access_sink,
                TERMINAL if in_file => {
                    show(*record.args());
                    &sink
                }
                _ => &sink,
            };
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
    let handle = LogHandle { lines, access };
    handle.set_level(config.log_level);
    // Last, so that a refused logger leaves no thread and no file behind.
    for (name, receiver, path) in writers {
        spawn_writer(name, receiver, LogFile::new(path, bytes_max))?;
    }
    Ok(handle)
}

/// Says a line of the log on standard error, too, if that can be written to.
fn show(message: std::fmt::Arguments<'_>) {
    let line = format!(
        "{}: {}\n",
        env!("CARGO_PKG_NAME"),
        tame::tame(&message.to_string())
    );
    io::stderr().write_all(line.as_bytes()).ok();
}

/// Whether the log goes to a device or a pipe.
fn is_device(config: &Config) -> bool {
    let metadata = config.log_file.as_ref().map(fs::metadata);
    matches!(metadata, Some(Ok(metadata)) if !metadata.is_file())
}

fn spawn_writer(name: &str, receiver: LineReceiver, file: LogFile) -> io::Result<()> {
    thread::Builder::new()
        .name(name.to_string())
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

    /// Asks the log threads to open the files anew (SIGHUP, after the old ones were renamed).
    pub fn reopen(&self) {
        self.lines.ask_reopen();
        self.access.ask_reopen();
    }

    /// Lines lost so far: for a full queue, or for a write that failed.
    pub fn dropped(&self) -> u64 {
        match self.lines.is(&self.access) {
            true => self.lines.dropped(),
            false => self.lines.dropped() + self.access.dropped(),
        }
    }

    /// Waits, for two seconds at most for each file, until all that was logged before is written. For the end of the
    /// program; whether it all was written is returned.
    pub fn flush(&self) -> bool {
        let lines = self.lines.wait_written(FLUSH_WAIT);
        self.access.wait_written(FLUSH_WAIT) && lines
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
