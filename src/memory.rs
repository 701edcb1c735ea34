//! What the allocator is told: how many heaps there are ([`limit_heaps`]), and when to return what it keeps to the
//! system ([`give_back`]); and what it keeps for a thread is not kept for long ([`apart`]).
//!
//! This is the one place of the program with `unsafe` code: two calls into the C library that take numbers, touch
//! only what the allocator holds free, and that no Rust library wraps.

use std::{panic, thread};

/// Has all threads allocate from so many heaps, one for each worker. To be called before there are threads.
///
/// Each thread would get a heap of its own otherwise, up to eight for each processor, of which only the first returns
/// the end that it does not use. The threads beside the workers allocate little and can share theirs. (With one heap
/// for several workers their replies of 100 KiB cost a tenth more; below 16 KiB the data path allocates nothing.)
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
pub fn limit_heaps(workers: usize) {
    let heaps = libc::c_int::try_from(workers.max(1)).unwrap_or(libc::c_int::MAX);
    // SAFETY: mallopt takes any numbers and changes a setting of the allocator (mallopt(3)).
    let taken = unsafe { libc::mallopt(libc::M_ARENA_MAX, heaps) };
    debug_assert_eq!(taken, 1);
}

/// Other C libraries have their own ways.
#[cfg(not(target_env = "gnu"))]
pub fn limit_heaps(_workers: usize) {}

/// Returns what the allocator holds free to the system, and what it keeps for this thread. It takes milliseconds with
/// much to return: for when there is nothing else to do.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
pub fn give_back() {
    give_up_kept();
    // SAFETY: malloc_trim takes any number and may be called by any thread at any time (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other C libraries keep little.
#[cfg(not(target_env = "gnu"))]
pub fn give_back() {}

/// The free pieces of each little size that glibc keeps for a thread, and those sizes in bytes (its tcache, as it is
/// without tunables: 64 sizes, 16 bytes apart).
#[cfg(target_env = "gnu")]
const KEPT_EACH: usize = 7;
#[cfg(target_env = "gnu")]
const KEPT_SIZES: std::ops::RangeInclusive<usize> = 24..=1032;

/// Gives up the free pieces that the allocator keeps for this thread: malloc_trim cannot have them, and each holds its
/// page. They are taken from it by asking for so many, and given to a thread that ends.
#[cfg(target_env = "gnu")]
fn give_up_kept() {
    let of_size =
        |size| std::iter::repeat_with(move || Vec::<u8>::with_capacity(size)).take(KEPT_EACH);
    let mut kept: Vec<Vec<u8>> = KEPT_SIZES.step_by(16).flat_map(of_size).collect();
    apart("memory-once", || drop(std::mem::take(&mut kept)));
}

/// Does it on a thread of this name that ends with it: for what allocates much now and then, beside the data path.
///
/// Each thread of glibc keeps up to seven free pieces of each little size for itself, and a piece holds its page. Those
/// of a thread that works in the middle of failovers lie far apart, each among what has gone since. They are given up
/// when their thread ends.
pub fn apart<T: Send>(name: &str, mut act: impl FnMut() -> T + Send) -> T {
    let done = thread::scope(|scope| {
        let thread = thread::Builder::new().name(name.to_string());
        let thread = thread.spawn_scoped(scope, &mut act).ok()?;
        Some(thread.join())
    });
    match done {
        Some(Ok(result)) => result,
        Some(Err(panic)) => panic::resume_unwind(panic),
        // No thread is to be had just now.
        None => act(),
    }
}
