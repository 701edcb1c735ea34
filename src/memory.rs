//! `give_back`: returns memory that the allocator keeps to the system.
//!
//! This is the one place of the program with `unsafe` code: a call into the C library that takes a number,
//! touches only what the allocator holds free, and that no Rust library wraps.

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
