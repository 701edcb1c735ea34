//! `Masters`: what the masters say of themselves in INFO, put together as if they were one server.
//!
//! Counts and sizes are added; ratios and shares are made of the sums; of states the worst is shown. What is
//! not known here by name is added if it is a whole number, else the first master speaks for all.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::clock::Time;

/// How long an answer is good.
const FRESH: Duration = Duration::from_secs(1);

/// A field of a section, in the order of the first master.
pub type Field = (String, String);

/// What the masters say, put together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Masters {
    /// How many answered.
    pub count: usize,
    /// The lowest server version among them: what is promised to clients.
    pub version: Option<String>,
    /// The section's name and its fields.
    sections: Vec<(String, Vec<Field>)>,
}

impl Masters {
    /// Puts the answers to INFO together.
    pub fn of(texts: &[&str]) -> Masters {
        let parsed: Vec<_> = texts.iter().map(|text| sections(text)).collect();
        let names: Vec<&str> = match parsed.first() {
            Some(first) => first.iter().map(|(name, _)| *name).collect(),
            None => Vec::new(),
        };
        let versions = parsed.iter().flatten().flat_map(|(_, fields)| fields);
        let versions = versions.filter(|(name, _)| *name == "redis_version");
        let version = versions
            .map(|(_, version)| *version)
            .min_by_key(|version| numbers(version));
        let together = |name: &str| {
            let of_all = parsed
                .iter()
                .map(|sections| fields_of(sections, name))
                .collect::<Vec<_>>();
            match name {
                "Keyspace" => keyspace(&of_all),
                _ => sum(name, &of_all),
            }
        };
        Masters {
            count: texts.len(),
            version: version.map(str::to_string),
            sections: names
                .iter()
                .map(|name| (name.to_string(), together(name)))
                .collect(),
        }
    }

    /// The fields of a section.
    pub fn section(&self, name: &str) -> &[Field] {
        let found = self.sections.iter().find(|(own, _)| own == name);
        found.map_or(&[], |(_, fields)| fields)
    }
}

/// The last answer of the masters, for all workers. INFO alone takes this lock.
#[derive(Debug, Default)]
pub struct MastersCache(Mutex<Option<(Time, Arc<Masters>)>>);

impl MastersCache {
    /// The last answer, if it is fresh.
    pub fn fresh(&self, now: Time) -> Option<Arc<Masters>> {
        let last = self.last()?;
        (now.since(last.0) < FRESH).then_some(last.1)
    }

    /// The lowest server version among the masters, if any has ever said it.
    pub fn version(&self) -> Option<String> {
        self.last().and_then(|(_, masters)| masters.version.clone())
    }

    /// Keeps an answer to what was asked at `asked_at`.
    pub fn keep(&self, asked_at: Time, masters: Arc<Masters>) {
        if let Ok(mut last) = self.0.lock() {
            *last = Some((asked_at, masters));
        }
    }

    fn last(&self) -> Option<(Time, Arc<Masters>)> {
        self.0.lock().ok()?.clone()
    }
}

type Section<'a> = (&'a str, Vec<(&'a str, &'a str)>);

fn sections(text: &str) -> Vec<Section<'_>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("# ") {
            sections.push((name.trim_end(), Vec::new()));
        } else if let (Some(field), Some((_, fields))) = (line.split_once(':'), sections.last_mut())
        {
            fields.push(field);
        }
    }
    sections
}

fn fields_of<'a, 'b>(sections: &'b [Section<'a>], name: &str) -> &'b [(&'a str, &'a str)] {
    let found = sections.iter().find(|(own, _)| *own == name);
    found.map_or(&[], |(_, fields)| fields)
}

/// The numbers of a version, for comparison.
fn numbers(version: &str) -> Vec<u64> {
    version
        .split('.')
        .map(|part| part.parse().unwrap_or(0))
        .collect()
}

