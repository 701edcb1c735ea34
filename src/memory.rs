//! What the allocator is told: one heap for all threads ([`share_heap`]), and when to return what it keeps to the
//! system ([`give_back`]).
//!
//! This is the one place of the program with `unsafe` code: two calls into the C library that take numbers, touch
//! only what the allocator holds free, and that no Rust library wraps.

/// Has all threads allocate from one heap. To be called before there are threads.
///
/// Each thread would get a heap of its own otherwise, of which only the first returns the end that it does not use.
/// What a heap of one's own is good for, that threads do not wait for each other, is of no use here: the data path
/// allocates nothing.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
pub fn share_heap() {
    // SAFETY: mallopt takes any numbers and changes a setting of the allocator (mallopt(3)).
    let taken = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    debug_assert_eq!(taken, 1);
}

/// Other C libraries have one heap.
#[cfg(not(target_env = "gnu"))]
pub fn share_heap() {}

/// Returns what the allocator holds free to the system. It takes milliseconds with much to return: for when
/// there is nothing else to do.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
pub fn give_back() {
    // SAFETY: malloc_trim takes any number and may be called by any thread at any time (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other C libraries keep little.
#[cfg(not(target_env = "gnu"))]
pub fn give_back() {}
