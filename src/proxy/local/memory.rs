//! MEMORY STATS of the whole: sums of the masters' numbers, and ratios computed from the sums.

use super::nodes::{join_all, pairs, place};
use super::{After, Context};
use crate::resp::args::Args;
use crate::resp::encode::{self, Protocol};
use crate::resp::reply::Reply;

/// `MEMORY STATS`.
pub fn stats(context: &mut Context<'_>, args: &Args<'_>, _: &mut Vec<u8>) -> After {
    let protocol = context.session.protocol;
    join_all(context, args, move |replies, out| {
        Sums::of(replies).print(protocol, out);
    })
}

/// What is under a name of one map, or of several taken together.
#[derive(Debug, Default)]
enum Sum {
    #[default]
    Nothing,
    Integer(i64),
    /// Added up, and how many there were.
    Double(f64, u32),
    Map(Sums),
}

/// The names of a map in the order of their first sight.
#[derive(Debug, Default)]
struct Sums(Vec<(Vec<u8>, Sum)>);

impl Sums {
    fn of(maps: &[Reply<'_>]) -> Sums {
        let mut sums = Sums::default();
        maps.iter().for_each(|map| sums.add(map));
        sums
    }

    fn add(&mut self, map: &Reply<'_>) {
        for (name, value) in pairs(map) {
            let at = place(&mut self.0, name.text().unwrap_or_default());
            let sum = &mut self.0[at].1;
            let known = std::mem::take(sum);
            *sum = match (known, value.kind()) {
                (Sum::Integer(known), b':') => Sum::Integer(known + value.integer().unwrap_or(0)),
                (Sum::Nothing, b':') => Sum::Integer(value.integer().unwrap_or(0)),
                (known, b'%' | b'*') => {
                    let mut sums = match known {
                        Sum::Map(sums) => sums,
                        Sum::Nothing | Sum::Integer(_) | Sum::Double(..) => Sums::default(),
                    };
                    sums.add(&value);
                    Sum::Map(sums)
                }
                (known, _) => {
                    let (total, count) = match known {
                        Sum::Double(total, count) => (total, count),
                        Sum::Nothing | Sum::Integer(_) | Sum::Map(_) => (0.0, 0),
                    };
                    Sum::Double(total + value.number().unwrap_or(0.0), count + 1)
                }
            };
        }
    }

    fn integer(&self, name: &str) -> Option<f64> {
        let found = self.0.iter().find(|(own, _)| own == name.as_bytes());
        match found?.1 {
            Sum::Integer(value) => Some(value as f64),
            Sum::Nothing | Sum::Double(..) | Sum::Map(_) => None,
        }
    }

    /// What is no sum but is made of sums (`getMemoryOverheadData` of the server). What is not known here
    /// is the mean of the nodes' values.
    fn derived(&self, name: &[u8]) -> Option<f64> {
        let sum = |name| self.integer(name);
        let total = sum("total.allocated")?;
        let net = total - sum("startup.allocated")?;
        let resident = sum("allocator.resident")?;
        let process = resident + sum("rss-overhead.bytes")?;
        let (part, whole) = match name {
            b"keys.bytes-per-key" => (net, sum("keys.count")?),
            b"dataset.percentage" => (100.0 * sum("dataset.bytes")?, net),
            b"peak.percentage" => (100.0 * total, sum("peak.allocated")?),
            b"allocator-fragmentation.ratio" => {
                (sum("allocator.active")?, sum("allocator.allocated")?)
            }
            b"allocator-rss.ratio" => (resident, sum("allocator.active")?),
            b"rss-overhead.ratio" => (process, resident),
            b"fragmentation" => (process, total),
            _ => return None,
        };
        Some(if whole > 0.0 { part / whole } else { 0.0 })
    }

    fn print(&self, protocol: Protocol, out: &mut Vec<u8>) {
        encode::map(out, self.0.len(), protocol);
        for (name, sum) in &self.0 {
            encode::bulk(out, name);
            let derived = self.derived(name);
            match sum {
                Sum::Nothing => encode::null(out, protocol),
                Sum::Integer(value) => {
                    encode::integer(out, derived.map_or(*value, |value| value as i64));
                }
                Sum::Double(total, count) => {
                    let mean = total / f64::from((*count).max(1));
                    encode::double(out, derived.unwrap_or(mean), protocol);
                }
                Sum::Map(sums) => sums.print(protocol, out),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::nodes::joined;
    use super::*;

    #[test]
    fn numbers_are_added_and_ratios_made_anew() {
        let node = |count: u32, peak: u32| {
            format!(
                "%9\r\n+peak.allocated\r\n:{peak}\r\n+total.allocated\r\n:100\r\n\
                +startup.allocated\r\n:40\r\n+db.0\r\n%1\r\n+overhead\r\n:7\r\n\
                +keys.count\r\n:{count}\r\n+keys.bytes-per-key\r\n:60\r\n\
                +allocator.resident\r\n:200\r\n+rss-overhead.bytes\r\n:20\r\n\
                +peak.percentage\r\n,50.5\r\n"
            )
        };
        let replies = [node(1, 150), node(3, 250)];
        let replies: Vec<&str> = replies.iter().map(String::as_str).collect();
        let join = |replies: &[Reply<'_>], out: &mut Vec<u8>| {
            Sums::of(replies).print(Protocol::Resp3, out);
        };
        let all = joined(join, &replies);
        let has = |line: &str| assert!(all.contains(line), "{line:?} in {all:?}");
        has("$14\r\npeak.allocated\r\n:400\r\n");
        has("$4\r\ndb.0\r\n%1\r\n$8\r\noverhead\r\n:14\r\n");
        has("$18\r\nkeys.bytes-per-key\r\n:30\r\n");
        has("$15\r\npeak.percentage\r\n,50\r\n");
        assert!(all.starts_with("%9\r\n"));
    }
}
