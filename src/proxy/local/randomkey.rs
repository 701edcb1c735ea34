//! RANDOMKEY over all shards: every key is equally likely, and the reply is nil only if all shards are empty.

use super::{After, Context};
use crate::proxy::pipeline::merge::Merge;
use crate::proxy::pipeline::plan::{Ask, Plan};
use crate::resp::args::Args;
use crate::resp::encode::{self, Protocol};
use crate::resp::reply::Reply;

const DBSIZE: &[u8] = b"*1\r\n$6\r\nDBSIZE\r\n";

/// Asks each master how many keys it has, and for one of them. One that is left out is as empty.
pub fn randomkey(context: &mut Context<'_>, args: &Args<'_>, _: &mut Vec<u8>) -> After {
    let everyone = context.routes.everyone(context.command, false);
    let asks = everyone
        .flat_map(|asked| [DBSIZE, args.frame()].map(|frame| Ask::each(asked, frame.to_vec())));
    let protocol = context.session.protocol;
    let seed = context.stats.commands.get() ^ context.now.as_micros().rotate_left(32);
    After::Ask(Plan {
        asks: asks.collect(),
        merge: Merge::Join(Box::new(move |replies, out| {
            choose(replies, scattered(seed), protocol, out);
        })),
        write: false,
    })
}

/// The replies are a size and a key for each shard in turn; `chance` is any number.
fn choose(replies: &[Reply<'_>], chance: u64, protocol: Protocol, out: &mut Vec<u8>) {
    let shards: Vec<(u64, Reply<'_>)> = replies
        .chunks_exact(2)
        .filter(|shard| shard[1].text().is_some())
        .map(|shard| (shard[0].integer().unwrap_or(1).max(1) as u64, shard[1]))
        .collect();
    let total: u64 = shards.iter().map(|(size, _)| size).sum();
    let mut left = chance % total.max(1);
    for (size, key) in shards {
        if left < size {
            return out.extend_from_slice(key.frame());
        }
        left -= size;
    }
    encode::null(out, protocol);
}

/// A number that follows from the seed alone, and is far from that of its neighbour.
fn scattered(seed: u64) -> u64 {
    fastrand::Rng::with_seed(seed).u64(..)
}

#[cfg(test)]
mod tests {
    use super::super::nodes::joined;
    use super::*;

    fn check(replies: &[&str], chance: u64, expected: &str) {
        let join = |replies: &[Reply<'_>], out: &mut Vec<u8>| {
            choose(replies, chance, Protocol::Resp2, out);
        };
        assert_eq!(joined(join, replies), expected);
    }

    #[test]
    fn a_shard_is_chosen_by_its_size() {
        let replies = [
            ":1\r\n",
            "$1\r\na\r\n",
            ":0\r\n",
            "$-1\r\n",
            ":3\r\n",
            "$1\r\nb\r\n",
        ];
        check(&replies, 0, "$1\r\na\r\n");
        for chance in [1, 2, 3, 5] {
            check(&replies, chance, "$1\r\nb\r\n");
        }
        check(&replies, 4, "$1\r\na\r\n");
        check(&[":0\r\n", "$-1\r\n"], 7, "$-1\r\n");
        // The last key came between the two questions.
        check(&[":0\r\n", "$1\r\na\r\n"], 7, "$1\r\na\r\n");
    }

    #[test]
    fn neighbouring_seeds_fall_far_apart() {
        let mut hits = [0; 4];
        (0..4000).for_each(|seed| hits[(scattered(seed) % 4) as usize] += 1);
        assert!(hits.iter().all(|hit| (900..1100).contains(hit)), "{hits:?}");
    }
}
