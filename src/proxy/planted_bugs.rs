//! Deliberate bugs, to check that the tests which should find such bugs do (`make checker-test`). Without the feature
//! `planted-bugs` there are none: every question is answered with a constant `false`.
//!
//! It must never be asked anything but whether a bug is on.

/// Whether this bug is on: the environment variable `PLANTED_BUG` names it.
#[cfg(feature = "planted-bugs")]
pub fn is_on(bug: &str) -> bool {
    static BUG: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    BUG.get_or_init(|| std::env::var("PLANTED_BUG").unwrap_or_default()) == bug
}

/// No bug is on.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
pub const fn is_on(_: &str) -> bool {
    false
}
