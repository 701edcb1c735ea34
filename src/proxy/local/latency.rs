//! LATENCY LATEST, HISTORY and HISTOGRAM: merges the measurements of the nodes that serve clients. Of a replica's
//! histograms only reads count: the writes come from its master.

use std::collections::BTreeMap;

use super::nodes::{join_serving, pairs, place, value};
use super::{After, Context};
use crate::resp::args::Args;
use crate::resp::encode::{self, Protocol};
use crate::resp::reply::Reply;

/// Samples that a server keeps of an event, one a second (`LATENCY_TS_LEN`).
const SAMPLES: usize = 160;

/// `LATENCY LATEST`: for each event its newest sample and its worst.
pub fn latest(context: &mut Context<'_>, args: &Args<'_>, _: &mut Vec<u8>) -> After {
    join_serving(context, args, |told, out| {
        join_latest(&replies_of(told), out)
    })
}

/// `LATENCY HISTORY event`: the samples of all nodes, the worst of each second.
pub fn history(context: &mut Context<'_>, args: &Args<'_>, _: &mut Vec<u8>) -> After {
    join_serving(context, args, |told, out| {
        join_history(&replies_of(told), out)
    })
}

/// `LATENCY HISTOGRAM [command ...]`: calls added up, bucket by bucket.
pub fn histogram(context: &mut Context<'_>, args: &Args<'_>, _: &mut Vec<u8>) -> After {
    let (protocol, table) = (context.session.protocol, context.table.clone());
    join_serving(context, args, move |told, out| {
        let reads = |name: &[u8]| table.named(name).is_some_and(|row| row.on_replicas);
        join_histogram(told, reads, protocol, out);
    })
}

fn replies_of<'a>(told: &[(bool, Reply<'a>)]) -> Vec<Reply<'a>> {
    told.iter().map(|(_, reply)| *reply).collect()
}

fn integers<'a>(list: &Reply<'a>) -> impl Iterator<Item = i64> + use<'a> {
    list.items().map(|item| item.integer().unwrap_or(0))
}

