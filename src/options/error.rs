//! `UsageError`: why the program does not start, as it is printed.

use std::fmt;

/// Where the usage is to be had.
pub const USAGE_AT: &str = concat!("all flags: ", env!("CARGO_PKG_NAME"), " -h");

/// A command line or an environment that cannot be used. It prints as one line: the reason, and where the usage is to be
/// had; the exit code that belongs to it is 2. Of a fault in a file the reason says all: its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageError {
    reason: String,
    /// Whether the fault is in the file of `-config`.
    in_file: bool,
}

impl UsageError {
    /// The reason alone: one line.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// A fault in this file.
    pub(super) fn of_file(path: &str, reason: &str) -> UsageError {
        UsageError {
            reason: format!("{path}: {reason}"),
            in_file: true,
        }
    }
}

impl From<String> for UsageError {
    fn from(reason: String) -> UsageError {
        UsageError {
            reason,
            in_file: false,
        }
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.in_file {
            return writeln!(f, "{}", self.reason);
        }
        writeln!(f, "{} ({USAGE_AT})", self.reason)
    }
}

impl std::error::Error for UsageError {}
