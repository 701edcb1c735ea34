//! The program: options, descriptors, log, and then the library. The exit codes are decided here: 0 done,
//! 1 cannot run, 2 bad usage.
//!
//! It is the only file with calls to libc.
#![allow(unsafe_code)]

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

use redis_cluster_proxy::config::Config;
use redis_cluster_proxy::logging;
use redis_cluster_proxy::options::{self, Parsed};
use redis_cluster_proxy::top;

fn main() -> ExitCode {
    match options::parse(env::args_os().skip(1), |name| env::var_os(name)) {
        Ok(Parsed::Run(config)) => match &config.top {
            Some(url) => watch(&config, url),
            None => serve(config),
        },
        Ok(Parsed::Help(text) | Parsed::Version(text) | Parsed::Check(text)) => {
            match io::stdout().write_all(text.as_bytes()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            }
        }
        Err(error) => complain(&error.to_string(), 2),
    }
}

/// Shows the status of another proxy.
fn watch(config: &Config, url: &str) -> ExitCode {
    match top::run(config, url) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("{url}: {error}\n"), 1),
    }
}

fn serve(config: Config) -> ExitCode {
    let log = match logging::start(&config) {
        Ok(log) => log,
        Err(error) => return complain(&format!("cannot start the log: {error}\n"), 1),
    };
    match raise_descriptor_limit() {
        Ok((before, after)) if before == after => log::info!("file descriptors: {after} at most"),
        Ok((before, after)) => {
            log::info!("file descriptors: {after} at most, raised from {before}");
        }
        Err(error) => log::warn!("cannot raise the limit of file descriptors: {error}"),
    }
    if let Err(error) = sharpen_timers() {
        log::warn!("cannot make timers sharp, naps (-coalesce) may take longer: {error}");
    }
    let result = redis_cluster_proxy::run(config, log.clone());
    if let Err(error) = &result {
        log::error!("cannot go on: {error}");
    }
    log.flush();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("redis-cluster-proxy: {error}\n"), 1),
    }
}

/// Says it on standard error, if that can be written to, and hands on the exit code.
fn complain(text: &str, code: u8) -> ExitCode {
    // There is nobody left to tell of a failure.
    io::stderr().write_all(text.as_bytes()).ok();
    ExitCode::from(code)
}

/// Raises the soft limit of open files to the hard one. Returns the limit before and after.
fn raise_descriptor_limit() -> io::Result<(libc::rlim_t, libc::rlim_t)> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid `rlimit` to be written to for the length of the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let before = limit.rlim_cur;
    if before == limit.rlim_max {
        return Ok((before, before));
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is a valid `rlimit` to be read for the length of the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((before, limit.rlim_cur))
}

/// Lets short sleeps end when they should: by default the kernel may add 50 microseconds to each. Threads made
/// from now on have it too.
fn sharpen_timers() -> io::Result<()> {
    // SAFETY: this call takes numbers only.
    match unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
