//! A [`Status`] in a few lines of text: for the log at SIGUSR1, and the top of `-top`.

use crate::control::status::{Latency, Percentiles, Status};

/// The lines.
pub fn lines(status: &Status) -> Vec<String> {
    let program = &status.program;
    let count = |name: &str| status.counters.get(name).copied().unwrap_or(0);
    let mut lines = vec![
        format!(
            "{} {} at {}, up {:.0} s, {}",
            program.name,
            program.version,
            program.listen,
            program.uptime,
            if status.ready.ready {
                "ready".to_string()
            } else {
                format!("not ready: {}", status.ready.reasons.join("; "))
            }
        ),
        format!(
            "clients {}, commands/s {}, in {}/s, out {}/s, commands {}, refusals {}",
            count("clients_connected"),
            status.rates.commands,
            bytes(status.rates.bytes_in),
            bytes(status.rates.bytes_out),
            count("commands"),
            count("refusals"),
        ),
        format!(
            "retries {}, held {}, moved {}, ask {}, expired {}, unknown outcomes {}",
            count("retries"),
            count("held"),
            count("moved"),
            count("ask"),
            count("expired"),
            count("unknown_outcomes"),
        ),
        format!(
            "memory {}, processor {:.2} s, descriptors {} of {}, log level {}, log lines lost {}",
            bytes(status.process.resident_bytes),
            status.process.cpu,
            status.process.open_fds,
            status.process.max_fds,
            status.log.level,
            status.log.dropped,
        ),
        format!(
            "topology: epoch {}, {} of 16384 slots, {} shard(s), age {}",
            status.topology.epoch,
            status.topology.slots_assigned,
            status.topology.shards.len(),
            match status.topology.age {
                Some(age) => format!("{age:.1} s"),
                None => "never fetched".to_string(),
            },
        ),
    ];
    if count("near_hits") + count("near_misses") > 0 {
        lines.push(format!(
            "near cache: hits {}, misses {}, fills {}, invalidations {}, evictions {}, stale {}, keys {}, {}",
            count("near_hits"),
            count("near_misses"),
            count("near_fills"),
            count("near_invalidations"),
            count("near_evictions"),
            count("near_stale"),
            count("near_keys"),
            bytes(count("near_bytes")),
        ));
    }
    let recent = &status.recent;
    if recent.seconds > 0.0 {
        lines.push(format!(
            "last {:.0} s: requests {}; nodes {}",
            recent.seconds,
            percentiles(&recent.requests),
            percentiles(&recent.nodes),
        ));
    }
    for node in &status.nodes {
        lines.push(format!(
            "node {} {} {}: slots {}, connections {}, failures {}, {}",
            node.address,
            node.role,
            if node.up { "up" } else { "down" },
            node.slots,
            node.connections,
            node.failures,
            latency(&node.latency),
        ));
        if status.recent.seconds > 0.0 {
            let last = lines.len() - 1;
            lines[last] += &format!(
                "; last {:.0} s: {}",
                recent.seconds,
                percentiles(&node.recent)
            );
        }
    }
    lines
}

/// `1234 replies, p50 81 us, p99 190 us`.
pub fn latency(latency: &Latency) -> String {
    if latency.count == 0 {
        return "no replies".to_string();
    }
    format!(
        "{} replies, p50 {} us, p99 {} us",
        latency.count, latency.p50_us, latency.p99_us
    )
}

/// `p50 81 us, p99 190 us`.
fn percentiles(latency: &Percentiles) -> String {
    if latency.count == 0 {
        return "none".to_string();
    }
    format!("p50 {} us, p99 {} us", latency.p50_us, latency.p99_us)
}

/// `12.3 MB`, or `12 B` below a thousand.
pub fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 1000.0 {
            let digits = usize::from(unit != "B");
            return format!("{value:.digits$} {unit}");
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (size, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (12_345_678, "12.3 MB"),
            (5_000_000_000_000, "5.0 TB"),
        ] {
            assert_eq!(bytes(size), expected);
        }
    }
}
