//! `Masters`: the masters' INFO replies, merged as if they were one server (`fields` has the rule for each field).
//! `Heard`: the last reply of each master, used while it is silent.

pub mod asking;
mod fields;

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Time;
use crate::sort;
pub use fields::{FIELDS, Rule};

/// A field of a section, in the order of the first master.
pub type Field = (String, String);

/// A master that has not answered, and how long ago it last did, if ever.
pub type Silent = (SocketAddr, Option<Duration>);

/// What the masters say, put together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Masters {
    /// How many answered.
    pub count: usize,
    /// Those that have not answered now.
    pub silent: Vec<Silent>,
    /// The scripts that they have, those counted more than once that several have.
    scripts: u64,
    /// The section's name and its fields.
    sections: Vec<(String, Vec<Field>)>,
    /// What they have counted of each command, if they were asked for that.
    pub calls: BTreeMap<String, NodeCalls>,
}

/// What nodes have counted of one command.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeCalls {
    /// Calls, from whomever.
    pub calls: u64,
    /// The microseconds that they took.
    pub micros: u64,
    /// Requests refused before they were executed.
    pub rejected: u64,
    /// Calls that were answered with an error.
    pub failed: u64,
}

impl Masters {
    /// Puts answers to INFO together.
    pub fn of(told: &[(SocketAddr, &str)]) -> Masters {
        let parsed: Vec<_> = told
            .iter()
            .map(|(address, text)| (address.ip(), sections(text)))
            .collect();
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in parsed.iter().flat_map(|(_, sections)| sections) {
            if !names.contains(name) {
                names.push(name);
            }
        }
        let together = |name: &str| {
            let of_all: Vec<_> = parsed
                .iter()
                .map(|(host, sections)| (*host, fields_of(sections, name)))
                .collect();
            match name {
                KEYSPACE => keyspace(&of_all),
                _ => combine(&of_all),
            }
        };
        let calls = parsed
            .iter()
            .flat_map(|(_, sections)| fields_of(sections, COMMANDS));
        names.retain(|name| *name != COMMANDS);
        Masters {
            count: told.len(),
            silent: Vec::new(),
            scripts: parsed
                .iter()
                .flat_map(|(_, sections)| fields_of(sections, MEMORY))
                .filter(|(name, _)| *name == SCRIPTS)
                .filter_map(|(_, count)| count.parse::<u64>().ok())
                .fold(0, u64::saturating_add),
            sections: names
                .iter()
                .map(|name| (name.to_string(), together(name)))
                .collect(),
            calls: sum_of_calls(calls),
        }
    }

    /// Takes the number of different scripts that the proxy knows for that of all masters. It cannot be less than one of
    /// them has, and not more than they have together: what they do not accept the proxy knows, too.
    pub fn know_scripts(&mut self, known: u64) {
        let mut sections = self.sections.iter_mut();
        let memory = sections.find(|(name, _)| name == MEMORY);
        let field =
            memory.and_then(|(_, fields)| fields.iter_mut().find(|(own, _)| own == SCRIPTS));
        if let Some((_, value)) = field
            && let Ok(most) = value.parse::<u64>()
        {
            *value = known.clamp(most, self.scripts.max(most)).to_string();
        }
    }

    /// Whether nothing is known of any.
    pub fn is_empty(&self) -> bool {
        self.sections.is_empty()
    }

    /// The fields of a section.
    pub fn section(&self, name: &str) -> &[Field] {
        let found = self.sections.iter().find(|(own, _)| own == name);
        found.map_or(&[], |(_, fields)| fields)
    }
}

/// What one of those that were asked has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing.
    Silent,
    /// The master of a shard says that it is one no more: another has what it had.
    Replaced,
    /// A master without slots says that it is a replica.
    NoMaster,
    /// Its INFO.
    Says(String),
}

