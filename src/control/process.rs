//! What the kernel reports about this process (proc(5)). Anything it does not report is 0.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::allocator;
use crate::sort;

/// Ticks of the kernel's accounting in a second: 100 on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

/// What this process uses.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time, in seconds.
    pub cpu: f64,
    /// Processor time of each thread, by its name.
    pub threads: Vec<Thread>,
    /// Memory in RAM, in bytes.
    pub resident_bytes: u64,
    /// Address space, in bytes.
    pub virtual_bytes: u64,
    /// Open descriptors.
    pub open_fds: u64,
    /// Descriptors that may be open.
    pub max_fds: u64,
}

/// One thread.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Thread {
    /// Its name.
    pub name: String,
    /// Its processor time, in seconds.
    pub cpu: f64,
}

/// What is used now.
pub fn usage() -> Usage {
    let stat = read("/proc/self/stat");
    let limits = read("/proc/self/limits");
    let max_fds = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    let status = read("/proc/self/status");
    let kilobytes = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        number.unwrap_or(0)
    };
    Usage {
        cpu: cpu(&stat),
        threads: threads(),
        resident_bytes: kilobytes("VmRSS:") << 10,
        virtual_bytes: kilobytes("VmSize:") << 10,
        open_fds: fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
        max_fds: max_fds.unwrap_or(0),
    }
}

/// The threads that last. One that comes and goes would be a series that vanishes and begins at 0 again.
fn threads() -> Vec<Thread> {
    let Ok(entries) = fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    let threads = entries.filter_map(|entry| {
        let stat = read(entry.ok()?.path().join("stat"));
        let number: u64 = stat.split(' ').next()?.parse().ok()?;
        let name = stat.split_once('(')?.1.rsplit_once(')')?.0.to_string();
        let cpu = cpu(&stat);
        let lasts = !name.ends_with(allocator::PASSING);
        lasts.then_some((number, Thread { name, cpu }))
    });
    let mut threads: Vec<(u64, Thread)> = threads.collect();
    sort::by(&mut threads, |(a, one), (b, other)| {
        one.name.cmp(&other.name).then(a.cmp(b))
    });
    // A new thread has the name of the one that made it, until it takes its own.
    threads.dedup_by(|(_, later), (_, first)| later.name == first.name);
    threads.into_iter().map(|(_, thread)| thread).collect()
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// A field of a `stat` file, counted from 0 behind the name.
fn field(stat: &str, index: usize) -> u64 {
    let behind = stat.rsplit(')').next().unwrap_or_default();
    let field = behind.split_whitespace().nth(index);
    field.and_then(|field| field.parse().ok()).unwrap_or(0)
}

/// User and system time.
fn cpu(stat: &str) -> f64 {
    (field(stat, 11) + field(stat, 12)) as f64 / TICKS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_something_of_us() {
        let usage = usage();
        assert!(usage.resident_bytes > 1 << 20 && usage.virtual_bytes > usage.resident_bytes);
        assert!(usage.open_fds > 2 && usage.max_fds >= usage.open_fds);
        assert!(!usage.threads.is_empty());
    }

    #[test]
    fn a_thread_that_comes_and_goes_has_no_series() {
        let seen = allocator::apart("short", || usage().threads);
        assert!(seen.iter().all(|thread| !thread.name.starts_with("short")));
    }

    #[test]
    fn names_with_brackets_are_no_trouble() {
        let stat = "7 (a) b) c) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 9 0 1 8192 3 18446";
        assert_eq!(cpu(stat), 3.0);
    }
}