/// How the values of one field become one.
enum Rule {
    Add,
    Most,
    Least,
    /// `ok`, unless one says something else.
    Worst,
    /// In units that people read, of the field without `_human`.
    Human,
    /// The first field by the second (or by the second less a third), with two decimals and this behind.
    Quotient(&'static str, &'static [&'static str], f64, &'static str),
}

fn rule(section: &str, name: &str) -> Rule {
    match name {
        "mem_fragmentation_ratio" => Rule::Quotient("used_memory_rss", &["used_memory"], 1.0, ""),
        "allocator_frag_ratio" => {
            Rule::Quotient("allocator_active", &["allocator_allocated"], 1.0, "")
        }
        "allocator_rss_ratio" => {
            Rule::Quotient("allocator_resident", &["allocator_active"], 1.0, "")
        }
        "rss_overhead_ratio" => Rule::Quotient("used_memory_rss", &["allocator_resident"], 1.0, ""),
        "used_memory_peak_perc" => Rule::Quotient("used_memory", &["used_memory_peak"], 100.0, "%"),
        "used_memory_dataset_perc" => Rule::Quotient(
            "used_memory_dataset",
            &["used_memory", "used_memory_startup"],
            100.0,
            "%",
        ),
        "rdb_last_save_time" => Rule::Least,
        _ if name.ends_with("_human") => Rule::Human,
        _ if name.ends_with("_status") => Rule::Worst,
        "loading" | "async_loading" | "current_fork_perc" | "expired_stale_perc" => Rule::Most,
        _ if section == "Persistence" && is_state(name) => Rule::Most,
        _ => Rule::Add,
    }
}

/// Whether a field of Persistence tells a state or a time, and no number of things.
fn is_state(name: &str) -> bool {
    [
        "_in_progress",
        "_scheduled",
        "_enabled",
        "_time_sec",
        "_age",
        "_fork",
    ]
    .iter()
    .any(|end| name.ends_with(end))
}

fn sum(section: &str, of_all: &[&[(&str, &str)]]) -> Vec<Field> {
    let values = |name: &str| {
        let of_one = |fields: &&[(&str, &str)]| {
            let found = fields.iter().find(|(own, _)| *own == name);
            found.map(|(_, value)| value.to_string())
        };
        of_all.iter().filter_map(of_one).collect::<Vec<String>>()
    };
    let total = |name: &str| -> Option<i64> {
        let values = values(name);
        values.iter().map(|value| value.parse::<i64>().ok()).sum()
    };
    let first = of_all.first().map_or(&[][..], |fields| fields);
    let field = |(name, value): &(&str, &str)| {
        let number = |text: &String| text.parse::<f64>().ok();
        let least = |a: &String, b: &String| {
            number(a)
                .partial_cmp(&number(b))
                .unwrap_or(std::cmp::Ordering::Equal)
        };
        let together = match rule(section, name) {
            Rule::Add => total(name).map(|sum| sum.to_string()),
            Rule::Most => values(name).into_iter().max_by(least),
            Rule::Least => values(name).into_iter().min_by(least),
            Rule::Worst => values(name).into_iter().find(|value| value != "ok"),
            Rule::Human => total(name.trim_end_matches("_human")).map(human),
            Rule::Quotient(part, whole, factor, unit) => {
                let whole: Option<Vec<i64>> = whole.iter().map(|name| total(name)).collect();
                let whole = whole.and_then(|parts| parts.into_iter().reduce(|a, b| a - b));
                let (part, whole) = (total(part).unwrap_or(0) as f64, whole.unwrap_or(0) as f64);
                let share = if whole == 0.0 {
                    0.0
                } else {
                    part / whole * factor
                };
                Some(format!("{share:.2}{unit}"))
            }
        };
        (
            name.to_string(),
            together.unwrap_or_else(|| value.to_string()),
        )
    };
    first.iter().map(field).collect()
}

/// `db0:keys=1,expires=0,avg_ttl=0` of all: everything is added, but the average, which is weighted.
fn keyspace(of_all: &[&[(&str, &str)]]) -> Vec<Field> {
    let mut databases: Vec<(String, Vec<(String, u64)>)> = Vec::new();
    for (name, value) in of_all.iter().flat_map(|fields| fields.iter()) {
        let at = databases
            .iter()
            .position(|(own, _)| own == name)
            .unwrap_or_else(|| {
                databases.push((name.to_string(), Vec::new()));
                databases.len() - 1
            });
        let parts = value.split(',').filter_map(|part| part.split_once('='));
        let parts: Vec<(&str, u64)> = parts
            .map(|(name, count)| (name, count.parse().unwrap_or(0)))
            .collect();
        let expires = parts
            .iter()
            .find(|(name, _)| *name == "expires")
            .map_or(0, |part| part.1);
        for (name, count) in parts {
            let count = if name == "avg_ttl" {
                count * expires
            } else {
                count
            };
            let sums = &mut databases[at].1;
            match sums.iter_mut().find(|(own, _)| own == name) {
                Some((_, sum)) => *sum += count,
                None => sums.push((name.to_string(), count)),
            }
        }
    }
    databases.sort();
    let field = |(name, sums): (String, Vec<(String, u64)>)| {
        let expires = sums
            .iter()
            .find(|(name, _)| name == "expires")
            .map_or(0, |sum| sum.1);
        let part = |(name, sum): &(String, u64)| match name.as_str() {
            "avg_ttl" => format!("avg_ttl={}", sum / expires.max(1)),
            _ => format!("{name}={sum}"),
        };
        (name, sums.iter().map(part).collect::<Vec<_>>().join(","))
    };
    databases.into_iter().map(field).collect()
}

/// A size as Redis writes it for people (`bytesToHuman`).
pub fn human(bytes: i64) -> String {
    let value = bytes as f64;
    match bytes.unsigned_abs() {
        0..1024 => format!("{bytes}B"),
        size if size < 1 << 20 => format!("{:.2}K", value / 1024.0),
        size if size < 1 << 30 => format!("{:.2}M", value / (1u64 << 20) as f64),
        size if size < 1 << 40 => format!("{:.2}G", value / (1u64 << 30) as f64),
        size if size < 1 << 50 => format!("{:.2}T", value / (1u64 << 40) as f64),
        _ => format!("{:.2}P", value / (1u64 << 50) as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "# Server\r\nredis_version:7.0.15\r\n\r\n# Memory\r\nused_memory:1048576\r\n\
        used_memory_human:1.00M\r\nused_memory_rss:3145728\r\nmem_fragmentation_ratio:3.00\r\n\
        used_memory_startup:48576\r\nused_memory_dataset:500000\r\nused_memory_dataset_perc:50.00%\r\n\
        maxmemory_policy:allkeys-lru\r\n\r\n# Persistence\r\nloading:0\r\nrdb_saves:2\r\n\
        rdb_last_save_time:200\r\nrdb_bgsave_in_progress:1\r\nrdb_last_bgsave_status:ok\r\n\
        current_fork_perc:0.00\r\n\r\n# Keyspace\r\ndb0:keys=10,expires=1,avg_ttl=100\r\n";

    #[test]
    fn masters_become_one_server() {
        let two = ONE
            .replace("7.0.15", "7.0.9")
            .replace("time:200", "time:100")
            .replace("progress:1", "progress:0")
            .replace("status:ok", "status:err")
            .replace("perc:0.00", "perc:12.50")
            .replace(
                "keys=10,expires=1,avg_ttl=100",
                "keys=5,expires=3,avg_ttl=20",
            );
        let masters = Masters::of(&[ONE, &two]);
        assert_eq!(
            (masters.count, masters.version.as_deref()),
            (2, Some("7.0.9"))
        );
        let check = |section: &str, name: &str, expected: &str| {
            let found = masters.section(section).iter().find(|(own, _)| own == name);
            assert_eq!(
                found.map(|(_, value)| value.as_str()),
                Some(expected),
                "{name}"
            );
        };
        check("Memory", "used_memory", "2097152");
        check("Memory", "used_memory_human", "2.00M");
        check("Memory", "mem_fragmentation_ratio", "3.00");
        check("Memory", "used_memory_dataset_perc", "50.00%");
        check("Memory", "maxmemory_policy", "allkeys-lru");
        check("Persistence", "rdb_saves", "4");
        check("Persistence", "rdb_last_save_time", "100");
        check("Persistence", "rdb_bgsave_in_progress", "1");
        check("Persistence", "rdb_last_bgsave_status", "err");
        check("Persistence", "current_fork_perc", "12.50");
        check("Keyspace", "db0", "keys=15,expires=4,avg_ttl=40");
        assert_eq!(Masters::of(&[]), Masters::default());
    }

    #[test]
    fn an_answer_is_fresh_for_a_second() {
        let cache = MastersCache::default();
        let at = |millis: u64| Time::from_micros(millis * 1000);
        assert!(cache.fresh(at(0)).is_none() && cache.version().is_none());
        cache.keep(at(100), Arc::new(Masters::of(&[ONE])));
        assert!(cache.fresh(at(1099)).is_some() && cache.fresh(at(1100)).is_none());
        assert_eq!(cache.version().as_deref(), Some("7.0.15"));
    }

    #[test]
    fn sizes_are_written_as_redis_writes_them() {
        for (bytes, expected) in [
            (0, "0B"),
            (200, "200B"),
            (32768, "32.00K"),
            (25276502016, "23.54G"),
        ] {
            assert_eq!(human(bytes), expected);
        }
    }
}
