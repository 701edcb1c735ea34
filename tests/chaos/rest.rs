//! C9: what the proxy holds while nobody asks anything of it: memory, descriptors, processor. The base is what
//! it holds when the crew has worked for a while without faults and has gone home: by then it has made what
//! it makes once (a worker's buffers, what it tells of commands and nodes, connections to masters), and
//! each part of its code has been called. A leak would grow from one rest to the next.

use std::thread;
use std::time::Duration;

use super::ledger::Ledger;
use super::probe::Probe;
use crate::support::Proxy;

/// Percent of the base that memory may be more than at the base. What is in use comes back to within some twenty KiB.
/// Ten minutes of faults rested at 7,828 KiB before them, at 8,364 when half of them were over (+7 %), and at 8,076
/// behind them (+3 %), all of the difference in the heap: each thread of glibc keeps seven free pieces of each little
/// size for itself, which malloc_trim cannot have, and a piece holds its page. So the base alone differs by 4 % from run
/// to run.
const ABOVE: u64 = 12;
/// Percent that may come in a second half and did not in the first: those pieces are there by then. With a million
/// requests in each half of five minutes, a leak of a byte for each would be more.
const GROWTH: u64 = 6;
/// KiB that may come where the crew has not worked before the base was taken.
const ABOVE_NOTHING: u64 = 8192;

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

/// Looks at the proxy, whose clients have gone: connections that nobody needs are closed ten seconds later
/// (`-backend-idle-timeout`), and memory is given back some seconds after the last request. Those to the masters stay, one
/// for each protocol that was spoken: all of them are used once, so that they are there at each rest.
pub fn look(proxy: &Proxy, probes: &[Probe]) -> Held {
    for protocol in ["2", "3"] {
        let mut conn = proxy.conn();
        conn.command(&["HELLO", protocol]);
        for probe in probes {
            assert!(!conn.command(&["EXISTS", &probe.key]).is_error());
        }
    }
    thread::sleep(Duration::from_secs(16));
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
    for (index, held) in rests.iter().enumerate() {
        let name = if index == 0 { "base" } else { "later" };
        eprintln!("at rest, {name}: {held}");
    }
    let [base, later @ ..] = rests else { return };
    let above = |base: u64| {
        base + if warmed {
            base * ABOVE / 100
        } else {
            ABOVE_NOTHING
        }
    };
    if let [half, end] = later
        && end.resident > half.resident + half.resident * GROWTH / 100
    {
        ledger.violation("C9 resources", format!("it grows: {half}, then {end}"));
    }
    for held in later {
        // Not one more: each rest has the same connections.
        let descriptors = held.descriptors > base.descriptors;
        let memory = held.resident > above(base.resident);
        if descriptors || memory || held.processor > 5.0 {
            ledger.violation("C9 resources", format!("not back at the base: {held}"));
        }
    }
}