impl Answer {
    /// By the text of INFO. Unless the node has keys that count, its keyspace is left out.
    pub fn of(text: &str, is_spare: bool, has_keys: bool) -> Answer {
        let is_replica = text.lines().any(|line| line == "role:slave");
        match is_spare {
            true if is_replica => Answer::NoMaster,
            false if is_replica => Answer::Replaced,
            _ if has_keys => Answer::Says(text.to_string()),
            _ => {
                let mut is_keyspace = false;
                let lines = text.split_inclusive('\n').filter(|line| {
                    if let Some(name) = line.strip_prefix("# ") {
                        is_keyspace = name.trim_end() == KEYSPACE;
                    }
                    !is_keyspace
                });
                Answer::Says(lines.collect())
            }
        }
    }
}

/// The last answer of each master, for all workers. INFO alone takes this lock.
#[derive(Debug, Default)]
pub struct Heard(Mutex<HashMap<SocketAddr, (Time, Arc<str>)>>);

impl Heard {
    /// What these masters say, those that have not answered in their last words. Others are forgotten.
    pub fn complete(
        &self,
        asked: impl Iterator<Item = (SocketAddr, Answer)>,
        now: Time,
    ) -> Masters {
        let mut asked: Vec<(SocketAddr, Answer)> = asked.collect();
        asked.retain(|(_, answer)| *answer != Answer::NoMaster);
        let addresses: Vec<SocketAddr> = asked.iter().map(|(address, _)| *address).collect();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|address, _| addresses.contains(address));
        let mut silent = Vec::new();
        for (address, answer) in asked {
            if let Answer::Says(text) = answer {
                last.insert(address, (now, text.into()));
            } else {
                let heard_at = last.get(&address).map(|(at, _)| *at);
                silent.push((address, heard_at.map(|at| now.since(at))));
            }
        }
        let told: Vec<(SocketAddr, Arc<str>)> = addresses
            .iter()
            .filter_map(|address| Some((*address, last.get(address)?.1.clone())))
            .collect();
        drop(last);
        let told: Vec<(SocketAddr, &str)> = told.iter().map(|(at, text)| (*at, &**text)).collect();
        Masters {
            count: addresses.len() - silent.len(),
            silent,
            ..Masters::of(&told)
        }
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

/// The section that counts keys.
const KEYSPACE: &str = "Keyspace";
/// The section that counts scripts, and the field.
const MEMORY: &str = "Memory";
const SCRIPTS: &str = "number_of_cached_scripts";
/// The section that counts calls.
const COMMANDS: &str = "Commandstats";

/// `cmdstat_get:calls=1,usec=7,usec_per_call=7.00,rejected_calls=0,failed_calls=0` of all, by command.
fn sum_of_calls<'a>(
    fields: impl Iterator<Item = &'a (&'a str, &'a str)>,
) -> BTreeMap<String, NodeCalls> {
    let mut all: BTreeMap<String, NodeCalls> = BTreeMap::new();
    for (name, value) in fields {
        let Some(command) = name.strip_prefix("cmdstat_") else {
            continue;
        };
        let own = all.entry(command.to_string()).or_default();
        for (part, count) in value.split(',').filter_map(|part| part.split_once('=')) {
            let sum = match part {
                "calls" => &mut own.calls,
                "usec" => &mut own.micros,
                "rejected_calls" => &mut own.rejected,
                "failed_calls" => &mut own.failed,
                _ => continue,
            };
            *sum = sum.saturating_add(count.parse().unwrap_or(0));
        }
    }
    all
}

/// One field of each master that has it: the machine, and the value.
type Values<'a> = Vec<(IpAddr, &'a str)>;

/// One section of one master: the machine, and the fields.
type Part<'a> = (IpAddr, &'a [(&'a str, &'a str)]);

