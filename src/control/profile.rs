//! A CPU profile of this program, in the format of pprof: where its threads spend their time.
//!
//! While no profile is taken nothing of it exists: no timer, no signal, no thread. While one is taken a signal
//! interrupts whoever is running, [`HERTZ`] times in each second of processor time. The walk up the stack is
//! the library's; it begins at the very instruction that was interrupted, and neither allocates nor locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use mio::Waker;
use pprof::protos::Message;
use signal_hook::consts::SIGPROF;
use signal_hook::low_level::raise;

use crate::control::message::Response;

/// Samples in a second of processor time. No divisor of anything that the program does by the second.
const HERTZ: i32 = 99;

/// The longest profile.
pub const LONGEST: Duration = Duration::from_secs(300);

/// Takes a profile on a thread of its own, which wakes the server when it is done; nothing while another is
/// being taken.
pub fn begin(
    length: Duration,
    busy: &Arc<AtomicBool>,
    waker: &Arc<Waker>,
) -> Option<Receiver<Response>> {
    if busy.swap(true, Ordering::AcqRel) {
        return None;
    }
    let (sender, answer) = sync_channel(1);
    let (busy, waker) = (Arc::clone(busy), Arc::clone(waker));
    let freed = Arc::clone(&busy);
    let profile = move || {
        let response = match take(length) {
            Ok(profile) => Response::new("application/octet-stream", profile)
                .with("Content-Disposition", "attachment; filename=\"profile\""),
            Err(text) => Response::text(500, &text),
        };
        busy.store(false, Ordering::Release);
        // If nobody waits for it any more it is thrown away.
        sender.send(response).ok();
        if let Err(error) = waker.wake() {
            log::warn!("debug address: cannot wake its thread: {error}");
        }
    };
    let thread = thread::Builder::new().name("profile".to_string());
    if let Err(error) = thread.spawn(profile) {
        log::warn!("cannot make a thread for a profile: {error}");
        freed.store(false, Ordering::Release);
    }
    Some(answer)
}

/// Samples all threads for so long: a message `perftools.profiles.Profile`.
pub fn take(length: Duration) -> Result<Vec<u8>, String> {
    let guard = pprof::ProfilerGuardBuilder::default()
        .frequency(HERTZ)
        .build()
        .map_err(|error| format!("cannot take a profile: {error}"))?;
    // The first sample makes the tables by which stacks are walked, which allocates: it is taken here and now,
    // where nothing is interrupted.
    raise(SIGPROF).map_err(|error| format!("cannot take a profile: {error}"))?;
    thread::sleep(length);
    let report = guard.report().build();
    drop(guard);
    let report = report.map_err(|error| format!("cannot read the profile: {error}"))?;
    let profile = report.pprof();
    let profile = profile.map_err(|error| format!("cannot write the profile: {error}"))?;
    Ok(profile.encode_to_vec())
}
