//! A CPU profile of this program, in the format of pprof or as folded stacks: where its threads spend their time.
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
use pprof::Report;
use pprof::protos::Message;
use signal_hook::consts::SIGPROF;
use signal_hook::low_level::raise;

use crate::allocator;
use crate::control::message::Response;

/// Samples in a second of processor time. No divisor of anything that the program does by the second.
const HERTZ: i32 = 99;

/// The longest profile.
pub const LONGEST: Duration = Duration::from_secs(300);

/// How a profile is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A message `perftools.profiles.Profile`, for `go tool pprof`.
    Pprof,
    /// A line for each stack, `thread;root;...;leaf count`, for the tools that draw flame graphs.
    Folded,
}

/// Takes a profile on a thread of its own, which wakes the server when it is done; nothing while another is
/// being taken.
pub fn begin(
    length: Duration,
    format: Format,
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
        let response = match (take(length, format), format) {
            (Ok(profile), Format::Pprof) => Response::new("application/octet-stream", profile)
                .with("Content-Disposition", "attachment; filename=\"profile\""),
            (Ok(profile), Format::Folded) => Response::new("text/plain; charset=utf-8", profile),
            (Err(text), _) => Response::text(500, &text),
        };
        busy.store(false, Ordering::Release);
        // If nobody waits for it any more it is thrown away.
        sender.send(response).ok();
        if let Err(error) = waker.wake() {
            log::warn!("debug address: cannot wake up its thread: {error}");
        }
    };
    let thread = thread::Builder::new().name(format!("profile{}", allocator::PASSING));
    if let Err(error) = thread.spawn(profile) {
        log::warn!("cannot start a thread for a profile: {error}");
        freed.store(false, Ordering::Release);
    }
    Some(answer)
}

/// Samples all threads for so long.
///
/// The names of functions are looked up in tables made of the program's own file and those of its libraries, which take
/// many times what a profile does. They are not kept for the next profile; the library's table of samples (19 MiB) is.
pub fn take(length: Duration, format: Format) -> Result<Vec<u8>, String> {
    let profile = sample(length, format);
    backtrace::clear_symbol_cache();
    allocator::give_back();
    profile
}

fn sample(length: Duration, format: Format) -> Result<Vec<u8>, String> {
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
    match format {
        Format::Pprof => {
            let profile = report.pprof();
            let profile = profile.map_err(|error| format!("cannot write the profile: {error}"))?;
            Ok(profile.encode_to_vec())
        }
        Format::Folded => Ok(folded(&report).into_bytes()),
    }
}

fn folded(report: &Report) -> String {
    let lines = report.data.iter().map(|(stack, count)| {
        let frames = stack.frames.iter().rev();
        // What was inlined comes first, and is what was called last.
        let symbols = frames.flat_map(|frame| frame.iter().rev());
        let names: Vec<String> = symbols
            .map(|symbol| symbol.name().replace([';', '\n'], ":"))
            .collect();
        format!("{};{} {count}\n", stack.thread_name, names.join(";"))
    });
    lines.collect()
}
