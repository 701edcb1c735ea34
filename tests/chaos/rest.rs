//! C9: what the proxy holds while nobody asks anything of it: memory, descriptors, processor. The base is what
//! it holds when the crew has worked for a while without faults and has gone home: by then it has made what
//! it makes once (a worker's buffers, what it tells of commands and nodes, idle connections to masters), and
//! each part of its code has been called. A leak would grow from one rest to the next.

use std::thread;
use std::time::Duration;

use super::ledger::Ledger;
use crate::support::Proxy;

/// What a failover adds and a rest keeps: connections to a node that was a replica before, three of them shared,
/// the others idle (`-backend-idle-connections`), for each of six.
const IDLE: usize = 6 * (3 + 5);
/// Memory that may come behind the base, in KiB. In runs of ten minutes the heap rested at 3.7 to 5.9 MiB, then at
/// 4.2 to 6.2, then at 5.4 to 7.2. In use of that (malloc_stats) were 1.3, 2.2 and 2.1 MiB: what only faults call
/// for, as counts of six nodes instead of three; the rest are pages that the allocator cannot give back for the
/// little that is in use in them.
const ABOVE: u64 = 4096;
/// The same where the crew has not worked before the base was taken.
const ABOVE_NOTHING: u64 = 8192;
/// Memory that may come in a second half and did not in the first, in KiB: it goes up and down by half of that. With
/// two million requests in each half, a leak of two bytes for each would be more.
const GROWTH: u64 = 4096;

/// What is held at one time.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    descriptors: usize,
    /// KiB of memory in all, and of that what is no file's: heap and stacks.
    resident: u64,
    anonymous: u64,
    /// Percent of one core.
    processor: f64,
}

fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let rest = stat.rsplit(')').next().unwrap_or_default();
    let ticks = rest.split_whitespace().skip(11).take(2);
    ticks.filter_map(|field| field.parse::<u64>().ok()).sum()
}

fn status(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let text = line.expect("Linux says so").trim_start_matches(':').trim();
    text.trim_end_matches("kB")
        .trim()
        .parse()
        .expect("a number")
}

/// Looks at the proxy, whose clients have gone; it gives memory back when it has had nothing to do for a second.
pub fn look(proxy: &Proxy) -> Held {
    thread::sleep(Duration::from_secs(3));
    let before = cpu_ticks(proxy.pid());
    thread::sleep(Duration::from_secs(2));
    Held {
        processor: (cpu_ticks(proxy.pid()) - before) as f64 / 2.0,
        descriptors: proxy.fds(),
        resident: status(proxy.pid(), "VmRSS"),
        anonymous: status(proxy.pid(), "RssAnon"),
    }
}

impl std::fmt::Display for Held {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "{} descriptors, {} KiB ({} KiB of them heap and stacks, the rest pages of the program), {:.1} % of a core",
            self.descriptors, self.resident, self.anonymous, self.processor
        )
    }
}

/// Judges the rests of a run: first the base, then one behind each part of the faults. `warmed` is whether the
/// crew has worked before the base.
pub fn judge(rests: &[Held], warmed: bool, ledger: &Ledger) {
    let above = if warmed { ABOVE } else { ABOVE_NOTHING };
    for (index, held) in rests.iter().enumerate() {
        let name = if index == 0 { "base" } else { "later" };
        eprintln!("at rest, {name}: {held}");
    }
    let [base, later @ ..] = rests else { return };
    for held in later {
        let descriptors = held.descriptors > base.descriptors + IDLE;
        if descriptors || held.anonymous > base.anonymous + above || held.processor > 5.0 {
            ledger.violation("C9 resources", format!("not back at the base: {held}"));
        }
    }
    if let [half, end] = later
        && end.anonymous > half.anonymous + GROWTH
    {
        ledger.violation("C9 resources", format!("it grows: {half}, then {end}"));
    }
}
