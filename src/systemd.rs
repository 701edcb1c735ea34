//! The interface to a service manager such as systemd: takes the listening socket of a socket unit (`LISTEN_FDS`),
//! reports when the program serves, reloads and stops (`NOTIFY_SOCKET`), and feeds the watchdog (`WATCHDOG_USEC`).
//!
//! Each part does nothing unless its variable is set. It must never know what systemd does with it.

use std::env;
use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;

use crate::clock::{Clock, Time};
use crate::net::listener::Passed;
use crate::proxy::process::Process;
use crate::turns::{Heartbeat, Stuck};

/// The workers are looked at so often within the time that the watchdog allows, so that a turn that is long at one look
/// does not end the process.
const LOOKS: u32 = 10;
/// But no less often than this, and no more often than that.
const LOOK_MAX: Duration = Duration::from_secs(1);
const LOOK_MIN: Duration = Duration::from_millis(10);

/// The listening socket that the process was started with, if it was. The variables that name it are taken out of the
/// environment, so this is for the time before other threads.
pub fn passed_listener() -> io::Result<Option<Passed>> {
    // Another program's, which it left in our environment.
    let own = env::var("LISTEN_PID").is_ok_and(|pid| pid == process::id().to_string());
    if !own {
        return Ok(None);
    }
    let mut passed = ListenFd::from_env();
    match passed.len() {
        0 => return Ok(None),
        1 => {}
        count => {
            let text = format!(
                "{count} sockets were passed (LISTEN_FDS), but one is served: keep one ListenStream= in the socket unit"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
    }
    match passed.take_tcp_listener(0) {
        Ok(listener) => Ok(listener.map(Passed::Tcp)),
        Err(_) => {
            let listener = passed.take_unix_listener(0).map_err(|error| {
                let text = format!("cannot use the passed socket (LISTEN_FDS): {error}");
                io::Error::new(error.kind(), text)
            })?;
            Ok(listener.map(Passed::Unix))
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::warn!("cannot notify the service manager (NOTIFY_SOCKET): {error}");
    }
}

/// Clients are served.
pub fn ready(address: &str) {
    let status = format!("listening on {address}");
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// The files of settings are read again from now on.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => log::warn!("cannot read the monotonic clock: {error}"),
    }
}

/// They have been read.
pub fn reloaded() {
    tell(&[NotifyState::Ready]);
}

/// Another process has taken over: it is the one to look after from now on.
pub fn main_process(pid: i32) {
    if let Ok(pid) = u32::try_from(pid) {
        tell(&[NotifyState::MainPid(pid)]);
    }
}

/// No new clients are taken.
pub fn stopping() {
    let status = NotifyState::Status("stopping: finishing what is in flight");
    tell(&[NotifyState::Stopping, status]);
}

/// Feeds the watchdog, if one is set, on a thread that ends with the process: while every worker ends its turns, as
/// `/healthz` says it, and while the process drains, when workers end one by one.
pub fn guard(
    clock: Clock,
    heartbeats: Vec<Arc<Heartbeat>>,
    process: Arc<Process>,
) -> io::Result<()> {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return Ok(());
    };
    let period = (limit / LOOKS).clamp(LOOK_MIN, LOOK_MAX);
    let mut was_stuck = false;
    let feed = move || loop {
        let draining = process.draining.load(Ordering::Relaxed);
        let found = stuck(&heartbeats, draining, clock.now());
        match found {
            None => tell(&[NotifyState::Watchdog]),
            Some((worker, stuck)) if !was_stuck => log::error!(
                "worker {worker} {stuck}: not feeding the watchdog, which may end the process after {limit:?}"
            ),
            Some(_) => {}
        }
        was_stuck = found.is_some();
        thread::sleep(period);
    };
    let thread = thread::Builder::new().name("watchdog".to_string());
    thread.spawn(feed).map(|_detached| ())
}

/// The first worker that is stuck. While the process drains there is none: a worker that has ended turns no more.
fn stuck(heartbeats: &[Arc<Heartbeat>], draining: bool, now: Time) -> Option<(usize, Stuck)> {
    let mut workers = heartbeats.iter().enumerate();
    let found = workers.find_map(|(worker, beat)| Some((worker, beat.stuck(now)?)));
    found.filter(|_| !draining)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stuck_worker_of_two_starves_the_watchdog_until_it_turns_again() {
        let at = |seconds: u64| Time::from_micros(seconds * 1_000_000);
        let beats: Vec<_> = (0..2)
            .map(|_| Arc::new(Heartbeat::ended_at(at(10))))
            .collect();
        assert_eq!(stuck(&beats, false, at(11)), None);
        beats[1].begin(at(11));
        let turn = Stuck::Turn(Duration::from_secs(2));
        assert_eq!(stuck(&beats, false, at(13)), Some((1, turn)));
        beats[1].end(at(13));
        assert_eq!(stuck(&beats, false, at(13)), None);
        let wait = Stuck::Wait(Duration::from_secs(10));
        assert_eq!(stuck(&beats, false, at(20)), Some((0, wait)));
        assert_eq!(stuck(&beats, true, at(20)), None);
    }
}