fn values_of<'a>(of_all: &[Part<'a>], name: &str) -> Values<'a> {
    let of_one = |(host, fields): &Part<'a>| {
        let found = fields.iter().find(|(own, _)| *own == name);
        found.map(|(_, value)| (*host, *value))
    };
    of_all.iter().filter_map(of_one).collect()
}

fn combine(of_all: &[Part<'_>]) -> Vec<Field> {
    let values = |name: &str| values_of(of_all, name);
    // What only some have, as while they load, stands behind what the first has.
    let mut all: Vec<(&str, &str)> = Vec::new();
    for (name, value) in of_all.iter().flat_map(|(_, fields)| fields.iter()) {
        if !all.iter().any(|(own, _)| own == name) {
            all.push((name, value));
        }
    }
    let field = |(name, value): &(&str, &str)| {
        let own = values(name);
        let together = match fields::rule(name) {
            Rule::Add => added(&own),
            Rule::Most => own.iter().max_by(|a, b| order(a.1, b.1)).map(text),
            Rule::Least => own.iter().min_by(|a, b| order(a.1, b.1)).map(text),
            Rule::First => None,
            Rule::Worst => own.iter().find(|(_, value)| *value != "ok").map(text),
            Rule::PerHost => per_host(&own),
            Rule::Limit if own.iter().any(|(_, value)| *value == "0") => Some("0".to_string()),
            Rule::Limit => added(&own),
            Rule::Human => {
                let sized = name.trim_end_matches("_human");
                let own = values(sized);
                let bytes = match fields::rule(sized) {
                    Rule::PerHost => per_host(&own),
                    Rule::Limit if own.iter().any(|(_, value)| *value == "0") => {
                        Some("0".to_string())
                    }
                    _ => added(&own),
                };
                bytes.and_then(|bytes| bytes.parse().ok()).map(human)
            }
            Rule::Quotient(part, whole, factor, unit) => {
                let total = |name: &&str| number(&added(&values(name))?);
                let whole: Option<Vec<f64>> = whole.iter().map(total).collect();
                let whole = whole.and_then(|parts| parts.into_iter().reduce(|a, b| a - b));
                let (part, whole) = (total(&part).unwrap_or(0.0), whole.unwrap_or(0.0));
                let share = if whole == 0.0 {
                    0.0
                } else {
                    part / whole * factor
                };
                Some(format!("{share:.2}{unit}"))
            }
        };
        let together = together.unwrap_or_else(|| value.to_string());
        (name.to_string(), together)
    };
    all.iter().map(field).collect()
}

fn text((_, value): &(IpAddr, &str)) -> String {
    value.to_string()
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

fn order(a: &str, b: &str) -> Ordering {
    number(a).partial_cmp(&number(b)).unwrap_or(Ordering::Equal)
}

/// The sum, with as many decimals as the first has. Nothing if one is no number.
fn added(values: &Values<'_>) -> Option<String> {
    let whole: Option<i64> = values
        .iter()
        .map(|(_, value)| value.parse::<i64>().ok())
        .try_fold(0i64, |sum, value| Some(sum.saturating_add(value?)));
    if let Some(sum) = whole {
        return Some(sum.to_string());
    }
    let sum: Option<f64> = values.iter().map(|(_, value)| number(value)).sum();
    let decimals = values.first()?.1.split('.').nth(1).map_or(0, str::len);
    Some(format!("{:.decimals$}", sum?))
}

/// The sum over the machines of what each has.
fn per_host(values: &Values<'_>) -> Option<String> {
    let mut hosts: Values<'_> = Vec::new();
    for (host, value) in values {
        match hosts.iter_mut().find(|(own, _)| own == host) {
            Some((_, known)) if order(known, value).is_lt() => *known = value,
            Some(_) => {}
            None => hosts.push((*host, value)),
        }
    }
    added(&hosts)
}

/// `db0:keys=1,expires=0,avg_ttl=0` of all: everything is added, but the average, which is weighted.
fn keyspace(of_all: &[Part<'_>]) -> Vec<Field> {
    let mut databases: Vec<(String, Vec<(String, u64)>)> = Vec::new();
    for (name, value) in of_all.iter().flat_map(|(_, fields)| fields.iter()) {
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
    sort::all(&mut databases);
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
        total_system_memory:8388608\r\ntotal_system_memory_human:8.00M\r\nmaxmemory:1024\r\n\
        maxmemory_human:1.00K\r\nnumber_of_cached_scripts:3\r\n\
        maxmemory_policy:allkeys-lru\r\n\r\n# Persistence\r\nloading:0\r\nrdb_saves:2\r\n\
        rdb_last_save_time:200\r\nrdb_bgsave_in_progress:1\r\nrdb_last_bgsave_status:ok\r\n\
        current_fork_perc:0.00\r\n\r\n# Stats\r\ninstantaneous_input_repl_kbps:0.25\r\n\
        new_field:7\r\nnew_word:some\r\n\r\n# Keyspace\r\ndb0:keys=10,expires=1,avg_ttl=100\r\n";

    fn address(host: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], port))
    }

    #[track_caller]
    fn check(masters: &Masters, section: &str, name: &str, expected: &str) {
        let found = masters.section(section).iter().find(|(own, _)| own == name);
        let found = found.map(|(_, value)| value.as_str());
        assert_eq!(found, Some(expected), "{name}");
    }

    #[test]
    fn scripts_are_between_those_of_one_and_those_of_all() {
        let two = ONE.replace("scripts:3", "scripts:5");
        let two = Masters::of(&[(address(1, 1), ONE), (address(1, 2), &two)]);
        for (known, expected) in [(0, "5"), (6, "6"), (8, "8"), (9, "8")] {
            let mut masters = two.clone();
            masters.know_scripts(known);
            check(&masters, "Memory", "number_of_cached_scripts", expected);
        }
        let mut nobody = Masters::default();
        nobody.know_scripts(1);
        assert_eq!(nobody, Masters::default());
    }

    #[test]
    fn masters_become_one_server() {
        let two = ONE
            .replace("time:200", "time:100")
            .replace("progress:1", "progress:0")
            .replace("status:ok", "status:err")
            .replace("perc:0.00", "perc:12.50")
            .replace("rdb_saves:2", "rdb_saves:1")
            .replace("scripts:3", "scripts:5")
            .replace("kbps:0.25", "kbps:1.50")
            .replace("loading:0", "loading:1\r\nloading_start_time:5")
            .replace(
                "keys=10,expires=1,avg_ttl=100",
                "keys=5,expires=3,avg_ttl=20",
            );
        let masters = Masters::of(&[(address(1, 1), ONE), (address(1, 2), &two)]);
        assert_eq!(masters.count, 2);
        for (section, name, expected) in [
            ("Memory", "used_memory", "2097152"),
            ("Memory", "used_memory_human", "2.00M"),
            ("Memory", "mem_fragmentation_ratio", "3.00"),
            ("Memory", "used_memory_dataset_perc", "50.00%"),
            ("Memory", "total_system_memory", "8388608"),
            ("Memory", "total_system_memory_human", "8.00M"),
            ("Memory", "maxmemory", "2048"),
            ("Memory", "maxmemory_human", "2.00K"),
            ("Memory", "number_of_cached_scripts", "5"),
            ("Memory", "maxmemory_policy", "allkeys-lru"),
            ("Persistence", "rdb_saves", "1"),
            ("Persistence", "rdb_last_save_time", "100"),
            ("Persistence", "rdb_bgsave_in_progress", "1"),
            ("Persistence", "rdb_last_bgsave_status", "err"),
            ("Persistence", "current_fork_perc", "12.50"),
            ("Persistence", "loading_start_time", "5"),
            ("Stats", "instantaneous_input_repl_kbps", "1.75"),
            ("Stats", "new_field", "14"),
            ("Stats", "new_word", "some"),
            ("Keyspace", "db0", "keys=15,expires=4,avg_ttl=40"),
        ] {
            check(&masters, section, name, expected);
        }
        assert_eq!(Masters::of(&[]), Masters::default());
    }

    #[test]
    fn memory_of_machines_is_added_and_no_limit_is_no_limit() {
        let two = ONE
            .replace("system_memory:8388608", "system_memory:1048576")
            .replace("maxmemory:1024", "maxmemory:0");
        let told = [
            (address(1, 1), ONE),
            (address(1, 2), ONE),
            (address(2, 1), two.as_str()),
        ];
        let masters = Masters::of(&told);
        check(&masters, "Memory", "total_system_memory", "9437184");
        check(&masters, "Memory", "total_system_memory_human", "9.00M");
        check(&masters, "Memory", "maxmemory", "0");
        check(&masters, "Memory", "maxmemory_human", "0B");
    }

    #[test]
    fn the_last_words_of_a_silent_master_stand_in() {
        let heard = Heard::default();
        let (one, two) = (address(1, 1), address(1, 2));
        let keys = |keys: u32| Answer::Says(format!("# Keyspace\r\ndb0:keys={keys}\r\n"));
        let at = |seconds: u64| Time::from_micros(seconds * 1_000_000);
        let ask = |asked: &[SocketAddr], answers: Vec<Answer>, now| {
            heard.complete(asked.iter().copied().zip(answers), now)
        };
        let all = ask(&[one, two], vec![keys(1), keys(2)], at(1));
        check(&all, "Keyspace", "db0", "keys=3");
        assert!(all.silent.is_empty());
        let all = ask(&[one, two], vec![keys(10), Answer::Silent], at(4));
        check(&all, "Keyspace", "db0", "keys=12");
        assert_eq!(all.count, 1);
        assert_eq!(all.silent, [(two, Some(Duration::from_secs(3)))]);
        // Who is asked no more is forgotten, and who never answered has no words.
        ask(&[one], vec![keys(10)], at(5));
        let all = ask(&[one, two], vec![keys(10), Answer::Silent], at(6));
        check(&all, "Keyspace", "db0", "keys=10");
        assert_eq!((all.count, all.silent), (1, vec![(two, None)]));
        // A master that was replaced has said what it had; one without slots that is a replica now counts no more.
        ask(&[one, two], vec![keys(10), keys(7)], at(7));
        let all = ask(&[one, two], vec![Answer::Replaced, keys(7)], at(8));
        check(&all, "Keyspace", "db0", "keys=17");
        let all = ask(&[one, two], vec![keys(10), Answer::NoMaster], at(9));
        check(&all, "Keyspace", "db0", "keys=10");
        assert!(all.silent.is_empty());
    }

    #[test]
    fn a_node_counts_by_its_own_words() {
        let text =
            |role: &str| format!("# Replication\r\nrole:{role}\r\n{ONE}\r\n# More\r\na:1\r\n");
        let (master, replica) = (text("master"), text("slave"));
        for has_keys in [false, true] {
            assert_eq!(Answer::of(&replica, false, has_keys), Answer::Replaced);
            assert_eq!(Answer::of(&replica, true, has_keys), Answer::NoMaster);
        }
        assert_eq!(
            Answer::of(&master, true, true),
            Answer::Says(master.clone())
        );
        let keyspace = "# Keyspace\r\ndb0:keys=10,expires=1,avg_ttl=100\r\n\r\n";
        let without = Answer::Says(master.replace(keyspace, ""));
        assert_eq!(Answer::of(&master, true, false), without);
    }

    #[test]
    fn every_field_has_one_rule() {
        for (at, (name, _, why)) in FIELDS.iter().enumerate() {
            assert!(!why.is_empty(), "{name}");
            assert!(FIELDS[..at].iter().all(|(own, ..)| own != name), "{name}");
        }
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
