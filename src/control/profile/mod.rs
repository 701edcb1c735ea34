//! A CPU profile of this program, in the format of pprof or as folded stacks: where its threads spend their time.
//!
//! While no profile is taken nothing of it exists: no timer, no signal, no thread, no memory. While one is taken a signal
//! ([`interrupt`]) interrupts whoever is running, [`HERTZ`] times in each second of processor time. The walk up the stack
//! ([`sampler`]) begins at the very instruction that was interrupted, and neither allocates nor waits for a lock.

mod interrupt;
mod modules;
mod names;
mod sampler;
mod written;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use mio::Waker;

use crate::allocator;
use crate::control::message::Response;

/// Samples in a second of processor time. No divisor of anything that the program does by the second.
const HERTZ: i64 = 99;

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
/// The tables by which stacks are walked and functions are named are made of the program's own file and those of its
/// libraries, and take many times what a profile does. None is kept for the next profile.
pub fn take(length: Duration, format: Format) -> Result<Vec<u8>, String> {
    let profile = sample(length, format);
    backtrace::clear_symbol_cache();
    allocator::give_back();
    profile
}

fn sample(length: Duration, format: Format) -> Result<Vec<u8>, String> {
    let stacks = sampler::sample(length, HERTZ);
    let stacks = stacks.map_err(|error| format!("cannot take a profile: {error}"))?;
    Ok(match format {
        Format::Pprof => written::pprof(&stacks, length, HERTZ),
        Format::Folded => written::folded(&stacks),
    })
}