fn join_latest(replies: &[Reply<'_>], out: &mut Vec<u8>) {
    // Of each event: the second of its newest sample, that sample, and the worst of all.
    let mut events: Vec<(Vec<u8>, [i64; 3])> = Vec::new();
    for event in replies.iter().flat_map(|reply| reply.items()) {
        let name = event.items().next().and_then(|name| name.text());
        let at = place(&mut events, name.unwrap_or_default());
        let mut fields = integers(&event).skip(1);
        let mut field = || fields.next().unwrap_or(0);
        let (second, newest, worst) = (field(), field(), field());
        let known = &mut events[at].1;
        if (second, newest) > (known[0], known[1]) {
            (known[0], known[1]) = (second, newest);
        }
        known[2] = known[2].max(worst);
    }
    encode::array(out, events.len());
    for (name, fields) in events {
        encode::array(out, 4);
        encode::bulk(out, &name);
        fields.iter().for_each(|field| encode::integer(out, *field));
    }
}

fn join_history(replies: &[Reply<'_>], out: &mut Vec<u8>) {
    let mut samples: BTreeMap<i64, i64> = BTreeMap::new();
    for sample in replies.iter().flat_map(|reply| reply.items()) {
        let mut fields = integers(&sample);
        if let (Some(second), Some(millis)) = (fields.next(), fields.next()) {
            let worst = samples.entry(second).or_insert(millis);
            *worst = millis.max(*worst);
        }
    }
    let old = samples.len().saturating_sub(SAMPLES);
    encode::array(out, samples.len() - old);
    for (second, millis) in samples.into_iter().skip(old) {
        encode::array(out, 2);
        encode::integer(out, second);
        encode::integer(out, millis);
    }
}

/// Calls, and of each node how many of them took at most so many microseconds.
#[derive(Default)]
struct Histogram {
    calls: i64,
    nodes: Vec<BTreeMap<i64, i64>>,
}

impl Histogram {
    /// Bounds and how many calls of all nodes took at most that: a node that does not name a bound had as
    /// many there as at the bound before.
    fn summed(&self) -> BTreeMap<i64, i64> {
        let bounds = self.nodes.iter().flat_map(|node| node.keys());
        let upto = |node: &BTreeMap<i64, i64>, bound: i64| {
            node.range(..=bound)
                .next_back()
                .map_or(0, |(_, count)| *count)
        };
        bounds
            .map(|bound| {
                (
                    *bound,
                    self.nodes.iter().map(|node| upto(node, *bound)).sum(),
                )
            })
            .collect()
    }
}

fn join_histogram(
    told: &[(bool, Reply<'_>)],
    reads: impl Fn(&[u8]) -> bool,
    protocol: Protocol,
    out: &mut Vec<u8>,
) {
    let mut commands: Vec<(Vec<u8>, Histogram)> = Vec::new();
    let all = told
        .iter()
        .flat_map(|(replica, reply)| pairs(reply).map(move |pair| (*replica, pair)));
    for (replica, (name, measured)) in all {
        if replica && !reads(name.text().unwrap_or_default()) {
            continue;
        }
        let at = place(&mut commands, name.text().unwrap_or_default());
        let histogram = &mut commands[at].1;
        let calls = value(&measured, "calls").and_then(|calls| calls.integer());
        histogram.calls += calls.unwrap_or(0);
        if let Some(buckets) = value(&measured, "histogram_usec") {
            let bucket =
                |(bound, count): (Reply<'_>, Reply<'_>)| Some((bound.integer()?, count.integer()?));
            histogram
                .nodes
                .push(pairs(&buckets).filter_map(bucket).collect());
        }
    }
    encode::map(out, commands.len(), protocol);
    for (name, histogram) in commands {
        encode::bulk(out, &name);
        encode::map(out, 2, protocol);
        encode::bulk(out, b"calls");
        encode::integer(out, histogram.calls);
        encode::bulk(out, b"histogram_usec");
        let buckets = histogram.summed();
        encode::map(out, buckets.len(), protocol);
        for (bound, count) in buckets {
            encode::integer(out, bound);
            encode::integer(out, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::nodes::joined;
    use super::*;

    #[test]
    fn an_event_has_its_newest_and_its_worst_sample() {
        let replies = [
            "*1\r\n*4\r\n+fork\r\n:10\r\n:3\r\n:90\r\n",
            "",
            "*2\r\n*4\r\n+aof\r\n:1\r\n:2\r\n:3\r\n*4\r\n+fork\r\n:12\r\n:1\r\n:40\r\n",
        ];
        let expected =
            "*2\r\n*4\r\n$4\r\nfork\r\n:12\r\n:1\r\n:90\r\n*4\r\n$3\r\naof\r\n:1\r\n:2\r\n:3\r\n";
        assert_eq!(joined(join_latest, &replies), expected);
        assert_eq!(joined(join_latest, &["*0\r\n"]), "*0\r\n");
    }

    #[test]
    fn the_worst_of_each_second_is_kept() {
        let replies = [
            "*2\r\n*2\r\n:5\r\n:1\r\n*2\r\n:7\r\n:1\r\n",
            "*2\r\n*2\r\n:5\r\n:3\r\n*2\r\n:6\r\n:2\r\n",
        ];
        let expected = "*3\r\n*2\r\n:5\r\n:3\r\n*2\r\n:6\r\n:2\r\n*2\r\n:7\r\n:1\r\n";
        assert_eq!(joined(join_history, &replies), expected);
    }

    #[test]
    fn histograms_are_added_bucket_by_bucket() {
        let replies = [
            "%1\r\n+get\r\n%2\r\n+calls\r\n:5\r\n+histogram_usec\r\n%2\r\n:1\r\n:2\r\n:8\r\n:5\r\n",
            "%2\r\n+get\r\n%2\r\n+calls\r\n:3\r\n+histogram_usec\r\n%2\r\n:2\r\n:1\r\n:16\r\n:3\r\n\
            +set\r\n%2\r\n+calls\r\n:9\r\n+histogram_usec\r\n%1\r\n:2\r\n:9\r\n",
        ];
        // The second is a replica, whose writes are its master's.
        let join = |replies: &[Reply<'_>], out: &mut Vec<u8>| {
            let told: Vec<_> = [false, true]
                .into_iter()
                .zip(replies.iter().copied())
                .collect();
            join_histogram(&told, |name| name == b"get", Protocol::Resp3, out);
        };
        let expected = "%1\r\n$3\r\nget\r\n%2\r\n$5\r\ncalls\r\n:8\r\n$14\r\nhistogram_usec\r\n\
            %4\r\n:1\r\n:2\r\n:2\r\n:3\r\n:8\r\n:6\r\n:16\r\n:8\r\n";
        assert_eq!(joined(join, &replies), expected);
    }
}
