//! The program: options, descriptors, log, and then the library. The exit codes are decided here: 0 done,
//! 1 cannot run, 2 bad usage.

use std::env;
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::process::ExitCode;

use redis_cluster_proxy::allocator;
use redis_cluster_proxy::check;
use redis_cluster_proxy::config::Config;
use redis_cluster_proxy::control::TERMINAL;
use redis_cluster_proxy::descriptors;
use redis_cluster_proxy::logging;
use redis_cluster_proxy::machine_memory;
use redis_cluster_proxy::options::{self, Parsed};
use redis_cluster_proxy::systemd;
use redis_cluster_proxy::top;
use rustix::thread::set_current_timer_slack;

fn main() -> ExitCode {
    match options::parse(env::args_os().skip(1), |name| env::var_os(name)) {
        Ok(Parsed::Run(config)) => match &config.top {
            Some(url) => watch(&config, url),
            None => serve(config),
        },
        Ok(Parsed::Check(config)) => {
            let faults = check::faults(&config, &remarks(&config));
            match faults.is_empty() {
                true => print("configuration is OK\n"),
                false => complain(&faults, 1),
            }
        }
        Ok(Parsed::Help(text) | Parsed::Version(text)) => print(&text),
        Err(error) => complain(&error.to_string(), 2),
    }
}

/// What the operator likely meant otherwise.
fn remarks(config: &Config) -> Vec<String> {
    options::remarks(config, env::vars_os().map(|(name, _)| name))
}

/// Says it on standard output.
fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Shows the status of another proxy.
fn watch(config: &Config, url: &str) -> ExitCode {
    match top::run(config, url) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("{url}: {error}\n"), 1),
    }
}

fn serve(mut config: Config) -> ExitCode {
    // Before there are other threads: it changes the environment.
    let passed = match systemd::passed_listener() {
        Ok(passed) => passed,
        Err(error) => return complain(&format!("redis-cluster-proxy: {error}\n"), 1),
    };
    allocator::limit_heaps(config.workers);
    let log = match logging::start(&config) {
        Ok(log) => log,
        Err(error) => return complain(&format!("cannot start the log: {error}\n"), 1),
    };
    for remark in remarks(&config) {
        log::warn!(target: TERMINAL, "{remark}");
    }
    match descriptors::raise() {
        Ok((before, after)) => {
            let number =
                |limit: Option<u64>| limit.map_or("unlimited".to_string(), |n| n.to_string());
            log::info!(
                "file descriptors: limit {}, before {}",
                number(after),
                number(before)
            );
        }
        Err(error) => log::warn!("cannot raise the limit of file descriptors: {error}"),
    }
    if let Some(limit) = descriptors::limit() {
        for line in descriptors::fit(&mut config, limit) {
            log::warn!("{line}");
        }
    }
    if let Some(bytes) = machine_memory::bytes() {
        config.limits.memory_share = usize::try_from(bytes / 2).unwrap_or(usize::MAX);
        log::info!(
            "memory: clients may hold {} bytes (-max-memory), half of what there is",
            config.limits.memory_limit()
        );
    }
    if let Err(error) = sharpen_timers() {
        log::warn!("cannot set precise timers: -coalesce may wait longer than asked: {error}");
    }
    let result = redis_cluster_proxy::run(config, passed, log.clone());
    if let Err(error) = &result {
        log::error!("exiting: {error}");
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

/// Lets short sleeps end when they should: by default the kernel may add 50 microseconds to each. Threads made
/// from now on have it too.
fn sharpen_timers() -> io::Result<()> {
    Ok(set_current_timer_slack(NonZeroU64::new(1))?)
}
